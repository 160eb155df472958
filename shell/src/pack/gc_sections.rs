//! Section garbage collection: finds the sections that exports and the entry point reach.
//!
//! Sections that are not reached are dropped without checks: their imports are not imports of the module,
//! and they may contain constructs that a module cannot express. Unwinding tables and notes are dropped
//! for this reason.

use std::collections::HashSet;

use ::object::elf;

use super::error::{PackError, PackWarning, RelocType};
use super::object::{GlobalId, Section, SectionId, SymbolId, decode, is_called, text};
use super::output::Segment;
use super::resolve::{Program, Resolution, ResolveError};

/// The largest alignment of a module section, in bytes.
const MAX_ALIGNMENT: u64 = smf_core::format::MAX_ALIGNMENT;

/// The reachable sections and common symbols.
pub(super) struct Reachable {
    /// By object, then by section.
    live: Vec<Vec<bool>>,
    commons: HashSet<GlobalId>,
    /// Section arrays whose bounds are referenced, so that all their sections are live.
    arrays: HashSet<u32>,
    queue: Vec<SectionId>,
}

/// Marks everything that the exports and the entry point reach, and checks that a module can hold it.
pub(super) fn mark_reachable(
    program: &Program<'_>,
    entry: Option<&str>,
    warnings: &mut Vec<PackWarning>,
) -> Result<Reachable, PackError> {
    let live = program.objects.iter().map(|object| vec![false; object.sections.len()]).collect();
    let (commons, arrays) = (HashSet::new(), HashSet::new());
    let mut reachable = Reachable { live, commons, arrays, queue: Vec::new() };
    for export in program.exports() {
        let resolution = export.resolution.map_err(|why| root_error(program, export.id, why))?;
        reachable.mark(program, resolution)?;
    }
    if let Some(name) = entry {
        let missing = || PackError::EntryMissing { name: name.to_owned() };
        let id = program.find(name.as_bytes()).ok_or_else(missing)?;
        let resolution = program.resolve_global(id, false);
        reachable.mark(program, resolution.map_err(|why| root_error(program, id, why))?)?;
    }
    while let Some(id) = reachable.queue.pop() {
        reachable.visit(program, id)?;
    }
    reachable.commons.iter().try_for_each(|id| check_common(program, *id))?;
    reachable.refuse_constructors(program)?;
    if reachable.is_empty() {
        return Err(PackError::NothingExported);
    }
    reachable.warn_of_exceptions(program, warnings);
    Ok(reachable)
}

impl Reachable {
    /// Whether a section is reachable.
    pub(super) fn is_live(&self, id: SectionId) -> bool {
        let (object, section) = (usize::try_from(id.object), usize::try_from(id.section));
        let (Ok(object), Ok(section)) = (object, section) else { return false };
        self.live.get(object).and_then(|live| live.get(section)).copied().unwrap_or(false)
    }

    /// The reachable common symbols, in order of their ids.
    pub(super) fn commons(&self) -> Vec<GlobalId> {
        let mut commons: Vec<_> = self.commons.iter().copied().collect();
        commons.sort_unstable();
        commons
    }

    fn is_empty(&self) -> bool {
        self.commons.is_empty() && !self.live.iter().flatten().any(|live| *live)
    }

    fn mark(&mut self, program: &Program<'_>, resolution: Resolution) -> Result<(), PackError> {
        match resolution {
            Resolution::Section { id, .. } => self.mark_section(id),
            Resolution::Common(id) => {
                self.commons.insert(id);
            }
            Resolution::ArrayBound { array, .. } if self.arrays.insert(array) => {
                check_array(program, array)?;
                program.array(array).iter().for_each(|id| self.mark_section(*id));
            }
            Resolution::ArrayBound { .. }
            | Resolution::Absolute(_)
            | Resolution::Import(_)
            | Resolution::Got
            | Resolution::DsoHandle => {}
        }
        Ok(())
    }

