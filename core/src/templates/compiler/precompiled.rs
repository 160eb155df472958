//! Templates whose body is machine code: made ready for some types by whoever wrote the module.
//!
//! All numbers are little-endian, and nothing is aligned. The body:
//!
//! | offset | field | |
//! |---|---|---|
//! | 0 | `MACH` | 4 bytes |
//! | 4 | u32 | length of the body in bytes, these fields included: what follows is somebody else's |
//! | 8 | u16 | version, 1 |
//! | 10 | u16 | how many variants follow |
//!
//! A variant is the code for one instruction set and some type arguments:
//!
//! | offset | field | |
//! |---|---|---|
//! | 0 | u32 | length of the variant in bytes, this field included |
//! | 4 | u8 | instruction set, as in the header of a module |
//! | 5 | u8 | 0 |
//! | 6 | u16 | length of the type arguments |
//! | 8 | u32 | length of the code |
//! | 12 | u32 | how many relocations there are |
//! | 16 | | the type arguments as text, with `, ` between them; empty for any |
//! | | | the code |
//! | | | the relocations |
//!
//! A relocation is u32 offset, i64 addend, u8 kind (the numbers of the native layout), u16 length of the
//! symbol, and the symbol; without one it is relative to the code itself.
//!
//! The first variant that fits counts. A body of another version is refused, a longer one is read as far
//! as its length says.

use alloc::string::ToString;
use alloc::vec::Vec;
use core::fmt;

use super::{CodeReloc, CompileError, Compiled, Compiler, Environment, Request, Target};
use crate::alloc_util::{try_copy_bytes, try_push};
use crate::format::bytes::Cursor;
use crate::format::{Arch, Layout, RelocKind};
use crate::types::{Spelled, Type};

const MAGIC: &[u8; 4] = b"MACH";
const VERSION: u16 = 1;

/// Offset, addend, kind, length of the symbol.
const MIN_RELOC: usize = 15;

/// Takes bodies that are machine code already.
#[derive(Clone, Copy, Debug, Default)]
pub struct PrecompiledBodies;

/// Code for one instruction set and some types, to be written into a body.
#[derive(Clone, Copy, Debug)]
pub struct Variant<'v> {
    /// The instruction set.
    pub arch: Arch,
    /// What it is for; none for any types.
    pub arguments: &'v [Type],
    /// The code.
    pub code: &'v [u8],
    /// What is to be written into it.
    pub relocations: &'v [PrecompiledReloc<'v>],
}

/// A relocation of ready-made code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PrecompiledReloc<'v> {
    /// Where, in bytes from the begin of the code.
    pub offset: u32,
    /// How: a kind that the native layout has.
    pub kind: RelocKind,
    /// Of what; empty for the code itself.
    pub symbol: &'v [u8],
    /// What is added.
    pub addend: i64,
}

/// Why ready-made code cannot be read or written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PrecompiledError {
    /// A body that ends in the middle of something, or counts more than it holds.
    Truncated,
    /// A version other than 1.
    Version(u16),
    /// No variant for this instruction set and these types.
    NoVariant,
    /// A relocation whose kind the native layout does not have.
    RelocKind(RelocKind),
    /// More of something than its field can count.
    TooLarge,
}

impl fmt::Display for PrecompiledError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Truncated => f.write_str("its ready-made code is cut off or counted wrong"),
            Self::Version(version) => {
                write!(
                    f,
                    "its ready-made code is of version {version}; this loader reads version 1"
                )
            }
            Self::NoVariant => f.write_str("its code was not made for these types on this machine"),
            Self::RelocKind(kind) => {
                write!(f, "a {kind} relocation has no number in ready-made code")
            }
            Self::TooLarge => f.write_str("its ready-made code is too large to be written"),
        }
    }
}

impl core::error::Error for PrecompiledError {}

