//! Tests of the front end.

mod programs;
mod random;
mod run;
mod syntax;
