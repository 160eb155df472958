//! What can be seen of a function without knowing what its values are: where its instructions begin,
//! where its jumps lead, which locals it sets, and whom it calls.
//!
//! Everything in the code is looked at, whether it can be reached or not. Instructions are of even
//! length, so that everything is numbered by pairs of bytes ([`At`]): an instruction is kept under the
//! number of its first pair, from which its offset follows, and under which a jump finds it.

use alloc::vec::Vec;

use super::bit_set::BitSet;
use super::error::Fault;
use super::hosts::HostCalls;
use super::op::{At, Op, offset};
use super::program::FunctionCode;
use crate::alloc_util::{AllocError, try_push, try_reserve, try_resize};
use crate::bytecode::instruction::{
    Instruction, Instructions, OPCODE_SIZE, Opcode, Role, bytes_of, target,
};
use crate::format::constants::{Constant, Constants};

/// An offset where a jump leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    /// In bytes from the start of the code; the length of the code for its end.
    pub offset: u32,
    /// Where the last instruction begins that jumps back to it; `None` when it is no loop head.
    pub last_back_jump: Option<u32>,
}

impl Target {
    /// The pair of bytes at its offset.
    #[inline]
    pub(crate) fn at(&self) -> At {
        usize::try_from(self.offset / OPCODE_SIZE).unwrap_or(usize::MAX)
    }
}

/// Pairs of bytes of a jump.
const JUMP_PAIRS: usize = (Instruction::Jmp { offset: 0 }.size() / OPCODE_SIZE) as usize;

/// A jump that the scan came across, and where it leads.
#[derive(Clone, Copy, Debug)]
struct Jump {
    at: At,
    target: At,
}

/// What [`Scan::function`] finds, and its memory.
#[derive(Debug, Default)]
pub(super) struct Scan {
    /// For every pair of bytes the instruction that begins there, [`Op::NONE`] where none does.
    ops: Vec<Op>,
    jumped_to: BitSet,
    /// In the order in which they stand.
    jumps: Vec<Jump>,
    /// For the pairs of bytes that jumps lead to the numbers of the targets; others are stale.
    numbers: Vec<u32>,
    /// Ascending.
    pub(super) targets: Vec<Target>,
    /// One more than the last local that is ever set; the parameters count.
    pub(super) locals_set: u16,
    /// One more than the last local that is ever named.
    pub(super) locals_named: u16,
    /// Whether it calls functions or the host.
    pub(super) has_calls: bool,
    /// Whether it works on objects.
    pub(super) uses_objects: bool,
}

impl Scan {
    /// Looks at a function. On an error, the offset of the instruction comes with it.
    pub(super) fn function(
        &mut self,
        function: &FunctionCode<'_>,
        calls: Option<&mut Callees<'_, '_>>,
    ) -> Result<(), (u32, Fault)> {
        let FunctionCode { code, params, locals } = *function;
        if code.len() >= 1 << 31 {
            return Err((0, Fault::TooLarge));
        }
        if params > locals {
            return Err((0, Fault::Locals { params, locals }));
        }
        self.make_room(code.len() / 2).map_err(|none| (0, none.into()))?;
        self.decode(code, Locals::new(params, locals), calls)?;
        let inside = |target| (source(code, target), Fault::JumpInside { target });
        self.targets.clear();
        try_reserve(&mut self.targets, self.jumps.len()).map_err(|none| (0, none.into()))?;
        self.find_targets().map_err(inside)?;
        self.number_jumps();
        Ok(())
    }

    /// Room for code of so many pairs of bytes, for all the jumps that it may have, and for its end.
    #[inline]
    fn make_room(&mut self, pairs: usize) -> Result<(), AllocError> {
        self.ops.clear();
        try_resize(&mut self.ops, pairs, Op::NONE)?;
        self.jumps.clear();
        try_reserve(&mut self.jumps, pairs / JUMP_PAIRS)?;
        if self.numbers.len() <= pairs {
            try_resize(&mut self.numbers, pairs + 1, 0)?;
        }
        self.jumped_to.reset(pairs)
    }

    /// The instructions, each at its pair of bytes.
    #[inline]
    pub(super) fn ops(&self) -> &[Op] {
        &self.ops
    }

