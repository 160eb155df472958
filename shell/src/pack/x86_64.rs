//! What the relocations of ELF on x86-64 ask for, before anything has an address.
//!
//! Every relocation of a section that is needed becomes a [`Fix`]. Calls of other modules go to a
//! stub in the code, one for each function, and everything that wants the address of something in
//! another module finds it in a slot of one table, so that what the loader has to write stands
//! together and no page of code is written to. Loads through the table of what this module defines
//! itself become direct.
//!
//! Facts: System V ABI, AMD64 supplement 1.0, 4.4 (relocation types) and B.2 (which instructions
//! stand before GOTPCRELX, and what they may become).

use std::collections::{HashMap, HashSet};

use ::object::LittleEndian as LE;
use ::object::elf::{self, RelocationType};

use super::error::{PackError, PackWarning, RelocType};
use super::object::{GlobalId, Section, SectionId, SymbolId, text};
use super::reach::{Reach, decode};
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
}

impl Form {
    pub(super) fn bytes(self) -> u64 {
        match self {
            Form::Absolute { bytes, .. } | Form::Distance { bytes } | Form::FromTable { bytes } => {
                bytes
            }
        }
    }
}

const ABS64: Form = Form::Absolute { bytes: 8, signed: false };
const PC32: Form = Form::Distance { bytes: 4 };

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
    for (id, section) in program.sections().filter(|(id, _)| reach.is_live(*id)) {
        let first = fixes.list.len();
        let mut scan = Scan { program, fixes: &mut fixes, warnings, id, section };
        for rela in section.relocs.iter().copied().flatten() {
            let (kind, symbol) = decode(rela, id.object);
            let (offset, addend) = (rela.r_offset.get(LE), rela.r_addend.get(LE));
            if kind != elf::R_X86_64_NONE.0 {
                scan.relocation(Entry { kind, symbol, offset, addend })?;
            }
        }
        if overlap(fixes.list.get(first..).unwrap_or(&[])) {
            let (object, section) = program.titles(id);
            let reason = "two relocations apply to one place";
            return Err(PackError::BrokenSection { object, section, reason });
        }
    }
    Ok(fixes)
}

/// Whether two of the places in one section share a byte.
fn overlap(fixes: &[Fix]) -> bool {
    let apart = |spans: &[(u64, u64)]| spans.is_sorted_by(|a, b| a.0 + a.1 <= b.0);
    let mut spans: Vec<_> = fixes.iter().map(|fix| (fix.offset, fix.form.bytes())).collect();
    if apart(&spans) {
        return false;
    }
    // Compilers do write them out of order.
    spans.sort_unstable();
    !apart(&spans)
}

/// A relocation, decoded.
#[derive(Clone, Copy)]
struct Entry {
    kind: u32,
    symbol: SymbolId,
    offset: u64,
    addend: i64,
}

/// One section on its way through the relocations.
struct Scan<'s, 'd> {
    program: &'s Program<'d>,
    fixes: &'s mut Fixes,
    warnings: &'s mut Vec<PackWarning>,
    id: SectionId,
    section: &'s Section<'d>,
}

impl Scan<'_, '_> {
    fn relocation(&mut self, entry: Entry) -> Result<(), PackError> {
        let referent = self.program.referent(entry.symbol).ok();
        let Some(referent) = referent else { return Err(self.refusal(entry, "leads nowhere")) };
        let direct = To::Referent(referent);
        let absolute = |bytes, signed| Form::Absolute { bytes, signed };
        let distance = |bytes| Form::Distance { bytes };
        let (form, to) = match RelocationType(entry.kind) {
            elf::R_X86_64_64 => (ABS64, direct),
            elf::R_X86_64_32 => (absolute(4, false), direct),
            elf::R_X86_64_32S => (absolute(4, true), direct),
            elf::R_X86_64_16 => (absolute(2, false), direct),
            elf::R_X86_64_8 => (absolute(1, false), direct),
            elf::R_X86_64_PC64 => (distance(8), direct),
            elf::R_X86_64_PC16 => (distance(2), direct),
            elf::R_X86_64_PC8 => (distance(1), direct),
            elf::R_X86_64_PC32 => return self.distance(entry, referent, false),
            elf::R_X86_64_PLT32 => return self.distance(entry, referent, true),
            elf::R_X86_64_GOTPCREL
            | elf::R_X86_64_GOTPCRELX
            | elf::R_X86_64_REX_GOTPCRELX
            | elf::R_X86_64_CODE_4_GOTPCRELX
            | elf::R_X86_64_CODE_5_GOTPCRELX
            | elf::R_X86_64_CODE_6_GOTPCRELX => return self.through_slot(entry, referent),
            elf::R_X86_64_GOTPCREL64 => (distance(8), self.slot(entry, referent, 0)?),
            elf::R_X86_64_GOT32 => (Form::FromTable { bytes: 4 }, self.slot(entry, referent, 0)?),
            elf::R_X86_64_GOT64 | elf::R_X86_64_GOTPLT64 => {
                (Form::FromTable { bytes: 8 }, self.slot(entry, referent, 0)?)
            }
            elf::R_X86_64_GOTOFF64 => (Form::FromTable { bytes: 8 }, direct),
            elf::R_X86_64_PLTOFF64 => {
                let to =
                    if is_elsewhere(referent) { self.stub(entry, referent, 0)? } else { direct };
                (Form::FromTable { bytes: 8 }, to)
            }
            elf::R_X86_64_GOTPC32 => (distance(4), To::Referent(Referent::Got)),
            elf::R_X86_64_GOTPC64 => (distance(8), To::Referent(Referent::Got)),
            elf::R_X86_64_SIZE32 => (absolute(4, false), self.size(entry, referent)?),
            elf::R_X86_64_SIZE64 => (ABS64, self.size(entry, referent)?),
            kind => return Err(self.refusal(entry, why_not(kind))),
        };
        self.push(entry, form, to, entry.addend, None)
    }

