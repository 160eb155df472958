//! The open execution managers of C, and what each thread has of them: the last error, the last text, the diagnostics.
#![allow(unsafe_code)]

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::ffi::{CStr, c_char, c_void};
use std::ptr;
use std::sync::{Mutex, PoisonError};

use smf_core::alloc_util::{AllocError, TryArc, try_box, try_copy_bytes, try_push};
use smf_core::exec::{BackendError, FunctionHandle, ManagerError, Unit, UnitError};
use smf_core::link::{Name, Resolve};
use smf_core::memory::MemoryError;
use smf_core::source::{Diagnostic, Severity};

use super::blocks::{self, SharedAllocator};
use super::c_text::CText;
use super::cptr::Callback;
use super::error::{ApiError, Code, or, record};
use super::function_table::FunctionTable;
use super::handle_table::{CallGuard, HandleTable, Object};
use super::registered_symbols::RegisteredSymbols;
use crate::exec::{ExecError, ExecManager, ExecOptions, FrontEnd, SharedFrontEnd, SharedSymbols};
use crate::fallible_buf::{Lossy, try_format};
use crate::files::ReadError;
use crate::fork::ProcessLock;
use crate::host_symbols::{HostSymbols, ProcessSymbolsError};
use crate::loader::LoadFileError;

pub(super) static MANAGERS: HandleTable<OpenManager> = HandleTable::new();

/// The most handles of functions of one manager.
const MAX_FUNCTIONS: usize = 1 << 20;

/// A manager with the functions that C has looked up.
pub(super) struct OpenManager {
    pub(super) manager: ExecManager,
    /// By number, from 1.
    functions: FunctionTable,
    numbers: Mutex<Numbers>,
    _memory: SharedAllocator,
}

/// The numbers of functions.
#[derive(Default)]
struct Numbers {
    /// How many are taken.
    count: usize,
    by_name: HashMap<Box<[u8]>, usize>,
}

impl Object for OpenManager {
    const TAG: u32 = 3 << 28;
    const NAME: &'static str = "execution manager";
}

impl OpenManager {
    /// The handle of a function: the same one until the function is replaced by one of another signature.
    pub(super) fn find(&self, name: &[u8]) -> Result<u64, ApiError> {
        let refusal = |function| match self.manager.has_function(name) {
            true => ExecError::ModuleFunction { function },
            false => ManagerError::NoFunction(function).into(),
        };
        let found = self.manager.find(name);
        let found = found.ok_or_else(|| of_error(&Name::in_error(name, refusal)))?;
        let Numbers { count, by_name } =
            &mut *self.numbers.lock().unwrap_or_else(PoisonError::into_inner);
        let is_current = |&number: &usize| {
            let known = number.checked_sub(1).and_then(|index| self.functions.get(index));
            known.is_some_and(|known| known.address().is_some())
        };
        if let Some(number) = by_name.get(name).copied().filter(is_current) {
            return Ok(number as u64);
        }
        by_name.try_reserve(1).map_err(|_| AllocError)?;
        let name = try_copy_bytes(name)?;
        if *count >= MAX_FUNCTIONS || !self.functions.set(*count, found)? {
            return Err(ApiError::TooManyOpen { object: "function", limit: MAX_FUNCTIONS });
        }
        *count += 1;
        by_name.insert(name, *count);
        Ok(*count as u64)
    }

    /// The function with a handle.
    #[inline]
    pub(super) fn function(&self, handle: u64) -> Result<&FunctionHandle, ApiError> {
        let index = usize::try_from(handle).ok().and_then(|number| number.checked_sub(1));
        let found = index.and_then(|index| self.functions.get(index));
        found.ok_or_else(|| ApiError::Handle { what: "a function of this manager", handle })
    }
}

/// Opens a manager that resolves names in the process as well; a static program has none.
pub(super) fn open_for_runtime(options: ExecOptions) -> Result<u64, ApiError> {
    match HostSymbols::of_process() {
        Ok(process) => open(options, Some(process)),
        Err(ProcessSymbolsError::NoLoader) => open(options, None),
        Err(error) => Err(error.into()),
    }
}

