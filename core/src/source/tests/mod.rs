//! Tests of the front end.

mod arrays;
mod constants;
mod equivalent;
mod generics;
mod literals;
mod matches;
mod messages;
mod mistakes;
mod modules;
mod operations;
pub(crate) mod pointers;
mod programs;
mod random;
mod refusals;
mod robust;
mod run;
mod syntax;
mod templates;
