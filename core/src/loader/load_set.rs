//! The dependency closure of a module: the module to load and every provider that it needs.
//!
//! All members are mapped before any of them is linked, so they may import from each other in cycles. Lookups do not
//! find them before all are linked; if one cannot be linked, all are dropped.

use alloc::vec::Vec;
use core::cell::{Cell, RefCell};

use super::bytes::{LinkedModule, OwnedExports, ParsedModule, ReplaceError, UnlinkedModule};
use super::error::{LoadError, Result};
use super::handle::ModuleHandle;
use super::inner::Inner;
use super::observer::Registration;
use super::options::UnresolvedImport;
use super::provider_index::Provider;
use super::state::Scope;
use super::stub_table::StubTable;
use super::version::{Dependency, ImportedDatum, Version, VersionStubs, check_address};
use crate::alloc_util::{
    AllocError, SharedBytes, TryArc, try_collect, try_push, try_with_capacity,
};
use crate::format::{Binding, Flags, Symbol, SymbolKind};
use crate::link::{DataSymbol, Export, LinkError, Name, Resolve, missing_imports};

/// A mapped module of the set.
struct Member {
    name: SharedBytes,
    /// The index of the provider; `None` for the module to load.
    provider: Option<usize>,
    exports: OwnedExports,
    /// The stubs of a reloadable member.
    stubs: Option<TryArc<StubTable>>,
    /// Whether it replaces a version, whose stubs it inherits.
    is_version: bool,
    parsed: ParsedModule,
}

impl Member {
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

/// A linked member and its dependencies.
pub(super) struct LinkedMember {
    pub(super) name: SharedBytes,
    /// Dropped before the module.
    pub(super) registration: Registration,
    pub(super) module: LinkedModule,
    /// Only of a new module.
    pub(super) stubs: Option<VersionStubs>,
    pub(super) dependencies: Vec<PendingDependency>,
    /// Older versions whose memory holds data of this one.
    pub(super) data_owners: Vec<TryArc<Version>>,
}

/// The module that defines an import: a loaded one, or the member with this index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Exporter {
    Loaded(ModuleHandle),
    Member(usize),
}

/// A [`Dependency`] of a member, before members have handles.
#[derive(Debug)]
pub(super) struct PendingDependency {
    pub(super) exporter: Exporter,
    pub(super) data: Vec<ImportedDatum>,
}

impl PendingDependency {
    /// The dependency, given the handles of the members.
    pub(super) fn resolve(self, members: &[ModuleHandle]) -> Option<Dependency> {
        let handle = match self.exporter {
            Exporter::Loaded(handle) => handle,
            Exporter::Member(member) => *members.get(member)?,
        };
        Some(Dependency { handle, data: self.data })
    }
}

/// The set while it is built.
pub(super) struct LoadSet<'l> {
    loader: &'l Inner,
    /// The modules that were loaded when the set was started.
    scope: Scope,
    /// The module that the first member replaces.
    replaced: Option<ModuleHandle>,
    members: Vec<Member>,
    images: Vec<UnlinkedModule>,
}

impl<'l> LoadSet<'l> {
    pub(super) fn new(loader: &'l Inner, scope: Scope, replaced: Option<ModuleHandle>) -> Self {
        Self { loader, scope, replaced, members: Vec::new(), images: Vec::new() }
    }

    /// Maps a module and every provider that a member needs.
    pub(super) fn map(&mut self, name: SharedBytes, parsed: ParsedModule) -> Result<()> {
        self.map_member(name, None, parsed)?;
        self.map_all_providers()
    }