    /// A signed 32-bit distance. `is_call` says that the address of a stub serves as well.
    fn distance(
        &mut self,
        entry: Entry,
        referent: Referent,
        is_call: bool,
    ) -> Result<(), PackError> {
        let direct = To::Referent(referent);
        if !is_elsewhere(referent) {
            return self.push(entry, PC32, direct, entry.addend, None);
        }
        // The operand of a branch counts from the end of the instruction, 4 bytes on.
        let beyond = entry.addend.checked_add(4);
        match (self.before(entry.offset), beyond) {
            (Before::Branch, Some(beyond)) => {
                let to = self.stub(entry, referent, beyond)?;
                self.push(entry, PC32, to, -4, None)
            }
            _ if is_call => {
                let to = self.stub(entry, referent, 0)?;
                self.push(entry, PC32, to, entry.addend, None)
            }
            (Before::Lea, Some(beyond)) => {
                let to = self.slot(entry, referent, beyond)?;
                self.push(entry, PC32, to, -4, Some(Rewrite::LeaToMov))
            }
            _ => {
                self.warn_of_near_import(entry, referent);
                self.push(entry, PC32, direct, entry.addend, None)
            }
        }
    }

    /// A load, call or jump through a slot, which becomes direct where it can.
    fn through_slot(&mut self, entry: Entry, referent: Referent) -> Result<(), PackError> {
        let rewrite = self.relaxation(entry).filter(|_| !is_elsewhere(referent));
        let (mut entry, mut to) = (entry, To::Referent(referent));
        match rewrite {
            None => to = self.slot(entry, referent, 0)?,
            Some(Rewrite::Jump) => entry.offset = entry.offset.saturating_sub(1),
            Some(_) => {}
        }
        self.push(entry, PC32, to, entry.addend, rewrite)
    }

    /// What the instruction around a slot's operand may become when the symbol is near: `mov`, `call`
    /// and `jmp` have a direct form. The others that GOTPCRELX may stand in (`test`, `cmp`, `add` and
    /// their like) would need the address itself as an immediate, which no code that can lie anywhere
    /// has; they keep the slot.
    fn relaxation(&self, entry: Entry) -> Option<Rewrite> {
        if entry.addend != -4 {
            return None;
        }
        let [rex, opcode, modrm] = self.preceding(entry.offset)?;
        let loads = opcode == 0x8b && names_place(modrm);
        match RelocationType(entry.kind) {
            elf::R_X86_64_GOTPCRELX => match (opcode, modrm) {
                (0xff, 0x15) => Some(Rewrite::Call),
                (0xff, 0x25) => Some(Rewrite::Jump),
                _ => loads.then_some(Rewrite::MovToLea),
            },
            elf::R_X86_64_REX_GOTPCRELX => loads.then_some(Rewrite::MovToLea),
            // Of the older type nobody says what stands before it: a prefix must prove it.
            elf::R_X86_64_GOTPCREL => (loads && is_wide_prefix(rex) && !self.is_evex(entry.offset))
                .then_some(Rewrite::MovToLea),
            _ => None,
        }
    }

    /// What stands before a 32-bit operand.
    fn before(&self, offset: u64) -> Before {
        if !self.section.is_code() {
            return Before::Other;
        }
        let bytes = |count: u64| {
            let start = usize::try_from(offset.checked_sub(count)?).ok()?;
            self.section.bytes.get(start).copied()
        };
        // No operand of a load or store follows one of these: its ModRM byte would be below 0x40.
        match (bytes(2), bytes(1)) {
            (_, Some(0xe8 | 0xe9)) | (Some(0x0f), Some(0x80..=0x8f)) => return Before::Branch,
            _ => {}
        }
        let Some([prefix, opcode, modrm]) = self.preceding(offset) else { return Before::Other };
        let is_lea = is_wide_prefix(prefix) && opcode == 0x8d && names_place(modrm);
        if is_lea && !self.is_evex(offset) { Before::Lea } else { Before::Other }
    }

