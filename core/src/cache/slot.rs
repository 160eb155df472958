//! Slots: where the entries of a cache are stored.

use super::entry::Entry;
use super::handle::Handle;
use crate::alloc_util::{AllocError, TryArc};

/// The index of no slot.
pub(super) const NIL: u32 = u32::MAX;

/// Which list a slot is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// None.
    Unlisted,
    /// The entry can be found and evicted.
    Used,
    /// The entry was removed while in use and can no longer be found.
    Detached,
    /// The slot is vacant.
    Free,
}

/// Memory for one entry, and the links of the list that the slot is in.
pub(super) struct Slot {
    /// Shared with each `CacheRef`. The handle in it names this slot; its generation, which is never 0, counts the
    /// entries that the slot has had.
    pub(super) entry: TryArc<Entry>,
    /// The hash of the key of the entry.
    pub(super) hash: u64,
    /// How many times the entry was retained and not released.
    pub(super) retained: u32,
    /// The next more recently used slot of the list.
    pub(super) newer: u32,
    /// The next less recently used slot of the list.
    pub(super) older: u32,
    /// A part of the hash of an evicted entry; see `LockedState::ghost`.
    pub(super) ghost: u16,
    pub(super) place: Place,
    /// Whether the entry was used since the hand of SIEVE passed it.
    pub(super) visited: bool,
}

impl Slot {
    /// A vacant slot in no list. `number` is the one in handles.
    pub(super) fn new(number: u32) -> Result<Self, AllocError> {
        let vacant = Entry::vacant(Handle { slot: number, generation: 1 });
        Ok(Self {
            entry: TryArc::new(vacant)?,
            hash: 0,
            retained: 0,
            newer: NIL,
            older: NIL,
            ghost: 0,
            place: Place::Unlisted,
            visited: false,
        })
    }

    /// Whether the entry is retained or a `CacheRef` to it exists.
    pub(super) fn is_in_use(&mut self) -> bool {
        self.retained != 0 || self.entry.get_mut().is_none()
    }
}
