//! Modules that are loaded together: one that was asked for, and those that it turns out to need.
//!
//! All are placed before any is linked, so that they may import from each other in circles. Until the
//! last is linked nobody else knows of them; when one cannot be linked, all of them are gone.

use alloc::vec::Vec;
use core::cell::{Cell, RefCell};

use super::Missing;
use super::bytes::{LinkedModule, OwnedExports, PlacedModule, ReadModule};
use super::module_loader::ModuleLoader;
use super::provider_index::Candidate;
use super::state::Scope;
use super::stub_table::StubTable;
use super::version::{Attached, Datum, EntryPoints, Need, Version};
use super::{BytecodeError, LoadError, ModuleHandle};
use crate::alloc_util::{AllocError, SharedBytes, TryArc, try_collect, try_push};
use crate::format::{Binding, Flags, Symbol, SymbolKind};
use crate::link::{Export, LinkError, Resolve, ShortName, StateMigration, missing_imports};

/// A module that has been placed.
struct Member {
    name: SharedBytes,
    /// The candidate it was made of; `None` for the one that was asked for.
    candidate: Option<usize>,
    exports: OwnedExports,
    entries: Option<MemberEntries>,
    read: ReadModule,
}

/// How others call a member.
#[derive(Clone)]
enum MemberEntries {
    /// Through stubs of its own.
    New(TryArc<StubTable>),
    /// Through those of the version that it replaces.
    Inherited(TryArc<StubTable>),
}

impl Member {
    /// The address under which other members use what it exports as `name`.
    fn address_for_others(&self, name: &[u8], export: &Export) -> Result<u64, LoadError> {
        if export.address == 0 {
            refuse(&self.name, self.exports.refusal(name))?;
        }
        let stub = match &self.entries {
            Some(MemberEntries::New(entries)) if export.kind == SymbolKind::Function => {
                // Nobody else knows of it yet.
                entries.stub(name, |_| Some(export.address))
            }
            Some(MemberEntries::Inherited(entries)) if export.kind == SymbolKind::Function => {
                entries.coming_stub(name)
            }
            _ => Ok(export.address),
        };
        stub.map_err(|refusal| refusal.of(&self.name))
    }
}

/// A module that has been linked, and what it refers to.
pub(super) struct LinkedMember {
    pub(super) name: SharedBytes,
    /// Dropped before the module.
    pub(super) attached: Attached,
    pub(super) module: LinkedModule,
    /// Of one that is new.
    pub(super) entries: Option<EntryPoints>,
    pub(super) needs: Vec<LoadSetNeed>,
    /// Older versions of it that have data of it.
    pub(super) keeps: Vec<TryArc<Version>>,
}

/// Another module, loaded before or a member of the same group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Provider {
    ModuleRef(ModuleHandle),
    Member(usize),
}

#[derive(Debug)]
pub(super) struct LoadSetNeed {
    pub(super) provider: Provider,
    pub(super) data: Vec<Datum>,
}

impl LoadSetNeed {
    /// The need, when the members have these handles.
    pub(super) fn resolved(self, members: &[ModuleHandle]) -> Option<Need> {
        let handle = match self.provider {
            Provider::ModuleRef(handle) => handle,
            Provider::Member(member) => *members.get(member)?,
        };
        Some(Need { handle, data: self.data })
    }
}

/// Where names of the group are looked up outside of it.
pub(super) struct LoadSet<'l> {
    loader: &'l ModuleLoader,
    /// The modules that were there at the begin.
    scope: Scope,
    /// Whose place the first member takes.
    replaced: Option<ModuleHandle>,
    members: Vec<Member>,
    images: Vec<PlacedModule>,
}

impl<'l> LoadSet<'l> {
    pub(super) fn new(
        loader: &'l ModuleLoader,
        scope: Scope,
        replaced: Option<ModuleHandle>,
    ) -> Self {
        Self { loader, scope, replaced, members: Vec::new(), images: Vec::new() }
    }

    /// Places a module and every candidate that it or one of those needs.
    pub(super) fn place(&mut self, name: SharedBytes, read: ReadModule) -> Result<(), LoadError> {
        self.place_one(name, None, read)?;
        self.place_needed()
    }

