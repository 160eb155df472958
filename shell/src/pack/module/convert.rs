//! Converts a module to a relocatable ELF object, so that it is linked as one.
//!
//! Each section of the module becomes a section of the object, whose bytes stay together: distances inside a section
//! of a module are final. Distances between sections have relocations, prelinked or not. A module that omits them,
//! because its prelinked placement is the only valid one, cannot be linked again. The slots of indirect functions become
//! slots of the linked module.

use ::object::elf;
use smf_core::format::ext::tls::{self, TlsImport};
use smf_core::format::ext::{gnu_property, ifunc, needed, prelink};
use smf_core::format::{
    Arch, Binding, FormatError, Layout, Reloc, RelocKind, Section, SectionKind, Smf, Symbol,
    SymbolFlags, SymbolKind, functions,
};
use smf_core::link::{DSO_HANDLE, REQUIRES_CONSTRUCTORS, REQUIRES_UNWINDING, TRAP_HOOK};

use super::debug_info;
use super::elf_writer::{ElfObject, ElfPlace, ElfReloc, ElfSection, ElfSymbol};
use super::frames::Frames;
use super::init_arrays::split_arrays;
use super::thread_local;
use crate::pack::aarch64::page_offset_types;
use crate::pack::error::{PackError, Result};
use crate::pack::object::{PROPERTY_SECTION, text};
use crate::pack::output::IFUNC_SLOTS;

/// The section of unwinding tables, most of whose distances have no relocations.
const EH_FRAME: &[u8] = b".eh_frame";
/// The hidden symbol at the entry point of a module.
pub(super) const ENTRY: &str = "__smf_entry_point";
/// The maximum number of zeroes that become bytes because they belong to a section with other contents.
const MAX_PADDING: u64 = 64 << 20;
/// The maximum number of sections.
const MAX_SECTIONS: usize = 1 << 12;

/// Imports that the packer adds to the linked module again.
const MADE_AGAIN: [&[u8]; 4] =
    [needed::IMPORT, ifunc::NAME, REQUIRES_CONSTRUCTORS, REQUIRES_UNWINDING];

/// A module and its name in messages.
#[derive(Clone, Copy)]
pub(super) struct NamedModule<'n, 'd> {
    pub(super) name: &'n str,
    pub(super) smf: Smf<'d>,
}

/// Whether a module imports a symbol.
pub(super) fn imports(smf: &Smf<'_>, name: &[u8]) -> bool {
    let mut symbols = smf.symbols().iter().filter_map(Result::ok);
    symbols.any(|symbol| symbol.is_import() && symbol.name() == name)
}

/// Whether the header of a module states an entry point other than `main`.
pub(super) fn needs_entry(smf: &Smf<'_>) -> bool {
    let (value, code) = (smf.header().entry_point, smf.code().map(|code| code.index));
    let is_main = |symbol: &Symbol<'_>| {
        symbol.name() == b"main" && symbol.value == value && symbol.section == code
    };
    let mut symbols = smf.symbols().iter().filter_map(Result::ok);
    value != 0 && !symbols.any(|symbol| is_main(&symbol))
}

impl NamedModule<'_, '_> {
    pub(super) fn refused(&self, why: &'static str) -> PackError {
        PackError::ModuleRefused { module: self.name.to_owned(), why }
    }

    fn symbol_refused(&self, symbol: &Symbol<'_>, reason: &'static str) -> PackError {
        let symbol = text(symbol.name());
        PackError::BrokenSymbol { object: self.name.to_owned(), symbol, reason }
    }

    pub(super) fn malformed(&self, error: FormatError) -> PackError {
        PackError::Module { module: self.name.to_owned(), error }
    }

    fn malformed_at(&self, section: &[u8], offset: u64, reason: &'static str) -> PackError {
        let place = format!("{}, section `{}`", self.name, text(section));
        PackError::SectionContents { place, reason, offset }
    }

