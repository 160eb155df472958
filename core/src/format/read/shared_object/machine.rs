//! The dynamic relocations of the machines that this loader runs on.
//!
//! Sources: System V ABI, supplements for x86-64 (4.4 "Relocation") and aarch64 (AAELF64, 5.7.16 "Dynamic
//! relocations").

use crate::format::read::shared_object::header::{FileHeader, machine};

/// The effect of a relocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// No operation.
    None,
    /// Writes the load address plus the addend.
    Relative,
    /// Writes the result of the function at the load address plus the addend.
    Indirect,
    /// Writes the address of a symbol.
    Symbol { size: u8 },
    /// Writes the size of a symbol.
    SymbolSize { size: u8 },
    /// Writes data about a thread-local symbol.
    ThreadLocal { size: u8 },
}

impl Action {
    /// The number of bytes written on machines with 64-bit addresses.
    pub(crate) fn size(self) -> u64 {
        match self {
            Self::None => 0,
            Self::Relative | Self::Indirect => 8,
            Self::Symbol { size } | Self::SymbolSize { size } | Self::ThreadLocal { size } => {
                size.into()
            }
        }
    }
}

/// The effect of a relocation of `kind`; `None` if the kind is unknown or cannot be applied in a shared object.
pub(crate) fn action(header: &FileHeader<'_>, kind: u32) -> Option<Action> {
    match header.machine {
        _ if !header.has_known_relocations() => None,
        machine::X86_64 => x86_64(kind),
        machine::AARCH64 => aarch64(kind),
        _ => None,
    }
}

fn x86_64(kind: u32) -> Option<Action> {
    Some(match kind {
        0 => Action::None,
        // R_X86_64_RELATIVE, R_X86_64_RELATIVE64.
        8 | 38 => Action::Relative,
        // R_X86_64_IRELATIVE.
        37 => Action::Indirect,
        // R_X86_64_64, R_X86_64_GLOB_DAT, R_X86_64_JUMP_SLOT.
        1 | 6 | 7 => Action::Symbol { size: 8 },
        // R_X86_64_PC32, R_X86_64_32.
        2 | 10 => Action::Symbol { size: 4 },
        // R_X86_64_SIZE32, R_X86_64_SIZE64.
        32 => Action::SymbolSize { size: 4 },
        33 => Action::SymbolSize { size: 8 },
        // R_X86_64_DTPMOD64, R_X86_64_DTPOFF64, R_X86_64_TPOFF64.
        16..=18 => Action::ThreadLocal { size: 8 },
        // R_X86_64_TLSDESC.
        36 => Action::ThreadLocal { size: 16 },
        _ => return None,
    })
}

fn aarch64(kind: u32) -> Option<Action> {
    Some(match kind {
        // R_AARCH64_NONE, and its former number.
        0 | 256 => Action::None,
        // R_AARCH64_RELATIVE.
        1027 => Action::Relative,
        // R_AARCH64_IRELATIVE.
        1032 => Action::Indirect,
        // R_AARCH64_ABS64, R_AARCH64_GLOB_DAT, R_AARCH64_JUMP_SLOT.
        257 | 1025 | 1026 => Action::Symbol { size: 8 },
        // R_AARCH64_TLS_DTPMOD, R_AARCH64_TLS_DTPREL, R_AARCH64_TLS_TPREL.
        1028..=1030 => Action::ThreadLocal { size: 8 },
        // R_AARCH64_TLSDESC.
        1031 => Action::ThreadLocal { size: 16 },
        _ => return None,
    })
}
