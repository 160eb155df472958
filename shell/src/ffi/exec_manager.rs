//! `rt_exec_manager_*`: the execution manager as the Simple runtime calls it, as weak symbols, because some builds of the
//! runtime define them.
//!
//! A failure is 0, false or an empty text in the C convention, and -1 where a number is expected in the tagged one; the
//! reason is the manager's last error of the thread. Errors of compilation are results: an empty text is success.
#![allow(unsafe_code)]

#[cfg(not(feature = "tagged"))]
use std::ffi::c_char;
use std::ffi::{CStr, OsStr};
use std::os::unix::ffi::OsStrExt;
use std::path::Path as FilePath;
use std::sync::atomic::{AtomicU8, Ordering};

#[cfg(not(feature = "tagged"))]
use smf_core::Printable;
#[cfg(not(feature = "tagged"))]
use smf_core::alloc_util::try_push;
use smf_core::exec::Level;
use smf_core::source::Diagnostic;

use super::c_text::CText;
#[cfg(not(feature = "tagged"))]
use super::cptr::slice;
#[cfg(not(feature = "tagged"))]
use super::error::Code;
use super::error::{ApiError, ArgumentError, or};
use super::exec_handles::{self as handles, Failure, enter, with_state};
use super::values::{self, Bool, Path, Value, to_bool};
use super::weak::{export_weak, jump};
use crate::exec::{BackendChoice, ExecError, ExecManager, ExecOptions};

/// The text of an argument.
///
/// # Safety
/// As for [`values::path`].
pub(super) unsafe fn bytes<'t>(what: &'static str, text: Path) -> Result<&'t [u8], ApiError> {
    // SAFETY: the caller's promise.
    let bytes = unsafe { values::path(text) }?;
    Ok(bytes.ok_or(ArgumentError::Null { what })?)
}

/// Text as a result: a C string that is valid until this thread uses the manager again.
#[cfg(not(feature = "tagged"))]
pub(super) type Text = *const c_char;

/// Text as a result.
#[cfg(feature = "tagged")]
pub(super) type Text = Value;

/// The result of a failed call.
#[cfg(not(feature = "tagged"))]
const FAILURE: i64 = 0;
#[cfg(feature = "tagged")]
const FAILURE: i64 = -1;

/// Passes text to C, which has it until this thread uses the manager again; `absent` where there is no place for it, because the
/// thread is exiting.
#[cfg(not(feature = "tagged"))]
fn give(manager: i64, text: CText, absent: &'static CStr) -> Text {
    if text.is_empty() {
        return c"".as_ptr();
    }
    with_state(manager.cast_unsigned(), absent.as_ptr(), |state| {
        state.text = text;
        state.text.as_ptr()
    })
}

/// Passes text to the runtime, which owns it.
#[cfg(feature = "tagged")]
fn give(_: i64, text: CText, _: &CStr) -> Text {
    or(values::NO_VALUE, values::new_text(text.as_str()))
}

/// The text that a function returned, as it is passed on.
#[cfg(not(feature = "tagged"))]
type Returned = CText;
#[cfg(feature = "tagged")]
type Returned = String;

/// The text that function `name` returned, for C, where a NUL would end it.
#[cfg(not(feature = "tagged"))]
fn returned(name: &[u8], text: String) -> Result<Returned, ApiError> {
    if text.contains('\0') {
        let name = Printable(name);
        let why = format_args!(
            "the text that function `{name}` returns contains a NUL, and the result would end there"
        );
        return Err(ApiError::other(Code::Unsupported, &why));
    }
    Ok(CText::new(&text)?)
}

#[cfg(feature = "tagged")]
fn returned(_: &[u8], text: String) -> Result<Returned, ApiError> {
    Ok(text)
}

/// Passes the text that a function returned.
#[cfg(not(feature = "tagged"))]
fn give_returned(manager: i64, text: Returned) -> Text {
    give(manager, text, c"")
}

#[cfg(feature = "tagged")]
fn give_returned(_: i64, text: Returned) -> Text {
    or(values::NO_VALUE, values::new_text(&text))
}

/// Passes the last error of this thread with a manager to C, behind `prefix`.
pub(super) fn give_error(manager: i64, prefix: &str) -> Text {
    let error = with_state(manager.cast_unsigned(), CText::Static(NO_STATE), |state| {
        match state.error.is_empty() {
            true => CText::default(),
            false => CText::message(format_args!("{prefix}{}", state.error.as_str())),
        }
    });
    give(manager, error, NO_STATE)
}

/// The last error of a thread that has no place for it.
const NO_STATE: &CStr =
    c"smf_last_error has the error: there is no memory for it here, or the thread is exiting";

