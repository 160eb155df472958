//! One relocatable object, decoded: its sections, symbols, groups and relocations.
//!
//! Everything borrows from the object's bytes. Names and section contents may overlap in a hostile
//! file, so that few bytes could ask for endless reading and copying; their sums are bounded by the
//! length of the file. Facts: the System V ABI, chapters 4 and 5, and its supplements for x86-64 and aarch64.

use ::object::LittleEndian as LE;
use ::object::elf;
use ::object::read::elf::{FileHeader, SectionHeader, SectionTable, Sym, SymbolTable};

use super::error::PackError;
use super::machine::Machine;

type Elf = elf::FileHeader64<LE>;
type Header = elf::SectionHeader64<LE>;
/// One relocation as ELF has it.
pub(super) type Rela = elf::Rela64<LE>;

/// How often names may share bytes of a file before it counts as hostile: real files share the tails
/// of names, and their sum stays far below this.
const NAME_SHARING: usize = 8;

/// `SHN_X86_64_LCOMMON`: common symbols of the medium and large code models.
const LARGE_COMMON: elf::SymbolSection = elf::SymbolSection(0xff02);

/// A symbol's number among the names of the program.
pub(super) type GlobalId = u32;

/// A section of one of the objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct SectionId {
    pub(super) object: u32,
    pub(super) section: u32,
}

/// A symbol of one of the objects.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct SymbolId {
    pub(super) object: u32,
    pub(super) symbol: u32,
}

/// A relocatable object.
pub(super) struct Object<'d> {
    /// As messages call it: `a.o`, or `lib.a(b.o)`.
    pub(super) name: String,
    pub(super) machine: Machine,
    /// Linked in because something asked for it, not because it was given.
    pub(super) from_archive: bool,
    pub(super) sections: Vec<Section<'d>>,
    pub(super) symbols: Vec<Symbol<'d>>,
    pub(super) groups: Vec<Group<'d>>,
}

/// A section as its object has it.
pub(super) struct Section<'d> {
    pub(super) name: &'d [u8],
    pub(super) kind: elf::SectionType,
    pub(super) flags: elf::SectionFlags,
    pub(super) size: u64,
    pub(super) alignment: u64,
    /// None for zeroes and for what is not loaded.
    pub(super) bytes: &'d [u8],
    pub(super) relocs: Vec<&'d [Rela]>,
    /// A table of relocations without addends applies to it.
    pub(super) foreign_relocs: bool,
    /// A copy of a section group that another object has brought already.
    pub(super) discarded: bool,
    /// The section of the same name in the group that is kept instead.
    pub(super) twin: Option<SectionId>,
    /// The number of those that share its name, when C can spell it; once the object is linked in.
    pub(super) array: Option<u32>,
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

    /// Its name for a message.
    pub(super) fn title(&self) -> String {
        text(self.name)
    }
}

/// A symbol as its object has it.
pub(super) struct Symbol<'d> {
    /// Without a version; a section's name for the section's own symbol.
    pub(super) name: &'d [u8],
    pub(super) place: Place,
    pub(super) kind: elf::SymbolType,
    pub(super) visibility: elf::SymbolVisibility,
    pub(super) is_local: bool,
    pub(super) is_weak: bool,
    pub(super) size: u64,
    /// Its number among the names of the program, once the object is linked in.
    pub(super) global: Option<GlobalId>,
}

/// Where a symbol is, as far as its object knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Undefined,
    Absolute(u64),
    /// Zeroes of the symbol's size that the linker is to find a place for.
    Common {
        alignment: u64,
    },
    Section {
        section: u32,
        value: u64,
    },
}

/// Sections that are kept or dropped together, under the name that tells copies.
pub(super) struct Group<'d> {
    pub(super) signature: &'d [u8],
    pub(super) members: Vec<u32>,
}

/// Bytes of a name that messages show: mangled names are long, and hostile ones longer.
const SHOWN: usize = 1024;

/// A name as it is shown to people.
pub(super) fn text(name: &[u8]) -> String {
    match name.get(..SHOWN) {
        Some(shown) => String::from_utf8_lossy(shown).into_owned() + "...",
        None => String::from_utf8_lossy(name).into_owned(),
    }
}

/// What `data` is, when it is no relocatable ELF object for a machine
/// that modules can be packed for.
fn foreign(data: &[u8]) -> Option<&'static str> {
    let u16_at = |at: usize| data.get(at..)?.first_chunk().map(|b| u16::from_le_bytes(*b));
    let starts = |magic: &[u8]| data.starts_with(magic);
    if starts(b"BC\xc0\xde") || starts(b"\xde\xc0\x17\x0b") {
        return Some("LLVM bitcode; compile without -flto");
    }
    if starts(b"/* GNU ld script") {
        return Some("a linker script; give the libraries that it names");
    }
    if !starts(b"\x7fELF") {
        return Some("something that is not ELF");
    }
    if data.get(4) != Some(&elf::ELFCLASS64.0) || data.get(5) != Some(&elf::ELFDATA2LSB.0) {
        return Some("an ELF file of another class or byte order");
    }
    match u16_at(16).map(elf::FileType) {
        Some(elf::ET_REL) => {}
        Some(elf::ET_DYN) => return Some("a shared library"),
        Some(elf::ET_EXEC) => return Some("an executable"),
        _ => return Some("another kind of ELF file"),
    }
    machine(data).is_none().then_some("an object for another machine")
}

