//! The checks of declarations, and of each instruction and its fields.

use alloc::vec::Vec;

use super::tables;
use crate::alloc_util::{AllocError, try_filled};
use crate::ir::error::{IrError, Part};
use crate::ir::function::{CALLEE, CalleeKind, Function, Signature, TypeEntry};
use crate::ir::instruction::{Instruction, NONE};
use crate::ir::opcode::Opcode;
use crate::ir::types::{Scalar, TypeSet, ValueType};

/// The state of the verifier.
pub(crate) struct Check<'d> {
    body: Function<'d>,
    /// The permitted arguments of each type parameter so far.
    pub(crate) allowed: Vec<TypeSet>,
    /// The type entry at which those of the next callee begin.
    next_type: u16,
}

impl<'d> Check<'d> {
    pub(crate) fn new(body: Function<'d>) -> Result<Self, AllocError> {
        let allowed = try_filled(usize::from(body.type_params), &TypeSet::ANY)?;
        Ok(Self { body, allowed, next_type: 0 })
    }

    /// Checks the types of locals and of the result, the callees, and the tables of version 2.
    pub(crate) fn declarations(&mut self) -> Result<(), IrError> {
        let body = self.body;
        for (index, &code) in body.codes.iter().enumerate() {
            self.narrow(body.place(body.codes, index), code, TypeSet::SCALARS, None)?;
        }
        if body.result != 0 {
            self.narrow(13, body.result, TypeSet::SCALARS, None)?;
        }
        (0..body.callee_count()).try_for_each(|index| self.callee(index))?;
        tables::check(&body)
    }

    fn callee(&mut self, index: u16) -> Result<(), IrError> {
        let callee = self.body.callee(index)?;
        let place = usize::from(index) * CALLEE;
        let at = self.body.place(self.body.callees.as_flattened(), place);
        if callee.signature.result != 0 {
            self.narrow(at, callee.signature.result, TypeSet::SCALARS, None)?;
        }
        if !matches!(callee.kind, CalleeKind::Instance | CalleeKind::Host) {
            return Ok(());
        }
        let first = self.body.first_type(index);
        let part = Part::Types;
        let missing = IrError::Index { at, part, index: first.into() };
        // One after another without a gap, so that no entry is visited twice.
        if first != self.next_type {
            return Err(missing);
        }
        let mut left = u32::from(callee.arity);
        for entry in callee.types() {
            left = left.saturating_sub(1);
            self.next_type = self.next_type.checked_add(1).ok_or(missing)?;
            match entry {
                TypeEntry::Named { arity, .. } => left = left.saturating_add(arity.into()),
                TypeEntry::Type(ty) => drop(self.known(at, ty.code())?),
            }
        }
        if left == 0 { Ok(()) } else { Err(missing) }
    }

    /// The type with this code, if the function has it.
    fn known(&self, at: u32, code: u8) -> Result<ValueType, IrError> {
        let known = |ty: &ValueType| match ty {
            ValueType::Scalar(_) => true,
            ValueType::Parameter(index) => *index < self.body.type_params,
        };
        ValueType::from_code(code).filter(known).ok_or(IrError::TypeCode { at, code })
    }

    /// Requires the type with this code to be in `types`.
    #[inline]
    fn narrow(
        &mut self,
        at: u32,
        code: u8,
        types: TypeSet,
        opcode: Option<Opcode>,
    ) -> Result<ValueType, IrError> {
        let ty = self.known(at, code)?;
        match ty {
            ValueType::Scalar(scalar) if !types.has(scalar.into()) => {
                let opcode = opcode.unwrap_or(Opcode::Move);
                return Err(IrError::NoMeaning { at, opcode, ty });
            }
            ValueType::Scalar(_) => {}
            ValueType::Parameter(index) => {
                if let Some(allowed) = self.allowed.get_mut(usize::from(index)) {
                    *allowed = allowed.and(types);
                }
            }
        }
        Ok(ty)
    }

