//! Every way in which a sound file can fail to become callable.

use alloc::boxed::Box;
use core::fmt;

use arrayvec::ArrayString;

use crate::alloc_util::{self, AllocError};
use crate::format::{Arch, FormatError, Platform, RelocKind};
use crate::jit;
use crate::memory::MemoryError;
use crate::trap::Trap;

/// A symbol's name inside an error, which must be `Copy`: escaped, and cut where it is too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShortName(ArrayString<{ ShortName::CAPACITY }>);

impl ShortName {
    /// Names of so many printable bytes are kept whole; fewer where size matters most, because every error
    /// that is handed on is copied.
    pub const CAPACITY: usize = if cfg!(feature = "full") { 48 } else { 12 };

    /// The first bytes of `name`, printable.
    pub fn new(name: &[u8]) -> Self {
        const ELLIPSIS: &str = "...";
        let mut short = ArrayString::new();
        // The last place between two bytes behind which the ellipsis still fits.
        let mut cut = 0;
        for byte in name {
            if short.len() + ELLIPSIS.len() <= short.capacity() {
                cut = short.len();
            }
            // Without the machinery of formatting, which is more code than all of this.
            if byte.escape_ascii().try_for_each(|c| short.try_push(char::from(c))).is_err() {
                short.truncate(cut);
                short.push_str(ELLIPSIS);
                break;
            }
        }
        ShortName(short)
    }
}

impl fmt::Display for ShortName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why a module cannot be placed, linked or called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the fields are what the sentence of each variant shows")]
pub enum LinkError {
    /// The file is not sound.
    Format(FormatError),
    /// The kernel refused something.
    Memory(MemoryError),
    /// The allocator has no more memory.
    OutOfMemory,
    /// Code for another instruction set.
    Arch { module: Arch, host: Arch },
    /// A module for another system.
    Platform { module: Platform, host: Platform },
    /// An ELF shared object with a trailer: the system's loader must take it.
    Dynlib,
    /// The code section holds bytecode.
    Bytecode,
    /// There is no code section, or an empty one.
    NoCode,
    /// Code that is compressed, which code that runs never is.
    CompressedCode { section: u32 },
    /// The module does not fit the address space.
    TooLarge,
    /// Code that counts on a placement of its sections which the file does not bring, or which is for
    /// smaller pages.
    Image,
    /// A relocation of a kind that is not for this instruction set.
    RelocKind { section: u32, index: u32, kind: RelocKind },
    /// A relocation against a symbol that has no place in memory.
    NoAddress { section: u32, index: u32, symbol: ShortName },
    /// A relocation whose value does not fit its place.
    Overflow { kind: RelocKind, symbol: ShortName, place: u64, target: u64 },
    /// A relocation for an instruction that it cannot be for.
    Instruction { kind: RelocKind, symbol: ShortName, place: u64, word: u32 },
    /// A relocation whose value its instruction can only count in larger units.
    Unaligned { kind: RelocKind, symbol: ShortName, place: u64, target: u64, unit: u64 },
    /// A relocation for a section that is not loaded.
    NotLoaded { section: u32 },
    /// An import that is called, and that is data where it is defined.
    NotAFunction { symbol: ShortName },
    /// Imports that nobody provides.
    MissingImports { count: u32, first: ShortName },
    /// A call with more arguments than can be passed.
    TooManyArguments { given: usize },
    /// A call with floats, which are passed only where code is made of templates.
    FloatArguments,
    /// The call was ended by a trap.
    Trap(Trap),
    /// The call was ended by bytecode that was stopped.
    Stopped(jit::trap::Trap),
}

