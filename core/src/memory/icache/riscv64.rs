//! riscv64: `fence.i` acts on one hart, and the kernel may move a thread to another at any time.
//!
//! Source: The RISC-V Instruction Set Manual volume I, "Zifencei" extension; Linux
//! Documentation/arch/riscv/cmodx.rst. Hence the kernel's own call, which reaches every hart that
//! runs the process and notes the flush for those that will.

use super::super::sys;
use super::super::types::Errno;

/// Has every hart of the process fetch `code` anew.
pub(super) fn synchronize(code: &[u8]) -> Result<(), Errno> {
    sys::flush_instruction_cache(code)
}
