//! CRC-32 (IEEE 802.3), four bits at a time, over a table in read-only data.
#![no_std]

static TABLE: [u32; 16] = {
    let mut table = [0; 16];
    let mut entry = 0;
    while entry < 16 {
        let mut crc = entry as u32;
        let mut bit = 0;
        while bit < 4 {
            crc = if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 };
            bit += 1;
        }
        table[entry] = crc;
        entry += 1;
    }
    table
};
static DIGITS: [u8; 9] = *b"123456789";

#[unsafe(no_mangle)]
pub unsafe extern "C" fn crc32(data: *const u8, len: i64) -> i64 {
    let mut crc = u32::MAX;
    let mut at = 0;
    while at < len as usize {
        // SAFETY: the caller has `len` bytes at `data`, and an index of four bits lies inside the table.
        unsafe {
            crc ^= *data.add(at) as u32;
            crc = crc >> 4 ^ *TABLE.as_ptr().add((crc & 15) as usize);
            crc = crc >> 4 ^ *TABLE.as_ptr().add((crc & 15) as usize);
        }
        at += 1;
    }
    (crc ^ u32::MAX) as i64
}

#[unsafe(no_mangle)]
pub extern "C" fn crc32_of_digits() -> i64 {
    // SAFETY: there are nine digits.
    unsafe { crc32(DIGITS.as_ptr(), 9) }
}
