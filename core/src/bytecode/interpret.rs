//! Verified programs run without machine code: what every machine can do, and what compiled code is
//! compared with.
//!
//! A function is translated when it is first called, into one operation of 16 bytes an instruction, and
//! stays so. Activations lie in one vector of values, their bookkeeping in another: nothing here
//! calls itself, so that the depth of a program's calls takes no native stack. Both vectors are reused.
//!
//! A [`Trap`] states why and where a program stopped. A [`TierUp`] has machine code for some of
//! the functions: the interpreter calls it at calls and at back edges, and it may take over.

mod activation;
mod dynamic;
mod ops;
mod tier;
mod typed;

pub use tier::{Environment, LoopHead, NoTierUp, StackSpace, TierUp};

use super::objects::{ObjectArena, Objects, Value};
use crate::alloc_util::try_collect;
use crate::trap::bytecode::Trap;
use dynamic::{DynamicRun, DynamicState, bits_of};
use typed::TypedInterpreter;

/// Runs one program.
#[derive(Debug, Default)]
pub struct Interpreter {
    typed: TypedInterpreter,
    dynamic: DynamicState,
}

impl Interpreter {
    /// One that has translated nothing yet. It must be given the same program at every call.
    pub fn new() -> Self {
        Self::default()
    }

    /// Calls function `function` with `args`, as many as it has parameters: missing ones are 0. Its
    /// activations take what they need of `space`. A function that works on objects gets an
    /// [`ObjectArena`], which is dropped at the end of the call.
    ///
    /// # Errors
    /// What stops the program; a result that is an object, which is dropped.
    pub fn call<T: TierUp>(
        &mut self,
        environment: Environment<'_, '_>,
        tier: &mut T,
        function: u32,
        args: &[u64],
        space: StackSpace,
    ) -> Result<u64, Trap> {
        let Some(found) = environment.program.function(function) else { return Ok(0) };
        if environment.program.compiles(function) {
            return self.typed.call(environment, tier, function, args, space);
        }
        let trap = |cause| Trap { cause, function, at: 0 };
        let args = args.iter().copied().chain(core::iter::repeat(0)).take(found.params.into());
        let args = try_collect(args.map(|arg| Value::I64(arg.cast_signed())));
        let args = args.map_err(|none| trap(none.into()))?;
        let mut arena = ObjectArena::new();
        let result = self.call_with(environment, &mut arena, tier, function, &args, space)?;
        bits_of(result).map_err(|error| trap(error.into()))
    }

    /// Calls function `function` with values and with the objects of the host. Missing arguments are nil.
    ///
    /// # Errors
    /// What stops the program.
    pub fn call_with<T: TierUp>(
        &mut self,
        environment: Environment<'_, '_>,
        objects: &mut dyn Objects,
        tier: &mut T,
        function: u32,
        args: &[Value],
        space: StackSpace,
    ) -> Result<Value, Trap> {
        let Self { typed, dynamic: state } = self;
        DynamicRun { typed, state, environment, objects, tier, space }.call(function, args)
    }
}

#[cfg(test)]
mod tests;
