//! The assembler compared with others: the same instructions, with registers and labels that are known only at
//! run time.

use std::hint::black_box;

use dynasmrt::{DynasmApi, DynasmLabelApi, VecAssembler, dynasm, x64::X64Relocation};
use iced_x86::code_asm::{
    self as iced, AsmRegister8, AsmRegister64, AsmRegisterXmm, CodeAssembler,
};
use smf_core::codegen::x64::{
    Assembler, Bitwise, Cond, Float, Gpr, Mem, Scalar, Scale, W8, W64, Xmm,
};

use crate::measure::{Bench, Contender, Measure, Target, repeat};

const ICED: &str = "assemble an instruction";
const DYNASM: &str = "assemble an instruction, beside templates";
const BYTE: &str = "assemble a byte of code (1 GB/s)";

/// The number of times that the instructions of [`Block`] are assembled in one turn.
const BLOCKS: usize = 500;
/// The number of instructions of [`Block`].
const INSTRUCTIONS: u64 = 22;

/// Operands of the instructions that a single-pass compiler emits for a few operations.
#[derive(Clone, Copy)]
struct Block {
    registers: [u8; 3],
    floats: [u8; 2],
    slots: [i32; 2],
    small: i32,
    large: u64,
}

pub(crate) fn measure(bench: &mut Bench) {
    if !bench.wants(&[ICED, DYNASM, BYTE]) {
        return;
    }
    let blocks = black_box(blocks());
    let count = INSTRUCTIONS * BLOCKS as u64;
    let take = |bench: &mut Bench, name, peer, per, target, theirs: Option<Contender<'_>>| {
        let measure = Measure { name, peer, per, batches: 200, target, ..Measure::default() };
        bench.take(&measure, ours(&blocks), theirs);
    };
    let target = Target { ratio: Some(0.05), limit: Some(4.0) };
    take(bench, ICED, "iced-x86", count, target, Some(with_iced(&blocks)));
    take(bench, DYNASM, "dynasmrt", count, Target::ratio(1.0), Some(with_dynasm(&blocks)));
    let mut asm = Assembler::new();
    let bytes = assemble(&mut asm, &blocks).try_into().unwrap();
    take(bench, BYTE, "", bytes, Target::limit(1.0), None);
}

fn blocks() -> Vec<Block> {
    let mut state = 1_u64;
    let mut next = |end: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 33) % end
    };
    // Any register but the stack pointer, which cannot be an index.
    let mut register = || {
        u8::try_from([0, 1, 2, 3, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15][next(15) as usize])
            .unwrap()
    };
    let registers: Vec<[u8; 3]> =
        (0..BLOCKS).map(|_| [register(), register(), register()]).collect();
    let block = |registers| Block {
        registers,
        floats: [next(16), next(16)].map(|number| number as u8),
        slots: [next(40), next(40)].map(|slot| 8 * slot as i32),
        small: next(1000) as i32,
        large: next(1 << 31) << 32 | next(1 << 31),
    };
    registers.into_iter().map(block).collect()
}

fn ours(blocks: &[Block]) -> Contender<'_> {
    let mut asm = Assembler::new();
    repeat(move || assemble(&mut asm, blocks))
}

#[inline(never)]
fn assemble(asm: &mut Assembler, blocks: &[Block]) -> usize {
    asm.clear();
    let function = asm.label();
    asm.bind(function);
    for block in blocks {
        let [a, b, c] = block.registers.map(|number| Gpr::ALL[usize::from(number)]);
        let [x, y] = block.floats.map(|number| Xmm::ALL[usize::from(number)]);
        let [head, over] = [asm.label(), asm.label()];
        asm.mov(W64, a, Mem::at(Gpr::Rsp, block.slots[0]));
        asm.bind(head);
        asm.add(W64, a, b);
        asm.mov(W64, Mem::at(Gpr::Rsp, block.slots[1]), a);
        asm.cmp(W64, a, block.small);
        asm.jcc(Cond::L, over);
        asm.imul(W64, b, c);
        let index = b.index().expect("no register of a block is the stack pointer");
        asm.lea(W64, c, Mem::at(a, 16).indexed(index, Scale::By8));
        asm.sub(W64, c, block.small);
        asm.bind(over);
        asm.mov_scalar(Float::F64, x, Mem::at(Gpr::Rbp, block.slots[0]));
        asm.scalar(Scalar::ADD, Float::F64, x, y);
        asm.bitwise(Bitwise::UCOMIS, Float::F64, x, y);
        asm.setcc(Cond::Ne, c);
        asm.movzx(c, W8, c);
        asm.mov_imm(a, block.large);
        asm.xor(W64, a, b);
        asm.shl(W64, a, 3);
        asm.test(W64, a, a);
        asm.jcc(Cond::Ne, head);
        asm.call(function);
        asm.push(b);
        asm.pop(b);
        asm.ret();
    }
    asm.code().unwrap().bytes.len()
}