    /// As [`LoadSet::place`], of a new version: it is called through `entries`, and the data in `kept` stays
    /// where the old version has it.
    pub(super) fn place_version(
        &mut self,
        name: SharedBytes,
        read: ReadModule,
        entries: TryArc<StubTable>,
        kept: &[StateMigration<'_>],
    ) -> Result<(), ReplaceError> {
        let image = read.place_keeping(&name, self.loader, kept)?;
        let entries = Some(MemberEntries::Inherited(entries));
        self.add(name, None, read, image, entries).map_err(ReplaceError::Load)?;
        self.place_needed().map_err(ReplaceError::Load)
    }

    fn place_needed(&mut self) -> Result<(), LoadError> {
        if self.loader.candidates().is_empty() {
            return Ok(());
        }
        let mut next = 0;
        while next < self.members.len() {
            self.place_providers(next)?;
            next += 1;
        }
        Ok(())
    }

    fn place_one(
        &mut self,
        name: SharedBytes,
        candidate: Option<usize>,
        read: ReadModule,
    ) -> Result<(), LoadError> {
        let image = read.place(&name, self.loader)?;
        let may_be_replaced = self.loader.options().reload_unmarked
            || read.smf().header().flags.has(Flags::RELOADABLE);
        let entries = may_be_replaced.then(|| self.loader.new_entries()).transpose()?;
        self.add(name, candidate, read, image, entries.map(MemberEntries::New))
    }

    fn add(
        &mut self,
        name: SharedBytes,
        candidate: Option<usize>,
        read: ReadModule,
        image: PlacedModule,
        entries: Option<MemberEntries>,
    ) -> Result<(), LoadError> {
        let exports = image.exports();
        try_push(&mut self.members, Member { name, candidate, exports, entries, read })?;
        Ok(try_push(&mut self.images, image)?)
    }

    /// Places the candidates that export what a member imports.
    #[inline(never)]
    fn place_providers(&mut self, member: usize) -> Result<(), LoadError> {
        let Some(read) = self.members.get(member).map(|member| member.read.clone()) else {
            return Ok(());
        };
        let known = |name: &[u8]| {
            let own = self.members.get(member).and_then(|member| member.exports.find(name));
            let other = own.or_else(|| Some(self.find_loaded(name)?.1));
            other.or_else(|| self.find_first_member(name)).map(|export| export.address)
        };
        let mut wanted: Vec<(usize, Candidate)> = Vec::new();
        for import in missing_imports(read.smf(), &known) {
            let Some(found) = self.loader.candidates().find(import.name())? else { continue };
            // Imports of one module often stand together.
            if wanted.last().is_none_or(|last| last.0 != found.0) {
                try_push(&mut wanted, found)?;
            }
        }
        for (number, candidate) in wanted {
            if self.members.iter().all(|member| member.candidate != Some(number)) {
                if self.members.iter().any(|member| member.name == candidate.name) {
                    return Err(LoadError::NameTaken { module: ShortName::new(&candidate.name) });
                }
                self.place_one(candidate.name, Some(number), candidate.read)?;
            }
        }
        Ok(())
    }

    /// The module that provides a name among those that were there: the first that exports it for
    /// certain, else the first that does weakly.
    fn find_loaded(&self, name: &[u8]) -> Option<(&TryArc<Version>, Export)> {
        self.scope.find_except(name, self.replaced)
    }

    fn find_first_member(&self, name: &[u8]) -> Option<Export> {
        self.members.first()?.exports.find(name)
    }

    /// The member that provides a name: the first, else the one of the candidate.
    fn find_member(&self, name: &[u8]) -> Result<Option<(usize, Export)>, LoadError> {
        if let Some(export) = self.find_first_member(name) {
            return Ok(Some((0, export)));
        }
        if self.members.len() == 1 {
            return Ok(None);
        }
        let Some((number, _)) = self.loader.candidates().find(name)? else { return Ok(None) };
        let place = self.members.iter().position(|member| member.candidate == Some(number));
        Ok(place.and_then(|place| Some((place, self.members.get(place)?.exports.find(name)?))))
    }

    /// Links every member.
    pub(super) fn link(
        mut self,
        missing: &mut dyn FnMut(&Missing<'_>),
    ) -> Result<(Scope, Vec<LinkedMember>), LoadError> {
        let images = core::mem::take(&mut self.images);
        let mut linked = Vec::new();
        linked.try_reserve_exact(images.len()).map_err(|_| LoadError::OutOfMemory)?;
        let mut lacks = None;
        for (me, image) in images.into_iter().enumerate() {
            let Some(member) = self.members.get(me) else { break };
            let imports = Imports {
                group: &self,
                me,
                member,
                needs: RefCell::new(Vec::new()),
                missing: RefCell::new(&mut *missing),
                refusal: Cell::new(None),
            };
            let result = image.link(&imports);
            let (needs, refusal) = (imports.needs.into_inner(), imports.refusal.get());
            match (result, refusal) {
                (_, Some(refusal)) => return Err(refusal),
                (Ok(module), None) => linked.push(self.finish(member, module, needs)?),
                // Those of the others are wanted as well.
                (Err(error @ LinkError::MissingImports { .. }), None) => {
                    lacks = lacks.or(Some(link_error(&member.name, error)));
                }
                (Err(error), None) => return Err(lacks.unwrap_or(link_error(&member.name, error))),
            }
        }
        match lacks {
            Some(error) => Err(error),
            None => Ok((self.scope, linked)),
        }
    }

    fn finish(
        &self,
        member: &Member,
        module: LinkedModule,
        needs: Vec<LoadSetNeed>,
    ) -> Result<LinkedMember, AllocError> {
        let name = member.name.clone();
        let attach = self.loader.attach();
        let attached = attach.map_or(Ok(None), |attach| module.attach(&name, &**attach))?;
        let entries = match &member.entries {
            Some(MemberEntries::New(entries)) => {
                Some(EntryPoints { entries: entries.clone(), version: 0 })
            }
            _ => None,
        };
        Ok(LinkedMember { name, attached, module, entries, needs, keeps: Vec::new() })
    }
}

/// Why a new version cannot take the place of an old one.
#[derive(Debug)]
pub(super) enum ReplaceError {
    /// The datum with this index cannot stay where the old version has it.
    Datum(usize),
    Load(LoadError),
}

/// The error of a function of `module` that has no address for this reason, if there is one.
pub(super) fn refuse(module: &[u8], refusal: Option<BytecodeError>) -> Result<(), LoadError> {
    let module = ShortName::new(module);
    refusal.map_or(Ok(()), |error| Err(LoadError::Bytecode { module, error }))
}

#[cold]
#[inline(never)]
pub(super) fn link_error(module: &[u8], error: LinkError) -> LoadError {
    let module = ShortName::new(module);
    match error {
        LinkError::Format(error) => LoadError::Format { module, error },
        error => LoadError::Link { module, error },
    }
}

/// What the imports of one member mean.
struct Imports<'g, 'l, 'm> {
    group: &'g LoadSet<'l>,
    me: usize,
    member: &'g Member,
    needs: RefCell<Vec<LoadSetNeed>>,
    missing: RefCell<&'m mut dyn FnMut(&Missing<'_>)>,
    /// An error that is not the linker's.
    refusal: Cell<Option<LoadError>>,
}

