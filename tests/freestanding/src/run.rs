//! Loads, links and calls a function of a module; compiles an instance of a template for a function that the module
//! lacks.
#![allow(unsafe_code)]

#[cfg(feature = "templates")]
use alloc::boxed::Box;
#[cfg(feature = "texts")]
use core::fmt;
use core::marker::PhantomData;
use core::mem::ManuallyDrop;

use smf_core::format::{FormatError, Smf};
use smf_core::link::{Image, LinkError, NoImports};
#[cfg(feature = "templates")]
use smf_core::memory::code_alloc::CodeMemory;
use smf_core::memory::{FileBytes, MemoryError};
#[cfg(feature = "templates")]
use smf_core::templates::{
    InstantiateError, InstantiateFailure, JitConfig, JitInstantiator, MetadataError,
};
use smf_core::trap::{TrapError, call};

use crate::start::Arguments;

/// The embedded module.
const CARRIED: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/module.smf"));

/// The maximum size of a module, in bytes.
const LIMIT: u64 = 64 << 20;

/// The maximum number of arguments of a function. Every call passes as many, so that one call sequence suffices
/// instead of nine: the calling convention lets a function ignore additional arguments.
const MOST: usize = 4;

/// The reason why there is no result.
pub(crate) enum Failure {
    Usage,
    File(Reason<MemoryError>),
    Link(Reason<LinkError>),
    Call(Reason<TrapError>),
    NoFunction,
    #[cfg(feature = "templates")]
    Templates(Reason<MetadataError>),
    #[cfg(feature = "templates")]
    Instance(Option<Reason<Box<InstantiateFailure>>>),
    #[cfg(feature = "templates")]
    AllocError,
}

/// An error, stored where errors are printed as text.
pub(crate) struct Reason<E> {
    #[cfg(feature = "texts")]
    error: E,
    kind: PhantomData<E>,
}

impl<E> Reason<E> {
    #[cfg_attr(
        not(feature = "texts"),
        expect(unused_variables, reason = "errors are not printed as text")
    )]
    fn new(error: E) -> Self {
        Self {
            #[cfg(feature = "texts")]
            error,
            kind: PhantomData,
        }
    }
}

#[cfg(feature = "texts")]
impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Usage => f.write_str("usage: freestanding [MODULE FUNCTION [INTEGER...]]"),
            Failure::File(reason) => reason.error.fmt(f),
            Failure::Link(reason) => reason.error.fmt(f),
            Failure::Call(reason) => reason.error.fmt(f),
            Failure::NoFunction => f.write_str("the module exports no such function"),
            #[cfg(feature = "templates")]
            Failure::Templates(reason) => reason.error.fmt(f),
            #[cfg(feature = "templates")]
            Failure::Instance(Some(reason)) => reason.error.fmt(f),
            #[cfg(feature = "templates")]
            Failure::Instance(None) => f.write_str("the instance requires itself"),
            #[cfg(feature = "templates")]
            Failure::AllocError => f.write_str("there is no memory for the instance"),
        }
    }
}

impl From<MemoryError> for Failure {
    fn from(error: MemoryError) -> Self {
        Failure::File(Reason::new(error))
    }
}

impl From<FormatError> for Failure {
    fn from(error: FormatError) -> Self {
        LinkError::Format(error).into()
    }
}

impl From<LinkError> for Failure {
    fn from(error: LinkError) -> Self {
        Failure::Link(Reason::new(error))
    }
}

/// Runs the requested function and returns its result.
pub(crate) fn run(arguments: Arguments) -> Result<i64, Failure> {
    match arguments.get(1) {
        Some(path) => given(path, arguments),
        None => carried(),
    }
}

/// Calls the function named by the arguments in the module at `path`. Not inlined: the frame of the caller would
/// include the locals for reading a file.
#[inline(never)]
fn given(path: &[u8], arguments: Arguments) -> Result<i64, Failure> {
    let name = arguments.get(2).ok_or(Failure::Usage)?;
    let mut values = [0; MOST];
    for (index, text) in arguments.from(3).enumerate() {
        *values.get_mut(index).ok_or(Failure::Usage)? = integer(text).ok_or(Failure::Usage)?;
    }
    let file = FileBytes::read(path, LIMIT)?;
    load_and_call(&file, name, &values)
}

/// The result of the functions of the embedded module.
fn carried() -> Result<i64, Failure> {
    let answer = load_and_call(CARRIED, b"answer", &[0; MOST])?;
    if cfg!(feature = "templates") {
        return load_and_call(CARRIED, b"same$i64", &[answer, 0, 0, 0]);
    }
    Ok(answer)
}

/// Parses a decimal number, from bytes: less code than with a check for UTF-8 first.
fn integer(text: &[u8]) -> Option<i64> {
    let (is_negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] => (false, digits),
        digits => (false, digits),
    };
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0i64, |number, digit| {
        let digit = i64::from(digit.checked_sub(b'0').filter(|&digit| digit < 10)?);
        let digit = if is_negative { -digit } else { digit };
        number.checked_mul(10)?.checked_add(digit)
    })
}

fn load_and_call(file: &[u8], name: &[u8], values: &[i64; MOST]) -> Result<i64, Failure> {
    let function = match function(file, name)? {
        Some(function) => function,
        None => instance(file, name)?,
    };
    // SAFETY: the user of the program trusts the module, which stays loaded.
    unsafe { call(function, values) }.map_err(|error| Failure::Call(Reason::new(error)))
}

/// The function of this name in a module that is never unloaded.
#[inline(never)]
fn function(file: &[u8], name: &[u8]) -> Result<Option<u64>, Failure> {
    // Mapping checks the parts that it uses.
    let smf = Smf::parse(file)?;
    let image = match Image::map(&smf) {
        // It may have templates.
        #[cfg(feature = "templates")]
        Err(LinkError::NoCode) => return Ok(None),
        image => image?,
    };
    // The kernel frees its memory faster at exit.
    let module = ManuallyDrop::new(image.link(&NoImports));
    match ManuallyDrop::into_inner(module) {
        Ok(module) => {
            let function = module.function(name);
            core::mem::forget(module);
            Ok(function)
        }
        Err(error) => Err(error.into()),
    }
}

/// The instance with this symbol. Its code is never freed.
#[cfg(feature = "templates")]
fn instance(file: &[u8], name: &[u8]) -> Result<u64, Failure> {
    // The module has no file to update.
    let config = JitConfig { update_smf: false, ..JitConfig::default() };
    let instantiator = JitInstantiator::new(config, CodeMemory::default());
    let instantiator = instantiator.map_err(|_| Failure::AllocError)?;
    instantiator
        .load_smf_bytes(b"module", file)
        .map_err(|error| Failure::Templates(Reason::new(error)))?;
    let address = match instantiator.try_jit_instantiate(name) {
        Ok(instance) => instance.address(),
        Err(InstantiateError::UpdateFailed { instance, .. }) => instance.address(),
        Err(InstantiateError::NotFound { .. }) => return Err(Failure::NoFunction),
        Err(InstantiateError::Failed(failure)) => {
            return Err(Failure::Instance(Some(Reason::new(failure))));
        }
        Err(InstantiateError::CircularDependency { .. }) => return Err(Failure::Instance(None)),
        Err(InstantiateError::OutOfMemory(_)) => return Err(Failure::AllocError),
    };
    core::mem::forget(instantiator);
    Ok(address)
}

#[cfg(not(feature = "templates"))]
fn instance(_: &[u8], _: &[u8]) -> Result<u64, Failure> {
    Err(Failure::NoFunction)
}
