//! Checks that code may run under control-flow protection: every place that an indirect branch may go to begins with a
//! landing pad, `endbr64` on x86-64 and `bti` on aarch64.
//!
//! Places that an indirect branch may go to are exported functions, and what has its address taken: by a relocation of
//! data, such as those of function tables and of the arrays of initialisers, through a slot of the global offset table,
//! or by an instruction that computes an address in the code. Addresses in data are known without relocations in prelinked
//! modules; distances in constants, such as those of relative function tables, are not. A table of a switch has addresses in the middle of a
//! function; on x86-64 compilers jump there by `notrack jmp`, which needs no landing pad. Tables for the unwinder and
//! debugging information do not count, and neither do constants behind the instructions of a function, whose end is that of
//! its unwinding record.
//!
//! The code is decoded from the start of each section. The addresses of instructions that no relocation describes are
//! known in prelinked modules, and inside of a section.
//!
//! Source: Intel SDM, volume 1, chapter 17 "Control-flow Enforcement Technology"; Arm ARM, D8.4 "Branch target
//! identification"; Linux Extensions to gABI, section "Program Property".

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fmt;

use object::elf::{self, GnuPropertyType};
use smf_core::format::ext::gnu_property::Properties;
use smf_core::format::ext::prelink::Prelink;
use smf_core::format::{
    Arch, FormatError, Reloc, RelocKind, Section, SectionKind, Smf, SymbolKind,
};

mod aarch64;
mod instructions;
mod x86_64;

/// A property that all code has landing pads: its type and the bit, by machine.
const X86_IBT: (GnuPropertyType, u32) =
    (elf::GNU_PROPERTY_X86_FEATURE_1_AND, elf::GNU_PROPERTY_X86_FEATURE_1_IBT);
const AARCH64_BTI: (GnuPropertyType, u32) =
    (elf::GNU_PROPERTY_AARCH64_FEATURE_1_AND, elf::GNU_PROPERTY_AARCH64_FEATURE_1_BTI);

/// The result of a check.
#[derive(Clone, Debug, Default)]
pub struct CfiReport {
    /// The number of places that an indirect branch may go to.
    pub targets: usize,
    /// Those without a landing pad, by ascending section and offset.
    pub offenders: Vec<Offender>,
    /// Whether `.smf.property` states that all code has landing pads; `None` for a machine without such a property.
    pub is_stated: Option<bool>,
}

/// A target of indirect branches without a landing pad.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offender {
    /// The function at or before the place, and the distance from its start in bytes; empty if there is none.
    pub function: String,
    /// See [`function`](Self::function).
    pub distance: u64,
    /// The section of the code, by number, and the offset in it in bytes.
    pub section: u32,
    /// See [`section`](Self::section).
    pub offset: u64,
    /// Why an indirect branch may go there.
    pub reason: Reason,
}

/// Why an indirect branch may go to a place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The function is exported.
    Exported,
    /// A relocation stores the address at this offset of the named section.
    Stored(String, u64),
    /// An instruction at this offset of the same or another code section computes the address.
    Computed(u64),
}

impl fmt::Display for Offender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { function, distance, section, offset, .. } = self;
        match (function.as_str(), distance) {
            ("", _) => write!(f, "section {section} at offset 0x{offset:x}")?,
            (name, 0) => write!(f, "`{name}` (section {section}, offset 0x{offset:x})")?,
            (name, _) => {
                write!(f, "`{name}`+0x{distance:x} (section {section}, offset 0x{offset:x})")?;
            }
        }
        f.write_str(" has no landing pad, but ")?;
        match &self.reason {
            Reason::Exported => f.write_str("is exported"),
            Reason::Stored(section, at) => {
                write!(f, "its address is stored at offset 0x{at:x} of {section}")
            }
            Reason::Computed(at) => write!(f, "the instruction at 0x{at:x} computes its address"),
        }
    }
}

/// A place in the code: the number of the section, and the offset in bytes.
type Place = (u32, u64);

