//! The machine and the system that this loader runs on.

use crate::format::{Arch, Platform};

/// The system that this loader runs on.
pub(super) const HOST_PLATFORM: Platform = Platform::LINUX;

/// The instruction set that this loader runs on.
pub const fn host_arch() -> Arch {
    if cfg!(target_arch = "x86_64") {
        Arch::X86_64
    } else if cfg!(target_arch = "aarch64") {
        Arch::AARCH64
    } else {
        Arch::RISCV64
    }
}
