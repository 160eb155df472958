//! Decodes a relocatable ELF object: sections, symbols, groups and relocations.
//!
//! Everything borrows from the object's bytes. In a hostile file, names and section contents may overlap, so
//! that few bytes stand for much reading and copying; the length of the file bounds their sums.
//!
//! Source: System V ABI, chapters 4 and 5, and its supplements for x86-64 and aarch64.

use ::object::LittleEndian as LE;
use ::object::elf;
use ::object::read::elf::{
    Dyn, FileHeader, ProgramHeader, SectionHeader, SectionTable, Sym, SymbolTable,
};
use hashbrown::DefaultHashBuilder;

use super::error::{PackError, Result};
use super::machine::Machine;

type Elf = elf::FileHeader64<LE>;
type Header = elf::SectionHeader64<LE>;

/// How often names may share bytes of a file before it counts as hostile. Real files share the tails of
/// names, and their sum stays far below this.
const NAME_SHARING: usize = 8;

/// `SHN_X86_64_LCOMMON`: common symbols of the medium and large code models.
const LARGE_COMMON: elf::SymbolSection = elf::SymbolSection(0xff02);

/// The section with the properties of the code.
pub(super) const PROPERTY_SECTION: &[u8] = b".note.gnu.property";

/// Tables in order of insertion, with a fast hash function.
pub(super) type IndexMap<K, V> = indexmap::IndexMap<K, V, DefaultHashBuilder>;
pub(super) type IndexSet<K> = indexmap::IndexSet<K, DefaultHashBuilder>;

/// The index of a global name in the program.
pub(super) type GlobalId = usize;

/// An input section.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct SectionId {
    pub(super) object: usize,
    pub(super) section: usize,
}

/// A value for each of some input sections.
pub(super) struct SectionMap<T>(Vec<Vec<Option<T>>>);

impl<T> SectionMap<T> {
    pub(super) const fn new() -> Self {
        SectionMap(Vec::new())
    }

    pub(super) fn get(&self, id: SectionId) -> Option<&T> {
        self.0.get(id.object)?.get(id.section)?.as_ref()
    }

    /// Sets the value of a section and returns the previous one. The section exists, which bounds the memory.
    pub(super) fn insert(&mut self, id: SectionId, value: T) -> Option<T> {
        if self.0.len() <= id.object {
            self.0.resize_with(id.object.saturating_add(1), Vec::new);
        }
        let sections = self.0.get_mut(id.object)?;
        if sections.len() <= id.section {
            sections.resize_with(id.section.saturating_add(1), || None);
        }
        sections.get_mut(id.section)?.replace(value)
    }
}

/// A symbol of an input object.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct SymbolId {
    pub(super) object: usize,
    pub(super) symbol: usize,
}

/// What the packer made an object of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Origin {
    /// Nothing: it is an input as it was given, or one that comes with the packer.
    Given,
    /// The input module with this number.
    Module(usize),
    /// The instance of a template with this number.
    Instance(usize),
}

/// A relocatable object.
pub(super) struct Object<'d> {
    /// The name in messages: `a.o`, or `lib.a(b.o)`. Several objects may have one.
    pub(super) name: String,
    pub(super) origin: Origin,
    /// The bytes of the file.
    pub(super) data: &'d [u8],
    pub(super) machine: Machine,
    pub(super) sections: Vec<Section<'d>>,
    pub(super) symbols: Vec<Symbol<'d>>,
    pub(super) groups: Vec<Group<'d>>,
}

/// An input section.
pub(super) struct Section<'d> {
    pub(super) name: &'d [u8],
    pub(super) kind: elf::SectionType,
    pub(super) flags: elf::SectionFlags,
    pub(super) size: u64,
    pub(super) alignment: u64,
    /// The bytes of an entry, or of a character of strings, of a section whose entries can be merged.
    pub(super) entry_size: u64,
    /// Empty for zeroes and for sections that are not loaded.
    pub(super) bytes: &'d [u8],
    tables: Vec<&'d [elf::Rela64<LE>]>,
    /// A table of relocations without addends (SHT_REL) applies to it.
    pub(super) has_rel_relocs: bool,
    /// A copy of a section group that an earlier object defines.
    pub(super) discarded: bool,
    /// The section of the same name in the group that is kept.
    pub(super) kept_copy: Option<SectionId>,
    /// The index of the array of sections of this name, if it is a C identifier; set when the object is linked in.
    pub(super) array: Option<usize>,
}

