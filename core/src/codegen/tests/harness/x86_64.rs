//! Entry, trap handler and veneers on x86-64.

use std::vec::Vec;

use super::Context;

/// The integers that are passed in registers.
pub(super) const INTEGERS: usize = 6;

/// `mov r11, address; jmp r11`
pub(super) fn veneer(address: usize) -> Vec<u8> {
    [&[0x49, 0xbb][..], &address.to_le_bytes(), &[0x41, 0xff, 0xe3]].concat()
}

/// Calls a function with all registers and eight stack slots of arguments.
#[unsafe(naked)]
pub(super) unsafe extern "C" fn enter(
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
pub(super) unsafe extern "C" fn handler() {
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
