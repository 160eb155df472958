//! What can be seen of a function without knowing what its values are: where its instructions begin,
//! where its jumps lead, which locals it sets, and whom it calls.
//!
//! Everything in the code is looked at, whether it can be reached or not. Instructions are of even
//! length, so that one bit stands for two bytes of code.

use alloc::vec::Vec;

use super::error::Fault;
use super::offsets::{BYTES_PER_WORD, Offsets};
use super::op::Op;
use super::{FunctionCode, HostCalls};
use crate::jit::bytecode::{Instruction, Instructions, OPCODE_SIZE, Role, target};
use crate::owned::{NoMemory, reserve, resize};

/// An offset where a jump leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    /// In bytes from the begin of the code; the length of the code for its end.
    pub offset: u32,
    /// Where the last instruction begins that jumps back to it; `None` when it is no loop head.
    pub last_back_jump: Option<u32>,
    /// How many instructions come before it.
    pub(super) op: u32,
    /// How many come before the one at `last_back_jump`.
    pub(super) last_back_op: u32,
}

impl Target {
    /// How many instructions come before it.
    #[inline(always)]
    pub(crate) fn op(&self) -> usize {
        usize::try_from(self.op).unwrap_or(usize::MAX)
    }
}

/// Bytes of the shortest jump.
const JUMP_SIZE: u32 = Instruction::Jmp { offset: 0 }.size();

/// A jump that the scan came across.
#[derive(Clone, Copy, Debug)]
struct Jump {
    /// Its number among the instructions, and the offset that it leads to.
    op: u32,
    target: u32,
}

/// The jumps of a function, and why an instruction was refused.
#[derive(Debug, Default)]
struct Found {
    jumped_to: Offsets,
    /// In the order in which they stand.
    jumps: Vec<Jump>,
    fault: Option<Fault>,
}

/// What [`Scan::function`] finds, and its memory.
#[derive(Debug, Default)]
pub(super) struct Scan {
    found: Found,
    /// For every two bytes of code the number of the instruction that begins there, and once targets
    /// are known that of the target. Where none begins it is stale: the other way round, [`Self::offsets`]
    /// tells.
    numbers: Vec<u32>,
    /// The instructions, and how many there are; others are stale.
    ops: Vec<Op>,
    count: usize,
    /// Where they begin, and behind the last one the end of the code.
    offsets: Vec<u32>,
    /// Ascending.
    pub(super) targets: Vec<Target>,
    /// One more than the last local that is ever set; the parameters count.
    pub(super) locals_set: u16,
    /// One more than the last local that is ever named.
    pub(super) locals_named: u16,
}

impl Scan {
    /// Looks at a function. On an error, the offset of the instruction comes with it.
    pub(super) fn function(
        &mut self,
        function: &FunctionCode<'_>,
        calls: &mut impl Calls,
    ) -> Result<(), (u32, Fault)> {
        let FunctionCode { code, params, locals } = *function;
        let end = u32::try_from(code.len()).ok().filter(|&end| end < 1 << 31);
        let end = end.ok_or((0, Fault::TooLarge))?;
        if params > locals {
            return Err((0, Fault::Locals { params, locals }));
        }
        self.found.fault = None;
        self.make_room(end).map_err(|none| (0, none.into()))?;
        self.decode(code, end, Locals::new(params, locals), calls)
            .map_err(|at| (at, self.found.fault.unwrap_or_else(|| refusal(code, at))))?;
        let inside = |target| (source(code, target), Fault::JumpInside { target });
        self.targets.clear();
        reserve(&mut self.targets, self.found.jumps.len()).map_err(|none| (0, none.into()))?;
        self.find_targets().map_err(inside)?;
        self.number_jumps();
        Ok(())
    }

    /// Room for as many instructions and jumps as so many bytes may have, and for the end.
    #[inline(always)]
    fn make_room(&mut self, end: u32) -> Result<(), NoMemory> {
        self.found.jumped_to.reset(end)?;
        self.found.jumps.clear();
        reserve(&mut self.found.jumps, usize::try_from(end / JUMP_SIZE).unwrap_or(usize::MAX))?;
        // One that the code ends inside of is looked at as well.
        let most = usize::try_from(end.div_ceil(OPCODE_SIZE)).unwrap_or(usize::MAX);
        if self.ops.len() <= most {
            let room = most.saturating_add(1);
            resize(&mut self.offsets, room, 0)?;
            resize(&mut self.numbers, room, 0)?;
            // Last, because its length tells that there is room in all.
            resize(&mut self.ops, room, Op::NONE)?;
        }
        Ok(())
    }

