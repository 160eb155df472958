//! Every way in which an instance cannot be made, or its module not be told of it.

use core::fmt;

use arrayvec::ArrayString;

use crate::alloc_util::AllocError;
use crate::format::write::library::LibraryReplaceError;
use crate::format::write::rewrite::RewriteError;
use crate::format::{FormatError, RelocKind};
use crate::link::ShortName;
use crate::memory::code_alloc::ExecError;
use crate::memory::{MemoryError, ReplaceError};
use crate::types::{MAX_ARGUMENTS, TypeError};

/// What a compiler says, inside an error, which must be `Copy`: cut where it is too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reason(ArrayString<{ Reason::CAPACITY }>);

impl Reason {
    /// So many bytes are kept.
    pub const CAPACITY: usize = 128;

    /// The first characters of what `said` shows.
    pub fn new(said: impl fmt::Display) -> Self {
        struct Cut(ArrayString<{ Reason::CAPACITY }>);
        impl fmt::Write for Cut {
            fn write_str(&mut self, text: &str) -> fmt::Result {
                for c in text.chars() {
                    // A reason is one line.
                    let c = if c.is_control() { ' ' } else { c };
                    self.0.try_push(c).map_err(|_| fmt::Error)?;
                }
                Ok(())
            }
        }
        let mut cut = Cut(ArrayString::new());
        // An error is that there is no more room.
        let _ = fmt::Write::write_fmt(&mut cut, format_args!("{said}"));
        Self(cut.0)
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why an instance cannot be made. Nothing of it is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the fields are what the sentence of each variant shows")]
pub enum InstantiateError {
    /// Instances that need instances beyond the limit.
    Depth { limit: u32 },
    /// Two rows of the note of a module that mean different instances by one symbol.
    Ambiguous { line: u32, other: u32 },
    /// Type arguments that are none.
    Arguments(TypeError),
    /// A row for a template that no loaded module has.
    NoTemplate { template: ShortName },
    /// A template with another number of parameters than there are arguments.
    Parameters { template: ShortName, parameters: u8, arguments: usize },
    /// A template with more parameters than there may be.
    TooManyParameters { template: ShortName, parameters: u8 },
    /// A body that no compiler takes.
    NoCompiler { template: ShortName },
    /// What the compiler said.
    Compile(Reason),
    /// A symbol that the code refers to and nobody has.
    Missing { symbol: ShortName },
    /// Code without a byte, or more of it than a block can hold.
    CodeSize { size: usize },
    /// A relocation of a kind that is not for code, or not for this instruction set.
    RelocKind { index: usize, kind: RelocKind },
    /// A relocation outside the code, or to something that was never asked for.
    RelocPlace { index: usize, offset: u32 },
    /// A relocation that does not reach.
    Overflow { kind: RelocKind, place: u64, target: u64 },
    /// No memory for code.
    Exec(ExecError),
    /// The allocator has no more memory.
    OutOfMemory,
    /// The compiler did not come back.
    Abandoned,
}

impl fmt::Display for InstantiateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use InstantiateError as E;
        match *self {
            E::Depth { limit } => write!(f, "Maximum JIT depth ({limit}) exceeded"),
            E::Ambiguous { line, other } => write!(
                f,
                "lines {line} and {other} of note.sdn mean different instances by one symbol"
            ),
            E::Arguments(error) => error.fmt(f),
            E::NoTemplate { template } => write!(f, "no loaded module has a template `{template}`"),
            E::Parameters { template, parameters, arguments } => write!(
                f,
                "the template `{template}` has {parameters} type parameters, and note.sdn gives {arguments} arguments"
            ),
            E::TooManyParameters { template, parameters } => write!(
                f,
                "the template `{template}` has {parameters} type parameters, more than the {MAX_ARGUMENTS} there may be"
            ),
            E::NoCompiler { template } => {
                write!(f, "no compiler takes the body of the template `{template}`")
            }
            E::Compile(reason) => reason.fmt(f),
            E::Missing { symbol } => write!(f, "nobody provides `{symbol}`, which its code needs"),
            E::CodeSize { size } => write!(f, "the compiler gave {size} bytes of code"),
            E::RelocKind { index, kind } => {
                write!(f, "relocation {index} of its code ({kind}) is not for code on this machine")
            }
            E::RelocPlace { index, offset } => write!(
                f,
                "relocation {index} of its code, at 0x{offset:x}, is outside of it or leads nowhere"
            ),
            E::Overflow { kind, place, target } => {
                write!(f, "a {kind} relocation cannot reach 0x{target:x} from 0x{place:x}")
            }
            E::Exec(error) => error.fmt(f),
            E::OutOfMemory => f.write_str("the allocator has no memory left"),
            E::Abandoned => f.write_str("the compiler did not come back"),
        }
    }
}

