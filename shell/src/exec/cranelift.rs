//! Cranelift as a back end: IR is translated function by function, and its code is placed in the memory of the manager.
//!
//! Functions of a unit call each other directly, callees elsewhere by address. A trap is a call of
//! [`trap_hook`](smf_core::trap::trap_hook) in a cold block, so that code has the same checks as that of the native back
//! end, and division by zero, bounds and overflow are never signals. Tail calls return to their caller.
//!
//! The levels 0 to 3 are Cranelift's `none`, `speed`, `speed` and `speed_and_size`.

mod declarations;
mod place;
mod translate;

use std::fmt;
use std::sync::{Mutex, PoisonError};

use cranelift_codegen::control::ControlPlane;
use cranelift_codegen::isa::{self, OwnedTargetIsa};
use cranelift_codegen::settings::{self, Configurable};
use cranelift_codegen::{CodegenError, Context};
use cranelift_frontend::FunctionBuilderContext;
use smf_core::alloc_util::{AllocError, try_push};
use smf_core::exec::{Backend, BackendError, CompiledUnit, Level, Unit};
use smf_core::ir::FunctionInstance;
use smf_core::link::Name;
use smf_core::memory::code_alloc::CodeMemory;

use declarations::Declarations;
use place::UnitCode;

use super::callees::{Outside, other};

/// The maximum number of idle workspaces, about the number of threads that compile concurrently.
const MAX_IDLE: usize = 4;

/// Cranelift for this machine.
pub struct CraneliftBackend {
    memory: CodeMemory,
    /// By level.
    machines: [OwnedTargetIsa; 4],
    idle: Mutex<Vec<Workspace>>,
}

impl fmt::Debug for CraneliftBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CraneliftBackend").finish_non_exhaustive()
    }
}

/// The memory of compilations, which is reused.
struct Workspace {
    context: Context,
    frontend: FunctionBuilderContext,
    control: ControlPlane,
}

impl Default for Workspace {
    fn default() -> Self {
        let frontend = FunctionBuilderContext::new();
        Self { context: Context::new(), frontend, control: ControlPlane::default() }
    }
}

/// The compiler for this machine at a level.
fn machine(level: Level) -> Result<OwnedTargetIsa, BackendError> {
    finish(cranelift_native::builder().map_err(|_| BackendError::Machine)?, level)
}

/// The compiler of a builder at a level.
fn finish(builder: isa::Builder, level: Level) -> Result<OwnedTargetIsa, BackendError> {
    let level = match level {
        Level::None => "none",
        Level::Local | Level::Speed => "speed",
        Level::SpeedAndSize => "speed_and_size",
    };
    let mut flags = settings::builder();
    let verifier = if cfg!(debug_assertions) { "true" } else { "false" };
    let all = [
        ("opt_level", level),
        ("enable_verifier", verifier),
        // A frame of more than a page must not skip the guard page of the stack.
        ("enable_probestack", "true"),
        ("probestack_strategy", "inline"),
    ];
    for (flag, value) in all {
        let unknown = |_| BackendError::Defect("Cranelift: an unknown setting");
        flags.set(flag, value).map_err(unknown)?;
    }
    builder.finish(settings::Flags::new(flags)).map_err(|_| BackendError::Machine)
}

/// Code of functions that are compiled together.
pub struct CraneliftCode {
    /// The addresses, and the owner of the code.
    pub unit: CompiledUnit,
    /// Bytes of the code of the functions alone.
    pub code_bytes: usize,
}

impl CraneliftBackend {
    /// A back end that places code in `memory`.
    ///
    /// # Errors
    /// [`BackendError::Machine`] if Cranelift does not support this machine.
    pub fn new(memory: CodeMemory) -> Result<Self, BackendError> {
        let machines = [
            machine(Level::None)?,
            machine(Level::Local)?,
            machine(Level::Speed)?,
            machine(Level::SpeedAndSize)?,
        ];
        Ok(Self { memory, machines, idle: Mutex::default() })
    }

    fn machine(&self, level: Level) -> Result<&OwnedTargetIsa, BackendError> {
        self.machines.get(level as usize).ok_or(BackendError::Machine)
    }

