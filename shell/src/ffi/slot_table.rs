//! A table whose slots are reused under new generations, so that a stale handle finds nothing.

/// The last generation of a slot, which is not reused after it.
const MAX_GENERATION: u32 = u32::MAX >> 1;

/// At most `SLOTS` values.
pub(super) struct SlotTable<T, const SLOTS: usize> {
    slots: Vec<Slot<T>>,
    free: Vec<u32>,
    live: u64,
}

/// A slot in the lower half, and its generation in the upper half.
type Key = u64;

struct Slot<T> {
    generation: u32,
    value: Option<T>,
}

impl<T, const SLOTS: usize> SlotTable<T, SLOTS> {
    pub(super) const fn new() -> Self {
        Self { slots: Vec::new(), free: Vec::new(), live: 0 }
    }

    /// The number of values.
    pub(super) fn len(&self) -> u64 {
        self.live
    }

    /// Stores a value; its key. `None` if the table is full, and without memory.
    pub(super) fn insert(&mut self, value: T) -> Option<Key> {
        if self.free.is_empty() {
            let len = Some(self.slots.len()).filter(|&len| len < SLOTS)?;
            self.slots.try_reserve(1).ok()?;
            // Reserved so that `remove` does not allocate.
            self.free.try_reserve(len + 1).ok()?;
            self.free.push(u32::try_from(len).ok()?);
            self.slots.push(Slot { generation: 0, value: None });
        }
        let index = self.free.pop()?;
        let slot = self.slots.get_mut(usize::try_from(index).ok()?)?;
        slot.value = Some(value);
        self.live += 1;
        Some(u64::from(slot.generation) << 32 | u64::from(index))
    }

    /// The value in a slot, if it is of this generation.
    pub(super) fn get(&self, key: Key) -> Option<&T> {
        let slot = self.slots.get(key as u32 as usize)?;
        slot.value.as_ref().filter(|_| u64::from(slot.generation) == key >> 32)
    }

    /// As [`get`](Self::get), mutable.
    #[cfg(not(feature = "tagged"))]
    pub(super) fn get_mut(&mut self, key: Key) -> Option<&mut T> {
        let slot = self.slots.get_mut(key as u32 as usize)?;
        slot.value.as_mut().filter(|_| u64::from(slot.generation) == key >> 32)
    }

    /// Removes the value in a slot, if it is of this generation.
    pub(super) fn remove(&mut self, key: Key) -> Option<T> {
        let slot = self.slots.get_mut(key as u32 as usize)?;
        let value = slot.value.take_if(|_| u64::from(slot.generation) == key >> 32)?;
        if slot.generation < MAX_GENERATION {
            slot.generation += 1;
            self.free.push(key as u32);
        }
        self.live -= 1;
        Some(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slot_is_reused_under_another_generation() {
        let mut table = SlotTable::<_, 2>::new();
        let (one, two) = (table.insert('a').unwrap(), table.insert('b').unwrap());
        assert_eq!((one, two, table.insert('c')), (0, 1, None));
        assert_eq!((table.remove(1 << 32), table.remove(0), table.len()), (None, Some('a'), 1));
        assert_eq!((table.get(0), table.get(2)), (None, None));
        assert_eq!(table.remove(0), None);
        assert_eq!((table.insert('d'), table.get(1 << 32)), (Some(1 << 32), Some(&'d')));
        table.slots[1].generation = MAX_GENERATION;
        let last = u64::from(MAX_GENERATION) << 32 | 1;
        assert_eq!((table.remove(last), table.insert('e')), (Some('b'), None));
    }
}
