//! Slots: where the entries of a cache are stored.

use super::entry::Entry;
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
    /// Shared with each `CacheRef` to the entry. The slot is the only owner of an entry that is not in use.
    pub(super) entry: TryArc<Entry>,
    /// The hash of the key of the entry.
    pub(super) hash: u64,
    /// Counts the entries that the slot has had; never 0.
    pub(super) generation: u32,
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
    /// A vacant slot in no list.
    pub(super) fn new() -> Result<Self, AllocError> {
        Ok(Self {
            entry: TryArc::new(Entry::Vacant)?,
            hash: 0,
            generation: 1,
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

    /// Drops the entry and starts a new generation, unless the entry is in use; whether it was not.
    pub(super) fn vacate(&mut self) -> bool {
        match self.entry.get_mut() {
            Some(entry) if self.retained == 0 => *entry = Entry::Vacant,
            _ => return false,
        }
        self.generation = self.generation.wrapping_add(1).max(1);
        true
    }
}