    /// As [`LoadSet::map`], for a new version of a module with the stubs in `table`. `data` stays in the memory of the
    /// old version.
    pub(super) fn map_version(
        &mut self,
        name: SharedBytes,
        parsed: ParsedModule,
        table: TryArc<StubTable>,
        data: &[DataSymbol<'_>],
    ) -> Result<(), ReplaceError> {
        let image = parsed.map_preserving(&name, &self.loader.context, data)?;
        self.add(name, None, parsed, image, Some(table)).map_err(ReplaceError::Load)?;
        self.map_all_providers().map_err(ReplaceError::Load)
    }

    fn map_all_providers(&mut self) -> Result<()> {
        if self.loader.providers().is_empty() {
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
        name: SharedBytes,
        provider: Option<usize>,
        parsed: ParsedModule,
    ) -> Result<()> {
        let context = &self.loader.context;
        let image = parsed.map(&name, context)?;
        let is_reloadable =
            context.options.reload_unmarked || parsed.smf().header().flags.has(Flags::RELOADABLE);
        let new_table = || {
            let memory = context.options.code_memory.clone();
            TryArc::new(StubTable::new(memory, context.observer.clone())?)
        };
        let stubs = is_reloadable.then(new_table).transpose()?;
        self.add(name, provider, parsed, image, stubs)
    }

    fn add(
        &mut self,
        name: SharedBytes,
        provider: Option<usize>,
        parsed: ParsedModule,
        image: UnlinkedModule,
        stubs: Option<TryArc<StubTable>>,
    ) -> Result<()> {
        let exports = image.exports();
        let is_version = self.replaced.is_some() && self.members.is_empty();
        let member = Member { name, provider, exports, stubs, is_version, parsed };
        try_push(&mut self.members, member)?;
        Ok(try_push(&mut self.images, image)?)
    }

    /// Maps the providers of the imports of a member.
    fn map_providers(&mut self, member: usize) -> Result<()> {
        let Some(parsed) = self.members.get(member).map(|member| member.parsed.clone()) else {
            return Ok(());
        };
        let resolved = |name: &[u8]| {
            let own = self.members.get(member).and_then(|member| member.exports.find(name));
            let other = own.or_else(|| Some(self.find_loaded(name)?.1));
            other.or_else(|| self.find_first_member(name)).map(|export| export.address)
        };
        let mut needed: Vec<(usize, Provider)> = Vec::new();
        for import in missing_imports(parsed.smf(), &resolved) {
            let Some(found) = self.loader.providers().find(import.name())? else { continue };
            // Imports from one module are often adjacent.
            if needed.last().is_none_or(|last| last.0 != found.0) {
                try_push(&mut needed, found)?;
            }
        }
        for (index, provider) in needed {
            if self.members.iter().any(|member| member.provider == Some(index)) {
                continue;
            }
            if self.members.iter().any(|member| member.name == provider.name) {
                return Err(LoadError::NameTaken { module: Name::from(&provider.name) });
            }
            self.map_member(provider.name, Some(index), provider.parsed)?;
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
    fn find_member(&self, name: &[u8]) -> Result<Option<(usize, Export)>> {
        if let Some(export) = self.find_first_member(name) {
            return Ok(Some((0, export)));
        }
        if self.members.len() == 1 {
            return Ok(None);
        }
        let Some((index, _)) = self.loader.providers().find(name)? else { return Ok(None) };
        let member = self.members.iter().position(|member| member.provider == Some(index));
        Ok(member.and_then(|at| Some((at, self.members.get(at)?.exports.find(name)?))))
    }

    /// Links every member. `unresolved` is called for each unresolved import of any member.
    pub(super) fn link(
        mut self,
        unresolved: &mut dyn FnMut(&UnresolvedImport<'_>),
    ) -> Result<(Scope, Vec<LinkedMember>)> {
        let images = core::mem::take(&mut self.images);
        let mut linked = try_with_capacity(images.len())?;
        let mut first_unresolved = None;
        for (me, image) in images.into_iter().enumerate() {
            let Some(member) = self.members.get(me) else { break };
            let imports = Imports {
                set: &self,
                me,
                member,
                dependencies: RefCell::new(Vec::new()),
                unresolved: RefCell::new(&mut *unresolved),
                error: Cell::new(None),
            };
            let result = image.link(&imports);
            if let Some(error) = imports.error.take() {
                return Err(error);
            }
            let dependencies = imports.dependencies.into_inner();
            let failed = |error| LoadError::link(&member.name, error);
            match result {
                Ok(module) => linked.push(self.linked_member(member, module, dependencies)?),
                // Continues, to report the unresolved imports of the other members too.
                Err(error @ LinkError::MissingImports { .. }) => {
                    first_unresolved = first_unresolved.or(Some(failed(error)));
                }
                Err(error) => return Err(first_unresolved.unwrap_or_else(|| failed(error))),
            }
        }
        first_unresolved.map_or(Ok((self.scope, linked)), Err)
    }

    fn linked_member(
        &self,
        member: &Member,
        module: LinkedModule,
        dependencies: Vec<PendingDependency>,
    ) -> Result<LinkedMember, AllocError> {
        let name = member.name.clone();
        let registration = match &self.loader.context.observer {
            Some(observer) => module.register(&name, &***observer)?,
            None => None,
        };
        let new_table = member.stubs.clone().filter(|_| !member.is_version);
        let stubs = new_table.map(|table| VersionStubs { table, version: 0 });
        let data_owners = Vec::new();
        Ok(LinkedMember { name, registration, module, stubs, dependencies, data_owners })
    }
}

/// The resolver of the imports of one member.
struct Imports<'s, 'l, 'u> {
    set: &'s LoadSet<'l>,
    me: usize,
    member: &'s Member,
    dependencies: RefCell<Vec<PendingDependency>>,
    unresolved: RefCell<&'u mut dyn FnMut(&UnresolvedImport<'_>)>,
    /// An error that the linker cannot represent.
    error: Cell<Option<LoadError>>,
}

impl Imports<'_, '_, '_> {
    /// Searches the module itself, other modules, and the host.
    fn find(&self, import: &Symbol<'_>, is_called: bool) -> Result<Option<u64>, ImportError> {
        let name = import.name();
        if let Some(export) = self.member.exports.find(name) {
            check_kind(import, is_called, &export)?;
            return Ok(Some(export.address));
        }
        let loaded = self.set.find_loaded(name);
        let is_strong = loaded.as_ref().is_some_and(|(_, export)| export.is_strong());
        let member = if is_strong { None } else { self.set.find_member(name)? };
        let member = member.filter(|(_, export)| loaded.is_none() || export.is_strong());
        if let Some((at, export)) = member {
            check_kind(import, is_called, &export)?;
            self.depend_on(Exporter::Member(at), name, &export)?;
            let Some(exporter) = self.set.members.get(at) else { return Ok(None) };
            return Ok(Some(exporter.stable_address(name, &export)?));
        }
        if let Some((version, export)) = loaded {
            check_kind(import, is_called, &export)?;
            self.depend_on(Exporter::Loaded(version.handle), name, &export)?;
            return Ok(Some(self.set.loader.stable_address(version, name, &export)?));
        }
        Ok(self.set.loader.resolve_outside(name))
    }

    fn depend_on(&self, exporter: Exporter, name: &[u8], export: &Export) -> Result<()> {
        if exporter == Exporter::Member(self.me) {
            return Ok(());
        }
        let is_data = !matches!(export.kind, SymbolKind::Function | SymbolKind::None);
        let name = is_data.then(|| SharedBytes::copy_of(name)).transpose()?;
        let datum = name.map(|name| ImportedDatum { name, address: export.address });
        let mut all = self.dependencies.borrow_mut();
        // Imports from one module are often adjacent.
        match all.iter_mut().rev().find(|other| other.exporter == exporter) {
            Some(other) => datum.map_or(Ok(()), |datum| try_push(&mut other.data, datum))?,
            None => {
                let data = try_collect(datum.into_iter())?;
                try_push(&mut all, PendingDependency { exporter, data })?;
            }
        }
        Ok(())
    }
}

/// Why an import cannot be resolved.
enum ImportError {
    Link(LinkError),
    Load(LoadError),
}

impl From<LoadError> for ImportError {
    fn from(error: LoadError) -> Self {
        ImportError::Load(error)
    }
}

fn check_kind(import: &Symbol<'_>, is_called: bool, export: &Export) -> Result<(), ImportError> {
    let is_data = matches!(export.kind, SymbolKind::Data | SymbolKind::Constant);
    if is_called && is_data {
        let error = |symbol| LinkError::NotAFunction { symbol };
        return Err(ImportError::Link(LinkError::named(import.name(), error)));
    }
    Ok(())
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
    ) -> Result<Option<u64>, LinkError> {
        match self.find(import, is_called) {
            Ok(None) if import.binding != Binding::Weak => {
                let import = UnresolvedImport { symbol: import.name(), module: &self.member.name };
                (*self.unresolved.borrow_mut())(&import);
                Ok(None)
            }
            Ok(found) => Ok(found),
            Err(ImportError::Link(error)) => Err(error),
            Err(ImportError::Load(error)) => {
                // `LoadSet::link` returns it instead of the linker's error.
                self.error.set(Some(error));
                Err(AllocError.into())
            }
        }
    }
}
