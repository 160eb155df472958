//! Modules as inputs of the packer.
//!
//! A module is linked as the relocatable object that [`convert`] makes of it. Its templates and its note join those of
//! the other modules ([`metadata`]). Possible instances that the program needs are compiled, or left to the loader if the
//! options say so ([`instances`]).
//! Modules come as files, in LSMF archives, and as members of `ar` archives; of an archive, those that are needed are
//! linked. Arrays of sections stay those of each module ([`section_arrays`]); constructors are sorted by priority
//! ([`init_arrays`]).

mod convert;
mod debug_info;
pub(super) mod elf_writer;
mod frames;
mod init_arrays;
mod inputs;
mod instances;
mod metadata;
mod section_arrays;
mod thread_local;

pub(super) use self::init_arrays::part_symbols;
pub(super) use self::inputs::Inputs;
pub(super) use self::instances::Instances;
pub(super) use self::metadata::{ExtraSection, merge as merge_metadata};
