//! The dependency closure of a module: the module to load and every provider that it needs.
//!
//! All members are mapped before any of them is linked, so they may import from each other in cycles. Lookups do not
//! find them before all are linked; if one cannot be linked, all are dropped.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::cell::{Cell, RefCell};

use super::bytes::{LinkedModule, OwnedExports, ParsedModule, PreparedModule, UnlinkedModule};
use super::error::{LoadError, Result};
use super::fallback::Used;
use super::handle::ModuleHandle;
use super::inner::ModuleLoader;
use super::observer::NamedModule;
use super::options::UnresolvedImport;
use super::provider_index::Provider;
use super::resolvers::Resolvers;
use super::state::Scope;
use super::stub_table::StubTable;
use super::version::{Body, Dependency, ImportedDatum, Version, VersionStubs, check_address};
use crate::alloc_util::sort::sort;
use crate::alloc_util::{AllocError, TryArc, try_collect, try_concat, try_push, try_with_capacity};
use crate::codegen::registry::Phase;
use crate::format::ext::tls;
use crate::format::{Binding, Flags, Smf, Symbol, SymbolKind};
use crate::link::{
    DataSymbol, Export, Libraries, LinkError, Name, Reach, Resolve, TlsBlock, imported_tls,
    missing_imports, runs_code_at_load,
};

/// A mapped module of the set.
struct Member {
    name: Name,
    /// The index of the provider; `None` for the module to load.
    provider: Option<usize>,
    exports: OwnedExports,
    /// The stubs of a reloadable member.
    stubs: Option<TryArc<StubTable>>,
    /// Whether it replaces a version, whose stubs it inherits.
    is_version: bool,
    /// Whether another member accesses its thread-local storage at a fixed offset from the thread pointer.
    has_static_users: Cell<bool>,
    /// Its thread-local storage, once it is allocated.
    tls: Cell<Option<TlsBlock>>,
}

impl Member {
    /// Its name and its file.
    fn smf(&self) -> NamedModule<'_> {
        (&self.name, self.exports.parsed().smf())
    }

    /// The address by which other members use the export called `name`.
    fn stable_address(&self, name: &[u8], export: &Export) -> Result<u64> {
        if export.address == 0 {
            check_address(&self.name, self.exports.refusal(name))?;
        }
        match self.stubs.as_ref().filter(|_| export.kind == SymbolKind::Function) {
            Some(table) if self.is_version => table.next_version_stub(&self.name, name),
            // The new table has one version.
            Some(table) => table.stub(&self.name, name, |_| Some(export.address)),
            None => Ok(export.address),
        }
    }
}

/// The set while it is built.
pub(super) struct LoadSet<'l> {
    loader: &'l ModuleLoader,
    /// The modules that were loaded when the set was started.
    scope: Scope,
    /// Those of the loader when the set was started.
    resolvers: Resolvers,
    /// The module that the first member replaces.
    replaced: Option<ModuleHandle>,
    members: Vec<Member>,
    /// The images of the members, and the libraries that they need.
    images: Vec<(UnlinkedModule, Libraries)>,
    /// The number under which the fallback resolver finds functions of the members.
    number: Option<u64>,
}

impl Drop for LoadSet<'_> {
    fn drop(&mut self) {
        if let Some(number) = self.number {
            self.loader.forward.end_loading(number);
        }
    }
}

impl<'l> LoadSet<'l> {
    pub(super) fn new(
        loader: &'l ModuleLoader,
        scope: Scope,
        replaced: Option<ModuleHandle>,
    ) -> Self {
        let (members, images) = (Vec::new(), Vec::new());
        let resolvers = loader.state().resolvers.clone();
        Self { loader, scope, resolvers, replaced, members, images, number: None }
    }

    /// Whether the modules that are loaded are those when the set was started.
    pub(super) fn is_current(&self) -> bool {
        self.loader.state().scope().is(&self.scope)
    }

    /// Maps a module and every provider that a member needs.
    pub(super) fn map(&mut self, name: Name, parsed: &ParsedModule) -> Result<()> {
        self.map_member(name, None, parsed)?;
        self.map_all_providers()
    }