/// The machine of an ELF file.
fn machine(data: &[u8]) -> Option<Machine> {
    let number = data.get(18..)?.first_chunk().map(|bytes| u16::from_le_bytes(*bytes));
    number.map(elf::Machine).and_then(Machine::of)
}

/// Decodes an object, which messages call `name`.
///
/// # Errors
/// What it is instead of an object, or which rule of ELF it breaks.
pub(super) fn parse<'d>(
    name: &str,
    data: &'d [u8],
    from_archive: bool,
) -> Result<Object<'d>, PackError> {
    if let Some(found) = foreign(data) {
        return Err(PackError::NotAnObject { object: name.to_owned(), found });
    }
    let broken = |reason| PackError::Broken { object: name.to_owned(), reason };
    let decoder = Decoder::new(data).map_err(broken)?;
    let object = decoder.object(name, from_archive).map_err(broken)?;
    if object.symbols.iter().any(|symbol| symbol.name == b"__gnu_lto_slim") {
        return Err(PackError::Intermediate { object: name.to_owned() });
    }
    Ok(object)
}

/// What is wrong with an object.
type Broken<T> = Result<T, &'static str>;

struct Decoder<'d> {
    data: &'d [u8],
    headers: SectionTable<'d, Elf>,
    symbols: SymbolTable<'d, Elf>,
    /// Bytes that names may still take.
    names_left: usize,
    /// Bytes that contents may still take.
    contents_left: usize,
}

impl<'d> Decoder<'d> {
    fn new(data: &'d [u8]) -> Broken<Self> {
        let header = Elf::parse(data).map_err(|_| "its ELF header is cut off")?;
        let headers = header.sections(LE, data);
        let headers = headers.map_err(|_| "its section table does not lie inside the file")?;
        let symbols = headers.symbols(LE, data, elf::SHT_SYMTAB);
        let symbols = symbols.map_err(|_| "its symbol table does not lie inside the file")?;
        let names_left = data.len().saturating_mul(NAME_SHARING);
        Ok(Decoder { data, headers, symbols, names_left, contents_left: data.len() })
    }

    fn object(mut self, name: &str, from_archive: bool) -> Broken<Object<'d>> {
        let headers = self.headers;
        let machine = machine(self.data).ok_or("its machine is unknown")?;
        let mut sections = Vec::with_capacity(headers.len());
        for header in headers.iter() {
            sections.push(self.section(header)?);
        }
        for header in headers.iter() {
            self.attach_relocs(header, &mut sections)?;
        }
        let symbols = self.symbols(&sections)?;
        let groups = self.groups(&sections, &symbols)?;
        let name = name.to_owned();
        Ok(Object { name, machine, from_archive, sections, symbols, groups })
    }

    fn counted(&mut self, name: &'d [u8]) -> Broken<&'d [u8]> {
        let left = self.names_left.checked_sub(name.len().saturating_add(1));
        self.names_left = left.ok_or("its names overlap too often")?;
        Ok(name)
    }

    fn section(&mut self, header: &'d Header) -> Broken<Section<'d>> {
        let name = self.headers.section_name(LE, header).map_err(|_| "a section has no name")?;
        let (kind, flags) = (header.sh_type(LE), header.sh_flags(LE));
        let mut section = Section {
            name: self.counted(name)?,
            kind,
            flags,
            size: header.sh_size(LE),
            alignment: header.sh_addralign(LE).max(1),
            bytes: &[],
            relocs: Vec::new(),
            foreign_relocs: false,
            discarded: false,
            twin: None,
            array: None,
        };
        if section.is_loaded() && !section.is_zeroes() {
            section.bytes = self.contents(header)?;
        }
        Ok(section)
    }

    fn contents(&mut self, header: &Header) -> Broken<&'d [u8]> {
        let bytes = header.data(LE, self.data);
        let bytes = bytes.map_err(|_| "a section does not lie inside the file")?;
        let left = self.contents_left.checked_sub(bytes.len());
        self.contents_left = left.ok_or("its sections overlap")?;
        Ok(bytes)
    }

    /// Gives the section that a table of relocations applies to a view of the table.
    fn attach_relocs(&mut self, header: &'d Header, sections: &mut [Section<'d>]) -> Broken<()> {
        let kind = header.sh_type(LE);
        let foreign = [elf::SHT_REL, elf::SHT_CREL].contains(&kind);
        if (kind != elf::SHT_RELA && !foreign) || header.sh_size(LE) == 0 {
            return Ok(());
        }
        let target = usize::try_from(header.sh_info(LE)).ok().and_then(|at| sections.get_mut(at));
        let target = target.ok_or("relocations apply to a section that does not exist")?;
        if !target.is_loaded() {
            return Ok(());
        }
        if foreign {
            target.foreign_relocs = true;
            return Ok(());
        }
        if header.link(LE) != self.symbols.section() {
            return Err("relocations name symbols of another table");
        }
        self.contents(header)?;
        let broken = "a relocation section is not a whole number of relocations";
        let (relocs, _) = header.rela(LE, self.data).map_err(|_| broken)?.ok_or(broken)?;
        target.relocs.push(relocs);
        Ok(())
    }

    fn symbols(&mut self, sections: &[Section<'d>]) -> Broken<Vec<Symbol<'d>>> {
        let table = self.symbols;
        let mut symbols = Vec::with_capacity(table.len());
        for (index, entry) in table.enumerate() {
            let name = table.symbol_name(LE, entry);
            let name = self.counted(name.map_err(|_| "a symbol has no name")?)?;
            let section = table.symbol_section(LE, entry, index);
            let section = section.map_err(|_| "a symbol's section has no number")?;
            let value = entry.st_value(LE);
            let place = match (section, entry.st_shndx(LE)) {
                (Some(section), _) => place_in(section.0, value, sections)?,
                (None, elf::SHN_ABS) => Place::Absolute(value),
                (None, elf::SHN_COMMON | LARGE_COMMON) => Place::Common { alignment: value.max(1) },
                (None, elf::SHN_UNDEF) => Place::Undefined,
                (None, _) => return Err("a symbol is in a section of an unknown kind"),
            };
            symbols.push(symbol(name, entry, place, sections)?);
        }
        Ok(symbols)
    }

    fn groups(&self, sections: &[Section<'d>], symbols: &[Symbol<'d>]) -> Broken<Vec<Group<'d>>> {
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
            let symbol = usize::try_from(header.sh_info(LE)).ok().and_then(|at| symbols.get(at));
            let signature = symbol.ok_or("a section group has no signature")?.name;
            let members = members.iter().map(|member| member.get(LE)).collect();
            groups.push(Group { signature, members });
        }
        // The form of groups before there were groups: the section's own name is the signature.
        for (number, section) in (0u32..).zip(sections) {
            if section.name.starts_with(b".gnu.linkonce.") {
                groups.push(Group { signature: section.name, members: vec![number] });
            }
        }
        Ok(groups)
    }
}

