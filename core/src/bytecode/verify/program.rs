//! Programs: their functions, and what the verifier has found.

use alloc::vec::Vec;

use super::kind::Kind;
use crate::alloc_util::{try_push, try_with_capacity};
use crate::format::FormatError;
use crate::format::constants::Constants;
use crate::format::functions::Functions;

/// A function to be verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FunctionCode<'c> {
    /// Its instructions.
    pub code: &'c [u8],
    /// How many arguments it takes.
    pub params: u16,
    /// How many locals it has, the arguments among them.
    pub locals: u16,
}

/// The functions of a bytecode section, in the order in which calls number them.
///
/// # Errors
/// The first function whose entry in the table is broken, or no memory.
pub fn functions_of<'c>(table: &Functions<'c>) -> Result<Vec<FunctionCode<'c>>, FormatError> {
    let mut functions = try_with_capacity(table.len()).map_err(|_| FormatError::OutOfMemory)?;
    for function in table.iter() {
        let function = function?;
        let (params, locals) = (function.params, function.locals);
        let function = FunctionCode { code: function.code, params, locals };
        try_push(&mut functions, function).map_err(|_| FormatError::OutOfMemory)?;
    }
    Ok(functions)
}

/// The properties of a verified function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Summary {
    /// The most values that its vector ever holds.
    pub max_stack_depth: u32,
    /// The kind of what it returns.
    pub result: Kind,
}

/// A call to the host, as the program makes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HostCall {
    /// The index of the host function.
    pub index: u16,
    /// How many arguments it is passed, everywhere in the program.
    pub argc: u16,
    /// The function that makes the first such call.
    pub function: u32,
    /// Where that stands in its code.
    pub at: u32,
}

/// A program that has been verified.
#[derive(Clone, Debug)]
pub struct Program<'c> {
    pub(super) functions: Vec<FunctionCode<'c>>,
    pub(super) max_stack_depth: Vec<u32>,
    pub(super) results: Vec<Kind>,
    pub(super) hosts: Vec<HostCall>,
    pub(super) runtime: Vec<HostCall>,
    pub(super) constants: Constants<'c>,
    /// For each function whether it is dynamic; empty if none is.
    pub(super) dynamic: Vec<bool>,
}

impl<'c> Program<'c> {
    /// Its functions, in the order in which calls number them.
    pub fn functions(&self) -> &[FunctionCode<'c>] {
        &self.functions
    }

    /// The function with this index.
    pub fn function(&self, index: u32) -> Option<FunctionCode<'c>> {
        self.functions.get(usize::try_from(index).ok()?).copied()
    }

    /// The properties of the function with this index.
    pub fn summary(&self, index: u32) -> Option<Summary> {
        let index = usize::try_from(index).ok()?;
        Some(Summary {
            max_stack_depth: *self.max_stack_depth.get(index)?,
            result: *self.results.get(index)?,
        })
    }

    /// The host functions that it calls, by index, each once.
    pub fn host_calls(&self) -> impl Iterator<Item = HostCall> + '_ {
        self.hosts.iter().copied()
    }

    /// The runtime functions of the host that it calls, by index, each once.
    pub fn runtime_calls(&self) -> impl Iterator<Item = HostCall> + '_ {
        self.runtime.iter().copied()
    }

    /// The constant pool.
    pub fn constants(&self) -> Constants<'c> {
        self.constants
    }

    /// Whether a function, and every function that it calls, uses only operations that a compiler translates. Others
    /// work on objects and are interpreted; they may call functions that compile.
    pub fn compiles(&self, index: u32) -> bool {
        usize::try_from(index)
            .is_ok_and(|index| index < self.functions.len() && !is_marked(&self.dynamic, index))
    }
}

/// Whether a function is marked in a list that is empty if no function is.
pub(super) fn is_marked(list: &[bool], index: usize) -> bool {
    list.get(index).copied().unwrap_or(false)
}
