//! Stubs: the addresses by which other units call a function, whatever its version.
//!
//! A stub is a function of the same signature that jumps to the address in a word, by a tail call. It is compiled from
//! IR as any other function.

use alloc::vec::Vec;

use super::backend::BackendError;
use crate::alloc_util::AllocError;
use crate::ir::{FunctionBuilder, Scalar, ValueType};

/// The stub in IR of a function whose address lies at `word`.
pub(super) fn build(
    word: u64,
    params: &[Scalar],
    result: Option<Scalar>,
) -> Result<Vec<u8>, BackendError> {
    let mut stub = FunctionBuilder::new(0, result.map(ValueType::from));
    let mut locals = Vec::new();
    locals.try_reserve(params.len()).map_err(|_| AllocError)?;
    locals.extend(params.iter().map(|&scalar| stub.param(scalar)));
    let address = stub.local(Scalar::Pointer);
    stub.wide_constant(Scalar::Pointer, address, word);
    stub.load(Scalar::Pointer, address, address, 0);
    stub.return_call_indirect(address, &locals);
    // A signature that a unit has verified can be built.
    stub.finish().map_err(|_| AllocError.into())
}
