//! What the program does: a file becomes callable, and is called.
#![allow(unsafe_code)]

#[cfg(feature = "texts")]
use core::fmt;

use smf_core::format::{FormatError, Smf};
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
}

#[cfg(feature = "texts")]
impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Usage => f.write_str("usage: freestanding [MODULE FUNCTION [INTEGER...]]"),
            Failure::File(error) => error.fmt(f),
            Failure::Link(error) => error.fmt(f),
            Failure::NoFunction => f.write_str("the module exports no such function"),
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
    let Some(path) = arguments.get(1) else { return load_and_call(CARRIED, b"answer", &[]) };
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
    let function = module.function(name).ok_or(Failure::NoFunction)?;
    // SAFETY: who runs the program answers for the module, as the core says; it stays loaded.
    let result = unsafe { call(function, values) }?;
    // The program ends with it, and the kernel takes its memory back faster.
    core::mem::forget(module);
    Ok(result)
}
