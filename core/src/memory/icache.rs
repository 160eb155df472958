//! What has to happen between writing code and running it.
//!
//! One file per architecture, each with one function of the same name and promise.

#[cfg(target_arch = "aarch64")]
mod aarch64;
#[cfg(target_arch = "riscv64")]
mod riscv64;
#[cfg(target_arch = "x86_64")]
mod x86_64;

#[cfg(target_arch = "aarch64")]
use aarch64 as arch;
#[cfg(target_arch = "riscv64")]
use riscv64 as arch;
#[cfg(target_arch = "x86_64")]
use x86_64 as arch;

#[cfg(not(any(target_arch = "aarch64", target_arch = "riscv64", target_arch = "x86_64")))]
compile_error!(
    "smf-core: `memory::icache` knows x86_64, aarch64 and riscv64; the target architecture is another"
);

use super::MemoryError;

/// Makes the bytes of `code`, as they are now, the ones that every thread of the process fetches
/// when it runs them.
///
/// Call it after the last write and before the code can be run;
/// [`publish`](super::WritablePages::publish) does so itself. No bytes cost nothing.
///
/// # Errors
///
/// [`MemoryError::Synchronize`] when the kernel, where it is needed, refuses its part.
pub fn synchronize(code: &[u8]) -> Result<(), MemoryError> {
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
