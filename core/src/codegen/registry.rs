//! What a host registers of generated code: names, unwind tables and lines.
//!
//! The bytecode engine, the template instantiator and the execution manager hand each block of code to the
//! [`CodeRegistry`] of the host when it is in place, before a thread executes it. The host passes it on to unwinders,
//! debuggers and profilers. The registration that it returns is dropped before the code is freed.
//!
//! This file contains no unsafe operation. [`register_block`] is unsafe to call because unwinders trust the tables.
#![allow(unsafe_code)]

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;
use core::ops::Range;

use super::code::SourceLoc;
use super::unwind::{UnwindMachine, UnwindRow, UnwindTable, encode_rows};
use crate::alloc_util::{AllocError, AttachResult, try_collect, try_copy_bytes, try_with_capacity};

/// A function of generated code.
#[derive(Clone, Debug)]
pub struct GeneratedFunction<'c> {
    /// The name, as tools display it.
    pub name: &'c [u8],
    /// The addresses of the instructions.
    pub code: Range<usize>,
    /// The name of the source in which lines count; empty if unknown.
    pub file: &'c [u8],
    /// The lines of the instructions, by ascending offset from the first one. Empty if unknown or not
    /// [needed](CodeRegistry::needs_lines).
    pub lines: &'c [SourceLoc],
}

/// A block of generated code that is in place.
///
/// Unwinders trust its tables, so a registry passes a block on, and does not make one:
///
/// ```compile_fail,E0451
/// use smf_core::codegen::registry::{CodeRegistry, GeneratedCode};
///
/// fn register(registry: &dyn CodeRegistry, eh_frame: Vec<u8>) {
///     let _ = registry.register(GeneratedCode { block: 0..usize::MAX, functions: &[], eh_frame });
/// }
/// ```
#[derive(Debug)]
pub struct GeneratedCode<'c> {
    /// All addresses of the block, with data and veneers.
    pub block: Range<usize>,
    /// The functions in the block, by ascending address.
    pub functions: &'c [GeneratedFunction<'c>],
    pub(crate) eh_frame: Vec<u8>,
}

impl GeneratedCode<'_> {
    /// An `.eh_frame` section with a record for each function, ended by a zero word; empty if the frames of the code
    /// are unknown.
    pub fn eh_frame(&self) -> &[u8] {
        &self.eh_frame
    }

    /// The section, which an unwinder reads until the code is unregistered.
    pub fn into_eh_frame(self) -> Vec<u8> {
        self.eh_frame
    }
}

/// A step of loading or compiling.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Phase {
    /// The bytes of a module are checked.
    Parse,
    /// A module gets its memory.
    Map,
    /// The imports of a module are resolved.
    Resolve,
    /// The relocations of a module are applied.
    Relocate,
    /// The constructors of loaded modules run.
    Construct,
    /// An instance of a template is made.
    Instantiate,
    /// A function is compiled.
    Compile,
}

impl Phase {
    /// The name, in lower case.
    pub fn name(self) -> &'static str {
        match self {
            Self::Parse => "parse",
            Self::Map => "map",
            Self::Resolve => "resolve",
            Self::Relocate => "relocate",
            Self::Construct => "construct",
            Self::Instantiate => "instantiate",
            Self::Compile => "compile",
        }
    }
}

/// Which end of a phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Edge {
    /// The phase begins.
    Begin,
    /// The phase has ended, by success or failure.
    End,
}

/// A phase that has begun. Dropping it ends the phase.
pub struct PhaseSpan<'r> {
    registry: Option<&'r dyn CodeRegistry>,
    phase: Phase,
    subject: &'r [u8],
}

impl<'r> PhaseSpan<'r> {
    /// Begins a phase that concerns `subject`: a module, a function or a symbol.
    pub fn enter(registry: Option<&'r dyn CodeRegistry>, phase: Phase, subject: &'r [u8]) -> Self {
        if let Some(registry) = registry {
            registry.on_phase(phase, Edge::Begin, subject);
        }
        Self { registry, phase, subject }
    }
}

impl Drop for PhaseSpan<'_> {
    fn drop(&mut self) {
        if let Some(registry) = self.registry {
            registry.on_phase(self.phase, Edge::End, self.subject);
        }
    }
}

impl fmt::Debug for PhaseSpan<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PhaseSpan").field(&self.phase).finish()
    }
}

/// A host that registers generated code.
pub trait CodeRegistry: Send + Sync {
    /// A phase begins or ends on this thread. Phases of a thread nest, and each one ends. Must not call the owner of the
    /// code, which may hold a lock.
    fn on_phase(&self, phase: Phase, edge: Edge, subject: &[u8]) {
        let _ = (phase, edge, subject);
    }

    /// Whether a tool reads lines. Otherwise no lines are recorded.
    fn needs_lines(&self) -> bool {
        false
    }

    /// Registers code that no thread executes yet. Must not call the owner of the code, which may hold a lock.
    ///
    /// # Errors
    /// [`AllocError`]; the code is not used, or not registered.
    fn register(&self, code: GeneratedCode<'_>) -> AttachResult {
        let _ = code;
        Ok(None)
    }
}

