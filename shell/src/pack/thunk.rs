//! Thunks: instructions of x86-64 that refer to an import by a 32-bit distance or address, moved to where these do not
//! matter.
//!
//! Compilers address data of another module directly unless they are told to compile for a shared library: the linker
//! of a program copies such data into the program, which a module cannot do. Its data may be anywhere, and some in the
//! program, others in a library more than 2 GiB away. So the instruction becomes a jump to a thunk that executes it
//! with the address of the datum in a register:
//!
//! ```text
//! mov  datum(%rip), %rax        jmp  thunk              thunk: mov  slot(%rip), %rax
//!                               nop                            mov  (%rax), %rax
//!                                                              jmp  behind the instruction
//! ```
//!
//! An instruction that does not overwrite a register gets one that it does not use, saved below the red zone. No flag
//! changes. Code that is not position-independent has 32-bit addresses as displacements and as immediate operands, which
//! become registers. Instructions with a second relocation, and most that use the stack pointer, are not moved.

use hashbrown::{HashMap, HashSet};

use ::object::elf;
use iced_x86::{
    Code, Decoder, DecoderOptions, Encoder, Instruction, MemoryOperand, Mnemonic, OpKind, Register,
};

use super::object::{Object, Section, SectionId, SymbolLocation};

/// Bytes of a jump with a 32-bit distance.
const JUMP: u64 = 5;

/// An instruction of a section, in bytes from the start of the section.
#[derive(Clone, Copy)]
pub(super) struct InstructionRange {
    pub(super) start: u64,
    pub(super) end: u64,
}

/// The instructions of a section with a 32-bit field that can be replaced, by the offset of the field.
pub(super) type MovableInstructions = HashMap<u64, InstructionRange>;

/// The code of a thunk.
pub(super) struct Thunk {
    pub(super) bytes: Vec<u8>,
    /// The offset of the distance to the GOT slot.
    pub(super) slot_operand: u64,
    /// The offset of the distance to the next instruction, unless the thunk is left for good.
    pub(super) back_operand: Option<u64>,
    /// The GOT slot that holds the address of the datum.
    pub(super) slot: usize,
    /// Where execution continues.
    pub(super) section: SectionId,
    pub(super) back: u64,
}

/// Finds the instructions with a 32-bit field and no other relocation. Each function is decoded from its start.
pub(super) fn movable_instructions(
    object: &Object<'_>,
    id: SectionId,
    section: &Section<'_>,
) -> MovableInstructions {
    let relocs: HashSet<u64> = section.relocs(id.object).map(|reloc| reloc.offset).collect();
    let functions = object.symbols.iter().filter(|symbol| symbol.kind == elf::STT_FUNC);
    let starts = functions.filter_map(|symbol| match symbol.place {
        SymbolLocation::Section { section, value } if section == id.section => Some(value),
        _ => None,
    });
    let len = section.bytes.len() as u64;
    let mut starts: Vec<u64> = starts.filter(|start| *start < len).chain([0, len]).collect();
    starts.sort_unstable();
    starts.dedup();
    let mut movable = HashMap::new();
    for pair in starts.windows(2) {
        let &[start, end] = pair else { continue };
        let range = usize::try_from(start).ok().zip(usize::try_from(end).ok());
        let code = range.and_then(|(start, end)| section.bytes.get(start..end));
        decode(code.unwrap_or(&[]), start, &relocs, &mut movable);
    }
    movable
}

fn decode(code: &[u8], start: u64, relocs: &HashSet<u64>, movable: &mut MovableInstructions) {
    let mut decoder = Decoder::with_ip(64, code, start, DecoderOptions::NONE);
    let mut instruction = Instruction::default();
    while decoder.can_decode() {
        decoder.decode_out(&mut instruction);
        let (start, end) = (instruction.ip(), instruction.next_ip());
        let mut fields = (start..end).filter(|at| relocs.contains(at));
        let (Some(field), None) = (fields.next(), fields.next()) else { continue };
        if !instruction.is_invalid() && end - start >= JUMP {
            movable.insert(field, InstructionRange { start, end });
        }
    }
}

