//! riscv64: `fence.i` affects one hart, and the kernel may move a thread to another at any time. The system call
//! affects every hart that runs the process, now or later.
//!
//! Source: The RISC-V Instruction Set Manual volume I, "Zifencei" extension; Linux
//! Documentation/arch/riscv/cmodx.rst.

use super::super::sys;
use super::super::types::Errno;

/// Makes every hart of the process fetch `code` again.
pub(super) fn synchronize(code: &[u8]) -> Result<(), Errno> {
    sys::flush_instruction_cache(code)
}
