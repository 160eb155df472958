//! Tests of the front end.

mod programs;
mod random;
mod refusals;
mod robust;
mod run;
mod syntax;
