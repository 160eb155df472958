//! The dynamic relocations of the machines that this loader runs on.
//!
//! Sources: System V ABI, supplements for x86-64 (4.4 "Relocation") and aarch64 (AAELF64, 5.7.16 "Dynamic
//! relocations").

use crate::format::read::shared_object::image::Image;
use crate::format::wire::{EM_AARCH64, EM_X86_64};

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
    Symbol,
    /// Writes the size of a symbol.
    SymbolSize,
    /// Writes data about a thread-local symbol.
    ThreadLocal,
}

/// The effect of a relocation of `kind` and the number of bytes that it writes; `None` if the kind is unknown or cannot
/// be applied in a shared object.
pub(crate) fn action(image: &Image<'_>, kind: u32) -> Option<(Action, u64)> {
    match image.machine {
        _ if !image.has_known_relocations() => None,
        EM_X86_64 => x86_64(kind),
        EM_AARCH64 => aarch64(kind),
        _ => None,
    }
}

fn x86_64(kind: u32) -> Option<(Action, u64)> {
    Some(match kind {
        0 => (Action::None, 0),
        // R_X86_64_RELATIVE, R_X86_64_RELATIVE64.
        8 | 38 => (Action::Relative, 8),
        // R_X86_64_IRELATIVE.
        37 => (Action::Indirect, 8),
        // R_X86_64_64, R_X86_64_GLOB_DAT, R_X86_64_JUMP_SLOT.
        1 | 6 | 7 => (Action::Symbol, 8),
        // R_X86_64_PC32, R_X86_64_32.
        2 | 10 => (Action::Symbol, 4),
        // R_X86_64_SIZE32, R_X86_64_SIZE64.
        32 => (Action::SymbolSize, 4),
        33 => (Action::SymbolSize, 8),
        // R_X86_64_DTPMOD64, R_X86_64_DTPOFF64, R_X86_64_TPOFF64.
        16..=18 => (Action::ThreadLocal, 8),
        // R_X86_64_TLSDESC.
        36 => (Action::ThreadLocal, 16),
        _ => return None,
    })
}

fn aarch64(kind: u32) -> Option<(Action, u64)> {
    Some(match kind {
        // R_AARCH64_NONE, and its former number.
        0 | 256 => (Action::None, 0),
        // R_AARCH64_RELATIVE.
        1027 => (Action::Relative, 8),
        // R_AARCH64_IRELATIVE.
        1032 => (Action::Indirect, 8),
        // R_AARCH64_ABS64, R_AARCH64_GLOB_DAT, R_AARCH64_JUMP_SLOT.
        257 | 1025 | 1026 => (Action::Symbol, 8),
        // R_AARCH64_TLS_DTPMOD, R_AARCH64_TLS_DTPREL, R_AARCH64_TLS_TPREL.
        1028..=1030 => (Action::ThreadLocal, 8),
        // R_AARCH64_TLSDESC.
        1031 => (Action::ThreadLocal, 16),
        _ => return None,
    })
}
