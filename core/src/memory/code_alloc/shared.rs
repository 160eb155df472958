//! What all handles and blocks of one allocator share: lanes, arenas and the ceiling.
//!
//! Locks are taken in the order: pages by address, ceiling, lanes (upwards), arenas, pages of one.
#![allow(unsafe_code)]

use core::array;
use core::ops::{Deref, DerefMut};
use core::sync::atomic::{AtomicU16, AtomicU64, Ordering};

use super::super::lock::{Guard, Lock, Process};
use super::super::sys;
use super::alloc_request::{AllocRequest, Allocation, BlockInfo};
use super::arena::{Arena, Kind};
use super::arenas::{Arenas, LARGEST};
use super::audit::{Action, Event, KEPT, Statistics};
use super::block::{Block, Place};
use super::by_address::Pages;
use super::error::ExecError;
use super::free_lists::Spot;
use super::shard::Shard;
use super::{CodeMemoryOptions, Request};
use crate::alloc_util::TryArc;
use arrayvec::ArrayVec;

/// Lanes for blocks of bytes. More cores than that share them.
const LANES: u16 = 16;

/// The lane of pages for code, known by address.
pub(super) const CODE_PAGES: u16 = LANES;

/// The lane of pages for data, known by address.
pub(super) const DATA_PAGES: u16 = LANES + 1;

const ALL_LANES: usize = LANES as usize + 2;

/// A lane, and what keeps everything alive while it has live blocks.
pub(super) struct Kept {
    lane: Shard,
    keep: Option<TryArc<Shared>>,
}

impl Deref for Kept {
    type Target = Shard;

    #[inline]
    fn deref(&self) -> &Shard {
        &self.lane
    }
}

impl DerefMut for Kept {
    #[inline]
    fn deref_mut(&mut self) -> &mut Shard {
        &mut self.lane
    }
}

/// A lane on cache lines of its own: two of them, because processors fetch pairs.
#[repr(align(128))]
struct Padded {
    lock: Lock<Kept>,
    /// About how many bytes the lane has to spare.
    spare: AtomicU64,
}

/// How much makes the lane of another core worth a visit, before a lane grows.
const SPACIOUS: u64 = 1 << 20;

/// What no lane has of the ceiling.
struct Left {
    bytes: u64,
    blocks: u64,
}

pub(super) struct Shared {
    lanes: [Padded; ALL_LANES],
    /// The lane that each core uses: its own, or one with room to spare.
    homes: [AtomicU16; LANES as usize],
    pub(super) arenas: Arenas,
    left: Lock<Left>,
    ceiling_bytes: u64,
    ceiling_blocks: u64,
    peak_bytes: AtomicU64,
    peak_blocks: AtomicU64,
    pub(super) pages: Lock<Pages>,
    audit: bool,
    process: Process,
}

impl Shared {
    pub(super) fn new(options: CodeMemoryOptions) -> Self {
        let CodeMemoryOptions { ceiling_bytes, ceiling_blocks, arena_bytes, .. } = options;
        let CodeMemoryOptions { placement, audit, perf_map, .. } = options;
        let process = Process::current();
        Self {
            lanes: array::from_fn(|number| {
                // At most ALL_LANES.
                let lane = Kept { lane: Shard::new(number as u16), keep: None };
                Padded { lock: Lock::new(lane), spare: AtomicU64::new(0) }
            }),
            homes: array::from_fn(|core| AtomicU16::new(core as u16)),
            arenas: Arenas::new(arena_bytes, placement, perf_map, process),
            left: Lock::new(Left { bytes: ceiling_bytes, blocks: ceiling_blocks }),
            ceiling_bytes,
            ceiling_blocks,
            peak_bytes: AtomicU64::new(0),
            peak_blocks: AtomicU64::new(0),
            pages: Lock::new(Pages::new()),
            audit,
            process,
        }
    }

    /// The lane for this thread.
    #[inline]
    pub(super) fn lane(&self) -> u16 {
        self.homes.get(usize::from(Self::core())).map_or(0, |home| home.load(Ordering::Relaxed))
    }

    /// The lane that this core has for itself.
    #[inline]
    fn core() -> u16 {
        // Below LANES.
        (sys::core_number() % usize::from(LANES)) as u16
    }

    fn move_to(&self, lane: u16) {
        if let Some(home) = self.homes.get(usize::from(Self::core())) {
            home.store(lane, Ordering::Relaxed);
        }
    }

