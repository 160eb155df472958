//! A module together with the owner of its bytes.
//!
//! A loaded module refers to its file as long as it lives: names, relocations and templates are read in place. The types
//! in this file pair such a view with the owner of the bytes, and lend it only for as long as they are borrowed.
#![allow(unsafe_code)]

use core::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use core::{ops::Range, ptr};

use super::bytecode::Bytecode;
use super::context::Context;
use super::error::{BytecodeError, LoadError, Result};
use super::observer::{LoadObserver, Registration};
use crate::alloc_util::{AllocError, SharedBytes, TryArc};
use crate::format::bytes::offset_in;
use crate::format::{File, FormatError, Library, Smf, Symbol};
use crate::jit::verify::functions_of;
use crate::link::{
    DataSymbol, Export, Exports, Image, LinkError, Module, Name, PreserveError, Resolve,
};

/// The bytes of a module or an archive and their owner, parsed once. Clones share them.
///
/// ```
/// use smf_core::loader::ModuleBytes;
///
/// let bytes = ModuleBytes::new(vec![1, 2, 3])?;
/// assert_eq!(bytes.as_slice(), [1, 2, 3]);
/// assert_eq!(bytes.part(1..2).unwrap().as_slice(), [2]);
/// # Ok::<(), smf_core::alloc_util::AllocError>(())
/// ```
#[derive(Clone)]
pub struct ModuleBytes {
    /// Borrowed from the owner in spite of the lifetime: never lent for longer than a borrow of a value that contains
    /// the owner.
    slice: &'static [u8],
    /// As `slice`.
    file: Result<File<'static>, FormatError>,
    owner: TryArc<dyn AsRef<[u8]> + Send + Sync>,
}

impl ModuleBytes {
    /// Takes the bytes from `owner`, which is dropped with the last module that refers to them.
    ///
    /// # Errors
    /// [`AllocError`].
    pub fn new<O: AsRef<[u8]> + Send + Sync + 'static>(owner: O) -> Result<Self, AllocError> {
        let owner = TryArc::new(owner)?.into_bytes();
        let slice: *const [u8] = (*owner).as_ref();
        // SAFETY: the slice is borrowed from a value that does not move and is never borrowed mutably, so the borrow
        // is valid as long as the value has owners. The field is private to this file, where it is always stored
        // next to an owner and dropped no later.
        let slice = unsafe { &*slice };
        Ok(Self { slice, file: File::parse(slice), owner })
    }

    /// All bytes.
    pub fn as_slice(&self) -> &[u8] {
        self.slice
    }

    /// A part of the bytes, with the same owner; `None` if `range` is out of bounds.
    pub fn part(&self, range: Range<usize>) -> Option<Self> {
        let slice = self.slice.get(range)?;
        Some(Self { slice, file: File::parse(slice), owner: self.owner.clone() })
    }

    /// The module or archive.
    ///
    /// # Errors
    /// As [`File::parse`].
    pub fn file(&self) -> Result<File<'_>, FormatError> {
        self.file
    }

    /// The module called `name` in the archive that these bytes are; `None` if it has none.
    ///
    /// # Errors
    /// [`FormatError`] for a malformed archive or entry, or for bytes that are not an archive.
    pub fn module(&self, name: &str) -> Result<Option<Self>, FormatError> {
        let library = match self.file {
            Ok(File::Library(library)) => library,
            _ => Library::parse(self.slice)?,
        };
        let found = library.find(name).transpose()?;
        Ok(found.and_then(|module| self.part_of(module.data)))
    }

    /// `part`, which is a sub-slice of these bytes, with their owner.
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

/// A parsed module.
#[derive(Clone)]
pub(super) struct ParsedModule {
    smf: Smf<'static>,
    bytes: ModuleBytes,
}

impl ParsedModule {
    /// The module in `bytes`, which must not be an archive.
    ///
    /// # Errors
    /// [`LoadError::Format`]; [`LoadError::Archive`].
    pub(super) fn parse(name: &SharedBytes, bytes: ModuleBytes) -> Result<Self, LoadError> {
        match bytes.file {
            Ok(File::Module(smf)) => Ok(Self { smf, bytes }),
            Ok(File::Library(_)) => Err(LoadError::Archive { module: Name::from(name) }),
            Err(error) => Err(LoadError::Format { module: Name::from(name), error }),
        }
    }

