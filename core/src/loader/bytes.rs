//! The bytes of a module together with whoever owns them, and what is made of the two.
//!
//! A loaded module refers to its file for as long as it lives: names, relocations and templates are
//! read where they lie. A loader that outlives its callers' borrows has to own the bytes as well. Here
//! a view and the owner of its bytes are one value, and no view leaves without a borrow of that value.
#![allow(unsafe_code)]

use alloc::alloc::handle_alloc_error;
use core::alloc::Layout;
use core::ops::Range;

use super::LoadError;
use super::bytecode::{Bytecode, BytecodeError, Refused};
use super::load_set::{ReplaceError, link_error};
use super::module_loader::{LoadObserver, ModuleLoader};
use crate::alloc_util::{AttachResult, TryArc};
use crate::format::bytes::offset_in;
use crate::format::functions::Functions;
use crate::format::{FormatError, Library, Smf, Symbol};
use crate::link::{
    Export, Exports, Image, LinkError, Module, PreserveError, Resolve, ShortName, StateMigration,
};

/// The bytes of a module or an archive, and their owner. Clones share them.
///
/// ```
/// use smf_core::loader::ModuleBytes;
///
/// let bytes = ModuleBytes::new(vec![1, 2, 3]);
/// assert_eq!(bytes.as_slice(), [1, 2, 3]);
/// assert_eq!(bytes.part(1..2).unwrap().as_slice(), [2]);
/// ```
#[derive(Clone)]
pub struct ModuleBytes {
    /// Borrowed from the owner, whatever the lifetime says: never handed out for longer than that of
    /// a borrow of a value that holds the owner.
    slice: &'static [u8],
    owner: TryArc<dyn AsRef<[u8]> + Send + Sync>,
}

impl ModuleBytes {
    /// Takes the bytes from `owner`, which is asked for them once and dropped with the last module
    /// that refers to them.
    ///
    /// Without memory for the owner the process ends, as with everything that `alloc` makes;
    /// [`try_new`](Self::try_new) does not.
    pub fn new<O: AsRef<[u8]> + Send + Sync + 'static>(owner: O) -> Self {
        Self::try_new(owner).unwrap_or_else(|_| handle_alloc_error(Layout::new::<O>()))
    }

    /// As [`new`](Self::new).
    ///
    /// # Errors
    /// [`LoadError::OutOfMemory`].
    pub fn try_new<O: AsRef<[u8]> + Send + Sync + 'static>(owner: O) -> Result<Self, LoadError> {
        let owner = TryArc::new(owner)?.into_bytes();
        let slice: *const [u8] = (*owner).as_ref();
        // SAFETY: the slice was borrowed from a value that stays where it is, which many may own and of
        // which nobody takes a mutable reference, so the borrow could last as long as it has owners. The
        // field is private to this file, where it is kept beside such an owner, and dropped no later.
        let slice = unsafe { &*slice };
        Ok(Self { slice, owner })
    }

    /// All of them.
    pub fn as_slice(&self) -> &[u8] {
        self.slice
    }

    /// A part of them, with the same owner; `None` when `range` reaches outside.
    pub fn part(&self, range: Range<usize>) -> Option<Self> {
        Some(Self { slice: self.slice.get(range)?, owner: self.owner.clone() })
    }

    /// The module called `name` in the archive that these bytes are; `None` when it has none of the
    /// name.
    ///
    /// # Errors
    /// What is wrong with the archive or with the module's entry in it.
    pub fn module(&self, name: &str) -> Result<Option<Self>, FormatError> {
        let found = Library::parse(self.slice)?.find(name).transpose()?;
        Ok(found.and_then(|module| self.part_of(module.data)))
    }

    /// `part`, which lies in these bytes, with their owner.
    pub(super) fn part_of(&self, part: &[u8]) -> Option<Self> {
        let start = usize::try_from(offset_in(self.slice, part)).ok()?;
        self.part(start..start.checked_add(part.len())?)
    }
}

impl core::fmt::Debug for ModuleBytes {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("ModuleBytes").field("len", &self.slice.len()).finish()
    }
}

/// A module that was read.
#[derive(Clone)]
pub(super) struct ReadModule {
    smf: Smf<'static>,
    bytes: ModuleBytes,
}

impl ReadModule {
    #[inline(never)]
    pub(super) fn parse(bytes: ModuleBytes) -> Result<Self, FormatError> {
        Ok(Self { smf: Smf::parse(bytes.slice)?, bytes })
    }

