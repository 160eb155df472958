//! Decoding of little-endian integers and other fields.
//!
//! Nothing in an SMF file is aligned, so every field is read bytewise. No function here panics: an offset outside the
//! bytes gives `None`. Offsets are `u64`, as in the file, and become `usize` by a checked conversion only.

/// `N` bytes at `at`; `None` if they do not all lie inside `data`.
pub fn array<const N: usize>(data: &[u8], at: usize) -> Option<&[u8; N]> {
    data.get(at..)?.first_chunk()
}

/// `len` bytes at `at`; `None` if they do not all lie inside `data`.
#[inline]
pub fn slice(data: &[u8], at: u64, len: u64) -> Option<&[u8]> {
    let start = usize::try_from(at).ok()?;
    let end = start.checked_add(usize::try_from(len).ok()?)?;
    data.get(start..end)
}

/// The byte at `at`.
#[inline]
pub fn u8_at(data: &[u8], at: usize) -> Option<u8> {
    data.get(at).copied()
}

/// The little-endian `u16` at `at`.
#[inline]
pub fn u16_at(data: &[u8], at: usize) -> Option<u16> {
    array(data, at).map(|b| u16::from_le_bytes(*b))
}

/// The little-endian `u32` at `at`.
#[inline]
pub fn u32_at(data: &[u8], at: usize) -> Option<u32> {
    array(data, at).map(|b| u32::from_le_bytes(*b))
}

/// The little-endian `u64` at `at`.
#[inline]
pub fn u64_at(data: &[u8], at: usize) -> Option<u64> {
    array(data, at).map(|b| u64::from_le_bytes(*b))
}

/// The little-endian `i64` at `at`.
#[inline]
pub fn i64_at(data: &[u8], at: usize) -> Option<i64> {
    array(data, at).map(|b| i64::from_le_bytes(*b))
}

/// Writes `bytes` at `at`. Returns `None` and leaves `out` unchanged if they do not all lie inside `out`.
pub(crate) fn put(out: &mut [u8], at: usize, bytes: &[u8]) -> Option<()> {
    out.get_mut(at..)?.get_mut(..bytes.len())?.copy_from_slice(bytes);
    Some(())
}

/// The bytes of `data` before its first NUL; all of them without a NUL.
#[inline]
pub fn until_nul(data: &[u8]) -> &[u8] {
    data.split(|&b| b == 0).next().unwrap_or(data)
}

/// The lowest bit of each byte of a word.
pub(crate) const LOW: u64 = 0x0101_0101_0101_0101;

/// Sets the highest bit of each byte of `word` that is 0, and of no other byte.
pub(crate) const fn zero_bytes(word: u64) -> u64 {
    const REST: u64 = !(LOW << 7);
    !(((word & REST) + REST) | word | REST)
}

/// Whether one of the bytes of `word` is 0.
pub(crate) const fn has_zero(word: u64) -> bool {
    word.wrapping_sub(LOW) & !word & (LOW << 7) != 0
}

/// A name in a field of 16 bytes, up to its first NUL. Compares eight bytes at a time.
#[inline]
pub fn padded_name(field: &[u8; 16]) -> &[u8] {
    // The lowest set bit marks the first zero byte. Higher bits may be wrong.
    let zeroes = |half: u64| half.wrapping_sub(LOW) & !half & (LOW << 7);
    let [low, high] = [u64_at(field, 0), u64_at(field, 8)].map(|half| zeroes(half.unwrap_or(0)));
    let (first, skipped) = if low == 0 { (high, 8) } else { (low, 0) };
    let len = skipped + first.trailing_zeros() / 8;
    field.get(..usize::try_from(len).unwrap_or(16)).unwrap_or(field)
}

/// Whether `name` is a plausible name in a fixed field: printable ASCII, not empty.
#[inline]
pub fn is_printable(name: &[u8]) -> bool {
    !name.is_empty() && name.iter().all(|b| (0x20..0x7f).contains(b))
}