/// The code of a thunk, and the offsets of the distances to the GOT slot and to the next instruction.
/// The latter is `None` for a call or a jump, which does not return to the thunk.
pub(super) type Encoded = (Vec<u8>, u64, Option<u64>);

/// The code that executes the instruction `bytes` with the address in a GOT slot plus `offset` instead of the 32-bit
/// displacement or immediate operand at `field`, which is an address (`is_absolute`) or a distance from the next
/// instruction; `None` if the instruction cannot be moved.
pub(super) fn encode(bytes: &[u8], field: u64, offset: i64, is_absolute: bool) -> Option<Encoded> {
    let mut decoder = Decoder::new(64, bytes, DecoderOptions::NONE);
    let instruction = decoder.decode();
    let offsets = decoder.get_constant_offsets(&instruction);
    let is_at = |at: usize| at as u64 == field;
    i32::try_from(offset).ok()?;
    let is_distance = instruction.is_ip_rel_memory_operand();
    let is_whole = !instruction.is_invalid() && !decoder.can_decode();
    if let [0xff, 0x15 | 0x25, _, _, _, _] = bytes
        && field == 2
        && !is_absolute
    {
        return branch(instruction, offset);
    }
    if !is_whole || uses_stack(&instruction) || is_absolute == is_distance {
        None
    } else if offsets.displacement_size() == 4 && is_at(offsets.displacement_offset()) {
        displacement(instruction, offset)
    } else if offsets.immediate_size() == 4 && is_at(offsets.immediate_offset()) {
        immediate(instruction, offset)
    } else {
        None
    }
}

/// Jumps to the address in memory that a call or a jump reads. The register may change between functions.
fn branch(mut instruction: Instruction, offset: i64) -> Option<Encoded> {
    instruction.set_code(Code::Jmp_rm64);
    instruction.set_memory_base(Register::R11);
    instruction.set_memory_displ_size(if offset == 0 { 0 } else { 8 });
    instruction.set_memory_displacement64(offset.cast_unsigned());
    let mut encoder = Encoder::new(64);
    encoder.encode(&instruction, 0).ok()?;
    // `mov slot(%rip), %r11`.
    let mut code = vec![0x4c, 0x8b, 0x1d, 0, 0, 0, 0];
    code.extend(encoder.take_buffer());
    Some((code, 3, None))
}

/// Replaces a displacement by a base register.
fn displacement(mut instruction: Instruction, offset: i64) -> Option<Encoded> {
    let (base, index) = (instruction.memory_base(), instruction.memory_index());
    if base == Register::RSP || is_thread_local(&instruction) {
        return None;
    }
    let is_address = |register: &Register| *register != base && *register != index;
    let overwritten = overwritten_register(&instruction).filter(is_address);
    let scratch = overwritten.or_else(|| unused_register(&instruction))?;
    match (base, index) {
        (Register::RIP | Register::None, _) => {}
        (base, Register::None) => {
            instruction.set_memory_index(base);
            instruction.set_memory_index_scale(1);
        }
        _ => return None,
    }
    instruction.set_memory_base(scratch);
    instruction.set_memory_displ_size(if offset == 0 { 0 } else { 8 });
    instruction.set_memory_displacement64(offset.cast_unsigned());
    assemble(scratch, overwritten.is_none(), 0, Some(instruction))
}

