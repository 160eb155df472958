//! Why resolvers have no address for imports while a module is linked.
//!
//! A resolver returns an address or none. Its reason is recorded for the thread, which links the module, so that the error
//! of the load contains its own reasons and no other ones.

use std::cell::RefCell;
#[cfg(feature = "jit")]
use std::fmt;

#[cfg(feature = "jit")]
use smf_core::alloc_util::{AllocError, try_push};

#[cfg(feature = "jit")]
use crate::fallible_buf::try_format;

/// The maximum number of reasons that a load records.
#[cfg(feature = "jit")]
const MAX_REASONS: usize = 16;

thread_local! {
    /// The reasons of the innermost load of this thread; `None` outside of a load.
    static REASONS: RefCell<Option<Vec<String>>> = const { RefCell::new(None) };
}

/// Runs a load. Returns also the reasons that are recorded meanwhile.
pub(crate) fn collect<T>(load: impl FnOnce() -> T) -> (T, Vec<String>) {
    // Without reasons while the thread is exiting.
    let set = |reasons| REASONS.try_with(|current| current.replace(reasons)).ok().flatten();
    let outer = set(Some(Vec::new()));
    let result = load();
    (result, set(outer).unwrap_or_default())
}

/// Records why an import has no address, if this thread is in a load.
#[cfg(feature = "jit")]
pub(crate) fn record(reason: &dyn fmt::Display) {
    // Without memory it is lost.
    let _ = REASONS.try_with(|current| match &mut *current.borrow_mut() {
        Some(reasons) => add(reasons, reason),
        None => Ok(()),
    });
}

#[cfg(feature = "jit")]
fn add(reasons: &mut Vec<String>, reason: &dyn fmt::Display) -> Result<(), AllocError> {
    let reason = try_format(format_args!("{reason}"))?;
    if reasons.len() < MAX_REASONS && !reasons.contains(&reason) {
        try_push(reasons, reason)?;
    }
    Ok(())
}
