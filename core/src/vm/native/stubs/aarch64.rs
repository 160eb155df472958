//! The stubs on aarch64.

use super::interface::{EntryTrampoline, Rows, StubRows, Stubs, jump_distance};
use crate::bytecode::translate::abi::{Context, REGISTER_ARGUMENTS, Shared};
use crate::codegen::aarch64::{
    Access, AddSub, Assembler, Fpr, Gpr, Hint, Imm12, Label, Mem, Pair, PairMode, Width,
};
use crate::codegen::code::CodeBuffer;
use crate::codegen::unwind::UnwindOp;
use crate::codegen::x64::AssembleError;

/// Bytes of a stand-in.
pub(in crate::vm::native) const EXIT_TRAMPOLINE: usize = 16;

/// Bytes of the frame record and all callee-saved registers: x19 to x30 and d8 to d15.
/// Source: AAPCS64, 6.1.1 "General-purpose Registers", 6.1.2 "SIMD and Floating-Point registers".
const SAVED: Imm12 = bytes(SAVED_BYTES as u64);
const SAVED_BYTES: u32 = 160;

const W64: Width = Width::W64;

/// A number of bytes as an operand.
#[expect(clippy::panic, reason = "evaluated by the compiler")]
const fn bytes(count: u64) -> Imm12 {
    match Imm12::new(count) {
        Some(bytes) => bytes,
        None => panic!("an operand of 12 bits"),
    }
}

/// Assembles the stubs of an engine.
pub(in crate::vm::native) fn assemble(
    interpret: usize,
) -> Result<(CodeBuffer, Stubs, StubRows), AssembleError> {
    let mut asm = Assembler::new();
    let call = start(&mut asm);
    let mut call_rows = Rows::new(asm.offset());
    asm.hint(Hint::BTI_C);
    let exit = asm.label();
    put_call(&mut asm, exit, &mut call_rows);
    let trap = start(&mut asm);
    asm.hint(Hint::BTI_C);
    put_trap(&mut asm);
    load(&mut asm, Gpr::X16, Gpr::X0, Context::STACK_POINTER);
    asm.mov_sp(Gpr::SP, Gpr::X16);
    asm.b(exit);
    let stand_in = start(&mut asm);
    let mut interpret_rows = Rows::new(asm.offset());
    put_interpret(&mut asm, interpret, &mut interpret_rows);
    let rows = StubRows { call: call_rows, interpret: interpret_rows };
    Ok((asm.finish()?, Stubs { call, trap, interpret: stand_in }, rows))
}

fn start(asm: &mut Assembler) -> usize {
    asm.put_data(&[], 16);
    usize::try_from(asm.offset()).unwrap_or(usize::MAX)
}

fn load(asm: &mut Assembler, to: Gpr, base: Gpr, offset: i32) {
    asm.memory(Access::LDR_X, to, Mem::Offset(base, offset.into()));
}

fn store(asm: &mut Assembler, base: Gpr, offset: i32, from: Gpr) {
    asm.memory(Access::STR_X, from, Mem::Offset(base, offset.into()));
}

fn call(asm: &mut Assembler, address: usize) {
    asm.mov_imm(W64, Gpr::X16, address as u64);
    asm.blr(Gpr::X16);
}

/// States that the canonical frame address is `offset` bytes above `register` from here on.
fn define_cfa(asm: &Assembler, rows: &mut Rows, register: Gpr, offset: u32) {
    rows.push(asm.offset(), UnwindOp::DefineCfa { register: register.number(), offset });
}

/// States where the caller's values of two registers are, or that the registers have them again if `below` is `None`.
fn pair_rows(asm: &Assembler, rows: &mut Rows, registers: [u8; 2], below: Option<u32>) {
    for (register, further) in registers.into_iter().zip([0, 8]) {
        let op = match below {
            Some(below) => UnwindOp::Saved { register, below: below.saturating_sub(further) },
            None => UnwindOp::Restored { register },
        };
        rows.push(asm.offset(), op);
    }
}

