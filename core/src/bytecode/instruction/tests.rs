//! Every opcode decoded and encoded again, and all invalid instructions.

use std::collections::BTreeMap;
use std::string::ToString;
use std::vec::Vec;

use super::*;
use crate::testing::some;

/// Opcode and length in bytes according to BYTECODE.md, by hand.
const LENGTHS: &[(&str, &[(u16, u32)])] = &[
    ("constants", &[(1, 12), (2, 12), (3, 4), (4, 4), (5, 4), (6, 4), (7, 8), (8, 8)]),
    ("vector", &[(0x10, 4), (0x11, 4), (0x12, 6), (0x13, 6)]),
    ("integers", &[(0x20, 2), (0x21, 2), (0x22, 2), (0x23, 2), (0x24, 2), (0x29, 2)]),
    ("floats", &[(0x25, 2), (0x26, 2), (0x27, 2), (0x28, 2)]),
    ("comparisons", &[(0x30, 2), (0x31, 2), (0x32, 2), (0x33, 2), (0x34, 2), (0x35, 2)]),
    ("jumps", &[(0x40, 6), (0x41, 6), (0x42, 6), (0xb6, 6), (0xb7, 6)]),
    ("calls", &[(0x43, 8), (0x44, 4), (0x45, 2), (0x46, 4), (0x47, 8), (0x50, 6), (0x51, 6)]),
    ("memory", &[(0x52, 8), (0x60, 6), (0x61, 6), (0x62, 6), (0x63, 10), (0x64, 10), (0x65, 10)]),
    ("arrays", &[(0x70, 8), (0x71, 6), (0x72, 6), (0x73, 8), (0x74, 8), (0x75, 6), (0x76, 6)]),
    ("patterns", &[(0x77, 10), (0x80, 10), (0x81, 10), (0x82, 8), (0x83, 8), (0x84, 8)]),
    ("variants", &[(0x85, 6), (0x86, 14), (0x87, 14), (0x90, 6), (0x91, 4), (0x92, 8), (0x93, 6)]),
    ("bools", &[(0xa0, 2), (0xa1, 2), (0xa2, 2)]),
    ("fused", &[(0xb0, 10), (0xb1, 4), (0xb2, 4), (0xb3, 4), (0xb4, 4), (0xb5, 4)]),
];

fn lengths() -> BTreeMap<u16, u32> {
    LENGTHS.iter().flat_map(|(_, rows)| rows.iter().copied()).collect()
}

/// The bytes of `opcode` with operands that differ in every byte.
fn bytes_of(opcode: u16, len: u32) -> Vec<u8> {
    let mut bytes = opcode.to_le_bytes().to_vec();
    bytes.extend((0..len - 2).map(|i| 0x81u8.wrapping_add(u8::try_from(i * 7).unwrap())));
    bytes
}

#[test]
fn every_opcode_has_its_length_and_round_trips() {
    let lengths = lengths();
    assert!(lengths.keys().eq(Instruction::OPCODES));
    for (&opcode, &len) in &lengths {
        let bytes = bytes_of(opcode, len);
        let instruction = Instruction::decode(&bytes, 0).unwrap();
        assert_eq!((instruction.opcode(), instruction.size()), (opcode, len), "{instruction:?}");
        let (encoded, encoded_len) = instruction.encode();
        assert_eq!(encoded[..encoded_len], bytes, "{instruction:?}");
        let roles = Instruction::roles_of(opcode).unwrap();
        assert_eq!(roles.iter().map(|role| role.size()).sum::<u32>() + OPCODE_SIZE, len);
        assert_eq!(Instruction::name_of(opcode), Some(instruction.name()));
    }
}

#[test]
fn code_that_ends_too_soon_is_refused_at_every_byte() {
    for (opcode, len) in lengths() {
        let bytes = bytes_of(opcode, len);
        for cut in 0..bytes.len() {
            let needed = if cut < 2 { OPCODE_SIZE } else { len };
            let truncated = Err(DecodeError::Truncated { at: 0, needed });
            assert_eq!(Instruction::decode(&bytes[..cut], 0), truncated, "{opcode:#x} {cut}");
        }
        // The bytes behind it do not matter.
        let mut longer = bytes.clone();
        longer.extend([0xff; 20]);
        assert_eq!(Instruction::decode(&longer, 0), Instruction::decode(&bytes, 0));
    }
}

