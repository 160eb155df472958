//! Constraints on the addresses of new memory.

use core::ops::Range;

/// The addresses at which memory is requested.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placement {
    /// At any address. The cheapest.
    Anywhere,
    /// Every byte below 2 GiB, so that its address fits 32 bits, signed or unsigned.
    Low2GiB,
    /// Every byte less than 2 GiB - 16 MiB away from this address, so that signed 32-bit displacements
    /// reach in both directions. The 16 MiB allow for addends and for neighbours of the address.
    Near(usize),
    /// As [`Near`](Self::Near) if such addresses are free, otherwise as [`Anywhere`](Self::Anywhere).
    PreferNear(usize),
}

/// 2 GiB: the reach of a signed 32-bit displacement.
pub(crate) const TWO_GIB: usize = 2 << 30;

/// The largest distance in bytes that [`Placement::Near`] allows.
pub(crate) const MAX_DISTANCE: usize = TWO_GIB - (16 << 20);

/// The lowest address that an ordinary process can map: `vm.mmap_min_addr` as distributions set it.
pub(crate) const MIN_ADDRESS: usize = 64 << 10;

impl Placement {
    /// The addresses that satisfy the placement, or that it prefers.
    pub(crate) fn window(self) -> Range<usize> {
        match self {
            Placement::Anywhere => 0..usize::MAX,
            Placement::Low2GiB => MIN_ADDRESS..TWO_GIB,
            Placement::Near(address) | Placement::PreferNear(address) => {
                address.saturating_sub(MAX_DISTANCE).max(MIN_ADDRESS)
                    ..address.saturating_add(MAX_DISTANCE)
            }
        }
    }
}
