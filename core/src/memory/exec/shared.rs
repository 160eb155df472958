//! What all handles and blocks of one allocator share: lanes, arenas and the ceiling.
//!
//! Locks are taken in the order: pages by address, ceiling, lanes (upwards), arenas, pages of one.
#![allow(unsafe_code)]

use alloc::sync::Arc;
use core::array;
use core::ops::{Deref, DerefMut};
use core::ptr::NonNull;
use core::sync::atomic::{AtomicU64, Ordering};

use arrayvec::ArrayVec;
use spin::relax::RelaxStrategy;

use super::super::sys;
use super::arena::{Arena, Kind};
use super::arenas::{Arenas, LARGEST};
use super::audit::{Action, Event, KEPT, Statistics};
use super::block::{Block, Place};
use super::by_address::Pages;
use super::error::ExecError;
use super::hints::Spot;
use super::lane::{Around, Lane, Need};
use super::lock::{Guard, Lock, Patience};
use super::{CodeMemoryOptions, Request, core_number};

/// Lanes for blocks of bytes. More cores than that share them.
const LANES: u16 = 32;

/// The lane of pages for code, known by address.
pub(super) const CODE_PAGES: u16 = LANES;

/// The lane of pages for data, known by address.
pub(super) const DATA_PAGES: u16 = LANES + 1;

const ALL_LANES: usize = LANES as usize + 2;

/// A lane, and what keeps everything alive while it has live blocks.
pub(super) struct Kept {
    lane: Lane,
    keep: Option<Arc<Shared>>,
}

impl Deref for Kept {
    type Target = Lane;

    #[inline]
    fn deref(&self) -> &Lane {
        &self.lane
    }
}

impl DerefMut for Kept {
    #[inline]
    fn deref_mut(&mut self) -> &mut Lane {
        &mut self.lane
    }
}

/// On cache lines of its own: two of them, because processors fetch pairs.
#[repr(align(128))]
struct Padded(Lock<Kept>);

/// What no lane has of the ceiling.
struct Left {
    bytes: u64,
    blocks: u64,
}

pub(super) struct Shared {
    lanes: [Padded; ALL_LANES],
    pub(super) arenas: Arenas,
    left: Lock<Left>,
    ceiling_bytes: u64,
    ceiling_blocks: u64,
    peak_bytes: AtomicU64,
    peak_blocks: AtomicU64,
    pub(super) pages: Lock<Pages>,
    has_rdpid: bool,
    process: i32,
}

impl Shared {
    pub(super) fn new(options: CodeMemoryOptions) -> Self {
        let CodeMemoryOptions { ceiling_bytes, ceiling_blocks, arena_bytes, placement } = options;
        Self {
            lanes: array::from_fn(|number| {
                // At most ALL_LANES.
                Padded(Lock::new(Kept { lane: Lane::new(number as u16), keep: None }))
            }),
            arenas: Arenas::new(arena_bytes, placement),
            left: Lock::new(Left { bytes: ceiling_bytes, blocks: ceiling_blocks }),
            ceiling_bytes,
            ceiling_blocks,
            peak_bytes: AtomicU64::new(0),
            peak_blocks: AtomicU64::new(0),
            pages: Lock::new(Pages::new()),
            has_rdpid: core_number::has_rdpid(),
            process: sys::process_id(),
        }
    }

    /// The lane for this thread.
    #[inline]
    pub(super) fn lane(&self) -> u16 {
        // Below LANES.
        (core_number::current(self.has_rdpid) % usize::from(LANES)) as u16
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
        let Padded(lock) = self.lanes.get(usize::from(number)).ok_or(ExecError::Forked)?;
        let guard = self.wait(lock)?;
        if self.arenas.forked() { Err(ExecError::Forked) } else { Ok(guard) }
    }

