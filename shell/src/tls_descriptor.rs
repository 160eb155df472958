//! The function that the code of TLS descriptors calls.
//!
//! Such code assumes that the call preserves nearly all registers, so that the function saves those that the C function
//! `__tls_get_addr` may change. A descriptor consists of three words: the address of the function, and the argument of
//! `__tls_get_addr`, a module number and an offset.
//!
//! Sources: Oliva and Araújo, Speeding Up Thread-Local Storage Access in Dynamic Libraries; AAELF64, 5.7.11.3 and the
//! text on descriptors in 6.
#![allow(unsafe_code)]

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
use smf_core::link::HostService;
use smf_core::link::HostServiceError;

unsafe extern "C" {
    /// The address of a thread-local symbol in the calling thread, given its module number and its offset.
    pub(crate) fn __tls_get_addr(index: *const [u64; 2]) -> *mut std::ffi::c_void;
}

/// The address of `__tls_get_addr`.
pub(crate) fn get_addr() -> u64 {
    (__tls_get_addr as *const ()).addr() as u64
}

/// The address of the function.
///
/// # Errors
/// [`HostServiceError`] if there is none for this machine.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
pub(crate) fn function() -> Result<u64, HostServiceError> {
    #[cfg(target_arch = "x86_64")]
    x86_64::measure();
    Ok((smf_tls_descriptor as *const ()).addr() as u64)
}

/// As above.
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
pub(crate) fn function() -> Result<u64, HostServiceError> {
    Err(HostServiceError::Unavailable(HostService::ThreadLocalStorage))
}

#[cfg(target_arch = "x86_64")]
mod x86_64 {
    use std::arch::x86_64::{__cpuid, __cpuid_count};
    use std::sync::atomic::{AtomicU64, Ordering};

    /// The components of the extended state that are saved: SSE, AVX, the three of AVX-512, and the registers of APX.
    /// The C library uses no other that a caller relies on.
    pub(super) const COMPONENTS: u32 = 1 << 1 | 1 << 2 | 1 << 5 | 1 << 6 | 1 << 7 | 1 << 19;
    /// Bytes of the legacy area, which FXSAVE writes, and of the header of XSAVE behind it.
    pub(super) const LEGACY: u64 = 512;
    const HEADER: u64 = 64;

    /// Bytes of the area that saves the extended state, a multiple of 64; [`LEGACY`] without XSAVE.
    pub(super) static AREA: AtomicU64 = AtomicU64::new(LEGACY);

    /// Determines [`AREA`]. Called before any code gets the address of the function.
    pub(super) fn measure() {
        const OSXSAVE: u32 = 1 << 27;
        const STATE: u32 = 0xd;
        if __cpuid(1).ecx & OSXSAVE == 0 {
            return;
        }
        let bits = (2..32).filter(|bit| COMPONENTS >> bit & 1 == 1);
        let ends = bits
            .map(|bit| __cpuid_count(STATE, bit))
            .map(|part| u64::from(part.eax) + u64::from(part.ebx));
        let end = ends.fold(LEGACY + HEADER, u64::max);
        AREA.store(end.next_multiple_of(64), Ordering::Relaxed);
    }
}

/// RAX is the address of the descriptor and becomes the offset from the thread pointer. All other registers are
/// preserved, except for the flags.
///
/// # Safety
/// For the code of TLS descriptors only.
#[cfg(target_arch = "x86_64")]
#[unsafe(naked)]
unsafe extern "C" fn smf_tls_descriptor() {
    std::arch::naked_asm!(
        ".cfi_startproc",
        "push rbp",
        ".cfi_adjust_cfa_offset 8",
        ".cfi_rel_offset rbp, 0",
        "mov rbp, rsp",
        ".cfi_def_cfa_register rbp",
        "push rbx; push rdi; push rsi; push rdx; push rcx",
        "push r8; push r9; push r10; push r11",
        "lea rdi, [rax + 8]",
        "mov rbx, qword ptr [rip + {area}]",
        "sub rsp, rbx",
        "and rsp, -64",
        "cmp rbx, {legacy}",
        "je 2f",
        // The header of the area has to be zero.
        "xor edx, edx",
        "mov qword ptr [rsp + 512], rdx; mov qword ptr [rsp + 520], rdx",
        "mov qword ptr [rsp + 528], rdx; mov qword ptr [rsp + 536], rdx",
        "mov qword ptr [rsp + 544], rdx; mov qword ptr [rsp + 552], rdx",
        "mov qword ptr [rsp + 560], rdx; mov qword ptr [rsp + 568], rdx",
        "mov eax, {components}",
        "xsave64 [rsp]",
        "call {get_addr}",
        "mov rdi, rax",
        "mov eax, {components}",
        "xor edx, edx",
        "xrstor64 [rsp]",
        "jmp 3f",
        "2:",
        "fxsave64 [rsp]",
        "call {get_addr}",
        "mov rdi, rax",
        "fxrstor64 [rsp]",
        "3:",
        "mov rax, rdi",
        "sub rax, qword ptr fs:[0]",
        "mov rbx, qword ptr [rbp - 8]; mov rdi, qword ptr [rbp - 16]",
        "mov rsi, qword ptr [rbp - 24]; mov rdx, qword ptr [rbp - 32]",
        "mov rcx, qword ptr [rbp - 40]",
        "mov r8, qword ptr [rbp - 48]; mov r9, qword ptr [rbp - 56]",
        "mov r10, qword ptr [rbp - 64]; mov r11, qword ptr [rbp - 72]",
        "leave",
        ".cfi_def_cfa rsp, 8",
        "ret",
        ".cfi_endproc",
        area = sym x86_64::AREA,
        legacy = const x86_64::LEGACY,
        components = const x86_64::COMPONENTS,
        get_addr = sym __tls_get_addr,
    )
}

