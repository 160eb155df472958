//! What the relocations of ELF on aarch64 ask for.
//!
//! An address takes two instructions, ADRP for its page and another for the rest, each with a
//! relocation of its own and often far apart. When one of them changes, all that speak of the same
//! symbol have to, so that it is found out first which symbols are spoken of by instructions that
//! cannot change.
//!
//! Facts: ELF for the Arm 64-bit Architecture (AAELF64), 5.7 (relocation types).

use std::collections::{HashMap, HashSet};

use ::object::LittleEndian as LE;
use ::object::elf::{self, RelocationType};
use smf_core::link::aarch64::{self, Operand};

use super::error::PackError;
use super::gc_sections::{Reach, decode};
use super::machine::Stub;
use super::object::{Section, SymbolId};
use super::relocs::{ABS64, Entry, Form, PC32, Rewrite, Scan, To, is_elsewhere};
use super::resolve::{Program, Referent};

pub(super) use smf_core::link::aarch64::PAGE;

/// What fills code where nothing is: a word of zeroes is UDF #0.
pub(super) const TRAP: u8 = 0;

/// `adrp x16, slot; ldr x16, [x16, slot]; br x16` and padding.
pub(super) const STUB: Stub = Stub {
    bytes: &[16, 0, 0, 0x90, 0x10, 2, 0x40, 0xf9, 0, 2, 0x1f, 0xd6, TRAP, TRAP, TRAP, TRAP],
    operands: &[(0, Form::Operand(Operand::Page21), 0), (4, Form::Operand(Operand::PageOff12), 0)],
};

/// The relocations that hold an address, which the loader has to write.
pub(super) const ADDRESSES: &[RelocationType] = &[elf::R_AARCH64_ABS64, elf::R_AARCH64_ABS32];

const PAGE21: Form = Form::Operand(Operand::Page21);
const PAGE_OFF12: Form = Form::Operand(Operand::PageOff12);

impl Scan<'_, '_> {
    /// Takes note of what one relocation asks for.
    pub(super) fn aarch64(&mut self, entry: Entry) -> Result<(), PackError> {
        let referent = self.program.referent(entry.symbol).ok();
        let Some(referent) = referent else { return Err(self.refusal(entry, "leads nowhere")) };
        let direct = To::Referent(referent);
        let absolute = |bytes| Form::Absolute { bytes, signed: false };
        let (form, to) = match RelocationType(entry.kind) {
            elf::R_AARCH64_ABS64 => (ABS64, direct),
            elf::R_AARCH64_ABS32 => (absolute(4), direct),
            elf::R_AARCH64_ABS16 => (absolute(2), direct),
            elf::R_AARCH64_PREL64 => (Form::Distance { bytes: 8 }, direct),
            elf::R_AARCH64_PREL16 => (Form::Distance { bytes: 2 }, direct),
            elf::R_AARCH64_PREL32 => {
                self.warn_of_near_import(entry, referent);
                (PC32, direct)
            }
            elf::R_AARCH64_PLT32 if is_elsewhere(referent) => {
                (PC32, self.stub(entry, referent, 0)?)
            }
            elf::R_AARCH64_PLT32 => (PC32, direct),
            elf::R_AARCH64_GOTPCREL32 => (PC32, self.slot(entry, referent, 0)?),
            elf::R_AARCH64_CALL26 | elf::R_AARCH64_JUMP26 => {
                return self.branch(entry, referent, Operand::Branch26);
            }
            elf::R_AARCH64_CONDBR19 => return self.branch(entry, referent, Operand::Word19),
            elf::R_AARCH64_TSTBR14 => return self.branch(entry, referent, Operand::Branch14),
            elf::R_AARCH64_LD_PREL_LO19 => (Form::Operand(Operand::Word19), direct),
            elf::R_AARCH64_ADR_PREL_LO21 => {
                self.warn_of_near_import(entry, referent);
                (PAGE21, direct)
            }
            elf::R_AARCH64_ADR_PREL_PG_HI21 | elf::R_AARCH64_ADR_PREL_PG_HI21_NC => {
                return self.page(entry, referent);
            }
            elf::R_AARCH64_ADR_GOT_PAGE => return self.slot_page(entry, referent),
            elf::R_AARCH64_LD64_GOT_LO12_NC => return self.slot_load(entry, referent),
            kind => match access_of(kind) {
                Some(access) => return self.page_offset(entry, referent, access),
                None => return Err(self.refusal(entry, why_not(kind))),
            },
        };
        self.push(entry, form, to, entry.addend, None)
    }

