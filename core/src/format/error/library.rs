//! Errors in library archives.

use thiserror::Error;

/// The reason why a library archive is invalid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the module `error` documents the units of the fields")]
pub enum LibraryError {
    /// The archive does not begin with `LSMF`.
    #[error("not a library archive: no magic `LSMF`, at offset {at:#x}")]
    NoMagic { at: u64 },
    /// A version other than 1.0.
    #[error(
        "a library archive of version {major}.{minor}; this loader reads 1.0, at offset {at:#x}"
    )]
    Version { major: u8, minor: u8, at: u64 },
    /// A module, or its object, that does not lie inside the archive.
    #[error(
        "module {index}: {size:#x} bytes from {offset:#x} do not lie inside the archive, at offset {at:#x}"
    )]
    ModuleOutside { index: u32, offset: u64, size: u64, at: u64 },
    /// A module with an empty name, or a name that is not UTF-8.
    #[error("module {index}: its name is empty or not UTF-8, at offset {at:#x}")]
    ModuleName { index: u32, at: u64 },
    /// A module whose bytes do not match the hash in the index.
    #[error(
        "module {index}: its hash is 0x{found:016x}, but the index states 0x{expected:016x}, at offset {at:#x}"
    )]
    ModuleHash { index: u32, expected: u64, found: u64, at: u64 },
    /// Modules that together claim more bytes than the archive has.
    #[error(
        "module {index}: the modules up to this one have more bytes than the archive, at offset {at:#x}"
    )]
    ModuleOverlap { index: u32, at: u64 },
    /// An archive whose index, or index and data, do not match the hash in the header.
    #[error(
        "the hash of the archive is 0x{found:016x}, but the header states 0x{expected:016x}, at offset {at:#x}"
    )]
    Hash { expected: u64, found: u64, at: u64 },
}