impl Imports<'_, '_, '_> {
    /// The module itself, other modules, the host, and at last whoever is asked when all else fails.
    fn find(&self, import: &Symbol<'_>, is_called: bool) -> Result<Option<u64>, Refused> {
        let name = import.name();
        if let Some(export) = self.member.exports.find(name) {
            check_kind(import, is_called, &export)?;
            return Ok(Some(export.address));
        }
        let loaded = self.group.find_loaded(name);
        let certain = loaded.as_ref().is_some_and(|(_, export)| export.binding != Binding::Weak);
        let member = if certain { None } else { self.group.find_member(name)? };
        let member =
            member.filter(|(_, export)| loaded.is_none() || export.binding != Binding::Weak);
        if let Some((place, export)) = member {
            check_kind(import, is_called, &export)?;
            self.need(Provider::Member(place), name, &export)?;
            let Some(provider) = self.group.members.get(place) else { return Ok(None) };
            return Ok(Some(provider.address_for_others(name, &export)?));
        }
        if let Some((version, export)) = loaded {
            check_kind(import, is_called, &export)?;
            self.need(Provider::ModuleRef(version.handle), name, &export)?;
            return Ok(Some(version.address_for_others(self.group.loader, name, &export)?));
        }
        Ok(self.group.loader.resolve_outside(name))
    }

    fn need(&self, provider: Provider, name: &[u8], export: &Export) -> Result<(), LoadError> {
        if provider == Provider::Member(self.me) {
            return Ok(());
        }
        let is_data = !matches!(export.kind, SymbolKind::Function | SymbolKind::None);
        let name = is_data.then(|| SharedBytes::copy_of(name)).transpose()?;
        let datum = name.map(|name| Datum { name, address: export.address });
        let mut needs = self.needs.borrow_mut();
        // Imports of one module often stand together.
        match needs.iter_mut().rev().find(|need| need.provider == provider) {
            Some(need) => datum.map_or(Ok(()), |datum| try_push(&mut need.data, datum))?,
            None => try_push(
                &mut needs,
                LoadSetNeed { provider, data: try_collect(datum.into_iter())? },
            )?,
        }
        Ok(())
    }
}

/// Either kind of error.
enum Refused {
    Link(LinkError),
    Load(LoadError),
}

impl From<LoadError> for Refused {
    fn from(error: LoadError) -> Self {
        Refused::Load(error)
    }
}

fn check_kind(import: &Symbol<'_>, is_called: bool, export: &Export) -> Result<(), Refused> {
    let is_data = matches!(export.kind, SymbolKind::Data | SymbolKind::Constant);
    if is_called && is_data {
        return Err(Refused::Link(LinkError::NotAFunction {
            symbol: ShortName::new(import.name()),
        }));
    }
    Ok(())
}

impl Resolve for Imports<'_, '_, '_> {
    fn resolve(&self, _: &[u8]) -> Option<u64> {
        // The linker asks with the symbol.
        None
    }

    fn resolve_import(
        &self,
        import: &Symbol<'_>,
        is_called: bool,
    ) -> Result<Option<u64>, LinkError> {
        match self.find(import, is_called) {
            Ok(None) if import.binding != Binding::Weak => {
                let missing = Missing { symbol: import.name(), module: &self.member.name };
                (*self.missing.borrow_mut())(&missing);
                Ok(None)
            }
            Ok(found) => Ok(found),
            Err(Refused::Link(error)) => Err(error),
            Err(Refused::Load(error)) => {
                self.refusal.set(Some(error));
                Err(LinkError::OutOfMemory)
            }
        }
    }
}