/// The body of a template that is these variants.
///
/// # Errors
/// [`PrecompiledError::RelocKind`] and [`PrecompiledError::TooLarge`].
pub fn encode_precompiled(variants: &[Variant<'_>]) -> Result<Vec<u8>, PrecompiledError> {
    let mut body = MAGIC.to_vec();
    body.extend([0; 4]);
    body.extend(VERSION.to_le_bytes());
    body.extend(small(variants.len())?.to_le_bytes());
    for variant in variants {
        let start = body.len();
        let text = Spelled(variant.arguments).to_string();
        body.extend([0; 4]);
        body.extend([variant.arch.0, 0]);
        body.extend(small(text.len())?.to_le_bytes());
        body.extend(large(variant.code.len())?.to_le_bytes());
        body.extend(large(variant.relocations.len())?.to_le_bytes());
        body.extend(text.as_bytes());
        body.extend(variant.code);
        for reloc in variant.relocations {
            let kind = Layout::Native.reloc_number(reloc.kind);
            body.extend(reloc.offset.to_le_bytes());
            body.extend(reloc.addend.to_le_bytes());
            body.push(kind.ok_or(PrecompiledError::RelocKind(reloc.kind))?);
            body.extend(small(reloc.symbol.len())?.to_le_bytes());
            body.extend(reloc.symbol);
        }
        put_length(&mut body, start, start)?;
    }
    put_length(&mut body, 0, MAGIC.len())?;
    Ok(body)
}

fn small(len: usize) -> Result<u16, PrecompiledError> {
    u16::try_from(len).map_err(|_| PrecompiledError::TooLarge)
}

fn large(len: usize) -> Result<u32, PrecompiledError> {
    u32::try_from(len).map_err(|_| PrecompiledError::TooLarge)
}

/// Writes how many bytes there are from `start` to the end to the place `at`.
fn put_length(body: &mut [u8], start: usize, at: usize) -> Result<(), PrecompiledError> {
    let len = large(body.len().saturating_sub(start))?;
    let place = body.get_mut(at..).and_then(<[u8]>::first_chunk_mut);
    *place.ok_or(PrecompiledError::TooLarge)? = len.to_le_bytes();
    Ok(())
}

/// The variants of a body, one after another.
struct Variants<'b> {
    rest: Cursor<'b>,
    left: u16,
}

/// One variant as it was read.
struct Read<'b> {
    arch: Arch,
    arguments: &'b [u8],
    code: &'b [u8],
    relocations: Cursor<'b>,
    count: u32,
}

fn read(body: &[u8]) -> Result<Variants<'_>, PrecompiledError> {
    let mut head = Cursor::new(body);
    let cut = PrecompiledError::Truncated;
    head.take(MAGIC.len()).ok_or(cut)?;
    let len = head.u32().and_then(|len| usize::try_from(len).ok()).ok_or(cut)?;
    let version = head.u16().ok_or(cut)?;
    if version != VERSION {
        return Err(PrecompiledError::Version(version));
    }
    let left = head.u16().ok_or(cut)?;
    let rest = body.get(head.position()..len).ok_or(cut)?;
    Ok(Variants { rest: Cursor::new(rest), left })
}

impl<'b> Variants<'b> {
    fn next(&mut self) -> Option<Result<Read<'b>, PrecompiledError>> {
        self.left = self.left.checked_sub(1)?;
        Some(self.read().ok_or(PrecompiledError::Truncated))
    }

    fn read(&mut self) -> Option<Read<'b>> {
        let len = usize::try_from(self.rest.u32()?).ok()?;
        let mut variant = Cursor::new(self.rest.take(len.checked_sub(4)?)?);
        let arch = Arch(variant.u8()?);
        variant.u8()?;
        let (arguments, code) = (variant.u16()?, variant.u32()?);
        let count = variant.u32()?;
        let arguments = variant.take(usize::from(arguments))?;
        let code = variant.take(usize::try_from(code).ok()?)?;
        let room = variant.rest().len() / MIN_RELOC;
        let counted = usize::try_from(count).ok()? <= room;
        counted.then_some(Read { arch, arguments, code, relocations: variant, count })
    }
}

impl<'b> Read<'b> {
    fn relocation(&mut self) -> Option<PrecompiledReloc<'b>> {
        let from = &mut self.relocations;
        let (offset, addend) = (from.u32()?, from.u64()?.cast_signed());
        let kind = Layout::Native.reloc_kind(from.u8()?);
        let len = usize::from(from.u16()?);
        Some(PrecompiledReloc { offset, kind, symbol: from.take(len)?, addend })
    }

    fn link(mut self, environment: &mut dyn Environment) -> Result<Compiled, CompileError> {
        let mut relocations = Vec::new();
        for _ in 0..self.count {
            let reloc =
                self.relocation().ok_or(CompileError::because(PrecompiledError::Truncated))?;
            let PrecompiledReloc { offset, kind, symbol, addend } = reloc;
            let target = match symbol {
                [] => Target::OWN,
                symbol => environment.symbol(symbol)?,
            };
            try_push(&mut relocations, CodeReloc { offset, kind, target, addend })?;
        }
        Ok(Compiled { code: try_copy_bytes(self.code)?.into_vec(), relocations })
    }
}

impl Compiler for PrecompiledBodies {
    fn recognizes(&self, body: &[u8]) -> bool {
        body.starts_with(MAGIC)
    }

