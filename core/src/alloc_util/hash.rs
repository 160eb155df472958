//! FNV-1a hashes.
//!
//! Source: G. Fowler, L. C. Noll, K.-P. Vo, D. Eastlake, The FNV Non-Cryptographic Hash Algorithm
//! (draft-eastlake-fnv).

/// The 32-bit FNV-1a hash of `bytes`.
pub const fn fnv1a_32(bytes: &[u8]) -> u32 {
    let mut hash = 0x811c_9dc5u32;
    let mut rest = bytes;
    while let Some((&byte, tail)) = rest.split_first() {
        hash = (hash ^ byte as u32).wrapping_mul(0x0100_0193);
        rest = tail;
    }
    hash
}

/// The 64-bit FNV-1a hash of `bytes`.
pub const fn fnv1a_64(bytes: &[u8]) -> u64 {
    fnv1a_64_more(0xcbf2_9ce4_8422_2325, bytes)
}

/// The 64-bit FNV-1a hash of a prefix, whose hash is `hash`, followed by `bytes`.
pub const fn fnv1a_64_more(mut hash: u64, bytes: &[u8]) -> u64 {
    let mut rest = bytes;
    while let Some((&byte, tail)) = rest.split_first() {
        hash = (hash ^ byte as u64).wrapping_mul(0x0000_0100_0000_01b3);
        rest = tail;
    }
    hash
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Vectors of the draft, appendix C.
    #[test]
    fn fnv1a_matches_the_published_vectors() {
        assert_eq!((fnv1a_32(b""), fnv1a_32(b"a")), (0x811c_9dc5, 0xe40c_292c));
        assert_eq!(fnv1a_32(b"foobar"), 0xbf9c_f968);
        assert_eq!((fnv1a_64(b""), fnv1a_64(b"a")), (0xcbf2_9ce4_8422_2325, 0xaf63_dc4c_8601_ec8c));
        assert_eq!(fnv1a_64(b"foobar"), 0x8594_4171_f739_67e8);
        assert_eq!(fnv1a_64_more(fnv1a_64(b"foo"), b"bar"), fnv1a_64(b"foobar"));
    }
}
