//! Interpreters that nobody is using, each with what it has translated.

use alloc::vec::Vec;

use spin::Mutex;

use crate::jit::interpret::{Environment, Interpreter, Room, Tier};
use crate::jit::trap::{Cause, Trap};
use crate::owned::push;

use super::stack;

/// The interpreters of one program: as many as there ever were calls at once.
#[derive(Debug, Default)]
pub(super) struct Idle {
    interpreters: Mutex<Vec<Interpreter>>,
}

impl Idle {
    /// Calls a function in an interpreter, if there is stack for one.
    pub(super) fn call(
        &self,
        environment: Environment<'_, '_>,
        tier: &mut impl Tier,
        function: u32,
        args: &[u64],
        room: Room,
    ) -> Result<u64, Trap> {
        if !stack::is_left(stack::INTERPRETER_STACK, room.stack_end) {
            return Err(Trap { cause: Cause::StackLimit, function, at: 0 });
        }
        let idle = self.interpreters.lock().pop();
        let mut interpreter = idle.unwrap_or_default();
        let result = interpreter.call(environment, tier, function, args, room);
        // Without room to keep it, the next call translates anew.
        let _ = push(&mut self.interpreters.lock(), interpreter);
        result
    }
}
