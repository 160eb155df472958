//! Names of modules and symbols inside errors.

use core::borrow::Borrow;
use core::fmt;
use core::ops::Deref;

use crate::alloc_util::{AllocError, TryArc};
use crate::printable::Printable;

/// The full name of a module or a symbol. Clones share the bytes.
///
/// The `Display` form is valid UTF-8: control characters and invalid bytes are escaped.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Name(TryArc<[u8]>);

impl Name {
    /// Copies `name`.
    ///
    /// # Errors
    /// [`AllocError`].
    pub fn new(name: &[u8]) -> Result<Self, AllocError> {
        TryArc::from_fn(name.len(), |index| name.get(index).copied().unwrap_or(0)).map(Self)
    }

    /// The error that `error` makes of a name; that there is no memory for it, if so.
    pub fn in_error<E: From<AllocError>>(name: &[u8], error: impl FnOnce(Self) -> E) -> E {
        Self::new(name).map_or_else(E::from, error)
    }

    /// The bytes of the name.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl Deref for Name {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl Borrow<[u8]> for Name {
    fn borrow(&self) -> &[u8] {
        self
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Printable(&self.0).fmt(f)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::format;
    use std::string::ToString;

    #[test]
    fn name_of_any_length_is_shown_whole() {
        let text = |name: &[u8]| Name::new(name).unwrap().to_string();
        assert_eq!(text(b"fn$Vec<i64>"), "fn$Vec<i64>");
        assert_eq!(text("straße/\u{1b}[0m".as_bytes()), "straße/\\u{1b}[0m");
        assert_eq!(text(b"a\xffb\n"), "a\\xffb\\n");
        assert_eq!(text(&[b'x'; 5000]).len(), 5000);
        assert_eq!(format!("{:?}", Name::new(b"m").unwrap()), "\"m\"");
    }
}
