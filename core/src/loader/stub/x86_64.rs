//! x86-64: r11, which the System V convention leaves to procedure linkage.

/// Bytes of a stub.
pub(crate) const LEN: usize = 24;

/// `endbr64; mov r11, root; mov r11, [r11]; jmp [r11 + offset]`. The offset is below 2 GiB. Callers have the address of
/// the stub, so that it begins with a landing pad.
pub(crate) fn code(root: u64, offset: u32) -> impl Iterator<Item = u8> {
    let load_root = [0xf3, 0x0f, 0x1e, 0xfa, 0x49, 0xbb].into_iter().chain(root.to_le_bytes());
    let load_table_and_jump = [0x4d, 0x8b, 0x1b, 0x41, 0xff, 0xa3];
    load_root.chain(load_table_and_jump).chain(offset.to_le_bytes())
}
