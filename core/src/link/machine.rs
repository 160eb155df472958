//! What differs from one instruction set to the next when a module is linked.
//!
//! One small file for each instruction set, all of them compiled everywhere: which one counts is said
//! by the module and not by the machine that links it, so that every one of them can be tested on any
//! machine. Only running a module asks for the right host.

pub mod aarch64;
mod generic;
mod x86_64;

pub(super) use aarch64::Aarch64;
use aarch64::Misfit;
pub(super) use generic::Generic;
pub(super) use x86_64::X86_64;

use super::image::host_arch;
use crate::format::{Arch, RelocKind};

/// Bytes of a veneer: code that jumps to one symbol, wherever that is.
pub(super) const VENEER: u64 = 16;

/// What a relocation asks for beside its own place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Need {
    Nothing,
    /// Addresses below 2^32.
    Low,
    /// A slot of the GOT with the address of its symbol.
    Slot,
    /// A veneer for a symbol that may be out of reach.
    Veneer,
}

/// Where a veneer is and what it leads to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Jump {
    /// The address of the veneer.
    pub(super) place: u64,
    /// The address of the slot that holds the target, where [`Machine::JUMPS_THROUGH_GOT`].
    pub(super) slot: u64,
    pub(super) target: u64,
}

/// An instruction set.
pub(super) trait Machine {
    /// Whether a veneer needs a slot of the GOT beside its own bytes.
    const JUMPS_THROUGH_GOT: bool;
    /// Bytes of code within which every branch reaches every other place.
    const BRANCH_REACH: u64;
    /// Whether its code runs on this machine.
    const IS_HOST: bool;

    /// What a relocation asks for; `None` for one of another instruction set.
    fn need(kind: RelocKind) -> Option<Need>;

    /// The bytes of a veneer; `None` when it cannot reach its slot.
    fn veneer(jump: Jump) -> Option<[u8; VENEER as usize]>;

    /// Writes where `target` is into the instruction `word` at the address `place`, as `kind` says.
    ///
    /// # Errors
    /// Why that cannot be; the instruction sets whose relocations do not speak of instructions have
    /// none that could be written into.
    fn patch(kind: RelocKind, word: u32, place: u64, target: i128) -> Result<u32, Misfit> {
        let _ = (kind, word, place, target);
        Err(Misfit::Instruction)
    }
}

/// What the relocations ask for that every instruction set has.
fn common_need(kind: RelocKind) -> Option<Need> {
    match kind {
        RelocKind::None | RelocKind::Abs64 | RelocKind::Pc32 | RelocKind::Pc64 => {
            Some(Need::Nothing)
        }
        RelocKind::Abs32 | RelocKind::Abs32S => Some(Need::Low),
        RelocKind::Plt32 => Some(Need::Veneer),
        RelocKind::GotPcRel => Some(Need::Slot),
        _ => None,
    }
}

/// Does something for an instruction set. What it does for code of others than this machine's is kept
/// away from what loading runs, which it would double.
#[inline]
pub(super) fn on<M: Machine, T>(act: impl FnOnce() -> T) -> T {
    #[cold]
    #[inline(never)]
    fn elsewhere<T>(act: impl FnOnce() -> T) -> T {
        act()
    }
    if M::IS_HOST { act() } else { elsewhere(act) }
}

/// Does something for the instruction set `arch`: calls `$function::<M>($args)` with its `M`.
macro_rules! for_machine {
    ($arch:expr, $($function:ident).+ ($($arg:expr),*)) => {{
        use $crate::link::machine::{Aarch64, Generic, X86_64, known, on};
        match known($arch) {
            $crate::format::Arch::X86_64 => on::<X86_64, _>(|| $($function).+::<X86_64>($($arg),*)),
            $crate::format::Arch::AARCH64 => on::<Aarch64, _>(|| $($function).+::<Aarch64>($($arg),*)),
            _ => on::<Generic, _>(|| $($function).+::<Generic>($($arg),*)),
        }
    }};
}
pub(super) use for_machine;

/// The instruction set whose relocations are meant: where size matters most, always that of this
/// machine, whose code alone can run here, so that the others are compiled away.
#[inline]
pub(super) fn known(arch: Arch) -> Arch {
    if cfg!(feature = "full") { arch } else { host_arch() }
}
