//! Errors of the profiler and debugger support.

use std::io;

use smf_core::alloc_util::AllocError;
use smf_core::format::FormatError;
use thiserror::Error;

use crate::files::system_error;

/// A tool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Tool {
    /// `/tmp/perf-PID.map`.
    #[error("the perf map")]
    PerfMap,
    /// `jit-PID.dump`.
    #[error("the jitdump")]
    Jitdump,
    /// The interface of `__jit_debug_register_code`.
    #[error("GDB's JIT interface")]
    Gdb,
}

/// Why a tool could not be enabled or updated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ToolError {
    /// A system call failed.
    #[error("{tool}: cannot {doing}: {}", system_error(&io::Error::from_raw_os_error(*errno)))]
    System {
        /// The tool.
        tool: Tool,
        /// The operation.
        doing: &'static str,
        /// The number in `errno.h`.
        errno: i32,
    },
    /// It cannot write its file, and is disabled.
    #[error("{tool} is disabled: cannot write its file: {}", system_error(&io::Error::from_raw_os_error(*errno)))]
    Write {
        /// The tool.
        tool: Tool,
        /// The number in `errno.h`.
        errno: i32,
    },
    /// Its file exists and belongs to another user, or is not a regular file.
    #[error("{tool}: its file exists and is not a regular file of this user")]
    NotOurs {
        /// The tool.
        tool: Tool,
    },
    /// An allocation failed.
    #[error("{tool}: out of memory")]
    OutOfMemory {
        /// The tool.
        tool: Tool,
    },
    /// The debugging information of a module is malformed.
    #[error("{tool}: the debugging information of a module is not used: {error}")]
    DebugInfo {
        /// The tool.
        tool: Tool,
        /// What is wrong.
        error: FormatError,
    },
    /// The library was built without it.
    #[error("{tool} is not included in this build of the library")]
    LeftOut {
        /// The tool.
        tool: Tool,
    },
}

impl ToolError {
    pub(super) fn system<E: Into<io::Error>>(
        tool: Tool,
        doing: &'static str,
    ) -> impl Fn(E) -> Self + Copy {
        move |error| match error.into() {
            error if error.kind() == io::ErrorKind::OutOfMemory => Self::OutOfMemory { tool },
            error => Self::System { tool, doing, errno: error.raw_os_error().unwrap_or(0) },
        }
    }

    pub(super) fn write(tool: Tool) -> impl Fn(io::Error) -> Self + Copy {
        move |error| match error.kind() {
            io::ErrorKind::OutOfMemory => Self::OutOfMemory { tool },
            _ => Self::Write { tool, errno: error.raw_os_error().unwrap_or(0) },
        }
    }

    pub(super) fn out_of_memory(tool: Tool) -> impl Fn(AllocError) -> Self + Copy {
        move |AllocError| Self::OutOfMemory { tool }
    }
}
