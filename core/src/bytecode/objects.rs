//! Values whose kind is known at run time alone, and the objects that they refer to.
//!
//! A slot of a function that works on objects holds a [`Value`]: nil, a bool, a number, a function of the program or
//! an object. An object is an array, a tuple, a dictionary, a string, a variant of an enumeration or a block of
//! memory. The interpreter knows it by its [`ObjectHandle`] only, so that the owner of the objects may move them.
//!
//! The host supplies the objects of a call as an implementation of [`Objects`]. [`ObjectArena`] is one for hosts
//! that have no objects of their own. An operation that fails ends the program as a trap at its instruction.
//!
//! Meaning of the operations: array indices, and the bounds of a slice, that are negative count from the end. An
//! element outside of an array, a tuple or a string is an error; a key that a dictionary does not contain gives nil.
//! Keys are integers, floats, bools, functions and strings, compared by value; an integer is no float. The length of
//! a string is in bytes and so are the bounds of its slices; an index counts its characters. Source: the runtime of
//! the Simple language (`runtime/src/value/collections.rs`, `dict.rs`), where an error is a nil instead.

mod arena;
mod dict;
mod interface;
mod value;

pub use arena::{ArenaLimits, ObjectArena};
pub use interface::{Objects, Variant};
pub use value::{ObjectHandle, Value};

pub use crate::trap::bytecode::{ValueError, ValueKind};

#[cfg(test)]
mod tests;
