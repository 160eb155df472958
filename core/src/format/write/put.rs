//! Writing of the parts of a file at their planned offsets.

use crate::alloc_util::hash::fnv1a_32;
use crate::format::model::{Binding, Flags};
use crate::format::wire::{
    IMPORT_SECTION, Layout, NATIVE_HEADER, RELOC, SECTION_MARKER, SYMBOL, bytes,
};
use crate::format::write::module::{Module, NewSection, NewSymbol, Payload, Place, Plan};

impl Module<'_> {
    /// Writes the module into `file`, which must have the planned length and be all zero.
    pub(crate) fn put(&self, file: &mut [u8], plan: &Plan) {
        let Some((stub, out)) = file.split_at_mut_checked(self.stub.len()) else { return };
        stub.copy_from_slice(self.stub);
        self.put_header(out, plan);
        self.put_sections(out, plan);
        self.put_symbols(out, plan);
    }

    fn put_header(&self, out: &mut [u8], plan: &Plan) {
        let mut header = self.header;
        let count = |len: usize| u32::try_from(len).unwrap_or(u32::MAX);
        header.section_count = count(self.sections.len());
        header.section_table = plan.sections;
        header.symbol_table = 0;
        header.exported_count = 0;
        if !self.symbols.is_empty() {
            header.symbol_table = plan.symbols;
            header.symbol_count = count(self.symbols.len());
            header.exported_count = count(self.symbols.iter().filter(|s| s.is_export()).count());
        }
        let stub = count(self.stub.len());
        (header.stub_size, header.data_offset) = (stub, stub);
        header.flags.0 &= !Flags::HAS_STUB;
        if stub != 0 {
            header.flags.0 |= Flags::HAS_STUB;
        }
        let mut bytes = [0; NATIVE_HEADER];
        header.encode(&mut bytes, self.layout);
        put(out, plan.header, &bytes);
    }

    fn put_sections(&self, out: &mut [u8], plan: &Plan) {
        let stride = self.layout.section_stride() as u64;
        let mut entry_at = plan.sections;
        for (offset, section) in self.placed() {
            let size = self.payload_len(section);
            put(out, entry_at, &[self.section_number(section).unwrap_or(0)]);
            put(out, entry_at + 4, &section.flags.0.to_le_bytes());
            put(out, entry_at + 8, &offset.to_le_bytes());
            put(out, entry_at + 16, &size.to_le_bytes());
            put(out, entry_at + 24, &section.virtual_size.unwrap_or(size).to_le_bytes());
            put(out, entry_at + 32, &section.alignment.to_le_bytes());
            put(out, entry_at + 40, section.name);
            self.put_payload(out, offset, section);
            entry_at += stride;
        }
    }

    fn put_payload(&self, out: &mut [u8], offset: u64, section: &NewSection<'_>) {
        match section.payload {
            Payload::Bytes(bytes) => put(out, offset, bytes),
            Payload::Relocs(relocs) => {
                let mut at = offset;
                for reloc in relocs {
                    put(out, at, &reloc.encode(self.layout.reloc_number(reloc.kind).unwrap_or(0)));
                    at += RELOC as u64;
                }
            }
            Payload::Strings => self.put_strings(out, offset),
            Payload::Space(_) => {}
        }
    }

    fn put_strings(&self, out: &mut [u8], offset: u64) {
        let mut at = offset + 1;
        for symbol in self.symbols {
            put(out, at, symbol.name);
            at += symbol.name.len() as u64 + 1;
        }
    }

    fn put_symbols(&self, out: &mut [u8], plan: &Plan) {
        let mut name_offset = 1u32;
        let mut at = plan.symbols;
        for symbol in self.symbols {
            symbol.put(out, at, self.layout, name_offset);
            let name = u32::try_from(symbol.name.len()).unwrap_or(u32::MAX);
            name_offset = name_offset.saturating_add(name).saturating_add(1);
            at += SYMBOL as u64;
        }
        if !self.symbols.is_empty() && !self.has_strings_section() {
            self.put_strings(out, plan.strings);
        }
    }
}

impl NewSymbol<'_> {
    fn put(&self, out: &mut [u8], at: u64, layout: Layout, name_offset: u32) {
        let bare = self.value == 0 && self.size == 0 && self.binding != Binding::Local;
        let visibility = match self.place {
            Place::Import => 0,
            _ if bare => self.visibility.max(1),
            _ => self.visibility,
        };
        put(out, at, &name_offset.to_le_bytes());
        put(out, at + 4, &fnv1a_32(self.name).to_le_bytes());
        let kind = layout.symbol_number(self.kind).unwrap_or(0);
        put(out, at + 8, &[kind, self.binding.number(), visibility, self.flags.0]);
        put(out, at + 16, &self.value.to_le_bytes());
        put(out, at + 24, &self.size.to_le_bytes());
        put(out, at + 32, &self.type_id.to_le_bytes());
        put(out, at + 36, &self.version.to_le_bytes());
        put(out, at + 40, &[self.template_params]);
        let section = match self.place {
            Place::Import => Some(IMPORT_SECTION),
            Place::Section(section) => Some(section),
            Place::Unstated => None,
        };
        if let (Some(section), Layout::Packed) = (section, layout) {
            put(out, at + 41, &section.to_le_bytes());
            put(out, at + 43, &[SECTION_MARKER]);
        }
        put(out, at + 48, &self.template_offset.to_le_bytes());
    }
}

/// Writes bytes into a file that is long enough for them.
fn put(out: &mut [u8], offset: u64, bytes: &[u8]) {
    let done = usize::try_from(offset).ok().and_then(|at| bytes::put(out, at, bytes));
    debug_assert!(done.is_some(), "the plan is as long as what is written");
}