/// Stores or loads the callee-saved registers, `at` bytes above the stack pointer and [`SAVED_BYTES`] below the canonical
/// frame address. Uses x16.
fn move_saved(asm: &mut Assembler, at: Imm12, is_store: bool, rows: &mut Rows) {
    let below =
        |at: i64| is_store.then(|| SAVED_BYTES.saturating_sub(u32::try_from(at).unwrap_or(0)));
    let (ints, floats) =
        if is_store { (Pair::STP_X, Pair::STP_D) } else { (Pair::LDP_X, Pair::LDP_D) };
    let base = Gpr::X16;
    asm.add_sub_imm(AddSub::ADD, W64, base, Gpr::SP, at);
    asm.pair(ints, [Gpr::FP, Gpr::LR], PairMode::Offset, base, 0);
    pair_rows(asm, rows, [Gpr::FP, Gpr::LR].map(Gpr::number), below(0));
    for (first, at) in (19..29).step_by(2).zip((16..).step_by(16)) {
        let registers = [Gpr::new(first), Gpr::new(first + 1)];
        asm.pair(ints, registers, PairMode::Offset, base, at);
        pair_rows(asm, rows, registers.map(Gpr::number), below(at));
    }
    for (first, at) in (8..16).step_by(2).zip((96..).step_by(16)) {
        let registers = [Fpr::new(first), Fpr::new(first + 1)];
        asm.pair_float(floats, registers, PairMode::Offset, base, at);
        pair_rows(asm, rows, registers.map(Fpr::dwarf_number), below(at));
    }
}

/// Adds to the stack pointer or subtracts from it.
fn move_stack(asm: &mut Assembler, op: AddSub, bytes: Imm12) {
    asm.add_sub_imm(op, W64, Gpr::SP, Gpr::SP, bytes);
}

/// The entry: context in x0, depth in x1, the code in x2, the arguments at x3.
fn put_call(asm: &mut Assembler, exit: Label, rows: &mut Rows) {
    move_stack(asm, AddSub::SUB, SAVED);
    define_cfa(asm, rows, Gpr::SP, SAVED_BYTES);
    move_saved(asm, bytes(0), true, rows);
    asm.mov_sp(Gpr::FP, Gpr::SP);
    store(asm, Gpr::X0, Context::STACK_POINTER, Gpr::FP);
    asm.mov(W64, Gpr::X16, Gpr::X2);
    asm.mov(W64, Gpr::X17, Gpr::X3);
    asm.pair(Pair::LDP_X, [Gpr::X2, Gpr::X3], PairMode::Offset, Gpr::X17, 0);
    asm.pair(Pair::LDP_X, [Gpr::X4, Gpr::X5], PairMode::Offset, Gpr::X17, 16);
    asm.blr(Gpr::X16);
    asm.bind(exit);
    move_saved(asm, bytes(0), false, rows);
    move_stack(asm, AddSub::ADD, SAVED);
    define_cfa(asm, rows, Gpr::SP, 0);
    asm.ret();
}

/// The fields of a trap, and the registers in which they reach the handler.
const TRAP: [(i32, Gpr); 3] =
    [(Context::TRAP_CODE, Gpr::X1), (Context::TRAP_AT, Gpr::X2), (Context::TRAP_FUNCTION, Gpr::X3)];

/// Writes a trap to the context in x0.
fn put_trap(asm: &mut Assembler) {
    for (offset, register) in TRAP {
        asm.memory(Access::STR_W, register, Mem::Offset(Gpr::X0, offset.into()));
    }
}

