//! What a module consists of, independent of how a layout encodes it.

pub(crate) mod header;
pub(crate) mod reloc;
pub(crate) mod section;
pub(crate) mod symbol;
pub(crate) mod template;
