//! Resolves symbols across all objects.
//!
//! Of several definitions a strong one takes precedence, then the largest common one, then the first weak one
//! (System V ABI, chapter 4); two strong ones are an error. Of section groups with one signature the first is
//! kept. An archive member is linked in when it defines a name that is undefined and not weak, or a name that
//! is common so far; the order of archives does not matter.

use hashbrown::{HashMap, HashSet};

use ::object::elf;

use super::archive::{Archives, Input, LinkInput};
use super::error::{PackError, PackWarning, Refusals, RelocType, Result};
use super::machine::Machine;
use super::object::{
    self, GlobalId, IndexMap, InputReloc, Object, Origin, Section, SectionId, Symbol, SymbolId,
    SymbolLocation, text,
};
use super::outline_atomics;
use super::registrars::Registrar;
use super::tls_value::{TlsSymbol, TlsValue};

/// What the names of the bounds of an array start with, before the name of its sections.
const START: &[u8] = b"__start_";
const STOP: &[u8] = b"__stop_";

/// A global name, shared by all objects.
pub(super) struct Global<'d> {
    pub(super) name: &'d [u8],
    pub(super) rank: Rank,
    /// The defining symbol, unless the rank is `Undefined`.
    definition: SymbolId,
    /// The most constraining visibility of all objects.
    visibility: elf::SymbolVisibility,
    /// The definition by the linker, once all objects are linked in.
    linker_defined: Option<Resolution>,
    /// Exported although it may be hidden.
    is_forced: bool,
    /// The largest size and alignment of all common definitions.
    pub(super) common_size: u64,
    pub(super) common_alignment: u64,
}

/// The precedence of a definition.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Rank {
    Undefined,
    Weak,
    Common,
    Strong,
}

/// What a symbol resolves to.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Resolution {
    /// An offset in an input section.
    Section { id: SectionId, value: u64 },
    /// An indirect function, whose resolver is at an offset in an input section. Its address is that of a stub.
    Ifunc { id: SectionId, value: u64 },
    /// A common symbol, allocated by the linker.
    Common(GlobalId),
    /// An absolute value.
    Absolute(u64),
    /// A symbol of another module.
    Import(GlobalId),
    /// The start of the GOT: `_GLOBAL_OFFSET_TABLE_`.
    Got,
    /// An address that is unique to this module: `__dso_handle`.
    DsoHandle,
    /// A function that the packer adds: `atexit` and its like.
    Registrar(Registrar),
    /// The start or the end of a section array: `__start_NAME`, `__stop_NAME`.
    ArrayBound { array: usize, end: bool },
    /// Where the code or the data of the module ends.
    Bound(ImageBound),
    /// A value of thread-local storage: `_TLS_MODULE_BASE_`, or what a relocation computes from a symbol.
    Tls(TlsValue),
}

/// The places that linkers name in every program and shared object.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum ImageBound {
    /// `_etext` and `etext`: the end of the code.
    Code,
    /// `_edata`, `edata` and `__bss_start`: the end of data with contents.
    Data,
    /// `_end` and `end`.
    Zeroes,
}

/// Why a symbol cannot be resolved.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum ResolveError {
    Hidden,
    Discarded,
    NotLoaded,
    /// The header of an ELF file, which linkers name.
    ElfHeader,
}

/// What a symbol resolves to, or why it cannot be.
pub(super) type Resolved = Result<Resolution, ResolveError>;

/// An exported symbol.
pub(super) struct Export<'p, 'd> {
    pub(super) id: GlobalId,
    /// The defining symbol.
    pub(super) symbol: &'p Symbol<'d>,
    pub(super) resolution: Resolved,
}

/// The linked objects and their global names.
#[derive(Default)]
pub(super) struct Program<'d> {
    pub(super) objects: Vec<Object<'d>>,
    globals: IndexMap<&'d [u8], Global<'d>>,
    /// The object that defines each section group first, and the group's index in it.
    groups: HashMap<&'d [u8], (usize, usize)>,
    /// The sections of each array, which `__start_NAME` and `__stop_NAME` bound.
    arrays: IndexMap<&'d [u8], Vec<SectionId>>,
    /// Names that an archive member may define, oldest first.
    candidates: Vec<GlobalId>,
    /// What each symbol of each object resolves to, once all objects are linked in.
    resolutions: Vec<Vec<Resolved>>,
    /// Only archives are linked, and all that they export, as the options name no symbol.
    pub(super) is_whole: bool,
}