impl Object<'_> {
    /// Whether the code of the object runs on an executable stack. Assemblers omit the section where nothing is known.
    pub(super) fn needs_executable_stack(&self) -> bool {
        self.sections.iter().any(|section| section.name == b".note.GNU-stack" && section.is_code())
    }

    /// Whether the symbol table, which assemblers write in any case, was removed from an object with code. GNU ld and mold link
    /// such objects, with distances that nothing has resolved. Fragments of `.init` and `.fini`, as in `crtn.o`, need no symbols.
    pub(super) fn is_stripped(&self) -> bool {
        let is_fragment = |section: &Section<'_>| [&b".init"[..], b".fini"].contains(&section.name);
        let is_code =
            |section: &Section<'_>| section.is_code() && section.size != 0 && !is_fragment(section);
        // Every table has a first symbol, which denotes none.
        self.symbols.is_empty() && self.sections.iter().any(is_code)
    }
}

impl Section<'_> {
    pub(super) fn has(&self, flag: elf::SectionFlags) -> bool {
        self.flags.0 & flag.0 != 0
    }

    pub(super) fn is_loaded(&self) -> bool {
        self.has(elf::SHF_ALLOC)
    }

    pub(super) fn is_code(&self) -> bool {
        self.has(elf::SHF_EXECINSTR)
    }

    pub(super) fn is_zeroes(&self) -> bool {
        self.kind == elf::SHT_NOBITS
    }

    pub(super) fn has_relocs(&self) -> bool {
        self.has_rel_relocs || !self.tables.is_empty()
    }

    /// The relocations of the section, which is one of the object with the index `object`.
    pub(super) fn relocs(&self, object: usize) -> impl Iterator<Item = InputReloc> + Clone {
        self.tables.iter().copied().flatten().map(move |rela| InputReloc {
            kind: rela.r_type(LE, false),
            symbol: SymbolId { object, symbol: rela.r_sym(LE, false) as usize },
            offset: rela.r_offset.get(LE),
            addend: rela.r_addend.get(LE),
        })
    }
}

/// A relocation of an input section.
#[derive(Clone, Copy)]
pub(super) struct InputReloc {
    pub(super) kind: elf::RelocationType,
    pub(super) symbol: SymbolId,
    pub(super) offset: u64,
    pub(super) addend: i64,
}

/// An input symbol.
pub(super) struct Symbol<'d> {
    /// Without its version; the section's name for a section symbol.
    pub(super) name: &'d [u8],
    pub(super) place: SymbolLocation,
    pub(super) kind: elf::SymbolType,
    pub(super) visibility: elf::SymbolVisibility,
    pub(super) is_local: bool,
    pub(super) is_weak: bool,
    pub(super) size: u64,
    /// The global name's id; set when the object is linked in.
    pub(super) global: Option<GlobalId>,
}

/// Where a symbol is defined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SymbolLocation {
    Undefined,
    Absolute(u64),
    /// Zeroes of the symbol's size, to be allocated by the linker.
    Common {
        alignment: u64,
    },
    Section {
        section: usize,
        value: u64,
    },
}

/// A section group (COMDAT), kept or dropped as a whole.
pub(super) struct Group<'d> {
    pub(super) signature: &'d [u8],
    pub(super) members: Vec<usize>,
}

/// Whether a section has this name, or this name and a suffix after a dot: `.data.rel.root` does not match
/// `.data.rel.ro`; it holds a variable called `root`.
pub(super) fn is_called(name: &[u8], candidates: &[u8]) -> bool {
    name.strip_prefix(candidates).is_some_and(|rest| rest.is_empty() || rest.starts_with(b"."))
}

/// The number of bytes of a name that messages show.
const SHOWN: usize = 1024;

/// A name in messages.
pub(super) fn text(name: &[u8]) -> String {
    match name.get(..SHOWN) {
        Some(shown) => String::from_utf8_lossy(shown).into_owned() + "...",
        None => String::from_utf8_lossy(name).into_owned(),
    }
}

