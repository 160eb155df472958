//! The differential harness: random programs in IR, run by several engines that must agree.
//!
//! A [`Case`] is a program of several functions that call each other and the host, with arguments. An [`Engine`]
//! compiles the program, and runs function 0. [`check()`] compares the outcomes of all engines: the bits of the result or
//! the trap with its code and place, the calls of the host with their arguments, and the memory.
//!
//! [`draw()`] makes a case of any bytes, so that a fuzzer mutates programs, and [`smallest`] reduces a case that fails;
//! [`simple`] draws programs in Simple. The engines of this package are the interpreter of the IR and the code
//! generator; the benchmark and the fuzz targets add Cranelift, and LLVM where it is built in. [`Faulty`] is an engine with a defect, with which tests measure what the harness finds.

pub mod bytecode;
pub mod check;
pub mod draw;
pub mod engine;
pub mod faulty;
pub mod host;
pub mod interpreter;
pub mod native;
pub mod program;
pub mod programs;
pub mod shrink;
pub mod simple;

pub use check::{Checked, Mismatch, check, check_against};
pub use draw::{Case, draw, seeded};
pub use engine::{Engine, Outcome, Runnable};
pub use faulty::{Defect, Faulty};
pub use host::{Host, HostCall, HostFunction};
pub use interpreter::Interpreter;
pub use native::{Native, PlacedProgram, call_native};
pub use program::Program;
pub use shrink::{shrink, smallest};
