//! Instances of templates, as the process knows them: where their code may be called, what tools are told of
//! it, and what they are called when one of them traps.

use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasherDefault, DefaultHasher};
use std::ops::Range;

use smf_core::alloc_util::{AllocError, AttachResult, try_box, try_concat, try_copy_bytes};
use smf_core::templates::Observer;
use smf_core::trap::TrapError;

#[cfg(feature = "c-api")]
use crate::code_map::StubEntry;
use crate::fork::{HeldAtFork, ProcessLock};
use crate::stderr;
use crate::tools::{self, Announced, Function};

/// The symbols of instances, by where they begin.
static SYMBOLS: ProcessLock<Symbols> =
    ProcessLock::new(HashMap::with_hasher(BuildHasherDefault::new()));

/// The locks of this file, for the thread that forks.
pub(crate) const LOCKS: &[&dyn HeldAtFork] = &[&SYMBOLS];

type Symbols = HashMap<u64, Box<[u8]>, BuildHasherDefault<DefaultHasher>>;

/// A symbol that is known as long as its code is there.
struct Known(u64);

impl Known {
    fn enter(start: u64, symbol: &[u8]) -> Result<Self, AllocError> {
        let symbol = try_copy_bytes(symbol)?;
        let mut symbols = SYMBOLS.lock();
        symbols.try_reserve(1).map_err(|_| AllocError)?;
        symbols.insert(start, symbol);
        Ok(Self(start))
    }
}

impl Drop for Known {
    fn drop(&mut self) {
        SYMBOLS.lock().remove(&self.0);
    }
}

/// An error of a call, with the name of the instance in which it happened, where that is known and another
/// one than `called`, which who reads it knows.
#[derive(Clone, Copy, Debug)]
pub struct InCall<'c> {
    /// What was called; empty for something without a name.
    pub called: &'c [u8],
    /// What came of it.
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

/// Tells the process of every instance, and standard error of what happens if that is wanted.
#[derive(Clone, Copy, Debug, Default)]
pub struct Announce;

/// Tells the tools that are on of one function; what comes back is dropped before the code goes.
pub(crate) fn name_code(name: &[u8], code: &Range<usize>) -> Option<Announced> {
    if !tools::is_on() {
        return None;
    }
    let range = code.start as u64..code.end as u64;
    let function = Function { address: range.start, size: range.end - range.start, name };
    // Code without a name is no reason not to run it.
    tools::announce(&[function], &[range]).inspect_err(tools::report).ok()
}

impl Observer for Announce {
    fn made(&self, symbol: &[u8], code: Range<usize>) -> AttachResult {
        let names = (Known::enter(code.start as u64, symbol)?, name_code(symbol, &code));
        #[cfg(feature = "c-api")]
        let names = (StubEntry::enter(code.start)?, names);
        Ok(Some(try_box(names)?))
    }

    fn say(&self, what: &str) {
        // What cannot be told there cannot be told at all.
        if let Ok(line) = try_concat(&[b"[jit] ", what.as_bytes(), b"\n"]) {
            stderr::write(&line);
        }
    }
}
