//! Writes a relocatable ELF object, the form in which a module is linked.
//!
//! Source: System V ABI, chapter 4.

use ::object::elf;

const HEADER: usize = 64;
const SECTION_HEADER: u16 = 64;
const SYMBOL: u64 = 24;
const RELA: u64 = 24;

/// A section.
pub(in crate::pack) struct ElfSection {
    pub(in crate::pack) name: Vec<u8>,
    pub(in crate::pack) kind: elf::SectionType,
    pub(in crate::pack) flags: u64,
    /// Empty for zeroes.
    pub(in crate::pack) bytes: Vec<u8>,
    /// Bytes in memory.
    pub(in crate::pack) size: u64,
    pub(in crate::pack) alignment: u64,
    pub(in crate::pack) relocs: Vec<ElfReloc>,
}

/// A relocation against the symbol with this index in [`ElfObject::symbols`].
pub(in crate::pack) struct ElfReloc {
    pub(in crate::pack) offset: u64,
    pub(in crate::pack) symbol: u32,
    pub(in crate::pack) kind: u32,
    pub(in crate::pack) addend: i64,
}

/// Where a symbol is defined.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::pack) enum ElfPlace {
    Undefined,
    /// Zeroes that the linker allocates; the value of the symbol is their alignment.
    Common,
    /// In the section with this index in [`ElfObject::sections`].
    Section(usize),
}

impl From<Option<usize>> for ElfPlace {
    fn from(section: Option<usize>) -> Self {
        section.map_or(ElfPlace::Undefined, ElfPlace::Section)
    }
}

/// A symbol.
#[derive(Clone)]
pub(in crate::pack) struct ElfSymbol {
    pub(in crate::pack) name: Vec<u8>,
    pub(in crate::pack) binding: elf::SymbolBind,
    pub(in crate::pack) kind: elf::SymbolType,
    pub(in crate::pack) visibility: elf::SymbolVisibility,
    pub(in crate::pack) place: ElfPlace,
    pub(in crate::pack) value: u64,
    pub(in crate::pack) size: u64,
}

/// An object.
pub(in crate::pack) struct ElfObject {
    pub(in crate::pack) machine: elf::Machine,
    pub(in crate::pack) sections: Vec<ElfSection>,
    pub(in crate::pack) symbols: Vec<ElfSymbol>,
}

/// The fields of a section header that differ between sections.
#[derive(Default)]
struct Fields {
    name: u32,
    kind: u32,
    flags: u64,
    offset: u64,
    size: u64,
    link: u32,
    info: u32,
    alignment: u64,
    entry: u64,
}

/// The file being made.
#[derive(Default)]
struct Writer {
    file: Vec<u8>,
    headers: Vec<Fields>,
    names: Vec<u8>,
}

impl Writer {
    /// Appends the contents of a section and its header.
    fn section(&mut self, name: &[u8], bytes: &[u8], fields: Fields) {
        self.file.resize(self.file.len().next_multiple_of(8), 0);
        let offset = self.file.len() as u64;
        self.file.extend_from_slice(bytes);
        let name_at = self.names.len() as u32;
        self.names.extend_from_slice(name);
        self.names.push(0);
        self.headers.push(Fields { name: name_at, offset, ..fields });
    }

