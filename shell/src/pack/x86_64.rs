//! ELF relocation types of x86-64.
//!
//! Source: System V ABI, AMD64 supplement 1.0, 4.4 (relocation types) and B.2 (instructions before
//! GOTPCRELX, and their relaxed forms).

use ::object::elf::{self, RelocationType};

use super::error::Result;
use super::object::InputReloc;
use super::pack_reloc::{ABS64, PC32, RelocForm, RelocTarget, Rewrite, Stub};
use super::resolve::Resolution;
use super::scanner::{RelocScanner, is_external};

/// Fills gaps in code: `int3`.
pub(super) const TRAP: u8 = 0xcc;

/// `jmp *slot(%rip)` and padding.
pub(super) const STUB: Stub =
    Stub { bytes: &[0xff, 0x25, 0, 0, 0, 0, TRAP, TRAP], operands: &[(2, PC32, -4)] };

/// The relocation types whose field holds an address, which the loader has to write.
pub(super) const ADDRESSES: &[RelocationType] =
    &[elf::R_X86_64_64, elf::R_X86_64_32, elf::R_X86_64_32S];

impl RelocScanner<'_, '_> {
    /// Records what one relocation needs.
    pub(super) fn x86_64(&mut self, reloc: InputReloc) -> Result<()> {
        let resolution = self.program.resolution(reloc.symbol).ok();
        let Some(resolution) = resolution else { return Err(self.error(reloc, "has no target")) };
        let direct = RelocTarget::Symbol(resolution);
        let absolute = |bytes, signed| RelocForm::Absolute { bytes, signed };
        let distance = |bytes| RelocForm::PcRelative { bytes };
        let (form, to) = match reloc.kind {
            elf::R_X86_64_64 => (ABS64, direct),
            elf::R_X86_64_32 => (absolute(4, false), direct),
            elf::R_X86_64_32S => (absolute(4, true), direct),
            elf::R_X86_64_16 => (absolute(2, false), direct),
            elf::R_X86_64_8 => (absolute(1, false), direct),
            elf::R_X86_64_PC64 => (distance(8), direct),
            elf::R_X86_64_PC16 => (distance(2), direct),
            elf::R_X86_64_PC8 => (distance(1), direct),
            elf::R_X86_64_PC32 => return self.distance(reloc, resolution, false),
            elf::R_X86_64_PLT32 => return self.distance(reloc, resolution, true),
            elf::R_X86_64_GOTPCREL
            | elf::R_X86_64_GOTPCRELX
            | elf::R_X86_64_REX_GOTPCRELX
            | elf::R_X86_64_CODE_4_GOTPCRELX
            | elf::R_X86_64_CODE_5_GOTPCRELX
            | elf::R_X86_64_CODE_6_GOTPCRELX => return self.through_slot(reloc, resolution),
            elf::R_X86_64_GOTPCREL64 => (distance(8), self.slot(reloc, resolution, 0)),
            elf::R_X86_64_GOT32 => {
                (RelocForm::GotRelative { bytes: 4 }, self.slot(reloc, resolution, 0))
            }
            elf::R_X86_64_GOT64 | elf::R_X86_64_GOTPLT64 => {
                (RelocForm::GotRelative { bytes: 8 }, self.slot(reloc, resolution, 0))
            }
            elf::R_X86_64_GOTOFF64 => (RelocForm::GotRelative { bytes: 8 }, direct),
            elf::R_X86_64_PLTOFF64 => {
                let to =
                    if is_external(resolution) { self.stub(reloc, resolution, 0) } else { direct };
                (RelocForm::GotRelative { bytes: 8 }, to)
            }
            elf::R_X86_64_GOTPC32 => (distance(4), RelocTarget::Symbol(Resolution::Got)),
            elf::R_X86_64_GOTPC64 => (distance(8), RelocTarget::Symbol(Resolution::Got)),
            elf::R_X86_64_SIZE32 => (absolute(4, false), self.size(reloc, resolution)?),
            elf::R_X86_64_SIZE64 => (ABS64, self.size(reloc, resolution)?),
            _ => return Err(self.unsupported(reloc)),
        };
        self.push(reloc, form, to, reloc.addend, None)
    }

    /// A signed 32-bit distance. `call`: the address of a stub is valid as well.
    fn distance(&mut self, reloc: InputReloc, resolution: Resolution, call: bool) -> Result<()> {
        if !is_external(resolution) {
            return self.direct(reloc, PC32, resolution, None);
        }
        // The operand of a branch is relative to the end of the instruction, 4 bytes on.
        let addend = reloc.addend.checked_add(4);
        match (self.before(reloc.offset), addend) {
            (Preceding::Branch, Some(addend)) => {
                let to = self.stub(reloc, resolution, addend);
                self.push(reloc, PC32, to, -4, None)
            }
            _ if call => {
                let to = self.stub(reloc, resolution, 0);
                self.push(reloc, PC32, to, reloc.addend, None)
            }
            (Preceding::Lea, Some(addend)) => {
                let to = self.slot(reloc, resolution, addend);
                self.push(reloc, PC32, to, -4, Some(Rewrite::LeaToMov))
            }
            _ => {
                self.warn_of_near_import(reloc, resolution);
                self.direct(reloc, PC32, resolution, None)
            }
        }
    }

