//! The memory of the tables that a loader reads.

use crate::format::error::{FormatError, SharedObjectErrorKind as Kind};
use crate::format::read::shared_object::dynamic::Dynamic;
use crate::format::read::shared_object::image::Range;
use crate::format::wire::elf_tag::Tag;

/// The dynamic section, the program headers, and the tables of these entries.
const ENTRIES: [Tag; 11] = [
    Tag::STRTAB,
    Tag::SYMTAB,
    Tag::GNU_HASH,
    Tag::HASH,
    Tag::VERSYM,
    Tag::VERNEED,
    Tag::VERDEF,
    Tag::RELA,
    Tag::REL,
    Tag::JMPREL,
    Tag::RELR,
];

/// Tables, none of which shares bytes with another.
pub(crate) struct Tables {
    program_headers: [Range; 2],
    dynamic: Range,
    entries: [Range; ENTRIES.len()],
}

impl Tables {
    /// Takes the tables of [`ENTRIES`], in their order; those that are not there are empty.
    ///
    /// # Errors
    /// A table that shares bytes with another one, but for relocations of functions at the end of the others.
    pub(crate) fn new(
        dynamic: &Dynamic<'_>,
        program_headers: [Range; 2],
        entries: [Range; ENTRIES.len()],
    ) -> Result<Self, FormatError> {
        let tables = Self { program_headers, dynamic: dynamic.range(), entries };
        for (index, (tag, range)) in ENTRIES.into_iter().zip(entries).enumerate() {
            let others = ENTRIES.into_iter().zip(entries).take(index);
            let mut others = others.filter(|(other, range_of_other)| {
                let is_relocs = [Tag::RELA, Tag::REL].contains(other) && tag == Tag::JMPREL;
                !(is_relocs && range_of_other.ends_with(range))
            });
            let rest = tables.program_headers.into_iter().chain([tables.dynamic]);
            let overlaps = others.any(|(_, other)| other.overlaps(range))
                || rest.into_iter().any(|other| other.overlaps(range));
            if overlaps {
                return Err(dynamic.require(tag)?.refuse(Kind::TablesOverlap));
            }
        }
        Ok(tables)
    }

    /// Whether `range` shares bytes with one of them.
    pub(crate) fn overlap(&self, range: Range) -> bool {
        let tables = self.entries.into_iter().chain(self.program_headers).chain([self.dynamic]);
        tables.into_iter().any(|table| table.overlaps(range))
    }
}
