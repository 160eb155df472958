//! Calls: of other functions, in place of this one, and of the host.

use super::abi::{Context, MAX_ARGUMENTS, REGISTER_ARGUMENTS, Shared, trap_code};
use super::value_stack::Class;
use super::{Body, I64, TranslateError};
use crate::alloc_util::{AllocError, try_push};
use crate::ir::{Binary, Condition, Local, Scalar};

impl Body<'_, '_> {
    /// Pops the arguments, calls a function and delivers its result.
    pub(super) fn call(&mut self, function: u32, argc: u16) {
        self.locate();
        let depth = self.temporary(Scalar::I64);
        self.t.ir.binary(Binary::Subtract, I64, depth, self.depth, 1);
        self.t.ir.trap_compare(Condition::Less, I64, depth, 0, trap_code::CALL_DEPTH);
        if !self.pass(depth, argc) {
            return;
        }
        let kind = self.program.summary(function).map(|summary| summary.result);
        let class = kind.map_or(Class::Int, Class::of);
        let address = (!self.is_current(function)).then(|| self.address_of(function));
        let to = self.destination(class, None);
        let result = if class == Class::Int { to.local } else { self.temporary(Scalar::I64) };
        let arguments = &self.t.arguments;
        match address {
            Some(address) => self.t.ir.call_indirect(address, Some(result), arguments, None),
            None => self.t.ir.call_function(function, Some(result), arguments, None),
        }
        self.set_from_integer(class, to.local, result);
        self.deliver(to);
    }

    /// Whether a call of `function` is a call of the code that is translated.
    fn is_current(&self, function: u32) -> bool {
        function == self.facts.index && !self.is_replacement
    }

    /// Pops the arguments. Those that are parameters are in `arguments` then, behind context and depth; the others are
    /// in the context.
    fn pass(&mut self, depth: Local, argc: u16) -> bool {
        let argc = usize::from(argc);
        if argc > MAX_ARGUMENTS {
            let (limit, value) = (MAX_ARGUMENTS as u64, argc as u64);
            self.t.fail(TranslateError::Limit { name: "arguments of a call", limit, value });
            return false;
        }
        for number in (REGISTER_ARGUMENTS..argc).rev() {
            let value = self.pop();
            let argument = self.read(value);
            self.t.ir.store(I64, argument, self.context, argument_offset(number));
        }
        let parameters = argc.min(REGISTER_ARGUMENTS);
        let first = self.t.stack.len().saturating_sub(parameters);
        let done = self.collect([self.context, depth], first, parameters);
        self.check(done)
    }

    /// Pops values into `arguments`, behind others.
    fn collect<const N: usize>(
        &mut self,
        before: [Local; N],
        first: usize,
        count: usize,
    ) -> Result<(), AllocError> {
        self.t.arguments.clear();
        before.iter().try_for_each(|&local| try_push(&mut self.t.arguments, local))?;
        for position in first..first + count {
            let value = self.t.stack.get(position);
            let argument = self.read(value);
            try_push(&mut self.t.arguments, argument)?;
        }
        for _ in 0..count {
            self.pop();
        }
        Ok(())
    }

    fn check(&mut self, done: Result<(), AllocError>) -> bool {
        if done.is_err() {
            self.t.fail(TranslateError::OutOfMemory);
        }
        done.is_ok()
    }

    /// The address of a function's code, from the table of the engine.
    fn address_of(&mut self, function: u32) -> Local {
        let address = self.temporary(Scalar::Pointer);
        let index = i32::try_from(function).ok().and_then(|index| index.checked_mul(8));
        let offset = index.and_then(|index| index.checked_add(Shared::FUNCTIONS));
        match (self.shared, offset) {
            (Some(shared), Some(offset)) => {
                self.t.ir.load(Scalar::Pointer, address, shared, offset);
            }
            _ => {
                let (limit, value) = (1 << 27, function.into());
                self.t.fail(TranslateError::Limit {
                    name: "functions before a callee",
                    limit,
                    value,
                });
            }
        }
        address
    }

    /// Pops the arguments, calls a function of the host and delivers its result.
    pub(super) fn call_host(&mut self, index: u16, argc: u16) {
        let Some(shared) = self.shared else { return };
        let argc = usize::from(argc);
        let first = self.t.stack.len().saturating_sub(argc);
        let done = self.collect([], first, argc);
        if !self.check(done) {
            return;
        }
        let (table, address) = (self.temporary(Scalar::Pointer), self.temporary(Scalar::Pointer));
        let ir = &mut self.t.ir;
        ir.load(Scalar::Pointer, table, shared, Shared::HOST_FUNCTIONS);
        ir.load(Scalar::Pointer, address, table, 8 * i32::from(index));
        let to = self.destination(Class::Int, None);
        self.t.ir.call_indirect(address, Some(to.local), &self.t.arguments, None);
        self.check_host_error(shared, to.local);
        self.deliver(to);
    }

    /// Traps if the host function that has returned `result` reported an error. One word tells whether a host function of
    /// any thread did.
    fn check_host_error(&mut self, shared: Local, result: Local) {
        self.locate();
        let (reported, error) = (self.temporary(Scalar::U32), self.temporary(Scalar::U32));
        let take = self.temporary(Scalar::Pointer);
        let context = self.context;
        let ir = &mut self.t.ir;
        let done = ir.label();
        ir.load(Scalar::U32, reported, shared, Shared::HOST_ERROR);
        ir.branch(Condition::Equal, Scalar::U32, reported, 0, done);
        ir.load(Scalar::Pointer, take, shared, Shared::TAKE_HOST_ERROR);
        ir.call_indirect(take, Some(result), &[context, result], None);
        ir.load(Scalar::U32, error, context, Context::HOST_ERROR);
        ir.trap_compare(Condition::NotEqual, Scalar::U32, error, 0, trap_code::HOST);
        ir.bind(done);
    }

    /// Pops the arguments and leaves the function by a call, which counts as no further activation.
    pub(super) fn tail_call(&mut self, function: u32, argc: u16) -> bool {
        if self.pass(self.depth, argc) {
            let address = self.address_of(function);
            self.release_budget();
            self.t.ir.return_call_indirect(address, &self.t.arguments);
        }
        false
    }
}

/// The offset of an argument that is no parameter, in the context.
pub(super) fn argument_offset(number: usize) -> i32 {
    let behind = i32::try_from(number.saturating_sub(REGISTER_ARGUMENTS)).unwrap_or(0);
    Context::ARGUMENTS + 8 * behind
}
