//! Phases of functions: the order of code by when it runs.
//!
//! Compilers express phases by section names: `.text.startup`, `.text.hot`, `.text.unlikely`. A phase list,
//! one `NAME PHASE` a line, overrides them for functions in sections of their own (`-ffunction-sections`): a
//! section is the smallest unit that can be moved. Other code counts as `steady` and lies behind hot code.

use std::collections::{HashMap, HashSet};

use ::object::elf;
use smf_core::format::Phase;
use thiserror::Error;

use super::error::PackWarning;
use super::gc_sections::Reachable;
use super::object::{Section, SectionId, SymbolLocation, is_called, text};
use super::resolve::Program;

/// Why a phase list is invalid. Lines count from 1.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the message of each variant names its fields")]
pub enum PhaseListError {
    /// A line that is not a name and a phase.
    #[error("line {line}: expected `NAME PHASE`")]
    Line { line: usize },
    /// An unknown phase.
    #[error("line {line}: unknown phase `{phase}`: expected startup, first_frame, steady or cold")]
    Phase { line: usize, phase: String },
    /// A second phase for a function.
    #[error("line {line}: `{name}` already has another phase")]
    Twice { line: usize, name: String },
}

/// The phases of functions, by name.
pub type PhaseList<'a> = HashMap<&'a [u8], Phase>;

/// Parses a phase list: a name and a phase a line, separated by spaces. `#` starts a comment; empty lines are
/// ignored.
///
/// # Errors
/// The first line that is invalid.
pub fn parse_phases(list: &[u8]) -> Result<PhaseList<'_>, PhaseListError> {
    let mut phases = PhaseList::new();
    for (line, bytes) in (1..).zip(list.split(|byte| *byte == b'\n')) {
        let entry = bytes.split(|byte| *byte == b'#').next().unwrap_or(bytes);
        let mut words = entry.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
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

/// The phases of sections, from the phase list.
pub(super) struct SectionPhases(HashMap<SectionId, Phase>);

impl SectionPhases {
    /// Assigns every reachable section of one function the phase that `list` has for it.
    pub(super) fn new(
        reachable: &Reachable<'_, '_>,
        list: Option<&PhaseList<'_>>,
        warnings: &mut Vec<PackWarning>,
    ) -> Self {
        let program = reachable.program;
        let mut phases = HashMap::new();
        let Some(list) = list else { return SectionPhases(phases) };
        // Sections with functions at different offsets, which cannot be moved alone.
        let mut first: HashMap<SectionId, u64> = HashMap::new();
        let mut shared = HashSet::new();
        let functions = || functions(program).filter(|(id, ..)| reachable.is_live(*id));
        for (id, value, _) in functions() {
            // The sections of an array are contiguous.
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
                let place = program.place(id);
                warnings.push(PackWarning::PhaseShared { place, name: text(name) });
            } else {
                // For two names of one function, the earlier phase counts.
                let known = phases.entry(id).or_insert(phase);
                *known = phase.min(*known);
            }
        }
        let mut missing: Vec<_> = list.keys().filter(|name| !found.contains(*name)).collect();
        missing.sort_unstable();
        let unused = missing.into_iter().map(|name| PackWarning::PhaseUnused { name: text(name) });
        warnings.extend(unused);
        SectionPhases(phases)
    }

    /// The phase of a section.
    pub(super) fn of(&self, id: SectionId, section: &Section<'_>) -> Phase {
        self.declared(id, section).unwrap_or(Phase::Steady)
    }

    fn declared(&self, id: SectionId, section: &Section<'_>) -> Option<Phase> {
        self.0.get(&id).copied().or_else(|| phase_from_name(section.name))
    }

    /// The sort key of a section among the code.
    pub(super) fn rank(&self, id: SectionId, section: &Section<'_>) -> u8 {
        match self.declared(id, section) {
            Some(Phase::Startup) => 0,
            Some(Phase::FirstFrame) => 1,
            Some(Phase::Steady) => 2,
            None => 3,
            Some(Phase::Cold) => 4,
        }
    }
}

/// The functions that the objects of a program define: section, offset and name.
fn functions<'d>(program: &Program<'d>) -> impl Iterator<Item = (SectionId, u64, &'d [u8])> {
    program.objects.iter().enumerate().flat_map(|(object, parsed)| {
        let functions = parsed.symbols.iter().filter(|symbol| symbol.kind == elf::STT_FUNC);
        functions.filter_map(move |symbol| match symbol.place {
            SymbolLocation::Section { section, value } => {
                Some((SectionId { object, section }, value, symbol.name))
            }
            _ => None,
        })
    })
}

/// The phase that the compiler expressed by the section's name.
fn phase_from_name(name: &[u8]) -> Option<Phase> {
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
    fn phase_list_with_comments_and_repeats_is_parsed() {
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
    fn invalid_phase_list_names_the_line() {
        for (list, message) in [
            ("main\n", "line 1: expected `NAME PHASE`"),
            ("\nmain startup now", "line 2: expected `NAME PHASE`"),
            (
                "main soon",
                "line 1: unknown phase `soon`: expected startup, first_frame, steady or cold",
            ),
            ("a cold\na steady", "line 2: `a` already has another phase"),
        ] {
            assert_eq!(parse_phases(list.as_bytes()).unwrap_err().to_string(), message);
        }
    }

    #[test]
    fn section_name_of_compiler_gives_the_phase() {
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
            assert_eq!(phase_from_name(name.as_bytes()), phase, "{name}");
        }
    }
}
