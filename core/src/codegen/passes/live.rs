//! Which locals are live at the borders of basic blocks.
//!
//! A local that every block sets before it reads it is live inside of blocks only. The other locals are global; the
//! blocks have a bit for each of them, and the sets are computed by the usual backward iteration. Where the sets would
//! be large compared with the function, or do not settle in a few rounds, all global locals count as live everywhere,
//! so that the time stays linear.

use alloc::vec::Vec;

use super::edit::EditableFunction;
use super::local_map::LocalMap;
use crate::alloc_util::{AllocError, try_push, try_resize};

/// The sets may have this many words for each instruction, and [`FREE_WORDS`] besides.
const WORDS_PER_INSTRUCTION: usize = 4;
const FREE_WORDS: usize = 4096;

/// The rounds of the iteration; loops nest less deeply.
const MAX_ROUNDS: usize = 12;

/// A basic block: its first instruction, and the one behind its last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Block {
    pub(super) start: usize,
    pub(super) end: usize,
}

/// The live locals at the borders of blocks.
#[derive(Debug, Default)]
pub(super) struct Live {
    pub(super) blocks: Vec<Block>,
    /// The block that begins at a target, by instruction.
    block_at: Vec<u32>,
    /// The bit of each global local.
    globals: LocalMap<usize>,
    seen: LocalMap<()>,
    targets: Vec<bool>,
    /// Words of a set; 0 when all global locals count as live.
    words: usize,
    /// For each block what it reads before it sets it, what it sets, and what is live at its start.
    reads: Vec<u64>,
    sets: Vec<u64>,
    live_in: Vec<u64>,
    live_out: Vec<u64>,
}

impl Live {
    /// Computes the sets of `function`, which has no deleted instructions.
    pub(super) fn compute(&mut self, function: &EditableFunction) -> Result<(), AllocError> {
        self.split(function)?;
        if self.blocks.len() == 1 && !self.targets.contains(&true) {
            // Straight-line code has no borders of blocks at which a local is live.
            return self.globals.reset(function.locals.len());
        }
        let count = self.find_globals(function)?;
        self.words = count.div_ceil(64);
        let size = self.words.saturating_mul(self.blocks.len());
        let limit = function.len().saturating_mul(WORDS_PER_INSTRUCTION);
        if size > limit.saturating_add(FREE_WORDS) {
            self.words = 0;
            return Ok(());
        }
        for set in [&mut self.reads, &mut self.sets, &mut self.live_in] {
            set.clear();
            try_resize(set, size, 0)?;
        }
        self.live_out.clear();
        try_resize(&mut self.live_out, self.words, 0)?;
        self.local_sets(function);
        if !self.iterate(function) {
            self.words = 0;
        }
        Ok(())
    }

    /// Whether every block sets `local` before it reads it, so that it is live inside of blocks only.
    pub(super) fn is_block_local(&self, local: u16) -> bool {
        !self.globals.has(local)
    }

    /// Whether `local` may be read from the start of `block` on before it is set.
    pub(super) fn is_live_in(&self, block: usize, local: u16) -> bool {
        match self.globals.get(local) {
            None => false,
            Some(_) if self.words == 0 => true,
            Some(bit) => self.has(block, bit),
        }
    }

    /// Whether `local` may be read behind the end of `block` before it is set.
    pub(super) fn is_live_out(
        &self,
        function: &EditableFunction,
        block: usize,
        local: u16,
    ) -> bool {
        let successors = self.successors(function, block);
        successors.into_iter().flatten().any(|next| self.is_live_in(next, local))
    }

    /// The block that begins at a target of a jump.
    pub(super) fn block_at(&self, instruction: usize) -> Option<usize> {
        let block = *self.block_at.get(instruction)?;
        usize::try_from(block).ok().filter(|_| block != u32::MAX)
    }

    fn has(&self, block: usize, bit: usize) -> bool {
        let word = block.saturating_mul(self.words).saturating_add(bit / 64);
        self.live_in.get(word).is_some_and(|word| word >> (bit % 64) & 1 != 0)
    }

