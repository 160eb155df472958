//! What the relocations of ELF on x86-64 ask for.
//!
//! Facts: System V ABI, AMD64 supplement 1.0, 4.4 (relocation types) and B.2 (which instructions
//! stand before GOTPCRELX, and what they may become).

use ::object::elf::{self, RelocationType};

use super::error::PackError;
use super::machine::Stub;
use super::relocs::{ABS64, Entry, Form, PC32, Rewrite, Scan, To, is_elsewhere};
use super::resolve::Referent;

/// What fills code where nothing is: `int3`.
pub(super) const TRAP: u8 = 0xcc;

/// `jmp *distance(%rip)` and padding.
pub(super) const STUB: Stub =
    Stub { bytes: &[0xff, 0x25, 0, 0, 0, 0, TRAP, TRAP], operands: &[(2, PC32, -4)] };

/// The relocations that hold an address, which the loader has to write.
pub(super) const ADDRESSES: &[RelocationType] =
    &[elf::R_X86_64_64, elf::R_X86_64_32, elf::R_X86_64_32S];

impl Scan<'_, '_> {
    /// Takes note of what one relocation asks for.
    pub(super) fn x86_64(&mut self, entry: Entry) -> Result<(), PackError> {
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
}

/// What stands before a 32-bit operand.
enum Before {
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
