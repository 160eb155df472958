//! Header fields.

use crate::format::model::*;
use crate::format::wire::{Layout, MAGIC, NATIVE_HEADER, PACKED_HEADER, array, put, u8_at, u32_at};

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

/// Declares the numbers in a header, each with its offset in the native and in the packed layout.
macro_rules! header_fields {
    ($($field:ident: $type:ty = $native:literal, $packed:literal;)+) => {
        /// Offsets of header fields, in bytes from the magic.
        pub(crate) struct HeaderFields {
            $(pub(crate) $field: usize,)+
        }

        const NATIVE: HeaderFields = HeaderFields { $($field: $native,)+ };
        const PACKED: HeaderFields = HeaderFields { $($field: $packed,)+ };

        impl Header {
            /// Decodes the header whose magic is the first byte of `bytes`, in `layout`. The fields of both layouts lie
            /// within the first 96 bytes, so decoding cannot fail.
            #[inline]
            pub(crate) fn decode(bytes: &[u8; NATIVE_HEADER], layout: Layout) -> Self {
                let at = layout.header_fields();
                let byte = |at| u8_at(bytes, at).unwrap_or(0);
                Header {
                    version: (byte(4), byte(5)),
                    platform: Platform(byte(6)),
                    arch: Arch(byte(7)),
                    flags: Flags(u32_at(bytes, 8).unwrap_or(0)),
                    compression: Compression(byte(12)),
                    compression_level: byte(13),
                    app_type: AppType(byte(at.source_hash + 8)),
                    $($field: array(bytes, at.$field).map_or(0, |field| <$type>::from_le_bytes(*field)),)+
                }
            }

            /// Writes the fields into `out` and leaves all other bytes unchanged: the inverse of [`Header::decode`].
            pub(crate) fn encode(&self, out: &mut [u8; NATIVE_HEADER], layout: Layout) {
                let at = layout.header_fields();
                let mut put = |at: usize, bytes: &[u8]| put(out, at, bytes);
                put(0, &MAGIC);
                put(4, &[self.version.0, self.version.1, self.platform.0, self.arch.0]);
                put(8, &self.flags.0.to_le_bytes());
                put(12, &[self.compression.0, self.compression_level]);
                put(at.source_hash + 8, &[self.app_type.0]);
                $(put(at.$field, &self.$field.to_le_bytes());)+
            }
        }
    };
}

header_fields! {
    section_count: u32 = 16, 16;
    section_table: u64 = 24, 20;
    symbol_table: u64 = 32, 28;
    symbol_count: u32 = 40, 36;
    exported_count: u32 = 44, 40;
    entry_point: u64 = 48, 44;
    stub_size: u32 = 56, 52;
    data_offset: u32 = 60, 56;
    module_hash: u64 = 64, 60;
    source_hash: u64 = 72, 68;
    window_width: u16 = 82, 77;
    window_height: u16 = 84, 79;
    prefetch_hint: u8 = 86, 81;
    prefetch_files: u8 = 87, 82;
}

impl Layout {
    /// The offsets of the fields in a header of this layout.
    pub(crate) const fn header_fields(self) -> &'static HeaderFields {
        match self {
            Layout::Native => &NATIVE,
            _ => &PACKED,
        }
    }
}

// The fields fill the wire structs. The type of the application follows the hash of the source.
const _: () = {
    assert!(NATIVE.prefetch_files + 1 + 8 == NATIVE_HEADER);
    assert!(PACKED.prefetch_files + 1 + 45 == PACKED_HEADER);
    assert!(
        NATIVE.section_table.is_multiple_of(8) && NATIVE.source_hash + 10 == NATIVE.window_width
    );
    assert!(PACKED.section_table + 8 == PACKED.symbol_table);
    assert!(PACKED.source_hash + 9 == PACKED.window_width);
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encoding_round_trips() {
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
