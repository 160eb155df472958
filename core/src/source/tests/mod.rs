//! Tests of the front end.

mod aggregates;
mod arrays;
mod constants;
mod equivalent;
mod generics;
mod imports;
mod literals;
mod matches;
mod messages;
mod mistakes;
mod modules;
mod numbers;
mod operations;
pub(crate) mod pointers;
mod programs;
mod proposals;
mod random;
mod refusals;
mod robust;
mod run;
mod scopes;
mod symbols;
mod syntax;
mod templates;
