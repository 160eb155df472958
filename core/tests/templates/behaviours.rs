//! The behaviours that runtimes rely on, one test each, in the groups of their specification.
//! Updates have a file of their own.

mod checking;
mod configuration;
mod instantiate;
mod metadata;
mod resolver;
mod results;
