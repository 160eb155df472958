//! All arenas of one allocator: where chunks come from.

use alloc::vec::Vec;
use core::sync::atomic::{AtomicUsize, Ordering};

use super::super::lock::{Guard, Lock, Process};
use super::super::types::{Errno, MemoryError, Placement};
use super::arena::{Arena, Kind, NoArena, Owner};
use super::error::ExecError;
use super::fork_detector::ForkDetector;
use super::shard::CHUNK;
use super::source::{Backing, ORDER, Source};
use crate::alloc_util::{TryArc, UninitArc};

/// The smallest arena that is tried when addresses are scarce.
const SMALLEST: usize = 4 * CHUNK;

/// The largest block, so that its ends reach each other with 32 bits.
pub(super) const LARGEST: usize = 1 << 30;

/// Not known yet.
const UNSETTLED: usize = ORDER.len();

/// The place in [`ORDER`] of memory that is mapped once.
const PRIVATE: usize = ORDER.len() - 1;

/// The arenas, and what was found out about the system on the way.
pub(super) struct Arenas {
    list: Lock<Vec<TryArc<Arena>>>,
    process: Process,
    /// The place in [`ORDER`] of what the system allows.
    source: AtomicUsize,
    /// The address near which there was no room when it was last tried.
    crowded: AtomicUsize,
    mark: ForkDetector,
    /// Bytes of an arena, unless a block needs more.
    size: usize,
    placement: Placement,
    /// Whether `perf` is to take code for anonymous memory.
    perf_map: bool,
}

impl Arenas {
    pub(super) fn new(size: usize, placement: Placement, perf_map: bool, process: Process) -> Self {
        let size = size.clamp(SMALLEST, LARGEST).next_multiple_of(CHUNK);
        Self {
            list: Lock::new(Vec::new()),
            process,
            source: AtomicUsize::new(UNSETTLED),
            crowded: AtomicUsize::new(0),
            mark: ForkDetector::new(),
            size,
            placement,
            perf_map,
        }
    }

    /// Whether this is a child process of the one that has the arenas.
    #[inline]
    pub(super) fn forked(&self) -> bool {
        self.mark.is_wiped()
    }

