//! What can be seen of a function without knowing what its values are: where its instructions begin,
//! where its jumps lead, which locals it sets, and whom it calls.
//!
//! Everything in the code is looked at, whether it can be reached or not. Instructions are of even
//! length, so that one bit stands for two bytes of code.

use alloc::vec::Vec;

use super::error::Fault;
use super::{FunctionCode, HostCalls};
use crate::jit::bytecode::{Instruction, Instructions, target};

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

    /// The offsets, ascending.
    fn iter(&self) -> impl Iterator<Item = u32> {
        self.words.iter().zip(0u32..).flat_map(|(&word, number)| {
            let next = move |rest: &u64| Some(rest & (rest - 1)).filter(|&rest| rest != 0);
            core::iter::successors(Some(word).filter(|&word| word != 0), next)
                .map(move |rest| number * BYTES_PER_WORD + 2 * rest.trailing_zeros())
        })
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
    /// For each word of `jumped_to`, how many targets come before it.
    ranks: Vec<u32>,
    /// Targets and sources of backward jumps, in the order of their sources.
    back_jumps: Vec<(u32, u32)>,
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
        (self.locals_set, self.locals_named) = (params, 0);
        self.boundaries.insert(end);
        let mut at = 0;
        let (mut word, mut begins) = (0, 0u64);
        while at < end {
            if at / BYTES_PER_WORD != word {
                self.boundaries.add(word, begins);
                (word, begins) = (at / BYTES_PER_WORD, 0);
            }
            begins |= 1 << (at / 2 % 64);
            let instruction = Instruction::decode(code, at).map_err(|e| (at, Fault::Decode(e)))?;
            let checked = self.instruction(&instruction, at, end, locals, calls);
            checked.map_err(|fault| (at, fault))?;
            at += instruction.size();
        }
        self.boundaries.add(word, begins);
        if let Some(target) = self.jumped_to.first_outside(&self.boundaries) {
            return Err((source(code, target), Fault::JumpInside { target }));
        }
        self.find_targets();
        Ok(())
    }

    #[inline(always)]
    fn instruction(
        &mut self,
        instruction: &Instruction,
        at: u32,
        end: u32,
        locals: u16,
        calls: &mut impl Calls,
    ) -> Result<(), Fault> {
        use Instruction as I;
        match *instruction {
            I::Jmp { offset }
            | I::JmpIf { offset }
            | I::JmpIfNot { offset }
            | I::LtJmpIfNot { offset }
            | I::EqJmpIfNot { offset } => {
                self.jump(at, target(at, instruction.size(), offset), end)
            }
            I::Call { function, argc } | I::TailCall { function, argc } => {
                calls.function(function, argc)
            }
            I::CallSffi { index, argc } => calls.host(index, argc, at),
            I::Store { local, .. } | I::PopStore { local } => {
                self.locals_set = self.locals_set.max(local.saturating_add(1));
                self.local(local, locals)
            }
            I::Load { local, .. } | I::LoadPush { local } => self.local(local, locals),
            _ if instruction.is_supported() => Ok(()),
            _ => Err(Fault::Unsupported),
        }
    }

    #[inline(always)]
    fn local(&mut self, local: u16, locals: u16) -> Result<(), Fault> {
        self.locals_named = self.locals_named.max(local.saturating_add(1));
        if local < locals { Ok(()) } else { Err(Fault::NoLocal { local, locals }) }
    }

    #[inline]
    fn jump(&mut self, at: u32, target: i64, end: u32) -> Result<(), Fault> {
        let inside = u32::try_from(target).ok().filter(|&target| target <= end);
        let offset = inside.ok_or(Fault::JumpOutside { target })?;
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
    #[inline]
    pub(super) fn target_number(&self, offset: u32) -> usize {
        let word = usize::try_from(offset / BYTES_PER_WORD).unwrap_or(usize::MAX);
        let below = (1u64 << (offset / 2 % 64)) - 1;
        let inside = self.jumped_to.words.get(word).map_or(0, |word| (word & below).count_ones());
        let before = self.ranks.get(word).copied().unwrap_or(0);
        usize::try_from(before + inside).unwrap_or(usize::MAX)
    }

    fn find_targets(&mut self) {
        let mut before = 0;
        self.ranks.clear();
        self.ranks.extend(self.jumped_to.words.iter().map(|word| {
            let rank = before;
            before += word.count_ones();
            rank
        }));
        // Ascending by target, then by source: the last of each counts.
        self.back_jumps.sort_unstable();
        let mut back = self.back_jumps.iter().copied().peekable();
        self.targets.clear();
        self.targets.extend(self.jumped_to.iter().map(|offset| {
            let mut last_back_jump = None;
            while let Some((_, source)) = back.next_if(|&(target, _)| target == offset) {
                last_back_jump = Some(source);
            }
            Target { offset, last_back_jump }
        }));
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
