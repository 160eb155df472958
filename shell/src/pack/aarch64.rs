//! ELF relocation types of aarch64.
//!
//! Two instructions form an address: ADRP computes the page and a second one the offset in it, each with a
//! relocation of its own and often far apart. When one of them is rewritten, all that refer to the same
//! symbol have to be. [`survey`] therefore finds the symbols with a reference that has no other form.
//!
//! Code of `-fpic` and `-fpie` (the small GOT) computes the page of the GOT once and loads each slot by a distance of 15 bits.
//! In modules with such code the GOT starts at a page boundary, so that these distances depend neither on the load
//! address nor on the layout, and its first slots are those that such code loads.
//!
//! Source: ELF for the Arm 64-bit Architecture (AAELF64), 5.7 (relocation types).

use hashbrown::{HashMap, HashSet};

use ::object::elf::{self, RelocationType};
use smf_core::link::aarch64::{self, Operand};

use super::error::Result;
use super::gc_sections::Reachable;
use super::init_sections::FragmentFrame;
use super::object::{IndexSet, InputReloc, Section, SymbolId};
use super::pack_reloc::{ABS64, Isa, PC32, RegistrarCode, RelocForm, RelocTarget, Rewrite, Stub};
use super::resolve::Resolution;
use super::scanner::{RelocScanner, is_external};

pub(super) const ISA: Isa = Isa {
    // A word of zeroes is UDF #0.
    trap: 0,
    // `adrp x16, slot; ldr x16, [x16, slot]; br x16` and padding.
    stub: Stub {
        bytes: &[16, 0, 0, 0x90, 0x10, 2, 0x40, 0xf9, 0, 2, 0x1f, 0xd6, 0, 0, 0, 0],
        operands: &[(0, PAGE21, 0), (4, PAGE_OFF12, 0)],
    },
    // The same behind `bti c`, without padding.
    landing_stub: Stub {
        bytes: &[0x5f, 0x24, 3, 0xd5, 16, 0, 0, 0x90, 0x10, 2, 0x40, 0xf9, 0, 2, 0x1f, 0xd6],
        operands: &[(4, PAGE21, 0), (8, PAGE_OFF12, 0)],
    },
    registrars: [
        RegistrarCode {
            // `adrp x2, handle; add x2, x2, handle; mov x1, #0` and the jump of a stub
            bytes: &[
                2, 0, 0, 0x90, 0x42, 0, 0, 0x91, 1, 0, 0x80, 0xd2, 16, 0, 0, 0x90, 0x10, 2, 0x40,
                0xf9, 0, 2, 0x1f, 0xd6, 0, 0, 0, 0, 0, 0, 0, 0,
            ],
            handle: &[(0, PAGE21, 0), (4, PAGE_OFF12, 0)],
            slot: &[(12, PAGE21, 0), (16, PAGE_OFF12, 0)],
        },
        RegistrarCode {
            // `adrp x1, handle; add x1, x1, handle` and the jump
            bytes: &[
                1, 0, 0, 0x90, 0x21, 0, 0, 0x91, 16, 0, 0, 0x90, 0x10, 2, 0x40, 0xf9, 0, 2, 0x1f,
                0xd6, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
            ],
            handle: &[(0, PAGE21, 0), (4, PAGE_OFF12, 0)],
            slot: &[(8, PAGE21, 0), (12, PAGE_OFF12, 0)],
        },
        RegistrarCode {
            // `adrp x3, handle; add x3, x3, handle` and the jump
            bytes: &[
                3, 0, 0, 0x90, 0x63, 0, 0, 0x91, 16, 0, 0, 0x90, 0x10, 2, 0x40, 0xf9, 0, 2, 0x1f,
                0xd6, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
            ],
            handle: &[(0, PAGE21, 0), (4, PAGE_OFF12, 0)],
            slot: &[(8, PAGE21, 0), (12, PAGE_OFF12, 0)],
        },
    ],
    // `bti c; stp x29, x30, [sp, #-16]!; mov x29, sp`, `ldp x29, x30, [sp], #16; ret`
    fragments: FragmentFrame {
        start: &[0x5f, 0x24, 3, 0xd5, 0xfd, 0x7b, 0xbf, 0xa9, 0xfd, 3, 0, 0x91],
        end: &[0xfd, 0x7b, 0xc1, 0xa8, 0xc0, 3, 0x5f, 0xd6],
        nop: &[0x1f, 0x20, 3, 0xd5],
    },
    code_alignment: aarch64::PAGE,
    plain: &[(elf::R_AARCH64_ABS64, ABS64)],
    addresses: &[elf::R_AARCH64_ABS64, elf::R_AARCH64_ABS32],
};

