//! Which lane a thread should use: one that threads on other cores do not.
//!
//! A wrong answer costs time and nothing else, so none of this has to be exact.
#![allow(unsafe_code)]

/// A number that threads which run at once mostly have for themselves.
#[inline]
pub(super) fn current(has_rdpid: bool) -> usize {
    #[cfg(target_arch = "x86_64")]
    if has_rdpid {
        let number: usize;
        // SAFETY: the instruction exists, says the flag, and reads a register of the processor.
        unsafe {
            core::arch::asm!("rdpid {}", out(reg) number, options(nomem, nostack, preserves_flags));
        }
        // Linux keeps the core in the low 12 bits and the node above them.
        return number & 0xfff;
    }
    let _ = has_rdpid;
    by_stack()
}

/// Stacks of threads are at least 64 KiB apart; the golden ratio spreads what is left of an address.
fn by_stack() -> usize {
    let here = 0u8;
    let stack = (&raw const here).addr() >> 16;
    stack.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32
}

/// Whether the processor has `rdpid`: 0.5 ns for the number of the core, where `rdtscp` takes 17.
///
/// Source: Intel SDM volume 2, "RDPID" and "CPUID", leaf 7, bit 22 of ECX. Linux stores the number
/// for it on every core (arch/x86/kernel/cpu/common.c, `setup_getcpu`).
#[cfg(target_arch = "x86_64")]
pub(super) fn has_rdpid() -> bool {
    use core::arch::x86_64::{__cpuid, __cpuid_count};
    __cpuid(0).eax >= 7 && __cpuid_count(7, 0).ecx & 1 << 22 != 0
}

/// Only x86-64 has the instruction.
#[cfg(not(target_arch = "x86_64"))]
pub(super) fn has_rdpid() -> bool {
    false
}
