//! Template bodies of machine code, compiled ahead of time for some type arguments.
//!
//! All numbers are little-endian and unaligned. The body:
//!
//! | offset | field | |
//! |---|---|---|
//! | 0 | `MACH` | 4 bytes |
//! | 4 | u32 | length of the body in bytes, including these fields; a reader ignores what follows |
//! | 8 | u16 | version, 1 |
//! | 10 | u16 | number of variants |
//!
//! A variant is the code for one instruction set and some type arguments:
//!
//! | offset | field | |
//! |---|---|---|
//! | 0 | u32 | length of the variant in bytes, including this field |
//! | 4 | u8 | instruction set, as in the module header |
//! | 5 | u8 | 0 |
//! | 6 | u16 | length of the type arguments in bytes |
//! | 8 | u32 | length of the code in bytes |
//! | 12 | u32 | number of relocations |
//! | 16 | | the type arguments as text, separated by `, `; empty for any arguments |
//! | | | the code |
//! | | | the relocations |
//!
//! A relocation is a u32 offset, an i64 addend, a u8 kind (numbered as in the native layout), a u16 symbol
//! length, and the symbol. An empty symbol means the code itself.
//!
//! The first variant that matches is used. Readers refuse other versions.

use alloc::vec::Vec;

use super::compiler::{
    CodeReloc, CompileError, CompileRequest, Compiled, Compiler, Environment, Result, Target,
};
use crate::alloc_util::{AllocError, try_copy_bytes, try_push, try_to_string};
use crate::format::bytes::Cursor;
use crate::format::{Arch, Layout, RelocKind};
use crate::types::{Type, TypeList};

const MAGIC: &[u8; 4] = b"MACH";
const VERSION: u16 = 1;

/// Bytes of a relocation without a symbol.
const MIN_RELOC: usize = 15;

/// The compiler of precompiled bodies: selects and links a variant.
#[derive(Clone, Copy, Debug, Default)]
pub struct PrecompiledBodies;

/// The code for one instruction set and some type arguments.
#[derive(Clone, Copy, Debug)]
pub struct Variant<'v> {
    /// The instruction set.
    pub arch: Arch,
    /// The type arguments; empty for any.
    pub arguments: &'v [Type],
    /// The code.
    pub code: &'v [u8],
    /// The relocations of the code.
    pub relocations: &'v [PrecompiledReloc<'v>],
}

/// A relocation of precompiled code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PrecompiledReloc<'v> {
    /// Offset in the code, in bytes.
    pub offset: u32,
    /// The kind; one that the native layout has.
    pub kind: RelocKind,
    /// The target; empty for the code itself.
    pub symbol: &'v [u8],
    /// The addend.
    pub addend: i64,
}

/// The reason why precompiled code cannot be read or written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PrecompiledError {
    /// A length or count exceeds the body.
    #[error("the precompiled code is truncated, or a count in it is wrong")]
    Truncated,
    /// The version is not 1.
    #[error("the precompiled code has version {0}; this loader reads version 1")]
    Version(u16),
    /// No variant matches the instruction set and the type arguments.
    #[error("there is no precompiled code for these types on this machine")]
    NoVariant,
    /// The native layout has no number for a relocation kind.
    #[error("the relocation {0} cannot be encoded in precompiled code")]
    RelocKind(RelocKind),
    /// A length or count does not fit its field.
    #[error("the precompiled code is too large")]
    TooLarge,
    /// The allocator has no memory left.
    #[error(transparent)]
    OutOfMemory(#[from] AllocError),
}

/// Encodes variants as the body of a template.
///
/// # Errors
/// [`PrecompiledError::RelocKind`], [`PrecompiledError::TooLarge`] or [`PrecompiledError::OutOfMemory`].
pub fn encode_precompiled(variants: &[Variant<'_>]) -> Result<Vec<u8>, PrecompiledError> {
    let mut body = Encoder(Vec::new());
    body.put(MAGIC)?;
    body.put(&[0; 4])?;
    body.put(&VERSION.to_le_bytes())?;
    body.put_u16(variants.len())?;
    for variant in variants {
        let start = body.0.len();
        let text = try_to_string(TypeList(variant.arguments))?;
        body.put(&[0, 0, 0, 0, variant.arch.0, 0])?;
        body.put_u16(text.len())?;
        body.put_u32(variant.code.len())?;
        body.put_u32(variant.relocations.len())?;
        body.put(text.as_bytes())?;
        body.put(variant.code)?;
        for reloc in variant.relocations {
            let kind = Layout::Native.reloc_number(reloc.kind);
            body.put(&reloc.offset.to_le_bytes())?;
            body.put(&reloc.addend.to_le_bytes())?;
            body.put(&[kind.ok_or(PrecompiledError::RelocKind(reloc.kind))?])?;
            body.put_u16(reloc.symbol.len())?;
            body.put(reloc.symbol)?;
        }
        body.patch_length(start, start)?;
    }
    body.patch_length(0, MAGIC.len())?;
    Ok(body.0)
}

struct Encoder(Vec<u8>);

impl Encoder {
    fn put(&mut self, bytes: &[u8]) -> Result<(), PrecompiledError> {
        self.0.try_reserve(bytes.len()).map_err(|_| AllocError)?;
        self.0.extend_from_slice(bytes);
        Ok(())
    }

    fn put_u16(&mut self, len: usize) -> Result<(), PrecompiledError> {
        self.put(&u16::try_from(len).map_err(|_| PrecompiledError::TooLarge)?.to_le_bytes())
    }

    fn put_u32(&mut self, len: usize) -> Result<(), PrecompiledError> {
        self.put(&u32::try_from(len).map_err(|_| PrecompiledError::TooLarge)?.to_le_bytes())
    }

    /// Writes the number of bytes from `start` to the end into the field at `at`.
    fn patch_length(&mut self, start: usize, at: usize) -> Result<(), PrecompiledError> {
        let len = u32::try_from(self.0.len().saturating_sub(start));
        let field = self.0.get_mut(at..).and_then(<[u8]>::first_chunk_mut);
        *field.ok_or(PrecompiledError::TooLarge)? =
            len.map_err(|_| PrecompiledError::TooLarge)?.to_le_bytes();
        Ok(())
    }
}

/// A decoded variant.
struct DecodedVariant<'b> {
    arch: Arch,
    arguments: &'b [u8],
    code: &'b [u8],
    relocations: Cursor<'b>,
    count: u32,
}

