//! riscv64: t1 and t3, which the psABI uses in PLT entries.

/// Bytes of a stub.
pub(crate) const LEN: usize = 48;

/// Eight instructions and two literals.
pub(crate) fn code(root: u64, offset: u32) -> impl Iterator<Item = u8> {
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
    let literals = [root, u64::from(offset)].into_iter().flat_map(u64::to_le_bytes);
    CODE.into_iter().flat_map(u32::to_le_bytes).chain(literals)
}
