//! x86-64: the processor keeps instruction fetch coherent with stores by itself.
//!
//! Source: Intel SDM volume 3, "Self-Modifying Code" and "Handling Self- and Cross-Modifying Code";
//! AMD64 APM volume 2, "Self-Modifying Code" and "Cross-Modifying Code". Another processor must not
//! hold what was at these addresses before. Either nothing was fetched from them, because the pages
//! become executable only after the last write; or they held code once, and then
//! [`empty_pipelines`](super::empty_pipelines) ran after that code was freed.

use core::sync::atomic::{Ordering, compiler_fence};

use super::super::types::Errno;

/// Keeps the compiler from moving stores into `code` behind this point.
#[inline]
pub(super) fn synchronize(_code: &[u8]) -> Result<(), Errno> {
    compiler_fence(Ordering::SeqCst);
    Ok(())
}
