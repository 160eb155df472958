//! Compiled code of a program on x86-64: compiled when it is worth it, published, called, and gone into
//! from a loop that the interpreter is running.
//!
//! Each function has a word in the [block](block) that compiled code finds its callees through. At
//! first it leads to a stand-in, which goes to the interpreter; once the function is compiled, one store
//! leads all calls to its code. Code and block live as long as the engine.

mod block;
mod enter;
mod stubs;

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;
use core::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

use spin::Mutex;

use crate::jit::host::{HostTable, Signals};
use crate::jit::interpret::{Environment, Interpreter, Room, Tier};
use crate::jit::lower::{Image, LowerError, Lowering};
use crate::jit::trap::{Cause, DEFAULT_BUDGET, MAX_DEPTH, Trap};
use crate::jit::verify::{Program, Verifier};
use crate::jit::x64::AssembleError;
use crate::memory::exec::{CodeMemory, ExecError, ExecutableBlock, Request};
use block::Block;
use enter::gather;
use stubs::{Resume, STAND_IN, Stubs};

/// Why there is no compiled code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum NativeError {
    /// The program has no such function.
    NoFunction {
        /// The index that was asked for.
        index: u32,
    },
    /// The host passes at most eight arguments.
    Parameters {
        /// The index of the function.
        index: u32,
        /// How many it takes.
        params: u16,
    },
    /// The function was not compiled.
    Lower(LowerError),
    /// There is no memory for code.
    Exec(ExecError),
    /// There is no memory for tables.
    NoMemory,
}

impl From<ExecError> for NativeError {
    fn from(error: ExecError) -> Self {
        NativeError::Exec(error)
    }
}

impl From<LowerError> for NativeError {
    fn from(error: LowerError) -> Self {
        NativeError::Lower(error)
    }
}

impl From<AssembleError> for NativeError {
    fn from(error: AssembleError) -> Self {
        NativeError::Lower(error.into())
    }
}

impl fmt::Display for NativeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NativeError::NoFunction { index } => write!(f, "the program has no function {index}"),
            NativeError::Parameters { index, params } => write!(
                f,
                "function {index} takes {params} arguments, and a host passes 8 at most"
            ),
            NativeError::Lower(error) => error.fmt(f),
            NativeError::Exec(error) => error.fmt(f),
            NativeError::NoMemory => f.write_str("no memory for the tables of compiled functions"),
        }
    }
}

impl core::error::Error for NativeError {}

/// Code of a function.
#[derive(Debug)]
struct Compiled {
    function: u32,
    block: ExecutableBlock,
    /// Where loop heads are, in bytes from the begin of the function and of its code.
    loop_heads: Box<[(u32, u32)]>,
}

/// What compiling needs, one thread at a time.
#[derive(Debug, Default)]
struct Compiler {
    verifier: Verifier,
    lowering: Lowering,
    /// By index.
    compiled: Vec<Compiled>,
    ways_in: Vec<(u32, ExecutableBlock)>,
    image: Image,
}

/// A function that is told of what stopped a call that the host made through an
/// [address](Native::address): the engine has no other way to say so.
pub type TrapHook = fn(Trap);

/// A program and its compiled code. It stays where it is.
pub struct Native<'c> {
    program: Program<'c>,
    hosts: HostTable,
    block: Block,
    /// Addresses of host functions by index.
    host_addresses: Vec<usize>,
    memory: CodeMemory,
    stubs: Stubs,
    stub_block: ExecutableBlock,
    /// Below this address and in `stub_block` are stand-ins.
    stand_ins: core::ops::Range<usize>,
    compiler: Mutex<Compiler>,
    /// How often functions were called and their loops gone round, until they were compiled.
    heat: Vec<AtomicU32>,
    threshold: AtomicU32,
    interpreters: Mutex<Vec<Interpreter>>,
    hook: AtomicUsize,
    hooks: Mutex<Option<TrapHook>>,
}

impl fmt::Debug for Native<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Native").field("functions", &self.heat.len()).finish_non_exhaustive()
    }
}

