//! x86-64: the processor keeps instruction fetch coherent with stores.
//!
//! Source: Intel SDM volume 3, "Self-Modifying Code" and "Handling Self- and Cross-Modifying Code";
//! AMD64 APM volume 2, "Self-Modifying Code" and "Cross-Modifying Code". Another processor must not
//! hold earlier instructions of these addresses. Either it fetched none, because the pages become executable after the
//! last write; or they held code before, and [`serialize_cores`](super::serialize_cores) ran after that code was
//! freed.

use core::sync::atomic::{Ordering, compiler_fence};

use super::super::types::Errno;

/// Prevents the compiler from moving stores to `code` after this point.
pub(super) fn synchronize(_code: &[u8]) -> Result<(), Errno> {
    compiler_fence(Ordering::SeqCst);
    Ok(())
}
