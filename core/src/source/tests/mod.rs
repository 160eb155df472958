//! Tests of the front end.

mod programs;
mod random;
mod robust;
mod run;
mod syntax;
