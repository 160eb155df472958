//! The stubs on x86-64.

use super::interface::{EntryTrampoline, Rows, StubRows, Stubs, jump_distance};
use crate::bytecode::translate::abi::{Context, REGISTER_ARGUMENTS, Shared};
use crate::codegen::code::CodeBuffer;
use crate::codegen::unwind::UnwindOp;
use crate::codegen::x64::{AssembleError, Assembler, Cond, Gpr, Label, Mem, Rip, W32, W64};

/// Bytes of a stand-in.
pub(in crate::vm::native) const EXIT_TRAMPOLINE: usize = 14;

/// The callee-saved registers, without the stack pointer.
/// Source: System V ABI, AMD64 supplement, 3.2.1 "Registers".
const SAVED: [Gpr; 6] = [Gpr::Rbx, Gpr::Rbp, Gpr::R12, Gpr::R13, Gpr::R14, Gpr::R15];

/// The registers of the first integer arguments.
/// Source: System V ABI, AMD64 supplement, 3.2.3 "Parameter Passing".
const C_ARGUMENTS: [Gpr; 6] = [Gpr::Rdi, Gpr::Rsi, Gpr::Rdx, Gpr::Rcx, Gpr::R8, Gpr::R9];

/// The registers of the arguments of a function of the program, behind context and depth.
const ARGUMENTS: [Gpr; REGISTER_ARGUMENTS] = [Gpr::Rdx, Gpr::Rcx, Gpr::R8, Gpr::R9];

/// Assembles the stubs of an engine.
pub(in crate::vm::native) fn assemble(
    interpret: usize,
) -> Result<(CodeBuffer, Stubs, StubRows), AssembleError> {
    let mut asm = Assembler::new();
    let call = start(&mut asm);
    let mut call_rows = Rows::new(asm.offset());
    asm.endbr64();
    let exit = asm.label();
    put_call(&mut asm, exit, &mut call_rows);
    let trap = start(&mut asm);
    asm.endbr64();
    put_trap(&mut asm);
    load(&mut asm, Gpr::Rsp, Mem::at(Gpr::Rdi, Context::STACK_POINTER));
    asm.jmp(exit);
    let stand_in = start(&mut asm);
    let mut interpret_rows = Rows::new(asm.offset());
    put_interpret(&mut asm, interpret, &mut interpret_rows);
    let rows = StubRows { call: call_rows, interpret: interpret_rows };
    Ok((asm.finish()?, Stubs { call, trap, interpret: stand_in }, rows))
}

fn start(asm: &mut Assembler) -> usize {
    asm.align(16);
    usize::try_from(asm.offset()).unwrap_or(usize::MAX)
}

/// States that the canonical frame address is `offset` bytes above `register` from here on.
fn define_cfa(asm: &mut Assembler, rows: &mut Rows, register: Gpr, offset: i32) {
    let (register, offset) = (register.dwarf_number(), u32::try_from(offset).unwrap_or(0));
    rows.push(asm.offset(), UnwindOp::DefineCfa { register, offset });
}

/// States that the caller's value of a register lies `below` bytes below the canonical frame address.
fn saved(asm: &mut Assembler, rows: &mut Rows, register: Gpr, below: i32) {
    let (register, below) = (register.dwarf_number(), u32::try_from(below).unwrap_or(0));
    rows.push(asm.offset(), UnwindOp::Saved { register, below });
}

/// States that a register has the caller's value again.
fn restored(asm: &mut Assembler, rows: &mut Rows, register: Gpr) {
    rows.push(asm.offset(), UnwindOp::Restored { register: register.dwarf_number() });
}

// The assembler is inlined into its callers; these copies are enough for code that is assembled once.

#[inline(never)]
fn load(asm: &mut Assembler, to: Gpr, from: Mem) {
    asm.mov(W64, to, from);
}

#[inline(never)]
fn store(asm: &mut Assembler, to: Mem, from: Gpr) {
    asm.mov(W64, to, from);
}

#[inline(never)]
fn copy(asm: &mut Assembler, to: Gpr, from: Gpr) {
    asm.mov(W64, to, from);
}

#[inline(never)]
fn constant(asm: &mut Assembler, to: Gpr, value: u64) {
    asm.mov_imm(to, value);
}

