//! The checksums inside compressed frames: XXH32 in those of LZ4, XXH64 in those of Zstandard, both
//! with seed 0. Facts: the xxHash specification, 0.1.1.

/// The constants of the 32-bit algorithm.
mod p32 {
    pub(crate) const P1: u32 = 0x9e37_79b1;
    pub(crate) const P2: u32 = 0x85eb_ca77;
    pub(crate) const P3: u32 = 0xc2b2_ae3d;
    pub(crate) const P4: u32 = 0x27d4_eb2f;
    pub(crate) const P5: u32 = 0x1656_67b1;
}

/// The constants of the 64-bit algorithm.
mod p64 {
    pub(crate) const P1: u64 = 0x9e37_79b1_85eb_ca87;
    pub(crate) const P2: u64 = 0xc2b2_ae3d_27d4_eb4f;
    pub(crate) const P3: u64 = 0x1656_67b1_9e37_79f9;
    pub(crate) const P4: u64 = 0x85eb_ca77_c2b2_ae63;
    pub(crate) const P5: u64 = 0x27d4_eb2f_1656_67c5;
}

/// The low 32 bits of a number.
pub(crate) fn low_half(number: u64) -> u32 {
    let [a, b, c, d, ..] = number.to_le_bytes();
    u32::from_le_bytes([a, b, c, d])
}

fn round_32(lane: u32, word: u32) -> u32 {
    lane.wrapping_add(word.wrapping_mul(p32::P2)).rotate_left(13).wrapping_mul(p32::P1)
}

/// XXH32 of `data`.
pub(crate) fn xxh32(data: &[u8]) -> u32 {
    let mut hash = Xxh32::new();
    hash.update(data);
    hash.finish()
}

/// Bytes on their way into a hash, which takes them in stripes of `N`.
struct Stripes<const N: usize> {
    /// The start of the next stripe.
    tail: [u8; N],
    tail_len: usize,
    /// Bytes of everything.
    len: u64,
}

impl<const N: usize> Stripes<N> {
    fn new() -> Self {
        Stripes { tail: [0; N], tail_len: 0, len: 0 }
    }

    /// Hands `data` to `take` in whole stripes, and holds the rest.
    fn split(&mut self, data: &[u8], mut take: impl FnMut(&[u8; N])) {
        self.len = self.len.wrapping_add(data.len() as u64);
        let mut data = data;
        if self.tail_len != 0 {
            let missing = self.tail.get_mut(self.tail_len..).unwrap_or(&mut []);
            let len = missing.len().min(data.len());
            let (first, rest) = data.split_at(len);
            missing.iter_mut().zip(first).for_each(|(to, from)| *to = *from);
            (self.tail_len, data) = (self.tail_len + len, rest);
            if self.tail_len < N {
                return;
            }
            take(&self.tail);
        }
        let (stripes, rest) = data.as_chunks();
        stripes.iter().for_each(take);
        self.tail.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
        self.tail_len = rest.len();
    }

    fn tail(&self) -> &[u8] {
        self.tail.get(..self.tail_len).unwrap_or(&[])
    }

    /// Whether there was no whole stripe.
    fn is_short(&self) -> bool {
        self.len < N as u64
    }
}

/// XXH32 of bytes that come in pieces.
pub(crate) struct Xxh32 {
    lanes: [u32; 4],
    stripes: Stripes<16>,
}

impl Xxh32 {
    pub(crate) fn new() -> Self {
        use p32::{P1, P2};
        Self { lanes: [P1.wrapping_add(P2), P2, 0, P1.wrapping_neg()], stripes: Stripes::new() }
    }

    pub(crate) fn update(&mut self, data: &[u8]) {
        let lanes = &mut self.lanes;
        self.stripes.split(data, |stripe| {
            for (lane, word) in lanes.iter_mut().zip(stripe.as_chunks().0) {
                *lane = round_32(*lane, u32::from_le_bytes(*word));
            }
        });
    }

    pub(crate) fn finish(&self) -> u32 {
        use p32::{P1, P2, P3, P4, P5};
        let sum = self.lanes.into_iter().zip([1, 7, 12, 18]);
        let sum = sum.fold(0u32, |sum, (lane, turn)| sum.wrapping_add(lane.rotate_left(turn)));
        let begin = if self.stripes.is_short() { P5 } else { sum };
        let mut hash = begin.wrapping_add(low_half(self.stripes.len));
        let (words, bytes) = self.stripes.tail().as_chunks();
        for word in words {
            let word = u32::from_le_bytes(*word).wrapping_mul(P3);
            hash = hash.wrapping_add(word).rotate_left(17).wrapping_mul(P4);
        }
        for byte in bytes {
            let byte = u32::from(*byte).wrapping_mul(P5);
            hash = hash.wrapping_add(byte).rotate_left(11).wrapping_mul(P1);
        }
        hash = (hash ^ (hash >> 15)).wrapping_mul(P2);
        hash = (hash ^ (hash >> 13)).wrapping_mul(P3);
        hash ^ (hash >> 16)
    }
}

