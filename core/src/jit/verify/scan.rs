//! What can be seen of a function without knowing what its values are: where its instructions begin,
//! where its jumps lead, which locals it sets, and whom it calls.
//!
//! Everything in the code is looked at, whether it can be reached or not. Instructions are of even
//! length, so that one bit stands for two bytes of code.

use alloc::vec::Vec;

use super::error::Fault;
use super::{FunctionCode, HostCalls};
use crate::format::bytes::u16_at;
use crate::jit::bytecode::{Instruction, Instructions, Role, target};

/// A set of even offsets.
#[derive(Debug, Default)]
struct Offsets {
    words: Vec<u64>,
}

/// Bytes of code that a word stands for.
const BYTES_PER_WORD: u32 = 128;

impl Offsets {
    /// The empty set of offsets up to and including `last`.
    fn reset(&mut self, last: u32) {
        let words = usize::try_from(last / BYTES_PER_WORD).unwrap_or(usize::MAX);
        self.words.clear();
        self.words.resize(words.saturating_add(1), 0);
    }

    #[inline(always)]
    fn insert(&mut self, offset: u32) {
        let word = usize::try_from(offset / BYTES_PER_WORD).unwrap_or(usize::MAX);
        if let Some(word) = self.words.get_mut(word) {
            *word |= 1 << (offset / 2 % 64);
        }
    }

    /// Adds the offsets that `bits` stands for in the word with this number.
    fn add(&mut self, word: u32, bits: u64) {
        let word = usize::try_from(word).unwrap_or(usize::MAX);
        if let Some(word) = self.words.get_mut(word) {
            *word |= bits;
        }
    }

    /// An offset that is in `self` and not in `other`, the lowest one.
    fn first_outside(&self, other: &Self) -> Option<u32> {
        let words = self.words.iter().zip(&other.words).zip(0u32..);
        let mut outside = words.map(|((&own, &other), number)| (own & !other, number));
        let (word, number) = outside.find(|&(word, _)| word != 0)?;
        Some(number * BYTES_PER_WORD + 2 * word.trailing_zeros())
    }
}

/// An offset where a jump leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    /// In bytes from the begin of the code; the length of the code for its end.
    pub offset: u32,
    /// Where the last instruction begins that jumps back to it; `None` when it is no loop head.
    pub last_back_jump: Option<u32>,
}

