//! LLVM 19 as a back end: a unit becomes a module of LLVM, which is optimised and encoded as an object in memory. The
//! code of the object is placed in the memory of the manager.
//!
//! A trap is a call of [`trap_hook`](smf_core::trap::trap_hook) in a block of its own, so that code has the same checks
//! as that of the native back end, and division by zero, bounds and overflow are never signals. Operations that LLVM
//! leaves undefined for some values have their values selected before. A tail call reuses the frame if the caller has the
//! signature of the callee, and otherwise where the arguments permit it.
//!
//! The levels 0 to 3 are LLVM's none, less, default and aggressive. Code is for x86-64 and this processor; other machines
//! are refused.
//!
//! A context of LLVM belongs to one compilation. The compilers of the levels are shared, so that a back end compiles one
//! unit at a time.
#![allow(unsafe_code)]

mod declare;
mod frames;
mod object;
mod translate;

use std::fmt;
use std::sync::{Mutex, PoisonError};

use inkwell::OptimizationLevel;
use inkwell::context::Context;
use inkwell::memory_buffer::MemoryBuffer;
use inkwell::module::Module;
use inkwell::passes::PassBuilderOptions;
use inkwell::targets::{
    CodeModel, FileType, InitializationConfig, RelocMode, Target, TargetMachine,
};
use smf_core::alloc_util::AllocError;
use smf_core::exec::{Backend, BackendError, CompiledUnit, Level, SharedRegistry, Unit};
use smf_core::ir::FunctionInstance;
use smf_core::link::Name;
use smf_core::memory::code_alloc::CodeMemory;

use super::callees::{Outside, other};
use declare::Declarations;
use object::ObjectCode;

/// The compilers of the levels.
struct Machines([TargetMachine; 4]);

// SAFETY: a target machine belongs to no thread, and the lock of the back end admits one thread at a time
// (`llvm/Target/TargetMachine.h`).
unsafe impl Send for Machines {}

/// LLVM for this machine.
pub struct LlvmBackend {
    memory: CodeMemory,
    registry: Option<SharedRegistry>,
    machines: Mutex<Machines>,
}

impl fmt::Debug for LlvmBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LlvmBackend").finish_non_exhaustive()
    }
}

/// The compiler for this machine at a level.
fn machine(level: Level) -> Result<TargetMachine, BackendError> {
    let level = match level {
        Level::None => OptimizationLevel::None,
        Level::Local => OptimizationLevel::Less,
        Level::Speed => OptimizationLevel::Default,
        Level::SpeedAndSize => OptimizationLevel::Aggressive,
    };
    if cfg!(not(target_arch = "x86_64")) {
        return Err(BackendError::Machine);
    }
    Target::initialize_x86(&InitializationConfig::default());
    let triple = TargetMachine::get_default_triple();
    let target = Target::from_triple(&triple).map_err(|_| BackendError::Machine)?;
    let (cpu, features) =
        (TargetMachine::get_host_cpu_name(), TargetMachine::get_host_cpu_features());
    let (cpu, features) = (cpu.to_string_lossy(), features.to_string_lossy());
    let (relocations, model) = (RelocMode::PIC, CodeModel::Small);
    let machine = target.create_target_machine(&triple, &cpu, &features, level, relocations, model);
    machine.ok_or(BackendError::Machine)
}

/// The passes of a level; `None` if there are none.
fn passes(level: Level) -> Option<&'static str> {
    match level {
        Level::None => None,
        Level::Local => Some("default<O1>"),
        Level::Speed => Some("default<O2>"),
        Level::SpeedAndSize => Some("default<O3>"),
    }
}

fn refusal(what: &str, error: &impl fmt::Display) -> Result<BackendError, AllocError> {
    other(&format!("LLVM: {what}: {error}"))
}

impl LlvmBackend {
    /// A back end that places code in `memory`.
    ///
    /// # Errors
    /// [`BackendError::Machine`] if this machine is not x86-64.
    pub fn new(memory: CodeMemory) -> Result<Self, BackendError> {
        let machines = Machines([
            machine(Level::None)?,
            machine(Level::Local)?,
            machine(Level::Speed)?,
            machine(Level::SpeedAndSize)?,
        ]);
        Ok(Self { memory, registry: None, machines: Mutex::new(machines) })
    }