    /// The bytes of a relocatable object that is equivalent to the code and the data of the module, and to its debugging
    /// information if that is kept; `None` for one without code and data.
    ///
    /// # Errors
    /// A malformed module, or one that cannot be linked again.
    pub(super) fn to_object(self, keeps_debug_info: bool) -> Result<Option<Vec<u8>>> {
        let smf = &self.smf;
        smf.verify()
            .and_then(|()| smf.verify_compressed())
            .map_err(|error| self.malformed(error))?;
        match smf.layout() {
            Layout::Packed | Layout::Native => {}
            Layout::Dynlib => {
                return Err(self.refused("is a dynlib, which the system's loader opens as a whole"));
            }
            _ => return Err(self.refused("is in a layout without symbols and relocations")),
        }
        if let Some(code) = smf.code() {
            if functions::is_bytecode(code.data) {
                return Err(self.refused("holds bytecode, which is not linked"));
            }
            if code.data.starts_with(&elf::ELFMAG) {
                return Ok(Some(code.data.to_vec()));
            }
        }
        let machine = self.machine()?;
        let loaded: Vec<_> = smf.sections().iter().filter(|s| s.kind.is_loaded()).collect();
        if loaded.len() > MAX_SECTIONS {
            return Err(self.refused("has too many sections"));
        }
        if loaded.iter().all(|section| section.memory_size() == 0) {
            return Ok(None);
        }
        let mut sections =
            loaded.iter().map(|section| self.section(section)).collect::<Result<Vec<_>>>()?;
        self.mark_ifunc_slots(&mut sections)?;
        let mut object = ElfObject { machine, sections, symbols: Vec::new() };
        let number = |index: u32| loaded.iter().position(|section| section.index == index);
        for symbol in smf.symbols().iter() {
            let symbol = symbol.map_err(|error| self.malformed(error))?;
            object.symbols.push(self.symbol(&symbol, &number)?);
        }
        self.add_entry(&mut object, &number);
        let first = add_section_symbols(&mut object);
        let symbols = SectionSymbols { first, number: &number };
        self.add_relocs(&mut object, &symbols)?;
        self.add_frames(&mut object, &symbols)?;
        tie_together(&mut object, first);
        if keeps_debug_info {
            let symbol = |index| symbols.of(index);
            let added = debug_info::add(&self.smf, &mut object, &symbol);
            added.map_err(|error| self.malformed(error))?;
        }
        split_arrays(smf, &mut object);
        self.add_properties(&mut object);
        Ok(Some(object.to_vec()))
    }

    /// The bytes of a relocatable object for the machine of the module, without contents.
    pub(super) fn to_empty_object(self) -> Result<Vec<u8>> {
        let (machine, sections, symbols) = (self.machine()?, Vec::new(), Vec::new());
        Ok(ElfObject { machine, sections, symbols }.to_vec())
    }

    fn machine(&self) -> Result<elf::Machine> {
        match self.smf.header().arch {
            Arch::X86_64 => Ok(elf::EM_X86_64),
            Arch::AARCH64 => Ok(elf::EM_AARCH64),
            _ => Err(self.refused("is for a machine that is not supported")),
        }
    }

    fn section(&self, section: &Section<'_>) -> Result<ElfSection> {
        let alloc = elf::SHF_ALLOC.0;
        let write = elf::SHF_WRITE.0;
        let flags = match section.kind {
            SectionKind::Code => alloc | elf::SHF_EXECINSTR.0,
            SectionKind::RoData if section.name == tls::SECTION => alloc | write | elf::SHF_TLS.0,
            SectionKind::RoData => alloc,
            _ => alloc | write,
        };
        let size = section.memory_size();
        let is_storage = section.kind == SectionKind::RoData && section.name == tls::SECTION;
        let is_zeroes =
            section.kind == SectionKind::Bss || is_storage && section.data.is_empty() && size != 0;
        let mut bytes = Vec::new();
        if !is_zeroes {
            let contents = self.smf.contents(section).map_err(|error| self.malformed(error))?;
            bytes = contents.into_owned();
            let padding = size.saturating_sub(bytes.len() as u64);
            if padding > MAX_PADDING {
                return Err(self.refused("has more than 64 MiB of zeroes in a section with other contents; pack it in the packed layout, which has a section for zeroes"));
            }
            bytes.resize(bytes.len().saturating_add(padding as usize), 0);
        }
        let size = if is_zeroes { size } else { bytes.len() as u64 };
        let kind = if is_zeroes { elf::SHT_NOBITS } else { elf::SHT_PROGBITS };
        let (name, alignment) = (section.name.to_vec(), section.alignment.max(1));
        Ok(ElfSection { name, kind, flags, bytes, size, alignment, relocs: Vec::new() })
    }

