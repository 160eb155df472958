//! The arenas of one allocator.

use alloc::vec::Vec;
use core::sync::atomic::{AtomicUsize, Ordering};

use super::super::lock::{Lock, LockGuard, ProcessId};
use super::super::types::{Errno, MemoryError, Placement};
use super::alloc_request::{ArenaKind, MAX_BLOCK_SIZE};
use super::arena::{Arena, SlabOwner, SlabRun};
use super::backing::{ArenaError, Backing, CANDIDATES, CHANGING_PAGES};
use super::error::ExecError;
use super::fork_detector::ForkDetector;
use crate::alloc_util::{TryArc, UninitArc};

/// Bytes of a chunk: large enough that the waste at its end is small, small enough that an idle shard holds little.
pub(super) const CHUNK_SIZE: usize = 256 << 10;

/// The smallest arena that is tried when address space is scarce.
const MIN_ARENA_SIZE: usize = 4 * CHUNK_SIZE;

/// The candidate is not selected yet.
const UNSELECTED: usize = CANDIDATES.len();

/// The index of [`CHANGING_PAGES`].
const LAST: usize = CANDIDATES.len() - 1;

/// The arenas, and the backing that the system allows.
pub(super) struct Arenas {
    list: Lock<Vec<TryArc<Arena>>>,
    process: ProcessId,
    /// The index of the selected candidate.
    candidate: AtomicUsize,
    /// The last address near which no addresses were free.
    crowded: AtomicUsize,
    fork_detector: ForkDetector,
    /// Bytes of an arena, unless a block needs more.
    arena_size: usize,
    placement: Placement,
    /// Whether `perf` considers the code anonymous memory.
    perf_map: bool,
}

/// Totals over all arenas.
#[derive(Default)]
pub(super) struct ArenaUsage {
    pub(super) arenas: usize,
    /// Bytes of code addresses.
    pub(super) reserved: usize,
    /// Bytes of used slabs.
    pub(super) held: usize,
    /// Bytes of metadata.
    pub(super) metadata: usize,
}

impl Arenas {
    pub(super) fn new(
        arena_size: usize,
        placement: Placement,
        perf_map: bool,
        process: ProcessId,
    ) -> Self {
        let arena_size =
            arena_size.clamp(MIN_ARENA_SIZE, MAX_BLOCK_SIZE).next_multiple_of(CHUNK_SIZE);
        Self {
            list: Lock::new(Vec::new()),
            process,
            candidate: AtomicUsize::new(UNSELECTED),
            crowded: AtomicUsize::new(0),
            fork_detector: ForkDetector::new(),
            arena_size,
            placement,
            perf_map,
        }
    }

    /// Whether this is a child of the process that mapped the arenas.
    #[inline]
    pub(super) fn is_forked(&self) -> bool {
        self.fork_detector.is_wiped()
    }