/// What the options request of the symbols of a module.
pub(super) struct Roots<'d> {
    /// The name of the entry point.
    pub(super) entry: Option<&'d str>,
    /// Names to export although they are hidden.
    pub(super) exports: &'d [&'d str],
    /// Exports hidden symbols as if they were not hidden.
    pub(super) export_all: bool,
    /// Archives of which only needed members are linked.
    pub(super) libraries: &'d [Input<'d>],
}

/// Links all objects and the needed archive members. Without an object and an entry point, all archive
/// members are linked, except those that repeat a strong definition of an earlier one and that nothing refers to.
pub(super) fn link<'d>(
    inputs: &[LinkInput<'d>],
    roots: &Roots<'d>,
    warnings: &mut Vec<PackWarning>,
    refusals: &mut Refusals,
) -> Result<Program<'d>> {
    let mut program = Program::default();
    let mut archives = Archives::default();
    for input in inputs {
        match input {
            LinkInput::Members(members) => archives.add_members(members, warnings),
            LinkInput::File(input, origin) => {
                program.add(object::parse(input.name, input.data, *origin)?, refusals)?;
            }
        }
    }
    let is_whole = roots.entry.is_none() && program.objects.is_empty();
    for name in roots.exports.iter().copied().chain(roots.entry) {
        let id = program.intern(name.as_bytes());
        program.candidates.push(id);
    }
    let repeated = if is_whole { program.add_all(&mut archives, refusals)? } else { Vec::new() };
    for library in roots.libraries {
        archives.add(library, warnings)?;
    }
    let mut next = 0;
    while let Some(id) = program.candidates.get(next).copied() {
        next += 1;
        let needed = program.global(id).filter(|global| global.needs_definition());
        let member = needed.and_then(|global| {
            let member = archives.take(global.name, global.rank == Rank::Common);
            member.or_else(|| program.built_in(global.name))
        });
        member.map_or(Ok(()), |object| program.add(object, refusals))?;
    }
    let ignored = repeated
        .into_iter()
        .filter(|(member, _)| archives.members().get(*member).is_some_and(Option::is_some));
    warnings.extend(ignored.map(|(_, warning)| warning));
    program.define_linker_symbols(warnings);
    program.force_exports(roots, refusals);
    program.warn_of_versions(warnings);
    // A constructor of each object calls it.
    if program.globals.contains_key(&b"_d_dso_registry"[..]) {
        warnings.push(PackWarning::RuntimeOfD);
    }
    program.resolutions = program.resolve_all();
    program.is_whole = is_whole && roots.exports.is_empty();
    if program.objects.is_empty() {
        refusals.finish()?;
        return Err(nothing_linked(&mut archives, warnings));
    }
    Ok(program)
}

/// The error for archives of which no member was linked.
fn nothing_linked(archives: &mut Archives<'_>, warnings: &[PackWarning]) -> PackError {
    let mut reasons = warnings.iter().filter_map(|warning| match warning {
        PackWarning::IgnoredMember { reason, .. } => Some(reason),
        _ => None,
    });
    match reasons.next() {
        Some(reason) if archives.members().is_empty() => {
            PackError::NoMember { reason: reason.clone(), ignored: 1 + reasons.count() }
        }
        _ => PackError::NoObject,
    }
}

