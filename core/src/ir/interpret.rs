//! Runs an instance one instruction after another: slow, plain, and the measure for compiled code.
//!
//! Memory and other functions are the host's: a body computes addresses, and [`Host`] says what is
//! there. Values are 64 bits of which those above the width of the type are 0.

use alloc::vec;
use alloc::vec::Vec;
use core::fmt;

use super::function::Callee;
use super::instruction::{Instruction, NONE};
use super::opcode::{Binary, Condition, Opcode, Unary};
use super::types::Scalar;
use super::verify::FunctionInstance;

/// The code of the trap that an integer division by zero is.
pub const DIVISION_BY_ZERO: u32 = 1;

/// The code of the trap of an operation that checks for overflow.
pub const OVERFLOW: u32 = 2;

/// The code of the trap of a stack that is too short for a frame.
pub const STACK_LIMIT: u32 = 3;

/// Why a run ended without a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Stop {
    /// A trap, with its code and the instruction's offset in the body; 1 is a division by zero.
    Trap {
        /// Which error.
        code: u32,
        /// Where, in bytes from the begin of the body.
        at: u32,
    },
    /// More steps than were allowed.
    Steps,
    /// An address that the host has nothing at.
    Address(u64),
    /// A callee that the host does not have.
    Callee,
    /// Arguments that are not as many as the body has parameters.
    Arguments,
}

impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Trap { code: DIVISION_BY_ZERO, at } => {
                write!(f, "at 0x{at:x}: division by zero")
            }
            Self::Trap { code, at } => write!(f, "at 0x{at:x}: trap {code}"),
            Self::Steps => f.write_str("more steps than were allowed"),
            Self::Address(address) => write!(f, "there is no memory at 0x{address:x}"),
            Self::Callee => f.write_str("a callee that nobody provides"),
            Self::Arguments => f.write_str("another number of arguments than of parameters"),
        }
    }
}

impl core::error::Error for Stop {}

/// What surrounds a body while it is interpreted.
pub trait Host {
    /// The `size` bytes (1, 2, 4 or 8) at `address`, little-endian, the others 0.
    ///
    /// # Errors
    /// Usually [`Stop::Address`].
    fn load(&mut self, address: u64, size: u8) -> Result<u64, Stop>;

    /// Writes the lower `size` bytes of `bits` to `address`.
    ///
    /// # Errors
    /// Usually [`Stop::Address`].
    fn store(&mut self, address: u64, size: u8, bits: u64) -> Result<(), Stop>;

    /// Calls a function; what it gives, or anything when it gives nothing.
    ///
    /// # Errors
    /// Usually [`Stop::Callee`], or why the callee ended.
    fn call(
        &mut self,
        caller: &FunctionInstance<'_, '_>,
        callee: &Callee<'_>,
        arguments: &[u64],
    ) -> Result<u64, Stop>;
}

/// Bytes that stand at some address: a host without functions.
#[derive(Debug)]
pub struct Memory<'m> {
    /// The address of the first byte.
    pub base: u64,
    /// The bytes.
    pub bytes: &'m mut [u8],
}

impl Memory<'_> {
    fn at(&mut self, address: u64, size: u8) -> Result<&mut [u8], Stop> {
        let begin = address.checked_sub(self.base).and_then(|begin| usize::try_from(begin).ok());
        let from = begin.and_then(|begin| self.bytes.get_mut(begin..));
        let place = from.and_then(|from| from.get_mut(..usize::from(size)));
        place.ok_or(Stop::Address(address))
    }
}

impl Host for Memory<'_> {
    fn load(&mut self, address: u64, size: u8) -> Result<u64, Stop> {
        let place = self.at(address, size)?;
        Ok(place.iter().rev().fold(0, |bits, &byte| bits << 8 | u64::from(byte)))
    }

    fn store(&mut self, address: u64, size: u8, bits: u64) -> Result<(), Stop> {
        let place = self.at(address, size)?;
        place.iter_mut().zip(bits.to_le_bytes()).for_each(|(place, byte)| *place = byte);
        Ok(())
    }

    fn call(
        &mut self,
        _: &FunctionInstance<'_, '_>,
        _: &Callee<'_>,
        _: &[u64],
    ) -> Result<u64, Stop> {
        Err(Stop::Callee)
    }
}

