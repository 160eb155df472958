//! Resolves symbols across all objects.
//!
//! Of several definitions a strong one takes precedence, then the largest common one, then the first weak one
//! (System V ABI, chapter 4); two strong ones are an error. Of section groups with one signature the first is
//! kept. An archive member is linked in when it defines a name that is undefined and not weak, or a name that
//! is common so far; the order of archives does not matter.

use std::collections::HashMap;

use ::object::elf;

use super::archive::{Archives, Input, is_archive};
use super::error::{PackError, PackWarning, Result};
use super::machine::Machine;
use super::object::{
    self, GlobalId, Object, Section, SectionId, Symbol, SymbolId, SymbolLocation, text,
};

/// A global name, shared by all objects.
pub(super) struct Global<'d> {
    pub(super) name: &'d [u8],
    rank: Rank,
    /// The defining symbol, unless the rank is `Undefined`.
    definition: SymbolId,
    /// The most constraining visibility of all objects.
    visibility: elf::SymbolVisibility,
    /// The definition by the linker, once all objects are linked in.
    linker_defined: Option<Resolution>,
    /// The largest size and alignment of all common definitions.
    pub(super) common_size: u64,
    pub(super) common_alignment: u64,
}

/// The precedence of a definition.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
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
    /// The start or the end of a section array: `__start_NAME`, `__stop_NAME`.
    ArrayBound { array: usize, end: bool },
}

/// Why a symbol cannot be resolved.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum ResolveError {
    Ifunc,
    ThreadLocal,
    Hidden,
    Discarded,
    NotLoaded,
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
    pub(super) globals: Vec<Global<'d>>,
    names: HashMap<&'d [u8], GlobalId>,
    /// The object that defines each section group first, and the group's index in it.
    groups: HashMap<&'d [u8], (usize, usize)>,
    /// The sections of each array, which `__start_NAME` and `__stop_NAME` bound.
    arrays: Vec<Vec<SectionId>>,
    array_names: HashMap<&'d [u8], usize>,
    /// Names that an archive member may define, oldest first.
    candidates: Vec<GlobalId>,
}

/// Links all objects and the needed archive members. Without an object and an entry point, all archive
/// members are linked.
pub(super) fn link<'d>(
    inputs: &[Input<'d>],
    entry: Option<&'d str>,
    warnings: &mut Vec<PackWarning>,
) -> Result<Program<'d>> {
    let mut program = Program::default();
    let mut archives = Archives::default();
    for input in inputs {
        if is_archive(input.data) {
            archives.add(input, warnings)?;
        } else {
            program.add(object::parse(input.name, input.data, false)?)?;
        }
    }
    if let Some(entry) = entry {
        let entry = program.intern(entry.as_bytes());
        program.candidates.push(entry);
    } else if program.objects.is_empty() {
        archives.take_all().try_for_each(|object| program.add(object))?;
    }
    let mut next = 0;
    while let Some(id) = program.candidates.get(next).copied() {
        next += 1;
        let Some(Global { name, rank: rank @ (Rank::Undefined | Rank::Common), .. }) =
            program.global(id)
        else {
            continue;
        };
        if let Some(object) = archives.take(name, *rank == Rank::Common) {
            program.add(object)?;
        }
    }
    program.define_linker_symbols();
    if program.objects.is_empty() { Err(PackError::NoObject) } else { Ok(program) }
}

impl<'d> Program<'d> {
    pub(super) fn global(&self, id: GlobalId) -> Option<&Global<'d>> {
        self.globals.get(id)
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

    /// The names of a section's object and of the section, in messages.
    pub(super) fn titles(&self, id: SectionId) -> (String, String) {
        (self.title(id.object), self.section(id).map_or_else(String::new, |s| text(s.name)))
    }

    /// All sections of all objects.
    pub(super) fn sections(&self) -> impl Iterator<Item = (SectionId, &Section<'d>)> {
        self.objects.iter().enumerate().flat_map(|(object, parsed)| {
            let numbered = parsed.sections.iter().enumerate();
            numbered.map(move |(section, found)| (SectionId { object, section }, found))
        })
    }

    fn intern(&mut self, name: &'d [u8]) -> GlobalId {
        let next = self.globals.len();
        let id = *self.names.entry(name).or_insert(next);
        if id == next {
            self.globals.push(Global {
                name,
                rank: Rank::Undefined,
                definition: SymbolId::default(),
                visibility: elf::STV_DEFAULT,
                linker_defined: None,
                common_size: 0,
                common_alignment: 1,
            });
        }
        id
    }

    /// The instruction set of all objects.
    pub(super) fn machine(&self) -> Machine {
        self.objects.first().map_or(Machine::X86_64, |object| object.machine)
    }

