//! Modules by path: files, archives and shared objects, on top of the core's [`ModuleLoader`].
//!
//! The core loads modules from bytes; this module adds paths and the system. Files are mapped while they cannot change, or
//! read into private copies ([`FilePolicy`]). A dynlib, a shared object with a trailer, is opened by the system's loader from
//! such a copy. Profilers and debuggers are notified of every module.
//!
//! Opening a dynlib runs its initialisers, so the functions that may open one are unsafe. [`Loader::load_module`] and
//! [`Loader::map_module`] refuse dynlibs.
#![allow(unsafe_code)]

use std::borrow::Cow;
#[cfg(feature = "c-api")]
use std::ops::Range;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
#[cfg(feature = "jit")]
use std::sync::Mutex;

use smf_core::alloc_util::{AllocError, AttachResult, TryArc, try_box};
use smf_core::cache::{CacheError, CachedBytes, FileCache};
use smf_core::codegen::registry::{CodeRegistry, Edge, GeneratedCode, Phase};
use smf_core::format::{File, Smf};
use smf_core::link::{LinkError, Module, Name};
use smf_core::loader::{
    LoadError, LoadEvent, LoadObserver, LoaderOptions, MappedModule, ModuleBytes, ModuleHandle,
    ModuleLoader, NamedModule, Reloaded, StateMigration, UnresolvedImport,
};
use smf_core::memory::{self, FileBytes, FileContents, FileGuards, FilePolicy, MemoryError};
use smf_core::plural;
use thiserror::Error;

use crate::call::CALL_EPOCHS;
#[cfg(feature = "c-api")]
use crate::code_map::CodeRange;
use crate::events::{self, Field, number};
#[cfg(feature = "host")]
use crate::file_lease::{FileLeases, LeaseUser};
use crate::files::{self, ReadError, module_of_archive};
use crate::generated_code::HostRegistry;
use crate::import_types;
#[cfg(feature = "host")]
use crate::shared_object::{SharedObject, SharedObjectError};
use crate::{link_failures, registration};

/// Why a module could not be loaded from a file.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum LoadFileError {
    /// A file that could not be read.
    #[error("{}: {error}", path.display())]
    Read {
        /// The path.
        path: PathBuf,
        /// The cause.
        error: ReadError,
    },
    /// An archive instead of a module.
    #[error(
        "{archive}: this is an archive of {modules} module{}: name one of them, as in {archive}:NAME (`smf lib list` shows them)",
        plural::s(*modules)
    )]
    Archive {
        /// The name of the archive.
        archive: String,
        /// The number of modules in it.
        modules: usize,
    },
    /// An archive without the requested module.
    #[error("{archive}: no module called {module} in this archive")]
    NoSuchModule {
        /// The name of the archive.
        archive: String,
        /// The name of the module.
        module: String,
    },
    /// A module that the core refuses.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// Unresolved imports.
    #[error(
        "unresolved import{} {}{}", plural::s(imports.len()), list(imports), because(reasons)
    )]
    MissingImports {
        /// All of them, in the order of their symbol tables.
        imports: Vec<MissingImport>,
        /// Why there are no instances of templates for them.
        reasons: Vec<String>,
    },
    /// A dynlib, whose initialisers the options refuse.
    #[cfg(feature = "host")]
    #[error(
        "{module}: this is a dynlib, whose initialisers would run, which the options of the loader refuse"
    )]
    Initialisers {
        /// The name of the dynlib.
        module: String,
    },
    /// A dynlib that is malformed, or that the system's loader refuses.
    #[cfg(feature = "host")]
    #[error("{module}: {error}")]
    SharedObject {
        /// The name of the dynlib.
        module: String,
        /// The cause.
        error: SharedObjectError,
    },
}

/// An unresolved import.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("`{name}` (imported by {module})")]
pub struct MissingImport {
    /// The name of the symbol, with invalid UTF-8 replaced.
    pub name: String,
    /// The name of the importing module.
    pub module: String,
}

/// The imports, with each module once behind those of it.
fn list(imports: &[MissingImport]) -> String {
    let mut list = String::new();
    let mut rest = imports.iter().peekable();
    while let Some(import) = rest.next() {
        list.push_str(&format!("`{}`", import.name));
        if rest.peek().is_none_or(|next| next.module != import.module) {
            list.push_str(&format!(" (imported by {})", import.module));
        }
        list.push_str(if rest.peek().is_some() { ", " } else { "" });
    }
    list
}

