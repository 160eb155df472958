//! Memory that many small files share, for whoever reads many of them in a row.
//!
//! The kernel takes 1.4 us for each fresh page of 4 KiB, which it finds, clears and maps one by one: for a file
//! of 16 KiB, which needs four of them, as long as to open, read and close it. A block is 2 MiB in one piece,
//! for which the kernel has a single large page as a rule: that takes 0.18 us for each 4 KiB. Both are the
//! least of 40 rounds in which a program maps 32 MiB and stores a byte in each page.
//!
//! A file lives in its block as long as anybody holds it. When half of the files of a block are gone, and
//! whenever half of the rest are, the pages that no file lives on any more go back to the kernel; the
//! addresses go with the last file. So no more dead files than living ones keep memory, and to throw out a
//! file is a system call for few of them.
#![allow(unsafe_code)]

use core::mem;
use core::num::NonZero;
use core::ops::Range;
use core::ptr::{self, NonNull};
use core::slice;
use core::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use core::sync::atomic::{AtomicBool, AtomicU16, AtomicU32, fence};

use rustix::mm::Advice;

use super::super::region::Region;
use super::super::sys::{self, Place};
use super::super::types::Protection;
use super::PageCount;

/// The size of a block in bytes, of which its address is a multiple: that of a large page, where the others
/// have 4 KiB.
pub(crate) const BLOCK: usize = 2 << 20;
/// The largest file that is put into one, in bytes, its tail included. So at most a sixteenth of a block
/// stays empty when the next file does not fit.
pub(crate) const LARGEST: usize = BLOCK / 16;
/// What the address of a file is a multiple of, as in the allocator's memory.
const ALIGNMENT: usize = 16;
/// The most pages of a block.
const PAGES: usize = BLOCK / 4096;

/// What a block begins with.
struct Header {
    /// The whole block, and more where the kernel did not align it.
    mapping: Region,
    /// Who relies on the mapping: the files, and whoever fills it.
    holders: AtomicU32,
    files: AtomicU32,
    /// Nobody fills it any more.
    is_full: AtomicBool,
    /// How many files lie on each page, and on the first one this.
    on_page: [AtomicU16; PAGES],
}

impl Header {
    fn count_on(&self, pages: Range<usize>) {
        for count in self.on_page.get(pages).unwrap_or(&[]) {
            count.fetch_add(1, Relaxed);
        }
    }

    /// Takes back [`count_on`](Self::count_on). Who finds nobody on a page any more knows all that was read
    /// there as finished.
    fn discount_on(&self, pages: Range<usize>) {
        for count in self.on_page.get(pages).unwrap_or(&[]) {
            count.fetch_sub(1, Release);
        }
    }
}

/// One of the holders of a block.
struct Hold(NonNull<Header>);

// SAFETY: what it leads to is changed by atomic operations alone, and unmapped by the last one.
unsafe impl Send for Hold {}
// SAFETY: as above.
unsafe impl Sync for Hold {}

impl Hold {
    /// A fresh block, unless there is no memory.
    fn on_fresh() -> Option<Self> {
        let mapping = map_aligned()?;
        let start = mapping.start();
        let skipped = start.addr().get().next_multiple_of(BLOCK) - start.addr().get();
        // SAFETY: a block has room behind what is skipped, as it was mapped.
        let start = unsafe { start.add(skipped) };
        // Without large pages it takes longer, and that is all.
        // SAFETY: whole pages of the mapping, of which no byte changes.
        let _ = unsafe { sys::advise(start, BLOCK, Advice::LinuxHugepage) };
        let (holders, files) = (AtomicU32::new(1), AtomicU32::new(0));
        let on_page = [const { AtomicU16::new(0) }; PAGES];
        let header = Header { mapping, holders, files, is_full: AtomicBool::new(false), on_page };
        header.count_on(pages_of(0..size_of::<Header>()));
        let block = start.cast::<Header>();
        // SAFETY: writable memory of our own that is aligned, and larger.
        unsafe { block.write(header) };
        Some(Self(block))
    }

    fn header(&self) -> &Header {
        // SAFETY: written before there was any holder, and mapped as long as there is one.
        unsafe { self.0.as_ref() }
    }

    fn another(&self) -> Self {
        self.header().holders.fetch_add(1, Relaxed);
        Self(self.0)
    }