    fn add(&mut self, mut object: Object<'d>) -> Result<()> {
        let (machine, others) = (object.machine, self.machine());
        if !self.objects.is_empty() && machine != others {
            return Err(PackError::OtherMachine { object: object.name, machine, others });
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
                self.merge(id, definition, symbol, &object)?;
            }
        }
        object.symbols = symbols;
        self.objects.push(object);
        Ok(())
    }

    fn gather_arrays(&mut self, object: &mut Object<'d>, number: usize) {
        for (section, found) in object.sections.iter_mut().enumerate() {
            if found.is_loaded() && !found.discarded && is_c_name(found.name) {
                let array = *self.array_names.entry(found.name).or_insert(self.arrays.len());
                found.array = Some(array);
                let id = SectionId { object: number, section };
                match self.arrays.get_mut(array) {
                    Some(sections) => sections.push(id),
                    None => self.arrays.push(vec![id]),
                }
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
        let Some(global) = self.globals.get_mut(id) else { return Ok(()) };
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
        if matches!(global.rank, Rank::Undefined | Rank::Common) {
            self.candidates.push(id);
        }
        Ok(())
    }

    /// The exported symbols.
    pub(super) fn exports(&self) -> impl Iterator<Item = Export<'_, 'd>> {
        let numbered = self.globals.iter().enumerate();
        numbered.filter(|(_, global)| global.is_exported()).filter_map(|(id, global)| {
            let symbol = self.symbol(global.definition)?;
            let resolution = self.resolve_defined(id, global);
            // A symbol in a section that is not loaded has no address to export.
            let export = Export { id, symbol, resolution };
            (resolution != Err(ResolveError::NotLoaded)).then_some(export)
        })
    }

    /// Data symbols that are not exported, in the order of the objects, and where they are.
    pub(super) fn local_data(&self) -> impl Iterator<Item = (&Symbol<'d>, Resolution)> {
        let objects = self.objects.iter().enumerate();
        let symbols = objects.flat_map(|(object, parsed)| {
            let numbered = parsed.symbols.iter().enumerate();
            numbered.map(move |(symbol, found)| (SymbolId { object, symbol }, found))
        });
        let data = symbols.filter(|(_, symbol)| symbol.kind == elf::STT_OBJECT && symbol.size != 0);
        data.filter_map(|(id, symbol)| Some((symbol, self.local_referent(id, symbol)?)))
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

    /// Whether the definition is weak.
    pub(super) fn is_weak(&self, id: GlobalId) -> bool {
        self.global(id).is_some_and(|global| global.rank == Rank::Weak)
    }

    /// The id of a defined name, exported or not.
    pub(super) fn find(&self, name: &[u8]) -> Option<GlobalId> {
        let id = *self.names.get(name)?;
        self.global(id).filter(|global| global.rank != Rank::Undefined).map(|_| id)
    }

    /// The object that defines a name.
    pub(super) fn defining_object(&self, id: GlobalId) -> usize {
        self.global(id).map_or(0, |global| global.definition.object)
    }

    /// The section that contains a name's definition.
    pub(super) fn output(&self, id: GlobalId) -> Option<SectionId> {
        let definition = self.global(id)?.definition;
        match self.symbol(definition)?.place {
            SymbolLocation::Section { section, .. } => {
                Some(SectionId { object: definition.object, section })
            }
            _ => None,
        }
    }

    /// The sections of an array.
    pub(super) fn array(&self, array: usize) -> &[SectionId] {
        self.arrays.get(array).map_or(&[], Vec::as_slice)
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

    /// Resolves a symbol of an object.
    pub(super) fn resolution(&self, id: SymbolId) -> Resolved {
        let Some(symbol) = self.symbol(id) else { return Err(ResolveError::Discarded) };
        match symbol.global {
            Some(global) => self.resolve_global(global, symbol.is_weak),
            None => self.resolve_local(id.object, symbol),
        }
    }

    /// Resolves a global name.
    pub(super) fn resolve_global(&self, id: GlobalId, is_weak: bool) -> Resolved {
        let Some(global) = self.global(id) else { return Err(ResolveError::Discarded) };
        if global.rank == Rank::Undefined {
            match (global.linker_defined, global.visibility) {
                (Some(linker_defined), _) => Ok(linker_defined),
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
        match symbol.kind {
            elf::STT_GNU_IFUNC => return Err(ResolveError::Ifunc),
            elf::STT_TLS => return Err(ResolveError::ThreadLocal),
            _ => {}
        }
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
            Some(found) if found.is_loaded() => Ok(Resolution::Section { id, value }),
            Some(_) => Err(ResolveError::NotLoaded),
            None => Err(ResolveError::Discarded),
        }
    }

    /// Defines the names that linkers provide.
    fn define_linker_symbols(&mut self) {
        for global in self.globals.iter_mut().filter(|global| global.rank == Rank::Undefined) {
            let bound = |prefix: &[u8], end| {
                let array = *self.array_names.get(global.name.strip_prefix(prefix)?)?;
                Some(Resolution::ArrayBound { array, end })
            };
            global.linker_defined = match global.name {
                b"_GLOBAL_OFFSET_TABLE_" => Some(Resolution::Got),
                b"__dso_handle" => Some(Resolution::DsoHandle),
                _ => bound(b"__start_", false).or_else(|| bound(b"__stop_", true)),
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
    fn is_exported(&self) -> bool {
        let visible = [elf::STV_DEFAULT, elf::STV_PROTECTED].contains(&self.visibility);
        visible && self.rank != Rank::Undefined && !self.name.contains(&b'@')
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
