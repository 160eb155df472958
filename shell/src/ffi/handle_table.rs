//! Tables of the objects that C opens: caches, loaders and instantiators, by generational handles.
//!
//! A handle is looked up and never dereferenced; a stale one is an error. A thread that uses an object counts itself
//! in the object's slot first, without a lock. Closing marks the slot and waits until the count is 0. Long uses take
//! a [lease](Guard::lease) or are [calls](HandleTable::enter_call) instead: an object with either cannot be closed.
//!
//! The protocol is sequentially consistent: a user increments the count and then checks that the slot is open; a
//! closing thread marks the slot and then reads the count. Of a user and a closing thread that race, at least one
//! observes the other.
//!
//! A child of `fork` has none of the threads that used an object, and the locks that they held stay locked. The child
//! therefore marks every slot in use at the fork as [`FORKED`], and its handle becomes an error. Unused objects work
//! in the child.
#![allow(unsafe_code)]

use std::cell::UnsafeCell;
use std::ops::Deref;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize};
use std::thread;
use std::time::Duration;

use smf_core::alloc_util::TryArc;
#[cfg(feature = "exec")]
use smf_core::memory::{BiasedCount, Use};

use super::error::ApiError;
#[cfg(feature = "exec")]
use crate::call::thread_number;

/// The most open objects of each type.
pub(super) const MAX_OPEN: usize = 64;

/// Bits of an item's slot in its handle; the owner's slot lies above.
pub(super) const ITEM_SLOT_BITS: u32 = 24;

/// A type of object that C opens. The statics of its table are all zeros, so that they lie in `.bss`.
pub(super) trait Object: Send + Sync + 'static {
    /// Added to the lower half of the handles, to distinguish them from those of other types.
    const TAG: u32;

    /// What an error message calls an object.
    const NAME: &'static str;
}

/// A type of item that belongs to an open object and has handles of its own. The value is in the upper two bits of
/// the handle's lower half, which are 0 in handles of objects.
#[derive(Clone, Copy)]
#[repr(u32)]
pub(super) enum Item {
    /// A module of a loader.
    Module = 1,
    /// A file of a cache.
    File = 2,
    /// A held version of a module.
    Hold = 3,
}

/// A decoded handle of an object.
#[derive(Clone, Copy)]
pub(super) struct Handle {
    slot: usize,
    generation: u32,
}

impl Handle {
    fn to_raw(self, tag: u32) -> u64 {
        u64::from(self.generation) << 32 | u64::from(tag) | (self.slot as u64 + 1)
    }

    #[inline]
    fn from_raw(raw: u64, tag: u32) -> Option<Self> {
        // Slots count from 1 above the tag.
        let slot = (raw as u32).checked_sub(tag)?.checked_sub(1)?;
        let slot = usize::try_from(slot).ok().filter(|&slot| slot < MAX_OPEN)?;
        Some(Self { slot, generation: (raw >> 32) as u32 })
    }

    fn state(self, phase: u64) -> u64 {
        u64::from(self.generation) << PHASE_BITS | phase
    }

    /// Combined with the generation of an item's slot, so that items of an earlier object in the same slot are not
    /// valid for this one.
    fn item_mask(self) -> u32 {
        self.generation.wrapping_mul(0x9e37_79b1)
    }

    fn item_prefix(self, item: Item) -> u32 {
        // Object slots have 6 bits.
        (item as u32) << (30 - ITEM_SLOT_BITS) | self.slot as u32
    }

    /// The handle of an item of this object, of which `key` has the slot in the lower half and the generation in the
    /// upper half; `None` for a slot that does not fit.
    pub(super) fn item_to_raw(self, item: Item, key: u64) -> Option<u64> {
        // Slots count from 1: slot 0 would have the lower half of a prefetch's handle.
        let slot = (key as u32).checked_add(1).filter(|slot| slot >> ITEM_SLOT_BITS == 0)?;
        let low = self.item_prefix(item) << ITEM_SLOT_BITS | slot;
        let high = (key >> 32) as u32 ^ self.item_mask();
        Some(u64::from(high) << 32 | u64::from(low))
    }

