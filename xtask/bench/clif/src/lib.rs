//! Cranelift, the back end of the execution manager, as an engine of the differential tests and as the peer of the
//! benchmark.
#![allow(unsafe_code)]

use smf_core::alloc_util::TryArc;
use smf_core::exec::{FunctionHandle, Level, Unit, UnitFunction};
use smf_core::ir::{FunctionInstance, Scalar};
use smf_core::link::{Name, Resolve};
use smf_core::memory::code_alloc::CodeMemory;
use smf_loader::exec::cranelift::{CraneliftBackend, CraneliftCode};
use smf_loader::exec::{BackendChoice, ExecManager, ExecOptions, SharedSymbols};
use smf_tests::differential::host::FUNCTIONS;
use smf_tests::differential::{Engine, Host, Outcome, Program, Runnable, call_native};

/// Cranelift with an optimisation level.
#[derive(Clone, Copy, Debug)]
pub struct Cranelift {
    /// `none`, `speed` or `speed_and_size`.
    pub level: &'static str,
}

impl Engine for Cranelift {
    fn name(&self) -> &str {
        self.level
    }

    fn compile<'p>(&self, program: &'p Program) -> Result<Box<dyn Runnable + 'p>, String> {
        let symbols = FUNCTIONS.iter().map(|function| (function.name, (function.address)()));
        let compiled = Compiled::new(&program.instances(), self.level, symbols)?;
        let (params, result) = program.signature(program.entry());
        Ok(Box::new(Callable { entry: program.entry(), compiled, params, result }))
    }
}

struct Callable {
    entry: usize,
    compiled: Compiled,
    params: Vec<Scalar>,
    result: Option<Scalar>,
}

impl Runnable for Callable {
    fn run(&mut self, args: &[u64], host: &mut Host) -> Outcome {
        let addresses = &self.compiled.code.unit.addresses;
        let trap_function = |function| {
            u32::try_from(addresses.iter().position(|&address| address == function)?).ok()
        };
        // SAFETY: a drawn program with these arguments, which ends.
        unsafe {
            call_native(
                self.compiled.address(self.entry),
                args,
                &self.params,
                self.result,
                host,
                trap_function,
            )
        }
    }
}

/// Machine code of the functions of a program, which call each other.
pub struct Compiled {
    code: CraneliftCode,
}

impl std::fmt::Debug for Compiled {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let addresses = &self.code.unit.addresses;
        f.debug_struct("Compiled").field("functions", addresses).finish_non_exhaustive()
    }
}

/// The level called `name`.
///
/// # Panics
/// If there is none.
fn level(name: &str) -> Level {
    match name {
        "none" => Level::None,
        "speed" => Level::Speed,
        "speed_and_size" => Level::SpeedAndSize,
        other => panic!("no level is called {other}"),
    }
}

/// A compiler for this machine.
///
/// # Panics
/// If Cranelift does not support it.
pub fn backend() -> CraneliftBackend {
    CraneliftBackend::new(CodeMemory::default()).unwrap()
}

/// The bytes of code of a function for another machine, by its target triple.
///
/// # Panics
/// If Cranelift refuses the machine or the function.
pub fn code_size_for(triple: &str, function: &FunctionInstance<'_, '_>, name: &str) -> usize {
    backend().code_size_for(triple, function, level(name)).unwrap()
}

impl Compiled {
    /// Compiles functions with an optimisation level, `none`, `speed` or `speed_and_size`. `symbols` are the functions of
    /// the host.
    ///
    /// # Errors
    /// The message of the back end.
    pub fn new<'s>(
        functions: &[FunctionInstance<'_, '_>],
        name: &str,
        symbols: impl Iterator<Item = (&'s str, u64)>,
    ) -> Result<Self, String> {
        let symbols: Vec<(&str, u64)> = symbols.collect();
        let mut symbol = |wanted: &[u8]| {
            symbols.iter().find(|(name, _)| name.as_bytes() == wanted).map(|(_, address)| *address)
        };
        let number = |index: usize| Name::new(format!("function{index}").as_bytes());
        let code = backend().compile_functions(functions, level(name), &mut symbol, &number);
        Ok(Self { code: code.map_err(|error| error.to_string())? })
    }

    /// The address of a function.
    ///
    /// # Panics
    /// If there is no such function.
    pub fn address(&self, index: usize) -> u64 {
        self.code.unit.addresses[index]
    }

    /// The bytes of code of all functions.
    pub fn code_size(&self) -> usize {
        self.code.code_bytes
    }
}

/// Compiles a function of no program for this machine, without memory for it, and returns the size of its code. It may
/// call itself only.
///
/// # Panics
/// If Cranelift refuses the function.
pub fn compile_only(compiler: &mut CompilerOnly, function: &FunctionInstance<'_, '_>) -> usize {
    compiler.backend.code_size(function, compiler.level).unwrap()
}

/// The memory of [`compile_only`], which is reused.
#[derive(Debug)]
pub struct CompilerOnly {
    backend: CraneliftBackend,
    level: Level,
}

impl CompilerOnly {
    /// A compiler of one function with an optimisation level.
    pub fn new(name: &str) -> Self {
        Self { backend: backend(), level: level(name) }
    }
}

/// A manager with a back end and a level, in which each program is compiled as a unit.
#[derive(Clone, Copy, Debug)]
pub struct Managed {
    /// The back end.
    pub backend: BackendChoice,
    /// The level.
    pub level: Level,
    /// What messages call it.
    pub name: &'static str,
}

impl Engine for Managed {
    fn name(&self) -> &str {
        self.name
    }

    fn compile<'p>(&self, program: &'p Program) -> Result<Box<dyn Runnable + 'p>, String> {
        let symbols: Box<dyn Resolve + Send + Sync> = Box::new(|wanted: &[u8]| {
            let found = FUNCTIONS.iter().find(|function| function.name.as_bytes() == wanted);
            found.map(|function| (function.address)())
        });
        let symbols: SharedSymbols = TryArc::new(symbols).map_err(|error| error.to_string())?;
        let Self { backend, level, .. } = *self;
        let symbols = Some(symbols);
        let options = ExecOptions { backend, level, symbols, ..ExecOptions::default() };
        let manager = ExecManager::new(options).map_err(|error| error.to_string())?;
        let mut functions = Vec::new();
        for (index, body) in program.bytes().iter().enumerate() {
            let function = UnitFunction::new(format!("function{index}").as_bytes(), body);
            functions.push(function.map_err(|error| error.to_string())?);
        }
        let unit = Unit::new(functions).map_err(|error| error.to_string())?;
        // The binary form has the same functions.
        let unit = Unit::from_binary(&unit.to_binary().unwrap()).unwrap();
        manager.compile_unit(&unit).map_err(|error| error.to_string())?;
        let (params, result) = program.signature(program.entry());
        Ok(Box::new(ManagedProgram { manager, entry: program.entry(), params, result }))
    }
}

struct ManagedProgram {
    manager: ExecManager,
    entry: usize,
    params: Vec<Scalar>,
    result: Option<Scalar>,
}

impl Runnable for ManagedProgram {
    fn run(&mut self, args: &[u64], host: &mut Host) -> Outcome {
        let functions = self.manager.core().functions().unwrap();
        let addresses: Vec<u64> = functions.iter().filter_map(FunctionHandle::address).collect();
        let trap_function = |function| {
            u32::try_from(addresses.iter().position(|&address| address == function)?).ok()
        };
        let entry = addresses[self.entry];
        // SAFETY: a drawn program with these arguments, which ends.
        unsafe { call_native(entry, args, &self.params, self.result, host, trap_function) }
    }
}
