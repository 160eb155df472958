//! Relocation and veneers, one small file for each instruction set.
//!
//! All of them are compiled on every machine, because the module and not the host selects one: each can be tested
//! anywhere, and only running a module needs its host.

pub mod aarch64;
mod generic;
mod traits;
mod x86_64;

pub(super) use aarch64::Aarch64;
pub(super) use generic::Generic;
pub(super) use traits::{Jump, Machine, PatchError, Requirement, VENEER};
pub(super) use x86_64::X86_64;

use super::host::host_arch;
use crate::format::Arch;

/// Calls `$function::<M>($args)` with the [`Machine`] of `$arch`.
macro_rules! for_machine {
    ($arch:expr, $($function:ident).+ ($($arg:expr),*)) => {{
        use $crate::link::machine::{Aarch64, Generic, X86_64, supported};
        match supported($arch) {
            $crate::format::Arch::X86_64 => $($function).+::<X86_64>($($arg),*),
            $crate::format::Arch::AARCH64 => $($function).+::<Aarch64>($($arg),*),
            _ => $($function).+::<Generic>($($arg),*),
        }
    }};
}
pub(super) use for_machine;

/// The instruction set whose relocations are applied: without the feature `all-files` that of the host, which is the
/// only one whose code can run.
pub(super) fn supported(arch: Arch) -> Arch {
    if cfg!(feature = "all-files") { arch } else { host_arch() }
}
