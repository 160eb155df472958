//! What an interpreter is given: the program, what it may use, and the tier-up decision.

use super::ops::Ops;
use crate::bytecode::host::{HostTable, Signals};
use crate::bytecode::verify::Program;
use crate::trap::bytecode::{Cause, MAX_STACK_DEPTH, Trap};

/// What a call may still use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StackSpace {
    /// How many activations.
    pub depth: u32,
    /// How many bytes of activations that are charged
    /// ([`activation_charge`](crate::trap::bytecode::activation_charge)).
    pub budget: u64,
    /// The lowest address that the native stack of compiled code may come to; 0 when nothing is compared
    /// with it. The interpreter passes it on.
    pub stack_end: usize,
}

impl StackSpace {
    /// Reserves what an activation of a function needs, unless the host interrupts the program.
    #[inline]
    pub(super) fn reserve(&mut self, ops: &Ops, signals: &Signals) -> Result<(), Cause> {
        self.depth = self.depth.checked_sub(1).ok_or(Cause::CallDepth)?;
        let budget = self.budget.checked_sub(ops.charge);
        let budget = budget.filter(|_| ops.max_stack_depth <= MAX_STACK_DEPTH);
        self.budget = budget.ok_or(Cause::StackLimit)?;
        if signals.is_interrupted() { Err(Cause::Interrupted) } else { Ok(()) }
    }

    /// Releases what an activation with this charge has reserved.
    #[inline]
    pub(super) fn release(&mut self, charge: u64) {
        self.depth += 1;
        self.budget += charge;
    }
}

/// The tier-up decision: continues in compiled code. A returned value is the result of the function.
pub trait TierUp {
    /// Whether the interpreter calls the methods.
    const WATCHES: bool = true;

    /// Called before function `function` is interpreted with `args`. `space` includes the activation of the
    /// call. `None` interprets the call.
    fn on_call(
        &mut self,
        function: u32,
        args: &[u64],
        space: StackSpace,
    ) -> Option<Result<u64, Trap>>;

    /// Called at a back edge. `None` continues the interpretation; a value is the result of the activation.
    fn on_back_edge(&mut self, head: LoopHead<'_>) -> Option<Result<u64, Trap>>;

    /// Called at calls and back edges of activations whose values have dynamic kinds, which are always interpreted.
    fn on_dynamic(&mut self) {}
}

/// An activation at a back edge.
#[derive(Debug)]
pub struct LoopHead<'a> {
    /// The function.
    pub function: u32,
    /// The target of the back edge, in bytes from the start of the code.
    pub at: u32,
    /// The locals.
    pub locals: &'a mut [u64],
    /// The operand stack.
    pub vector: &'a mut [u64],
    /// The remaining stack space, without that of the activation.
    pub space: StackSpace,
}

/// No tier-up: everything is interpreted.
#[derive(Clone, Copy, Debug)]
pub struct NoTierUp;

impl TierUp for NoTierUp {
    const WATCHES: bool = false;

    fn on_call(&mut self, _: u32, _: &[u64], _: StackSpace) -> Option<Result<u64, Trap>> {
        None
    }

    fn on_back_edge(&mut self, _: LoopHead<'_>) -> Option<Result<u64, Trap>> {
        None
    }
}

/// The program and what it may ask of the host.
#[derive(Clone, Copy, Debug)]
pub struct Environment<'e, 'c> {
    /// The program.
    pub program: &'e Program<'c>,
    /// The host functions, with which the program has been linked ([`HostTable::link`]).
    pub hosts: &'e HostTable,
    /// What the host tells it.
    pub signals: &'e Signals,
}

impl Environment<'_, '_> {
    /// Calls a function of the host with as many arguments as it takes.
    pub(super) fn call_host(&self, index: u16, args: &[u64]) -> Result<i64, Cause> {
        let result = self.hosts.get(index).and_then(|function| function.call(args));
        match self.signals.take_error() {
            Some(error) => Err(Cause::Host(error)),
            None => Ok(result.unwrap_or(0)),
        }
    }
}
