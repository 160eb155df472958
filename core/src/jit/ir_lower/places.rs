//! Where each local lives, and what the frame looks like.
//!
//! From the stack pointer up, the frame holds: room for arguments of calls that go by the stack; the
//! homes of locals; the registers that the function had to save. In a function that calls, the stack
//! pointer is at a multiple of 16.

use alloc::vec::Vec;

use crate::alloc_util::{AllocError, try_push, try_resize};
use crate::codegen::ARGUMENTS;
use crate::codegen::x64::{Gpr, Xmm};
use crate::ir::error::IrError;
use crate::ir::function::Callee;
use crate::ir::types::Scalar;
use crate::ir::verify::FunctionInstance;

/// How many floats of a call are in `xmm0` and so on.
pub(super) const FLOAT_ARGUMENTS: usize = 8;

/// The registers that a callee preserves.
const SAVED_REGISTERS: [Gpr; 6] = [Gpr::Rbx, Gpr::Rbp, Gpr::R12, Gpr::R13, Gpr::R14, Gpr::R15];

/// The same as bits by number.
const PRESERVED: u32 = 0xf028;

/// Those that it does not, without rax, rcx and rdx: rsi, rdi, r8 to r11.
const VOLATILE: u32 = 0x0fc0;

/// The registers of SSE for locals: all but the last two.
const FLOATS: u32 = 0x3fff;

/// Where a local lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Nowhere: no instruction names it.
    Unused,
    /// In a general register.
    Gpr(Gpr),
    /// In a register of SSE.
    Xmm(Xmm),
    /// In the frame, so many bytes above the stack pointer.
    Home(i32),
}

/// Where an argument is handed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Handover {
    Gpr(Gpr),
    Xmm(Xmm),
    /// The stack, so many bytes from the first one there.
    Stack(i32),
}

/// Hands out the places of the arguments of one call.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Handovers {
    integers: usize,
    floats: usize,
    /// Bytes of those on the stack.
    pub(super) stack: i32,
}

impl Handovers {
    pub(super) fn next(&mut self, scalar: Scalar) -> Handover {
        if scalar.is_float() {
            if let Some(&register) =
                Xmm::ALL.get(self.floats).filter(|_| self.floats < FLOAT_ARGUMENTS)
            {
                self.floats += 1;
                return Handover::Xmm(register);
            }
        } else if let Some(&register) = ARGUMENTS.get(self.integers) {
            self.integers += 1;
            return Handover::Gpr(register);
        }
        let offset = self.stack;
        self.stack = offset.saturating_add(8);
        Handover::Stack(offset)
    }

    /// How many registers of SSE hold arguments.
    pub(super) fn floats(&self) -> u8 {
        u8::try_from(self.floats).unwrap_or(u8::MAX)
    }
}

/// A local that has to be saved around calls.
#[derive(Clone, Copy, Debug)]
pub(super) struct Saved {
    pub(super) local: u16,
    pub(super) place: Place,
    pub(super) home: i32,
}

/// The places of all locals of one function.
#[derive(Debug, Default)]
pub(super) struct Places {
    by_local: Vec<Place>,
    /// The parameters, where they are when the function is entered.
    pub(super) entered: Vec<(u16, Scalar, Handover)>,
    /// The locals in registers that callees do not preserve.
    pub(super) saved: Vec<Saved>,
    /// The registers to save on entry, as bits by number.
    pushed: u32,
    /// Bytes between the stack pointer and the registers that were saved.
    pub(super) frame: i32,
    /// Registers that are still free, as bits by number.
    integers: u32,
    floats: u32,
    /// Registers in which parameters come, and that are best left to them.
    reserved: u32,
    reserved_floats: u32,
}

impl Places {
    #[inline]
    pub(super) fn of(&self, local: u16) -> Place {
        self.by_local.get(usize::from(local)).copied().unwrap_or(Place::Unused)
    }

    /// The registers to save on entry, in the order in which they go to the stack.
    pub(super) fn pushed(&self) -> impl DoubleEndedIterator<Item = Gpr> + use<> {
        let pushed = self.pushed;
        SAVED_REGISTERS.into_iter().filter(move |register| pushed & bit(register.number()) != 0)
    }

    /// Bytes from the stack pointer to the first argument that came by the stack.
    pub(super) fn incoming(&self) -> i32 {
        let pushed = i32::try_from(self.pushed.count_ones()).unwrap_or(0) * 8;
        self.frame.saturating_add(pushed).saturating_add(8)
    }

