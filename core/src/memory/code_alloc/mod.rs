//! Executable memory that is never writable and executable.
//!
//! [`CodeMemory`] gives out blocks of bytes: [`WritableBlock`]s, which are written, and which
//! [`publish`](WritableBlock::publish) consumes into [`ExecutableBlock`]s, which are run. Blocks are
//! cut from arenas of 128 MiB that are mapped twice from one memory file, readable and writable at
//! one address and readable and executable at another.
//!
//! ```
//! # #[cfg(target_arch = "x86_64")] {
//! use smf_core::memory::exec::CodeMemory;
//!
//! let memory = CodeMemory::default();
//! let mut block = memory.allocate(6)?;
//! block.as_mut_slice().copy_from_slice(&[0xb8, 42, 0, 0, 0, 0xc3]); // mov eax, 42; ret
//! let block = block.publish()?;
//! // SAFETY: the block holds such a function, and outlives the call.
//! let function: extern "C" fn() -> i32 = unsafe { core::mem::transmute(block.as_ptr()) };
//! assert_eq!(function(), 42);
//! # }
//! # Ok::<(), smf_core::memory::exec::ExecError>(())
//! ```
//!
//! Promises:
//!
//! * No address is writable and executable, not for a moment, and the kernel is asked to refuse it
//!   should anything else try.
//! * Records are kept outside of the memory for code. What holds no live block holds traps.
//! * A freed block is used again only after all cores were brought in step.
//! * Two blocks of one arena are less than 128 MiB apart, which every direct branch but those of
//!   riscv64 reaches.
//! * A forked child runs the code that it inherited and cannot change it. Everything else it tries
//!   here is [`ExecError::Forked`].
//! * Whatever is refused leaves all blocks and counts as they were.
//!
//! Where the system has no memory files or will not have them executable, there are other ways,
//! which [`Backing`] lists; where there is none, [`ExecError::Policy`] says so.

mod alloc_request;
mod arena;
mod arenas;
mod audit;
mod block;
mod by_address;
mod error;
mod fork_detector;
mod free_lists;
mod magazine;
mod shard;
mod shared;
mod source;
mod span;
#[cfg(test)]
mod tests;
mod trap;

use alloc::alloc::handle_alloc_error;
use core::alloc::Layout;
use core::fmt;

use super::{MemoryError, Placement};
use arena::Kind;
use block::Block;
use shared::Shared;

use crate::alloc_util::TryArc;

pub use audit::{Action, Event, Statistics};
pub use block::{ExecutableBlock, WritableBlock};
pub use by_address::PageUse;
pub use error::{ExecError, Reason};
pub use source::Backing;

/// How much executable memory there may be, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CodeMemoryOptions {
    /// The most bytes of live blocks, as they were asked for.
    pub ceiling_bytes: u64,
    /// The most live blocks.
    pub ceiling_blocks: u64,
    /// Bytes of code in an arena, from 1 MiB to 1 GiB. They are addresses alone until blocks need
    /// them. Less is taken when there is not so much.
    pub arena_bytes: usize,
    /// Where arenas are wanted.
    pub placement: Placement,
    /// Whether every block is recorded when it is given out, published and given back: as an event,
    /// and as a publication that is counted and known to
    /// [`entry_point`](CodeMemory::entry_point). Each costs 5 to 15 ns. Refusals always leave an
    /// event, and [pages](CodeMemory::allocate_pages) always are known.
    pub audit: bool,
    /// Whether `perf report` names functions in this memory by `/tmp/perf-PID.map`, which it reads
    /// only for memory that it takes for anonymous. Costs 7 us an arena.
    pub perf_map: bool,
}

impl Default for CodeMemoryOptions {
    /// Arenas of 128 MiB anywhere, no ceiling, no audit and no names for `perf`.
    fn default() -> Self {
        Self {
            ceiling_bytes: u64::MAX,
            ceiling_blocks: u64::MAX,
            arena_bytes: 128 << 20,
            placement: Placement::Anywhere,
            audit: false,
            perf_map: false,
        }
    }
}

/// A wish for a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    size: usize,
    alignment: usize,
    placement: Placement,
}

impl Request {
    /// A block of `size` bytes, 1 to 1 GiB, that begins at a multiple of 8.
    #[inline]
    pub const fn new(size: usize) -> Self {
        Self { size, alignment: 8, placement: Placement::Anywhere }
    }

    /// Begins the block at a multiple of `alignment`, a power of two up to the size of a page; from 16 on,
    /// its end is rounded up to a multiple of 16 as well.
    ///
    /// Code that reads constants of 16 bytes from its own block must ask for 16 (on x86-64, a legacy SSE
    /// operand elsewhere is a fault), and so must code that has aligned the heads of its loops within the
    /// block, for that to mean something. Other code runs from any multiple of 8, and functions of 100
    /// bytes then take 7 % beyond themselves instead of 16 %.
    #[inline]
    pub const fn aligned_to(self, alignment: usize) -> Self {
        Self { alignment, ..self }
    }

