//! Registration of generated code with the process: with unwinders always, and with the tools that are enabled.

use std::ops::Range;

use smf_core::alloc_util::{
    AllocError, AttachResult, try_box, try_collect, try_copy_bytes, try_push,
};
use smf_core::codegen::registry::{CodeRegistry, Edge, GeneratedCode, GeneratedFunction, Phase};
#[cfg(feature = "host")]
use smf_core::link::HostServiceError;

use crate::events;
use crate::tools::{self, Announced, DebugSection, Function, Line, Lines, Tool, ToolError};
#[cfg(feature = "host")]
use crate::unwinding;

/// Registers the code of bytecode, of template instances and of execution managers.
#[derive(Clone, Copy, Debug, Default)]
pub struct HostRegistry;

impl CodeRegistry for HostRegistry {
    fn on_phase(&self, phase: Phase, edge: Edge, subject: &[u8]) {
        events::on_phase(phase, edge, subject);
    }

    fn needs_lines(&self) -> bool {
        tools::needs_lines()
    }

    fn register(&self, code: GeneratedCode<'_>) -> AttachResult {
        let (block, functions) = (code.block.clone(), code.functions);
        let tables = UnwindTables::register(code.into_eh_frame())?;
        let names = if tools::is_on() {
            announce(&block, functions, &tables.section)?
        } else {
            Announced::default()
        };
        Ok(Some(try_box((names, tables))?))
    }
}

/// Unwind tables that unwinders read.
struct UnwindTables {
    section: Vec<u8>,
    /// The token of the registration; `None` if there are no tables, or no unwinder in the process.
    #[cfg_attr(not(feature = "host"), expect(dead_code, reason = "always `None`"))]
    token: Option<usize>,
}

impl UnwindTables {
    /// Without the feature `host` there is no unwinder.
    #[cfg(not(feature = "host"))]
    fn register(section: Vec<u8>) -> Result<Self, AllocError> {
        Ok(Self { section, token: None })
    }

    #[cfg(feature = "host")]
    fn register(section: Vec<u8>) -> Result<Self, AllocError> {
        if section.is_empty() {
            return Ok(Self { section, token: None });
        }
        match unwinding::register(section.as_ptr().expose_provenance(), section.len()) {
            Ok(token) => Ok(Self { section, token: Some(token) }),
            Err(HostServiceError::OutOfMemory) => Err(AllocError),
            // A process without an unwinder does not unwind.
            Err(_) => Ok(Self { section, token: None }),
        }
    }
}

#[cfg(feature = "host")]
impl Drop for UnwindTables {
    fn drop(&mut self) {
        if let Some(token) = self.token {
            let address = self.section.as_ptr().expose_provenance();
            unwinding::deregister(address, self.section.len(), token);
        }
    }
}

/// Reports code to the enabled tools. A failure of a tool is reported and does not prevent the use of the code.
///
/// # Errors
/// [`AllocError`].
fn announce(
    block: &Range<usize>,
    all: &[GeneratedFunction<'_>],
    eh_frame: &[u8],
) -> Result<Announced, AllocError> {
    let functions = try_collect(all.iter().map(|function| Function {
        address: function.code.start as u64,
        size: function.code.len() as u64,
        name: function.name,
    }))?;
    let rows = all.iter().flat_map(|function| {
        let start = function.code.start as u64;
        function.lines.iter().map(move |location| Line {
            address: start.saturating_add(location.offset.into()),
            line: location.line,
        })
    });
    let rows = try_collect(rows)?;
    let mut rest = &*rows;
    let lines = try_collect(all.iter().map(|function| {
        let (rows, others) = rest.split_at_checked(function.lines.len()).unwrap_or_default();
        rest = others;
        Lines { file: function.file, rows }
    }))?;
    let block = block.start as u64..block.end as u64;
    let (announced, outcome) = tools::announce_with(&functions, &lines, &[block], || {
        let (address, name) = (eh_frame.as_ptr().addr() as u64, &b".eh_frame"[..]);
        let mut sections = Vec::new();
        if !eh_frame.is_empty() {
            let bytes = try_copy_bytes(eh_frame).map(Vec::from);
            let section = bytes.map(|bytes| DebugSection { name, address, bytes });
            let pushed = section.and_then(|section| try_push(&mut sections, section));
            pushed.map_err(|_| ToolError::OutOfMemory { tool: Tool::Gdb })?;
        }
        Ok(sections)
    });
    outcome.unwrap_or_else(|error| tools::report(&error));
    Ok(announced)
}