    /// Gives the pages that nothing lies on back to the kernel. Only of a block that nobody fills.
    fn give_back(&self) {
        let (page, mut at) = (sys::page_size(), 0);
        // Who counted less has read what he wanted to.
        let is_empty = |count: &AtomicU16| count.load(Acquire) == 0;
        let used = self.header().on_page.get(..BLOCK / page).unwrap_or(&[]);
        for run in used.chunk_by(|one, next| is_empty(one) == is_empty(next)) {
            // A page that was left meanwhile is one for the next time.
            if run.iter().all(is_empty) {
                // SAFETY: inside the block, which is mapped from its header on.
                let start = unsafe { self.0.cast::<u8>().add(at * page) };
                // SAFETY: whole pages of one mapping, on which no file is, nor will be.
                let _ = unsafe { sys::advise(start, run.len() * page, Advice::LinuxDontNeed) };
            }
            at += run.len();
        }
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        if self.header().holders.fetch_sub(1, Release) != 1 {
            return;
        }
        fence(Acquire);
        #[cfg(test)]
        tests::UNMAPPED.set(tests::UNMAPPED.get() + 1);
        // SAFETY: nobody else is left, so it can be moved out of what it unmaps.
        drop(unsafe { ptr::read(&raw const self.header().mapping) });
    }
}

/// A mapping with room for a block where one may begin.
fn map_aligned() -> Option<Region> {
    let size = PageCount::exact(BLOCK as u64).ok()?;
    let map = |size| Region::map(Place::Anywhere, size, Protection::ReadWrite).ok();
    // Kernels before 6.7 do not align what could be a large page.
    match map(size)? {
        aligned if aligned.start().addr().get().is_multiple_of(BLOCK) => Some(aligned),
        _ => map(size.checked_add(size)?),
    }
}

/// The pages of a part of a block.
fn pages_of(part: Range<usize>) -> Range<usize> {
    part.start / sys::page_size()..part.end.div_ceil(sys::page_size())
}

/// A file's share of a block.
pub(super) struct Share {
    start: NonNull<u8>,
    size: usize,
}

// SAFETY: some bytes that nobody else has, and a holder of their block.
unsafe impl Send for Share {}
// SAFETY: as above.
unsafe impl Sync for Share {}

impl Share {
    /// From what [`into_start`](Self::into_start) gave.
    ///
    /// # Safety
    /// It gave it for a share of `size` bytes, which has not come back yet.
    pub(super) unsafe fn from_start(start: NonNull<u8>, size: usize) -> Self {
        Self { start, size }
    }

    /// The first byte, of as many as the share has.
    fn into_start(self) -> NonNull<u8> {
        let start = self.start;
        mem::forget(self);
        start
    }

    fn offset(&self) -> usize {
        self.start.addr().get() % BLOCK
    }

    fn pages(&self) -> Range<usize> {
        pages_of(self.offset()..self.offset() + self.size)
    }

    /// The block, of which this has been a holder from the beginning.
    fn block(&self) -> NonNull<Header> {
        let start_of = |address: NonZero<usize>| address.get() - address.get() % BLOCK;
        // No block begins at 0, so it is the one or the other.
        self.start.map_addr(|address| NonZero::new(start_of(address)).unwrap_or(address)).cast()
    }

    /// Keeps the first `size` bytes alone.
    fn shrink(&mut self, size: usize) {
        let all = self.pages();
        self.size = self.size.min(size);
        let hold = mem::ManuallyDrop::new(Hold(self.block()));
        hold.header().discount_on(self.pages().end.max(all.start)..all.end);
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let hold = Hold(self.block());
        hold.header().discount_on(self.pages());
        let left = hold.header().files.fetch_sub(1, AcqRel) - 1;
        if left.is_power_of_two() && hold.header().is_full.load(Acquire) {
            hold.give_back();
        }
    }
}

/// A share that is being filled. All of it is initialised.
pub(super) struct Room {
    share: Share,
    filled: usize,
}

impl Room {
    pub(super) fn as_slice(&self) -> &[u8] {
        // SAFETY: the beginning of the share, initialised and nobody else's.
        unsafe { slice::from_raw_parts(self.share.start.as_ptr(), self.filled) }
    }

    /// What is not filled yet.
    pub(super) fn rest(&mut self) -> &mut [u8] {
        // SAFETY: no more is filled than there is.
        let start = unsafe { self.share.start.add(self.filled) };
        // SAFETY: the end of the share, initialised and nobody else's.
        unsafe { slice::from_raw_parts_mut(start.as_ptr(), self.share.size - self.filled) }
    }

    /// Counts bytes of the rest as filled.
    pub(super) fn fill(&mut self, count: usize) {
        self.filled = self.filled.saturating_add(count).min(self.share.size);
    }

    /// Where the bytes are and how many, to become a [`Share`] again.
    pub(super) fn finish(mut self) -> (NonNull<u8>, usize) {
        self.share.shrink(self.filled);
        (self.share.into_start(), self.filled)
    }
}

