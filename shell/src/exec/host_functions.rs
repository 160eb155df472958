//! The functions of the host that compiled Simple source calls: printing, and the C library's functions of floats.
//!
//! Each thread gathers what it prints until the end of the line, and writes whole lines without a lock: the lock of the
//! standard library's output may stay locked for ever in a child of `fork`. A caller of compiled code calls [`flush`]
//! when the code has returned.
//!
//! The names are those of [`smf_core::source`], section "Functions of the host".
#![allow(unsafe_code)]

use std::cell::RefCell;
use std::fmt::{self, Write};
use std::io;
use std::sync::atomic::{AtomicI32, Ordering};

use crate::unlocked_write;

/// The longest part of a line that is gathered, in bytes.
const CAPACITY: usize = 1024;

/// The beginning of a line, at most [`CAPACITY`] bytes. They are on the heap: the shared library's thread-local storage
/// is static, of which the C library has 1,664 bytes for all libraries that are opened while a program runs.
struct Line {
    bytes: Vec<u8>,
}

thread_local! {
    static LINE: RefCell<Line> = const { RefCell::new(Line { bytes: Vec::new() }) };
}

impl Line {
    fn flush(&mut self, write: &mut dyn FnMut(&[u8])) {
        if !self.bytes.is_empty() {
            write(&self.bytes);
            self.bytes.clear();
        }
    }

    /// Adds text, and writes all lines that end in it.
    fn add(&mut self, text: &[u8], write: &mut dyn FnMut(&[u8])) {
        // Without memory, the parts of lines are written as they come.
        if self.bytes.capacity() == 0 {
            let _ = self.bytes.try_reserve_exact(CAPACITY);
        }
        let capacity = self.bytes.capacity();
        for part in text.split_inclusive(|&byte| byte == b'\n') {
            if part.len() > capacity - self.bytes.len() {
                self.flush(write);
            }
            if part.len() <= capacity - self.bytes.len() {
                self.bytes.extend_from_slice(part);
            } else {
                write(part);
            }
            if part.ends_with(b"\n") {
                self.flush(write);
            }
        }
    }
}

/// The number of the first error of standard output; 0 if there was none.
static OUTPUT_ERROR: AtomicI32 = AtomicI32::new(0);

/// The first error of a write of printed text to standard output. Printing has no result: what could not be written is
/// lost.
pub fn output_error() -> Option<io::Error> {
    match OUTPUT_ERROR.load(Ordering::Relaxed) {
        0 => None,
        number => Some(io::Error::from_raw_os_error(number)),
    }
}

fn write_out(bytes: &[u8]) {
    if let Err(error) = unlocked_write::write(io::stdout(), bytes) {
        let number = error.raw_os_error();
        // The first error stays.
        let _ = OUTPUT_ERROR.compare_exchange(0, number, Ordering::Relaxed, Ordering::Relaxed);
    }
}

/// Writes the line that this thread has begun.
#[inline]
pub fn flush() {
    // Without effect while the thread is exiting.
    let _ = LINE.try_with(|line| {
        if let Ok(mut line) = line.try_borrow_mut() {
            line.flush(&mut write_out);
        }
    });
}

/// A file of the process that functions print to.
#[derive(Clone, Copy)]
enum Output {
    Standard,
    Error,
}

impl Write for Output {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.print(text.as_bytes());
        Ok(())
    }
}

impl Output {
    fn print(self, text: &[u8]) {
        match self {
            Self::Standard => {
                // Without effect while the thread is exiting.
                let _ = LINE.try_with(|line| {
                    if let Ok(mut line) = line.try_borrow_mut() {
                        line.add(text, &mut write_out);
                    }
                });
            }
            Self::Error => {
                flush();
                unlocked_write::report(text);
            }
        }
    }

    fn show(mut self, value: fmt::Arguments<'_>) {
        // Writing to an output does not fail.
        let _ = self.write_fmt(value);
    }

    /// # Safety
    /// `text` points to `length` bytes, unless `length` is not positive.
    unsafe fn text(self, text: *const u8, length: i64) {
        if let Ok(length @ 1..) = usize::try_from(length) {
            // SAFETY: the caller's contract.
            self.print(unsafe { std::slice::from_raw_parts(text, length) });
        }
    }
}

