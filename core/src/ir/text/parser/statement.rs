//! The statements that are instructions.

use super::Parser;
use crate::ir::builder::{BuildError, Value};
use crate::ir::instruction::{Instruction, NONE};
use crate::ir::interpret::number;
use crate::ir::opcode::Opcode;
use crate::ir::operand_kind::OperandKind;
use crate::ir::text::error::{TextErrorKind, limits};
use crate::ir::text::words::{Words, integer};
use crate::ir::types::{Scalar, ValueType};

impl<'t> Parser<'t> {
    pub(super) fn instruction(
        &mut self,
        opcode: Opcode,
        words: &mut Words<'t>,
        line: u32,
    ) -> Result<(), TextErrorKind> {
        let (immediate, type_code) = (false, 0);
        let mut i = Instruction { opcode, immediate, type_code, a: 0, b: 0, c: 0, imm: 0 };
        let mut needs_comma = false;
        for &operand in opcode.operands() {
            if needs_comma && !operand.is_suffix() {
                words.comma()?;
            }
            needs_comma = !operand.is_prefix();
            self.operand(operand, &mut i, words, line)?;
        }
        self.builder.push(i);
        Ok(())
    }

    fn operand(
        &mut self,
        operand: OperandKind,
        i: &mut Instruction,
        words: &mut Words<'t>,
        line: u32,
    ) -> Result<(), TextErrorKind> {
        use OperandKind as K;
        match operand {
            K::Type => i.type_code = self.ty(words)?.code(),
            K::Source => i.c = self.ty(words)?.code().into(),
            K::Set(_) => i.a = self.local(words)?.number(),
            K::Local(field, _) => *i.field_mut(field) = self.local(words)?.number(),
            K::Other => i.imm = self.local(words)?.number().into(),
            K::Second(_) => match self.value(words)? {
                Value::Local(local) => i.c = local.number(),
                Value::Number(number) => (i.immediate, i.imm) = (true, number),
            },
            K::Short => match self.value(words)? {
                Value::Local(local) => i.b = local.number(),
                Value::Number(number) => {
                    let short = i16::try_from(number);
                    let short = short.map_err(|_| BuildError::BranchNumber(number))?;
                    (i.immediate, i.c) = (true, short.cast_unsigned());
                }
            },
            K::Number | K::Wide => self.constant(i, words)?,
            K::Distance => i.imm = words.distance()?,
            K::Element => {
                words.sign('[', "`[`")?;
                (i.c, i.imm) = match words.is_name()? {
                    true => (self.local(words)?.number(), words.distance()?),
                    false => (NONE, words.number()?),
                };
                words.sign(']', "`]`")?;
            }
            K::Target => {
                let target = self.target(words, line)?;
                i.imm = self.builder.refer(target);
            }
            K::Code => i.imm = words.number::<u32>()?.cast_signed(),
            K::Slot => {
                let slot = self.slots.get(&words.name()?).ok_or(TextErrorKind::Memory)?;
                i.b = slot.0;
            }
            K::Data => {
                let data = self.data.get(&words.name()?).ok_or(TextErrorKind::Memory)?;
                i.b = data.0;
            }
            K::Callee => return Err(TextErrorKind::Statement),
        }
        Ok(())
    }

    /// The number of a constant: wide where the opcode says so, or when 32 bits do not stand for the value.
    fn constant(
        &mut self,
        i: &mut Instruction,
        words: &mut Words<'t>,
    ) -> Result<(), TextErrorKind> {
        let (negative, digits) = words.digits()?;
        let value = integer(negative, digits);
        let short = value.and_then(|value| i32::try_from(value).ok());
        let (short, bits) = match (i.opcode, i.ty()) {
            (Opcode::Constant, Some(ValueType::Scalar(scalar))) => {
                let bits = bits_of(scalar, negative, digits)?;
                (short.filter(|&short| number(short, scalar) == bits), bits)
            }
            (Opcode::Constant, _) => (Some(short.ok_or(TextErrorKind::Number)?), 0),
            (_, Some(ValueType::Scalar(_))) => {
                let bits = value.and_then(|value| u64::try_from(value).ok());
                (None, bits.ok_or(TextErrorKind::Number)?)
            }
            _ => return Err(TextErrorKind::Expected("a scalar type")),
        };
        if let Some(short) = short {
            i.imm = short;
            return Ok(());
        }
        i.opcode = Opcode::WideConstant;
        i.imm = self.builder.constant_index(bits)?;
        Ok(())
    }
}

/// The bits of a number of a scalar. In hexadecimal, those of a float are stated, and those of a signed integer may be.
pub(super) fn bits_of(scalar: Scalar, negative: bool, digits: &str) -> Result<u64, TextErrorKind> {
    let value = integer(negative, digits);
    let is_hexadecimal = digits.starts_with("0x");
    let width = u64::MAX >> (64 - scalar.bits());
    let sign = if negative { -1.0 } else { 1.0 };
    let bits = match scalar {
        Scalar::F32 | Scalar::F64 if is_hexadecimal => {
            value.filter(|_| !negative).and_then(|value| u64::try_from(value).ok())
        }
        Scalar::F32 => digits.parse().ok().map(|value: f32| (value * sign).to_bits().into()),
        Scalar::F64 => digits.parse().ok().map(|value: f64| (value * f64::from(sign)).to_bits()),
        _ => {
            let value = value.ok_or(TextErrorKind::Number)?;
            let (least, most) = limits(scalar);
            let most = if is_hexadecimal && scalar.is_signed() { width.into() } else { most };
            if !(least..=most).contains(&value) {
                return Err(TextErrorKind::OutOfRange(scalar));
            }
            u64::try_from(value & i128::from(width)).ok()
        }
    };
    bits.filter(|&bits| bits <= width).ok_or(TextErrorKind::Number)
}
