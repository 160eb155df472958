//! `rt_call_function_0` to `_8`: calls through a bare address, which must be code of this library.
#![allow(unsafe_code)]

use smf_core::memory::code_alloc::ExecError;

#[cfg(target_arch = "x86_64")]
use smf_core::trap::refuse_unwinding;

use super::error::{ApiError, or, record, smf_clear_error};
use super::{args, blocks};
use crate::call::{self, CALL_EPOCHS};
#[cfg(target_arch = "x86_64")]
use crate::call_record::{self, CallRecord, FOUND_FACTOR, FOUND_SHIFT};
use crate::code_map;

#[cfg(target_arch = "x86_64")]
mod x86_64;
#[cfg(target_arch = "x86_64")]
pub(super) use x86_64::move_arguments;
#[cfg(target_arch = "x86_64")]
use x86_64::{enter, pop_arguments};

fn call<const N: usize>(function: i64, arguments: [i64; N]) -> i64 {
    let address = function.cast_unsigned();
    // The epoch is pinned before the lookup, so that the code it finds is not freed before the call returns.
    let _guard = CALL_EPOCHS.pin();
    #[cfg_attr(
        not(target_arch = "x86_64"),
        expect(unused_variables, reason = "calls are recorded on x86-64 alone")
    )]
    let Some(callable) = usize::try_from(address).ok().filter(|to| code_map::is_callable(*to))
    else {
        record(refusal(function));
        return 0;
    };
    #[cfg(target_arch = "x86_64")]
    call_record::remember(callable, CALL_EPOCHS.current(), x86_64::trapped, code_map::is_cached);
    // SAFETY: the address is in executable code of this library. The caller promises to keep it and that it takes
    // these arguments: machine code is trusted. Registering code has registered the trap chains.
    match unsafe { call::call_pinned(address, &arguments) } {
        Ok(0) => {
            smf_clear_error();
            0
        }
        Ok(result) => result,
        Err(error) => or(0, Err(ApiError::Call(error))),
    }
}

/// Passes the address of a function to `act` that may be called until `act` returns.
///
/// # Errors
/// The address is not one of callable code.
pub(super) fn with_callable<T>(function: i64, act: impl FnOnce(u64) -> T) -> Result<T, ApiError> {
    let address = function.cast_unsigned();
    let _guard = CALL_EPOCHS.pin();
    match usize::try_from(address).is_ok_and(code_map::is_callable) {
        true => Ok(act(address)),
        false => Err(refusal(function)),
    }
}

/// Why an address cannot be called.
#[cold]
fn refusal(function: i64) -> ApiError {
    let address = match args::address("the function", function) {
        Ok(address) => address,
        Err(error) => return error.into(),
    };
    match blocks::with(|blocks| blocks.entry_point(address)) {
        Ok(_) | Err(ApiError::Exec(ExecError::Unknown { .. })) => ApiError::NotCallable { address },
        Err(error) => error,
    }
}

/// Exports one function per number of arguments.
macro_rules! export {
    ($($name:ident($($argument:ident),*);)*) => {$(
        /// Calls the function at `function`, in executable memory of this library or in a loaded module, and returns
        /// its result; 0 on failure and after a trap. If the function itself returned 0, the last error is cleared.
        #[cfg(not(target_arch = "x86_64"))]
        #[unsafe(no_mangle)]
        pub extern "C" fn $name(function: i64, $($argument: i64),*) -> i64 {
            call(function, [$($argument),*])
        }

        #[cfg(target_arch = "x86_64")]
        mod $name {
            pub(super) extern "C" fn slowly(function: i64, $($argument: i64),*) -> i64 {
                super::call(function, [$($argument),*])
            }
        }

        /// Calls the function at `function`, in executable memory of this library or in a loaded module, and returns
        /// its result; 0 on failure and after a trap. If the function itself returned 0, the last error is cleared.
        #[cfg(target_arch = "x86_64")]
        #[unsafe(naked)]
        #[unsafe(no_mangle)]
        pub extern "C" fn $name(function: i64, $($argument: i64),*) -> i64 {
            enter!($name; $($argument)*)
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
