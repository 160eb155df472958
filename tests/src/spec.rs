//! Modules generated from any bytes: equal bytes generate equal modules.
//!
//! Property tests and fuzz targets supply the bytes. The result is a module that its layout can express; the writer
//! writes it, and the reader's view is compared with it. Payloads and names contain no byte `S`, so that no header
//! appears in them by chance.

use std::fmt::Write as _;

use smf_core::format::bytes::Cursor;
use smf_core::format::write::{Module, NewSection, NewSymbol, Payload, Place};
use smf_core::format::{
    AppType, Arch, Binding, Compression, Flags, Header, Layout, Platform, Reloc, RelocKind,
    SectionFlags, SectionKind, Smf, SymbolFlags, SymbolKind,
};
use smf_core::format::{MAGIC, SECTION_NAME};

const NOTE: &[u8] = b"possible |template, type_args, mangled_name|\n    \"A\", \"B\", \"A$B\"\n";
const TEMPLATES: &[u8] = b"GTPL\x01\x00\x01\x00\x00\x00\x00\x02\x00\x00\x00id\x01";
const META: &[u8] = b"META\x01\x00\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00";

/// An owned module that the writer and the reader accept.
#[derive(Clone, Debug)]
pub struct Spec {
    layout: Layout,
    header: Header,
    stub: Vec<u8>,
    sections: Vec<Section>,
    symbols: Vec<Symbol>,
}

#[derive(Clone, Debug)]
struct Section {
    kind: SectionKind,
    name: Vec<u8>,
    flags: u32,
    alignment: u64,
    virtual_size: u64,
    bytes: Vec<u8>,
    relocs: Vec<Reloc>,
}

#[derive(Clone, Debug)]
struct Symbol {
    name: String,
    kind: SymbolKind,
    binding: Binding,
    place: Place,
    visibility: u8,
    flags: u8,
    value: u64,
    size: u64,
    numbers: [u32; 2],
    params: u8,
    template_offset: u64,
}

/// Reads numbers from bytes; zeros after their end.
struct Draw<'a>(Cursor<'a>);

impl Draw<'_> {
    fn byte(&mut self) -> u8 {
        self.0.u8().unwrap_or(0)
    }

    fn number(&mut self) -> u64 {
        u64::from_le_bytes([(); 8].map(|()| self.byte()))
    }

    /// A number below `end`, which is not 0.
    fn below(&mut self, end: u64) -> u64 {
        let wide = u64::from(self.byte()) << 8 | u64::from(self.byte());
        wide % end
    }

    fn index(&mut self, len: usize) -> usize {
        usize::try_from(self.below(len as u64)).unwrap()
    }

    fn one_of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.index(choices.len())]
    }

    fn bytes(&mut self, most: u64) -> Vec<u8> {
        (0..self.below(most)).map(|_| self.byte() & 0xaf).collect()
    }

    /// Lower-case letters followed by `number`, so that names are unique and none is `main`.
    fn name(&mut self, number: usize, most: usize) -> String {
        let mut name: String = (0..self.index(most)).map(|_| self.letter()).collect();
        write!(name, "{number}").unwrap();
        name
    }

    fn letter(&mut self) -> char {
        char::from(b'a' + self.byte() % 16)
    }
}

impl Spec {
    /// The module generated from `bytes`.
    pub fn draw(bytes: &[u8]) -> Self {
        let mut draw = Draw(Cursor::new(bytes));
        let layout = draw.one_of(&[Layout::Packed, Layout::Native]);
        let mut spec = Spec {
            layout,
            header: header(&mut draw),
            stub: Vec::new(),
            sections: Vec::new(),
            symbols: Vec::new(),
        };
        if layout == Layout::Packed {
            spec.stub = draw.bytes(60);
        }
        // One at least: a packed header without sections may read as that of a dynlib.
        let sections = 1 + draw.index(7);
        (0..sections).for_each(|number| spec.draw_section(&mut draw, number));
        let symbols = draw.index(12);
        (0..symbols).for_each(|number| spec.draw_symbol(&mut draw, number));
        spec.draw_relocs(&mut draw);
        if let Some(code) = spec.first(SectionKind::Code) {
            spec.header.entry_point = draw.below(code.virtual_size.max(1));
        }
        spec
    }

    /// The layout in which it is written.
    pub fn layout(&self) -> Layout {
        self.layout
    }

