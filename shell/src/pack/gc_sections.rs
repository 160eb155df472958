//! Section garbage collection: finds the sections that exports and the entry point reach.
//!
//! Sections that are not reached are dropped without checks: their imports are not imports of the module,
//! and they may contain constructs that a module cannot express. Unwinding tables and notes are dropped
//! for this reason.

use std::collections::HashSet;

use ::object::elf;
use smf_core::format::MAX_ALIGNMENT;

use super::error::{PackError, PackWarning, RelocType, Result};
use super::object::{GlobalId, InputReloc, Section, SectionId, is_called, text};
use super::output::Segment;
use super::resolve::{Program, Resolution, ResolveError};

/// The reachable sections and common symbols.
pub(super) struct Reachable<'p, 'd> {
    pub(super) program: &'p Program<'d>,
    live: HashSet<SectionId>,
    /// The objects of the live sections.
    objects: HashSet<usize>,
    commons: HashSet<GlobalId>,
    /// Section arrays whose bounds are referenced, so that all their sections are live.
    arrays: HashSet<usize>,
    queue: Vec<SectionId>,
}

/// Marks everything that the exports and the entry point reach, and checks that a module can hold it.
pub(super) fn mark_reachable<'p, 'd>(
    program: &'p Program<'d>,
    entry: Option<&str>,
    warnings: &mut Vec<PackWarning>,
) -> Result<Reachable<'p, 'd>> {
    let (live, objects, commons) = (HashSet::new(), HashSet::new(), HashSet::new());
    let (arrays, queue) = (HashSet::new(), Vec::new());
    let mut reachable = Reachable { program, live, objects, commons, arrays, queue };
    for export in program.exports() {
        let resolution = export.resolution.map_err(|why| root_error(program, export.id, why))?;
        reachable.mark(resolution)?;
    }
    if let Some(name) = entry {
        let missing = || PackError::EntryMissing { name: name.to_owned() };
        let id = program.find(name.as_bytes()).ok_or_else(missing)?;
        let resolution = program.resolve_global(id, false);
        reachable.mark(resolution.map_err(|why| root_error(program, id, why))?)?;
    }
    while let Some(id) = reachable.queue.pop() {
        reachable.visit(id)?;
    }
    reachable.commons.iter().try_for_each(|id| check_common(program, *id))?;
    reachable.refuse_constructors()?;
    if reachable.commons.is_empty() && reachable.live.is_empty() {
        return Err(PackError::NothingExported);
    }
    reachable.warn_of_exceptions(warnings);
    Ok(reachable)
}

impl<'p, 'd> Reachable<'p, 'd> {
    /// The reachable sections, in order of their ids.
    pub(super) fn sections(&self) -> impl Iterator<Item = (SectionId, &'p Section<'d>)> {
        self.program.sections().filter(|(id, _)| self.live.contains(id))
    }

    /// Whether a section is reachable.
    pub(super) fn is_live(&self, id: SectionId) -> bool {
        self.live.contains(&id)
    }

    /// The reachable common symbols, in order of their ids.
    pub(super) fn commons(&self) -> Vec<GlobalId> {
        let mut commons: Vec<_> = self.commons.iter().copied().collect();
        commons.sort_unstable();
        commons
    }

