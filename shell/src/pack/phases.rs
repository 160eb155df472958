//! When code runs: what decides in which order it lies.
//!
//! Compilers know little about that, and say it by the names of sections: `.text.startup`, `.text.hot`,
//! `.text.unlikely`. Who knows more says it in a list of functions, one a line, `NAME PHASE`, which counts
//! for functions that were compiled into sections of their own (`-ffunction-sections`): a section is the
//! least that can be moved. Code of which nobody says anything is taken to run all the time, in the phase
//! `steady`, behind what is known to be hot.

use std::collections::{HashMap, HashSet};
use std::fmt;

use ::object::elf;
use smf_core::format::Phase;

use super::error::PackWarning;
use super::gc_sections::Reach;
use super::layout::is_called;
use super::object::{Place, Section, SectionId, text};
use super::resolve::Program;

/// Why a list of phases cannot be understood. Lines count from 1.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the fields are what the sentence of each variant shows")]
pub enum PhaseListError {
    /// A line that is not a name and a phase.
    Line { line: usize },
    /// A phase that there is not.
    Phase { line: usize, phase: String },
    /// A second phase for a function.
    Twice { line: usize, name: String },
}

impl fmt::Display for PhaseListError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PhaseListError::Line { line } => write!(f, "line {line}: not `NAME PHASE`"),
            PhaseListError::Phase { line, phase } => write!(
                f,
                "line {line}: no phase is called `{phase}`, only startup, first_frame, steady and cold are"
            ),
            PhaseListError::Twice { line, name } => {
                write!(f, "line {line}: `{name}` has another phase already")
            }
        }
    }
}

impl std::error::Error for PhaseListError {}

/// When functions run, by their names.
pub type PhaseList<'a> = HashMap<&'a [u8], Phase>;

/// Reads a list of phases: a name and a phase a line, with spaces between them. What follows a `#` is a
/// comment, and empty lines mean nothing.
///
/// # Errors
/// What is wrong with the first line that is.
pub fn parse_phases(list: &[u8]) -> Result<PhaseList<'_>, PhaseListError> {
    let mut phases = PhaseList::new();
    for (line, bytes) in (1..).zip(list.split(|byte| *byte == b'\n')) {
        let said = bytes.split(|byte| *byte == b'#').next().unwrap_or(bytes);
        let mut words = said.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
        let (name, phase) = match (words.next(), words.next(), words.next()) {
            (None, ..) => continue,
            (Some(name), Some(phase), None) => (name, phase),
            _ => return Err(PhaseListError::Line { line }),
        };
        let unknown = || PhaseListError::Phase { line, phase: text(phase) };
        let phase = Phase::from_name(phase).ok_or_else(unknown)?;
        if phases.insert(name, phase).is_some_and(|other| other != phase) {
            return Err(PhaseListError::Twice { line, name: text(name) });
        }
    }
    Ok(phases)
}

/// What is said of the sections of a program.
pub(super) struct Phases(HashMap<SectionId, Phase>);

impl Phases {
    /// Gives every needed section of one function the phase that `list` has for it.
    pub(super) fn new(
        program: &Program<'_>,
        reach: &Reach,
        list: &PhaseList<'_>,
        warnings: &mut Vec<PackWarning>,
    ) -> Self {
        let mut sections = Phases(HashMap::new());
        if !list.is_empty() {
            sections.assign(program, reach, list, warnings);
        }
        sections
    }

    fn assign(
        &mut self,
        program: &Program<'_>,
        reach: &Reach,
        list: &PhaseList<'_>,
        warnings: &mut Vec<PackWarning>,
    ) {
        // Sections with functions at different places, which so are not names of one.
        let mut first: HashMap<SectionId, u64> = HashMap::new();
        let mut shared = HashSet::new();
        let functions = || functions(program).filter(|(id, ..)| reach.is_live(*id));
        for (id, value, _) in functions() {
            // What lies between the bounds of an array stays there.
            let is_array = program.section(id).is_some_and(|section| section.array.is_some());
            if is_array || *first.entry(id).or_insert(value) != value {
                shared.insert(id);
            }
        }
        let mut found = HashSet::new();
        for (id, _, name) in functions() {
            let Some(phase) = list.get(name).copied() else { continue };
            found.insert(name);
            if shared.contains(&id) {
                let (object, section) = program.titles(id);
                warnings.push(PackWarning::PhaseShared { object, section, name: text(name) });
            } else {
                // Of two names of one function, the earlier phase counts.
                let known = self.0.entry(id).or_insert(phase);
                *known = phase.min(*known);
            }
        }
        let mut missing: Vec<_> = list.keys().filter(|name| !found.contains(*name)).collect();
        missing.sort_unstable();
        warnings
            .extend(missing.into_iter().map(|name| PackWarning::PhaseUnused { name: text(name) }));
    }

