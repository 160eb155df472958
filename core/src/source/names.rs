//! Interned names, and the hash index that they and other tables share.

use alloc::vec::Vec;

use crate::alloc_util::{AllocError, hash, try_filled, try_push, try_with_capacity};

/// An interned name: equal texts have equal numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Name(pub(super) u32);

/// The empty position of an index.
const NIL: u32 = u32::MAX;

/// Maps hashes to numbers of entries in a list of the caller: open addressing with linear probing.
#[derive(Clone, Debug, Default)]
pub(super) struct HashIndex {
    /// Hashes, with the numbers of their entries; the length is a power of two.
    slots: Vec<(u32, u32)>,
    count: usize,
}

impl HashIndex {
    /// The number of the entry with `hash` that `is_same` accepts.
    pub(super) fn find(&self, hash: u32, is_same: impl Fn(u32) -> bool) -> Option<u32> {
        let mask = self.slots.len().checked_sub(1)?;
        let mut at = usize::try_from(hash).unwrap_or(0) & mask;
        loop {
            let &(known, entry) = self.slots.get(at)?;
            if entry == NIL {
                return None;
            }
            if known == hash && is_same(entry) {
                return Some(entry);
            }
            at = (at + 1) & mask;
        }
    }

    /// An index that has memory for `count` entries.
    pub(super) fn with_capacity(count: usize) -> Result<Self, AllocError> {
        let slots = (count + count / 2).next_power_of_two().max(16);
        Ok(Self { slots: try_filled(slots, &(0, NIL))?, count: 0 })
    }

    /// Adds an entry that [`find`](Self::find) has not found.
    pub(super) fn insert(&mut self, hash: u32, entry: u32) -> Result<(), AllocError> {
        // At most three quarters are in use.
        if (self.count + 1) * 4 > self.slots.len() * 3 {
            let mut larger = Self { slots: Vec::new(), count: 0 };
            larger.slots = try_filled((self.slots.len() * 2).max(16), &(0, NIL))?;
            for &(hash, entry) in self.slots.iter().filter(|slot| slot.1 != NIL) {
                larger.place(hash, entry);
            }
            *self = larger;
        }
        self.place(hash, entry);
        Ok(())
    }

    fn place(&mut self, hash: u32, entry: u32) {
        let mask = self.slots.len().saturating_sub(1);
        let mut at = usize::try_from(hash).unwrap_or(0) & mask;
        while let Some(slot) = self.slots.get_mut(at) {
            if slot.1 == NIL {
                *slot = (hash, entry);
                self.count += 1;
                return;
            }
            at = (at + 1) & mask;
        }
    }
}

/// The names of a run.
#[derive(Clone, Debug, Default)]
pub(super) struct Names<'s> {
    texts: Vec<&'s str>,
    index: HashIndex,
}

/// Names that the compiler itself asks for, in the order of their numbers.
macro_rules! known {
    ($($name:ident $text:literal,)*) => {
        impl Name {
            known!(@ 0u32; $($name,)*);
        }
        const KNOWN: &[&str] = &[$($text,)*];
        const KNOWN_HASHES: &[u32] = &[$(hash::fnv1a_32($text.as_bytes()),)*];
    };
    (@ $number:expr; $name:ident, $($rest:ident,)*) => {
        pub(super) const $name: Self = Self($number);
        known!(@ $number + 1; $($rest,)*);
    };
    (@ $number:expr;) => {};
}

known! {
    SELF "self",
    LEN "len",
    LENGTH "length",
    PRINT "print",
    EPRINT "eprint",
    PRINT_RAW "print_raw",
    RANGE "range",
    UNDERSCORE "_",
    MAIN "main",
    ABS "abs",
    FDIV "fdiv",
    SQRT "sqrt",
    MIN "min",
    MAX "max",
    TO_I64 "to_i64",
    TO_I32 "to_i32",
    TO_F64 "to_f64",
    TO_F32 "to_f32",
    TO_U64 "to_u64",
    ENUMERATE "enumerate",
    INT "int",
    FLOAT "float",
    FLOOR "floor",
    SELF_TYPE "Self",
}

impl<'s> Names<'s> {
    pub(super) fn new() -> Result<Self, AllocError> {
        let mut texts = try_with_capacity(2 * KNOWN.len())?;
        texts.extend_from_slice(KNOWN);
        let mut index = HashIndex::with_capacity(2 * KNOWN.len())?;
        for (number, hash) in (0..).zip(KNOWN_HASHES) {
            index.place(*hash, number);
        }
        Ok(Self { texts, index })
    }

    pub(super) fn intern(&mut self, text: &'s str) -> Result<Name, AllocError> {
        let hash = hash::fnv1a_32(text.as_bytes());
        if let Some(known) = self.index.find(hash, |entry| self.text_at(entry) == text) {
            return Ok(Name(known));
        }
        let number = u32::try_from(self.texts.len()).map_err(|_| AllocError)?;
        try_push(&mut self.texts, text)?;
        self.index.insert(hash, number)?;
        Ok(Name(number))
    }

    /// The name with this text, if a source or the compiler has it.
    pub(super) fn find(&self, text: &str) -> Option<Name> {
        let hash = hash::fnv1a_32(text.as_bytes());
        self.index.find(hash, |entry| self.text_at(entry) == text).map(Name)
    }

    fn text_at(&self, number: u32) -> &'s str {
        let index = usize::try_from(number).unwrap_or(usize::MAX);
        self.texts.get(index).copied().unwrap_or("")
    }

    pub(super) fn text(&self, name: Name) -> &'s str {
        self.text_at(name.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;

    #[test]
    fn equal_texts_have_one_name_and_known_names_have_fixed_numbers() {
        let texts: Vec<_> = (0..1000).map(|number: u32| number.to_string()).collect();
        let mut names = Names::new().unwrap();
        let first: Vec<_> = texts.iter().map(|text| names.intern(text).unwrap()).collect();
        let again: Vec<_> = texts.iter().map(|text| names.intern(text).unwrap()).collect();
        assert_eq!(first, again);
        assert_eq!(names.text(*first.last().unwrap()), "999");
        assert_eq!(names.find("self"), Some(Name::SELF));
        assert_eq!(names.find("Self"), Some(Name::SELF_TYPE));
        assert_eq!(names.find("absent"), None);
    }
}
