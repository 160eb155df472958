//! `rt_call_function_0` to `_8`: calls through a bare address, which must be code of this library.
#![allow(unsafe_code)]

use smf_core::memory::code_alloc::ExecError;
use smf_core::trap::TrapError;

use super::error::{ApiError, or, record, smf_clear_error};
use super::{args, blocks};
use crate::call::{self, CALL_EPOCHS};
use crate::code_map;

fn call<const N: usize>(function: i64, arguments: [i64; N]) -> i64 {
    let address = function.cast_unsigned();
    // The epoch is pinned before the lookup, so that the code it finds is not freed before the call returns.
    let _guard = CALL_EPOCHS.pin();
    if !usize::try_from(address).is_ok_and(code_map::is_callable) {
        record(refusal(function));
        return 0;
    }
    // SAFETY: the address is in executable code of this library. The caller promises to keep it and that it takes
    // these arguments: machine code is trusted. Registering code has registered the trap chains.
    match unsafe { call::call_pinned(address, &arguments) } {
        Ok(0) => {
            smf_clear_error();
            0
        }
        Ok(result) => result,
        Err(error) => trapped(error),
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

#[cold]
fn trapped(error: TrapError) -> i64 {
    or(0, Err(ApiError::Call(error)))
}

/// Exports one function per number of arguments.
macro_rules! export {
    ($($name:ident($($argument:ident),*);)*) => {$(
        /// Calls the function at `function`, in executable memory of this library or in a loaded module, and returns
        /// its result; 0 on failure and after a trap. If the function itself returned 0, the last error is cleared.
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
