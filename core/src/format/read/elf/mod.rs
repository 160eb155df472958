//! A relocatable ELF object in a code section, read as one more layout of a module.
//!
//! Its section headers, symbols and relocations become the same [`Section`]s, [`Symbol`](crate::format::read::symbol::Symbol)s
//! and [`Reloc`](crate::format::model::Reloc)s that a module's own tables give, so that mapping, linking and symbol lookup
//! are the same for both. Sections and symbols keep the numbers that the object gives them. A common
//! symbol is a section of zeroes of its own, whose number is that of the symbol counted on from the
//! last section.
//!
//! [`open`] checks every section header once; symbols and relocations are checked when they are asked
//! for. What a module cannot have is refused by its name: thread-local data, functions to be run at load
//! time, relocations without addends.
//!
//! Sources: System V ABI, chapter 4 "Object Files"; its supplements for x86-64 (4.4 "Relocation") and
//! aarch64 (AAELF64, 5.7).

mod check;
pub(crate) mod lookup;
pub(crate) mod open;
pub(crate) mod section;
pub(crate) mod symbol;
