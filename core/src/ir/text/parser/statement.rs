//! The statements that are instructions.

use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

use super::super::TextFault;
use super::super::lexer::Token;
use super::{Template, Words, integer, named_type};
use crate::ir::builder::{Local, TypeArgument};
use crate::ir::opcode::{Opcode, Unary};
use crate::ir::types::{Scalar, ValueType};

/// How deep the arguments of a type may nest in a text.
const MAX_NESTING: u32 = 64;

/// What most statements begin with: an opcode, its type and the first local.
#[derive(Clone, Copy)]
struct Head {
    opcode: Opcode,
    ty: ValueType,
    first: Local,
}

impl<'t> Template<'t> {
    pub(super) fn instruction(
        &mut self,
        opcode: Opcode,
        words: &mut Words<'t>,
        line: u32,
    ) -> Result<(), TextFault> {
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
            Opcode::Trap => {
                let code = u32::try_from(words.integer()?).map_err(|_| TextFault::Number)?;
                self.builder.trap(code);
            }
            _ => {
                let ty = self.ty(words)?;
                let first = self.local(words)?;
                self.typed(Head { opcode, ty, first }, words, line)?;
            }
        }
        Ok(())
    }

    /// What begins with a type and a local.
    fn typed(&mut self, head: Head, words: &mut Words<'t>, line: u32) -> Result<(), TextFault> {
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
            Opcode::Unary(unary @ (Unary::Negate | Unary::Not)) => {
                self.builder.unary(unary, ty, first, self.local(words)?);
            }
            Opcode::Branch(condition) => {
                let right = self.value(words)?;
                words.comma()?;
                let target = self.target(words, line)?;
                self.builder.branch(condition, ty, first, right, target);
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
    ) -> Result<(), TextFault> {
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
    ) -> Result<(), TextFault> {
        let left = self.local(words)?;
        words.comma()?;
        let right = self.value(words)?;
        match opcode {
            Opcode::Binary(binary) => self.builder.binary(binary, ty, to, left, right),
            Opcode::Compare(condition) => self.builder.compare(condition, ty, to, left, right),
            _ => return Err(TextFault::Statement),
        }
        Ok(())
    }

    /// `p[i + N]`, `p[i]` or `p[N]`
    fn element(
        &mut self,
        Head { opcode, ty, first }: Head,
        words: &mut Words<'t>,
    ) -> Result<(), TextFault> {
        let array = self.local(words)?;
        words.sign('[', "`[`")?;
        let (index, more) = match words.lexer.peek()? {
            Some(Token::Name(_)) => (Some(self.local(words)?), words.distance()?),
            _ => (None, words.short()?),
        };
        words.sign(']', "`]`")?;
        match opcode {
            Opcode::LoadElement => self.builder.load_element(ty, first, array, index, more),
            Opcode::StoreElement => self.builder.store_element(ty, first, array, index, more),
            _ => self.builder.element(ty, first, array, index, more),
        }
        Ok(())
    }

    /// A number, wide when the type is a scalar and 32 bits do not hold it.
    fn constant(
        &mut self,
        ty: ValueType,
        to: Local,
        words: &mut Words<'t>,
    ) -> Result<(), TextFault> {
        let (negative, digits) = words.digits()?;
        let value = integer(negative, digits);
        if let Some(short) = value.and_then(|value| i32::try_from(value).ok()) {
            self.builder.constant(ty, to, short);
            return Ok(());
        }
        let ValueType::Scalar(scalar) = ty else { return Err(TextFault::Number) };
        let bits = wide(scalar, negative, digits, value).ok_or(TextFault::Number)?;
        self.builder.wide_constant(scalar, to, bits);
        Ok(())
    }

    fn wide_constant(
        &mut self,
        ty: ValueType,
        to: Local,
        words: &mut Words<'t>,
    ) -> Result<(), TextFault> {
        let ValueType::Scalar(scalar) = ty else {
            return Err(TextFault::Expected("a scalar type"));
        };
        let (negative, digits) = words.digits()?;
        let bits = integer(negative, digits).and_then(|value| u64::try_from(value).ok());
        self.builder.wide_constant(scalar, to, bits.ok_or(TextFault::Number)?);
        Ok(())
    }

    /// `d = NAME<TYPES>(a, b)` or `NAME<TYPES>(a, b) -> T`
    pub(super) fn call(&mut self, words: &mut Words<'t>) -> Result<(), TextFault> {
        let (to, name) = self.result_and_name(words)?;
        let types = self.type_arguments(words)?;
        let arguments = self.arguments(words)?;
        let dropped = match words.lexer.peek()? {
            Some(Token::Arrow) if to.is_none() => {
                words.lexer.next()?;
                Some(self.ty(words)?)
            }
            _ => None,
        };
        self.builder.call(name, &types, to, &arguments, dropped);
        Ok(())
    }

    pub(super) fn call_host(&mut self, words: &mut Words<'t>) -> Result<(), TextFault> {
        let (to, name) = self.result_and_name(words)?;
        let arguments = self.arguments(words)?;
        self.builder.call_host(name, to, &arguments);
        Ok(())
    }

    fn result_and_name(
        &self,
        words: &mut Words<'t>,
    ) -> Result<(Option<Local>, &'t str), TextFault> {
        let before = *words;
        let name = words.name()?;
        if !words.has('=')? {
            return Ok((None, name));
        }
        let to = self.local(&mut { before })?;
        Ok((Some(to), words.name()?))
    }

    fn arguments(&self, words: &mut Words<'t>) -> Result<Vec<Local>, TextFault> {
        let mut arguments = Vec::new();
        words.sign('(', "`(`")?;
        while !words.has(')')? {
            if !arguments.is_empty() {
                words.comma()?;
            }
            arguments.push(self.local(words)?);
        }
        Ok(arguments)
    }

    fn type_arguments(&self, words: &mut Words<'t>) -> Result<Vec<TypeArgument>, TextFault> {
        if !words.has('<')? {
            return Ok(Vec::new());
        }
        self.types_until_close(words, 0)
    }

    /// Types up to the `>` that belongs to the `<` in front of them.
    fn types_until_close(
        &self,
        words: &mut Words<'t>,
        depth: u32,
    ) -> Result<Vec<TypeArgument>, TextFault> {
        let mut types = vec![];
        loop {
            let name = words.name()?;
            let arguments = match words.has('<')? {
                true if depth == MAX_NESTING => {
                    return Err(TextFault::Expected("a type that nests less deeply"));
                }
                true => Some(self.types_until_close(words, depth + 1)?),
                false => None,
            };
            types.push(match (arguments, named_type(&self.types, name)) {
                (None, Ok(ty)) => TypeArgument::Type(ty),
                (arguments, _) => {
                    TypeArgument::Named(String::from(name), arguments.unwrap_or_default())
                }
            });
            if !words.has(',')? {
                words.sign('>', "`>`")?;
                return Ok(types);
            }
        }
    }
}

/// The bits of a number that a scalar can hold.
fn wide(scalar: Scalar, negative: bool, digits: &str, value: Option<i128>) -> Option<u64> {
    let sign = if negative { -1.0 } else { 1.0 };
    match scalar {
        Scalar::F32 => Some((digits.parse::<f32>().ok()? * sign).to_bits().into()),
        Scalar::F64 => Some((digits.parse::<f64>().ok()? * f64::from(sign)).to_bits()),
        _ => {
            let value = value?;
            let bits = u64::try_from(value).ok();
            let bits = bits.or_else(|| i64::try_from(value).ok().map(i64::cast_unsigned))?;
            // A number below 0 is all ones above the width.
            let width = u64::MAX >> (64 - scalar.bits());
            (bits <= width || value < 0).then_some(bits & width)
        }
    }
}
