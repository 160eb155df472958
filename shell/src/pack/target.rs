//! Selects the properties of an instruction set.

use super::machine::Machine;
use super::pack_reloc::Isa;
use super::{aarch64, x86_64};

impl Machine {
    pub(super) fn isa(self) -> &'static Isa {
        match self {
            Machine::X86_64 => &x86_64::ISA,
            Machine::Aarch64 => &aarch64::ISA,
        }
    }
}
