//! The encoded form of an IR function, split into its tables.
//!
//! A function begins with its length, so that a reader that does not support its version can skip it. Splitting does not
//! allocate and reads only the header; the verifier checks the entries of the tables.

use super::error::{IrError, Part};
use super::instruction::{INSTRUCTION_SIZE, Instruction};
use super::types::{MAX_PARAMETERS, Scalar, ValueType};
use crate::format::bytes::{u8_at, u16_at, u32_at};

/// The first bytes of a function.
pub(crate) const MAGIC: &[u8; 4] = b"SMTB";

/// The newest version.
pub(crate) const VERSION: u16 = 2;

/// Bytes of the header of version 1, with which that of version 2 begins.
pub(crate) const HEADER: usize = 40;

/// Bytes of the header of version 2.
pub(crate) const HEADER_2: usize = 56;

/// Bytes of a stack slot's entry.
pub(crate) const SLOT: usize = 8;

/// Bytes of the entry of read-only data.
pub(crate) const DATA: usize = 12;

/// Bytes of a source location's entry.
pub(crate) const LOCATION: usize = 12;

/// The largest alignment of a stack slot, in bytes: that of the stack.
pub const MAX_SLOT_ALIGN: u32 = 16;

/// The limit of the bytes of a function's stack slots, with the gaps for their alignments.
pub const MAX_SLOT_BYTES: u32 = 1 << 20;

/// The largest alignment of read-only data, in bytes.
pub const MAX_DATA_ALIGN: u32 = 4096;

/// The maximum alignment of an entry of read-only data of a template: that of the code of its instances.
pub(crate) const MAX_TEMPLATE_DATA_ALIGN: u32 = 16;

/// Bytes of a callee's entry.
pub(crate) const CALLEE: usize = 12;

/// Bytes of an entry in the table of types.
pub(crate) const TYPE: usize = 4;

/// In the table of types: a named type with arguments.
pub(crate) const NAMED: u8 = 0xff;

/// The maximum length of a name in bytes, without its NUL. Many entries may share a name, whose end each looks for.
pub const MAX_NAME: usize = 1023;

/// Whether bytes begin with the magic of an IR function.
pub fn is_function(bytes: &[u8]) -> bool {
    bytes.starts_with(MAGIC)
}

/// The function in the body of a template of a container; `None` if the body is in another form, or empty.
///
/// # Errors
/// Those of [`Function::parse`].
pub fn function_of(template: &[u8]) -> Option<Result<Function<'_>, IrError>> {
    is_function(template).then(|| Function::parse(template))
}

/// The types of the parameters and of the result of a function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signature<'d> {
    /// Type codes of the parameters.
    pub params: &'d [u8],
    /// Type code of the result; 0 if there is no result.
    pub result: u8,
}

impl Signature<'_> {
    /// Whether it is that of a function with these parameters and this result.
    pub fn is_of(&self, params: &[Scalar], result: Option<Scalar>) -> bool {
        let codes = params.iter().map(|scalar| scalar.code());
        codes.eq(self.params.iter().copied()) && result.map_or(0, Scalar::code) == self.result
    }

    /// The type of the result.
    pub fn result(&self) -> Option<ValueType> {
        ValueType::from_code(self.result)
    }
}

/// The provider of a callee.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CalleeKind {
    /// An instance of a template, by name.
    Instance,
    /// The host, by symbol.
    Host,
    /// A function of the same program, by number.
    Function(u32),
    /// The function at an address: the entry states its signature.
    Indirect,
}

/// A part of the frame of an activation, whose bytes are undefined until they are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StackSlot {
    /// In bytes.
    pub size: u32,
    /// In bytes: a power of two up to [`MAX_SLOT_ALIGN`].
    pub align: u32,
}

/// Read-only bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DataEntry<'d> {
    /// The bytes.
    pub bytes: &'d [u8],
    /// Of their address, in bytes: a power of two up to [`MAX_DATA_ALIGN`].
    pub align: u32,
}