impl<'d> Program<'d> {
    pub(super) fn global(&self, id: GlobalId) -> Option<&Global<'d>> {
        self.globals.get_index(id).map(|(_, global)| global)
    }

    pub(super) fn object(&self, number: usize) -> Option<&Object<'d>> {
        self.objects.get(number)
    }

    pub(super) fn section(&self, id: SectionId) -> Option<&Section<'d>> {
        self.object(id.object)?.sections.get(id.section)
    }

    pub(super) fn symbol(&self, id: SymbolId) -> Option<&Symbol<'d>> {
        self.object(id.object)?.symbols.get(id.symbol)
    }

    /// The name of an object in messages.
    pub(super) fn title(&self, object: usize) -> String {
        self.object(object).map_or_else(String::new, |object| object.name.clone())
    }

    /// The name of a symbol in messages.
    pub(super) fn symbol_title(&self, id: SymbolId) -> String {
        self.symbol(id).map_or_else(String::new, |symbol| text(symbol.name))
    }

    /// A section and its object in messages.
    pub(super) fn place(&self, id: SectionId) -> String {
        let section = self.section(id).map_or_else(String::new, |s| text(s.name));
        format!("{}, section `{section}`", self.title(id.object))
    }

    /// The error for a section that is malformed or that a module cannot express.
    pub(super) fn bad_section(&self, id: SectionId, reason: &'static str) -> PackError {
        PackError::Section { place: self.place(id), reason }
    }

    /// Whether a section is thread-local storage.
    pub(super) fn is_thread_local(&self, id: SectionId) -> bool {
        self.section(id).is_some_and(|section| section.has(elf::SHF_TLS))
    }

    /// All sections of all objects.
    pub(super) fn sections(&self) -> impl Iterator<Item = (SectionId, &Section<'d>)> {
        self.objects.iter().enumerate().flat_map(|(object, parsed)| {
            let numbered = parsed.sections.iter().enumerate();
            numbered.map(move |(section, found)| (SectionId { object, section }, found))
        })
    }

    fn intern(&mut self, name: &'d [u8]) -> GlobalId {
        let entry = self.globals.entry(name);
        let id = entry.index();
        entry.or_insert(Global {
            name,
            rank: Rank::Undefined,
            definition: SymbolId::default(),
            visibility: elf::STV_DEFAULT,
            linker_defined: None,
            is_forced: false,
            common_size: 0,
            common_alignment: 1,
        });
        id
    }

    /// The object of the packer that defines `name`, if one does.
    fn built_in(&self, name: &[u8]) -> Option<Object<'d>> {
        let is_arm = self.machine() == Machine::Aarch64;
        let bytes = outline_atomics::object(name).filter(|_| is_arm)?;
        let object = object::parse("built-in atomics", bytes, Origin::Given).ok()?;
        object.symbols.iter().any(|symbol| symbol.name == name).then_some(object)
    }

    /// The instruction set of all objects.
    pub(super) fn machine(&self) -> Machine {
        self.objects.first().map_or(Machine::X86_64, |object| object.machine)
    }

    /// The type of a relocation in messages.
    pub(super) fn reloc_type(&self, reloc: InputReloc) -> RelocType {
        RelocType { machine: self.machine(), number: reloc.kind.0 }
    }

    /// Adds all archive members, except those that repeat a definition, which are returned with a warning.
    fn add_all(
        &mut self,
        archives: &mut Archives<'d>,
        refusals: &mut Refusals,
    ) -> Result<Vec<(usize, PackWarning)>> {
        let mut repeated = Vec::new();
        for (number, member) in archives.members().iter_mut().enumerate() {
            match member.as_ref().and_then(|object| self.repetition(object)) {
                Some(warning) => repeated.push((number, warning)),
                None => member.take().map_or(Ok(()), |object| self.add(object, refusals))?,
            }
        }
        Ok(repeated)
    }

    /// The warning for an object that defines a strong name again.
    fn repetition(&self, object: &Object<'d>) -> Option<PackWarning> {
        let known_groups =
            object.groups.iter().filter(|group| self.groups.contains_key(group.signature));
        let discarded: HashSet<usize> =
            known_groups.flat_map(|group| group.members.iter().copied()).collect();
        let is_strong = |symbol: &&Symbol<'_>| match symbol.place {
            SymbolLocation::Section { section, .. } => !discarded.contains(&section),
            SymbolLocation::Absolute(_) => true,
            SymbolLocation::Common { .. } | SymbolLocation::Undefined => false,
        };
        let globals = object.symbols.iter().filter(|symbol| !symbol.is_local && !symbol.is_weak);
        let known = globals.filter(is_strong).find_map(|symbol| {
            let global = self.globals.get(symbol.name)?;
            (global.rank == Rank::Strong).then_some(global)
        })?;
        Some(PackWarning::RepeatedDefinition {
            member: object.name.clone(),
            name: text(known.name),
            first: self.title(known.definition.object),
        })
    }

    /// Exports the hidden names that the options list.
    fn force_exports(&mut self, roots: &Roots<'d>, refusals: &mut Refusals) {
        for global in self.globals.values_mut() {
            global.is_forced = roots.export_all;
        }
        for name in roots.exports {
            match self.globals.get_mut(name.as_bytes()) {
                Some(global) if global.rank != Rank::Undefined => global.is_forced = true,
                _ => refusals.add(PackError::ExportMissing { name: (*name).to_owned() }),
            }
        }
    }

    /// Warns of definitions of versions that are not the default.
    fn warn_of_versions(&self, warnings: &mut Vec<PackWarning>) {
        let defined = self.globals.values().filter(|global| {
            let is_exported = global.is_visible() || global.is_forced;
            is_exported && global.rank != Rank::Undefined && global.name.contains(&b'@')
        });
        warnings.extend(defined.map(|global| PackWarning::VersionNotExported {
            object: self.title(global.definition.object),
            name: text(global.name),
        }));
    }

    /// The error for a program without exports.
    pub(super) fn nothing_exported(&self) -> PackError {
        let mut hidden = self.hidden();
        match hidden.next().map(|(_, global)| text(global.name)) {
            Some(first) => PackError::AllHidden { hidden: hidden.count() + 1, first },
            None => PackError::NothingExported,
        }
    }

    /// The names that are defined and not exported because they are hidden.
    pub(super) fn hidden(&self) -> impl Iterator<Item = (GlobalId, &Global<'d>)> {
        self.globals.values().enumerate().filter(|(_, global)| {
            let is_hidden = !global.is_visible() && !global.is_forced;
            is_hidden && global.rank != Rank::Undefined && !global.name.contains(&b'@')
        })
    }

    fn add(&mut self, mut object: Object<'d>, refusals: &mut Refusals) -> Result<()> {
        let (machine, others) = (object.machine, self.machine());
        if !self.objects.is_empty() && machine != others {
            let first = self.title(0);
            return Err(PackError::OtherMachine { object: object.name, machine, first, others });
        }
        if object.is_stripped() {
            let reason = "it has code and no symbol table: it has been stripped, relocations included, so that its code refers to nothing and cannot be called";
            refusals.add(PackError::Broken { object: object.name, reason });
            return Ok(());
        }
        if object.needs_executable_stack() {
            refusals.add(PackError::ExecutableStack { object: object.name.clone() });
        }
        let number = self.objects.len();
        self.discard_group_copies(&mut object, number);
        self.gather_arrays(&mut object, number);
        let mut symbols = std::mem::take(&mut object.symbols);
        for (index, symbol) in symbols.iter_mut().enumerate() {
            if !symbol.is_local {
                let id = self.intern(symbol.name);
                symbol.global = Some(id);
                let definition = SymbolId { object: number, symbol: index };
                refusals.check(self.merge(id, definition, symbol, &object));
            }
        }
        object.symbols = symbols;
        self.objects.push(object);
        Ok(())
    }

    fn gather_arrays(&mut self, object: &mut Object<'d>, number: usize) {
        for (section, found) in object.sections.iter_mut().enumerate() {
            if found.is_loaded() && !found.discarded && is_c_name(found.name) {
                let array = self.arrays.entry(found.name);
                found.array = Some(array.index());
                array.or_default().push(SectionId { object: number, section });
            }
        }
    }

    /// Marks the sections of groups that an earlier object defines.
    fn discard_group_copies(&mut self, object: &mut Object<'d>, number: usize) {
        let mut kept_members = HashMap::new();
        for (index, group) in object.groups.iter().enumerate() {
            let kept = *self.groups.entry(group.signature).or_insert((number, index));
            if kept.0 == number {
                // A second group of this signature in the same object is the same group.
                continue;
            }
            let kept_copies = kept_members.entry(kept).or_insert_with(|| self.members(kept));
            for member in &group.members {
                if let Some(section) = object.sections.get_mut(*member) {
                    section.discarded = true;
                    section.kept_copy = kept_copies.get(section.name).copied();
                }
            }
        }
    }

    fn members(&self, (object, group): (usize, usize)) -> HashMap<&'d [u8], SectionId> {
        let group = self.object(object).and_then(|object| object.groups.get(group));
        let members = group.map_or(&[][..], |group| &group.members);
        let ids = members.iter().map(|section| SectionId { object, section: *section });
        ids.filter_map(|id| self.section(id).map(|section| (section.name, id))).collect()
    }

    /// Merges an object's symbol into its global name.
    fn merge(
        &mut self,
        id: GlobalId,
        definition: SymbolId,
        symbol: &Symbol<'d>,
        object: &Object<'d>,
    ) -> Result<()> {
        let Some((_, global)) = self.globals.get_index_mut(id) else { return Ok(()) };
        global.visibility = stricter(global.visibility, symbol.visibility);
        let rank = match symbol.place {
            SymbolLocation::Undefined if symbol.is_weak => return Ok(()),
            SymbolLocation::Undefined => Rank::Undefined,
            SymbolLocation::Section { section, .. } if object.is_discarded(section) => {
                return Ok(());
            }
            SymbolLocation::Common { alignment } => {
                global.common_size = global.common_size.max(symbol.size);
                global.common_alignment = global.common_alignment.max(alignment);
                Rank::Common
            }
            _ if symbol.is_weak => Rank::Weak,
            _ => Rank::Strong,
        };
        if rank == Rank::Strong && global.rank == Rank::Strong {
            let (name, first) = (text(global.name), global.definition.object);
            let first = self.object(first).map_or(&object.name, |first| &first.name).clone();
            let second = object.name.clone();
            return Err(PackError::DuplicateDefinition { name, first, second });
        }
        if rank > global.rank {
            (global.rank, global.definition) = (rank, definition);
        }
        if global.needs_definition() {
            self.candidates.push(id);
        }
        Ok(())
    }

    /// The exported symbols.
    pub(super) fn exports(&self) -> impl Iterator<Item = Export<'_, 'd>> {
        let numbered = self.globals.values().enumerate();
        numbered.filter(|(_, global)| global.is_exported()).filter_map(|(id, global)| {
            let symbol = self.symbol(global.definition)?;
            let resolution = self.resolve_defined(id, global);
            // A symbol in a section that is not loaded has no address to export.
            let export = Export { id, symbol, resolution };
            (resolution != Err(ResolveError::NotLoaded)).then_some(export)
        })
    }

    /// Symbols of a kind that are not exported and have a size, in the order of the objects, and where they are.
    pub(super) fn locals(
        &self,
        kind: elf::SymbolType,
    ) -> impl Iterator<Item = (&Symbol<'d>, Resolution)> {
        let objects = self.objects.iter().enumerate();
        let symbols = objects.flat_map(|(object, parsed)| {
            let numbered = parsed.symbols.iter().enumerate();
            numbered.map(move |(symbol, found)| (SymbolId { object, symbol }, found))
        });
        let wanted = symbols.filter(move |(_, symbol)| symbol.kind == kind && symbol.size != 0);
        wanted.filter_map(|(id, symbol)| Some((symbol, self.local_referent(id, symbol)?)))
    }

    fn local_referent(&self, id: SymbolId, symbol: &Symbol<'d>) -> Option<Resolution> {
        if let Some(name) = symbol.global {
            let global = self.global(name).filter(|g| g.definition == id && !g.is_exported())?;
            return self.resolve_defined(name, global).ok();
        }
        let SymbolLocation::Section { section, .. } = symbol.place else { return None };
        // The kept copy of a dropped section has symbols of its own.
        let dropped = self.object(id.object)?.is_discarded(section);
        self.resolve_local(id.object, symbol).ok().filter(|_| !dropped)
    }

    /// The id of a defined name, exported or not.
    pub(super) fn find(&self, name: &[u8]) -> Option<GlobalId> {
        let (id, _, global) = self.globals.get_full(name)?;
        (global.rank != Rank::Undefined).then_some(id)
    }

    /// The function that a registrar jumps to.
    pub(super) fn target_of(&self, registrar: Registrar) -> Option<Resolution> {
        self.resolve_global(self.globals.get_index_of(registrar.target())?).ok()
    }

    /// The definition of `__dso_handle`: of an object, or that of the packer.
    pub(super) fn dso_handle(&self) -> Resolution {
        let own = self.find(b"__dso_handle").and_then(|id| self.resolve_global(id).ok());
        own.unwrap_or(Resolution::DsoHandle)
    }

    /// The object that defines a name.
    pub(super) fn defining_object(&self, id: GlobalId) -> usize {
        self.global(id).map_or(0, |global| global.definition.object)
    }

    /// The names of the arrays of which the objects have elements.
    pub(super) fn arrays(&self) -> impl Iterator<Item = &'d [u8]> {
        self.arrays.keys().copied()
    }

    /// The names of the arrays whose bounds the objects refer to and do not define.
    pub(super) fn bounded_arrays(&self) -> impl Iterator<Item = &'d [u8]> {
        let undefined = self.globals.values().filter(|global| global.rank == Rank::Undefined);
        undefined.filter_map(|global| {
            global.name.strip_prefix(START).or_else(|| global.name.strip_prefix(STOP))
        })
    }

    /// The sections of an array.
    pub(super) fn array(&self, array: usize) -> &[SectionId] {
        self.arrays.get_index(array).map_or(&[], |(_, sections)| sections)
    }

    /// The defining symbol of `id`, or the symbol itself while the name is undefined.
    pub(super) fn definition(&self, id: SymbolId) -> Option<&Symbol<'d>> {
        let symbol = self.symbol(id)?;
        let global = symbol.global.and_then(|global| self.global(global));
        match global {
            Some(global) if global.rank != Rank::Undefined => self.symbol(global.definition),
            _ => Some(symbol),
        }
    }

    /// What a symbol of an object resolves to.
    pub(super) fn resolution(&self, id: SymbolId) -> Resolved {
        let known = self.resolutions.get(id.object).and_then(|object| object.get(id.symbol));
        known.copied().unwrap_or(Err(ResolveError::Discarded))
    }

    /// Resolves all symbols of all objects: most of them are referred to more than once.
    fn resolve_all(&self) -> Vec<Vec<Resolved>> {
        let objects = self.objects.iter().enumerate();
        let resolve = |(object, parsed): (usize, &Object<'_>)| {
            let symbols = (0..parsed.symbols.len()).map(|symbol| SymbolId { object, symbol });
            symbols.map(|id| self.resolve(id)).collect()
        };
        objects.map(resolve).collect()
    }

    fn resolve(&self, id: SymbolId) -> Resolved {
        let Some(symbol) = self.symbol(id) else { return Err(ResolveError::Discarded) };
        match symbol.global {
            Some(global) => self.resolve_reference(global, symbol.is_weak),
            None => self.resolve_local(id.object, symbol),
        }
    }

    /// Resolves a global name.
    pub(super) fn resolve_global(&self, id: GlobalId) -> Resolved {
        self.resolve_reference(id, false)
    }

    /// Resolves a reference by a global name, which may be weak.
    fn resolve_reference(&self, id: GlobalId, is_weak: bool) -> Resolved {
        let Some(global) = self.global(id) else { return Err(ResolveError::Discarded) };
        if global.rank == Rank::Undefined {
            match (global.linker_defined, global.visibility) {
                (Some(linker_defined), _) => Ok(linker_defined),
                (None, _) if global.name == b"__ehdr_start" && !is_weak => {
                    Err(ResolveError::ElfHeader)
                }
                (None, elf::STV_DEFAULT | elf::STV_PROTECTED) => Ok(Resolution::Import(id)),
                _ if is_weak => Ok(Resolution::Absolute(0)),
                _ => Err(ResolveError::Hidden),
            }
        } else {
            self.resolve_defined(id, global)
        }
    }

    fn resolve_defined(&self, id: GlobalId, global: &Global<'d>) -> Resolved {
        if global.rank == Rank::Common {
            return Ok(Resolution::Common(id));
        }
        let symbol = self.symbol(global.definition).ok_or(ResolveError::Discarded)?;
        self.resolve_local(global.definition.object, symbol)
    }

    /// Resolves a symbol that its own object defines.
    fn resolve_local(&self, object: usize, symbol: &Symbol<'d>) -> Resolved {
        let (section, value) = match symbol.place {
            SymbolLocation::Section { section, value } => (section, value),
            SymbolLocation::Absolute(value) => return Ok(Resolution::Absolute(value)),
            // Symbol 0, which denotes no symbol.
            _ => return Ok(Resolution::Absolute(0)),
        };
        let mut id = SectionId { object, section };
        let mut found = self.section(id);
        if let Some(copy) = found.filter(|section| section.discarded) {
            id = copy.kept_copy.ok_or(ResolveError::Discarded)?;
            found = self.section(id).filter(|kept_copy| !kept_copy.discarded);
        }
        match found {
            Some(found) if !found.is_loaded() => Err(ResolveError::NotLoaded),
            Some(_) if symbol.kind == elf::STT_GNU_IFUNC => Ok(Resolution::Ifunc { id, value }),
            Some(_) => Ok(Resolution::Section { id, value }),
            None => Err(ResolveError::Discarded),
        }
    }

    /// Defines the names that linkers provide.
    fn define_linker_symbols(&mut self, warnings: &mut Vec<PackWarning>) {
        for registrar in Registrar::ALL {
            let known = self.globals.get(registrar.name());
            if known.is_some_and(|global| global.rank == Rank::Undefined) {
                self.intern(registrar.target());
            }
        }
        for global in self.globals.values_mut().filter(|global| global.rank == Rank::Undefined) {
            if [&b"end"[..], b"edata", b"etext"].contains(&global.name) {
                // Other modules may have functions of these names.
                warnings.push(PackWarning::LinkerDefined { name: text(global.name) });
            }
            let bound = |prefix: &[u8], end| {
                let array = self.arrays.get_index_of(global.name.strip_prefix(prefix)?)?;
                Some(Resolution::ArrayBound { array, end })
            };
            global.linker_defined = match global.name {
                b"_GLOBAL_OFFSET_TABLE_" => Some(Resolution::Got),
                b"__dso_handle" => Some(Resolution::DsoHandle),
                b"_etext" | b"etext" => Some(Resolution::Bound(ImageBound::Code)),
                b"_edata" | b"edata" | b"__bss_start" => Some(Resolution::Bound(ImageBound::Data)),
                b"_end" | b"end" => Some(Resolution::Bound(ImageBound::Zeroes)),
                b"_TLS_MODULE_BASE_" => {
                    Some(Resolution::Tls(TlsValue::BlockOffset(TlsSymbol::Base)))
                }
                name => Registrar::of(name)
                    .map(Resolution::Registrar)
                    .or_else(|| bound(START, false))
                    .or_else(|| bound(STOP, true)),
            };
        }
    }
}