fn with_dynasm(blocks: &[Block]) -> Contender<'_> {
    let mut asm = VecAssembler::new(0);
    repeat(move || assemble_with_dynasm(&mut asm, blocks))
}

#[inline(never)]
#[expect(clippy::useless_conversion, reason = "the templates convert all registers")]
fn assemble_with_dynasm(asm: &mut VecAssembler<X64Relocation>, blocks: &[Block]) -> usize {
    let function = asm.new_dynamic_label();
    dynasm!(asm; .arch x64; =>function);
    for block in blocks {
        let [a, b, c] = block.registers;
        let [x, y] = block.floats;
        let [slot, other] = block.slots;
        let large = block.large.cast_signed();
        let small = block.small;
        let [head, over] = [asm.new_dynamic_label(), asm.new_dynamic_label()];
        dynasm!(asm
            ; .arch x64
            ; mov Rq(a), [rsp + slot]
            ; =>head
            ; add Rq(a), Rq(b)
            ; mov [rsp + other], Rq(a)
            ; cmp Rq(a), small
            ; jl =>over
            ; imul Rq(b), Rq(c)
            ; lea Rq(c), [Rq(a) + Rq(b) * 8 + 16]
            ; sub Rq(c), small
            ; =>over
            ; movsd Rx(x), [rbp + slot]
            ; addsd Rx(x), Rx(y)
            ; ucomisd Rx(x), Rx(y)
            ; setne Rb(c)
            ; movzx Rd(c), Rb(c)
            ; mov Rq(a), QWORD large
            ; xor Rq(a), Rq(b)
            ; shl Rq(a), 3
            ; test Rq(a), Rq(a)
            ; jne =>head
            ; call =>function
            ; push Rq(b)
            ; pop Rq(b)
            ; ret
        );
    }
    let len = asm.offset().0;
    drop(asm.drain().unwrap());
    len
}

/// The registers in the types of this assembler.
struct Registers {
    general: [AsmRegister64; 16],
    low: [AsmRegister8; 16],
    floats: [AsmRegisterXmm; 16],
}

fn with_iced(blocks: &[Block]) -> Contender<'_> {
    use iced::*;
    let registers = Registers {
        general: [rax, rcx, rdx, rbx, rsp, rbp, rsi, rdi, r8, r9, r10, r11, r12, r13, r14, r15],
        low: [al, cl, dl, bl, spl, bpl, sil, dil, r8b, r9b, r10b, r11b, r12b, r13b, r14b, r15b],
        floats: [
            xmm0, xmm1, xmm2, xmm3, xmm4, xmm5, xmm6, xmm7, xmm8, xmm9, xmm10, xmm11, xmm12, xmm13,
            xmm14, xmm15,
        ],
    };
    let mut asm = CodeAssembler::new(64).unwrap();
    repeat(move || assemble_with_iced(&mut asm, &registers, blocks).unwrap())
}

#[inline(never)]
fn assemble_with_iced(
    asm: &mut CodeAssembler,
    registers: &Registers,
    blocks: &[Block],
) -> Result<usize, iced_x86::IcedError> {
    use iced::{qword_ptr, rbp, rsp};
    asm.reset();
    let mut function = asm.create_label();
    asm.set_label(&mut function)?;
    for block in blocks {
        let [a, b, c] = block.registers.map(|number| registers.general[usize::from(number)]);
        let low = registers.low[usize::from(block.registers[2])];
        let [x, y] = block.floats.map(|number| registers.floats[usize::from(number)]);
        let [mut head, mut over] = [asm.create_label(), asm.create_label()];
        asm.mov(a, qword_ptr(rsp + block.slots[0]))?;
        asm.set_label(&mut head)?;
        asm.add(a, b)?;
        asm.mov(qword_ptr(rsp + block.slots[1]), a)?;
        asm.cmp(a, block.small)?;
        asm.jl(over)?;
        asm.imul_2(b, c)?;
        asm.lea(c, qword_ptr(a + b * 8 + 16))?;
        asm.sub(c, block.small)?;
        asm.set_label(&mut over)?;
        asm.movsd_2(x, qword_ptr(rbp + block.slots[0]))?;
        asm.addsd(x, y)?;
        asm.ucomisd(x, y)?;
        asm.setne(low)?;
        asm.movzx(c, low)?;
        asm.mov(a, block.large)?;
        asm.xor(a, b)?;
        asm.shl(a, 3)?;
        asm.test(a, a)?;
        asm.jne(head)?;
        asm.call(function)?;
        asm.push(b)?;
        asm.pop(b)?;
        asm.ret()?;
    }
    Ok(asm.assemble(0)?.len())
}
