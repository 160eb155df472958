//! ELF relocation types of x86-64.
//!
//! Source: System V ABI, AMD64 supplement 1.0, 4.4 (relocation types) and B.2 (instructions before
//! GOTPCRELX, and their relaxed forms).

use ::object::elf;

use super::error::Result;
use super::init_sections::FragmentFrame;
use super::object::InputReloc;
use super::pack_reloc::{ABS64, Isa, PC32, RegistrarCode, RelocForm, RelocTarget, Rewrite, Stub};
use super::resolve::Resolution;
use super::scanner::{RelocScanner, is_external};

/// `int3`.
const TRAP: u8 = 0xcc;

pub(super) const ISA: Isa = Isa {
    trap: TRAP,
    // `jmp *slot(%rip)` and padding.
    stub: Stub { bytes: &[0xff, 0x25, 0, 0, 0, 0, TRAP, TRAP], operands: &[(2, PC32, -4)] },
    // `endbr64; jmp *slot(%rip)` and padding.
    landing_stub: Stub {
        bytes: &[
            0xf3, 0x0f, 0x1e, 0xfa, 0xff, 0x25, 0, 0, 0, 0, TRAP, TRAP, TRAP, TRAP, TRAP, TRAP,
        ],
        operands: &[(6, PC32, -4)],
    },
    registrars: [
        RegistrarCode {
            // `lea handle(%rip), %rdx; xor %esi, %esi; jmp *slot(%rip)`
            bytes: &[0x48, 0x8d, 0x15, 0, 0, 0, 0, 0x31, 0xf6, 0xff, 0x25, 0, 0, 0, 0, TRAP],
            handle: &[(3, PC32, -4)],
            slot: &[(11, PC32, -4)],
        },
        RegistrarCode {
            // `lea handle(%rip), %rsi; jmp *slot(%rip)`
            bytes: &[0x48, 0x8d, 0x35, 0, 0, 0, 0, 0xff, 0x25, 0, 0, 0, 0, TRAP, TRAP, TRAP],
            handle: &[(3, PC32, -4)],
            slot: &[(9, PC32, -4)],
        },
        RegistrarCode {
            // `lea handle(%rip), %rcx; jmp *slot(%rip)`
            bytes: &[0x48, 0x8d, 0x0d, 0, 0, 0, 0, 0xff, 0x25, 0, 0, 0, 0, TRAP, TRAP, TRAP],
            handle: &[(3, PC32, -4)],
            slot: &[(9, PC32, -4)],
        },
    ],
    // `endbr64; sub $8, %rsp`, `add $8, %rsp; ret`
    fragments: FragmentFrame {
        start: &[0xf3, 0x0f, 0x1e, 0xfa, 0x48, 0x83, 0xec, 8],
        end: &[0x48, 0x83, 0xc4, 8, 0xc3],
        nop: &[0x90],
    },
    code_alignment: 1,
    plain: &[(elf::R_X86_64_64, ABS64), (elf::R_X86_64_PC32, PC32), (elf::R_X86_64_PLT32, PC32)],
    addresses: &[elf::R_X86_64_64, elf::R_X86_64_32, elf::R_X86_64_32S],
};

impl RelocScanner<'_, '_> {
    /// Records what one relocation needs.
    pub(super) fn x86_64(&mut self, reloc: InputReloc) -> Result<()> {
        let resolution = self.program.resolution(reloc.symbol).ok();
        let Some(resolution) = resolution else { return Err(self.error(reloc, "has no target")) };
        let is_address = [elf::R_X86_64_32, elf::R_X86_64_32S].contains(&reloc.kind);
        if is_address && matches!(resolution, Resolution::Import(_)) {
            if let Some((jump, to, rewrite)) = self.thunk(reloc, resolution, true) {
                return self.push(jump, PC32, to, -4, Some(rewrite));
            }
            self.warn_of_near_import(reloc, resolution);
        }
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
                let to = match is_external(resolution) {
                    true => self.landing_stub(reloc, resolution),
                    false => direct,
                };
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
            // Data has the distance for indirect calls.
            _ if call && !self.section.is_code() => {
                let to = self.landing_stub(reloc, resolution);
                self.push(reloc, PC32, to, reloc.addend, None)
            }
            _ if call => {
                let to = self.stub(reloc, resolution, 0);
                self.push(reloc, PC32, to, reloc.addend, None)
            }
            (Preceding::Lea, Some(addend)) => {
                let to = self.slot(reloc, resolution, addend);
                self.push(reloc, PC32, to, -4, Some(Rewrite::LeaToMov))
            }
            _ => match self.thunk(reloc, resolution, false) {
                Some((jump, to, rewrite)) => self.push(jump, PC32, to, -4, Some(rewrite)),
                None => {
                    self.warn_of_near_import(reloc, resolution);
                    self.direct(reloc, PC32, resolution, None)
                }
            },
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
        let bytes = self.preceding(reloc.offset);
        let loads = matches!(bytes, [.., 0x8b, modrm] if is_rip_relative(*modrm));
        match (reloc.kind, bytes) {
            (elf::R_X86_64_GOTPCRELX, [.., 0xff, 0x15]) => Some(Rewrite::Call),
            (elf::R_X86_64_GOTPCRELX, [.., 0xff, 0x25]) => Some(Rewrite::Jump),
            (elf::R_X86_64_GOTPCRELX | elf::R_X86_64_REX_GOTPCRELX, _) => {
                loads.then_some(Rewrite::MovToLea)
            }
            // GOTPCREL does not guarantee which instruction precedes it: a prefix must prove it.
            (elf::R_X86_64_GOTPCREL, [before @ .., 0x48 | 0x4c, _, _]) => {
                (loads && !is_evex(before)).then_some(Rewrite::MovToLea)
            }
            _ => None,
        }
    }

    /// Classifies the instruction of a 32-bit operand by the bytes before the operand.
    fn before(&self, offset: u64) -> Preceding {
        match self.preceding(offset) {
            _ if !self.section.is_code() => Preceding::Other,
            // No ModRM byte of a RIP-relative operand has these values: it would be below 0x40.
            [.., 0xe8 | 0xe9] | [.., 0x0f, 0x80..=0x8f] => Preceding::Branch,
            [before @ .., 0x48 | 0x4c, 0x8d, modrm]
                if is_rip_relative(*modrm) && !is_evex(before) =>
            {
                Preceding::Lea
            }
            _ => Preceding::Other,
        }
    }

    /// The bytes of the section before an operand.
    fn preceding(&self, offset: u64) -> &[u8] {
        let end = usize::try_from(offset).ok();
        end.and_then(|end| self.section.bytes.get(..end)).unwrap_or(&[])
    }
}

/// Whether the REX.W prefix (0x48, or 0x4c with REX.R) and opcode that follow `before` are the end of an EVEX prefix and
/// an opcode of map 0F38: VPERMW shares the opcode of `lea`, VPCOMPRESSD that of `mov`.
fn is_evex(before: &[u8]) -> bool {
    matches!(before, [.., 0x62, map, prefix] if map & 0x0f == 2 && prefix & 7 == 5)
}

/// The instruction of a 32-bit operand.
enum Preceding {
    /// `call`, `jmp` or a conditional jump.
    Branch,
    /// `lea` into a register of 64 bits.
    Lea,
    Other,
}

/// Whether a ModRM byte denotes a RIP-relative operand.
fn is_rip_relative(modrm: u8) -> bool {
    modrm & 0xc7 == 0x05
}