    /// Renames the section with the slots of indirect functions, whose contents the loader resolves.
    fn mark_ifunc_slots(&self, sections: &mut [ElfSection]) -> Result<()> {
        if !imports(&self.smf, ifunc::NAME) {
            return Ok(());
        }
        let slots = sections.iter_mut().find(|section| section.name == ifunc::SECTION);
        let slots = slots.filter(|slots| {
            slots.flags & elf::SHF_WRITE.0 != 0
                && slots.kind == elf::SHT_PROGBITS
                && slots.size.is_multiple_of(ifunc::SLOT)
                && slots.alignment == ifunc::SLOT
        });
        let slots = slots.ok_or_else(|| {
            self.refused(
                "has indirect functions (IFUNC), and its section `.igot` is missing or malformed",
            )
        })?;
        slots.name = IFUNC_SLOTS.to_vec();
        Ok(())
    }

    fn symbol(
        &self,
        symbol: &Symbol<'_>,
        number: &dyn Fn(u32) -> Option<usize>,
    ) -> Result<ElfSymbol> {
        let binding = elf_binding(symbol.binding);
        let mut converted = ElfSymbol {
            value: symbol.value,
            size: symbol.size,
            ..ElfSymbol::new(symbol.name(), binding, elf::STT_NOTYPE)
        };
        if symbol.is_import() {
            self.check_import(symbol)?;
            if MADE_AGAIN.contains(&symbol.name()) {
                (converted.name, converted.binding) = (Vec::new(), elf::STB_LOCAL);
            }
            if let Some(name) = TlsImport::parse(symbol.name()).and_then(|import| import.symbol) {
                (converted.name, converted.kind) = (name.to_vec(), elf::STT_TLS);
            }
            return Ok(converted);
        }
        if symbol.binding == Binding::Local && symbol.name() == DSO_HANDLE {
            // References to it are found by its address.
            (converted.name, converted.binding) = (Vec::new(), elf::STB_LOCAL);
        }
        converted.place = symbol.section.and_then(number).into();
        if converted.place == ElfPlace::Undefined {
            let is_local = symbol.binding == Binding::Local || symbol.kind == SymbolKind::None;
            if !is_local {
                return Err(
                    self.symbol_refused(symbol, "it has no address, so that it cannot be linked")
                );
            }
            (converted.name, converted.binding) = (Vec::new(), elf::STB_LOCAL);
            return Ok(converted);
        }
        if let Some(name) = symbol.name().strip_prefix(tls::EXPORT).filter(|_| symbol.is_export()) {
            let index = self.smf.sections().named(tls::SECTION).map(|section| section.index);
            if index.is_none() || index != symbol.section {
                let reason = "it is thread-local and not in the storage of the module";
                return Err(self.symbol_refused(symbol, reason));
            }
            (converted.name, converted.kind) = (name.to_vec(), elf::STT_TLS);
            return Ok(converted);
        }
        converted.kind = match symbol.kind {
            SymbolKind::Function => elf::STT_FUNC,
            SymbolKind::Data | SymbolKind::Constant => elf::STT_OBJECT,
            _ => elf::STT_NOTYPE,
        };
        if let Some(alignment) = self.common_alignment(symbol) {
            (converted.place, converted.value) = (ElfPlace::Common, alignment);
        }
        Ok(converted)
    }

