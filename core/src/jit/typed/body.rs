//! A typed body as it lies in a module: found, measured, and cut into its tables.
//!
//! A body begins with its length, so that who does not know its version can step over it. Cutting
//! allocates nothing, and looks only at the header; what the tables hold is the verifier's affair.

use super::error::{Part, TypedError};
use super::instruction::{INSTRUCTION_SIZE, Instruction};
use super::types::{MAX_PARAMETERS, Type};
use crate::format::bytes::{u8_at, u16_at, u32_at};

/// The first bytes of a body.
pub(super) const MAGIC: &[u8; 4] = b"SMTB";

/// The one version there is.
pub(super) const VERSION: u16 = 1;

/// Bytes of the header.
pub(super) const HEADER: usize = 40;

/// Bytes of a callee's entry.
pub(super) const CALLEE: usize = 12;

/// Bytes of an entry in the table of types.
pub(super) const TYPE: usize = 4;

/// In the table of types: a type with a name and arguments of its own.
pub(super) const NAMED: u8 = 0xff;

/// The longest name in bytes, without its NUL: many entries may share one, and each measures it.
pub const MAX_NAME: usize = 1023;

/// Whether bytes, those of a template out of either container, begin like a typed body.
pub fn is_body(bytes: &[u8]) -> bool {
    bytes.starts_with(MAGIC)
}

/// The body in the bytes that a container has for a template; `None` when there is some other
/// writer's affair, or nothing.
///
/// # Errors
/// Those of [`Body::parse`].
pub fn body_of(template: &[u8]) -> Option<Result<Body<'_>, TypedError>> {
    is_body(template).then(|| Body::parse(template))
}

/// What parameters a function takes, and what it gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signature<'d> {
    /// The codes of the parameters' types.
    pub params: &'d [u8],
    /// The code of the result's type; 0 when there is no result.
    pub result: u8,
}

impl Signature<'_> {
    /// The type of the result.
    pub fn result(&self) -> Option<Type> {
        Type::from_code(self.result)
    }
}

/// Who provides a callee.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CalleeKind {
    /// Another instance, or the same one.
    Instance,
    /// The host, by symbol.
    Host,
}

/// A function that the body calls.
#[derive(Clone, Copy, Debug)]
pub struct Callee<'d> {
    /// Who provides it.
    pub kind: CalleeKind,
    /// The template's name, or the symbol.
    pub name: &'d str,
    /// How it is called, in terms of the caller's types.
    pub signature: Signature<'d>,
    /// How many type arguments the template gets.
    pub arity: u8,
    /// The type arguments.
    types: TypeList<'d>,
}

impl<'d> Callee<'d> {
    /// The type arguments, one entry after another: behind a named type come its own arguments.
    pub fn types(&self) -> impl Iterator<Item = TypeEntry<'d>> + Clone + use<'d> {
        self.types
    }
}

/// A type that is handed to another template, or a part of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TypeEntry<'d> {
    /// A scalar, or what the caller has for a parameter of its own.
    Type(Type),
    /// A type with a name; as many types follow as it has arguments.
    Named {
        /// Its name.
        name: &'d str,
        /// How many types follow that belong to it.
        arity: u8,
    },
}

/// Complete types in the table of types, from one entry on.
#[derive(Clone, Copy, Debug)]
struct TypeList<'d> {
    entries: &'d [[u8; TYPE]],
    strings: &'d [u8],
    /// Types that are still to come.
    left: u32,
}

impl<'d> Iterator for TypeList<'d> {
    type Item = TypeEntry<'d>;

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        let (&[code, arity, n0, n1], rest) = self.entries.split_first()?;
        self.entries = rest;
        if code != NAMED {
            return Type::from_code(code).map(TypeEntry::Type);
        }
        self.left = self.left.checked_add(arity.into())?;
        let name = name_in(self.strings, u16::from_le_bytes([n0, n1]))?;
        Some(TypeEntry::Named { name, arity })
    }
}

/// The name at `offset`, up to its NUL; `None` when it is empty, too long, not UTF-8 or has no end.
fn name_in(strings: &[u8], offset: u16) -> Option<&str> {
    let from = strings.get(usize::from(offset)..)?;
    let mut bytes = from.iter().take(MAX_NAME + 1);
    let len = bytes.position(|&byte| byte == 0).filter(|&len| len > 0)?;
    core::str::from_utf8(from.get(..len)?).ok()
}

/// A typed body: the generic form of one function.
#[derive(Clone, Copy, Debug)]
pub struct Body<'d> {
    /// All of it.
    pub(super) bytes: &'d [u8],
    pub(super) type_params: u8,
    pub(super) result: u8,
    pub(super) params: u16,
    pub(super) locals: u16,
    pub(super) constants: &'d [[u8; 8]],
    pub(super) instructions: &'d [[u8; INSTRUCTION_SIZE]],
    pub(super) callees: &'d [[u8; CALLEE]],
    pub(super) types: &'d [[u8; TYPE]],
    pub(super) operands: &'d [[u8; 2]],
    pub(super) codes: &'d [u8],
    pub(super) strings: &'d [u8],
}