impl fmt::Display for LinkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            LinkError::Format(error) => error.fmt(f),
            LinkError::Memory(error) => error.fmt(f),
            LinkError::OutOfMemory => f.write_str("the allocator has no memory left"),
            LinkError::Arch { module, host } => {
                write!(f, "the module is for {module} and this machine is {host}")
            }
            LinkError::Platform { module, host } => {
                write!(f, "the module is for {module} and this system is {host}")
            }
            LinkError::Dynlib => f.write_str(
                "the file is a dynlib, an ELF shared object with a trailer, which only the system's loader can open",
            ),
            LinkError::Bytecode => {
                f.write_str("the code is bytecode (BCOD), which a loader runs, and no linker")
            }
            LinkError::NoCode => f.write_str("the module has no code"),
            LinkError::CompressedCode { section } => {
                write!(f, "section {section} is compressed code, which cannot be run")
            }
            LinkError::TooLarge => f.write_str("the module does not fit the address space"),
            LinkError::Image => f.write_str(
                "the code counts on the placement in a section `.smf.image`, which is missing or for smaller pages than this machine has; pack the module with `--layout native`",
            ),
            LinkError::RelocKind { section, index, kind } => write!(
                f,
                "relocation {index} of section {section}: {kind} is not for this instruction set"
            ),
            LinkError::NoAddress { section, index, symbol } => write!(
                f,
                "relocation {index} of section {section}: its symbol `{symbol}` has no address"
            ),
            LinkError::Overflow { kind, symbol, place, target } => write!(
                f,
                "a {kind} relocation against `{symbol}` cannot reach 0x{target:x} from 0x{place:x}"
            ),
            LinkError::Instruction { kind, symbol, place, word } => write!(
                f,
                "a {kind} relocation against `{symbol}` is not for an instruction like 0x{word:08x}, at 0x{place:x}"
            ),
            LinkError::Unaligned { kind, symbol, place, target, unit } => write!(
                f,
                "a {kind} relocation against `{symbol}` leads from 0x{place:x} to 0x{target:x}, and its instruction counts in units of {unit} bytes"
            ),
            LinkError::NotLoaded { section } => {
                write!(f, "section {section}: its relocations are for a section that is not loaded")
            }
            LinkError::NotAFunction { symbol } => write!(
                f,
                "the module calls its import `{symbol}`, and who exports the name has data there"
            ),
            LinkError::MissingImports { count: 1, first } => {
                write!(f, "nobody provides the import `{first}`")
            }
            LinkError::MissingImports { count, first } => {
                write!(f, "nobody provides {count} imports, the first of them `{first}`")
            }
            LinkError::TooManyArguments { given } => write!(
                f,
                "{given} arguments given, and a call passes at most {}",
                super::call::MAX_ARGS
            ),
            LinkError::FloatArguments => {
                f.write_str("a call on this machine passes integers alone, and there is a float")
            }
            LinkError::Trap(trap) => trap.fmt(f),
            LinkError::Stopped(trap) => trap.fmt(f),
        }
    }
}

impl core::error::Error for LinkError {}

/// A [`LinkError`] on its way out of this room, in one register: every function between the place where
/// something is refused and whoever asked for it hands it on, and would copy some sixty bytes.
///
/// Nothing is inside when there is no memory: that is the error, or there was none to keep another one.
#[derive(Debug, PartialEq)]
pub(super) struct Refusal(Option<Box<LinkError>>);

impl From<Refusal> for LinkError {
    #[cold]
    #[inline(never)]
    fn from(refusal: Refusal) -> Self {
        refusal.0.map_or(LinkError::OutOfMemory, |error| *error)
    }
}

impl From<AllocError> for Refusal {
    fn from(_: AllocError) -> Self {
        Refusal(None)
    }
}

impl From<LinkError> for Refusal {
    #[cold]
    #[inline(never)]
    fn from(error: LinkError) -> Self {
        Refusal(alloc_util::try_box(error).ok())
    }
}

impl From<FormatError> for Refusal {
    #[cold]
    #[inline(never)]
    fn from(error: FormatError) -> Self {
        LinkError::Format(error).into()
    }
}

impl From<MemoryError> for Refusal {
    #[cold]
    #[inline(never)]
    fn from(error: MemoryError) -> Self {
        LinkError::Memory(error).into()
    }
}

impl From<AllocError> for LinkError {
    fn from(_: AllocError) -> Self {
        LinkError::OutOfMemory
    }
}

impl From<FormatError> for LinkError {
    fn from(error: FormatError) -> Self {
        LinkError::Format(error)
    }
}

impl From<MemoryError> for LinkError {
    fn from(error: MemoryError) -> Self {
        LinkError::Memory(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;

    #[test]
    fn names_are_escaped_and_cut() {
        assert_eq!(ShortName::new(b"fn$Vec<i64>").to_string(), "fn$Vec<i64>");
        assert_eq!(ShortName::new(b"a\xffb\n").to_string(), "a\\xffb\\n");
        let long = ShortName::new(&[b'x'; 5000]).to_string();
        assert!(long.len() <= 48 && long.ends_with("x..."), "{long}");
        let escaped = ShortName::new(&[0xff; 5000]).to_string();
        assert!(escaped.len() <= 48 && escaped.ends_with("\\xff..."), "{escaped}");
    }

    #[test]
    fn a_refusal_gives_back_what_was_wrong() {
        let format = LinkError::Format(FormatError::Empty);
        for error in [LinkError::TooLarge, LinkError::OutOfMemory, format] {
            assert_eq!(LinkError::from(Refusal::from(error)), error);
        }
        assert_eq!(LinkError::from(Refusal::from(FormatError::Empty)), format);
        let shared = MemoryError::SharedCode;
        assert_eq!(LinkError::from(Refusal::from(shared)), LinkError::Memory(shared));
        assert_eq!(LinkError::from(Refusal::from(AllocError)), LinkError::OutOfMemory);
        assert_eq!(size_of::<Refusal>(), size_of::<usize>());
    }
}
