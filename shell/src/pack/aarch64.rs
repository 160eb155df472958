//! ELF relocation types of aarch64.
//!
//! Two instructions form an address: ADRP computes the page and a second one the offset in it, each with a
//! relocation of its own and often far apart. When one of them is rewritten, all that refer to the same
//! symbol have to be. [`unrelaxable`] therefore finds the symbols with a reference that has no other form.
//!
//! Source: ELF for the Arm 64-bit Architecture (AAELF64), 5.7 (relocation types).

use std::collections::{HashMap, HashSet};

use ::object::LittleEndian as LE;
use ::object::elf::{self, RelocationType};
use smf_core::link::aarch64::{self, Operand};

use super::error::PackError;
use super::gc_sections::Reachable;
use super::object::{Section, SymbolId, decode};
use super::pack_reloc::{ABS64, PC32, RelocForm, RelocTarget, Rewrite, Stub};
use super::resolve::{Program, Resolution};
use super::scanner::{InputReloc, RelocScanner, is_external};

/// Fills gaps in code: a word of zeroes is UDF #0.
pub(super) const TRAP: u8 = 0;

/// `adrp x16, slot; ldr x16, [x16, slot]; br x16` and padding.
pub(super) const STUB: Stub = Stub {
    bytes: &[16, 0, 0, 0x90, 0x10, 2, 0x40, 0xf9, 0, 2, 0x1f, 0xd6, TRAP, TRAP, TRAP, TRAP],
    operands: &[
        (0, RelocForm::Instruction(Operand::Page21), 0),
        (4, RelocForm::Instruction(Operand::PageOff12), 0),
    ],
};

/// The relocation types whose field holds an address, which the loader has to write.
pub(super) const ADDRESSES: &[RelocationType] = &[elf::R_AARCH64_ABS64, elf::R_AARCH64_ABS32];

const PAGE21: RelocForm = RelocForm::Instruction(Operand::Page21);
const PAGE_OFF12: RelocForm = RelocForm::Instruction(Operand::PageOff12);

impl RelocScanner<'_, '_> {
    /// Records what one relocation needs.
    pub(super) fn aarch64(&mut self, reloc: InputReloc) -> Result<(), PackError> {
        let resolution = self.program.resolution(reloc.symbol).ok();
        let Some(resolution) = resolution else { return Err(self.error(reloc, "has no target")) };
        let direct = RelocTarget::Symbol(resolution);
        let absolute = |bytes| RelocForm::Absolute { bytes, signed: false };
        let (form, to) = match RelocationType(reloc.kind) {
            elf::R_AARCH64_ABS64 => (ABS64, direct),
            elf::R_AARCH64_ABS32 => (absolute(4), direct),
            elf::R_AARCH64_ABS16 => (absolute(2), direct),
            elf::R_AARCH64_PREL64 => (RelocForm::PcRelative { bytes: 8 }, direct),
            elf::R_AARCH64_PREL16 => (RelocForm::PcRelative { bytes: 2 }, direct),
            elf::R_AARCH64_PREL32 => {
                self.warn_of_near_import(reloc, resolution);
                (PC32, direct)
            }
            elf::R_AARCH64_PLT32 if is_external(resolution) => {
                (PC32, self.stub(reloc, resolution, 0)?)
            }
            elf::R_AARCH64_PLT32 => (PC32, direct),
            elf::R_AARCH64_GOTPCREL32 => (PC32, self.slot(reloc, resolution, 0)?),
            elf::R_AARCH64_CALL26 | elf::R_AARCH64_JUMP26 => {
                return self.branch(reloc, resolution, Operand::Branch26);
            }
            elf::R_AARCH64_CONDBR19 => return self.branch(reloc, resolution, Operand::Word19),
            elf::R_AARCH64_TSTBR14 => return self.branch(reloc, resolution, Operand::Branch14),
            elf::R_AARCH64_LD_PREL_LO19 => (RelocForm::Instruction(Operand::Word19), direct),
            elf::R_AARCH64_ADR_PREL_LO21 => {
                self.warn_of_near_import(reloc, resolution);
                (PAGE21, direct)
            }
            elf::R_AARCH64_ADR_PREL_PG_HI21 | elf::R_AARCH64_ADR_PREL_PG_HI21_NC => {
                return self.page(reloc, resolution);
            }
            elf::R_AARCH64_ADR_GOT_PAGE => return self.slot_page(reloc, resolution),
            elf::R_AARCH64_LD64_GOT_LO12_NC => return self.slot_load(reloc, resolution),
            kind => match access_of(kind) {
                Some(access) => return self.page_offset(reloc, resolution, access),
                None => return Err(self.error(reloc, unsupported_reason(kind))),
            },
        };
        self.push(reloc, form, to, reloc.addend, None)
    }

    /// A branch; one to another module goes through a stub.
    fn branch(
        &mut self,
        reloc: InputReloc,
        resolution: Resolution,
        operand: Operand,
    ) -> Result<(), PackError> {
        if is_external(resolution) {
            let to = self.stub(reloc, resolution, reloc.addend)?;
            return self.push(reloc, RelocForm::Instruction(operand), to, 0, None);
        }
        let to = RelocTarget::Symbol(resolution);
        self.push(reloc, RelocForm::Instruction(operand), to, reloc.addend, None)
    }