/// A function without code was called: w16 is its index. Calls
/// `extern "C" fn(context, function, depth, arguments) -> code`, and goes to the code if there is some by now.
fn put_interpret(asm: &mut Assembler, interpret: usize, rows: &mut Rows) {
    const { assert!(REGISTER_ARGUMENTS == 4) }
    let held = [([Gpr::X2, Gpr::X3], 16), ([Gpr::X4, Gpr::X5], 32), ([Gpr::X0, Gpr::X1], 48)];
    let record = [Gpr::FP, Gpr::LR];
    asm.pair(Pair::STP_X, record, PairMode::Pre, Gpr::SP, -64);
    define_cfa(asm, rows, Gpr::SP, 64);
    pair_rows(asm, rows, record.map(Gpr::number), Some(64));
    asm.mov_sp(Gpr::FP, Gpr::SP);
    for (registers, at) in held {
        asm.pair(Pair::STP_X, registers, PairMode::Offset, Gpr::SP, at);
    }
    asm.mov(W64, Gpr::X2, Gpr::X1);
    asm.mov(Width::W32, Gpr::X1, Gpr::X16);
    asm.add_sub_imm(AddSub::ADD, W64, Gpr::X3, Gpr::SP, Imm12::SIXTEEN);
    call(asm, interpret);
    asm.mov(W64, Gpr::X16, Gpr::X0);
    for (registers, at) in held {
        asm.pair(Pair::LDP_X, registers, PairMode::Offset, Gpr::SP, at);
    }
    asm.pair(Pair::LDP_X, record, PairMode::Post, Gpr::SP, 64);
    define_cfa(asm, rows, Gpr::SP, 0);
    pair_rows(asm, rows, record.map(Gpr::number), None);
    let [done, returned] = [asm.label(), asm.label()];
    asm.cbz(W64, Gpr::X16, done);
    asm.br(Gpr::X16);
    asm.bind(done);
    for (offset, register) in TRAP {
        asm.memory(Access::LDR_W, register, Mem::Offset(Gpr::X0, offset.into()));
    }
    asm.cbz(Width::W32, Gpr::X1, returned);
    // The trap of the interpreter becomes one of the calling code.
    load(asm, Gpr::X16, Gpr::X0, Context::TRAP_HANDLER);
    asm.br(Gpr::X16);
    asm.bind(returned);
    load(asm, Gpr::X0, Gpr::X0, Context::RESULT);
    asm.ret();
}

/// The stand-in of function `function` at offset `at` of a block in which `interpret` is the offset of
/// [`Stubs::interpret`].
pub(in crate::vm::native) fn exit_trampoline(
    function: u32,
    at: usize,
    interpret: usize,
) -> Result<[u8; EXIT_TRAMPOLINE], AssembleError> {
    let [a, b, c, d] = function.to_le_bytes();
    let [low, high] = [[a, b], [c, d]].map(u16::from_le_bytes).map(u32::from);
    let words = (jump_distance(at.saturating_add(12), interpret, 1 << 27)? / 4).cast_unsigned();
    // BTI c; MOVZ W16; MOVK W16, LSL 16; B. Source: DDI 0487, C6.2 "BTI", "MOVZ", "MOVK", "B".
    let code = [
        0xd503_245f,
        0x5280_0010 | low << 5,
        0x72a0_0010 | high << 5,
        0x1400_0000 | words & 0x03ff_ffff,
    ];
    let mut bytes = [0; EXIT_TRAMPOLINE];
    for (place, word) in bytes.as_chunks_mut().0.iter_mut().zip(code) {
        *place = word.to_le_bytes();
    }
    Ok(bytes)
}

/// Behind the context in the frame of an entry trampoline: the saved registers.
const SAVED_AT: Imm12 = bytes(Context::SIZE as u64);

/// Bytes of the frame of an entry trampoline.
const FRAME: Imm12 = bytes(FRAME_BYTES as u64);
const FRAME_BYTES: u32 = Context::SIZE as u32 + SAVED_BYTES;

/// The registers in which an entry trampoline has the first arguments until it calls, and those of the call.
const HELD: [(Gpr, Gpr); REGISTER_ARGUMENTS] =
    [(Gpr::X19, Gpr::X2), (Gpr::X20, Gpr::X3), (Gpr::X21, Gpr::X4), (Gpr::X22, Gpr::X5)];

