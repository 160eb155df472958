//! One activation of a function.

use alloc::vec::Vec;

use super::host::{Host, Stop};
use super::value::{apply, apply_unary, convert, holds, number, truncate};
use crate::alloc_util::{try_collect, try_filled};
use crate::ir::function::Callee;
use crate::ir::instruction::{Instruction, NONE};
use crate::ir::opcode::Opcode;
use crate::ir::types::Scalar;
use crate::ir::verify::FunctionInstance;
use crate::trap_code::{DIVISION_BY_ZERO, OVERFLOW};

/// Interprets `instance` with `arguments` for at most `steps` instructions, and returns its result; 0 if the function
/// has none. Arguments and results are bits of values: those above the width of a type are ignored in arguments and 0
/// in results.
///
/// A tail call becomes a call of the host, whose result is returned.
///
/// # Errors
/// Why the function ended before it returned.
pub fn interpret(
    instance: &FunctionInstance<'_, '_>,
    arguments: &[u64],
    host: &mut dyn Host,
    steps: &mut u64,
) -> Result<u64, Stop> {
    match run(instance, arguments, host, steps)? {
        Exit::Return(bits) => Ok(bits),
        Exit::TailCall { callee, address, arguments } => {
            let callee = instance.body().callee(callee).map_err(|_| Stop::Callee)?;
            match address {
                None => host.call(instance, &callee, &arguments),
                Some(address) => host.call_indirect(instance, &callee, address, &arguments),
            }
        }
    }
}

/// How an activation ends.
pub(super) enum Exit {
    /// By a return of these bits.
    Return(u64),
    /// By a call of a callee of the function.
    TailCall {
        callee: u16,
        /// Where the function lies, for an indirect call.
        address: Option<u64>,
        arguments: Vec<u64>,
    },
}

/// Interprets up to a return or a tail call.
pub(super) fn run(
    instance: &FunctionInstance<'_, '_>,
    arguments: &[u64],
    host: &mut dyn Host,
    steps: &mut u64,
) -> Result<Exit, Stop> {
    let body = instance.body();
    if arguments.len() != usize::from(body.params) {
        return Err(Stop::Arguments);
    }
    let mut locals = try_filled(usize::from(body.locals), &0)?;
    for ((place, &argument), &code) in locals.iter_mut().zip(arguments).zip(body.local_codes()) {
        *place = instance.scalar(code).map_or(0, |scalar| truncate(argument, scalar));
    }
    let size = body.slot_offset(body.slots().len());
    if size == 0 {
        return Activation { instance, locals, frame: 0, host }.run(steps);
    }
    let frame = host.push_frame(size)?;
    let exit = Activation { instance, locals, frame, host: &mut *host }.run(steps);
    host.pop_frame(frame);
    exit
}

enum Step {
    Next,
    To(u32),
    Exit(Exit),
}

struct Activation<'r, 'v, 'd> {
    instance: &'r FunctionInstance<'v, 'd>,
    locals: Vec<u64>,
    /// The address of the stack slots.
    frame: u64,
    host: &'r mut dyn Host,
}

