//! The programs of `tests/programs`: fourteen computations in IR, and the same in Simple and in C.

use smf_core::ir::text::parse;
use smf_core::source::{Mode, SourceFile, compile};

use super::program::Program;

/// The functions of all programs in C, which take memory and a size.
pub const IN_C: &str = include_str!("../../programs/programs.c");

/// A program whose function 0 takes memory and a size and returns an integer.
#[derive(Clone, Copy, Debug)]
pub struct KnownProgram {
    /// Its name, which is that of the function in C.
    pub name: &'static str,
    /// Its text.
    pub text: &'static str,
    /// The same in Simple: a function of this name, which takes a size, behind the memory as an array if it uses any.
    pub in_simple: &'static str,
    /// The bytes of an element of that array; 0 without one.
    pub element: i64,
    /// A size for interpreters, and its result.
    pub small: (i64, i64),
    /// A size for machine code.
    pub large: i64,
    /// The bytes of memory that it uses for a size.
    pub memory: fn(i64) -> i64,
}

impl KnownProgram {
    /// The parsed program.
    ///
    /// # Panics
    /// If the text is malformed.
    pub fn program(&self) -> Program {
        let parsed = parse(self.text).unwrap_or_else(|error| panic!("{}: {error}", self.name));
        Program::new(parsed.into_iter().map(|function| function.body).collect())
    }

    /// The program in Simple.
    ///
    /// # Panics
    /// If the front end refuses it.
    pub fn simple(&self) -> Program {
        let file = SourceFile { name: self.name, module: self.name, text: self.in_simple };
        let compiled = compile(&[file], Mode::Compile).unwrap();
        let unit = compiled.unit.unwrap_or_else(|| panic!("{:?}", compiled.diagnostics));
        let entry = unit.find(self.name).unwrap();
        Program::with_entry(
            unit.functions.into_iter().map(|function| function.ir().to_vec()).collect(),
            entry,
        )
    }

    /// The arguments of the program in Simple, for memory at an address and a size.
    pub fn simple_args(&self, memory: i64, size: i64) -> Vec<i64> {
        match self.element {
            0 => vec![size],
            bytes => vec![memory, (self.memory)(size) / bytes, size],
        }
    }
}

macro_rules! programs {
    ($($name:literal $small:expr => $result:expr, $large:expr, $element:expr, $memory:expr;)*) => {
        /// All programs.
        pub const ALL: &[KnownProgram] = &[$(KnownProgram {
            name: $name,
            text: include_str!(concat!("../../programs/", $name, ".sir")),
            in_simple: include_str!(concat!("../../programs/", $name, ".spl")),
            element: $element,
            small: ($small, $result),
            large: $large,
            memory: $memory,
        },)*];
    };
}

// The results are those of the programs in C.
programs! {
    "sum" 1000 => 499_500, 20_000_000, 0, |_| 0;
    "nested" 60 => 3_132_900, 4_000, 0, |_| 0;
    "primes" 1000 => 168, 200_000, 0, |_| 0;
    "fib" 18 => 2_584, 30, 0, |_| 0;
    "matrix" 12 => -64, 200, 8, |n| 24 * n * n;
    "sieve" 2000 => 303, 4_000_000, 1, |n| n;
    "mandelbrot" 20 => 9_568, 600, 0, |_| 0;
    "nbody" 20 => -169_070_786, 200_000, 0, |_| 280;
    "spectral" 20 => 1_273_839_840, 500, 8, |n| 24 * n;
    "fannkuch" 6 => 4_910, 9, 0, |_| 384;
    "sort" 300 => 5_873_192_974_294_842_269, 300_000, 8, |n| 8 * n;
    "hash" 800 => 8_050_032_154_299_118_162, 8 << 20, 1, |n| n;
    "scan" 3000 => 500_005, 2 << 20, 1, |n| n;
    "calls" 12 => 5, 24, 0, |_| 0;
}