    /// Checks one instruction: its type and its fields.
    pub(crate) fn instruction(&mut self, at: u32, i: &Instruction) -> Result<(), IrError> {
        let ty = match i.opcode.types() {
            Some(types) => Some(self.narrow(at, i.type_code, types, Some(i.opcode))?),
            None if i.type_code != 0 => {
                return Err(IrError::Unused { at, opcode: i.opcode });
            }
            None => None,
        };
        match ty {
            Some(ty) => self.typed(at, i, ty),
            None => self.untyped(at, i),
        }
    }

    fn typed(&mut self, at: u32, i: &Instruction, ty: ValueType) -> Result<(), IrError> {
        use Opcode as O;
        let is = |local| self.local(at, local, ty);
        let boolean = ValueType::Scalar(Scalar::Bool);
        match i.opcode {
            O::Constant => is(i.a).and(self.number(at, i, ty)).and(self.unused(at, i, [i.b, i.c])),
            O::WideConstant => is(i.a).and(self.wide(at, i, ty)),
            O::SizeOf => {
                self.index(at, i.a).and(self.no_number(at, i)).and(self.unused(at, i, [i.b, i.c]))
            }
            O::Move | O::Unary(_) => {
                is(i.a).and(is(i.b)).and(self.no_number(at, i)).and(self.unused(at, i, [i.c, 0]))
            }
            O::Convert => self.convert(at, i, ty),
            O::Binary(_) => is(i.a).and(is(i.b)).and(self.second(at, i, i.c, ty)),
            O::Compare(_) => {
                self.local(at, i.a, boolean).and(is(i.b)).and(self.second(at, i, i.c, ty))
            }
            O::Branch(_) => is(i.a).and(self.target(at, i)).and(self.short(at, i, ty)),
            O::TrapCompare(_) => is(i.a).and(self.short(at, i, ty)),
            O::Select => {
                let index = i.imm.cast_unsigned();
                let none = IrError::Index { at, part: Part::Locals, index };
                let other = i.other().ok_or(none)?;
                self.local(at, i.b, boolean).and(is(i.a)).and(is(i.c)).and(is(other))
            }
            O::Load | O::Store => {
                is(i.a).and(self.pointer(at, i.b)).and(self.unused(at, i, [i.c, 0]))
            }
            O::LoadElement | O::StoreElement => is(i.a).and(self.element(at, i)),
            O::Element => self.pointer(at, i.a).and(self.element(at, i)),
            O::Return if self.body.result == ty.code() => {
                is(i.a).and(self.no_number(at, i)).and(self.unused(at, i, [i.b, i.c]))
            }
            O::Return => Err(IrError::Result { at, expected: self.body.signature().result() }),
            _ => Ok(()),
        }
    }

    fn untyped(&self, at: u32, i: &Instruction) -> Result<(), IrError> {
        use Opcode as O;
        let plain = |fields| self.unused(at, i, fields).and(self.no_number(at, i));
        match i.opcode {
            O::Jump => self.nothing(at, i).and(self.target(at, i)),
            O::Trap => self.nothing(at, i),
            O::ReturnNone if self.body.result != 0 => {
                Err(IrError::Result { at, expected: self.body.signature().result() })
            }
            O::ReturnNone => self.nothing(at, i).and(self.no_number(at, i)),
            O::BranchIf(_) => self.condition(at, i).and(self.target(at, i)),
            O::TrapIf(_) => self.condition(at, i),
            O::SlotAddress => self.slot_address(at, i),
            O::DataAddress => self.data_address(at, i),
            O::FunctionAddress => {
                self.pointer(at, i.a).and(self.callee_of(at, i)).and(plain([i.c, 0]))
            }
            O::CopyMemory => {
                self.pointer(at, i.a).and(self.pointer(at, i.b)).and(self.count(at, i))
            }
            O::FillMemory => {
                let value = self.local(at, i.b, Scalar::U8.into());
                self.pointer(at, i.a).and(value).and(self.count(at, i))
            }
            O::CheckStack => self.pointer(at, i.a).and(self.unused(at, i, [i.b, i.c])),
            _ => self.call(at, i),
        }
    }

