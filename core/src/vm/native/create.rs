//! The creation of an engine: its stubs, and the block through which compiled code finds them.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU32, Ordering};

use super::block::Block;
use super::hook::Hook;
use super::stubs::{self, EXIT_TRAMPOLINE, Stubs};
use super::{Codes, Compiling, HostMachine, Native, enter};
use crate::alloc_util::{try_box, try_collect, try_with_capacity};
use crate::bytecode::host::HostTable;
use crate::bytecode::verify::Program;
use crate::codegen::CodegenError;
use crate::codegen::lowering::Machine;
use crate::memory::code_alloc::{CodeMemory, ExecutableBlock, Request};
use crate::memory::lock::{Lock, ProcessId};
use crate::vm::error::CodeError;
use crate::vm::interpreter_pool::InterpreterPool;

impl<'c> Native<'c> {
    /// An engine for `program`, which `hosts` has been [linked](HostTable::link) with. A function is
    /// compiled when it has been called, and its loops gone round, `threshold` times; at 0 before it
    /// runs at all.
    ///
    /// # Errors
    /// No memory, or none for code.
    pub(in crate::vm) fn new(
        program: Program<'c>,
        hosts: HostTable,
        memory: CodeMemory,
        threshold: u32,
    ) -> Result<Box<Self>, CodeError> {
        let count = program.functions().len();
        let block = Block::new(count).ok_or(CodeError::OutOfMemory)?;
        let PublishedStubs { stubs, block: stub_block, stand_ins, eh_frame: stub_tables } =
            publish_stubs(&memory, count)?;
        let first = stub_block.address() + stand_ins;
        let exit_trampolines = first..first + count * EXIT_TRAMPOLINE;
        let last = program.host_calls().last().map_or(0, |call| usize::from(call.index) + 1);
        let mut host_addresses = try_with_capacity(last)?;
        host_addresses.resize(last, 0);
        for call in program.host_calls() {
            let place = host_addresses.get_mut(usize::from(call.index));
            if let (Some(place), Some(function)) = (place, hosts.get(call.index)) {
                *place = function.address();
            }
        }
        let process = ProcessId::current();
        let mut native = try_box(Self {
            entry_trampolines: Lock::new(Codes::default()),
            observer: None,
            program,
            hosts,
            block,
            host_addresses,
            memory,
            stubs,
            stub_tables,
            stub_registration: None,
            stub_block,
            exit_trampolines,
            compiling: Lock::new(Compiling::default()),
            process,
            heat: try_collect(core::iter::repeat_with(AtomicU32::default).take(count))?,
            threshold: AtomicU32::new(threshold),
            interpreters: InterpreterPool::new(process),
            hook: Hook::default(),
        })?;
        native.fill_block();
        Ok(native)
    }

    fn fill_block(&mut self) {
        let engine = core::ptr::from_ref(self).expose_provenance();
        let header = self.block.header_mut();
        header.host_functions = self.host_addresses.as_ptr().expose_provenance();
        header.take_host_error = enter::take_host_error as *const () as usize;
        header.engine = engine;
        for (word, exit_trampoline) in self
            .block
            .functions()
            .iter()
            .zip(self.exit_trampolines.clone().step_by(EXIT_TRAMPOLINE))
        {
            word.store(exit_trampoline, Ordering::Relaxed);
        }
    }
}

/// The stubs of an engine.
struct PublishedStubs {
    stubs: Stubs,
    block: ExecutableBlock,
    /// The offset of the stand-ins in the block.
    stand_ins: usize,
    eh_frame: Vec<u8>,
}

/// Makes the stubs and, behind them, the stand-ins of functions.
fn publish_stubs(memory: &CodeMemory, functions: usize) -> Result<PublishedStubs, CodeError> {
    let interpret = enter::interpret as *const () as usize;
    let (code, stubs, rows) = stubs::assemble(interpret).map_err(CodegenError::from)?;
    let at = code.bytes.len();
    let size = functions.checked_mul(EXIT_TRAMPOLINE).and_then(|size| size.checked_add(at));
    // The stubs are aligned from the start of the block.
    let request = Request::new(size.ok_or(CodeError::OutOfMemory)?).aligned_to(16);
    let mut block = memory.allocate_with(request)?;
    let (first, rest) = block.as_mut_slice().split_at_mut_checked(at).unwrap_or_default();
    first.copy_from_slice(&code.bytes);
    for ((place, function), number) in rest.chunks_exact_mut(EXIT_TRAMPOLINE).zip(0..).zip(0..) {
        let number: usize = number;
        let at = at + number * EXIT_TRAMPOLINE;
        let stand_in = stubs::exit_trampoline(function, at, stubs.interpret);
        place.copy_from_slice(&stand_in.map_err(CodegenError::from)?);
    }
    let block = block.publish()?;
    let range = block.address()..block.address() + block.len();
    let eh_frame = rows.eh_frame(HostMachine::UNWIND, &stubs, &range, at)?;
    Ok(PublishedStubs { stubs, block, stand_ins: at, eh_frame })
}
