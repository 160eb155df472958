//! The statements that are instructions.

use super::Parser;
use crate::ir::builder::Local;
use crate::ir::opcode::Opcode;
use crate::ir::text::error::TextErrorKind;
use crate::ir::text::words::{Words, integer};
use crate::ir::types::{Scalar, ValueType};

/// The first words of most statements: an opcode, its type and the first local.
#[derive(Clone, Copy)]
struct Head {
    opcode: Opcode,
    ty: ValueType,
    first: Local,
}

impl<'t> Parser<'t> {
    pub(super) fn instruction(
        &mut self,
        opcode: Opcode,
        words: &mut Words<'t>,
        line: u32,
    ) -> Result<(), TextErrorKind> {
        match opcode {
            Opcode::Jump => {
                let target = self.target(words, line)?;
                self.builder.jump(target);
            }
            Opcode::BranchIf(expected) => {
                let condition = self.local(words)?;
                words.comma()?;
                let target = self.target(words, line)?;
                self.builder.branch_if(condition, expected, target);
            }
            Opcode::ReturnNone => self.builder.return_none(),
            Opcode::Trap => self.builder.trap(words.number()?),
            Opcode::TrapIf(expected) => {
                let condition = self.local(words)?;
                words.comma()?;
                self.builder.trap_if(condition, expected, words.number()?);
            }
            Opcode::CheckStack => {
                let at = self.local(words)?;
                self.builder.check_stack(at, words.distance()?);
            }
            Opcode::SlotAddress | Opcode::DataAddress => self.address(opcode, words)?,
            Opcode::CopyMemory | Opcode::FillMemory => self.region(opcode, words)?,
            _ => {
                let ty = self.ty(words)?;
                let first = self.local(words)?;
                self.typed(Head { opcode, ty, first }, words, line)?;
            }
        }
        Ok(())
    }

    /// A statement that begins with a type and a local.
    fn typed(&mut self, head: Head, words: &mut Words<'t>, line: u32) -> Result<(), TextErrorKind> {
        let Head { opcode, ty, first } = head;
        match opcode {
            Opcode::SizeOf => {
                self.builder.size_of(ty, first);
                return Ok(());
            }
            Opcode::Return => {
                self.builder.return_value(ty, first);
                return Ok(());
            }
            _ => words.comma()?,
        }
        match opcode {
            Opcode::Constant => return self.constant(ty, first, words),
            Opcode::WideConstant => return self.wide_constant(ty, first, words),
            Opcode::Move => self.builder.copy(ty, first, self.local(words)?),
            Opcode::Convert => {
                let source = self.ty(words)?;
                self.builder.convert(ty, first, source, self.local(words)?);
            }
            Opcode::Unary(unary) => {
                self.builder.unary(unary, ty, first, self.local(words)?);
            }
            Opcode::Branch(condition) => {
                let right = self.value(words)?;
                words.comma()?;
                let target = self.target(words, line)?;
                self.builder.branch(condition, ty, first, right, target);
            }
            Opcode::TrapCompare(condition) => {
                let right = self.value(words)?;
                words.comma()?;
                self.builder.trap_compare(condition, ty, first, right, words.number()?);
            }
            Opcode::Select => {
                let condition = self.local(words)?;
                words.comma()?;
                let yes = self.local(words)?;
                words.comma()?;
                self.builder.select(ty, first, condition, yes, self.local(words)?);
            }
            Opcode::Load | Opcode::Store => return self.memory(head, words),
            Opcode::LoadElement | Opcode::StoreElement | Opcode::Element => {
                return self.element(head, words);
            }
            _ => return self.two(head, words),
        }
        Ok(())
    }

    /// `p + N`
    fn memory(
        &mut self,
        Head { opcode, ty, first }: Head,
        words: &mut Words<'t>,
    ) -> Result<(), TextErrorKind> {
        let base = self.local(words)?;
        let bytes = words.distance()?;
        match opcode {
            Opcode::Load => self.builder.load(ty, first, base, bytes),
            _ => self.builder.store(ty, first, base, bytes),
        }
        Ok(())
    }