    /// As [`LoadSet::map`], for a new version of a module with the stubs in `table`. `data` and `refused` are those of
    /// [`ParsedModule::map`].
    pub(super) fn map_version(
        &mut self,
        name: Name,
        parsed: &ParsedModule,
        table: TryArc<StubTable>,
        data: &[DataSymbol<'_>],
        refused: impl Fn(usize) -> LoadError,
    ) -> Result<()> {
        let image = self.map_image(&name, parsed, data, refused)?;
        self.add(name, None, image, Some(table))?;
        self.map_all_providers()
    }

    fn map_all_providers(&mut self) -> Result<()> {
        if self.loader.providers().all().is_empty() {
            return Ok(());
        }
        let mut next = 0;
        while next < self.members.len() {
            self.map_providers(next)?;
            next += 1;
        }
        Ok(())
    }

    fn map_member(
        &mut self,
        name: Name,
        provider: Option<usize>,
        parsed: &ParsedModule,
    ) -> Result<()> {
        let context = &self.loader.context;
        let image = self.map_image(&name, parsed, &[], |_| AllocError.into())?;
        let is_reloadable =
            context.options.reload_unmarked || parsed.smf().header().flags.has(Flags::RELOADABLE);
        let new_table = || {
            let memory = context.options.code_memory.clone();
            TryArc::new(StubTable::new(memory, context.observer.clone())?)
        };
        let stubs = is_reloadable.then(new_table).transpose()?;
        self.add(name, provider, image, stubs)
    }

    /// Maps the image of a member within reach of the loaded modules and host symbols that it addresses by 32-bit
    /// distances, or of the first member if that addresses other members so. Opens the libraries that it needs.
    /// `data` and `refused` are those of [`ParsedModule::map`].
    fn map_image(
        &self,
        name: &Name,
        parsed: &ParsedModule,
        data: &[DataSymbol<'_>],
        refused: impl Fn(usize) -> LoadError,
    ) -> Result<(UnlinkedModule, Libraries)> {
        let _span = self.loader.phase(Phase::Map, name);
        let libraries = self.open_libraries(name, parsed.smf())?;
        let imports = |import: &[u8]| {
            let known = self.find_loaded(import).map(|(_, export)| export);
            let known = known.or_else(|| self.find_first_member(import));
            if let Some(export) = known {
                return Some(export.address);
            }
            // A provider is mapped later, near this image.
            if self.loader.providers().find(import).is_some() {
                return None;
            }
            // Nothing depends on what the fallback resolver uses for it: it is asked again when the import is resolved.
            let resolve = || self.loader.resolve_outside(import, &libraries, &self.resolvers);
            self.loader.fallback_calls.run(self.number, resolve).ok()?.0
        };
        let neighbour = self.images.first().and_then(|(image, _)| image.near_address());
        let reach = Reach { neighbour, imports: &imports };
        let image = parsed.map(name, &self.loader.context, data, &reach, refused)?;
        Ok((image, libraries))
    }

    fn add(
        &mut self,
        name: Name,
        provider: Option<usize>,
        image: (UnlinkedModule, Libraries),
        stubs: Option<TryArc<StubTable>>,
    ) -> Result<()> {
        let refuses = self.loader.context.options.refuse_constructors;
        if refuses && image.0.exports.parsed().linked().is_ok_and(|smf| runs_code_at_load(&smf)) {
            return Err(LoadError::Constructors { module: name });
        }
        let exports = image.0.exports.clone();
        // Nothing else asks for functions of members.
        if self.resolvers.fallback.is_some() {
            let member = member_handle(self.members.len()).slot;
            self.number =
                Some(self.loader.forward.start_loading(self.number, (member, &name), &exports)?);
        }
        let is_version = self.replaced.is_some() && self.members.is_empty();
        if self.members.is_empty() {
            // Most modules need no provider.
            (self.members, self.images) = (try_with_capacity(1)?, try_with_capacity(1)?);
        }
        let (has_static_users, tls) = (Cell::new(false), Cell::new(None));
        let member = Member { name, provider, exports, stubs, is_version, has_static_users, tls };
        try_push(&mut self.members, member)?;
        Ok(try_push(&mut self.images, image)?)
    }

    /// Maps the providers of the imports of a member.
    fn map_providers(&mut self, member: usize) -> Result<()> {
        let Some(Member { exports, .. }) = self.members.get(member) else { return Ok(()) };
        let resolved = |name: &[u8]| {
            let own = exports.find(name);
            let other = own.or_else(|| Some(self.find_loaded(name)?.1));
            other.or_else(|| self.find_first_member(name)).map(|export| export.address)
        };
        let mut needed: Vec<(usize, Provider)> = Vec::new();
        for import in missing_imports(exports.parsed().smf(), &resolved) {
            let Some(found) = self.loader.providers().find(import.name()) else { continue };
            // Imports from one module are often adjacent.
            if needed.last().is_none_or(|last| last.0 != found.0) {
                try_push(&mut needed, found)?;
            }
        }
        for name in tls_names(exports) {
            let name = name?;
            if resolved(&name).is_none()
                && let Some(found) = self.loader.providers().find(&name)
            {
                try_push(&mut needed, found)?;
            }
        }
        for (index, provider) in needed {
            if self.members.iter().any(|member| member.provider == Some(index)) {
                continue;
            }
            if self.members.iter().any(|member| member.name == provider.name) {
                return Err(LoadError::NameTaken { module: provider.name });
            }
            self.map_member(provider.name, Some(index), &provider.parsed)?;
        }
        Ok(())
    }

    /// The loaded module that defines a name: the first with a strong export, else the first with a weak one.
    fn find_loaded(&self, name: &[u8]) -> Option<(&TryArc<Version>, Export)> {
        self.scope.find_except(name, self.replaced)
    }

    fn find_first_member(&self, name: &[u8]) -> Option<Export> {
        self.members.first()?.exports.find(name)
    }

    /// The member that defines a name: the first, else the one of its provider.
    fn find_member(&self, name: &[u8]) -> Option<(usize, Export)> {
        if let Some(export) = self.find_first_member(name) {
            return Some((0, export));
        }
        if self.members.len() == 1 {
            return None;
        }
        let (index, _) = self.loader.providers().find(name)?;
        let at = self.members.iter().position(|member| member.provider == Some(index))?;
        Some((at, self.members.get(at)?.exports.find(name)?))
    }

    /// The other module that defines a name.
    fn find_definer(&self, name: &[u8]) -> Option<(Definer<'_>, Export)> {
        let loaded = self.find_loaded(name);
        let is_strong = loaded.as_ref().is_some_and(|(_, export)| export.is_strong());
        let member = if is_strong { None } else { self.find_member(name) };
        let member = member.filter(|(_, export)| loaded.is_none() || export.is_strong());
        let member = member.map(|(at, export)| (Definer::Member(at), export));
        member.or_else(|| loaded.map(|(version, export)| (Definer::Loaded(version), export)))
    }

    /// Lets the observer compare the imports of every member with their definitions.
    fn check_imports(&self) -> Result<()> {
        let Some(observer) = &self.loader.context.observer else { return Ok(()) };
        let definer = |name: &[u8]| match self.find_definer(name)?.0 {
            Definer::Member(at) => self.members.get(at).map(Member::smf),
            Definer::Loaded(version) => Some((&*version.name, version.body.linked()?.smf())),
        };
        self.members.iter().try_for_each(|member| observer.check_imports(member.smf(), &definer))
    }

    /// Links every member; the results stand for versions that are not committed yet. `unresolved` is called for each
    /// unresolved import of any member.
    pub(super) fn link(
        mut self,
        unresolved: &mut dyn FnMut(&UnresolvedImport<'_>),
    ) -> Result<(Scope, Vec<TryArc<Version>>)> {
        let images = core::mem::take(&mut self.images);
        self.check_imports()?;
        self.find_static_users()?;
        let unresolved = RefCell::new(unresolved);
        let prepared = self.prepare_members(images, &unresolved)?;
        let linked = self.link_members(prepared, &unresolved)?;
        for version in &linked {
            if let Body::Linked(module) = &version.body {
                let resolved = module.resolve_indirect_functions();
                resolved.map_err(|error| LoadError::link(&version.name, error))?;
            }
        }
        Ok((core::mem::take(&mut self.scope), linked))
    }

    /// Resolves the imports of every member. Not inlined, as the following steps: the stack would have the modules of all steps
    /// at once, which are large.
    #[inline(never)]
    fn prepare_members<'s, 'u>(
        &'s self,
        images: Vec<(UnlinkedModule, Libraries)>,
        unresolved: &'s Unresolved<'u>,
    ) -> Result<Vec<(Imports<'s, 'l, 'u>, PreparedModule)>> {
        let mut prepared = try_with_capacity(images.len())?;
        let mut first_unresolved = None;
        for (me, (image, libraries)) in images.into_iter().enumerate() {
            let Some(member) = self.members.get(me) else { break };
            let _span = self.loader.phase(Phase::Resolve, &member.name);
            let imports = Imports::new(self, me, member, unresolved);
            let result = image.prepare(&imports, libraries, member.has_static_users.get());
            match imports.checked(result) {
                Ok(module) => {
                    member.tls.set(module.tls());
                    prepared.push((imports, module));
                }
                // Continues, to report the unresolved imports of the other members too.
                Err(error) if error.has_missing_imports() => {
                    first_unresolved = first_unresolved.or(Some(error));
                }
                Err(error) => return Err(first_unresolved.unwrap_or(error)),
            }
        }
        if let Some(error) = first_unresolved {
            self.report_missing_tls(unresolved)?;
            return Err(error);
        }
        Ok(prepared)
    }

    /// Relocates every member. Not inlined, as [`prepare_members`](Self::prepare_members).
    #[inline(never)]
    fn link_members(
        &self,
        prepared: Vec<(Imports<'_, 'l, '_>, PreparedModule)>,
        unresolved: &Unresolved<'_>,
    ) -> Result<Vec<TryArc<Version>>> {
        let mut linked = try_with_capacity(prepared.len())?;
        for (imports, module) in prepared {
            let _span = self.loader.phase(Phase::Relocate, &imports.member.name);
            let result = module.link(&imports);
            linked.push(self.version(imports, result, unresolved)?);
        }
        Ok(linked)
    }

    /// Reports the thread-local imports of all members that nothing defines, by name.
    #[cold]
    fn report_missing_tls(&self, unresolved: &Unresolved<'_>) -> Result<()> {
        for member in &self.members {
            let parsed = member.exports.parsed();
            let Ok(smf) = parsed.linked() else { continue };
            let imports = imported_tls(&smf);
            let imports = imports.filter_map(|i| Some((i.symbol?, i.value.is_static())));
            let mut imports = try_collect(imports)?;
            sort(&mut imports);
            imports.dedup_by_key(|(symbol, _)| *symbol);
            if imports.is_empty() {
                continue;
            }
            // Those that were open for the functions are closed.
            let libraries = self.open_libraries(&member.name, parsed.smf())?;
            for (symbol, is_static) in imports {
                let is_defined = self.find_definer(&try_concat(&[tls::EXPORT, symbol])?).is_some();
                if !is_defined && libraries.lack_tls(symbol, is_static)? {
                    let import = UnresolvedImport { symbol, module: &member.name };
                    (*unresolved.borrow_mut())(&import);
                }
            }
        }
        Ok(())
    }

    /// Opens the libraries that a member needs.
    fn open_libraries(&self, name: &Name, parsed: &Smf<'_>) -> Result<Libraries> {
        let options = &self.loader.context.options;
        let libraries = Libraries::open(parsed, options.host_services, options.refuse_constructors);
        let mut libraries = libraries.map_err(|error| LoadError::link(name, error))?;
        libraries.search_in(self.loader.state().libraries.clone());
        Ok(libraries)
    }

    /// Marks the members whose thread-local symbols others access at a fixed offset from the thread pointer.
    fn find_static_users(&self) -> Result<()> {
        if self.members.len() == 1 {
            return Ok(());
        }
        for member in &self.members {
            let Ok(smf) = member.exports.parsed().linked() else { continue };
            let imports = imported_tls(&smf).filter(|import| import.value.is_static());
            for symbol in imports.filter_map(|import| import.symbol) {
                let found = self.find_member(&try_concat(&[tls::EXPORT, symbol])?);
                if let Some(exporter) = found.and_then(|(at, _)| self.members.get(at)) {
                    exporter.has_static_users.set(true);
                }
            }
        }
        Ok(())
    }

    /// The version of a member that was linked. Not inlined, as [`prepare_members`](Self::prepare_members).
    #[inline(never)]
    fn version(
        &self,
        imports: Imports<'_, 'l, '_>,
        result: Result<LinkedModule, LinkError>,
        unresolved: &Unresolved<'_>,
    ) -> Result<TryArc<Version>> {
        let module = imports.checked(result);
        if let Err(LoadError::Link { error: LinkError::MissingTls { .. }, .. }) = &module {
            self.report_missing_tls(unresolved)?;
        }
        let module = module?;
        let Imports { member, dependencies, forward_stubs, .. } = imports;
        let uses = (dependencies.into_inner(), forward_stubs.into_inner());
        let registration = match &self.loader.context.observer {
            Some(observer) => module.register(&member.name, &***observer)?,
            None => None,
        };
        let new_table = member.stubs.clone().filter(|_| !member.is_version);
        let stubs = new_table.map(|table| VersionStubs { table, version: 0 });
        let body = (Body::Linked(module), registration);
        let (name, resolvers) = (member.name.clone(), self.resolvers.clone());
        Ok(Version::new(name, member_handle(0), body, uses, stubs, resolvers)?)
    }
}

/// Stands for the member with this index until it is committed.
fn member_handle(member: usize) -> ModuleHandle {
    ModuleHandle::member(u32::try_from(member).unwrap_or(u32::MAX))
}

/// The names of the exports of other modules that may define the thread-local imports of a module.
fn tls_names(exports: &OwnedExports) -> impl Iterator<Item = Result<Box<[u8]>, AllocError>> {
    let smf = exports.parsed().linked().ok().into_iter();
    let symbols = smf.flat_map(|smf| imported_tls(&smf).filter_map(|import| import.symbol));
    symbols.map(|symbol| try_concat(&[tls::EXPORT, symbol]))
}

type Unresolved<'u> = RefCell<&'u mut dyn FnMut(&UnresolvedImport<'_>)>;

/// The resolver of the imports of one member.
struct Imports<'s, 'l, 'u> {
    set: &'s LoadSet<'l>,
    handle: ModuleHandle,
    member: &'s Member,
    dependencies: RefCell<Vec<Dependency>>,
    forward_stubs: RefCell<Vec<Name>>,
    unresolved: &'s Unresolved<'u>,
    /// The error of an import, which the linker cannot represent.
    error: Cell<Option<LoadError>>,
}

/// What defines a symbol.
enum Definer<'s> {
    /// The member with this index.
    Member(usize),
    /// A loaded module.
    Loaded(&'s TryArc<Version>),
}

impl<'s, 'l, 'u> Imports<'s, 'l, 'u> {
    fn new(
        set: &'s LoadSet<'l>,
        me: usize,
        member: &'s Member,
        unresolved: &'s Unresolved<'u>,
    ) -> Self {
        let (dependencies, forward_stubs) = (RefCell::default(), RefCell::default());
        let (handle, error) = (member_handle(me), Cell::new(None));
        Self { set, handle, member, dependencies, forward_stubs, unresolved, error }
    }

    /// The error of an import in place of that of the linker.
    fn checked<T>(&self, result: Result<T, LinkError>) -> Result<T> {
        match self.error.take() {
            Some(error) => Err(error),
            None => result.map_err(|error| LoadError::link(&self.member.name, error)),
        }
    }
}

impl Definer<'_> {
    fn handle(&self) -> ModuleHandle {
        match self {
            Definer::Member(at) => member_handle(*at),
            Definer::Loaded(version) => version.handle,
        }
    }
}

impl Imports<'_, '_, '_> {
    /// Searches the module itself, other modules, the host, and the libraries that the module needs.
    fn find(
        &self,
        import: &Symbol<'_>,
        is_called: bool,
        libraries: &dyn Resolve,
    ) -> Result<Option<u64>> {
        let name = import.name();
        if let Some(export) = self.member.exports.find(name) {
            self.check_kind(import, is_called, &export)?;
            return Ok(Some(export.address));
        }
        let Some((definer, export)) = self.set.find_definer(name) else {
            return self.find_outside(name, libraries);
        };
        self.check_kind(import, is_called, &export)?;
        self.depend_on(definer.handle(), name, &export)?;
        match definer {
            Definer::Member(at) => {
                let Some(exporter) = self.set.members.get(at) else { return Ok(None) };
                exporter.stable_address(name, &export).map(Some)
            }
            Definer::Loaded(version) => {
                self.set.loader.stable_address(version, name, &export).map(Some)
            }
        }
    }

    /// Searches the host and the libraries, then asks the fallback resolver.
    fn find_outside(&self, name: &[u8], libraries: &dyn Resolve) -> Result<Option<u64>> {
        let LoadSet { loader, resolvers, .. } = self.set;
        let known = loader.resolve_in_host(name, resolvers).or_else(|| libraries.resolve(name));
        let resolver = resolvers.fallback.as_ref().filter(|_| known.is_none());
        let Some(resolver) = resolver else { return Ok(known) };
        let (found, used) =
            loader.fallback_calls.run(self.set.number, || resolver.resolve(name))?;
        for used in used {
            match used {
                Used::Export { handle, name, export } => self.depend_on(handle, &name, &export)?,
                Used::Forward(stub) => {
                    try_push(&mut self.forward_stubs.borrow_mut(), stub)?;
                }
            }
        }
        // The resolver may have found the address in a module by other means than `resolve_import`.
        let scope = loader.state().scope();
        let owner = found.and_then(|address| scope.find_address(name, address));
        if let Some((version, export)) = owner {
            self.depend_on(version.handle, name, &export)?;
        }
        Ok(found)
    }

    /// The thread-local symbol `name` of another module. References to it do not follow a reload, as those to data.
    fn find_tls(&self, name: &[u8]) -> Result<Option<TlsBlock>> {
        let name = try_concat(&[tls::EXPORT, name])?;
        let Some((definer, export)) = self.set.find_definer(&name) else { return Ok(None) };
        self.depend_on(definer.handle(), &name, &export)?;
        Ok(match definer {
            Definer::Member(at) => self
                .set
                .members
                .get(at)
                .and_then(|exporter| exporter.exports.tls_symbol(&export, exporter.tls.get()?)),
            Definer::Loaded(version) => {
                version.body.linked().and_then(|module| module.tls_symbol(&export))
            }
        })
    }

    /// Records an error, which [`Imports::checked`] returns instead of the linker's.
    fn set_error(&self, error: LoadError) -> LinkError {
        self.error.set(Some(error));
        AllocError.into()
    }

    fn check_kind(&self, import: &Symbol<'_>, is_called: bool, export: &Export) -> Result<()> {
        if !is_called || !matches!(export.kind, SymbolKind::Data | SymbolKind::Constant) {
            return Ok(());
        }
        let error = |symbol| LinkError::NotAFunction { symbol };
        Err(LoadError::link(&self.member.name, LinkError::named(import.name(), error)))
    }

    fn depend_on(&self, handle: ModuleHandle, name: &[u8], export: &Export) -> Result<()> {
        let is_replaced = self.member.is_version && Some(handle) == self.set.replaced;
        if handle == self.handle || is_replaced {
            return Ok(());
        }
        let is_data = !matches!(export.kind, SymbolKind::Function | SymbolKind::None);
        let name = is_data.then(|| Name::new(name)).transpose()?;
        let datum = name.map(|name| ImportedDatum { name, address: export.address });
        let mut all = self.dependencies.borrow_mut();
        // Imports from one module are often adjacent.
        match all.iter_mut().rev().find(|other| other.handle == handle) {
            Some(other) => datum.map_or(Ok(()), |datum| try_push(&mut other.data, datum))?,
            None => {
                let data = try_collect(datum.into_iter())?;
                try_push(&mut all, Dependency { handle, data })?;
            }
        }
        Ok(())
    }
}

impl Resolve for Imports<'_, '_, '_> {
    fn resolve(&self, _: &[u8]) -> Option<u64> {
        // The linker calls `resolve_import`.
        None
    }

    fn resolve_import(
        &self,
        import: &Symbol<'_>,
        is_called: bool,
        libraries: &dyn Resolve,
    ) -> Result<Option<u64>, LinkError> {
        match self.find(import, is_called, libraries) {
            Ok(None) if import.binding != Binding::Weak => {
                let import = UnresolvedImport { symbol: import.name(), module: &self.member.name };
                (*self.unresolved.borrow_mut())(&import);
                Ok(None)
            }
            Ok(found) => Ok(found),
            Err(error) => Err(self.set_error(error)),
        }
    }

    fn resolve_tls(&self, name: &[u8]) -> Result<Option<TlsBlock>, LinkError> {
        self.find_tls(name).map_err(|error| self.set_error(error))
    }
}