/// Opens a manager. `process` are the symbols of the process, if names are resolved there as well.
pub(super) fn open(options: ExecOptions, process: Option<HostSymbols>) -> Result<u64, ApiError> {
    let memory = blocks::with(|blocks| blocks.share())?;
    let registered = RegisteredSymbols { process };
    let symbols: SharedSymbols =
        TryArc::new(try_box(registered)? as Box<dyn Resolve + Send + Sync>)?;
    let options =
        ExecOptions { memory: Some(memory.memory.clone()), symbols: Some(symbols), ..options };
    let manager = ExecManager::new(options).map_err(|error| of_error(&error))?;
    manager.set_front_end(DEFAULT_FRONT_END.lock().clone());
    let (functions, numbers) = (FunctionTable::new(), Mutex::default());
    MANAGERS.open(OpenManager { manager, functions, numbers, _memory: memory })
}

/// Closes a manager, which no function of it may be using.
pub(super) fn close(manager: u64) -> Result<(), ApiError> {
    let closed = MANAGERS.close(manager, |_, uses| {
        (uses != 0).then_some(ApiError::Busy { what: "the execution manager", uses })
    });
    if closed.is_ok() {
        forget(manager);
        blocks::trim_if_unused();
    }
    closed
}

/// A manager, which cannot be closed while the guard lives.
#[inline]
pub(super) fn enter(manager: u64) -> Result<CallGuard<OpenManager>, ApiError> {
    MANAGERS.enter_call(manager)
}

/// The front end of managers that are opened later.
pub(super) static DEFAULT_FRONT_END: ProcessLock<Option<SharedFrontEnd>> = ProcessLock::new(None);

/// A front end: receives the name and the text of the source, the length of the text, and the user pointer. Returns IR
/// in its text form, NUL-terminated, or null after setting the error to a C string. Both are valid until this thread
/// calls it again.
pub type SmfFrontEnd = Option<
    unsafe extern "C" fn(
        *const c_char,
        *const c_char,
        i64,
        *mut *const c_char,
        *mut c_void,
    ) -> *const c_char,
>;

pub(super) type FrontEndFn = unsafe extern "C" fn(
    *const c_char,
    *const c_char,
    i64,
    *mut *const c_char,
    *mut c_void,
) -> *const c_char;

/// A front end of C.
pub(super) struct CallbackFrontEnd(Callback<FrontEndFn>);

impl CallbackFrontEnd {
    /// # Safety
    /// The function may be called as [`SmfFrontEnd`] says, from any thread, while it is set, and does not unwind.
    pub(super) unsafe fn new(function: FrontEndFn, user: *mut c_void) -> Self {
        Self(Callback { function, user })
    }
}

impl FrontEnd for CallbackFrontEnd {
    fn compile(&self, name: &str, text: &str) -> Result<Unit, ExecError> {
        let Callback { function, user } = self.0;
        let (name, source) = (CText::new(name)?, CText::new(text)?);
        let length = source.len() as i64;
        let mut error = ptr::null();
        // SAFETY: by the contract of `new`; the texts are valid until the callback returns.
        let ir = unsafe { function(name.as_ptr(), source.as_ptr(), length, &raw mut error, user) };
        if ir.is_null() {
            // SAFETY: by the contract of the callback, null or a text.
            let is_empty = error.is_null() || unsafe { *error } == 0;
            let reason = match is_empty {
                true => b"the front end failed without a reason",
                // SAFETY: NUL-terminated by the contract of the callback.
                false => unsafe { CStr::from_ptr(error) }.to_bytes(),
            };
            let reason = Lossy(reason);
            return Err(ExecError::FrontEnd(try_format(format_args!("{reason}"))?));
        }
        // SAFETY: as above.
        let ir = unsafe { CStr::from_ptr(ir) };
        let ir = ir.to_str().map_err(|_| ExecError::not_text("the IR"))?;
        Ok(Unit::from_text(ir)?)
    }
}