fn round_64(lane: u64, word: u64) -> u64 {
    lane.wrapping_add(word.wrapping_mul(p64::P2)).rotate_left(31).wrapping_mul(p64::P1)
}

/// XXH64 of bytes that come in pieces.
pub(crate) struct Xxh64 {
    lanes: [u64; 4],
    stripes: Stripes<32>,
}

impl Xxh64 {
    pub(crate) fn new() -> Self {
        use p64::{P1, P2};
        Self { lanes: [P1.wrapping_add(P2), P2, 0, P1.wrapping_neg()], stripes: Stripes::new() }
    }

    pub(crate) fn update(&mut self, data: &[u8]) {
        let lanes = &mut self.lanes;
        self.stripes.split(data, |stripe| {
            for (lane, word) in lanes.iter_mut().zip(stripe.as_chunks().0) {
                *lane = round_64(*lane, u64::from_le_bytes(*word));
            }
        });
    }

    pub(crate) fn finish(&self) -> u64 {
        use p64::{P1, P2, P3, P4, P5};
        let lanes = self.lanes;
        let sum = lanes.into_iter().zip([1, 7, 12, 18]);
        let sum = sum.fold(0u64, |sum, (lane, turn)| sum.wrapping_add(lane.rotate_left(turn)));
        let merge = |hash: u64, lane| (hash ^ round_64(0, lane)).wrapping_mul(P1).wrapping_add(P4);
        let begin = if self.stripes.is_short() { P5 } else { lanes.into_iter().fold(sum, merge) };
        let mut hash = begin.wrapping_add(self.stripes.len);
        let (words, tail) = self.stripes.tail().as_chunks();
        for word in words {
            hash ^= round_64(0, u64::from_le_bytes(*word));
            hash = hash.rotate_left(27).wrapping_mul(P1).wrapping_add(P4);
        }
        let (halves, bytes) = tail.as_chunks();
        for half in halves {
            hash ^= u64::from(u32::from_le_bytes(*half)).wrapping_mul(P1);
            hash = hash.rotate_left(23).wrapping_mul(P2).wrapping_add(P3);
        }
        for byte in bytes {
            hash ^= u64::from(*byte).wrapping_mul(P5);
            hash = hash.rotate_left(11).wrapping_mul(P1);
        }
        hash = (hash ^ (hash >> 33)).wrapping_mul(P2);
        hash = (hash ^ (hash >> 29)).wrapping_mul(P3);
        hash ^ (hash >> 32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn xxh64(data: &[u8]) -> u64 {
        let mut hash = Xxh64::new();
        hash.update(data);
        hash.finish()
    }

    #[test]
    fn hashes_match_the_published_vectors() {
        // The buffer of the reference implementation's own check.
        let mut random = 0x9e37_79b1u64;
        let buffer = [(); 222].map(|()| {
            let [.., byte] = random.to_le_bytes();
            random = random.wrapping_mul(0x9e37_79b1_85eb_ca8d);
            byte
        });
        for (len, short, long) in [
            (0, 0x02cc_5d05, 0xef46_db37_51d8_e999),
            (1, 0xcf65_b03e, 0xe934_a84a_db05_2768),
            (14, 0x1208_e7e2, 0x8282_dcc4_994e_35c8),
            (222, 0x5bd1_1dbd, 0xb641_ae8c_b691_c174),
        ] {
            let data = &buffer[..len];
            assert_eq!((xxh32(data), xxh64(data)), (short, long), "{len} bytes");
            for piece in [1, 3, 15, 16, 31, 33, 100] {
                let (mut one, mut other) = (Xxh32::new(), Xxh64::new());
                for data in data.chunks(piece) {
                    one.update(data);
                    other.update(data);
                }
                let found = (one.finish(), other.finish());
                assert_eq!(found, (short, long), "{len} bytes, {piece} at a time");
            }
        }
        assert_eq!(xxh32(b"Nobody inspects the spammish repetition"), 0xe229_3b2f);
        assert_eq!(xxh64(b"Nobody inspects the spammish repetition"), 0xfbce_a83c_8a37_8bf1);
    }
}
