//! A module together with the owner of its bytes.
//!
//! A loaded module refers to its file as long as it lives: names, relocations and templates are read in place. The types
//! in this file pair such a view with the owner of the bytes, and lend it only for as long as they are borrowed.
#![allow(unsafe_code)]

use core::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use core::{ops::Range, ptr};

use super::bytecode::Bytecode;
use super::error::{BytecodeError, LoadError, Result};
use super::init_state::InitState;
use super::observer::{LoadObserver, Registration};
use super::options::Context;
use crate::alloc_util::{AllocError, TryArc};
use crate::bytecode::verify::functions_of;
use crate::format::bytes::offset_in;
use crate::format::{File, FormatError, Library, Smf, Symbol};
use crate::link::{
    DataSymbol, Export, Exports, Image, Libraries, LinkError, Module, Name, PreparedImage,
    PreserveError, Reach, Resolve, Sources, TlsBlock, tls_symbol_at,
};
use crate::memory::{FileContents, GuardedFile};

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
    /// The mapped file that the bytes are in, if they are.
    mapped: Option<TryArc<GuardedFile>>,
}

impl ModuleBytes {
    /// Takes the bytes from `owner`, which is dropped with the last module that refers to them.
    ///
    /// # Errors
    /// [`AllocError`].
    pub fn new<O: AsRef<[u8]> + Send + Sync + 'static>(owner: O) -> Result<Self, AllocError> {
        Ok(Self::owned_by(TryArc::new(owner)?.into_bytes(), None))
    }

    /// Takes the bytes of a file. If they are mapped, pages of the file may become pages of modules.
    ///
    /// # Errors
    /// [`AllocError`].
    pub fn of_file(contents: FileContents) -> Result<Self, AllocError> {
        match contents {
            FileContents::Copied(bytes) => Self::new(bytes),
            FileContents::Mapped(file) => {
                let file = TryArc::new(file)?;
                Ok(Self::owned_by(file.clone().into_bytes(), Some(file)))
            }
        }
    }

    fn owned_by(
        owner: TryArc<dyn AsRef<[u8]> + Send + Sync>,
        mapped: Option<TryArc<GuardedFile>>,
    ) -> Self {
        let slice: *const [u8] = (*owner).as_ref();
        // SAFETY: the slice is borrowed from a value that does not move and is never borrowed mutably, so the borrow
        // is valid as long as the value has owners. The field is private to this file, where it is always stored
        // next to an owner and dropped no later.
        let slice = unsafe { &*slice };
        Self { slice, file: File::parse(slice), owner, mapped }
    }

    /// All bytes.
    pub fn as_slice(&self) -> &[u8] {
        self.slice
    }

    /// A part of the bytes, with the same owner; `None` if `range` is out of bounds.
    pub fn part(&self, range: Range<usize>) -> Option<Self> {
        let slice = self.slice.get(range)?;
        let (owner, mapped) = (self.owner.clone(), self.mapped.clone());
        Some(Self { slice, file: File::parse(slice), owner, mapped })
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

/// A parsed module. Clones share it.
#[derive(Clone)]
pub(super) struct ParsedModule(TryArc<Parsed>);

struct Parsed {
    smf: Smf<'static>,
    bytes: ModuleBytes,
}

impl ParsedModule {
    /// The module in `bytes`, which must not be an archive.
    ///
    /// # Errors
    /// [`LoadError::Format`]; [`LoadError::Archive`]; [`LoadError::OutOfMemory`].
    pub(super) fn parse(name: &Name, bytes: ModuleBytes) -> Result<Self, LoadError> {
        match bytes.file {
            Ok(File::Module(smf)) => Ok(Self(TryArc::new(Parsed { smf, bytes })?)),
            Ok(File::Library(_)) => Err(LoadError::Archive { module: name.clone() }),
            Err(error) => Err(LoadError::Format { module: name.clone(), error }),
        }
    }

    pub(super) fn smf(&self) -> &Smf<'_> {
        &self.0.smf
    }

    pub(super) fn bytes(&self) -> &ModuleBytes {
        &self.0.bytes
    }

    /// The file that is linked: the module's own, or the ELF object in its code.
    pub(super) fn linked(&self) -> Result<Smf<'_>, FormatError> {
        self.0.smf.linked()
    }

    /// Maps the image of the module, or verifies its bytecode. `data` stays in the memory of an older version; `refused`
    /// makes the error of a datum that cannot, given its index.
    pub(super) fn map(
        &self,
        name: &Name,
        context: &Context,
        data: &[DataSymbol<'_>],
        reach: &Reach<'_>,
        refused: impl Fn(usize) -> LoadError,
    ) -> Result<UnlinkedModule> {
        let (image, table) = match self.bytecode(name, context)? {
            // Bytecode has no data symbols.
            Some(_) if !data.is_empty() => return Err(refused(0)),
            Some(program) => (None, ExportTable::Bytecode(program)),
            None => {
                let sources =
                    Sources { pool: Some(&context.pool), file: self.0.bytes.mapped.as_ref() };
                let image = Image::map_preserving(&self.0.smf, sources, data, reach);
                let image = image.map_err(|error| match error {
                    PreserveError::Datum(datum) => refused(datum),
                    PreserveError::Link(error) => LoadError::link(name, error),
                })?;
                let exports = image.exports();
                (Some(image), ExportTable::Image(exports))
            }
        };
        Ok(UnlinkedModule { image, exports: OwnedExports { table, parsed: self.clone() } })
    }

    /// The program of a bytecode module; `None` for machine code.
    fn bytecode(
        &self,
        name: &Name,
        context: &Context,
    ) -> Result<Option<TryArc<Bytecode<'static>>>> {
        let malformed = |error| LoadError::link(name, LinkError::Format(error));
        let Some(table) = self.0.smf.functions().map_err(malformed)? else { return Ok(None) };
        let refused = |error| LoadError::Bytecode { module: name.clone(), error };
        if !cfg!(feature = "bytecode") {
            return Err(refused(BytecodeError::NotBuilt));
        }
        let code = (functions_of(&table).map_err(malformed)?, self.0.smf.constants());
        let entry_point = self.0.smf.header().entry_point;
        let program = Bytecode::new(name, &table, code, entry_point, context).map_err(refused)?;
        Ok(Some(TryArc::new(program)?))
    }
}