    /// Takes a lock unless its holder stayed behind in the parent process.
    #[inline]
    pub(super) fn wait<'a, T>(
        &self,
        lock: &'a Lock<T>,
    ) -> Result<Guard<'a, T>, ExecError> {
        match lock.try_lock() {
            Some(guard) => Ok(guard),
            None => self.wait_longer(lock),
        }
    }

    #[cold]
    fn wait_longer<'a, T>(&self, lock: &'a Lock<T>) -> Result<Guard<'a, T>, ExecError> {
        for waited in 1u32.. {
            Patience::relax();
            if !lock.is_locked()
                && let Some(guard) = lock.try_lock()
            {
                return Ok(guard);
            }
            if waited.is_multiple_of(1024) && sys::process_id() != self.process {
                break;
            }
        }
        Err(ExecError::Forked)
    }

    /// Whether this is a child process. The caller has a live block, or a lock that `trim` takes.
    #[inline]
    pub(super) fn is_forked(&self) -> bool {
        self.arenas.forked()
    }

    /// Takes a block out of `lane`.
    #[inline]
    pub(super) fn allocate(
        self: &Arc<Self>,
        number: u16,
        wanted: Kind,
        request: Request,
    ) -> Result<Block, ExecError> {
        let result = self.try_allocate(number, wanted, request);
        if let Err(error) = result {
            self.refuse(number, error, 0, request.size as u64);
        }
        result
    }

    #[inline]
    fn try_allocate(
        self: &Arc<Self>,
        number: u16,
        wanted: Kind,
        request: Request,
    ) -> Result<Block, ExecError> {
        let need = self.need(wanted, request)?;
        let len = request.size;
        let mut lane = self.lock(number)?;
        if lane.bytes_left < len as u64 || lane.blocks_left == 0 {
            drop(lane);
            lane = self.lock_with_leave(number, len)?;
        }
        let Kept { lane: here, keep } = &mut *lane;
        let found = here.take(&need, &self.arenas)?;
        here.bytes_left -= len as u64;
        here.blocks_left -= 1;
        here.ledger.allocate(len);
        here.events.note(Action::Allocate, found.address, len as u64);
        if keep.is_none() {
            *keep = Some(Arc::clone(self));
        }
        drop(lane);
        let place = Place {
            shared: NonNull::from_ref(&**self),
            writable: found.writable,
            address: found.address,
            // At most LARGEST, which fits.
            len: len as u32,
            capacity: need.capacity as u32,
            spot: found.spot,
            lane: number,
            changing: need.kind == Kind::Changing,
        };
        // SAFETY: just taken and counted; the lane filled the bytes with traps, through the view in
        // which they are writable.
        Ok(unsafe { Block::new(place) })
    }

    /// What a request comes to on this system.
    #[inline]
    fn need(&self, wanted: Kind, request: Request) -> Result<Need, ExecError> {
        let Request { size, alignment, placement } = request;
        let page = sys::page_size();
        if size == 0 {
            return Err(ExecError::Empty);
        }
        if size > LARGEST {
            return Err(ExecError::TooLarge { size: size as u64, limit: LARGEST });
        }
        if !alignment.is_power_of_two() || alignment > page {
            return Err(ExecError::Alignment { alignment, limit: page });
        }
        let kind = self.arenas.kind(wanted)?;
        if kind == Kind::Sealed {
            let granule = alignment.clamp(8, 16);
            // A block needs two units for its flag.
            let capacity = size.next_multiple_of(granule).max(16);
            return Ok(Need { capacity, units: capacity / 8, alignment, shift: 3, kind, placement });
        }
        let capacity = size.next_multiple_of(page);
        let shift = page.ilog2() - 1;
        Ok(Need { capacity, units: capacity >> shift, alignment: page, shift, kind, placement })
    }

    /// Locks a lane that may give out a block of `len` bytes.
    #[cold]
    fn lock_with_leave(&self, number: u16, len: usize) -> Result<Guard<'_, Kept>, ExecError> {
        let size = len as u64;
        let mut left = self.wait(&self.left)?;
        if left.bytes < size || left.blocks == 0 {
            // What other lanes do not need is not used up.
            for lane in 0..LANES + 2 {
                let mut lane = self.lock(lane)?;
                left.bytes += core::mem::take(&mut lane.bytes_left);
                left.blocks += core::mem::take(&mut lane.blocks_left);
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
        lane.bytes_left += size + more.0;
        lane.blocks_left += 1 + more.1;
        left.bytes = bytes - more.0;
        left.blocks -= 1 + more.1;
        Ok(lane)
    }

    /// Takes back a block whose bytes hold traps. What it returns must be dropped when nothing
    /// refers to this any more: it may be the last to keep it.
    #[inline]
    pub(super) fn give_back(
        &self,
        number: u16,
        spot: Spot,
        address: usize,
        len: usize,
        capacity: usize,
    ) -> Option<Arc<Self>> {
        let mut lane = self.lock(number).ok()?;
        lane.give_back(spot, capacity, &self.arenas);
        lane.bytes_left += len as u64;
        lane.blocks_left += 1;
        lane.ledger.free(len);
        lane.events.note(Action::Free, address, len as u64);
        if lane.ledger.live_blocks == 0 { lane.keep.take() } else { None }
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
    pub(super) fn arena(&self, number: u16, spot: Spot) -> Result<Arc<Arena>, ExecError> {
        self.lock(number)?.arena(spot).ok_or(ExecError::NoRoomForRecords)
    }

    /// The live block around `address`.
    pub(super) fn around(&self, address: usize) -> Option<Around> {
        let owner = self.arenas.owner(address)?;
        // The chunk may have changed hands since; then its lane does not know the address.
        let around = self.lock(owner.lane).ok()?.around(owner.slot, address)?;
        (around.taken && around.range.contains(&address)).then_some(around)
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
        let [arenas, reserved, held, own] = self.arenas.usage();
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
        self.arenas.trim();
        Ok(())
    }
}
