//! All objects as one program: which definition every name means.
//!
//! Of several definitions the strong one counts, then the largest common one, then the first weak
//! one (System V ABI, chapter 4); two strong ones are an error. Of section groups with one
//! signature the first counts. Archives give a member when a name is undefined and not weak, or
//! common and really defined there; their order on the command line does not matter.

use std::collections::HashMap;

use ::object::elf;

use super::archive::{Archives, is_archive};
use super::error::{PackError, PackWarning};
use super::machine::Machine;
use super::object::{self, GlobalId, Object, Place, Section, SectionId, Symbol, SymbolId, text};
use super::{Input, Options};

/// A name that all objects share.
pub(super) struct Global<'d> {
    pub(super) name: &'d [u8],
    rank: Rank,
    /// Where it is defined, unless the rank is `Undefined`.
    definition: SymbolId,
    /// The most constraining visibility that any object gives it.
    visibility: elf::SymbolVisibility,
    /// What it means although no object defines it; known when all objects are linked in.
    made: Option<Referent>,
    /// The largest size and alignment that any object asks for, while it is common.
    pub(super) common_size: u64,
    pub(super) common_alignment: u64,
}

/// What a name is so far; a greater rank replaces a lesser one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    Undefined,
    Weak,
    Common,
    Strong,
}

/// What a reference means.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Referent {
    /// A distance from the begin of a section.
    Section { id: SectionId, value: u64 },
    /// Zeroes to be found a place for.
    Common(GlobalId),
    /// A number.
    Absolute(u64),
    /// A symbol of another module.
    Import(GlobalId),
    /// The begin of the table of addresses: `_GLOBAL_OFFSET_TABLE_`.
    Got,
    /// Something whose address no other module has: `__dso_handle`.
    Handle,
    /// The begin or the end of all sections of a name: `__start_NAME`, `__stop_NAME`.
    Bound { array: u32, end: bool },
}

/// Why a reference cannot be followed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Trouble {
    Ifunc,
    ThreadLocal,
    Hidden,
    Discarded,
    NotLoaded,
}

/// A name that other modules can see.
pub(super) struct Export<'p, 'd> {
    pub(super) id: GlobalId,
    /// The symbol that defines it.
    pub(super) symbol: &'p Symbol<'d>,
    pub(super) referent: Result<Referent, Trouble>,
}

/// The objects that are linked in, and their names.
#[derive(Default)]
pub(super) struct Program<'d> {
    pub(super) objects: Vec<Object<'d>>,
    pub(super) globals: Vec<Global<'d>>,
    names: HashMap<&'d [u8], GlobalId>,
    /// The object that brought a section group first, and the group's number in it.
    groups: HashMap<&'d [u8], (u32, usize)>,
    /// Sections that `__start_NAME` and `__stop_NAME` can speak of, by their array's number.
    arrays: Vec<Vec<SectionId>>,
    array_names: HashMap<&'d [u8], u32>,
    /// Names that an archive might define, oldest first.
    wanted: Vec<GlobalId>,
}

/// Links the inputs in: all objects, and of the archives' members those that are asked for. When
/// there is neither an object nor an entry to ask for anything, all of them.
pub(super) fn link<'d>(
    inputs: &[Input<'d>],
    options: &Options<'d>,
    warnings: &mut Vec<PackWarning>,
) -> Result<Program<'d>, PackError> {
    let mut program = Program::default();
    let mut archives = Archives::default();
    for input in inputs {
        if is_archive(input.data) {
            archives.add(input, warnings)?;
        } else {
            program.add(object::parse(input.name, input.data, false)?)?;
        }
    }
    if let Some(entry) = options.entry {
        let entry = program.intern(entry.as_bytes())?;
        program.wanted.push(entry);
    } else if program.objects.is_empty() {
        archives.take_all().try_for_each(|object| program.add(object))?;
    }
    let mut next = 0;
    while let Some(id) = program.wanted.get(next).copied() {
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
    program.define_made();
    if program.objects.is_empty() { Err(PackError::NoObject) } else { Ok(program) }
}