/// Runs `instance` with `arguments` for at most `steps` instructions. The result is 0 when the
/// function gives nothing.
///
/// # Errors
/// Why it ended before it returned.
pub fn interpret(
    instance: &FunctionInstance<'_, '_>,
    arguments: &[u64],
    host: &mut dyn Host,
    steps: &mut u64,
) -> Result<u64, Stop> {
    let body = instance.body();
    if arguments.len() != usize::from(body.params) {
        return Err(Stop::Arguments);
    }
    let mut locals = vec![0; usize::from(body.locals)];
    for ((place, &argument), &code) in locals.iter_mut().zip(arguments).zip(body.local_codes()) {
        *place = instance.scalar(code).map_or(0, |scalar| truncate(argument, scalar));
    }
    let mut run = Run { instance, locals, host };
    let mut next = 0u32;
    loop {
        *steps = steps.checked_sub(1).ok_or(Stop::Steps)?;
        // A verified body ends in a return or a trap.
        let instruction = body.instruction(next).ok_or(Stop::Steps)?;
        let at = body.offset(usize::try_from(next).unwrap_or(usize::MAX));
        next = match run.step(at, &instruction)? {
            Step::Next => next.saturating_add(1),
            Step::To(target) => target,
            Step::Return(bits) => return Ok(bits),
        };
    }
}

enum Step {
    Next,
    To(u32),
    Return(u64),
}

struct Run<'r, 'v, 'd> {
    instance: &'r FunctionInstance<'v, 'd>,
    locals: Vec<u64>,
    host: &'r mut dyn Host,
}

impl Run<'_, '_, '_> {
    fn get(&self, local: u16) -> u64 {
        self.locals.get(usize::from(local)).copied().unwrap_or(0)
    }

    fn set(&mut self, local: u16, bits: u64, scalar: Scalar) {
        if let Some(place) = self.locals.get_mut(usize::from(local)) {
            *place = truncate(bits, scalar);
        }
    }

    fn step(&mut self, at: u32, i: &Instruction) -> Result<Step, Stop> {
        let Some(scalar) = self.instance.scalar(i.type_code) else {
            return self.control(at, i);
        };
        let trap = Stop::Trap { code: DIVISION_BY_ZERO, at };
        match i.opcode {
            Opcode::Compare(condition) => {
                let holds = holds(condition, scalar, self.get(i.b), self.second(i, i.c, scalar));
                self.set(i.a, holds.into(), Scalar::Bool);
            }
            Opcode::Branch(condition) => {
                let right = self.second(i, i.b, scalar);
                if holds(condition, scalar, self.get(i.a), right) {
                    return Ok(Step::To(i.imm.cast_unsigned()));
                }
            }
            Opcode::Load | Opcode::LoadElement => {
                let bits = self.host.load(self.address(i, scalar), scalar.size())?;
                self.set(i.a, bits, scalar);
            }
            Opcode::Store | Opcode::StoreElement => {
                let (address, bits) = (self.address(i, scalar), self.get(i.a));
                self.host.store(address, scalar.size(), bits)?;
            }
            Opcode::Element => self.set(i.a, self.address(i, scalar), Scalar::Pointer),
            Opcode::SizeOf => self.set(i.a, scalar.size().into(), Scalar::U64),
            Opcode::Return => return Ok(Step::Return(self.get(i.a))),
            _ => {
                let bits = self.value(i, scalar).ok_or(trap)?;
                self.set(i.a, bits, scalar);
            }
        }
        Ok(Step::Next)
    }

    /// What an instruction that computes gives; `None` for a division by zero.
    fn value(&self, i: &Instruction, scalar: Scalar) -> Option<u64> {
        Some(match i.opcode {
            Opcode::Constant => number(i.imm, scalar),
            Opcode::WideConstant => self.instance.body().constant(i.imm).unwrap_or(0),
            Opcode::Convert => {
                let code = u8::try_from(i.c).unwrap_or(0);
                convert(self.get(i.b), self.instance.scalar(code)?, scalar)
            }
            Opcode::Unary(unary) => apply_unary(unary, scalar, self.get(i.b)),
            Opcode::Binary(binary) => {
                apply(binary, scalar, self.get(i.b), self.second(i, i.c, scalar))?
            }
            _ => self.get(i.b),
        })
    }

    fn second(&self, i: &Instruction, local: u16, scalar: Scalar) -> u64 {
        if i.immediate { number(i.number(), scalar) } else { self.get(local) }
    }

    fn address(&self, i: &Instruction, scalar: Scalar) -> u64 {
        let (base, more) = (self.get(i.b), i64::from(i.imm).cast_unsigned());
        if matches!(i.opcode, Opcode::Load | Opcode::Store) {
            return base.wrapping_add(more);
        }
        let index = if i.c == NONE { 0 } else { self.get(i.c) };
        base.wrapping_add(index.wrapping_add(more).wrapping_mul(scalar.size().into()))
    }

    fn control(&mut self, at: u32, i: &Instruction) -> Result<Step, Stop> {
        match i.opcode {
            Opcode::BranchIf(expected) if (self.get(i.a) != 0) != expected => Ok(Step::Next),
            Opcode::Jump | Opcode::BranchIf(_) => Ok(Step::To(i.imm.cast_unsigned())),
            Opcode::Trap => Err(Stop::Trap { code: i.imm.cast_unsigned(), at }),
            Opcode::Call => self.call(i).map(|()| Step::Next),
            _ => Ok(Step::Return(0)),
        }
    }

    fn call(&mut self, i: &Instruction) -> Result<(), Stop> {
        let body = self.instance.body();
        let callee = body.callee(i.b).map_err(|_| Stop::Callee)?;
        let operands = body.call_operands(i, &callee).ok_or(Stop::Callee)?;
        let arguments: Vec<u64> = operands.iter().map(|local| self.get(local)).collect();
        let bits = self.host.call(self.instance, &callee, &arguments)?;
        if let Some(scalar) = self.instance.scalar(callee.signature.result).filter(|_| i.a != NONE)
        {
            self.set(i.a, bits, scalar);
        }
        Ok(())
    }
}

