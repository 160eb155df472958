//! From [IR](crate::ir) to machine code.
//!
//! ```text
//!   FunctionInstance --liveness--> intervals --regalloc--> locations --frame, lowering--> code, relocations,
//!                                                                                         unwind rows, source map
//! ```
//!
//! A [`Compiler`] turns one [`FunctionInstance`](crate::ir::FunctionInstance) after another into code. Nothing here knows where code will live: the
//! bytes run at any address once their [relocations](code::Relocation) are applied.
//!
//! **Machines.** The `Machine` trait is what differs between them: an assembler, registers, prologue and epilogue, and
//! the lowering of each instruction. [`x64`] and [`aarch64`] implement it.
//!
//! **Functions** follow the C calling convention of the machine (System V ABI, AAPCS64). Integers narrower than 32 bits
//! are returned extended to 32; of those that come in, only their own bits count.
//!
//! **Targets of relocations** are the numbers of callees in the function, or [`TRAP_HOOK`].
//!
//! **Traps** leave the function in one of two ways, [`TrapConvention`].

pub mod aarch64;
mod abi;
mod arguments;
mod assemble_error;
pub mod code;
mod dispatch;
mod error;
mod frame;
mod label;
mod liveness;
mod locals;
mod loops;
pub(crate) mod lowering;
mod machine;
mod options;
pub(crate) mod parallel_move;
pub mod passes;
mod regalloc;
pub mod registry;
pub mod unwind;
pub mod x64;

pub use compiler::{
    Aarch64Compiler, CompiledFunction, Compiler, OptimizingCompiler, X64Compiler, unwind_machine,
};
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
pub use compiler::{NativeCompiler, NativeOptimizingCompiler};
pub use error::{CodegenError, Limit};
pub use options::{Options, TRAP_HOOK, TrapConvention};

mod compiler;

#[cfg(test)]
#[cfg(all(feature = "kernel", any(target_arch = "x86_64", target_arch = "aarch64"), not(miri)))]
pub(crate) mod tests;