/// Where one thread puts files, block after block.
pub(crate) struct Blocks(Option<Filling>);

impl Blocks {
    /// Without memory.
    pub(crate) const fn new() -> Self {
        Self(None)
    }

    /// Whether a file of so many bytes needs no further block.
    pub(crate) fn have_room_for(&self, size: u64) -> bool {
        let Ok(size) = usize::try_from(size) else { return false };
        self.0.as_ref().is_some_and(|filling| filling.end_of(size).is_some())
    }

    /// Room for a file of so many bytes, unless it is too large, or there is no memory.
    pub(super) fn room(&mut self, size: usize) -> Option<Room> {
        if !(1..=LARGEST).contains(&size) {
            return None;
        }
        if !self.have_room_for(size as u64) {
            self.0 = Some(Filling { hold: Hold::on_fresh()?, used: size_of::<Header>() });
        }
        self.0.as_mut()?.take(size)
    }
}

/// A block that is being filled from its beginning.
struct Filling {
    hold: Hold,
    used: usize,
}

impl Filling {
    /// Where the next file begins.
    fn next(&self) -> usize {
        self.used.next_multiple_of(ALIGNMENT)
    }

    /// Where it ends, if that is in the block.
    fn end_of(&self, size: usize) -> Option<usize> {
        self.next().checked_add(size).filter(|end| *end <= BLOCK)
    }

    fn take(&mut self, size: usize) -> Option<Room> {
        let (at, end) = (self.next(), self.end_of(size)?);
        self.used = end;
        let header = self.hold.header();
        header.count_on(pages_of(at..end));
        header.files.fetch_add(1, Relaxed);
        // The share is the other holder from now on.
        let block = mem::ManuallyDrop::new(self.hold.another()).0;
        // SAFETY: inside the block.
        let start = unsafe { block.cast::<u8>().add(at) };
        Some(Room { share: Share { start, size }, filled: 0 })
    }
}

