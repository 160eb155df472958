//! Immediates that instructions encode in a form of their own.

/// An operand of ADD and SUB: 12 bits, or 12 bits at bit 12.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Imm12 {
    /// The fields sh and imm12.
    pub(super) bits: u32,
}

impl Imm12 {
    /// 1.
    pub const ONE: Self = Self { bits: 1 << 10 };
    /// 16.
    pub const SIXTEEN: Self = Self { bits: 16 << 10 };

    /// The operand with this value, if there is one.
    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "each has at most 12 bits")]
    pub const fn new(value: u64) -> Option<Self> {
        match (value & 0xfff, value >> 12) {
            (low, 0) => Some(Self { bits: (low as u32) << 10 }),
            (0, high) if high < 1 << 12 => Some(Self { bits: 1 << 22 | (high as u32) << 10 }),
            _ => None,
        }
    }

    /// Its value.
    pub fn value(self) -> u32 {
        (self.bits >> 10 & 0xfff) << if self.bits >> 22 == 0 { 0 } else { 12 }
    }
}

/// An operand of AND, ORR and EOR: an element of 2 to 64 bits, repeated, whose set bits are a rotated run.
///
/// Source: DDI 0487, shared pseudocode "DecodeBitMasks".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BitMask {
    /// The fields N, immr and imms.
    pub(super) bits: u32,
}

impl BitMask {
    /// The operand of 64 bits with this value, if there is one.
    #[inline]
    pub fn new64(value: u64) -> Option<Self> {
        if value == 0 || value == u64::MAX {
            return None;
        }
        let mut size = 64;
        // The smallest element that is repeated.
        while size > 2 && is_repeated(value, size / 2) {
            size /= 2;
        }
        let element = value & (u64::MAX >> (64 - size));
        let ones = element.count_ones();
        let run = u64::MAX >> (64 - ones);
        let rotation = first_of_run(element, size);
        let rotated = rotate_right(element, rotation, size);
        if rotated != run {
            return None;
        }
        // immr rotates the run right to its place; imms holds the size as a prefix of ones.
        let immr = (size - rotation) % size;
        let imms = (0x80 - 2 * size) & 0x3f | (ones - 1);
        let n = u32::from(size == 64);
        Some(Self { bits: n << 22 | immr << 16 | imms << 10 })
    }

    /// The operand of 32 bits with this value, if there is one.
    #[inline]
    pub fn new32(value: u32) -> Option<Self> {
        Self::new64(u64::from(value) << 32 | u64::from(value))
    }
}

/// Whether the low 2 * `size` bits are twice the same.
fn is_repeated(value: u64, size: u32) -> bool {
    let mask = u64::MAX >> (64 - size);
    value & mask == value >> size & mask
}

/// The lowest bit of the run of ones that may continue from the highest to the lowest bit of the element.
fn first_of_run(element: u64, size: u32) -> u32 {
    if element & 1 == 0 {
        return element.trailing_zeros();
    }
    let mask = u64::MAX >> (64 - size);
    // The run begins above the highest zero.
    let zeros = !element & mask;
    (64 - zeros.leading_zeros()) % size
}

fn rotate_right(element: u64, by: u32, size: u32) -> u64 {
    if by == 0 {
        return element;
    }
    let mask = u64::MAX >> (64 - size);
    (element >> by | element << (size - by)) & mask
}

/// An operand of FMOV: a sign, 3 bits of exponent and 4 bits of fraction.
///
/// Source: DDI 0487, shared pseudocode "VFPExpandImm".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FloatImm {
    pub(super) imm8: u32,
}

impl FloatImm {
    /// The operand with the value of these bits in double precision, if there is one.
    #[inline]
    pub fn new64(bits: u64) -> Option<Self> {
        let exponent = bits >> 54 & 0x1ff;
        let is_small = bits & (u64::MAX >> 16) == 0 && matches!(exponent, 0xff | 0x100);
        let field = bits >> 48 & 0x7f | bits >> 56 & 0x80;
        is_small.then(|| Self { imm8: u32::try_from(field).unwrap_or(0) })
    }

    /// The operand with the value of these bits in single precision, if there is one.
    #[inline]
    pub fn new32(bits: u32) -> Option<Self> {
        let exponent = bits >> 25 & 0x3f;
        let is_small = bits & (u32::MAX >> 13) == 0 && matches!(exponent, 0x1f | 0x20);
        is_small.then_some(Self { imm8: bits >> 19 & 0x7f | bits >> 24 & 0x80 })
    }
}