    /// As [`new`](Self::new), for code that a host registers: its names and unwind tables.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn with_registry(
        memory: CodeMemory,
        registry: SharedRegistry,
    ) -> Result<Self, BackendError> {
        Ok(Self { registry: Some(registry), ..Self::new(memory)? })
    }

    /// Compiles and places functions, which call each other by number. `symbol` returns the address of a callee of the
    /// host; `name` is the name of a function, for errors and tools.
    ///
    /// # Errors
    /// [`BackendError`].
    pub fn compile_functions(
        &self,
        functions: &[FunctionInstance<'_, '_>],
        level: Level,
        symbol: &mut dyn FnMut(&[u8]) -> Option<u64>,
        name: &dyn Fn(usize) -> Result<Name, AllocError>,
    ) -> Result<CompiledUnit, BackendError> {
        let object = self.object(functions, level, symbol, name)?;
        ObjectCode::read(object.as_slice(), functions.len())?.place(
            &self.memory,
            self.registry.as_ref(),
            name,
        )
    }

    /// The functions as an object.
    fn object(
        &self,
        functions: &[FunctionInstance<'_, '_>],
        level: Level,
        symbol: &mut dyn FnMut(&[u8]) -> Option<u64>,
        name: &dyn Fn(usize) -> Result<Name, AllocError>,
    ) -> Result<MemoryBuffer<'static>, BackendError> {
        let machines = self.machines.lock().unwrap_or_else(PoisonError::into_inner);
        let machine = machines.0.get(level as usize).ok_or(BackendError::Machine)?;
        let context = Context::create();
        let module = context.create_module("unit");
        module.set_triple(&machine.get_triple());
        module.set_data_layout(&machine.get_target_data().get_data_layout());
        let mut outside = Outside::new(symbol)?;
        translate(&context, &module, functions, &mut outside, name)?;
        if cfg!(debug_assertions)
            && let Err(error) = module.verify()
        {
            return Err(refusal("an invalid module", &error.to_string_lossy())?);
        }
        optimise(&module, machine, level)?;
        match machine.write_to_memory_buffer(&module, FileType::Object) {
            Ok(object) => Ok(object),
            Err(error) => Err(refusal("no object", &error.to_string_lossy())?),
        }
    }
}

/// Translates functions, which call each other by number.
fn translate<'c>(
    context: &'c Context,
    module: &Module<'c>,
    functions: &[FunctionInstance<'_, '_>],
    outside: &mut Outside<'_>,
    name: &dyn Fn(usize) -> Result<Name, AllocError>,
) -> Result<(), BackendError> {
    let declarations = match Declarations::new(context, module, functions) {
        Ok(declarations) => declarations,
        Err(failure) => return Err(failure.of(name(0)?)?),
    };
    for (index, instance) in functions.iter().enumerate() {
        if let Err(failure) = translate::function(&declarations, outside, instance, index) {
            return Err(failure.of(name(index)?)?);
        }
    }
    Ok(())
}

fn optimise(
    module: &Module<'_>,
    machine: &TargetMachine,
    level: Level,
) -> Result<(), BackendError> {
    let Some(passes) = passes(level) else { return Ok(()) };
    match module.run_passes(passes, machine, PassBuilderOptions::create()) {
        Ok(()) => Ok(()),
        Err(error) => Err(refusal("a failed pass", &error.to_string_lossy())?),
    }
}

impl Backend for LlvmBackend {
    fn name(&self) -> &'static str {
        "llvm"
    }

    fn registry(&self) -> Option<SharedRegistry> {
        self.registry.clone()
    }

    fn code_memory(&self) -> Option<CodeMemory> {
        Some(self.memory.clone())
    }

    fn compile(
        &self,
        unit: &Unit,
        level: Level,
        symbol: &mut dyn FnMut(&[u8]) -> Option<u64>,
    ) -> Result<CompiledUnit, BackendError> {
        self.compile_functions(&unit.instances()?, level, symbol, &|index| {
            unit.function_name(index)
        })
    }
}