    /// Puts the block there instead of where the arenas are.
    #[inline]
    pub const fn placed(self, placement: Placement) -> Self {
        Self { placement, ..self }
    }
}

/// An allocator of executable memory, for any number of threads. Clones are the same one.
///
/// Its memory is given back to the system when it and all of its blocks are gone, or by
/// [`trim`](Self::trim).
#[derive(Clone)]
pub struct CodeMemory {
    shared: TryArc<Shared>,
}

impl CodeMemory {
    /// An allocator that has nothing yet. The first block makes the first arena.
    ///
    /// Without memory for its records the process ends, as with everything that `alloc` makes;
    /// [`try_new`](Self::try_new) does not.
    pub fn new(options: CodeMemoryOptions) -> Self {
        let made = Self::try_new(options);
        made.unwrap_or_else(|_| handle_alloc_error(Layout::new::<Shared>()))
    }

    /// As [`new`](Self::new).
    ///
    /// # Errors
    ///
    /// [`ExecError::OutOfMemory`].
    pub fn try_new(options: CodeMemoryOptions) -> Result<Self, ExecError> {
        Ok(Self { shared: TryArc::new(Shared::new(options))? })
    }

    /// A block of `size` bytes that begins at a multiple of 8, filled with trapping instructions.
    ///
    /// # Errors
    ///
    /// As [`allocate_with`](Self::allocate_with).
    #[inline(always)]
    pub fn allocate(&self, size: usize) -> Result<WritableBlock, ExecError> {
        self.allocate_with(Request::new(size))
    }

    /// A block as `request` describes it, filled with trapping instructions.
    ///
    /// # Errors
    ///
    /// * [`ExecError::Empty`], [`ExecError::TooLarge`], [`ExecError::Alignment`]: no such block.
    /// * [`ExecError::CeilingBytes`], [`ExecError::CeilingBlocks`]: it would be one too many.
    /// * [`ExecError::Policy`]: the system forbids executable memory.
    /// * [`ExecError::Memory`], [`ExecError::OutOfMemory`]: no memory, or none where it is
    ///   wanted.
    /// * [`ExecError::Forked`]: in a child process.
    #[inline(always)]
    pub fn allocate_with(&self, request: Request) -> Result<WritableBlock, ExecError> {
        let block = match request.placement {
            Placement::PreferNear(address) => self.allocate_near(address, request)?,
            _ => self.shared.allocate(self.shared.lane(), Kind::Sealed, request)?,
        };
        Ok(WritableBlock::new(block))
    }

    /// Near `address` if there is room, and the search for it not repeated when there is none.
    #[cold]
    fn allocate_near(&self, address: usize, request: Request) -> Result<Block, ExecError> {
        let Shared { arenas, .. } = &*self.shared;
        let lane = self.shared.lane();
        if !arenas.is_crowded(address) {
            let near = request.placed(Placement::Near(address));
            match self.shared.allocate(lane, Kind::Sealed, near) {
                Err(ExecError::Memory(MemoryError::NoFreeRange { .. })) => {
                    arenas.set_crowded(address)
                }
                result => return result,
            }
        }
        self.shared.allocate(lane, Kind::Sealed, request.placed(Placement::Anywhere))
    }

    /// The address, if code that may run is there: in a live block of pages that may, or in one that
    /// was published, if this memory is [audited](CodeMemoryOptions::audit).
    ///
    /// # Errors
    ///
    /// [`ExecError::Unknown`] where no block is, [`ExecError::NotExecutable`] where its code was not
    /// published, was freed a moment ago, or may not run at present; [`ExecError::Forked`] in a child
    /// process.
    pub fn entry_point(&self, address: usize) -> Result<usize, ExecError> {
        match self.shared.around(address)? {
            None => Err(ExecError::Unknown { address }),
            Some(around) if around.published => Ok(address),
            Some(_) => Err(ExecError::NotExecutable { address }),
        }
    }

    /// How code is backed on this system; `None` before the first block was asked for.
    pub fn backing(&self) -> Option<Backing> {
        self.shared.arenas.backing()
    }

    /// How much there is and was. Takes microseconds. All zeros in a child process.
    pub fn statistics(&self) -> Statistics {
        self.shared.statistics()
    }

    /// Hands out the events that are kept, 256 of each lane: lane by lane, the earliest first.
    /// Returns how many more there were that nobody drained.
    pub fn read_events(&self, each: impl FnMut(&Event)) -> u64 {
        self.shared.events(false, each)
    }

    /// As [`read_events`](Self::read_events), and none of them comes again.
    pub fn drain_events(&self, each: impl FnMut(&Event)) -> u64 {
        self.shared.events(true, each)
    }

    /// Gives back to the system every arena that holds no live block.
    ///
    /// # Errors
    ///
    /// [`ExecError::Forked`] in a child process.
    pub fn trim(&self) -> Result<(), ExecError> {
        self.shared.trim()
    }
}

impl Default for CodeMemory {
    fn default() -> Self {
        Self::new(CodeMemoryOptions::default())
    }
}

impl fmt::Debug for CodeMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("CodeMemory").field(&self.statistics()).finish()
    }
}