/// Replaces an immediate operand by a register.
fn immediate(instruction: Instruction, offset: i64) -> Option<Encoded> {
    let code = match instruction.code() {
        Code::Mov_rm64_imm32 | Code::Mov_r32_imm32
            if instruction.op0_kind() == OpKind::Register =>
        {
            let register = full_register(instruction.op0_register())?;
            return assemble(register, false, offset, None);
        }
        Code::Mov_rm64_imm32 => Code::Mov_rm64_r64,
        Code::Cmp_rm64_imm32 => Code::Cmp_rm64_r64,
        Code::Add_rm64_imm32 => Code::Add_rm64_r64,
        Code::Sub_rm64_imm32 => Code::Sub_rm64_r64,
        _ => return None,
    };
    let scratch = unused_register(&instruction)?;
    let mut moved = instruction;
    if is_thread_local(&moved) {
        return None;
    }
    if moved.op0_kind() == OpKind::Memory && moved.memory_base() == Register::RSP {
        let displacement = moved.memory_displacement64().wrapping_add(SAVED);
        moved.set_memory_displ_size(8);
        moved.set_memory_displacement64(displacement);
    }
    moved.set_code(code);
    moved.set_op1_kind(OpKind::Register);
    moved.set_op1_register(scratch);
    assemble(scratch, true, offset, Some(moved))
}

/// Bytes by which a thunk lowers the stack pointer to save a register: the red zone and the register.
const SAVED: u64 = 136;

/// The code that loads an address plus `offset` into `scratch`, saving that register or not, and executes the moved
/// instruction.
fn assemble(
    scratch: Register,
    is_saved: bool,
    offset: i64,
    moved: Option<Instruction>,
) -> Option<Encoded> {
    // REX.W, and REX.R or REX.B for the upper registers.
    let number = (scratch as u32).checked_sub(Register::RAX as u32)?;
    let (upper, low) = (number >= 8, u8::try_from(number & 7).ok()?);
    let mut code = Vec::with_capacity(64);
    if is_saved {
        // `lea -128(%rsp), %rsp` and `push`.
        code.extend([0x48, 0x8d, 0x64, 0x24, 0x80, 0x41, 0x50 | low]);
    }
    // `mov slot(%rip), scratch`.
    code.extend([if upper { 0x4c } else { 0x48 }, 0x8b, 0x05 | low << 3]);
    let slot_operand = code.len() as u64;
    code.extend([0; 4]);
    let mut encoder = Encoder::new(64);
    if offset != 0 {
        let address = MemoryOperand::with_base_displ(scratch, offset);
        let lea = Instruction::with2(Code::Lea_r64_m, scratch, address).ok()?;
        encoder.encode(&lea, 0).ok()?;
    }
    if let Some(moved) = moved {
        encoder.encode(&moved, 0).ok()?;
    }
    code.extend(encoder.take_buffer());
    if is_saved {
        // `pop` and `lea 128(%rsp), %rsp`.
        code.extend([0x41, 0x58 | low, 0x48, 0x8d, 0xa4, 0x24, 0x80, 0, 0, 0]);
    }
    code.push(0xe9);
    let back_operand = code.len() as u64;
    code.extend([0; 4]);
    Some((code, slot_operand, Some(back_operand)))
}

fn register_operands(instruction: &Instruction) -> impl Iterator<Item = Register> {
    let operands = 0..instruction.op_count();
    let registers = operands.filter(|n| instruction.op_kind(*n) == OpKind::Register);
    registers.map(|n| instruction.op_register(n))
}

/// Whether an instruction uses the stack pointer other than in an address, or continues elsewhere.
fn uses_stack(instruction: &Instruction) -> bool {
    const MNEMONICS: [Mnemonic; 4] = [Mnemonic::Push, Mnemonic::Pop, Mnemonic::Call, Mnemonic::Jmp];
    let stack = [Register::RSP, Register::ESP, Register::SP, Register::SPL];
    MNEMONICS.contains(&instruction.mnemonic())
        || register_operands(instruction).any(|register| stack.contains(&register))
}