    /// Decodes all of the code.
    fn decode(
        &mut self,
        code: &[u8],
        mut locals: Locals,
        mut calls: Option<&mut Callees<'_, '_>>,
    ) -> Result<(), (u32, Fault)> {
        let Self { ops, jumped_to, jumps, has_calls, uses_objects, .. } = self;
        let (pairs, last) = code.as_chunks::<2>();
        (*has_calls, *uses_objects) = (false, false);
        let mut at = 0;
        while let Some(place) = ops.get_mut(at) {
            let here = move |fault| (offset(at), fault);
            let rest = pairs.get(at..).unwrap_or(&[]).as_flattened();
            let bytes = rest.first_chunk();
            let bytes = bytes.copied().unwrap_or_else(|| padded(pairs.as_flattened(), rest));
            let shape = SHAPES.get(usize::from(first_short(bytes)));
            let Shape { length, class } = *shape.unwrap_or(&Shape::REFUSED);
            let op = Op::new(bytes, length);
            let behind = op.behind(at);
            if behind > pairs.len() {
                return Err(here(refused(code, at)));
            }
            *place = op;
            match class {
                Class::Plain => {}
                Class::Names => locals.name(op.a()).map_err(here)?,
                Class::NamesSecond => locals.name(op.b()).map_err(here)?,
                Class::Sets => locals.set(op.a()).map_err(here)?,
                Class::Jumps => {
                    let target = landing(behind, op.long().cast_signed(), code.len());
                    let target = target.map_err(here)?;
                    jumped_to.insert(target);
                    jumps.push(Jump { at, target });
                }
                Class::Calls | Class::CallsHost => *has_calls = true,
                Class::Objects | Class::Constant | Class::CallsRuntime => *uses_objects = true,
                Class::Refused => return Err(here(refused(code, at))),
            }
            if let Some(calls) = &mut calls {
                calls.check(class, op, offset(at)).map_err(here)?;
            }
            at = behind;
        }
        let count = |locals| u16::try_from(locals).unwrap_or(u16::MAX);
        (self.locals_set, self.locals_named) = (count(locals.set), count(locals.named));
        if last.is_empty() { Ok(()) } else { Err((offset(at), refused(code, at))) }
    }

    /// The targets of the function, for which there is room. An error is one where no instruction begins.
    fn find_targets(&mut self) -> Result<(), u32> {
        let Self { targets, numbers, jumped_to, ops, .. } = self;
        let mut next = 0;
        while let Some(at) = jumped_to.pop_from(next) {
            let offset = offset(at);
            if ops.get(at).is_some_and(|op| *op == Op::NONE) {
                return Err(offset);
            }
            if let Some(number) = numbers.get_mut(at) {
                *number = u32::try_from(targets.len()).unwrap_or(u32::MAX);
            }
            targets.push(Target { offset, last_back_jump: None });
            next = at + 1;
        }
        Ok(())
    }

    /// Tells jumps the numbers of their targets, and targets their last jump back.
    fn number_jumps(&mut self) {
        let Self { targets, numbers, jumps, ops, .. } = self;
        for &Jump { at, target } in &*jumps {
            let number = numbers.get(target).copied().unwrap_or(u32::MAX);
            if let Some(op) = ops.get_mut(at) {
                op.set_long(number);
            }
            if target <= at
                && let Some(target) =
                    usize::try_from(number).ok().and_then(|number| targets.get_mut(number))
            {
                // The last one of each target counts.
                target.last_back_jump = Some(offset(at));
            }
        }
    }
}

/// Where a jump leads, `distance` bytes from the pair `behind` it, in code that ends at `end`.
#[inline]
fn landing(behind: At, distance: i32, end: usize) -> Result<At, Fault> {
    let target = i64::from(offset(behind)) + i64::from(distance);
    match usize::try_from(target).ok().filter(|&target| target <= end) {
        Some(target) if target % 2 == 0 => Ok(target / 2),
        Some(target) => {
            Err(Fault::JumpInside { target: u32::try_from(target).unwrap_or(u32::MAX) })
        }
        None => Err(Fault::JumpOutside { target }),
    }
}

/// Why what is at a pair of bytes is no instruction that the verifier knows.
#[cold]
fn refused(code: &[u8], at: At) -> Fault {
    match Instruction::decode(code, offset(at)) {
        Ok(_) => Fault::Unsupported,
        Err(error) => Fault::Decode(error),
    }
}

/// What the scan wants to know of an instruction.
#[derive(Clone, Copy)]
enum Class {
    /// Nothing but its length.
    Plain,
    /// It names a local, first or second.
    Names,
    NamesSecond,
    /// It names a local first, and sets it.
    Sets,
    Jumps,
    Calls,
    CallsHost,
    /// It works on objects.
    Objects,
    /// It loads a constant.
    Constant,
    /// It calls a runtime function of the host.
    CallsRuntime,
    /// Unknown or not supported.
    Refused,
}

/// What an opcode says of an instruction.
#[derive(Clone, Copy)]
struct Shape {
    /// The bits of its length.
    length: u16,
    class: Class,
}