/// The entry: context in rdi, depth in rsi, the code in rdx, the arguments at rcx.
fn put_call(asm: &mut Assembler, exit: Label, rows: &mut Rows) {
    let mut depth = 8;
    for register in SAVED {
        asm.push(register);
        depth += 8;
        define_cfa(asm, rows, Gpr::Rsp, depth);
        saved(asm, rows, register, depth);
    }
    asm.sub(W64, Gpr::Rsp, 8);
    define_cfa(asm, rows, Gpr::Rsp, depth + 8);
    store(asm, Mem::at(Gpr::Rdi, Context::STACK_POINTER), Gpr::Rsp);
    copy(asm, Gpr::Rax, Gpr::Rdx);
    copy(asm, Gpr::R10, Gpr::Rcx);
    for (register, number) in ARGUMENTS.into_iter().zip(0..) {
        load(asm, register, Mem::at(Gpr::R10, 8 * number));
    }
    asm.call_to(Gpr::Rax);
    asm.bind(exit);
    asm.add(W64, Gpr::Rsp, 8);
    define_cfa(asm, rows, Gpr::Rsp, depth);
    for register in SAVED.into_iter().rev() {
        asm.pop(register);
        depth -= 8;
        define_cfa(asm, rows, Gpr::Rsp, depth);
        restored(asm, rows, register);
    }
    asm.ret();
}

/// Writes a trap to the context in rdi: its code is in esi, its offset in edx, its function in ecx.
fn put_trap(asm: &mut Assembler) {
    asm.mov(W32, Mem::at(Gpr::Rdi, Context::TRAP_CODE), Gpr::Rsi);
    asm.mov(W32, Mem::at(Gpr::Rdi, Context::TRAP_AT), Gpr::Rdx);
    asm.mov(W32, Mem::at(Gpr::Rdi, Context::TRAP_FUNCTION), Gpr::Rcx);
}

/// A function without code was called: eax is its index. Calls
/// `extern "C" fn(context, function, depth, arguments) -> code`, and goes to the code if there is some by now.
fn put_interpret(asm: &mut Assembler, interpret: usize, rows: &mut Rows) {
    let mut depth = 8;
    for register in ARGUMENTS.into_iter().rev().chain([Gpr::Rsi, Gpr::Rdi]) {
        asm.push(register);
        depth += 8;
        define_cfa(asm, rows, Gpr::Rsp, depth);
    }
    asm.sub(W64, Gpr::Rsp, 8);
    define_cfa(asm, rows, Gpr::Rsp, depth + 8);
    copy(asm, Gpr::Rdx, Gpr::Rsi);
    asm.mov(W32, Gpr::Rsi, Gpr::Rax);
    asm.lea(W64, Gpr::Rcx, Mem::at(Gpr::Rsp, 24));
    constant(asm, Gpr::Rax, interpret as u64);
    asm.call_to(Gpr::Rax);
    let [done, returned] = [asm.label(), asm.label()];
    asm.add(W64, Gpr::Rsp, 8);
    define_cfa(asm, rows, Gpr::Rsp, depth);
    asm.pop(Gpr::Rdi);
    depth -= 8;
    define_cfa(asm, rows, Gpr::Rsp, depth);
    asm.test(W64, Gpr::Rax, Gpr::Rax);
    // Both jumps are short ones, so that no code behind them moves and the rows are final.
    asm.jcc_short(Cond::E, done);
    let depth_when_done = depth;
    for register in [Gpr::Rsi].into_iter().chain(ARGUMENTS) {
        asm.pop(register);
        depth -= 8;
        define_cfa(asm, rows, Gpr::Rsp, depth);
    }
    asm.jmp_to(Gpr::Rax);
    asm.bind(done);
    define_cfa(asm, rows, Gpr::Rsp, depth_when_done);
    asm.mov(W32, Gpr::Rsi, Mem::at(Gpr::Rdi, Context::TRAP_CODE));
    asm.test(W32, Gpr::Rsi, Gpr::Rsi);
    asm.jcc_short(Cond::E, returned);
    // The trap of the interpreter becomes one of the calling code.
    asm.mov(W32, Gpr::Rdx, Mem::at(Gpr::Rdi, Context::TRAP_AT));
    asm.mov(W32, Gpr::Rcx, Mem::at(Gpr::Rdi, Context::TRAP_FUNCTION));
    asm.jmp_to(Mem::at(Gpr::Rdi, Context::TRAP_HANDLER));
    asm.bind(returned);
    load(asm, Gpr::Rax, Mem::at(Gpr::Rdi, Context::RESULT));
    asm.add(W64, Gpr::Rsp, 8 * (1 + ARGUMENTS.len() as i32));
    define_cfa(asm, rows, Gpr::Rsp, 8);
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
    let distance = jump_distance(at.saturating_add(EXIT_TRAMPOLINE), interpret, 1 << 31)?;
    let [e, f, g, h] = distance.to_le_bytes();
    // ENDBR64; MOV EAX, imm32; JMP rel32. Source: Intel SDM volume 2, "ENDBR64", "MOV", "JMP".
    Ok([0xf3, 0x0f, 0x1e, 0xfa, 0xb8, a, b, c, d, 0xe9, e, f, g, h])
}

/// Behind the context in the frame of an entry trampoline: the saved registers.
const SAVED_AT: i32 = Context::SIZE;

/// Bytes of the frame of an entry trampoline; with the return address a multiple of 16.
const FRAME: i32 = SAVED_AT + 8 * SAVED.len() as i32 + 8;

