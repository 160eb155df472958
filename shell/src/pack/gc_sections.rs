//! Which sections a module needs: what its exports and its entry reach, and nothing else.
//!
//! What is not reached asks for nothing: its imports are no imports of the module, and what it could
//! not express does not matter. Unwinding tables and notes fall away for that reason alone.

use std::collections::HashSet;

use ::object::LittleEndian as LE;
use ::object::elf;

use super::Options;
use super::error::{PackError, PackWarning, RelocType};
use super::layout::{Run, is_called};
use super::object::{GlobalId, Rela, Section, SectionId, SymbolId, text};
use super::resolve::{Program, Referent, Trouble};

/// The greatest alignment a module can ask for, in bytes.
const MAX_ALIGNMENT: u64 = smf_core::format::MAX_ALIGNMENT;

/// What is needed.
pub(super) struct Reach {
    /// By object, then by section.
    live: Vec<Vec<bool>>,
    commons: HashSet<GlobalId>,
    /// Arrays both ends of which something may ask for, so that all of it is needed.
    arrays: HashSet<u32>,
    queue: Vec<SectionId>,
}

/// A relocation's type and the symbol it is against.
pub(super) fn decode(rela: &Rela, object: u32) -> (u32, SymbolId) {
    let info = rela.r_info.get(LE);
    // Two halves of 32 bits each.
    let (symbol, kind) = ((info >> 32) as u32, info as u32);
    (kind, SymbolId { object, symbol })
}

/// Marks everything that the program needs, and checks that a module can hold it.
pub(super) fn reach(
    program: &Program<'_>,
    options: &Options<'_>,
    warnings: &mut Vec<PackWarning>,
) -> Result<Reach, PackError> {
    let live = program.objects.iter().map(|object| vec![false; object.sections.len()]).collect();
    let (commons, arrays) = (HashSet::new(), HashSet::new());
    let mut reach = Reach { live, commons, arrays, queue: Vec::new() };
    for export in program.exports() {
        let referent = export.referent.map_err(|why| root_trouble(program, export.id, why))?;
        reach.mark(program, referent)?;
    }
    if let Some(name) = options.entry {
        let missing = || PackError::EntryMissing { name: name.to_owned() };
        let id = program.find(name.as_bytes()).ok_or_else(missing)?;
        let referent = program.meaning(id, false);
        reach.mark(program, referent.map_err(|why| root_trouble(program, id, why))?)?;
    }
    while let Some(id) = reach.queue.pop() {
        reach.visit(program, id)?;
    }
    reach.commons.iter().try_for_each(|id| check_common(program, *id))?;
    reach.refuse_constructors(program)?;
    if reach.is_empty() {
        return Err(PackError::NothingExported);
    }
    reach.warn_of_exceptions(program, warnings);
    Ok(reach)
}

impl Reach {
    /// Whether a section is needed.
    pub(super) fn is_live(&self, id: SectionId) -> bool {
        let (object, section) = (usize::try_from(id.object), usize::try_from(id.section));
        let (Ok(object), Ok(section)) = (object, section) else { return false };
        self.live.get(object).and_then(|live| live.get(section)).copied().unwrap_or(false)
    }

    /// The common symbols that are needed, in the order of the program's names.
    pub(super) fn commons(&self) -> Vec<GlobalId> {
        let mut commons: Vec<_> = self.commons.iter().copied().collect();
        commons.sort_unstable();
        commons
    }

    fn is_empty(&self) -> bool {
        self.commons.is_empty() && !self.live.iter().flatten().any(|live| *live)
    }

