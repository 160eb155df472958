//! A linked module.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::ops::Range;

use super::resolve::{Export, Exports, Resolve};
use crate::alloc_util::TryArc;
use crate::format::{Flags, Smf, Symbol, SymbolKind};
use crate::memory::{PagePool, Protection, PublishedPages, Segment};

/// A linked module. Dropping it unmaps its code and data, which invalidates every address in it.
pub struct Module<'d> {
    pub(super) smf: Smf<'d>,
    /// The ELF object in the code section, if the code is one.
    pub(super) object: Option<Box<Smf<'d>>>,
    pub(super) pages: Pages,
    pub(super) segments: Vec<Segment>,
    pub(super) exports: Exports<'d>,
}

/// The pages of a module and the pool that they return to.
pub(super) struct Pages {
    /// `None` only while the value is dropped.
    pub(super) pages: Option<PublishedPages>,
    pub(super) pool: Option<TryArc<PagePool>>,
}

impl Drop for Pages {
    fn drop(&mut self) {
        if let (Some(pages), Some(pool)) = (self.pages.take(), &self.pool) {
            pool.put(pages);
        }
    }
}

impl<'d> Module<'d> {
    /// The file of the module.
    pub fn smf(&self) -> &Smf<'d> {
        &self.smf
    }

    /// The file that was linked: the module's own, or the [object](Smf::object) in its code section. Symbols with
    /// addresses belong to this file.
    pub fn linked(&self) -> &Smf<'d> {
        self.object.as_deref().unwrap_or(&self.smf)
    }

    /// The exported symbols.
    pub fn exports(&self) -> Exports<'d> {
        self.exports.clone()
    }

    /// The address of an exported function or datum.
    #[inline]
    pub fn symbol(&self, name: &[u8]) -> Option<u64> {
        self.exports.resolve(name)
    }

    /// The exported symbol called `name`.
    #[inline]
    pub fn find(&self, name: &[u8]) -> Option<Export> {
        self.exports.find(name)
    }

    /// The address of a symbol of this module; `None` if it has none.
    pub fn address(&self, symbol: &Symbol<'_>) -> Option<u64> {
        self.exports.address(symbol)
    }

    /// The address of an exported function.
    #[inline]
    pub fn function(&self, name: &[u8]) -> Option<u64> {
        let export = self.exports.find(name).filter(|e| e.kind == SymbolKind::Function)?;
        Some(export.address)
    }

    /// The entry point: that of the header; if it is 0, the function `main`; without one, for a module marked
    /// executable, the exported function at the start of the code. The header of a module whose code is an ELF
    /// object counts bytes of a file that was not linked, and is ignored.
    pub fn entry_point(&self) -> Option<u64> {
        let header = self.smf.header();
        let linked = self.linked();
        let code = linked.code()?.index;
        if header.entry_point != 0 && !linked.layout().is_object() {
            return self.exports.section(code)?.checked_add(header.entry_point);
        }
        let is_first = |symbol: &Symbol<'_>| {
            let is_function = symbol.kind == SymbolKind::Function && symbol.is_export();
            is_function && symbol.value == 0 && symbol.section == Some(code)
        };
        self.function(b"main").or_else(|| {
            let mut symbols = linked.symbols().iter().filter_map(Result::ok);
            let first = symbols.find(is_first).filter(|_| header.flags.has(Flags::EXECUTABLE))?;
            self.exports.address(&first)
        })
    }

    /// The address ranges of the executable pages, ascending.
    pub fn code(&self) -> impl Iterator<Item = Range<usize>> {
        let executable = |segment: &&Segment| segment.protection == Protection::ReadExecute;
        let first = self.pages.pages.as_ref().map_or(0, PublishedPages::address);
        self.segments.iter().filter(executable).map(move |segment| {
            let start = first.saturating_add(segment.offset.bytes());
            start..start.saturating_add(segment.size.bytes())
        })
    }

    /// The size of the module's pages, in bytes.
    pub fn memory_bytes(&self) -> usize {
        self.pages.pages.as_ref().map_or(0, |pages| pages.size().bytes())
    }

    /// Whether `address` lies in the module's pages.
    pub fn contains(&self, address: u64) -> bool {
        let Ok(address) = usize::try_from(address) else { return false };
        self.pages.pages.as_ref().is_some_and(|pages| pages.contains(address))
    }
}
