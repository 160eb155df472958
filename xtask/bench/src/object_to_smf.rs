//! Converts an ELF object to a module without resolving anything: every relocation is left to the loader.
//!
//! Only for the objects of these benchmarks, and the opposite of `smf pack`. Each section, symbol and relocation
//! is converted to one of the module.

use object::read::elf::ElfFile64;
use object::read::{Object, ObjectSection, ObjectSymbol, RelocationTarget, SectionIndex};
use object::{LittleEndian, RelocationFlags, SymbolKind as ElfSymbolKind, elf};
use smf_core::format::write::{Module, NewSection, NewSymbol, Payload, Place};
use smf_core::format::{
    Binding, Header, Layout, Reloc, RelocKind, SectionFlags, SectionKind, SymbolKind,
};

/// The converted parts of a section.
struct Part<'d> {
    index: SectionIndex,
    kind: SectionKind,
    name: &'static [u8],
    reloc_name: &'static [u8],
    data: &'d [u8],
    relocs: Vec<Reloc>,
}

/// The module with the code and the data of `object`.
pub(crate) fn convert(object: &[u8]) -> Vec<u8> {
    let elf = ElfFile64::<LittleEndian>::parse(object).unwrap();
    let parts: Vec<_> = elf
        .sections()
        .filter_map(|section| {
            let (kind, name, reloc_name): (_, &[u8], &[u8]) = match section.name().unwrap() {
                ".text" => (SectionKind::Code, b".text", b".rela.text"),
                ".data.rel" => (SectionKind::Data, b".data", b".rela.data"),
                _ => return None,
            };
            let relocs = section.relocations().map(|(offset, reloc)| {
                let RelocationTarget::Symbol(symbol) = reloc.target() else {
                    panic!("a relocation without a symbol")
                };
                let RelocationFlags::Elf { r_type } = reloc.flags() else { unreachable!() };
                let kind = match r_type {
                    elf::R_X86_64_64 => RelocKind::Abs64,
                    elf::R_X86_64_PC32 => RelocKind::Pc32,
                    elf::R_X86_64_PLT32 => RelocKind::Plt32,
                    other => panic!("a relocation of type {other:?}"),
                };
                let symbol = u32::try_from(symbol.0 - 1).unwrap();
                Reloc { offset, symbol, kind, addend: reloc.addend() }
            });
            let (index, data, relocs) =
                (section.index(), section.data().unwrap(), relocs.collect());
            Some(Part { index, kind, name, reloc_name, data, relocs })
        })
        .collect();
    let sections: Vec<_> = parts.iter().flat_map(Part::sections).collect();
    // ELF symbol 0 is the undefined symbol; the numbers of the others are one less here.
    let symbols: Vec<_> = elf
        .symbols()
        .map(|symbol| {
            let at = parts.iter().position(|part| Some(part.index) == symbol.section_index());
            let exported = symbol.is_global() && at.is_some();
            NewSymbol {
                name: symbol.name_bytes().unwrap(),
                kind: match symbol.kind() {
                    ElfSymbolKind::Text => SymbolKind::Function,
                    _ => SymbolKind::Data,
                },
                binding: if exported { Binding::Global } else { Binding::Local },
                place: Place::Section(u16::try_from(2 * at.unwrap_or(0)).unwrap()),
                value: if exported { symbol.address() } else { 0 },
                size: if exported { symbol.size() } else { 0 },
                ..NewSymbol::default()
            }
        })
        .collect();
    let header = Header::default();
    let module = Module {
        layout: Layout::Packed,
        header,
        stub: &[],
        sections: &sections,
        symbols: &symbols,
    };
    let mut file = vec![0; module.file_len().unwrap()];
    module.write(&mut file).unwrap();
    file
}

impl Part<'_> {
    /// The section and its relocations.
    fn sections(&self) -> [NewSection<'_>; 2] {
        let flags = match self.kind {
            SectionKind::Code => SectionFlags::READ | SectionFlags::EXECUTE,
            _ => SectionFlags::READ | SectionFlags::WRITE,
        };
        let section = |kind, name, flags, payload| NewSection {
            kind,
            name,
            flags: SectionFlags(flags),
            alignment: 16,
            virtual_size: None,
            payload,
        };
        let relocs = Payload::Relocs(&self.relocs);
        [
            section(self.kind, self.name, flags, Payload::Bytes(self.data)),
            section(SectionKind::Reloc, self.reloc_name, SectionFlags::READ, relocs),
        ]
    }
}