    /// The instructions.
    #[inline(always)]
    pub(super) fn ops(&self) -> &[Op] {
        self.ops.get(..self.count).unwrap_or(&self.ops)
    }

    /// The instructions from number `from` on, those from `to` on not among them.
    #[inline(always)]
    pub(super) fn ops_between(&self, from: u32, to: u32) -> &[Op] {
        let [from, to] = [from, to].map(|op| usize::try_from(op).unwrap_or(usize::MAX));
        self.ops.get(from..to).unwrap_or(&[])
    }

    /// Where the instruction with this number begins; the end of the code for the number of all.
    #[inline(always)]
    pub(super) fn offset_of(&self, op: usize) -> u32 {
        self.offsets.get(op).copied().unwrap_or(u32::MAX >> 1)
    }

    /// Decodes all of the code. An error is the offset of an instruction that is refused.
    fn decode(
        &mut self,
        code: &[u8],
        end: u32,
        mut seen: Locals,
        calls: &mut impl Calls,
    ) -> Result<(), u32> {
        let Self { found, numbers, ops, offsets, .. } = self;
        let numbers = numbers.as_mut_slice();
        let (mut rest, mut number) = (code, 0);
        for (op, offset) in ops.iter_mut().zip(offsets) {
            // No larger than `end`.
            let at = end.wrapping_sub(rest.len() as u32);
            *offset = at;
            if let Some(place) = numbers.get_mut(usize::try_from(at / 2).unwrap_or(usize::MAX)) {
                *place = number;
            }
            if rest.is_empty() {
                break;
            }
            let behind = found.instruction((code, rest), (number, at, end), op, &mut seen, calls);
            rest = behind.ok_or(at)?;
            number += 1;
        }
        self.count = usize::try_from(number).unwrap_or(usize::MAX);
        let count = |locals| u16::try_from(locals).unwrap_or(u16::MAX);
        (self.locals_set, self.locals_named) = (count(seen.set), count(seen.named));
        Ok(())
    }

    /// The targets of the function, for which there is room. An error is one where no instruction begins.
    fn find_targets(&mut self) -> Result<(), u32> {
        let Self { targets, numbers, found, offsets, count, .. } = self;
        let mut begin = 0;
        for &word in &found.jumped_to.words {
            let mut rest = word;
            while rest != 0 {
                let offset = begin + 2 * rest.trailing_zeros();
                let place = usize::try_from(offset / 2).ok().and_then(|at| numbers.get_mut(at));
                let place = place.ok_or(offset)?;
                let (op, last_back_op) = (*place, u32::MAX);
                let number = usize::try_from(op).ok().filter(|number| number <= count);
                if number.and_then(|number| offsets.get(number)) != Some(&offset) {
                    return Err(offset);
                }
                *place = u32::try_from(targets.len()).unwrap_or(u32::MAX);
                targets.push(Target { offset, last_back_jump: None, op, last_back_op });
                rest &= rest - 1;
            }
            begin += BYTES_PER_WORD;
        }
        Ok(())
    }

    /// Tells jumps the numbers of their targets, and targets their last jump back.
    fn number_jumps(&mut self) {
        let Self { targets, numbers, found, ops, offsets, .. } = self;
        for &Jump { op, target } in &found.jumps {
            let number = usize::try_from(target / 2).ok().and_then(|place| numbers.get(place));
            let number = number.copied().unwrap_or(u32::MAX);
            let place = usize::try_from(op).unwrap_or(usize::MAX);
            if let Some(op) = ops.get_mut(place) {
                op.set_long(number);
            }
            let target = usize::try_from(number).ok().and_then(|number| targets.get_mut(number));
            // The last one of each target counts.
            if let Some(target) = target.filter(|target| target.op <= op) {
                (target.last_back_jump, target.last_back_op) = (offsets.get(place).copied(), op);
            }
        }
    }
}

