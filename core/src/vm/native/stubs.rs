//! The few pieces of machine code that no function has: ways in, ways out, and what stands in for
//! functions that have no code yet.
//!
//! All of them are made once for an engine, and lie in one block behind each other. Their contract with
//! compiled code is that of [`abi`](crate::jit::lower::abi).

use crate::codegen::ARGUMENTS;
use crate::codegen::code::CodeBuffer;
use crate::codegen::x64::{
    AssembleError, Assembler, Cond, Gpr, Growing, Index, Label, Mem, Rip, Scale, W16, W32, W64,
};
use crate::jit::lower::OSR_REGISTERS;
use crate::jit::lower::abi::{Context, Shared, TrapKind};

/// Bytes of what stands in for a function.
pub(super) const EXIT_TRAMPOLINE: usize = 10;

/// The registers that C keeps, but for the stack pointer.
const KEPT: [Gpr; 6] = [Gpr::Rbx, Gpr::Rbp, Gpr::R12, Gpr::R13, Gpr::R14, Gpr::R15];

/// Offsets in [`Resume`], in bytes.
const RESUME_CODE: i32 = 0;
const RESUME_WORDS: i32 = 8;
const RESUME_COUNT: i32 = 16;
const RESUME_BELOW: i32 = 24;
const RESUME_DEPTH: i32 = 32;
const RESUME_REGISTERS: i32 = 40;

/// An activation that is to go on in compiled code.
#[derive(Debug)]
#[repr(C)]
pub(super) struct Resume {
    /// Where.
    pub(super) code: usize,
    /// The words of the stack, the lowest first.
    pub(super) words: *const u64,
    pub(super) count: usize,
    /// Bytes of them that are below the stack pointer.
    pub(super) below: usize,
    /// How many more activations there may be.
    pub(super) depth: usize,
    /// What the registers of [`OSR_REGISTERS`] hold.
    pub(super) registers: [u64; OSR_REGISTERS.len()],
}

/// Where the pieces are, in bytes from the begin of their block.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Stubs {
    /// `extern "C" fn(context, shared, code, arguments, count, depth) -> u64`
    pub(super) call: usize,
    /// `extern "C" fn(context, shared, resume) -> u64`
    pub(super) resume: usize,
    /// Where a resumed activation returns to.
    pub(super) resumed: usize,
    /// The handlers of traps, in their order.
    pub(super) traps: [usize; 4],
    pub(super) host_trap: usize,
    /// Where what stands in for functions goes on, with the function's index in `eax`.
    pub(super) interpret: usize,
}

/// Puts the pieces down. `interpret` is the address of
/// `extern "C" fn(context, engine, function, registers, stack, depth) -> code`.
pub(super) fn assemble(interpret: usize) -> Result<(CodeBuffer, Stubs), AssembleError> {
    let mut asm = Assembler::growing();
    let mut stubs = Stubs::default();
    let [exit, trapped, unwind] = [asm.label(), asm.label(), asm.label()];
    stubs.call = here(&mut asm);
    put_call(&mut asm, exit, trapped);
    stubs.resume = here(&mut asm);
    put_resume(&mut asm, trapped);
    asm.align(16);
    asm.bind(trapped);
    load(&mut asm, Gpr::Rsp, Mem::at(Gpr::Rdx, Context::STACK));
    stubs.resumed = here(&mut asm);
    asm.bind(exit);
    put_exit(&mut asm);
    for (kind, place) in TrapKind::ALL.into_iter().zip(&mut stubs.traps) {
        *place = here(&mut asm);
        constant(&mut asm, Gpr::Rcx, 1 + kind as u64);
        put_trap(&mut asm, unwind);
    }
    stubs.host_trap = here(&mut asm);
    constant(&mut asm, Gpr::Rcx, 1 + TrapKind::ALL.len() as u64);
    put_trap(&mut asm, unwind);
    asm.bind(unwind);
    put_unwind(&mut asm);
    stubs.interpret = here(&mut asm);
    put_interpret(&mut asm, interpret, unwind);
    Ok((asm.finish()?, stubs))
}

fn here(asm: &mut Assembler<Growing>) -> usize {
    asm.align(16);
    usize::try_from(asm.offset()).unwrap_or(usize::MAX)
}