/// A diagnostic as C reads it.
pub(super) struct DiagnosticText {
    pub(super) severity: Severity,
    pub(super) position: [u32; 3],
    pub(super) code: CText,
    pub(super) file: CText,
    pub(super) message: CText,
    pub(super) note: CText,
    pub(super) source_line: CText,
}

impl DiagnosticText {
    pub(super) fn new(diagnostic: &Diagnostic) -> Result<Self, AllocError> {
        let Diagnostic { severity, line, column, length, .. } = *diagnostic;
        Ok(Self {
            severity,
            position: [line, column, length],
            code: CText::new(diagnostic.code.as_str())?,
            file: CText::new(&diagnostic.file)?,
            message: CText::new(&diagnostic.message)?,
            note: CText::new(diagnostic.note.as_deref().unwrap_or(""))?,
            source_line: CText::new(&diagnostic.source_line)?,
        })
    }

    /// An error without a place in source; an error in the text of IR has a line.
    fn of_failure(error: &Failure) -> Self {
        let (line, file, source_line) = match error {
            Failure::Exec(ExecError::Ir { file, source_line, error }) => {
                // Those that there is memory for.
                let [file, source_line] =
                    [file, source_line].map(|text| CText::new(text).unwrap_or_default());
                (error.line, file, source_line)
            }
            Failure::Exec(ExecError::Manager(ManagerError::Unit(UnitError::Text(error)))) => {
                (error.line, CText::default(), CText::default())
            }
            _ => Default::default(),
        };
        Self {
            severity: Severity::Error,
            position: [line, 0, 0],
            code: CText::default(),
            file,
            message: error.message(),
            note: CText::default(),
            source_line,
        }
    }
}

/// What a thread has of a manager.
#[derive(Default)]
pub(super) struct ThreadState {
    manager: u64,
    /// The error of the last compilation or call of this thread; empty if it succeeded.
    pub(super) error: CText,
    /// The last text that was returned.
    #[cfg(not(feature = "tagged"))]
    pub(super) text: CText,
    /// Those of the last compilation.
    pub(super) diagnostics: Vec<DiagnosticText>,
}

impl ThreadState {
    /// Records the diagnostics of a compilation; those that there is memory for.
    fn record(&mut self, result: &Result<Vec<Diagnostic>, Failure>) -> Result<(), AllocError> {
        match result {
            Ok(all) | Err(Failure::Exec(ExecError::Source(all))) => all
                .iter()
                .try_for_each(|one| try_push(&mut self.diagnostics, DiagnosticText::new(one)?)),
            Err(error) => try_push(&mut self.diagnostics, DiagnosticText::of_failure(error)),
        }
    }
}

thread_local! {
    /// At most one for each slot of the table of managers.
    static STATES: RefCell<Vec<ThreadState>> = const { RefCell::new(Vec::new()) };
    /// Whether one of them may have an error.
    static HAS_ERROR: Cell<bool> = const { Cell::new(false) };
}

/// Calls `act` with what this thread has of a manager; `absent` while the thread is exiting.
pub(super) fn with_state<T>(manager: u64, absent: T, act: impl FnOnce(&mut ThreadState) -> T) -> T {
    // Managers that were open in the same slot have the same lower half.
    let is_slot = |state: &ThreadState| state.manager as u32 == manager as u32;
    let found = STATES.try_with(|states| {
        let mut states = states.try_borrow_mut().ok()?;
        let at = match states.iter().position(is_slot) {
            Some(at) => at,
            None => {
                try_push(&mut states, ThreadState { manager, ..ThreadState::default() }).ok()?;
                states.len() - 1
            }
        };
        let state = states.get_mut(at)?;
        if state.manager != manager {
            *state = ThreadState { manager, ..ThreadState::default() };
        }
        Some(act(state))
    });
    found.ok().flatten().unwrap_or(absent)
}

fn forget(manager: u64) {
    // While the thread is exiting it has no states.
    let _ = STATES.try_with(|states| {
        if let Ok(mut states) = states.try_borrow_mut() {
            states.retain(|state| state.manager != manager);
        }
    });
}