/// The code of a module, and what refers to it.
struct Code<'d> {
    sections: Vec<Section<'d>>,
    /// The distance of each loaded section from the start of the image, if the file determines it.
    starts: HashMap<u32, u64>,
    /// The relocations of code sections, by place.
    relocs: HashMap<Place, Reloc>,
    /// The names and the sizes in bytes of all functions, by place.
    functions: BTreeMap<Place, (String, u64)>,
    /// The end of the instructions of functions, by their start; constants may follow.
    ends: BTreeMap<Place, u64>,
    /// The place of each symbol that is loaded, by number.
    symbols: HashMap<u32, Place>,
    /// The sizes of all loaded sections, by number.
    sizes: HashMap<u32, u64>,
}

/// The places that indirect branches may go to.
#[derive(Default)]
struct Targets {
    all: BTreeMap<Place, Reason>,
    /// Functions with a jump that needs no landing pad.
    untracked: BTreeSet<Place>,
    /// Places in data whose address a function computes, and the function: tables of switches among them.
    tables: BTreeMap<Place, Place>,
}

impl Targets {
    fn add(&mut self, place: Place, reason: Reason) {
        self.all.entry(place).or_insert(reason);
    }

    /// Records that the instruction at `at` computes the address of `place`.
    fn computed(&mut self, code: &Code<'_>, at: Place, place: Place) {
        if code.is_constant(place) {
            // Read, not jumped to.
        } else if code.is_code(place.0) {
            self.add(place, Reason::Computed(at.1));
        } else if let Some(function) = code.function_of(at) {
            self.tables.insert(place, function);
        }
    }
}

/// Checks the code of a module; `None` if it has none for a machine with landing pads.
///
/// # Errors
/// An invalid section, symbol or relocation.
pub fn check(smf: &Smf<'_>) -> Result<Option<CfiReport>, FormatError> {
    let arch = smf.header().arch;
    let property = match arch {
        Arch::X86_64 => X86_IBT,
        Arch::AARCH64 => AARCH64_BTI,
        _ => return Ok(None),
    };
    if smf.functions()?.is_some() || smf.shared_object().is_some() {
        return Ok(None);
    }
    let linked = smf.linked()?;
    let code = Code::of(&linked)?;
    let mut targets = Targets::default();
    code.exports(&linked, &mut targets)?;
    for section in &code.sections {
        match arch {
            Arch::X86_64 => x86_64::scan(&code, section, &mut targets),
            _ => aarch64::scan(&code, section, &mut targets),
        }
    }
    code.stored(&linked, &mut targets)?;
    code.stored_in_image(&linked, &mut targets)?;
    let mut report = CfiReport::default();
    for (place, reason) in &targets.all {
        if code.is_untracked(*place, &targets) {
            continue;
        }
        report.targets += 1;
        let bytes = code.bytes_at(*place);
        let is_pad = match arch {
            Arch::X86_64 => x86_64::is_landing_pad(bytes),
            _ => aarch64::is_landing_pad(bytes, code.functions.contains_key(place)),
        };
        if !is_pad {
            report.offenders.push(code.offender(*place, reason));
        }
    }
    report.is_stated = Some(is_stated(smf, property)?);
    Ok(Some(report))
}

/// Whether the properties of a module have a bit.
fn is_stated(smf: &Smf<'_>, (kind, bit): (GnuPropertyType, u32)) -> Result<bool, FormatError> {
    let properties = Properties::of(smf)?.into_iter().flatten().flatten();
    let mut values = properties.filter(|property| property.kind == kind.0);
    Ok(values.any(|property| property.number().is_ok_and(|value| value & bit != 0)))
}