fn place_in(section: usize, value: u64, sections: &[Section<'_>]) -> Broken<Place> {
    let missing = "a symbol is in a section that does not exist";
    sections.get(section).ok_or(missing)?;
    Ok(Place::Section { section: u32::try_from(section).map_err(|_| missing)?, value })
}

fn symbol<'d>(
    name: &'d [u8],
    entry: &elf::Sym64<LE>,
    place: Place,
    sections: &[Section<'d>],
) -> Broken<Symbol<'d>> {
    let (kind, bind) = (entry.st_type(), entry.st_bind());
    let unique = bind == elf::STB_GNU_UNIQUE;
    if ![elf::STB_LOCAL, elf::STB_GLOBAL, elf::STB_WEAK].contains(&bind) && !unique {
        return Err("a symbol has a binding that means nothing");
    }
    let is_local = bind == elf::STB_LOCAL || name.is_empty();
    if is_local && matches!(place, Place::Common { .. }) {
        return Err("a local symbol is common");
    }
    let own = match place {
        Place::Section { section, .. } if kind == elf::STT_SECTION => {
            usize::try_from(section).ok().and_then(|at| sections.get(at))
        }
        _ => None,
    };
    Ok(Symbol {
        name: own.map_or(without_version(name, place), |section| section.name),
        place,
        kind,
        visibility: entry.st_visibility(),
        is_local,
        is_weak: bind == elf::STB_WEAK,
        size: entry.st_size(LE),
        global: None,
    })
}

/// `NAME@@VERSION` is what `NAME` means, and a module asks for a `NAME` of whatever version; only a
/// definition that must not answer to the plain name keeps its `@`.
fn without_version(name: &[u8], place: Place) -> &[u8] {
    let Some(at) = name.iter().position(|byte| *byte == b'@') else { return name };
    let (plain, version) = name.split_at_checked(at).unwrap_or((name, &[]));
    let keeps = place != Place::Undefined && !version.starts_with(b"@@");
    if keeps || plain.is_empty() { name } else { plain }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_fall_away_where_the_plain_name_means_the_same() {
        let here = Place::Absolute(0);
        for (name, place, plain) in [
            ("call", here, "call"),
            ("call@@V2", here, "call"),
            ("call@V1", here, "call@V1"),
            ("call@V1", Place::Undefined, "call"),
            ("@V1", Place::Undefined, "@V1"),
        ] {
            assert_eq!(without_version(name.as_bytes(), place), plain.as_bytes());
        }
    }

    #[test]
    fn long_names_are_shown_short() {
        assert_eq!(text(b"name"), "name");
        assert_eq!(text(&[b'x'; 5000]).len(), SHOWN + 3);
    }
}