    /// Appends the section headers and fills in the file header.
    fn finish(mut self, machine: elf::Machine) -> Vec<u8> {
        let names = std::mem::take(&mut self.names);
        let size = names.len() as u64 + b".shstrtab\0".len() as u64;
        self.section(
            b".shstrtab",
            &names,
            Fields { kind: elf::SHT_STRTAB.0, size, ..Fields::default() },
        );
        // The last name is that of the section itself, which was appended after the copy.
        self.file.extend_from_slice(b".shstrtab\0");
        self.file.resize(self.file.len().next_multiple_of(8), 0);
        let table = self.file.len() as u64;
        for header in &self.headers {
            for word in [header.name, header.kind] {
                self.file.extend_from_slice(&word.to_le_bytes());
            }
            for word in [header.flags, 0, header.offset, header.size] {
                self.file.extend_from_slice(&word.to_le_bytes());
            }
            for word in [header.link, header.info] {
                self.file.extend_from_slice(&word.to_le_bytes());
            }
            for word in [header.alignment, header.entry] {
                self.file.extend_from_slice(&word.to_le_bytes());
            }
        }
        let count = self.headers.len() as u16;
        let mut header = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
        for half in [elf::ET_REL.0, machine.0] {
            header.extend_from_slice(&half.to_le_bytes());
        }
        header.extend_from_slice(&1u32.to_le_bytes());
        for word in [0, 0, table] {
            header.extend_from_slice(&word.to_le_bytes());
        }
        header.extend_from_slice(&0u32.to_le_bytes());
        for half in [HEADER as u16, 0, 0, SECTION_HEADER, count, count.saturating_sub(1)] {
            header.extend_from_slice(&half.to_le_bytes());
        }
        if let Some(start) = self.file.get_mut(..HEADER) {
            start.copy_from_slice(&header);
        }
        self.file
    }
}

impl ElfObject {
    /// The bytes of the object. There are fewer than 2^15 sections.
    pub(in crate::pack) fn to_vec(&self) -> Vec<u8> {
        let mut writer = Writer { file: vec![0; HEADER], ..Writer::default() };
        writer.section(b"", &[], Fields::default());
        for section in &self.sections {
            let fields = Fields {
                kind: section.kind.0,
                flags: section.flags,
                size: section.size,
                alignment: section.alignment,
                ..Fields::default()
            };
            writer.section(&section.name, &section.bytes, fields);
        }
        let symbols = self.sections.len() as u32 + 1;
        self.write_symbols(&mut writer, symbols + 1);
        for (number, section) in (1u32..).zip(&self.sections) {
            if section.relocs.is_empty() {
                continue;
            }
            let mut bytes = Vec::with_capacity(section.relocs.len().saturating_mul(RELA as usize));
            for reloc in &section.relocs {
                let info = u64::from(reloc.symbol.saturating_add(1)) << 32 | u64::from(reloc.kind);
                for word in [reloc.offset, info, reloc.addend.cast_unsigned()] {
                    bytes.extend_from_slice(&word.to_le_bytes());
                }
            }
            let fields = Fields {
                kind: elf::SHT_RELA.0,
                size: bytes.len() as u64,
                link: symbols,
                info: number,
                alignment: 8,
                entry: RELA,
                ..Fields::default()
            };
            writer.section(&[b".rela", &*section.name].concat(), &bytes, fields);
        }
        writer.finish(self.machine)
    }

    /// Appends the symbol table, behind a null symbol, and its strings, which get the section number `strings`.
    fn write_symbols(&self, writer: &mut Writer, strings: u32) {
        let (mut table, mut names) = (vec![0; SYMBOL as usize], vec![0]);
        for symbol in &self.symbols {
            let name = if symbol.name.is_empty() { 0 } else { names.len() as u32 };
            if name != 0 {
                names.extend_from_slice(&symbol.name);
                names.push(0);
            }
            table.extend_from_slice(&name.to_le_bytes());
            table.push(symbol.binding.0 << 4 | symbol.kind.0);
            table.push(symbol.visibility.0);
            let section = match symbol.place {
                ElfPlace::Undefined => 0,
                ElfPlace::Common => elf::SHN_COMMON.0,
                ElfPlace::Section(section) => section as u16 + 1,
            };
            table.extend_from_slice(&section.to_le_bytes());
            table.extend_from_slice(&symbol.value.to_le_bytes());
            table.extend_from_slice(&symbol.size.to_le_bytes());
        }
        let fields = Fields {
            kind: elf::SHT_SYMTAB.0,
            size: table.len() as u64,
            link: strings,
            info: 1,
            alignment: 8,
            entry: SYMBOL,
            ..Fields::default()
        };
        writer.section(b".symtab", &table, fields);
        let fields =
            Fields { kind: elf::SHT_STRTAB.0, size: names.len() as u64, ..Fields::default() };
        writer.section(b".strtab", &names, fields);
    }
}