    fn mark_section(&mut self, id: SectionId) {
        let (object, section) = (usize::try_from(id.object), usize::try_from(id.section));
        let (Ok(object), Ok(section)) = (object, section) else { return };
        let live = self.live.get_mut(object).and_then(|live| live.get_mut(section));
        if let Some(live @ false) = live {
            *live = true;
            self.queue.push(id);
        }
    }

    /// Checks a reachable section and marks the targets of its relocations.
    fn visit(&mut self, program: &Program<'_>, id: SectionId) -> Result<(), PackError> {
        let Some(section) = program.section(id) else { return Ok(()) };
        check_section(program, id, section)?;
        for rela in section.relocs.iter().copied().flatten() {
            let (kind, symbol) = decode(rela, id.object);
            if program.symbol(symbol).is_none() {
                return Err(broken(program, id, "a relocation names a symbol that does not exist"));
            }
            match program.resolution(symbol) {
                Ok(resolution) => self.mark(program, resolution)?,
                Err(_) if kind == elf::R_X86_64_NONE.0 => {}
                Err(why) => return Err(reference_error(program, id, kind, symbol, why)),
            }
        }
        Ok(())
    }

    /// Refuses constructors, which the loader does not run, in every object that is given and in every
    /// archive member of which a section is reachable.
    fn refuse_constructors(&self, program: &Program<'_>) -> Result<(), PackError> {
        let mut constructors =
            program.sections().filter(|(_, section)| is_constructor_section(section));
        let refused = constructors.find(|(id, _)| {
            let optional = program.object(id.object).is_some_and(|object| object.from_archive);
            !optional || self.uses_object(id.object)
        });
        match refused {
            Some((id, _)) => {
                let (object, section) = program.titles(id);
                Err(PackError::Constructors { object, section })
            }
            None => Ok(()),
        }
    }

    /// Whether any section of an object is reachable.
    fn uses_object(&self, object: u32) -> bool {
        let live = usize::try_from(object).ok().and_then(|object| self.live.get(object));
        live.is_some_and(|live| live.contains(&true))
    }

    fn warn_of_exceptions(&self, program: &Program<'_>, warnings: &mut Vec<PackWarning>) {
        let catches = |section: &Section<'_>| {
            section.name.starts_with(b".gcc_except_table")
                && section.size != 0
                && !section.discarded
        };
        for (number, object) in (0u32..).zip(&program.objects) {
            if self.uses_object(number) && object.sections.iter().any(catches) {
                warnings.push(PackWarning::NoUnwinding { object: object.name.clone() });
            }
        }
    }
}

fn is_constructor_section(section: &Section<'_>) -> bool {
    const KINDS: [elf::SectionType; 3] =
        [elf::SHT_INIT_ARRAY, elf::SHT_FINI_ARRAY, elf::SHT_PREINIT_ARRAY];
    const NAMES: [&[u8]; 7] = [
        b".init_array",
        b".fini_array",
        b".preinit_array",
        b".ctors",
        b".dtors",
        b".init",
        b".fini",
    ];
    let named = NAMES.into_iter().any(|name| is_called(section.name, name));
    let is_constructor = KINDS.contains(&section.kind) || named;
    is_constructor && section.is_loaded() && section.size != 0 && !section.discarded
}

fn broken(program: &Program<'_>, id: SectionId, reason: &'static str) -> PackError {
    let (object, section) = program.titles(id);
    PackError::BrokenSection { object, section, reason }
}

