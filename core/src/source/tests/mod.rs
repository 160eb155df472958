//! Tests of the front end.

mod equivalent;
mod programs;
mod random;
mod refusals;
mod robust;
mod run;
mod syntax;