/// X0 is the address of the descriptor and becomes the offset from the thread pointer. All other registers are
/// preserved, except for X30 and the flags.
///
/// # Safety
/// For the code of TLS descriptors only.
#[cfg(target_arch = "aarch64")]
#[unsafe(naked)]
unsafe extern "C" fn smf_tls_descriptor() {
    std::arch::naked_asm!(
        ".cfi_startproc",
        "sub sp, sp, #672",
        ".cfi_def_cfa_offset 672",
        "stp x29, x30, [sp]",
        ".cfi_rel_offset x29, 0",
        ".cfi_rel_offset x30, 8",
        "mov x29, sp",
        "stp x1, x2, [sp, #16]; stp x3, x4, [sp, #32]; stp x5, x6, [sp, #48]",
        "stp x7, x8, [sp, #64]; stp x9, x10, [sp, #80]; stp x11, x12, [sp, #96]",
        "stp x13, x14, [sp, #112]; stp x15, x16, [sp, #128]; stp x17, x18, [sp, #144]",
        "stp q0, q1, [sp, #160]; stp q2, q3, [sp, #192]",
        "stp q4, q5, [sp, #224]; stp q6, q7, [sp, #256]",
        "stp q8, q9, [sp, #288]; stp q10, q11, [sp, #320]",
        "stp q12, q13, [sp, #352]; stp q14, q15, [sp, #384]",
        "stp q16, q17, [sp, #416]; stp q18, q19, [sp, #448]",
        "stp q20, q21, [sp, #480]; stp q22, q23, [sp, #512]",
        "stp q24, q25, [sp, #544]; stp q26, q27, [sp, #576]",
        "stp q28, q29, [sp, #608]; stp q30, q31, [sp, #640]",
        "add x0, x0, #8",
        "bl {get_addr}",
        "mrs x1, tpidr_el0",
        "sub x0, x0, x1",
        "ldp q30, q31, [sp, #640]; ldp q28, q29, [sp, #608]",
        "ldp q26, q27, [sp, #576]; ldp q24, q25, [sp, #544]",
        "ldp q22, q23, [sp, #512]; ldp q20, q21, [sp, #480]",
        "ldp q18, q19, [sp, #448]; ldp q16, q17, [sp, #416]",
        "ldp q14, q15, [sp, #384]; ldp q12, q13, [sp, #352]",
        "ldp q10, q11, [sp, #320]; ldp q8, q9, [sp, #288]",
        "ldp q6, q7, [sp, #256]; ldp q4, q5, [sp, #224]",
        "ldp q2, q3, [sp, #192]; ldp q0, q1, [sp, #160]",
        "ldp x17, x18, [sp, #144]; ldp x15, x16, [sp, #128]; ldp x13, x14, [sp, #112]",
        "ldp x11, x12, [sp, #96]; ldp x9, x10, [sp, #80]; ldp x7, x8, [sp, #64]",
        "ldp x5, x6, [sp, #48]; ldp x3, x4, [sp, #32]; ldp x1, x2, [sp, #16]",
        "ldp x29, x30, [sp]",
        "add sp, sp, #672",
        ".cfi_def_cfa_offset 0",
        "ret",
        ".cfi_endproc",
        get_addr = sym __tls_get_addr,
    )
}
