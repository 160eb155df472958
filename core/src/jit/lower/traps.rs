//! Where compiled code goes when it must stop: behind the function, out of the way.
//!
//! Each place that may trap has its own few bytes, which push the offset of its instruction and go on
//! to those of its kind, which name the function. So no table is kept beside the code.

use alloc::vec::Vec;

use super::Lowering;
use super::abi::{Shared, TrapKind};
use crate::alloc_util::try_push;
use crate::codegen::x64::{Cond, Gpr, Label, Mem, OpenJump};

/// A place where a trap is jumped to.
#[derive(Debug)]
struct Site {
    jump: OpenJump,
    /// The offset of the instruction.
    at: u32,
}

/// The places of a function.
#[derive(Debug, Default)]
pub(super) struct Traps {
    /// For each of [`HANDLERS`].
    sites: [Vec<Site>; HANDLERS.len()],
    /// Those of them that have any, a bit each.
    used: u32,
    /// Where a function cannot be called because there are too many activations; it traps there, at
    /// its begin.
    too_deep: Vec<(Label, u32)>,
}

/// The handlers' offsets in the shared block.
const HANDLERS: [i32; 5] = [
    TrapKind::DivisionByZero.handler(),
    TrapKind::CallDepth.handler(), // of which there is never one here
    TrapKind::StackLimit.handler(),
    TrapKind::Interrupted.handler(),
    Shared::HOST_TRAP,
];

impl Traps {
    pub(super) fn clear(&mut self) {
        if self.used != 0 {
            self.sites.iter_mut().for_each(Vec::clear);
        }
        self.used = 0;
        self.too_deep.clear();
    }
}

impl Lowering {
    /// Traps where the condition holds.
    pub(super) fn trap_if(&mut self, cond: Cond, kind: TrapKind) {
        self.trap_by(cond, kind as usize);
    }

    /// Traps at the begin of a function that is about to be called, where the condition holds.
    pub(super) fn trap_too_deep_if(&mut self, cond: Cond, function: u32) {
        let label = match self.traps.too_deep.last() {
            Some(&(label, last)) if last == function => label,
            _ => {
                let label = self.asm.label();
                if try_push(&mut self.traps.too_deep, (label, function)).is_err() {
                    self.no_memory();
                }
                label
            }
        };
        self.asm.jcc(cond, label);
    }

    /// Traps because a host function failed, where the condition holds.
    pub(super) fn host_trap_if(&mut self, cond: Cond) {
        self.trap_by(cond, HANDLERS.len() - 1);
    }

    #[inline]
    fn trap_by(&mut self, cond: Cond, handler: usize) {
        let (jump, at) = (self.asm.jcc_open(cond), self.at());
        if let Some(sites) = self.traps.sites.get_mut(handler) {
            if try_push(sites, Site { jump, at }).is_err() {
                return self.no_memory();
            }
            self.traps.used |= 1 << handler;
        }
    }

    /// Traps in any case.
    pub(super) fn trap_always(&mut self, kind: TrapKind) {
        self.put_place(self.at());
        self.put_handler(kind.handler(), self.index);
    }

    /// Tells the handler the instruction.
    fn put_place(&mut self, at: u32) {
        // The code of a function is shorter than 2^31 bytes.
        self.asm.push_imm(at.cast_signed());
    }

    fn put_handler(&mut self, handler: i32, function: u32) {
        self.asm.mov_imm(Gpr::Rax, function.into());
        self.asm.jmp_to(Mem::at(Gpr::Rbx, handler));
    }

    /// Puts down what all traps of the function jump to.
    pub(super) fn put_traps(&mut self) {
        for number in 0..self.traps.too_deep.len() {
            let Some(&(label, function)) = self.traps.too_deep.get(number) else { continue };
            self.asm.bind(label);
            self.asm.push_imm(0);
            self.put_handler(TrapKind::CallDepth.handler(), function);
        }
        while self.traps.used != 0 {
            let number = usize::try_from(self.traps.used.trailing_zeros()).unwrap_or(0);
            self.traps.used &= self.traps.used - 1;
            self.put_sites(number, HANDLERS.get(number).copied().unwrap_or(0));
        }
    }

    /// Puts down where the places for one handler go.
    fn put_sites(&mut self, number: usize, handler: i32) {
        let Some(mut site) = self.next_site(number) else { return };
        let mut common = None;
        loop {
            self.asm.land(site.jump);
            self.put_place(site.at);
            let Some(next) = self.next_site(number) else { break };
            site = next;
            let label = *common.get_or_insert_with(|| self.asm.label());
            self.asm.jmp(label);
        }
        if let Some(label) = common {
            self.asm.bind(label);
        }
        self.put_handler(handler, self.index);
    }

    /// One of the places for a handler that is still to be put down.
    fn next_site(&mut self, number: usize) -> Option<Site> {
        self.traps.sites.get_mut(number)?.pop()
    }
}
