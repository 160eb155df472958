//! Thread-local storage, expressed by means that the format has.
//!
//! The section [`SECTION`], of kind RoData, contains the initial contents of the storage. Its size in memory and its
//! alignment are those of the storage; what exceeds the bytes in the file is zero. The section is a template: code does
//! not refer to its address.
//!
//! Code refers to the storage through words that 64-bit absolute relocations fill, against imports which only a loader
//! with support for thread-local storage resolves. Any other loader refuses the file, because the imports are
//! undefined. The name of such an import is that of a [`Value`]. Behind [`SEPARATOR`], the name of a symbol that a
//! another module or a shared object of the process defines may follow; without one, the value is that of the module's
//! own storage. The addend is added.
//!
//! A thread-local symbol that a module defines for others is an export at its offset in the section. Its name starts with
//! [`EXPORT`], so that no other import finds the template in place of the storage. A module with such exports imports a
//! value of its own storage.
//!
//! This is an extension of this project.

/// The name of the section.
pub const SECTION: &[u8] = b".tdata";
/// The start of the name of an export that stands for a thread-local symbol, the name of which follows.
pub const EXPORT: &[u8] = b"__smf_tls_export:";
/// The byte between the name of a value and the name of a symbol.
pub const SEPARATOR: u8 = b':';

/// A value of thread-local storage that an import denotes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Value {
    /// The module number for `__tls_get_addr`.
    Module,
    /// The offset of the symbol in the storage of its module; of a symbol only.
    BlockOffset,
    /// The offset of the storage or the symbol from the thread pointer. The storage is static then.
    Offset,
    /// As [`Value::Offset`], for 32-bit fields that are sign-extended. The relocation is one of unsigned fields, for which
    /// readers of the format need no other, but the sum with the addend is a signed number of either sign.
    Offset32,
    /// The address of the function that TLS descriptors call; of the module only.
    Descriptor,
}

impl Value {
    const ALL: [Value; 5] =
        [Value::Module, Value::BlockOffset, Value::Offset, Value::Offset32, Value::Descriptor];

    /// The name of the import.
    pub fn name(self) -> &'static [u8] {
        match self {
            Value::Module => b"__smf_requires_tls_module",
            Value::BlockOffset => b"__smf_requires_tls_block_offset",
            Value::Offset => b"__smf_requires_tls_offset",
            Value::Offset32 => b"__smf_requires_tls_offset32",
            Value::Descriptor => b"__smf_requires_tls_descriptor",
        }
    }

    /// Whether the storage has to have the same offset from the thread pointer in all threads.
    pub fn is_static(self) -> bool {
        matches!(self, Value::Offset | Value::Offset32)
    }
}

/// What an import asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TlsImport<'d> {
    /// The value.
    pub value: Value,
    /// The symbol; `None` for the module's own storage.
    pub symbol: Option<&'d [u8]>,
}

impl<'d> TlsImport<'d> {
    /// Decodes the name of an import; `None` if it is that of another import.
    pub fn parse(name: &'d [u8]) -> Option<Self> {
        // Most names are told apart by this.
        if !name.starts_with(b"__smf_requires_tls_") {
            return None;
        }
        let mut parts = name.splitn(2, |byte| *byte == SEPARATOR);
        let (value, symbol) = (parts.next()?, parts.next());
        let value = Value::ALL.into_iter().find(|known| known.name() == value)?;
        let is_valid = match (value, symbol) {
            (Value::BlockOffset, None) | (Value::Descriptor, Some(_)) => false,
            (_, symbol) => symbol.is_none_or(|symbol| !symbol.is_empty()),
        };
        is_valid.then_some(Self { value, symbol })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_decoded() {
        for value in Value::ALL {
            let own = (value != Value::BlockOffset).then_some(TlsImport { value, symbol: None });
            assert_eq!(TlsImport::parse(value.name()), own);
            let symbol = Some(&b"a:b"[..]).filter(|_| value != Value::Descriptor);
            let name = [value.name(), b":a:b"].concat();
            let expected = symbol.map(|_| TlsImport { value, symbol });
            assert_eq!(TlsImport::parse(&name), expected);
            assert_eq!(TlsImport::parse(&[value.name(), b":"].concat()), None);
        }
        for other in [&b"__smf_requires_tls_"[..], b"__smf_requires_tls_modules", b"malloc", b""] {
            assert_eq!(TlsImport::parse(other), None);
        }
    }
}
