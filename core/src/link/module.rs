//! A module that can be called, until it is dropped.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::ops::Range;

use super::resolve::{Export, Exports, Resolve};
use crate::alloc_util::Shared;
use crate::format::{Flags, Smf, Symbol, SymbolKind};
use crate::memory::{PagePool, Protection, PublishedPages, Segment};

/// A linked module. Dropping it unmaps its code and data: no address of it may be used after that.
pub struct Module<'d> {
    smf: Smf<'d>,
    /// What was linked of it, unless that is itself.
    object: Option<Box<Smf<'d>>>,
    pages: Pages,
    /// How the pages are protected.
    segments: Vec<Segment>,
    exports: Exports<'d>,
}

/// The module's memory, and where it goes afterwards.
struct Pages {
    /// There until the value is dropped.
    pages: Option<PublishedPages>,
    pool: Option<Shared<PagePool>>,
}

impl Drop for Pages {
    fn drop(&mut self) {
        if let (Some(pages), Some(pool)) = (self.pages.take(), &self.pool) {
            pool.put(pages);
        }
    }
}

impl<'d> Module<'d> {
    pub(super) fn new(
        smf: Smf<'d>,
        object: Option<Box<Smf<'d>>>,
        pages: PublishedPages,
        segments: Vec<Segment>,
        exports: Exports<'d>,
        pool: Option<Shared<PagePool>>,
    ) -> Self {
        Module { smf, object, pages: Pages { pages: Some(pages), pool }, segments, exports }
    }

    /// The file it was made from.
    pub fn smf(&self) -> &Smf<'d> {
        &self.smf
    }

    /// What was linked of the file: itself, or the [object](Smf::object) in its code section. The
    /// symbols that have addresses are those of this.
    pub fn linked(&self) -> &Smf<'d> {
        self.object.as_deref().unwrap_or(&self.smf)
    }

    /// What it exports.
    pub fn exports(&self) -> Exports<'d> {
        self.exports.clone()
    }

    /// The address of an exported function or datum.
    #[inline]
    pub fn symbol(&self, name: &[u8]) -> Option<u64> {
        self.exports.resolve(name)
    }

    /// What the module exports under this name.
    #[inline]
    pub fn find(&self, name: &[u8]) -> Option<Export> {
        self.exports.find(name)
    }

    /// The address of a symbol of this module; `None` when it has none.
    pub fn address(&self, symbol: &Symbol<'_>) -> Option<u64> {
        self.exports.address(symbol)
    }

    /// The address of an exported function.
    #[inline]
    pub fn function(&self, name: &[u8]) -> Option<u64> {
        let export = self.exports.find(name).filter(|e| e.kind == SymbolKind::Function)?;
        Some(export.address)
    }

    /// Where running begins: the entry point of the header; where that is 0, the function `main`; and
    /// without one, the exported function at the begin of the code of a module marked executable. The
    /// entry point of a module whose code is an ELF object counts bytes of a file that was not linked
    /// then, and means nothing now.
    pub fn entry_point(&self) -> Option<u64> {
        let header = self.smf.header();
        let linked = self.linked();
        let code = linked.code()?.index;
        if header.entry_point != 0 && !linked.layout().is_object() {
            return self.exports.section(code)?.checked_add(header.entry_point);
        }
        self.function(b"main").or_else(|| {
            let first = linked.symbols().iter().filter_map(Result::ok).find(|symbol| {
                let function = symbol.kind == SymbolKind::Function && symbol.is_export();
                function && symbol.value == 0 && symbol.section == Some(code)
            });
            first
                .filter(|_| header.flags.has(Flags::EXECUTABLE))
                .and_then(|s| self.exports.address(&s))
        })
    }

    /// The addresses of the pages that can run, in rising order.
    pub fn code(&self) -> impl Iterator<Item = Range<usize>> {
        let executable = |segment: &&Segment| segment.protection == Protection::ReadExecute;
        let first = self.pages.pages.as_ref().map_or(0, PublishedPages::address);
        self.segments.iter().filter(executable).map(move |segment| {
            let start = first.saturating_add(segment.offset.bytes());
            start..start.saturating_add(segment.size.bytes())
        })
    }

    /// Bytes of its memory, whole pages.
    pub fn memory_bytes(&self) -> usize {
        self.pages.pages.as_ref().map_or(0, |pages| pages.size().bytes())
    }

    /// Whether `address` lies in the module's memory.
    pub fn contains(&self, address: u64) -> bool {
        let Ok(address) = usize::try_from(address) else { return false };
        self.pages.pages.as_ref().is_some_and(|pages| pages.contains(address))
    }
}