    fn mark(&mut self, program: &Program<'_>, referent: Referent) -> Result<(), PackError> {
        match referent {
            Referent::Section { id, .. } => self.mark_section(id),
            Referent::Common(id) => {
                self.commons.insert(id);
            }
            Referent::Bound { array, .. } if self.arrays.insert(array) => {
                check_array(program, array)?;
                program.array(array).iter().for_each(|id| self.mark_section(*id));
            }
            Referent::Bound { .. }
            | Referent::Absolute(_)
            | Referent::Import(_)
            | Referent::Got
            | Referent::Handle => {}
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

    /// Checks a section that is needed, and marks what it needs.
    fn visit(&mut self, program: &Program<'_>, id: SectionId) -> Result<(), PackError> {
        let Some(section) = program.section(id) else { return Ok(()) };
        check_section(program, id, section)?;
        for rela in section.relocs.iter().copied().flatten() {
            let (kind, symbol) = decode(rela, id.object);
            if program.symbol(symbol).is_none() {
                return Err(broken(program, id, "a relocation names a symbol that does not exist"));
            }
            match program.referent(symbol) {
                Ok(referent) => self.mark(program, referent)?,
                Err(_) if kind == elf::R_X86_64_NONE.0 => {}
                Err(why) => return Err(trouble(program, id, kind, symbol, why)),
            }
        }
        Ok(())
    }

    /// Nobody runs constructors, so that an object that counts on its own would misbehave. One that
    /// came out of an archive counts when anything of it is needed.
    fn refuse_constructors(&self, program: &Program<'_>) -> Result<(), PackError> {
        let mut runs = program.sections().filter(|(_, section)| runs_by_itself(section));
        let refused = runs.find(|(id, _)| {
            let optional = program.object(id.object).is_some_and(|object| object.from_archive);
            !optional || self.needs(id.object)
        });
        match refused {
            Some((id, _)) => {
                let (object, section) = program.titles(id);
                Err(PackError::Constructors { object, section })
            }
            None => Ok(()),
        }
    }

    /// Whether any section of an object is needed.
    fn needs(&self, object: u32) -> bool {
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
            if self.needs(number) && object.sections.iter().any(catches) {
                warnings.push(PackWarning::NoUnwinding { object: object.name.clone() });
            }
        }
    }
}

fn runs_by_itself(section: &Section<'_>) -> bool {
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
    let runs = KINDS.contains(&section.kind) || named;
    runs && section.is_loaded() && section.size != 0 && !section.discarded
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
        "its alignment is no power of two"
    } else if section.has(elf::SHF_COMPRESSED) {
        "it is compressed"
    } else if section.foreign_relocs {
        "its relocations carry no addends, which its machine does not use"
    } else if section.is_zeroes() && section.is_code() {
        "code without bytes"
    } else if section.is_zeroes() && !section.relocs.is_empty() {
        "relocations apply to a section without bytes"
    } else if alignment > MAX_ALIGNMENT {
        let (object, section) = program.titles(id);
        return Err(PackError::Alignment { object, section, alignment });
    } else {
        return Ok(());
    };
    Err(broken(program, id, reason))
}

/// An array is one piece of memory, so that all its sections must be of one kind.
fn check_array(program: &Program<'_>, array: u32) -> Result<(), PackError> {
    let run = |id: &SectionId| program.section(*id).map(Run::of);
    let sections = program.array(array);
    match sections.iter().find(|id| run(id) != sections.first().and_then(run)) {
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
    let (object, symbol) = (program.title(program.definer(id)), text(global.name));
    let reason = "its alignment is no power of two up to 4096";
    Err(PackError::BrokenSymbol { object, symbol, reason })
}

/// Why a name that must be part of the module cannot be.
fn root_trouble(program: &Program<'_>, id: GlobalId, why: Trouble) -> PackError {
    let name = program.global(id).map_or_else(String::new, |global| text(global.name));
    let object = program.title(program.definer(id));
    match why {
        Trouble::Ifunc => PackError::Ifunc { name, object },
        Trouble::ThreadLocal => {
            let section = program.home(id).map(|section| program.titles(section).1);
            PackError::ThreadLocal { object, section: section.unwrap_or(name) }
        }
        Trouble::Hidden => PackError::UndefinedHidden { name, object },
        Trouble::Discarded | Trouble::NotLoaded => {
            let reason = "it has no place in memory";
            PackError::BrokenSymbol { object, symbol: name, reason }
        }
    }
}

/// Why a relocation cannot be followed.
fn trouble(
    program: &Program<'_>,
    id: SectionId,
    kind: u32,
    symbol: SymbolId,
    why: Trouble,
) -> PackError {
    let (object, section) = program.titles(id);
    let name = program.symbol(symbol).map_or_else(String::new, |symbol| text(symbol.name));
    let definer = program.symbol(symbol).and_then(|symbol| symbol.global);
    match why {
        Trouble::Ifunc => {
            let object = definer.map_or(object, |global| program.title(program.definer(global)));
            PackError::Ifunc { name, object }
        }
        Trouble::ThreadLocal => {
            let kind = RelocType { machine: program.machine(), number: kind };
            PackError::ThreadLocalReference { object, section, kind, symbol: name }
        }
        Trouble::Hidden => PackError::UndefinedHidden { name, object },
        Trouble::Discarded => {
            let why = "was dropped with another copy of its section group";
            PackError::RelocTarget { object, section, symbol: name, why }
        }
        Trouble::NotLoaded => {
            let why = "has no place in memory";
            PackError::RelocTarget { object, section, symbol: name, why }
        }
    }
}