/// What [`Scan::function`] finds, and its memory.
#[derive(Debug, Default)]
pub(super) struct Scan {
    boundaries: Offsets,
    jumped_to: Offsets,
    /// For every two bytes of code the number of the target there; stale where there is none.
    numbers: Vec<u32>,
    /// Targets and sources of backward jumps, in the order of their sources.
    back_jumps: Vec<(u32, u32)>,
    /// Why an instruction was refused.
    fault: Option<Fault>,
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
        self.boundaries.reset(end);
        self.jumped_to.reset(end);
        self.back_jumps.clear();
        self.fault = None;
        let mut seen = Locals { count: locals, set: params, named: 0 };
        self.boundaries.insert(end);
        let mut at = 0;
        let (mut word, mut begins) = (0, 0u64);
        while at < end {
            if at / BYTES_PER_WORD != word {
                self.boundaries.add(word, begins);
                (word, begins) = (at / BYTES_PER_WORD, 0);
            }
            begins |= 1 << (at / 2 % 64);
            let size = match usize::try_from(at).ok().and_then(|at| code.get(at..)) {
                Some(rest) => self.instruction(rest, at, end, &mut seen, calls),
                None => REFUSED,
            };
            if size == REFUSED {
                return Err((at, self.fault.unwrap_or_else(|| refusal(code, at))));
            }
            at += size;
        }
        (self.locals_set, self.locals_named) = (seen.set, seen.named);
        self.boundaries.add(word, begins);
        if let Some(target) = self.jumped_to.first_outside(&self.boundaries) {
            return Err((source(code, target), Fault::JumpInside { target }));
        }
        self.find_targets(end);
        Ok(())
    }

    /// The size of the instruction that `rest` begins with, or [`REFUSED`]: then `fault` says why, or
    /// else [`refusal`]. One number, because it is made in so many places.
    #[inline(always)]
    fn instruction(
        &mut self,
        rest: &[u8],
        at: u32,
        end: u32,
        locals: &mut Locals,
        calls: &mut impl Calls,
    ) -> u32 {
        let checked = match Shape::of(rest) {
            Shape::Two => return size_if_whole::<2>(rest),
            Shape::Four => return size_if_whole::<4>(rest),
            Shape::Six => return size_if_whole::<6>(rest),
            Shape::Ten => return size_if_whole::<10>(rest),
            Shape::Twelve => return size_if_whole::<12>(rest),
            Shape::LoadPush => {
                let Some([_, _, low, high]) = rest.first_chunk() else { return REFUSED };
                locals.name(u16::from_le_bytes([*low, *high])).map(|()| 4)
            }
            Shape::Load => {
                let Some([_, _, _, _, low, high]) = rest.first_chunk() else { return REFUSED };
                locals.name(u16::from_le_bytes([*low, *high])).map(|()| 6)
            }
            Shape::PopStore => {
                let Some([_, _, low, high]) = rest.first_chunk() else { return REFUSED };
                locals.set(u16::from_le_bytes([*low, *high])).map(|()| 4)
            }
            Shape::Store => {
                let Some([_, _, low, high, _, _]) = rest.first_chunk() else { return REFUSED };
                locals.set(u16::from_le_bytes([*low, *high])).map(|()| 6)
            }
            Shape::Jump => {
                let Some([_, _, to @ ..]) = rest.first_chunk::<6>() else { return REFUSED };
                self.jump(at, target(at, 6, i32::from_le_bytes(*to)), end).map(|()| 6)
            }
            Shape::Call => {
                let Some([_, _, callee @ .., low, high]) = rest.first_chunk::<8>() else {
                    return REFUSED;
                };
                let argc = u16::from_le_bytes([*low, *high]);
                calls.function(u32::from_le_bytes(*callee), argc).map(|()| 8)
            }
            Shape::Host => {
                let Some([_, _, a, b, low, high]) = rest.first_chunk() else { return REFUSED };
                let argc = u16::from_le_bytes([*low, *high]);
                calls.host(u16::from_le_bytes([*a, *b]), argc, at).map(|()| 6)
            }
            Shape::Refused => return REFUSED,
        };
        match checked {
            Ok(size) => size,
            Err(fault) => self.refuse(fault),
        }
    }

    #[cold]
    #[inline(never)]
    fn refuse(&mut self, fault: Fault) -> u32 {
        self.fault = Some(fault);
        REFUSED
    }

    #[inline(always)]
    fn jump(&mut self, at: u32, target: i64, end: u32) -> Result<(), Fault> {
        // What is negative is too large.
        if target.cast_unsigned() > u64::from(end) {
            return Err(Fault::JumpOutside { target });
        }
        let offset = u32::try_from(target).unwrap_or(u32::MAX);
        if offset % 2 != 0 {
            return Err(Fault::JumpInside { target: offset });
        }
        self.jumped_to.insert(offset);
        if offset <= at {
            self.back_jumps.push((offset, at));
        }
        Ok(())
    }

    /// The number of the target at `offset`, which is one.
    #[inline(always)]
    pub(super) fn target_number(&self, offset: u32) -> usize {
        let number = usize::try_from(offset / 2).ok().and_then(|place| self.numbers.get(place));
        number.and_then(|&number| usize::try_from(number).ok()).unwrap_or(usize::MAX)
    }

    /// The targets of a function that ends at `end`.
    fn find_targets(&mut self, end: u32) {
        let Self { targets, numbers, jumped_to, .. } = self;
        let places = usize::try_from(end / 2).unwrap_or(usize::MAX).saturating_add(1);
        if numbers.len() < places {
            numbers.resize(places, 0);
        }
        targets.clear();
        for (&word, begin) in jumped_to.words.iter().zip((0..).step_by(BYTES_PER_WORD as usize)) {
            let mut rest = word;
            while rest != 0 {
                let offset: u32 = begin + 2 * rest.trailing_zeros();
                let number = usize::try_from(offset / 2).ok().and_then(|at| numbers.get_mut(at));
                if let Some(number) = number {
                    *number = u32::try_from(targets.len()).unwrap_or(u32::MAX);
                }
                targets.push(Target { offset, last_back_jump: None });
                rest &= rest - 1;
            }
        }
        // The last one of each target counts.
        for &(target, source) in &self.back_jumps {
            let number = self.target_number(target);
            if let Some(target) = self.targets.get_mut(number) {
                target.last_back_jump = Some(source);
            }
        }
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
    /// That of the instruction that `rest` begins with.
    #[inline(always)]
    fn of(rest: &[u8]) -> Self {
        let shape = u16_at(rest, 0).and_then(|opcode| SHAPES.get(usize::from(opcode)));
        shape.copied().unwrap_or(Shape::Refused)
    }

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

/// In place of a size: the instruction is refused.
const REFUSED: u32 = 0;

/// The size of an instruction, when the code does not end inside it.
#[inline(always)]
fn size_if_whole<const SIZE: u32>(rest: &[u8]) -> u32 {
    if rest.len() >= const { SIZE as usize } { SIZE } else { REFUSED }
}

/// The locals of a function.
struct Locals {
    /// How many there are.
    count: u16,
    /// One more than the last one that is set.
    set: u16,
    /// One more than the last one that is named.
    named: u16,
}

impl Locals {
    #[inline(always)]
    fn name(&mut self, local: u16) -> Result<(), Fault> {
        let locals = self.count;
        if local >= locals {
            return Err(Fault::NoLocal { local, locals });
        }
        self.named = self.named.max(local + 1);
        Ok(())
    }

    #[inline(always)]
    fn set(&mut self, local: u16) -> Result<(), Fault> {
        self.name(local)?;
        self.set = self.set.max(local + 1);
        Ok(())
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