    pub(super) fn smf(&self) -> &Smf<'_> {
        &self.smf
    }

    /// The file that is linked: the module's own, or the ELF object in its code.
    pub(super) fn linked(&self) -> Result<Smf<'_>, FormatError> {
        self.smf.linked()
    }

    /// Maps the image of the module, or verifies its bytecode.
    pub(super) fn map(&self, name: &SharedBytes, context: &Context) -> Result<UnlinkedModule> {
        if let Some(program) = self.bytecode(name, context)? {
            return Ok(self.unlinked(Unlinked::Bytecode(program)));
        }
        let image = Image::map_in(&self.smf, &context.pool);
        let image = image.map_err(|error| LoadError::link(name, error))?;
        Ok(self.unlinked(Unlinked::Image(image)))
    }

    /// As [`ParsedModule::map`], with `data` left in the memory of an older version.
    pub(super) fn map_preserving(
        &self,
        name: &SharedBytes,
        context: &Context,
        data: &[DataSymbol<'_>],
    ) -> Result<UnlinkedModule, ReplaceError> {
        if data.is_empty() {
            return self.map(name, context).map_err(ReplaceError::Load);
        }
        let load = |error| ReplaceError::Load(LoadError::link(name, error));
        if self.smf.functions().map_err(|error| load(LinkError::Format(error)))?.is_some() {
            // Bytecode has no data symbols.
            return Err(ReplaceError::Datum(0));
        }
        let image = Image::map_preserving(&self.smf, &context.pool, data);
        let image = image.map_err(|error| match error {
            PreserveError::Datum(datum) => ReplaceError::Datum(datum),
            PreserveError::Link(error) => load(error),
        })?;
        Ok(self.unlinked(Unlinked::Image(image)))
    }

    /// The program of a bytecode module; `None` for machine code.
    fn bytecode(
        &self,
        name: &SharedBytes,
        context: &Context,
    ) -> Result<Option<TryArc<Bytecode<'static>>>> {
        let malformed = |error| LoadError::link(name, LinkError::Format(error));
        let Some(table) = self.smf.functions().map_err(malformed)? else { return Ok(None) };
        let refused = |error| LoadError::Bytecode { module: Name::from(name), error };
        if !cfg!(feature = "bytecode") {
            return Err(refused(BytecodeError::NotBuilt));
        }
        let code = functions_of(&table).map_err(malformed)?;
        let entry_point = self.smf.header().entry_point;
        let program = Bytecode::new(name, &table, code, entry_point, context).map_err(refused)?;
        Ok(Some(TryArc::new(program)?))
    }

    fn unlinked(&self, module: Unlinked) -> UnlinkedModule {
        UnlinkedModule { module, parsed: self.clone() }
    }
}

/// Why a new version cannot replace an old one.
#[derive(Debug)]
pub(super) enum ReplaceError {
    /// The datum with this index cannot stay in the memory of the old version.
    Datum(usize),
    Load(LoadError),
}

enum Unlinked {
    Image(Image<'static>),
    Bytecode(TryArc<Bytecode<'static>>),
}

/// A module with final addresses that is not linked yet.
pub(super) struct UnlinkedModule {
    module: Unlinked,
    parsed: ParsedModule,
}

impl UnlinkedModule {
    pub(super) fn exports(&self) -> OwnedExports {
        let table = match &self.module {
            Unlinked::Image(image) => ExportTable::Image(image.exports()),
            Unlinked::Bytecode(program) => ExportTable::Bytecode(program.clone()),
        };
        OwnedExports { table, _bytes: self.parsed.bytes.clone() }
    }

    pub(super) fn link(self, imports: &dyn Resolve) -> Result<LinkedModule, LinkError> {
        let module = match self.module {
            Unlinked::Image(image) => Linked::Native(image.link(imports)?),
            Unlinked::Bytecode(program) => Linked::Bytecode { program, smf: self.parsed.smf },
        };
        Ok(LinkedModule { module, bytes: self.parsed.bytes })
    }
}

/// The exports of a module.
pub(super) struct OwnedExports {
    table: ExportTable,
    _bytes: ModuleBytes,
}

enum ExportTable {
    Image(Exports<'static>),
    Bytecode(TryArc<Bytecode<'static>>),
}

impl OwnedExports {
    pub(super) fn find(&self, name: &[u8]) -> Option<Export> {
        match &self.table {
            ExportTable::Image(exports) => exports.find(name),
            ExportTable::Bytecode(program) => program.find(name),
        }
    }

    /// Why a bytecode function has no address; `None` if it has one, and for other symbols.
    pub(super) fn refusal(&self, name: &[u8]) -> Option<BytecodeError> {
        match &self.table {
            ExportTable::Image(_) => None,
            ExportTable::Bytecode(program) => program.refusal(name),
        }
    }
}

/// A callable module.
pub(super) struct LinkedModule {
    /// Dropped before the bytes that it refers to.
    module: Linked,
    bytes: ModuleBytes,
}

enum Linked {
    Native(Module<'static>),
    Bytecode { program: TryArc<Bytecode<'static>>, smf: Smf<'static> },
}

impl LinkedModule {
    pub(super) fn smf(&self) -> &Smf<'_> {
        match &self.module {
            Linked::Native(module) => module.smf(),
            Linked::Bytecode { smf, .. } => smf,
        }
    }

    /// As [`ParsedModule::linked`].
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
            Linked::Bytecode { program, .. } => program.find(name),
        }
    }

    /// The address of an exported function.
    pub(super) fn function(&self, name: &[u8]) -> Option<u64> {
        match &self.module {
            Linked::Native(module) => module.function(name),
            Linked::Bytecode { program, .. } => {
                program.find(name).map(|export| export.address).filter(|&address| address != 0)
            }
        }
    }

    /// As [`OwnedExports::refusal`].
    pub(super) fn refusal(&self, name: &[u8]) -> Option<BytecodeError> {
        self.bytecode()?.refusal(name)
    }

    /// The names and indices of all bytecode functions.
    pub(super) fn bytecode_functions(&self) -> impl Iterator<Item = (&[u8], u32)> {
        self.bytecode().into_iter().flat_map(Bytecode::functions)
    }

    fn native(&self) -> Option<&Module<'static>> {
        match &self.module {
            Linked::Native(module) => Some(module),
            Linked::Bytecode { .. } => None,
        }
    }

    pub(super) fn bytecode(&self) -> Option<&Bytecode<'_>> {
        match &self.module {
            Linked::Native(_) => None,
            Linked::Bytecode { program, .. } => Some(program),
        }
    }