    /// An alignment that a common symbol has in the module; `None` for another symbol.
    fn common_alignment(&self, symbol: &Symbol<'_>) -> Option<u64> {
        let is_common = symbol.is_export() && symbol.flags.has(SymbolFlags::COMMON);
        let section = self.smf.section(symbol.section.filter(|_| is_common)?).ok()?;
        let by_offset = 1u64.checked_shl(symbol.value.trailing_zeros()).unwrap_or(u64::MAX);
        (section.kind == SectionKind::Bss).then(|| section.alignment.max(1).min(by_offset))
    }

    /// Refuses imports that stand for what this conversion does not carry over.
    fn check_import(&self, symbol: &Symbol<'_>) -> Result<()> {
        let name = symbol.name();
        if name == prelink::NAME {
            return Err(self.refused("is valid in its own placement only: pack it with `--emit-relocs`, which keeps its relocations; if that is done, link its objects, because no relocation expresses distances of 64 bits (-mcmodel=medium, -mcmodel=large)"));
        }
        let is_known = MADE_AGAIN.contains(&name)
            || name == TRAP_HOOK
            || TlsImport::parse(name).is_some()
            || !name.starts_with(b"__smf_requires_");
        if is_known {
            return Ok(());
        }
        Err(self.symbol_refused(symbol, "it stands for a feature of the module that the linker cannot carry over; link its objects"))
    }

    /// Adds a hidden symbol at the entry point, unless that is `main`, which needs none.
    fn add_entry(&self, object: &mut ElfObject, number: &dyn Fn(u32) -> Option<usize>) {
        let (value, code) = (self.smf.header().entry_point, self.smf.code());
        let Some(code) = code.filter(|_| needs_entry(&self.smf)) else { return };
        object.symbols.push(ElfSymbol {
            visibility: elf::STV_HIDDEN,
            place: number(code.index).into(),
            value,
            ..ElfSymbol::new(ENTRY.as_bytes(), elf::STB_GLOBAL, elf::STT_FUNC)
        });
    }

    fn add_relocs(&self, object: &mut ElfObject, symbols: &SectionSymbols<'_>) -> Result<()> {
        let mut handle = self.handle(object);
        let storage = self.smf.sections().named(tls::SECTION);
        let storage = storage.and_then(|section| symbols.of(section.index));
        let machine = object.machine;
        for table in self.smf.reloc_tables() {
            let table = table.map_err(|error| self.malformed(error))?;
            let number = (symbols.number)(table.target.index);
            let Some(section) = number.and_then(|at| object.sections.get_mut(at)) else {
                return Err(self.refused("has relocations for a section that is not loaded"));
            };
            for reloc in table.iter() {
                let symbol = self.smf.symbols().get(reloc.symbol);
                let symbol = symbol.map_err(|error| self.malformed(error))?;
                let import = TlsImport::parse(symbol.name()).filter(|_| symbol.is_import());
                let of_storage = match &import {
                    Some(import) => thread_local::relocs(machine, &reloc, import, storage, section),
                    None => Ok(None),
                };
                let of_storage = of_storage
                    .map_err(|reason| self.malformed_at(table.target.name, reloc.offset, reason))?;
                if let Some(relocs) = of_storage {
                    section.relocs.extend(relocs);
                    continue;
                }
                let mut made = self.reloc(machine, section, table.target.name, &reloc)?;
                if let Some(handle) = handle.as_mut().filter(|h| h.of_module == reloc.symbol) {
                    (made.symbol, handle.is_used) = (handle.of_object, true);
                }
                section.relocs.push(made);
            }
        }
        if handle.is_some_and(|handle| !handle.is_used) {
            return Err(self.refused("registers exit handlers under a `__dso_handle` that an object defines, or that its relocations do not name; link its objects"));
        }
        Ok(())
    }

    fn reloc(
        &self,
        machine: elf::Machine,
        section: &ElfSection,
        name: &[u8],
        reloc: &Reloc,
    ) -> Result<ElfReloc> {
        let &Reloc { offset, symbol, kind, addend } = reloc;
        let at = usize::try_from(offset).ok();
        let word = at.and_then(|at| section.bytes.get(at..)?.first_chunk());
        let word = word.map_or(0, |bytes| u32::from_le_bytes(*bytes));
        let elf_kind = reloc_type(machine, kind, word).ok_or_else(|| PackError::ModuleReloc {
            module: self.name.to_owned(),
            section: text(name),
            kind,
            offset,
        })?;
        Ok(ElfReloc { offset, symbol, kind: elf_kind, addend })
    }