impl<'d> Program<'d> {
    pub(super) fn global(&self, id: GlobalId) -> Option<&Global<'d>> {
        self.globals.get(usize::try_from(id).ok()?)
    }

    pub(super) fn object(&self, number: u32) -> Option<&Object<'d>> {
        self.objects.get(usize::try_from(number).ok()?)
    }

    pub(super) fn section(&self, id: SectionId) -> Option<&Section<'d>> {
        self.object(id.object)?.sections.get(usize::try_from(id.section).ok()?)
    }

    pub(super) fn symbol(&self, id: SymbolId) -> Option<&Symbol<'d>> {
        self.object(id.object)?.symbols.get(usize::try_from(id.symbol).ok()?)
    }

    /// How messages call an object.
    pub(super) fn title(&self, object: u32) -> String {
        self.object(object).map_or_else(String::new, |object| object.name.clone())
    }

    /// How messages call a section, and its object before it.
    pub(super) fn titles(&self, id: SectionId) -> (String, String) {
        (self.title(id.object), self.section(id).map_or_else(String::new, Section::title))
    }

    /// All sections of all objects.
    pub(super) fn sections(&self) -> impl Iterator<Item = (SectionId, &Section<'d>)> {
        (0u32..).zip(&self.objects).flat_map(|(object, parsed)| {
            let numbered = (0u32..).zip(&parsed.sections);
            numbered.map(move |(section, found)| (SectionId { object, section }, found))
        })
    }

    fn intern(&mut self, name: &'d [u8]) -> Result<GlobalId, PackError> {
        let next = GlobalId::try_from(self.globals.len()).map_err(|_| PackError::TooLarge)?;
        let id = *self.names.entry(name).or_insert(next);
        if id == next {
            self.globals.push(Global {
                name,
                rank: Rank::Undefined,
                definition: SymbolId::default(),
                visibility: elf::STV_DEFAULT,
                made: None,
                common_size: 0,
                common_alignment: 1,
            });
        }
        Ok(id)
    }

    /// The instruction set of all objects.
    pub(super) fn machine(&self) -> Machine {
        self.objects.first().map_or(Machine::X86_64, |object| object.machine)
    }

    fn add(&mut self, mut object: Object<'d>) -> Result<(), PackError> {
        let (machine, others) = (object.machine, self.machine());
        if !self.objects.is_empty() && machine != others {
            return Err(PackError::OtherMachine { object: object.name, machine, others });
        }
        let number = u32::try_from(self.objects.len()).map_err(|_| PackError::TooLarge)?;
        self.drop_copies(&mut object, number);
        self.gather_arrays(&mut object, number)?;
        let mut symbols = std::mem::take(&mut object.symbols);
        for (index, symbol) in (0u32..).zip(&mut symbols) {
            if !symbol.is_local {
                let id = self.intern(symbol.name)?;
                symbol.global = Some(id);
                let definition = SymbolId { object: number, symbol: index };
                self.merge(id, definition, symbol, &object)?;
            }
        }
        object.symbols = symbols;
        self.objects.push(object);
        Ok(())
    }

    fn gather_arrays(&mut self, object: &mut Object<'d>, number: u32) -> Result<(), PackError> {
        for (section, found) in (0u32..).zip(&mut object.sections) {
            if found.is_loaded() && !found.discarded && is_c_name(found.name) {
                let next = u32::try_from(self.arrays.len()).map_err(|_| PackError::TooLarge)?;
                let array = *self.array_names.entry(found.name).or_insert(next);
                if array == next {
                    self.arrays.push(Vec::new());
                }
                found.array = Some(array);
                let sections = usize::try_from(array).ok().and_then(|at| self.arrays.get_mut(at));
                sections.into_iter().for_each(|s| s.push(SectionId { object: number, section }));
            }
        }
        Ok(())
    }

    /// Marks the sections of groups that another object has brought already.
    fn drop_copies(&mut self, object: &mut Object<'d>, number: u32) {
        let mut kept_members = HashMap::new();
        for (index, group) in object.groups.iter().enumerate() {
            let kept = *self.groups.entry(group.signature).or_insert((number, index));
            if kept.0 == number {
                // The first of its kind; a second one in the same object is the same group.
                continue;
            }
            let twins = kept_members.entry(kept).or_insert_with(|| self.members(kept));
            for member in &group.members {
                let member = usize::try_from(*member).ok();
                if let Some(section) = member.and_then(|at| object.sections.get_mut(at)) {
                    section.discarded = true;
                    section.twin = twins.get(section.name).copied();
                }
            }
        }
    }

    fn members(&self, (object, group): (u32, usize)) -> HashMap<&'d [u8], SectionId> {
        let group = self.object(object).and_then(|object| object.groups.get(group));
        let members = group.map_or(&[][..], |group| &group.members);
        let ids = members.iter().map(|section| SectionId { object, section: *section });
        ids.filter_map(|id| self.section(id).map(|section| (section.name, id))).collect()
    }

    /// Takes one more object's word on a name.
    fn merge(
        &mut self,
        id: GlobalId,
        definition: SymbolId,
        symbol: &Symbol<'d>,
        object: &Object<'d>,
    ) -> Result<(), PackError> {
        let index = usize::try_from(id).map_err(|_| PackError::TooLarge)?;
        let Some(global) = self.globals.get_mut(index) else { return Ok(()) };
        global.visibility = stricter(global.visibility, symbol.visibility);
        let rank = match symbol.place {
            Place::Undefined if symbol.is_weak => return Ok(()),
            Place::Undefined => Rank::Undefined,
            Place::Section { section, .. } if object.is_discarded(section) => return Ok(()),
            Place::Common { alignment } => {
                global.common_size = global.common_size.max(symbol.size);
                global.common_alignment = global.common_alignment.max(alignment);
                Rank::Common
            }
            Place::Absolute(_) | Place::Section { .. } if symbol.is_weak => Rank::Weak,
            Place::Absolute(_) | Place::Section { .. } => Rank::Strong,
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
            self.wanted.push(id);
        }
        Ok(())
    }

    /// The names that other modules can see.
    pub(super) fn exports(&self) -> impl Iterator<Item = Export<'_, 'd>> {
        let numbered = (0u32..).zip(&self.globals);
        numbered.filter(|(_, global)| global.is_exported()).filter_map(|(id, global)| {
            let symbol = self.symbol(global.definition)?;
            let referent = self.defined(id, global);
            // What has no place in memory cannot be asked of a module.
            (referent != Err(Trouble::NotLoaded)).then_some(Export { id, symbol, referent })
        })
    }

    /// Whether the name is defined weakly.
    pub(super) fn is_weak(&self, id: GlobalId) -> bool {
        self.global(id).is_some_and(|global| global.rank == Rank::Weak)
    }

    /// The definition of a name, exported or not.
    pub(super) fn find(&self, name: &[u8]) -> Option<GlobalId> {
        let id = *self.names.get(name)?;
        self.global(id).filter(|global| global.rank != Rank::Undefined).map(|_| id)
    }

    /// The object that defines a name.
    pub(super) fn definer(&self, id: GlobalId) -> u32 {
        self.global(id).map_or(0, |global| global.definition.object)
    }

    /// The section that a name is defined in.
    pub(super) fn home(&self, id: GlobalId) -> Option<SectionId> {
        let definition = self.global(id)?.definition;
        match self.symbol(definition)?.place {
            Place::Section { section, .. } => {
                Some(SectionId { object: definition.object, section })
            }
            _ => None,
        }
    }

    /// The sections of an array.
    pub(super) fn array(&self, array: u32) -> &[SectionId] {
        let sections = usize::try_from(array).ok().and_then(|at| self.arrays.get(at));
        sections.map_or(&[], Vec::as_slice)
    }

    /// The symbol that a reference to `id` ends at: its own, or the one that defines the name.
    pub(super) fn definition(&self, id: SymbolId) -> Option<&Symbol<'d>> {
        let symbol = self.symbol(id)?;
        let global = symbol.global.and_then(|global| self.global(global));
        match global {
            Some(global) if global.rank != Rank::Undefined => self.symbol(global.definition),
            _ => Some(symbol),
        }
    }

    /// What a symbol of an object means.
    pub(super) fn referent(&self, id: SymbolId) -> Result<Referent, Trouble> {
        let Some(symbol) = self.symbol(id) else { return Err(Trouble::Discarded) };
        match symbol.global {
            Some(global) => self.meaning(global, symbol.is_weak),
            None => self.placed(id.object, symbol),
        }
    }

    /// What a name means.
    pub(super) fn meaning(&self, id: GlobalId, is_weak: bool) -> Result<Referent, Trouble> {
        let Some(global) = self.global(id) else { return Err(Trouble::Discarded) };
        if global.rank == Rank::Undefined {
            self.undefined(id, is_weak)
        } else {
            self.defined(id, global)
        }
    }

    fn defined(&self, id: GlobalId, global: &Global<'d>) -> Result<Referent, Trouble> {
        if global.rank == Rank::Common {
            return Ok(Referent::Common(id));
        }
        let symbol = self.symbol(global.definition).ok_or(Trouble::Discarded)?;
        self.placed(global.definition.object, symbol)
    }

    /// Where a symbol is that its own object defines.
    fn placed(&self, object: u32, symbol: &Symbol<'d>) -> Result<Referent, Trouble> {
        match symbol.kind {
            elf::STT_GNU_IFUNC => return Err(Trouble::Ifunc),
            elf::STT_TLS => return Err(Trouble::ThreadLocal),
            _ => {}
        }
        let (section, value) = match symbol.place {
            Place::Section { section, value } => (section, value),
            Place::Absolute(value) => return Ok(Referent::Absolute(value)),
            // Symbol 0, which stands for no symbol.
            Place::Undefined | Place::Common { .. } => return Ok(Referent::Absolute(0)),
        };
        let mut id = SectionId { object, section };
        let mut found = self.section(id).ok_or(Trouble::Discarded)?;
        if found.discarded {
            id = found.twin.ok_or(Trouble::Discarded)?;
            found = self.section(id).filter(|twin| !twin.discarded).ok_or(Trouble::Discarded)?;
        }
        if !found.is_loaded() {
            return Err(Trouble::NotLoaded);
        }
        Ok(Referent::Section { id, value })
    }

    /// What a name means that no object defines.
    fn undefined(&self, id: GlobalId, is_weak: bool) -> Result<Referent, Trouble> {
        let Some(global) = self.global(id) else { return Err(Trouble::Discarded) };
        match (global.made, global.visibility) {
            (Some(made), _) => Ok(made),
            (None, elf::STV_DEFAULT | elf::STV_PROTECTED) => Ok(Referent::Import(id)),
            _ if is_weak => Ok(Referent::Absolute(0)),
            _ => Err(Trouble::Hidden),
        }
    }

    /// Gives the names that linkers define their meaning.
    fn define_made(&mut self) {
        for global in self.globals.iter_mut().filter(|global| global.rank == Rank::Undefined) {
            let array = |prefix: &[u8]| {
                let name = global.name.strip_prefix(prefix)?;
                self.array_names.get(name).copied()
            };
            global.made = match global.name {
                b"_GLOBAL_OFFSET_TABLE_" => Some(Referent::Got),
                b"__dso_handle" => Some(Referent::Handle),
                _ => array(b"__start_").map(|array| Referent::Bound { array, end: false }).or_else(
                    || array(b"__stop_").map(|array| Referent::Bound { array, end: true }),
                ),
            };
        }
    }
}

