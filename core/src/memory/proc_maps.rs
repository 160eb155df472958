//! Permissions of arbitrary addresses of the process, from `/proc/self/maps`.
//!
//! Source: `proc_pid_maps(5)`: lines `start-end rwxp offset device inode path`, ordered by address, in hexadecimal. The
//! file is read through a buffer on the stack, without allocation, whatever the length of the paths.

use arrayvec::ArrayVec;
use rustix::fs::OFlags;

use super::sys;
use super::types::{MemoryError, Permissions, Result};

/// The permissions of the byte at `address`; `None` if nothing is mapped there.
///
/// The time is linear in the number of mappings of the process.
///
/// # Errors
/// [`MemoryError::Open`] and [`MemoryError::Read`] if the list cannot be read, for example because `/proc` is not
/// mounted.
pub fn permissions_at(address: usize) -> Result<Option<Permissions>> {
    let file = sys::open(c"/proc/self/maps", OFlags::RDONLY)
        .map_err(|errno| MemoryError::Open { errno })?;
    // The start of a line: what follows the permissions is cut off.
    let mut line = ArrayVec::<u8, 40>::new();
    let mut buffer = [0; 4096];
    let mut at = 0;
    loop {
        let count = sys::read_at(&file, at, &mut buffer);
        let count = count.map_err(|errno| MemoryError::Read { at, errno })?;
        at += count as u64;
        let Some(bytes @ [_, ..]) = buffer.get(..count) else { return Ok(None) };
        for &byte in bytes {
            if byte != b'\n' {
                let _ = line.try_push(byte);
            } else if let Some(found) = search(&line, address) {
                return Ok(found);
            } else {
                line.clear();
            }
        }
    }
}

/// The result, if this line decides it.
fn search(line: &[u8], address: usize) -> Option<Option<Permissions>> {
    let mut fields = line.split(|byte| b"- ".contains(byte));
    let hexadecimal = |field| usize::from_str_radix(str::from_utf8(field).ok()?, 16).ok();
    let (start, end) = (hexadecimal(fields.next()?)?, hexadecimal(fields.next()?)?);
    if address < start {
        return Some(None);
    }
    let letters = line.split(|byte| *byte == b' ').nth(1)?;
    let has = |letter| letters.contains(&letter);
    let permissions = Permissions { read: has(b'r'), write: has(b'w'), execute: has(b'x') };
    (address < end).then_some(Some(permissions))
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