impl Found {
    /// Decodes the instruction that `rest`, the end of `code`, begins with, whose number and offset are
    /// given with the end of the code. Gives what follows it; of an instruction that is refused `fault`
    /// says why, or else [`refusal`].
    #[inline(always)]
    fn instruction<'c>(
        &mut self,
        (code, rest): (&'c [u8], &'c [u8]),
        (number, at, end): (u32, u32, u32),
        op: &mut Op,
        locals: &mut Locals,
        calls: &mut impl Calls,
    ) -> Option<&'c [u8]> {
        let bytes = rest.first_chunk().copied().unwrap_or_else(|| padded(code, rest));
        *op = Op::new(bytes);
        let shape = SHAPES.get(usize::from(first_short(bytes))).copied().unwrap_or(Shape::Refused);
        // Sizes are said one by one, so that the next instruction can begin before the size of this one
        // has been looked up.
        match shape {
            Shape::Two => rest.get(2..),
            Shape::Four => rest.get(4..),
            Shape::Six => rest.get(6..),
            Shape::Ten => rest.get(10..),
            Shape::Twelve => rest.get(12..),
            Shape::LoadPush if locals.name(op.a()) => rest.get(4..),
            Shape::PopStore if locals.set(op.a()) => rest.get(4..),
            Shape::Load if locals.name(op.b()) => rest.get(6..),
            Shape::Store if locals.set(op.a()) => rest.get(6..),
            Shape::Jump if rest.len() >= 6 => {
                self.jump(number, at, op.long().cast_signed(), end)?;
                rest.get(6..)
            }
            Shape::Call if rest.len() >= 8 => {
                self.accept(calls.function(op.long(), op.argc()))?;
                rest.get(8..)
            }
            Shape::Host if rest.len() >= 6 => {
                self.accept(calls.host(op.a(), op.b(), at))?;
                rest.get(6..)
            }
            _ => self.refuse_operand(rest, locals),
        }
    }

    /// Keeps a jump.
    #[inline(always)]
    fn jump(&mut self, number: u32, at: u32, distance: i32, end: u32) -> Option<()> {
        let target = target(at, JUMP_SIZE, distance);
        // What is negative is too large.
        if target.cast_unsigned() > u64::from(end) {
            return self.refuse(Fault::JumpOutside { target });
        }
        let target = u32::try_from(target).unwrap_or(u32::MAX);
        if target % 2 != 0 {
            return self.refuse(Fault::JumpInside { target });
        }
        self.jumped_to.insert(target);
        self.jumps.push(Jump { op: number, target });
        Some(())
    }

    fn accept(&mut self, called: Result<(), Fault>) -> Option<()> {
        called.map_or_else(|fault| self.refuse(fault), Some)
    }

    /// Refuses the instruction that `rest` begins with, for a local that does not exist if it is whole.
    #[cold]
    fn refuse_operand<T>(&mut self, rest: &[u8], locals: &Locals) -> Option<T> {
        match Instruction::decode(rest, 0) {
            Ok(
                Instruction::Load { local, .. }
                | Instruction::LoadPush { local }
                | Instruction::Store { local, .. }
                | Instruction::PopStore { local },
            ) => self.refuse(Fault::NoLocal { local, locals: locals.count }),
            _ => None,
        }
    }

    #[cold]
    fn refuse<T>(&mut self, fault: Fault) -> Option<T> {
        self.fault = Some(fault);
        None
    }
}

/// How long an instruction is, and what the scan wants to know of it.
#[derive(Clone, Copy)]
enum Shape {
    /// Nothing, of so many bytes.
    Two,
    Four,
    Six,
    Ten,
    Twelve,
    /// A local, where it stands and whether it is set.
    LoadPush,
    Load,
    PopStore,
    Store,
    Jump,
    Call,
    Host,
    /// Unknown or not supported.
    Refused,
}

/// The shape of each opcode. The others are unknown.
const SHAPES: [Shape; 256] = {
    let mut shapes = [Shape::Refused; 256];
    let (mut opcode, mut rest) = (0, shapes.as_mut_slice());
    while let Some((shape, others)) = rest.split_first_mut() {
        *shape = Shape::of_opcode(opcode);
        (opcode, rest) = (opcode + 1, others);
    }
    shapes
};