    /// Locks the list. The mark does not tell a child that was forked while the first arena was made.
    pub(super) fn list(&self) -> Result<Guard<'_, Vec<TryArc<Arena>>>, ExecError> {
        self.process.lock(&self.list).ok_or(ExecError::Forked)
    }

    /// How code is backed here; `None` before the first block.
    pub(super) fn backing(&self) -> Option<Backing> {
        ORDER.get(self.source.load(Ordering::Acquire)).map(|source| source.backing())
    }

    /// The kind that `wanted` has to be on this system. Maps the first arena, where it is going to be
    /// needed, to find out.
    pub(super) fn kind(&self, wanted: Kind, placement: Placement) -> Result<Kind, ExecError> {
        if wanted != Kind::Changing && self.source.load(Ordering::Acquire) == UNSETTLED {
            self.settle(wanted, placement)?;
        }
        Ok(if self.is_mapped_twice() { wanted } else { Kind::Changing })
    }

    /// Whether it is known that the system lets memory be mapped twice.
    #[inline]
    pub(super) fn is_mapped_twice(&self) -> bool {
        self.source.load(Ordering::Acquire) < PRIVATE
    }

    #[cold]
    fn settle(&self, wanted: Kind, placement: Placement) -> Result<(), ExecError> {
        let mut list = self.list()?;
        // Another thread may have been first.
        if self.source.load(Ordering::Acquire) == UNSETTLED {
            self.add(&mut list, wanted, self.or_usual(placement), CHUNK)?;
        }
        Ok(())
    }

    /// Where an arena goes when nobody wants it anywhere else.
    fn or_usual(&self, placement: Placement) -> Placement {
        if placement == Placement::Anywhere { self.placement } else { placement }
    }

    /// Takes `bytes` bytes where `wanted` wants them: the arena, the first address, and
    /// how many bytes from there on have memory and hold traps.
    pub(super) fn take(
        &self,
        bytes: usize,
        owner: Owner,
        kind: Kind,
        wanted: Placement,
    ) -> Result<(TryArc<Arena>, usize, usize), ExecError> {
        let window = wanted.window();
        let mut list = self.list()?;
        for arena in list.iter().filter(|arena| arena.kind() == kind) {
            let code = arena.code();
            if window.start <= code.start
                && code.end <= window.end
                && let Some((address, warm)) = arena.take(bytes, owner)?
            {
                return Ok((arena.clone(), address, warm));
            }
        }
        let arena = self.add(&mut list, kind, self.or_usual(wanted), bytes)?;
        let nowhere = MemoryError::NoFreeRange { size: bytes, low: window.start, high: window.end };
        let (address, warm) = arena.take(bytes, owner)?.ok_or(nowhere)?;
        Ok((arena, address, warm))
    }

    /// Maps an arena with room for `bytes`, smaller than usual if there is no room for a usual one.
    fn add(
        &self,
        list: &mut Vec<TryArc<Arena>>,
        kind: Kind,
        placement: Placement,
        bytes: usize,
    ) -> Result<TryArc<Arena>, ExecError> {
        list.try_reserve(1).map_err(|_| ExecError::OutOfMemory)?;
        let room = UninitArc::new()?;
        self.mark.set()?;
        let mut size = self.size.max(bytes);
        let arena = loop {
            match self.map(kind, placement, size) {
                Err(error) if lacks_room(error) && size > bytes.max(SMALLEST) => {
                    size = (size / 2).next_multiple_of(CHUNK).max(bytes).max(SMALLEST);
                }
                result => break result?,
            }
        };
        let arena = room.fill(arena);
        list.push(arena.clone());
        Ok(arena)
    }

    /// Maps an arena from the best source that the system allows.
    fn map(&self, kind: Kind, placement: Placement, size: usize) -> Result<Arena, ExecError> {
        if kind == Kind::Changing {
            return Self::finish(Arena::map(Source::Private, kind, placement, size, false), None);
        }
        let settled = self.source.load(Ordering::Acquire);
        let first = if settled == UNSETTLED { 0 } else { settled };
        let mut refused = None;
        for (number, &source) in ORDER.iter().enumerate().skip(first) {
            let arena = if source == Source::Private {
                Arena::map(source, Kind::Changing, placement, size, false)
                    .and_then(|arena| arena.may_become_executable().map(|()| arena))
            } else {
                Arena::map(source, kind, placement, size, self.perf_map)
            };
            match arena {
                Err(NoArena::Refused(errno)) if source != Source::Private => {
                    refused = refused.or(Some(errno));
                }
                result => {
                    let arena = Self::finish(result, refused)?;
                    self.source.store(number, Ordering::Release);
                    return Ok(arena);
                }
            }
        }
        Err(ExecError::OutOfMemory)
    }

    fn finish(result: Result<Arena, NoArena>, file: Option<Errno>) -> Result<Arena, ExecError> {
        result.map_err(|error| match error {
            NoArena::Failed(error) => error,
            NoArena::Refused(change) => ExecError::Policy { file: file.unwrap_or(change), change },
        })
    }

    /// Gives back what `take` gave; the first `warm` bytes have memory and hold traps.
    pub(super) fn give_back(&self, arena: TryArc<Arena>, address: usize, warm: usize) {
        // In a child the memory belongs to the parent.
        let Ok(mut list) = self.list() else { return };
        if !arena.give_back(address, warm) {
            return;
        }
        // One of a kind stays, so that a program which frees everything and goes on does not map it
        // again each time.
        let spare = |other: &&TryArc<Arena>| other.kind() == arena.kind() && other.is_empty();
        if list.iter().filter(spare).count() > 1 {
            list.retain(|other| !other.ptr_eq(&arena));
        }
    }

    /// Unmaps every arena without chunks. The caller keeps all lanes from using them.
    ///
    /// # Errors
    /// [`ExecError::Forked`].
    pub(super) fn trim(&self) -> Result<(), ExecError> {
        let mut list = self.list()?;
        list.retain(|arena| !arena.is_empty());
        if list.is_empty() {
            *list = Vec::new();
            self.mark.clear();
        }
        Ok(())
    }

    /// The arena that has code at `address`, and who owns the page there.
    ///
    /// # Errors
    /// [`ExecError::Forked`].
    pub(super) fn owner(&self, address: usize) -> Result<Option<Owner>, ExecError> {
        let list = self.list()?;
        let arena = list.iter().find(|arena| arena.code().contains(&address));
        Ok(arena.and_then(|arena| arena.owner(address)))
    }

    /// Whether it was found that there is no room near `address`.
    pub(super) fn is_crowded(&self, address: usize) -> bool {
        self.crowded.load(Ordering::Relaxed) == address
    }

    pub(super) fn set_crowded(&self, address: usize) {
        self.crowded.store(address, Ordering::Relaxed);
    }

    /// Arenas, the bytes of code addresses in them, those given out, and the bytes of the records.
    ///
    /// # Errors
    /// [`ExecError::Forked`].
    pub(super) fn usage(&self) -> Result<[usize; 4], ExecError> {
        let list = self.list()?;
        Ok(list.iter().fold([0; 4], |[arenas, reserved, held, records], arena| {
            let (taken, own) = arena.usage();
            [arenas + 1, reserved + arena.code().len(), held + taken, records + own]
        }))
    }
}

fn lacks_room(error: ExecError) -> bool {
    use rustix::io::Errno as Raw;
    match error {
        ExecError::Memory(MemoryError::Map { errno, .. }) => {
            [Raw::NOMEM, Raw::AGAIN, Raw::FBIG, Raw::NOSPC].into_iter().any(|room| errno == room)
        }
        ExecError::Memory(MemoryError::Protect { errno, .. }) => errno == Raw::NOMEM,
        ExecError::Memory(MemoryError::NoFreeRange { .. }) => true,
        _ => false,
    }
}
