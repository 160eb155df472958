//! Errors of decompression.

use core::fmt;

use crate::format::model::header::Compression;

/// Why the bytes of a compressed section cannot be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the fields are what the sentence of each variant shows")]
pub enum CompressionErrorKind {
    /// No frame of the algorithm, nor one to be skipped, where one must begin.
    NoFrame { compression: Compression },
    /// A frame that the section ends in the middle of.
    Truncated,
    /// A frame that breaks the rules of its algorithm.
    Broken,
    /// A frame that can only be read with a dictionary.
    Dictionary,
    /// A window that is larger than a section of this size could need.
    Window { size: u64, limit: u64 },
    /// A checksum in the frame that what came out does not have.
    Checksum,
    /// More comes out than the virtual size.
    Long { virtual_size: u64 },
    /// Less comes out than the virtual size: what came out, or the most that the frames can hold.
    Short { most: u64, virtual_size: u64 },
    /// No memory to decompress to.
    OutOfMemory { size: u64 },
    /// This loader was built without decoders.
    NotBuilt { compression: Compression },
}

impl fmt::Display for CompressionErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use CompressionErrorKind as C;
        match *self {
            C::NoFrame { compression } => write!(f, "no frame of {compression}"),
            C::Truncated => f.write_str("the section ends in the middle of a frame"),
            C::Broken => f.write_str("a broken frame"),
            C::Dictionary => f.write_str("a frame that needs a dictionary, which no module has"),
            C::Window { size, limit } => write!(
                f,
                "a frame with a window of 0x{size:x} bytes, more than the limit of 0x{limit:x} for a section of its size"
            ),
            C::Checksum => f.write_str("its bytes do not have the checksum that the frame gives"),
            C::Long { virtual_size } => {
                write!(f, "it decompresses to more than its virtual_size of 0x{virtual_size:x}")
            }
            C::Short { most, virtual_size } => write!(
                f,
                "it decompresses to no more than 0x{most:x} bytes, and its virtual_size is 0x{virtual_size:x}"
            ),
            C::OutOfMemory { size } => {
                write!(f, "there is no memory for the 0x{size:x} bytes that it decompresses to")
            }
            C::NotBuilt { compression } => write!(
                f,
                "compressed with {compression}, and this loader is built without the feature `compress` of smf-core"
            ),
        }
    }
}