/// Assembles a C function that calls a function of the program. Its frame begins with the context of the call.
pub(in crate::vm::native) fn assemble_entry_trampoline(
    trampoline: &EntryTrampoline,
) -> Result<(CodeBuffer, Rows), AssembleError> {
    let (mut asm, mut rows) = (Assembler::new(), Rows::default());
    let [exit, trap] = [asm.label(), asm.label()];
    asm.hint(Hint::BTI_C);
    move_stack(&mut asm, AddSub::SUB, FRAME);
    define_cfa(&asm, &mut rows, Gpr::SP, FRAME_BYTES);
    move_saved(&mut asm, SAVED_AT, true, &mut rows);
    asm.add_sub_imm(AddSub::ADD, W64, Gpr::FP, Gpr::SP, SAVED_AT);
    put_arguments(&mut asm, trampoline.params);
    put_context(&mut asm, trampoline, trap);
    for (held, argument) in HELD.into_iter().take(trampoline.params.into()) {
        asm.mov(W64, argument, held);
    }
    asm.mov_sp(Gpr::X0, Gpr::SP);
    asm.mov_imm(W64, Gpr::X1, trampoline.depth.into());
    let functions = u64::try_from(Shared::FUNCTIONS).unwrap_or(0);
    asm.mov_imm(W64, Gpr::X16, functions + 8 * u64::from(trampoline.function));
    let function = Mem::Index(Gpr::X23, Gpr::X16, crate::codegen::aarch64::Extension::Uxtx, false);
    asm.memory(Access::LDR_X, Gpr::X16, function);
    asm.blr(Gpr::X16);
    asm.bind(exit);
    rows.push(asm.offset(), UnwindOp::RememberState);
    move_saved(&mut asm, SAVED_AT, false, &mut rows);
    move_stack(&mut asm, AddSub::ADD, FRAME);
    define_cfa(&asm, &mut rows, Gpr::SP, 0);
    asm.ret();
    asm.bind(trap);
    rows.push(asm.offset(), UnwindOp::RestoreState);
    define_cfa(&asm, &mut rows, Gpr::X0, FRAME_BYTES);
    // Traps jump here by x16, as calls do.
    asm.hint(Hint::BTI_C);
    asm.mov_sp(Gpr::SP, Gpr::X0);
    define_cfa(&asm, &mut rows, Gpr::SP, FRAME_BYTES);
    put_trap(&mut asm);
    call(&mut asm, trampoline.trapped);
    asm.mov_imm(W64, Gpr::X0, 0);
    asm.b(exit);
    Ok((asm.finish()?, rows))
}

/// Moves the C arguments to callee-saved registers and to the context.
fn put_arguments(asm: &mut Assembler, params: u16) {
    let registers = (0..8).map(Gpr::new).take(params.into());
    for (register, (held, _)) in registers.clone().zip(HELD) {
        asm.mov(W64, held, register);
    }
    for (register, number) in registers.skip(HELD.len()).zip(0..) {
        store(asm, Gpr::SP, Context::ARGUMENTS + 8 * number, register);
    }
}

/// Fills the context at the stack pointer. The address of the shared block is in x23 then.
fn put_context(asm: &mut Assembler, trampoline: &EntryTrampoline, trap: Label) {
    asm.mov_imm(W64, Gpr::X23, trampoline.shared as u64);
    store(asm, Gpr::SP, Context::SHARED, Gpr::X23);
    asm.adr(Gpr::X16, trap);
    store(asm, Gpr::SP, Context::TRAP_HANDLER, Gpr::X16);
    asm.mov_imm(W64, Gpr::X0, trampoline.budget);
    store(asm, Gpr::SP, Context::BUDGET, Gpr::X0);
    call(asm, trampoline.stack_end);
    store(asm, Gpr::SP, Context::STACK_END, Gpr::X0);
}