    /// Adds the note with the properties of the code.
    fn add_properties(&self, object: &mut ElfObject) {
        let Some(note) = self.smf.sections().named(gnu_property::NAME) else { return };
        let (flags, bytes) = (elf::SHF_ALLOC.0, note.data.to_vec());
        object.sections.push(ElfSection::new(PROPERTY_SECTION, elf::SHT_NOTE, flags, bytes));
    }

    /// Adds the relocations of unwinding tables.
    fn add_frames(&self, object: &mut ElfObject, symbols: &SectionSymbols<'_>) -> Result<()> {
        let Some(table) = self.smf.sections().named(EH_FRAME) else { return Ok(()) };
        let machine = object.machine;
        let number = (symbols.number)(table.index);
        let Some(section) = number.and_then(|at| object.sections.get_mut(at)) else {
            return Ok(());
        };
        let relocated = section.relocs.iter().map(|reloc| reloc.offset).collect();
        let symbol = |index| symbols.of(index);
        let frames =
            Frames { smf: &self.smf, section: &table, machine, relocated, symbol: &symbol };
        let relocs = frames.relocs(&mut section.bytes);
        let relocs =
            relocs.map_err(|(offset, reason)| self.malformed_at(EH_FRAME, offset, reason))?;
        section.relocs.extend(relocs);
        Ok(())
    }

    /// Adds the undefined symbol that takes the place of the address by which code of the module registers exit handlers.
    fn handle(&self, object: &mut ElfObject) -> Option<Handle> {
        let is_handle = |s: &Symbol<'_>| s.binding == Binding::Local && s.name() == DSO_HANDLE;
        let mut symbols = (0u32..).zip(self.smf.symbols().iter());
        let (of_module, _) = symbols.find(|(_, symbol)| symbol.as_ref().is_ok_and(is_handle))?;
        let of_object = object.symbols.len() as u32;
        object.symbols.push(ElfSymbol {
            visibility: elf::STV_HIDDEN,
            ..ElfSymbol::new(DSO_HANDLE, elf::STB_GLOBAL, elf::STT_NOTYPE)
        });
        Some(Handle { of_module, of_object, is_used: false })
    }
}

/// The symbols of the sections of an object, which are numbered as in the module.
struct SectionSymbols<'n> {
    /// The number of the first one.
    first: u32,
    number: &'n dyn Fn(u32) -> Option<usize>,
}

impl SectionSymbols<'_> {
    /// The symbol of the section with this index in the module.
    fn of(&self, index: u32) -> Option<u32> {
        self.first.checked_add(u32::try_from((self.number)(index)?).ok()?)
    }
}

/// The address by which code of a module registers exit handlers: the numbers of its symbol in the module and of the
/// undefined one in the object.
struct Handle {
    of_module: u32,
    of_object: u32,
    /// A relocation refers to it.
    is_used: bool,
}

/// Adds a symbol at the start of every section and returns the number of the first one.
fn add_section_symbols(object: &mut ElfObject) -> u32 {
    let first = object.symbols.len() as u32;
    object.symbols.extend((0..object.sections.len()).map(ElfSymbol::of_section));
    first
}

/// Makes every section reachable from every other one, so that the module is linked as a whole: each refers to the next
/// one, and one also to those that have no contents. The symbols of the sections start with the number `first`. Unwinding
/// tables are kept for the functions that they describe.
fn tie_together(object: &mut ElfObject, first: u32) {
    let linked = object.sections.iter().zip(0u32..).filter(|(section, _)| section.name != EH_FRAME);
    let (zeroes, ring): (Vec<_>, Vec<_>) =
        linked.partition(|(section, _)| section.kind == elf::SHT_NOBITS);
    let [zeroes, ring] =
        [zeroes, ring].map(|all| all.into_iter().map(|(_, n)| n).collect::<Vec<_>>());
    let Some(&head) = ring.first() else { return };
    let next = ring.iter().skip(1).chain([&head]);
    let pairs = ring.iter().zip(next).chain(zeroes.iter().map(|zero| (&head, zero)));
    for (&from, &to) in pairs {
        let Some(section) = object.sections.get_mut(from as usize) else { continue };
        // Type 0, which changes nothing, on every machine.
        section.relocs.push(ElfReloc { offset: 0, symbol: first + to, kind: 0, addend: 0 });
    }
}

