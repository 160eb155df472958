//! A loader without libc and without std: the core, an allocator on its pages, and an entry point.
//!
//! `freestanding [MODULE FUNCTION [INTEGER...]]` loads a module, links it, calls a function of it and prints the result. A function
//! that the module does not export is compiled from its templates. Without arguments the program loads an embedded module and passes
//! the result of `answer` to an instance of its template.
//!
//! The exit status is 0, or 1 when the module is refused, 2 when the arguments are, 3 when the result could not be printed, and 4 when
//! `exit_group` was refused. Errors are written to standard error.
#![no_std]
#![no_main]
#![deny(unsafe_code)]

#[cfg(feature = "templates")]
extern crate alloc;

mod bytes;
mod heap;
mod run;
mod start;

use core::panic::PanicInfo;

use run::{Failure, run};
use start::{Arguments, exit, write};

/// The file descriptors that are open at program start.
const OUTPUT: usize = 1;
const ERRORS: usize = 2;

fn main(arguments: Arguments) -> u8 {
    match run(arguments) {
        Ok(result) if print(result) => 0,
        Ok(_) => 3,
        Err(failure) => {
            complain(&failure);
            if matches!(failure, Failure::Usage) { 2 } else { 1 }
        }
    }
}

/// Prints a line with a number; false if that failed.
fn print(number: i64) -> bool {
    // A sign, nineteen digits and a newline.
    let mut line = [b'\n'; 21];
    let mut rest = number.unsigned_abs();
    let mut start = line.len() - 1;
    for (at, digit) in line.iter_mut().enumerate().rev().skip(1) {
        // Below ten.
        *digit = b'0' + (rest % 10) as u8;
        rest /= 10;
        start = at;
        if rest == 0 {
            break;
        }
    }
    if number < 0 {
        start -= 1;
        line.iter_mut().skip(start).take(1).for_each(|sign| *sign = b'-');
    }
    line.get(start..).is_some_and(|line| write_all(OUTPUT, line))
}

/// Writes all bytes; false if that failed.
fn write_all(file: usize, mut bytes: &[u8]) -> bool {
    while !bytes.is_empty() {
        match write(file, bytes).and_then(|count| bytes.get(count..)) {
            Some(rest) => bytes = rest,
            None => return false,
        }
    }
    true
}

/// Writes an error to standard error. Where that fails, the exit status reports the error alone.
#[cfg(feature = "texts")]
fn complain(failure: &Failure) {
    use core::fmt::{self, Write};

    struct Errors;

    impl Write for Errors {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            if write_all(ERRORS, text.as_bytes()) { Ok(()) } else { Err(fmt::Error) }
        }
    }

    let _ = writeln!(Errors, "error: {failure}");
}

/// Reports that an error occurred. Its description would need 30 KiB of code and constants.
#[cfg(not(feature = "texts"))]
fn complain(_: &Failure) {
    write_all(ERRORS, b"error\n");
}

/// Required by the compiler. The core does not panic, and neither does this program.
#[panic_handler]
fn panic(_: &PanicInfo<'_>) -> ! {
    exit(101)
}
