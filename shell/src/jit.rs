//! Process-wide registration of template instances: callable addresses, tools, and symbols for error
//! messages.

use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasherDefault, DefaultHasher};
use std::ops::Range;

use smf_core::Printable;
use smf_core::alloc_util::{AllocError, AttachResult, try_box, try_concat, try_copy_bytes};
use smf_core::codegen::registry::{CodeRegistry, Edge, GeneratedCode, Phase};
use smf_core::templates::Observer;
use smf_core::trap::TrapError;

#[cfg(feature = "c-api")]
use crate::code_map::CodeRange;
use crate::events;
use crate::fork::{HeldAtFork, ProcessLock};
use crate::generated_code::HostRegistry;
use crate::unlocked_write;

/// The symbols of instances by start address.
static SYMBOLS: ProcessLock<Symbols> =
    ProcessLock::new(HashMap::with_hasher(BuildHasherDefault::new()));

/// The locks of this file that `fork` handlers take.
pub(crate) const LOCKS: &[&dyn HeldAtFork] = &[&SYMBOLS];

type Symbols = HashMap<u64, Box<[u8]>, BuildHasherDefault<DefaultHasher>>;

/// The registration of a symbol, removed on drop.
struct SymbolEntry(u64);

impl SymbolEntry {
    fn enter(start: u64, symbol: &[u8]) -> Result<Self, AllocError> {
        let symbol = try_copy_bytes(symbol)?;
        let mut symbols = SYMBOLS.lock();
        symbols.try_reserve(1).map_err(|_| AllocError)?;
        symbols.insert(start, symbol);
        Ok(Self(start))
    }
}

impl Drop for SymbolEntry {
    fn drop(&mut self) {
        SYMBOLS.lock().remove(&self.0);
    }
}

/// An error of a call. Its message names the instance that trapped, if it is known and not `called`.
#[derive(Clone, Copy, Debug)]
pub struct InCall<'c> {
    /// The symbol of the called function; empty if it has none.
    pub called: &'c [u8],
    /// The error.
    pub error: TrapError,
}

impl fmt::Display for InCall<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let TrapError::Trap(trap) = self.error {
            let symbol = SYMBOLS.read().get(&trap.function).cloned();
            if let Some(symbol) = symbol.filter(|symbol| **symbol != *self.called) {
                write!(f, "in `{}`: ", Printable(&symbol))?;
            }
        }
        self.error.fmt(f)
    }
}

/// Registers every instance with the process and the tools, and writes log messages to standard error.
#[derive(Clone, Copy, Debug, Default)]
pub struct Announce;

impl CodeRegistry for Announce {
    fn on_phase(&self, phase: Phase, edge: Edge, subject: &[u8]) {
        HostRegistry.on_phase(phase, edge, subject);
    }

    fn needs_lines(&self) -> bool {
        HostRegistry.needs_lines()
    }

    fn register(&self, code: GeneratedCode<'_>) -> AttachResult {
        HostRegistry.register(code)
    }
}

impl Observer for Announce {
    fn made(&self, symbol: &[u8], code: Range<usize>) -> AttachResult {
        events::on_instance(symbol, &code);
        let symbol = SymbolEntry::enter(code.start as u64, symbol)?;
        #[cfg(feature = "c-api")]
        let symbol = (CodeRange::entry_point(code.start)?, symbol);
        Ok(Some(try_box(symbol)?))
    }

    fn say(&self, what: &str) {
        // Without memory the message is dropped.
        if let Ok(line) = try_concat(&[b"[jit] ", what.as_bytes(), b"\n"]) {
            unlocked_write::report(&line);
        }
    }
}
