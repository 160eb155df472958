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
}

/// The places of a function, by the handler's offset in the shared block.
#[derive(Debug, Default)]
pub(super) struct Traps {
    sites: [Vec<Site>; HANDLERS.len()],
    /// Where a function cannot be called because there are too many activations; it traps there, at
    /// its begin.
    too_deep: Vec<(Label, u32)>,
}

const HANDLERS: [i32; 5] = [
    TrapKind::DivisionByZero.handler(),
    TrapKind::CallDepth.handler(), // of which there is never one here
    TrapKind::StackLimit.handler(),
    TrapKind::Interrupted.handler(),
    Shared::HOST_TRAP,
];

impl Traps {
    pub(super) fn clear(&mut self) {
        self.sites.iter_mut().for_each(Vec::clear);
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
        let label = self.l.asm.label();
        if let Some(sites) = self.l.traps.sites.get_mut(handler) {
            sites.push(Site { label, at: self.at });
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
        for (number, handler) in HANDLERS.into_iter().enumerate() {
            let sites = self.l.traps.sites.get_mut(number).map(core::mem::take).unwrap_or_default();
            if let Some((last, others)) = sites.split_last() {
                let common = self.l.asm.label();
                for site in others {
                    self.put_site(site);
                    self.l.asm.jmp(common);
                }
                self.put_site(last);
                self.l.asm.bind(common);
                self.put_handler(handler, self.facts.index);
            }
            if let Some(place) = self.l.traps.sites.get_mut(number) {
                *place = sites;
            }
        }
    }

    fn put_site(&mut self, site: &Site) {
        self.l.asm.bind(site.label);
        // The code of a function is shorter than 2^31 bytes.
        self.l.asm.push_imm(site.at.cast_signed());
    }
}