/// The offset of `inner` in `outer`, in bytes; 0 if `inner` is not part of `outer`.
#[inline]
pub fn offset_in(outer: &[u8], inner: &[u8]) -> u64 {
    let distance = (inner.as_ptr() as usize).wrapping_sub(outer.as_ptr() as usize);
    if distance <= outer.len() { distance as u64 } else { 0 }
}

/// A cursor that reads one field after another and never panics.
#[derive(Clone, Copy, Debug)]
pub struct Cursor<'d> {
    data: &'d [u8],
    at: usize,
}

impl<'d> Cursor<'d> {
    /// A cursor before the first byte of `data`.
    pub fn new(data: &'d [u8]) -> Self {
        Self { data, at: 0 }
    }

    /// Bytes read so far.
    pub fn position(&self) -> usize {
        self.at
    }

    /// Bytes not read yet.
    pub fn rest(&self) -> &'d [u8] {
        self.data.get(self.at..).unwrap_or(&[])
    }

    /// The next `len` bytes. On `None` the cursor has not moved.
    pub fn take(&mut self, len: usize) -> Option<&'d [u8]> {
        let end = self.at.checked_add(len)?;
        let taken = self.data.get(self.at..end)?;
        self.at = end;
        Some(taken)
    }

    /// The next byte.
    pub fn u8(&mut self) -> Option<u8> {
        self.take(1).and_then(|b| u8_at(b, 0))
    }

    /// The next little-endian `u16`.
    pub fn u16(&mut self) -> Option<u16> {
        self.take(2).and_then(|b| u16_at(b, 0))
    }

    /// The next little-endian `u32`.
    pub fn u32(&mut self) -> Option<u32> {
        self.take(4).and_then(|b| u32_at(b, 0))
    }

    /// The next little-endian `u64`.
    pub fn u64(&mut self) -> Option<u64> {
        self.take(8).and_then(|b| u64_at(b, 0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_outside_the_bytes_are_refused() {
        let data = [1u8, 2, 3, 4, 5, 6, 7, 8, 9];
        assert_eq!(u64_at(&data, 1), Some(0x0908_0706_0504_0302));
        assert_eq!(u64_at(&data, 2), None);
        assert_eq!(u32_at(&data, usize::MAX), None);
        assert_eq!(slice(&data, u64::MAX, 2), None);
        assert_eq!(slice(&data, 9, 0), Some(&[][..]));
        assert_eq!(slice(&data, 10, 0), None);
    }

    #[test]
    fn padded_name_ends_at_the_first_nul() {
        for len in 0..=16 {
            for junk in [0u8, 1, 0x80, 0xff] {
                let mut field = [junk; 16];
                field[..len].fill(b'x');
                if let Some(end) = field.get_mut(len) {
                    *end = 0;
                }
                assert_eq!(padded_name(&field), until_nul(&field), "{field:?}");
            }
        }
    }

    #[test]
    fn zero_bytes_are_found_without_false_positives() {
        for number in (0..1u64 << 16).step_by(if cfg!(miri) { 251 } else { 1 }) {
            // Bytes from a few significant values, in every order.
            let bytes: [u8; 8] =
                core::array::from_fn(|at| [0, 1, 0x7f, 0x80][(number >> (2 * at)) as usize & 3]);
            let expected = bytes.map(|byte| if byte == 0 { 0x80 } else { 0 });
            let word = u64::from_le_bytes(bytes);
            assert_eq!(zero_bytes(word), u64::from_le_bytes(expected));
            assert_eq!(has_zero(word), bytes.contains(&0));
        }
    }

    #[test]
    fn failed_read_does_not_move_the_cursor() {
        let mut cursor = Cursor::new(&[1, 2, 3]);
        assert_eq!(cursor.u16(), Some(0x0201));
        assert_eq!(cursor.u32(), None);
        assert_eq!(cursor.take(usize::MAX), None);
        assert_eq!((cursor.position(), cursor.u8(), cursor.u8()), (2, Some(3), None));
    }
}
