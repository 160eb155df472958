//! `smf_call`: calls through a bare address with the types of a signature.
#![allow(unsafe_code)]

use std::ffi::{c_char, c_void};

use super::call::with_callable;
use super::cptr::{slice, text};
use super::error::{ArgumentError, succeeded};
use super::signature::{Signature, Type};

/// Calls the function at `function`, as `rt_call_function_0` does, with arguments and a result of the types in
/// `signature`.
///
/// # Safety
/// `signature` is null or NUL-terminated. The function has these types. `arguments` is null or points to an address for
/// each parameter, of a value of its type; `result` is null or points to memory for the result.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smf_call(
    function: i64,
    signature: *const c_char,
    arguments: *const *mut c_void,
    result: *mut c_void,
) -> bool {
    // SAFETY: the caller's promise.
    let signature = unsafe { text("the signature", signature) };
    succeeded(signature.and_then(Signature::parse).and_then(|signature| {
        let count = signature.parameters.len() as i64;
        // SAFETY: the caller's promise.
        let arguments = unsafe { slice("the list of arguments", arguments, count) }?;
        if arguments.iter().any(|argument| argument.is_null()) {
            return Err(ArgumentError::Null { what: "an argument" }.into());
        }
        // SAFETY: the caller's promise.
        let returned =
            with_callable(function, |address| unsafe { call(address, &signature, arguments) })??;
        if !result.is_null() && signature.result != Type::Void {
            // SAFETY: the caller's promise; the bytes are not those of the caller.
            unsafe {
                result.cast::<u8>().copy_from_nonoverlapping(returned.as_ptr(), returned.len());
            }
        }
        Ok(())
    }))
}

/// Calls a function and returns the bytes of its result.
///
/// # Safety
/// As for [`smf_call`], with the address of a function that is callable until this returns.
#[cfg(not(feature = "typed-calls"))]
unsafe fn call(
    _: u64,
    _: &Signature,
    _: &[*mut c_void],
) -> Result<Vec<u8>, super::error::ApiError> {
    let why = "smf_call needs a library that is built with the feature `typed-calls` or `libffi`";
    Err(super::error::ApiError::other(super::error::Code::Unsupported, &why))
}

#[cfg(feature = "typed-calls")]
use with_libffi::call;

/// The library that knows the calling conventions.
#[cfg(feature = "typed-calls")]
mod with_libffi {
    use std::ffi::c_void;

    use libffi::low::{ffi_abi_FFI_DEFAULT_ABI, ffi_cif, prep_cif};
    use libffi::middle::Type as FfiType;
    use libffi::raw::ffi_call;

    use crate::call::call_pinned;
    use crate::ffi::error::{ApiError, Code};
    use crate::ffi::signature::{Signature, Type};

    fn ffi_type(ty: &Type) -> FfiType {
        match ty {
            Type::Void => FfiType::void(),
            Type::Int { bytes: 1, signed: true } => FfiType::i8(),
            Type::Int { bytes: 1, signed: false } => FfiType::u8(),
            Type::Int { bytes: 2, signed: true } => FfiType::i16(),
            Type::Int { bytes: 2, signed: false } => FfiType::u16(),
            Type::Int { bytes: 4, signed: true } => FfiType::i32(),
            Type::Int { bytes: 4, signed: false } => FfiType::u32(),
            Type::Int { signed: true, .. } => FfiType::i64(),
            Type::Int { signed: false, .. } => FfiType::u64(),
            Type::Float => FfiType::f32(),
            Type::Double => FfiType::f64(),
            Type::Pointer => FfiType::pointer(),
            Type::Struct(fields) => FfiType::structure(fields.iter().map(ffi_type)),
        }
    }

    /// Calls a function and returns the bytes of its result.
    ///
    /// # Safety
    /// As for [`smf_call`](super::smf_call), with the address of a function that is callable until this returns.
    pub(super) unsafe fn call(
        address: u64,
        signature: &Signature,
        arguments: &[*mut c_void],
    ) -> Result<Vec<u8>, ApiError> {
        let result = ffi_type(&signature.result);
        let parameters: Vec<_> = signature.parameters.iter().map(ffi_type).collect();
        let mut types: Vec<_> = parameters.iter().map(FfiType::as_raw_ptr).collect();
        let (mut cif, abi) = (ffi_cif::default(), ffi_abi_FFI_DEFAULT_ABI);
        // SAFETY: the types outlive the interface.
        let prepared = unsafe {
            prep_cif(&raw mut cif, abi, types.len(), result.as_raw_ptr(), types.as_mut_ptr())
        };
        let refused = |_| ApiError::other(Code::Unsupported, &"libffi refuses the signature");
        prepared.map_err(refused)?;
        // SAFETY: a live type, whose size `prep_cif` has computed.
        let size = unsafe { (*result.as_raw_ptr()).size };
        // libffi widens an integer to a word.
        let mut words = vec![0u64; size.div_ceil(size_of::<u64>()).max(1)];
        // `ffi_call` owns nothing, so that a trap may discard its frame.
        let call = [
            (&raw mut cif).expose_provenance().cast_signed() as i64,
            address.cast_signed(),
            words.as_mut_ptr().expose_provenance().cast_signed() as i64,
            arguments.as_ptr().expose_provenance().cast_signed() as i64,
        ];
        // SAFETY: a function of four words, which calls the function at the address with the caller's arguments; the
        // epochs are pinned, and registering code has registered the trap chains.
        let returned = unsafe { call_pinned(ffi_call as *const () as u64, &call) };
        returned.map_err(ApiError::Call)?;
        Ok(words.iter().flat_map(|word| word.to_ne_bytes()).take(size).collect())
    }
}
