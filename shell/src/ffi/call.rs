//! `rt_call_function_0` to `_8`: calls through a bare address, which must be code of ours.
#![allow(unsafe_code)]

use smf_core::memory::exec::ExecError;

use super::error::{ApiError, or, smf_clear_error};
use super::{args, blocks};
use crate::{calls, code_ranges};

/// The address as one that may be called, if somebody has entered it.
#[inline]
fn callable(function: i64) -> Option<usize> {
    let address = usize::try_from(function).ok()?;
    code_ranges::may_be_called(address).then_some(address)
}

/// The same for one that nobody has; `None` when it may not be called, and the reason is kept.
#[cold]
fn look_closer(function: i64) -> Option<usize> {
    let address = args::address("the function", function);
    let found =
        address.and_then(|address| match blocks::with(|blocks| blocks.entry_point(address)) {
            Err(ApiError::Exec(ExecError::Unknown { address })) => {
                Err(ApiError::NotCallable { address })
            }
            found => found,
        });
    or(None, found.map(Some))
}

#[inline(always)]
fn call<const N: usize>(function: i64, arguments: [i64; N]) -> i64 {
    let Some(address) = callable(function).or_else(|| look_closer(function)) else { return 0 };
    // SAFETY: the address lies in code of this library that may run, which the caller promises to keep
    // during the call and to have written for as many arguments: machine code is trusted.
    match unsafe { calls::call(address as u64, &arguments) } {
        Ok(0) => {
            smf_clear_error();
            0
        }
        Ok(result) => result,
        Err(error) => or(0, Err(ApiError::Call(error))),
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
