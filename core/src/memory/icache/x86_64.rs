//! x86-64: the processor keeps instruction fetch coherent with stores by itself.
//!
//! Source: Intel SDM volume 3, "Self-Modifying Code" and "Handling Self- and Cross-Modifying Code";
//! AMD64 APM volume 2, "Self-Modifying Code" and "Cross-Modifying Code". No other processor can hold
//! what was at these addresses before: nothing is fetched from pages that are not executable, and
//! these become so only after the last write.

use core::sync::atomic::{Ordering, compiler_fence};

use super::super::Errno;

/// Keeps the compiler from moving stores into `code` behind this point.
#[inline]
pub(super) fn synchronize(_code: &[u8]) -> Result<(), Errno> {
    compiler_fence(Ordering::SeqCst);
    Ok(())
}