    /// The key of an item; `None` for a handle that this object never issued.
    pub(super) fn item_from_raw(self, item: Item, raw: u64) -> Option<u64> {
        let (low, high) = (raw as u32, (raw >> 32) as u32 ^ self.item_mask());
        let slot = (low & ((1 << ITEM_SLOT_BITS) - 1)).checked_sub(1)?;
        let is_issued = low >> ITEM_SLOT_BITS == self.item_prefix(item);
        is_issued.then_some(u64::from(high) << 32 | u64::from(slot))
    }
}

struct HandleSlot<T> {
    /// The generation, and below it the phase.
    state: AtomicU64,
    /// Present in the phases `OPEN`, `CLOSING` and `FORKED`.
    object: UnsafeCell<Option<TryArc<T>>>,
    /// [`Guard`]s that are not leases, and threads that check whether the slot is open.
    users: AtomicU32,
    leases: AtomicU32,
    /// Long uses by calls, which one thread counts without an atomic operation.
    #[cfg(feature = "exec")]
    calls: BiasedCount,
}

const VACANT: u64 = 0;
/// Claimed by the thread that stores the object.
const OPENING: u64 = 1;
const OPEN: u64 = 2;
const CLOSING: u64 = 3;
/// In use when the process was forked. The object stays, as the thread that forked may be using it.
const FORKED: u64 = 4;
const PHASE_BITS: u32 = 3;
const PHASE_MASK: u64 = (1 << PHASE_BITS) - 1;

// SAFETY: the object is `Send + Sync`. Only the thread that has set the phase `OPENING` stores it, and only the thread
// that has set `CLOSING` takes it, once no user is counted. Other threads read it after they have counted themselves
// and observed the phase `OPEN`.
unsafe impl<T: Send + Sync> Sync for HandleSlot<T> {}

impl<T> HandleSlot<T> {
    const fn new() -> Self {
        Self {
            state: AtomicU64::new(VACANT),
            object: UnsafeCell::new(None),
            users: AtomicU32::new(0),
            leases: AtomicU32::new(0),
            #[cfg(feature = "exec")]
            calls: BiasedCount::new(),
        }
    }

    /// The number of leases and calls.
    fn long_uses(&self) -> u32 {
        let leases = self.leases.load(SeqCst);
        #[cfg(feature = "exec")]
        let leases = {
            let calls = u32::try_from(self.calls.uses(thread_number()));
            leases.saturating_add(calls.unwrap_or(u32::MAX))
        };
        leases
    }

    /// Whether the slot was in use when the only thread of this child process forked it.
    fn is_used_in_child(&self) -> bool {
        #[cfg(feature = "exec")]
        let is_called = self.calls.uses_in_child() != 0;
        #[cfg(not(feature = "exec"))]
        let is_called = false;
        is_called || self.users.load(Relaxed) != 0 || self.leases.load(Relaxed) != 0
    }

    /// The object.
    ///
    /// # Safety
    /// The caller is counted as a user or by a lease, and has observed the slot open after that.
    #[inline]
    unsafe fn object(&self) -> &TryArc<T> {
        // SAFETY: stored before the slot was open, and taken only when no user and no lease is counted.
        let object = unsafe { &*self.object.get() };
        match object {
            Some(object) => object,
            // Unreachable: an open slot has an object.
            None => std::process::abort(),
        }
    }

    /// Waits until no user is counted. New users observe the phase `CLOSING` and leave.
    fn drain(&self) {
        let mut pause = Duration::from_micros(1);
        for round in 0u32.. {
            if self.users.load(SeqCst) == 0 {
                break;
            }
            if round < 100 {
                thread::yield_now();
            } else {
                // The user may be reading a file.
                thread::sleep(pause);
                pause = (pause * 2).min(Duration::from_millis(1));
            }
        }
    }
}

/// A use of an object: a short one, until whose end closing the object waits, or a lease.
pub(super) struct Guard<T: 'static> {
    slot: &'static HandleSlot<T>,
    /// The count of the slot that includes this use.
    count: &'static AtomicU32,
    pub(super) handle: Handle,
}

impl<T> Drop for Guard<T> {
    fn drop(&mut self) {
        self.count.fetch_sub(1, SeqCst);
    }
}

impl<T> Deref for Guard<T> {
    type Target = TryArc<T>;

    fn deref(&self) -> &TryArc<T> {
        // SAFETY: this use is counted, and its thread observed the slot open after that or took it from a counted use.
        unsafe { self.slot.object() }
    }
}

