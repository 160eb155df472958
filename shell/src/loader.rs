//! Modules by path: files, archives and shared objects, through the core's [`ModuleLoader`].
//!
//! The core loads what it is given as bytes. Here is what needs paths and the system: files are read
//! as private copies, so that nothing another process does to them matters afterwards; a dynlib, which
//! is a shared object of the system with a trailer, is given to the system's loader out of such a copy;
//! and whoever profiles or debugs the process is told of every module. Errors name modules in full.
//!
//! Opening a dynlib runs its initialisers, so that the functions that may open one are unsafe.
//! [`Loader::load_module`] and [`Loader::map_module`] refuse dynlibs.
#![allow(unsafe_code)]

use std::alloc::{Layout, handle_alloc_error};
use std::fmt;
use std::ops::Range;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use smf_core::alloc_util::{AllocError, AttachResult, try_box, try_concat};
use smf_core::format::library::is_library;
use smf_core::format::{Library, Smf};
use smf_core::link::{Module, ShortName};
use smf_core::loader::{
    LoadError as CoreError, LoadObserver, LoaderOptions, Missing, ModuleBytes, ModuleHandle,
    ModuleLoader, Placed, Reloaded, StateMigration,
};
use smf_core::memory;

use crate::call::CALL_EPOCHS;
#[cfg(feature = "c-api")]
use crate::code_map::StubEntry;
use crate::files::{self, ReadError};
use crate::jit::name_code;
use crate::registration::Known;
#[cfg(feature = "host")]
use crate::shared_object::{SharedObject, SharedObjectError};

/// Why a module could not be loaded. Names of modules are those the caller gave, or paths.
#[derive(Debug)]
#[non_exhaustive]
pub enum LoadError {
    /// A file that could not be read.
    Read {
        /// Its path.
        path: PathBuf,
        /// Why not.
        error: ReadError,
    },
    /// An archive where one module is wanted.
    Archive {
        /// The archive.
        module: String,
        /// How many modules it has.
        modules: usize,
    },
    /// An archive without the module that is wanted.
    NoSuchModule {
        /// The archive.
        archive: String,
        /// The module.
        module: String,
    },
    /// A module that the core refuses.
    Refused {
        /// The module that the error is about.
        module: String,
        /// Why.
        error: CoreError,
    },
    /// Imports that nobody provides: all of them, in the order in which they appear.
    MissingImports(Vec<MissingImport>),
    /// A dynlib that is damaged, or that the system's loader does not take.
    #[cfg(feature = "host")]
    SharedObject {
        /// The dynlib.
        module: String,
        /// Why not.
        error: SharedObjectError,
    },
}

/// An import that nobody provides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MissingImport {
    /// The name; what is not UTF-8 in it is replaced.
    pub name: String,
    /// The module that wants it.
    pub module: String,
}