/// The bits of a value as a local holds them.
pub(crate) fn truncate(bits: u64, scalar: Scalar) -> u64 {
    match scalar {
        Scalar::Bool => u64::from(bits & 0xff != 0),
        _ => bits & (u64::MAX >> (64 - scalar.bits())),
    }
}

/// The value of an integer, with its sign.
fn signed(bits: u64, scalar: Scalar) -> i128 {
    let shift = 64 - scalar.bits();
    let moved = bits << shift;
    match scalar.is_signed() {
        true => (moved.cast_signed() >> shift).into(),
        false => (moved >> shift).into(),
    }
}

/// The low half of a value, which is all that any type here keeps of it.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "values wrap")]
fn wrap(value: i128) -> u64 {
    value as u64
}

fn f32_of(bits: u64) -> f32 {
    f32::from_bits(u32::try_from(bits & 0xffff_ffff).unwrap_or(0))
}

/// The number as a value of the type.
#[expect(clippy::cast_precision_loss, reason = "the conversion rounds to the nearest value")]
pub(crate) fn number(number: i32, scalar: Scalar) -> u64 {
    match scalar {
        Scalar::F32 => (number as f32).to_bits().into(),
        Scalar::F64 => f64::from(number).to_bits(),
        Scalar::Bool => u64::from(number != 0),
        _ => truncate(i64::from(number).cast_unsigned(), scalar),
    }
}

pub(crate) fn holds(condition: Condition, scalar: Scalar, left: u64, right: u64) -> bool {
    let order = match scalar {
        Scalar::F32 => f32_of(left).partial_cmp(&f32_of(right)),
        Scalar::F64 => f64::from_bits(left).partial_cmp(&f64::from_bits(right)),
        _ => Some(signed(left, scalar).cmp(&signed(right, scalar))),
    };
    match condition {
        Condition::Equal => order.is_some_and(|order| order.is_eq()),
        Condition::NotEqual => !order.is_some_and(|order| order.is_eq()),
        Condition::Less => order.is_some_and(|order| order.is_lt()),
        Condition::LessEqual => order.is_some_and(|order| order.is_le()),
        Condition::Greater => order.is_some_and(|order| order.is_gt()),
        Condition::GreaterEqual => order.is_some_and(|order| order.is_ge()),
    }
}

pub(crate) fn apply_unary(unary: Unary, scalar: Scalar, bits: u64) -> u64 {
    match (unary, scalar) {
        (Unary::Negate, Scalar::F32) => bits ^ 0x8000_0000,
        (Unary::Negate, Scalar::F64) => bits ^ (1 << 63),
        (Unary::Negate, _) => bits.wrapping_neg(),
        (Unary::Not, Scalar::Bool) => bits ^ 1,
        (Unary::Not, _) => !bits,
        (Unary::Absolute, Scalar::F32) => bits & 0x7fff_ffff,
        (Unary::Absolute, _) => bits & (u64::MAX >> 1),
        (Unary::SquareRoot, Scalar::F32) => libm::sqrtf(f32_of(bits)).to_bits().into(),
        (Unary::SquareRoot, _) => libm::sqrt(f64::from_bits(bits)).to_bits(),
    }
}