    /// Compiles and places functions, which call each other by number. `symbol` returns the address of a callee of the
    /// host; `name` is the name of a function, for errors.
    ///
    /// # Errors
    /// [`BackendError`].
    pub fn compile_functions(
        &self,
        functions: &[FunctionInstance<'_, '_>],
        level: Level,
        symbol: &mut dyn FnMut(&[u8]) -> Option<u64>,
        name: &dyn Fn(usize) -> Result<Name, AllocError>,
    ) -> Result<CraneliftCode, BackendError> {
        let machine = self.machine(level)?;
        let mut workspace = self.workspace();
        let mut code = UnitCode::default();
        let mut outside = Outside::new(symbol)?;
        let mut data = Vec::new();
        for (index, function) in functions.iter().enumerate() {
            let mut unit = Declarations {
                config: machine.frontend_config(),
                outside: &mut outside,
                data: &mut data,
                failure: None,
            };
            let Workspace { context, frontend, control } = &mut workspace;
            context.clear();
            translate::function(&mut unit, function, index, &mut context.func, frontend);
            if let Some(failure) = unit.failure {
                return Err(failure.of(name(index)?)?);
            }
            let compiled = context.compile(&**machine, control);
            if let Err(error) = compiled.map_err(|error| error.inner) {
                return Err(refusal(&name(index)?, &error)?);
            }
            code.add(context)?;
        }
        let code_bytes = code.code_bytes();
        let unit = code.place(&self.memory, &outside.addresses, data, name)?;
        self.recycle(workspace);
        Ok(CraneliftCode { unit, code_bytes })
    }

    /// Compiles a function without placing it. Returns the size of its code in bytes.
    ///
    /// # Errors
    /// [`BackendError`].
    pub fn code_size(
        &self,
        function: &FunctionInstance<'_, '_>,
        level: Level,
    ) -> Result<usize, BackendError> {
        self.size_on(self.machine(level)?, function)
    }

    /// The same for another machine, by its target triple.
    ///
    /// # Errors
    /// [`BackendError`]; [`BackendError::Machine`] if Cranelift was built without it.
    pub fn code_size_for(
        &self,
        triple: &str,
        function: &FunctionInstance<'_, '_>,
        level: Level,
    ) -> Result<usize, BackendError> {
        let builder = isa::lookup_by_name(triple).map_err(|_| BackendError::Machine)?;
        self.size_on(&finish(builder, level)?, function)
    }

    fn size_on(
        &self,
        machine: &OwnedTargetIsa,
        function: &FunctionInstance<'_, '_>,
    ) -> Result<usize, BackendError> {
        let mut workspace = self.workspace();
        // Functions of the host have any address, because the code is not placed.
        let mut any = |_: &[u8]| Some(1 << 40);
        let mut outside = Outside::new(&mut any)?;
        let mut unit = Declarations {
            config: machine.frontend_config(),
            outside: &mut outside,
            data: &mut Vec::new(),
            failure: None,
        };
        let Workspace { context, frontend, control } = &mut workspace;
        context.clear();
        translate::function(&mut unit, function, 0, &mut context.func, frontend);
        let name = Name::new(b"function")?;
        if let Some(failure) = unit.failure {
            return Err(failure.of(name)?);
        }
        let size = match context.compile(&**machine, control) {
            Ok(code) => code.code_buffer().len(),
            Err(error) => return Err(refusal(&name, &error.inner)?),
        };
        self.recycle(workspace);
        Ok(size)
    }

    fn workspace(&self) -> Workspace {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_default()
    }

    fn recycle(&self, workspace: Workspace) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < MAX_IDLE {
            // Without memory it is dropped.
            let _ = try_push(&mut idle, workspace);
        }
    }
}

fn refusal(name: &Name, error: &CodegenError) -> Result<BackendError, AllocError> {
    other(&format!("function `{name}`: Cranelift: {error}"))
}

impl Backend for CraneliftBackend {
    fn name(&self) -> &'static str {
        "cranelift"
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
        Ok(self
            .compile_functions(&unit.instances()?, level, symbol, &|index| {
                unit.function_name(index)
            })?
            .unit)
    }
}
