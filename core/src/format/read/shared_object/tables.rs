//! The addresses of the tables that a loader reads.

use crate::format::error::{Result, SharedObjectErrorKind as Kind};
use crate::format::read::shared_object::dynamic::Dynamic;
use crate::format::read::shared_object::image::Range;
use crate::format::wire::elf_tag::Tag;

/// The tags of the tables, besides the dynamic section and the program headers.
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

/// Tables that share no bytes with each other.
pub(crate) struct Tables {
    /// The program headers and the dynamic section.
    headers: [Range; 3],
    entries: [Range; ENTRIES.len()],
}

impl Tables {
    /// Takes the addresses of the tables of [`ENTRIES`], in that order; absent tables are empty.
    ///
    /// # Errors
    /// A table that shares bytes with another one. Function relocations at the end of the other relocations may be
    /// shared.
    pub(crate) fn new(
        dynamic: &Dynamic<'_>,
        [stated, mapped]: [Range; 2],
        entries: [Range; ENTRIES.len()],
    ) -> Result<Self> {
        let headers = [stated, mapped, dynamic.range];
        for (index, (tag, range)) in ENTRIES.into_iter().zip(entries).enumerate() {
            let others = ENTRIES.into_iter().zip(entries).take(index);
            let mut others = others.filter(|(other, range_of_other)| {
                let is_relocs = [Tag::RELA, Tag::REL].contains(other) && tag == Tag::JMPREL;
                !(is_relocs && range_of_other.ends_with(range))
            });
            if others.any(|(_, other)| other.overlaps(range))
                || headers.iter().any(|other| other.overlaps(range))
            {
                return Err(dynamic.require(tag)?.refuse(Kind::TablesOverlap));
            }
        }
        Ok(Self { headers, entries })
    }

    /// Whether `range` shares bytes with a table.
    pub(crate) fn overlap(&self, range: Range) -> bool {
        self.headers.iter().chain(&self.entries).any(|table| table.overlaps(range))
    }
}
