//! Calls of machine code of drawn programs.
#![allow(unsafe_code)]

use smf_core::ir::Scalar;
use smf_core::trap::{CallArg, TrapError, call_values};

use super::engine::Outcome;
use super::host::{Host, canonical};
use super::interpreter::place;

/// Calls the machine code of function 0 with the memory and the functions of the host. `function_of` is the number of
/// the function for what the code reports as the function that trapped.
///
/// # Panics
/// If the call fails in another way than by a trap.
///
/// # Safety
/// The code is that of a drawn program, which the interpreter has run with these arguments.
pub unsafe fn call_native(
    address: u64,
    args: &[u64],
    params: &[Scalar],
    result: Option<Scalar>,
    host: &mut Host,
    function_of: impl Fn(u64) -> Option<u32>,
) -> Outcome {
    let args = place(args, params, host);
    let word = |(&bits, scalar): (&u64, &Scalar)| match scalar.is_float() {
        true => CallArg::Float(bits),
        false => CallArg::Integer(extended(bits, *scalar)),
    };
    let words: Vec<CallArg> = args.iter().zip(params).map(word).collect();
    // SAFETY: the caller's contract; the host outlives the call.
    let returned = host.serve(|| unsafe { call_values(address, &words) });
    match returned {
        Err(TrapError::Trap(trap)) => {
            Outcome::Trapped { code: trap.code, at: trap.at, function: function_of(trap.function) }
        }
        Err(other) => panic!("{other}"),
        Ok(returned) => Outcome::Returned(match result {
            None => 0,
            Some(scalar) => {
                let bits = if scalar.is_float() { returned.float } else { returned.integer };
                canonical(bits & (u64::MAX >> (64 - scalar.bits())), result)
            }
        }),
    }
}

/// An argument as a caller of the C calling convention extends it.
fn extended(bits: u64, scalar: Scalar) -> u64 {
    match scalar {
        Scalar::I8 => i64::from(bits as i8).cast_unsigned(),
        Scalar::I16 => i64::from(bits as i16).cast_unsigned(),
        Scalar::I32 => i64::from(bits as i32).cast_unsigned(),
        _ => bits,
    }
}