impl<'c> Native<'c> {
    /// An engine for `program`, which `hosts` has been [linked](HostTable::link) with. A function is
    /// compiled when it has been called, and its loops gone round, `threshold` times; at 0 before it
    /// runs at all.
    ///
    /// # Errors
    /// No memory, or none for code.
    pub fn new(
        program: Program<'c>,
        hosts: HostTable,
        memory: CodeMemory,
        threshold: u32,
    ) -> Result<Box<Self>, NativeError> {
        let count = program.functions().len();
        let block = Block::new(count).ok_or(NativeError::NoMemory)?;
        let (stubs, stub_block, at) = publish_stubs(&memory, count)?;
        let first = stub_block.address() + at;
        let stand_ins = first..first + count * STAND_IN;
        let last = program.host_calls().last().map_or(0, |call| usize::from(call.index) + 1);
        let mut host_addresses = alloc::vec![0; last];
        for call in program.host_calls() {
            let place = host_addresses.get_mut(usize::from(call.index));
            if let (Some(place), Some(function)) = (place, hosts.get(call.index)) {
                *place = function.address();
            }
        }
        let mut native = Box::new(Self {
            program,
            hosts,
            block,
            host_addresses,
            memory,
            stubs,
            stub_block,
            stand_ins,
            compiler: Mutex::default(),
            heat: core::iter::repeat_with(AtomicU32::default).take(count).collect(),
            threshold: AtomicU32::new(threshold),
            interpreters: Mutex::default(),
            hook: AtomicUsize::new(0),
            hooks: Mutex::new(None),
        });
        native.fill_block();
        Ok(native)
    }

    fn fill_block(&mut self) {
        let engine = core::ptr::from_ref(self).expose_provenance();
        let base = self.stub_block.address();
        let stubs = self.stubs;
        let header = self.block.header_mut();
        header.traps = stubs.traps.map(|offset| base + offset);
        header.host_trap = base + stubs.host_trap;
        header.host_functions = self.host_addresses.as_ptr().expose_provenance();
        header.engine = engine;
        for (word, stand_in) in
            self.block.functions().iter().zip(self.stand_ins.clone().step_by(STAND_IN))
        {
            word.store(stand_in, Ordering::Relaxed);
        }
    }

    fn stub(&self, offset: usize) -> usize {
        self.stub_block.address() + offset
    }

