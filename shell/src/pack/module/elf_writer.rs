//! Writes a relocatable ELF object, the form in which a module is linked.
//!
//! Source: System V ABI, chapter 4.

use ::object::LittleEndian as LE;
use ::object::elf::{self, FileHeader64, Ident, Rela64, SectionHeader64, Sym64};
use ::object::pod::{Pod, bytes_of, bytes_of_slice};

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

impl ElfSection {
    /// A section of these bytes, aligned to 8, without relocations.
    pub(in crate::pack) fn new(
        name: &[u8],
        kind: elf::SectionType,
        flags: u64,
        bytes: Vec<u8>,
    ) -> Self {
        let (name, size) = (name.to_vec(), bytes.len() as u64);
        Self { name, kind, flags, bytes, size, alignment: 8, relocs: Vec::new() }
    }
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

impl ElfSymbol {
    /// An undefined symbol that is visible to all objects.
    pub(in crate::pack) fn new(
        name: &[u8],
        binding: elf::SymbolBind,
        kind: elf::SymbolType,
    ) -> Self {
        let (visibility, place) = (elf::STV_DEFAULT, ElfPlace::Undefined);
        Self { name: name.to_vec(), binding, kind, visibility, place, value: 0, size: 0 }
    }

    /// The symbol of the section with this index in [`ElfObject::sections`].
    pub(in crate::pack) fn of_section(section: usize) -> Self {
        let place = ElfPlace::Section(section);
        Self { place, ..Self::new(&[], elf::STB_LOCAL, elf::STT_SECTION) }
    }
}

/// An object.
pub(in crate::pack) struct ElfObject {
    pub(in crate::pack) machine: elf::Machine,
    pub(in crate::pack) sections: Vec<ElfSection>,
    pub(in crate::pack) symbols: Vec<ElfSymbol>,
}

/// The header of a section of `size` bytes. Its name and its offset are set when it is appended.
fn header(kind: elf::SectionType, size: usize) -> SectionHeader64<LE> {
    SectionHeader64 {
        sh_name: 0.into(),
        sh_type: kind.into(),
        sh_flags: elf::SectionFlags(0).into(),
        sh_addr: 0.into(),
        sh_offset: 0.into(),
        sh_size: (size as u64).into(),
        sh_link: 0.into(),
        sh_info: 0.into(),
        sh_addralign: 0.into(),
        sh_entsize: 0.into(),
    }
}

/// The file being made: its contents, which start with space for the file header, the section headers and their names.
struct Writer {
    file: Vec<u8>,
    headers: Vec<SectionHeader64<LE>>,
    names: Vec<u8>,
}

impl Writer {
    /// Appends the contents of a section and its header.
    fn section(&mut self, name: &[u8], bytes: &[u8], header: SectionHeader64<LE>) {
        self.file.resize(self.file.len().next_multiple_of(8), 0);
        let sh_offset = (self.file.len() as u64).into();
        self.file.extend_from_slice(bytes);
        let sh_name = (self.names.len() as u32).into();
        self.names.extend_from_slice(name);
        self.names.push(0);
        self.headers.push(SectionHeader64 { sh_name, sh_offset, ..header });
    }

    /// Appends a table, whose header has these two numbers of other parts.
    fn table<T: Pod>(
        &mut self,
        name: &[u8],
        kind: elf::SectionType,
        entries: &[T],
        (link, info): (u32, u32),
    ) {
        let bytes = bytes_of_slice(entries);
        let header = SectionHeader64 {
            sh_link: link.into(),
            sh_info: info.into(),
            sh_addralign: 8.into(),
            sh_entsize: (size_of::<T>() as u64).into(),
            ..header(kind, bytes.len())
        };
        self.section(name, bytes, header);
    }

