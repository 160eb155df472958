//! Unlocked writes to standard error. The lock of the standard library may stay locked for ever in a child of `fork`
//! when another thread of the parent held it.

use std::os::fd::AsFd;

use rustix::io::Errno;

/// Writes a message. Errors are ignored: there is no other place to report them.
pub(crate) fn write(mut message: &[u8]) {
    let file = std::io::stderr();
    while !message.is_empty() {
        match rustix::io::write(file.as_fd(), message) {
            Ok(0) => return,
            Ok(count) => message = message.get(count..).unwrap_or_default(),
            Err(Errno::INTR) => {}
            Err(_) => return,
        }
    }
}
