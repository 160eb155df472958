//! Handles of cached files.

/// Identifies one entry of a cache: a slot and the generation of the entry in it.
///
/// A slot gets a new generation whenever its entry is removed, so the handle of a removed entry is
/// [stale](super::CacheError::Stale) and never refers to another file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Handle {
    /// The number of the slot in its shard, and in the low bits the number of the shard.
    pub(super) slot: u32,
    /// Never 0.
    pub(super) generation: u32,
}

impl Handle {
    /// The handle as one number, which is never 0.
    pub const fn to_raw(self) -> u64 {
        (self.generation as u64) << 32 | self.slot as u64
    }

    /// The inverse of [`to_raw`](Self::to_raw). Accepts any number; one that is no handle is stale.
    pub const fn from_raw(raw: u64) -> Self {
        Self { slot: raw as u32, generation: (raw >> 32) as u32 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn handle_converted_to_number_and_back_is_equal() {
        let handle = Handle { slot: 7, generation: 0x8000_0001 };
        assert_eq!(handle.to_raw(), 0x8000_0001_0000_0007);
        assert_eq!(Handle::from_raw(handle.to_raw()), handle);
    }
}
