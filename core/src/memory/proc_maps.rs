//! What may be done with an address, whoever mapped it: the kernel's own word.
//!
//! Source: proc(5), `/proc/pid/maps`: lines of `start-end rwxp offset device inode path`, in the
//! order of addresses, which are hexadecimal. Read through a buffer on the stack, without memory
//! from the allocator, whatever the length of the paths.

use core::ops::Range;

use super::sys;
use super::types::{MemoryError, Permissions};

/// What may be done with the byte at `address`; `None` when nothing is mapped there.
///
/// Takes 10 us and more, by the number of mappings of the process.
///
/// # Errors
///
/// [`MemoryError::Open`] and [`MemoryError::Read`] when the kernel does not show its list, for
/// example because `/proc` is not mounted.
pub fn permissions_at(address: usize) -> Result<Option<Permissions>, MemoryError> {
    let file = sys::open(c"/proc/self/maps").map_err(|errno| MemoryError::Open { errno })?;
    let mut lines = Lines::new(address);
    let mut buffer = [0; 4096];
    let mut at = 0;
    loop {
        let count =
            sys::read_into(&file, &mut buffer).map_err(|errno| MemoryError::Read { at, errno })?;
        at += count as u64;
        let Some(bytes @ [_, ..]) = buffer.get(..count) else { return Ok(None) };
        for &byte in bytes {
            if let Some(found) = lines.next(byte) {
                return Ok(found);
            }
        }
    }
}

/// Where in a line the next byte is.
#[derive(Clone, Copy)]
enum Part {
    Start,
    End,
    Rights(usize),
    Rest,
}

/// Reads the list byte by byte.
struct Lines {
    address: usize,
    part: Part,
    mapping: Range<usize>,
    access: Permissions,
}

impl Lines {
    fn new(address: usize) -> Self {
        Self { address, part: Part::Start, mapping: 0..0, access: Permissions::default() }
    }

    /// The answer, as soon as a line gives it.
    fn next(&mut self, byte: u8) -> Option<Option<Permissions>> {
        match (self.part, byte) {
            (_, b'\n') => *self = Self::new(self.address),
            (Part::Start, b'-') => self.part = Part::End,
            (Part::End, b' ') => self.part = Part::Rights(0),
            (Part::Start, digit) => push(&mut self.mapping.start, digit),
            (Part::End, digit) => push(&mut self.mapping.end, digit),
            (Part::Rights(index), right) => {
                self.part = Part::Rights(index + 1);
                match index {
                    0 => self.access.read = right == b'r',
                    1 => self.access.write = right == b'w',
                    2 => self.access.execute = right == b'x',
                    _ => self.part = Part::Rest,
                }
                if index == 2 {
                    return self.answer();
                }
            }
            (Part::Rest, _) => {}
        }
        None
    }

    fn answer(&self) -> Option<Option<Permissions>> {
        if self.address < self.mapping.start {
            return Some(None);
        }
        self.mapping.contains(&self.address).then_some(Some(self.access))
    }
}

/// Puts a hexadecimal digit behind those of `number`.
fn push(number: &mut usize, digit: u8) {
    let digit = char::from(digit).to_digit(16).unwrap_or(0);
    *number = *number << 4 | digit as usize;
}

#[cfg(test)]
mod tests {
    use super::super::fault_injection::{Call, inject};
    use super::super::testing::{Line, maps};
    use super::*;
    use crate::memory::{PageCount, Placement, Protection, Segment, WritablePages};
    use std::string::ToString;

    #[test]
    fn tells_every_right_at_the_borders_of_pages() {
        let page = PageCount::one().bytes();
        let pages = |count: usize| PageCount::exact((count * page) as u64).unwrap();
        let fresh = WritablePages::allocate(pages(5), Placement::Anywhere).unwrap();
        let segment =
            |offset, protection| Segment { offset: pages(offset), size: pages(1), protection };
        let published = fresh
            .publish(&[
                segment(1, Protection::Read),
                segment(2, Protection::ReadWrite),
                segment(3, Protection::ReadExecute),
            ])
            .unwrap();
        let address = published.address();
        for (index, rights) in ["---", "r--", "rw-", "r-x", "---"].into_iter().enumerate() {
            for byte in [0, 1, page / 2, page - 1] {
                let access = permissions_at(address + index * page + byte).unwrap().unwrap();
                assert_eq!(access.to_string(), rights, "page {index}, byte {byte}");
            }
        }
    }

    #[test]
    fn agrees_with_the_list_read_whole() {
        for line in maps() {
            let listed = || {
                let same = |l: &Line| l.addresses == line.addresses && l.access == line.access;
                maps().iter().any(same)
            };
            for address in [line.addresses.start, line.addresses.end - 1] {
                // Other tests map, unmap and protect meanwhile; what is there before and after, and what
                // has not been something else in between each time, must be the same.
                let agrees = || {
                    let before = listed();
                    let found = permissions_at(address).unwrap();
                    let same = found.is_some_and(|access| access.to_string() == line.access);
                    same || !before || !listed()
                };
                assert!((0..10).any(|_| agrees()), "{address:#x} is {}", line.access);
            }
        }
        for nowhere in [0, 1, 4095, 1 << 62, usize::MAX] {
            assert_eq!(permissions_at(nowhere), Ok(None), "{nowhere:#x}");
        }
    }

    #[test]
    fn a_list_that_cannot_be_read_is_an_error() {
        let errno = rustix::io::Errno::ACCESS;
        let fault = inject(Call::Open, 0, errno);
        assert_eq!(permissions_at(0), Err(MemoryError::Open { errno: errno.into() }));
        drop(fault);
        let _fault = inject(Call::Read, 0, errno);
        assert_eq!(permissions_at(0), Err(MemoryError::Read { at: 0, errno: errno.into() }));
    }
}