    /// The lane, if this core should not rather leave it to another that is using it.
    fn settled(&self, number: u16) -> u16 {
        let core = Self::core();
        let taken = |lane: &Padded| lane.lock.is_locked();
        if number >= LANES
            || number == core
            || !self.lanes.get(usize::from(number)).is_some_and(taken)
        {
            return number;
        }
        self.move_to(core);
        core
    }

    /// The lane of another core that has the most to spare, if that is much.
    fn spacious(&self, number: u16) -> Option<u16> {
        let spare = |lane: &Padded| lane.spare.load(Ordering::Relaxed);
        let others = (0..LANES).zip(&self.lanes).filter(|&(other, _)| other != number);
        let (other, lane) = others.max_by_key(|(_, lane)| spare(lane))?;
        (number < LANES && spare(lane) >= SPACIOUS).then_some(other)
    }

    /// Locks a lane of this process.
    ///
    /// # Errors
    ///
    /// [`ExecError::Forked`] in a child process, where another thread may have held the lock for
    /// ever and the memory is not mapped.
    #[inline]
    pub(super) fn lock(&self, number: u16) -> Result<Guard<'_, Kept>, ExecError> {
        // There is no other number.
        let lane = self.lanes.get(usize::from(number)).ok_or(ExecError::Forked)?;
        let guard = self.wait(&lane.lock)?;
        if self.arenas.forked() { Err(ExecError::Forked) } else { Ok(guard) }
    }

    /// Takes a lock unless its holder stayed behind in the parent process.
    #[inline]
    pub(super) fn wait<'a, T>(&self, lock: &'a Lock<T>) -> Result<Guard<'a, T>, ExecError> {
        self.process.lock(lock).ok_or(ExecError::Forked)
    }

    /// Whether this is a child process. The caller has a live block, or a lock that `trim` takes.
    #[inline]
    pub(super) fn is_forked(&self) -> bool {
        self.arenas.forked()
    }

    /// What `take` does when nothing is in its way. Nothing is done when it returns `None`.
    #[inline(never)]
    fn take_quickly(&self, number: u16, wanted: Kind, request: Request) -> Option<Allocation> {
        if wanted != Kind::Sealed || !self.arenas.is_mapped_twice() {
            return None;
        }
        let need = Self::need_of_bytes(request)?;
        let mut lane = self.lanes.get(usize::from(number))?.lock.try_lock()?;
        // A lane that keeps nothing needs a handle for that.
        if self.arenas.forked()
            || !lane.ledger.has_leave(request.size as u64)
            || lane.keep.is_none()
        {
            return None;
        }
        let found = lane.take_quickly(&need)?;
        self.note_allocation(&mut lane, found, request.size);
        Some(found)
    }

    #[inline(always)]
    fn note_allocation(&self, lane: &mut Shard, found: Allocation, len: usize) {
        lane.ledger.allocate(len as u64);
        if self.audit {
            lane.events.note(Action::Allocate, found.address.get(), len as u64);
        }
    }

    /// What a request comes to on this system.
    fn need(&self, wanted: Kind, request: Request) -> Result<AllocRequest, ExecError> {
        let Request { size, alignment, placement } = request;
        let page = sys::page_size();
        if size == 0 {
            return Err(ExecError::Empty);
        }
        if size > LARGEST {
            return Err(ExecError::TooLarge { size: size as u64, limit: LARGEST });
        }
        let kind = self.arenas.kind(wanted, placement)?;
        match Self::need_of_bytes(request) {
            None => Err(ExecError::Alignment { alignment, limit: page }),
            Some(need) if kind == Kind::Sealed => Ok(need),
            Some(_) => {
                let capacity = size.next_multiple_of(page);
                Ok(AllocRequest::new(capacity, page, page.ilog2() - 1, kind, placement))
            }
        }
    }

    /// What it comes to where blocks can share a page, if it is a request that can be met.
    #[inline]
    fn need_of_bytes(request: Request) -> Option<AllocRequest> {
        let Request { size, alignment, placement } = request;
        let sound = (1..=LARGEST).contains(&size)
            && alignment.is_power_of_two()
            && alignment <= sys::page_size();
        // A block needs two units for its flag.
        let granule = alignment.clamp(8, 16) - 1;
        let capacity = ((size.wrapping_add(granule)) & !granule).max(16);
        sound.then(|| AllocRequest::new(capacity, alignment, 3, Kind::Sealed, placement))
    }

    /// Locks a lane that may give out a block of `len` bytes.
    #[cold]
    fn lock_with_leave(&self, number: u16, len: usize) -> Result<Guard<'_, Kept>, ExecError> {
        let size = len as u64;
        let mut left = self.wait(&self.left)?;
        if left.bytes < size || left.blocks == 0 {
            // What other lanes do not need is not used up.
            for lane in 0..LANES + 2 {
                let (bytes, blocks) = self.lock(lane)?.ledger.withdraw();
                left.bytes += bytes;
                left.blocks += blocks;
            }
        }
        if left.blocks == 0 {
            return Err(ExecError::CeilingBlocks { limit: self.ceiling_blocks });
        }
        let Some(bytes) = left.bytes.checked_sub(size) else {
            return Err(ExecError::CeilingBytes { size: len, limit: self.ceiling_bytes });
        };
        // Some more, so that a lane does not come back for each block.
        let more = (bytes / u64::from(4 * LANES), (left.blocks - 1) / u64::from(4 * LANES));
        let mut lane = self.lock(number)?;
        lane.ledger.grant(size + more.0, 1 + more.1);
        left.bytes = bytes - more.0;
        left.blocks -= 1 + more.1;
        Ok(lane)
    }

    /// Whether the blocks of a lane are recorded one by one: all if that was asked for, and those
    /// that are known by address.
    #[inline]
    pub(super) fn records(&self, number: u16) -> bool {
        self.audit || number >= LANES
    }

    /// Records that the block may be called from now on.
    pub(super) fn publish(&self, place: &Place) -> Result<(), ExecError> {
        let mut lane = self.lock(place.lane())?;
        if self.records(place.lane()) {
            lane.set_published(place.at.spot(), true);
            lane.ledger.publications += 1;
        }
        if self.audit {
            lane.events.note(Action::Publish, place.address.get(), place.len() as u64);
        }
        Ok(())
    }

    /// Takes back a block of this process, which `erase` fills with traps; `false` when that cannot
    /// be.
    ///
    /// What it returns must be dropped when nothing refers to this any more: it may be the last to
    /// keep it.
    #[inline]
    pub(super) fn give_back(
        &self,
        place: &Place,
        erase: impl FnOnce() -> bool,
    ) -> Option<TryArc<Self>> {
        let Padded { lock, spare } = self.lanes.get(usize::from(place.lane()))?;
        let mut lane = self.wait(lock).ok()?;
        if self.records(place.lane()) {
            lane.set_published(place.at.spot(), false);
        }
        if self.audit {
            lane.events.note(Action::Free, place.address.get(), place.len() as u64);
        }
        // Under the lock: the processor waits for these stores at the next lock, not at this one.
        if erase() && lane.give_back(place.at, place.len(), &self.arenas) {
            spare.store(lane.spare(), Ordering::Relaxed);
        }
        lane.ledger.free(place.len() as u64);
        if lane.ledger.live_blocks() == 0 { lane.keep.take() } else { None }
    }

    /// Notes that something was refused.
    #[cold]
    pub(super) fn refuse(&self, number: u16, error: ExecError, address: usize, size: u64) {
        if let Ok(mut lane) = self.lock(number) {
            lane.ledger.refusals += 1;
            lane.events.refuse(error, address, size);
        }
    }

    /// The arena of a live block.
    pub(super) fn arena(&self, number: u16, spot: Spot) -> Result<TryArc<Arena>, ExecError> {
        self.lock(number)?.arena(spot).ok_or(ExecError::OutOfMemory)
    }

    /// The block around `address`: a live one, or one that was freed and waits for its next use.
    pub(super) fn around(&self, address: usize) -> Result<Option<BlockInfo>, ExecError> {
        // Fails in a child process, before the lock of the arenas.
        drop(self.lock(CODE_PAGES)?);
        let Some(owner) = self.arenas.owner(address)? else { return Ok(None) };
        // The chunk may have changed hands since; then its lane does not know the address.
        let around = self.lock(owner.lane)?.around(owner.slot, address);
        Ok(around.filter(|around| around.taken && around.range.contains(&address)))
    }

    pub(super) fn statistics(&self) -> Statistics {
        let mut sum = Statistics::default();
        let (mut warm, mut records) = (0, size_of::<Self>());
        for number in 0..LANES + 2 {
            let Ok(mut lane) = self.lock(number) else { return Statistics::default() };
            lane.ledger.report(&mut sum);
            let (bytes, own) = lane.usage();
            warm += bytes;
            records += own;
        }
        let Ok([arenas, reserved, held, own]) = self.arenas.usage() else {
            return Statistics::default();
        };
        sum.arenas = arenas;
        sum.reserved_bytes = reserved as u64;
        sum.held_bytes = held as u64;
        sum.wasted_bytes = (warm as u64).saturating_sub(sum.live_bytes);
        sum.record_bytes = (records + own) as u64;
        let peak = |kept: &AtomicU64, now| kept.fetch_max(now, Ordering::Relaxed).max(now);
        sum.peak_bytes = peak(&self.peak_bytes, sum.peak_bytes);
        sum.peak_blocks = peak(&self.peak_blocks, sum.peak_blocks);
        sum
    }

    /// Hands out the kept events, lane by lane, and forgets them if `drain` says so.
    pub(super) fn events(&self, drain: bool, mut each: impl FnMut(&Event)) -> u64 {
        let mut lost = 0;
        for number in 0..LANES + 2 {
            let Ok(mut lane) = self.lock(number) else { return lost };
            let mut copy = ArrayVec::<Event, KEPT>::new();
            let keep = |event: &Event| copy.push(*event);
            lost += if drain { lane.events.drain(keep) } else { lane.events.read(keep) };
            drop(lane);
            // Without the lock, because the caller may allocate.
            copy.iter().for_each(&mut each);
        }
        lost
    }

    /// Gives back to the system what holds no live block.
    pub(super) fn trim(&self) -> Result<(), ExecError> {
        let _pages = self.wait(&self.pages)?;
        // All at once, because the mark of the process goes with the last arena.
        let mut lanes = ArrayVec::<Guard<'_, Kept>, ALL_LANES>::new();
        for number in 0..LANES + 2 {
            lanes.push(self.lock(number)?);
        }
        lanes.iter_mut().for_each(|lane| lane.trim(&self.arenas));
        self.arenas.trim()
    }
}