macro_rules! prints {
    ($($out:ident, $err:ident: $ty:ty, $format:literal;)*) => {$(
        extern "C" fn $out(value: $ty) {
            Output::Standard.show(format_args!($format, value));
        }

        extern "C" fn $err(value: $ty) {
            Output::Error.show(format_args!($format, value));
        }
    )*};
}

prints! {
    rt_print_i64, rt_eprint_i64: i64, "{}";
    rt_print_u64, rt_eprint_u64: u64, "{}";
    rt_print_f64, rt_eprint_f64: f64, "{:?}";
    rt_print_f32, rt_eprint_f32: f32, "{:?}";
}

/// A bool as generated code passes it: only the low byte is defined.
extern "C" fn rt_print_bool(value: u8) {
    Output::Standard.show(format_args!("{}", value != 0));
}

extern "C" fn rt_eprint_bool(value: u8) {
    Output::Error.show(format_args!("{}", value != 0));
}

/// # Safety
/// As [`Output::text`].
unsafe extern "C" fn rt_print_text(text: *const u8, length: i64) {
    // SAFETY: the caller's contract.
    unsafe { Output::Standard.text(text, length) };
}

/// # Safety
/// As [`Output::text`].
unsafe extern "C" fn rt_eprint_text(text: *const u8, length: i64) {
    // SAFETY: the caller's contract.
    unsafe { Output::Error.text(text, length) };
}

extern "C" fn fmod(a: f64, b: f64) -> f64 {
    a % b
}

extern "C" fn fmodf(a: f32, b: f32) -> f32 {
    a % b
}

extern "C" fn pow(a: f64, b: f64) -> f64 {
    a.powf(b)
}

extern "C" fn powf(a: f32, b: f32) -> f32 {
    a.powf(b)
}

extern "C" fn floor(a: f64) -> f64 {
    a.floor()
}

extern "C" fn floorf(a: f32) -> f32 {
    a.floor()
}

/// The address of a function of the host by its name; `None` for any other name.
pub fn address(name: &[u8]) -> Option<u64> {
    macro_rules! select {
        ($($function:ident)*) => {
            match name {
                $(name if name == stringify!($function).as_bytes() => {
                    $function as *const () as usize as u64
                })*
                _ => return None,
            }
        };
    }
    Some(select! {
        rt_print_i64 rt_print_u64 rt_print_f64 rt_print_f32 rt_print_bool rt_print_text
        rt_eprint_i64 rt_eprint_u64 rt_eprint_f64 rt_eprint_f32 rt_eprint_bool rt_eprint_text
        fmod fmodf pow powf floor floorf
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_of_floats_are_those_of_c() {
        assert_eq!((fmod(-7.5, 2.0), fmodf(7.5, -2.0)), (-1.5, 1.5));
        assert_eq!((pow(2.0, 0.5), powf(2.0, 10.0)), (std::f64::consts::SQRT_2, 1024.0));
        assert_eq!((floor(-0.5), floorf(1.5)), (-1.0, 1.0));
        assert!(fmod(1.0, 0.0).is_nan());
    }

    #[test]
    fn every_function_of_the_front_end_has_an_address() {
        let values = ["i64", "u64", "f64", "f32", "bool", "text"];
        let names =
            values.iter().flat_map(|ty| [format!("rt_print_{ty}"), format!("rt_eprint_{ty}")]);
        let names =
            names.chain(["fmod", "fmodf", "pow", "powf", "floor", "floorf"].map(String::from));
        let mut found: Vec<u64> = names.map(|name| address(name.as_bytes()).unwrap()).collect();
        found.sort_unstable();
        found.dedup();
        assert_eq!(found.len(), 18);
        assert_eq!((address(b"rt_print_i6"), address(b"")), (None, None));
    }

    #[test]
    fn lines_are_written_whole() {
        let mut line = Line { bytes: Vec::new() };
        let mut written = Vec::new();
        let mut write = |bytes: &[u8]| written.push(String::from_utf8(bytes.to_vec()).unwrap());
        let long = "x".repeat(CAPACITY + 1);
        let full = "y".repeat(CAPACITY);
        for text in ["a", "b", "\nc\nd", &full, "\n", &long, "e"] {
            line.add(text.as_bytes(), &mut write);
        }
        line.flush(&mut write);
        assert_eq!(written, ["ab\n", "c\n", "d", &full, "\n", &long, "e"]);
    }
}