    /// Registers the module with `observer`. Bytecode is registered when it is compiled.
    pub(super) fn register(
        &self,
        name: &[u8],
        observer: &dyn LoadObserver,
    ) -> Result<Registration, AllocError> {
        // The observer accepts a module of any lifetime, so it cannot store a reference into this one.
        self.native().map_or(Ok(None), |module| observer.on_load(name, module))
    }

    /// Drops the registrations of compiled bytecode.
    pub(super) fn unregister(&self) {
        if let Some(bytecode) = self.bytecode() {
            bytecode.engine().unregister();
        }
    }

    /// The size of the code, the data and the file, in bytes.
    pub(super) fn memory_bytes(&self) -> usize {
        let code = match &self.module {
            Linked::Native(module) => module.memory_bytes(),
            Linked::Bytecode { program, .. } => program.engine().code_bytes(),
        };
        code.saturating_add(self.bytes.slice.len())
    }

    pub(super) fn entry_point(&self) -> Option<u64> {
        match &self.module {
            Linked::Native(module) => module.entry_point(),
            Linked::Bytecode { program, .. } => program.entry_point(),
        }
    }

    /// The address of a symbol of the module. Bytecode functions are not symbols.
    pub(super) fn address(&self, symbol: &Symbol<'_>) -> Option<u64> {
        self.native()?.address(symbol)
    }

    pub(super) fn contains(&self, address: u64) -> bool {
        match &self.module {
            Linked::Native(module) => module.contains(address),
            Linked::Bytecode { program, .. } => program.contains(address),
        }
    }

    pub(super) fn code(&self) -> impl Iterator<Item = Range<usize>> {
        self.native().into_iter().flat_map(Module::code)
    }

    /// Copies the bytes of `symbol`, a symbol of writable data, to `target`, one of the same size in the new version
    /// `to` of this module, which has not run yet. Returns whether anything was copied: data that the versions share
    /// is not.
    pub(super) fn copy_data(
        &self,
        symbol: &Symbol<'_>,
        to: &LinkedModule,
        target: &Symbol<'_>,
    ) -> bool {
        let to_usize = |number: u64| usize::try_from(number).ok();
        let addresses = self.address(symbol).zip(to.address(target));
        let addresses = addresses.and_then(|(from, to)| Some((to_usize(from)?, to_usize(to)?)));
        let Some((from, to)) = addresses.filter(|(from, to)| from != to) else { return false };
        let Some(len) = to_usize(symbol.size.min(target.size)) else { return false };
        // SAFETY: each symbol lies in a writable section of its module, or of an older version whose memory that
        // module keeps, in pages that stay readable and writable as long as the module: mapping has checked that no
        // symbol leaves its section. Versions share data as a whole or not at all, so the ranges do not overlap.
        unsafe { copy_relaxed(from, to, len) };
        true
    }
}

/// Copies bytes that machine code may be writing concurrently, in words if both ranges are aligned.
///
/// # Safety
/// `len` bytes at `from` are readable and at `to` writable, the ranges do not overlap, and no Rust reference to them is
/// in use.
unsafe fn copy_relaxed(from: usize, to: usize, len: usize) {
    macro_rules! copy {
        ($offsets:expr, $word:ty, $atomic:ty) => {
            for at in $offsets {
                let source = ptr::with_exposed_provenance_mut::<$word>(from + at);
                // SAFETY: inside the caller's range, and aligned.
                let source = unsafe { <$atomic>::from_ptr(source) };
                let target = ptr::with_exposed_provenance_mut::<$word>(to + at);
                // SAFETY: as above.
                let target = unsafe { <$atomic>::from_ptr(target) };
                target.store(source.load(Ordering::Relaxed), Ordering::Relaxed);
            }
        };
    }
    let is_aligned = from.is_multiple_of(8) && to.is_multiple_of(8);
    let in_words = if is_aligned { len - len % 8 } else { 0 };
    copy!((0..in_words).step_by(8), u64, AtomicU64);
    copy!(in_words..len, u8, AtomicU8);
}