/// Bytes from the stack pointer to the canonical frame address in an entry trampoline.
const CFA: i32 = FRAME + 8;

/// The registers in which an entry trampoline has the first arguments until it calls; they are the last of [`SAVED`].
const HELD: [Gpr; REGISTER_ARGUMENTS] = [Gpr::R12, Gpr::R13, Gpr::R14, Gpr::R15];

/// Assembles a C function that calls a function of the program. Its frame begins with the context of the call.
pub(in crate::vm::native) fn assemble_entry_trampoline(
    trampoline: &EntryTrampoline,
) -> Result<(CodeBuffer, Rows), AssembleError> {
    let (mut asm, mut rows) = (Assembler::new(), Rows::default());
    let [exit, trap] = [asm.label(), asm.label()];
    asm.endbr64();
    asm.sub(W64, Gpr::Rsp, FRAME);
    define_cfa(&mut asm, &mut rows, Gpr::Rsp, CFA);
    for (register, number) in SAVED.into_iter().zip(0..) {
        store(&mut asm, Mem::at(Gpr::Rsp, SAVED_AT + 8 * number), register);
        saved(&mut asm, &mut rows, register, CFA - SAVED_AT - 8 * number);
    }
    put_arguments(&mut asm, trampoline.params);
    put_context(&mut asm, trampoline, trap);
    let held = HELD.into_iter().take(trampoline.params.into());
    for (argument, held) in ARGUMENTS.into_iter().zip(held) {
        copy(&mut asm, argument, held);
    }
    copy(&mut asm, Gpr::Rdi, Gpr::Rsp);
    constant(&mut asm, Gpr::Rsi, trampoline.depth.into());
    let index = i32::try_from(trampoline.function).unwrap_or(i32::MAX / 16);
    asm.call_to(Mem::at(Gpr::Rbx, Shared::FUNCTIONS + 8 * index));
    asm.bind(exit);
    rows.push(asm.offset(), UnwindOp::RememberState);
    for (register, number) in SAVED.into_iter().zip(0..) {
        load(&mut asm, register, Mem::at(Gpr::Rsp, SAVED_AT + 8 * number));
        restored(&mut asm, &mut rows, register);
    }
    asm.add(W64, Gpr::Rsp, FRAME);
    define_cfa(&mut asm, &mut rows, Gpr::Rsp, 8);
    asm.ret();
    asm.bind(trap);
    rows.push(asm.offset(), UnwindOp::RestoreState);
    define_cfa(&mut asm, &mut rows, Gpr::Rdi, CFA);
    asm.endbr64();
    copy(&mut asm, Gpr::Rsp, Gpr::Rdi);
    define_cfa(&mut asm, &mut rows, Gpr::Rsp, CFA);
    put_trap(&mut asm);
    constant(&mut asm, Gpr::Rax, trampoline.trapped as u64);
    asm.call_to(Gpr::Rax);
    asm.zero(Gpr::Rax);
    asm.jmp(exit);
    Ok((asm.finish()?, rows))
}

/// Moves the C arguments to callee-saved registers and to the context.
fn put_arguments(asm: &mut Assembler, params: u16) {
    let in_registers = C_ARGUMENTS.into_iter().take(params.into());
    for (register, number) in in_registers.clone().zip(HELD) {
        copy(asm, number, register);
    }
    for (register, number) in in_registers.skip(HELD.len()).zip(0..) {
        store(asm, Mem::at(Gpr::Rsp, Context::ARGUMENTS + 8 * number), register);
    }
    for number in 0..i32::from(params.saturating_sub(6)) {
        load(asm, Gpr::Rax, Mem::at(Gpr::Rsp, FRAME + 8 + 8 * number));
        store(asm, Mem::at(Gpr::Rsp, Context::ARGUMENTS + 8 * (2 + number)), Gpr::Rax);
    }
}

/// Fills the context at the stack pointer. The address of the shared block is in rbx then.
fn put_context(asm: &mut Assembler, trampoline: &EntryTrampoline, trap: Label) {
    constant(asm, Gpr::Rbx, trampoline.shared as u64);
    store(asm, Mem::at(Gpr::Rsp, Context::SHARED), Gpr::Rbx);
    asm.lea(W64, Gpr::Rax, Rip::Label(trap));
    store(asm, Mem::at(Gpr::Rsp, Context::TRAP_HANDLER), Gpr::Rax);
    constant(asm, Gpr::Rdi, trampoline.budget);
    store(asm, Mem::at(Gpr::Rsp, Context::BUDGET), Gpr::Rdi);
    constant(asm, Gpr::Rax, trampoline.stack_end as u64);
    asm.call_to(Gpr::Rax);
    store(asm, Mem::at(Gpr::Rsp, Context::STACK_END), Gpr::Rax);
}
