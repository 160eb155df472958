//! The bytes that programs are drawn from.

/// Pseudorandom bytes to draw a program from, equal in every run (xorshift64*).
pub fn seeded(seed: u64) -> Vec<u8> {
    // Different seeds give different states, and no state is 0.
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32
    };
    let length = 40 + next() % 500;
    (0..length).map(|_| next().to_le_bytes()[0]).collect()
}

/// Reads numbers from bytes, and zeros after their end.
pub(crate) struct Source<'d> {
    pub(crate) data: &'d [u8],
}

impl Source<'_> {
    pub(crate) fn byte(&mut self) -> u8 {
        let (first, rest) = self.data.split_first().unwrap_or((&0, &[]));
        self.data = rest;
        *first
    }

    pub(crate) fn below(&mut self, bound: u8) -> u8 {
        self.byte() % bound
    }

    /// A number of arguments; 0 is as frequent as all others together.
    pub(crate) fn arguments(&mut self, most: u8) -> u16 {
        if self.below(2) == 0 { 0 } else { self.below(most + 1).into() }
    }

    /// One of these.
    pub(crate) fn choose<T: Copy, const N: usize>(&mut self, among: [T; N]) -> T {
        among[usize::from(self.byte()) % N]
    }

    /// Small and extreme numbers.
    pub(crate) fn integer(&mut self) -> i64 {
        match self.below(8) {
            0 => i64::MIN,
            1 => i64::MAX,
            2 => i64::from_le_bytes(std::array::from_fn(|_| self.byte())),
            _ => i64::from(self.byte().cast_signed()),
        }
    }

    pub(crate) fn float(&mut self) -> u64 {
        match self.below(8) {
            0 => f64::NAN.to_bits(),
            1 => (-0.0f64).to_bits(),
            2 => u64::from_le_bytes(std::array::from_fn(|_| self.byte())),
            _ => (f64::from(self.byte().cast_signed()) / 4.0).to_bits(),
        }
    }
}
