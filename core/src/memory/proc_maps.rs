//! Permissions of arbitrary addresses of the process, from `/proc/self/maps`.
//!
//! Source: `proc_pid_maps(5)`: lines `start-end rwxp offset device inode path`, ordered by address, in hexadecimal. The
//! file is read through a buffer on the stack, without allocation, whatever the length of the paths.

use core::ops::Range;

use super::sys;
use super::types::{MemoryError, Permissions};

/// The permissions of the byte at `address`; `None` if nothing is mapped there.
///
/// The time is linear in the number of mappings of the process.
///
/// # Errors
/// [`MemoryError::Open`] and [`MemoryError::Read`] if the list cannot be read, for example because `/proc` is not
/// mounted.
pub fn permissions_at(address: usize) -> Result<Option<Permissions>, MemoryError> {
    let file = sys::open(c"/proc/self/maps").map_err(|errno| MemoryError::Open { errno })?;
    let mut parser = Parser::new(address);
    let mut buffer = [0; 4096];
    let mut at = 0;
    loop {
        let count =
            sys::read_into(&file, &mut buffer).map_err(|errno| MemoryError::Read { at, errno })?;
        at += count as u64;
        let Some(bytes @ [_, ..]) = buffer.get(..count) else { return Ok(None) };
        for &byte in bytes {
            if let Some(found) = parser.next(byte) {
                return Ok(found);
            }
        }
    }
}

/// The field of a line to which the next byte belongs.
#[derive(Clone, Copy)]
enum Field {
    Start,
    End,
    Permissions(usize),
    Rest,
}

/// Parses the list byte by byte and looks for one address.
struct Parser {
    address: usize,
    field: Field,
    mapping: Range<usize>,
    permissions: Permissions,
}

impl Parser {
    fn new(address: usize) -> Self {
        let permissions = Permissions::default();
        Self { address, field: Field::Start, mapping: 0..0, permissions }
    }

    /// Consumes one byte. Returns the result as soon as it is known.
    fn next(&mut self, byte: u8) -> Option<Option<Permissions>> {
        match (self.field, byte) {
            (_, b'\n') => *self = Self::new(self.address),
            (Field::Start, b'-') => self.field = Field::End,
            (Field::End, b' ') => self.field = Field::Permissions(0),
            (Field::Start, digit) => push_digit(&mut self.mapping.start, digit),
            (Field::End, digit) => push_digit(&mut self.mapping.end, digit),
            (Field::Permissions(index), letter) => {
                self.field = Field::Permissions(index + 1);
                match index {
                    0 => self.permissions.read = letter == b'r',
                    1 => self.permissions.write = letter == b'w',
                    2 => self.permissions.execute = letter == b'x',
                    _ => self.field = Field::Rest,
                }
                if index == 2 {
                    return self.result();
                }
            }
            (Field::Rest, _) => {}
        }
        None
    }

    /// The result, if the current line decides it.
    fn result(&self) -> Option<Option<Permissions>> {
        if self.address < self.mapping.start {
            return Some(None);
        }
        self.mapping.contains(&self.address).then_some(Some(self.permissions))
    }
}

/// Appends a hexadecimal digit to `number`.
fn push_digit(number: &mut usize, digit: u8) {
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
    fn permissions_are_exact_at_page_boundaries() {
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
        for (index, expected) in ["---", "r--", "rw-", "r-x", "---"].into_iter().enumerate() {
            for byte in [0, 1, page / 2, page - 1] {
                let access = permissions_at(address + index * page + byte).unwrap().unwrap();
                assert_eq!(access.to_string(), expected, "page {index}, byte {byte}");
            }
        }
    }

    #[test]
    fn permissions_agree_with_the_whole_list() {
        for line in maps() {
            let listed = || {
                let same = |l: &Line| l.addresses == line.addresses && l.access == line.access;
                maps().iter().any(same)
            };
            for address in [line.addresses.start, line.addresses.end - 1] {
                // Other tests change mappings concurrently: a line counts only if it is listed before and after.
                let agrees = || {
                    let before = listed();
                    let found = permissions_at(address).unwrap();
                    let same = found.is_some_and(|access| access.to_string() == line.access);
                    same || !before || !listed()
                };
                assert!((0..10).any(|_| agrees()), "{address:#x} is {}", line.access);
            }
        }
        for unmapped in [0, 1, 4095, 1 << 62, usize::MAX] {
            assert_eq!(permissions_at(unmapped), Ok(None), "{unmapped:#x}");
        }
    }

    #[test]
    fn unreadable_list_is_an_error() {
        let errno = rustix::io::Errno::ACCESS;
        let fault = inject(Call::Open, 0, errno);
        assert_eq!(permissions_at(0), Err(MemoryError::Open { errno: errno.into() }));
        drop(fault);
        let _fault = inject(Call::Read, 0, errno);
        assert_eq!(permissions_at(0), Err(MemoryError::Read { at: 0, errno: errno.into() }));
    }
}