/// Registers the functions of a block of code. Those without a name of their own have that of the block; a block without
/// tables is one function, whose frames are unknown.
///
/// # Errors
/// As [`CodeRegistry::register`].
///
/// # Safety
/// The tables describe the code at these addresses, which stays in place until the registration is dropped.
pub unsafe fn register_block(
    registry: &dyn CodeRegistry,
    block: Range<usize>,
    block_name: &[u8],
    all: &[FunctionTables],
) -> AttachResult {
    register_named(registry, block, block_name, all)
}

/// As [`register_block`].
pub(crate) fn register_named(
    registry: &dyn CodeRegistry,
    block: Range<usize>,
    block_name: &[u8],
    all: &[FunctionTables],
) -> AttachResult {
    let name = |index: usize| all.get(index).map(|tables| &*tables.name);
    let name = |index| name(index).filter(|name| !name.is_empty()).unwrap_or(block_name);
    register_functions(registry, block, all, &name)
}

/// Registers the functions of a block of code, which have these names by their number in `all`. A block without tables is
/// the first function.
pub(crate) fn register_functions<'n>(
    registry: &dyn CodeRegistry,
    block: Range<usize>,
    all: &'n [FunctionTables],
    name: &dyn Fn(usize) -> &'n [u8],
) -> AttachResult {
    let (mut section, mut functions) = (None, try_with_capacity(all.len().max(1))?);
    for (index, tables) in all.iter().enumerate() {
        if let Some(machine) = tables.machine {
            let section: &mut UnwindTable = match &mut section {
                Some(section) => section,
                None => section.insert(UnwindTable::new(machine)?),
            };
            tables.add_to(section, block.start)?;
        }
        let (code, file, lines) = (tables.code(&block), tables.file(), tables.lines());
        functions.push(GeneratedFunction { name: name(index), code, file, lines });
    }
    if all.is_empty() {
        let (name, code) = (name(0), block.clone());
        functions.push(GeneratedFunction { name, code, file: &[], lines: &[] });
    }
    let eh_frame = section.map_or_else(|| Ok(Vec::new()), UnwindTable::finish)?;
    registry.register(GeneratedCode { block, functions: &functions, eh_frame })
}

/// The unwind instructions and lines of one function, until its code is in place.
#[derive(Clone, Debug, Default)]
pub struct FunctionTables {
    machine: Option<UnwindMachine>,
    /// Call frame instructions.
    frames: Vec<u8>,
    lines: Vec<SourceLoc>,
    file: Box<[u8]>,
    /// Empty if it is that of the block.
    name: Box<[u8]>,
    /// The offset of the function in its block.
    start: usize,
    code_size: usize,
}

impl FunctionTables {
    /// Copies the tables of `code_size` bytes of instructions, whose lines count in `file`.
    ///
    /// # Errors
    /// [`AllocError`].
    pub fn new(
        machine: UnwindMachine,
        rows: &[UnwindRow],
        lines: &[SourceLoc],
        file: &[u8],
        code_size: u32,
    ) -> Result<Self, AllocError> {
        let frames = encode_rows(&machine, rows)?;
        let (lines, file) = (try_collect(lines.iter().copied())?, try_copy_bytes(file)?);
        Ok(Self { lines, file, ..Self::of_frames(machine, frames, code_size) })
    }

    /// The tables of `code_size` bytes of instructions without lines, from call frame instructions.
    pub fn of_frames(machine: UnwindMachine, frames: Vec<u8>, code_size: u32) -> Self {
        let code_size = usize::try_from(code_size).unwrap_or(usize::MAX);
        Self { machine: Some(machine), frames, code_size, ..Self::default() }
    }

    /// Sets the offset of the function in its block, which is 0 otherwise.
    #[must_use]
    pub fn at(self, start: usize) -> Self {
        Self { start, ..self }
    }

    /// Sets the name of the function, which is that of the block otherwise.
    ///
    /// # Errors
    /// [`AllocError`].
    pub fn named(self, name: &[u8]) -> Result<Self, AllocError> {
        Ok(Self { name: try_copy_bytes(name)?, ..self })
    }

    /// The offset of the function, the number of bytes of instructions, and the call frame instructions; `None` if the
    /// frames are unknown.
    pub fn frames(&self) -> Option<(usize, usize, &[u8])> {
        self.machine.map(|_| (self.start, self.code_size, &*self.frames))
    }

    /// The name of the source in which lines count; empty if unknown.
    pub fn file(&self) -> &[u8] {
        &self.file
    }

    /// The lines.
    pub fn lines(&self) -> &[SourceLoc] {
        &self.lines
    }

    /// The addresses of the instructions of the function in `block`; all behind its start if their number is unknown.
    pub fn code(&self, block: &Range<usize>) -> Range<usize> {
        let start = block.start.saturating_add(self.start).min(block.end);
        match self.machine {
            Some(_) => start..start.saturating_add(self.code_size).min(block.end),
            None => start..block.end,
        }
    }

    /// The `.eh_frame` section of the function in the block at `address`; empty if its frames are unknown.
    ///
    /// # Errors
    /// [`AllocError`].
    pub fn eh_frame(&self, address: usize) -> Result<Vec<u8>, AllocError> {
        let Some(machine) = self.machine else { return Ok(Vec::new()) };
        let mut table = UnwindTable::new(machine)?;
        self.add_to(&mut table, address)?;
        table.finish()
    }

    /// Adds the function, whose block is at `address`, to a section for its machine.
    fn add_to(&self, table: &mut UnwindTable, address: usize) -> Result<(), AllocError> {
        table.add(&self.frames, address.saturating_add(self.start), self.code_size)
    }
}