/// Why a compilation or a call failed.
pub(super) enum Failure {
    Api(ApiError),
    Exec(ExecError),
}

impl From<ApiError> for Failure {
    fn from(error: ApiError) -> Self {
        Self::Api(error)
    }
}

impl From<ExecError> for Failure {
    fn from(error: ExecError) -> Self {
        Self::Exec(error)
    }
}

impl Failure {
    fn message(&self) -> CText {
        match self {
            Self::Api(error) => CText::message(format_args!("{error}")),
            Self::Exec(error) => CText::message(format_args!("{error}")),
        }
    }

    fn into_error(self) -> ApiError {
        match self {
            Self::Api(error) => error,
            Self::Exec(error) => of_error(&error),
        }
    }
}

/// Compiles or calls by `act`: the value, or `failure` after recording the error for the thread, and for the thread and
/// the manager.
#[inline]
pub(super) fn with<T>(
    manager: u64,
    failure: T,
    act: impl FnOnce(&OpenManager) -> Result<T, Failure>,
) -> T {
    match enter(manager) {
        Ok(open) => finish(manager, failure, act(&open)),
        Err(error) => {
            record(error);
            failure
        }
    }
}

#[inline]
fn finish<T>(manager: u64, failure: T, result: Result<T, Failure>) -> T {
    match result {
        Ok(value) => {
            clear_error(manager);
            value
        }
        Err(error) => {
            fail(manager, error);
            failure
        }
    }
}

/// Records an error for this thread, and for this thread and the manager.
#[cold]
fn fail(manager: u64, error: Failure) {
    HAS_ERROR.set(true);
    with_state(manager, (), |state| state.error = error.message());
    record(error.into_error());
}

/// Clears the last error of this thread with a manager.
#[inline]
pub(super) fn clear_error(manager: u64) {
    if HAS_ERROR.get() {
        clear_errors(manager);
    }
}

#[cold]
fn clear_errors(manager: u64) {
    with_state(manager, (), |state| {
        if !state.error.is_empty() {
            state.error = CText::default();
        }
    });
    let have_errors = STATES.try_with(|states| {
        states.try_borrow().is_ok_and(|states| states.iter().any(|state| !state.error.is_empty()))
    });
    HAS_ERROR.set(have_errors.unwrap_or(false));
}

/// As [`with`] for a compilation, whose diagnostics are recorded as well. `None` without the manager.
pub(super) fn compile(
    manager: u64,
    act: impl FnOnce(&OpenManager) -> Result<Vec<Diagnostic>, Failure>,
) -> Option<bool> {
    let open = or(None, enter(manager).map(Some))?;
    let result = reserve_state(manager).and_then(|()| act(&open));
    let recorded = with_state(manager, absent(), |state| {
        state.diagnostics.clear();
        state.record(&result)
    });
    let result = match (result, recorded) {
        (Err(Failure::Exec(ExecError::Source(_))), Err(error)) => Err(ApiError::from(error).into()),
        // The functions are compiled: without memory the warnings are lost.
        (result, _) => result,
    };
    Some(finish(manager, false, result.map(|_| true)))
}

/// Makes sure that this thread can record an error of a manager.
pub(super) fn reserve_state(manager: u64) -> Result<(), Failure> {
    Ok(with_state(manager, absent(), |_| Ok(())).map_err(ApiError::from)?)
}

/// The result of recording something without a state: there is no memory for one, or nothing is recorded because the thread is
/// exiting.
fn absent() -> Result<(), AllocError> {
    STATES.try_with(|_| Err(AllocError)).unwrap_or(Ok(()))
}

