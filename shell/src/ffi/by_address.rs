//! What is known by the address where it begins, in the order of the addresses.
//!
//! A sorted list in pieces, so that coming and going moves little however much there is. `BTreeMap`, which
//! it stands in for, cannot be refused memory.

use smf_core::alloc_util::{AllocError, try_push};

/// The most entries of a piece.
const MOST: usize = 128;

/// Values by address.
#[derive(Debug)]
pub(super) struct ByAddress<T> {
    /// None is empty; what is in one comes before what is in the next.
    pieces: Vec<Vec<(usize, T)>>,
}

impl<T> Default for ByAddress<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> ByAddress<T> {
    pub(super) const fn new() -> Self {
        Self { pieces: Vec::new() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    /// The piece that the address belongs to, and the first place in it behind the address.
    fn place(&self, address: usize) -> (usize, usize) {
        let begins = |piece: &Vec<(usize, T)>| piece.first().is_some_and(|(at, _)| *at <= address);
        let piece = self.pieces.partition_point(begins).saturating_sub(1);
        let entries = self.pieces.get(piece).map_or(&[][..], Vec::as_slice);
        (piece, entries.partition_point(|(at, _)| *at <= address))
    }

    /// The last entry that begins at the address or before it.
    pub(super) fn before(&self, address: usize) -> Option<(usize, &T)> {
        let (piece, behind) = self.place(address);
        let (at, value) = self.pieces.get(piece)?.get(behind.checked_sub(1)?)?;
        Some((*at, value))
    }

    /// As [`before`](Self::before), to be changed.
    pub(super) fn before_mut(&mut self, address: usize) -> Option<(usize, &mut T)> {
        let (piece, behind) = self.place(address);
        let (at, value) = self.pieces.get_mut(piece)?.get_mut(behind.checked_sub(1)?)?;
        Some((*at, value))
    }

    /// What begins there.
    pub(super) fn get(&self, address: usize) -> Option<&T> {
        self.before(address).filter(|(at, _)| *at == address).map(|(_, value)| value)
    }

    /// As [`get`](Self::get), to be changed.
    pub(super) fn get_mut(&mut self, address: usize) -> Option<&mut T> {
        self.before_mut(address).filter(|(at, _)| *at == address).map(|(_, value)| value)
    }

    /// Adds a value, in place of one that began there.
    ///
    /// # Errors
    /// [`AllocError`]; nothing has changed.
    pub(super) fn insert(&mut self, address: usize, value: T) -> Result<(), AllocError> {
        if let Some(old) = self.get_mut(address) {
            *old = value;
            return Ok(());
        }
        let (piece, _) = self.place(address);
        match self.pieces.get_mut(piece) {
            None => {
                let mut first = Vec::new();
                try_push(&mut first, (address, value))?;
                return try_push(&mut self.pieces, first);
            }
            Some(full) if full.len() >= MOST => self.split(piece)?,
            Some(_) => {}
        }
        let (piece, behind) = self.place(address);
        let entries = self.pieces.get_mut(piece).ok_or(AllocError)?;
        entries.try_reserve(1).map_err(|_| AllocError)?;
        entries.insert(behind, (address, value));
        Ok(())
    }

    /// Makes two pieces of one.
    fn split(&mut self, piece: usize) -> Result<(), AllocError> {
        self.pieces.try_reserve(1).map_err(|_| AllocError)?;
        let mut upper = Vec::new();
        upper.try_reserve_exact(MOST).map_err(|_| AllocError)?;
        if let Some(full) = self.pieces.get_mut(piece) {
            upper.extend(full.drain(full.len() / 2..));
            self.pieces.insert(piece + 1, upper);
        }
        Ok(())
    }

    /// Takes out what begins there.
    pub(super) fn remove(&mut self, address: usize) -> Option<T> {
        self.get(address)?;
        let (piece, behind) = self.place(address);
        let entries = self.pieces.get_mut(piece)?;
        let (_, value) = entries.remove(behind.checked_sub(1)?);
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
    fn does_what_an_ordered_map_does() {
        let (mut pieces, mut map) = (ByAddress::default(), BTreeMap::new());
        let mut seed = 1u64;
        let mut random = |limit: usize| {
            seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            usize::try_from(seed >> 33).unwrap() % limit
        };
        // First there are more and more, then fewer and fewer.
        for round in 0..40_000 {
            let (address, few) = (random(5_000), random(10) < 4);
            if few == (round < 20_000) {
                assert_eq!(pieces.remove(address), map.remove(&address));
            } else {
                pieces.insert(address, round).unwrap();
                map.insert(address, round);
            }
            let asked = random(5_100);
            let before = map.range(..=asked).next_back().map(|(at, value)| (*at, *value));
            assert_eq!(pieces.before(asked).map(|(at, value)| (at, *value)), before);
            assert_eq!(pieces.get(asked), map.get(&asked));
            assert_eq!(pieces.is_empty(), map.is_empty());
        }
        assert!(pieces.pieces.iter().all(|piece| (1..=MOST).contains(&piece.len())));
        for address in 0..5_000 {
            assert_eq!(pieces.remove(address), map.remove(&address));
        }
        assert!(pieces.is_empty());
    }
}
