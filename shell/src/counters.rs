//! Counters of caches, loaders, instantiators, execution managers and executable memory, as one document of JSON.
//!
//! ```
//! use smf_core::loader::LoaderOptions;
//! use smf_loader::counters::{self, Document};
//! use smf_loader::loader::Loader;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let loader = Loader::new(LoaderOptions::default())?;
//! let mut text = String::new();
//! let mut document = Document::new(&mut text)?;
//! document.list("loaders", |list| list.add(None, &counters::loader(&loader.modules().statistics())))?;
//! document.finish()?;
//! assert!(text.starts_with(r#"{"version":1,"loaders":[{"modules":0,"#));
//! # Ok(())
//! # }
//! ```

use std::fmt::{Result, Write};

#[cfg(feature = "exec")]
use smf_core::exec::ManagerStatistics;
use smf_core::loader::LoaderStatistics;
use smf_core::templates::JitStats;
use smf_core::{cache, memory::code_alloc};

/// The version of the document. It changes when the meaning of a counter changes, not when one is added.
const VERSION: u32 = 1;

/// A counter: its name and value.
pub type Counter = (&'static str, u64);

/// A document that is being written: one object.
pub struct Document<'o>(&'o mut dyn Write);

impl std::fmt::Debug for Document<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> Result {
        f.debug_struct("Document").finish_non_exhaustive()
    }
}

impl<'o> Document<'o> {
    /// Begins a document.
    ///
    /// # Errors
    /// Those of the output.
    pub fn new(out: &'o mut dyn Write) -> std::result::Result<Self, std::fmt::Error> {
        write!(out, "{{\"version\":{VERSION}")?;
        Ok(Self(out))
    }

    /// Writes the counters of the only object of a kind.
    ///
    /// # Errors
    /// Those of the output.
    pub fn object(&mut self, name: &str, counters: &[Counter]) -> Result {
        write!(self.0, ",\"{name}\":")?;
        write_object(self.0, None, counters)
    }

    /// Writes the counters of several objects, which `fill` adds.
    ///
    /// # Errors
    /// Those of the output.
    pub fn list(&mut self, name: &str, fill: impl FnOnce(&mut List<'_>) -> Result) -> Result {
        write!(self.0, ",\"{name}\":[")?;
        fill(&mut List { out: self.0, is_empty: true })?;
        self.0.write_char(']')
    }

    /// Ends the document.
    ///
    /// # Errors
    /// Those of the output.
    pub fn finish(self) -> Result {
        self.0.write_char('}')
    }
}

/// A list of objects in a document.
pub struct List<'o> {
    out: &'o mut dyn Write,
    is_empty: bool,
}

impl std::fmt::Debug for List<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> Result {
        f.debug_struct("List").finish_non_exhaustive()
    }
}

impl List<'_> {
    /// Adds an object, with its handle if it has one.
    ///
    /// # Errors
    /// Those of the output.
    pub fn add(&mut self, handle: Option<u64>, counters: &[Counter]) -> Result {
        if !std::mem::replace(&mut self.is_empty, false) {
            self.out.write_char(',')?;
        }
        write_object(self.out, handle, counters)
    }
}

/// A handle is a text, because readers of JSON may take numbers as floating-point numbers, with 53 bits.
fn write_object(out: &mut dyn Write, handle: Option<u64>, counters: &[Counter]) -> Result {
    let mut separator = '{';
    if let Some(handle) = handle {
        write!(out, "{{\"handle\":\"{handle:#x}\"")?;
        separator = ',';
    }
    for (name, value) in counters {
        write!(out, "{separator}\"{name}\":{value}")?;
        separator = ',';
    }
    out.write_str(if separator == '{' { "{}" } else { "}" })
}

/// The counters of a cache; the last four are those of the times of reading a file, in nanoseconds.
pub fn cache(found: &cache::Statistics) -> [Counter; 17] {
    let times = &found.load_times;
    let within = |share| times.percentile(share).unwrap_or(0);
    [
        ("files", found.files.into()),
        ("bytes", found.bytes),
        ("links", found.links.into()),
        ("detached_files", found.detached_files.into()),
        ("detached_bytes", found.detached_bytes),
        ("peak_bytes", found.peak_bytes),
        ("enabled", found.is_enabled.into()),
        ("hits", found.hits),
        ("misses", found.misses),
        ("failures", found.failures),
        ("evictions", found.evictions),
        ("replacements", found.replacements),
        ("loads", times.count()),
        // A float is saturated by the conversion.
        ("load_mean", times.mean().map_or(0, |mean| mean as u64)),
        ("load_50", within(0.5)),
        ("load_90", within(0.9)),
        ("load_99", within(0.99)),
    ]
}

/// The counters of a loader.
pub fn loader(found: &LoaderStatistics) -> [Counter; 5] {
    [
        ("modules", found.modules as u64),
        ("retired", found.retired as u64),
        ("uncounted", found.uncounted as u64),
        ("replaced_bytes", found.replaced_bytes as u64),
        ("kept_bytes", found.kept_bytes as u64),
    ]
}

/// The counters of an instantiator.
pub fn instantiator(found: &JitStats) -> [Counter; 7] {
    [
        ("cached", found.cached_count as u64),
        ("modules", found.loaded_smf_count as u64),
        ("failed", found.failed_count as u64),
        ("kept", found.cache_hit_count as u64),
        ("stale", found.cache_stale_count as u64),
        ("inferences", found.inference_count as u64),
        ("inference_hits", found.inference_hit_count as u64),
    ]
}

/// The counters of an execution manager.
#[cfg(feature = "exec")]
pub fn manager(found: &ManagerStatistics) -> [Counter; 4] {
    [
        ("functions", found.functions as u64),
        ("units", found.units as u64),
        ("code_bytes", found.code_bytes as u64),
        ("retired_bytes", found.retired_bytes as u64),
    ]
}

/// The counters of executable memory.
pub fn code_memory(found: &code_alloc::Statistics) -> [Counter; 13] {
    [
        ("live_bytes", found.live_bytes),
        ("live_blocks", found.live_blocks),
        ("peak_bytes", found.peak_bytes),
        ("peak_blocks", found.peak_blocks),
        ("arenas", found.arenas as u64),
        ("reserved_bytes", found.reserved_bytes),
        ("held_bytes", found.held_bytes),
        ("wasted_bytes", found.wasted_bytes),
        ("record_bytes", found.record_bytes),
        ("allocations", found.allocations),
        ("publications", found.publications),
        ("frees", found.frees),
        ("refusals", found.refusals),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn document_is_one_object() {
        let mut text = String::new();
        let mut document = Document::new(&mut text).unwrap();
        document.object("one", &[("a", 1), ("b", u64::MAX)]).unwrap();
        document.object("none", &[]).unwrap();
        document.list("empty", |_| Ok(())).unwrap();
        let fill = |list: &mut List<'_>| {
            list.add(Some(0x1_0000_0001), &[("c", 0)])?;
            list.add(None, &[("c", 2)])?;
            list.add(Some(3), &[])
        };
        document.list("several", fill).unwrap();
        document.finish().unwrap();
        let expected = "{\"version\":1,\"one\":{\"a\":1,\"b\":18446744073709551615},\"none\":{},\"empty\":[],\
             \"several\":[{\"handle\":\"0x100000001\",\"c\":0},{\"c\":2},{\"handle\":\"0x3\"}]}";
        assert_eq!(text, expected);
    }
}
