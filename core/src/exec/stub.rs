//! Stubs: the addresses by which other units call a function, whatever its version.
//!
//! A stub is a function of the same signature that jumps to the address in a word, by a tail call. It is compiled from
//! IR as any other function.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU64, Ordering};

use hashbrown::HashMap;

use super::backend::BackendError;
use super::native::{NativeBackend, RegisteredCode};
use crate::alloc_util::{AllocError, try_box, try_concat};
use crate::ir::{FunctionBuilder, Scalar, ValueType};
use crate::link::Name;

/// The code by which other units call a function, and the address of the current version, to which it jumps.
pub(super) struct Stub {
    code: RegisteredCode,
    target: Box<AtomicU64>,
}

impl Stub {
    /// A stub of a function with these parameters and this result, whose current version is at `target`.
    pub(super) fn new(
        name: &Name,
        signature: (&[Scalar], Option<Scalar>),
        target: u64,
        backend: &NativeBackend,
    ) -> Result<Self, BackendError> {
        let target = try_box(AtomicU64::new(target))?;
        let word = target.as_ptr().expose_provenance() as u64;
        let title = Name::new(&try_concat(&[name.as_bytes(), b":stub"])?)?;
        let code = backend.compile_one(&title, &build(word, signature)?)?;
        Ok(Self { code, target })
    }

    pub(super) fn address(&self) -> u64 {
        self.code.address()
    }

    /// Bytes of code.
    pub(super) fn bytes(&self) -> usize {
        self.code.bytes()
    }

    /// Changes the address of the current version.
    pub(super) fn set_target(&self, address: u64) {
        self.target.store(address, Ordering::SeqCst);
    }
}

/// The stubs that a compilation adds. They are dropped if it fails.
#[derive(Default)]
pub(super) struct NewStubs {
    pub(super) by_name: HashMap<Name, Stub>,
    /// Bytes of code.
    pub(super) bytes: usize,
}

impl NewStubs {
    /// Adds the stub of a function. Returns its address.
    pub(super) fn add(&mut self, name: Name, stub: Stub) -> Result<u64, AllocError> {
        self.by_name.try_reserve(1).map_err(|_| AllocError)?;
        self.bytes = self.bytes.saturating_add(stub.bytes());
        let address = stub.address();
        self.by_name.insert(name, stub);
        Ok(address)
    }
}

/// The stub in IR of a function whose address lies at `word`.
fn build(
    word: u64,
    (params, result): (&[Scalar], Option<Scalar>),
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