/// The ELF type of a relocation. `word`: the instruction that it changes.
pub(super) fn reloc_type(machine: elf::Machine, kind: RelocKind, word: u32) -> Option<u32> {
    let kind = match (machine, kind) {
        (_, RelocKind::None) => return Some(0),
        (elf::EM_X86_64, RelocKind::Abs64) => elf::R_X86_64_64,
        (elf::EM_X86_64, RelocKind::Pc32) => elf::R_X86_64_PC32,
        (elf::EM_X86_64, RelocKind::Plt32) => elf::R_X86_64_PLT32,
        (elf::EM_X86_64, RelocKind::GotPcRel) => elf::R_X86_64_GOTPCREL,
        (elf::EM_X86_64, RelocKind::Abs32) => elf::R_X86_64_32,
        (elf::EM_X86_64, RelocKind::Abs32S) => elf::R_X86_64_32S,
        (elf::EM_AARCH64, RelocKind::Abs64) => elf::R_AARCH64_ABS64,
        (elf::EM_AARCH64, RelocKind::Pc32) => elf::R_AARCH64_PREL32,
        (elf::EM_AARCH64, RelocKind::Plt32) => elf::R_AARCH64_PLT32,
        (elf::EM_AARCH64, RelocKind::Arm64Branch26) => elf::R_AARCH64_CALL26,
        (elf::EM_AARCH64, RelocKind::Arm64Page21) => elf::R_AARCH64_ADR_PREL_PG_HI21,
        (elf::EM_AARCH64, RelocKind::Arm64PageOff12) => page_offset_types(word)?.0,
        (elf::EM_AARCH64, RelocKind::Arm64GotLoadPage21) => elf::R_AARCH64_ADR_GOT_PAGE,
        (elf::EM_AARCH64, RelocKind::Arm64GotLoadPageOff12) => elf::R_AARCH64_LD64_GOT_LO12_NC,
        _ => return None,
    };
    Some(kind.0)
}

fn elf_binding(binding: Binding) -> elf::SymbolBind {
    match binding {
        Binding::Local => elf::STB_LOCAL,
        Binding::Global => elf::STB_GLOBAL,
        Binding::Weak => elf::STB_WEAK,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn section(name: &[u8], kind: elf::SectionType) -> ElfSection {
        let (name, bytes, relocs) = (name.to_vec(), Vec::new(), Vec::new());
        ElfSection { name, kind, flags: 0, bytes, size: 0, alignment: 1, relocs }
    }

    /// The sections that a section refers to.
    fn targets(object: &ElfObject, number: usize) -> Vec<u32> {
        object.sections[number].relocs.iter().map(|reloc| reloc.symbol - 7).collect()
    }

    #[test]
    fn sections_are_reachable_from_each_other_by_few_references() {
        let (bits, zeroes) = (elf::SHT_PROGBITS, elf::SHT_NOBITS);
        let sections = vec![
            section(b".bss", zeroes),
            section(b".text", bits),
            section(EH_FRAME, bits),
            section(b".data", bits),
            section(b".tbss", zeroes),
            section(b".rodata", bits),
        ];
        let mut object = ElfObject { machine: elf::EM_X86_64, sections, symbols: Vec::new() };
        tie_together(&mut object, 7);
        let all: Vec<_> = (0..6).map(|number| targets(&object, number)).collect();
        assert_eq!(all, [vec![], vec![3, 0, 4], vec![], vec![5], vec![], vec![1]]);
        object.sections.retain(|section| section.kind == zeroes);
        tie_together(&mut object, 7);
        assert_eq!(targets(&object, 0), [0; 0]);
    }
}
