//! Functions that the processor runs.
#![cfg(all(feature = "kernel", target_arch = "x86_64"))]
#![allow(unsafe_code)]

use super::super::*;
use crate::format::RelocKind;
use crate::memory::code_alloc::{CodeMemory, ExecutableBlock};

use Gpr::*;
use Xmm::*;

/// Code with its relocations applied: target 0 is at `outside`.
fn publish(asm: Assembler, outside: usize) -> ExecutableBlock {
    let code = asm.finish().unwrap();
    let mut block = CodeMemory::default().allocate(code.bytes.len()).unwrap();
    let place = block.as_mut_slice();
    place.copy_from_slice(&code.bytes);
    for relocation in code.relocations {
        assert_eq!((relocation.kind, relocation.target), (RelocKind::Abs64, 0));
        let address = (outside as i64 + relocation.addend).to_le_bytes();
        place[relocation.offset as usize..][..8].copy_from_slice(&address);
    }
    block.publish().unwrap()
}

/// Calls code as a function of two integers.
fn call(asm: Assembler, one: i64, two: i64) -> i64 {
    extern "C" fn sum(one: i64, two: i64) -> i64 {
        one + two
    }
    let block = publish(asm, sum as extern "C" fn(i64, i64) -> i64 as usize);
    // SAFETY: each test below assembles such a function, which follows the calling convention.
    let function: extern "C" fn(i64, i64) -> i64 = unsafe { core::mem::transmute(block.as_ptr()) };
    function(one, two)
}

#[test]
#[cfg_attr(miri, ignore = "runs machine code")]
fn fibonacci_calls_itself() {
    let mut asm = Assembler::new();
    let [fib, recurse] = [asm.label(), asm.label()];
    asm.bind(fib);
    asm.cmp(W64, Rdi, 2);
    asm.jcc(Cond::Ge, recurse);
    asm.mov(W64, Rax, Rdi);
    asm.ret();
    asm.bind(recurse);
    asm.push(Rbx);
    asm.push(Rdi);
    asm.sub(W64, Rsp, 8);
    asm.dec(W64, Rdi);
    asm.call(fib);
    asm.mov(W64, Rbx, Rax);
    asm.mov(W64, Rdi, Mem::at(Rsp, 8));
    asm.sub(W64, Rdi, 2);
    asm.call(fib);
    asm.add(W64, Rax, Rbx);
    asm.add(W64, Rsp, 16);
    asm.pop(Rbx);
    asm.ret();
    assert_eq!(call(asm, 20, 0), 6765);
}

#[test]
#[cfg_attr(miri, ignore = "runs machine code")]
fn table_is_read_by_index() {
    let mut asm = Assembler::new();
    let table = asm.label();
    asm.lea(W64, Rcx, Rip::Label(table));
    let [rsi, rdi] = [Rsi, Rdi].map(|register| register.index().unwrap());
    asm.mov(W64, Rax, Mem::at(Rcx, 0).indexed(rdi, Scale::By8));
    asm.add(W64, Rax, Mem::at(Rcx, 8).indexed(rsi, Scale::By8));
    asm.ret();
    asm.align(8);
    asm.bind(table);
    (0..8_u64).for_each(|n| asm.bytes(&(n * n).to_le_bytes()));
    assert_eq!(call(asm, 3, 5), 9 + 36);
}

#[test]
#[cfg_attr(miri, ignore = "runs machine code")]
fn division_yields_quotient_and_remainder() {
    for (dividend, divisor) in [(17, 5), (-17, 5), (17, -5), (i64::MIN, 3)] {
        let mut asm = Assembler::new();
        asm.mov(W64, Rax, Rdi);
        asm.sign_to_rdx(W64);
        asm.idiv(W64, Rsi);
        asm.shl(W64, Rax, 8);
        asm.movsx(W64, Rdx, W8, Rdx);
        asm.sub(W64, Rax, Rdx);
        asm.ret();
        let meant = ((dividend / divisor) << 8) - dividend % divisor;
        assert_eq!(call(asm, dividend, divisor), meant);
    }
}

#[test]
#[cfg_attr(miri, ignore = "runs machine code")]
fn floats_are_computed_and_compared() {
    let mut asm = Assembler::new();
    let unordered = asm.label();
    asm.bitwise(Bitwise::XOR, Float::F32, Xmm8, Xmm8);
    asm.cvtsi2s(Float::F64, Xmm8, W64, Rdi);
    asm.movq(Xmm15, Rsi);
    asm.bitwise(Bitwise::UCOMIS, Float::F64, Xmm15, Xmm15);
    asm.jcc(Cond::P, unordered);
    asm.scalar(Scalar::SQRT, Float::F64, Xmm8, Xmm8);
    asm.scalar(Scalar::ADD, Float::F64, Xmm8, Xmm15);
    asm.bind(unordered);
    asm.cvtts2si(Float::F64, W64, Rax, Xmm8);
    asm.ret();
    let mut again = Assembler::new();
    again.bytes(asm.code().unwrap().bytes);
    assert_eq!(call(asm, 144, 0.5_f64.to_bits().cast_signed()), 12);
    assert_eq!(call(again, 144, f64::NAN.to_bits().cast_signed()), 144);
}

#[test]
#[cfg_attr(miri, ignore = "runs machine code")]
fn external_function_is_called() {
    let mut asm = Assembler::new();
    asm.sub(W64, Rsp, 8);
    asm.mov_symbol(R11, 0, 0);
    asm.call_to(R11);
    asm.add(W64, Rsp, 8);
    asm.ret();
    assert_eq!(call(asm, 40, 2), 42);
}

#[test]
#[cfg_attr(miri, ignore = "runs machine code")]
fn nops_and_conditions_have_their_documented_effects() {
    let mut asm = Assembler::new();
    (0..32).for_each(|len| asm.nops(len));
    asm.align(64);
    assert_eq!(asm.offset() % 64, 0);
    asm.cmp(W64, Rdi, Rsi);
    asm.setcc(Cond::L, Rax);
    asm.movzx(Rax, W8, Rax);
    asm.mov_imm(Rcx, 0x1234_5678_9abc_def0);
    asm.cmovcc(Cond::G, W64, Rax, Rcx);
    asm.ret();
    let code = asm.finish().unwrap();
    let again = || {
        let mut asm = Assembler::new();
        asm.bytes(&code.bytes);
        asm
    };
    assert_eq!(call(again(), 1, 2), 1);
    assert_eq!(call(again(), 2, 2), 0);
    assert_eq!(call(again(), 3, 2), 0x1234_5678_9abc_def0);
}