type VariantResult<'b> = Result<DecodedVariant<'b>, PrecompiledError>;

fn decode(body: &[u8]) -> Result<impl Iterator<Item = VariantResult<'_>>, PrecompiledError> {
    let mut head = Cursor::new(body);
    let truncated = PrecompiledError::Truncated;
    head.take(MAGIC.len()).ok_or(truncated)?;
    let len = head.u32().and_then(|len| usize::try_from(len).ok()).ok_or(truncated)?;
    let version = head.u16().ok_or(truncated)?;
    if version != VERSION {
        return Err(PrecompiledError::Version(version));
    }
    let count = head.u16().ok_or(truncated)?;
    let mut rest = Cursor::new(body.get(head.position()..len).ok_or(truncated)?);
    Ok((0..count).map(move |_| DecodedVariant::read(&mut rest).ok_or(truncated)))
}

impl<'b> DecodedVariant<'b> {
    fn read(from: &mut Cursor<'b>) -> Option<Self> {
        let len = usize::try_from(from.u32()?).ok()?;
        let mut variant = Cursor::new(from.take(len.checked_sub(4)?)?);
        let arch = Arch(variant.u8()?);
        variant.u8()?;
        let (arguments, code) = (variant.u16()?, variant.u32()?);
        let count = variant.u32()?;
        let arguments = variant.take(usize::from(arguments))?;
        let code = variant.take(usize::try_from(code).ok()?)?;
        let max_relocs = variant.rest().len() / MIN_RELOC;
        let counted = usize::try_from(count).ok()? <= max_relocs;
        counted.then_some(DecodedVariant { arch, arguments, code, relocations: variant, count })
    }

    fn relocation(&mut self) -> Option<PrecompiledReloc<'b>> {
        let from = &mut self.relocations;
        let (offset, addend) = (from.u32()?, from.u64()?.cast_signed());
        let kind = Layout::Native.reloc_kind(from.u8()?);
        let len = usize::from(from.u16()?);
        Some(PrecompiledReloc { offset, kind, symbol: from.take(len)?, addend })
    }

    fn link(mut self, environment: &mut dyn Environment) -> Result<Compiled> {
        let mut relocations = Vec::new();
        for _ in 0..self.count {
            let truncated = || CompileError::because(PrecompiledError::Truncated);
            let PrecompiledReloc { offset, kind, symbol, addend } =
                self.relocation().ok_or_else(truncated)?;
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
        request: &CompileRequest<'_>,
        environment: &mut dyn Environment,
    ) -> Result<Compiled> {
        for variant in decode(request.body).map_err(CompileError::because)? {
            let variant = variant.map_err(CompileError::because)?;
            let matches = variant.arguments.is_empty()
                || TypeList(request.arguments).is_spelled(variant.arguments);
            if variant.arch == request.arch && matches {
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
    use crate::link::Name;
    use crate::testing::{cut, flipped};

    struct Symbols(Vec<Vec<u8>>);

    impl Environment for Symbols {
        fn instance(&mut self, _: &[u8], _: &[Type]) -> Result<Target, CompileError> {
            Err(CompileError::Needs)
        }

        fn symbol(&mut self, symbol: &[u8]) -> Result<Target, CompileError> {
            if symbol == b"missing" {
                return Err(CompileError::Missing(Name::new(symbol)?));
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
        let request = CompileRequest {
            symbol: b"f$i64",
            template: b"f",
            kind: None,
            parameters: None,
            body,
            section: &[],
            requester: &[],
            arguments,
            arch: Arch::X86_64,
        };
        PrecompiledBodies.compile(&request, &mut Symbols(Vec::new()))
    }

    #[test]
    fn first_matching_variant_is_used() {
        let found = compile(&body(), &[Type::I64, Type::F64]).unwrap();
        assert_eq!(found.code, b"both");
        let targets: Vec<_> = found.relocations.iter().map(|reloc| reloc.target).collect();
        assert_eq!(targets, [Target(0), Target::OWN, Target(1)]);
        assert_eq!((found.relocations[0].offset, found.relocations[0].addend), (1, -4));
        assert_eq!(compile(&body(), &[Type::I64]).unwrap().code, b"any");
        assert!(PrecompiledBodies.recognizes(&body()) && !PrecompiledBodies.recognizes(b"GTPL"));
    }

    #[test]
    fn bytes_after_the_body_length_are_ignored() {
        let mut longer = body();
        longer.extend(b"other data");
        assert_eq!(compile(&longer, &[Type::I64]), compile(&body(), &[Type::I64]));
    }

    #[test]
    fn malformed_bodies_are_refused() {
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
    fn relocation_without_native_number_is_refused() {
        let reloc = PrecompiledReloc { offset: 0, kind: RelocKind::Abs32S, symbol: b"", addend: 0 };
        let variant =
            Variant { arch: Arch::X86_64, arguments: &[], code: b"x", relocations: &[reloc] };
        assert_eq!(
            encode_precompiled(&[variant]),
            Err(PrecompiledError::RelocKind(RelocKind::Abs32S))
        );
    }
}
