//! Parts of a module taken out of it, for a linker that makes another one of them: the code of single
//! functions, and the templates of functions that are not made yet.
//!
//! `Concretes` (feature `alloc`) is made once of a module, in time N log N + M for N symbols and M relocations that
//! stand in order; each function with its relocations is then found by two binary searches.
//!
//! A function can stand alone only if every address in it is left to the linker. That is so where a
//! compiler gave each function a section of its own, or names everything by relocations. Writers that
//! settle distances within a section leave no trace of them but the instruction. So code of x86-64 and
//! aarch64 is read, instruction by instruction: a distance that leads to another symbol becomes a relocation,
//! and a function with one that leads to nothing that has a name is refused. Of a module whose writer says
//! that it has settled distances, by a placement (`.smf.image`), a function with an instruction that is not
//! known is refused as well, and all of those for other machines. On aarch64 one is not known that leaves the
//! page of something in a register for more than the next instruction.
//! Of a module whose code is an ELF object, the functions are those of the object.

use core::fmt;

#[cfg(feature = "alloc")]
use crate::alloc_util::AllocError;
use crate::format::FormatError;
use crate::format::Smf;
use crate::format::template::{Container, Template};
use crate::format::write::NewTemplate;

#[cfg(feature = "alloc")]
mod aarch64;
#[cfg(feature = "alloc")]
mod concrete;
#[cfg(feature = "alloc")]
mod settled;
#[cfg(feature = "alloc")]
mod x86_64;

#[cfg(feature = "alloc")]
pub use concrete::{Concretes, ExtractedReloc, FunctionBody};

/// Why something cannot be taken out of a module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the fields are what the sentence of each variant shows")]
pub enum ExtractError<'n> {
    /// The module is not sound.
    Format(FormatError),
    /// The module's code holds distances that no relocation tells of, in instructions that are not read here.
    Settled,
    /// A function with an instruction that is not known, or that leads out of it to nowhere. `offset` counts
    /// from the section's begin.
    Instruction { name: &'n [u8], offset: u64 },
    /// The code is bytecode.
    Bytecode,
    /// The module has nothing of this name.
    Missing { name: &'n [u8] },
    /// The module imports the name.
    Import { name: &'n [u8] },
    /// The name is that of something else than a function.
    NotAFunction { name: &'n [u8] },
    /// The module has several of the name, and none that comes before the others.
    Ambiguous { name: &'n [u8] },
    /// A relocation that stands on the edge of a function. `offset` counts from the section's begin.
    Edge { name: &'n [u8], offset: u64 },
    /// A function that has no bytes in the file.
    NoBytes { name: &'n [u8] },
    /// A template whose end nobody can find.
    Endless { name: &'n [u8] },
}

#[cfg(feature = "alloc")]
impl From<AllocError> for ExtractError<'_> {
    fn from(none: AllocError) -> Self {
        ExtractError::Format(none.into())
    }
}

impl<'n> ExtractError<'n> {
    /// The name that was asked for, or found; `None` when the error is about the whole module.
    pub fn name(&self) -> Option<&'n [u8]> {
        match *self {
            ExtractError::Missing { name }
            | ExtractError::Import { name }
            | ExtractError::NotAFunction { name }
            | ExtractError::Ambiguous { name }
            | ExtractError::Edge { name, .. }
            | ExtractError::Instruction { name, .. }
            | ExtractError::NoBytes { name }
            | ExtractError::Endless { name } => Some(name),
            ExtractError::Format(_) | ExtractError::Settled | ExtractError::Bytecode => None,
        }
    }
}

impl fmt::Display for ExtractError<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use ExtractError as E;
        match *self {
            E::Format(error) => error.fmt(f),
            E::Settled => f.write_str(
                "the module is linked under a placement of its own (.smf.image), and distances in its instructions are not told",
            ),
            E::Instruction { name, offset } => write!(
                f,
                "the instruction at 0x{offset:x} leads nobody knows where from the function `{}`",
                name.escape_ascii()
            ),
            E::Bytecode => f.write_str("the code is bytecode (BCOD), which has no relocations"),
            E::Missing { name } => write!(f, "the module has no `{}`", name.escape_ascii()),
            E::Import { name } => {
                write!(f, "`{}` is an import of the module", name.escape_ascii())
            }
            E::NotAFunction { name } => {
                write!(f, "`{}` is no function", name.escape_ascii())
            }
            E::Ambiguous { name } => {
                write!(f, "the module has several things called `{}`", name.escape_ascii())
            }
            E::Edge { name, offset } => write!(
                f,
                "the relocation at 0x{offset:x} reaches over an edge of the function `{}`",
                name.escape_ascii()
            ),
            E::NoBytes { name } => {
                write!(f, "the function `{}` has no bytes in the file", name.escape_ascii())
            }
            E::Endless { name } => write!(
                f,
                "nobody can tell where the template `{}` ends: the bodies of this GTPL have no lengths",
                name.escape_ascii()
            ),
        }
    }
}

impl core::error::Error for ExtractError<'_> {}

impl From<FormatError> for ExtractError<'_> {
    fn from(error: FormatError) -> Self {
        ExtractError::Format(error)
    }
}

/// A template as it stands in its container.
#[derive(Clone, Copy, Debug)]
pub struct TemplateBody<'d> {
    /// What its header says, and its body.
    pub template: Template<'d>,
    /// The container it stands in.
    pub container: Container,
    /// All its bytes there: what may be put as it is into another container of the same kind and
    /// version, whose count then grows by one; without a body that stands behind all headers of a
    /// GTPL. [`TemplateBody::to_write`] goes into the others as well, with the body.
    pub entry: &'d [u8],
}

impl<'d> TemplateBody<'d> {
    /// The template for the writer of a [section](crate::format::write::NewTemplates), of either container.
    pub fn to_write(&self) -> NewTemplate<'d> {
        self.template.into()
    }
}

/// The templates of a module, in the order of the file; none for a module without.
///
/// An item is an error for a template that does not lie in its section, and for one that nobody knows
/// the end of: it is the last one then.
///
/// # Errors
/// A section that is no template container.
pub fn all_deferred<'d>(
    smf: &Smf<'d>,
) -> Result<impl Iterator<Item = Result<TemplateBody<'d>, ExtractError<'d>>> + use<'d>, FormatError>
{
    let templates = smf.templates()?;
    let items = templates.into_iter().flat_map(|templates| {
        let container = templates.container();
        // The body of an only template reaches to the end of the section.
        let is_endless = templates.has_opaque_bodies() && templates.count() > 1;
        templates.entries().map(move |found| {
            let (template, entry) = found?;
            if is_endless {
                return Err(ExtractError::Endless { name: template.name });
            }
            Ok(TemplateBody { template, container, entry })
        })
    });
    Ok(items)
}

/// The template called `name`. Takes time linear in the templates.
///
/// # Errors
/// [`ExtractError::Missing`] and [`ExtractError::Ambiguous`]; what is wrong with the section.
pub fn deferred<'d: 'n, 'n>(
    smf: &Smf<'d>,
    name: &'n [u8],
) -> Result<TemplateBody<'d>, ExtractError<'n>> {
    let mut found = None;
    for item in all_deferred(smf)? {
        match item {
            Ok(item) if item.template.name != name => {}
            Ok(item) if found.is_none() => found = Some(item),
            Ok(_) => return Err(ExtractError::Ambiguous { name }),
            Err(error) => return Err(error),
        }
    }
    found.ok_or(ExtractError::Missing { name })
}
