//! Calls into a module's code.
#![allow(unsafe_code)]

use core::mem::transmute;

use super::error::LinkError;

/// The greatest number of arguments that [`call`] passes.
pub const MAX_ARGS: usize = 8;

/// Calls the function at `address` with 64-bit integer arguments and returns its 64-bit result, in the
/// C calling convention of the machine.
///
/// # Errors
/// [`LinkError::TooManyArguments`] above [`MAX_ARGS`]; nothing is called then.
///
/// # Safety
/// * `address` is that of a function in memory that is executable and stays so during the call;
/// * the function follows the C calling convention and takes at most as many integer arguments;
/// * it keeps to what its module and process allow: machine code is trusted, and may do anything.
#[inline]
pub unsafe fn call(address: u64, args: &[i64]) -> Result<i64, LinkError> {
    let too_many = LinkError::TooManyArguments { given: args.len() };
    let entry = usize::try_from(address).map_err(|_| LinkError::TooLarge)?;
    macro_rules! invoke {
        ($($arg:ident: $type:ty),*) => {{
            // SAFETY: the caller says that this is the address of a function of the C convention, and
            // a function pointer is an address.
            let function = unsafe { transmute::<usize, unsafe extern "C" fn($($type),*) -> i64>(entry) };
            // SAFETY: the caller says that it may be called with these arguments.
            unsafe { function($(*$arg),*) }
        }};
    }
    Ok(match args {
        [] => invoke!(),
        [a] => invoke!(a: i64),
        [a, b] => invoke!(a: i64, b: i64),
        [a, b, c] => invoke!(a: i64, b: i64, c: i64),
        [a, b, c, d] => invoke!(a: i64, b: i64, c: i64, d: i64),
        [a, b, c, d, e] => invoke!(a: i64, b: i64, c: i64, d: i64, e: i64),
        [a, b, c, d, e, f] => invoke!(a: i64, b: i64, c: i64, d: i64, e: i64, f: i64),
        [a, b, c, d, e, f, g] => invoke!(a: i64, b: i64, c: i64, d: i64, e: i64, f: i64, g: i64),
        [a, b, c, d, e, f, g, h] => {
            invoke!(a: i64, b: i64, c: i64, d: i64, e: i64, f: i64, g: i64, h: i64)
        }
        _ => return Err(too_many),
    })
}
