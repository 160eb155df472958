//! `rt_call_function_0` to `_8`: calls through a bare address, which must be code of ours.
#![allow(unsafe_code)]

use smf_core::memory::code_alloc::ExecError;
use smf_core::trap::TrapError;

use super::error::{ApiError, or, smf_clear_error};
use super::{args, blocks};
use crate::call::{self, CALL_EPOCHS};
use crate::code_map;

/// Calls a function that lies in code of a module, as nearly all do.
#[inline(always)]
fn call<const N: usize>(function: i64, arguments: [i64; N]) -> i64 {
    let address = function.cast_unsigned();
    // Before the look-up: code that it finds is not freed before the call has returned.
    let _pinned = CALL_EPOCHS.pin();
    if !usize::try_from(address).is_ok_and(code_map::is_code) {
        return call_elsewhere(function, arguments);
    }
    // SAFETY: the address lies in code of this library that may run, which the caller promises to keep
    // during the call and to have written for as many arguments: machine code is trusted. Whoever enters
    // a range of code has the heads of threads kept first.
    finish(unsafe { call::call_pinned(address, &arguments) })
}

/// Calls a function by way of a stub, or one that nobody has entered.
#[inline(never)]
fn call_elsewhere<const N: usize>(function: i64, arguments: [i64; N]) -> i64 {
    let address = function.cast_unsigned();
    if !usize::try_from(address).is_ok_and(code_map::begins_stub) {
        return look_closer(function, &arguments);
    }
    // SAFETY: as in `call`: stubs lead to functions of a module.
    finish(unsafe { call::call_pinned(address, &arguments) })
}

/// Calls a function that nobody has entered, if it begins a block of executable memory; else keeps why not.
#[cold]
fn look_closer(function: i64, arguments: &[i64]) -> i64 {
    let address = args::address("the function", function);
    let found =
        address.and_then(|address| match blocks::with(|blocks| blocks.entry_point(address)) {
            Err(ApiError::Exec(ExecError::Unknown { address })) => {
                Err(ApiError::NotCallable { address })
            }
            found => found,
        });
    let Some(address) = or(None, found.map(Some)) else { return 0 };
    call::install_chain_lookup();
    // SAFETY: as in `call`.
    finish(unsafe { call::call_pinned(address as u64, arguments) })
}

/// The result, or 0 for an error, which is kept. A function that returns 0 itself leaves none.
#[inline(always)]
fn finish(called: Result<i64, TrapError>) -> i64 {
    // Not rare, but then the clearing takes longer than the way to it.
    #[cold]
    #[inline(never)]
    fn zero() -> i64 {
        smf_clear_error();
        0
    }
    #[cold]
    #[inline(never)]
    fn fail(error: TrapError) -> i64 {
        or(0, Err(ApiError::Call(error)))
    }
    match called {
        Ok(0) => zero(),
        Ok(result) => result,
        Err(error) => fail(error),
    }
}

/// Exports one function for each number of arguments.
macro_rules! export {
    ($($name:ident($($argument:ident),*);)*) => {$(
        /// Calls the function at `function`, which lies in executable memory of this library or in a
        /// loaded module, and returns what it returns; 0 on failure, and when a template's code has
        /// trapped or bytecode was stopped. When the function itself returned 0, there is no last error.
        #[unsafe(no_mangle)]
        pub extern "C" fn $name(function: i64, $($argument: i64),*) -> i64 {
            call(function, [$($argument),*])
        }
    )*};
}

export! {
    rt_call_function_0();
    rt_call_function_1(a);
    rt_call_function_2(a, b);
    rt_call_function_3(a, b, c);
    rt_call_function_4(a, b, c, d);
    rt_call_function_5(a, b, c, d, e);
    rt_call_function_6(a, b, c, d, e, f);
    rt_call_function_7(a, b, c, d, e, f, g);
    rt_call_function_8(a, b, c, d, e, f, g, h);
}
