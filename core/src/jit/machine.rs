//! What every compiler to x86-64 in this room needs, whatever it compiles.

mod moves;

pub(crate) use moves::{Moves, RegisterMoves, Source};

use super::x64::Gpr;

/// The registers of the first six integer arguments in the C calling convention.
/// Source: System V ABI, AMD64 supplement, 3.2.3 "Parameter Passing".
pub(crate) const ARGUMENTS: [Gpr; 6] = [Gpr::Rdi, Gpr::Rsi, Gpr::Rdx, Gpr::Rcx, Gpr::R8, Gpr::R9];