/// The shape of each opcode. The others are unknown.
const SHAPES: [Shape; 256] = {
    let mut shapes = [Shape::REFUSED; 256];
    let (mut opcode, mut rest) = (0, shapes.as_mut_slice());
    while let Some((shape, others)) = rest.split_first_mut() {
        *shape = Shape::of_opcode(opcode);
        (opcode, rest) = (opcode + 1, others);
    }
    shapes
};

impl Shape {
    const REFUSED: Self = Self { length: 0, class: Class::Refused };

    const fn of_opcode(opcode: u16) -> Self {
        let Some(roles) = Instruction::roles_of(opcode) else { return Self::REFUSED };
        let class = match roles {
            _ if !Instruction::supports(opcode) => return Self::REFUSED,
            _ if is(opcode, Opcode::LoadConst) || is(opcode, Opcode::LoadString) => Class::Constant,
            _ if is(opcode, Opcode::CallRuntime) => Class::CallsRuntime,
            _ if Instruction::is_object_operation(opcode) => Class::Objects,
            [Role::Local, ..] if Instruction::sets_local(opcode) => Class::Sets,
            [Role::Local, ..] => Class::Names,
            [_, Role::Local] => Class::NamesSecond,
            [Role::Offset] => Class::Jumps,
            [Role::Function, ..] => Class::Calls,
            [Role::Host, ..] => Class::CallsHost,
            _ => Class::Plain,
        };
        Self { length: Op::bits_of_length(bytes_of(roles)), class }
    }
}

/// Whether an opcode is this one.
const fn is(opcode: u16, Opcode(other): Opcode) -> bool {
    opcode == other as u16
}

/// The first eight bytes of `rest`, the end of `code`, which has fewer.
#[inline]
fn padded(code: &[u8], rest: &[u8]) -> [u8; 8] {
    let Some(last) = code.last_chunk() else {
        let byte = |word: u64, byte: &u8| word << 8 | u64::from(*byte);
        return rest.iter().rev().fold(0, byte).to_le_bytes();
    };
    // What is before `rest` is shifted out.
    let others = size_of::<u64>().saturating_sub(rest.len());
    (u64::from_le_bytes(*last) >> (8 * others % 64)).to_le_bytes()
}

#[inline]
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

    /// Names a local.
    #[inline]
    fn name(&mut self, local: u16) -> Result<(), Fault> {
        self.named = self.named.max(u32::from(local) + 1);
        let locals = self.count;
        if local < locals { Ok(()) } else { Err(Fault::NoLocal { local, locals }) }
    }

    /// Names a local that is set.
    #[inline]
    fn set(&mut self, local: u16) -> Result<(), Fault> {
        self.set = self.set.max(u32::from(local) + 1);
        self.name(local)
    }
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

/// The functions, host functions and constants of a program, against which the numbers in its instructions are checked.
pub(super) struct Callees<'p, 'c> {
    pub(super) functions: &'p [FunctionCode<'c>],
    pub(super) called: &'p mut [bool],
    pub(super) constants: Constants<'c>,
    pub(super) hosts: &'p mut HostCalls,
    pub(super) runtime: &'p mut HostCalls,
    /// Every call as callee and caller, if they are to be recorded.
    pub(super) edges: Option<&'p mut Vec<(u32, u32)>>,
    pub(super) caller: u32,
}

impl Callees<'_, '_> {
    /// Checks that what an instruction at offset `at` names exists, and the number of its arguments.
    #[inline]
    fn check(&mut self, class: Class, op: Op, at: u32) -> Result<(), Fault> {
        match class {
            Class::Calls => self.function(op.long(), op.argc()),
            Class::CallsHost => self.hosts.add(op.a(), op.b(), self.caller, at),
            Class::CallsRuntime => self.runtime.add(op.a(), op.b(), self.caller, at),
            Class::Constant => self.constant(op.second_long(), op.opcode() == Opcode::LoadString),
            _ => Ok(()),
        }
    }

    /// A CALL or TAIL_CALL.
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
        if let Some(edges) = &mut self.edges {
            try_push(edges, (callee, self.caller))?;
        }
        Ok(())
    }

    /// A LOAD_CONST, or a LOAD_STRING, whose constant is a string.
    fn constant(&mut self, index: u32, is_text: bool) -> Result<(), Fault> {
        let count = u32::try_from(self.constants.len()).unwrap_or(u32::MAX);
        if index >= count {
            return Err(Fault::NoConstant { index, count });
        }
        match self.constants.get(index) {
            Some(Constant::Text(_)) => Ok(()),
            Some(_) if is_text => Err(Fault::NoText { index }),
            Some(_) => Ok(()),
            None => Err(Fault::BadConstant { index }),
        }
    }
}