    /// Locks the list. The fork detector does not cover a child that was forked while the first arena was mapped.
    pub(super) fn list(&self) -> Result<LockGuard<'_, Vec<TryArc<Arena>>>, ExecError> {
        self.process.lock(&self.list).ok_or(ExecError::Forked)
    }

    /// The selected backing; `None` before the first block.
    pub(super) fn backing(&self) -> Option<Backing> {
        CANDIDATES.get(self.candidate.load(Ordering::Acquire)).map(|candidate| candidate.backing)
    }

    /// The kind of arena for `wanted` on this system. If the backing is not selected yet, this maps the first arena to
    /// select it.
    pub(super) fn kind(
        &self,
        wanted: ArenaKind,
        placement: Placement,
    ) -> Result<ArenaKind, ExecError> {
        if wanted != ArenaKind::Changing && self.candidate.load(Ordering::Acquire) == UNSELECTED {
            self.select(wanted, placement)?;
        }
        Ok(if self.is_mapped_twice() { wanted } else { ArenaKind::Changing })
    }

    /// Whether a backing is selected that is mapped twice.
    #[inline]
    pub(super) fn is_mapped_twice(&self) -> bool {
        self.candidate.load(Ordering::Acquire) < LAST
    }

    fn select(&self, wanted: ArenaKind, placement: Placement) -> Result<(), ExecError> {
        let mut list = self.list()?;
        // Another thread may have selected it.
        if self.candidate.load(Ordering::Acquire) == UNSELECTED {
            self.add(&mut list, wanted, self.or_default(placement), CHUNK_SIZE)?;
        }
        Ok(())
    }

    /// The placement of an arena for a block with this placement.
    fn or_default(&self, placement: Placement) -> Placement {
        if placement == Placement::Anywhere { self.placement } else { placement }
    }

    /// Takes slabs for `bytes` bytes whose addresses satisfy `placement`.
    pub(super) fn take(
        &self,
        bytes: usize,
        owner: SlabOwner,
        kind: ArenaKind,
        placement: Placement,
    ) -> Result<SlabRun, ExecError> {
        let window = placement.window();
        let mut list = self.list()?;
        for arena in list.iter().filter(|arena| arena.kind() == kind) {
            let code = arena.code();
            if window.start <= code.start
                && code.end <= window.end
                && let Some(slabs) = SlabRun::take(arena, bytes, owner)?
            {
                return Ok(slabs);
            }
        }
        let arena = self.add(&mut list, kind, self.or_default(placement), bytes)?;
        let no_range =
            MemoryError::NoFreeRange { size: bytes, low: window.start, high: window.end };
        Ok(SlabRun::take(&arena, bytes, owner)?.ok_or(no_range)?)
    }

    /// Maps an arena of at least `bytes`, smaller than usual if address space is scarce.
    fn add(
        &self,
        list: &mut Vec<TryArc<Arena>>,
        kind: ArenaKind,
        placement: Placement,
        bytes: usize,
    ) -> Result<TryArc<Arena>, ExecError> {
        list.try_reserve(1).map_err(|_| ExecError::OutOfMemory)?;
        let memory = UninitArc::new()?;
        self.fork_detector.set()?;
        let mut size = self.arena_size.max(bytes);
        let arena = loop {
            match self.map(kind, placement, size) {
                Err(error) if is_scarcity(error) && size > bytes.max(MIN_ARENA_SIZE) => {
                    let half = (size / 2).next_multiple_of(CHUNK_SIZE);
                    size = half.max(bytes).max(MIN_ARENA_SIZE);
                }
                result => break result?,
            }
        };
        let arena = memory.fill(arena);
        list.push(arena.clone());
        Ok(arena)
    }

    /// Maps an arena of the best candidate that the system allows.
    fn map(&self, kind: ArenaKind, placement: Placement, size: usize) -> Result<Arena, ExecError> {
        if kind == ArenaKind::Changing {
            return exec_error(Arena::map(CHANGING_PAGES, kind, placement, size, false), None);
        }
        let selected = self.candidate.load(Ordering::Acquire);
        let first = if selected == UNSELECTED { 0 } else { selected };
        let mut forbidden = None;
        for (index, &candidate) in CANDIDATES.iter().enumerate().skip(first) {
            let arena = if candidate == CHANGING_PAGES {
                Arena::map(candidate, ArenaKind::Changing, placement, size, false)
                    .and_then(|arena| arena.check_executable().map(|()| arena))
            } else {
                Arena::map(candidate, kind, placement, size, self.perf_map)
            };
            match arena {
                Err(ArenaError::Forbidden(errno)) if candidate != CHANGING_PAGES => {
                    forbidden = forbidden.or(Some(errno));
                }
                result => {
                    let arena = exec_error(result, forbidden)?;
                    self.candidate.store(index, Ordering::Release);
                    return Ok(arena);
                }
            }
        }
        Err(ExecError::OutOfMemory)
    }

    /// Returns slabs to their arena, and unmaps it if it is empty and not the only empty one of its kind: one is kept, so
    /// that a program which frees everything does not map it again.
    pub(super) fn release(&self, slabs: SlabRun) {
        // In a child, the memory belongs to the parent.
        let Ok(mut list) = self.list() else { return };
        let (arena, is_empty) = slabs.release();
        if !is_empty {
            return;
        }
        let is_spare = |other: &&TryArc<Arena>| other.kind() == arena.kind() && other.is_empty();
        if list.iter().filter(is_spare).count() > 1 {
            list.retain(|other| !other.ptr_eq(&arena));
        }
    }

    /// Unmaps every empty arena. The caller holds the locks of all shards.
    ///
    /// # Errors
    /// [`ExecError::Forked`].
    pub(super) fn trim(&self) -> Result<(), ExecError> {
        let mut list = self.list()?;
        list.retain(|arena| !arena.is_empty());
        if list.is_empty() {
            *list = Vec::new();
            self.fork_detector.clear();
        }
        Ok(())
    }

    /// The owner of the slab at `address`.
    ///
    /// # Errors
    /// [`ExecError::Forked`].
    pub(super) fn owner(&self, address: usize) -> Result<Option<SlabOwner>, ExecError> {
        let list = self.list()?;
        let arena = list.iter().find(|arena| arena.code().contains(&address));
        Ok(arena.and_then(|arena| arena.owner(address)))
    }

    /// Whether the last search for addresses near `address` failed.
    pub(super) fn is_crowded(&self, address: usize) -> bool {
        self.crowded.load(Ordering::Relaxed) == address
    }

    pub(super) fn set_crowded(&self, address: usize) {
        self.crowded.store(address, Ordering::Relaxed);
    }

    /// # Errors
    /// [`ExecError::Forked`].
    pub(super) fn usage(&self) -> Result<ArenaUsage, ExecError> {
        let mut sum = ArenaUsage::default();
        for arena in self.list()?.iter() {
            let (held, metadata) = arena.usage();
            sum.arenas += 1;
            sum.reserved += arena.code().len();
            sum.held += held;
            sum.metadata += metadata;
        }
        Ok(sum)
    }
}

/// Converts the error of the last candidate; `file` is the error of the first forbidden one.
fn exec_error(result: Result<Arena, ArenaError>, file: Option<Errno>) -> Result<Arena, ExecError> {
    result.map_err(|error| match error {
        ArenaError::Failed(error) => error,
        ArenaError::Forbidden(change) => ExecError::Policy { file: file.unwrap_or(change), change },
    })
}

/// Whether a smaller arena may succeed.
fn is_scarcity(error: ExecError) -> bool {
    use rustix::io::Errno as Raw;
    match error {
        ExecError::Memory(MemoryError::Map { errno, .. }) => {
            [Raw::NOMEM, Raw::AGAIN, Raw::FBIG, Raw::NOSPC].into_iter().any(|raw| errno == raw)
        }
        ExecError::Memory(MemoryError::Protect { errno, .. }) => errno == Raw::NOMEM,
        ExecError::Memory(MemoryError::NoFreeRange { .. }) => true,
        _ => false,
    }
}