    #[inline]
    pub(super) fn smf(&self) -> &Smf<'_> {
        &self.smf
    }

    /// What is linked of it.
    pub(super) fn linked(&self) -> Result<Smf<'_>, FormatError> {
        self.smf.linked()
    }

    pub(super) fn place(
        &self,
        name: &[u8],
        loader: &ModuleLoader,
    ) -> Result<PlacedModule, LoadError> {
        if let Some(module) = self.bytecode(name, loader)? {
            return Ok(self.placed(Linkable::Bytecode(module)));
        }
        let image = Image::place_shared(&self.smf, loader.pool());
        Ok(self.placed(Linkable::Image(image.map_err(|error| link_error(name, error))?)))
    }

    /// As [`ReadModule::place`], but for data that stays where an older version has it.
    pub(super) fn place_keeping(
        &self,
        name: &[u8],
        loader: &ModuleLoader,
        kept: &[StateMigration<'_>],
    ) -> Result<PlacedModule, ReplaceError> {
        if kept.is_empty() {
            return self.place(name, loader).map_err(ReplaceError::Load);
        }
        let load = |error| ReplaceError::Load(link_error(name, error));
        if self.smf.functions().map_err(|error| load(LinkError::Format(error)))?.is_some() {
            // Bytecode has no data.
            return Err(ReplaceError::Datum(0));
        }
        let image = Image::place_keeping(&self.smf, loader.pool(), kept);
        let image = image.map_err(|error| match error {
            PreserveError::Datum(datum) => ReplaceError::Datum(datum),
            PreserveError::Link(error) => load(error),
        })?;
        Ok(self.placed(Linkable::Image(image)))
    }

    /// The module as one of bytecode; `None` for any other.
    fn bytecode(
        &self,
        name: &[u8],
        loader: &ModuleLoader,
    ) -> Result<Option<TryArc<Bytecode<'static>>>, LoadError> {
        let table = self.smf.functions();
        let table = table.map_err(|error| link_error(name, LinkError::Format(error)))?;
        let Some(table) = table else { return Ok(None) };
        if cfg!(feature = "bytecode") {
            return self.read_bytecode(name, &table, loader).map(Some);
        }
        Err(LoadError::Bytecode { module: ShortName::new(name), error: BytecodeError::LeftOut })
    }

    /// The same with its table of functions. Apart, so that it is no part of what loading machine code
    /// brings into memory.
    #[cold]
    #[inline(never)]
    fn read_bytecode(
        &self,
        name: &[u8],
        table: &Functions<'static>,
        loader: &ModuleLoader,
    ) -> Result<TryArc<Bytecode<'static>>, LoadError> {
        let module = Bytecode::new(name, table, self.smf.header().entry_point, loader);
        let module = module.map_err(|refused| match refused {
            Refused::Format(error) => link_error(name, LinkError::Format(error)),
            Refused::Bytecode(error) => LoadError::Bytecode { module: ShortName::new(name), error },
        })?;
        Ok(TryArc::new(module)?)
    }

    #[inline(never)]
    fn placed(&self, module: Linkable) -> PlacedModule {
        let names = match &module {
            Linkable::Image(image) => Names::Image(image.exports()),
            Linkable::Bytecode(module) => Names::Bytecode(module.clone()),
        };
        let exports = OwnedExports { names, _bytes: self.bytes.clone() };
        PlacedModule { module, exports, read: self.clone() }
    }
}

