//! Functions of the program as C functions: entry trampolines, and their addresses.

use super::stubs::{self, EntryTrampoline, Rows, entry_eh_frame};
use super::{Code, Codes, HostMachine, Native, enter, insert_code};
use crate::codegen::CodegenError;
use crate::codegen::lowering::Machine;
use crate::memory::code_alloc::{ExecError, ExecutableBlock};
use crate::memory::lock::LockGuard;
use crate::trap::bytecode::{DEFAULT_BUDGET, MAX_DEPTH};
use crate::vm::error::CodeError;
use crate::vm::observer::{EngineCode, PlacedCode};

impl Native<'_> {
    /// # Errors
    /// [`ExecError::Forked`].
    pub(super) fn entry_trampolines(&self) -> Result<LockGuard<'_, Codes>, ExecError> {
        self.process.lock(&self.entry_trampolines).ok_or(ExecError::Forked)
    }

    /// A function of the C convention that calls function `function`, which may be compiled or not,
    /// with its arguments, and returns its result: an integer, the bits of a float, 1 or 0 of a bool, 0
    /// of nil. When the call is stopped it returns 0, after the [hook](Native::on_trap) was told. The
    /// address is the same every time, and valid as long as the engine.
    ///
    /// # Errors
    /// No such function, more than eight parameters, or no memory.
    pub(in crate::vm) fn address(&self, function: u32) -> Result<usize, CodeError> {
        let found = self.program.function(function);
        let found = found.ok_or(CodeError::NoFunction { index: function })?;
        if found.params > 8 {
            return Err(CodeError::Parameters { index: function, params: found.params });
        }
        if let Some(code) = self.entry_trampolines()?.get(&function) {
            return Ok(code.block.address());
        }
        let (block, rows) = self.entry_trampoline(function, found.params)?;
        let mut code = Code::new(block, 0);
        // Before a caller has the address, and without the lock.
        if let Some(observer) = &self.observer {
            let (what, block) = (EngineCode::EntryTrampoline(function), code.range());
            let eh_frame = entry_eh_frame(HostMachine::UNWIND, &rows, &block)?;
            let (code_range, lines) = (block.clone(), &[][..]);
            let placed = PlacedCode { what, block, code: code_range, lines, eh_frame };
            code.registration = observer.placed(placed)?;
            code.entry = observer.entered(function, code.range())?;
        }
        // Another thread may have been faster.
        Ok(insert_code(&mut *self.entry_trampolines()?, function, code)?.0)
    }

    /// Drops the registrations of the addresses of functions.
    pub(in crate::vm) fn unregister(&self) {
        // In a child of fork the lock may be held for ever by a thread of the parent.
        let Ok(mut entry_trampolines) = self.entry_trampolines() else { return };
        for code in entry_trampolines.values_mut() {
            code.entry = None;
        }
    }

    fn entry_trampoline(
        &self,
        function: u32,
        params: u16,
    ) -> Result<(ExecutableBlock, Rows), CodeError> {
        let trampoline = EntryTrampoline {
            function,
            params,
            shared: self.block.address(),
            depth: MAX_DEPTH - 1,
            budget: DEFAULT_BUDGET,
            stack_end: enter::stack_end as *const () as usize,
            trapped: enter::trapped as *const () as usize,
        };
        let assembled = stubs::assemble_entry_trampoline(&trampoline);
        let (code, rows) = assembled.map_err(CodegenError::from)?;
        Ok((self.publish(&code.bytes, 16)?, rows))
    }

    /// Whether one of the addresses that were given out is this one.
    pub(in crate::vm) fn has_address(&self, address: usize) -> bool {
        self.entry_trampolines()
            .is_ok_and(|all| all.values().any(|code| code.block.address() == address))
    }
}
