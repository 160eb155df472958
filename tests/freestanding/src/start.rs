//! The entry point, and the two system calls that the core does not make.
//!
//! Sources: the System V ABI of each architecture, "Process Initialization": at the first instruction the stack pointer
//! addresses the number of arguments, which their addresses follow; syscall(2) for the registers; asm/unistd.h for the
//! numbers.
#![allow(unsafe_code)]

use core::arch::naked_asm;
use core::ffi::{CStr, c_char};
use core::slice;

/// The numbers of `write(2)`, `exit(2)` and `exit_group(2)`.
#[cfg(target_arch = "x86_64")]
mod number {
    pub(super) const WRITE: usize = 1;
    pub(super) const EXIT: usize = 60;
    pub(super) const EXIT_GROUP: usize = 231;
}
#[cfg(not(target_arch = "x86_64"))]
mod number {
    pub(super) const WRITE: usize = 64;
    pub(super) const EXIT: usize = 93;
    pub(super) const EXIT_GROUP: usize = 94;
}

/// The entry point, to which the kernel jumps.
///
/// # Safety
/// Only the kernel may enter here.
#[unsafe(no_mangle)]
#[unsafe(naked)]
unsafe extern "C" fn _start() -> ! {
    #[cfg(target_arch = "x86_64")]
    naked_asm!("xor ebp, ebp", "mov rdi, rsp", "and rsp, -16", "call {}", "ud2", sym begin);
    #[cfg(target_arch = "aarch64")]
    naked_asm!("mov x29, xzr", "mov x30, xzr", "mov x0, sp", "bl {}", "brk #1", sym begin);
    #[cfg(target_arch = "riscv64")]
    naked_asm!("li ra, 0", "mv a0, sp", "andi sp, sp, -16", "call {}", "unimp", sym begin);
}

/// The arguments, the name of the program first.
#[derive(Clone, Copy)]
pub(crate) struct Arguments(&'static [*const c_char]);

impl Arguments {
    /// The argument at `index`.
    pub(crate) fn get(self, index: usize) -> Option<&'static [u8]> {
        let argument = *self.0.get(index)?;
        // SAFETY: the kernel ends each with a NUL, and they stay as long as the program runs.
        Some(unsafe { CStr::from_ptr(argument) }.to_bytes())
    }

    /// The arguments from `index` on.
    pub(crate) fn from(self, index: usize) -> impl Iterator<Item = &'static [u8]> {
        (index..self.0.len()).filter_map(move |index| self.get(index))
    }
}

/// # Safety
/// `stack` is the stack pointer at the first instruction.
unsafe extern "C" fn begin(stack: *const usize) -> ! {
    // SAFETY: the number of arguments is stored there.
    let count = unsafe { stack.read() };
    let first = stack.wrapping_add(1).cast();
    // SAFETY: the number is followed by that many addresses, which never change.
    let arguments = unsafe { slice::from_raw_parts(first, count) };
    exit(crate::main(Arguments(arguments)))
}

/// The exit status if `exit_group` is refused.
const REFUSED: u8 = 4;

/// Ends the program.
pub(crate) fn exit(status: u8) -> ! {
    // SAFETY: it takes a number and touches no memory.
    unsafe { system_call(number::EXIT_GROUP, [usize::from(status), 0, 0]) };
    loop {
        // SAFETY: as above.
        unsafe { system_call(number::EXIT, [usize::from(REFUSED), 0, 0]) };
    }
}

/// Called by the compiler's libraries after the cleanup of a frame during unwinding: they were compiled for
/// programs that unwind, which this one does not.
#[cfg(feature = "templates")]
// SAFETY: the name is unique.
#[unsafe(no_mangle)]
extern "C" fn _Unwind_Resume() -> ! {
    exit(101)
}

/// Writes to an open file; the number of bytes written, `None` on failure.
pub(crate) fn write(file: usize, bytes: &[u8]) -> Option<usize> {
    const AGAIN: isize = -4;
    loop {
        let call = [file, bytes.as_ptr().expose_provenance(), bytes.len()];
        // SAFETY: the kernel reads these bytes and no others.
        match unsafe { system_call(number::WRITE, call) } {
            // Interrupted by a signal.
            AGAIN => {}
            result => return usize::try_from(result).ok().filter(|&count| count != 0),
        }
    }
}

/// # Safety
/// As in the manual page of the system call.
unsafe fn system_call(number: usize, [a, b, c]: [usize; 3]) -> isize {
    let result;
    #[cfg(target_arch = "x86_64")]
    // SAFETY: the registers are those of the convention, in which the kernel also uses rcx and r11.
    unsafe {
        core::arch::asm!(
            "syscall", inlateout("rax") number => result, in("rdi") a, in("rsi") b, in("rdx") c,
            lateout("rcx") _, lateout("r11") _, options(nostack),
        );
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: the registers are those of the convention.
    unsafe {
        core::arch::asm!(
            "svc 0", in("x8") number, inlateout("x0") a => result, in("x1") b, in("x2") c,
            options(nostack),
        );
    }
    #[cfg(target_arch = "riscv64")]
    // SAFETY: the registers are those of the convention.
    unsafe {
        core::arch::asm!(
            "ecall", in("a7") number, inlateout("a0") a => result, in("a1") b, in("a2") c,
            options(nostack),
        );
    }
    result
}