/// What a module is before it is linked.
enum Linkable {
    Image(Image<'static>),
    Bytecode(TryArc<Bytecode<'static>>),
}

/// A module that has its memory.
pub(super) struct PlacedModule {
    module: Linkable,
    exports: OwnedExports,
    read: ReadModule,
}

impl PlacedModule {
    pub(super) fn exports(&self) -> OwnedExports {
        self.exports.clone()
    }

    pub(super) fn link(self, imports: &dyn Resolve) -> Result<LinkedModule, LinkError> {
        let module = match self.module {
            Linkable::Image(image) => Linked::Native(image.link(imports)?),
            Linkable::Bytecode(module) => Linked::Bytecode { module, smf: self.read.smf },
        };
        Ok(LinkedModule { module, bytes: self.read.bytes })
    }
}

/// What a placed module exports.
#[derive(Clone)]
pub(super) struct OwnedExports {
    names: Names,
    _bytes: ModuleBytes,
}

#[derive(Clone)]
enum Names {
    Image(Exports<'static>),
    Bytecode(TryArc<Bytecode<'static>>),
}

impl OwnedExports {
    #[inline]
    pub(super) fn find(&self, name: &[u8]) -> Option<Export> {
        match &self.names {
            Names::Image(exports) => exports.find(name),
            Names::Bytecode(module) => module.find(name),
        }
    }

    /// Why a function of bytecode has no address; `None` when it has one, and for everything else.
    pub(super) fn refusal(&self, name: &[u8]) -> Option<BytecodeError> {
        match &self.names {
            Names::Image(_) => None,
            Names::Bytecode(module) => module.refusal(name),
        }
    }
}

/// A module that can be called.
pub(super) struct LinkedModule {
    /// Dropped before the bytes that it refers to.
    module: Linked,
    bytes: ModuleBytes,
}

enum Linked {
    Native(Module<'static>),
    Bytecode { module: TryArc<Bytecode<'static>>, smf: Smf<'static> },
}

impl LinkedModule {
    #[inline]
    pub(super) fn smf(&self) -> &Smf<'_> {
        match &self.module {
            Linked::Native(module) => module.smf(),
            Linked::Bytecode { smf, .. } => smf,
        }
    }

    /// What was linked of it.
    pub(super) fn linked(&self) -> &Smf<'_> {
        match &self.module {
            Linked::Native(module) => module.linked(),
            Linked::Bytecode { smf, .. } => smf,
        }
    }

    #[inline]
    pub(super) fn find(&self, name: &[u8]) -> Option<Export> {
        match &self.module {
            Linked::Native(module) => module.find(name),
            Linked::Bytecode { module, .. } => module.find(name),
        }
    }

    /// The address of an exported function.
    pub(super) fn function(&self, name: &[u8]) -> Option<u64> {
        match &self.module {
            Linked::Native(module) => module.function(name),
            Linked::Bytecode { module, .. } => {
                module.find(name).map(|export| export.address).filter(|&address| address != 0)
            }
        }
    }

    /// As [`OwnedExports::refusal`].
    pub(super) fn refusal(&self, name: &[u8]) -> Option<BytecodeError> {
        self.bytecode()?.refusal(name)
    }

    /// All functions of bytecode, with their indices.
    pub(super) fn bytecode_functions(&self) -> impl Iterator<Item = (&[u8], u32)> {
        self.bytecode().into_iter().flat_map(Bytecode::functions)
    }

    pub(super) fn bytecode(&self) -> Option<&Bytecode<'_>> {
        match &self.module {
            Linked::Native(_) => None,
            Linked::Bytecode { module, .. } => Some(module),
        }
    }

    /// What is to be kept as long as the module.
    pub(super) fn attach(&self, name: &[u8], to: &dyn LoadObserver) -> AttachResult {
        // Good for a module of any lifetime, so it can keep nothing of this one.
        match &self.module {
            Linked::Native(module) => to.attach(name, module),
            // Its code is told of when there is any.
            Linked::Bytecode { .. } => Ok(None),
        }
    }

    /// Drops what the host has registered of the functions of bytecode: calls by address do not find them
    /// any more.
    pub(super) fn unregister(&self) {
        if let Some(bytecode) = self.bytecode() {
            bytecode.engine().unregister();
        }
    }

    /// Bytes of memory that its code, its data and its file take.
    pub(super) fn memory_bytes(&self) -> usize {
        let code = match &self.module {
            Linked::Native(module) => module.memory_bytes(),
            Linked::Bytecode { module, .. } => module.engine().code_bytes(),
        };
        code.saturating_add(self.bytes.slice.len())
    }

    pub(super) fn entry_point(&self) -> Option<u64> {
        match &self.module {
            Linked::Native(module) => module.entry_point(),
            Linked::Bytecode { module, .. } => module.entry_point(),
        }
    }

    /// The address of one of its symbols.
    pub(super) fn address(&self, symbol: &Symbol<'_>) -> Option<u64> {
        match &self.module {
            Linked::Native(module) => module.address(symbol),
            // Its functions are no symbols, and nothing else of it is loaded.
            Linked::Bytecode { .. } => None,
        }
    }

    pub(super) fn contains(&self, address: u64) -> bool {
        match &self.module {
            Linked::Native(module) => module.contains(address),
            Linked::Bytecode { module, .. } => module.contains(address),
        }
    }

    pub(super) fn code(&self) -> impl Iterator<Item = Range<usize>> {
        let native = match &self.module {
            Linked::Native(module) => Some(module.code()),
            Linked::Bytecode { .. } => None,
        };
        native.into_iter().flatten()
    }
}