    /// No field but the number is set.
    fn nothing(&self, at: u32, i: &Instruction) -> Result<(), IrError> {
        self.unused(at, i, [i.a, i.b]).and(self.unused(at, i, [i.c, 0]))
    }

    /// A bool alone.
    fn condition(&self, at: u32, i: &Instruction) -> Result<(), IrError> {
        self.local(at, i.a, Scalar::Bool.into()).and(self.unused(at, i, [i.b, i.c]))
    }

    fn slot_address(&self, at: u32, i: &Instruction) -> Result<(), IrError> {
        self.pointer(at, i.a).and(self.unused(at, i, [i.c, 0]))?;
        let slot = self.body.slots().nth(i.b.into()).flatten();
        let none = IrError::Index { at, part: Part::Slots, index: i.b.into() };
        offset(at, i.imm, slot.ok_or(none)?.size.into())
    }

    fn data_address(&self, at: u32, i: &Instruction) -> Result<(), IrError> {
        self.pointer(at, i.a).and(self.unused(at, i, [i.c, 0]))?;
        let none = IrError::Index { at, part: Part::Data, index: i.b.into() };
        let data = self.body.data(i.b.into()).ok_or(none)?;
        offset(at, i.imm, data.bytes.len() as u64)
    }

    /// A number of bytes: an integer of 64 bits, or a number in `imm`.
    fn count(&self, at: u32, i: &Instruction) -> Result<(), IrError> {
        if !i.immediate {
            return self.index(at, i.c).and(self.no_number(at, i));
        }
        if i.imm < 0 {
            return Err(IrError::Number { at, number: i.imm.into(), ty: Scalar::U64.into() });
        }
        self.unused(at, i, [i.c, 0])
    }