/// The slots in reach of an offset of 15 bits.
const NEAR_SLOTS: usize = 1 << 12;
pub(super) const PAGE21: RelocForm = RelocForm::Instruction(Operand::Page21);
pub(super) const PAGE_OFF12: RelocForm = RelocForm::Instruction(Operand::PageOff12);
/// The literal of a load in the tiny code model.
pub(super) const WORD19: RelocForm = RelocForm::Instruction(Operand::Word19);

impl RelocScanner<'_, '_> {
    /// Records what one relocation needs.
    pub(super) fn aarch64(&mut self, reloc: InputReloc) -> Result<()> {
        let resolution = self.program.resolution(reloc.symbol).ok();
        let Some(resolution) = resolution else { return Err(self.error(reloc, "has no target")) };
        if resolution == Resolution::Got && !is_address_of_got(reloc.kind) {
            return Err(self.error(reloc, "does not compute the address of the GOT in code, and the GOT of a module has no other use; compile with -fPIC"));
        }
        let direct = RelocTarget::Symbol(resolution);
        // Whether ADRP and its second instruction keep referring to the symbol, or to its slot.
        let is_fixed = self.unrelaxable.contains(&reloc.symbol);
        let keeps_symbol = !is_external(resolution) || is_fixed;
        let keeps_slot = is_external(resolution) || is_fixed;
        let (form, to) = match reloc.kind {
            kind if let Some(form) = data_form(kind) => (form, direct),
            elf::R_AARCH64_PREL32 => {
                self.warn_of_near_import(reloc, resolution);
                (PC32, direct)
            }
            elf::R_AARCH64_PLT32 if is_external(resolution) => {
                (PC32, self.landing_stub(reloc, resolution))
            }
            elf::R_AARCH64_PLT32 => (PC32, direct),
            elf::R_AARCH64_GOTPCREL32 => (PC32, self.slot(reloc, resolution, 0)),
            elf::R_AARCH64_CALL26 | elf::R_AARCH64_JUMP26 => {
                return self.branch(reloc, resolution, Operand::Branch26);
            }
            elf::R_AARCH64_CONDBR19 => return self.branch(reloc, resolution, Operand::Word19),
            elf::R_AARCH64_TSTBR14 => return self.branch(reloc, resolution, Operand::Branch14),
            elf::R_AARCH64_LD_PREL_LO19 => (WORD19, direct),
            elf::R_AARCH64_ADR_PREL_LO21 => {
                self.warn_of_adjacent_import(reloc, resolution);
                (PAGE21, direct)
            }
            kind if is_near_slot(kind) => return self.near_slot(reloc, resolution),
            elf::R_AARCH64_ADR_PREL_PG_HI21 | elf::R_AARCH64_ADR_PREL_PG_HI21_NC => {
                if keeps_symbol {
                    self.warn_of_near_import(reloc, resolution);
                }
                return self.operand(reloc, PAGE21, resolution, keeps_symbol, None);
            }
            elf::R_AARCH64_ADR_GOT_PAGE => {
                return self.operand(reloc, PAGE21, resolution, !keeps_slot, None);
            }
            elf::R_AARCH64_GOT_LD_PREL19 => {
                return self.operand(reloc, WORD19, resolution, false, None);
            }
            elf::R_AARCH64_LD64_GOT_LO12_NC => {
                let rewrite = (!keeps_slot).then_some(Rewrite::LoadToAdd);
                return self.operand(reloc, PAGE_OFF12, resolution, !keeps_slot, rewrite);
            }
            kind => {
                let access = access_of(kind).ok_or_else(|| self.unsupported(reloc))?;
                if word_at(self.section, reloc.offset).and_then(Access::of) != Some(access) {
                    return Err(self.error(reloc, "does not match its instruction"));
                }
                let rewrite = (!keeps_symbol).then_some(Rewrite::AddToLoad);
                return self.operand(reloc, PAGE_OFF12, resolution, keeps_symbol, rewrite);
            }
        };
        self.push(reloc, form, to, reloc.addend, None)
    }