impl fmt::Display for MissingImport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` (wanted by {})", self.name, self.module)
    }
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LoadError::Read { path, error } => write!(f, "{}: {error}", path.display()),
            LoadError::Archive { module, modules } => write!(
                f,
                "{module}: a library archive of {modules} modules; name one of them (`smf lib list` shows them, `smf lib extract` takes one out)"
            ),
            LoadError::NoSuchModule { archive, module } => {
                write!(f, "{archive}: no module called {module} in this archive")
            }
            LoadError::Refused { module, error } => match error {
                // Those say the name of the module themselves, but cut.
                CoreError::Format { error, .. } => write!(f, "{module}: {error}"),
                CoreError::Link { error, .. } => write!(f, "{module}: {error}"),
                CoreError::Bytecode { error, .. } => write!(f, "{module}: {error}"),
                CoreError::Entries { error, .. } => write!(f, "{module}: no entry point: {error}"),
                error => error.fmt(f),
            },
            LoadError::MissingImports(imports) => {
                let plural = if imports.len() == 1 { "" } else { "s" };
                write!(f, "nobody provides the import{plural} ")?;
                for (index, import) in imports.iter().enumerate() {
                    let separator = if index == 0 { "" } else { ", " };
                    write!(f, "{separator}{import}")?;
                }
                Ok(())
            }
            #[cfg(feature = "host")]
            LoadError::SharedObject { module, error } => write!(f, "{module}: {error}"),
        }
    }
}

impl std::error::Error for LoadError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            LoadError::Read { error, .. } => Some(error),
            LoadError::Refused { error, .. } => Some(error),
            #[cfg(feature = "host")]
            LoadError::SharedObject { error, .. } => Some(error),
            _ => None,
        }
    }
}

/// Modules by path. Used by reference, from any thread.
#[derive(Debug)]
pub struct Loader {
    modules: ModuleLoader,
    /// The names that were given to modules, for errors, in which the core cuts them.
    names: Mutex<Vec<String>>,
}

/// A module and whatever it needs, placed and not yet linked.
pub struct PlacedFile<'l> {
    loader: &'l Loader,
    name: String,
    state: State<'l>,
}

enum State<'l> {
    Placed(Box<Placed<'l>>),
    /// A dynlib, which the system's loader links at once.
    ModuleRef(ModuleHandle),
}

/// Those of the files that a program is started with that its header says to read ahead: behind the first,
/// which is read at once.
fn wanted_soon<'p, P: AsRef<Path>>(program: &[u8], with: &'p [P]) -> &'p [P] {
    let count = Smf::parse(program).map_or(0, |smf| smf.header().files_to_prefetch());
    let soon = with.get(..count).unwrap_or(with);
    soon.split_first().map_or(&[], |(_, behind)| behind)
}

/// Tells the process of every module, and of what bytecode becomes: `module:function`, and behind that `:entry`
/// for the piece that machine code calls it by.
struct Announce;

impl LoadObserver for Announce {
    fn attach(&self, _: &[u8], module: &Module<'_>) -> AttachResult {
        Ok(Some(try_box(Known::of(module)?)?))
    }

    fn attach_compiled(
        &self,
        module: &[u8],
        function: &[u8],
        code: Range<usize>,
    ) -> Option<Box<dyn Send + Sync>> {
        // What tools are told is done without where there is no memory.
        let names = name_code(&try_concat(&[module, b":", function]).ok()?, &code)?;
        Some(try_box(names).ok()?)
    }

    fn attach_entry(&self, module: &[u8], function: &[u8], code: Range<usize>) -> AttachResult {
        let names = name_code(&try_concat(&[module, b":", function, b":entry"])?, &code);
        #[cfg(feature = "c-api")]
        let names = (StubEntry::enter(code.start)?, names);
        Ok(Some(try_box(names)?))
    }

    #[cfg(feature = "c-api")]
    fn attach_stub(&self, code: Range<usize>) -> AttachResult {
        Ok(Some(try_box(StubEntry::enter(code.start)?)?))
    }
}

impl Default for Loader {
    fn default() -> Self {
        Self::new(LoaderOptions::default())
    }
}

impl Loader {
    /// A loader without modules. Whatever `options` attach to is replaced by what tells tools and the
    /// C API of the modules, and its epochs of calls by [`CALL_EPOCHS`]. Ends the process when there is no memory, which [`try_new`](Self::try_new) does
    /// not.
    pub fn new(options: LoaderOptions) -> Self {
        let made = Self::try_new(options);
        made.unwrap_or_else(|AllocError| handle_alloc_error(Layout::new::<Self>()))
    }

    /// As [`new`](Self::new).
    ///
    /// # Errors
    /// No memory.
    pub fn try_new(options: LoaderOptions) -> Result<Self, AllocError> {
        #[cfg(feature = "jit")]
        crate::stack::keep_bounds();
        let options = LoaderOptions { call_epochs: Some(&CALL_EPOCHS), ..options };
        let modules = ModuleLoader::try_new(options)?.try_attaching(try_box(Announce)?)?;
        Ok(Self { modules, names: Mutex::default() })
    }

    /// The modules themselves.
    pub fn modules(&self) -> &ModuleLoader {
        &self.modules
    }

    /// Loads the file at `path`, `-` for standard input, under its path as the name, and with it
    /// whatever it needs of what was provided.
    ///
    /// # Errors
    /// [`LoadError`]; nothing is loaded then.
    ///
    /// # Safety
    /// As [`map`](Self::map).
    pub unsafe fn load_file(&self, path: &Path) -> Result<ModuleHandle, LoadError> {
        // SAFETY: passed on to the caller.
        unsafe { self.map_file(path) }?.link()
    }

    /// Loads the module at `path`, or the one called `member` of the archive there. A dynlib is refused, and
    /// not opened.
    ///
    /// # Errors
    /// [`LoadError`]; nothing is loaded then.
    pub fn load_module(
        &self,
        path: &Path,
        member: Option<&str>,
    ) -> Result<ModuleHandle, LoadError> {
        let (name, bytes) = match member {
            Some(member) => self.archived(path, member)?,
            None => (path.to_string_lossy().into_owned(), read(path)?),
        };
        self.map_module(&name, bytes)?.link()
    }

    /// The first half of [`load_file`](Self::load_file).
    ///
    /// # Errors
    /// As there, except unresolved imports.
    ///
    /// # Safety
    /// As [`map`](Self::map).
    pub unsafe fn map_file(&self, path: &Path) -> Result<PlacedFile<'_>, LoadError> {
        // SAFETY: passed on to the caller.
        unsafe { self.map(&path.to_string_lossy(), read(path)?) }
    }

    /// Provides the files of `with`, in their order, and places the program at `path`. When its header says
    /// that they are worth reading ahead, the kernel reads as many of them as it says while the first is
    /// waited for.
    ///
    /// # Errors
    /// As [`map_file`](Self::map_file) and [`provide_file`](Self::provide_file).
    ///
    /// # Safety
    /// As [`map`](Self::map).
    pub unsafe fn map_program<P: AsRef<Path>>(
        &self,
        path: &Path,
        with: &[P],
    ) -> Result<PlacedFile<'_>, LoadError> {
        let program = read(path)?;
        for soon in wanted_soon(program.as_slice(), with) {
            // Whether it can be read is found out when it is.
            let _ = memory::read_ahead(soon.as_ref().as_os_str().as_bytes());
        }
        for path in with {
            // SAFETY: passed on to the caller.
            unsafe { self.provide_file(path.as_ref()) }?;
        }
        // SAFETY: as above.
        unsafe { self.map(&path.to_string_lossy(), program) }
    }

    /// Loads the module called `module` out of the archive at `path`, under the name `path(module)`.
    ///
    /// # Errors
    /// [`LoadError`]; nothing is loaded then.
    ///
    /// # Safety
    /// As [`map`](Self::map).
    pub unsafe fn load_archived(
        &self,
        path: &Path,
        module: &str,
    ) -> Result<ModuleHandle, LoadError> {
        let (name, bytes) = self.archived(path, module)?;
        // SAFETY: passed on to the caller.
        unsafe { self.map(&name, bytes) }?.link()
    }

    /// A module of an archive, and the name that it is loaded under.
    fn archived(&self, path: &Path, module: &str) -> Result<(String, ModuleBytes), LoadError> {
        let archive = path.to_string_lossy().into_owned();
        let name = format!("{archive}({module})");
        let refused = |error| {
            let short = ShortName::new(archive.as_bytes());
            self.refused(CoreError::Format { module: short, error })
        };
        match read(path)?.module(module).map_err(refused)? {
            Some(bytes) => Ok((name, bytes)),
            None => Err(LoadError::NoSuchModule { archive, module: module.to_owned() }),
        }
    }

    /// The first half of loading a module under `name`.
    ///
    /// # Errors
    /// [`LoadError`], except unresolved imports.
    ///
    /// # Safety
    /// A dynlib is opened, here or by the system's loader when the module is unloaded, as
    /// [`SharedObject::open`](crate::SharedObject::open) does: the caller trusts its code and initialisers, and
    /// those of the libraries that it names.
    pub unsafe fn map(&self, name: &str, bytes: ModuleBytes) -> Result<PlacedFile<'_>, LoadError> {
        if !is_library(bytes.as_slice()) {
            // SAFETY: passed on to the caller.
            let dynlib = unsafe { self.load_dynlib(name.as_bytes(), &bytes) }?;
            if let Some(handle) = dynlib {
                self.remember(name.to_owned());
                let (name, state) = (name.to_owned(), State::ModuleRef(handle));
                return Ok(PlacedFile { loader: self, name, state });
            }
        }
        self.map_module(name, bytes)
    }

    /// As [`map`](Self::map), but a dynlib is refused, and not opened.
    ///
    /// # Errors
    /// [`LoadError`], except unresolved imports.
    pub fn map_module(&self, name: &str, bytes: ModuleBytes) -> Result<PlacedFile<'_>, LoadError> {
        self.remember(name.to_owned());
        if is_library(bytes.as_slice()) {
            let modules = Library::parse(bytes.as_slice()).map(|library| library.len());
            let module = name.to_owned();
            return Err(match modules {
                Ok(modules) => LoadError::Archive { module, modules },
                Err(error) => {
                    let short = ShortName::new(name.as_bytes());
                    self.refused(CoreError::Format { module: short, error })
                }
            });
        }
        match self.modules.map(name.as_bytes(), bytes) {
            Ok(placed) => {
                let (name, state) = (name.to_owned(), State::Placed(Box::new(placed)));
                Ok(PlacedFile { loader: self, name, state })
            }
            Err(error) => Err(self.refused(error)),
        }
    }

    /// Adds the file at `path`, a module or an archive, to those that are loaded when somebody imports
    /// from them. A dynlib, which does not say what it exports, is loaded at once.
    ///
    /// # Errors
    /// [`LoadError`].
    ///
    /// # Safety
    /// As [`map`](Self::map).
    pub unsafe fn provide_file(&self, path: &Path) -> Result<(), LoadError> {
        let name = path.to_string_lossy().into_owned();
        let bytes = read(path)?;
        self.remember_archive(&name, bytes.as_slice());
        self.remember(name.clone());
        if !is_library(bytes.as_slice()) {
            // SAFETY: passed on to the caller.
            let dynlib = unsafe { self.load_dynlib(name.as_bytes(), &bytes) }?;
            if dynlib.is_some() {
                return Ok(());
            }
        }
        self.modules.register_provider(name.as_bytes(), bytes).map_err(|error| self.refused(error))
    }

    /// Replaces a module by the version that is now at `path`.
    ///
    /// # Errors
    /// [`LoadError`]; the old version is then as it was.
    pub fn reload_file(
        &self,
        module: ModuleHandle,
        path: &Path,
        old_data: StateMigration,
    ) -> Result<Reloaded, LoadError> {
        let bytes = read(path)?;
        let mut missing = Vec::new();
        let mut add = |import: &Missing<'_>| missing.push(MissingImport::of(import));
        let reloaded = self.modules.reload(module, bytes, old_data, &mut add);
        reloaded.map_err(|error| self.not_linked(error, missing))
    }

    fn remember(&self, name: String) {
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        // Only of these would an error show less.
        if name.len() > ShortName::CAPACITY && !names.contains(&name) {
            names.push(name);
        }
    }

    fn remember_archive(&self, archive: &str, bytes: &[u8]) {
        let modules = is_library(bytes).then(|| Library::parse(bytes).ok()).flatten();
        for module in modules.iter().flat_map(Library::modules).flatten() {
            self.remember(format!("{archive}({})", module.name));
        }
    }

    fn refused(&self, error: CoreError) -> LoadError {
        let short = match error {
            CoreError::Format { module, .. }
            | CoreError::Link { module, .. }
            | CoreError::Bytecode { module, .. }
            | CoreError::Entries { module, .. } => module,
            error => return LoadError::Refused { module: String::new(), error },
        };
        let names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        let full = names.iter().find(|name| ShortName::new(name.as_bytes()) == short);
        LoadError::Refused { module: full.cloned().unwrap_or_else(|| short.to_string()), error }
    }

    /// The error of a module that was placed, and what it lacks.
    fn not_linked(&self, error: CoreError, missing: Vec<MissingImport>) -> LoadError {
        let lacks = matches!(
            error,
            CoreError::Link { error: smf_core::link::LinkError::MissingImports { .. }, .. }
        );
        if lacks { LoadError::MissingImports(missing) } else { self.refused(error) }
    }

    /// Gives a dynlib to the system's loader; `None` when it is another kind of a module.
    ///
    /// # Safety
    /// As [`map`](Self::map).
    #[cfg(feature = "host")]
    pub(crate) unsafe fn load_dynlib(
        &self,
        name: &[u8],
        bytes: &ModuleBytes,
    ) -> Result<Option<ModuleHandle>, LoadError> {
        let Some(object) = shared_object_in(bytes) else { return Ok(None) };
        // SAFETY: passed on to the caller.
        unsafe { self.insert_shared_object(name, object) }.map(Some)
    }

    /// # Safety
    /// As [`map`](Self::map).
    #[cfg(feature = "host")]
    #[cold]
    #[inline(never)]
    unsafe fn insert_shared_object(
        &self,
        name: &[u8],
        object: &[u8],
    ) -> Result<ModuleHandle, LoadError> {
        // SAFETY: passed on to the caller.
        let object = unsafe { SharedObject::open(object) }.map_err(|error| {
            let module = String::from_utf8_lossy(name).into_owned();
            LoadError::SharedObject { module, error }
        })?;
        self.modules.insert_foreign(name, Box::new(object)).map_err(|error| self.refused(error))
    }

    /// Without the system's loader the core says what a dynlib is.
    ///
    /// # Safety
    /// Nothing is opened.
    #[cfg(not(feature = "host"))]
    unsafe fn load_dynlib(
        &self,
        _: &[u8],
        _: &ModuleBytes,
    ) -> Result<Option<ModuleHandle>, LoadError> {
        Ok(None)
    }
}

/// The shared object of a dynlib.
#[cfg(feature = "host")]
fn shared_object_in(bytes: &ModuleBytes) -> Option<&[u8]> {
    let smf = Smf::parse(bytes.as_slice()).ok()?;
    smf.shared_object()
}

impl PlacedFile<'_> {
    /// Links the modules and makes them known.
    ///
    /// # Errors
    /// [`LoadError::MissingImports`] with every name that is missing anywhere, and everything else
    /// that the core may say.
    pub fn link(self) -> Result<ModuleHandle, LoadError> {
        let placed = match self.state {
            State::Placed(placed) => placed,
            State::ModuleRef(handle) => return Ok(handle),
        };
        let mut missing = Vec::new();
        let mut add = |import: &Missing<'_>| missing.push(MissingImport::of(import));
        placed.link(&mut add).map_err(|error| self.loader.not_linked(error, missing))
    }

    /// The name of the module that was asked for.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl MissingImport {
    fn of(missing: &Missing<'_>) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Self { name: text(missing.symbol), module: text(missing.module) }
    }
}

fn read(path: &Path) -> Result<ModuleBytes, LoadError> {
    let input = files::read(path);
    input.map(ModuleBytes::new).map_err(|error| LoadError::Read { path: path.to_owned(), error })
}

#[cfg(test)]
mod tests {
    use super::*;
    use smf_core::format::write::{Module as NewModule, NewSection, NewSymbol, Place};
    use smf_core::format::{Arch, Header, Layout};
    use smf_core::link::host_arch;

    /// A module that exports and imports these names; a function is never called here.
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
        ModuleBytes::new(module.to_vec().unwrap())
    }

    fn here(exports: &[&str], imports: &[&str]) -> ModuleBytes {
        module(host_arch(), exports, imports)
    }

    fn load(loader: &Loader, name: &str, bytes: ModuleBytes) -> Result<ModuleHandle, LoadError> {
        loader.map_module(name, bytes)?.link()
    }

    #[test]
    fn every_missing_name_is_listed_with_who_wants_it() {
        let loader = Loader::default();
        loader.modules().register_provider(b"a", here(&["a"], &["x", "z"])).unwrap();
        let result = load(&loader, "main", here(&["main"], &["x", "a", "y"]));
        let expected = "nobody provides the imports `x` (wanted by main), `y` (wanted by main), \
                        `x` (wanted by a), `z` (wanted by a)";
        assert_eq!(result.unwrap_err().to_string(), expected);
    }

    #[test]
    fn a_module_for_another_machine_matters_only_when_it_is_wanted() {
        let loader = Loader::default();
        loader.modules().register_provider(b"foreign", module(Arch::WASM64, &["a"], &[])).unwrap();
        let error = load(&loader, "main", here(&["main"], &["a"])).unwrap_err().to_string();
        assert!(error.starts_with("foreign: ") && error.contains("wasm64"), "{error}");
        load(&loader, "other", here(&["other"], &[])).unwrap();
    }

    #[test]
    fn long_names_are_told_in_full() {
        let loader = Loader::default();
        let name = format!("{}/module.smf", "directory/".repeat(10));
        let error = load(&loader, &name, module(Arch::WASM64, &["a"], &[])).unwrap_err();
        assert!(error.to_string().starts_with(&format!("{name}: ")), "{error}");
    }

    #[test]
    fn a_file_that_is_not_there_is_named() {
        let loader = Loader::default();
        let absent = Path::new("no/such/file.smf");
        let error = loader.load_module(absent, None).unwrap_err().to_string();
        assert!(error.starts_with("no/such/file.smf: ") && error.contains("no such"), "{error}");
        // SAFETY: nothing is opened, because no file is there.
        assert!(unsafe { loader.provide_file(absent) }.is_err());
    }

    #[test]
    #[cfg(target_arch = "x86_64")]
    fn modules_come_out_of_archives_by_name() {
        let samples = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/samples"));
        let archive = samples.join("library.lsm");
        let loader = Loader::default();
        let scale = loader.load_module(&archive, Some("std/math/scale")).unwrap();
        assert!(loader.modules().get(scale).unwrap().function(b"scale").is_some());
        let error = loader.load_module(&archive, Some("nothing")).unwrap_err().to_string();
        assert!(
            error.ends_with("library.lsm: no module called nothing in this archive"),
            "{error}"
        );
        assert!(matches!(
            loader.load_module(&archive, None),
            Err(LoadError::Archive { modules: 3, .. })
        ));
        let app = loader.load_module(&samples.join("app.smf"), None).unwrap();
        assert!(loader.modules().unload(scale).is_err());
        loader.modules().unload_all(&[app, scale]).unwrap();
    }

    #[test]
    #[cfg(all(target_arch = "x86_64", feature = "host"))]
    fn a_dynlib_is_loaded_by_the_system_and_provides_its_symbols() {
        let samples = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/samples"));
        let loader = Loader::default();
        // SAFETY: the sample has no initialisers and needs no libraries.
        unsafe { loader.provide_file(&samples.join("dynlib.smf")) }.unwrap();
        let user = load(&loader, "user", here(&["user"], &["plugin"])).unwrap();
        let plugin = loader.modules().resolve(b"plugin").unwrap().unwrap();
        let dynlib = plugin.module.unwrap().handle();
        assert!(loader.modules().unload(dynlib).is_err());
        loader.modules().unload_all(&[user, dynlib]).unwrap();
    }

    #[test]
    #[cfg(all(target_arch = "x86_64", feature = "host"))]
    fn load_module_refuses_a_dynlib_without_opening_it() {
        let samples = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/samples"));
        let loader = Loader::default();
        let error = loader.load_module(&samples.join("dynlib.smf"), None).unwrap_err();
        let LoadError::Refused { error: CoreError::Link { error, .. }, .. } = error else {
            panic!("{error}");
        };
        assert_eq!(error, smf_core::link::LinkError::Dynlib);
        assert!(loader.modules().resolve(b"plugin").unwrap().is_none());
    }

    #[test]
    fn as_many_files_are_read_ahead_as_the_header_says() {
        let program = |prefetch_hint, prefetch_files| {
            let code = NewSection::code(&[0xc3]);
            let header = Header { prefetch_hint, prefetch_files, ..Header::default() };
            let (layout, sections) = (Layout::Native, &[code]);
            let module = NewModule { layout, header, stub: &[], sections, symbols: &[] };
            module.to_vec().unwrap()
        };
        let with = ["a", "b", "c"];
        for (hint, files, soon) in [
            (0, 0, &[][..]),
            (0, 3, &[]),
            (1, 0, &[]),
            (1, 1, &[]),
            (1, 2, &["b"]),
            (1, 3, &["b", "c"]),
            (1, 255, &["b", "c"]),
        ] {
            assert_eq!(wanted_soon(&program(hint, files), &with), soon, "{hint} {files}");
        }
        assert!(wanted_soon(b"no module", &with).is_empty());
        assert!(wanted_soon(&program(1, 9), &[""; 0]).is_empty());
    }
}