    /// The program.
    pub fn program(&self) -> &Program<'c> {
        &self.program
    }

    /// What the host tells the program.
    pub fn signals(&self) -> &Signals {
        &self.block.header().signals
    }

    /// Changes how hot a function must be to be compiled.
    pub fn set_threshold(&self, threshold: u32) {
        self.threshold.store(threshold, Ordering::Relaxed);
    }

    /// Has `hook` called when a call through an [address](Native::address) is stopped.
    pub fn on_trap(&self, hook: Option<TrapHook>) {
        *self.hooks.lock() = hook;
        self.hook.store(usize::from(hook.is_some()), Ordering::Release);
    }

    fn tell(&self, trap: Trap) {
        let hook = *self.hooks.lock();
        if let Some(hook) = hook {
            hook(trap);
        }
    }

    fn params(&self, function: u32) -> usize {
        self.program.function(function).map_or(0, |function| function.params.into())
    }

    /// Calls function `function` with `args`, as many as it has parameters: missing ones are 0.
    ///
    /// # Errors
    /// What stops the program.
    pub fn call(&self, function: u32, args: &[u64]) -> Result<u64, Trap> {
        self.call_with(function, args, Room { depth: MAX_DEPTH, budget: DEFAULT_BUDGET })
    }

    /// As [`call`](Self::call), with room of the caller's choice: at most [`MAX_DEPTH`] activations.
    ///
    /// # Errors
    /// What stops the program.
    pub fn call_with(&self, function: u32, args: &[u64], room: Room) -> Result<u64, Trap> {
        if let Some(done) = self.run_code(function, args, room) {
            return done;
        }
        self.interpret(function, args, &[], room)
    }

    /// Runs the code of a function, if it is compiled or is to be.
    fn run_code(&self, function: u32, args: &[u64], room: Room) -> Option<Result<u64, Trap>> {
        let code = self.code_for_call(function)?;
        let Some(depth) = room.depth.min(MAX_DEPTH).checked_sub(1) else {
            return Some(Err(Trap { cause: Cause::CallDepth, function, at: 0 }));
        };
        let params = self.params(function);
        Some(match args.get(..params) {
            Some(args) => self.call_code(code, args, depth, room.budget),
            None => {
                let mut all = args.to_vec();
                all.resize(params, 0);
                self.call_code(code, &all, depth, room.budget)
            }
        })
    }

    /// The code of a function that is being called; `None` when it is not hot enough yet, or cannot be
    /// compiled.
    #[inline]
    fn code_for_call(&self, function: u32) -> Option<usize> {
        let word = self.block.functions().get(usize::try_from(function).ok()?)?;
        let address = word.load(Ordering::Acquire);
        if !self.stand_ins.contains(&address) {
            return Some(address);
        }
        self.warm(function).then(|| self.compile(function).ok()).flatten()
    }

    /// Counts; whether the function is to be compiled.
    fn warm(&self, function: u32) -> bool {
        let heat = usize::try_from(function).ok().and_then(|index| self.heat.get(index));
        let Some(heat) = heat else { return false };
        let threshold = self.threshold.load(Ordering::Relaxed);
        // Two threads may count one: nothing depends on the exact number.
        let now = heat.load(Ordering::Relaxed);
        heat.store(now.saturating_add(1), Ordering::Relaxed);
        now >= threshold
    }

    /// Compiles a function, if it is not yet, and gives the address of its code.
    ///
    /// # Errors
    /// No such function, no memory, or too much code.
    pub fn compile(&self, function: u32) -> Result<usize, NativeError> {
        let none = NativeError::NoFunction { index: function };
        let index = usize::try_from(function).map_err(|_| none)?;
        let word = self.block.functions().get(index).ok_or(none)?;
        let mut compiler = self.compiler.lock();
        let address = word.load(Ordering::Acquire);
        if !self.stand_ins.contains(&address) {
            return Ok(address);
        }
        let Compiler { verifier, lowering, compiled, .. } = &mut *compiler;
        let facts = verifier.facts(&self.program, function).ok_or(none)?;
        let lowered = lowering.function(&facts)?;
        let request = Request::new(lowered.bytes.len()).aligned_to(16);
        let mut code = self.memory.allocate_with(request)?;
        code.as_mut_slice().copy_from_slice(lowered.bytes);
        let loop_heads = lowered.loop_heads.into();
        let block = code.publish()?;
        let address = block.address();
        let at = compiled.partition_point(|other| other.function < function);
        compiled.insert(at, Compiled { function, block, loop_heads });
        word.store(address, Ordering::Release);
        Ok(address)
    }

    /// The address and length of the code of each function that is compiled.
    pub fn for_each_code(&self, mut each: impl FnMut(u32, usize, usize)) {
        for Compiled { function, block, .. } in &self.compiler.lock().compiled {
            each(*function, block.address(), block.len());
        }
    }

    /// A function of the C convention that calls function `function`, which may be compiled or not,
    /// with its arguments, and returns its result: an integer, the bits of a float, 1 or 0 of a bool, 0
    /// of nil. When the call is stopped it returns 0, after the [hook](Native::on_trap) was told. The
    /// address is the same every time, and valid as long as the engine.
    ///
    /// # Errors
    /// No such function, more than eight parameters, or no memory.
    pub fn address(&self, function: u32) -> Result<usize, NativeError> {
        let found = self.program.function(function);
        let found = found.ok_or(NativeError::NoFunction { index: function })?;
        if found.params > 8 {
            return Err(NativeError::Parameters { index: function, params: found.params });
        }
        let mut compiler = self.compiler.lock();
        let at = match compiler.ways_in.binary_search_by_key(&function, |(index, _)| *index) {
            Ok(at) => return Ok(compiler.ways_in.get(at).map_or(0, |(_, block)| block.address())),
            Err(at) => at,
        };
        let trapped = enter::trapped as *const () as usize;
        let depth = i32::try_from(MAX_DEPTH - 1).unwrap_or(0);
        let code = stubs::assemble_way_in(
            function,
            found.params,
            self.block.address(),
            depth,
            DEFAULT_BUDGET,
            trapped,
        )?;
        let mut block = self.memory.allocate(code.bytes.len())?;
        block.as_mut_slice().copy_from_slice(&code.bytes);
        let block = block.publish()?;
        let address = block.address();
        compiler.ways_in.insert(at, (function, block));
        Ok(address)
    }

    /// Interprets a call. What it calls may be compiled.
    fn interpret(
        &self,
        function: u32,
        first: &[u64],
        rest: &[u64],
        room: Room,
    ) -> Result<u64, Trap> {
        let idle = self.interpreters.lock().pop();
        let mut interpreter = idle.unwrap_or_default();
        let environment =
            Environment { program: &self.program, hosts: &self.hosts, signals: self.signals() };
        let params = self.params(function);
        let result = gather(first, rest, params, |args| {
            interpreter.call(environment, &mut Watch { native: self }, function, args, room)
        });
        self.interpreters.lock().push(interpreter);
        result
    }

    /// Goes on with a loop in compiled code, if its function is compiled or hot enough to be.
    fn continue_loop(
        &self,
        function: u32,
        at: u32,
        locals: &[u64],
        vector: &[u64],
        room: Room,
    ) -> Option<Result<u64, Trap>> {
        self.code_for_call(function)?;
        let mut image = Image::default();
        let code = {
            let mut compiler = self.compiler.lock();
            let Compiler { verifier, lowering, compiled, image: spare, .. } = &mut *compiler;
            let found = compiled.binary_search_by_key(&function, |found| found.function).ok()?;
            let Compiled { block, loop_heads, .. } = compiled.get(found)?;
            let head = loop_heads.binary_search_by_key(&at, |&(head, _)| head).ok()?;
            let (_, offset) = *loop_heads.get(head)?;
            core::mem::swap(&mut image, spare);
            let facts = verifier.facts(&self.program, function)?;
            lowering.places(&facts).fill(&mut image, locals, vector);
            block.address() + usize::try_from(offset).ok()?
        };
        if let Some(place) = image.words.get_mut(image.return_address) {
            *place = self.stub(self.stubs.resumed) as u64;
        }
        let resume = Resume {
            code,
            words: image.words.as_ptr(),
            count: image.words.len(),
            below: 8 * image.below,
            depth: usize::try_from(room.depth).unwrap_or(0),
            registers: image.registers,
        };
        Some(self.resume(&resume, room.budget))
    }
}

