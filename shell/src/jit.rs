//! Instances of templates, as the process knows them: where their code may be called, what tools are told of
//! it, and who takes its traps.

use std::cell::Cell;
use std::fmt;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};

use smf_core::instantiate::{Observer, TRAP_HOOK};
use smf_core::jit::typed::DIVISION_BY_ZERO;
use smf_core::link::Resolve;

#[cfg(feature = "c-api")]
use crate::code_ranges::StubEntry;
use crate::tools::{self, Function};

/// Tells the process of every instance, and standard error of what happens if that is wanted.
#[derive(Clone, Copy, Debug, Default)]
pub struct Announce;

impl Observer for Announce {
    fn made(&self, symbol: &[u8], code: Range<usize>) -> Option<Box<dyn Send + Sync>> {
        let range = code.start as u64..code.end as u64;
        let names = tools::is_on().then(|| {
            let (address, size) = (range.start, range.end - range.start);
            let function = Function { address, size, name: symbol };
            // Code without a name is no reason not to run it.
            tools::announce(&[function], &[range]).inspect_err(tools::report).ok()
        });
        #[cfg(feature = "c-api")]
        let names = (StubEntry::enter(code.start), names);
        Some(Box::new(names))
    }

    fn say(&self, what: &str) {
        // What cannot be told there cannot be told at all.
        let _ =
            std::io::Write::write_all(&mut std::io::stderr(), format!("[jit] {what}\n").as_bytes());
    }
}

/// A division by zero, or what a template says is one, in code of an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trap {
    /// 1 for a division by zero; other numbers are the template's own.
    pub code: u32,
    /// The instruction, in bytes from the begin of the template's body.
    pub at: u32,
}

impl fmt::Display for Trap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.code {
            DIVISION_BY_ZERO => write!(f, "division by zero")?,
            code => write!(f, "trap {code}")?,
        }
        write!(f, " in an instance, at offset 0x{:x} of its template", self.at)
    }
}

impl std::error::Error for Trap {}

thread_local! {
    static LAST: Cell<Option<Trap>> = const { Cell::new(None) };
}

/// Whether there may be one that nobody took, in any thread.
static ANY: AtomicBool = AtomicBool::new(false);

/// Notes a trap for the thread; the function that it is in returns 0.
extern "C" fn trap(code: u32, at: u32) -> u64 {
    // A thread that is ending has nobody to tell.
    let _ = LAST.try_with(|last| last.set(last.get().or(Some(Trap { code, at }))));
    ANY.store(true, Ordering::Relaxed);
    0
}

/// The first trap of this thread since this was last asked.
#[inline]
pub fn take_trap() -> Option<Trap> {
    if ANY.load(Ordering::Relaxed) { LAST.try_with(Cell::take).ok().flatten() } else { None }
}

/// What code of instances needs of this process: who takes its traps.
#[derive(Clone, Copy, Debug, Default)]
pub struct Traps;

impl Resolve for Traps {
    fn resolve(&self, name: &[u8]) -> Option<u64> {
        (name == TRAP_HOOK.as_bytes()).then_some(trap as *const () as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_trap_of_a_thread_is_told_once() {
        assert_eq!(take_trap(), None);
        assert_eq!((trap(1, 40), trap(7, 8)), (0, 0));
        assert_eq!(std::thread::spawn(take_trap).join().ok(), Some(None));
        let found = take_trap().map(|trap| trap.to_string());
        let expected = "division by zero in an instance, at offset 0x28 of its template";
        assert_eq!((found.as_deref(), take_trap()), (Some(expected), None));
        assert!(Traps.resolve(b"smf_trap_hook").is_some() && Traps.resolve(b"x").is_none());
    }
}
