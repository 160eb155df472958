//! Sections of an ELF object by number. The sections of common symbols follow the section headers.

use crate::format::model::SectionKind;
use crate::format::read::elf::section::{contents, header, header_count};
use crate::format::read::elf::symbol;
use crate::format::read::section::{Section, Sections};
use crate::format::wire::ELF_SECTION;

/// The number of sections, including those of common symbols.
pub(crate) fn section_count(sections: &Sections<'_>) -> usize {
    header_count(sections) + symbol::common_table(sections).len()
}

/// The section with number `index`; `None` past the end.
pub(crate) fn section<'d>(sections: &Sections<'d>, index: u32) -> Option<Section<'d>> {
    let at = usize::try_from(index).ok()?;
    let Some(header) = header(sections, index) else {
        return symbol::common_section(sections, at.checked_sub(header_count(sections))?, index);
    };
    let kind = header.section_kind(sections);
    let data = contents(sections, &header).unwrap_or(&[]);
    let size = if kind == SectionKind::Bss { header.size } else { data.len() as u64 };
    Some(Section {
        index,
        kind,
        flags: header.section_flags(),
        offset: sections.base.wrapping_add(header.offset),
        size,
        virtual_size: size,
        alignment: header.alignment,
        name: header.name(sections),
        data,
        entry_offset: sections.table_offset.saturating_add((at * ELF_SECTION) as u64),
    })
}

/// The section that the relocations in section `index` apply to.
pub(crate) fn reloc_target<'d>(sections: &Sections<'d>, index: u32) -> Option<Section<'d>> {
    section(sections, header(sections, index)?.info)
}
