//! Links programs of several functions in executable memory and calls them.
#![allow(unsafe_code)]

use std::cell::Cell;
use std::collections::BTreeMap;
use std::vec::Vec;

use crate::codegen::{Options, TRAP_HOOK, TrapConvention, X64Compiler};
use crate::format::RelocKind;
use crate::ir::{
    Argument, Arguments, CalleeKind, Function, FunctionInstance, Scalar, Stop, Verified,
};
use crate::memory::code_alloc::{CodeMemory, ExecutableBlock, Request};

std::thread_local! {
    static TRAP: Cell<Option<(u32, u32)>> = const { Cell::new(None) };
}

extern "C" fn trap_hook(code: u32, at: u32, _function: u64) -> u64 {
    TRAP.set(Some((code, at)));
    0
}

/// The values of callee-saved registers at calls.
const PRESERVED: [u64; 6] = [11, 22, 33, 44, 55, 66];

/// What generated code sees as the context, and what a call leaves.
#[repr(C, align(16))]
pub(super) struct Context {
    stack_pointer: u64,
    handler: u64,
    pub(super) stack_limit: u64,
    result: u64,
    float_result: u64,
    preserved: [u64; 6],
    code: u32,
    at: u32,
    tag: u32,
    is_trap: u32,
}

/// The offset of the address of the handler in the context.
const HANDLER: i32 = 8;

/// The offset of the stack limit in the context.
pub(super) const STACK_LIMIT: i32 = 16;

/// Code to compile for [`TrapConvention::Context`].
pub(super) const CONTEXT: Options = Options {
    traps: TrapConvention::Context { handler_offset: HANDLER },
    tag: 0x1234_5678,
    own_function: None,
    landing_pad: false,
    source_map: false,
};

/// Calls a function with all registers and eight stack slots of arguments.
#[unsafe(naked)]
unsafe extern "C" fn enter(
    context: *mut Context,
    function: *const u8,
    ints: *const u64,
    floats: *const u64,
    stack: *const u64,
) {
    core::arch::naked_asm!(
        "push rbx",
        "push rbp",
        "push r12",
        "push r13",
        "push r14",
        "push r15",
        "push rdi",
        "mov [rdi], rsp",
        "mov rax, rsi",
        "mov r10, rdx",
        "push [r8 + 56]",
        "push [r8 + 48]",
        "push [r8 + 40]",
        "push [r8 + 32]",
        "push [r8 + 24]",
        "push [r8 + 16]",
        "push [r8 + 8]",
        "push [r8]",
        "movsd xmm0, [rcx]",
        "movsd xmm1, [rcx + 8]",
        "movsd xmm2, [rcx + 16]",
        "movsd xmm3, [rcx + 24]",
        "movsd xmm4, [rcx + 32]",
        "movsd xmm5, [rcx + 40]",
        "movsd xmm6, [rcx + 48]",
        "movsd xmm7, [rcx + 56]",
        "mov rdi, [r10]",
        "mov rsi, [r10 + 8]",
        "mov rdx, [r10 + 16]",
        "mov rcx, [r10 + 24]",
        "mov r8, [r10 + 32]",
        "mov r9, [r10 + 40]",
        "mov ebx, 11",
        "mov ebp, 22",
        "mov r12d, 33",
        "mov r13d, 44",
        "mov r14d, 55",
        "mov r15d, 66",
        "call rax",
        "add rsp, 64",
        "pop rdi",
        "mov [rdi + 24], rax",
        "movsd [rdi + 32], xmm0",
        "mov [rdi + 40], rbx",
        "mov [rdi + 48], rbp",
        "mov [rdi + 56], r12",
        "mov [rdi + 64], r13",
        "mov [rdi + 72], r14",
        "mov [rdi + 80], r15",
        "pop r15",
        "pop r14",
        "pop r13",
        "pop r12",
        "pop rbp",
        "pop rbx",
        "ret",
    );
}

/// The handler of traps: leaves [`enter`].
#[unsafe(naked)]
unsafe extern "C" fn handler() {
    core::arch::naked_asm!(
        "mov [rdi + 88], esi",
        "mov [rdi + 92], edx",
        "mov [rdi + 96], ecx",
        "mov dword ptr [rdi + 100], 1",
        "mov rsp, [rdi]",
        "pop rdi",
        "pop r15",
        "pop r14",
        "pop r13",
        "pop r12",
        "pop rbp",
        "pop rbx",
        "ret",
    );
}

impl Context {
    pub(super) fn new() -> Self {
        Self {
            stack_pointer: 0,
            handler: handler as *const () as u64,
            stack_limit: 0,
            result: 0,
            float_result: 0,
            preserved: PRESERVED,
            code: 0,
            at: 0,
            tag: 0,
            is_trap: 0,
        }
    }
}

/// `mov r11, address; jmp r11`
const VENEER: usize = 13;

/// The functions of the host, by name.
pub(super) type HostFunctions = BTreeMap<&'static str, usize>;

/// A linked program.
pub(super) struct Program {
    block: ExecutableBlock,
    /// Offsets of the functions.
    starts: Vec<usize>,
    options: Options,
}

