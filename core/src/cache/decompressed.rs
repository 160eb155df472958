//! The decompressed sections of a file.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::iter::successors;
use core::mem;
use core::ops::Range;

use spin::Once;

/// The decompressed bytes of one section.
pub(super) struct DecompressedSection {
    /// Where the compressed section lies in the file.
    section: Range<usize>,
    bytes: Vec<u8>,
    next: Link,
}

type Link = Once<Box<DecompressedSection>>;

impl DecompressedSection {
    pub(super) fn new(section: Range<usize>, bytes: Vec<u8>) -> Self {
        Self { section, bytes, next: Once::new() }
    }
}

/// A list of decompressed sections that only grows, so that its bytes can be borrowed as long as the list
/// and reading it takes no lock.
#[derive(Default)]
pub(super) struct Decompressed {
    first: Link,
}

impl Decompressed {
    fn iter(&self) -> impl Iterator<Item = &DecompressedSection> {
        successors(self.first.get(), |section| section.next.get()).map(|section| &**section)
    }

    /// The decompressed bytes of the section at this range of the file.
    pub(super) fn get(&self, section: &Range<usize>) -> Option<&[u8]> {
        self.iter().find(|known| known.section == *section).map(|known| &*known.bytes)
    }

    /// The size of all decompressed bytes.
    pub(super) fn size(&self) -> u64 {
        self.iter().map(|section| section.bytes.len() as u64).sum()
    }

    /// Appends a section. By one thread at a time, under the lock of the inventory.
    pub(super) fn push(&self, section: Box<DecompressedSection>) {
        let mut link = &self.first;
        while let Some(known) = link.get() {
            link = &known.next;
        }
        link.call_once(|| section);
    }
}

impl Drop for Decompressed {
    /// Without recursion, because a file may have many sections.
    fn drop(&mut self) {
        let mut next = mem::take(&mut self.first);
        while let Some(mut section) = next.try_into_inner() {
            next = mem::take(&mut section.next);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;
    use std::vec;

    fn section(number: usize, len: usize) -> Box<DecompressedSection> {
        Box::new(DecompressedSection::new(number..number + 5, vec![number as u8; len]))
    }

    #[test]
    fn pushed_sections_are_found_and_counted() {
        let (sections, mut size) = (Decompressed::default(), 0);
        let lens = [0, 1, 15, 4096, if cfg!(miri) { 100 } else { 70_000 }];
        for (number, len) in lens.into_iter().enumerate() {
            assert_eq!((sections.get(&(number..number + 5)), sections.size()), (None, size));
            sections.push(section(number, len));
            size += len as u64;
            assert_eq!(sections.size(), size);
        }
        for (number, len) in lens.into_iter().enumerate() {
            assert_eq!(sections.get(&(number..number + 5)), Some(&*vec![number as u8; len]));
            assert!(sections.get(&(number..number + 4)).is_none());
        }
    }

    #[test]
    fn sections_read_while_others_are_pushed_are_whole() {
        let (count, sections) = (if cfg!(miri) { 20 } else { 200 }, Decompressed::default());
        thread::scope(|scope| {
            let reader = scope.spawn(|| {
                let mut seen = 0;
                while seen < count {
                    let found: Vec<_> =
                        (0..count).filter_map(|n| Some((n, sections.get(&(n..n + 5))?))).collect();
                    assert!(found.len() >= seen);
                    assert!(found.iter().all(|(n, bytes)| **bytes == vec![*n as u8; n + 1]));
                    seen = found.len();
                }
            });
            (0..count).for_each(|n| sections.push(section(n, n + 1)));
            reader.join().unwrap();
        });
        assert_eq!(sections.size(), (1..=count as u64).sum());
    }

    #[test]
    fn drop_of_many_sections_does_not_overflow_the_stack() {
        // Linked by hand, because `push` takes time in proportion to the sections.
        let mut first = Link::new();
        for number in 0..if cfg!(miri) { 1000 } else { 1_000_000 } {
            let mut section = section(number, 0);
            section.next = mem::replace(&mut first, Link::new());
            first.call_once(|| section);
        }
        drop(Decompressed { first });
    }
}
