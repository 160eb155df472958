//! A manager with Simple source, files and functions of the host.
#![allow(unsafe_code)]

use std::collections::HashSet;
use std::fmt;
use std::path::Path;
use std::sync::{PoisonError, RwLock};

use smf_core::alloc_util::{AllocError, TryArc, try_collect, try_copy_bytes, try_push};
use smf_core::exec::{
    FunctionHandle, FunctionVersion, Level, Manager, ManagerError, ManagerOptions,
    ManagerStatistics, TrapReport, Unit, Value,
};
use smf_core::ir::Scalar;
use smf_core::link::Name;
use smf_core::memory::code_alloc::CodeMemory;
use smf_core::source::{Compiled, Diagnostic, Mode, SourceFile, TRAP_ASSERT, TrapCause};
use smf_core::trap::{Trap, TrapError};

use super::arguments::{integers, text_arguments, values_of};
use super::backend::BackendChoice;
use super::error::ExecError;
use super::host_functions;
use super::modules::{ModuleFunction, Modules, SharedSymbols, call_function};
use super::source_info::{self, SourceInfo, explain, refusal_of_texts};
use crate::call::install_chain_lookup;
use crate::fallible_buf::{Lossy, try_format};
use crate::files;
use crate::source::Program;

type Result<T, E = ExecError> = std::result::Result<T, E>;

/// Another front end: compiles source to IR.
pub trait FrontEnd: Send + Sync {
    /// Compiles the source of the file `name`.
    ///
    /// # Errors
    /// [`ExecError::FrontEnd`] and others.
    fn compile(&self, name: &str, text: &str) -> Result<Unit>;
}

/// A front end that several managers share.
pub type SharedFrontEnd = TryArc<Box<dyn FrontEnd>>;

/// How an execution manager works.
#[derive(Clone, Default)]
pub struct ExecOptions {
    /// The back end.
    pub backend: BackendChoice,
    /// The level of compilations, until it is [changed](ExecManager::set_level).
    pub level: Level,
    /// The maximum size of all code in bytes; `None` for 1 GiB.
    pub max_code_bytes: Option<usize>,
    /// Where code is placed; `None` for memory of its own.
    pub memory: Option<CodeMemory>,
    /// Resolves names that neither the manager nor a module defines, before the [functions of the
    /// host](host_functions).
    pub symbols: Option<SharedSymbols>,
}

impl fmt::Debug for ExecOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("ExecOptions");
        shown.field("backend", &self.backend).field("level", &self.level);
        shown.field("max_code_bytes", &self.max_code_bytes).finish_non_exhaustive()
    }
}

/// The result of a function that returns a text: its address and its length in bytes.
#[repr(C)]
struct TextResult {
    address: u64,
    length: i64,
}

/// Functions that are compiled from source, IR and files, called by name or by handle, and replaced.
///
/// All methods may be called from any thread. Managers share nothing but the code memory of their options.
pub struct ExecManager {
    manager: Manager,
    /// Dropped after the code that calls into them.
    modules: Modules,
    front_end: RwLock<Option<SharedFrontEnd>>,
}

impl fmt::Debug for ExecManager {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExecManager").field("manager", &self.manager).finish_non_exhaustive()
    }
}

impl ExecManager {
    /// A manager without functions.
    ///
    /// # Errors
    /// [`ExecError::MissingBackend`], [`ExecError::OutOfMemory`].
    pub fn new(options: ExecOptions) -> Result<Self> {
        install_chain_lookup();
        crate::stack::install_bounds();
        let backend = options.backend.open(options.memory.clone())?;
        let modules = Modules::new(options.memory, options.symbols);
        let ManagerOptions { max_code_bytes, .. } = ManagerOptions::default();
        let max_code_bytes = options.max_code_bytes.unwrap_or(max_code_bytes);
        let core_options = ManagerOptions { level: options.level, max_code_bytes };
        let manager = Manager::new(backend, core_options);
        Ok(Self { manager, modules, front_end: RwLock::new(None) })
    }

    /// The manager of the core.
    pub fn core(&self) -> &Manager {
        &self.manager
    }

