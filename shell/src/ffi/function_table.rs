//! The functions of a manager that C has looked up, by number. Functions are added under a lock, and read without one.

use std::sync::OnceLock;

use smf_core::alloc_util::{AllocError, try_push};
use smf_core::exec::FunctionHandle;

/// The functions of the first chunk. Each chunk has twice as many as the one before it.
const FIRST: usize = 64;

const CHUNKS: usize = 15;

type Chunk<T> = Box<[OnceLock<T>]>;

/// A list that only grows, so that references into it stay valid.
pub(super) struct FunctionTable<T = FunctionHandle> {
    chunks: [OnceLock<Chunk<T>>; CHUNKS],
}

/// The chunk of an item, and its place there.
#[inline]
fn place(index: usize) -> (usize, usize) {
    let chunk = (index / FIRST + 1).ilog2();
    (chunk as usize, index - FIRST * ((1 << chunk) - 1))
}

impl<T> FunctionTable<T> {
    pub(super) const fn new() -> Self {
        Self { chunks: [const { OnceLock::new() }; CHUNKS] }
    }

    /// The item at `index`.
    #[inline]
    pub(super) fn get(&self, index: usize) -> Option<&T> {
        let (chunk, at) = place(index);
        self.chunks.get(chunk)?.get()?.get(at)?.get()
    }

    /// Stores an item at `index`, which has none. Called under a lock. False if the table is full.
    pub(super) fn set(&self, index: usize, item: T) -> Result<bool, AllocError> {
        let (chunk, at) = place(index);
        let Some(cell) = self.chunks.get(chunk) else { return Ok(false) };
        if cell.get().is_none() {
            let mut items = Vec::new();
            for _ in 0..FIRST << chunk {
                try_push(&mut items, OnceLock::new())?;
            }
            // Only the holder of the lock stores chunks.
            let _ = cell.set(items.into_boxed_slice());
        }
        let place = cell.get().and_then(|items| items.get(at));
        Ok(place.is_some_and(|place| place.set(item).is_ok()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_stay_where_they_are() {
        assert_eq!(
            (place(0), place(63), place(64), place(191)),
            ((0, 0), (0, 63), (1, 0), (1, 127))
        );
        let table = FunctionTable::new();
        assert!(table.get(0).is_none() && table.get(usize::MAX / 2).is_none());
        for index in 0..1000 {
            assert_eq!(table.set(index, index), Ok(true));
        }
        let first: *const usize = table.get(0).unwrap();
        assert_eq!(table.set(0, 7), Ok(false));
        assert_eq!(table.set(1000, 1000), Ok(true));
        assert!(std::ptr::eq(first, table.get(0).unwrap()));
        assert!((0..=1000).all(|index| table.get(index) == Some(&index)));
        assert!(table.get(1001).is_none() && table.get(FIRST << CHUNKS).is_none());
        assert_eq!(table.set(FIRST << CHUNKS, 0), Ok(false));
    }
}
