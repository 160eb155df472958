//! The limit of file sizes of the process.

use rustix::process::{Resource, getrlimit};
use smf_core::memory::set_file_size_limit;

/// Tells the core where to find the limit.
pub(crate) fn install() {
    set_file_size_limit(limit);
}

/// The limit, in bytes; `None` if there is none.
pub(crate) fn limit() -> Option<u64> {
    getrlimit(Resource::Fsize).current
}
