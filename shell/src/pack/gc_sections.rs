//! Section garbage collection: finds the sections that exports, the entry point, constructors and destructors reach.
//!
//! Constructors and destructors of every object that is linked in are kept, as linkers do.
//!
//! Sections that are not reached are dropped without checks: their imports are not imports of the module,
//! and they may contain constructs that a module cannot express. Notes are dropped for this reason, and the
//! unwinding tables of functions that are not reached.

use std::collections::BTreeSet;

use ::object::elf;
use hashbrown::{HashMap, HashSet};
use smf_core::format::MAX_ALIGNMENT;

use super::eh_frame::{EhFrameTable, EhFrames};
use super::error::{PackError, PackWarning, Refusals, Result};
use super::init_sections::{ENTRY, InitSection};
use super::object::{GlobalId, InputReloc, Section, SectionId, SectionMap, text};
use super::output::Segment;
use super::resolve::{Program, Resolution, ResolveError};

/// The reachable sections and common symbols.
pub(super) struct Reachable<'p, 'd> {
    pub(super) program: &'p Program<'d>,
    /// The unwinding tables of the reachable functions.
    pub(super) eh_frame: EhFrameTable,
    frames: EhFrames,
    live: SectionMap<()>,
    pub(super) commons: BTreeSet<GlobalId>,
    /// Section arrays whose bounds are referenced, so that all their sections are live.
    arrays: HashSet<usize>,
    queue: Vec<SectionId>,
    /// The number of each indirect function, by section and offset of its resolver.
    pub(super) ifuncs: HashMap<(SectionId, u64), usize>,
}

/// Marks everything that the exports and the entry point reach, and checks that a module can hold it.
pub(super) fn mark_reachable<'p, 'd>(
    program: &'p Program<'d>,
    entry: Option<&str>,
    omits_unwind_tables: bool,
    refusals: &mut Refusals,
) -> Result<Reachable<'p, 'd>> {
    let frames =
        if omits_unwind_tables { Ok(EhFrames::default()) } else { EhFrames::parse(program) };
    let mut reachable = Reachable {
        program,
        eh_frame: EhFrameTable::default(),
        frames: refusals.check(frames).unwrap_or_default(),
        live: SectionMap::new(),
        commons: BTreeSet::new(),
        arrays: HashSet::new(),
        queue: Vec::new(),
        ifuncs: HashMap::new(),
    };
    for export in program.exports() {
        let resolution = export.resolution.map_err(|why| root_error(program, export.id, why));
        refusals.check(resolution.and_then(|resolution| reachable.mark(resolution)));
    }
    if let Some(name) = entry {
        let missing = || PackError::EntryMissing { name: name.to_owned() };
        let id = program.find(name.as_bytes()).ok_or_else(missing)?;
        let resolution = program.resolve_global(id);
        let resolution = resolution.map_err(|why| root_error(program, id, why));
        refusals.check(resolution.and_then(|resolution| reachable.mark(resolution)));
    }
    reachable.mark_constructors(refusals);
    while let Some(id) = reachable.queue.pop() {
        reachable.visit(id, refusals);
    }
    for id in &reachable.commons {
        refusals.check(check_common(program, *id));
    }
    reachable.eh_frame = std::mem::take(&mut reachable.frames).into_table(program);
    Ok(reachable)
}

impl<'p, 'd> Reachable<'p, 'd> {
    /// Whether a module of these sections would be empty.
    pub(super) fn is_empty(&self) -> bool {
        self.commons.is_empty() && self.sections().next().is_none()
    }

    /// The reachable sections, in order of their ids.
    pub(super) fn sections(&self) -> impl Iterator<Item = (SectionId, &'p Section<'d>)> {
        self.program.sections().filter(|(id, _)| self.is_live(*id))
    }

    /// Whether a section is reachable.
    pub(super) fn is_live(&self, id: SectionId) -> bool {
        self.live.get(id).is_some()
    }

    /// The warning for archives of which most symbols are hidden and left out.
    pub(super) fn warning_of_hidden(&self) -> Option<PackWarning> {
        let program = self.program;
        let is_left_out = |id| match program.resolve_global(id) {
            Ok(Resolution::Section { id, .. } | Resolution::Ifunc { id, .. }) => !self.is_live(id),
            Ok(Resolution::Common(id)) => !self.commons.contains(&id),
            _ => false,
        };
        if !program.is_whole || program.hidden().any(|(_, global)| is_of_rust(global.name)) {
            return None;
        }
        let mut hidden = program.hidden().filter(|(id, _)| is_left_out(*id));
        let (_, first) = hidden.next()?;
        let (hidden, exported) = (hidden.count() + 1, program.exports().count());
        (hidden > exported).then(|| {
            let first = text(first.name);
            PackWarning::HiddenLeftOut { hidden, exported, first }
        })
    }

    fn mark(&mut self, resolution: Resolution) -> Result<()> {
        match resolution {
            Resolution::Section { id, .. } => self.mark_section(id),
            Resolution::Ifunc { id, value } => {
                let number = self.ifuncs.len();
                self.ifuncs.entry((id, value)).or_insert(number);
                self.mark_section(id);
            }
            Resolution::Common(id) => {
                self.commons.insert(id);
            }
            Resolution::ArrayBound { array, .. } if self.arrays.insert(array) => {
                check_array(self.program, array)?;
                self.program.array(array).iter().for_each(|id| self.mark_section(*id));
            }
            Resolution::Registrar(registrar) => {
                self.mark(self.program.dso_handle())?;
                if let Some(target) = self.program.target_of(registrar) {
                    self.mark(target)?;
                }
            }
            // Not in a section, or a bound of a marked array.
            _ => {}
        }
        Ok(())
    }