/// Where in a source text the instructions from one on come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SourceLocation<'d> {
    /// The first instruction.
    pub instruction: u32,
    /// The line, from 1; of bytecode, the offset of the instruction in its section.
    pub line: u32,
    /// The column, from 1; 0 where it is not known.
    pub column: u16,
    /// The name of the file; `None` where it is not known.
    pub file: Option<&'d str>,
}

/// A function that the body calls.
#[derive(Clone, Copy, Debug)]
pub struct Callee<'d> {
    /// Who provides it.
    pub kind: CalleeKind,
    /// The template's name, or the symbol; empty for callees that have none.
    pub name: &'d str,
    /// Its signature, in terms of the caller's type parameters.
    pub signature: Signature<'d>,
    /// The number of type arguments.
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

/// A type argument for another template, or a part of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TypeEntry<'d> {
    /// A scalar, or a type parameter of the caller.
    Type(ValueType),
    /// A named type; the entries of its arguments follow.
    Named {
        /// Its name.
        name: &'d str,
        /// The number of its arguments.
        arity: u8,
    },
}

/// Types in the table of types, from one entry on.
#[derive(Clone, Copy, Debug)]
struct TypeList<'d> {
    entries: &'d [[u8; TYPE]],
    strings: &'d [u8],
    /// Types that are left.
    left: u32,
}

impl<'d> Iterator for TypeList<'d> {
    type Item = TypeEntry<'d>;

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        let (&[code, arity, n0, n1], rest) = self.entries.split_first()?;
        self.entries = rest;
        if code != NAMED {
            return ValueType::from_code(code).map(TypeEntry::Type);
        }
        self.left = self.left.checked_add(arity.into())?;
        let name = name_in(self.strings, u16::from_le_bytes([n0, n1]))?;
        Some(TypeEntry::Named { name, arity })
    }
}

/// The slot of an entry; `None` if its alignment is impossible.
fn stack_slot(&[s0, s1, s2, s3, a0, a1, a2, a3]: &[u8; SLOT]) -> Option<StackSlot> {
    let align = u32::from_le_bytes([a0, a1, a2, a3]);
    let size = u32::from_le_bytes([s0, s1, s2, s3]);
    let is_possible = align.is_power_of_two() && align <= MAX_SLOT_ALIGN;
    is_possible.then_some(StackSlot { size, align })
}

/// The name at `offset`, up to its NUL; `None` if it is empty, too long, not UTF-8 or unterminated.
fn name_in(strings: &[u8], offset: u16) -> Option<&str> {
    let from = strings.get(usize::from(offset)..)?;
    let mut bytes = from.iter().take(MAX_NAME + 1);
    let len = bytes.position(|&byte| byte == 0).filter(|&len| len > 0)?;
    core::str::from_utf8(from.get(..len)?).ok()
}

/// An IR function: a view of its encoded form.
#[derive(Clone, Copy, Debug)]
pub struct Function<'d> {
    /// All bytes.
    pub(crate) bytes: &'d [u8],
    pub(crate) version: u16,
    pub(crate) type_params: u8,
    pub(crate) result: u8,
    pub(crate) params: u16,
    pub(crate) locals: u16,
    pub(crate) constants: &'d [[u8; 8]],
    pub(crate) instructions: &'d [[u8; INSTRUCTION_SIZE]],
    pub(crate) callees: &'d [[u8; CALLEE]],
    pub(crate) types: &'d [[u8; TYPE]],
    pub(crate) operands: &'d [[u8; 2]],
    pub(crate) codes: &'d [u8],
    pub(crate) strings: &'d [u8],
    pub(crate) slots: &'d [[u8; SLOT]],
    pub(crate) data: &'d [[u8; DATA]],
    pub(crate) locations: &'d [[u8; LOCATION]],
    pub(crate) data_bytes: &'d [u8],
}

impl<'d> Function<'d> {
    /// The stated length in bytes of the function that begins `bytes`, in any version; `None` if there is no function.
    pub fn length(bytes: &[u8]) -> Option<u32> {
        is_function(bytes).then(|| u32_at(bytes, 4))?
    }