/// The reasons, each behind a semicolon.
fn because(reasons: &[String]) -> String {
    reasons.iter().fold(String::new(), |text, reason| text + "; " + reason)
}

/// The guards of mapped files.
#[cfg(feature = "host")]
const FILE_GUARDS: &dyn FileGuards = &FileLeases;
#[cfg(not(feature = "host"))]
const FILE_GUARDS: &dyn FileGuards = &memory::NoFileGuards;

/// Loads modules by path. All methods may be called from any thread.
#[derive(Debug)]
pub struct Loader {
    modules: ModuleLoader,
    file_policy: FilePolicy,
    #[cfg_attr(not(feature = "host"), expect(dead_code, reason = "no dynlib is opened"))]
    refuse_constructors: bool,
    cache: Option<TryArc<FileCache>>,
    /// The address of the [`LoaderTemplates`](crate::loader_templates::LoaderTemplates) that were attached last, until they are
    /// detached.
    #[cfg(feature = "jit")]
    pub(crate) attached: Mutex<Option<usize>>,
    /// Dropped after the modules.
    #[cfg(feature = "host")]
    _leases: LeaseUser,
}

/// Reads the file at `path` through a cache; `None` if it does not fit there.
///
/// # Errors
/// [`CacheError::File`]; [`CacheError::OutOfMemory`].
pub(crate) fn read_cached(
    cache: &TryArc<FileCache>,
    path: &[u8],
) -> Result<Option<ModuleBytes>, CacheError> {
    match CachedBytes::get(cache, path) {
        Ok(bytes) => Ok(Some(ModuleBytes::new(bytes)?)),
        Err(error) if error.is_full() => Ok(None),
        Err(error) => Err(error),
    }
}

/// A module and its providers, mapped and not linked yet.
pub struct MappedFile<'l>(State<'l>);

enum State<'l> {
    Mapped(Box<MappedModule<'l>>),
    /// A dynlib, which the system's loader has linked.
    Loaded(ModuleHandle),
}

/// The files of `with` that the header of a program asks to read ahead, without the first, which is read at once.
fn read_ahead_files<'p, P: AsRef<Path>>(program: &ModuleBytes, with: &'p [P]) -> &'p [P] {
    let smf = program.file().ok().and_then(File::module);
    let count = smf.map_or(0, |smf| smf.header().files_to_prefetch());
    let files = with.get(..count).unwrap_or(with);
    files.split_first().map_or(&[], |(_, rest)| rest)
}

/// Notifies unwinders, tools and the C API of code.
struct Observer;

impl CodeRegistry for Observer {
    fn on_phase(&self, phase: Phase, edge: Edge, subject: &[u8]) {
        HostRegistry.on_phase(phase, edge, subject);
    }

    fn needs_lines(&self) -> bool {
        HostRegistry.needs_lines()
    }

    fn register(&self, code: GeneratedCode<'_>) -> AttachResult {
        HostRegistry.register(code)
    }
}

impl LoadObserver for Observer {
    fn check_imports<'m>(
        &self,
        module: NamedModule<'_>,
        definer: &dyn Fn(&[u8]) -> Option<NamedModule<'m>>,
    ) -> Result<(), LoadError> {
        Ok(import_types::check(module, definer)?)
    }

    fn on_load(&self, name: &[u8], module: &Module<'_>) -> AttachResult {
        events::on_link(name, module);
        registration::register(module)
    }

    fn on_event(&self, event: &LoadEvent<'_>) {
        events::on_load_event(event);
    }

    #[cfg(feature = "c-api")]
    fn on_trampoline(&self, _: &[u8], _: &[u8], code: Range<usize>) -> AttachResult {
        Ok(Some(try_box(CodeRange::entry_point(code.start)?)?))
    }

    #[cfg(feature = "c-api")]
    fn on_stub(&self, code: Range<usize>) -> AttachResult {
        Ok(Some(try_box(CodeRange::entry_point(code.start)?)?))
    }
}

