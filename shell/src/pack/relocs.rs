//! What the relocations of all needed sections ask for, before anything has an address.
//!
//! Every relocation of a section that is needed becomes a [`Fix`]. Calls of other modules go to a
//! stub in the code, one for each function, and everything that wants the address of something in
//! another module finds it in a slot of one table, so that what the loader has to write stands
//! together and no page of code is written to. Loads through the table of what this module defines
//! itself become direct. What a relocation means, each instruction set says in a file of its own.

use std::collections::{HashMap, HashSet};

use ::object::LittleEndian as LE;
use ::object::elf;
use smf_core::link::aarch64::Operand;

use super::aarch64;
use super::error::{PackError, PackWarning, RelocType};
use super::gc_sections::{Reach, decode};
use super::machine::Machine;
use super::object::{GlobalId, Section, SectionId, SymbolId, text};
use super::resolve::{Program, Referent};

/// One place that must hold a value.
pub(super) struct Fix {
    pub(super) section: SectionId,
    /// Bytes from the begin of the section, as it is in its object.
    pub(super) offset: u64,
    pub(super) form: Form,
    pub(super) to: To,
    pub(super) addend: i64,
    /// What the instruction becomes.
    pub(super) rewrite: Option<Rewrite>,
    /// What the object said, for messages.
    pub(super) kind: u32,
    pub(super) symbol: SymbolId,
}

/// How a value is computed: S the place meant, A the addend, P the place of the value, T the begin
/// of the table of addresses.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Form {
    /// S + A in as many bytes, and whether it is read as a signed number.
    Absolute { bytes: u64, signed: bool },
    /// S + A - P in as many bytes.
    Distance { bytes: u64 },
    /// S + A - T in as many bytes.
    FromTable { bytes: u64 },
    /// Where S + A is, in an instruction of aarch64.
    Operand(Operand),
}

impl Form {
    pub(super) fn bytes(self) -> u64 {
        match self {
            Form::Absolute { bytes, .. } | Form::Distance { bytes } | Form::FromTable { bytes } => {
                bytes
            }
            Form::Operand(_) => 4,
        }
    }
}

pub(super) const ABS64: Form = Form::Absolute { bytes: 8, signed: false };
pub(super) const PC32: Form = Form::Distance { bytes: 4 };

/// What a value is about.
#[derive(Clone, Copy)]
pub(super) enum To {
    Referent(Referent),
    /// A slot of the table of addresses.
    Slot(u32),
    /// The stub that jumps to what a slot holds.
    Stub(u32),
}

/// An instruction that changes with its operand.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Rewrite {
    /// `mov slot(%rip), %r` to `lea symbol(%rip), %r`.
    MovToLea,
    /// `lea symbol(%rip), %r` to `mov slot(%rip), %r`.
    LeaToMov,
    /// `call *slot(%rip)` to `addr32 call symbol`.
    Call,
    /// `jmp *slot(%rip)` to `jmp symbol; nop`, whose operand stands one byte earlier.
    Jump,
    /// `ldr x, [x, slot]` to `add x, x, symbol`.
    LoadToAdd,
    /// `add x, x, symbol` to `ldr x, [x, slot]`.
    AddToLoad,
}

/// What all relocations together ask for.
#[derive(Default)]
pub(super) struct Fixes {
    pub(super) list: Vec<Fix>,
    /// What each slot of the table of addresses holds.
    pub(super) slots: Vec<(Referent, i64)>,
    slot_numbers: HashMap<(Referent, i64), u32>,
    /// The slot that each stub jumps through.
    pub(super) stubs: Vec<u32>,
    stub_numbers: HashMap<u32, u32>,
    /// Symbols of other modules, in the order in which they are met.
    pub(super) imports: Vec<Import>,
    import_numbers: HashMap<GlobalId, usize>,
    /// Something asks where the table begins.
    pub(super) names_table: bool,
    /// Names of other modules that an object was warned of.
    warned: HashSet<(u32, GlobalId)>,
}

impl Fixes {
    /// The slot whose address is the module's handle.
    pub(super) fn handle(&self) -> Option<u32> {
        self.slot_numbers.get(&(Referent::Handle, 0)).copied()
    }

    /// The number of an import.
    pub(super) fn import_number(&self, global: GlobalId) -> Option<usize> {
        self.import_numbers.get(&global).copied()
    }
}