impl Object<'_> {
    fn is_discarded(&self, section: u32) -> bool {
        let section = usize::try_from(section).ok().and_then(|at| self.sections.get(at));
        section.is_some_and(|section| section.discarded)
    }
}

impl Global<'_> {
    fn is_exported(&self) -> bool {
        let visible = [elf::STV_DEFAULT, elf::STV_PROTECTED].contains(&self.visibility);
        visible && self.rank != Rank::Undefined && !self.name.contains(&b'@')
    }
}

/// Internal before hidden before protected before default.
fn stricter(one: elf::SymbolVisibility, other: elf::SymbolVisibility) -> elf::SymbolVisibility {
    // Their numbers are in that order, but for default, which is 0.
    match (one, other) {
        (elf::STV_DEFAULT, visibility) | (visibility, elf::STV_DEFAULT) => visibility,
        (one, other) if other.0 < one.0 => other,
        _ => one,
    }
}

/// Whether C can spell the name, and so the symbols at both ends of its sections.
fn is_c_name(name: &[u8]) -> bool {
    let head = |byte: &u8| byte.is_ascii_alphabetic() || *byte == b'_';
    name.first().is_some_and(head) && name.iter().all(|byte| head(byte) || byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_constraining_visibility_counts() {
        let order = [elf::STV_INTERNAL, elf::STV_HIDDEN, elf::STV_PROTECTED, elf::STV_DEFAULT];
        for (at, one) in order.into_iter().enumerate() {
            for (other_at, other) in order.into_iter().enumerate() {
                assert_eq!(stricter(one, other), order[at.min(other_at)]);
            }
        }
    }

    #[test]
    fn c_can_spell_some_names() {
        assert!(is_c_name(b"set_of_tests") && is_c_name(b"_2"));
        assert!(
            !is_c_name(b".text") && !is_c_name(b"2nd") && !is_c_name(b"a.b") && !is_c_name(b"")
        );
    }
}
