//! Tables of the wire layouts, which state every offset, stride and number once, and access to bytes.

pub mod bytes;
pub(crate) mod elf_reloc;
pub(crate) mod elf_tag;
pub(crate) mod header;
pub(crate) mod layout;
pub(crate) mod library;
pub(crate) mod name;
pub(crate) mod note_name;
pub(crate) mod reloc;

pub(crate) use {bytes::*, layout::*, name::*};
