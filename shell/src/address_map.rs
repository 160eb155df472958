//! An ordered map from addresses to values whose insertions can fail for lack of memory.
//!
//! A sorted list in pieces of bounded length, so that an insertion moves few entries. `BTreeMap` would do, but
//! ends the process when an allocation fails.

use smf_core::alloc_util::{AllocError, try_push};

/// The most entries of a piece.
const MAX_PIECE: usize = 128;

/// Values by the address at which they start.
#[derive(Debug)]
pub(crate) struct AddressMap<T> {
    /// Sorted within and across pieces. No piece is empty.
    pieces: Vec<Vec<(usize, T)>>,
}

impl<T> AddressMap<T> {
    pub(crate) const fn new() -> Self {
        Self { pieces: Vec::new() }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    /// All entries, by address.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (usize, &T)> {
        self.pieces.iter().flatten().map(|(start, value)| (*start, value))
    }

    /// The piece that `address` belongs to, and the index in it of the first entry above `address`.
    fn position(&self, address: usize) -> (usize, usize) {
        let starts_at_or_before =
            |piece: &Vec<(usize, T)>| piece.first().is_some_and(|(start, _)| *start <= address);
        let piece = self.pieces.partition_point(starts_at_or_before).saturating_sub(1);
        let entries = self.pieces.get(piece).map_or(&[][..], Vec::as_slice);
        (piece, entries.partition_point(|(start, _)| *start <= address))
    }

    /// The last entry that starts at or before `address`, with its start.
    pub(crate) fn at_or_before(&self, address: usize) -> Option<(usize, &T)> {
        let (piece, above) = self.position(address);
        let (start, value) = self.pieces.get(piece)?.get(above.checked_sub(1)?)?;
        Some((*start, value))
    }

    /// As [`at_or_before`](Self::at_or_before), mutable.
    pub(crate) fn at_or_before_mut(&mut self, address: usize) -> Option<(usize, &mut T)> {
        let (piece, above) = self.position(address);
        let (start, value) = self.pieces.get_mut(piece)?.get_mut(above.checked_sub(1)?)?;
        Some((*start, value))
    }

    /// The value that starts at `address`.
    pub(crate) fn get(&self, address: usize) -> Option<&T> {
        self.at_or_before(address).filter(|(start, _)| *start == address).map(|(_, value)| value)
    }

    /// As [`get`](Self::get), mutable.
    pub(crate) fn get_mut(&mut self, address: usize) -> Option<&mut T> {
        let found = self.at_or_before_mut(address);
        found.filter(|(start, _)| *start == address).map(|(_, value)| value)
    }

    /// Inserts a value, or replaces the one that starts at `address`.
    ///
    /// # Errors
    /// [`AllocError`]; the map is unchanged.
    pub(crate) fn insert(&mut self, address: usize, value: T) -> Result<(), AllocError> {
        if let Some(old) = self.get_mut(address) {
            *old = value;
            return Ok(());
        }
        let (piece, _) = self.position(address);
        match self.pieces.get_mut(piece) {
            None => {
                let mut first = Vec::new();
                try_push(&mut first, (address, value))?;
                return try_push(&mut self.pieces, first);
            }
            Some(full) if full.len() >= MAX_PIECE => self.split(piece)?,
            Some(_) => {}
        }
        let (piece, above) = self.position(address);
        let entries = self.pieces.get_mut(piece).ok_or(AllocError)?;
        entries.try_reserve(1).map_err(|_| AllocError)?;
        entries.insert(above, (address, value));
        Ok(())
    }

    /// Splits a piece in two halves.
    fn split(&mut self, piece: usize) -> Result<(), AllocError> {
        self.pieces.try_reserve(1).map_err(|_| AllocError)?;
        let mut upper = Vec::new();
        upper.try_reserve_exact(MAX_PIECE).map_err(|_| AllocError)?;
        if let Some(full) = self.pieces.get_mut(piece) {
            upper.extend(full.drain(full.len() / 2..));
            self.pieces.insert(piece + 1, upper);
        }
        Ok(())
    }

    /// Removes and returns the value that starts at `address`.
    pub(crate) fn remove(&mut self, address: usize) -> Option<T> {
        self.get(address)?;
        let (piece, above) = self.position(address);
        let entries = self.pieces.get_mut(piece)?;
        let (_, value) = entries.remove(above.checked_sub(1)?);
        if entries.is_empty() {
            self.pieces.remove(piece);
        }
        Some(value)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn random_operations_agree_with_btree_map() {
        let (mut pieces, mut map) = (AddressMap::new(), BTreeMap::new());
        let mut seed = 1u64;
        let mut random = |limit: usize| {
            seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            usize::try_from(seed >> 33).unwrap() % limit
        };
        // The first half mostly inserts, the second half mostly removes.
        for round in 0..40_000 {
            let (address, few) = (random(5_000), random(10) < 4);
            if few == (round < 20_000) {
                assert_eq!(pieces.remove(address), map.remove(&address));
            } else {
                pieces.insert(address, round).unwrap();
                map.insert(address, round);
            }
            let probe = random(5_100);
            let expected = map.range(..=probe).next_back().map(|(start, value)| (*start, *value));
            assert_eq!(pieces.at_or_before(probe).map(|(start, value)| (start, *value)), expected);
            assert_eq!(pieces.get(probe), map.get(&probe));
            assert_eq!(pieces.is_empty(), map.is_empty());
        }
        assert!(pieces.pieces.iter().all(|piece| (1..=MAX_PIECE).contains(&piece.len())));
        for address in 0..5_000 {
            assert_eq!(pieces.remove(address), map.remove(&address));
        }
        assert!(pieces.is_empty());
    }
}
