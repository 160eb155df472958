//! A relocatable ELF object in a code section, read as another layout of a module.
//!
//! Section headers, symbols and relocations of the object become the same [`Section`]s,
//! [`Symbol`](crate::format::read::symbol::Symbol)s and [`Reloc`](crate::format::model::Reloc)s as those of a module's
//! own tables, so that mapping, linking and symbol lookup are the same for both. Sections and symbols retain their ELF
//! numbers. Each common symbol becomes a zero-initialised section of its own; its number is the number of section
//! headers plus the symbol number.
//!
//! [`open`] checks every section header once. Symbols and relocations are checked when they are read. Unsupported
//! features are refused by name: thread-local data, functions that run at load time, relocations without addends.
//!
//! Sources: System V ABI, chapter 4 "Object Files"; its supplements for x86-64 (4.4 "Relocation") and
//! aarch64 (AAELF64, 5.7).

pub(crate) mod open;
pub(crate) mod section;
pub(crate) mod symbol;
