//! One version of a module and its dependencies.

use alloc::{boxed::Box, vec::Vec};

use super::bytes::LinkedModule;
use super::epoch::Epochs;
use super::error::{BytecodeError, LoadError, Result};
use super::handle::ModuleHandle;
use super::observer::Registration;
use super::resolvers::Resolvers;
use super::stub_table::StubTable;
use crate::alloc_util::{AllocError, TryArc};
use crate::format::{Binding, Smf, SymbolKind};
use crate::link::{Export, Name, Resolve};
use crate::memory::lock::Lock;

/// The definitions of a version.
#[expect(
    clippy::large_enum_variant,
    reason = "nearly all are linked, and a box costs each lookup a load"
)]
pub(super) enum Body {
    Linked(LinkedModule),
    /// Symbols from elsewhere, such as a library that the system's loader has opened.
    Foreign(Box<dyn Resolve + Send + Sync>),
}

impl Body {
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

    /// The SMF module, unless the symbols are from elsewhere.
    pub(super) fn linked(&self) -> Option<&LinkedModule> {
        match self {
            Body::Linked(module) => Some(module),
            Body::Foreign(_) => None,
        }
    }
}

/// A module that a version imports from.
#[derive(Debug)]
pub(super) struct Dependency {
    /// Until the version is committed, another member of its load set is a [member](ModuleHandle::member).
    pub(super) handle: ModuleHandle,
    /// The imported data, whose addresses the version contains.
    pub(super) data: Vec<ImportedDatum>,
}

/// A data symbol of another module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ImportedDatum {
    pub(super) name: Name,
    pub(super) address: u64,
}

pub(super) struct Version {
    pub(super) name: Name,
    pub(super) handle: ModuleHandle,
    /// Dropped when no thread is inside, a grace period before the body.
    registration: Lock<Registration>,
    pub(super) body: Body,
    /// Each module once.
    pub(super) dependencies: Vec<Dependency>,
    /// The names of [stubs](super::forward) that it calls, for functions of modules whose load sets were in progress when it was
    /// linked.
    pub(super) forward_stubs: Vec<Name>,
    /// Only of a reloadable module.
    pub(super) stubs: Option<VersionStubs>,
    /// Older versions whose memory holds data of this one. Emptied when no thread can be inside.
    pub(super) data_owners: Lock<Vec<TryArc<Version>>>,
    /// Every [`ModuleRef`](super::ModuleRef) pins them.
    pub(super) holds: TryArc<Epochs>,
    /// Owned, because the body has their addresses, which its destructors may call: dropped last.
    _resolvers: Resolvers,
}

/// The stub table of a reloadable module and the number of a version in it.
#[derive(Clone)]
pub(super) struct VersionStubs {
    pub(super) table: TryArc<StubTable>,
    pub(super) version: u32,
}

impl Version {
    pub(super) fn new(
        name: Name,
        handle: ModuleHandle,
        (body, registration): (Body, Registration),
        (dependencies, forward_stubs): (Vec<Dependency>, Vec<Name>),
        stubs: Option<VersionStubs>,
        resolvers: Resolvers,
    ) -> Result<TryArc<Self>, AllocError> {
        TryArc::new(Self {
            name,
            handle,
            registration: Lock::new(registration),
            body,
            dependencies,
            forward_stubs,
            stubs,
            data_owners: Lock::default(),
            holds: TryArc::new(Epochs::new())?,
            _resolvers: resolvers,
        })
    }

    /// Sets the handle, and those of its dependencies among `members`, the modules of its load set.
    pub(super) fn set_handles(&mut self, handle: ModuleHandle, members: &[ModuleHandle]) {
        self.handle = handle;
        for dependency in &mut self.dependencies {
            dependency.handle = dependency.handle.committed(members);
        }
    }

    /// Drops the registrations of the code and, `with_stubs`, of the stubs: calls by address do not find them any more.
    pub(super) fn unregister(&self, with_stubs: bool) {
        let registration = self.registration.lock().take();
        drop(registration);
        if let Some(module) = self.body.linked() {
            module.unregister();
        }
        if let Some(VersionStubs { table, .. }) = self.stubs.as_ref().filter(|_| with_stubs) {
            table.unregister();
        }
    }

    /// Whether a [`ModuleRef`](super::ModuleRef) refers to the version. It may become false at any time, and true under the
    /// lock of the loader alone.
    pub(super) fn is_held(&self) -> bool {
        self.holds.pins() != 0
    }

    /// The size of the code, the data and the file, in bytes.
    pub(super) fn memory_bytes(&self) -> usize {
        self.body.linked().map_or(0, LinkedModule::memory_bytes)
    }

    /// The linked file.
    pub(super) fn linked(&self) -> Option<&Smf<'_>> {
        self.body.linked().map(LinkedModule::linked)
    }

    /// The version, this or an older one, whose memory contains an address of data of this one.
    pub(super) fn owner_of(this: &TryArc<Self>, address: u64) -> Option<TryArc<Version>> {
        if this.contains(address) {
            return Some(this.clone());
        }
        this.data_owners.lock().iter().find(|older| older.contains(address)).cloned()
    }

    pub(super) fn contains(&self, address: u64) -> bool {
        self.body.linked().is_some_and(|module| module.contains(address))
    }

    /// The address by which other modules use `export`. For a function of a reloadable module it is that of its stub,
    /// the same in every version. `current` returns the current version of the module; it is called if this one has
    /// been replaced meanwhile.
    ///
    /// # Errors
    /// [`LoadError::Changed`] if the current version does not export the function; [`LoadError::Stub`];
    /// [`LoadError::Bytecode`] for a bytecode function without an address.
    pub(super) fn stable_address(
        &self,
        name: &[u8],
        export: &Export,
        current: impl FnOnce() -> Option<TryArc<Version>>,
    ) -> Result<u64> {
        if export.address == 0
            && let Some(module) = self.body.linked()
        {
            check_address(&self.name, module.refusal(name))?;
        }
        let Some(VersionStubs { table, version }) = self.stubs_of(export) else {
            return Ok(export.address);
        };
        let find = |number: u32| {
            if number == *version {
                return Some(export.address);
            }
            // Lock order: the stub table, then the state, as in a reload.
            let now = current()?;
            let export = now.body.find(name).filter(|export| export.address != 0)?;
            now.stubs_of(&export).filter(|stubs| stubs.version == number)?;
            Some(export.address)
        };
        table.stub(&self.name, name, find)
    }

    /// The stubs through which other modules call an export.
    fn stubs_of(&self, export: &Export) -> Option<&VersionStubs> {
        self.stubs.as_ref().filter(|_| export.kind == SymbolKind::Function)
    }
}

/// The error of a function of `module` without an address, if `refusal` says why.
pub(super) fn check_address(module: &Name, refusal: Option<BytecodeError>) -> Result<()> {
    refusal.map_or(Ok(()), |error| Err(LoadError::Bytecode { module: module.clone(), error }))
}