/// The 64-bit register that a load overwrites as a whole without reading it.
fn overwritten_register(instruction: &Instruction) -> Option<Register> {
    match instruction.code() {
        Code::Mov_r64_rm64
        | Code::Movsxd_r64_rm32
        | Code::Movsx_r64_rm8
        | Code::Movsx_r64_rm16
        | Code::Mov_r32_rm32
        | Code::Movzx_r32_rm8
        | Code::Movzx_r32_rm16
        | Code::Movsx_r32_rm8
        | Code::Movsx_r32_rm16 => full_register(instruction.op0_register()),
        _ => None,
    }
}

/// The 64-bit register of which a register of 32 or 64 bits is the lower part.
fn full_register(register: Register) -> Option<Register> {
    [Register::RAX, Register::EAX].into_iter().find_map(|first| {
        let number = (register as u32).checked_sub(first as u32).filter(|number| *number < 16)?;
        Some(Register::RAX + number)
    })
}

/// A register that the instruction does not use. Only those before `r8` are used implicitly.
fn unused_register(instruction: &Instruction) -> Option<Register> {
    let address = [instruction.memory_base(), instruction.memory_index()];
    let is_used = |number: u32| {
        let names = [Register::R8L, Register::R8W, Register::R8D, Register::R8].map(|r| r + number);
        register_operands(instruction).chain(address).any(|register| names.contains(&register))
    };
    (0..4).rev().find(|number| !is_used(*number)).map(|number| Register::R8 + number)
}

