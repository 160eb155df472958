//! Serialisation of the instruction streams of all cores.

use rustix::io::Errno as Raw;

use super::super::sys;
use super::super::types::Errno;

/// Makes every other core that runs a thread of the process execute a serializing instruction, so that none holds
/// instructions prefetched from memory that is about to be reused.
///
/// It interrupts those cores, so callers batch the memory that they free.
pub(crate) fn serialize_cores() -> Result<(), Errno> {
    let result = match sys::synchronize_cores() {
        // Not registered yet; registering twice is harmless.
        Err(errno) if errno == Raw::PERM => {
            sys::register_synchronize_cores().and_then(|()| sys::synchronize_cores())
        }
        result => result,
    };
    match result {
        // Kernels before 4.16, and sandboxes without membarrier, have no other call. A core could only hold an
        // instruction that it fetched from these addresses and has not retired since; before it can reach the
        // new code, it returns from the old code and synchronizes with the thread that passes the new address.
        Err(errno)
            if [Raw::INVAL, Raw::NOSYS, Raw::PERM].into_iter().any(|missing| errno == missing) =>
        {
            Ok(())
        }
        result => result,
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::fault_injection::{Call, inject};
    use super::*;

    #[test]
    fn serialize_cores_succeeds_or_the_kernel_lacks_the_call() {
        assert_eq!(serialize_cores(), Ok(()));
        for (errno, fatal) in
            [(Raw::NOSYS, false), (Raw::INVAL, false), (Raw::PERM, false), (Raw::NOMEM, true)]
        {
            let _fault = inject(Call::SynchronizeCores, 0, errno);
            assert_eq!(serialize_cores(), if fatal { Err(errno.into()) } else { Ok(()) });
        }
    }
}