impl Shape {
    const fn of_opcode(opcode: u16) -> Self {
        let Some(roles) = Instruction::roles_of(opcode) else { return Shape::Refused };
        if !Instruction::supports(opcode) {
            return Shape::Refused;
        }
        match (Instruction::sets_local(opcode), roles) {
            (_, []) => Shape::Two,
            (_, [Role::Slot]) => Shape::Four,
            (_, [Role::Slot, Role::Slot]) => Shape::Six,
            (_, [Role::Integer]) => Shape::Ten,
            (_, [Role::Slot, Role::Integer | Role::Float]) => Shape::Twelve,
            (false, [Role::Local]) => Shape::LoadPush,
            (true, [Role::Local]) => Shape::PopStore,
            (_, [Role::Slot, Role::Local]) => Shape::Load,
            (_, [Role::Local, Role::Slot]) => Shape::Store,
            (_, [Role::Offset]) => Shape::Jump,
            (_, [Role::Function, Role::Short]) => Shape::Call,
            (_, [Role::Host, Role::Short]) => Shape::Host,
            // Nothing that is supported looks like this.
            _ => Shape::Refused,
        }
    }
}

/// The first eight bytes of `rest`, the end of `code`, which has fewer.
#[inline(always)]
fn padded(code: &[u8], rest: &[u8]) -> [u8; 8] {
    let Some(last) = code.last_chunk() else {
        let byte = |word: u64, byte: &u8| word << 8 | u64::from(*byte);
        return rest.iter().rev().fold(0, byte).to_le_bytes();
    };
    // What is before `rest` is shifted out.
    let others = size_of::<u64>().saturating_sub(rest.len());
    (u64::from_le_bytes(*last) >> (8 * others % 64)).to_le_bytes()
}

#[inline(always)]
fn first_short([low, high, ..]: [u8; 8]) -> u16 {
    u16::from_le_bytes([low, high])
}

/// The locals of a function.
struct Locals {
    /// How many there are.
    count: u16,
    /// One more than the last one that is set.
    set: u32,
    /// One more than the last one that is named.
    named: u32,
}

impl Locals {
    fn new(params: u16, count: u16) -> Self {
        Self { count, set: params.into(), named: 0 }
    }

    /// Whether there is such a local.
    #[inline(always)]
    fn name(&mut self, local: u16) -> bool {
        if local >= self.count {
            return false;
        }
        self.named = self.named.max(u32::from(local) + 1);
        true
    }

    #[inline(always)]
    fn set(&mut self, local: u16) -> bool {
        self.set = self.set.max(u32::from(local) + 1);
        self.name(local)
    }
}

/// Why there is no instruction at `at` that could be run.
#[cold]
fn refusal(code: &[u8], at: u32) -> Fault {
    Instruction::decode(code, at).map_or_else(Fault::Decode, |_| Fault::Unsupported)
}

/// Where the first jump stands that leads to `wanted`; only errors ask.
fn source(code: &[u8], wanted: u32) -> u32 {
    let leads_there = |&(at, instruction): &(u32, Instruction)| {
        let offset = instruction.jump_offset();
        offset.is_some_and(|offset| target(at, instruction.size(), offset) == i64::from(wanted))
    };
    let mut jumps = Instructions::new(code).flatten().filter(leads_there);
    jumps.next().map_or(0, |(at, _)| at)
}

/// What the scan asks about the functions that are called.
pub(super) trait Calls {
    /// A CALL or TAIL_CALL.
    fn function(&mut self, callee: u32, argc: u16) -> Result<(), Fault>;
    /// A CALL_SFFI at offset `at`.
    fn host(&mut self, index: u16, argc: u16, at: u32) -> Result<(), Fault>;
}

/// The functions of a program, for [`Calls`].
pub(super) struct Callees<'p, 'c> {
    pub(super) functions: &'p [FunctionCode<'c>],
    pub(super) called: &'p mut [bool],
    pub(super) hosts: &'p mut HostCalls,
    pub(super) caller: u32,
}

impl Calls for Callees<'_, '_> {
    fn function(&mut self, callee: u32, argc: u16) -> Result<(), Fault> {
        let index = usize::try_from(callee).unwrap_or(usize::MAX);
        let count = u32::try_from(self.functions.len()).unwrap_or(u32::MAX);
        let function = self.functions.get(index).ok_or(Fault::NoFunction { callee, count })?;
        if function.params != argc {
            return Err(Fault::Arguments { callee, argc, params: function.params });
        }
        if let Some(called) = self.called.get_mut(index) {
            *called = true;
        }
        Ok(())
    }

    fn host(&mut self, index: u16, argc: u16, at: u32) -> Result<(), Fault> {
        self.hosts.add(index, argc, self.caller, at)
    }
}