    /// The signature of the callee, which has a kind that the opcode takes.
    fn callee_of(&self, at: u32, i: &Instruction) -> Result<Signature<'d>, IrError> {
        let none = IrError::Index { at, part: Part::Callees, index: i.b.into() };
        let signature = self.body.callee_signature(i.b).ok_or(none)?;
        let is_indirect = matches!(i.opcode, Opcode::CallIndirect | Opcode::ReturnCallIndirect);
        match self.body.is_indirect(i.b) == is_indirect {
            true => Ok(signature),
            false => Err(IrError::CalleeUse { at, opcode: i.opcode }),
        }
    }

    fn call(&self, at: u32, i: &Instruction) -> Result<(), IrError> {
        let signature = self.callee_of(at, i)?;
        let index = i.imm.cast_unsigned();
        let none = IrError::Index { at, part: Part::Operands, index };
        let operands = self.body.operands_of(i).ok_or(none)?;
        for (local, &code) in operands.iter().zip(signature.params) {
            self.local(at, local, self.known(at, code)?)?;
        }
        match i.opcode {
            Opcode::ReturnCall | Opcode::ReturnCallIndirect => {
                self.unused(at, i, [i.a, 0])?;
                if signature.result != self.body.result {
                    let expected = self.body.signature().result();
                    return Err(IrError::Result { at, expected });
                }
            }
            _ if i.a == NONE => {}
            _ => {
                let result = signature.result().ok_or(IrError::CallResult { at })?;
                self.local(at, i.a, result)?;
            }
        }
        match i.opcode {
            Opcode::CallIndirect | Opcode::ReturnCallIndirect => self.pointer(at, i.c),
            _ => self.unused(at, i, [i.c, 0]),
        }
    }

    fn convert(&mut self, at: u32, i: &Instruction, ty: ValueType) -> Result<(), IrError> {
        let code = u8::try_from(i.c).unwrap_or(u8::MAX);
        let source = self.narrow(at, code, TypeSet::SCALARS, Some(i.opcode))?;
        self.local(at, i.a, ty)?;
        self.local(at, i.b, source)?;
        self.no_number(at, i)
    }

    /// The second operand: a local, or a number in `imm`.
    fn second(&self, at: u32, i: &Instruction, local: u16, ty: ValueType) -> Result<(), IrError> {
        if i.immediate {
            return self.number(at, i, ty).and(self.unused(at, i, [local, 0]));
        }
        self.local(at, local, ty).and(self.no_number(at, i))
    }

    /// The second value of a branch or a conditional trap: a local, or a number in the place of `c`.
    fn short(&self, at: u32, i: &Instruction, ty: ValueType) -> Result<(), IrError> {
        if i.immediate {
            return self.number(at, i, ty).and(self.unused(at, i, [i.b, 0]));
        }
        self.local(at, i.b, ty).and(self.unused(at, i, [i.c, 0]))
    }

    /// A bool is 0 or 1; the other types take every number modulo their width.
    fn number(&self, at: u32, i: &Instruction, ty: ValueType) -> Result<(), IrError> {
        let number = i.number();
        if ty == ValueType::Scalar(Scalar::Bool) && !matches!(number, 0 | 1) {
            return Err(IrError::Number { at, number: number.into(), ty });
        }
        Ok(())
    }

    fn wide(&self, at: u32, i: &Instruction, ty: ValueType) -> Result<(), IrError> {
        let ValueType::Scalar(scalar) = ty else { return Err(IrError::WideParameter { at }) };
        self.unused(at, i, [i.b, i.c])?;
        let index = i.imm.cast_unsigned();
        let none = IrError::Index { at, part: Part::Constants, index };
        let bits = self.body.constant(i.imm).ok_or(none)?;
        let width = if scalar == Scalar::Bool { 1 } else { scalar.bits() };
        if bits.checked_shr(width).unwrap_or(0) != 0 {
            return Err(IrError::Number { at, number: bits.cast_signed(), ty });
        }
        Ok(())
    }

    fn element(&self, at: u32, i: &Instruction) -> Result<(), IrError> {
        self.pointer(at, i.b)?;
        if i.c == NONE { Ok(()) } else { self.index(at, i.c) }
    }

    fn target(&self, at: u32, i: &Instruction) -> Result<(), IrError> {
        let index = i.imm.cast_unsigned();
        let inside = usize::try_from(index).is_ok_and(|index| index < self.body.len());
        let part = Part::Instructions;
        if inside { Ok(()) } else { Err(IrError::Index { at, part, index }) }
    }

    #[inline]
    fn local(&self, at: u32, local: u16, expected: ValueType) -> Result<(), IrError> {
        let found = self.found(at, local)?;
        if found == expected {
            return Ok(());
        }
        Err(IrError::LocalType { at, local, found, expected })
    }

    fn pointer(&self, at: u32, local: u16) -> Result<(), IrError> {
        self.local(at, local, Scalar::Pointer.into())
    }

    /// An index of elements, or a size: an integer of 64 bits.
    fn index(&self, at: u32, local: u16) -> Result<(), IrError> {
        let found = self.found(at, local)?;
        match found {
            ValueType::Scalar(Scalar::I64 | Scalar::U64) => Ok(()),
            _ => Err(IrError::NotIndex { at, local, found }),
        }
    }

    #[inline]
    fn found(&self, at: u32, local: u16) -> Result<ValueType, IrError> {
        let none = IrError::Index { at, part: Part::Locals, index: local.into() };
        self.body.local_type(local).ok_or(none)
    }

    #[inline]
    fn unused(&self, at: u32, i: &Instruction, fields: [u16; 2]) -> Result<(), IrError> {
        if fields == [0, 0] { Ok(()) } else { Err(IrError::Unused { at, opcode: i.opcode }) }
    }

    #[inline]
    fn no_number(&self, at: u32, i: &Instruction) -> Result<(), IrError> {
        if i.imm == 0 { Ok(()) } else { Err(IrError::Unused { at, opcode: i.opcode }) }
    }
}

/// An offset from the first byte to the end of `size` bytes.
fn offset(at: u32, offset: i32, size: u64) -> Result<(), IrError> {
    match u64::try_from(offset) {
        Ok(found) if found <= size => Ok(()),
        _ => Err(IrError::Offset { at, offset, size }),
    }
}