    fn split(&mut self, function: &EditableFunction) -> Result<(), AllocError> {
        function.targets(&mut self.targets)?;
        self.blocks.clear();
        self.block_at.clear();
        try_resize(&mut self.block_at, function.len(), u32::MAX)?;
        let mut start = 0;
        for (index, next) in (0..function.len()).zip(1..) {
            let is_border =
                function.code.get(index).is_some_and(|i| i.opcode.ends() || i.opcode.has_target());
            let is_last = next == function.len();
            if !is_border && !is_last && self.targets.get(next) != Some(&true) {
                continue;
            }
            let number = u32::try_from(self.blocks.len()).unwrap_or(u32::MAX);
            self.block_at.get_mut(start).into_iter().for_each(|block| *block = number);
            try_push(&mut self.blocks, Block { start, end: next })?;
            start = next;
        }
        Ok(())
    }

    /// Finds the locals that a block reads before it sets them; how many there are.
    fn find_globals(&mut self, function: &EditableFunction) -> Result<usize, AllocError> {
        self.globals.reset(function.locals.len())?;
        self.seen.reset(function.locals.len())?;
        let mut count = 0;
        for block in &self.blocks {
            self.seen.clear();
            for i in function.code.get(block.start..block.end).unwrap_or(&[]) {
                function.reads(i, |local| {
                    if !self.seen.has(local) && !self.globals.has(local) {
                        self.globals.set(local, count);
                        count += 1;
                    }
                });
                i.written().into_iter().for_each(|local| self.seen.set(local, ()));
            }
        }
        Ok(count)
    }

    fn local_sets(&mut self, function: &EditableFunction) {
        for (number, block) in self.blocks.iter().enumerate() {
            let first = number.saturating_mul(self.words);
            let word_of = |bit: usize| first.saturating_add(bit / 64);
            for i in function.code.get(block.start..block.end).unwrap_or(&[]) {
                function.reads(i, |local| {
                    let Some(bit) = self.globals.get(local) else { return };
                    let is_set =
                        self.sets.get(word_of(bit)).is_some_and(|w| w >> (bit % 64) & 1 != 0);
                    if !is_set {
                        let word = self.reads.get_mut(word_of(bit));
                        word.into_iter().for_each(|word| *word |= 1 << (bit % 64));
                    }
                });
                let bit = i.written().and_then(|local| self.globals.get(local));
                if let Some(bit) = bit {
                    let word = self.sets.get_mut(word_of(bit));
                    word.into_iter().for_each(|word| *word |= 1 << (bit % 64));
                }
            }
        }
    }

    /// Whether the sets settled.
    fn iterate(&mut self, function: &EditableFunction) -> bool {
        for _ in 0..MAX_ROUNDS {
            let mut has_changed = false;
            for block in (0..self.blocks.len()).rev() {
                has_changed |= self.update(function, block);
            }
            if !has_changed {
                return true;
            }
        }
        false
    }

    fn update(&mut self, function: &EditableFunction, block: usize) -> bool {
        let words = self.words;
        self.live_out.fill(0);
        for next in self.successors(function, block).into_iter().flatten() {
            let from = self.live_in.iter().skip(next.saturating_mul(words));
            self.live_out.iter_mut().zip(from).for_each(|(out, live)| *out |= live);
        }
        let first = block.saturating_mul(words);
        let sets = self.sets.iter().skip(first);
        let reads = self.reads.iter().skip(first);
        let mut has_changed = false;
        let live_in = self.live_in.iter_mut().skip(first);
        for (((live, out), sets), reads) in live_in.zip(&self.live_out).zip(sets).zip(reads) {
            let new = reads | out & !sets;
            has_changed |= new != *live;
            *live = new;
        }
        has_changed
    }

    fn successors(&self, function: &EditableFunction, block: usize) -> [Option<usize>; 2] {
        let end = self.blocks.get(block).map_or(0, |block| block.end);
        let Some(last) = end.checked_sub(1).and_then(|last| function.code.get(last)) else {
            return [None; 2];
        };
        let target = last.target().and_then(|target| usize::try_from(target).ok());
        let next = block.checked_add(1).filter(|&next| next < self.blocks.len());
        [target.and_then(|target| self.block_at(target)), next.filter(|_| !last.opcode.ends())]
    }
}