    /// The name of the back end that compiles: never `auto`.
    pub fn backend_name(&self) -> &'static str {
        self.manager.backend_name()
    }

    /// The level of later compilations.
    pub fn level(&self) -> Level {
        self.manager.level()
    }

    /// Changes the level of later compilations.
    pub fn set_level(&self, level: Level) {
        self.manager.set_level(level);
    }

    /// Sets the front end that compiles source; `None` for that of the core.
    pub fn set_front_end(&self, front_end: Option<SharedFrontEnd>) {
        *self.front_end.write().unwrap_or_else(PoisonError::into_inner) = front_end;
    }

    /// Compiles Simple source. Parameters without a type are i64. On failure nothing changes.
    ///
    /// Returns the warnings.
    ///
    /// # Errors
    /// [`ExecError::Source`], [`ExecError::FrontEnd`], [`ExecError::Manager`].
    pub fn compile_source(&self, name: &str, text: &str) -> Result<Vec<Diagnostic>> {
        if let Some(front_end) = self.front_end() {
            return self.compile_unit(&front_end.compile(name, text)?).map(|()| Vec::new());
        }
        let module = Path::new(name).file_stem().and_then(|stem| stem.to_str()).unwrap_or(name);
        self.compile_files(&[SourceFile { name, module, text }])
    }

    /// Compiles the files of a program, the first one with the modules that it uses behind it.
    fn compile_files(&self, files: &[SourceFile<'_>]) -> Result<Vec<Diagnostic>> {
        let Compiled { unit, diagnostics } = self.manager.translate_source(files, Mode::Manager)?;
        let Some(mut source) = unit else { return Err(ExecError::Source(diagnostics)) };
        let mut unit = Unit::from_source(&mut source)?;
        source_info::record(&mut unit, source)?;
        self.compile_unit(&unit)?;
        Ok(diagnostics)
    }

    fn front_end(&self) -> Option<SharedFrontEnd> {
        self.front_end.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Compiles a unit of IR. On failure nothing changes.
    ///
    /// # Errors
    /// [`ExecError::Manager`].
    pub fn compile_unit(&self, unit: &Unit) -> Result<()> {
        let callees = self.modules.callees();
        self.manager.compile(unit, &callees).map_err(|error| callees.explain(error))
    }

    /// Compiles IR in either form if the text begins as IR does, and Simple source otherwise. Returns the warnings.
    ///
    /// # Errors
    /// [`ExecError`].
    pub fn compile_any(&self, name: &str, text: &[u8]) -> Result<Vec<Diagnostic>> {
        if is_binary_ir(text) || is_text_ir(text) {
            return self.compile_ir_of(name, text);
        }
        let not_text = |_| ExecError::not_text(name);
        self.compile_source(name, str::from_utf8(text).map_err(not_text)?)
    }

    /// Compiles IR in its text form or in the binary form of a unit, which begins with `SMUN`.
    ///
    /// # Errors
    /// [`ExecError::Manager`].
    pub fn compile_ir(&self, ir: &[u8]) -> Result<()> {
        let unit = match (is_binary_ir(ir), str::from_utf8(ir)) {
            (true, _) => Unit::from_binary(ir)?,
            (false, Ok(text)) => Unit::from_text(text)?,
            (false, Err(_)) => return Err(ExecError::not_text("the IR")),
        };
        self.compile_unit(&unit)
    }

    /// As [`compile_ir`](Self::compile_ir), with the name of the file in errors.
    fn compile_ir_of(&self, file: &str, ir: &[u8]) -> Result<Vec<Diagnostic>> {
        let compiled = self.compile_ir(ir).map_err(|error| error.in_ir(file, ir));
        compiled.map(|()| Vec::new())
    }

    /// Compiles a file by the extension of its name: IR (`.sir`), source (`.spl`) with the modules that it
    /// [uses](crate::source), or a module (`.smf`), which is loaded. Other files are told by their content. Returns the
    /// warnings. Another [front end](Self::set_front_end) receives the first file only.
    ///
    /// # Errors
    /// [`ExecError`].
    pub fn compile_file(&self, path: &Path) -> Result<Vec<Diagnostic>> {
        let is = |wanted: &str| path.extension().is_some_and(|extension| extension == wanted);
        if is("smf") {
            return self.modules.load(path).map(|()| Vec::new());
        }
        let shown = || path.display().to_string();
        let failed = |error| ExecError::Read { path: shown(), error };
        let bytes = files::read(path).map_err(failed)?;
        let bytes = bytes.as_ref();
        if is("sir") {
            return self.compile_ir_of(&shown(), bytes);
        }
        if !is("spl") {
            return self.compile_any(&shown(), bytes);
        }
        let text = str::from_utf8(bytes).map_err(|_| ExecError::NotText { path: shown() })?;
        if self.front_end().is_some() {
            return self.compile_source(&shown(), text);
        }
        let program = Program::of_file(path, bytes)?;
        self.compile_files(&program.files())
    }

    /// The function called `name`, which is not one of a module.
    pub fn find(&self, name: &[u8]) -> Option<FunctionHandle> {
        self.manager.find(name)
    }

    /// Whether a function is called `name`, of a module as well.
    pub fn has_function(&self, name: &[u8]) -> bool {
        self.find(name).is_some() || matches!(self.modules.function(name), Ok(Some(_)))
    }

    /// The names of the functions: in the order of their first compilation, behind them those of modules.
    ///
    /// # Errors
    /// [`ExecError::OutOfMemory`].
    pub fn function_names(&self) -> Result<Vec<Box<[u8]>>> {
        let (compiled, of_modules) = (self.manager.functions()?, self.modules.names()?);
        let mut found = HashSet::new();
        found.try_reserve(compiled.len() + of_modules.len()).map_err(|_| AllocError)?;
        let all = compiled.iter().map(|function| function.name().as_bytes());
        let all = all.chain(of_modules.iter().map(|name| &**name));
        let mut names = Vec::new();
        for name in all.filter(|name| found.insert(*name)) {
            try_push(&mut names, try_copy_bytes(name)?)?;
        }
        Ok(names)
    }

    /// What the manager has.
    pub fn statistics(&self) -> ManagerStatistics {
        self.manager.statistics()
    }

    /// Calls a function.
    ///
    /// # Errors
    /// [`ExecError::Trap`], [`ExecError::Manager`].
    ///
    /// # Safety
    /// As [`Manager::call`].
    // Benchmark row: "call add by handle, from C".
    #[inline(always)]
    pub unsafe fn call(
        &self,
        function: &FunctionHandle,
        arguments: &[Value],
    ) -> Result<Option<Value>> {
        // SAFETY: the caller's contract.
        let result = unsafe { self.manager.call(function, arguments) };
        host_functions::flush();
        match result {
            Ok(value) => Ok(value),
            Err(error) => Err(self.call_error(error)),
        }
    }

    /// Calls a function by name. A function of a module that does not state the types takes integers and returns one.
    ///
    /// # Errors
    /// [`ExecError`].
    ///
    /// # Safety
    /// As [`Manager::call`]; a function of a module that does not state the types takes as many integers.
    pub unsafe fn call_by_name(&self, name: &[u8], arguments: &[Value]) -> Result<Option<Value>> {
        // SAFETY: the caller's contract.
        let result = unsafe { self.manager.call_by_name(name, arguments) };
        host_functions::flush();
        match result {
            Ok(value) => Ok(value),
            Err(ManagerError::NoFunction(_)) => {
                let function = self.module_function(name)?;
                // SAFETY: the caller's contract.
                unsafe { self.call_module_function(name, &function, arguments) }
            }
            Err(error) => Err(self.call_error(error)),
        }
    }

    fn module_function(&self, name: &[u8]) -> Result<TryArc<ModuleFunction>> {
        let found = self.modules.function(name)?;
        found.ok_or_else(|| Name::in_error(name, ManagerError::NoFunction).into())
    }

    /// # Safety
    /// As [`call_function`].
    unsafe fn call_module_function(
        &self,
        name: &[u8],
        function: &ModuleFunction,
        arguments: &[Value],
    ) -> Result<Option<Value>> {
        // SAFETY: the caller's contract.
        let result = unsafe { call_function(name, function, arguments) };
        host_functions::flush();
        result.map_err(|error| self.module_error(error))
    }

    /// Calls a function with integers, which the types of its parameters must have. The result is that of an integer, an
    /// address or a bool; 0 for a function without result.
    ///
    /// # Errors
    /// [`ExecError`].
    ///
    /// # Safety
    /// As [`call_by_name`](Self::call_by_name).
    pub unsafe fn call_integers(&self, name: &[u8], arguments: &[i64]) -> Result<i64> {
        let Some(called) = self.manager.current(name) else {
            let function = self.module_function(name)?;
            let values = try_collect(arguments.iter().copied().map(Value::from))?;
            // SAFETY: the caller's contract.
            let result = unsafe { self.call_module_function(name, &function, &values) }?;
            return integer_of(result, || Name::new(name));
        };
        let function = called.function();
        let values = integers(function, arguments).map_err(|error| {
            refusal_of_texts(&called).unwrap_or_else(|| explain(error, &called))
        })?;
        let has_addresses = function.params().contains(&Scalar::Pointer);
        if has_addresses && let Some(error) = refusal_of_texts(&called) {
            return Err(error);
        }
        // SAFETY: the caller's contract.
        let result = unsafe { self.call_version(&called, &values) }?;
        integer_of(result, || Ok(function.name().clone()))
    }

    /// # Safety
    /// As [`Manager::call`].
    #[inline]
    unsafe fn call_version(
        &self,
        called: &FunctionVersion<'_>,
        arguments: &[Value],
    ) -> Result<Option<Value>> {
        // SAFETY: the caller's contract.
        let result = unsafe { called.call(arguments) };
        host_functions::flush();
        result.map_err(|error| self.call_error(error))
    }

    /// Calls a function with arguments as text and returns its result as text. A parameter that is a text gets the
    /// argument itself; a number is written as in Rust, a bool `true` or `false`. The result is the text itself, or a
    /// number or bool as `print` shows it; empty without a result.
    ///
    /// # Errors
    /// [`ExecError`].
    ///
    /// # Safety
    /// As [`call_by_name`](Self::call_by_name).
    pub unsafe fn call_text(&self, name: &[u8], arguments: &[&[u8]]) -> Result<String> {
        let Some(called) = self.manager.current(name) else {
            let function = self.module_function(name)?;
            let values = values_of(arguments, name, function.params())?;
            // SAFETY: the caller's contract.
            return shown(unsafe { self.call_module_function(name, &function, &values) }?);
        };
        let info = SourceInfo::of(called.record());
        let returns_text = info.is_some_and(|info| info.returns_text);
        let text_params = info.map_or(&[][..], |info| &info.text_params);
        let mut text = TextResult { address: 0, length: 0 };
        let result = returns_text.then(|| (&raw mut text).expose_provenance() as u64);
        let values = text_arguments(called.function(), result, text_params, arguments)
            .map_err(|error| explain(error, &called))?;
        // SAFETY: the caller's contract; the first argument is the address of a result in memory.
        let value = unsafe { self.call_version(&called, &values) }?;
        if !returns_text {
            return shown(value);
        }
        // SAFETY: written by the function, if at all.
        let TextResult { address, length } = unsafe { (&raw const text).read_volatile() };
        let Ok(length @ 1..) = usize::try_from(length) else { return Ok(String::new()) };
        let bytes = std::ptr::with_exposed_provenance::<u8>(address as usize);
        // SAFETY: a text of the function, whose data is in memory as long as `called` lives, or an argument.
        let bytes = unsafe { std::slice::from_raw_parts(bytes, length) };
        Ok(try_format(format_args!("{}", Lossy(bytes)))?)
    }

    /// Adds the cause of a trap, and the message of a failed assertion.
    #[cold]
    fn call_error(&self, error: ManagerError) -> ExecError {
        let trap = match error {
            ManagerError::Trap(trap) => trap,
            ManagerError::ArgumentCount { ref function, expected, .. } => {
                let called = self.manager.current(function.as_bytes());
                // Not of one that replaced the function meanwhile.
                let called = called.filter(|found| found.function().params().len() == expected);
                let Some(called) = called else { return error.into() };
                return refusal_of_texts(&called).unwrap_or_else(|| explain(error.into(), &called));
            }
            error => return error.into(),
        };
        let TrapReport { code, at, address, operands, .. } = trap;
        if trap.function.is_none() {
            // Functions of modules and instances are called from source.
            let in_module =
                ExecError::Call(TrapError::Trap(Trap { code, at, function: address, operands }));
            return match self.module_error(in_module) {
                ExecError::Call(_) => ManagerError::Trap(trap).into(),
                found => found,
            };
        }
        match trap_message(&trap) {
            Ok(message) => {
                ExecError::Trap { code: trap.code, at: trap.at, function: trap.function, message }
            }
            Err(error) => error.into(),
        }
    }

    /// Adds the function, the cause and the message of an assertion to a trap of a module.
    #[cold]
    fn module_error(&self, error: ExecError) -> ExecError {
        let ExecError::Call(TrapError::Trap(trap)) = error else { return error };
        let message = |function: &Name, assertion: &str| {
            let Trap { code, at, function: address, operands } = trap;
            let function = Some(function.clone());
            let report = TrapReport { code, at, function, address, operands, record: None };
            described(&report, report.function.as_ref(), assertion)
        };
        match self.modules.trapped(trap) {
            Ok(None) => error,
            Ok(Some((function, assertion))) => match message(&function, &assertion) {
                Ok(message) => ExecError::Trap {
                    code: trap.code,
                    at: trap.at,
                    function: Some(function),
                    message,
                },
                Err(error) => error.into(),
            },
            Err(error) => error.into(),
        }
    }
}

fn trap_message(trap: &TrapReport) -> Result<String, AllocError> {
    let info = SourceInfo::of(trap.record.as_ref()).filter(|_| trap.code == TRAP_ASSERT);
    let found = info.and_then(|info| info.assertion_of(trap));
    let assertion = found.map_or("", |(_, assertion)| &assertion.message);
    let function = match (found, &trap.function) {
        (Some((name, _)), _) => Some(Name::new(name)?),
        (None, function) => function.clone(),
    };
    described(trap, function.as_ref(), assertion)
}

/// A trap with its cause and the message of a failed assertion.
fn described(
    trap: &TrapReport,
    function: Option<&Name>,
    assertion: &str,
) -> Result<String, AllocError> {
    let colon = if assertion.is_empty() { "" } else { ": " };
    let at = trap.at;
    match (TrapCause::of(trap.code, trap.operands), function) {
        (None, _) => try_format(format_args!("{trap}{colon}{assertion}")),
        (Some(cause), None) => try_format(format_args!("{cause}, at {at}{colon}{assertion}")),
        (Some(cause), Some(function)) => {
            try_format(format_args!("{cause}, at {at} in function `{function}`{colon}{assertion}"))
        }
    }
}

/// The integer of a result; 0 without one.
fn integer_of(
    result: Option<Value>,
    function: impl FnOnce() -> Result<Name, AllocError>,
) -> Result<i64> {
    let Some(value) = result else { return Ok(0) };
    match value.as_integer() {
        Some(integer) => Ok(integer),
        None => Err(ExecError::Result { function: function()?, found: value.scalar() }),
    }
}

/// A result as `print` shows it.
fn shown(value: Option<Value>) -> Result<String> {
    Ok(value.map_or(Ok(String::new()), |value| try_format(format_args!("{value}")))?)
}

/// Whether bytes are the binary form of a unit.
fn is_binary_ir(bytes: &[u8]) -> bool {
    bytes.starts_with(b"SMUN")
}

/// Whether a text is IR: the keywords that begin it are none of Simple.
pub(super) fn is_text_ir(bytes: &[u8]) -> bool {
    let mut lines = bytes.split(|&byte| byte == b'\n').map(<[u8]>::trim_ascii);
    let first = lines.find(|line| !line.is_empty() && !line.starts_with(b"#"));
    let word = first.and_then(|line| line.split(u8::is_ascii_whitespace).next());
    matches!(word, Some(b"function" | b"template"))
}