/// Describes `data` if it is not a 64-bit little-endian ELF file.
fn describe_foreign(data: &[u8]) -> Option<&'static str> {
    let starts = |magic: &[u8]| data.starts_with(magic);
    if starts(b"BC\xc0\xde") || starts(b"\xde\xc0\x17\x0b") {
        Some("LLVM bitcode; compile without -flto")
    } else if is_linker_script(data) {
        Some("a linker script; give the libraries that it names, or name it with -l")
    } else if data.is_empty() {
        Some("an empty file")
    } else if starts(b"MZ") {
        Some("a program or library of Windows (PE)")
    } else if starts(b"\x64\x86") || starts(b"\x64\xaa") || starts(b"\0\0\xff\xff") {
        Some("an object of Windows (COFF)")
    } else if starts(b"\xcf\xfa\xed\xfe") {
        Some("a file of macOS (Mach-O)")
    } else if !starts(&elf::ELFMAG) {
        Some("a file that is not ELF")
    } else if data.get(4..6) != Some(&[elf::ELFCLASS64.0, elf::ELFDATA2LSB.0]) {
        Some("an ELF file of another class or byte order")
    } else {
        None
    }
}

/// Whether `data` starts as the text that takes the place of a library does, with a comment of GNU ld or one of its commands.
fn is_linker_script(data: &[u8]) -> bool {
    let text = data.trim_ascii_start();
    let is_command = |name: &[u8]| {
        text.strip_prefix(name).is_some_and(|rest| rest.trim_ascii_start().starts_with(b"("))
    };
    text.starts_with(b"/* GNU ld script")
        || [&b"INPUT"[..], b"GROUP", b"OUTPUT_FORMAT"].into_iter().any(is_command)
}

/// Whether a file of the type of shared libraries is a program, as linkers mark it.
fn is_position_independent_executable(header: &Elf, data: &[u8]) -> bool {
    let segments = header.program_headers(LE, data).unwrap_or_default();
    let dynamic = segments.iter().find_map(|segment| segment.dynamic(LE, data).ok().flatten());
    dynamic
        .unwrap_or_default()
        .iter()
        .any(|entry| entry.tag(LE) == elf::DT_FLAGS_1 && entry.val(LE) & elf::DF_1_PIE.0 != 0)
}

/// Decodes an object. Messages refer to it as `name`.
///
/// # Errors
/// [`PackError::NotAnObject`], or the ELF rule that the object breaks.
pub(super) fn parse<'d>(name: &str, data: &'d [u8], origin: Origin) -> Result<Object<'d>> {
    let object = || name.to_owned();
    let foreign = |found| PackError::NotAnObject { object: object(), found };
    let broken = |reason| PackError::Broken { object: object(), reason };
    if let Some(found) = describe_foreign(data) {
        return Err(foreign(found));
    }
    let header = Elf::parse(data).map_err(|_| broken("its ELF header is truncated"))?;
    match header.e_type(LE) {
        elf::ET_REL => {}
        elf::ET_DYN => {
            let is_program = is_position_independent_executable(header, data);
            return Err(foreign(if is_program { "an executable" } else { "a shared library" }));
        }
        elf::ET_EXEC => return Err(foreign("an executable")),
        _ => return Err(foreign("another kind of ELF file")),
    }
    let machine = Machine::of(header.e_machine(LE));
    let machine = machine.ok_or_else(|| foreign("an object for another machine"))?;
    let mut decoder = Decoder::new(header, data).map_err(broken)?;
    let sections = decoder.sections().map_err(broken)?;
    let symbols = decoder.symbols(&sections).map_err(broken)?;
    let groups = decoder.groups(&sections, &symbols).map_err(broken)?;
    if symbols.iter().any(|symbol| symbol.name == b"__gnu_lto_slim") {
        return Err(PackError::Intermediate { object: object() });
    }
    Ok(Object { name: object(), origin, data, machine, sections, symbols, groups })
}

/// A result whose error says what is wrong with an object.
type ObjectResult<T = ()> = Result<T, &'static str>;

struct Decoder<'d> {
    data: &'d [u8],
    headers: SectionTable<'d, Elf>,
    symbols: SymbolTable<'d, Elf>,
    /// Remaining bytes for names.
    names_left: usize,
    /// Remaining bytes for contents.
    contents_left: usize,
}

