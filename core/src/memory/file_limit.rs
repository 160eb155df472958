//! The limit of file sizes of the process, as the host knows it.
#![allow(unsafe_code)]

use core::mem::transmute;
use core::ptr;
use core::sync::atomic::{AtomicPtr, Ordering};

/// Returns the limit, in bytes; `None` if there is none.
pub type FileSizeLimit = fn() -> Option<u64>;

/// The installed [`FileSizeLimit`], or null.
static LIMIT: AtomicPtr<()> = AtomicPtr::new(ptr::null_mut());

/// Installs a function that returns the limit of file sizes, `RLIMIT_FSIZE` of getrlimit(2). No memory file becomes larger:
/// the kernel would end the process by SIGXFSZ. Without one, files are not limited.
pub fn set_file_size_limit(limit: FileSizeLimit) {
    LIMIT.store(limit as *mut (), Ordering::Relaxed);
}

/// Whether a file may have this size, in bytes.
pub(super) fn allows(size: u64) -> bool {
    let limit = LIMIT.load(Ordering::Relaxed);
    // SAFETY: null, which is `None`, or a function that `set_file_size_limit` stored.
    let limit = unsafe { transmute::<*mut (), Option<FileSizeLimit>>(limit) };
    limit.and_then(|limit| limit()).is_none_or(|limit| size <= limit)
}