/// Verifies an encoded function without type parameters.
pub(super) fn verified(bytes: &[u8]) -> Verified<'_> {
    let body = Function::parse(bytes).unwrap();
    Verified::new(body).unwrap_or_else(|error| panic!("{error}"))
}

pub(super) fn plain<'v, 'd>(verified: &'v Verified<'d>) -> FunctionInstance<'v, 'd> {
    verified.instance(Arguments::new(&[] as &[Argument]).unwrap()).unwrap()
}

impl Program {
    /// Compiles and links functions, which call each other by their numbers.
    pub(super) fn link(
        compiler: &mut X64Compiler,
        functions: &[FunctionInstance<'_, '_>],
        host: &HostFunctions,
        options: Options,
    ) -> Self {
        let (mut code, mut fixes, mut starts) = (Vec::new(), Vec::new(), Vec::new());
        for (number, instance) in (0..).zip(functions) {
            // Every second function calls itself without a relocation.
            let own_function = (number % 2 == 0).then_some(number);
            let options = Options { own_function, ..options };
            let made = compiler.compile(instance, &options).unwrap_or_else(|e| panic!("{e}"));
            code.resize(usize::next_multiple_of(code.len(), made.align as usize), 0xcc);
            starts.push(code.len());
            for relocation in made.relocations {
                let place = code.len() + relocation.offset as usize;
                let target = match relocation.target {
                    TRAP_HOOK => Err(trap_hook as *const () as usize),
                    number => {
                        let number = u16::try_from(number).unwrap();
                        let callee = instance.body().callee(number).unwrap();
                        match callee.kind {
                            CalleeKind::Function(index) => Ok(index as usize),
                            _ => Err(host[callee.name]),
                        }
                    }
                };
                fixes.push((place, *relocation, target));
            }
            code.extend_from_slice(made.bytes);
        }
        let size = code.len() + fixes.len() * VENEER + 4096;
        let mut block =
            CodeMemory::default().allocate_with(Request::new(size).aligned_to(4096)).unwrap();
        let base = block.address();
        for (place, relocation, target) in fixes {
            let target = match target {
                Ok(index) => starts[index],
                Err(address) => {
                    let veneer = code.len();
                    code.extend([0x49, 0xbb]);
                    code.extend(address.to_le_bytes());
                    code.extend([0x41, 0xff, 0xe3]);
                    veneer
                }
            };
            if relocation.kind == RelocKind::Abs64 {
                let address = (base + target) as u64;
                code[place..place + 8].copy_from_slice(&address.to_le_bytes());
                continue;
            }
            let distance = target as i64 - place as i64 + relocation.addend;
            let distance = i32::try_from(distance).unwrap().to_le_bytes();
            code[place..place + 4].copy_from_slice(&distance);
        }
        block.as_mut_slice()[..code.len()].copy_from_slice(&code);
        Self { block: block.publish().unwrap(), starts, options }
    }

    /// Calls function `number`. Under [`CONTEXT`], parameter 0 is the context.
    pub(super) fn call(
        &self,
        number: usize,
        arguments: &[(Scalar, u64)],
        result: Option<Scalar>,
    ) -> Result<u64, Stop> {
        self.call_with(&mut Context::new(), number, arguments, result)
    }

    pub(super) fn call_with(
        &self,
        context: &mut Context,
        number: usize,
        arguments: &[(Scalar, u64)],
        result: Option<Scalar>,
    ) -> Result<u64, Stop> {
        let (mut ints, mut floats, mut stack) = (Vec::new(), Vec::new(), Vec::new());
        let has_context = self.options.traps != TrapConvention::Hook;
        if has_context {
            ints.push(std::ptr::from_mut(context) as u64);
        }
        for &(scalar, bits) in arguments.iter().skip(usize::from(has_context)) {
            // The upper bits of a narrow argument are undefined.
            let noise = 0xdead_beef_dead_beef << scalar.bits().min(63);
            let bits = if scalar.bits() < 64 { bits | noise } else { bits };
            match scalar.is_float() {
                true if floats.len() < 8 => floats.push(bits),
                false if ints.len() < 6 => ints.push(bits),
                _ => stack.push(bits),
            }
        }
        assert!(stack.len() <= 8);
        ints.resize(6, 0xdead_beef_dead_beef);
        floats.resize(8, 0xdead_beef_dead_beef);
        stack.resize(8, 0xdead_beef_dead_beef);
        TRAP.set(None);
        let function = self.block.as_ptr().wrapping_add(self.starts[number]);
        // SAFETY: the function follows the C convention and reads no more than these arguments; the block outlives it.
        unsafe { enter(context, function, ints.as_ptr(), floats.as_ptr(), stack.as_ptr()) };
        if context.is_trap != 0 {
            assert_eq!(context.tag, self.options.tag);
            return Err(Stop::Trap { code: context.code, at: context.at });
        }
        assert_eq!(context.preserved, PRESERVED, "callee-saved registers");
        if let Some((code, at)) = TRAP.take() {
            return Err(Stop::Trap { code, at });
        }
        let Some(scalar) = result else { return Ok(0) };
        let bits = if scalar.is_float() { context.float_result } else { context.result };
        Ok(bits & (u64::MAX >> (64 - scalar.bits())))
    }
}