impl<T> Guard<T> {
    /// A long use of the same object, which cannot be closed while a lease exists.
    pub(super) fn lease(&self) -> Self {
        let Self { slot, handle, .. } = *self;
        slot.leases.fetch_add(1, SeqCst);
        Self { slot, count: &slot.leases, handle }
    }
}

/// A long use of an object by a call, which cannot be closed meanwhile.
#[cfg(feature = "exec")]
pub(super) struct CallGuard<T: 'static> {
    slot: &'static HandleSlot<T>,
    _use: Use<'static>,
}

#[cfg(feature = "exec")]
impl<T> Deref for CallGuard<T> {
    type Target = TryArc<T>;

    #[inline]
    fn deref(&self) -> &TryArc<T> {
        // SAFETY: this use is counted, and its thread observed the slot open after that.
        unsafe { self.slot.object() }
    }
}

/// The open objects of one type.
pub(super) struct HandleTable<T> {
    slots: [HandleSlot<T>; MAX_OPEN],
    /// Slots from this index on were never claimed.
    used: AtomicUsize,
}

impl<T: Object> HandleTable<T> {
    pub(super) const fn new() -> Self {
        Self { slots: [const { HandleSlot::new() }; MAX_OPEN], used: AtomicUsize::new(0) }
    }

    #[inline]
    fn slot(&'static self, raw: u64) -> Result<(&'static HandleSlot<T>, Handle), ApiError> {
        let handle = Handle::from_raw(raw, T::TAG);
        let slot = handle.and_then(|handle| Some((self.slots.get(handle.slot)?, handle)));
        slot.ok_or_else(|| Self::refusal(raw, false))
    }

    /// Starts a use of the object.
    ///
    /// # Errors
    /// [`ApiError::NotOpen`], [`ApiError::InUseAtFork`].
    pub(super) fn enter(&'static self, raw: u64) -> Result<Guard<T>, ApiError> {
        let (slot, handle) = self.slot(raw)?;
        let state = slot.state.load(SeqCst);
        if state != handle.state(OPEN) && state != handle.state(CLOSING) {
            // Checked before counting: a slot that never was open is not counted in, so a child skips it.
            return Err(Self::refusal(raw, state == handle.state(FORKED)));
        }
        loop {
            // A closing thread reads the count after it has marked the slot.
            slot.users.fetch_add(1, SeqCst);
            let guard = Guard { slot, count: &slot.users, handle };
            let state = slot.state.load(SeqCst);
            if state == handle.state(OPEN) {
                return Ok(guard);
            }
            drop(guard);
            if state != handle.state(CLOSING) {
                return Err(Self::refusal(raw, false));
            }
            // Closing may still be refused.
            thread::yield_now();
        }
    }

    /// Starts a long use of the object by a call, which cannot be closed meanwhile.
    ///
    /// # Errors
    /// As for [`enter`](Self::enter).
    #[cfg(feature = "exec")]
    #[inline]
    pub(super) fn enter_call(&'static self, raw: u64) -> Result<CallGuard<T>, ApiError> {
        let (slot, handle) = self.slot(raw)?;
        let (thread, open) = (thread_number(), handle.state(OPEN));
        loop {
            let state = slot.state.load(SeqCst);
            if state == open {
                let guard = CallGuard { slot, _use: slot.calls.enter(thread) };
                if slot.state.load(SeqCst) == open {
                    return Ok(guard);
                }
            } else if state == handle.state(CLOSING) {
                // Closing may still be refused.
                thread::yield_now();
            } else {
                return Err(Self::refusal(raw, state == handle.state(FORKED)));
            }
        }
    }

    #[cold]
    fn refusal(raw: u64, is_forked: bool) -> ApiError {
        match is_forked {
            true => ApiError::InUseAtFork { handle: raw },
            false => ApiError::NotOpen { object: T::NAME, handle: raw },
        }
    }

