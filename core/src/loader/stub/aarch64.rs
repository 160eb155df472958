//! aarch64: x16 and x17, the intra-procedure-call scratch registers of AAPCS64.

/// Bytes of a stub.
pub(in super::super) const LEN: usize = 40;

/// Six instructions and two literals.
pub(in super::super) fn code(root: u64, offset: u32) -> [u8; LEN] {
    const CODE: [u32; 6] = [
        0x5800_00d0, // ldr x16, .+24: root
        0x5800_00f1, // ldr x17, .+28: offset
        0xf940_0210, // ldr x16, [x16]
        0xf871_6a11, // ldr x17, [x16, x17]
        0xd61f_0220, // br x17
        0x0000_0000, // padding
    ];
    let mut code = [0; LEN];
    let (instructions, literals) = code.split_at_mut(24);
    for (bytes, word) in instructions.chunks_exact_mut(4).zip(CODE) {
        bytes.copy_from_slice(&word.to_le_bytes());
    }
    for (bytes, word) in literals.chunks_exact_mut(8).zip([root, u64::from(offset)]) {
        bytes.copy_from_slice(&word.to_le_bytes());
    }
    code
}
