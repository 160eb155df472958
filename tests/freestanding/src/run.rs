//! What the program does: a file becomes callable, and is called; of what it does not have, its templates
//! make an instance.
#![allow(unsafe_code)]

#[cfg(feature = "templates")]
use alloc::boxed::Box;
#[cfg(feature = "texts")]
use core::fmt;
#[cfg(feature = "templates")]
use core::mem;

use smf_core::format::{FormatError, Smf};
#[cfg(feature = "templates")]
use smf_core::instantiate::{self, JitConfig, JitInstantiator, JitResult, MetadataError};
use smf_core::link::{Image, LinkError, NoImports, call};
use smf_core::memory::{FileBytes, MemoryError};

use crate::start::Arguments;

/// The module that the program carries.
const CARRIED: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/module.smf"));

/// The most bytes that a module may have.
const LIMIT: u64 = 64 << 20;

/// The most arguments that a function is given.
const MOST: usize = 4;

/// Why there is no result.
#[cfg_attr(not(feature = "texts"), expect(dead_code, reason = "nobody says what it was"))]
pub(crate) enum Failure {
    Usage,
    File(MemoryError),
    Link(LinkError),
    NoFunction,
    #[cfg(feature = "templates")]
    Templates(MetadataError),
    #[cfg(feature = "templates")]
    Instance(Option<Box<instantiate::Failure>>),
    #[cfg(feature = "templates")]
    NoMemory,
}

#[cfg(feature = "texts")]
impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Usage => f.write_str("usage: freestanding [MODULE FUNCTION [INTEGER...]]"),
            Failure::File(error) => error.fmt(f),
            Failure::Link(error) => error.fmt(f),
            Failure::NoFunction => f.write_str("the module exports no such function"),
            #[cfg(feature = "templates")]
            Failure::Templates(error) => error.fmt(f),
            #[cfg(feature = "templates")]
            Failure::Instance(Some(error)) => error.fmt(f),
            #[cfg(feature = "templates")]
            Failure::Instance(None) => f.write_str("the instance needs itself before it is there"),
            #[cfg(feature = "templates")]
            Failure::NoMemory => f.write_str("there is no memory for the instance"),
        }
    }
}

impl From<MemoryError> for Failure {
    fn from(error: MemoryError) -> Self {
        Failure::File(error)
    }
}

impl From<FormatError> for Failure {
    fn from(error: FormatError) -> Self {
        Failure::Link(LinkError::Format(error))
    }
}

impl From<LinkError> for Failure {
    fn from(error: LinkError) -> Self {
        Failure::Link(error)
    }
}

/// Does what the arguments say, and returns what the function returns.
pub(crate) fn run(arguments: Arguments) -> Result<i64, Failure> {
    let Some(path) = arguments.get(1) else { return carried() };
    let name = arguments.get(2).ok_or(Failure::Usage)?;
    let mut values = [0; MOST];
    let mut count = 0;
    for text in arguments.from(3) {
        *values.get_mut(count).ok_or(Failure::Usage)? = integer(text).ok_or(Failure::Usage)?;
        count += 1;
    }
    let file = FileBytes::read(path, LIMIT)?;
    load_and_call(&file, name, values.get(..count).unwrap_or(&[]))
}

/// What the functions of the module say that the program carries.
fn carried() -> Result<i64, Failure> {
    let answer = load_and_call(CARRIED, b"answer", &[])?;
    if cfg!(feature = "templates") {
        return load_and_call(CARRIED, b"same$i64", &[answer]);
    }
    Ok(answer)
}

/// The decimal number that a text is; less code than to make sure of UTF-8 first.
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

fn load_and_call(file: &[u8], name: &[u8], values: &[i64]) -> Result<i64, Failure> {
    // Placing checks what it uses.
    let smf = Smf::parse(file)?;
    let module = Image::place(&smf)?.link(&NoImports)?;
    let function = match module.function(name) {
        Some(function) => function,
        None => instance(file, name)?,
    };
    // SAFETY: who runs the program answers for the module, as the core says; it stays loaded.
    let result = unsafe { call(function, values) }?;
    // The program ends with it, and the kernel takes its memory back faster.
    core::mem::forget(module);
    Ok(result)
}

/// The function that the module's templates make under this name. It stays as long as the program runs.
#[cfg(feature = "templates")]
fn instance(file: &[u8], name: &[u8]) -> Result<u64, Failure> {
    // Nobody tells the file.
    let config = JitConfig { update_smf: false, ..JitConfig::default() };
    let instantiator = JitInstantiator::new(config);
    instantiator.load_smf_bytes(b"module", file).map_err(Failure::Templates)?;
    let address = match instantiator.try_jit_instantiate(name) {
        JitResult::Success(instance) => instance.address(),
        JitResult::UpdateFailed { instance, .. } => instance.address(),
        JitResult::NotFound { .. } => return Err(Failure::NoFunction),
        JitResult::CompilationError(failure) => return Err(Failure::Instance(Some(failure))),
        JitResult::CircularDependency { .. } => return Err(Failure::Instance(None)),
        JitResult::NoMemory => return Err(Failure::NoMemory),
    };
    mem::forget(instantiator);
    Ok(address)
}

#[cfg(not(feature = "templates"))]
fn instance(_: &[u8], _: &[u8]) -> Result<u64, Failure> {
    Err(Failure::NoFunction)
}
