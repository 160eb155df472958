//! Machine code that is not placed yet: buffers with relocations, assemblers, parallel moves.
//!
//! Nothing here knows where code will live: a [`code::CodeBuffer`] holds bytes that run at any address once their
//! relocations are applied.

pub mod code;
#[cfg(feature = "alloc")]
pub(crate) mod liveness;
#[cfg(feature = "alloc")]
pub(crate) mod parallel_move;
#[cfg(feature = "alloc")]
pub(crate) mod regalloc;
pub mod x64;

#[cfg(feature = "alloc")]
use x64::Gpr;

/// The registers of the first six integer arguments in the C calling convention.
/// Source: System V ABI, AMD64 supplement, 3.2.3 "Parameter Passing".
#[cfg(feature = "alloc")]
pub(crate) const ARGUMENTS: [Gpr; 6] = [Gpr::Rdi, Gpr::Rsi, Gpr::Rdx, Gpr::Rcx, Gpr::R8, Gpr::R9];
