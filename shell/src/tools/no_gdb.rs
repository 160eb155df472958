//! GDB's JIT interface, left out: its two symbols may be in a program once only.

use smf_core::alloc_util::AllocError;

use super::{Tool, ToolError};

/// What would be registered.
#[derive(Debug)]
pub(super) struct Object;

impl Object {
    pub(super) fn register(_: Vec<u8>) -> Result<Self, AllocError> {
        Ok(Self)
    }
}

pub(super) fn available() -> Result<(), ToolError> {
    Err(ToolError::LeftOut { tool: Tool::Gdb })
}