    /// A branch; to another module it goes by way of a stub.
    fn branch(
        &mut self,
        entry: Entry,
        referent: Referent,
        operand: Operand,
    ) -> Result<(), PackError> {
        if is_elsewhere(referent) {
            let to = self.stub(entry, referent, entry.addend)?;
            return self.push(entry, Form::Operand(operand), to, 0, None);
        }
        let to = To::Referent(referent);
        self.push(entry, Form::Operand(operand), to, entry.addend, None)
    }

    /// The page of something; of a slot, when that is in another module.
    fn page(&mut self, entry: Entry, referent: Referent) -> Result<(), PackError> {
        if self.keeps_reference(entry, referent) {
            self.warn_of_near_import(entry, referent);
            return self.push(entry, PAGE21, To::Referent(referent), entry.addend, None);
        }
        let to = self.slot(entry, referent, entry.addend)?;
        self.push(entry, PAGE21, to, 0, None)
    }

    /// The place of something on its page, in an instruction that moves `access`.
    fn page_offset(
        &mut self,
        entry: Entry,
        referent: Referent,
        access: Access,
    ) -> Result<(), PackError> {
        if word_at(self.section, entry.offset).and_then(Access::of) != Some(access) {
            return Err(self.refusal(entry, "is for an instruction of another kind"));
        }
        if self.keeps_reference(entry, referent) {
            return self.push(entry, PAGE_OFF12, To::Referent(referent), entry.addend, None);
        }
        let to = self.slot(entry, referent, entry.addend)?;
        self.push(entry, PAGE_OFF12, to, 0, Some(Rewrite::AddToLoad))
    }

    /// Whether ADRP and its second half keep speaking of the thing itself, and not of its slot.
    fn keeps_reference(&self, entry: Entry, referent: Referent) -> bool {
        !is_elsewhere(referent) || self.rigid.contains(&entry.symbol)
    }

    /// The page of a slot, or of what it would hold.
    fn slot_page(&mut self, entry: Entry, referent: Referent) -> Result<(), PackError> {
        if self.keeps_slot(entry, referent) {
            let to = self.slot(entry, referent, entry.addend)?;
            return self.push(entry, PAGE21, to, 0, None);
        }
        self.push(entry, PAGE21, To::Referent(referent), entry.addend, None)
    }

    /// A load through a slot, which becomes an addition where it can.
    fn slot_load(&mut self, entry: Entry, referent: Referent) -> Result<(), PackError> {
        if self.keeps_slot(entry, referent) {
            let to = self.slot(entry, referent, entry.addend)?;
            return self.push(entry, PAGE_OFF12, to, 0, None);
        }
        let to = To::Referent(referent);
        self.push(entry, PAGE_OFF12, to, entry.addend, Some(Rewrite::LoadToAdd))
    }

    fn keeps_slot(&self, entry: Entry, referent: Referent) -> bool {
        is_elsewhere(referent) || self.rigid.contains(&entry.symbol)
    }
}

/// What an instruction does with the place it names.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Access {
    Add,
    /// A load or store of so many bytes, as a logarithm.
    Move(u32),
}

impl Access {
    fn of(word: u32) -> Option<Self> {
        let scale = aarch64::access_scale(word)?;
        // Bit 27 tells loads and stores from additions.
        Some(if word >> 27 & 1 == 1 { Access::Move(scale) } else { Access::Add })
    }
}