/// A module with final addresses that is not linked yet.
pub(super) struct UnlinkedModule {
    /// Dropped before the bytes that it refers to; `None` for bytecode.
    image: Option<Image<'static>>,
    pub(super) exports: OwnedExports,
}

impl UnlinkedModule {
    /// The address of the image, if code in it addresses imports by 32-bit distances.
    pub(super) fn near_address(&self) -> Option<u64> {
        let image = self.image.as_ref()?;
        image.has_near_imports().then(|| image.address())
    }

    /// Resolves the imports and allocates the thread-local storage. The arguments are those of [`Image::prepare`].
    pub(super) fn prepare(
        self,
        imports: &dyn Resolve,
        libraries: Libraries,
        has_static_users: bool,
    ) -> Result<PreparedModule, LinkError> {
        let prepare = |image: Image<'static>| image.prepare(imports, libraries, has_static_users);
        let image = self.image.map(prepare).transpose()?;
        Ok(PreparedModule { image, exports: self.exports })
    }
}

/// A module whose imports are resolved and whose thread-local storage is allocated.
pub(super) struct PreparedModule {
    /// Dropped before the bytes that it refers to; `None` for bytecode.
    image: Option<PreparedImage<'static>>,
    exports: OwnedExports,
}

impl PreparedModule {
    /// The thread-local storage of the module.
    pub(super) fn tls(&self) -> Option<TlsBlock> {
        self.image.as_ref()?.tls()
    }

    /// Links the module. `modules` resolves the thread-local symbols of other modules.
    pub(super) fn link(self, modules: &dyn Resolve) -> Result<LinkedModule, LinkError> {
        let native = match self.image {
            Some(image) => Some(image.link(modules)?),
            None => None,
        };
        Ok(LinkedModule { native, exports: self.exports, init: InitState::default() })
    }
}

/// The exports of a module, and its file.
#[derive(Clone)]
pub(super) struct OwnedExports {
    /// Dropped before the bytes that it refers to.
    table: ExportTable,
    parsed: ParsedModule,
}

#[derive(Clone)]
enum ExportTable {
    Image(Exports<'static>),
    Bytecode(TryArc<Bytecode<'static>>),
}

impl OwnedExports {
    pub(super) fn parsed(&self) -> &ParsedModule {
        &self.parsed
    }

    pub(super) fn find(&self, name: &[u8]) -> Option<Export> {
        match &self.table {
            ExportTable::Image(exports) => exports.find(name),
            ExportTable::Bytecode(program) => program.find(name),
        }
    }

    /// The thread-local symbol that an export of this module stands for. `block` is the storage of the module.
    pub(super) fn tls_symbol(&self, export: &Export, block: TlsBlock) -> Option<TlsBlock> {
        match &self.table {
            ExportTable::Image(exports) => {
                tls_symbol_at(&self.parsed.linked().ok()?, exports, export.address, block)
            }
            ExportTable::Bytecode(_) => None,
        }
    }

    fn bytecode(&self) -> Option<&Bytecode<'_>> {
        match &self.table {
            ExportTable::Image(_) => None,
            ExportTable::Bytecode(program) => Some(program),
        }
    }

    /// Why a bytecode function has no address; `None` if it has one, and for other symbols.
    pub(super) fn refusal(&self, name: &[u8]) -> Option<BytecodeError> {
        self.bytecode()?.refusal(name)
    }
}

/// A callable module.
pub(super) struct LinkedModule {
    /// Dropped before the bytes that it refers to; `None` for bytecode.
    native: Option<Module<'static>>,
    exports: OwnedExports,
    init: InitState,
}

impl LinkedModule {
    pub(super) fn smf(&self) -> &Smf<'_> {
        self.exports.parsed.smf()
    }

