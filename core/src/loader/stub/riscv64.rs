//! riscv64: t1 and t3, which the psABI uses in PLT entries.

/// Bytes of a stub.
pub(in super::super) const LEN: usize = 48;

/// Eight instructions and two literals.
pub(in super::super) fn code(root: u64, offset: u32) -> [u8; LEN] {
    const CODE: [u32; 8] = [
        0x0000_0e17, // auipc t3, 0
        0x020e_3303, // ld t1, 32(t3): root
        0x0003_3303, // ld t1, (t1)
        0x028e_3e03, // ld t3, 40(t3): offset
        0x01c3_0333, // add t1, t1, t3
        0x0003_3303, // ld t1, (t1)
        0x0003_0067, // jr t1
        0x0000_0013, // padding
    ];
    let mut code = [0; LEN];
    let (instructions, literals) = code.split_at_mut(32);
    for (bytes, word) in instructions.chunks_exact_mut(4).zip(CODE) {
        bytes.copy_from_slice(&word.to_le_bytes());
    }
    for (bytes, word) in literals.chunks_exact_mut(8).zip([root, u64::from(offset)]) {
        bytes.copy_from_slice(&word.to_le_bytes());
    }
    code
}
