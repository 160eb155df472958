//! x86-64: `endbr64`, `lea` and `notrack jmp`.

use iced_x86::{Code as IcedCode, Decoder, DecoderOptions, Instruction, Mnemonic};
use smf_core::format::{RelocKind, Section};

use super::{Code, Targets};

const ENDBR64: [u8; 4] = [0xf3, 0x0f, 0x1e, 0xfa];

/// The prefix of an indirect jump that needs no landing pad.
const NOTRACK: u8 = 0x3e;

pub(super) fn is_landing_pad(bytes: &[u8]) -> bool {
    bytes.starts_with(&ENDBR64)
}

/// Finds the addresses that the instructions of a section compute, and the functions with jumps without tracking.
pub(super) fn scan(code: &Code<'_>, section: &Section<'_>, targets: &mut Targets) {
    let mut decoder = Decoder::with_ip(64, section.data, 0, DecoderOptions::NONE);
    let mut instruction = Instruction::default();
    while decoder.can_decode() {
        decoder.decode_out(&mut instruction);
        let at = instruction.ip();
        let first = usize::try_from(at).ok().and_then(|at| section.data.get(at));
        if instruction.code() == IcedCode::Jmp_rm64 && first == Some(&NOTRACK) {
            targets.untracked.extend(code.function_of((section.index, at)));
        }
        if instruction.mnemonic() != Mnemonic::Lea || !instruction.is_ip_rel_memory_operand() {
            continue;
        }
        let field = at + decoder.get_constant_offsets(&instruction).displacement_offset() as u64;
        let place = match code.relocs.get(&(section.index, field)) {
            Some(reloc) if matches!(reloc.kind, RelocKind::Pc32 | RelocKind::Plt32) => {
                let behind = instruction.next_ip().saturating_sub(field);
                reloc
                    .addend
                    .checked_add_unsigned(behind)
                    .and_then(|addend| code.target(reloc, addend))
            }
            Some(_) => None,
            None => {
                let distance = instruction.ip_rel_memory_address().cast_signed();
                code.reached(section.index, distance)
            }
        };
        if let Some(place) = place {
            targets.computed(code, (section.index, at), place);
        }
    }
}
