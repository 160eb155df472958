//! The properties of an instruction set that the layout and the contents of sections depend on.

use ::object::elf::RelocationType;
use smf_core::link::aarch64::PAGE;

use super::machine::Machine;
use super::pack_reloc::Stub;
use super::{aarch64, x86_64};

impl Machine {
    /// Fills gaps in code, so that execution traps there.
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

    /// The minimum alignment of the code in bytes.
    pub(super) fn code_alignment(self) -> u64 {
        match self {
            Machine::X86_64 => 1,
            Machine::Aarch64 => PAGE,
        }
    }

    /// Whether a relocation's field holds an address, which the loader has to write.
    pub(super) fn is_address(self, kind: RelocationType) -> bool {
        let kinds = match self {
            Machine::X86_64 => x86_64::ADDRESSES,
            Machine::Aarch64 => aarch64::ADDRESSES,
        };
        kinds.contains(&kind)
    }
}