impl<'d> Body<'d> {
    /// The bytes that a body of any version takes, which begins `bytes`; `None` when none does.
    pub fn length(bytes: &[u8]) -> Option<u32> {
        is_body(bytes).then(|| u32_at(bytes, 4))?
    }

    /// Cuts `bytes`, a whole body and nothing else, into its tables.
    ///
    /// # Errors
    /// [`TypedError::Magic`], [`TypedError::Version`], [`TypedError::Flags`] and
    /// [`TypedError::Length`] for what is no body of this version; [`TypedError::Tables`] when the
    /// tables do not fill it to its last byte; [`TypedError::Parameters`] and
    /// [`TypedError::Locals`] for counts that cannot be.
    pub fn parse(bytes: &'d [u8]) -> Result<Self, TypedError> {
        let stated = Self::length(bytes).ok_or(TypedError::Magic)?;
        let version = u16_at(bytes, 8).unwrap_or(0);
        if version != VERSION {
            return Err(TypedError::Version { version });
        }
        let flags = u16_at(bytes, 10).unwrap_or(0);
        if flags != 0 {
            return Err(TypedError::Flags { flags });
        }
        let given = bytes.len() as u64;
        if given != u64::from(stated) {
            return Err(TypedError::Length { stated, given });
        }
        let needed = needed(bytes).unwrap_or(HEADER as u64);
        let tables = TypedError::Tables { needed, stated };
        let body = Self::cut(bytes).filter(|_| needed == given).ok_or(tables)?;
        if body.type_params > MAX_PARAMETERS {
            return Err(TypedError::Parameters { count: body.type_params });
        }
        if body.params > body.locals || usize::from(body.locals) > body.codes.len() {
            return Err(TypedError::Locals { at: 14 });
        }
        Ok(body)
    }

    /// The tables, if they all lie inside `bytes`.
    fn cut(bytes: &'d [u8]) -> Option<Self> {
        let mut rest = bytes.get(HEADER..)?;
        let mut take = |count: u32, size: usize| {
            let len = usize::try_from(count).ok()?.checked_mul(size)?;
            let (taken, after) = rest.split_at_checked(len)?;
            rest = after;
            Some(taken)
        };
        let constants = take(u32_at(bytes, 32)?, 8)?.as_chunks().0;
        let instructions = take(u32_at(bytes, 36)?, INSTRUCTION_SIZE)?.as_chunks().0;
        let callees = take(u16_at(bytes, 18)?.into(), CALLEE)?.as_chunks().0;
        let types = take(u16_at(bytes, 20)?.into(), TYPE)?.as_chunks().0;
        let operands = take(u32_at(bytes, 24)?, 2)?.as_chunks().0;
        let codes = take(u32_at(bytes, 28)?, 1)?;
        Some(Self {
            bytes,
            type_params: u8_at(bytes, 12)?,
            result: u8_at(bytes, 13)?,
            params: u16_at(bytes, 14)?,
            locals: u16_at(bytes, 16)?,
            constants,
            instructions,
            callees,
            types,
            operands,
            codes,
            strings: take(u16_at(bytes, 22)?.into(), 1)?,
        })
    }