/// A symbol of another module.
pub(super) struct Import {
    pub(super) global: GlobalId,
    /// Every reference says that it may be missing.
    pub(super) is_weak: bool,
    /// Something reads or writes it at a distance.
    pub(super) is_data: bool,
}

/// Collects what the relocations of all needed sections ask for.
pub(super) fn scan(
    program: &Program<'_>,
    reach: &Reach,
    warnings: &mut Vec<PackWarning>,
) -> Result<Fixes, PackError> {
    let mut fixes = Fixes::default();
    let machine = program.machine();
    let rigid = match machine {
        Machine::X86_64 => HashSet::new(),
        Machine::Aarch64 => aarch64::rigid(program, reach),
    };
    for (id, section) in program.sections().filter(|(id, _)| reach.is_live(*id)) {
        let first = fixes.list.len();
        let mut scan = Scan { program, fixes: &mut fixes, warnings, rigid: &rigid, id, section };
        for rela in section.relocs.iter().copied().flatten() {
            let (kind, symbol) = decode(rela, id.object);
            let (offset, addend) = (rela.r_offset.get(LE), rela.r_addend.get(LE));
            let entry = Entry { kind, symbol, offset, addend };
            match machine {
                _ if kind == elf::R_X86_64_NONE.0 => {}
                Machine::X86_64 => scan.x86_64(entry)?,
                Machine::Aarch64 => scan.aarch64(entry)?,
            }
        }
        if let Some(offset) = overlap(fixes.list.get(first..).unwrap_or(&[])) {
            let (object, section) = program.titles(id);
            return Err(PackError::RelocOverlap { object, section, offset });
        }
    }
    Ok(fixes)
}

/// Where a relocation of one section changes a byte that another one changes as well.
fn overlap(fixes: &[Fix]) -> Option<u64> {
    let first = |spans: &[Span]| {
        let mut pairs = spans.iter().zip(spans.get(1..)?);
        pairs.find(|(one, next)| one.end > next.start).map(|(_, next)| next.offset)
    };
    let mut spans: Vec<_> = fixes.iter().map(Span::of).collect();
    first(&spans)?;
    // Compilers do write them out of order.
    spans.sort_unstable();
    first(&spans)
}

/// The bytes of a section that a fix changes: the operand, and what else of the instruction.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Span {
    start: u64,
    end: u64,
    /// Where the object has the relocation.
    offset: u64,
}

impl Span {
    fn of(fix: &Fix) -> Span {
        let (before, behind) = match fix.rewrite {
            // Opcode and ModRM.
            Some(Rewrite::MovToLea | Rewrite::LeaToMov | Rewrite::Call) => (2, 0),
            // The operand has moved to the place of the ModRM, and a `nop` stands behind it.
            Some(Rewrite::Jump) => (1, 1),
            Some(Rewrite::LoadToAdd | Rewrite::AddToLoad) | None => (0, 0),
        };
        let end = fix.offset.saturating_add(fix.form.bytes()).saturating_add(behind);
        let offset = fix.offset.saturating_add(behind);
        Span { start: fix.offset.saturating_sub(before), end, offset }
    }
}

/// A relocation, decoded.
#[derive(Clone, Copy)]
pub(super) struct Entry {
    pub(super) kind: u32,
    pub(super) symbol: SymbolId,
    pub(super) offset: u64,
    pub(super) addend: i64,
}

/// One section on its way through the relocations.
pub(super) struct Scan<'s, 'd> {
    pub(super) program: &'s Program<'d>,
    fixes: &'s mut Fixes,
    warnings: &'s mut Vec<PackWarning>,
    /// Symbols that are referred to by instructions which cannot change.
    pub(super) rigid: &'s HashSet<SymbolId>,
    id: SectionId,
    pub(super) section: &'s Section<'d>,
}

impl Scan<'_, '_> {
    pub(super) fn push(
        &mut self,
        entry: Entry,
        form: Form,
        to: To,
        addend: i64,
        rewrite: Option<Rewrite>,
    ) -> Result<(), PackError> {
        let Entry { kind, symbol, offset, .. } = entry;
        // A direct jump is one byte shorter than the one through a slot, and a `nop` fills up.
        let len = form.bytes() + u64::from(rewrite == Some(Rewrite::Jump));
        let end = offset.checked_add(len).filter(|end| *end <= self.section.size);
        if end.is_none() {
            let (object, section) = self.program.titles(self.id);
            let reason = "a relocation reaches outside the section";
            return Err(PackError::BrokenSection { object, section, reason });
        }
        if let To::Referent(referent) = to {
            let is_near = matches!(form, Form::Distance { .. } | Form::Operand(_));
            self.note(entry, referent, is_near)?;
        }
        self.fixes.names_table |= matches!(form, Form::FromTable { .. });
        let section = self.id;
        self.fixes.list.push(Fix { section, offset, form, to, addend, rewrite, kind, symbol });
        Ok(())
    }