    /// Finds a place for every local of `instance`.
    pub(super) fn assign(&mut self, instance: &FunctionInstance<'_, '_>) -> Result<(), IrError> {
        let usage = &instance.facts.usage;
        let body = instance.body();
        self.by_local.clear();
        try_resize(&mut self.by_local, usize::from(body.locals), Place::Unused)?;
        self.saved.clear();
        (self.pushed, self.integers, self.floats) = (0, PRESERVED | VOLATILE, FLOATS);
        self.parameters(instance)?;
        let mut home = outgoing(instance)?;
        let calls = usage.calls;
        // Each call would save and restore.
        let worth = calls.saturating_mul(2);
        for &local in &usage.order {
            let code = body.codes.get(usize::from(local)).copied().unwrap_or(0);
            let Some(scalar) = instance.scalar(code) else { continue };
            let weight = usage.weights.get(usize::from(local)).copied().unwrap_or(0);
            let hot = calls == 0 || weight > worth;
            let incoming = self.handover_of(local);
            let place = match scalar.is_float() {
                true if hot => self.float(incoming),
                false => self.integer(incoming, calls == 0, hot),
                true => None,
            };
            let is_saved = calls > 0 && place.is_some_and(is_volatile);
            if is_saved && let Some(place) = place {
                try_push(&mut self.saved, Saved { local, place, home })?;
            }
            let place = place.unwrap_or(Place::Home(home));
            if is_saved || matches!(place, Place::Home(_)) {
                home = home.saturating_add(8);
            }
            if let Some(entry) = self.by_local.get_mut(usize::from(local)) {
                *entry = place;
            }
        }
        let pushed = i32::try_from(self.pushed.count_ones()).unwrap_or(0) * 8;
        let odd = calls > 0 && (home + pushed) % 16 != 8;
        self.frame = if odd { home.saturating_add(8) } else { home };
        Ok(())
    }

    /// Where the parameters come in.
    fn parameters(&mut self, instance: &FunctionInstance<'_, '_>) -> Result<(), AllocError> {
        let usage = &instance.facts.usage;
        self.entered.clear();
        (self.reserved, self.reserved_floats) = (0, 0);
        let mut handovers = Handovers::default();
        for (local, &code) in (0u16..).zip(instance.body().signature().params) {
            let Some(scalar) = instance.scalar(code) else { continue };
            let handover = handovers.next(scalar);
            try_push(&mut self.entered, (local, scalar, handover))?;
            let is_used = usage.weights.get(usize::from(local)).is_some_and(|&weight| weight > 0);
            match handover {
                Handover::Gpr(register) if is_used => self.reserved |= bit(register.number()),
                Handover::Xmm(register) if is_used => {
                    self.reserved_floats |= bit(register.number());
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn handover_of(&self, local: u16) -> Option<Handover> {
        self.entered.get(usize::from(local)).map(|entered| entered.2)
    }

    fn float(&mut self, incoming: Option<Handover>) -> Option<Place> {
        let own = match incoming {
            Some(Handover::Xmm(register)) => bit(register.number()),
            _ => 0,
        };
        let choices = [own, !self.reserved_floats, u32::MAX];
        let number = choose(self.floats, &choices)?;
        self.floats &= !bit(number);
        Xmm::ALL.get(usize::from(number)).map(|&register| Place::Xmm(register))
    }

    /// A general register: one that callees do not preserve only for a local that is `hot`.
    fn integer(&mut self, incoming: Option<Handover>, leaf: bool, hot: bool) -> Option<Place> {
        let own = match incoming {
            Some(Handover::Gpr(register)) => bit(register.number()),
            _ => 0,
        };
        let volatile = VOLATILE & !self.reserved;
        let choices = match (leaf, hot) {
            (true, _) => [own, volatile, PRESERVED, u32::MAX],
            (false, true) => [PRESERVED, own, volatile, u32::MAX],
            (false, false) => [PRESERVED, 0, 0, 0],
        };
        let number = choose(self.integers, &choices)?;
        self.integers &= !bit(number);
        self.pushed |= bit(number) & PRESERVED;
        Gpr::ALL.get(usize::from(number)).map(|&register| Place::Gpr(register))
    }
}

fn bit(number: u8) -> u32 {
    1 << (number & 31)
}

/// The first register of the first choice that is free.
fn choose(free: u32, choices: &[u32]) -> Option<u8> {
    let found = choices.iter().map(|choice| free & choice).find(|&found| found != 0)?;
    u8::try_from(found.trailing_zeros()).ok()
}

fn is_volatile(place: Place) -> bool {
    match place {
        Place::Gpr(register) => bit(register.number()) & PRESERVED == 0,
        Place::Xmm(_) => true,
        _ => false,
    }
}

/// Bytes that the arguments of the call with the most of them take on the stack.
fn outgoing(instance: &FunctionInstance<'_, '_>) -> Result<i32, IrError> {
    let body = instance.body();
    let mut most = 0;
    for index in 0..body.callee_count() {
        let callee: Callee<'_> = body.callee(index)?;
        let mut handovers = Handovers::default();
        for scalar in instance.concrete(&callee.signature).0.flatten() {
            handovers.next(scalar);
        }
        most = most.max(handovers.stack);
    }
    Ok(most)
}
