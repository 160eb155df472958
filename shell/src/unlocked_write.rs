//! Unlocked writes to standard output and standard error. The locks of the standard library may stay locked for ever in a
//! child of `fork` when another thread of the parent held them.

use std::os::fd::AsFd;

use rustix::io::Errno;

/// Writes a message to standard error. Errors are ignored: there is no other place to report them.
pub(crate) fn report(message: &[u8]) {
    let _ = write(std::io::stderr(), message);
}

/// Writes bytes to a descriptor.
pub(crate) fn write(file: impl AsFd, mut bytes: &[u8]) -> Result<(), Errno> {
    while !bytes.is_empty() {
        match rustix::io::write(file.as_fd(), bytes) {
            Ok(0) => return Err(Errno::IO),
            Ok(count) => bytes = bytes.get(count..).unwrap_or_default(),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