    /// Takes note of a symbol that something refers to.
    fn note(&mut self, entry: Entry, referent: Referent, is_data: bool) -> Result<(), PackError> {
        match referent {
            Referent::Import(global) => self.import(entry, global, is_data),
            Referent::Got => self.fixes.names_table = true,
            // The slot of the handle is the handle: its address is nobody else's, and it holds it.
            Referent::Handle => {
                self.slot_number(referent, 0)?;
            }
            _ => {}
        }
        Ok(())
    }

    fn import(&mut self, entry: Entry, global: GlobalId, is_data: bool) {
        let is_weak = self.program.symbol(entry.symbol).is_some_and(|symbol| symbol.is_weak);
        let is_object =
            self.program.symbol(entry.symbol).is_some_and(|s| s.kind == elf::STT_OBJECT);
        let fixes = &mut *self.fixes;
        let number = *fixes.import_numbers.entry(global).or_insert(fixes.imports.len());
        if number == fixes.imports.len() {
            fixes.imports.push(Import { global, is_weak: true, is_data: false });
        }
        if let Some(import) = fixes.imports.get_mut(number) {
            import.is_weak &= is_weak;
            import.is_data |= is_data || is_object;
        }
    }

    pub(super) fn slot(
        &mut self,
        entry: Entry,
        referent: Referent,
        beyond: i64,
    ) -> Result<To, PackError> {
        self.note(entry, referent, false)?;
        self.slot_number(referent, beyond).map(To::Slot)
    }

    fn slot_number(&mut self, referent: Referent, beyond: i64) -> Result<u32, PackError> {
        let slots = &mut self.fixes.slots;
        let next = u32::try_from(slots.len()).map_err(|_| PackError::TooLarge)?;
        let number = *self.fixes.slot_numbers.entry((referent, beyond)).or_insert(next);
        if number == next {
            slots.push((referent, beyond));
        }
        Ok(number)
    }

    pub(super) fn stub(
        &mut self,
        entry: Entry,
        referent: Referent,
        beyond: i64,
    ) -> Result<To, PackError> {
        self.note(entry, referent, false)?;
        let slot = self.slot_number(referent, beyond)?;
        let next = u32::try_from(self.fixes.stubs.len()).map_err(|_| PackError::TooLarge)?;
        let number = *self.fixes.stub_numbers.entry(slot).or_insert(next);
        if number == next {
            self.fixes.stubs.push(slot);
        }
        Ok(To::Stub(number))
    }

    /// The size of a symbol, as the place meant.
    pub(super) fn size(&self, entry: Entry, referent: Referent) -> Result<To, PackError> {
        let size = match referent {
            Referent::Common(id) => self.program.global(id).map(|global| global.common_size),
            Referent::Import(_) => None,
            _ => self.program.definition(entry.symbol).map(|symbol| symbol.size),
        };
        let unknown = || self.refusal(entry, "asks for a size that only another module knows");
        Ok(To::Referent(Referent::Absolute(size.ok_or_else(unknown)?)))
    }

    pub(super) fn refusal(&self, entry: Entry, why: &'static str) -> PackError {
        let (object, section) = self.program.titles(self.id);
        let symbol = self.symbol_title(entry);
        PackError::RelocKind {
            object,
            section,
            kind: RelocType { machine: self.program.machine(), number: entry.kind },
            symbol,
            why,
        }
    }

    fn symbol_title(&self, entry: Entry) -> String {
        self.program.symbol(entry.symbol).map_or_else(String::new, |symbol| text(symbol.name))
    }

    pub(super) fn warn_of_near_import(&mut self, entry: Entry, referent: Referent) {
        let Referent::Import(global) = referent else { return };
        if self.fixes.warned.insert((self.id.object, global)) {
            let (object, section) = self.program.titles(self.id);
            let symbol = self.symbol_title(entry);
            self.warnings.push(PackWarning::NearImport { object, section, symbol });
        }
    }
}

/// Whether code cannot reach it by a distance, wherever the module lies.
pub(super) fn is_elsewhere(referent: Referent) -> bool {
    matches!(referent, Referent::Import(_) | Referent::Absolute(_))
}
