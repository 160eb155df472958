//! The kernel's error numbers.
//!
//! Source: `errno(3)` and the manual page of each call.

use core::fmt;
use rustix::io::Errno as Raw;

/// The error number with which a system call failed.
///
/// A number without a text here is shown as a number.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Errno(Raw);

impl Errno {
    /// The number as `errno.h` of this architecture defines it, 1 to 4095.
    pub const fn raw(self) -> i32 {
        self.0.raw_os_error()
    }

    fn description(self) -> Option<&'static str> {
        Some(match self.0 {
            Raw::NOENT => "no such file or directory",
            Raw::ACCESS => "permission denied",
            Raw::PERM => "operation not permitted",
            Raw::ISDIR => "it is a directory",
            Raw::NOTDIR => "a part of the path is not a directory",
            Raw::LOOP => "too many symbolic links on the path",
            Raw::NAMETOOLONG => "the path, or a name in it, is too long",
            Raw::MFILE => "this process has too many open files",
            Raw::NFILE => "the system has too many open files",
            Raw::NOMEM => "out of memory, of address space or of mappings",
            Raw::NXIO => "no such device or address",
            Raw::NODEV => "no such device",
            Raw::IO => "input/output error",
            Raw::INVAL => "invalid argument",
            Raw::AGAIN => "it is locked by another process, or a limit is reached",
            Raw::BUSY => "it is busy",
            Raw::EXIST => "it exists already",
            Raw::OVERFLOW => "a value is too large for the kernel",
            Raw::STALE => "stale file handle",
            Raw::INTR => "interrupted by a signal",
            Raw::NOSYS => "this kernel has no such system call",
            _ => return None,
        })
    }
}

impl From<Raw> for Errno {
    #[inline]
    fn from(raw: Raw) -> Self {
        Self(raw)
    }
}

impl PartialEq<Raw> for Errno {
    #[inline]
    fn eq(&self, other: &Raw) -> bool {
        self.0 == *other
    }
}

impl fmt::Debug for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Errno({})", self.raw())
    }
}

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.description() {
            Some(description) => f.write_str(description),
            None => write!(f, "error number {}", self.raw()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;

    #[test]
    fn errno_is_shown_as_text_or_else_as_a_number() {
        assert_eq!(Errno(Raw::NOENT).to_string(), "no such file or directory");
        assert_eq!(Errno(Raw::from_raw_os_error(4000)).to_string(), "error number 4000");
        assert_eq!((Errno(Raw::NOENT).raw(), Errno(Raw::from_raw_os_error(4000)).raw()), (2, 4000));
    }
}
