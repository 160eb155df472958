//! Many moves into registers at once, as if all of them read before any of them writes.
//!
//! Registers come first: a move is emitted when no other one has yet to read its destination; when none is left but
//! cycles, an exchange settles one register of a cycle and shortens it.

use arrayvec::ArrayVec;

use super::machine::Register;

/// The maximum number of moves at once, which is that of registers.
const MAX_MOVES: usize = 16;

/// Moves between registers of a class that happen at once. No register is the destination of two.
#[derive(Debug)]
pub(crate) struct RegisterMoves<R> {
    /// Apart from the sources, so that each is read as it was written.
    destinations: ArrayVec<R, MAX_MOVES>,
    sources: ArrayVec<R, MAX_MOVES>,
}

impl<R> Default for RegisterMoves<R> {
    fn default() -> Self {
        Self { destinations: ArrayVec::new(), sources: ArrayVec::new() }
    }
}

impl<R: Copy + PartialEq> RegisterMoves<R> {
    /// Adds a move. One that is too many is left out; there are never more than registers.
    #[inline]
    pub(crate) fn add(&mut self, to: R, from: R) {
        if to != from && self.destinations.try_push(to).is_ok() {
            let _ = self.sources.try_push(from);
        }
    }

    /// Puts the instructions down, none of which changes the flags, and forgets the moves.
    #[inline]
    pub(crate) fn emit<A>(&mut self, asm: &mut A)
    where
        R: Register<A>,
    {
        while !self.destinations.is_empty() {
            self.step(asm);
        }
    }

    /// Does one move, or settles one register of a cycle.
    fn step<A>(&mut self, asm: &mut A)
    where
        R: Register<A>,
    {
        let free = self.destinations.iter().position(|to| !self.sources.contains(to));
        if let Some((to, from)) = free.and_then(|free| self.remove(free)) {
            return R::mov(asm, to, from);
        }
        let (Some(to), Some(from)) = (self.destinations.pop(), self.sources.pop()) else { return };
        R::exchange(asm, to, from);
        // What was to be read in one of them is in the other one now.
        for source in &mut self.sources {
            *source = match *source {
                same if same == to => from,
                same if same == from => to,
                same => same,
            };
        }
        let moves = self.destinations.iter().zip(&self.sources);
        if let Some(done) = moves.into_iter().position(|(to, from)| to == from) {
            self.remove(done);
        }
    }

    fn remove(&mut self, number: usize) -> Option<(R, R)> {
        Some((self.destinations.swap_pop(number)?, self.sources.swap_pop(number)?))
    }
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::*;
    use crate::codegen::x64::{Assembler, Gpr, Xmm};
    use crate::testing::some;

    /// What the registers hold afterwards, by running `mov` and `xchg` between registers.
    fn run(code: &[u8]) -> [u8; 16] {
        let mut registers: [u8; 16] = core::array::from_fn(|number| number as u8);
        for instruction in code.chunks_exact(3) {
            let &[rex, opcode, modrm] = instruction else { panic!("{instruction:x?}") };
            let from = usize::from((modrm >> 3 & 7) + (rex & 4) * 2);
            let to = usize::from((modrm & 7) + (rex & 1) * 8);
            match opcode {
                0x89 => registers[to] = registers[from],
                0x87 => registers.swap(to, from),
                _ => panic!("{instruction:x?}"),
            }
        }
        registers
    }

    #[test]
    fn all_read_before_any_writes() {
        // Every way to fill five registers from five.
        for number in some(0..5usize.pow(5), 50) {
            let sources: Vec<usize> = (0..5).map(|place| number / 5usize.pow(place) % 5).collect();
            let mut asm = Assembler::new();
            let mut moves = RegisterMoves::default();
            let register = |number: usize| Gpr::ALL[number + 6];
            for (to, &from) in sources.iter().enumerate() {
                moves.add(register(to), register(from));
            }
            moves.emit(&mut asm);
            let after = run(&asm.finish().unwrap().bytes);
            for (to, from) in sources.iter().enumerate() {
                assert_eq!(usize::from(after[to + 6]), from + 6, "{sources:?}");
            }
        }
    }

    #[test]
    fn floats_change_places_by_way_of_the_last_register() {
        let mut asm = Assembler::new();
        let mut moves = RegisterMoves::default();
        moves.add(Xmm::Xmm0, Xmm::Xmm1);
        moves.add(Xmm::Xmm1, Xmm::Xmm0);
        moves.add(Xmm::Xmm2, Xmm::Xmm1);
        moves.emit(&mut asm);
        let mut expected = Assembler::new();
        for (to, from) in [(2, 1), (15, 1), (1, 0), (0, 15)] {
            expected.movaps(Xmm::ALL[to], Xmm::ALL[from]);
        }
        assert_eq!(asm.finish().unwrap().bytes, expected.finish().unwrap().bytes);
    }
}
