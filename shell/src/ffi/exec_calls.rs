//! `smf_exec_*`: the execution manager with types: status and value apart, arguments and results of every type, and
//! diagnostics as a list.
#![allow(unsafe_code)]

use std::ffi::{CStr, OsStr, c_char, c_void};
use std::mem::MaybeUninit;
use std::os::unix::ffi::OsStrExt;
use std::path::Path as FilePath;
use std::ptr;

use smf_core::alloc_util::{AllocError, TryArc, try_box, try_push};
use smf_core::exec::Level;
use smf_core::ir::Scalar;

use super::args::{self, to_i64};
use super::constants::*;
use super::cptr::{slice, text};
use super::error::{ApiError, ArgumentError, or, succeeded};
use super::exec_handles::{
    self as handles, CallbackFrontEnd, DEFAULT_FRONT_END, SmfFrontEnd, enter,
};
use super::exec_manager::{backend, list};
use super::values::{NO_VALUE, Value};
use super::versioned_struct::{self, versioned};
use crate::exec::{ExecError, ExecOptions, FrontEnd, SharedFrontEnd};
use crate::host_symbols::HostSymbols;

/// Options of an execution manager.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct SmfExecOptions {
    /// `sizeof(SmfExecOptions)`.
    pub size: i64,
    /// The name of the back end, NUL-terminated; null for `auto`.
    pub backend: *const c_char,
    /// The maximum size of all code in bytes; 0 for 1 GiB.
    pub max_code_bytes: i64,
    /// The level of compilations, 0 to 3.
    pub level: i32,
    /// `SMF_EXEC_PROCESS_SYMBOLS`: source may call functions of the process.
    pub flags: i32,
}

versioned!(SmfExecOptions, 32);

const DEFAULT_OPTIONS: SmfExecOptions = SmfExecOptions {
    size: 0,
    backend: ptr::null(),
    max_code_bytes: 0,
    level: Level::Speed as i32,
    flags: 0,
};

/// A value with its type.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct SmfExecValue {
    /// `SMF_TYPE_*`.
    pub kind: i64,
    /// The value of an integer, a bool or an address.
    pub integer: i64,
    /// The value of a float.
    pub number: f64,
}

/// A function of a manager.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct SmfExecFunction {
    /// In: `sizeof(SmfExecFunction)`. Out: the number of bytes filled in.
    pub size: i64,
    /// The number of parameters.
    pub parameters: i32,
    /// The type of the result, `SMF_TYPE_*`; 0 without one.
    pub result: i32,
    /// The address of the current version; 0 after a replacement by a function of another signature.
    pub address: i64,
}

versioned!(SmfExecFunction, 24);

/// The statistics of a manager.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct SmfExecStatistics {
    /// In: `sizeof(SmfExecStatistics)`. Out: the number of bytes filled in.
    pub size: i64,
    /// Functions by name.
    pub functions: i64,
    /// Compilations whose code is in memory.
    pub units: i64,
    /// Bytes of code, with that of replaced functions that is not freed yet.
    pub code_bytes: i64,
    /// Of these, bytes that a later compilation frees.
    pub retired_bytes: i64,
}

versioned!(SmfExecStatistics, 40);

/// Opens an execution manager. Returns its handle; 0 on failure.
///
/// # Safety
/// `options` is null or points to the `size` bytes that its first field says, with a name that is null or NUL-terminated.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smf_exec_open(options: *const SmfExecOptions) -> u64 {
    // SAFETY: the caller's promise.
    let options = unsafe { versioned_struct::read_or(options, DEFAULT_OPTIONS) };
    or(
        0,
        options.and_then(|options| {
            let name = match options.backend.is_null() {
                true => &b"auto"[..],
                // SAFETY: as above.
                false => unsafe { CStr::from_ptr(options.backend) }.to_bytes(),
            };
            open(&options, name)
        }),
    )
}