    fn first(&self, kind: SectionKind) -> Option<&Section> {
        self.sections.iter().find(|section| section.kind == kind)
    }

    fn draw_section(&mut self, draw: &mut Draw<'_>, number: usize) {
        use SectionKind as S;
        let common = [S::Code, S::Data, S::RoData, S::Bss, S::StrTab, S::Note, S::TemplateCode];
        let mut rare = vec![S::TemplateMeta, S::Debug, S::SymTab, S::DrvManifest, S::Unknown(200)];
        // Each layout has some that the other cannot express.
        rare.extend_from_slice(match self.layout {
            Layout::Native => &[S::TypeInfo, S::Version, S::SrcMap],
            _ => &[S::Unknown(10), S::Unknown(11)],
        });
        let mut kind =
            if draw.byte().is_multiple_of(4) { draw.one_of(&rare) } else { draw.one_of(&common) };
        if matches!(kind, S::StrTab | S::Note) && self.first(kind).is_some() {
            kind = S::RoData;
        }
        let (name, bytes) = match kind {
            S::Note => (b"note.sdn".to_vec(), NOTE.to_vec()),
            S::TemplateCode => (draw.name(number, 8).into_bytes(), TEMPLATES.to_vec()),
            S::TemplateMeta => (draw.name(number, 8).into_bytes(), META.to_vec()),
            S::StrTab | S::Bss => (draw.name(number, 8).into_bytes(), Vec::new()),
            _ => (draw.name(number, SECTION_NAME - 1).into_bytes(), draw.bytes(200)),
        };
        let more = match kind {
            S::Bss => 1 + draw.below(5000),
            // Neither is loaded, and a converter may rewrite them.
            S::StrTab | S::Note => 0,
            _ => draw.below(3) * draw.below(100),
        };
        self.sections.push(Section {
            kind,
            name,
            flags: u32::from(draw.byte() & 7),
            alignment: 1 << draw.below(13),
            virtual_size: bytes.len() as u64 + more,
            bytes,
            relocs: Vec::new(),
        });
    }

    /// The section of a symbol of this kind when the file does not state one.
    fn default_section(&self, kind: SymbolKind) -> Option<usize> {
        let wanted = match kind {
            SymbolKind::Function => SectionKind::Code,
            SymbolKind::Data | SymbolKind::Constant => SectionKind::Data,
            _ => return None,
        };
        self.sections.iter().position(|section| section.kind == wanted)
    }

    fn draw_symbol(&mut self, draw: &mut Draw<'_>, number: usize) {
        use SymbolKind as K;
        let mut kinds = vec![K::Function, K::Data, K::Constant, K::Type, K::Trait, K::Actor];
        kinds.push(if self.layout == Layout::Native { K::None } else { K::Section });
        let kind = draw.one_of(&kinds);
        let mut binding = draw.one_of(&[Binding::Local, Binding::Global, Binding::Weak]);
        let place = self.draw_place(draw, kind);
        match (kind, place) {
            (K::Section, _) => binding = Binding::Local,
            // A local type with a section is a section symbol; an import is never local.
            (K::Type, Place::Section(_)) | (_, Place::Import) if binding == Binding::Local => {
                binding = Binding::Weak;
            }
            _ => {}
        }
        let room = match place {
            Place::Import => 0,
            Place::Section(index) => self.sections[usize::from(index)].virtual_size,
            Place::Unstated => {
                self.default_section(kind).map_or(0, |index| self.sections[index].virtual_size)
            }
        };
        let value = draw.below(room + 1);
        self.symbols.push(Symbol {
            name: draw.name(number, 24),
            kind,
            binding,
            place,
            visibility: draw.byte(),
            flags: draw.byte(),
            value,
            size: draw.below(room - value + 1),
            numbers: [draw.byte().into(), draw.byte().into()],
            params: draw.byte(),
            template_offset: draw.number(),
        });
    }

    fn draw_place(&self, draw: &mut Draw<'_>, kind: SymbolKind) -> Place {
        let default = self.default_section(kind);
        let packed = self.layout == Layout::Packed;
        let stated = u16::try_from(draw.index(self.sections.len())).unwrap();
        if kind == SymbolKind::Section {
            return Place::Section(stated);
        }
        let homeless = kind.has_address() && default.is_none();
        // Functions do not lie in data.
        let data = [SectionKind::Data, SectionKind::RoData, SectionKind::Bss];
        let is_data = data.contains(&self.sections[usize::from(stated)].kind);
        let is_fitting = kind != SymbolKind::Function || !is_data;
        match draw.byte() % 4 {
            0 => Place::Import,
            1 | 2 if packed && is_fitting => Place::Section(stated),
            1 if default.is_some() => Place::Section(u16::try_from(default.unwrap()).unwrap()),
            _ if homeless => Place::Import,
            _ => Place::Unstated,
        }
    }

