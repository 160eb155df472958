//! Sections with constructors and destructors, which become two arrays of the module.
//!
//! As in the default script of GNU ld: `.init_array.N` and `.ctors.N` come first, by priority, where the priority of
//! `.ctors.N` is 65535 - N; sections without a number follow in link order. The entries of `.ctors` and `.dtors` run from
//! the last to the first, so that their order is reversed.
//!
//! Fragments of `.init` and `.fini` are joined in link order to one function each, which runs before all constructors or
//! after all destructors. `crti.o` and `crtn.o` contain its first and last instructions; where they are not part of the
//! input, the packer adds the same ones.
//!
//! Source: GNU ld, `scripttempl/elf.sc` and `get_init_priority` in `ldlang.c`; gcc, `crtstuff.c`; glibc,
//! `sysdeps/*/crti.S` and `crtn.S`.

use ::object::elf;

use super::object::{Section, is_called};
use super::resolve::{Program, Resolution};

/// Bytes of an entry.
pub(super) const ENTRY: u64 = 8;

/// How a section contributes to constructors and destructors.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum InitSection {
    /// Part of an array.
    Array(ArrayPart),
    /// Instructions of a function that all objects contribute to.
    Fragment(Fragment),
    /// Functions that run before those of all libraries, in executables alone (`.preinit_array`).
    Preinit,
}

/// A function that consists of fragments.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Fragment {
    /// `.init`.
    Init,
    /// `.fini`.
    Fini,
}

impl Fragment {
    pub(super) const ALL: [Fragment; 2] = [Fragment::Init, Fragment::Fini];

    fn section(self) -> &'static [u8] {
        match self {
            Fragment::Init => b".init",
            Fragment::Fini => b".fini",
        }
    }

    /// The definition of the function in the input, such as that of `crti.o`.
    pub(super) fn definition(self, program: &Program<'_>) -> Option<Resolution> {
        let name: &[u8] = match self {
            Fragment::Init => b"_init",
            Fragment::Fini => b"_fini",
        };
        let resolution = program.resolve_global(program.find(name)?).ok()?;
        let Resolution::Section { id, .. } = resolution else { return None };
        program.section(id).filter(|section| section.name == self.section())?;
        Some(resolution)
    }
}

/// The first and the last instructions of a function that consists of fragments.
#[derive(Clone, Copy)]
pub(super) struct FragmentFrame {
    pub(super) start: &'static [u8],
    pub(super) end: &'static [u8],
    /// Fills gaps between fragments, which execution passes through.
    pub(super) nop: &'static [u8],
}

/// A part of an array of addresses.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct ArrayPart {
    /// Of destructors.
    pub(super) is_fini: bool,
    /// Lower priorities come first; the last one is for sections without a number.
    pub(super) priority: u32,
    /// The entries are in reverse order.
    pub(super) is_reversed: bool,
}

impl ArrayPart {
    /// Whether the name of the section states a priority.
    pub(super) fn is_numbered(self) -> bool {
        self.priority != LAST
    }
}

/// The priority of a section without a number.
const LAST: u32 = u32::MAX;

impl InitSection {
    /// Classifies a section; `None` for all others and for empty ones.
    pub(super) fn of(section: &Section<'_>) -> Option<Self> {
        if !section.is_loaded() || section.size == 0 || section.discarded {
            return None;
        }
        Self::of_name(section.name).or_else(|| Self::of_kind(section.kind))
    }

    fn of_name(name: &[u8]) -> Option<Self> {
        const ARRAYS: [(&[u8], bool, bool); 4] = [
            (b".init_array", false, false),
            (b".fini_array", true, false),
            (b".ctors", false, true),
            (b".dtors", true, true),
        ];
        let found = ARRAYS.iter().find(|(stem, ..)| is_called(name, stem));
        if let Some((stem, is_fini, is_reversed)) = found {
            let number = name.get(stem.len() + 1..).and_then(number);
            let priority = match number {
                Some(number) if *is_reversed => 65535u32.saturating_sub(number),
                Some(number) => number,
                None => LAST,
            };
            let (is_fini, is_reversed) = (*is_fini, *is_reversed);
            return Some(Self::Array(ArrayPart { is_fini, priority, is_reversed }));
        }
        if is_called(name, b".preinit_array") {
            return Some(Self::Preinit);
        }
        Fragment::ALL.into_iter().find(|f| f.section() == name).map(Self::Fragment)
    }

    fn of_kind(kind: elf::SectionType) -> Option<Self> {
        let array =
            |is_fini| Self::Array(ArrayPart { is_fini, priority: LAST, is_reversed: false });
        match kind {
            elf::SHT_INIT_ARRAY => Some(array(false)),
            elf::SHT_FINI_ARRAY => Some(array(true)),
            elf::SHT_PREINIT_ARRAY => Some(Self::Preinit),
            _ => None,
        }
    }

    /// The part of an array that a section is.
    pub(super) fn array_part(section: &Section<'_>) -> Option<ArrayPart> {
        match Self::of(section) {
            Some(Self::Array(part)) => Some(part),
            _ => None,
        }
    }
}

fn number(digits: &[u8]) -> Option<u32> {
    std::str::from_utf8(digits).ok()?.parse().ok().filter(|number| *number <= 65535)
}

/// The offset at which the array holds the byte at `offset` of a reversed section of `size` bytes.
pub(super) fn reversed(offset: u64, size: u64) -> Option<u64> {
    let within = offset % ENTRY;
    size.checked_sub(offset - within)?.checked_sub(ENTRY)?.checked_add(within)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn priority_is_taken_from_the_name() {
        let array = |is_fini, priority, is_reversed| {
            Some(InitSection::Array(ArrayPart { is_fini, priority, is_reversed }))
        };
        for (name, expected) in [
            (".init_array", array(false, LAST, false)),
            (".init_array.00101", array(false, 101, false)),
            (".init_array.x", array(false, LAST, false)),
            (".fini_array.65535", array(true, 65535, false)),
            (".ctors", array(false, LAST, true)),
            (".ctors.65434", array(false, 101, true)),
            (".dtors.00000", array(true, 65535, true)),
            (".init", Some(InitSection::Fragment(Fragment::Init))),
            (".fini", Some(InitSection::Fragment(Fragment::Fini))),
            (".preinit_array", Some(InitSection::Preinit)),
            (".initial", None),
            (".init.text", None),
        ] {
            assert_eq!(InitSection::of_name(name.as_bytes()), expected, "{name}");
        }
    }

    #[test]
    fn reversed_entries_keep_the_order_of_their_bytes() {
        let places = [0, 3, 8, 15, 16].map(|offset| reversed(offset, 24));
        assert_eq!(places, [Some(16), Some(19), Some(8), Some(15), Some(0)]);
        assert_eq!(reversed(24, 24), None);
    }
}