    /// Splits `bytes`, a function without anything behind it, into its tables.
    ///
    /// # Errors
    /// [`IrError::Magic`], [`IrError::Version`], [`IrError::Flags`], [`IrError::Reserved`] and [`IrError::Length`] for an
    /// unsupported header; [`IrError::Tables`] if the tables do not fill the bytes exactly; [`IrError::Parameters`] and
    /// [`IrError::Locals`] for impossible counts.
    pub fn parse(bytes: &'d [u8]) -> Result<Self, IrError> {
        let stated = Self::length(bytes).ok_or(IrError::Magic)?;
        let version = u16_at(bytes, 8).unwrap_or(0);
        if !(1..=VERSION).contains(&version) {
            return Err(IrError::Version { version });
        }
        let flags = u16_at(bytes, 10).unwrap_or(0);
        if flags != 0 {
            return Err(IrError::Flags { flags });
        }
        let given = bytes.len() as u64;
        if given != u64::from(stated) {
            return Err(IrError::Length { stated, given });
        }
        let reserved = if version > 1 { u32_at(bytes, 52).unwrap_or(0) } else { 0 };
        if reserved != 0 {
            return Err(IrError::Reserved { value: reserved });
        }
        let tables = |needed| IrError::Tables { needed, stated };
        let (header, sizes) = sizes(bytes).ok_or(tables(HEADER as u64))?;
        // No count reaches 2^32, so that no sum of these wraps.
        let needed = sizes.iter().map(|&(count, size)| u64::from(count) * size as u64).sum::<u64>();
        let needed = header as u64 + needed;
        let body = Self::cut(bytes, header, sizes).filter(|_| needed == given);
        let body = body.ok_or(tables(needed))?;
        if body.type_params > MAX_PARAMETERS {
            return Err(IrError::Parameters { count: body.type_params });
        }
        if body.params > body.locals || usize::from(body.locals) > body.codes.len() {
            return Err(IrError::Locals { at: 14 });
        }
        Ok(body)
    }

    fn cut(bytes: &'d [u8], header: usize, sizes: Sizes) -> Option<Self> {
        let mut rest = bytes.get(header..)?;
        let [constants, instructions, callees, types, operands, codes, strings, new @ ..] = sizes
            .map(|(count, size)| {
                let len = (count as usize).saturating_mul(size);
                let (table, after) = rest.split_at_checked(len).unwrap_or_default();
                rest = after;
                table
            });
        let [slots, data, locations, data_bytes] = new;
        Some(Self {
            bytes,
            version: u16_at(bytes, 8)?,
            type_params: u8_at(bytes, 12)?,
            result: u8_at(bytes, 13)?,
            params: u16_at(bytes, 14)?,
            locals: u16_at(bytes, 16)?,
            constants: constants.as_chunks().0,
            instructions: instructions.as_chunks().0,
            callees: callees.as_chunks().0,
            types: types.as_chunks().0,
            operands: operands.as_chunks().0,
            codes,
            strings,
            slots: slots.as_chunks().0,
            data: data.as_chunks().0,
            locations: locations.as_chunks().0,
            data_bytes,
        })
    }