impl<'d> Code<'d> {
    fn of(smf: &Smf<'d>) -> Result<Self, FormatError> {
        let sections: Vec<_> =
            smf.sections().iter().filter(|section| section.kind == SectionKind::Code).collect();
        let is_code = |index: u32| sections.iter().any(|section| section.index == index);
        let prelink = Prelink::of(smf)?;
        let ends = instructions::ends(smf, prelink.as_ref());
        let start_of = |index| prelink.as_ref()?.section_offset(index);
        let starts = smf
            .sections()
            .iter()
            .filter_map(|section| Some((section.index, start_of(section.index)?)));
        let starts = starts.collect();
        let (mut functions, mut symbols) = (BTreeMap::new(), HashMap::new());
        for symbol in smf.symbols().iter() {
            let symbol = symbol?;
            let Some(section) = symbol.section else { continue };
            symbols.insert(symbol.index, (section, symbol.value));
            let is_function =
                symbol.kind == SymbolKind::Function && !smf.is_section_symbol(&symbol);
            if is_function && is_code(section) {
                let name = String::from_utf8_lossy(symbol.name()).into_owned();
                functions.entry((section, symbol.value)).or_insert((name, symbol.size));
            }
        }
        let mut relocs = HashMap::new();
        for table in smf.reloc_tables() {
            let table = table?;
            if is_code(table.target.index) {
                let place = |reloc: &Reloc| (table.target.index, reloc.offset);
                relocs.extend(table.iter().map(|reloc| (place(&reloc), reloc)));
            }
        }
        let loaded = smf.sections().iter().filter(|section| section.kind.is_loaded());
        let sizes = loaded.map(|section| (section.index, section.memory_size())).collect();
        Ok(Self { sections, starts, relocs, functions, ends, symbols, sizes })
    }

    fn is_code(&self, section: u32) -> bool {
        self.sections.iter().any(|code| code.index == section)
    }

    fn exports(&self, smf: &Smf<'d>, targets: &mut Targets) -> Result<(), FormatError> {
        for symbol in smf.symbols().iter() {
            let symbol = symbol?;
            let is_function = symbol.is_export() && symbol.kind == SymbolKind::Function;
            let place = self.symbols.get(&symbol.index).filter(|_| is_function);
            if let Some(&place) = place.filter(|place| self.is_code(place.0)) {
                targets.add(place, Reason::Exported);
            }
        }
        Ok(())
    }

    /// The places that relocations store the address of.
    fn stored(&self, smf: &Smf<'d>, targets: &mut Targets) -> Result<(), FormatError> {
        for table in smf.reloc_tables() {
            let table = table?;
            let name = String::from_utf8_lossy(table.target.name);
            if !table.target.kind.is_loaded() || name.contains("eh_frame") {
                continue;
            }
            let is_code = table.target.kind == SectionKind::Code;
            let is_constant = table.target.kind == SectionKind::RoData;
            let fields = table.iter().filter(|reloc| is_constant && reloc.kind == RelocKind::Pc32);
            let distances: HashSet<u64> = fields.map(|reloc| reloc.offset).collect();
            for reloc in table.iter().filter(|reloc| stores(reloc.kind, is_code)) {
                let addend = match reloc.kind {
                    // The operand of an instruction counts from its end.
                    RelocKind::GotPcRel if is_code => 0,
                    _ => reloc.addend,
                };
                let Some(place) = self.target(&reloc, addend) else { continue };
                let is_distance = !is_code && reloc.kind.width() == 4;
                let entry = self.table_entry((table.target.index, reloc.offset), place, targets);
                let entry = entry.filter(|(start, _)| is_distance && distances.contains(start));
                let place = entry.map_or(place, |(_, entry)| entry);
                if self.is_code(place.0) {
                    targets.add(place, Reason::Stored(name.clone().into_owned(), reloc.offset));
                }
            }
        }
        Ok(())
    }

    /// The places whose addresses are stored in data that no relocation describes: the image lists it.
    fn stored_in_image(&self, smf: &Smf<'d>, targets: &mut Targets) -> Result<(), FormatError> {
        let Some(prelink) = Prelink::of(smf)? else { return Ok(()) };
        for section in smf.sections().iter() {
            let mut offsets = prelink.relative_places_in(&section).peekable();
            if offsets.peek().is_none() {
                continue;
            }
            let name = String::from_utf8_lossy(section.name);
            let contents = smf.contents(&section)?;
            for offset in offsets {
                let word = usize::try_from(offset).ok().and_then(|at| contents.get(at..));
                let word = word.and_then(|bytes| bytes.first_chunk());
                let address = word.map(|word| u64::from_le_bytes(*word));
                let place = address.and_then(|address| prelink.section_at(smf.sections(), address));
                if let Some(place) = place.filter(|place| self.is_code(place.0)) {
                    targets.add(place, Reason::Stored(name.clone().into_owned(), offset));
                }
            }
        }
        Ok(())
    }

