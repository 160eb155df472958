//! The limit of file sizes of the process, as the host knows it.

use spin::Once;

/// Returns the limit, in bytes; `None` if there is none.
pub type FileSizeLimit = fn() -> Option<u64>;

static LIMIT: Once<FileSizeLimit> = Once::new();

/// Sets the function that returns the limit of file sizes, `RLIMIT_FSIZE` of getrlimit(2). No memory file becomes larger:
/// the kernel would end the process by SIGXFSZ. Without one, files are not limited. Only the first call of
/// `set_file_size_limit` has an effect.
pub fn set_file_size_limit(limit: FileSizeLimit) {
    LIMIT.call_once(|| limit);
}

/// Whether a file may have this size, in bytes.
pub(super) fn allows(size: u64) -> bool {
    LIMIT.get().and_then(|limit| limit()).is_none_or(|limit| size <= limit)
}
