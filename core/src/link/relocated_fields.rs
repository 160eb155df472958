//! The fields of a module's data that the linker writes.

use alloc::vec::Vec;

use super::error::Result;
use crate::alloc_util::sort::sort;
use crate::alloc_util::{try_push, try_reserve};
use crate::format::ext::prelink::Prelink;
use crate::format::{SectionKind, Smf};

/// The relocated fields outside of code: section and offset, sorted.
pub(crate) struct RelocatedFields(Vec<(u32, u64)>);

impl RelocatedFields {
    pub(crate) fn of(smf: &Smf<'_>) -> Result<Self> {
        let mut fields = Vec::new();
        for table in smf.reloc_tables() {
            let table = table?;
            if table.target.kind != SectionKind::Code {
                try_reserve(&mut fields, table.len())?;
                fields.extend(table.iter().map(|reloc| (table.target.index, reloc.offset)));
            }
        }
        // They may be listed in the image only.
        if let Some(prelink) = Prelink::of(smf)? {
            for section in smf.sections().iter().filter(|s| s.kind != SectionKind::Code) {
                for offset in prelink.relative_places_in(&section) {
                    try_push(&mut fields, (section.index, offset))?;
                }
            }
        }
        sort(&mut fields);
        Ok(Self(fields))
    }

    /// Whether one of the fields overlaps `size` bytes at offset `value` of a section.
    pub(crate) fn overlap(&self, section: u32, value: u64, size: u64) -> bool {
        // A field has up to eight bytes and may start before them.
        let from = (section, value.saturating_sub(7));
        let first = self.0.partition_point(|field| *field < from);
        let end = (section, value.saturating_add(size));
        self.0.get(first).is_some_and(|field| *field < end)
    }
}
