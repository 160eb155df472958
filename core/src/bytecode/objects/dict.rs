//! The dictionaries of the arena: pairs in the order of their insertion, and a table of their numbers.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::hash::BuildHasher as _;

use hashbrown::{DefaultHashBuilder, HashTable};

use super::value::Value;
use crate::alloc_util::{AllocError, try_copy_bytes, try_push};
use crate::trap::bytecode::{ValueError, ValueKind};

/// The key of a pair. A float is its bits, and negative zero is zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
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
    fn key(&self) -> Result<Key<'_>, ValueError> {
        Key::of(self.key, self.text.as_deref())
    }
}

/// A dictionary.
#[derive(Debug, Default)]
pub(super) struct Dict {
    pairs: Vec<Pair>,
    /// The numbers of the pairs, by the hashes of their keys.
    numbers: HashTable<u32>,
    hasher: DefaultHashBuilder,
}

impl Dict {
    /// The number of pairs.
    pub(super) fn len(&self) -> usize {
        self.pairs.len()
    }

    fn find(&self, key: Key<'_>) -> Option<usize> {
        let has_key = |&number: &u32| {
            self.pairs.get(number as usize).is_some_and(|pair| pair.key() == Ok(key))
        };
        self.numbers.find(self.hasher.hash_one(key), has_key).map(|&number| number as usize)
    }

    /// The value of a key.
    pub(super) fn get(&self, key: Key<'_>) -> Option<Value> {
        self.pairs.get(self.find(key)?).map(|pair| pair.value)
    }

    /// Whether it contains a key.
    pub(super) fn contains(&self, key: Key<'_>) -> bool {
        self.find(key).is_some()
    }

    /// Sets the value of a key, which is `original` as a value.
    pub(super) fn set(
        &mut self,
        key: Key<'_>,
        original: Value,
        value: Value,
    ) -> Result<(), AllocError> {
        if let Some(pair) = self.find(key).and_then(|number| self.pairs.get_mut(number)) {
            pair.value = value;
            return Ok(());
        }
        let number = u32::try_from(self.pairs.len()).map_err(|_| AllocError)?;
        let (pairs, hasher) = (&self.pairs, &self.hasher);
        let hash = |&number: &u32| {
            let key = pairs.get(number as usize).and_then(|pair| pair.key().ok());
            key.map_or(0, |key| hasher.hash_one(key))
        };
        self.numbers.try_reserve(1, hash).map_err(|_| AllocError)?;
        let text = if let Key::Text(text) = key { Some(try_copy_bytes(text)?) } else { None };
        try_push(&mut self.pairs, Pair { key: original, text, value })?;
        // There is a place, so that nothing is hashed again.
        self.numbers.insert_unique(self.hasher.hash_one(key), number, |_| 0);
        Ok(())
    }

    /// Every key with its value, in the order of insertion.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Value, Value)> + '_ {
        self.pairs.iter().map(|pair| (pair.key, pair.value))
    }
}
