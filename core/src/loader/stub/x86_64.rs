//! x86-64: r11, which the System V convention leaves to procedure linkage.

/// Bytes of a stub.
pub(in super::super) const LEN: usize = 20;

/// `mov r11, root; mov r11, [r11]; jmp [r11 + offset]`. The offset is below 2 GiB.
pub(in super::super) fn code(root: u64, offset: u32) -> [u8; LEN] {
    let mut code = [0; LEN];
    let (load_root, rest) = code.split_at_mut(2);
    let (root_bytes, rest) = rest.split_at_mut(8);
    let (load_table_and_jump, offset_bytes) = rest.split_at_mut(6);
    load_root.copy_from_slice(&[0x49, 0xbb]);
    root_bytes.copy_from_slice(&root.to_le_bytes());
    load_table_and_jump.copy_from_slice(&[0x4d, 0x8b, 0x1b, 0x41, 0xff, 0xa3]);
    offset_bytes.copy_from_slice(&offset.to_le_bytes());
    code
}
