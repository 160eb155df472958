//! A linked module.
//!
//! This file contains no unsafe operation. [`Module::run_destructors`] is unsafe to call because it ends what code of the
//! module uses.
#![allow(unsafe_code)]

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::ops::Range;

use super::host_resources::HostResources;
use super::host_services::TlsBlock;
use super::init_arrays::InitArrays;
use super::resolve::{Export, Exports, Resolve};
use crate::alloc_util::TryArc;
use crate::format::{Flags, Smf, Symbol, SymbolKind};
use crate::memory::{FileBackedPages, PagePool, Protection, PublishedPages, Segment};

/// A linked module. Dropping it unmaps its code and data, which invalidates every address in it.
pub struct Module<'d> {
    pub(super) smf: Smf<'d>,
    /// The ELF object in the code section, if the code is one.
    pub(super) object: Option<Box<Smf<'d>>>,
    /// Released before the pages.
    pub(super) resources: HostResources,
    pub(super) pages: Pages,
    pub(super) segments: Vec<Segment>,
    pub(super) exports: Exports<'d>,
    pub(super) init: InitArrays,
}

/// The pages of a module.
pub(super) enum Pages {
    /// Private pages, and the pool that they return to.
    Private {
        /// `None` only while the value is dropped.
        pages: Option<PublishedPages>,
        pool: Option<TryArc<PagePool>>,
    },
    /// Pages some of which are those of the file.
    File(FileBackedPages),
}

impl Pages {
    fn published(&self) -> Option<&PublishedPages> {
        match self {
            Pages::Private { pages, .. } => pages.as_ref(),
            Pages::File(pages) => Some(pages.pages()),
        }
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        if let Pages::Private { pages, pool: Some(pool) } = self
            && let Some(pages) = pages.take()
        {
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
        let first = self.pages.published().map_or(0, PublishedPages::address);
        self.segments.iter().filter(executable).map(move |segment| {
            let start = first.saturating_add(segment.offset.bytes());
            start..start.saturating_add(segment.size.bytes())
        })
    }

    /// The size of the module's pages, in bytes.
    pub fn memory_bytes(&self) -> usize {
        self.pages.published().map_or(0, |pages| pages.size().bytes())
    }

    /// Whether `address` lies in the module's pages.
    pub fn contains(&self, address: u64) -> bool {
        let Ok(address) = usize::try_from(address) else { return false };
        self.pages.published().is_some_and(|pages| pages.contains(address))
    }

    /// The addresses of the constructors, in the order in which they run. Linking does not run them.
    pub fn constructors(&self) -> &[u64] {
        &self.init.constructors
    }

    /// The addresses of the destructors. They run in reverse order.
    pub fn destructors(&self) -> &[u64] {
        &self.init.destructors
    }

    /// Runs the constructors, once. The modules that this one imports from have run theirs.
    ///
    /// The host services call machine code of the module, which they trust.
    pub fn run_constructors(&self) {
        if let Some(init) = self.resources.init {
            self.resources.services.run_constructors(init);
        }
    }

    /// Runs the exit handlers that code of the module has registered, and the destructors; once, and only if the
    /// constructors have run.
    ///
    /// # Safety
    /// No thread is inside the module, and none enters it afterwards, directly or through another module.
    pub unsafe fn run_destructors(&self) {
        if let Some(init) = self.resources.init {
            self.resources.services.run_destructors(init);
        }
    }

    /// The thread-local storage of the module.
    pub(crate) fn tls(&self) -> Option<TlsBlock> {
        self.resources.tls
    }

    /// Whether dropping the module has to wait for [`run_destructors`](Self::run_destructors) or runs nothing.
    pub(crate) fn has_init(&self) -> bool {
        self.resources.init.is_some()
    }

    /// Whether threads still have to run destructors of their thread-local variables that are code of this module.
    pub fn has_thread_destructors(&self) -> bool {
        let Some(pages) = self.pages.published() else { return false };
        let start = pages.address() as u64;
        let image = start..start.saturating_add(pages.size().bytes() as u64);
        self.resources.services.has_thread_destructors(image)
    }
}
