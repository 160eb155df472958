//! A value for some of the locals, all of which are removed in constant time.

use alloc::vec::Vec;

use crate::alloc_util::{AllocError, try_resize};

/// A map from the numbers of locals.
#[derive(Debug)]
pub(super) struct LocalMap<T> {
    /// A value is present when its epoch is that of the map.
    entries: Vec<(u32, T)>,
    epoch: u32,
}

impl<T> Default for LocalMap<T> {
    fn default() -> Self {
        Self { entries: Vec::new(), epoch: 1 }
    }
}

impl<T: Copy + Default> LocalMap<T> {
    /// Makes an empty map for `locals` locals.
    pub(super) fn reset(&mut self, locals: usize) -> Result<(), AllocError> {
        self.clear();
        // The entries of a larger function have earlier epochs.
        let locals = locals.max(self.entries.len());
        try_resize(&mut self.entries, locals, (0, T::default()))
    }

    /// Removes all values.
    pub(super) fn clear(&mut self) {
        match self.epoch.checked_add(1) {
            Some(next) => self.epoch = next,
            None => {
                self.entries.iter_mut().for_each(|entry| entry.0 = 0);
                self.epoch = 1;
            }
        }
    }

    /// The value of `local`.
    pub(super) fn get(&self, local: u16) -> Option<T> {
        let &(epoch, value) = self.entries.get(usize::from(local))?;
        (epoch == self.epoch).then_some(value)
    }

    /// Whether `local` has a value.
    pub(super) fn has(&self, local: u16) -> bool {
        self.get(local).is_some()
    }

    /// Sets the value of `local`.
    pub(super) fn set(&mut self, local: u16, value: T) {
        if let Some(entry) = self.entries.get_mut(usize::from(local)) {
            *entry = (self.epoch, value);
        }
    }

    /// Removes the value of `local`.
    pub(super) fn remove(&mut self, local: u16) {
        if let Some(entry) = self.entries.get_mut(usize::from(local)) {
            entry.0 = 0;
        }
    }
}
