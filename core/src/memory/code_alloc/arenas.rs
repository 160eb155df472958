//! The arenas of one allocator.

use alloc::vec::Vec;
use core::sync::atomic::{AtomicUsize, Ordering};

use rustix::io::Errno as Raw;

use super::super::lock::{Lock, LockGuard, ProcessId};
use super::super::types::{Errno, MemoryError};
use super::alloc_request::{ArenaKind, MAX_BLOCK_SIZE};
use super::arena::{Arena, SlabOwner, SlabRun};
use super::backing::{ArenaError, Backing, CANDIDATES};
use super::error::{ExecError, Result};
use super::fork_detector::ForkDetector;
use super::statistics::{ArenaUse, Statistics};
use crate::alloc_util::{TryArc, UninitArc};

/// Bytes of a chunk: large enough that the waste at its end is small, small enough that an idle shard holds little.
pub(super) const CHUNK_SIZE: usize = 256 << 10;

/// The smallest arena that is tried when address space is scarce.
const MIN_ARENA_SIZE: usize = 4 * CHUNK_SIZE;

/// The candidate is not selected yet.
const UNSELECTED: usize = CANDIDATES.len();

/// The index of [`Backing::ChangingPages`].
const LAST: usize = CANDIDATES.len() - 1;

/// The arenas, and the backing that the system allows.
pub(super) struct Arenas {
    list: Lock<Vec<TryArc<Arena>>>,
    process: ProcessId,
    /// The index of the selected candidate.
    candidate: AtomicUsize,
    fork_detector: ForkDetector,
    /// Bytes of an arena, unless a block needs more.
    arena_size: usize,
    /// Whether `perf` considers the code anonymous memory.
    perf_map: bool,
}

impl Arenas {
    pub(super) fn new(arena_size: usize, perf_map: bool, process: ProcessId) -> Self {
        let arena_size =
            arena_size.clamp(MIN_ARENA_SIZE, MAX_BLOCK_SIZE).next_multiple_of(CHUNK_SIZE);
        Self {
            list: Lock::new(Vec::new()),
            process,
            candidate: AtomicUsize::new(UNSELECTED),
            fork_detector: ForkDetector::new(),
            arena_size,
            perf_map,
        }
    }

    /// Whether this is a child of the process that mapped the arenas.
    pub(super) fn is_forked(&self) -> bool {
        self.fork_detector.is_wiped()
    }

