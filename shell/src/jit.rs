//! Instances of templates, as the process knows them: where their code may be called, and what tools are
//! told of it.

use std::ops::Range;

use smf_core::instantiate::Observer;

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
