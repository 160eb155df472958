//! The target of a shared object.

use core::fmt;

use crate::format::read::shared_object::header::{FileHeader, machine};
use crate::format::read::shared_object::view::Encoding;

/// The machine, class and byte order of a shared object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    machine: u16,
    encoding: Encoding,
}

impl Target {
    pub(crate) fn of(header: &FileHeader<'_>) -> Self {
        Self { machine: header.machine, encoding: header.file.encoding }
    }

    /// The target of this build; `None` for a machine on which the loader does not run modules.
    pub fn host() -> Option<Self> {
        let machine = if cfg!(target_arch = "x86_64") {
            machine::X86_64
        } else if cfg!(target_arch = "aarch64") {
            machine::AARCH64
        } else {
            return None;
        };
        let is_64 = cfg!(target_pointer_width = "64");
        let is_big = cfg!(target_endian = "big");
        Some(Self { machine, encoding: Encoding { is_64, is_big } })
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Encoding { is_64, is_big } = self.encoding;
        match self.machine {
            machine::X86_64 => f.write_str("x86-64")?,
            machine::AARCH64 => f.write_str("aarch64")?,
            other => write!(f, "machine {other}")?,
        }
        let bits = if is_64 { 64 } else { 32 };
        let order = if is_big { "big" } else { "little" };
        write!(f, " ({bits} bits, {order}-endian)")
    }
}
