//! Handles that do not name an open object.

use thiserror::Error;

/// A handle that was never issued, was issued for another parent, or whose object was closed. `SMF_ERROR_HANDLE`.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[cfg_attr(not(feature = "jit"), expect(dead_code, reason = "instantiators need the feature"))]
pub(in super::super) enum HandleError {
    #[error("0x{cache:x} is not an open cache")]
    Cache { cache: u64 },
    #[error("0x{file:x} is not a file of this cache")]
    File { file: u64 },
    #[error("0x{prefetch:x} is not a prefetch, or was freed")]
    Prefetch { prefetch: u64 },
    #[error("0x{loader:x} is not an open loader")]
    Loader { loader: u64 },
    #[error("0x{module:x} is not a module of this loader")]
    Module { module: u64 },
    #[error("0x{hold:x} is not a hold, or was released")]
    Hold { hold: u64 },
    #[error("0x{jit:x} is not an open instantiator")]
    Jit { jit: u64 },
    #[error("{unit} is not being compiled on this thread")]
    Unit { unit: u64 },
}