    /// Locks the list. The fork detector does not cover a child that was forked while the first arena was mapped.
    pub(super) fn list(&self) -> Result<LockGuard<'_, Vec<TryArc<Arena>>>> {
        self.process.lock(&self.list).ok_or(ExecError::Forked)
    }

    /// The selected backing; `None` before the first block.
    pub(super) fn backing(&self) -> Option<Backing> {
        CANDIDATES.get(self.candidate.load(Ordering::Acquire)).map(|&(backing, _)| backing)
    }

    /// The kind of arena for `wanted` on this system. If the backing is not selected yet, this maps the first arena to
    /// select it.
    pub(super) fn kind(&self, wanted: ArenaKind) -> Result<ArenaKind> {
        let is_unselected = || self.candidate.load(Ordering::Acquire) == UNSELECTED;
        if wanted != ArenaKind::Changing && is_unselected() {
            let mut list = self.list()?;
            // Another thread may have selected it.
            if is_unselected() {
                self.add(&mut list, wanted, CHUNK_SIZE)?;
            }
        }
        Ok(if self.is_mapped_twice() { wanted } else { ArenaKind::Changing })
    }

    /// Whether a backing is selected that is mapped twice.
    pub(super) fn is_mapped_twice(&self) -> bool {
        self.candidate.load(Ordering::Acquire) < LAST
    }

    /// Takes slabs for `bytes` bytes.
    pub(super) fn take(&self, bytes: usize, owner: SlabOwner, kind: ArenaKind) -> Result<SlabRun> {
        let mut list = self.list()?;
        for arena in list.iter().filter(|arena| arena.kind == kind) {
            if let Some(slabs) = SlabRun::take(arena, bytes, owner)? {
                return Ok(slabs);
            }
        }
        let arena = self.add(&mut list, kind, bytes)?;
        SlabRun::take(&arena, bytes, owner)?.ok_or(ExecError::OutOfMemory)
    }

    /// Maps an arena of at least `bytes`, smaller than usual if address space is scarce.
    fn add(
        &self,
        list: &mut Vec<TryArc<Arena>>,
        kind: ArenaKind,
        bytes: usize,
    ) -> Result<TryArc<Arena>> {
        list.try_reserve(1).map_err(|_| ExecError::OutOfMemory)?;
        let memory = UninitArc::new()?;
        self.fork_detector.set()?;
        let mut size = self.arena_size.max(bytes);
        let arena = loop {
            match self.map(kind, size) {
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

    /// Maps an arena of the best candidate that the system allows. Pages that change do not follow pages that are mapped twice:
    /// blocks in them have other units.
    fn map(&self, kind: ArenaKind, size: usize) -> Result<Arena> {
        if kind == ArenaKind::Changing {
            return exec_error(Arena::map(CANDIDATES[LAST], kind, size, false), None);
        }
        let selected = self.candidate.load(Ordering::Acquire);
        let (first, last) = match selected {
            UNSELECTED => (0, LAST),
            _ => (selected, LAST - 1),
        };
        let mut forbidden = None;
        for (index, &candidate) in CANDIDATES.iter().enumerate().take(last + 1).skip(first) {
            let arena = if index == LAST {
                Arena::map(candidate, ArenaKind::Changing, size, false)
                    .and_then(|arena| arena.check_executable().map(|()| arena))
            } else {
                Arena::map(candidate, kind, size, self.perf_map)
            };
            match arena {
                Err(ArenaError::Forbidden(errno)) if index != last => {
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

    /// Returns slabs to their arena, and unmaps it if it is empty and not the only empty one of its kind: one is kept,
    /// so that a program which frees everything does not map it again.
    pub(super) fn release(&self, slabs: SlabRun) {
        // In a child, the memory belongs to the parent.
        let Ok(mut list) = self.list() else { return };
        let (arena, is_empty) = slabs.release();
        if !is_empty {
            return;
        }
        let is_spare = |other: &&TryArc<Arena>| other.kind == arena.kind && other.is_empty();
        if list.iter().filter(is_spare).count() > 1 {
            list.retain(|other| !other.ptr_eq(&arena));
        }
    }

    /// Unmaps every empty arena. The caller holds the locks of all shards.
    ///
    /// # Errors
    /// [`ExecError::Forked`].
    pub(super) fn trim(&self) -> Result<()> {
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
    pub(super) fn owner(&self, address: usize) -> Result<Option<SlabOwner>> {
        let list = self.list()?;
        let arena = list.iter().find(|arena| arena.code.contains(&address));
        Ok(arena.and_then(|arena| arena.owner(address)))
    }

    /// Calls `each` with the use of each arena, in the order in which they were mapped. The list is locked meanwhile.
    ///
    /// # Errors
    /// [`ExecError::Forked`].
    pub(super) fn for_each(&self, each: &mut dyn FnMut(&ArenaUse)) -> Result<()> {
        let list = self.list()?;
        // Under the lock, because `trim` ends the detection. A thread of the parent may have held the lock of an arena.
        if self.is_forked() {
            return Err(ExecError::Forked);
        }
        for arena in list.iter() {
            let held_bytes = arena.usage().0 as u64;
            each(&ArenaUse { code: arena.code.clone(), held_bytes });
        }
        Ok(())
    }

    /// Adds the amounts to `sum`.
    ///
    /// # Errors
    /// [`ExecError::Forked`].
    pub(super) fn report(&self, sum: &mut Statistics) -> Result<()> {
        for arena in self.list()?.iter() {
            let (held, metadata) = arena.usage();
            sum.arenas += 1;
            sum.reserved_bytes += arena.code.len() as u64;
            sum.held_bytes += held as u64;
            sum.record_bytes += metadata as u64;
        }
        Ok(())
    }
}

/// Converts the error of the last candidate; `file` is the error of the first forbidden one.
fn exec_error(result: Result<Arena, ArenaError>, file: Option<Errno>) -> Result<Arena> {
    result.map_err(|error| match error {
        ArenaError::Failed(error) => error,
        ArenaError::Forbidden(change) => ExecError::Policy { file: file.unwrap_or(change), change },
    })
}

/// Whether a smaller arena may succeed.
fn is_scarcity(error: ExecError) -> bool {
    match error {
        ExecError::Memory(MemoryError::Map { errno, .. }) => {
            [Raw::NOMEM, Raw::AGAIN, Raw::FBIG, Raw::NOSPC].into_iter().any(|raw| errno == raw)
        }
        ExecError::Memory(MemoryError::Protect { errno, .. }) => errno == Raw::NOMEM,
        _ => false,
    }
}