/// The back end that `auto` stands for.
static DEFAULT_BACKEND: AtomicU8 = AtomicU8::new(0);

/// The back end that C has set.
pub(super) fn default_backend() -> BackendChoice {
    let number = usize::from(DEFAULT_BACKEND.load(Ordering::Relaxed));
    BackendChoice::ALL.get(number).copied().unwrap_or_default()
}

/// A back end by name. `auto` and an empty name are the default one.
pub(super) fn backend(name: &[u8]) -> Result<BackendChoice, ApiError> {
    match name {
        b"" | b"auto" => Ok(default_backend()),
        name => BackendChoice::from_name(name).map_err(|error| handles::of_error(&error)),
    }
}

/// Sets the back end of managers that are created with `auto`. False for an unknown one and one that is not built in.
///
/// # Safety
/// As for [`bytes`].
unsafe extern "C" fn rt_set_jit_backend(name: Path) -> Bool {
    // SAFETY: the caller's promise.
    let name = unsafe { bytes("the name of the back end", name) };
    let found = name
        .and_then(|name| BackendChoice::from_name(name).map_err(|error| handles::of_error(&error)));
    let number = found.map(|found| BackendChoice::ALL.iter().position(|choice| *choice == found));
    to_bool(or(
        false,
        number.map(|number| {
            let number = number.and_then(|number| u8::try_from(number).ok()).unwrap_or(0);
            DEFAULT_BACKEND.store(number, Ordering::Relaxed);
            true
        }),
    ))
}

/// The name of the back end that was set; `auto` at first.
extern "C" fn rt_get_jit_backend() -> Text {
    give_static(default_backend().name())
}

/// A text that does not change.
#[cfg(not(feature = "tagged"))]
pub(super) fn give_static(text: &'static str) -> Text {
    let all = [
        c"auto",
        c"native",
        c"cranelift",
        c"llvm",
        c"unknown",
        c"invalid handle",
        c"Invalid execution manager",
    ];
    let found = all.into_iter().find(|known| known.to_bytes() == text.as_bytes());
    found.unwrap_or(c"").as_ptr()
}

#[cfg(feature = "tagged")]
pub(super) fn give_static(text: &'static str) -> Text {
    or(values::NO_VALUE, values::new_text(text))
}

/// Opens a manager with a back end: `auto`, `native`, `cranelift` or `llvm`. Returns its handle; 0 on failure.
///
/// # Safety
/// As for [`bytes`].
unsafe extern "C" fn rt_exec_manager_create(name: Path) -> i64 {
    // SAFETY: the caller's promise.
    let name = unsafe { bytes("the name of the back end", name) };
    or(0, name.and_then(open))
}

fn open(name: &[u8]) -> Result<i64, ApiError> {
    let options = ExecOptions { backend: backend(name)?, ..ExecOptions::default() };
    handles::open_for_runtime(options).map(u64::cast_signed)
}

/// Closes a manager: 0; -1 for one that is not open or in use.
extern "C" fn rt_exec_manager_cleanup(manager: i64) -> i64 {
    or(-1, handles::close(manager.cast_unsigned()).map(|()| 0))
}

/// Compiles by `act`. Returns an empty text, or the error; `Invalid execution manager` for an invalid handle.
fn compile(
    manager: i64,
    act: impl FnOnce(&ExecManager) -> Result<Vec<Diagnostic>, Failure>,
) -> Text {
    match handles::compile(manager.cast_unsigned(), |open| act(&open.manager)) {
        None => give_static("Invalid execution manager"),
        Some(true) => give_static(""),
        Some(false) => give_error(manager, ""),
    }
}

/// The name of source that has no file.
const SOURCE: &str = "source";

pub(super) fn compile_text(
    manager: &ExecManager,
    source: &[u8],
) -> Result<Vec<Diagnostic>, ExecError> {
    let not_text = |_| ExecError::not_text(SOURCE);
    manager.compile_source(SOURCE, str::from_utf8(source).map_err(not_text)?)
}

/// Compiles Simple source, or IR if the text begins as IR does. Returns an empty text, or the error.
///
/// # Safety
/// As for [`bytes`].
unsafe extern "C" fn rt_exec_manager_compile(manager: i64, source: Path) -> Text {
    compile(manager, |manager| {
        // SAFETY: the caller's promise.
        let source = unsafe { bytes("the source", source) }?;
        Ok(manager.compile_any(SOURCE, source)?)
    })
}