    /// The encoded form.
    pub fn bytes(&self) -> &'d [u8] {
        self.bytes
    }

    /// The version of the binary form.
    pub fn version(&self) -> u16 {
        self.version
    }

    /// The stack slots; `None` stands for an entry with an impossible alignment.
    pub fn slots(&self) -> impl ExactSizeIterator<Item = Option<StackSlot>> + Clone + use<'d> {
        self.slots.iter().map(stack_slot)
    }

    /// The stack slot with this number.
    pub(crate) fn slot(&self, index: u16) -> Option<StackSlot> {
        stack_slot(self.slots.get(usize::from(index))?)
    }

    /// Where slot `index` begins among the slots, which follow each other in order, each at its alignment; for their
    /// number, the bytes of all of them.
    pub fn slot_offset(&self, index: usize) -> u64 {
        let mut end = 0u64;
        for (number, slot) in self.slots().enumerate().take(index.saturating_add(1)) {
            let slot = slot.unwrap_or(StackSlot { size: 0, align: 1 });
            let start = end.next_multiple_of(slot.align.into());
            if number == index {
                return start;
            }
            end = start + u64::from(slot.size);
        }
        end
    }

    /// The number of entries of read-only data.
    pub fn data_count(&self) -> usize {
        self.data.len()
    }

    /// Read-only data; `None` if there is no such entry, or if it lies outside of the bytes.
    pub fn data(&self, index: usize) -> Option<DataEntry<'d>> {
        let entry = self.data.get(index)?;
        let (offset, len, align) = (u32_at(entry, 0)?, u32_at(entry, 4)?, u32_at(entry, 8)?);
        let from = self.data_bytes.get(usize::try_from(offset).ok()?..)?;
        let bytes = from.get(..usize::try_from(len).ok()?)?;
        let is_possible = align.is_power_of_two() && align <= MAX_DATA_ALIGN;
        is_possible.then_some(DataEntry { bytes, align })
    }

    /// Where an entry of read-only data begins among the bytes of all.
    pub fn data_offset(&self, index: u16) -> Option<u32> {
        u32_at(self.data.get(usize::from(index))?, 0)
    }

    /// The source locations, by ascending instruction in a verified function.
    pub fn locations(&self) -> impl ExactSizeIterator<Item = SourceLocation<'d>> + Clone + use<'d> {
        let strings = self.strings;
        self.locations.iter().map(move |entry| {
            let &[i0, i1, i2, i3, l0, l1, l2, l3, c0, c1, f0, f1] = entry;
            SourceLocation {
                instruction: u32::from_le_bytes([i0, i1, i2, i3]),
                line: u32::from_le_bytes([l0, l1, l2, l3]),
                column: u16::from_le_bytes([c0, c1]),
                file: name_in(strings, u16::from_le_bytes([f0, f1])),
            }
        })
    }

    /// The number of type parameters.
    pub fn type_params(&self) -> u8 {
        self.type_params
    }

    /// The types of its parameters and of its result.
    pub fn signature(&self) -> Signature<'d> {
        let params = self.codes.get(..usize::from(self.params)).unwrap_or(&[]);
        Signature { params, result: self.result }
    }

    /// The number of locals, parameters included.
    pub fn locals(&self) -> u16 {
        self.locals
    }

    /// Type codes of the locals, parameters first.
    pub fn local_codes(&self) -> &'d [u8] {
        self.codes.get(..usize::from(self.locals)).unwrap_or(&[])
    }

    /// The type of a local.
    pub fn local_type(&self, local: u16) -> Option<ValueType> {
        self.local_codes().get(usize::from(local)).and_then(|&code| ValueType::from_code(code))
    }

    /// The number of instructions.
    pub fn len(&self) -> usize {
        self.instructions.len()
    }

    /// Whether there are no instructions.
    pub fn is_empty(&self) -> bool {
        self.instructions.is_empty()
    }

    /// The instructions in order; `None` stands for an unknown opcode.
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

    /// The offset of an instruction in bytes from the start of the function.
    pub fn offset(&self, instruction: usize) -> u32 {
        self.place(self.instructions.as_flattened(), instruction * INSTRUCTION_SIZE)
    }

    /// The offset of byte `within` of `table` from the start of the function.
    pub(crate) fn place(&self, table: &[u8], within: usize) -> u32 {
        let begin = crate::format::bytes::offset_in(self.bytes, table);
        u32::try_from(begin.saturating_add(within as u64)).unwrap_or(u32::MAX)
    }

    /// The bits of a constant.
    pub fn constant(&self, index: i32) -> Option<u64> {
        let bytes = self.constants.get(usize::try_from(index).ok()?)?;
        Some(u64::from_le_bytes(*bytes))
    }

    /// The number of callees.
    pub fn callee_count(&self) -> u16 {
        u16::try_from(self.callees.len()).unwrap_or(u16::MAX)
    }

    /// The callee with this number.
    ///
    /// # Errors
    /// [`IrError::Index`] if there is no such callee; [`IrError::CalleeKind`], [`IrError::CalleeField`],
    /// [`IrError::Name`] and [`IrError::HostTypes`] for a malformed entry.
    pub fn callee(&self, index: u16) -> Result<Callee<'d>, IrError> {
        let place = usize::from(index) * CALLEE;
        let at = self.place(self.callees.as_flattened(), place);
        let none = IrError::Index { at, part: Part::Callees, index: index.into() };
        let entry = self.callees.get(usize::from(index)).ok_or(none)?;
        let &[n0, n1, kind, result, arity, params, t0, t1, p0, p1, p2, p3] = entry;
        let kind = match kind {
            0 => CalleeKind::Instance,
            1 if arity == 0 => CalleeKind::Host,
            1 => return Err(IrError::HostTypes { at }),
            2..=3 if self.version > 1 && arity > 0 => return Err(IrError::HostTypes { at }),
            3 if self.version > 1 && [n0, n1, t0, t1] != [0; 4] => {
                return Err(IrError::CalleeField { at });
            }
            2 if self.version > 1 => CalleeKind::Function(u32::from_le_bytes([n0, n1, t0, t1])),
            3 if self.version > 1 => CalleeKind::Indirect,
            _ => return Err(IrError::CalleeKind { at, kind }),
        };
        let name = match kind {
            CalleeKind::Instance | CalleeKind::Host => {
                name_in(self.strings, u16::from_le_bytes([n0, n1])).ok_or(IrError::Name { at })?
            }
            CalleeKind::Function(_) | CalleeKind::Indirect => "",
        };
        let first = u32::from_le_bytes([p0, p1, p2, p3]);
        let none = IrError::Index { at, part: Part::Codes, index: first };
        let params = self.codes_from(first, params).ok_or(none)?;
        let has_types = matches!(kind, CalleeKind::Instance | CalleeKind::Host);
        let first = if has_types { u16::from_le_bytes([t0, t1]) } else { 0 };
        let none = IrError::Index { at, part: Part::Types, index: first.into() };
        let entries = self.types.get(usize::from(first)..).ok_or(none)?;
        let types = TypeList { entries, strings: self.strings, left: arity.into() };
        Ok(Callee { kind, name, signature: Signature { params, result }, arity, types })
    }

    /// The name at this offset of the strings, if it is one.
    pub(crate) fn name(&self, offset: u16) -> Option<&'d str> {
        name_in(self.strings, offset)
    }

    /// Whether a callee is called by address.
    pub(crate) fn is_indirect(&self, callee: u16) -> bool {
        self.callees.get(usize::from(callee)).is_some_and(|&[_, _, kind, ..]| kind == 3)
    }

    /// Where the types of a callee begin in their table.
    pub(crate) fn first_type(&self, callee: u16) -> u16 {
        let entry = self.callees.get(usize::from(callee));
        entry.and_then(|entry| u16_at(entry, 6)).unwrap_or(u16::MAX)
    }

    fn codes_from(&self, first: u32, count: u8) -> Option<&'d [u8]> {
        self.codes.get(usize::try_from(first).ok()?..)?.get(..usize::from(count))
    }

    /// The signature of a callee. In contrast to [`Function::callee`], its name and its type arguments are not read.
    #[inline]
    pub fn callee_signature(&self, index: u16) -> Option<Signature<'d>> {
        let &[_, _, _, result, _, params, _, _, p0, p1, p2, p3] =
            self.callees.get(usize::from(index))?;
        let params = self.codes_from(u32::from_le_bytes([p0, p1, p2, p3]), params)?;
        Some(Signature { params, result })
    }

    /// The locals that a call passes; `None` for any other instruction, and where the tables do not have them.
    #[inline]
    pub fn operands_of(&self, call: &Instruction) -> Option<Operands<'d>> {
        if !call.opcode.is_call() {
            return None;
        }
        let &[_, _, _, _, _, params, ..] = self.callees.get(usize::from(call.b))?;
        let from = self.operands.get(usize::try_from(call.imm).ok()?..)?;
        from.get(..usize::from(params)).map(Operands)
    }
}

