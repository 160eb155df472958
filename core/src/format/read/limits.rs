//! Limits on what a file may claim.

/// Limits on the resources that a file may claim.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of memory that all sections together may take.
    pub virtual_size: u64,
    /// Entries of the section table. Sections are looked for by name, so that their number counts
    /// twice; real files have a few dozen.
    pub sections: u32,
    /// Bytes of memory, beyond the first MiB, that each compressed byte in the file may claim: for a section by
    /// itself, and for all compressed sections of the file together.
    pub compression_ratio: u64,
}

impl Default for Limits {
    /// 4 GiB of memory, 4,096 sections, 200 bytes of memory for each compressed byte.
    fn default() -> Self {
        Limits { virtual_size: 4 << 30, sections: 4096, compression_ratio: 200 }
    }
}

impl Limits {
    /// What a compressed section may decompress to however short it is in the file, in bytes.
    pub const FREE_VIRTUAL_SIZE: u64 = 1 << 20;

    /// The most bytes that `compressed` bytes of a file may decompress to.
    pub fn max_decompressed(&self, compressed: u64) -> u64 {
        let explained = compressed.saturating_mul(self.compression_ratio);
        explained.saturating_add(Self::FREE_VIRTUAL_SIZE)
    }
}
