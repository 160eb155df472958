//! The instruction sets that objects may be for, and what differs between them where bytes are laid out.

use std::fmt;

use ::object::elf::{self, RelocationType};
use smf_core::format::Arch;

use super::relocs::Form;
use super::{aarch64, x86_64};

/// An instruction set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Machine {
    /// x86-64.
    X86_64,
    /// 64-bit ARM.
    Aarch64,
}

/// Code that jumps to what a slot of the table of addresses holds.
pub(super) struct Stub {
    pub(super) bytes: &'static [u8],
    /// Where in the bytes the slot is named, how, and the addend.
    pub(super) operands: &'static [(u64, Form, i64)],
}

impl Machine {
    /// The instruction set of an ELF file; `None` for one that objects cannot be packed for.
    pub(super) fn of(machine: elf::Machine) -> Option<Self> {
        match machine {
            elf::EM_X86_64 => Some(Machine::X86_64),
            elf::EM_AARCH64 => Some(Machine::Aarch64),
            _ => None,
        }
    }

    /// As a module's header says it.
    pub(super) fn arch(self) -> Arch {
        match self {
            Machine::X86_64 => Arch::X86_64,
            Machine::Aarch64 => Arch::AARCH64,
        }
    }

    /// What fills code where nothing is, so that nobody runs through it.
    pub(super) fn trap(self) -> u8 {
        match self {
            Machine::X86_64 => x86_64::TRAP,
            Machine::Aarch64 => aarch64::TRAP,
        }
    }

    pub(super) fn stub(self) -> &'static Stub {
        match self {
            Machine::X86_64 => &x86_64::STUB,
            Machine::Aarch64 => &aarch64::STUB,
        }
    }

    /// Bytes to which the code has to be aligned whatever its sections ask for.
    pub(super) fn code_alignment(self) -> u64 {
        match self {
            Machine::X86_64 => 1,
            Machine::Aarch64 => aarch64::PAGE,
        }
    }

    /// Whether a relocation holds an address, which the loader has to write.
    pub(super) fn is_address(self, kind: u32) -> bool {
        let kinds = match self {
            Machine::X86_64 => x86_64::ADDRESSES,
            Machine::Aarch64 => aarch64::ADDRESSES,
        };
        kinds.contains(&RelocationType(kind))
    }

    /// What ELF calls a relocation type of this instruction set.
    pub(super) fn reloc_name(self, number: u32) -> Option<&'static str> {
        let names = match self {
            Machine::X86_64 => &elf::NAMES_R_X86_64,
            Machine::Aarch64 => &elf::NAMES_R_AARCH64,
        };
        names.name(RelocationType(number))
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
