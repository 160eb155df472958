//! `smf_loader_*`: host functions of bytecode, and its compilation.
#![allow(unsafe_code)]

use std::ffi::c_char;
use std::mem::transmute;
use std::ptr;

use smf_core::bytecode::host::{HostFunction, HostTable};
use smf_core::link::Name;
use smf_core::loader::ModuleRef;
use smf_core::trap::MAX_ARGS;
use smf_core::vm::{CodeError, DEFAULT_THRESHOLD, Engine, NEVER, Tiers};

use super::args::{self, to_i64};
use super::constants::*;
use super::cptr::{slice, text};
use super::error::{ApiError, ArgumentError, Code, attempt_with, succeeded};
use super::loader_handles::enter;

/// A function of the host that bytecode calls by number.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct SmfHostFunction {
    /// The number, 0 to 65,535.
    pub index: i32,
    /// How many integers it takes, 0 to 8.
    pub arguments: i32,
    /// Its address.
    pub function: i64,
}

/// The threshold of compilation that stands for the default.
const DEFAULT: i64 = 0;

/// The threshold of compilation that C requests.
fn threshold(value: i64) -> Result<u32, ArgumentError> {
    match value {
        DEFAULT => Ok(DEFAULT_THRESHOLD),
        SMF_COMPILE_NEVER => Ok(NEVER),
        SMF_COMPILE_FIRST => Ok(0),
        // More calls than a counter counts.
        value => u32::try_from(value)
            .ok()
            .filter(|value| *value < NEVER)
            .ok_or(ArgumentError::unknown("threshold of compilation", value)),
    }
}

/// How bytecode runs with a threshold that C requests.
pub(super) fn tiers(value: i64) -> Result<Tiers, ArgumentError> {
    let threshold = threshold(value)?;
    Ok(match Tiers::default() {
        Tiers::Compile { .. } => Tiers::Compile { threshold },
        // There is no compiler for this machine.
        Tiers::Interpret => Tiers::Interpret,
    })
}

/// The host functions that C lists.
///
/// # Safety
/// `functions` is null or points to `count` functions, each of which may be called from any thread with as many integers
/// as it says and does not unwind, while the loader is open.
pub(super) unsafe fn host_functions(
    functions: *const SmfHostFunction,
    count: i64,
) -> Result<HostTable, ApiError> {
    let mut table = HostTable::new();
    // SAFETY: the caller's promise.
    for listed in unsafe { slice("the list of host functions", functions, count) }? {
        let unknown = ArgumentError::unknown("number of a host function", listed.index);
        let index = u16::try_from(listed.index).map_err(|_| unknown)?;
        let address = args::address("the address of a host function", listed.function)?;
        // SAFETY: the caller's promise.
        let function = unsafe { host_function(address, listed.arguments) };
        let unknown = ArgumentError::unknown("number of arguments", listed.arguments);
        table.set(index, function.ok_or(unknown)?)?;
    }
    Ok(table)
}

/// The function at an address, which is not null; `None` if it cannot take as many arguments.
///
/// # Safety
/// It is a function with this number of integers as arguments and an integer as result.
unsafe fn host_function(address: usize, arguments: i32) -> Option<HostFunction> {
    const _: () = assert!(MAX_ARGS == 8);
    let code = ptr::with_exposed_provenance::<()>(address);
    macro_rules! function {
        ($variant:ident, $type:ty) => {{
            // SAFETY: not null, and of this type by the caller's promise.
            HostFunction::$variant(unsafe { transmute::<*const (), $type>(code) })
        }};
    }
    Some(match arguments {
        0 => function!(Args0, extern "C" fn() -> i64),
        1 => function!(Args1, extern "C" fn(i64) -> i64),
        2 => function!(Args2, extern "C" fn(i64, i64) -> i64),
        3 => function!(Args3, extern "C" fn(i64, i64, i64) -> i64),
        4 => function!(Args4, extern "C" fn(i64, i64, i64, i64) -> i64),
        5 => function!(Args5, extern "C" fn(i64, i64, i64, i64, i64) -> i64),
        6 => function!(Args6, extern "C" fn(i64, i64, i64, i64, i64, i64) -> i64),
        7 => function!(Args7, extern "C" fn(i64, i64, i64, i64, i64, i64, i64) -> i64),
        8 => function!(Args8, extern "C" fn(i64, i64, i64, i64, i64, i64, i64, i64) -> i64),
        _ => return None,
    })
}

/// Compiles a bytecode function, or with null all that can be compiled, unless they are compiled.
/// Returns the size of the code in bytes; -1 on failure.
///
/// # Safety
/// `name` is null or NUL-terminated.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smf_loader_compile(loader: u64, module: u64, name: *const c_char) -> i64 {
    attempt_with(-1, enter(loader), |loader| {
        let version = loader.version(module)?;
        let engine = engine_of(&version)?;
        let compile = |index| engine.compile(index).map_err(refusal);
        if name.is_null() {
            let mut sum = 0usize;
            for (index, _) in (0..).zip(engine.program().functions()) {
                sum = sum.saturating_add(match engine.compile(index) {
                    // Interpreted, at every threshold.
                    Err(error) if error.is_permanent() => 0,
                    compiled => compiled.map_err(refusal)?.1,
                });
            }
            return Ok(to_i64(sum));
        }
        // SAFETY: not null, so NUL-terminated by the caller's promise.
        let name = unsafe { text("the name", name) }?;
        let missing = || ApiError::no_symbol(name, version.name());
        let (_, size) = compile(version.bytecode_function(name).ok_or_else(missing)?)?;
        Ok(to_i64(size))
    })
}

/// Sets the threshold of compilation of a bytecode module. Compiled functions stay compiled.
#[unsafe(no_mangle)]
pub extern "C" fn smf_loader_set_threshold(loader: u64, module: u64, value: i64) -> bool {
    succeeded(enter(loader).and_then(|loader| {
        let threshold = threshold(value)?;
        let version = loader.version(module)?;
        engine_of(&version)?.set_threshold(threshold);
        Ok(())
    }))
}

/// The engine of a bytecode module.
fn engine_of<'v>(version: &'v ModuleRef<'_>) -> Result<&'v Engine<'v>, ApiError> {
    let other = |module| ApiError::NotBytecode { module };
    version.engine().ok_or_else(|| Name::in_error(version.name(), other))
}

fn refusal(error: CodeError) -> ApiError {
    match error {
        CodeError::Exec(error) => error.into(),
        CodeError::OutOfMemory => ApiError::other(Code::NoMemory, &error),
        error => ApiError::other(Code::Link, &error),
    }
}