impl Object<'_> {
    fn is_discarded(&self, section: usize) -> bool {
        self.sections.get(section).is_some_and(|section| section.discarded)
    }
}

impl Global<'_> {
    /// Whether an archive member may define it.
    fn needs_definition(&self) -> bool {
        matches!(self.rank, Rank::Undefined | Rank::Common)
    }

    fn is_visible(&self) -> bool {
        [elf::STV_DEFAULT, elf::STV_PROTECTED].contains(&self.visibility)
    }

    fn is_exported(&self) -> bool {
        (self.is_visible() || self.is_forced)
            && self.rank != Rank::Undefined
            && !self.name.contains(&b'@')
    }
}

/// The more constraining visibility: internal, hidden, protected, default.
fn stricter(one: elf::SymbolVisibility, other: elf::SymbolVisibility) -> elf::SymbolVisibility {
    // The ELF numbers are in that order, except for default, which is 0.
    match (one, other) {
        (elf::STV_DEFAULT, visibility) | (visibility, elf::STV_DEFAULT) => visibility,
        (one, other) if other.0 < one.0 => other,
        _ => one,
    }
}

/// Whether a section name is a C identifier, so that `__start_NAME` and `__stop_NAME` exist.
fn is_c_name(name: &[u8]) -> bool {
    let head = |byte: &u8| byte.is_ascii_alphabetic() || *byte == b'_';
    name.first().is_some_and(head) && name.iter().all(|byte| head(byte) || byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn most_constraining_visibility_takes_precedence() {
        let order = [elf::STV_INTERNAL, elf::STV_HIDDEN, elf::STV_PROTECTED, elf::STV_DEFAULT];
        for (at, one) in order.into_iter().enumerate() {
            for (other_at, other) in order.into_iter().enumerate() {
                assert_eq!(stricter(one, other), order[at.min(other_at)]);
            }
        }
    }

    #[test]
    fn section_name_is_recognised_as_c_identifier() {
        assert!(is_c_name(b"set_of_tests") && is_c_name(b"_2"));
        assert!(
            !is_c_name(b".text") && !is_c_name(b"2nd") && !is_c_name(b"a.b") && !is_c_name(b"")
        );
    }
}
