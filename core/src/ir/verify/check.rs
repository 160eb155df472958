//! The checks of declarations, and of each instruction and its fields.

use alloc::vec::Vec;
use core::mem::take;

use super::tables;
use crate::alloc_util::{AllocError, try_filled};
use crate::ir::error::{IrError, Part};
use crate::ir::function::{CALLEE, CalleeKind, Function, Signature, TypeEntry};
use crate::ir::instruction::{Instruction, NONE};
use crate::ir::opcode::Opcode;
use crate::ir::operand_kind::{LocalType, OperandKind};
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
        match i.opcode {
            Opcode::Return | Opcode::ReturnNone if i.type_code != self.body.result => {
                Err(IrError::Result { at, expected: self.body.signature().result() })
            }
            _ if i.opcode.is_call() => self.call(at, i),
            _ => self.operands(at, i, ty.unwrap_or(Scalar::U64.into())),
        }
    }

    /// Checks the operands. `own` is the type of the instruction, if it has one.
    fn operands(&mut self, at: u32, i: &Instruction, own: ValueType) -> Result<(), IrError> {
        // Without the fields that the operands have.
        let mut rest = *i;
        let mut source = own;
        for &operand in i.opcode.operands() {
            match operand {
                OperandKind::Type => {}
                OperandKind::Source => {
                    let code = u8::try_from(take(&mut rest.c)).unwrap_or(u8::MAX);
                    source = self.narrow(at, code, TypeSet::SCALARS, Some(i.opcode))?;
                }
                OperandKind::Set(ty) => {
                    self.local_of(at, take(&mut rest.a), ty, [own, source])?;
                }
                OperandKind::Local(field, ty) => {
                    self.local_of(at, take(rest.field_mut(field)), ty, [own, source])?;
                }
                OperandKind::Second(ty) if !i.immediate => {
                    self.local_of(at, take(&mut rest.c), ty, [own, source])?;
                }
                OperandKind::Second(_) => {
                    self.number(at, i, own)?;
                    rest.imm = 0;
                }
                OperandKind::Number => self.number(at, i, own)?,
                OperandKind::Short if !i.immediate => self.local(at, take(&mut rest.b), own)?,
                OperandKind::Short => {
                    self.number(at, i, own)?;
                    rest.c = 0;
                }
                OperandKind::Slot | OperandKind::Data | OperandKind::Callee => {
                    self.entry(at, i)?;
                    rest.b = 0;
                }
                OperandKind::Element if take(&mut rest.c) != NONE => self.index(at, i.c)?,
                OperandKind::Other => self.other(at, i, own)?,
                OperandKind::Wide => self.wide(at, i, own)?,
                OperandKind::Target => self.target(at, i)?,
                OperandKind::Element | OperandKind::Distance | OperandKind::Code => {}
            }
            if operand.is_in_imm() {
                rest.imm = 0;
            }
        }
        match (rest.a, rest.b, rest.c, rest.imm) {
            (0, 0, 0, 0) => Ok(()),
            _ => Err(IrError::Unused { at, opcode: i.opcode }),
        }
    }

    /// A local of the type that an operand must have; `own` and `source` are those of the instruction.
    fn local_of(
        &self,
        at: u32,
        local: u16,
        ty: LocalType,
        [own, source]: [ValueType; 2],
    ) -> Result<(), IrError> {
        let expected = match ty {
            LocalType::Own => own,
            LocalType::Source => source,
            LocalType::Bool => Scalar::Bool.into(),
            LocalType::Byte => Scalar::U8.into(),
            LocalType::Pointer => Scalar::Pointer.into(),
            LocalType::Index => return self.index(at, local),
        };
        self.local(at, local, expected)
    }

    /// The stack slot, data or callee in `b`.
    fn entry(&self, at: u32, i: &Instruction) -> Result<(), IrError> {
        let none = |part| IrError::Index { at, part, index: i.b.into() };
        let size = match i.opcode {
            Opcode::SlotAddress => self.body.slot(i.b).ok_or(none(Part::Slots))?.size.into(),
            Opcode::DataAddress => {
                let data = self.body.data(i.b.into()).ok_or(none(Part::Data))?;
                data.bytes.len() as u64
            }
            _ => return self.callee_of(at, i).map(drop),
        };
        match u64::try_from(i.imm) {
            Ok(found) if found <= size => Ok(()),
            _ => Err(IrError::Offset { at, offset: i.imm, size }),
        }
    }

    fn other(&self, at: u32, i: &Instruction, own: ValueType) -> Result<(), IrError> {
        let index = i.imm.cast_unsigned();
        let none = IrError::Index { at, part: Part::Locals, index };
        self.local(at, i.other().ok_or(none)?, own)
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

    /// A bool is 0 or 1, and a size not below 0; the other types take every number modulo their width.
    fn number(&self, at: u32, i: &Instruction, ty: ValueType) -> Result<(), IrError> {
        let number = i.number();
        let is_valid = match i.opcode {
            Opcode::CopyMemory | Opcode::FillMemory => number >= 0,
            _ => ty != ValueType::Scalar(Scalar::Bool) || matches!(number, 0 | 1),
        };
        if is_valid { Ok(()) } else { Err(IrError::Number { at, number: number.into(), ty }) }
    }

    fn wide(&self, at: u32, i: &Instruction, ty: ValueType) -> Result<(), IrError> {
        let ValueType::Scalar(scalar) = ty else { return Err(IrError::WideParameter { at }) };
        let index = i.imm.cast_unsigned();
        let none = IrError::Index { at, part: Part::Constants, index };
        let bits = self.body.constant(i.imm).ok_or(none)?;
        let width = if scalar == Scalar::Bool { 1 } else { scalar.bits() };
        if bits.checked_shr(width).unwrap_or(0) != 0 {
            return Err(IrError::Number { at, number: bits.cast_signed(), ty });
        }
        Ok(())
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
}