impl Drop for Filling {
    fn drop(&mut self) {
        self.hold.header().is_full.store(true, Release);
        if self.used < BLOCK / 2 {
            self.hold.give_back();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::fault_injection::{Call, inject};
    use super::*;
    use core::cell::Cell;
    use rustix::io::Errno;
    use std::thread;
    use std::vec::Vec;

    std::thread_local! {
        /// How many blocks this thread was the last holder of.
        pub(super) static UNMAPPED: Cell<usize> = const { Cell::new(0) };
    }

    /// A file of so many bytes, all of which are `byte`.
    struct File {
        start: NonNull<u8>,
        size: usize,
        byte: u8,
    }

    // SAFETY: of its bytes it is the only owner.
    unsafe impl Send for File {}

    impl File {
        fn put(blocks: &mut Blocks, size: usize, byte: u8) -> Self {
            let mut room = blocks.room(size).unwrap();
            assert!(room.as_slice().is_empty() && room.rest().len() == size);
            let (front, back) = (size / 3, size - size / 3);
            room.rest()[..front].fill(byte);
            room.fill(front);
            room.rest()[..back].fill(byte);
            room.fill(back);
            let (start, filled) = room.finish();
            assert!(start.addr().get().is_multiple_of(ALIGNMENT) && filled == size);
            Self { start, size, byte }
        }

        fn is_whole(&self) -> bool {
            // SAFETY: a share that has not come back.
            let bytes = unsafe { slice::from_raw_parts(self.start.as_ptr(), self.size) };
            bytes.iter().all(|byte| *byte == self.byte)
        }

        /// What is in the middle, though it may be nobody's any more.
        fn middle(&self) -> u8 {
            // SAFETY: inside the share that it had.
            let middle = unsafe { self.start.add(self.size / 2) };
            // SAFETY: as the test knows, other files keep the block mapped.
            unsafe { middle.read_volatile() }
        }

        fn leave(&self) {
            // SAFETY: once for each file.
            drop(unsafe { Share::from_start(self.start, self.size) });
        }

        fn block(&self) -> usize {
            self.start.addr().get() / BLOCK
        }
    }

    #[test]
    #[cfg_attr(miri, ignore = "takes minutes in the interpreter")]
    fn files_lie_side_by_side_and_in_the_next_block_when_one_is_full() {
        let mut blocks = Blocks::new();
        assert!(blocks.room(0).is_none() && blocks.room(LARGEST + 1).is_none());
        let sizes = [1, 15, 16, 17, 4096, 70_000, LARGEST];
        let files: Vec<File> =
            (0..90u8).map(|at| File::put(&mut blocks, sizes[at as usize % 7], at)).collect();
        assert!(files.iter().all(File::is_whole));
        let mut used: Vec<usize> = files.iter().map(File::block).collect();
        used.dedup();
        // All that is put in is more than one of them holds, and less than two.
        assert_eq!(used.len(), 2);
        for pair in files.windows(2).filter(|pair| pair[0].block() == pair[1].block()) {
            let gap = pair[1].start.addr().get() - pair[0].start.addr().get() - pair[0].size;
            assert!(gap < ALIGNMENT);
        }
        drop(blocks);
        assert!(files.iter().all(File::is_whole));
        files.iter().for_each(File::leave);
        assert_eq!(UNMAPPED.get(), 2);
    }

    #[test]
    #[cfg_attr(miri, ignore = "takes minutes in the interpreter")]
    fn pages_that_nobody_lives_on_go_back_whenever_half_of_the_files_are_gone() {
        let page = sys::page_size();
        let mut blocks = Blocks::new();
        // More than half of a block, and each on a page of its own besides those that it shares.
        let size = (2 * page + 100).max(BLOCK / 50);
        let files: Vec<File> = (0..32).map(|at| File::put(&mut blocks, size, at + 1)).collect();
        assert!(files.iter().all(|file| file.block() == files[0].block()));
        for file in &files[..16] {
            file.leave();
        }
        assert!(files[..16].iter().all(|file| file.middle() != 0), "it may be filled further");
        drop(blocks);
        for left in (8..16).rev() {
            let gone = &files[31 - left];
            gone.leave();
            assert_eq!(gone.middle() == 0, left == 8, "{left} are left");
            assert!(files[32 - left..].iter().all(File::is_whole), "{left} are left");
        }
        assert!(files[..24].iter().all(|file| file.middle() == 0));
        files[24..31].iter().for_each(File::leave);
        assert!(files[30].middle() == 0 && files[31].is_whole());
        assert_eq!(UNMAPPED.get(), 0);
        files[31].leave();
        assert_eq!(UNMAPPED.get(), 1);
    }

    #[test]
    fn what_is_not_filled_is_given_back() {
        let mut blocks = Blocks::new();
        let first = File::put(&mut blocks, 100, 1);
        let mut room = blocks.room(LARGEST).unwrap();
        room.rest()[0] = 7;
        room.fill(1);
        let (start, filled) = room.finish();
        let short = File { start, size: filled, byte: 7 };
        drop(blocks.room(LARGEST).unwrap());
        let next = File::put(&mut blocks, 5000, 2);
        let counts = |file: &File| {
            // SAFETY: the file holds its block.
            let share = mem::ManuallyDrop::new(unsafe { Share::from_start(file.start, file.size) });
            let hold = mem::ManuallyDrop::new(Hold(share.block()));
            let on_page = hold.header().on_page.iter().map(|count| count.load(Relaxed));
            (hold.header().files.load(Relaxed), on_page.map(usize::from).sum::<usize>())
        };
        let pages = |file: &File| {
            let offset = file.start.addr().get() % BLOCK;
            pages_of(offset..offset + file.size).len()
        };
        let of_all = [&first, &short, &next].map(pages).into_iter().sum::<usize>();
        assert_eq!(counts(&first), (3, of_all + pages_of(0..size_of::<Header>()).len()));
        drop(blocks);
        assert!([&first, &short, &next].into_iter().all(File::is_whole));
        [first, short, next].iter().for_each(File::leave);
    }

    #[test]
    fn files_may_leave_on_several_threads_at_once() {
        let mut blocks = Blocks::new();
        let mut files: Vec<File> = (0..if cfg!(miri) { 4 } else { 100 })
            .map(|at| File::put(&mut blocks, 20_000, at + 1))
            .collect();
        drop(blocks);
        let others = files.split_off(files.len() / 2);
        let unmapped = thread::scope(|scope| {
            let leave = |part: Vec<File>| {
                move || {
                    assert!(part.iter().all(File::is_whole));
                    part.iter().for_each(File::leave);
                    UNMAPPED.get()
                }
            };
            let threads = [files, others].map(|part| scope.spawn(leave(part)));
            threads.into_iter().map(|thread| thread.join().unwrap()).sum::<usize>()
        });
        assert_eq!(unmapped, 1);
    }

    #[test]
    fn without_memory_there_is_no_block_and_without_large_pages_there_is() {
        let refusing = inject(Call::Map, 0, Errno::NOMEM);
        assert!(Blocks::new().room(1).is_none());
        drop(refusing);
        let _refusing = inject(Call::Advise, 0, Errno::INVAL);
        File::put(&mut Blocks::new(), 1, 1).leave();
    }
}