/// The error of an execution manager as one of the exports.
pub(super) fn of_error(error: &ExecError) -> ApiError {
    let code = match error {
        ExecError::UnknownBackend { .. } | ExecError::Integer { .. } => Code::Argument,
        ExecError::Text { .. } | ExecError::ModuleArgument { .. } => Code::Argument,
        ExecError::Texts { .. }
        | ExecError::ArrayParameter { .. }
        | ExecError::ResultInMemory { .. }
        | ExecError::ModuleTypes { .. }
        | ExecError::Result { .. } => Code::Argument,
        ExecError::Call(error) => ApiError::Call(*error).code(),
        ExecError::MissingBackend { .. } | ExecError::ModuleFunction { .. } => Code::Unsupported,
        ExecError::Source(_) | ExecError::FrontEnd(_) | ExecError::NotText { .. } => Code::Compile,
        ExecError::Ir { .. } => Code::Compile,
        ExecError::Read { error, .. } => of_read(error),
        ExecError::Program(_) => Code::File,
        ExecError::Load(error) => of_load(error),
        ExecError::Instance(_) => Code::Instantiate,
        ExecError::Manager(error) | ExecError::Callee { error, .. } => of_manager(error),
        ExecError::Trap { .. } => Code::Trap,
        ExecError::OutOfMemory(_) => Code::NoMemory,
    };
    ApiError::other(code, error)
}

fn of_load(error: &LoadFileError) -> Code {
    match error {
        LoadFileError::Load(error) => ApiError::from(error.clone()).code(),
        LoadFileError::MissingImports { .. } => Code::Missing,
        LoadFileError::Read { error, .. } => of_read(error),
        LoadFileError::Archive { .. } => Code::Format,
        LoadFileError::NoSuchModule { .. } => Code::NotFound,
        _ => Code::Link,
    }
}

fn of_read(error: &ReadError) -> Code {
    match error {
        ReadError::File(MemoryError::OutOfMemory { .. }) => Code::NoMemory,
        ReadError::Archive(_) => Code::Format,
        ReadError::NoSuchModule(_) => Code::NotFound,
        _ => Code::File,
    }
}

fn of_manager(error: &ManagerError) -> Code {
    match error {
        ManagerError::Backend(BackendError::Memory(error)) => ApiError::Exec(*error).code(),
        ManagerError::Backend(BackendError::OutOfMemory(_))
        | ManagerError::Unit(UnitError::OutOfMemory(_))
        | ManagerError::OutOfMemory(_) => Code::NoMemory,
        ManagerError::NoFunction(_) => Code::NotFound,
        ManagerError::Stale(_) => Code::State,
        ManagerError::ArgumentCount { .. } | ManagerError::Argument { .. } => Code::Argument,
        ManagerError::CodeLimit { .. } => Code::Ceiling,
        ManagerError::Trap(_) => Code::Trap,
        ManagerError::Call(error) => ApiError::Call(*error).code(),
        _ => Code::Compile,
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::super::error::Code;
    use super::*;

    fn close_elsewhere(manager: u64) -> Result<(), Code> {
        thread::spawn(move || close(manager).map_err(|error| error.code())).join().unwrap()
    }

    #[test]
    fn manager_in_use_is_not_closed_by_any_thread() {
        let manager = open(ExecOptions::default(), None).unwrap();
        // The first use makes this thread the owner of the count, which counts the later ones without atomic operations.
        for _ in 0..3 {
            let used = enter(manager).unwrap();
            let nested = enter(manager).unwrap();
            assert_eq!(close_elsewhere(manager), Err(Code::InUse));
            drop(used);
            assert_eq!(close(manager).map_err(|error| error.code()), Err(Code::InUse));
            drop(nested);
        }
        let other = thread::spawn(move || enter(manager).map(drop).is_ok());
        assert!(other.join().unwrap());
        assert_eq!(close_elsewhere(manager), Ok(()));
        assert!(enter(manager).is_err());
    }

    #[test]
    fn calls_race_with_closing() {
        for _ in 0..20 {
            let manager = open(ExecOptions::default(), None).unwrap();
            thread::scope(|scope| {
                for _ in 0..3 {
                    scope.spawn(|| {
                        while let Ok(open) = enter(manager) {
                            assert_eq!(open.manager.backend_name(), "native");
                        }
                    });
                }
                while close(manager).is_err() {
                    thread::yield_now();
                }
            });
        }
    }
}
