//! The bytes of a module together with whoever owns them, and what is made of the two.
//!
//! A loaded module refers to its file for as long as it lives: names, relocations and templates are
//! read where they lie. A loader that outlives its callers' borrows has to own the bytes as well. Here
//! a view and the owner of its bytes are one value, and no view leaves without a borrow of that value.
#![allow(unsafe_code)]

use alloc::boxed::Box;
use alloc::sync::Arc;
use core::ops::Range;

use super::modules::Attach;
use crate::format::bytes::offset_in;
use crate::format::{FormatError, Library, Smf, Symbol};
use crate::link::{Export, Exports, Image, KeepError, LinkError, Module, OldData, Resolve};
use crate::memory::PagePool;

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
    owner: Arc<dyn AsRef<[u8]> + Send + Sync>,
}

impl ModuleBytes {
    /// Takes the bytes from `owner`, which is asked for them once and dropped with the last module
    /// that refers to them.
    pub fn new(owner: impl AsRef<[u8]> + Send + Sync + 'static) -> Self {
        let owner: Arc<dyn AsRef<[u8]> + Send + Sync> = Arc::new(owner);
        let slice: *const [u8] = (*owner).as_ref();
        // SAFETY: the slice was borrowed from a value that stays where it is, behind an `Arc` that was
        // made here, of which nobody takes a mutable reference, so the borrow could last as long as
        // there are clones of the `Arc`. The field is private to this file, where it is kept beside
        // such a clone, and dropped no later.
        let slice = unsafe { &*slice };
        Self { slice, owner }
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

    pub(super) fn place(&self, pool: &Arc<PagePool>) -> Result<PlacedModule, LinkError> {
        Ok(self.placed(Image::place_in(&self.smf, pool)?))
    }

    /// As [`ReadModule::place`], but for data that stays where an older version has it.
    pub(super) fn place_keeping(
        &self,
        pool: &Arc<PagePool>,
        kept: &[OldData<'_>],
    ) -> Result<PlacedModule, KeepError> {
        let mut image = Image::place_in(&self.smf, pool)?;
        image.keep(kept)?;
        Ok(self.placed(image))
    }

    fn placed(&self, image: Image<'static>) -> PlacedModule {
        let exports = OwnedExports { exports: image.exports(), _bytes: self.bytes.clone() };
        PlacedModule { image, exports, read: self.clone() }
    }
}

/// A module that has its memory.
pub(super) struct PlacedModule {
    image: Image<'static>,
    exports: OwnedExports,
    read: ReadModule,
}

impl PlacedModule {
    pub(super) fn exports(&self) -> OwnedExports {
        self.exports.clone()
    }

    pub(super) fn link(self, imports: &dyn Resolve) -> Result<LinkedModule, LinkError> {
        Ok(LinkedModule { module: self.image.link(imports)?, _bytes: self.read.bytes })
    }
}

/// What a placed module exports.
#[derive(Clone)]
pub(super) struct OwnedExports {
    exports: Exports<'static>,
    _bytes: ModuleBytes,
}

impl OwnedExports {
    #[inline]
    pub(super) fn find(&self, name: &[u8]) -> Option<Export> {
        self.exports.find(name)
    }
}

/// A module that can be called.
pub(super) struct LinkedModule {
    /// Dropped before the bytes that it refers to.
    module: Module<'static>,
    _bytes: ModuleBytes,
}

impl LinkedModule {
    #[inline]
    pub(super) fn smf(&self) -> &Smf<'_> {
        self.module.smf()
    }

    /// What was linked of it.
    pub(super) fn linked(&self) -> &Smf<'_> {
        self.module.linked()
    }

    #[inline]
    pub(super) fn find(&self, name: &[u8]) -> Option<Export> {
        self.module.find(name)
    }

    /// The address of an exported function.
    pub(super) fn function(&self, name: &[u8]) -> Option<u64> {
        self.module.function(name)
    }

    /// What is to be kept as long as the module.
    pub(super) fn attach(&self, name: &[u8], to: &dyn Attach) -> Option<Box<dyn Send + Sync>> {
        // Good for a module of any lifetime, so it can keep nothing of this one.
        to.attach(name, &self.module)
    }

    pub(super) fn entry_point(&self) -> Option<u64> {
        self.module.entry_point()
    }

    /// The address of one of its symbols.
    pub(super) fn address(&self, symbol: &Symbol<'_>) -> Option<u64> {
        self.module.address(symbol)
    }

    pub(super) fn contains(&self, address: u64) -> bool {
        self.module.contains(address)
    }

    pub(super) fn code(&self) -> impl Iterator<Item = Range<usize>> {
        self.module.code()
    }
}