    /// A load, call or jump through a GOT slot, relaxed to a direct reference where possible.
    fn through_slot(&mut self, reloc: InputReloc, resolution: Resolution) -> Result<()> {
        let rewrite = self.relaxation(reloc).filter(|_| !is_external(resolution));
        let (mut reloc, mut to) = (reloc, RelocTarget::Symbol(resolution));
        match rewrite {
            None => to = self.slot(reloc, resolution, 0),
            Some(Rewrite::Jump) => reloc.offset = reloc.offset.saturating_sub(1),
            Some(_) => {}
        }
        self.push(reloc, PC32, to, reloc.addend, rewrite)
    }

    /// The relaxed form of the instruction around a slot's operand: `mov`, `call` and `jmp` have a direct
    /// form. The other instructions that take GOTPCRELX (`test`, `cmp`, `add` and so on) would need the address
    /// as an immediate, which position-independent code does not have; they keep the slot.
    fn relaxation(&self, reloc: InputReloc) -> Option<Rewrite> {
        if reloc.addend != -4 {
            return None;
        }
        let [rex, opcode, modrm] = self.preceding(reloc.offset)?;
        let loads = opcode == 0x8b && is_rip_relative(modrm);
        match reloc.kind {
            elf::R_X86_64_GOTPCRELX => match (opcode, modrm) {
                (0xff, 0x15) => Some(Rewrite::Call),
                (0xff, 0x25) => Some(Rewrite::Jump),
                _ => loads.then_some(Rewrite::MovToLea),
            },
            elf::R_X86_64_REX_GOTPCRELX => loads.then_some(Rewrite::MovToLea),
            // GOTPCREL does not guarantee which instruction precedes it: a prefix must prove it.
            elf::R_X86_64_GOTPCREL => (loads && is_wide_prefix(rex) && !self.is_evex(reloc.offset))
                .then_some(Rewrite::MovToLea),
            _ => None,
        }
    }

    /// Classifies the instruction of a 32-bit operand by the bytes before the operand.
    fn before(&self, offset: u64) -> Preceding {
        if !self.section.is_code() {
            return Preceding::Other;
        }
        let bytes = |count: u64| {
            let start = usize::try_from(offset.checked_sub(count)?).ok()?;
            self.section.bytes.get(start).copied()
        };
        // No ModRM byte of a RIP-relative operand has these values: it would be below 0x40.
        if let (_, Some(0xe8 | 0xe9)) | (Some(0x0f), Some(0x80..=0x8f)) = (bytes(2), bytes(1)) {
            return Preceding::Branch;
        }
        let Some([prefix, opcode, modrm]) = self.preceding(offset) else { return Preceding::Other };
        let is_lea = is_wide_prefix(prefix) && opcode == 0x8d && is_rip_relative(modrm);
        if is_lea && !self.is_evex(offset) { Preceding::Lea } else { Preceding::Other }
    }

    /// The three bytes before an operand; zeroes stand for bytes before the section.
    fn preceding(&self, offset: u64) -> Option<[u8; 3]> {
        let end = usize::try_from(offset).ok()?;
        let before = self.section.bytes.get(..end)?;
        match before.last_chunk() {
            Some(bytes) => Some(*bytes),
            None => before.last_chunk::<2>().map(|[opcode, modrm]| [0, *opcode, *modrm]),
        }
    }

    /// Whether the apparent REX.W prefix and opcode before an operand are the end of an EVEX prefix and an
    /// opcode of map 0F38: VPERMW shares the opcode of `lea`, VPCOMPRESSD that of `mov`.
    fn is_evex(&self, offset: u64) -> bool {
        let end = usize::try_from(offset).ok().and_then(|offset| offset.checked_sub(3));
        let before = end.and_then(|end| self.section.bytes.get(..end));
        match before.and_then(|before| before.last_chunk()) {
            Some([first, map, prefix]) => *first == 0x62 && map & 0x0f == 2 && prefix & 7 == 5,
            None => false,
        }
    }
}

/// The instruction of a 32-bit operand.
enum Preceding {
    /// `call`, `jmp` or a conditional jump.
    Branch,
    /// `lea` into a register of 64 bits.
    Lea,
    Other,
}

/// REX.W, with or without REX.R.
fn is_wide_prefix(byte: u8) -> bool {
    byte == 0x48 || byte == 0x4c
}

/// Whether a ModRM byte denotes a RIP-relative operand.
fn is_rip_relative(modrm: u8) -> bool {
    modrm & 0xc7 == 0x05
}