/// Makes the stubs and, behind them, what stands in for functions. Where that begins comes last.
fn publish_stubs(
    memory: &CodeMemory,
    functions: usize,
) -> Result<(Stubs, ExecutableBlock, usize), NativeError> {
    let (code, stubs) = stubs::assemble(enter::interpret as *const () as usize)?;
    let at = code.bytes.len();
    let size = functions.checked_mul(STAND_IN).and_then(|size| size.checked_add(at));
    let mut block = memory.allocate(size.ok_or(NativeError::NoMemory)?)?;
    let interpret = isize::try_from(stubs.interpret).unwrap_or(0);
    let (first, rest) = block.as_mut_slice().split_at_mut_checked(at).unwrap_or_default();
    first.copy_from_slice(&code.bytes);
    for ((place, function), number) in rest.chunks_exact_mut(STAND_IN).zip(0..).zip(0..) {
        let number: usize = number;
        place.copy_from_slice(&stubs::stand_in(function, at + number * STAND_IN, interpret));
    }
    Ok((stubs, block.publish()?, at))
}

/// The engine, as the interpreter asks it.
struct Watch<'n, 'c> {
    native: &'n Native<'c>,
}

impl Tier for Watch<'_, '_> {
    fn enter(&mut self, function: u32, args: &[u64], room: Room) -> Option<Result<u64, Trap>> {
        self.native.run_code(function, args, room)
    }

    fn loop_head(
        &mut self,
        function: u32,
        at: u32,
        locals: &mut [u64],
        vector: &mut [u64],
        room: Room,
    ) -> Option<Result<u64, Trap>> {
        self.native.continue_loop(function, at, locals, vector, room)
    }
}

#[cfg(test)]
mod tests;