    /// The start of the table of a switch that may contain a field, and the place that its entry refers to. An entry
    /// has the distance from the start of the table, which a relocation states as `place` from the field.
    fn table_entry(&self, field: Place, place: Place, targets: &Targets) -> Option<(u64, Place)> {
        let (table, function) = targets.tables.range((field.0, 0)..=field).next_back()?;
        let entry = (place.0, place.1.checked_sub(field.1.checked_sub(table.1)?)?);
        (self.function_of(entry) == Some(*function)).then_some((table.1, entry))
    }

    /// The place that a relocation with this addend refers to.
    fn target(&self, reloc: &Reloc, addend: i64) -> Option<Place> {
        let &(section, value) = self.symbols.get(&reloc.symbol)?;
        Some((section, value.checked_add_signed(addend)?))
    }

    /// The place at a distance from the start of section `from`. Other sections are reached in a prelinked image only.
    fn reached(&self, from: u32, distance: i64) -> Option<Place> {
        let is_inside =
            |section: &u32, offset: u64| self.sizes.get(section).is_some_and(|size| offset < *size);
        if let Some(offset) =
            u64::try_from(distance).ok().filter(|offset| is_inside(&from, *offset))
        {
            return Some((from, offset));
        }
        let address = self.starts.get(&from)?.checked_add_signed(distance)?;
        self.starts.iter().find_map(|(section, start)| {
            let offset =
                address.checked_sub(*start).filter(|offset| is_inside(section, *offset))?;
            Some((*section, offset))
        })
    }

    fn bytes_at(&self, (section, offset): Place) -> &'d [u8] {
        let section = self.sections.iter().find(|found| found.index == section);
        let from = usize::try_from(offset).ok();
        section.zip(from).and_then(|(section, from)| section.data.get(from..)).unwrap_or(&[])
    }

    /// The start of the function that contains a place. A function without a size ends at the next one.
    fn function_of(&self, place: Place) -> Option<Place> {
        let (&start, &(_, size)) = self.functions.range((place.0, 0)..=place).next_back()?;
        let is_inside = size == 0 || place.1.checked_sub(start.1)? < size;
        is_inside.then_some(start)
    }

    /// Whether a place is behind the instructions of its function.
    fn is_constant(&self, place: Place) -> bool {
        let end = self.function_of(place).and_then(|start| self.ends.get(&start));
        end.is_some_and(|end| *end <= place.1)
    }

    /// Whether a place in the middle of a function is reached by jumps that need no landing pad.
    fn is_untracked(&self, place: Place, targets: &Targets) -> bool {
        let function = self.function_of(place);
        function.is_some_and(|start| start != place && targets.untracked.contains(&start))
    }

    fn offender(&self, place: Place, reason: &Reason) -> Offender {
        let (section, offset) = place;
        let found = self.functions.range((place.0, 0)..=place).next_back();
        let function = found.map(|(_, (name, _))| name.clone()).unwrap_or_default();
        let distance = found.map_or(0, |((_, start), _)| offset.saturating_sub(*start));
        Offender { function, distance, section, offset, reason: reason.clone() }
    }
}

/// Whether a relocation of this kind, in code or in data, stores an address that a branch may read.
fn stores(kind: RelocKind, is_code: bool) -> bool {
    match kind {
        RelocKind::Abs64 | RelocKind::Abs32 | RelocKind::Abs32S => true,
        RelocKind::GotPcRel | RelocKind::Arm64GotLoadPageOff12 => true,
        // In data, a distance from the field, as tables of switches and relative function tables have them.
        RelocKind::Pc32 | RelocKind::Plt32 | RelocKind::Pc64 => !is_code,
        _ => false,
    }
}