    /// When the code of a section runs.
    pub(super) fn of(&self, id: SectionId, section: &Section<'_>) -> Phase {
        self.said(id, section).unwrap_or(Phase::Steady)
    }

    fn said(&self, id: SectionId, section: &Section<'_>) -> Option<Phase> {
        self.0.get(&id).copied().or_else(|| compilers_phase(section.name))
    }

    pub(super) fn is_cold(&self, id: SectionId, section: &Section<'_>) -> bool {
        self.of(id, section) == Phase::Cold
    }

    /// The place of a section among the code.
    pub(super) fn rank(&self, id: SectionId, section: &Section<'_>) -> u8 {
        match self.said(id, section) {
            Some(Phase::Startup) => 0,
            Some(Phase::FirstFrame) => 1,
            Some(Phase::Steady) => 2,
            None => 3,
            Some(Phase::Cold) => 4,
        }
    }
}

/// The functions that the objects of a program define: section, offset and name.
fn functions<'p, 'd>(
    program: &'p Program<'d>,
) -> impl Iterator<Item = (SectionId, u64, &'d [u8])> + 'p {
    (0u32..).zip(&program.objects).flat_map(|(object, parsed)| {
        let functions = parsed.symbols.iter().filter(|symbol| symbol.kind == elf::STT_FUNC);
        functions.filter_map(move |symbol| match symbol.place {
            Place::Section { section, value } => {
                Some((SectionId { object, section }, value, symbol.name))
            }
            _ => None,
        })
    })
}

/// When code runs, as its compiler has named its section.
fn compilers_phase(name: &[u8]) -> Option<Phase> {
    let is = |prefix| is_called(name, prefix);
    if is(b".text.hot") {
        Some(Phase::Steady)
    } else if is(b".text.startup") {
        Some(Phase::Startup)
    } else if is(b".text.unlikely") || is(b".text.cold") || is(b".text.exit") {
        Some(Phase::Cold)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_has_a_name_and_a_phase_a_line() {
        let list =
            b"# hand-made\n\nmain startup\n  draw\tfirst_frame  # once\nmain startup\r\n\xff cold";
        let phases = parse_phases(list).unwrap();
        assert_eq!(phases.len(), 3);
        assert_eq!(phases.get(&b"main"[..]), Some(&Phase::Startup));
        assert_eq!(phases.get(&b"draw"[..]), Some(&Phase::FirstFrame));
        assert_eq!(phases.get(&b"\xff"[..]), Some(&Phase::Cold));
        assert!(parse_phases(b"").unwrap().is_empty());
    }

    #[test]
    fn a_list_that_is_wrong_says_where() {
        for (list, message) in [
            ("main\n", "line 1: not `NAME PHASE`"),
            ("\nmain startup now", "line 2: not `NAME PHASE`"),
            (
                "main soon",
                "line 1: no phase is called `soon`, only startup, first_frame, steady and cold are",
            ),
            ("a cold\na steady", "line 2: `a` has another phase already"),
        ] {
            assert_eq!(parse_phases(list.as_bytes()).unwrap_err().to_string(), message);
        }
    }

    #[test]
    fn compilers_say_it_by_the_names_of_sections() {
        for (name, phase) in [
            (".text", None),
            (".text.main", None),
            (".text.hotel", None),
            (".text.hot.f", Some(Phase::Steady)),
            (".text.startup", Some(Phase::Startup)),
            (".text.startup.main", Some(Phase::Startup)),
            (".text.unlikely.f", Some(Phase::Cold)),
            (".text.exit", Some(Phase::Cold)),
        ] {
            assert_eq!(compilers_phase(name.as_bytes()), phase, "{name}");
        }
    }
}