/// Compiles Simple source. Returns an empty text, or the error.
///
/// # Safety
/// As for [`bytes`].
unsafe extern "C" fn rt_exec_manager_compile_source(manager: i64, source: Path) -> Text {
    compile(manager, |manager| {
        // SAFETY: the caller's promise.
        let source = unsafe { bytes("the source", source) }?;
        Ok(compile_text(manager, source)?)
    })
}

/// Compiles IR. Returns an empty text, or the error.
///
/// # Safety
/// As for [`bytes`].
unsafe extern "C" fn rt_exec_manager_compile_mir(manager: i64, ir: Path) -> Text {
    compile(manager, |manager| {
        // SAFETY: the caller's promise.
        let ir = unsafe { bytes("the IR", ir) }?;
        manager.compile_ir(ir)?;
        Ok(Vec::new())
    })
}

/// Compiles a file: source, IR or a module. Returns an empty text, or the error.
///
/// # Safety
/// As for [`bytes`].
unsafe extern "C" fn rt_exec_manager_compile_file(manager: i64, path: Path) -> Text {
    compile(manager, |manager| {
        // SAFETY: the caller's promise.
        let path = unsafe { bytes("the path", path) }?;
        Ok(manager.compile_file(FilePath::new(OsStr::from_bytes(path)))?)
    })
}

/// Calls a function with integers, which a failure returns `failure` for.
///
/// # Safety
/// As for [`bytes`]; the function may do what it does with these arguments.
pub(super) unsafe fn execute(
    manager: i64,
    failure: i64,
    name: Path,
    arguments: Result<impl AsRef<[i64]>, ApiError>,
) -> i64 {
    handles::with(manager.cast_unsigned(), failure, |open| {
        // SAFETY: the caller's promise.
        let name = unsafe { bytes("the name of the function", name) }?;
        // SAFETY: as above.
        Ok(unsafe { open.manager.call_integers(name, arguments?.as_ref()) }?)
    })
}

/// Calls a function with integers. Returns its integer or bool; 0 without a result, and on failure.
///
/// # Safety
/// As for [`execute`]; `arguments` is null or points to `count` integers.
#[cfg(not(feature = "tagged"))]
unsafe extern "C" fn rt_exec_manager_execute(
    manager: i64,
    name: Path,
    arguments: *const i64,
    count: i64,
) -> i64 {
    // SAFETY: the caller's promise.
    let arguments = unsafe { slice("the list of arguments", arguments, count) };
    // SAFETY: as above.
    unsafe { execute(manager, FAILURE, name, arguments.map_err(ApiError::from)) }
}

/// Calls a function with the integers of an array. Returns its integer or bool; 0 without a result; -1 on failure.
///
/// # Safety
/// As for [`execute`].
#[cfg(feature = "tagged")]
unsafe extern "C" fn rt_exec_manager_execute(manager: i64, name: Path, arguments: Value) -> i64 {
    // SAFETY: the caller's promise.
    unsafe { execute(manager, FAILURE, name, values::integers(arguments)) }
}

/// Calls a function with texts, and returns its result as text; an empty one on failure.
///
/// # Safety
/// As for [`execute`].
unsafe fn execute_text(manager: i64, name: Path, arguments: Result<Vec<&[u8]>, ApiError>) -> Text {
    let text = handles::with(manager.cast_unsigned(), Returned::default(), |open| {
        handles::reserve_state(manager.cast_unsigned())?;
        // SAFETY: the caller's promise.
        let name = unsafe { bytes("the name of the function", name) }?;
        // SAFETY: as above.
        let text = unsafe { open.manager.call_text(name, &arguments?) }?;
        Ok(returned(name, text)?)
    });
    give_returned(manager, text)
}

/// Calls a function with texts: the arguments of parameters that are texts, and numbers of others. Returns its result as
/// text; an empty one on failure.
///
/// # Safety
/// As for [`execute`]; `arguments` is null or points to `count` NUL-terminated strings.
#[cfg(not(feature = "tagged"))]
unsafe extern "C" fn rt_exec_manager_execute_string(
    manager: i64,
    name: Path,
    arguments: *const *const c_char,
    count: i64,
) -> Text {
    let read = || -> Result<Vec<&[u8]>, ApiError> {
        let mut texts = Vec::new();
        // SAFETY: the caller's promise.
        for argument in unsafe { slice("the list of arguments", arguments, count) }? {
            // SAFETY: as above.
            try_push(&mut texts, unsafe { bytes("an argument", *argument) }?)?;
        }
        Ok(texts)
    };
    // SAFETY: as above.
    unsafe { execute_text(manager, name, read()) }
}

