//! Limits on the resources that a file may claim.

/// Limits on the resources that a file may claim.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The maximum memory of all sections together, in bytes; also that of the sections of an ELF object in the code.
    pub virtual_size: u64,
    /// The maximum number of entries in the section table. Sections are looked up by name, so that work grows with the
    /// square of the number; real files have a few dozen. An ELF object in the code may have more.
    pub sections: u32,
    /// The maximum memory, beyond the first MiB, for each compressed byte in the file, in bytes. Applies to each
    /// section and to all compressed sections of the file together.
    pub compression_ratio: u64,
}

/// The default of [`Limits::virtual_size`], and the maximum memory of the shared object of a dynlib, in bytes.
pub(crate) const MAX_MEMORY: u64 = 4 << 30;

impl Default for Limits {
    /// 4 GiB of memory, 4,096 sections, 200 bytes of memory for each compressed byte.
    fn default() -> Self {
        Limits { virtual_size: MAX_MEMORY, sections: 4096, compression_ratio: 200 }
    }
}

impl Limits {
    /// The size that a compressed section may decompress to, whatever its length in the file, in bytes.
    pub const FREE_VIRTUAL_SIZE: u64 = 1 << 20;

    /// The maximum size that `compressed` bytes of a file may decompress to, in bytes.
    pub fn max_decompressed(&self, compressed: u64) -> u64 {
        let explained = compressed.saturating_mul(self.compression_ratio);
        explained.saturating_add(Self::FREE_VIRTUAL_SIZE)
    }
}
