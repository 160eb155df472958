//! Handles of loaded modules.

/// Identifies a loaded module, in all its versions. A handle of an unloaded module never identifies another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ModuleHandle {
    pub(super) slot: u32,
    pub(super) generation: u32,
}

impl ModuleHandle {
    /// The handle as one number, which is never 0.
    pub const fn to_raw(self) -> u64 {
        (self.generation as u64) << 32 | self.slot as u64
    }

    /// Stands for the member of a load set with this index until the set is committed. No module has generation 0.
    pub(super) const fn member(index: u32) -> Self {
        Self { slot: index, generation: 0 }
    }

    /// The handle of the member that this stands for, given those of all members; otherwise this handle.
    pub(super) fn committed(self, members: &[Self]) -> Self {
        let member = usize::try_from(self.slot).ok().and_then(|index| members.get(index));
        member.copied().filter(|_| self.generation == 0).unwrap_or(self)
    }

    /// The index of the member that this stands for.
    pub(super) fn as_member(self) -> Option<usize> {
        usize::try_from(self.slot).ok().filter(|_| self.generation == 0)
    }

    /// The inverse of [`to_raw`](Self::to_raw). Any number is allowed; one that is not a handle is refused where it is
    /// used.
    pub const fn from_raw(raw: u64) -> Self {
        Self { slot: raw as u32, generation: (raw >> 32) as u32 }
    }
}