fn open(options: &SmfExecOptions, name: &[u8]) -> Result<u64, ApiError> {
    let SmfExecOptions { max_code_bytes, level, flags, .. } = *options;
    if flags & !SMF_EXEC_PROCESS_SYMBOLS != 0 {
        return Err(ArgumentError::unknown("sum of manager flags", flags).into());
    }
    let limit = args::length("the limit of code", max_code_bytes)?;
    let max_code_bytes = (limit != 0).then(|| usize::try_from(limit).unwrap_or(usize::MAX));
    let level = to_level(level)?;
    let backend = backend(name)?;
    let options = ExecOptions { backend, level, max_code_bytes, ..ExecOptions::default() };
    let has_process = flags & SMF_EXEC_PROCESS_SYMBOLS != 0;
    handles::open(options, has_process.then(HostSymbols::of_process).transpose()?)
}

fn to_level(level: i32) -> Result<Level, ApiError> {
    Ok(Level::from_number(level.into()).ok_or(ArgumentError::unknown("level", level))?)
}

/// Closes a manager. Fails while functions of it run.
#[unsafe(no_mangle)]
pub extern "C" fn smf_exec_close(manager: u64) -> bool {
    succeeded(handles::close(manager))
}

/// The name of the back end that compiles; null for an invalid handle.
#[unsafe(no_mangle)]
pub extern "C" fn smf_exec_backend(manager: u64) -> *const c_char {
    let name = enter(manager).map(|open| match open.manager.backend_name() {
        "native" => c"native".as_ptr(),
        "cranelift" => c"cranelift".as_ptr(),
        "llvm" => c"llvm".as_ptr(),
        _ => c"".as_ptr(),
    });
    or(ptr::null(), name)
}

/// Sets the level of later compilations.
#[unsafe(no_mangle)]
pub extern "C" fn smf_exec_set_level(manager: u64, level: i32) -> bool {
    succeeded(enter(manager).and_then(|open| {
        open.manager.set_level(to_level(level)?);
        Ok(())
    }))
}

/// Compiles Simple source. `name` is that of its file, for diagnostics and lines; null for `source`.
///
/// # Safety
/// `name` is null or NUL-terminated; `source` is null or points to `length` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smf_exec_compile(
    manager: u64,
    name: *const c_char,
    source: *const c_char,
    length: i64,
) -> bool {
    let compiled = handles::compile(manager, |open| {
        let name = match name.is_null() {
            true => "source".into(),
            // SAFETY: the caller's promise.
            false => unsafe { CStr::from_ptr(name) }.to_string_lossy(),
        };
        if name.is_empty() {
            return Err(ApiError::from(ArgumentError::Empty { what: "the name" }).into());
        }
        // SAFETY: as above.
        let source = unsafe { slice("the source", source.cast::<u8>(), length) };
        let source = str::from_utf8(source.map_err(ApiError::from)?);
        let source = source.map_err(|_| ExecError::not_text(&name))?;
        Ok(open.manager.compile_source(&name, source)?)
    });
    compiled.unwrap_or(false)
}

/// Compiles IR, in its text form or in the binary form of a unit.
///
/// # Safety
/// `ir` is null or points to `length` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smf_exec_compile_ir(manager: u64, ir: *const u8, length: i64) -> bool {
    let compiled = handles::compile(manager, |open| {
        // SAFETY: the caller's promise.
        let ir = unsafe { slice("the IR", ir, length) }.map_err(ApiError::from)?;
        open.manager.compile_ir(ir)?;
        Ok(Vec::new())
    });
    compiled.unwrap_or(false)
}

/// Compiles a file: source (`.spl`) with the modules that it uses, IR (`.sir`), or a module (`.smf`), which is loaded.
///
/// # Safety
/// `path` is null or NUL-terminated.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smf_exec_compile_file(manager: u64, path: *const c_char) -> bool {
    let compiled = handles::compile(manager, |open| {
        // SAFETY: the caller's promise.
        let path = unsafe { text("the path", path) }?;
        Ok(open.manager.compile_file(FilePath::new(OsStr::from_bytes(path)))?)
    });
    compiled.unwrap_or(false)
}

/// Sets the front end that compiles source: of a manager, or of all managers that are opened later for 0. Null for
/// that of the library.
///
/// # Safety
/// The front end is null, or may be called as `smf.h` says, from any thread, while it is set, and does not unwind.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smf_exec_set_frontend(
    manager: u64,
    front_end: SmfFrontEnd,
    user: *mut c_void,
) -> bool {
    let front_end = front_end.map(|function| -> Result<SharedFrontEnd, AllocError> {
        // SAFETY: the caller's promise.
        let front_end = unsafe { CallbackFrontEnd::new(function, user) };
        TryArc::new(try_box(front_end)? as Box<dyn FrontEnd>)
    });
    succeeded(front_end.transpose().map_err(ApiError::from).and_then(|front_end| {
        match manager {
            0 => *DEFAULT_FRONT_END.lock() = front_end,
            manager => enter(manager)?.manager.set_front_end(front_end),
        }
        Ok(())
    }))
}