impl core::error::Error for InstantiateError {}

impl From<ExecError> for InstantiateError {
    fn from(error: ExecError) -> Self {
        Self::Exec(error)
    }
}

/// Why what a module says of its instances cannot be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MetadataError {
    /// The file cannot be read.
    Read(MemoryError),
    /// It is no sound module.
    Format(FormatError),
    /// It is an archive: a module of it can be loaded by its name.
    Archive,
    /// The archive has no module of the name.
    NoModule,
    /// More of it than can be counted, or no memory for it.
    TooLarge,
}

impl fmt::Display for MetadataError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read(error) => error.fmt(f),
            Self::Format(error) => error.fmt(f),
            Self::Archive => f.write_str("a library archive, where one module is wanted"),
            Self::NoModule => f.write_str("the archive has no module of this name"),
            Self::TooLarge => f.write_str("there is no memory for its note and its templates"),
        }
    }
}

impl core::error::Error for MetadataError {}

impl From<FormatError> for MetadataError {
    fn from(error: FormatError) -> Self {
        Self::Format(error)
    }
}

impl From<AllocError> for MetadataError {
    fn from(_: AllocError) -> Self {
        Self::TooLarge
    }
}

impl From<MemoryError> for MetadataError {
    fn from(error: MemoryError) -> Self {
        Self::Read(error)
    }
}

/// Why a module's file does not say what was made of it. The code can be used all the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum UpdateError {
    /// The file cannot be replaced.
    Replace(ReplaceError),
    /// It is no sound module any more.
    Format(FormatError),
    /// The module cannot be given another note.
    Renote(RewriteError),
    /// The note says it, and the code was not kept.
    CachePolicy(RewriteError),
    /// The archive that the module is in cannot have another one in its place.
    Library(LibraryReplaceError),
    /// Its note does not speak of the instance any more: it is another module by now.
    Changed,
    /// There is no memory to tell it with.
    OutOfMemory,
}

impl fmt::Display for UpdateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Replace(error) => error.fmt(f),
            Self::Format(error) => error.fmt(f),
            Self::Renote(error) => error.fmt(f),
            Self::Library(error) => error.fmt(f),
            Self::CachePolicy(error) => write!(f, "its code was not kept: {error}"),
            Self::OutOfMemory => f.write_str("the allocator has no memory left"),
            Self::Changed => {
                f.write_str("the file has changed, and its note does not list it any more")
            }
        }
    }
}

impl core::error::Error for UpdateError {}

impl From<AllocError> for UpdateError {
    fn from(_: AllocError) -> Self {
        Self::OutOfMemory
    }
}

impl From<AllocError> for InstantiateError {
    fn from(_: AllocError) -> Self {
        Self::OutOfMemory
    }
}

impl From<ReplaceError> for UpdateError {
    fn from(error: ReplaceError) -> Self {
        Self::Replace(error)
    }
}

impl From<FormatError> for UpdateError {
    fn from(error: FormatError) -> Self {
        Self::Format(error)
    }
}

impl From<LibraryReplaceError> for UpdateError {
    fn from(error: LibraryReplaceError) -> Self {
        Self::Library(error)
    }
}

impl From<RewriteError> for UpdateError {
    fn from(error: RewriteError) -> Self {
        Self::Renote(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;

    #[test]
    fn reasons_are_cut_and_stay_one_line() {
        assert_eq!(Reason::new("a\nb").to_string(), "a b");
        let long = Reason::new("ü".repeat(500)).to_string();
        assert_eq!(long, "ü".repeat(Reason::CAPACITY / 2));
        assert_eq!(
            InstantiateError::Depth { limit: 2 }.to_string(),
            "Maximum JIT depth (2) exceeded"
        );
    }
}