/// What keeps all of it while a lane has live blocks.
impl TryArc<Shared> {
    /// Takes a block out of a lane.
    #[inline(always)]
    pub(super) fn allocate(
        &self,
        number: u16,
        wanted: Kind,
        request: Request,
    ) -> Result<Block, ExecError> {
        let (found, number) = match self.take_quickly(number, wanted, request) {
            Some(found) => (found, number),
            None => self.take(number, wanted, request)?,
        };
        // The size is at most LARGEST, which fits.
        // SAFETY: just taken and counted; the lane filled the bytes with traps, through the view in
        // which they are writable.
        Ok(unsafe { Block::new(self, found, request.size as u32, number) })
    }

    /// Takes a place for a block, in this lane or in another one, which it returns.
    #[cold]
    fn take(
        &self,
        number: u16,
        wanted: Kind,
        request: Request,
    ) -> Result<(Allocation, u16), ExecError> {
        let result = self.try_take(number, wanted, request);
        result.inspect_err(|&error| self.refuse(number, error, 0, request.size as u64))
    }

    fn try_take(
        &self,
        number: u16,
        wanted: Kind,
        request: Request,
    ) -> Result<(Allocation, u16), ExecError> {
        let need = self.need(wanted, request)?;
        let number = self.settled(number);
        let here = |lane: &mut Shard| lane.take_here(&need, &self.arenas);
        if let Some(found) = self.take_from(number, request.size, here)? {
            return Ok((found, number));
        }
        // A thread that moves from core to core must not leave holes behind and grow everywhere.
        if need.shares()
            && let Some(other) = self.spacious(number)
            && let Some(found) = self.take_from(other, request.size, here)?
        {
            self.move_to(other);
            return Ok((found, other));
        }
        let take = |lane: &mut Shard| lane.take(&need, &self.arenas).map(Some);
        let found = self.take_from(number, request.size, take)?;
        Ok((found.ok_or(ExecError::OutOfMemory)?, number))
    }

    /// Has `take` find a place in a lane, and counts the block.
    fn take_from(
        &self,
        number: u16,
        len: usize,
        take: impl Fn(&mut Shard) -> Result<Option<Allocation>, ExecError>,
    ) -> Result<Option<Allocation>, ExecError> {
        let mut lane = self.lock(number)?;
        if !lane.ledger.has_leave(len as u64) {
            drop(lane);
            lane = self.lock_with_leave(number, len)?;
        }
        let found = take(&mut lane);
        if let Ok(Some(found)) = found {
            self.note_allocation(&mut lane, found, len);
            lane.keep.get_or_insert_with(|| self.clone());
        }
        if let Some(Padded { spare, .. }) = self.lanes.get(usize::from(number)) {
            spare.store(lane.spare(), Ordering::Relaxed);
        }
        found
    }
}
