//! Process-wide registration of template instances: callable addresses, tools, and symbols for error
//! messages.

use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasherDefault, DefaultHasher};
use std::ops::Range;

use smf_core::alloc_util::{AllocError, AttachResult, try_box, try_concat, try_copy_bytes};
use smf_core::templates::Observer;
use smf_core::trap::TrapError;

#[cfg(feature = "c-api")]
use crate::code_map::CodeRange;
use crate::fork::{HeldAtFork, ProcessLock};
use crate::stderr;
use crate::tools::{self, Announced, Function};

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
            let symbol = SYMBOLS.lock().get(&trap.function).cloned();
            if let Some(symbol) = symbol.filter(|symbol| **symbol != *self.called) {
                write!(f, "in `{}`: ", symbol.escape_ascii())?;
            }
        }
        self.error.fmt(f)
    }
}

/// Registers every instance with the process and the tools, and writes log messages to standard error.
#[derive(Clone, Copy, Debug, Default)]
pub struct Announce;

/// Registers a function with the enabled tools. The registration is dropped before the code is freed.
pub(crate) fn name_code(name: &[u8], code: &Range<usize>) -> Option<Announced> {
    if !tools::is_on() {
        return None;
    }
    let range = code.start as u64..code.end as u64;
    let function = Function { address: range.start, size: range.end - range.start, name };
    // A failed registration is reported; the code runs without a name.
    tools::announce(&[function], &[range]).inspect_err(tools::report).ok()
}

impl Observer for Announce {
    fn made(&self, symbol: &[u8], code: Range<usize>) -> AttachResult {
        let names = (SymbolEntry::enter(code.start as u64, symbol)?, name_code(symbol, &code));
        #[cfg(feature = "c-api")]
        let names = (CodeRange::entry_point(code.start)?, names);
        Ok(Some(try_box(names)?))
    }

    fn say(&self, what: &str) {
        // Without memory the message is dropped.
        if let Ok(line) = try_concat(&[b"[jit] ", what.as_bytes(), b"\n"]) {
            stderr::write(&line);
        }
    }
}
