//! Synchronisation of instruction fetch with stores to code.
//!
//! One file for each architecture, each with one function `synchronize` of the same contract.

#[cfg_attr(target_arch = "aarch64", path = "icache/aarch64.rs")]
#[cfg_attr(target_arch = "riscv64", path = "icache/riscv64.rs")]
#[cfg_attr(target_arch = "x86_64", path = "icache/x86_64.rs")]
mod arch;
mod cores;

#[cfg(not(any(target_arch = "aarch64", target_arch = "riscv64", target_arch = "x86_64")))]
compile_error!("smf-core: `memory::icache` supports x86_64, aarch64 and riscv64");

pub(super) use cores::serialize_cores;

use super::types::{MemoryError, Result};

/// Makes the current bytes of `code` visible to instruction fetch in every thread of the process.
///
/// It is called after the last write and before the code runs; [`publish`](super::WritablePages::publish) calls it.
///
/// # Errors
/// [`MemoryError::Synchronize`] if a system call that the architecture needs fails.
pub fn synchronize(code: &[u8]) -> Result<()> {
    if code.is_empty() {
        return Ok(());
    }
    arch::synchronize(code).map_err(|errno| MemoryError::Synchronize {
        address: code.as_ptr().addr(),
        size: code.len(),
        errno,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_readable_bytes_can_be_synchronized() {
        let code = [0u8; 1000];
        for part in [&code[..0], &code[..1], &code[3..700], &code[..]] {
            assert_eq!(synchronize(part), Ok(()));
        }
    }
}
