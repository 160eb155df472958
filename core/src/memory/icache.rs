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

use rustix::io::Errno as Raw;

use super::sys;
use super::types::{Errno, MemoryError};

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

/// Has every other core that runs a thread of the process empty its pipeline before it goes on, so
/// that none still holds an instruction from memory that is about to hold another.
///
/// 0.4 us, and an interrupt for each of those cores: worth gathering memory for.
pub(super) fn empty_pipelines() -> Result<(), Errno> {
    let result = match sys::synchronize_cores() {
        // The first time in this process; registering twice does no harm.
        Err(errno) if errno == Raw::PERM => {
            sys::register_synchronize_cores().and_then(|()| sys::synchronize_cores())
        }
        result => result,
    };
    match result {
        // A kernel before 4.16, or one that keeps membarrier from this process, has no other means
        // either. What a core could still hold is an instruction that it fetched from these
        // addresses before and has not finished since. Between that and the new code lie the end of
        // the old code and the way in which the address of the new came to that thread.
        Err(errno) if [Raw::INVAL, Raw::NOSYS, Raw::PERM].into_iter().any(|none| errno == none) => {
            Ok(())
        }
        result => result,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cores_are_brought_in_step_or_the_kernel_has_no_means() {
        use super::super::fault_injection::{Call, inject};
        assert_eq!(empty_pipelines(), Ok(()));
        for (errno, fatal) in
            [(Raw::NOSYS, false), (Raw::INVAL, false), (Raw::PERM, false), (Raw::NOMEM, true)]
        {
            let _fault = inject(Call::SynchronizeCores, 0, errno);
            assert_eq!(empty_pipelines(), if fatal { Err(errno.into()) } else { Ok(()) });
        }
    }

    #[test]
    fn any_readable_bytes_can_be_synchronized() {
        let code = [0u8; 1000];
        for part in [&code[..0], &code[..1], &code[3..700], &code[..]] {
            assert_eq!(synchronize(part), Ok(()));
        }
    }
}
