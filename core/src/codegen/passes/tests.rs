//! Tests of the passes: each one alone against the interpreter, on random functions, and by example.

mod differential;
mod examples;
mod program;