    /// A branch; one to another module goes through a stub.
    fn branch(&mut self, reloc: InputReloc, resolution: Resolution, to: Operand) -> Result<()> {
        let form = RelocForm::Instruction(to);
        if !is_external(resolution) {
            return self.direct(reloc, form, resolution, None);
        }
        let to = self.stub(reloc, resolution, reloc.addend);
        self.push(reloc, form, to, 0, None)
    }

    /// A load of a slot by its distance from the start of the GOT.
    fn near_slot(&mut self, reloc: InputReloc, resolution: Resolution) -> Result<()> {
        if word_at(self.section, reloc.offset).and_then(Access::of) != Some(Access::Move(3)) {
            return Err(self.error(reloc, "does not match its instruction"));
        }
        let to = self.slot(reloc, resolution, reloc.addend);
        if matches!(to, RelocTarget::GotSlot(number) if number >= NEAR_SLOTS) {
            return Err(self.error(reloc, "needs one of the first 4096 slots of the GOT, which other symbols have; compile with -fPIC"));
        }
        self.push(reloc, RelocForm::GotLoad15, to, 0, None)
    }

    /// An operand with the address of a symbol (`is_direct`) or of its GOT slot.
    fn operand(
        &mut self,
        reloc: InputReloc,
        form: RelocForm,
        resolution: Resolution,
        is_direct: bool,
        rewrite: Option<Rewrite>,
    ) -> Result<()> {
        if is_direct {
            return self.direct(reloc, form, resolution, rewrite);
        }
        let to = self.slot(reloc, resolution, reloc.addend);
        self.push(reloc, form, to, 0, rewrite)
    }
}

/// The form of a word of data with an address or a distance that needs no other table.
fn data_form(kind: RelocationType) -> Option<RelocForm> {
    Some(match kind {
        elf::R_AARCH64_ABS64 => ABS64,
        elf::R_AARCH64_ABS32 => RelocForm::Absolute { bytes: 4, signed: false },
        elf::R_AARCH64_ABS16 => RelocForm::Absolute { bytes: 2, signed: false },
        elf::R_AARCH64_PREL64 => RelocForm::PcRelative { bytes: 8 },
        elf::R_AARCH64_PREL16 => RelocForm::PcRelative { bytes: 2 },
        _ => return None,
    })
}

/// Whether a relocation is part of the address of the GOT as compilers compute it. The contents of a GOT that others expect,
/// such as the address of `_DYNAMIC`, do not exist.
fn is_address_of_got(kind: RelocationType) -> bool {
    matches!(
        kind,
        elf::R_AARCH64_ADR_PREL_PG_HI21
            | elf::R_AARCH64_ADR_PREL_PG_HI21_NC
            | elf::R_AARCH64_ADR_PREL_LO21
            | elf::R_AARCH64_ADD_ABS_LO12_NC
    )
}

/// What a value out of range means for a relocation of this type, with the remedy, if there is one.
pub(super) fn out_of_range(kind: RelocationType) -> Option<&'static str> {
    match kind {
        kind if is_tiny_distance(kind) => Some("is out of range; compile with -mcmodel=small"),
        elf::R_AARCH64_CALL26 | elf::R_AARCH64_JUMP26 => Some(
            "is out of range, because a call reaches 128 MiB; pack the objects as several modules",
        ),
        _ => None,
    }
}

