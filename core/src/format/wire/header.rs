//! Header fields.

use crate::format::model::*;
use crate::format::wire::{Layout, MAGIC, NATIVE_HEADER, put, u8_at, u16_at, u32_at, u64_at};

impl Default for Header {
    /// The header of a version 1.1 x86-64 Linux command without sections.
    fn default() -> Self {
        Header {
            version: (1, 1),
            platform: Platform::LINUX,
            window_width: 1280,
            window_height: 720,
            ..Header::decode(&[0; NATIVE_HEADER], Layout::Native)
        }
    }
}

impl Header {
    /// Decodes the header whose magic is the first byte of `bytes`, in `layout`. The fields of both layouts lie within
    /// the first 96 bytes, so decoding cannot fail.
    #[inline]
    pub(crate) fn decode(bytes: &[u8; NATIVE_HEADER], layout: Layout) -> Self {
        let at = layout.header_fields();
        let (u8, u16) = (|o| u8_at(bytes, o).unwrap_or(0), |o| u16_at(bytes, o).unwrap_or(0));
        let (u32, u64) = (|o| u32_at(bytes, o).unwrap_or(0), |o| u64_at(bytes, o).unwrap_or(0));
        Header {
            version: (u8(4), u8(5)),
            platform: Platform(u8(6)),
            arch: Arch(u8(7)),
            flags: Flags(u32(8)),
            compression: Compression(u8(12)),
            compression_level: u8(13),
            section_count: u32(at.section_count),
            section_table: u64(at.section_table),
            symbol_table: u64(at.symbol_table),
            symbol_count: u32(at.symbol_count),
            exported_count: u32(at.exported_count),
            entry_point: u64(at.entry_point),
            stub_size: u32(at.stub_size),
            data_offset: u32(at.data_offset),
            module_hash: u64(at.module_hash),
            source_hash: u64(at.source_hash),
            app_type: AppType(u8(at.app_type)),
            window_width: u16(at.window_width),
            window_height: u16(at.window_height),
            prefetch_hint: u8(at.prefetch_hint),
            prefetch_files: u8(at.prefetch_files),
        }
    }

    /// Writes the fields into `out` and leaves all other bytes unchanged. This is the inverse of [`Header::decode`];
    /// both use the same table of offsets.
    pub(crate) fn encode(&self, out: &mut [u8; NATIVE_HEADER], layout: Layout) {
        let at = layout.header_fields();
        let mut put = |at: usize, bytes: &[u8]| put(out, at, bytes);
        put(0, &MAGIC);
        put(4, &[self.version.0, self.version.1, self.platform.0, self.arch.0]);
        put(8, &self.flags.0.to_le_bytes());
        put(12, &[self.compression.0, self.compression_level]);
        put(at.section_count, &self.section_count.to_le_bytes());
        put(at.section_table, &self.section_table.to_le_bytes());
        put(at.symbol_table, &self.symbol_table.to_le_bytes());
        put(at.symbol_count, &self.symbol_count.to_le_bytes());
        put(at.exported_count, &self.exported_count.to_le_bytes());
        put(at.entry_point, &self.entry_point.to_le_bytes());
        put(at.stub_size, &self.stub_size.to_le_bytes());
        put(at.data_offset, &self.data_offset.to_le_bytes());
        put(at.module_hash, &self.module_hash.to_le_bytes());
        put(at.source_hash, &self.source_hash.to_le_bytes());
        put(at.app_type, &[self.app_type.0]);
        put(at.window_width, &self.window_width.to_le_bytes());
        put(at.window_height, &self.window_height.to_le_bytes());
        put(at.prefetch_hint, &[self.prefetch_hint, self.prefetch_files]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_encoded_is_decoded() {
        let header = Header {
            section_count: 0x0102_0304,
            section_table: 0x0506_0708_090a_0b0c,
            symbol_table: 0x1112_1314_1516_1718,
            symbol_count: 21,
            exported_count: 22,
            entry_point: 23,
            stub_size: 24,
            data_offset: 25,
            module_hash: 26,
            source_hash: 27,
            app_type: AppType::REPL,
            window_width: 28,
            window_height: 29,
            prefetch_hint: 30,
            prefetch_files: 31,
            flags: Flags(0xffff_ffff),
            compression: Compression::LZ4,
            compression_level: 9,
            version: (7, 8),
            platform: Platform(200),
            arch: Arch::WASM64,
        };
        for layout in [Layout::Native, Layout::Packed] {
            let mut bytes = [0xaa; NATIVE_HEADER];
            header.encode(&mut bytes, layout);
            assert_eq!(Header::decode(&bytes, layout), header);
        }
    }
}