impl Loader {
    /// A loader without modules. Replaces [`LoaderOptions::call_epochs`] by [`CALL_EPOCHS`], and the host
    /// services by those of this process.
    ///
    /// # Errors
    /// [`AllocError`].
    pub fn new(options: LoaderOptions) -> Result<Self, AllocError> {
        #[cfg(feature = "jit")]
        crate::stack::install_bounds();
        let options = LoaderOptions {
            call_epochs: Some(&CALL_EPOCHS),
            #[cfg(feature = "host")]
            host_services: crate::host_services::PROCESS_SERVICES,
            ..options
        };
        let LoaderOptions { file_policy, refuse_constructors, .. } = options;
        let modules = ModuleLoader::with_observer(options, try_box(Observer)?)?;
        Ok(Self {
            modules,
            file_policy,
            refuse_constructors,
            cache: None,
            #[cfg(feature = "jit")]
            attached: Mutex::default(),
            #[cfg(feature = "host")]
            _leases: LeaseUser::new(),
        })
    }

    /// Reads files through `cache` from now on, where they are in use as long as their modules are loaded. Files that
    /// do not fit into the cache are read as without one.
    #[must_use]
    pub fn with_cache(self, cache: TryArc<FileCache>) -> Self {
        Self { cache: Some(cache), ..self }
    }

    /// Opens a file as the options of the loader say.
    pub(crate) fn open_file(&self, path: &[u8]) -> Result<FileContents, MemoryError> {
        FileContents::open(path, FileBytes::DEFAULT_LIMIT, self.file_policy, FILE_GUARDS)
    }

    fn read(&self, path: &Path) -> Result<ModuleBytes, LoadFileError> {
        let span = events::span("read", &[("path", Field::Text(&path.display()))]);
        let bytes = self
            .read_bytes(path)
            .inspect_err(|error| events::on_refusal(&path.display(), error))?;
        span.add(&[("bytes", number(bytes.as_slice().len()))]);
        Ok(bytes)
    }

    fn read_bytes(&self, path: &Path) -> Result<ModuleBytes, LoadFileError> {
        let failed = |error| LoadFileError::Read { path: path.to_owned(), error };
        if !files::is_stream(path) {
            let bytes = self.read_file(path)?;
            if !bytes.as_slice().is_empty() {
                return Ok(bytes);
            }
        }
        let input = files::read(path).map_err(failed)?;
        Ok(ModuleBytes::new(input).map_err(LoadError::from)?)
    }

    fn read_file(&self, path: &Path) -> Result<ModuleBytes, LoadFileError> {
        let failed = |error| LoadFileError::Read { path: path.to_owned(), error };
        let bytes = path.as_os_str().as_bytes();
        let cached = self.cache.as_ref().map(|cache| read_cached(cache, bytes)).transpose();
        let cached = cached.map_err(|error| match error {
            CacheError::File(error) => failed(ReadError::File(error)),
            _ => LoadError::from(AllocError).into(),
        })?;
        if let Some(cached) = cached.flatten() {
            return Ok(cached);
        }
        let contents = self.open_file(bytes);
        let contents = contents.map_err(|error| failed(ReadError::File(error)))?;
        Ok(ModuleBytes::of_file(contents).map_err(LoadError::from)?)
    }

    /// Reads a module of an archive. Returns the name under which it is loaded, and its bytes.
    fn read_member(
        &self,
        path: &Path,
        module: &str,
    ) -> Result<(String, ModuleBytes), LoadFileError> {
        let archive = path.to_string_lossy().into_owned();
        let found = self.read(path)?.module(module).map_err(|error| {
            Name::in_error(archive.as_bytes(), |module| LoadError::Format { module, error })
        });
        match found? {
            Some(bytes) => Ok((format!("{archive}({module})"), bytes)),
            None => Err(LoadFileError::NoSuchModule { archive, module: module.to_owned() }),
        }
    }

    /// The loader of the core.
    pub fn modules(&self) -> &ModuleLoader {
        &self.modules
    }

    /// Loads the file at `path`, or standard input for `-`, and the providers that it needs. The name of the module is its
    /// path.
    ///
    /// # Errors
    /// [`LoadFileError`]; nothing is loaded.
    ///
    /// # Safety
    /// As [`map`](Self::map).
    pub unsafe fn load_file(&self, path: &Path) -> Result<ModuleHandle, LoadFileError> {
        // SAFETY: the caller's contract.
        unsafe { self.map(&path.to_string_lossy(), self.read(path)?) }?.link()
    }