    /// Appends the section names and the section headers, and fills in the file header.
    fn finish(mut self, machine: elf::Machine) -> Vec<u8> {
        let names = [&*self.names, b".shstrtab\0"].concat();
        self.section(b".shstrtab", &names, header(elf::SHT_STRTAB, names.len()));
        self.file.resize(self.file.len().next_multiple_of(8), 0);
        let table = self.file.len() as u64;
        self.file.extend_from_slice(bytes_of_slice(&self.headers));

        let count = self.headers.len() as u16;
        let header = FileHeader64::<LE> {
            e_ident: Ident {
                magic: elf::ELFMAG,
                class: elf::ELFCLASS64,
                data: elf::ELFDATA2LSB,
                version: elf::EV_CURRENT,
                os_abi: elf::ELFOSABI_NONE,
                abi_version: 0,
                padding: [0; 7],
            },
            e_type: elf::ET_REL.into(),
            e_machine: machine.into(),
            e_version: u32::from(elf::EV_CURRENT.0).into(),
            e_entry: 0.into(),
            e_phoff: 0.into(),
            e_shoff: table.into(),
            e_flags: elf::FileFlags(0).into(),
            e_ehsize: (size_of::<FileHeader64<LE>>() as u16).into(),
            e_phentsize: 0.into(),
            e_phnum: 0.into(),
            e_shentsize: (size_of::<SectionHeader64<LE>>() as u16).into(),
            e_shnum: count.into(),
            e_shstrndx: elf::SymbolSection(count.saturating_sub(1)).into(),
        };
        if let Some(start) = self.file.get_mut(..size_of_val(&header)) {
            start.copy_from_slice(bytes_of(&header));
        }
        self.file
    }
}

impl ElfObject {
    /// The bytes of the object. There are fewer than 2^15 sections.
    pub(in crate::pack) fn to_vec(&self) -> Vec<u8> {
        let file = vec![0; size_of::<FileHeader64<LE>>()];
        let mut writer = Writer { file, headers: Vec::new(), names: Vec::new() };
        writer.section(b"", &[], header(elf::SHT_NULL, 0));
        for section in &self.sections {
            let header = SectionHeader64 {
                sh_flags: elf::SectionFlags(section.flags).into(),
                sh_addralign: section.alignment.into(),
                sh_size: section.size.into(),
                ..header(section.kind, 0)
            };
            writer.section(&section.name, &section.bytes, header);
        }
        let symbols = self.sections.len() as u32 + 1;
        self.write_symbols(&mut writer, symbols + 1);
        for (number, section) in (1u32..).zip(&self.sections) {
            if section.relocs.is_empty() {
                continue;
            }
            let relocs = section.relocs.iter().map(|reloc| {
                let kind = elf::RelocationType(reloc.kind);
                Rela64 {
                    r_offset: reloc.offset.into(),
                    r_info: Rela64::r_info(LE, false, reloc.symbol.saturating_add(1), kind),
                    r_addend: reloc.addend.into(),
                }
            });
            let relocs: Vec<Rela64<LE>> = relocs.collect();
            let name = [b".rela", &*section.name].concat();
            writer.table(&name, elf::SHT_RELA, &relocs, (symbols, number));
        }
        writer.finish(self.machine)
    }

    /// Appends the symbol table, behind a null symbol, and its strings, which get the section number `strings`.
    fn write_symbols(&self, writer: &mut Writer, strings: u32) {
        let mut names = vec![0];
        let null = ElfSymbol::new(&[], elf::STB_LOCAL, elf::STT_NOTYPE);
        let symbols = std::iter::once(&null).chain(&self.symbols).map(|symbol| {
            let name = if symbol.name.is_empty() { 0 } else { names.len() as u32 };
            if name != 0 {
                names.extend_from_slice(&symbol.name);
                names.push(0);
            }
            let section = match symbol.place {
                ElfPlace::Undefined => elf::SHN_UNDEF,
                ElfPlace::Common => elf::SHN_COMMON,
                ElfPlace::Section(section) => elf::SymbolSection(section as u16 + 1),
            };
            Sym64 {
                st_name: name.into(),
                st_info: elf::SymbolInfo(symbol.binding.0 << 4 | symbol.kind.0),
                st_other: elf::SymbolOther(symbol.visibility.0),
                st_shndx: section.into(),
                st_value: symbol.value.into(),
                st_size: symbol.size.into(),
            }
        });
        let symbols: Vec<Sym64<LE>> = symbols.collect();
        writer.table(b".symtab", elf::SHT_SYMTAB, &symbols, (strings, 1));
        writer.section(b".strtab", &names, header(elf::SHT_STRTAB, names.len()));
    }
}