/// The number of entries of each table in their order, and the bytes of one.
type Sizes = [(u32, usize); 11];

/// The length of the header, and the sizes of the tables.
fn sizes(bytes: &[u8]) -> Option<(usize, Sizes)> {
    let long = |offset| u32_at(bytes, offset);
    let short = |offset| Some(u32::from(u16_at(bytes, offset)?));
    let (header, [slots, data, data_bytes, locations]) = match u16_at(bytes, 8)? {
        1 => (HEADER, [0; 4]),
        _ => (HEADER_2, [short(40)?, short(42)?, long(44)?, long(48)?]),
    };
    let sizes = [
        (long(32)?, 8),
        (long(36)?, INSTRUCTION_SIZE),
        (short(18)?, CALLEE),
        (short(20)?, TYPE),
        (long(24)?, 2),
        (long(28)?, 1),
        (short(22)?, 1),
        (slots, SLOT),
        (data, DATA),
        (locations, LOCATION),
        (data_bytes, 1),
    ];
    Some((header, sizes))
}

/// The locals that a call passes as arguments.
#[derive(Clone, Copy, Debug)]
pub struct Operands<'d>(&'d [[u8; 2]]);

impl<'d> Operands<'d> {
    /// The locals, in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = u16> + Clone + use<'d> {
        self.0.iter().map(|bytes| u16::from_le_bytes(*bytes))
    }
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::super::text::parse;
    use super::super::{IrError, Verified};
    use super::*;
    use crate::format::template::{Container, Template, TemplateKind, Templates};
    use crate::format::write::NewTemplates;
    use crate::testing::{cut, flipped};

    /// The encoding by the tables of the documentation.
    const MAX: &[u8] = &[
        b'S', b'M', b'T', b'B', 78, 0, 0, 0, 1, 0, 0, 0, 1, 0x40, 2, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0,
        0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, // header
        0x35, 0x40, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, // br_ge T0 v0, v1, L2
        0x51, 0x40, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, // return T0 v1
        0x51, 0x40, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, // return T0 v0
        0x40, 0x40,
    ];

    const TEXT: &str = "template max<T>(a: T, b: T) -> T
        br_ge T a, b, first
        return T b
        first:
        return T a
        end
        template twice(n: i64) -> i64
        call_host n = abs(n)
        call n = \"two words\"<Pair<i64, Unit>, u8>(n)
        return i64 n
        end";

    #[test]
    fn the_bytes_are_those_of_the_tables() {
        let templates = parse(TEXT).unwrap();
        assert_eq!(templates[0].body, MAX);
        let body = Function::parse(MAX).unwrap();
        assert_eq!((body.type_params(), body.locals(), body.len()), (1, 2, 3));
        assert_eq!((body.is_empty(), body.offset(1), body.bytes().len()), (false, 52, 78));
        let signature = body.signature();
        assert_eq!(
            (signature.params, signature.result()),
            (&[0x40, 0x40][..], ValueType::from_code(0x40))
        );
        assert_eq!(body.local_type(2), None);
    }

    #[test]
    fn callees_say_what_they_are() {
        let templates = parse(TEXT).unwrap();
        let body = Function::parse(&templates[1].body).unwrap();
        assert_eq!(body.callee_count(), 2);
        let [host, other] = [0, 1].map(|index| body.callee(index).unwrap());
        assert_eq!((host.kind, host.name, host.types().count()), (CalleeKind::Host, "abs", 0));
        assert_eq!((other.kind, other.name, other.arity), (CalleeKind::Instance, "two words", 2));
        let types: Vec<_> = other.types().collect();
        let named = |name, arity| TypeEntry::Named { name, arity };
        let plain = |code| TypeEntry::Type(ValueType::from_code(code).unwrap());
        assert_eq!(types, [named("Pair", 2), plain(4), named("Unit", 0), plain(5)]);
        assert!(matches!(body.callee(2), Err(IrError::Index { part: Part::Callees, .. })));
    }

    #[test]
    fn refuses_what_is_no_body() {
        let patched = |at: usize, byte| {
            let mut bytes = MAX.to_vec();
            bytes[at] = byte;
            Function::parse(&bytes).err()
        };
        assert_eq!(patched(0, b'X'), Some(IrError::Magic));
        assert_eq!(patched(8, 3), Some(IrError::Version { version: 3 }));
        assert_eq!(patched(11, 0x80), Some(IrError::Flags { flags: 0x8000 }));
        assert_eq!(patched(4, 79), Some(IrError::Length { stated: 79, given: 78 }));
        assert_eq!(patched(36, 4), Some(IrError::Tables { needed: 90, stated: 78 }));
        assert_eq!(patched(12, 65), Some(IrError::Parameters { count: 65 }));
        assert_eq!(patched(14, 3), Some(IrError::Locals { at: 14 }));
        assert_eq!(patched(16, 3), Some(IrError::Locals { at: 14 }));
        let needed = 40 + 12 * u64::from(u32::MAX) + 2;
        let mut endless = MAX.to_vec();
        endless[36..40].fill(0xff);
        assert_eq!(Function::parse(&endless).err(), Some(IrError::Tables { needed, stated: 78 }));
        assert_eq!(Function::length(MAX), Some(78));
        assert_eq!([Function::length(&MAX[..7]), Function::length(b"BCOD1234")], [None; 2]);
        assert!(
            function_of(b"AST").is_none()
                && function_of(&MAX[..9]).is_some_and(|body| body.is_err())
        );
    }

    #[test]
    fn both_containers_carry_bodies() {
        let templates = parse(TEXT).unwrap();
        let new = |kind, params| {
            let template = |(template, params): (&'static str, u8), body| Template {
                name: template.as_bytes(),
                kind,
                params,
                constraints: Default::default(),
                body,
            };
            let (max, twice) = (&templates[0].body[..], &templates[1].body[..]);
            let foreign = Template { body: b"AST", ..template(("other", params), &[]) };
            [template(("max", params), max), foreign, template(("twice", 0), twice)]
        };
        let read = |container, new: &[Template<'_>]| {
            let bytes = NewTemplates { container, templates: new }.to_vec().unwrap();
            let section = Templates::parse(&bytes, 0).unwrap();
            assert_eq!((section.listed(), section.has_opaque_bodies), (3, false));
            let found: Vec<Option<usize>> = section
                .iter()
                .map(|template| function_of(template.unwrap().body).map(|body| body.unwrap().len()))
                .collect();
            assert_eq!(found, [Some(3), None, Some(3)]);
        };
        read(Container::Counted, &new(None, 0));
        for constrained in [false, true] {
            read(Container::Gtpl { constrained }, &new(Some(TemplateKind::Function), 1));
        }
    }

    #[test]
    fn no_damage_makes_it_panic() {
        let templates = parse(TEXT).unwrap();
        for template in &templates {
            for (_, damaged) in flipped(&template.body) {
                let Ok(body) = Function::parse(&damaged) else { continue };
                let mut listing = std::string::String::new();
                super::super::text::print("damaged", &body, &mut listing).unwrap();
                let Ok(verified) = Verified::new(body) else { continue };
                let given = [super::super::Argument::Scalar(super::super::Scalar::U16)];
                let given = &given[..usize::from(body.type_params().min(1))];
                let arguments = super::super::Arguments::new(given).unwrap();
                let Ok(instance) = verified.instance(arguments) else { continue };
                crate::codegen::X64Compiler::new()
                    .compile(&instance, &crate::codegen::Options::default())
                    .unwrap();
            }
            assert!(cut(&template.body).all(|short| Function::parse(short).is_err()));
        }
    }
}
