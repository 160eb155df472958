//! Why resolvers have no address for names while a module is linked, or a name is resolved.
//!
//! A resolver returns an address or none. Its reason is recorded for the thread, which links the module or resolves the name,
//! so that the error contains its own reasons and no other ones.

use std::cell::RefCell;
#[cfg(feature = "jit")]
use std::fmt;

#[cfg(feature = "jit")]
use smf_core::alloc_util::{AllocError, try_push};

#[cfg(feature = "jit")]
use crate::fallible_buf::try_format;

/// The maximum number of reasons that are recorded at once.
#[cfg(feature = "jit")]
const MAX_REASONS: usize = 16;

thread_local! {
    /// The reasons of the innermost [call](collect) of this thread; `None` outside of one.
    static REASONS: RefCell<Option<Vec<String>>> = const { RefCell::new(None) };
}

/// Runs a load or a lookup. Returns also the reasons that are recorded meanwhile.
pub(crate) fn collect<T>(call: impl FnOnce() -> T) -> (T, Vec<String>) {
    // Without reasons while the thread is exiting.
    let set = |reasons| REASONS.try_with(|current| current.replace(reasons)).ok().flatten();
    let outer = set(Some(Vec::new()));
    let result = call();
    (result, set(outer).unwrap_or_default())
}

/// Records why a name has no address, if this thread is in a [call](collect).
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
