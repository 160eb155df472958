//! Errors about a part of a shared object.

use crate::format::error::FormatError;
use crate::format::error::shared_object::{SharedObjectErrorKind, SharedObjectPart};

/// An error about a part of a shared object.
pub(crate) fn refuse(part: SharedObjectPart, kind: SharedObjectErrorKind, at: u64) -> FormatError {
    FormatError::SharedObject { part, kind, at }
}
