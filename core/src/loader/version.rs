//! One version of a module: what was loaded, and what it refers to.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::sync::atomic::AtomicU32;

use super::bytes::LinkedModule;
use super::load_set::refuse;
use super::module_loader::ModuleLoader;
use super::stub_table::StubTable;
use super::{LoadError, ModuleHandle};
use crate::alloc_util::{SharedBytes, TryArc};
use crate::format::{Binding, Smf, SymbolKind};
use crate::link::{Export, Resolve, ShortName};
use crate::memory::lock::Lock;

/// What a module is made of. Nearly all are linked, and a version has an allocation of its own.
#[expect(clippy::large_enum_variant, reason = "a box would only be one more step to each symbol")]
pub(super) enum Body {
    Linked(LinkedModule),
    /// Something else that knows symbols, such as a library that the system's loader has opened.
    Foreign(Box<dyn Resolve + Send + Sync>),
}

impl Body {
    #[inline]
    pub(super) fn find(&self, name: &[u8]) -> Option<Export> {
        match self {
            Body::Linked(module) => module.find(name),
            Body::Foreign(symbols) => symbols.resolve(name).map(|address| Export {
                address,
                kind: SymbolKind::None,
                binding: Binding::Global,
                size: 0,
            }),
        }
    }
}

/// What the host keeps as long as a module.
pub(super) type Attached = Option<Box<dyn Send + Sync>>;

/// Another module that this one refers to.
#[derive(Clone, Debug)]
pub(super) struct Need {
    pub(super) handle: ModuleHandle,
    /// Data of it, whose addresses stand in this module.
    pub(super) data: Vec<Datum>,
}

/// Data of another module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Datum {
    pub(super) name: SharedBytes,
    pub(super) address: u64,
}

pub(super) struct Version {
    pub(super) name: SharedBytes,
    pub(super) handle: ModuleHandle,
    /// What the host has registered of the body: dropped when no thread is inside, a grace period before
    /// the body.
    pub(super) registration: Lock<Attached>,
    pub(super) body: Body,
    /// Each module once.
    pub(super) needs: Vec<Need>,
    /// Of a module that may be replaced.
    pub(super) entries: Option<EntryPoints>,
    /// Older versions that have data of it; none any more once nobody can be inside of it.
    pub(super) keeps: Lock<Vec<TryArc<Version>>>,
    /// How many hold it.
    pub(super) pins: AtomicU32,
}

impl Version {
    /// Drops what the host has registered of it, and `with_stubs` of the stubs that lead to it: calls by
    /// address find neither any more.
    pub(super) fn unregister(&self, with_stubs: bool) {
        let registration = self.registration.lock().take();
        drop(registration);
        if let Body::Linked(module) = &self.body {
            module.unregister();
        }
        if let Some(EntryPoints { entries, .. }) = self.entries.as_ref().filter(|_| with_stubs) {
            entries.unregister();
        }
    }

    /// Bytes of memory that its code, its data and its file take.
    pub(super) fn memory_bytes(&self) -> usize {
        match &self.body {
            Body::Linked(module) => module.memory_bytes(),
            Body::Foreign(_) => 0,
        }
    }

    pub(super) fn short_name(&self) -> ShortName {
        ShortName::new(&self.name)
    }

    pub(super) fn smf(&self) -> Option<&Smf<'_>> {
        match &self.body {
            Body::Linked(module) => Some(module.smf()),
            Body::Foreign(_) => None,
        }
    }

    pub(super) fn linked(&self) -> Option<&Smf<'_>> {
        match &self.body {
            Body::Linked(module) => Some(module.linked()),
            Body::Foreign(_) => None,
        }
    }

    /// The version, this or an older one, in whose memory an address of this one lies.
    pub(super) fn owner_of(this: &TryArc<Self>, address: u64) -> Option<TryArc<Version>> {
        if this.contains(address) {
            return Some(this.clone());
        }
        this.keeps.lock().iter().find(|older| older.contains(address)).cloned()
    }

    fn contains(&self, address: u64) -> bool {
        matches!(&self.body, Body::Linked(module) if module.contains(address))
    }

    /// The address under which others use what is exported as `name`. Of a function, that is the same in
    /// every version: when this one has been replaced meanwhile, the present one says where it is now.
    ///
    /// # Errors
    /// [`LoadError::Changed`] when that does not have it; [`LoadError::Entries`]; [`LoadError::Bytecode`] for
    /// a function of bytecode that has no address.
    pub(super) fn address_for_others(
        &self,
        loader: &ModuleLoader,
        name: &[u8],
        export: &Export,
    ) -> Result<u64, LoadError> {
        if export.address == 0
            && let Body::Linked(module) = &self.body
        {
            refuse(&self.name, module.refusal(name))?;
        }
        let Some(EntryPoints { entries, version }) = self.entry_points_of(export) else {
            return Ok(export.address);
        };
        let find = |present: u32| {
            if present == *version {
                return Some(export.address);
            }
            // Whoever replaces a module takes these two locks in the same order.
            let now = loader.state().version(self.handle).ok()?.clone();
            let export = now.body.find(name).filter(|export| export.address != 0)?;
            now.entry_points_of(&export).filter(|points| points.version == present)?;
            Some(export.address)
        };
        entries.stub(name, find).map_err(|refusal| refusal.of(&self.name))
    }

    /// How others call an export, when they do so through a table.
    fn entry_points_of(&self, export: &Export) -> Option<&EntryPoints> {
        self.entries.as_ref().filter(|_| export.kind == SymbolKind::Function)
    }
}

/// How others call a module that may be replaced.
#[derive(Clone)]
pub(super) struct EntryPoints {
    pub(super) entries: TryArc<StubTable>,
    /// Which version it is.
    pub(super) version: u32,
}