    /// Relocation sections for some of the other sections, if there are symbols to relocate against.
    fn draw_relocs(&mut self, draw: &mut Draw<'_>) {
        if self.symbols.is_empty() {
            return;
        }
        let kinds: Vec<RelocKind> = (0..=9)
            .map(|number| self.layout.reloc_kind(number))
            .filter(|kind| !matches!(kind, RelocKind::Unknown(_)))
            .collect();
        for target in 0..self.sections.len() {
            let Section { name, virtual_size: room, .. } = &self.sections[target];
            let mut reloc_name = b".rela.".to_vec();
            reloc_name.extend_from_slice(name);
            if reloc_name.len() > SECTION_NAME || *room < 8 || draw.byte().is_multiple_of(2) {
                continue;
            }
            let relocs: Vec<Reloc> = (0..draw.below(6))
                .map(|_| Reloc {
                    offset: draw.below(room - 7),
                    symbol: u32::try_from(draw.index(self.symbols.len())).unwrap(),
                    kind: draw.one_of(&kinds),
                    addend: draw.number().cast_signed(),
                })
                .collect();
            self.sections.push(Section {
                kind: SectionKind::Reloc,
                name: reloc_name,
                flags: SectionFlags::READ,
                alignment: 8,
                virtual_size: 24 * relocs.len() as u64,
                bytes: Vec::new(),
                relocs,
            });
        }
    }

    /// The file that the writer produces.
    ///
    /// # Panics
    /// If the writer refuses, or does not fill a buffer of the length that it requested.
    pub fn write(&self) -> Vec<u8> {
        let sections: Vec<NewSection<'_>> = self.sections.iter().map(Section::as_new).collect();
        let symbols: Vec<NewSymbol<'_>> = self.symbols.iter().map(Symbol::as_new).collect();
        let module = Module {
            layout: self.layout,
            header: self.header,
            stub: &self.stub,
            sections: &sections,
            symbols: &symbols,
        };
        let mut file = vec![0xaa; module.file_len().unwrap()];
        assert_eq!(module.write(&mut file).unwrap(), file.len());
        let short = file.len() - 1;
        assert!(module.write(&mut vec![0; short]).is_err());
        file
    }

    /// Asserts that `smf` is this module.
    ///
    /// # Panics
    /// If it is not.
    pub fn assert_read(&self, smf: &Smf<'_>) {
        assert_eq!(smf.layout(), self.layout);
        assert_eq!(smf.base(), self.stub.len() as u64);
        self.assert_header(&smf.header());
        let found: Vec<_> = smf.sections().iter().collect();
        assert_eq!(found.len(), self.sections.len());
        for (found, section) in found.iter().zip(&self.sections) {
            section.assert_read(found);
        }
        let found: Vec<_> = smf.symbols().iter().map(Result::unwrap).collect();
        assert_eq!(found.len(), self.symbols.len());
        for (found, symbol) in found.iter().zip(&self.symbols) {
            symbol.assert_read(found, self.default_section(symbol.kind));
        }
        let mut tables = smf.reloc_tables();
        for section in self.sections.iter().filter(|s| s.kind == SectionKind::Reloc) {
            let table = tables.next().unwrap().unwrap();
            assert_eq!(Some(table.target.name), section.name.strip_prefix(b".rela."));
            assert!(table.iter().eq(section.relocs.iter().copied()));
        }
        assert!(tables.next().is_none());
        smf.verify().unwrap();
    }

    fn assert_header(&self, found: &Header) {
        let exports = self.symbols.iter().filter(|symbol| symbol.is_export()).count();
        let stub = u32::try_from(self.stub.len()).unwrap();
        let stub_flag = if stub == 0 { 0 } else { Flags::HAS_STUB };
        let expected = Header {
            flags: Flags(self.header.flags.0 & !Flags::HAS_STUB | stub_flag),
            section_count: u32::try_from(self.sections.len()).unwrap(),
            exported_count: u32::try_from(exports).unwrap(),
            stub_size: stub,
            data_offset: stub,
            // Known only from the file.
            section_table: found.section_table,
            symbol_table: found.symbol_table,
            symbol_count: if self.symbols.is_empty() {
                self.header.symbol_count
            } else {
                u32::try_from(self.symbols.len()).unwrap()
            },
            ..self.header
        };
        assert_eq!(*found, expected);
    }
}