    /// ADRP of a symbol, or of its GOT slot when the symbol is in another module.
    fn page(&mut self, reloc: InputReloc, resolution: Resolution) -> Result<(), PackError> {
        if self.keeps_reference(reloc, resolution) {
            self.warn_of_near_import(reloc, resolution);
            return self.push(reloc, PAGE21, RelocTarget::Symbol(resolution), reloc.addend, None);
        }
        let to = self.slot(reloc, resolution, reloc.addend)?;
        self.push(reloc, PAGE21, to, 0, None)
    }

    /// The page offset of a symbol, in an instruction that performs `access`.
    fn page_offset(
        &mut self,
        reloc: InputReloc,
        resolution: Resolution,
        access: Access,
    ) -> Result<(), PackError> {
        if word_at(self.section, reloc.offset).and_then(Access::of) != Some(access) {
            return Err(self.error(reloc, "does not match its instruction"));
        }
        if self.keeps_reference(reloc, resolution) {
            return self.push(
                reloc,
                PAGE_OFF12,
                RelocTarget::Symbol(resolution),
                reloc.addend,
                None,
            );
        }
        let to = self.slot(reloc, resolution, reloc.addend)?;
        self.push(reloc, PAGE_OFF12, to, 0, Some(Rewrite::AddToLoad))
    }

    /// Whether ADRP and its second instruction keep referring to the symbol itself, not to its slot.
    fn keeps_reference(&self, reloc: InputReloc, resolution: Resolution) -> bool {
        !is_external(resolution) || self.unrelaxable.contains(&reloc.symbol)
    }

    /// ADRP of a GOT slot, or of the symbol itself where the load can be relaxed.
    fn slot_page(&mut self, reloc: InputReloc, resolution: Resolution) -> Result<(), PackError> {
        if self.keeps_slot(reloc, resolution) {
            let to = self.slot(reloc, resolution, reloc.addend)?;
            return self.push(reloc, PAGE21, to, 0, None);
        }
        self.push(reloc, PAGE21, RelocTarget::Symbol(resolution), reloc.addend, None)
    }

    /// A load from a GOT slot, relaxed to an addition where possible.
    fn slot_load(&mut self, reloc: InputReloc, resolution: Resolution) -> Result<(), PackError> {
        if self.keeps_slot(reloc, resolution) {
            let to = self.slot(reloc, resolution, reloc.addend)?;
            return self.push(reloc, PAGE_OFF12, to, 0, None);
        }
        let to = RelocTarget::Symbol(resolution);
        self.push(reloc, PAGE_OFF12, to, reloc.addend, Some(Rewrite::LoadToAdd))
    }

    fn keeps_slot(&self, reloc: InputReloc, resolution: Resolution) -> bool {
        is_external(resolution) || self.unrelaxable.contains(&reloc.symbol)
    }
}

/// The operation of an instruction with a page offset.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Access {
    Add,
    /// A load or store of `1 << n` bytes.
    Move(u32),
}

impl Access {
    fn of(word: u32) -> Option<Self> {
        let scale = aarch64::access_scale(word)?;
        // Bit 27 distinguishes loads and stores from additions.
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

/// The symbols whose instruction pairs cannot be rewritten: an instruction has no other form, or the pairs
/// cannot be matched because their addends differ.
pub(super) fn unrelaxable(program: &Program<'_>, reachable: &Reachable) -> HashSet<SymbolId> {
    let mut addends = HashMap::new();
    let mut unrelaxable = HashSet::new();
    for (id, section) in program.sections().filter(|(id, _)| reachable.is_live(*id)) {
        for rela in section.relocs.iter().copied().flatten() {
            let (kind, symbol) = decode(rela, id.object);
            let Ok(resolution) = program.resolution(symbol) else { continue };
            let (offset, addend) = (rela.r_offset.get(LE), rela.r_addend.get(LE));
            let word = word_at(section, offset);
            if let Some(can_change) = can_change(RelocationType(kind), word, resolution) {
                let first = *addends.entry(symbol).or_insert(addend);
                if !can_change || first != addend {
                    unrelaxable.insert(symbol);
                }
            }
        }
    }
    unrelaxable
}

/// Whether an instruction has another form; `None` where it needs none.
fn can_change(kind: RelocationType, word: Option<u32>, resolution: Resolution) -> Option<bool> {
    let is_external = is_external(resolution);
    match kind {
        elf::R_AARCH64_ADR_PREL_PG_HI21 | elf::R_AARCH64_ADR_PREL_PG_HI21_NC => {
            is_external.then_some(true)
        }
        elf::R_AARCH64_ADR_GOT_PAGE => (!is_external).then_some(true),
        elf::R_AARCH64_LD64_GOT_LO12_NC => {
            (!is_external).then_some(word.and_then(aarch64::load_to_add).is_some())
        }
        kind => {
            access_of(kind)?;
            is_external.then_some(word.and_then(aarch64::add_to_load).is_some())
        }
    }
}

fn unsupported_reason(kind: RelocationType) -> &'static str {
    match kind {
        RelocationType(512..=573)
        | elf::R_AARCH64_TLS_DTPMOD
        | elf::R_AARCH64_TLS_DTPREL
        | elf::R_AARCH64_TLS_TPREL
        | elf::R_AARCH64_TLSDESC => "refers to thread-local storage, which a module cannot express",
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
            "is part of an address in instructions, which a relocatable module cannot express; compile with -mcmodel=small"
        }
        elf::R_AARCH64_LD64_GOTPAGE_LO15 => {
            "needs the GOT nearer than a module guarantees; compile with -fPIC"
        }
        elf::R_AARCH64_GOT_LD_PREL19 => {
            "needs the GOT nearer than a module guarantees; compile with -mcmodel=small"
        }
        _ => "cannot be expressed in a module",
    }
}
