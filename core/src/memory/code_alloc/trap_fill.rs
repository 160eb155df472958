//! Trapping instructions, which fill memory for code that holds no live block.

/// `int3`, one byte: traps at every address.
/// Source: Intel SDM volume 2, "INT n/INTO/INT3/INT1".
#[cfg(target_arch = "x86_64")]
const TRAP: [u8; 4] = [0xcc; 4];

/// `brk #0`. Source: Arm Architecture Reference Manual, "BRK".
#[cfg(target_arch = "aarch64")]
const TRAP: [u8; 4] = 0xd420_0000u32.to_le_bytes();

/// `c.ebreak` twice: traps at every even address; without the C extension an illegal instruction. Source: The RISC-V Instruction Set Manual volume I, "C.EBREAK".
#[cfg(target_arch = "riscv64")]
const TRAP: [u8; 4] = [0x02, 0x90, 0x02, 0x90];

/// Fills `bytes`, which start at a multiple of four, with trapping instructions.
#[inline]
pub(super) fn fill(bytes: &mut [u8]) {
    let [first, second, third, fourth] = TRAP;
    if first == second && first == third && first == fourth {
        bytes.fill(first);
        return;
    }
    for word in bytes.chunks_mut(TRAP.len()) {
        word.iter_mut().zip(TRAP).for_each(|(byte, trap)| *byte = trap);
    }
}

/// Whether `bytes`, which start at a multiple of four, hold only trapping instructions.
#[cfg(test)]
pub(super) fn is_filled(bytes: &[u8]) -> bool {
    bytes.iter().zip(TRAP.iter().cycle()).all(|(byte, trap)| byte == trap)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fill_covers_exactly_the_slice() {
        for len in 0..70 {
            let mut bytes = [0x5a; 80];
            fill(&mut bytes[..len]);
            assert!(is_filled(&bytes[..len]) && bytes[len..].iter().all(|&byte| byte == 0x5a));
        }
    }
}
