//! aarch64: data and instruction caches are not coherent, and each core prefetches.
//!
//! Source: Arm Architecture Reference Manual (DDI 0487), "Concurrent modification and execution of
//! instructions", for the order of the steps, and "CTR_EL0, Cache Type Register", which Linux lets
//! user code read.
#![allow(unsafe_code)]

use core::arch::asm;

use super::super::types::Errno;

/// Cleans the data cache, invalidates the instruction cache and serializes all cores.
pub(super) fn synchronize(code: &[u8]) -> Result<(), Errno> {
    let caches = CacheType::read();
    if caches.data_needs_cleaning() {
        for line in lines(code, caches.data_line()) {
            // SAFETY: the address is in a cache line of `code`, whose pages are readable; cleaning changes no
            // byte.
            unsafe { asm!("dc cvau, {}", in(reg) line, options(nostack, preserves_flags)) };
        }
    }
    // SAFETY: a barrier.
    unsafe { asm!("dsb ish", options(nostack, preserves_flags)) };
    if caches.instructions_need_invalidation() {
        for line in lines(code, caches.instruction_line()) {
            // SAFETY: as above; an invalidated line is fetched again.
            unsafe { asm!("ic ivau, {}", in(reg) line, options(nostack, preserves_flags)) };
        }
        // SAFETY: a barrier.
        unsafe { asm!("dsb ish", options(nostack, preserves_flags)) };
    }
    // SAFETY: a barrier.
    unsafe { asm!("isb", options(nostack, preserves_flags)) };
    super::cores::serialize_cores()
}

/// The addresses of the cache lines of `line` bytes that contain bytes of `code`.
fn lines(code: &[u8], line: usize) -> impl Iterator<Item = usize> {
    let bytes = code.as_ptr_range();
    let (start, end) = (bytes.start.addr(), bytes.end.addr());
    (start - start % line..end).step_by(line)
}

/// The fields of `CTR_EL0`.
#[derive(Clone, Copy)]
struct CacheType(u64);

impl CacheType {
    fn read() -> Self {
        let value: u64;
        // SAFETY: reads a register that Linux makes readable to user code.
        unsafe {
            asm!("mrs {}, ctr_el0", out(reg) value, options(nomem, nostack, preserves_flags));
        }
        Self(value)
    }

    /// IDC, bit 28, is clear.
    fn data_needs_cleaning(self) -> bool {
        self.0 & 1 << 28 == 0
    }

    /// DIC, bit 29, is clear.
    fn instructions_need_invalidation(self) -> bool {
        self.0 & 1 << 29 == 0
    }

    /// DminLine, bits 19 to 16: the logarithm of the smallest line in words of 4 bytes.
    fn data_line(self) -> usize {
        4 << (self.0 >> 16 & 15)
    }

    /// IminLine, bits 3 to 0.
    fn instruction_line(self) -> usize {
        4 << (self.0 & 15)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    #[test]
    fn cache_lines_cover_every_byte_once() {
        let code = [0u8; 300];
        for (from, to) in [(0, 300), (1, 2), (63, 65), (5, 261)] {
            let part = &code[from..to];
            let start = part.as_ptr().addr();
            let found: Vec<usize> = lines(part, 64).collect();
            assert!(found.iter().all(|line| line % 64 == 0));
            assert!(found.first().is_some_and(|&first| first <= start && start - first < 64));
            let last = start + part.len() - 1;
            assert!(found.last().is_some_and(|&line| line <= last && last - line < 64));
            assert!(found.windows(2).all(|pair| pair[1] - pair[0] == 64));
        }
    }

    #[test]
    fn cache_type_fields_are_decoded() {
        // A Cortex-A72: 64-byte lines, both operations needed.
        let plain = CacheType(0x8444_c004);
        assert_eq!((plain.data_line(), plain.instruction_line()), (64, 64));
        assert!(plain.data_needs_cleaning() && plain.instructions_need_invalidation());
        let coherent = CacheType(0xb444_c004);
        assert!(!coherent.data_needs_cleaning() && !coherent.instructions_need_invalidation());
    }
}
