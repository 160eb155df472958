//! An allocator of executable memory that is never writable and executable.
//!
//! [`CodeMemory`] allocates blocks of bytes: [`WritableBlock`]s are written, and
//! [`publish`](WritableBlock::publish) consumes them into [`ExecutableBlock`]s. Blocks are cut from arenas of 128 MiB
//! that map one memory file twice: readable and writable at one address, readable and executable at another.
//!
//! ```
//! # #[cfg(target_arch = "x86_64")] {
//! use smf_core::memory::code_alloc::CodeMemory;
//!
//! let memory = CodeMemory::default();
//! let mut block = memory.allocate(6)?;
//! block.as_mut_slice().copy_from_slice(&[0xb8, 42, 0, 0, 0, 0xc3]); // mov eax, 42; ret
//! let block = block.publish()?;
//! // SAFETY: the block holds a function of this type and outlives the call.
//! let function: extern "C" fn() -> i32 = unsafe { core::mem::transmute(block.as_ptr()) };
//! assert_eq!(function(), 42);
//! # }
//! # Ok::<(), smf_core::memory::code_alloc::ExecError>(())
//! ```
//!
//! Guarantees:
//!
//! * No address is writable and executable at any moment, and the kernel is asked to refuse such a change.
//! * Metadata is stored outside of the memory for code. Memory without a live block holds trapping instructions.
//! * A freed block is reused only after the instruction streams of all cores were serialized.
//! * Two blocks of one arena are less than 128 MiB apart, which direct branches reach, except on riscv64.
//! * A forked child can execute inherited code but not change it. Its other calls fail with [`ExecError::Forked`].
//! * A refused request leaves all blocks and counters unchanged.
//!
//! Where the system has no memory files, or forbids executable mappings of them, another [`Backing`] is used; without
//! one, allocation fails with [`ExecError::Policy`].
//!
//! # Structure
//!
//! ```text
//! CodeMemory
//!   Allocator        ceilings; a shard for bytes, pages of code, and pages of data
//!     Shard          chunks, free lists, magazine, quarantine of freed blocks
//!       Chunk        slabs of an arena, cut into units by a SpanMap
//!         Arena      the two mappings; slabs of 64 KiB
//! ```

mod alloc_request;
mod allocator;
mod arena;
mod arenas;
mod audit;
mod backing;
mod block;
mod chunk;
mod code_memory;
mod error;
mod fork_detector;
mod free_lists;
mod options;
mod page_blocks;
mod page_table;
mod shard;
mod span;
mod statistics;
#[cfg(test)]
mod tests;
mod trap_fill;
mod unit_lists;

pub use audit::{Action, DrainedEvents, Event};
pub use backing::Backing;
pub use block::{ExecutableBlock, WritableBlock};
pub use code_memory::CodeMemory;
pub use error::ExecError;
pub use options::{CodeMemoryOptions, Request};
pub use page_blocks::PageUse;
pub use statistics::{ArenaUse, Statistics};
