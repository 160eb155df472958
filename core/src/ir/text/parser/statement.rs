//! The statements that are instructions.

use super::Parser;
use crate::ir::builder::{BuildError, Value};
use crate::ir::instruction::{Instruction, NONE};
use crate::ir::opcode::Opcode;
use crate::ir::operand_kind::OperandKind;
use crate::ir::text::error::TextErrorKind;
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

    /// The number of a constant: wide where the opcode says so, or when the type is a scalar and 32 bits do not hold it.
    fn constant(
        &mut self,
        i: &mut Instruction,
        words: &mut Words<'t>,
    ) -> Result<(), TextErrorKind> {
        let scalar = match i.ty() {
            Some(ValueType::Scalar(scalar)) => Some(scalar),
            _ if i.opcode == Opcode::Constant => None,
            _ => return Err(TextErrorKind::Expected("a scalar type")),
        };
        let (negative, digits) = words.digits()?;
        let value = integer(negative, digits);
        let bits = match i.opcode {
            Opcode::Constant => {
                if let Some(short) = value.and_then(|value| i32::try_from(value).ok()) {
                    i.imm = short;
                    return Ok(());
                }
                scalar.and_then(|scalar| wide(scalar, negative, digits, value))
            }
            _ => value.and_then(|value| u64::try_from(value).ok()),
        };
        i.opcode = Opcode::WideConstant;
        i.imm = self.builder.constant_index(bits.ok_or(TextErrorKind::Number)?)?;
        Ok(())
    }
}

/// The bits of a number that a scalar can hold. Those of a float are stated in hexadecimal.
pub(super) fn wide(
    scalar: Scalar,
    negative: bool,
    digits: &str,
    value: Option<i128>,
) -> Option<u64> {
    let sign = if negative { -1.0 } else { 1.0 };
    match scalar {
        _ if digits.starts_with("0x") && !negative => {
            u64::try_from(value?).ok().filter(|&bits| bits <= u64::MAX >> (64 - scalar.bits()))
        }
        Scalar::F32 => Some((digits.parse::<f32>().ok()? * sign).to_bits().into()),
        Scalar::F64 => Some((digits.parse::<f64>().ok()? * f64::from(sign)).to_bits()),
        _ => {
            let value = value?;
            let bits = u64::try_from(value).ok();
            let bits = bits.or_else(|| i64::try_from(value).ok().map(i64::cast_unsigned))?;
            let width = u64::MAX >> (64 - scalar.bits());
            // A number below 0 is all ones above the width.
            (bits <= width || value < 0).then_some(bits & width)
        }
    }
}