    /// Loads the module at `path`, or the module `member` of the archive there. Refuses a dynlib without opening it.
    ///
    /// # Errors
    /// [`LoadFileError`]; nothing is loaded.
    pub fn load_module(
        &self,
        path: &Path,
        member: Option<&str>,
    ) -> Result<ModuleHandle, LoadFileError> {
        let (name, bytes) = match member {
            Some(member) => {
                let (name, bytes) = self.read_member(path, member)?;
                (Cow::Owned(name), bytes)
            }
            None => (path.to_string_lossy(), self.read(path)?),
        };
        self.map_module(&name, bytes)?.link()
    }

    /// Reads the program at `path`: a file, `ARCHIVE:MODULE` for a module of an archive, or `-` for standard input. Returns the
    /// name under which it is loaded, and its bytes.
    ///
    /// # Errors
    /// [`LoadFileError`].
    pub fn read_program(&self, path: &Path) -> Result<(String, ModuleBytes), LoadFileError> {
        match module_of_archive(path) {
            Some((archive, module)) => self.read_member(archive, module),
            None => Ok((path.to_string_lossy().into_owned(), self.read(path)?)),
        }
    }

    /// Registers the files of `with` as providers, in order, and maps a program under `name`. If its header asks for it, the
    /// kernel reads some of the files ahead.
    ///
    /// # Errors
    /// As [`map`](Self::map) and [`register_provider`](Self::register_provider).
    ///
    /// # Safety
    /// As [`map`](Self::map).
    pub unsafe fn map_program<P: AsRef<Path>>(
        &self,
        name: &str,
        program: ModuleBytes,
        with: &[P],
    ) -> Result<MappedFile<'_>, LoadFileError> {
        let ahead = read_ahead_files(&program, with).iter().map(AsRef::as_ref);
        for file in ahead.filter(|file| !files::is_stream(file)) {
            // A failure is reported when the file is read.
            let _ = memory::read_ahead(file.as_os_str().as_bytes());
        }
        for path in with {
            // SAFETY: the caller's contract.
            unsafe { self.register_provider(path.as_ref()) }?;
        }
        // SAFETY: as above.
        unsafe { self.map(name, program) }
    }

    /// Maps a module under `name`. A dynlib is opened and loaded.
    ///
    /// # Errors
    /// [`LoadFileError`], except unresolved imports.
    ///
    /// # Safety
    /// A dynlib is opened here and closed when the module is unloaded, as by
    /// [`SharedObject::open`](crate::SharedObject::open): the caller trusts its code, its initialisers and terminators,
    /// and those of the libraries that it names.
    pub unsafe fn map(
        &self,
        name: &str,
        bytes: ModuleBytes,
    ) -> Result<MappedFile<'_>, LoadFileError> {
        // SAFETY: the caller's contract.
        if let Some(handle) = unsafe { self.load_dynlib(name.as_bytes(), &bytes) }? {
            return Ok(MappedFile(State::Loaded(handle)));
        }
        self.map_module(name, bytes)
    }

    /// As [`map`](Self::map), but refuses a dynlib without opening it.
    ///
    /// # Errors
    /// [`LoadFileError`], except unresolved imports.
    pub fn map_module(
        &self,
        name: &str,
        bytes: ModuleBytes,
    ) -> Result<MappedFile<'_>, LoadFileError> {
        if let Ok(File::Library(library)) = bytes.file() {
            let (archive, modules) = (name.to_owned(), library.len());
            return Err(LoadFileError::Archive { archive, modules });
        }
        let mapped = self.modules.map(name.as_bytes(), bytes)?;
        Ok(MappedFile(State::Mapped(try_box(mapped).map_err(LoadError::from)?)))
    }

    /// Registers the file at `path`, a module or an archive, as a provider: its modules are loaded when a module imports
    /// from them. A dynlib, which does not list its exports, is loaded at once.
    ///
    /// # Errors
    /// [`LoadFileError`].
    ///
    /// # Safety
    /// As [`map`](Self::map).
    pub unsafe fn register_provider(&self, path: &Path) -> Result<(), LoadFileError> {
        let (name, bytes) = (path.to_string_lossy(), self.read(path)?);
        // SAFETY: the caller's contract.
        if unsafe { self.load_dynlib(name.as_bytes(), &bytes) }?.is_none() {
            self.modules.register_provider(name.as_bytes(), bytes)?;
        }
        Ok(())
    }

    /// Replaces a module by the version at `path`.
    ///
    /// # Errors
    /// [`LoadFileError`]; the old version is unchanged.
    pub fn reload_file(
        &self,
        module: ModuleHandle,
        path: &Path,
        migration: StateMigration,
    ) -> Result<Reloaded, LoadFileError> {
        let bytes = self.read(path)?;
        report_missing(|missing| self.modules.reload(module, bytes, migration, missing))
    }

    /// Loads a dynlib through the system's loader; `None` if `bytes` are not a dynlib.
    ///
    /// # Safety
    /// As [`map`](Self::map).
    #[cfg(feature = "host")]
    pub(crate) unsafe fn load_dynlib(
        &self,
        name: &[u8],
        bytes: &ModuleBytes,
    ) -> Result<Option<ModuleHandle>, LoadFileError> {
        let smf = bytes.file().ok().and_then(File::module);
        let Some(object) = smf.and_then(|smf| smf.shared_object()) else { return Ok(None) };
        let module = || String::from_utf8_lossy(name).into_owned();
        if self.refuse_constructors {
            return Err(LoadFileError::Initialisers { module: module() });
        }
        // SAFETY: the caller's contract.
        let object = unsafe { SharedObject::open(object) }
            .map_err(|error| LoadFileError::SharedObject { module: module(), error })?;
        Ok(Some(self.modules.insert_foreign(name, Box::new(object))?))
    }

    /// Without the feature `host` the core refuses dynlibs.
    ///
    /// # Safety
    /// Nothing is opened.
    #[cfg(not(feature = "host"))]
    unsafe fn load_dynlib(
        &self,
        _: &[u8],
        _: &ModuleBytes,
    ) -> Result<Option<ModuleHandle>, LoadFileError> {
        Ok(None)
    }
}

