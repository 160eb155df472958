//! What the compiler of a unit records of a function beside its code.

use alloc::boxed::Box;
use core::any::Any;
use core::fmt;

use crate::alloc_util::{AllocError, TryArc, try_box};

/// What the compiler of a unit records of a function beside its code: see [`Unit::set_record`](super::Unit::set_record).
/// Two are equal if one is a clone of the other.
#[derive(Clone)]
pub struct FunctionRecord(TryArc<Box<dyn Any + Send + Sync>>);

impl FunctionRecord {
    /// A record of any type.
    ///
    /// # Errors
    /// [`AllocError`].
    pub fn new<T: Any + Send + Sync>(record: T) -> Result<Self, AllocError> {
        Ok(Self(TryArc::new(try_box(record)? as Box<dyn Any + Send + Sync>)?))
    }

    /// The record, if it is of this type.
    pub fn get<T: Any>(&self) -> Option<&T> {
        let record: &(dyn Any + Send + Sync) = &**self.0;
        record.downcast_ref()
    }
}

impl PartialEq for FunctionRecord {
    fn eq(&self, other: &Self) -> bool {
        self.0.ptr_eq(&other.0)
    }
}

impl Eq for FunctionRecord {}

impl fmt::Debug for FunctionRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FunctionRecord").finish_non_exhaustive()
    }
}
