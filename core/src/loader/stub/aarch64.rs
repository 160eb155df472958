//! aarch64: x16 and x17, the intra-procedure-call scratch registers of AAPCS64.

/// Bytes of a stub.
pub(crate) const LEN: usize = 40;

/// Six instructions and two literals.
pub(crate) fn code(root: u64, offset: u32) -> impl Iterator<Item = u8> {
    const CODE: [u32; 6] = [
        0xd503_245f, // bti c: callers have the address of the stub
        0x5800_00b0, // ldr x16, .+20: root
        0x5800_00d1, // ldr x17, .+24: offset
        0xf940_0210, // ldr x16, [x16]
        0xf871_6a11, // ldr x17, [x16, x17]
        0xd61f_0220, // br x17
    ];
    let literals = [root, u64::from(offset)].into_iter().flat_map(u64::to_le_bytes);
    CODE.into_iter().flat_map(u32::to_le_bytes).chain(literals)
}