    /// Stores an object and returns its handle.
    ///
    /// # Errors
    /// [`ApiError::TooManyOpen`] when all slots are taken; no memory.
    pub(super) fn open(&'static self, object: T) -> Result<u64, ApiError> {
        let object = TryArc::new(object)?;
        for (index, slot) in self.slots.iter().enumerate() {
            let vacant = slot.state.load(Relaxed);
            let generation = ((vacant >> PHASE_BITS) as u32).wrapping_add(1);
            let handle = Handle { slot: index, generation };
            let opening = handle.state(OPENING);
            let is_claimed = vacant & PHASE_MASK == VACANT
                && slot.state.compare_exchange(vacant, opening, SeqCst, Relaxed).is_ok();
            if !is_claimed {
                continue;
            }
            self.used.fetch_max(index + 1, Relaxed);
            // SAFETY: this thread has claimed the vacant slot; no other thread reads the object before it is open.
            unsafe { *slot.object.get() = Some(object) };
            slot.state.store(handle.state(OPEN), SeqCst);
            return Ok(handle.to_raw(T::TAG));
        }
        Err(ApiError::TooManyOpen { object: T::NAME, limit: MAX_OPEN })
    }

    /// Closes an object, unless `refuse`, which receives the number of leases, returns an error. `refuse` must return
    /// one if there are leases. Waits for the guards of other threads.
    ///
    /// # Errors
    /// [`ApiError::NotOpen`], [`ApiError::InUseAtFork`], and those of `refuse`.
    pub(super) fn close(
        &'static self,
        raw: u64,
        refuse: impl FnOnce(&T, u32) -> Option<ApiError>,
    ) -> Result<(), ApiError> {
        self.take(raw, refuse).map(drop)
    }

    /// As [`close`](Self::close); the object, which is not dropped yet.
    ///
    /// # Errors
    /// As [`close`](Self::close).
    pub(super) fn take(
        &'static self,
        raw: u64,
        refuse: impl FnOnce(&T, u32) -> Option<ApiError>,
    ) -> Result<Option<TryArc<T>>, ApiError> {
        let (slot, handle) = self.slot(raw)?;
        let (open, closing) = (handle.state(OPEN), handle.state(CLOSING));
        while let Err(found) = slot.state.compare_exchange(open, closing, SeqCst, SeqCst) {
            if found != closing {
                return Err(Self::refusal(raw, found == handle.state(FORKED)));
            }
            // Another thread is closing the object, or is about to be refused.
            thread::yield_now();
        }
        slot.drain();
        let leases = slot.long_uses();
        // SAFETY: the slot was open, and only the thread that has set `CLOSING`, this one, takes the object.
        let refusal = refuse(unsafe { slot.object() }, leases);
        if let Some(error) = refusal {
            slot.state.store(open, SeqCst);
            return Err(error);
        }
        if leases != 0 {
            // A lease relies on the object.
            std::process::abort();
        }
        // SAFETY: no user and no lease is counted, and new users observe `CLOSING`.
        let removed = unsafe { (*slot.object.get()).take() };
        slot.state.store(handle.state(VACANT), SeqCst);
        Ok(removed)
    }

    /// Calls `visit` with the handle and a use of each open object, until it fails.
    ///
    /// # Errors
    /// Those of `visit`.
    pub(super) fn for_each<E>(
        &'static self,
        mut visit: impl FnMut(u64, &Guard<T>) -> Result<(), E>,
    ) -> Result<(), E> {
        for (index, slot) in self.slots.iter().enumerate().take(self.used.load(Relaxed)) {
            let state = slot.state.load(SeqCst);
            let handle = Handle { slot: index, generation: (state >> PHASE_BITS) as u32 };
            let raw = handle.to_raw(T::TAG);
            // An object that was closed meanwhile is left out.
            if state & PHASE_MASK == OPEN
                && let Ok(guard) = self.enter(raw)
            {
                visit(raw, &guard)?;
            }
        }
        Ok(())
    }

    /// Marks every slot that was in use at the fork. Called in a child, by its only thread.
    pub(super) fn begin_child(&'static self) {
        for slot in self.slots.iter().take(self.used.load(Relaxed)) {
            let state = slot.state.load(Relaxed);
            let is_used = slot.is_used_in_child();
            match state & PHASE_MASK {
                // Counts of threads that were about to find the slot vacant.
                VACANT => {
                    slot.users.store(0, Relaxed);
                    slot.leases.store(0, Relaxed);
                    #[cfg(feature = "exec")]
                    slot.calls.reset_in_child();
                }
                OPEN if !is_used => {}
                _ => slot.state.store(state & !PHASE_MASK | FORKED, Relaxed),
            }
        }
    }
}