impl Activation<'_, '_, '_> {
    fn run(mut self, steps: &mut u64) -> Result<Exit, Stop> {
        let body = self.instance.body();
        let mut next = 0u32;
        loop {
            *steps = steps.checked_sub(1).ok_or(Stop::Steps)?;
            self.host.step()?;
            // A verified function ends in a return or a trap.
            let instruction = body.instruction(next).ok_or(Stop::Steps)?;
            let at = body.offset(usize::try_from(next).unwrap_or(usize::MAX));
            next = match self.step(at, &instruction)? {
                Step::Next => next.saturating_add(1),
                Step::To(target) => target,
                Step::Exit(exit) => return Ok(exit),
            };
        }
    }

    fn get(&self, local: u16) -> u64 {
        self.locals.get(usize::from(local)).copied().unwrap_or(0)
    }

    fn set(&mut self, local: u16, bits: u64, scalar: Scalar) {
        if let Some(place) = self.locals.get_mut(usize::from(local)) {
            *place = truncate(bits, scalar);
        }
    }

    /// An instruction with a type.
    fn step(&mut self, at: u32, i: &Instruction) -> Result<Step, Stop> {
        let Some(scalar) = self.instance.scalar(i.type_code) else {
            return self.untyped(at, i);
        };
        match i.opcode {
            Opcode::Compare(condition) => {
                let holds = holds(condition, scalar, self.get(i.b), self.second(i, i.c, scalar));
                self.set(i.a, holds.into(), Scalar::Bool);
            }
            Opcode::Branch(condition) | Opcode::TrapCompare(condition) => {
                let right = self.second(i, i.b, scalar);
                let left = self.get(i.a);
                if holds(condition, scalar, left, right) {
                    let operands = if i.states_operands(scalar) { [left, right] } else { [0; 2] };
                    return taken(at, i, operands);
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
            Opcode::Return => return Ok(Step::Exit(Exit::Return(self.get(i.a)))),
            _ => {
                let bits = self.value(at, i, scalar)?;
                self.set(i.a, bits, scalar);
            }
        }
        Ok(Step::Next)
    }

    /// The result of an instruction that computes.
    fn value(&self, at: u32, i: &Instruction, scalar: Scalar) -> Result<u64, Stop> {
        Ok(match i.opcode {
            Opcode::Constant => number(i.imm, scalar),
            Opcode::WideConstant => self.instance.body().constant(i.imm).unwrap_or(0),
            Opcode::Convert => {
                let source = u8::try_from(i.c).ok().and_then(|code| self.instance.scalar(code));
                convert(self.get(i.b), source.unwrap_or(scalar), scalar)
            }
            Opcode::Unary(unary) => apply_unary(unary, scalar, self.get(i.b)),
            Opcode::Binary(binary) => {
                let code = if binary.is_checked() { OVERFLOW } else { DIVISION_BY_ZERO };
                let right = self.second(i, i.c, scalar);
                apply(binary, scalar, self.get(i.b), right).ok_or(Stop::Trap {
                    code,
                    at,
                    operands: [0; 2],
                })?
            }
            Opcode::Select if self.get(i.b) != 0 => self.get(i.c),
            Opcode::Select => self.get(i.other().unwrap_or(NONE)),
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

    /// An instruction without a type.
    fn untyped(&mut self, at: u32, i: &Instruction) -> Result<Step, Stop> {
        match i.opcode {
            Opcode::BranchIf(expected) | Opcode::TrapIf(expected) => {
                if (self.get(i.a) != 0) == expected {
                    return taken(at, i, [0; 2]);
                }
            }
            Opcode::Jump | Opcode::Trap => return taken(at, i, [0; 2]),
            Opcode::Call | Opcode::CallIndirect => self.call(i)?,
            Opcode::ReturnCall | Opcode::ReturnCallIndirect => {
                let address = (i.opcode == Opcode::ReturnCallIndirect).then(|| self.get(i.c));
                let arguments = self.arguments(i)?;
                return Ok(Step::Exit(Exit::TailCall { callee: i.b, address, arguments }));
            }
            Opcode::ReturnNone => return Ok(Step::Exit(Exit::Return(0))),
            _ => self.memory(i)?,
        }
        Ok(Step::Next)
    }

    /// An instruction that computes an address, or accesses a region of memory.
    fn memory(&mut self, i: &Instruction) -> Result<(), Stop> {
        let body = self.instance.body();
        let offset = i64::from(i.imm).cast_unsigned();
        let address = match i.opcode {
            Opcode::SlotAddress => {
                self.frame.wrapping_add(body.slot_offset(i.b.into())).wrapping_add(offset)
            }
            Opcode::DataAddress => self.host.data_address(body, i.b)?.wrapping_add(offset),
            Opcode::FunctionAddress => {
                let callee = body.callee(i.b).map_err(|_| Stop::Callee)?;
                self.host.function_address(self.instance, &callee)?
            }
            Opcode::CopyMemory => {
                let bytes = self.second(i, i.c, Scalar::U64);
                return self.host.copy(self.get(i.a), self.get(i.b), bytes);
            }
            Opcode::FillMemory => {
                let (bytes, value) = (self.second(i, i.c, Scalar::U64), self.get(i.b));
                return self.host.fill(self.get(i.a), value.to_le_bytes()[0], bytes);
            }
            // The frames of the interpreter are not on the stack that the limit is for.
            _ => return Ok(()),
        };
        self.set(i.a, address, Scalar::Pointer);
        Ok(())
    }

    fn arguments(&self, i: &Instruction) -> Result<Vec<u64>, Stop> {
        let operands = self.instance.body().operands_of(i).ok_or(Stop::Callee)?;
        Ok(try_collect(operands.iter().map(|local| self.get(local)))?)
    }

    fn call(&mut self, i: &Instruction) -> Result<(), Stop> {
        let callee: Callee<'_> = self.instance.body().callee(i.b).map_err(|_| Stop::Callee)?;
        let arguments = self.arguments(i)?;
        let bits = match i.opcode {
            Opcode::CallIndirect => {
                let address = self.get(i.c);
                self.host.call_indirect(self.instance, &callee, address, &arguments)?
            }
            _ => self.host.call(self.instance, &callee, &arguments)?,
        };
        let result = self.instance.scalar(callee.signature.result);
        if let Some(scalar) = result.filter(|_| i.a != NONE) {
            self.set(i.a, bits, scalar);
        }
        Ok(())
    }
}

/// A jump to the target, or the trap, of an instruction whose condition holds.
fn taken(at: u32, i: &Instruction, operands: [u64; 2]) -> Result<Step, Stop> {
    match i.target() {
        Some(target) => Ok(Step::To(target)),
        None => Err(Stop::Trap { code: i.imm.cast_unsigned(), at, operands }),
    }
}