#[test]
fn every_other_opcode_is_unknown() {
    let lengths = lengths();
    for opcode in some(0..1 << 16, 1000) {
        let opcode = u16::try_from(opcode).unwrap();
        let bytes = bytes_of(opcode, MAX_SIZE);
        let known = lengths.contains_key(&opcode);
        let unknown = Err(DecodeError::UnknownOpcode { opcode, at: 0 });
        assert_eq!(Instruction::decode(&bytes, 0) != unknown, known, "{opcode:#x}");
        assert_eq!(Instruction::name_of(opcode).is_some(), known);
        assert_eq!(Instruction::roles_of(opcode).is_some(), known);
    }
}

#[test]
fn operands_are_in_the_order_of_the_table() {
    let decode = |bytes: &[u8]| Instruction::decode(bytes, 0).unwrap();
    let const_i64 = decode(&[1, 0, 7, 0, 0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]);
    assert_eq!(const_i64, Instruction::ConstI64 { dest: 7, value: -2 });
    let float = decode(&[2, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0xf0, 0x3f]);
    assert_eq!(float, Instruction::ConstF64 { dest: 1, bits: 1f64.to_bits() });
    assert_eq!(decode(&[0x12, 0, 1, 0, 2, 0]), Instruction::Dup { src: 1, dest: 2 });
    assert_eq!(decode(&[0x60, 0, 1, 0, 2, 0]), Instruction::Load { dest: 1, local: 2 });
    assert_eq!(decode(&[0x61, 0, 1, 0, 2, 0]), Instruction::Store { local: 1, src: 2 });
    let call = decode(&[0x43, 0, 1, 2, 3, 4, 5, 6]);
    assert_eq!(call, Instruction::Call { function: 0x0403_0201, argc: 0x0605 });
    assert_eq!(decode(&[0x50, 0, 1, 0, 2, 0]), Instruction::CallSffi { index: 1, argc: 2 });
    assert_eq!(decode(&[0xb6, 0, 0xfa, 0xff, 0xff, 0xff]).jump_offset(), Some(-6));
    assert_eq!(target(10, 6, -6), 10);
    assert_eq!(target(0, 6, i32::MIN), 6 + i64::from(i32::MIN));
}

#[test]
fn function_code_is_decoded_in_order() {
    let code = [1, 0, 0, 0, 42, 0, 0, 0, 0, 0, 0, 0, 0x44, 0, 0, 0];
    let found: Vec<_> = Instructions::new(&code).map(Result::unwrap).collect();
    let expected =
        [(0, Instruction::ConstI64 { dest: 0, value: 42 }), (12, Instruction::Ret { src: 0 })];
    assert_eq!(found, expected);
    let mut cut = Instructions::new(&code[..15]).skip(1);
    assert_eq!(cut.next(), Some(Err(DecodeError::Truncated { at: 12, needed: 4 })));
    assert_eq!(cut.next(), None);
    assert_eq!(Instructions::new(&[]).next(), None);
    assert_eq!(Instruction::decode(&code, u32::MAX).unwrap_err().at(), u32::MAX);
}

#[test]
fn refused_instruction_is_reported_with_its_offset() {
    let said = |code: &[u8], at| Instruction::decode(code, at).unwrap_err().to_string();
    assert_eq!(said(&[0, 0, 0xff, 0xff], 2), "unknown opcode 0xffff, at offset 0x2");
    let cut = "the code ends inside an instruction of 8 bytes, at offset 0x1";
    assert_eq!(said(&[0, 0x43, 0, 1], 1), cut);
}

#[test]
fn opcode_without_a_complete_definition_is_not_supported() {
    let all = lengths();
    let supported = |opcode| {
        let bytes = bytes_of(opcode, all[&opcode]);
        Instruction::decode(&bytes, 0).unwrap().is_supported()
    };
    let uses_objects = |opcode| {
        let bytes = bytes_of(opcode, all[&opcode]);
        Instruction::decode(&bytes, 0).unwrap().uses_objects()
    };
    let refused: Vec<_> = all.keys().copied().filter(|&opcode| !supported(opcode)).collect();
    // CALL_INTERP, LOCAL_ADDR, PATTERN_TEST, PATTERN_BIND, AWAIT, YIELD, ACTOR_SPAWN, ACTOR_SEND.
    assert_eq!(refused, [0x52, 0x62, 0x80, 0x81, 0x90, 0x91, 0x92, 0x93]);
    let objects = all.keys().filter(|&&opcode| supported(opcode) && uses_objects(opcode));
    assert_eq!(objects.count(), 21);
}

#[test]
fn decoded_instruction_is_small() {
    assert_eq!(size_of::<Instruction>(), 16);
    assert_eq!(size_of::<Result<Instruction, DecodeError>>(), 16);
}