/// Checks that a module can hold a section.
fn check_section(
    program: &Program<'_>,
    id: SectionId,
    section: &Section<'_>,
) -> Result<(), PackError> {
    if section.has(elf::SHF_TLS) {
        let (object, section) = program.titles(id);
        return Err(PackError::ThreadLocal { object, section });
    }
    if section.is_code() && section.has(elf::SHF_WRITE) {
        let (object, section) = program.titles(id);
        return Err(PackError::WritableCode { object, section });
    }
    let alignment = section.alignment;
    let reason = if !alignment.is_power_of_two() {
        "its alignment is not a power of two"
    } else if section.has(elf::SHF_COMPRESSED) {
        "it is compressed"
    } else if section.has_rel_relocs {
        "its relocations have no addends (SHT_REL), which this machine does not use"
    } else if section.is_zeroes() && section.is_code() {
        "a code section without contents"
    } else if section.is_zeroes() && !section.relocs.is_empty() {
        "relocations apply to a section without contents"
    } else if alignment > MAX_ALIGNMENT {
        let (object, section) = program.titles(id);
        return Err(PackError::Alignment { object, section, alignment });
    } else {
        return Ok(());
    };
    Err(broken(program, id, reason))
}

/// Checks that all sections of an array lie in one segment, so that they can be contiguous.
fn check_array(program: &Program<'_>, array: u32) -> Result<(), PackError> {
    let segment = |id: &SectionId| program.section(*id).map(Segment::of);
    let sections = program.array(array);
    match sections.iter().find(|id| segment(id) != sections.first().and_then(segment)) {
        Some(id) => Err(broken(
            program,
            *id,
            "sections of its name differ in kind, so that they cannot be one array",
        )),
        None => Ok(()),
    }
}

fn check_common(program: &Program<'_>, id: GlobalId) -> Result<(), PackError> {
    let Some(global) = program.global(id) else { return Ok(()) };
    let alignment = global.common_alignment;
    if alignment.is_power_of_two() && alignment <= MAX_ALIGNMENT {
        return Ok(());
    }
    let (object, symbol) = (program.title(program.defining_object(id)), text(global.name));
    let reason = "its alignment is not a power of two up to 4096";
    Err(PackError::BrokenSymbol { object, symbol, reason })
}

/// The error for an exported symbol or entry point that cannot be resolved.
fn root_error(program: &Program<'_>, id: GlobalId, why: ResolveError) -> PackError {
    let name = program.global(id).map_or_else(String::new, |global| text(global.name));
    let object = program.title(program.defining_object(id));
    match why {
        ResolveError::Ifunc => PackError::Ifunc { name, object },
        ResolveError::ThreadLocal => {
            let section = program.output(id).map(|section| program.titles(section).1);
            PackError::ThreadLocal { object, section: section.unwrap_or(name) }
        }
        ResolveError::Hidden => PackError::UndefinedHidden { name, object },
        ResolveError::Discarded | ResolveError::NotLoaded => {
            let reason = "its section is not loaded";
            PackError::BrokenSymbol { object, symbol: name, reason }
        }
    }
}

/// The error for a relocation whose symbol cannot be resolved.
fn reference_error(
    program: &Program<'_>,
    id: SectionId,
    kind: u32,
    symbol: SymbolId,
    why: ResolveError,
) -> PackError {
    let (object, section) = program.titles(id);
    let name = program.symbol(symbol).map_or_else(String::new, |symbol| text(symbol.name));
    let defining_object = program.symbol(symbol).and_then(|symbol| symbol.global);
    match why {
        ResolveError::Ifunc => {
            let object = defining_object
                .map_or(object, |global| program.title(program.defining_object(global)));
            PackError::Ifunc { name, object }
        }
        ResolveError::ThreadLocal => {
            let kind = RelocType { machine: program.machine(), number: kind };
            PackError::ThreadLocalReference { object, section, kind, symbol: name }
        }
        ResolveError::Hidden => PackError::UndefinedHidden { name, object },
        ResolveError::Discarded => {
            let why = "was dropped with another copy of its section group";
            PackError::RelocTarget { object, section, symbol: name, why }
        }
        ResolveError::NotLoaded => {
            let why = "is in a section that is not loaded";
            PackError::RelocTarget { object, section, symbol: name, why }
        }
    }
}
