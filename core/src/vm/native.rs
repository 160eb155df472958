//! Compiled code of a program: when it is compiled, its publication, calls of it, and on-stack replacement of
//! activations that the interpreter runs.
//!
//! Each function has a word in the [block](block) through which compiled code calls it. At first that is the address of
//! a stand-in, which calls the interpreter; once the function is compiled, one store redirects all calls to its code.
//! Code and block live as long as the engine.
//!
//! A child process may call the code that it inherited. It can neither add code to memory of its parent nor
//! wait for a thread that the parent alone has, so what needs a lock that is held there for ever is
//! [`ExecError::Forked`], or is interpreted.

mod block;
mod create;
mod enter;
mod entry;
mod hook;
mod stubs;

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;
use core::ops::Range;
use core::sync::atomic::{AtomicU32, Ordering};

use hashbrown::HashMap;

use super::compiler::Compiler;
use super::error::CodeError;
use super::interpreter_pool::InterpreterPool;
use super::observer::{CodeObserver, EngineCode, PlacedCode, Registration, TrapHook};
use super::stack;
use super::tiers::NEVER;
use crate::alloc_util::AllocError;
use crate::bytecode::host::{HostTable, Signals};
use crate::bytecode::interpret::{Environment, LoopHead, StackSpace, TierUp};
use crate::bytecode::objects::{Objects, Value};
use crate::bytecode::verify::Program;
use crate::codegen::CompiledFunction;
use crate::codegen::registry::{Edge, FunctionTables};
use crate::memory::code_alloc::{CodeMemory, ExecError, ExecutableBlock, Request};
use crate::memory::lock::{Lock, LockGuard, ProcessId};
use crate::trap::bytecode::{Cause, MAX_DEPTH, Trap};
use block::Block;
use hook::Hook;
use stubs::Stubs;

/// The machine that this engine compiles for.
#[cfg(target_arch = "x86_64")]
type HostMachine = crate::codegen::x64::X64;

/// The machine that this engine compiles for.
#[cfg(target_arch = "aarch64")]
type HostMachine = crate::codegen::aarch64::Aarch64;

/// Bytes of stack that a call of compiled code takes, without the activation.
const CALL_STACK: usize = 1024;

/// The heat of a function that cannot be compiled.
const REFUSED: u32 = u32::MAX;

/// Code of a function, or an entry trampoline.
struct Code {
    /// The registration of the address of an entry trampoline, which is dropped before the code.
    entry: Registration,
    /// The registration of the code, which is dropped before it.
    registration: Registration,
    block: ExecutableBlock,
    /// Bytes of stack that an activation takes below its return address; 0 for an entry trampoline.
    frame_size: u32,
}

/// Code by index of the function, in a table whose allocation is fallible.
type Codes = HashMap<u32, Code>;

impl Code {
    fn new(block: ExecutableBlock, frame_size: u32) -> Self {
        Self { entry: None, registration: None, block, frame_size }
    }

    /// Address and bytes.
    fn place(&self) -> (usize, usize) {
        (self.block.address(), self.block.len())
    }

    fn range(&self) -> Range<usize> {
        self.block.address()..self.block.address() + self.block.len()
    }
}

/// Enters what is new, or leaves what is there: where that is.
fn insert_code(codes: &mut Codes, function: u32, code: Code) -> Result<(usize, usize), AllocError> {
    codes.try_reserve(1).map_err(|_| AllocError)?;
    Ok(codes.entry(function).or_insert(code).place())
}

/// The state of compilation. One thread at a time compiles.
#[derive(Default)]
struct Compiling {
    compiler: Compiler<HostMachine>,
    compiled: Codes,
    /// On-stack replacements by function and offset of the loop head; `None` where there can be none.
    replacements: HashMap<(u32, u32), Option<Code>>,
}