    /// The three bytes before an operand; zeroes stand for what is before the section.
    fn preceding(&self, offset: u64) -> Option<[u8; 3]> {
        let end = usize::try_from(offset).ok()?;
        let before = self.section.bytes.get(..end)?;
        match before.last_chunk() {
            Some(bytes) => Some(*bytes),
            None => before.last_chunk::<2>().map(|[opcode, modrm]| [0, *opcode, *modrm]),
        }
    }

    /// Whether what looks like REX.W and an opcode before an operand is the end of an EVEX prefix and
    /// an opcode of the map 0F38: VPERMW has that of `lea`, VPCOMPRESSD that of `mov`.
    fn is_evex(&self, offset: u64) -> bool {
        let end = usize::try_from(offset).ok().and_then(|offset| offset.checked_sub(3));
        let before = end.and_then(|end| self.section.bytes.get(..end));
        match before.and_then(|before| before.last_chunk()) {
            Some([first, map, prefix]) => *first == 0x62 && map & 0x0f == 2 && prefix & 7 == 5,
            None => false,
        }
    }

    fn push(
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
            self.note(entry, referent, matches!(form, Form::Distance { .. }))?;
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

    fn slot(&mut self, entry: Entry, referent: Referent, beyond: i64) -> Result<To, PackError> {
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

    fn stub(&mut self, entry: Entry, referent: Referent, beyond: i64) -> Result<To, PackError> {
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
    fn size(&self, entry: Entry, referent: Referent) -> Result<To, PackError> {
        let size = match referent {
            Referent::Common(id) => self.program.global(id).map(|global| global.common_size),
            Referent::Import(_) => None,
            _ => self.program.definition(entry.symbol).map(|symbol| symbol.size),
        };
        let unknown = || self.refusal(entry, "asks for a size that only another module knows");
        Ok(To::Referent(Referent::Absolute(size.ok_or_else(unknown)?)))
    }

    fn refusal(&self, entry: Entry, why: &'static str) -> PackError {
        let (object, section) = self.program.titles(self.id);
        let symbol = self.symbol_title(entry);
        PackError::RelocKind { object, section, kind: RelocType(entry.kind), symbol, why }
    }

    fn symbol_title(&self, entry: Entry) -> String {
        self.program.symbol(entry.symbol).map_or_else(String::new, |symbol| text(symbol.name))
    }

    fn warn_of_near_import(&mut self, entry: Entry, referent: Referent) {
        let Referent::Import(global) = referent else { return };
        if self.fixes.warned.insert((self.id.object, global)) {
            let (object, section) = self.program.titles(self.id);
            let symbol = self.symbol_title(entry);
            self.warnings.push(PackWarning::NearImport { object, section, symbol });
        }
    }
}

/// What stands before a 32-bit operand.
enum Before {
    /// `call`, `jmp` or a conditional jump.
    Branch,
    /// `lea` into a register of 64 bits.
    Lea,
    Other,
}

/// Whether code cannot reach it by a distance, wherever the module lies.
fn is_elsewhere(referent: Referent) -> bool {
    matches!(referent, Referent::Import(_) | Referent::Absolute(_))
}

/// REX.W, with or without REX.R.
fn is_wide_prefix(byte: u8) -> bool {
    byte == 0x48 || byte == 0x4c
}

/// Whether a ModRM byte says: a place at a distance from the instruction's end.
fn names_place(modrm: u8) -> bool {
    modrm & 0xc7 == 0x05
}

fn why_not(kind: RelocationType) -> &'static str {
    match kind {
        elf::R_X86_64_TLSGD
        | elf::R_X86_64_TLSLD
        | elf::R_X86_64_DTPOFF32
        | elf::R_X86_64_DTPOFF64
        | elf::R_X86_64_DTPMOD64
        | elf::R_X86_64_GOTTPOFF
        | elf::R_X86_64_TPOFF32
        | elf::R_X86_64_TPOFF64
        | elf::R_X86_64_GOTPC32_TLSDESC
        | elf::R_X86_64_TLSDESC_CALL
        | elf::R_X86_64_TLSDESC
        | elf::R_X86_64_CODE_4_GOTTPOFF
        | elf::R_X86_64_CODE_5_GOTTPOFF
        | elf::R_X86_64_CODE_6_GOTTPOFF
        | elf::R_X86_64_CODE_4_GOTPC32_TLSDESC
        | elf::R_X86_64_CODE_5_GOTPC32_TLSDESC
        | elf::R_X86_64_CODE_6_GOTPC32_TLSDESC => {
            "speaks of thread-local storage, which a module cannot express"
        }
        elf::R_X86_64_IRELATIVE => "is an indirect function (IFUNC), which a module cannot express",
        _ => "cannot be expressed in a module",
    }
}