/// Whether a relocation is a distance of the tiny code model, which reaches 1 MiB.
fn is_tiny_distance(kind: RelocationType) -> bool {
    matches!(
        kind,
        elf::R_AARCH64_LD_PREL_LO19
            | elf::R_AARCH64_ADR_PREL_LO21
            | elf::R_AARCH64_GOT_LD_PREL19
            | elf::R_AARCH64_TLSGD_ADR_PREL21
            | elf::R_AARCH64_TLSLD_ADR_PREL21
            | elf::R_AARCH64_TLSIE_LD_GOTTPREL_PREL19
            | elf::R_AARCH64_TLSDESC_LD_PREL19
            | elf::R_AARCH64_TLSDESC_ADR_PREL21
    )
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

/// The relocation types of a page offset in each instruction: for an address, and for an offset from the thread pointer.
const ACCESSES: [(Access, RelocationType, RelocationType); 6] = [
    (Access::Add, elf::R_AARCH64_ADD_ABS_LO12_NC, elf::R_AARCH64_TLSLE_ADD_TPREL_LO12_NC),
    (Access::Move(0), elf::R_AARCH64_LDST8_ABS_LO12_NC, elf::R_AARCH64_TLSLE_LDST8_TPREL_LO12_NC),
    (Access::Move(1), elf::R_AARCH64_LDST16_ABS_LO12_NC, elf::R_AARCH64_TLSLE_LDST16_TPREL_LO12_NC),
    (Access::Move(2), elf::R_AARCH64_LDST32_ABS_LO12_NC, elf::R_AARCH64_TLSLE_LDST32_TPREL_LO12_NC),
    (Access::Move(3), elf::R_AARCH64_LDST64_ABS_LO12_NC, elf::R_AARCH64_TLSLE_LDST64_TPREL_LO12_NC),
    (
        Access::Move(4),
        elf::R_AARCH64_LDST128_ABS_LO12_NC,
        elf::R_AARCH64_TLSLE_LDST128_TPREL_LO12_NC,
    ),
];

fn access_of(kind: RelocationType) -> Option<Access> {
    ACCESSES.iter().find(|(_, address, _)| *address == kind).map(|(access, ..)| *access)
}

/// The types of the instruction `word`, as above; `None` if it has no page offset.
pub(super) fn page_offset_types(word: u32) -> Option<(RelocationType, RelocationType)> {
    let access = Access::of(word)?;
    let found = ACCESSES.iter().find(|(other, ..)| *other == access);
    found.map(|(_, address, offset)| (*address, *offset))
}

fn word_at(section: &Section<'_>, offset: u64) -> Option<u32> {
    let start = usize::try_from(offset).ok()?;
    section.bytes.get(start..)?.first_chunk().map(|bytes| u32::from_le_bytes(*bytes))
}

/// Whether the instruction with an offset of thread-local storage has the operand that its relocation type names.
pub(super) fn holds_offset(section: &Section<'_>, reloc: InputReloc) -> bool {
    let Some(word) = word_at(section, reloc.offset) else { return false };
    let highs = [elf::R_AARCH64_TLSLE_ADD_TPREL_HI12, elf::R_AARCH64_TLSLD_ADD_DTPREL_HI12];
    if highs.contains(&reloc.kind) {
        return aarch64::is_shifted_add(word);
    }
    let stated = ACCESSES.iter().find(|(.., offset)| *offset == reloc.kind);
    let access = stated.map_or(Access::Add, |(access, ..)| *access);
    Access::of(word) == Some(access)
}

/// What the scan of the first relocation depends on.
#[derive(Default)]
pub(super) struct Survey {
    /// The symbols whose instruction pairs cannot be rewritten: an instruction has no other form, or the pairs
    /// cannot be matched because their addends differ.
    pub(super) unrelaxable: HashSet<SymbolId>,
    /// The target and addend of each GOT slot that has to be near the start of the GOT.
    pub(super) near_slots: IndexSet<(Resolution, i64)>,
}

/// Looks at all relocations.
pub(super) fn survey(reachable: &Reachable<'_, '_>) -> Survey {
    let mut addends = HashMap::new();
    let mut survey = Survey::default();
    for (id, section) in reachable.sections() {
        for InputReloc { kind, symbol, offset, addend } in section.relocs(id.object) {
            let Ok(resolution) = reachable.program.resolution(symbol) else { continue };
            if is_near_slot(kind) {
                survey.near_slots.insert((resolution, addend));
            }
            let word = word_at(section, offset);
            if let Some(can_change) = can_change(kind, word, resolution) {
                let first = *addends.entry(symbol).or_insert(addend);
                if !can_change || first != addend {
                    survey.unrelaxable.insert(symbol);
                }
            }
        }
    }
    survey
}

/// Whether a relocation is a distance of 15 bits from the start of the GOT, or from its page.
fn is_near_slot(kind: RelocationType) -> bool {
    matches!(kind, elf::R_AARCH64_LD64_GOTPAGE_LO15 | elf::R_AARCH64_LD64_GOTOFF_LO15)
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
