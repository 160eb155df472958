//! Errors of finding and reading a header.

use thiserror::Error;

/// The reason why no header was found, or why the header is invalid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the module `error` documents the units of the fields")]
pub enum HeaderError {
    /// An empty file.
    #[error("the file is empty, at offset 0x0")]
    Empty,
    /// No `SMF\0` at a position where a header may begin. `len` is the length of the file.
    #[error(
        "not an SMF file: no magic `SMF\\0` at offset 0x0, nor 128 or 96 bytes before the end at {len:#x}"
    )]
    NoMagic { len: u64 },
    /// A header of format version 0.1, in which `section_count` is at byte 12.
    #[error(
        "a header of format version 0.1 (section_count at byte 12), which is not supported, at offset {at:#x}"
    )]
    Legacy { at: u64 },
    /// A header with the magic, whose section table fits no layout.
    #[error(
        "a header whose section table fits none of the layouts native, packed and compact, at offset {at:#x}"
    )]
    NoLayout { at: u64 },
    /// Tables that fit two layouts.
    #[error(
        "the file is valid in the layout {first} and in the layout {second}, at offset {at:#x}"
    )]
    AmbiguousLayout { first: &'static str, second: &'static str, at: u64 },
    /// A module after an undeclared stub that fits at two offsets.
    #[error(
        "the stub is not declared and the module could begin at two places, at offset {first:#x} and at offset {second:#x}"
    )]
    AmbiguousBase { first: u64, second: u64 },
    /// The search for the end of an undeclared stub reached its work limit.
    #[error(
        "the stub is not declared and too many places look like the start of the module; declare smf_data_offset in the header at offset {at:#x}"
    )]
    BaseSearchLimit { at: u64 },
    /// A declared stub that is longer than the file.
    #[error("the stub ({size:#x} bytes) is longer than the file, at offset {at:#x}")]
    StubOutside { size: u64, at: u64 },
    /// An entry point outside the code.
    #[error("the entry point {offset:#x} lies outside the code section, at offset {at:#x}")]
    EntryPoint { offset: u64, at: u64 },
    /// A dynlib trailer without a shared object before it.
    #[error("a dynlib trailer, but no ELF shared object before it, at offset {at:#x}")]
    NoSharedObject { at: u64 },
}
