//! A pool of idle interpreters, which cache translated functions.
//!
//! Code that a child process inherited may be called there, and a thread of the parent may have held the lock
//! when the child was forked: then each call takes a new interpreter.

use alloc::vec::Vec;

use crate::alloc_util::try_push;
use crate::bytecode::interpret::{Environment, Interpreter, StackSpace, TierUp};
use crate::bytecode::objects::{Objects, Value};
use crate::memory::lock::{Lock, ProcessId};
use crate::trap::bytecode::{Cause, Trap};

use super::stack;

/// The interpreters of one program; at most the maximum number of concurrent calls.
#[derive(Debug)]
pub(super) struct InterpreterPool {
    interpreters: Lock<Vec<Interpreter>>,
    process: ProcessId,
}

impl InterpreterPool {
    /// None yet.
    pub(super) fn new(process: ProcessId) -> Self {
        Self { interpreters: Lock::new(Vec::new()), process }
    }

    #[cfg(all(test, any(target_arch = "x86_64", target_arch = "aarch64")))]
    pub(super) fn lock_for_tests(&self) -> crate::memory::lock::LockGuard<'_, Vec<Interpreter>> {
        self.interpreters.lock()
    }

    /// Calls a function in an interpreter, if there is stack for one.
    pub(super) fn call(
        &self,
        environment: Environment<'_, '_>,
        tier: &mut impl TierUp,
        function: u32,
        args: &[u64],
        space: StackSpace,
    ) -> Result<u64, Trap> {
        self.with_interpreter(function, space, |interpreter| {
            interpreter.call(environment, tier, function, args, space)
        })
    }

    /// Calls a function with values and objects in an interpreter, if there is stack for one.
    pub(super) fn call_with(
        &self,
        environment: Environment<'_, '_>,
        objects: &mut dyn Objects,
        tier: &mut impl TierUp,
        (function, args): (u32, &[Value]),
        space: StackSpace,
    ) -> Result<Value, Trap> {
        self.with_interpreter(function, space, |interpreter| {
            interpreter.call_with(environment, objects, tier, function, args, space)
        })
    }

    fn with_interpreter<R>(
        &self,
        function: u32,
        space: StackSpace,
        call: impl FnOnce(&mut Interpreter) -> Result<R, Trap>,
    ) -> Result<R, Trap> {
        if !stack::is_left(stack::INTERPRETER_STACK, space.stack_end) {
            return Err(Trap { cause: Cause::StackLimit, function, at: 0 });
        }
        let interpreters = self.process.lock(&self.interpreters).and_then(|mut all| all.pop());
        let mut interpreter = interpreters.unwrap_or_default();
        let result = call(&mut interpreter);
        // Without room to keep it, the next call translates anew.
        if let Some(mut all) = self.process.lock(&self.interpreters) {
            let _ = try_push(&mut all, interpreter);
        }
        result
    }
}
