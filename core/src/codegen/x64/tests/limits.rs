//! Lengths, relocations, and the limit of the code.

use crate::codegen::code::Relocation;
use std::vec;
use std::vec::Vec;

use super::super::assembler::MAX_CODE;
use super::super::*;
use crate::format::RelocKind;

use Gpr::*;

fn assembled(put: impl FnOnce(&mut Assembler)) -> (Vec<u8>, Vec<Relocation>) {
    let mut asm = Assembler::new();
    put(&mut asm);
    let code = asm.finish().unwrap();
    (code.bytes, code.relocations)
}

#[test]
fn forms_are_the_shortest_ones() {
    let len = |put: fn(&mut Assembler)| assembled(put).0.len();
    assert_eq!(len(|asm| asm.mov_imm(Rax, 0)), 5);
    assert_eq!(len(|asm| asm.mov_imm(R9, u32::MAX.into())), 6);
    assert_eq!(len(|asm| asm.mov_imm(Rax, u64::MAX)), 7);
    assert_eq!(len(|asm| asm.mov_imm(Rax, 1 << 32)), 10);
    assert_eq!(len(|asm| asm.mov(W64, Rcx, 1)), 5);
    assert_eq!(len(|asm| asm.mov(W64, Rcx, -1)), 7);
    assert_eq!(len(|asm| asm.add(W32, Rcx, -128)), 3);
    assert_eq!(len(|asm| asm.add(W32, Rcx, 128)), 6);
    assert_eq!(len(|asm| asm.add(W32, Rax, 128)), 5);
    assert_eq!(len(|asm| asm.add(W16, Rcx, 0xffff)), 4);
    assert_eq!(len(|asm| asm.shl(W64, Rcx, 1_u8)), 3);
    assert_eq!(len(|asm| asm.shl(W64, Rcx, 2_u8)), 4);
    assert_eq!(len(|asm| asm.mov(W64, Rcx, Mem::at(Rax, 0))), 3);
    assert_eq!(len(|asm| asm.mov(W64, Rcx, Mem::at(Rbp, 0))), 4);
    assert_eq!(len(|asm| asm.mov(W64, Rcx, Mem::at(R13, 127))), 4);
    assert_eq!(len(|asm| asm.mov(W64, Rcx, Mem::at(R13, 128))), 7);
    assert_eq!(len(|asm| asm.mov(W64, Rcx, Mem::at(R12, 0))), 4);
    assert_eq!(len(|asm| asm.movzx(Rcx, W8, Rdx)), 3);
    assert_eq!(len(|asm| asm.movzx(Rcx, W8, Rsi)), 4);
}

#[test]
fn relocations_count_from_the_end_of_their_instruction() {
    let place = Rip::Symbol { target: 3, addend: 16 };
    let one = |put: &dyn Fn(&mut Assembler)| {
        let (bytes, relocations) = assembled(|asm| {
            asm.ret();
            put(asm);
        });
        let [Relocation { offset, kind, target, addend }] = relocations[..] else {
            panic!("{relocations:?}");
        };
        assert_eq!(target, 3);
        (kind, bytes.len() - offset as usize, addend)
    };
    // The kind, the bytes from the operand to the end of the instruction, and the addend.
    assert_eq!(one(&|asm| asm.mov(W64, Rax, place)), (RelocKind::Pc32, 4, 12));
    assert_eq!(one(&|asm| asm.cmp(W64, place, 1)), (RelocKind::Pc32, 5, 11));
    assert_eq!(one(&|asm| asm.mov(W16, place, 1)), (RelocKind::Pc32, 6, 10));
    assert_eq!(one(&|asm| asm.mov(W32, place, 1)), (RelocKind::Pc32, 8, 8));
    assert_eq!(one(&|asm| asm.call_symbol(3)), (RelocKind::Plt32, 4, -4));
    assert_eq!(one(&|asm| asm.jmp_symbol(3)), (RelocKind::Plt32, 4, -4));
    assert_eq!(one(&|asm| asm.mov_symbol(R9, 3, -7)), (RelocKind::Abs64, 8, -7));
}

#[test]
fn code_ends_before_distances_do() {
    let mut asm = Assembler::new();
    asm.at = MAX_CODE as u32;
    asm.ret();
    assert_eq!(asm.code(), Err(AssembleError::TooLarge { limit: MAX_CODE }));
    assert_eq!(asm.at as usize, MAX_CODE);
}

#[test]
fn cleared_buffer_is_reused() {
    let mut asm = Assembler::new();
    let label = asm.label();
    asm.jmp(label);
    assert_eq!(asm.code(), Err(AssembleError::Unbound { label: 0 }));
    asm.clear();
    asm.ret();
    assert_eq!(asm.code().map(|code| code.bytes.to_vec()), Ok(vec![0xc3]));
}