impl MappedFile<'_> {
    /// The file of the module; `None` for a dynlib.
    pub fn smf(&self) -> Option<&Smf<'_>> {
        match &self.0 {
            State::Mapped(mapped) => Some(mapped.smf()),
            State::Loaded(_) => None,
        }
    }

    /// Links the modules and publishes them.
    ///
    /// # Errors
    /// [`LoadFileError::MissingImports`] with the unresolved imports of all modules; [`LoadFileError::Load`].
    pub fn link(self) -> Result<ModuleHandle, LoadFileError> {
        match self.0 {
            State::Mapped(mapped) => report_missing(|missing| mapped.link(missing)),
            State::Loaded(handle) => Ok(handle),
        }
    }
}

/// Runs `link` and, if it fails because of unresolved imports, lists all of them.
fn report_missing<T>(
    link: impl FnOnce(&mut dyn FnMut(&UnresolvedImport<'_>)) -> Result<T, LoadError>,
) -> Result<T, LoadFileError> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let mut missing = Vec::new();
    let mut add = |import: &UnresolvedImport<'_>| {
        missing.push(MissingImport { name: text(import.symbol), module: text(import.module) });
    };
    let (linked, reasons) = link_failures::collect(|| link(&mut add));
    linked.map_err(|error| match error {
        LoadError::Link {
            error: LinkError::MissingImports { .. } | LinkError::MissingTls { .. },
            ..
        } => LoadFileError::MissingImports { imports: missing, reasons },
        error => error.into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use smf_core::cache::{Capacity, Options};
    use smf_core::format::write::{Module as NewModule, NewSection, NewSymbol, Place};
    use smf_core::format::{Arch, Header, Layout};
    use smf_core::link::host_arch;

    /// A module with these exports and imports.
    fn module(arch: Arch, exports: &[&str], imports: &[&str]) -> ModuleBytes {
        let code = NewSection::code(&[0; 16]);
        let places = [(exports, Place::Section(0)), (imports, Place::Import)];
        let symbols: Vec<_> = places
            .iter()
            .flat_map(|(names, place)| names.iter().map(|name| (name.as_bytes(), *place)))
            .map(|(name, place)| NewSymbol { name, place, ..NewSymbol::default() })
            .collect();
        let header = Header { arch, ..Header::default() };
        let (layout, stub) = (Layout::Packed, &[][..]);
        let module = NewModule { layout, header, stub, sections: &[code], symbols: &symbols };
        ModuleBytes::new(module.to_vec().unwrap()).unwrap()
    }

    fn loader() -> Loader {
        Loader::new(LoaderOptions::default()).unwrap()
    }

    fn here(exports: &[&str], imports: &[&str]) -> ModuleBytes {
        module(host_arch(), exports, imports)
    }

    fn load(
        loader: &Loader,
        name: &str,
        bytes: ModuleBytes,
    ) -> Result<ModuleHandle, LoadFileError> {
        loader.map_module(name, bytes)?.link()
    }

    #[test]
    fn all_unresolved_imports_are_listed_with_their_modules() {
        let loader = loader();
        loader.modules().register_provider(b"a", here(&["a"], &["x", "z"])).unwrap();
        let result = load(&loader, "main", here(&["main"], &["x", "a", "y"]));
        let expected = "unresolved imports `x`, `y` (imported by main), \
                        `x`, `z` (imported by a)";
        assert_eq!(result.unwrap_err().to_string(), expected);
    }

    #[test]
    fn provider_for_another_machine_is_refused_when_it_is_needed() {
        let loader = loader();
        loader.modules().register_provider(b"foreign", module(Arch::WASM64, &["a"], &[])).unwrap();
        let error = load(&loader, "main", here(&["main"], &["a"])).unwrap_err().to_string();
        assert!(error.starts_with("foreign: ") && error.contains("wasm64"), "{error}");
        load(&loader, "other", here(&["other"], &[])).unwrap();
    }

    #[test]
    fn error_contains_a_long_name_in_full() {
        let loader = loader();
        let name = format!("{}/module.smf", "directory/".repeat(10));
        let error = load(&loader, &name, module(Arch::WASM64, &["a"], &[])).unwrap_err();
        assert!(error.to_string().starts_with(&format!("{name}: ")), "{error}");
    }

    #[test]
    fn files_are_read_once_through_a_cache() {
        let samples = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/samples"));
        let cache = |bytes| {
            let cache = FileCache::new(Capacity { files: 4, bytes }, Options::default()).unwrap();
            TryArc::new(cache).unwrap()
        };
        let (cache, small) = (cache(1 << 20), cache(1));
        let path = samples.join("library.lsm");
        drop(cache.get(path.as_os_str().as_bytes()).unwrap());
        let loader = loader().with_cache(cache.clone());
        for module in ["std/math/scale", "std/math/scale"] {
            let scale = loader.load_module(&path, Some(module)).unwrap();
            assert!(loader.modules().get(scale).unwrap().smf().is_some());
            // The bytes outlive their entry.
            cache.clear();
            assert_eq!(cache.statistics().detached_files, 1);
            loader.modules().unload(scale).unwrap();
        }
        let statistics = cache.statistics();
        assert_eq!((statistics.hits, statistics.misses), (1, 2));
        let error = loader.load_module(Path::new("no/such/file.smf"), None).unwrap_err();
        assert!(matches!(error, LoadFileError::Read { .. }) && cache.statistics().failures == 1);

        let loader = self::loader().with_cache(small.clone());
        loader.load_module(&path, Some("std/math/scale")).unwrap();
        assert_eq!(small.statistics().files, 0);
    }

    /// A report that prints a chain of causes prints each of them once.
    #[test]
    fn cause_of_an_error_is_in_its_text_alone() {
        use std::error::Error;
        let error = loader().load_module(Path::new("no/such/file.smf"), None).unwrap_err();
        assert!(matches!(error, LoadFileError::Read { .. }) && error.source().is_none());
        let foreign = module(Arch::WASM64, &["a"], &[]);
        let error = load(&loader(), "main", foreign).unwrap_err();
        assert!(matches!(error, LoadFileError::Load(_)) && error.source().is_none(), "{error}");
    }

    #[test]
    fn plugin_is_called_inside_catch_unwind() {
        let loader = loader();
        let module = load(&loader, "main", here(&["main"], &[])).unwrap();
        let held = loader.modules().get(module).unwrap();
        let name = std::panic::catch_unwind(|| held.name().to_vec());
        assert_eq!(name.unwrap(), b"main");
    }

    #[test]
    fn missing_file_is_named() {
        let loader = loader();
        let absent = Path::new("no/such/file.smf");
        let error = loader.load_module(absent, None).unwrap_err().to_string();
        assert!(error.starts_with("no/such/file.smf: ") && error.contains("no such"), "{error}");
        // SAFETY: nothing is opened, because the file does not exist.
        assert!(unsafe { loader.register_provider(absent) }.is_err());
    }

    #[test]
    #[cfg(target_arch = "x86_64")]
    fn archived_module_is_loaded_by_name() {
        let samples = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/samples"));
        let archive = samples.join("library.lsm");
        let loader = loader();
        let scale = loader.load_module(&archive, Some("std/math/scale")).unwrap();
        assert!(loader.modules().get(scale).unwrap().function(b"scale").is_some());
        let error = loader.load_module(&archive, Some("nothing")).unwrap_err().to_string();
        assert!(
            error.ends_with("library.lsm: no module called nothing in this archive"),
            "{error}"
        );
        assert!(matches!(
            loader.load_module(&archive, None),
            Err(LoadFileError::Archive { modules: 3, .. })
        ));
        let app = loader.load_module(&samples.join("app.smf"), None).unwrap();
        assert!(loader.modules().unload(scale).is_err());
        loader.modules().unload_all(&[app, scale]).unwrap();
    }

    #[test]
    #[cfg(all(target_arch = "x86_64", feature = "host"))]
    fn dynlib_provides_its_symbols() {
        let samples = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/samples"));
        let loader = loader();
        // SAFETY: the sample has no initialisers and needs no libraries.
        unsafe { loader.register_provider(&samples.join("dynlib.smf")) }.unwrap();
        let user = load(&loader, "user", here(&["user"], &["plugin"])).unwrap();
        let plugin = loader.modules().resolve(b"plugin").unwrap().unwrap();
        let dynlib = plugin.module.unwrap().handle();
        assert!(loader.modules().unload(dynlib).is_err());
        loader.modules().unload_all(&[user, dynlib]).unwrap();
    }

    #[test]
    #[cfg(all(target_arch = "x86_64", feature = "host"))]
    fn load_module_refuses_dynlib_without_opening_it() {
        let samples = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/samples"));
        let loader = loader();
        let error = loader.load_module(&samples.join("dynlib.smf"), None).unwrap_err();
        let LoadFileError::Load(LoadError::Link { error, .. }) = error else {
            panic!("{error}");
        };
        assert_eq!(error, LinkError::Dynlib);
        assert!(loader.modules().resolve(b"plugin").unwrap().is_none());
    }

    #[test]
    #[cfg(feature = "host")]
    fn loader_that_refuses_constructors_opens_no_dynlib() {
        let dynlib = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/samples/dynlib.smf");
        let loader =
            Loader::new(LoaderOptions { refuse_constructors: true, ..LoaderOptions::default() })
                .unwrap();
        // SAFETY: the sample has no initialisers.
        let load = || unsafe { loader.load_file(Path::new(dynlib)) }.err();
        // SAFETY: as above.
        let provide = || unsafe { loader.register_provider(Path::new(dynlib)) }.err();
        for error in [load(), provide()] {
            let Some(LoadFileError::Initialisers { module }) = &error else { panic!("{error:?}") };
            assert_eq!(module, dynlib);
        }
        assert!(loader.modules().resolve(b"plugin").unwrap().is_none());
    }

    #[test]
    fn header_says_how_many_files_are_read_ahead() {
        let program = |prefetch_hint, prefetch_files| {
            let code = NewSection::code(&[0xc3]);
            let header = Header { prefetch_hint, prefetch_files, ..Header::default() };
            let (layout, sections) = (Layout::Native, &[code]);
            let module = NewModule { layout, header, stub: &[], sections, symbols: &[] };
            ModuleBytes::new(module.to_vec().unwrap()).unwrap()
        };
        let with = ["a", "b", "c"];
        for (hint, files, expected) in [
            (0, 0, &[][..]),
            (0, 3, &[]),
            (1, 0, &[]),
            (1, 1, &[]),
            (1, 2, &["b"]),
            (1, 3, &["b", "c"]),
            (1, 255, &["b", "c"]),
        ] {
            assert_eq!(read_ahead_files(&program(hint, files), &with), expected, "{hint} {files}");
        }
        assert!(read_ahead_files(&ModuleBytes::new("no module").unwrap(), &with).is_empty());
        assert!(read_ahead_files(&program(1, 9), &[""; 0]).is_empty());
    }
}