/// The handle of a function by name, which stays valid when the function is replaced by one of the same types; 0 if there is none.
///
/// # Safety
/// `name` is null or NUL-terminated.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smf_exec_find(manager: u64, name: *const c_char) -> u64 {
    // SAFETY: the caller's promise.
    let name = unsafe { text("the name of the function", name) };
    or(0, enter(manager).and_then(|open| open.find(name?)))
}

/// Fills in the types of a function.
///
/// # Safety
/// `into` is null or points to the `size` bytes that its first field says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smf_exec_function(
    manager: u64,
    function: u64,
    into: *mut SmfExecFunction,
) -> bool {
    succeeded(enter(manager).and_then(|open| {
        let function = open.function(function)?;
        let filled = SmfExecFunction {
            size: 0,
            parameters: i32::try_from(function.params().len()).unwrap_or(i32::MAX),
            result: function.result().map_or(0, |scalar| scalar.code().into()),
            address: function.address().unwrap_or(0).cast_signed(),
        };
        // SAFETY: the caller's promise.
        unsafe { versioned_struct::write(into, filled) }
    }))
}

/// The type of a parameter by its index from 0, `SMF_TYPE_*`; 0 on failure.
#[unsafe(no_mangle)]
pub extern "C" fn smf_exec_parameter(manager: u64, function: u64, index: i64) -> i32 {
    or(
        0,
        enter(manager).and_then(|open| {
            let function = open.function(function)?;
            let at = usize::try_from(index).ok();
            let scalar = at.and_then(|at| function.params().get(at));
            let scalar = scalar.ok_or(ArgumentError::unknown("index of a parameter", index))?;
            Ok(scalar.code().into())
        }),
    )
}

/// The names of the functions, as a list.
#[unsafe(no_mangle)]
pub extern "C" fn smf_exec_function_names(manager: u64) -> Value {
    or(NO_VALUE, enter(manager).and_then(|open| list(&open.manager)))
}

type CoreValue = smf_core::exec::Value;

/// An argument as a value of its type.
// Benchmark row: "call add by handle, from C".
#[inline(always)]
fn argument(index: usize, value: &SmfExecValue) -> Result<CoreValue, ApiError> {
    match value.kind == i64::from(Scalar::I64.code()) {
        true => Ok(value.integer.into()),
        false => other_argument(index, value),
    }
}

/// An argument of another type than `i64`.
// Not inlined: the loop over the arguments needs the registers (the same row).
#[inline(never)]
fn other_argument(index: usize, value: &SmfExecValue) -> Result<CoreValue, ApiError> {
    let scalar = u8::try_from(value.kind).ok().and_then(Scalar::from_code);
    let scalar = scalar.ok_or(ArgumentError::unknown("type of a value", value.kind))?;
    match scalar {
        Scalar::F64 => Ok(value.number.into()),
        Scalar::F32 => Ok((value.number as f32).into()),
        scalar => CoreValue::from_integer(scalar, value.integer)
            .ok_or_else(|| no_value(index, value.integer, scalar)),
    }
}

#[cold]
fn no_value(index: usize, given: i64, scalar: Scalar) -> ApiError {
    let number = index + 1;
    let why = format_args!("argument {number}: {given} is no value of type {scalar}");
    ApiError::other(super::error::Code::Argument, &why)
}

/// The result of a call.
#[inline]
fn result_of(value: Option<CoreValue>) -> SmfExecValue {
    let Some(value) = value else {
        return SmfExecValue { kind: SMF_TYPE_NONE.into(), integer: 0, number: 0.0 };
    };
    let kind = value.scalar().code().into();
    if value.scalar() == Scalar::I64 {
        return SmfExecValue { kind, integer: value.bits().cast_signed(), number: 0.0 };
    }
    SmfExecValue {
        kind,
        integer: value.as_integer().unwrap_or(0),
        number: value.as_float().unwrap_or(0.0),
    }
}