    pub(super) fn bytes(&self) -> &ModuleBytes {
        self.exports.parsed.bytes()
    }

    /// As [`ParsedModule::linked`].
    pub(super) fn linked(&self) -> &Smf<'_> {
        self.native.as_ref().map_or_else(|| self.smf(), |module| module.linked())
    }

    pub(super) fn find(&self, name: &[u8]) -> Option<Export> {
        self.exports.find(name)
    }

    /// The thread-local symbol that an export of this module stands for.
    pub(super) fn tls_symbol(&self, export: &Export) -> Option<TlsBlock> {
        self.exports.tls_symbol(export, self.native.as_ref()?.tls()?)
    }

    /// The address of a section; `None` if it is not loaded.
    pub(super) fn section_address(&self, index: u32) -> Option<u64> {
        self.native.as_ref()?.exports().section(index)
    }

    /// Calls the resolvers of indirect functions.
    pub(super) fn resolve_indirect_functions(&self) -> Result<(), LinkError> {
        self.native.as_ref().map_or(Ok(()), Module::resolve_indirect_functions)
    }

    /// As [`OwnedExports::refusal`].
    pub(super) fn refusal(&self, name: &[u8]) -> Option<BytecodeError> {
        self.exports.refusal(name)
    }

    pub(super) fn bytecode(&self) -> Option<&Bytecode<'_>> {
        self.exports.bytecode()
    }

    /// Whether the module has constructors, destructors or exit handlers.
    pub(super) fn has_init(&self) -> bool {
        self.native.as_ref().is_some_and(Module::has_init)
    }

    pub(super) fn init_state(&self) -> &InitState {
        &self.init
    }

    /// As [`InitState::announce`].
    pub(super) fn announce_constructors(&self) {
        if self.has_init() {
            self.init.announce();
        }
    }

    /// As [`Module::run_constructors`].
    pub(super) fn run_constructors(&self) {
        if let Some(module) = self.native.as_ref().filter(|module| module.has_init()) {
            self.init.run_constructors(module);
        }
    }

    /// As [`Module::run_destructors`], of a version that no thread can reach.
    pub(super) fn run_destructors(&self) {
        if let Some(module) = self.native.as_ref() {
            // SAFETY: the loader calls this for a version that all threads have left, that did not become visible, or
            // that is dropped with the loader.
            unsafe { module.run_destructors() };
        }
    }

    /// As [`Module::has_thread_destructors`].
    pub(super) fn has_thread_destructors(&self) -> bool {
        self.native.as_ref().is_some_and(Module::has_thread_destructors)
    }

    /// Registers the module with `observer`. Bytecode is registered when it is compiled.
    pub(super) fn register(
        &self,
        name: &[u8],
        observer: &dyn LoadObserver,
    ) -> Result<Registration, AllocError> {
        // The observer accepts a module of any lifetime, so it cannot store a reference into this one.
        self.native.as_ref().map_or(Ok(None), |module| observer.on_load(name, module))
    }

    /// Drops the registrations of compiled bytecode.
    pub(super) fn unregister(&self) {
        if let Some(bytecode) = self.bytecode() {
            bytecode.engine().unregister();
        }
    }

    /// The size of the code, the data and the file, in bytes.
    pub(super) fn memory_bytes(&self) -> usize {
        let code = self.native.as_ref().map_or(0, Module::memory_bytes);
        let bytecode = self.bytecode().map_or(0, |program| program.engine().code_bytes());
        code.saturating_add(bytecode).saturating_add(self.bytes().slice.len())
    }

    pub(super) fn entry_point(&self) -> Option<u64> {
        let native = self.native.as_ref().and_then(Module::entry_point);
        native.or_else(|| self.bytecode()?.entry_point())
    }

    /// The address of a symbol of the module. Bytecode functions are not symbols.
    pub(super) fn address(&self, symbol: &Symbol<'_>) -> Option<u64> {
        self.native.as_ref()?.address(symbol)
    }

    pub(super) fn contains(&self, address: u64) -> bool {
        let in_bytecode = || self.bytecode().is_some_and(|program| program.contains(address));
        self.native.as_ref().is_some_and(|module| module.contains(address)) || in_bytecode()
    }

    pub(super) fn code(&self) -> impl Iterator<Item = Range<usize>> {
        self.native.iter().flat_map(Module::code)
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
