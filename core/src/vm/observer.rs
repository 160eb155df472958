//! What a host observes of an engine: its machine code, and traps of calls by address.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::ops::Range;

use crate::alloc_util::AttachResult;
use crate::codegen::code::SourceLoc;
use crate::codegen::registry::Edge;
use crate::trap::bytecode::Trap;

/// A function called with the trap that stopped a call through an [address](super::Engine::address).
pub type TrapHook = fn(Trap);

/// An observer's registration of code, dropped before the code is freed.
pub type Registration = Option<Box<dyn Send + Sync>>;

/// Code of an [`Engine`](super::Engine).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EngineCode {
    /// A function, or its on-stack replacement at a loop head.
    Function(u32),
    /// The code at the [address](super::Engine::address) of a function.
    EntryTrampoline(u32),
    /// What all functions of the engine share: the entry into compiled code, and the exit to the interpreter.
    Stubs,
}

/// A block of code of an [`Engine`](super::Engine) that is in place, for a [registry](crate::codegen::registry::CodeRegistry).
#[derive(Debug)]
pub struct PlacedCode<'c> {
    /// What the code is.
    pub what: EngineCode,
    /// All addresses of the block.
    pub block: Range<usize>,
    /// The addresses of the instructions.
    pub code: Range<usize>,
    /// Offsets in the bytecode of the function, if [needed](CodeObserver::needs_lines).
    pub lines: &'c [SourceLoc],
    /// The unwind tables.
    pub eh_frame: Vec<u8>,
}

/// Observes the machine code of an engine, for unwinders, profilers, debuggers and registries of callable addresses.
/// Called on the thread that requested the code. It must not call the engine, which may hold a lock.
pub trait CodeObserver: Send + Sync {
    /// Whether [`PlacedCode::lines`] are of use.
    fn needs_lines(&self) -> bool {
        false
    }

    /// The compilation of a function begins or ends.
    fn on_compile(&self, function: u32, edge: Edge) {
        let _ = (function, edge);
    }

    /// Code was generated, and no thread can reach it yet.
    ///
    /// # Errors
    /// No memory. The code is used without a registration.
    fn placed(&self, code: PlacedCode<'_>) -> AttachResult;

    /// An [address](super::Engine::address) was created for a function: the start of `code`.
    ///
    /// # Errors
    /// No memory. The address is then discarded.
    fn entered(&self, function: u32, code: Range<usize>) -> AttachResult;
}
