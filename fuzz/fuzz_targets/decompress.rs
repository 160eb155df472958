//! Any bytes are an error or a section that decompresses to its virtual size.
#![no_main]

use libfuzzer_sys::fuzz_target;
use smf_core::format::Compression;
use smf_tests::compressed::decompress;

fuzz_target!(|data: &[u8]| {
    let [algorithm, low, middle, high, payload @ ..] = data else { return };
    let compression = if algorithm & 1 == 0 { Compression::ZSTD } else { Compression::LZ4 };
    let size = u32::from_le_bytes([*low, *middle, *high, 0]);
    let _ = decompress(compression, payload, u64::from(size).max(payload.len() as u64));
});
