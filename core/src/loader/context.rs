//! What every step of loading a module uses.

use super::observer::SharedObserver;
use super::options::LoaderOptions;
use crate::alloc_util::TryArc;
use crate::memory::PagePool;

/// The options of a loader and the values derived from them.
pub(super) struct Context {
    pub(super) options: LoaderOptions,
    pub(super) observer: Option<SharedObserver>,
    pub(super) pool: TryArc<PagePool>,
}