/// Instructions that the pieces have many of. The assembler copies itself into its callers, most of whom
/// are in a hurry; here that would be 10 KB for what is done once.
#[inline(never)]
fn load(asm: &mut Assembler<Growing>, to: Gpr, from: Mem) {
    asm.mov(W64, to, from);
}

#[inline(never)]
fn store(asm: &mut Assembler<Growing>, to: Mem, from: Gpr) {
    asm.mov(W64, to, from);
}

#[inline(never)]
fn copy(asm: &mut Assembler<Growing>, to: Gpr, from: Gpr) {
    asm.mov(W64, to, from);
}

#[inline(never)]
fn constant(asm: &mut Assembler<Growing>, to: Gpr, value: u64) {
    asm.mov_imm(to, value);
}

/// Saves what C keeps; the stack is at a multiple of 16 then, and the context knows it and where to go
/// when it has trapped.
fn put_entry(asm: &mut Assembler<Growing>, trapped: Label) {
    KEPT.into_iter().for_each(|register| asm.push(register));
    asm.sub(W64, Gpr::Rsp, 8);
    store(asm, Mem::at(Gpr::Rdi, Context::STACK), Gpr::Rsp);
    asm.lea(W64, Gpr::Rax, Rip::Label(trapped));
    store(asm, Mem::at(Gpr::Rdi, Context::EXIT), Gpr::Rax);
    copy(asm, Gpr::Rbx, Gpr::Rsi);
    copy(asm, Gpr::Rbp, Gpr::Rdi);
    asm.shl(W64, Gpr::Rbp, 16);
}

fn put_exit(asm: &mut Assembler<Growing>) {
    asm.add(W64, Gpr::Rsp, 8);
    KEPT.into_iter().rev().for_each(|register| asm.pop(register));
    asm.ret();
}

fn put_call(asm: &mut Assembler<Growing>, exit: Label, trapped: Label) {
    put_entry(asm, trapped);
    asm.or(W64, Gpr::Rbp, Gpr::R9);
    copy(asm, Gpr::Rax, Gpr::Rdx);
    copy(asm, Gpr::R10, Gpr::Rcx);
    let [again, done] = [asm.label(), asm.label()];
    // From the last argument down to the seventh, with a word more if they are odd.
    copy(asm, Gpr::R11, Gpr::R8);
    asm.sub(W64, Gpr::R11, 6);
    asm.jcc(Cond::Le, done);
    asm.and(W32, Gpr::R11, 1);
    asm.shl(W32, Gpr::R11, 3);
    asm.sub(W64, Gpr::Rsp, Gpr::R11);
    asm.bind(again);
    asm.push_mem(Mem::at(Gpr::R10, -8).indexed(Index::R8, Scale::By8));
    asm.dec(W64, Gpr::R8);
    asm.cmp(W64, Gpr::R8, 6);
    asm.jcc(Cond::A, again);
    asm.bind(done);
    for (register, number) in ARGUMENTS.into_iter().zip(0..) {
        load(asm, register, Mem::at(Gpr::R10, 8 * number));
    }
    asm.call_to(Gpr::Rax);
    asm.jmp(exit);
}

fn put_resume(asm: &mut Assembler<Growing>, trapped: Label) {
    put_entry(asm, trapped);
    copy(asm, Gpr::Rax, Gpr::Rdx);
    asm.or(W64, Gpr::Rbp, Mem::at(Gpr::Rax, RESUME_DEPTH));
    load(asm, Gpr::Rdx, Mem::at(Gpr::Rax, RESUME_WORDS));
    load(asm, Gpr::Rcx, Mem::at(Gpr::Rax, RESUME_COUNT));
    let again = asm.label();
    // The last word first: page after page is touched. There is a return address at least.
    asm.bind(again);
    asm.push_mem(Mem::at(Gpr::Rdx, -8).indexed(Index::Rcx, Scale::By8));
    asm.dec(W64, Gpr::Rcx);
    asm.jcc(Cond::Ne, again);
    asm.add(W64, Gpr::Rsp, Mem::at(Gpr::Rax, RESUME_BELOW));
    for (register, number) in OSR_REGISTERS.into_iter().zip(0..) {
        load(asm, register, Mem::at(Gpr::Rax, RESUME_REGISTERS + 8 * number));
    }
    asm.jmp_to(Mem::at(Gpr::Rax, RESUME_CODE));
}