/// A program and its compiled code. It stays where it is.
pub(super) struct Native<'c> {
    entry_trampolines: Lock<Codes>,
    observer: Option<Box<dyn CodeObserver + 'c>>,
    program: Program<'c>,
    hosts: HostTable,
    block: Block,
    /// Addresses of host functions by index.
    host_addresses: Vec<usize>,
    memory: CodeMemory,
    stubs: Stubs,
    /// The unwind tables of the stubs, until they are registered.
    stub_tables: Vec<u8>,
    /// The registration of the stubs, which is dropped before them.
    stub_registration: Registration,
    stub_block: ExecutableBlock,
    /// Below this address and in `stub_block` are stand-ins.
    exit_trampolines: Range<usize>,
    compiling: Lock<Compiling>,
    /// The one whose threads take the locks.
    process: ProcessId,
    /// How often functions were called and their loops gone round, until they were compiled.
    heat: Vec<AtomicU32>,
    threshold: AtomicU32,
    interpreters: InterpreterPool,
    hook: Hook,
}

impl fmt::Debug for Native<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Native").field("functions", &self.heat.len()).finish_non_exhaustive()
    }
}

impl<'c> Native<'c> {
    fn stub(&self, offset: usize) -> usize {
        self.stub_block.address() + offset
    }