fn access_of(kind: RelocationType) -> Option<Access> {
    match kind {
        elf::R_AARCH64_ADD_ABS_LO12_NC => Some(Access::Add),
        elf::R_AARCH64_LDST8_ABS_LO12_NC => Some(Access::Move(0)),
        elf::R_AARCH64_LDST16_ABS_LO12_NC => Some(Access::Move(1)),
        elf::R_AARCH64_LDST32_ABS_LO12_NC => Some(Access::Move(2)),
        elf::R_AARCH64_LDST64_ABS_LO12_NC => Some(Access::Move(3)),
        elf::R_AARCH64_LDST128_ABS_LO12_NC => Some(Access::Move(4)),
        _ => None,
    }
}

fn word_at(section: &Section<'_>, offset: u64) -> Option<u32> {
    let start = usize::try_from(offset).ok()?;
    section.bytes.get(start..)?.first_chunk().map(|bytes| u32::from_le_bytes(*bytes))
}

/// The symbols whose pairs of instructions cannot change: one of them has no other form, or the pairs
/// cannot be told apart because they speak of different places about the symbol.
pub(super) fn rigid(program: &Program<'_>, reach: &Reach) -> HashSet<SymbolId> {
    let mut addends = HashMap::new();
    let mut rigid = HashSet::new();
    for (id, section) in program.sections().filter(|(id, _)| reach.is_live(*id)) {
        for rela in section.relocs.iter().copied().flatten() {
            let (kind, symbol) = decode(rela, id.object);
            let Ok(referent) = program.referent(symbol) else { continue };
            let (offset, addend) = (rela.r_offset.get(LE), rela.r_addend.get(LE));
            let word = word_at(section, offset);
            if let Some(can_change) = can_change(RelocationType(kind), word, referent) {
                let first = *addends.entry(symbol).or_insert(addend);
                if !can_change || first != addend {
                    rigid.insert(symbol);
                }
            }
        }
    }
    rigid
}

/// Whether an instruction has another form; `None` where it needs none.
fn can_change(kind: RelocationType, word: Option<u32>, referent: Referent) -> Option<bool> {
    let is_elsewhere = is_elsewhere(referent);
    match kind {
        elf::R_AARCH64_ADR_PREL_PG_HI21 | elf::R_AARCH64_ADR_PREL_PG_HI21_NC => {
            is_elsewhere.then_some(true)
        }
        elf::R_AARCH64_ADR_GOT_PAGE => (!is_elsewhere).then_some(true),
        elf::R_AARCH64_LD64_GOT_LO12_NC => {
            (!is_elsewhere).then_some(word.and_then(aarch64::load_to_add).is_some())
        }
        kind => {
            access_of(kind)?;
            is_elsewhere.then_some(word.and_then(aarch64::add_to_load).is_some())
        }
    }
}

fn why_not(kind: RelocationType) -> &'static str {
    match kind {
        RelocationType(512..=573)
        | elf::R_AARCH64_TLS_DTPMOD
        | elf::R_AARCH64_TLS_DTPREL
        | elf::R_AARCH64_TLS_TPREL
        | elf::R_AARCH64_TLSDESC => "speaks of thread-local storage, which a module cannot express",
        elf::R_AARCH64_IRELATIVE => {
            "is an indirect function (IFUNC), which a module cannot express"
        }
        elf::R_AARCH64_MOVW_UABS_G0
        | elf::R_AARCH64_MOVW_UABS_G0_NC
        | elf::R_AARCH64_MOVW_UABS_G1
        | elf::R_AARCH64_MOVW_UABS_G1_NC
        | elf::R_AARCH64_MOVW_UABS_G2
        | elf::R_AARCH64_MOVW_UABS_G2_NC
        | elf::R_AARCH64_MOVW_UABS_G3
        | elf::R_AARCH64_MOVW_SABS_G0
        | elf::R_AARCH64_MOVW_SABS_G1
        | elf::R_AARCH64_MOVW_SABS_G2 => {
            "is part of an address in instructions, which a module that can lie anywhere cannot express; compile with -mcmodel=small"
        }
        elf::R_AARCH64_LD64_GOTPAGE_LO15 => {
            "needs the table of addresses nearer than a module promises it to be; compile with -fPIC"
        }
        elf::R_AARCH64_GOT_LD_PREL19 => {
            "needs the table of addresses nearer than a module promises it to be; compile with -mcmodel=small"
        }
        _ => "cannot be expressed in a module",
    }
}