    fn compile(
        &self,
        request: &Request<'_>,
        environment: &mut dyn Environment,
    ) -> Result<Compiled, CompileError> {
        let mut variants = read(request.body).map_err(CompileError::because)?;
        while let Some(variant) = variants.next() {
            let variant = variant.map_err(CompileError::because)?;
            let fits =
                variant.arguments.is_empty() || Spelled(request.arguments).is(variant.arguments);
            if variant.arch == request.arch && fits {
                return variant.link(environment);
            }
        }
        Err(CompileError::because(PrecompiledError::NoVariant))
    }
}

#[cfg(test)]
mod tests {
    use alloc::boxed::Box;

    use super::*;
    use crate::link::ShortName;
    use crate::testing::{cut, flipped};

    struct Symbols(Vec<Vec<u8>>);

    impl Environment for Symbols {
        fn instance(&mut self, _: &[u8], _: &[Type]) -> Result<Target, CompileError> {
            Err(CompileError::Needs)
        }

        fn symbol(&mut self, symbol: &[u8]) -> Result<Target, CompileError> {
            if symbol == b"missing" {
                return Err(CompileError::Missing(ShortName::new(symbol)));
            }
            self.0.push(symbol.to_vec());
            Ok(Target(self.0.len() as u32 - 1))
        }

        fn absolute(&mut self, _: u64) -> Result<Target, CompileError> {
            Err(CompileError::Needs)
        }

        fn address(&self, _: Target) -> Option<u64> {
            None
        }

        fn declare_signature(&mut self, _: Box<[u8]>) {}

        fn signature(&self, _: Target) -> Option<&[u8]> {
            None
        }
    }

    fn body() -> Vec<u8> {
        let reloc = |offset, symbol| PrecompiledReloc {
            offset,
            kind: RelocKind::Plt32,
            symbol,
            addend: -4,
        };
        encode_precompiled(&[
            Variant {
                arch: Arch::AARCH64,
                arguments: &[Type::I64],
                code: b"arm",
                relocations: &[],
            },
            Variant {
                arch: Arch::X86_64,
                arguments: &[Type::I64, Type::F64],
                code: b"both",
                relocations: &[reloc(1, b"puts"), reloc(2, b""), reloc(3, b"free")],
            },
            Variant { arch: Arch::X86_64, arguments: &[], code: b"any", relocations: &[] },
        ])
        .unwrap()
    }

    fn compile(body: &[u8], arguments: &[Type]) -> Result<Compiled, CompileError> {
        let request = Request {
            symbol: b"f$i64",
            template: b"f",
            kind: None,
            parameters: None,
            body,
            arguments,
            arch: Arch::X86_64,
        };
        PrecompiledBodies.compile(&request, &mut Symbols(Vec::new()))
    }

    #[test]
    fn the_first_variant_that_fits_counts() {
        let found = compile(&body(), &[Type::I64, Type::F64]).unwrap();
        assert_eq!(found.code, b"both");
        let targets: Vec<_> = found.relocations.iter().map(|reloc| reloc.target).collect();
        assert_eq!(targets, [Target(0), Target::OWN, Target(1)]);
        assert_eq!((found.relocations[0].offset, found.relocations[0].addend), (1, -4));
        assert_eq!(compile(&body(), &[Type::I64]).unwrap().code, b"any");
        assert!(PrecompiledBodies.recognizes(&body()) && !PrecompiledBodies.recognizes(b"GTPL"));
    }

    #[test]
    fn what_stands_behind_the_length_is_not_read() {
        let mut longer = body();
        longer.extend(b"somebody else's");
        assert_eq!(compile(&longer, &[Type::I64]), compile(&body(), &[Type::I64]));
    }

    #[test]
    fn broken_bodies_are_refused() {
        let sound = body();
        for short in cut(&sound) {
            assert!(compile(short, &[Type::I64]).is_err(), "{}", short.len());
        }
        for (_, damaged) in flipped(&sound) {
            if let Ok(found) = compile(&damaged, &[Type::I64, Type::F64]) {
                assert!(found.code.len() + 15 * found.relocations.len() < sound.len());
            }
        }
        let mut other = sound;
        other[8] = 2;
        assert_eq!(
            compile(&other, &[Type::I64]),
            Err(CompileError::because(PrecompiledError::Version(2)))
        );
    }

    #[test]
    fn what_cannot_be_written_is_refused() {
        let reloc = PrecompiledReloc { offset: 0, kind: RelocKind::Abs32S, symbol: b"", addend: 0 };
        let variant =
            Variant { arch: Arch::X86_64, arguments: &[], code: b"x", relocations: &[reloc] };
        assert_eq!(
            encode_precompiled(&[variant]),
            Err(PrecompiledError::RelocKind(RelocKind::Abs32S))
        );
    }
}
