//! Optional processor features that cached code may depend on.

use core::ops::BitOr;
use core::sync::atomic::{AtomicU64, Ordering};

/// A set of processor features, one bit each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CpuFeatures(pub u64);

impl CpuFeatures {
    /// The baseline of the instruction set.
    pub const NONE: Self = Self(0);
    /// SSE3 (x86-64).
    pub const SSE3: Self = Self(1);
    /// SSSE3 (x86-64).
    pub const SSSE3: Self = Self(1 << 1);
    /// SSE4.1 (x86-64).
    pub const SSE4_1: Self = Self(1 << 2);
    /// SSE4.2 (x86-64).
    pub const SSE4_2: Self = Self(1 << 3);
    /// `popcnt` (x86-64).
    pub const POPCNT: Self = Self(1 << 4);
    /// `lzcnt` (x86-64).
    pub const LZCNT: Self = Self(1 << 5);
    /// BMI1 (x86-64).
    pub const BMI1: Self = Self(1 << 6);
    /// BMI2 (x86-64).
    pub const BMI2: Self = Self(1 << 7);

    /// Whether this processor has all features of the set. Undefined bits count as missing features.
    pub fn are_available(self) -> bool {
        // CPUID may cost microseconds in a virtual machine. Threads may detect concurrently: a lock could
        // be held for ever in a child of fork.
        static DETECTED: AtomicU64 = AtomicU64::new(UNKNOWN);
        const UNKNOWN: u64 = u64::MAX;
        if self == Self::NONE {
            return true;
        }
        let mut detected = DETECTED.load(Ordering::Relaxed);
        if detected == UNKNOWN {
            detected = detect();
            DETECTED.store(detected, Ordering::Relaxed);
        }
        self.0 & !detected == 0
    }
}

impl BitOr for CpuFeatures {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// Sources: Intel SDM volume 2, "CPUID"; AMD's manual for leaf 0x8000_0001.
#[cfg(target_arch = "x86_64")]
fn detect() -> u64 {
    use core::arch::x86_64::{__cpuid, __cpuid_count};
    let has = |word: u32, bit: u32, feature: CpuFeatures| {
        if word & (1 << bit) != 0 { feature.0 } else { 0 }
    };
    let (leaves, extended) = (__cpuid(0).eax, __cpuid(0x8000_0000).eax);
    let first = __cpuid(1).ecx;
    let seventh = if leaves >= 7 { __cpuid_count(7, 0).ebx } else { 0 };
    let amd = if extended >= 0x8000_0001 { __cpuid(0x8000_0001).ecx } else { 0 };
    has(first, 0, CpuFeatures::SSE3)
        | has(first, 9, CpuFeatures::SSSE3)
        | has(first, 19, CpuFeatures::SSE4_1)
        | has(first, 20, CpuFeatures::SSE4_2)
        | has(first, 23, CpuFeatures::POPCNT)
        | has(amd, 5, CpuFeatures::LZCNT)
        | has(seventh, 3, CpuFeatures::BMI1)
        | has(seventh, 8, CpuFeatures::BMI2)
}

#[cfg(not(target_arch = "x86_64"))]
fn detect() -> u64 {
    0
}