    fn two(
        &mut self,
        Head { opcode, ty, first: to }: Head,
        words: &mut Words<'t>,
    ) -> Result<(), TextErrorKind> {
        let left = self.local(words)?;
        words.comma()?;
        let right = self.value(words)?;
        match opcode {
            Opcode::Binary(binary) => self.builder.binary(binary, ty, to, left, right),
            Opcode::Compare(condition) => self.builder.compare(condition, ty, to, left, right),
            _ => return Err(TextErrorKind::Statement),
        }
        Ok(())
    }

    /// `p[i + N]`, `p[i]` or `p[N]`
    fn element(
        &mut self,
        Head { opcode, ty, first }: Head,
        words: &mut Words<'t>,
    ) -> Result<(), TextErrorKind> {
        let array = self.local(words)?;
        words.sign('[', "`[`")?;
        let (index, more) = match words.is_name()? {
            true => (Some(self.local(words)?), words.distance()?),
            false => (None, words.number()?),
        };
        words.sign(']', "`]`")?;
        match opcode {
            Opcode::LoadElement => self.builder.load_element(ty, first, array, index, more),
            Opcode::StoreElement => self.builder.store_element(ty, first, array, index, more),
            _ => self.builder.element(ty, first, array, index, more),
        }
        Ok(())
    }

    /// `d, SLOT + N` or `d, DATA + N`
    fn address(&mut self, opcode: Opcode, words: &mut Words<'t>) -> Result<(), TextErrorKind> {
        let to = self.local(words)?;
        words.comma()?;
        let name = words.name()?;
        let bytes = words.distance()?;
        let missing = TextErrorKind::Memory;
        if opcode == Opcode::SlotAddress {
            let slot = *self.slots.get(&name).ok_or(missing)?;
            self.builder.slot_address(to, slot, bytes);
        } else {
            let data = *self.data.get(&name).ok_or(missing)?;
            self.builder.data_address(to, data, bytes);
        }
        Ok(())
    }

    /// `to, from, N`
    fn region(&mut self, opcode: Opcode, words: &mut Words<'t>) -> Result<(), TextErrorKind> {
        let to = self.local(words)?;
        words.comma()?;
        let from = self.local(words)?;
        words.comma()?;
        let bytes = self.value(words)?;
        match opcode {
            Opcode::CopyMemory => self.builder.copy_memory(to, from, bytes),
            _ => self.builder.fill_memory(to, from, bytes),
        }
        Ok(())
    }

    /// A number, wide when the type is a scalar and 32 bits do not hold it.
    fn constant(
        &mut self,
        ty: ValueType,
        to: Local,
        words: &mut Words<'t>,
    ) -> Result<(), TextErrorKind> {
        let (negative, digits) = words.digits()?;
        let value = integer(negative, digits);
        if let Some(short) = value.and_then(|value| i32::try_from(value).ok()) {
            self.builder.constant(ty, to, short);
            return Ok(());
        }
        let ValueType::Scalar(scalar) = ty else { return Err(TextErrorKind::Number) };
        let bits = wide(scalar, negative, digits, value).ok_or(TextErrorKind::Number)?;
        self.builder.wide_constant(scalar, to, bits);
        Ok(())
    }

    fn wide_constant(
        &mut self,
        ty: ValueType,
        to: Local,
        words: &mut Words<'t>,
    ) -> Result<(), TextErrorKind> {
        let ValueType::Scalar(scalar) = ty else {
            return Err(TextErrorKind::Expected("a scalar type"));
        };
        let (negative, digits) = words.digits()?;
        let bits = integer(negative, digits).and_then(|value| u64::try_from(value).ok());
        self.builder.wide_constant(scalar, to, bits.ok_or(TextErrorKind::Number)?);
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