pub(crate) fn apply(binary: Binary, scalar: Scalar, left: u64, right: u64) -> Option<u64> {
    match scalar {
        Scalar::F32 => {
            let result = float(binary, f32_of(left), f32_of(right));
            Some(result.to_bits().into())
        }
        Scalar::F64 => {
            let result = float(binary, f64::from_bits(left), f64::from_bits(right));
            Some(result.to_bits())
        }
        _ => integer(binary, scalar, left, right),
    }
}

/// The four operations that floating-point types have; the verifier refuses the others.
fn float<F>(binary: Binary, left: F, right: F) -> F
where
    F: core::ops::Add<Output = F>
        + core::ops::Sub<Output = F>
        + core::ops::Mul<Output = F>
        + core::ops::Div<Output = F>,
{
    match binary {
        Binary::Subtract => left - right,
        Binary::Multiply => left * right,
        Binary::Divide => left / right,
        _ => left + right,
    }
}

fn integer(binary: Binary, scalar: Scalar, left: u64, right: u64) -> Option<u64> {
    let (a, b) = (signed(left, scalar), signed(right, scalar));
    // Modulo a power of two.
    let shift = u32::try_from(right & u64::from(scalar.bits() - 1)).unwrap_or(0);
    Some(match binary {
        Binary::Add => left.wrapping_add(right),
        Binary::Subtract => left.wrapping_sub(right),
        Binary::Multiply => left.wrapping_mul(right),
        Binary::Divide => wrap(a.checked_div(b)?),
        Binary::Remainder => wrap(a.checked_rem(b)?),
        Binary::And => left & right,
        Binary::Or => left | right,
        Binary::Xor => left ^ right,
        Binary::ShiftLeft => left << shift,
        Binary::ShiftRight => wrap(a >> shift),
        Binary::AddChecked | Binary::SubtractChecked | Binary::MultiplyChecked => {
            return checked(binary, scalar, a, b);
        }
        Binary::RotateLeft => {
            let value = truncate(left, scalar);
            value << shift | value.checked_shr(scalar.bits() - shift).unwrap_or(0)
        }
    })
}

/// The result of an operation that checks for overflow; `None` where it does not fit the type.
fn checked(binary: Binary, scalar: Scalar, left: i128, right: i128) -> Option<u64> {
    let value = match binary {
        Binary::SubtractChecked => left - right,
        // Two numbers of 64 bits without a sign have a product that `i128` does not hold.
        Binary::MultiplyChecked => left.checked_mul(right)?,
        _ => left + right,
    };
    let bits = wrap(value);
    (signed(bits, scalar) == value).then_some(bits)
}

/// `bits`, a value of `from`, as one of `to`: what Rust's `as` gives. A pointer counts as a u64; a
/// number becomes a bool by whether it is not 0.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "the conversions are those of the language"
)]
pub(crate) fn convert(bits: u64, from: Scalar, to: Scalar) -> u64 {
    let float = match from {
        Scalar::F32 => Some(f64::from(f32_of(bits))),
        Scalar::F64 => Some(f64::from_bits(bits)),
        _ => None,
    };
    let Some(value) = float else {
        let value = signed(bits, from);
        return match to {
            Scalar::F32 => (value as f32).to_bits().into(),
            Scalar::F64 => (value as f64).to_bits(),
            Scalar::Bool => u64::from(value != 0),
            _ => truncate(wrap(value), to),
        };
    };
    let result = match to {
        Scalar::I8 => wrap((value as i8).into()),
        Scalar::I16 => wrap((value as i16).into()),
        Scalar::I32 => wrap((value as i32).into()),
        Scalar::I64 => wrap((value as i64).into()),
        Scalar::U8 => (value as u8).into(),
        Scalar::U16 => (value as u16).into(),
        Scalar::U32 => (value as u32).into(),
        Scalar::U64 | Scalar::Pointer => value as u64,
        Scalar::F32 if from == Scalar::F64 => (value as f32).to_bits().into(),
        Scalar::F64 if from == Scalar::F32 => value.to_bits(),
        Scalar::F32 | Scalar::F64 => bits,
        Scalar::Bool => u64::from(value != 0.0),
    };
    truncate(result, to)
}