impl<'d> Decoder<'d> {
    fn new(header: &Elf, data: &'d [u8]) -> ObjectResult<Self> {
        let headers = header.sections(LE, data);
        let headers = headers.map_err(|_| "its section table does not lie inside the file")?;
        let symbols = headers.symbols(LE, data, elf::SHT_SYMTAB);
        let symbols = symbols.map_err(|_| "its symbol table does not lie inside the file")?;
        let names_left = data.len().saturating_mul(NAME_SHARING);
        Ok(Decoder { data, headers, symbols, names_left, contents_left: data.len() })
    }

    fn sections(&mut self) -> ObjectResult<Vec<Section<'d>>> {
        let headers = self.headers;
        let sections = headers.iter().map(|header| self.section(header));
        let mut sections: Vec<_> = sections.collect::<Result<_, _>>()?;
        for header in headers.iter() {
            self.attach_relocs(header, &mut sections)?;
        }
        Ok(sections)
    }

    fn counted(&mut self, name: &'d [u8]) -> ObjectResult<&'d [u8]> {
        let left = self.names_left.checked_sub(name.len().saturating_add(1));
        self.names_left = left.ok_or("its names overlap too often")?;
        Ok(name)
    }

    fn section(&mut self, header: &'d Header) -> ObjectResult<Section<'d>> {
        let name = self.headers.section_name(LE, header).map_err(|_| "a section has no name")?;
        let mut section = Section {
            name: self.counted(name)?,
            kind: header.sh_type(LE),
            flags: header.sh_flags(LE),
            size: header.sh_size(LE),
            alignment: header.sh_addralign(LE).max(1),
            entry_size: header.sh_entsize(LE),
            bytes: &[],
            tables: Vec::new(),
            has_rel_relocs: false,
            discarded: false,
            kept_copy: None,
            array: None,
        };
        if section.is_loaded() && !section.is_zeroes() {
            section.bytes = self.contents(header)?;
        }
        Ok(section)
    }

    fn contents(&mut self, header: &Header) -> ObjectResult<&'d [u8]> {
        let bytes = header.data(LE, self.data);
        let bytes = bytes.map_err(|_| "a section does not lie inside the file")?;
        let left = self.contents_left.checked_sub(bytes.len());
        self.contents_left = left.ok_or("its sections overlap")?;
        Ok(bytes)
    }

    /// Attaches a relocation table to the section that it applies to.
    fn attach_relocs(&mut self, header: &'d Header, sections: &mut [Section<'d>]) -> ObjectResult {
        let kind = header.sh_type(LE);
        let lacks_addends = [elf::SHT_REL, elf::SHT_CREL].contains(&kind);
        if (kind != elf::SHT_RELA && !lacks_addends) || header.sh_size(LE) == 0 {
            return Ok(());
        }
        let target = sections.get_mut(header.sh_info(LE) as usize);
        let target = target.ok_or("relocations apply to a section that does not exist")?;
        if !target.is_loaded() {
            return Ok(());
        }
        if lacks_addends {
            target.has_rel_relocs = true;
            return Ok(());
        }
        if header.link(LE) != self.symbols.section() {
            return Err("relocations name symbols of another table");
        }
        self.contents(header)?;
        let broken = "a relocation section is not a whole number of relocations";
        let (relocs, _) = header.rela(LE, self.data).map_err(|_| broken)?.ok_or(broken)?;
        target.tables.push(relocs);
        Ok(())
    }

    fn symbols(&mut self, sections: &[Section<'d>]) -> ObjectResult<Vec<Symbol<'d>>> {
        let table = self.symbols;
        let mut symbols = Vec::with_capacity(table.len());
        for (index, entry) in table.enumerate() {
            let name = table.symbol_name(LE, entry);
            let name = self.counted(name.map_err(|_| "a symbol has no name")?)?;
            let section = table.symbol_section(LE, entry, index);
            let section = section.map_err(|_| "a symbol's section has no number")?;
            let value = entry.st_value(LE);
            let place = match (section, entry.st_shndx(LE)) {
                (Some(section), _) if section.0 < sections.len() => {
                    SymbolLocation::Section { section: section.0, value }
                }
                (Some(_), _) => return Err("a symbol is in a section that does not exist"),
                (None, elf::SHN_ABS) => SymbolLocation::Absolute(value),
                (None, elf::SHN_COMMON | LARGE_COMMON) => {
                    SymbolLocation::Common { alignment: value.max(1) }
                }
                (None, elf::SHN_UNDEF) => SymbolLocation::Undefined,
                (None, _) => return Err("a symbol is in a section of an unknown kind"),
            };
            symbols.push(symbol(name, entry, place, sections)?);
        }
        Ok(symbols)
    }

    fn groups(
        &self,
        sections: &[Section<'d>],
        symbols: &[Symbol<'d>],
    ) -> ObjectResult<Vec<Group<'d>>> {
        let mut groups = Vec::new();
        let mut members_left = self.data.len();
        for header in self.headers.iter() {
            let group = header.group(LE, self.data);
            let group = group.map_err(|_| "a section group does not lie inside the file")?;
            let Some((flags, members)) = group else { continue };
            if flags.0 & elf::GRP_COMDAT.0 == 0 {
                continue;
            }
            let left = members_left.checked_sub(members.len());
            members_left = left.ok_or("its section groups overlap")?;
            let symbol = symbols.get(header.sh_info(LE) as usize);
            let signature = symbol.ok_or("a section group has no signature")?.name;
            let members = members.iter().map(|member| member.get(LE) as usize).collect();
            groups.push(Group { signature, members });
        }
        // The predecessor of section groups: the section's own name is the signature.
        for (number, section) in sections.iter().enumerate() {
            if section.name.starts_with(b".gnu.linkonce.") {
                groups.push(Group { signature: section.name, members: vec![number] });
            }
        }
        Ok(groups)
    }
}

fn symbol<'d>(
    name: &'d [u8],
    entry: &elf::Sym64<LE>,
    place: SymbolLocation,
    sections: &[Section<'d>],
) -> ObjectResult<Symbol<'d>> {
    let (kind, bind) = (entry.st_type(), entry.st_bind());
    let unique = bind == elf::STB_GNU_UNIQUE;
    if ![elf::STB_LOCAL, elf::STB_GLOBAL, elf::STB_WEAK].contains(&bind) && !unique {
        return Err("a symbol has an unknown binding");
    }
    let is_local = bind == elf::STB_LOCAL || name.is_empty();
    if is_local && matches!(place, SymbolLocation::Common { .. }) {
        return Err("a local symbol is common");
    }
    let own = match place {
        SymbolLocation::Section { section, .. } if kind == elf::STT_SECTION => {
            sections.get(section)
        }
        _ => None,
    };
    Ok(Symbol {
        name: own.map_or(without_version(name, place), |section| section.name),
        place,
        kind,
        visibility: entry.st_visibility(),
        is_local,
        // A unique symbol may be defined in each object and in each module.
        is_weak: bind == elf::STB_WEAK || unique,
        size: entry.st_size(LE),
        global: None,
    })
}

/// Strips the version: `NAME@@VERSION` defines `NAME`, and an undefined symbol accepts any version. Only a
/// definition that is not the default version keeps its `@`.
fn without_version(name: &[u8], place: SymbolLocation) -> &[u8] {
    let Some(at) = name.iter().position(|byte| *byte == b'@') else { return name };
    let (plain, version) = name.split_at_checked(at).unwrap_or((name, &[]));
    let keeps = place != SymbolLocation::Undefined && !version.starts_with(b"@@");
    if keeps || plain.is_empty() { name } else { plain }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versioned_name_of_default_version_is_stripped() {
        let here = SymbolLocation::Absolute(0);
        for (name, place, plain) in [
            ("call", here, "call"),
            ("call@@V2", here, "call"),
            ("call@V1", here, "call@V1"),
            ("call@V1", SymbolLocation::Undefined, "call"),
            ("@V1", SymbolLocation::Undefined, "@V1"),
        ] {
            assert_eq!(without_version(name.as_bytes(), place), plain.as_bytes());
        }
    }

    #[test]
    fn name_longer_than_limit_is_truncated_in_messages() {
        assert_eq!(text(b"name"), "name");
        assert_eq!(text(&[b'x'; 5000]).len(), SHOWN + 3);
    }
}
