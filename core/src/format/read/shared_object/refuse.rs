//! Errors about a part of a shared object.

use crate::format::error::{
    FormatError, SharedObjectError, SharedObjectErrorKind, SharedObjectPart,
};

/// An error about a part of a shared object.
pub(crate) fn refuse(part: SharedObjectPart, kind: SharedObjectErrorKind, at: u64) -> FormatError {
    FormatError::SharedObject(SharedObjectError { part, kind, at })
}
