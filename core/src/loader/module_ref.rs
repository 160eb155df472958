//! A module that is held.

use core::fmt;
use core::ops::Range;
use core::sync::atomic::Ordering;

use super::bytecode::Bytecode;
use super::epoch::{self, Domains};
use super::version::{Body, Version};
use super::{LoadError, ModuleHandle};
use crate::alloc_util::TryArc;
use crate::format::{Smf, Symbol};
use crate::link::Export;
use crate::vm::Engine;

/// One version of a module. As long as it is held, that version stays where it is, whether it is
/// replaced or not, and so does every module that its code can get to.
pub struct ModuleRef<'l> {
    version: TryArc<Version>,
    _guard: epoch::Guard<'l>,
}

impl<'l> ModuleRef<'l> {
    /// With the lock of the loader held, so that the version is not taken away meanwhile.
    pub(super) fn new(domains: &'l Domains, version: TryArc<Version>) -> Self {
        version.pins.fetch_add(1, Ordering::Relaxed);
        Self { version, _guard: domains.pin() }
    }

    /// The name under which it was loaded.
    pub fn name(&self) -> &[u8] {
        &self.version.name
    }

    /// Its handle, which is the same for every version of it.
    pub fn handle(&self) -> ModuleHandle {
        self.version.handle
    }

    /// The file it was made from; `None` for what is no SMF module.
    pub fn smf(&self) -> Option<&Smf<'_>> {
        self.version.smf()
    }

    /// What was linked of the file, as [`Module::linked`](crate::link::Module::linked).
    pub fn linked(&self) -> Option<&Smf<'_>> {
        self.version.linked()
    }

    /// What it exports under a name, at its address in this version.
    #[inline]
    pub fn export(&self, name: &[u8]) -> Option<Export> {
        // Bytecode may have functions without addresses.
        self.version.body.find(name).filter(|export| export.address != 0)
    }

    /// Why a function of bytecode has no address; `None` when it has one, and for everything else.
    pub fn refusal(&self, name: &[u8]) -> Option<LoadError> {
        let error = self.bytecode()?.refusal(name)?;
        Some(LoadError::Bytecode { module: self.version.short_name(), error })
    }

    /// The address of an exported function in this version.
    pub fn function(&self, name: &[u8]) -> Option<u64> {
        match &self.version.body {
            Body::Linked(module) => module.function(name),
            Body::Foreign(_) => self.export(name).map(|export| export.address),
        }
    }

    /// What runs the module, if it is bytecode: it calls functions of any number of parameters, tells what
    /// stopped them, and can be interrupted.
    pub fn engine(&self) -> Option<&Engine<'_>> {
        self.bytecode().map(Bytecode::engine)
    }

    /// The index of a function of bytecode, for its [engine](Self::engine).
    pub fn bytecode_function(&self, name: &[u8]) -> Option<u32> {
        self.bytecode()?.index_of(name)
    }

    /// The index of the function of bytecode where running begins.
    pub fn bytecode_begin(&self) -> Option<u32> {
        self.bytecode()?.begin()
    }

    /// The functions of a module of bytecode, with their indices, in the order of their names.
    pub fn bytecode_functions(&self) -> impl Iterator<Item = (&[u8], u32)> {
        self.bytecode().into_iter().flat_map(Bytecode::functions)
    }

    /// The functions of a module of bytecode that can be called by address, in the order of their names; no
    /// table of symbols has them. Each is given its address; those that [cannot have one](Self::refusal) are
    /// left out.
    pub fn bytecode_exports(&self) -> impl Iterator<Item = (&[u8], Export)> {
        self.bytecode().into_iter().flat_map(Bytecode::exports)
    }

    fn bytecode(&self) -> Option<&Bytecode<'_>> {
        match &self.version.body {
            Body::Linked(module) => module.bytecode(),
            Body::Foreign(_) => None,
        }
    }

    /// Where running begins, as [`Module::entry_point`](crate::link::Module::entry_point).
    pub fn entry_point(&self) -> Option<u64> {
        match &self.version.body {
            Body::Linked(module) => module.entry_point(),
            Body::Foreign(_) => None,
        }
    }

    /// The address of a symbol of what was linked.
    pub fn address(&self, symbol: &Symbol<'_>) -> Option<u64> {
        match &self.version.body {
            Body::Linked(module) => module.address(symbol),
            Body::Foreign(_) => None,
        }
    }

    /// Whether an address lies in its memory; of bytecode, whether a function was given this address.
    pub fn contains(&self, address: u64) -> bool {
        match &self.version.body {
            Body::Linked(module) => module.contains(address),
            Body::Foreign(_) => false,
        }
    }

    /// The addresses of the pages that can run, in rising order; none of bytecode, which shares its pages.
    pub fn code(&self) -> impl Iterator<Item = Range<usize>> {
        let linked = match &self.version.body {
            Body::Linked(module) => Some(module.code()),
            Body::Foreign(_) => None,
        };
        linked.into_iter().flatten()
    }

    pub(super) fn version(&self) -> &TryArc<Version> {
        &self.version
    }
}

impl Drop for ModuleRef<'_> {
    fn drop(&mut self) {
        // Release: a thread that unloads the module observes what was done while it was held.
        self.version.pins.fetch_sub(1, Ordering::Release);
    }
}

impl fmt::Debug for ModuleRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.name().escape_ascii();
        f.debug_struct("Loaded").field("name", &format_args!("{name}")).finish_non_exhaustive()
    }
}
