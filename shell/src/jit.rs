//! Instances of templates, as the process knows them: where their code may be called, and what tools are
//! told of it.

use std::ops::Range;

use smf_core::instantiate::Observer;

#[cfg(feature = "c-api")]
use crate::code_ranges::StubEntry;
use crate::tools::{self, Announced, Function};

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
    fn made(&self, symbol: &[u8], code: Range<usize>) -> Option<Box<dyn Send + Sync>> {
        let names = name_code(symbol, &code);
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