    /// All of its bytes.
    pub fn bytes(&self) -> &'d [u8] {
        self.bytes
    }

    /// How many type parameters the template has.
    pub fn type_params(&self) -> u8 {
        self.type_params
    }

    /// What it takes and gives.
    pub fn signature(&self) -> Signature<'d> {
        let params = self.codes.get(..usize::from(self.params)).unwrap_or(&[]);
        Signature { params, result: self.result }
    }

    /// How many locals there are, parameters included.
    pub fn locals(&self) -> u16 {
        self.locals
    }

    /// The codes of the locals' types, parameters first.
    pub fn local_codes(&self) -> &'d [u8] {
        self.codes.get(..usize::from(self.locals)).unwrap_or(&[])
    }

    /// The type of a local.
    pub fn local_type(&self, local: u16) -> Option<Type> {
        self.local_codes().get(usize::from(local)).and_then(|&code| Type::from_code(code))
    }

    /// How many instructions there are.
    pub fn len(&self) -> usize {
        self.instructions.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.instructions.is_empty()
    }

    /// The instructions in order; `None` stands for one whose opcode is not known.
    pub fn instructions(
        &self,
    ) -> impl ExactSizeIterator<Item = Option<Instruction>> + Clone + use<'d> {
        self.instructions.iter().map(Instruction::decode)
    }

    /// The instruction with this number.
    #[inline]
    pub fn instruction(&self, index: u32) -> Option<Instruction> {
        let bytes = self.instructions.get(usize::try_from(index).ok()?)?;
        Instruction::decode(bytes)
    }

    /// Where an instruction lies, in bytes from the begin of the body.
    pub fn offset(&self, instruction: usize) -> u32 {
        self.place(self.instructions.as_flattened(), instruction * INSTRUCTION_SIZE)
    }

    /// Where the byte `within` of `table` lies.
    pub(super) fn place(&self, table: &[u8], within: usize) -> u32 {
        let begin = crate::format::bytes::offset_in(self.bytes, table);
        u32::try_from(begin.saturating_add(within as u64)).unwrap_or(u32::MAX)
    }

    /// The bits of a constant.
    pub fn constant(&self, index: i32) -> Option<u64> {
        let bytes = self.constants.get(usize::try_from(index).ok()?)?;
        Some(u64::from_le_bytes(*bytes))
    }

    /// How many callees there are.
    pub fn callee_count(&self) -> u16 {
        u16::try_from(self.callees.len()).unwrap_or(u16::MAX)
    }

    /// The callee with this number.
    ///
    /// # Errors
    /// [`TypedError::Index`] when there is none; [`TypedError::CalleeKind`], [`TypedError::Name`],
    /// [`TypedError::HostTypes`] for what its entry says.
    pub fn callee(&self, index: u16) -> Result<Callee<'d>, TypedError> {
        let place = usize::from(index) * CALLEE;
        let at = self.place(self.callees.as_flattened(), place);
        let none = TypedError::Index { at, part: Part::Callees, index: index.into() };
        let entry = self.callees.get(usize::from(index)).ok_or(none)?;
        let &[n0, n1, kind, result, arity, params, t0, t1, p0, p1, p2, p3] = entry;
        let kind = match kind {
            0 => CalleeKind::Instance,
            1 if arity == 0 => CalleeKind::Host,
            1 => return Err(TypedError::HostTypes { at }),
            _ => return Err(TypedError::CalleeKind { at, kind }),
        };
        let name = name_in(self.strings, u16::from_le_bytes([n0, n1]));
        let name = name.ok_or(TypedError::Name { at })?;
        let first = u32::from_le_bytes([p0, p1, p2, p3]);
        let none = TypedError::Index { at, part: Part::Codes, index: first };
        let params = self.codes_from(first, params).ok_or(none)?;
        let first = u16::from_le_bytes([t0, t1]);
        let none = TypedError::Index { at, part: Part::Types, index: first.into() };
        let entries = self.types.get(usize::from(first)..).ok_or(none)?;
        let types = TypeList { entries, strings: self.strings, left: arity.into() };
        Ok(Callee { kind, name, signature: Signature { params, result }, arity, types })
    }

    /// Where the types of a callee begin in their table.
    pub(super) fn first_type(&self, callee: u16) -> u16 {
        let entry = self.callees.get(usize::from(callee));
        entry.and_then(|entry| u16_at(entry, 6)).unwrap_or(u16::MAX)
    }

    fn codes_from(&self, first: u32, count: u8) -> Option<&'d [u8]> {
        self.codes.get(usize::try_from(first).ok()?..)?.get(..usize::from(count))
    }

    /// The locals that a call hands over; `None` when the table of operands does not have them.
    #[inline]
    pub fn call_operands(&self, call: &Instruction, callee: &Callee<'_>) -> Option<Operands<'d>> {
        let from = self.operands.get(usize::try_from(call.imm).ok()?..)?;
        from.get(..callee.signature.params.len()).map(Operands)
    }
}

/// The bytes that a body with this header takes.
fn needed(bytes: &[u8]) -> Option<u64> {
    let tables = [
        (u64::from(u16_at(bytes, 18)?), CALLEE),
        (u64::from(u16_at(bytes, 20)?), TYPE),
        (u64::from(u16_at(bytes, 22)?), 1),
        (u64::from(u32_at(bytes, 24)?), 2),
        (u64::from(u32_at(bytes, 28)?), 1),
        (u64::from(u32_at(bytes, 32)?), 8),
        (u64::from(u32_at(bytes, 36)?), INSTRUCTION_SIZE),
    ];
    // No count reaches 2^32, so that no sum of these wraps.
    Some(tables.iter().fold(HEADER as u64, |sum, &(count, size)| sum + count * size as u64))
}

/// The locals that a call hands over.
#[derive(Clone, Copy, Debug)]
pub struct Operands<'d>(&'d [[u8; 2]]);

impl<'d> Operands<'d> {
    /// The locals, in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = u16> + Clone + use<'d> {
        self.0.iter().map(|bytes| u16::from_le_bytes(*bytes))
    }
}