/// As in the other convention, with an array of texts.
///
/// # Safety
/// As for [`execute`].
#[cfg(feature = "tagged")]
unsafe extern "C" fn rt_exec_manager_execute_string(
    manager: i64,
    name: Path,
    arguments: Value,
) -> Text {
    // SAFETY: the caller's promise.
    let texts = unsafe { values::texts(arguments) };
    // SAFETY: as above.
    unsafe { execute_text(manager, name, texts) }
}

/// Calls a function without arguments. Whether it returned.
///
/// # Safety
/// As for [`execute`].
unsafe extern "C" fn rt_exec_manager_execute_void(manager: i64, name: Path) -> Bool {
    let called = handles::with(manager.cast_unsigned(), false, |open| {
        // SAFETY: the caller's promise.
        let name = unsafe { bytes("the name of the function", name) }?;
        // SAFETY: as above.
        unsafe { open.manager.call_by_name(name, &[]) }?;
        Ok(true)
    });
    to_bool(called)
}

/// Whether a manager has a function.
///
/// # Safety
/// As for [`bytes`].
pub(super) unsafe fn has_function(manager: i64, name: Path) -> Bool {
    let found = enter(manager.cast_unsigned()).and_then(|open| {
        // SAFETY: the caller's promise.
        let name = unsafe { bytes("the name of the function", name) }?;
        Ok(open.manager.has_function(name))
    });
    to_bool(or(false, found))
}

/// Whether a manager, or a module that it has loaded, has a function.
///
/// # Safety
/// As for [`bytes`].
unsafe extern "C" fn rt_exec_manager_has_function(manager: i64, name: Path) -> Bool {
    // SAFETY: the caller's promise.
    unsafe { has_function(manager, name) }
}

/// The names of the functions, as a list.
extern "C" fn rt_exec_manager_list_functions(manager: i64) -> Value {
    or(values::NO_VALUE, enter(manager.cast_unsigned()).and_then(|open| list(&open.manager)))
}

/// The names of the functions of a manager, as a list.
pub(super) fn list(manager: &ExecManager) -> Result<Value, ApiError> {
    let names = manager.function_names().map_err(|error| handles::of_error(&error))?;
    values::new_list(|push| names.iter().try_for_each(|name| push(name)))
}

/// The name of the back end that compiles: `native` for `auto`; `unknown` for an invalid handle.
extern "C" fn rt_exec_manager_backend_name(manager: i64) -> Text {
    let open = enter(manager.cast_unsigned()).map(|open| open.manager.backend_name());
    give_static(or("unknown", open))
}

/// Whether a handle is an open manager.
extern "C" fn rt_exec_manager_is_valid(manager: i64) -> Bool {
    to_bool(enter(manager.cast_unsigned()).is_ok())
}

/// Sets the level of later compilations, 0 to 3.
extern "C" fn rt_exec_manager_set_opt_level(manager: i64, level: i64) -> Bool {
    let set = enter(manager.cast_unsigned()).and_then(|open| {
        let level = Level::from_number(level).ok_or(ArgumentError::unknown("level", level))?;
        open.manager.set_level(level);
        Ok(true)
    });
    to_bool(or(false, set))
}

/// The level of later compilations; -1 for an invalid handle.
extern "C" fn rt_exec_manager_get_opt_level(manager: i64) -> i64 {
    or(-1, enter(manager.cast_unsigned()).map(|open| open.manager.level() as i64))
}

/// The error of the last compilation or call of this thread; empty if it succeeded.
extern "C" fn rt_exec_manager_get_last_error(manager: i64) -> Text {
    let open = enter(manager.cast_unsigned()).map(|_| true);
    match or(false, open) {
        true => give_error(manager, ""),
        false => give_static("Invalid execution manager"),
    }
}

/// Clears the last error of this thread with a manager.
extern "C" fn rt_exec_manager_clear_error(manager: i64) {
    if enter(manager.cast_unsigned()).is_ok() {
        handles::clear_error(manager.cast_unsigned());
    }
}

export_weak! {
    rt_set_jit_backend;
    rt_get_jit_backend;
    rt_exec_manager_create;
    rt_exec_manager_cleanup;
    rt_exec_manager_compile;
    rt_exec_manager_compile_source;
    rt_exec_manager_compile_mir;
    rt_exec_manager_compile_file;
    rt_exec_manager_execute;
    rt_exec_manager_execute_string;
    rt_exec_manager_execute_void;
    rt_exec_manager_has_function;
    rt_exec_manager_list_functions;
    rt_exec_manager_backend_name;
    rt_exec_manager_is_valid;
    rt_exec_manager_set_opt_level;
    rt_exec_manager_get_opt_level;
    rt_exec_manager_get_last_error;
    rt_exec_manager_clear_error;
}
