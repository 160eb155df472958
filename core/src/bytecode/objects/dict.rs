//! The dictionaries of the arena: pairs in the order of their insertion, and an open-addressing table of their
//! numbers.

use alloc::boxed::Box;
use alloc::vec::Vec;

use super::value::Value;
use crate::alloc_util::hash::fnv1a_64;
use crate::alloc_util::{AllocError, try_copy_bytes, try_push, try_resize};
use crate::trap::bytecode::{ValueError, ValueKind};

/// The key of a pair. A float is its bits, and negative zero is zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Key<'k> {
    Bool(bool),
    I64(i64),
    F64(u64),
    Function(u32),
    Text(&'k [u8]),
}

impl<'k> Key<'k> {
    /// The key that a value is; `text` is that of a string.
    pub(super) fn of(value: Value, text: Option<&'k [u8]>) -> Result<Self, ValueError> {
        Ok(match (value, text) {
            (_, Some(text)) => Key::Text(text),
            (Value::Bool(value), None) => Key::Bool(value),
            (Value::I64(value), None) => Key::I64(value),
            (Value::F64(value), None) => Key::F64((value + 0.0).to_bits()),
            (Value::Function(index), None) => Key::Function(index),
            (other, None) => return Err(other.wrong_kind(ValueKind::Key)),
        })
    }

    fn hash(self) -> u64 {
        let hash = |tag: u8, number: u64| {
            let [a, b, c, d, e, f, g, h] = number.to_le_bytes();
            fnv1a_64(&[tag, a, b, c, d, e, f, g, h])
        };
        match self {
            Key::Bool(value) => hash(0, value.into()),
            Key::I64(value) => hash(1, value.cast_unsigned()),
            Key::F64(bits) => hash(2, bits),
            Key::Function(index) => hash(3, index.into()),
            Key::Text(text) => fnv1a_64(text),
        }
    }
}

/// A pair, with the key in a form that does not depend on the arena.
#[derive(Debug)]
struct Pair {
    key: Value,
    /// The bytes of a key that is a string.
    text: Option<Box<[u8]>>,
    value: Value,
}

impl Pair {
    fn has(&self, key: Key<'_>) -> bool {
        Key::of(self.key, self.text.as_deref()) == Ok(key)
    }
}

/// A dictionary.
#[derive(Debug, Default)]
pub(super) struct Dict {
    pairs: Vec<Pair>,
    /// Numbers of pairs plus one, 0 for an empty place. A power of two, at most three quarters full.
    places: Vec<u32>,
}

/// The places of the smallest table.
const MIN_PLACES: usize = 8;

impl Dict {
    /// The number of pairs.
    pub(super) fn len(&self) -> usize {
        self.pairs.len()
    }

    /// The place of a key in the table, and the number of its pair if there is one.
    fn find(&self, key: Key<'_>) -> (usize, Option<usize>) {
        let mask = self.places.len().wrapping_sub(1);
        let mut place = usize::try_from(key.hash() & mask as u64).unwrap_or(0);
        while let Some(number) = self.number_at(place) {
            if self.pairs.get(number).is_some_and(|pair| pair.has(key)) {
                return (place, Some(number));
            }
            place = (place + 1) & mask;
        }
        (place, None)
    }

    fn number_at(&self, place: usize) -> Option<usize> {
        usize::try_from(*self.places.get(place)?).ok()?.checked_sub(1)
    }

    /// The value of a key.
    pub(super) fn get(&self, key: Key<'_>) -> Option<Value> {
        let (_, number) = self.find(key);
        self.pairs.get(number?).map(|pair| pair.value)
    }

    /// Whether it contains a key.
    pub(super) fn contains(&self, key: Key<'_>) -> bool {
        self.find(key).1.is_some()
    }

    /// Sets the value of a key, which is `original` as a value.
    pub(super) fn set(
        &mut self,
        key: Key<'_>,
        original: Value,
        value: Value,
    ) -> Result<(), AllocError> {
        if let (_, Some(number)) = self.find(key) {
            if let Some(pair) = self.pairs.get_mut(number) {
                pair.value = value;
            }
            return Ok(());
        }
        self.reserve()?;
        let (place, _) = self.find(key);
        let text = if let Key::Text(text) = key { Some(try_copy_bytes(text)?) } else { None };
        try_push(&mut self.pairs, Pair { key: original, text, value })?;
        if let Some(place) = self.places.get_mut(place) {
            *place = u32::try_from(self.pairs.len()).unwrap_or(u32::MAX);
        }
        Ok(())
    }

    /// Enlarges the table if one more pair would fill it by more than three quarters.
    fn reserve(&mut self) -> Result<(), AllocError> {
        let needed = self.pairs.len() + 1;
        if needed.saturating_mul(4) <= self.places.len().saturating_mul(3) {
            return Ok(());
        }
        let count = self.places.len().saturating_mul(2).max(MIN_PLACES);
        let mut places = Vec::new();
        try_resize(&mut places, count, 0)?;
        self.places = places;
        for number in 0..self.pairs.len() {
            let Some(pair) = self.pairs.get(number) else { continue };
            let Ok(key) = Key::of(pair.key, pair.text.as_deref()) else { continue };
            let place = self.free_place(key);
            if let Some(place) = self.places.get_mut(place) {
                *place = u32::try_from(number + 1).unwrap_or(u32::MAX);
            }
        }
        Ok(())
    }

    /// The place of a key that the table does not contain yet.
    fn free_place(&self, key: Key<'_>) -> usize {
        let mask = self.places.len().wrapping_sub(1);
        let mut place = usize::try_from(key.hash() & mask as u64).unwrap_or(0);
        while self.number_at(place).is_some() {
            place = (place + 1) & mask;
        }
        place
    }

    /// Every key with its value, in the order of insertion.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Value, Value)> + '_ {
        self.pairs.iter().map(|pair| (pair.key, pair.value))
    }
}