    fn mark_section(&mut self, id: SectionId) {
        if !self.is_live(id) {
            self.live.insert(id, ());
            self.queue.push(id);
        }
    }

    /// Checks a reachable section and marks the targets of its relocations.
    fn visit(&mut self, id: SectionId, refusals: &mut Refusals) {
        let program = self.program;
        let Some(section) = program.section(id) else { return };
        refusals.check(check_section(program, id, section));
        section.relocs(id.object).for_each(|reloc| self.follow(id, reloc, refusals));
        // The handlers of the functions in the section.
        let handlers = self.frames.keep(id).into_iter();
        handlers.for_each(|reloc| self.follow(id, reloc, refusals));
    }

    /// Marks the target of a relocation of the section `id`, or of the unwinding tables for it.
    fn follow(&mut self, id: SectionId, reloc: InputReloc, refusals: &mut Refusals) {
        let program = self.program;
        if program.symbol(reloc.symbol).is_none() {
            let reason = "a relocation names a symbol that does not exist";
            return refusals.add(program.bad_section(id, reason));
        }
        match program.resolution(reloc.symbol) {
            Ok(resolution) => {
                refusals.check(self.mark(resolution));
            }
            Err(_) if reloc.kind == elf::R_X86_64_NONE => {}
            Err(why) => refusals.add(self.reference_error(id, reloc, why)),
        }
    }

    /// Marks the constructors and destructors of all objects.
    fn mark_constructors(&mut self, refusals: &mut Refusals) {
        for (id, section) in self.program.sections() {
            let reason = match InitSection::of(section) {
                None => continue,
                Some(InitSection::Array(_)) if section.size.is_multiple_of(ENTRY) => {
                    self.mark_section(id);
                    continue;
                }
                Some(InitSection::Fragment(_)) if section.is_code() => {
                    self.mark_section(id);
                    continue;
                }
                Some(InitSection::Array(_)) => "its size is not a whole number of addresses",
                Some(InitSection::Preinit) => {
                    "its functions run before those of all libraries, which only an executable can do; use `.init_array`"
                }
                Some(InitSection::Fragment(_)) => "it is not code",
            };
            refusals.add(self.program.bad_section(id, reason));
        }
    }

    /// Whether a function catches exceptions or cleans up after them.
    pub(super) fn needs_unwinding(&self) -> bool {
        self.sections().any(|(_, section)| section.name.starts_with(b".gcc_except_table"))
    }

    /// The error for a relocation whose symbol cannot be resolved.
    fn reference_error(&self, id: SectionId, reloc: InputReloc, why: ResolveError) -> PackError {
        let program = self.program;
        let (object, place) = (program.title(id.object), program.place(id));
        let name = program.symbol_title(reloc.symbol);
        let why = match why {
            ResolveError::Hidden => return PackError::UndefinedHidden { name, object },
            ResolveError::Discarded => "was dropped with another copy of its section group",
            ResolveError::NotLoaded => "is in a section that is not loaded",
            ResolveError::ElfHeader => {
                "denotes the ELF header of the image, which a module does not have"
            }
        };
        PackError::RelocTarget { place, symbol: name, why }
    }
}

/// Whether a name is mangled by Rust. A static library of Rust has hidden parts of its compiler's libraries, none of which is
/// meant for others.
fn is_of_rust(name: &[u8]) -> bool {
    // A legacy name ends in `17h`, 16 digits and `E`.
    let hash = name.last_chunk::<20>().filter(|end| end.starts_with(b"17h"));
    name.starts_with(b"_R") || hash.is_some_and(|end| end.ends_with(b"E"))
}

/// Checks that a module can hold a section.
fn check_section(program: &Program<'_>, id: SectionId, section: &Section<'_>) -> Result<()> {
    let alignment = section.alignment;
    let reason = if section.has(elf::SHF_TLS) && section.is_code() {
        "thread-local and executable"
    } else if section.is_code() && section.has(elf::SHF_WRITE) {
        "writable and executable sections are not supported"
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
        return Err(PackError::Alignment { place: program.place(id), alignment });
    } else {
        return Ok(());
    };
    Err(program.bad_section(id, reason))
}

/// Checks that all sections of an array lie in one segment, so that they can be contiguous.
fn check_array(program: &Program<'_>, array: usize) -> Result<()> {
    let segment = |id: &SectionId| program.section(*id).map(Segment::of);
    let sections = program.array(array);
    let differs = sections.iter().find(|id| segment(id) != sections.first().and_then(segment));
    let reason = "sections of its name differ in kind, so that they cannot be one array";
    differs.map_or(Ok(()), |id| Err(program.bad_section(*id, reason)))
}

fn check_common(program: &Program<'_>, id: GlobalId) -> Result<()> {
    let Some(global) = program.global(id) else { return Ok(()) };
    let alignment = global.common_alignment;
    if alignment.is_power_of_two() && alignment <= MAX_ALIGNMENT {
        return Ok(());
    }
    let (object, symbol) = (program.title(program.defining_object(id)), text(global.name));
    let reason = "its alignment is not a power of two up to 2 MiB";
    Err(PackError::BrokenSymbol { object, symbol, reason })
}

/// The error for an exported symbol or entry point that cannot be resolved.
fn root_error(program: &Program<'_>, id: GlobalId, why: ResolveError) -> PackError {
    let name = program.global(id).map_or_else(String::new, |global| text(global.name));
    let object = program.title(program.defining_object(id));
    let reason = match why {
        ResolveError::Hidden => return PackError::UndefinedHidden { name, object },
        ResolveError::Discarded | ResolveError::NotLoaded => "its section is not loaded",
        ResolveError::ElfHeader => "a module has no ELF header",
    };
    PackError::BrokenSymbol { object, symbol: name, reason }
}
