//! The supported instruction sets.

use std::fmt;

use ::object::elf::{self, RelocationType};
use smf_core::format::Arch;

/// An instruction set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Machine {
    /// x86-64.
    X86_64,
    /// 64-bit ARM.
    Aarch64,
}

impl Machine {
    /// The instruction set of an ELF file; `None` if it is not supported.
    pub(super) fn of(machine: elf::Machine) -> Option<Self> {
        match machine {
            elf::EM_X86_64 => Some(Machine::X86_64),
            elf::EM_AARCH64 => Some(Machine::Aarch64),
            _ => None,
        }
    }

    /// The value of the module header.
    pub(super) fn arch(self) -> Arch {
        match self {
            Machine::X86_64 => Arch::X86_64,
            Machine::Aarch64 => Arch::AARCH64,
        }
    }

    /// The ELF name of a relocation type.
    pub(super) fn reloc_name(self, kind: RelocationType) -> Option<&'static str> {
        let names = match self {
            Machine::X86_64 => &elf::NAMES_R_X86_64,
            Machine::Aarch64 => &elf::NAMES_R_AARCH64,
        };
        names.name(kind)
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Machine::X86_64 => "x86-64",
            Machine::Aarch64 => "aarch64",
        })
    }
}
