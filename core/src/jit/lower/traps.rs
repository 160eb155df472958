//! Where compiled code goes when it must stop: behind the function, out of the way.
//!
//! Each place that may trap has its own few bytes, which push the offset of its instruction and go on
//! to those of its kind, which name the function. So no table is kept beside the code.

use alloc::vec::Vec;

use super::Body;
use super::abi::{Shared, TrapKind};
use crate::jit::x64::{Cond, Gpr, Label, Mem};

/// A place where a trap is jumped to.
#[derive(Clone, Copy, Debug)]
struct Site {
    label: Label,
    /// The offset of the instruction.
    at: u32,
    /// The handler, by its place in [`HANDLERS`].
    handler: usize,
}

/// The places of a function.
#[derive(Debug, Default)]
pub(super) struct Traps {
    sites: Vec<Site>,
    /// How many of them there are for each handler.
    counts: [u32; HANDLERS.len()],
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
        self.sites.clear();
        self.counts = [0; HANDLERS.len()];
        self.too_deep.clear();
    }
}

impl Body<'_, '_> {
    /// Traps where the condition holds.
    pub(super) fn trap_if(&mut self, cond: Cond, kind: TrapKind) {
        let label = self.trap_site(kind as usize);
        self.l.asm.jcc(cond, label);
    }

    /// Traps at the begin of a function that is about to be called, where the condition holds.
    pub(super) fn trap_too_deep_if(&mut self, cond: Cond, function: u32) {
        let label = match self.l.traps.too_deep.last() {
            Some(&(label, last)) if last == function => label,
            _ => {
                let label = self.l.asm.label();
                self.l.traps.too_deep.push((label, function));
                label
            }
        };
        self.l.asm.jcc(cond, label);
    }

    /// Traps because a host function failed, where the condition holds.
    pub(super) fn host_trap_if(&mut self, cond: Cond) {
        let label = self.trap_site(HANDLERS.len() - 1);
        self.l.asm.jcc(cond, label);
    }

    /// Traps in any case.
    pub(super) fn trap_always(&mut self, kind: TrapKind) {
        let label = self.trap_site(kind as usize);
        self.l.asm.jmp(label);
    }

    fn trap_site(&mut self, handler: usize) -> Label {
        let (label, at) = (self.l.asm.label(), self.at());
        let traps = &mut self.l.traps;
        if let Some(count) = traps.counts.get_mut(handler) {
            *count += 1;
            traps.sites.push(Site { label, at, handler });
        }
        label
    }

    /// Traps when the function is entered.
    pub(super) fn trap_at_once(&mut self, kind: TrapKind) {
        self.l.asm.push_imm(0);
        self.put_handler(kind.handler(), self.facts.index);
    }

    fn put_handler(&mut self, handler: i32, function: u32) {
        self.l.asm.mov_imm(Gpr::Rax, function.into());
        self.l.asm.jmp_to(Mem::at(Gpr::Rbx, handler));
    }

    /// Puts down what all traps of the function jump to.
    pub(super) fn put_traps(&mut self) {
        for number in 0..self.l.traps.too_deep.len() {
            let Some(&(label, function)) = self.l.traps.too_deep.get(number) else { continue };
            self.l.asm.bind(label);
            self.l.asm.push_imm(0);
            self.put_handler(TrapKind::CallDepth.handler(), function);
        }
        let counts = self.l.traps.counts;
        for (number, &count) in counts.iter().enumerate().filter(|(_, count)| **count != 0) {
            self.put_sites(number, count);
        }
    }

    /// Puts down where the places for one handler go; there are `left` of them.
    fn put_sites(&mut self, handler: usize, mut left: u32) {
        let common = self.l.asm.label();
        for number in 0..self.l.traps.sites.len() {
            let Some(&site) = self.l.traps.sites.get(number) else { return };
            if site.handler == handler {
                self.l.asm.bind(site.label);
                // The code of a function is shorter than 2^31 bytes.
                self.l.asm.push_imm(site.at.cast_signed());
                left -= 1;
                if left != 0 {
                    self.l.asm.jmp(common);
                }
            }
        }
        self.l.asm.bind(common);
        self.put_handler(HANDLERS.get(handler).copied().unwrap_or(0), self.facts.index);
    }
}