/// The maximum number of arguments on the stack.
const MAX_ON_STACK: usize = 16;

/// The memory of the arguments of a call: few are on the stack.
struct Arguments {
    few: [MaybeUninit<CoreValue>; MAX_ON_STACK],
    many: Vec<CoreValue>,
}

impl Arguments {
    #[inline]
    const fn new() -> Self {
        Self { few: [const { MaybeUninit::uninit() }; MAX_ON_STACK], many: Vec::new() }
    }

    /// Takes the arguments that C gives.
    ///
    /// # Safety
    /// `arguments` is null or points to `count` values.
    // The same row.
    #[inline(always)]
    unsafe fn read(
        &mut self,
        arguments: *const SmfExecValue,
        count: i64,
    ) -> Result<&[CoreValue], ApiError> {
        // SAFETY: the caller's contract.
        let arguments = unsafe { slice("the list of arguments", arguments, count) }?;
        if arguments.len() > MAX_ON_STACK {
            return self.read_many(arguments);
        }
        for ((index, value), place) in arguments.iter().enumerate().zip(&mut self.few) {
            place.write(argument(index, value)?);
        }
        let given = self.few.get(..arguments.len()).unwrap_or_default();
        // SAFETY: these values are written above.
        Ok(unsafe { given.assume_init_ref() })
    }

    #[cold]
    fn read_many(&mut self, arguments: &[SmfExecValue]) -> Result<&[CoreValue], ApiError> {
        for (index, value) in arguments.iter().enumerate() {
            try_push(&mut self.many, argument(index, value)?)?;
        }
        Ok(&self.many)
    }
}

/// Calls a function by name with arguments of its types. Whether it returned; the result is filled in unless it is null.
///
/// # Safety
/// `name` is null or NUL-terminated, `arguments` null or points to `count` values, and `result` null or points to a value.
/// The function may do what it does with these arguments.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smf_exec_call(
    manager: u64,
    name: *const c_char,
    arguments: *const SmfExecValue,
    count: i64,
    result: *mut SmfExecValue,
) -> bool {
    handles::with(manager, false, |open| {
        // SAFETY: the caller's promise.
        let name = unsafe { text("the name of the function", name) }?;
        let mut memory = Arguments::new();
        // SAFETY: as above.
        let arguments = unsafe { memory.read(arguments, count) }?;
        // SAFETY: as above.
        let value = unsafe { open.manager.call_by_name(name, arguments) }?;
        // SAFETY: as above.
        unsafe { put(result, value) };
        Ok(true)
    })
}

/// # Safety
/// `result` is null or points to a value.
#[inline]
unsafe fn put(result: *mut SmfExecValue, value: Option<CoreValue>) {
    if !result.is_null() {
        // SAFETY: the caller's contract.
        unsafe { result.write_unaligned(result_of(value)) };
    }
}

/// As `smf_exec_call`, by the handle of the function.
///
/// # Safety
/// As for [`smf_exec_call`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smf_exec_call_function(
    manager: u64,
    function: u64,
    arguments: *const SmfExecValue,
    count: i64,
    result: *mut SmfExecValue,
) -> bool {
    handles::with(manager, false, |open| {
        let function = open.function(function)?;
        let mut memory = Arguments::new();
        // SAFETY: the caller's promise.
        let arguments = unsafe { memory.read(arguments, count) }?;
        // SAFETY: as above; the handle is one of this manager.
        let value = unsafe { open.manager.call(function, arguments) }?;
        // SAFETY: as above.
        unsafe { put(result, value) };
        Ok(true)
    })
}

/// Fills in the statistics.
///
/// # Safety
/// `statistics` is null or points to the `size` bytes that its first field says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smf_exec_statistics(
    manager: u64,
    statistics: *mut SmfExecStatistics,
) -> bool {
    succeeded(enter(manager).and_then(|open| {
        let found = open.manager.statistics();
        let filled = SmfExecStatistics {
            size: 0,
            functions: to_i64(found.functions),
            units: to_i64(found.units),
            code_bytes: to_i64(found.code_bytes),
            retired_bytes: to_i64(found.retired_bytes),
        };
        // SAFETY: the caller's promise.
        unsafe { versioned_struct::write(statistics, filled) }
    }))
}