/// A handler: the number of the trap is in `ecx`, the function's in `eax`, and the offset on the stack.
fn put_trap(asm: &mut Assembler<Growing>, unwind: Label) {
    copy(asm, Gpr::Rdx, Gpr::Rbp);
    asm.shr(W64, Gpr::Rdx, 16);
    asm.mov(W32, Mem::at(Gpr::Rdx, Context::TRAP_KIND), Gpr::Rcx);
    asm.mov(W32, Mem::at(Gpr::Rdx, Context::TRAP_FUNCTION), Gpr::Rax);
    asm.pop_mem(Mem::at(Gpr::Rdx, Context::TRAP_OFFSET));
    asm.jmp(unwind);
}

/// Leaves all activations of the host call, whose context is in `rdx`. Where that goes on finds its stack
/// by itself.
fn put_unwind(asm: &mut Assembler<Growing>) {
    asm.zero(Gpr::Rax);
    asm.jmp_to(Mem::at(Gpr::Rdx, Context::EXIT));
}

/// A function without code is called: asks the engine, which interprets it or knows its code by now.
fn put_interpret(asm: &mut Assembler<Growing>, interpret: usize, unwind: Label) {
    ARGUMENTS.into_iter().rev().for_each(|register| asm.push(register));
    asm.push(Gpr::Rax);
    copy(asm, Gpr::Rdi, Gpr::Rbp);
    asm.shr(W64, Gpr::Rdi, 16);
    load(asm, Gpr::Rsi, Mem::at(Gpr::Rbx, Shared::ENGINE));
    asm.mov(W32, Gpr::Rdx, Gpr::Rax);
    asm.lea(W64, Gpr::Rcx, Mem::at(Gpr::Rsp, 8));
    asm.lea(W64, Gpr::R8, Mem::at(Gpr::Rsp, 8 * 8));
    asm.movzx(Gpr::R9, W16, Gpr::Rbp);
    constant(asm, Gpr::Rax, interpret as u64);
    asm.call_to(Gpr::Rax);
    let done = asm.label();
    asm.test(W64, Gpr::Rax, Gpr::Rax);
    asm.jcc(Cond::E, done);
    asm.add(W64, Gpr::Rsp, 8);
    ARGUMENTS.into_iter().for_each(|register| asm.pop(register));
    asm.jmp_to(Gpr::Rax);
    asm.bind(done);
    copy(asm, Gpr::Rdx, Gpr::Rbp);
    asm.shr(W64, Gpr::Rdx, 16);
    asm.cmp(W32, Mem::at(Gpr::Rdx, Context::TRAP_KIND), 0);
    asm.jcc(Cond::Ne, unwind);
    load(asm, Gpr::Rax, Mem::at(Gpr::Rdx, Context::RESULT));
    asm.add(W64, Gpr::Rsp, 7 * 8);
    asm.pop(Gpr::Rcx);
    asm.add(W64, Gpr::Rsp, Mem::at(Gpr::Rdx, Context::ARGUMENTS));
    asm.jmp_to(Gpr::Rcx);
}

/// What stands in for function `function` at `at` bytes of a block, when `interpret` is where the
/// common piece is in terms of that block.
pub(super) fn exit_trampoline(function: u32, at: usize, interpret: isize) -> [u8; EXIT_TRAMPOLINE] {
    let [a, b, c, d] = function.to_le_bytes();
    let end = isize::try_from(at + EXIT_TRAMPOLINE).unwrap_or(isize::MAX);
    // Both are in one block of at most 1 GiB.
    let distance = i32::try_from(interpret - end).unwrap_or(0);
    let [e, f, g, h] = distance.to_le_bytes();
    // MOV EAX, imm32; JMP rel32. Source: Intel SDM volume 2, "MOV", "JMP".
    [0xb8, a, b, c, d, 0xe9, e, f, g, h]
}