/// Whether the end of a native file happens to look like a trailer, so that a reader may take the file for
/// another one.
pub fn is_ambiguous(layout: Layout, file: &[u8]) -> bool {
    let magic_before_end = |len: usize| {
        file.len().checked_sub(len).is_some_and(|at| at != 0 && file[at..].starts_with(&MAGIC))
    };
    layout == Layout::Native && (magic_before_end(128) || magic_before_end(96))
}

fn header(draw: &mut Draw<'_>) -> Header {
    let compression = draw.one_of(&[Compression::NONE, Compression::ZSTD, Compression::LZ4]);
    Header {
        version: (draw.byte(), draw.byte()),
        platform: Platform(draw.byte()),
        arch: Arch(draw.byte()),
        flags: Flags(u32::from_le_bytes([(); 4].map(|()| draw.byte()))),
        compression,
        // Without sections, a compression level of zero may read as the section count of an old header,
        // and a hash that ends in 2 as the role of a dynlib.
        compression_level: if compression == Compression::NONE { 0 } else { draw.byte() },
        module_hash: draw.number() | 1,
        source_hash: draw.number(),
        app_type: AppType(draw.byte()),
        window_width: draw.byte().into(),
        window_height: draw.byte().into(),
        prefetch_hint: draw.byte(),
        prefetch_files: draw.byte(),
        symbol_count: draw.byte().into(),
        ..Header::default()
    }
}

impl Section {
    fn as_new(&self) -> NewSection<'_> {
        let payload = match self.kind {
            SectionKind::Reloc => Payload::Relocs(&self.relocs),
            SectionKind::StrTab => Payload::Strings,
            _ => Payload::Bytes(&self.bytes),
        };
        NewSection {
            kind: self.kind,
            name: &self.name,
            flags: SectionFlags(self.flags),
            alignment: self.alignment,
            virtual_size: (self.kind != SectionKind::StrTab).then_some(self.virtual_size),
            payload,
        }
    }

    fn assert_read(&self, found: &smf_core::format::Section<'_>) {
        assert_eq!((found.kind, found.name), (self.kind, &self.name[..]));
        assert_eq!((found.flags.0, found.alignment), (self.flags, self.alignment));
        match self.kind {
            SectionKind::Reloc => assert_eq!(found.data.len(), 24 * self.relocs.len()),
            SectionKind::StrTab => assert_eq!(found.data.first(), Some(&0)),
            _ => {
                assert_eq!(found.data, self.bytes);
                assert_eq!(found.memory_size(), self.virtual_size);
            }
        }
    }
}

impl Symbol {
    fn as_new(&self) -> NewSymbol<'_> {
        NewSymbol {
            name: self.name.as_bytes(),
            kind: self.kind,
            binding: self.binding,
            place: self.place,
            visibility: self.visibility,
            flags: SymbolFlags(self.flags),
            value: self.value,
            size: self.size,
            type_id: self.numbers[0],
            version: self.numbers[1],
            template_params: self.params,
            template_offset: self.template_offset,
        }
    }

    fn is_export(&self) -> bool {
        self.place != Place::Import && self.binding != Binding::Local
    }

    fn assert_read(&self, found: &smf_core::format::Symbol<'_>, default: Option<usize>) {
        assert_eq!(found.name(), self.name.as_bytes());
        assert_eq!((found.kind, found.binding), (self.kind, self.binding));
        assert_eq!(found.defined, self.place != Place::Import);
        assert_eq!((found.value, found.size), (self.value, self.size));
        assert_eq!([found.type_id, found.version], self.numbers);
        assert_eq!(
            (found.flags.0, found.template_params, found.template_offset),
            (self.flags, self.params, self.template_offset)
        );
        let section = match self.place {
            Place::Import => None,
            Place::Section(index) => Some(u32::from(index)),
            Place::Unstated => default.map(|index| u32::try_from(index).unwrap()),
        };
        assert_eq!(found.section, section);
    }
}
