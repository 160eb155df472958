//! The behaviours that runtimes count on, one test each, in the groups in which their specification has
//! them. Updates have a file of their own.

mod checking;
mod configuration;
mod instantiate;
mod metadata;
mod resolver;
mod results;