/// What a way in for the host is made of.
#[derive(Clone, Copy, Debug)]
pub(super) struct EntryTrampoline {
    /// The function that it calls, and how many parameters that has, at most eight.
    pub(super) function: u32,
    pub(super) params: u16,
    /// The address of the shared block.
    pub(super) shared: usize,
    /// How many more activations there may be.
    pub(super) depth: i32,
    pub(super) budget: u64,
    /// The address of `extern "C" fn(budget) -> stack_end`.
    pub(super) stack_end: usize,
    /// The address of `extern "C" fn(context, engine)`, which is called when the function has trapped.
    pub(super) trapped: usize,
}

/// The way in for the host: a function of the C convention.
pub(super) fn assemble_entry_trampoline(
    way: &EntryTrampoline,
) -> Result<CodeBuffer, AssembleError> {
    let EntryTrampoline { function, params, shared, depth, budget, .. } = *way;
    /// Behind the context: the saved registers, and the return address.
    const SAVED: i32 = Context::SIZE;
    let size = Context::SIZE + 8 * KEPT.len() as i32 + 8;
    let mut asm = Assembler::growing();
    let [exit, trap] = [asm.label(), asm.label()];
    asm.sub(W64, Gpr::Rsp, size);
    for (register, number) in KEPT.into_iter().zip(0..) {
        store(&mut asm, Mem::at(Gpr::Rsp, SAVED + 8 * number), register);
    }
    constant(&mut asm, Gpr::Rbx, shared as u64);
    asm.lea(W64, Gpr::Rax, Rip::Label(trap));
    store(&mut asm, Mem::at(Gpr::Rsp, Context::EXIT), Gpr::Rax);
    match i32::try_from(budget) {
        Ok(budget) => asm.mov(W64, Mem::at(Gpr::Rsp, Context::BUDGET), budget),
        Err(_) => {
            constant(&mut asm, Gpr::Rax, budget);
            store(&mut asm, Mem::at(Gpr::Rsp, Context::BUDGET), Gpr::Rax);
        }
    }
    copy(&mut asm, Gpr::Rbp, Gpr::Rsp);
    put_stack_end(&mut asm, budget, way.stack_end);
    asm.shl(W64, Gpr::Rbp, 16);
    asm.add(W64, Gpr::Rbp, depth);
    if params > 6 {
        // Where the eighth one is when the stack has been moved; a seventh alone has a neighbour.
        let last = Mem::at(Gpr::Rsp, size + 8 + 8);
        asm.push_mem(last);
        asm.push_mem(last);
    }
    let index = i32::try_from(function).unwrap_or(i32::MAX / 16);
    asm.call_to(Mem::at(Gpr::Rbx, Shared::FUNCTIONS + 8 * index));
    asm.bind(exit);
    for (register, number) in [Gpr::Rbx, Gpr::Rbp].into_iter().zip(0..) {
        load(&mut asm, register, Mem::at(Gpr::Rsp, SAVED + 8 * number));
    }
    asm.add(W64, Gpr::Rsp, size);
    asm.ret();
    asm.bind(trap);
    // The context is where the stack was.
    copy(&mut asm, Gpr::Rsp, Gpr::Rdx);
    for (register, number) in KEPT.into_iter().zip(0..).skip(2) {
        load(&mut asm, register, Mem::at(Gpr::Rsp, SAVED + 8 * number));
    }
    copy(&mut asm, Gpr::Rdi, Gpr::Rsp);
    load(&mut asm, Gpr::Rsi, Mem::at(Gpr::Rbx, Shared::ENGINE));
    constant(&mut asm, Gpr::Rax, way.trapped as u64);
    asm.call_to(Gpr::Rax);
    asm.zero(Gpr::Rax);
    asm.jmp(exit);
    asm.finish()
}

/// Asks for the end of the stack and puts it into the context, whose address is in `rbp`. The stack is at a
/// multiple of 16, and the registers of arguments stay.
fn put_stack_end(asm: &mut Assembler<Growing>, budget: u64, stack_end: usize) {
    ARGUMENTS.into_iter().rev().for_each(|register| asm.push(register));
    constant(asm, Gpr::Rdi, budget);
    constant(asm, Gpr::Rax, stack_end as u64);
    asm.call_to(Gpr::Rax);
    store(asm, Mem::at(Gpr::Rbp, Context::STACK_END), Gpr::Rax);
    ARGUMENTS.into_iter().for_each(|register| asm.pop(register));
}