    /// The program.
    pub(super) fn program(&self) -> &Program<'c> {
        &self.program
    }

    /// What the host tells the program.
    pub(super) fn signals(&self) -> &Signals {
        &self.block.header().signals
    }

    /// Changes how hot a function must be to be compiled.
    pub(super) fn set_threshold(&self, threshold: u32) {
        self.threshold.store(threshold, Ordering::Relaxed);
    }

    /// Notifies `observer` of the stubs, and of code that is generated from now on.
    pub(super) fn observe(&mut self, observer: Box<dyn CodeObserver + 'c>) {
        if let Ok(mut compiling) = self.compiling() {
            compiling.compiler.record_source_map(observer.needs_lines());
        }
        let start = self.stub_block.address();
        let block = start..start + self.stub_block.len();
        // Without memory the stubs have no names and no unwind tables.
        let eh_frame = core::mem::take(&mut self.stub_tables);
        let (code, what) = (block.clone(), EngineCode::Stubs);
        let placed = PlacedCode { what, block, code, lines: &[], eh_frame };
        self.stub_registration = observer.placed(placed).unwrap_or(None);
        self.observer = Some(observer);
    }

    /// Has `hook` called when a call through an [address](Native::address) is stopped.
    pub(super) fn on_trap(&self, hook: Option<TrapHook>) {
        self.hook.set(hook);
    }

    fn report(&self, trap: Trap) {
        if let Some(hook) = self.hook.get() {
            hook(trap);
        }
    }

    /// # Errors
    /// [`ExecError::Forked`].
    fn compiling(&self) -> Result<LockGuard<'_, Compiling>, ExecError> {
        self.process.lock(&self.compiling).ok_or(ExecError::Forked)
    }

    fn params(&self, function: u32) -> usize {
        self.program.function(function).map_or(0, |function| function.params.into())
    }

    /// Calls function `function` with `args`, as many as it has parameters, and room for at most
    /// [`MAX_DEPTH`] activations.
    ///
    /// # Errors
    /// What stops the program.
    pub(super) fn call(&self, function: u32, args: &[u64], space: StackSpace) -> Result<u64, Trap> {
        if let Some(done) = self.run_code(function, args, space) {
            return done;
        }
        self.interpret(function, args, space)
    }

    /// Runs the code of a function, if it is compiled or is to be.
    fn run_code(
        &self,
        function: u32,
        args: &[u64],
        space: StackSpace,
    ) -> Option<Result<u64, Trap>> {
        let code = self.code_for_call(function, space.stack_end)?;
        let trap = |cause| Some(Err(Trap { cause, function, at: 0 }));
        let Some(depth) = space.depth.min(MAX_DEPTH).checked_sub(1) else {
            return trap(Cause::CallDepth);
        };
        Some(self.call_code(code, args, StackSpace { depth, ..space }))
    }

    /// The code of a function that is being called; `None` when it is not hot enough yet, or cannot be
    /// compiled, or not on what is left of the stack.
    #[inline]
    fn code_for_call(&self, function: u32, stack_end: usize) -> Option<usize> {
        let word = self.block.functions().get(usize::try_from(function).ok()?)?;
        let address = word.load(Ordering::Acquire);
        if !self.exit_trampolines.contains(&address) {
            return Some(address);
        }
        let is_wanted = self.program.compiles(function) && self.warm(function);
        if !is_wanted || !stack::is_left_to_compile(stack_end) {
            return None;
        }
        self.compile(function).ok().map(|(address, _)| address)
    }

    /// Counts; whether the function is to be compiled.
    fn warm(&self, function: u32) -> bool {
        let heat = usize::try_from(function).ok().and_then(|index| self.heat.get(index));
        let Some(heat) = heat else { return false };
        let threshold = self.threshold.load(Ordering::Relaxed);
        // Two threads may count one: nothing depends on the exact number.
        let now = heat.load(Ordering::Relaxed);
        if now == REFUSED {
            return false;
        }
        heat.store((now + 1).min(REFUSED - 1), Ordering::Relaxed);
        now >= threshold && threshold != NEVER
    }

    /// Compiles a function, if it is not yet, and gives where its code is: address and bytes.
    ///
    /// # Errors
    /// No such function, no memory, or too much code.
    pub(super) fn compile(&self, function: u32) -> Result<(usize, usize), CodeError> {
        let none = CodeError::NoFunction { index: function };
        let index = usize::try_from(function).map_err(|_| none)?;
        let word = self.block.functions().get(index).ok_or(none)?;
        let place = self.compile_once(function).inspect_err(|error| {
            if let Some(heat) = self.heat.get(index).filter(|_| error.is_permanent()) {
                heat.store(REFUSED, Ordering::Relaxed);
            }
        })?;
        word.store(place.0, Ordering::Release);
        Ok(place)
    }

    /// Compiles a function, if it is not yet, and gives where its code is.
    fn compile_once(&self, function: u32) -> Result<(usize, usize), CodeError> {
        // Before the work: there is nowhere to put the code.
        if self.stub_block.is_forked() {
            return Err(ExecError::Forked.into());
        }
        let mut compiling = self.compiling()?;
        let Compiling { compiler, compiled, .. } = &mut *compiling;
        if let Some(code) = compiled.get(&function) {
            return Ok(code.place());
        }
        let report = |edge| {
            if let Some(observer) = &self.observer {
                observer.on_compile(function, edge);
            }
        };
        report(Edge::Begin);
        let code = compiler.function(&self.program, function);
        let code = code.and_then(|code| self.place(function, &code));
        report(Edge::End);
        Ok(insert_code(compiled, function, code?)?)
    }

    /// Places code.
    fn publish(&self, code: &[u8], align: usize) -> Result<ExecutableBlock, ExecError> {
        let mut block = self.memory.allocate_with(Request::new(code.len()).aligned_to(align))?;
        block.as_mut_slice().copy_from_slice(code);
        block.publish()
    }

    /// Places a compiled function, or its replacement, and reports it to the observer.
    fn place(&self, function: u32, compiled: &CompiledFunction<'_>) -> Result<Code, CodeError> {
        // Functions of the program are called through the block, or by their own code.
        debug_assert!(compiled.relocations.is_empty());
        let align = usize::try_from(compiled.align).unwrap_or(16);
        let mut code = Code::new(self.publish(compiled.bytes, align)?, compiled.frame_size);
        code.registration = self.announce(function, code.range(), compiled);
        Ok(code)
    }

    /// Reports new code to the observer. Without memory the code is not registered.
    fn announce(
        &self,
        function: u32,
        block: Range<usize>,
        compiled: &CompiledFunction<'_>,
    ) -> Registration {
        let observer = self.observer.as_ref()?;
        let &CompiledFunction { unwind_machine, unwind, source_map: lines, code_size, .. } =
            compiled;
        // The observer knows the name of the function, in which offsets count.
        let tables = FunctionTables::new(unwind_machine, unwind, &[], b"", code_size).ok()?;
        let (code, eh_frame) = (tables.code(&block), tables.eh_frame(block.start).ok()?);
        let what = EngineCode::Function(function);
        observer.placed(PlacedCode { what, block, code, lines, eh_frame }).ok()?
    }

    /// The address and length of the code of each function that is compiled.
    pub(super) fn for_each_code(&self, mut each: impl FnMut(u32, usize, usize)) {
        let Ok(compiling) = self.compiling() else { return };
        // In the order of the functions.
        for (function, _) in (0..).zip(&self.heat) {
            if let Some(Code { block, .. }) = compiling.compiled.get(&function) {
                each(function, block.address(), block.len());
            }
        }
    }

    /// Calls a function with values and objects.
    ///
    /// # Errors
    /// The trap that stops the program.
    pub(super) fn call_with(
        &self,
        objects: &mut dyn Objects,
        call: (u32, &[Value]),
        space: StackSpace,
    ) -> Result<Value, Trap> {
        let mut tier = self;
        self.interpreters.call_with(self.environment(), objects, &mut tier, call, space)
    }

    fn environment(&self) -> Environment<'_, 'c> {
        Environment { program: &self.program, hosts: &self.hosts, signals: self.signals() }
    }

    /// Interprets a call. The functions that it calls may be compiled.
    fn interpret(&self, function: u32, args: &[u64], space: StackSpace) -> Result<u64, Trap> {
        let mut tier = self;
        self.interpreters.call(self.environment(), &mut tier, function, args, space)
    }

    /// Continues an activation in compiled code, if its function is compiled or hot enough to be, and there is stack
    /// for the activation.
    fn continue_loop(&self, head: &LoopHead<'_>) -> Option<Result<u64, Trap>> {
        let &LoopHead { function, at, ref locals, space, .. } = head;
        self.code_for_call(function, space.stack_end)?;
        let code = self.replacement(function, at, space.stack_end)?;
        // The operand stack lies behind the locals.
        let frame = locals.as_ptr().expose_provenance() as u64;
        Some(self.call_code(code, &[frame], space))
    }

    /// The code of the on-stack replacement of a function at a loop head, if there is stack for its activation.
    fn replacement(&self, function: u32, at: u32, stack_end: usize) -> Option<usize> {
        let mut compiling = self.compiling().ok()?;
        let Compiling { compiler, replacements, .. } = &mut *compiling;
        if !replacements.contains_key(&(function, at)) {
            if !stack::is_left_to_compile(stack_end) {
                return None;
            }
            replacements.try_reserve(1).ok()?;
            let compiled = compiler.replacement(&self.program, function, at);
            let code = match compiled.and_then(|compiled| self.place(function, &compiled)) {
                Err(error) if error.is_permanent() => None,
                placed => Some(placed.ok()?),
            };
            replacements.insert((function, at), code);
        }
        let code = replacements.get(&(function, at))?.as_ref()?;
        let need = usize::try_from(code.frame_size).ok()?.saturating_add(CALL_STACK);
        stack::is_left(need, stack_end).then_some(code.place().0)
    }
}

impl TierUp for &Native<'_> {
    fn on_call(
        &mut self,
        function: u32,
        args: &[u64],
        space: StackSpace,
    ) -> Option<Result<u64, Trap>> {
        self.run_code(function, args, space)
    }

    fn on_back_edge(&mut self, head: LoopHead<'_>) -> Option<Result<u64, Trap>> {
        self.continue_loop(&head)
    }
}

#[cfg(test)]
mod fork_tests;
#[cfg(test)]
mod tests;