/// Whether an address counts from the storage of a thread.
fn is_thread_local(instruction: &Instruction) -> bool {
    [Register::FS, Register::GS].contains(&instruction.memory_segment())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn disassembled(code: &[u8]) -> Vec<String> {
        let decoder = Decoder::with_ip(64, code, 0, DecoderOptions::NONE);
        decoder.into_iter().map(|instruction| instruction.to_string()).collect()
    }

    #[test]
    fn load_uses_the_register_that_it_overwrites() {
        // `mov 0(%rip), %rdx`
        let (code, slot, back) = encode(&[0x48, 0x8b, 0x15, 0, 0, 0, 0], 3, 0, false).unwrap();
        assert_eq!((slot, back, code.len()), (3, Some(11), 15));
        let lines = disassembled(&code);
        assert_eq!(lines[0], "mov rdx,[rel 7]");
        assert_eq!(lines[1], "mov rdx,[rdx]");
        // `movzbl 0(%rip), %r13d`, 5 bytes behind the symbol.
        let (code, ..) = encode(&[0x44, 0x0f, 0xb6, 0x2d, 0, 0, 0, 0], 4, 5, false).unwrap();
        assert_eq!(disassembled(&code)[1], "movzx r13d,byte [r13+5]");
    }

    #[test]
    fn other_instruction_saves_a_register_that_it_does_not_use() {
        // `mov %r11, 0(%rip)`: r10 is free.
        let (code, ..) = encode(&[0x4c, 0x89, 0x1d, 0, 0, 0, 0], 3, -4, false).unwrap();
        let lines = disassembled(&code);
        let expected = [
            "lea rsp,[rsp-80h]",
            "push r10",
            "mov r10,[rel 0Eh]",
            "mov [r10-4],r11",
            "pop r10",
            "lea rsp,[rsp+80h]",
        ];
        assert_eq!(lines[..6], expected);
        // `cmpl $1, 0(%rip)` keeps its immediate; `movsd 0(%rip), %xmm0`, `vmovups 0(%rip), %zmm0`.
        let (code, ..) = encode(&[0x83, 0x3d, 0, 0, 0, 0, 1], 2, 0, false).unwrap();
        assert_eq!(disassembled(&code)[3], "cmp dword [r11],1");
        let (code, ..) = encode(&[0xf2, 0x0f, 0x10, 0x05, 0, 0, 0, 0], 4, 0, false).unwrap();
        assert_eq!(disassembled(&code)[3], "movsd xmm0,[r11]");
        let (code, ..) =
            encode(&[0x62, 0xf1, 0x7c, 0x48, 0x10, 0x05, 0, 0, 0, 0], 6, 64, false).unwrap();
        assert_eq!(disassembled(&code)[3], "vmovups zmm0,[r11+40h]");
        // `lock incl 0(%rip)`
        let (code, ..) = encode(&[0xf0, 0xff, 0x05, 0, 0, 0, 0], 3, 0, false).unwrap();
        assert_eq!(disassembled(&code)[3], "lock inc dword [r11]");
    }

    #[test]
    fn absolute_address_becomes_a_register() {
        // `mov 0(, %rax, 8), %rax`
        let (code, ..) = encode(&[0x48, 0x8b, 0x04, 0xc5, 0, 0, 0, 0], 4, 8, true).unwrap();
        assert_eq!(disassembled(&code)[3], "mov rax,[r11+rax*8+8]");
        // `movzbl 0(%rbx), %eax`
        let (code, ..) = encode(&[0x0f, 0xb6, 0x83, 0, 0, 0, 0], 3, 0, true).unwrap();
        assert_eq!(disassembled(&code)[1], "movzx eax,byte [rax+rbx]");
        // `mov $0, %edi`
        let (code, ..) = encode(&[0xbf, 0, 0, 0, 0], 1, 16, true).unwrap();
        assert_eq!(disassembled(&code)[..2], ["mov rdi,[rel 7]", "lea rdi,[rdi+10h]"]);
        // `movq $0, 8(%rsp)` and `cmpq $0, (%r11)`
        let (code, ..) = encode(&[0x48, 0xc7, 0x44, 0x24, 8, 0, 0, 0, 0], 5, 0, true).unwrap();
        assert_eq!(disassembled(&code)[3], "mov [rsp+90h],r11");
        let (code, ..) = encode(&[0x49, 0x81, 0x3b, 0, 0, 0, 0], 3, 0, true).unwrap();
        assert_eq!(disassembled(&code)[3], "cmp [r11],r10");
    }

    #[test]
    fn call_and_jump_leave_the_thunk() {
        for opcode in [0x15, 0x25] {
            let (code, slot, back) = encode(&[0xff, opcode, 0, 0, 0, 0], 2, 8, false).unwrap();
            assert_eq!((slot, back), (3, None));
            assert_eq!(disassembled(&code), ["mov r11,[rel 7]", "jmp qword [r11+8]"]);
        }
    }

    #[test]
    fn instruction_that_uses_the_stack_is_not_moved() {
        for (bytes, field) in [
            (&[0xff, 0x35, 0, 0, 0, 0][..], 2),         // push
            (&[0x48, 0x8b, 0x25, 0, 0, 0, 0], 3),       // mov to rsp
            (&[0x48, 0x89, 0x25, 0, 0, 0, 0], 3),       // mov from rsp
            (&[0x48, 0x8b, 0x15, 0, 0, 0], 3),          // truncated
            (&[0x48, 0x8b, 0x15, 0, 0, 0, 0], 2),       // no field
            (&[0x48, 0x8b, 0x84, 0x8b, 0, 0, 0, 0], 4), // mov 0(%rbx, %rcx, 4), %rax
            (&[0x64, 0x8b, 0x04, 0x25, 0, 0, 0, 0], 4), // mov %fs:0, %eax
            (&[0x3d, 0, 0, 0, 0], 1),                   // cmp of 32 bits
            (&[0x68, 0, 0, 0, 0], 1),                   // push of an address
        ] {
            let is_absolute = !matches!(bytes, [0xff, ..] | [0x48, _, 0x15 | 0x25, ..]);
            assert!(encode(bytes, field, 0, is_absolute).is_none(), "{bytes:x?}");
        }
        assert!(encode(&[0x48, 0x8b, 0x15, 0, 0, 0, 0], 3, 1 << 31, false).is_none());
    }
}
