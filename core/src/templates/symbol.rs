//! Symbols of instances.

use core::borrow::Borrow;
use core::fmt;
use core::hash::{Hash, Hasher};
use core::ops::Deref;

use crate::alloc_util::{AllocError, SharedBytes};

/// The symbol of an instance. Clones share the bytes.
#[derive(Clone, PartialEq, Eq)]
pub struct Symbol(SharedBytes);

impl Symbol {
    pub(super) fn new(symbol: &[u8]) -> Result<Self, AllocError> {
        SharedBytes::copy_of(symbol).map(Self)
    }
}

impl Deref for Symbol {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl Borrow<[u8]> for Symbol {
    fn borrow(&self) -> &[u8] {
        self
    }
}

impl Hash for Symbol {
    /// As the bytes hash, as [`Borrow`] requires.
    fn hash<H: Hasher>(&self, state: &mut H) {
        (**self).hash(state);
    }
}

impl fmt::Display for Symbol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.escape_ascii().fmt(f)
    }
}

impl fmt::Debug for Symbol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{self}`")
    }
}