    fn mark(&mut self, resolution: Resolution) -> Result<()> {
        match resolution {
            Resolution::Section { id, .. } => self.mark_section(id),
            Resolution::Common(id) => {
                self.commons.insert(id);
            }
            Resolution::ArrayBound { array, .. } if self.arrays.insert(array) => {
                check_array(self.program, array)?;
                self.program.array(array).iter().for_each(|id| self.mark_section(*id));
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
        if self.live.insert(id) {
            self.objects.insert(id.object);
            self.queue.push(id);
        }
    }

    /// Checks a reachable section and marks the targets of its relocations.
    fn visit(&mut self, id: SectionId) -> Result<()> {
        let program = self.program;
        let Some(section) = program.section(id) else { return Ok(()) };
        check_section(program, id, section)?;
        for reloc in section.relocs(id.object) {
            if program.symbol(reloc.symbol).is_none() {
                return Err(broken(program, id, "a relocation names a symbol that does not exist"));
            }
            match program.resolution(reloc.symbol) {
                Ok(resolution) => self.mark(resolution)?,
                Err(_) if reloc.kind == elf::R_X86_64_NONE => {}
                Err(why) => return Err(self.reference_error(id, reloc, why)),
            }
        }
        Ok(())
    }

    /// Refuses constructors, which the loader does not run, in every object that is given and in every
    /// archive member of which a section is reachable.
    fn refuse_constructors(&self) -> Result<()> {
        for (id, section) in self.program.sections() {
            let optional = self.program.object(id.object).is_some_and(|o| o.from_archive);
            let is_linked = !optional || self.objects.contains(&id.object);
            if is_linked && is_constructor_section(section) {
                let (object, section) = self.program.titles(id);
                return Err(PackError::Constructors { object, section });
            }
        }
        Ok(())
    }

    /// The error for a relocation whose symbol cannot be resolved.
    fn reference_error(&self, id: SectionId, reloc: InputReloc, why: ResolveError) -> PackError {
        let program = self.program;
        let (object, section) = program.titles(id);
        let name = program.symbol_title(reloc.symbol);
        let defining_object = program.symbol(reloc.symbol).and_then(|symbol| symbol.global);
        match why {
            ResolveError::Ifunc => {
                let object = defining_object
                    .map_or(object, |global| program.title(program.defining_object(global)));
                PackError::Ifunc { name, object }
            }
            ResolveError::ThreadLocal => {
                let kind = RelocType { machine: program.machine(), number: reloc.kind.0 };
                PackError::ThreadLocalReference { object, section, kind, symbol: name }
            }
            ResolveError::Hidden => PackError::UndefinedHidden { name, object },
            ResolveError::Discarded | ResolveError::NotLoaded => {
                let why = match why {
                    ResolveError::Discarded => "was dropped with another copy of its section group",
                    _ => "is in a section that is not loaded",
                };
                PackError::RelocTarget { object, section, symbol: name, why }
            }
        }
    }

    fn warn_of_exceptions(&self, warnings: &mut Vec<PackWarning>) {
        let catches = |section: &Section<'_>| {
            section.name.starts_with(b".gcc_except_table")
                && section.size != 0
                && !section.discarded
        };
        for (number, object) in self.program.objects.iter().enumerate() {
            if self.objects.contains(&number) && object.sections.iter().any(catches) {
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
fn check_section(program: &Program<'_>, id: SectionId, section: &Section<'_>) -> Result<()> {
    let alignment = section.alignment;
    let titles = || program.titles(id);
    let reason = if section.has(elf::SHF_TLS) {
        let (object, section) = titles();
        return Err(PackError::ThreadLocal { object, section });
    } else if section.is_code() && section.has(elf::SHF_WRITE) {
        let (object, section) = titles();
        return Err(PackError::WritableCode { object, section });
    } else if !alignment.is_power_of_two() {
        "its alignment is not a power of two"
    } else if section.has(elf::SHF_COMPRESSED) {
        "it is compressed"
    } else if section.has_rel_relocs {
        "its relocations have no addends (SHT_REL), which this machine does not use"
    } else if section.is_zeroes() && section.is_code() {
        "a code section without contents"
    } else if section.is_zeroes() && section.relocs(id.object).next().is_some() {
        "relocations apply to a section without contents"
    } else if alignment > MAX_ALIGNMENT {
        let (object, section) = titles();
        return Err(PackError::Alignment { object, section, alignment });
    } else {
        return Ok(());
    };
    Err(broken(program, id, reason))
}

/// Checks that all sections of an array lie in one segment, so that they can be contiguous.
fn check_array(program: &Program<'_>, array: usize) -> Result<()> {
    let segment = |id: &SectionId| program.section(*id).map(Segment::of);
    let sections = program.array(array);
    let differs = sections.iter().find(|id| segment(id) != sections.first().and_then(segment));
    let reason = "sections of its name differ in kind, so that they cannot be one array";
    differs.map_or(Ok(()), |id| Err(broken(program, *id, reason)))
}

fn check_common(program: &Program<'_>, id: GlobalId) -> Result<()> {
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
