//! The two states of a module's memory, and the one step between them.
//!
//! [`WritablePages`] are readable and writable from beginning to end and can never run.
//! [`WritablePages::publish`] consumes them and gives [`PublishedPages`], in which each segment has
//! its final protection, and which lend no reference to any byte. No way leads back, so code cannot
//! change once it can run, and no page is writable and executable at any moment: it is one
//! `mprotect` away from writable, and that call takes the right to write as it gives the right to
//! run.
#![allow(unsafe_code)]

use core::{ptr::NonNull, slice};

use super::page_count::PageCount;
use super::region::Region;
use super::types::{MemoryError, Placement, Protection};
use super::{icache, placement};

/// Neighbouring pages with one protection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// The pages in front of it, counted from the first.
    pub offset: PageCount,
    /// The pages in it; none is allowed and means nothing.
    pub size: PageCount,
    /// What may be done with them.
    pub protection: Protection,
}

/// Memory of our own that can be written and never run: anonymous, private, zero at first unless it has
/// been [used](Self::is_used).
///
/// Dropping it gives the memory back.
#[derive(Debug)]
pub struct WritablePages {
    /// Readable and writable from its first byte to its last.
    region: Region,
    /// They have been published before, and hold what they held then.
    used: bool,
}

impl WritablePages {
    /// Zero-filled pages where `placement` wants them.
    ///
    /// Without pages (`size` zero) there is no system call, and no placement that could fail.
    ///
    /// # Errors
    ///
    /// [`MemoryError::Map`] when the kernel has no memory to give, [`MemoryError::NoFreeRange`] when it
    /// has some but not where it is wanted.
    pub fn allocate(size: PageCount, placement: Placement) -> Result<Self, MemoryError> {
        let placement = if size == PageCount::ZERO { Placement::Anywhere } else { placement };
        placement::place(size, placement, Protection::ReadWrite)
            .map(|region| Self { region, used: false })
    }

    /// Gives the first `len` bytes memory at once, all when there are fewer, instead of with a page
    /// fault at the first write to each page. For bytes that are going to be written whole; it
    /// changes nothing but the time.
    ///
    /// Measured (median of 2,000: mapping, this call, copying into every byte):
    ///
    /// | bytes   | page faults | `MADV_POPULATE_WRITE` | `MAP_POPULATE` |
    /// |---------|-------------|-----------------------|----------------|
    /// | 4 KiB   | 4.3 us      | 4.6 us                | 5.0 us         |
    /// | 16 KiB  | 8.6 us      | 8.2 us                | 9.3 us         |
    /// | 64 KiB  | 24.8 us     | 21.8 us               | 25.7 us        |
    /// | 128 KiB | 50 us       | 41 us                 | 41 us          |
    /// | 1 MiB   | 330 us      | 312 us                | 314 us         |
    ///
    /// With a quarter of 64 KiB written, faults take 8 us and either call 21 us. Hence `madvise`,
    /// which can stop where the written bytes stop, and nothing for fewer than four pages.
    ///
    /// # Errors
    ///
    /// [`MemoryError::Prefault`] when there is not enough memory, which the page faults would
    /// otherwise find out with no way to say so.
    pub fn prefault(&mut self, len: usize) -> Result<(), MemoryError> {
        let fewest = PageCount::one().bytes().saturating_mul(3);
        if len <= fewest { Ok(()) } else { self.region.populate(len) }
    }

    /// Whether they have been published before: they hold what they held then, and have memory already.
    /// Others hold zeroes, and get memory when they are written to.
    #[inline]
    pub fn is_used(&self) -> bool {
        self.used
    }

    /// The address of the first byte, a multiple of the page size; it stays when the pages are
    /// published. Means nothing when there are no pages.
    #[inline]
    pub fn address(&self) -> usize {
        self.region.addresses().start
    }

    /// How many pages there are.
    #[inline]
    pub fn size(&self) -> PageCount {
        self.region.size()
    }

    /// Every byte.
    #[inline]
    pub fn as_slice(&self) -> &[u8] {
        // SAFETY: the region is readable and initialised (the kernel filled it with zeros), its
        // size is at most isize::MAX, and it can only be written through `&mut self`.
        unsafe { slice::from_raw_parts(self.region.start().as_ptr(), self.size().bytes()) }
    }

    /// Every byte, to be written.
    #[inline]
    pub fn as_mut_slice(&mut self) -> &mut [u8] {
        // SAFETY: as in `as_slice`; the region is writable, and `&mut self` makes the slice the
        // only way to it.
        unsafe { slice::from_raw_parts_mut(self.region.start().as_ptr(), self.size().bytes()) }
    }

    /// Gives each segment its final protection, for good.
    ///
    /// Segments come in the order of their offsets. Pages that belong to none become inaccessible.
    /// Neighbours with the same protection cost one system call together, and writable ones none.
    /// Executable segments can be run as soon as this returns, by any thread.
    ///
    /// # Errors
    ///
    /// The pages are unmapped and the error says why: [`MemoryError::SegmentOrder`] and
    /// [`MemoryError::SegmentOutside`] before anything is changed, [`MemoryError::Protect`] and
    /// [`MemoryError::Synchronize`] when the kernel refuses.
    #[cfg_attr(not(feature = "full"), inline(never))]
    pub fn publish(self, segments: &[Segment]) -> Result<PublishedPages, MemoryError> {
        self.check(segments)?;
        for segment in segments.iter().filter(|s| s.protection == Protection::ReadExecute) {
            let start = segment.offset.bytes();
            let code = self.as_slice().get(start..).unwrap_or(&[]);
            icache::synchronize(code.get(..segment.size.bytes()).unwrap_or(code))?;
        }
        let mut run = Run { start: 0, end: 0, protection: Protection::ReadWrite };
        for segment in segments {
            let start = segment.offset.bytes();
            run.extend(&self.region, start, Protection::None)?;
            run.extend(&self.region, start + segment.size.bytes(), segment.protection)?;
        }
        run.extend(&self.region, self.size().bytes(), Protection::None)?;
        run.apply(&self.region)?;
        Ok(PublishedPages { region: self.region })
    }

    /// Whether the segments lie inside, in order, none over another.
    fn check(&self, segments: &[Segment]) -> Result<(), MemoryError> {
        let len = self.size();
        let mut previous_end = PageCount::ZERO;
        for (index, &Segment { offset, size, .. }) in segments.iter().enumerate() {
            let end = offset.checked_add(size).filter(|&end| end <= len);
            let (offset, size) = (offset.bytes(), size.bytes());
            let outside = MemoryError::SegmentOutside { index, offset, size, len: len.bytes() };
            if offset < previous_end.bytes() {
                let previous_end = previous_end.bytes();
                return Err(MemoryError::SegmentOrder { index, offset, previous_end });
            }
            previous_end = end.ok_or(outside)?;
        }
        Ok(())
    }
}

/// Pages that get one protection together, in bytes from the first.
struct Run {
    start: usize,
    end: usize,
    protection: Protection,
}

impl Run {
    /// Goes on up to `end` with `protection`; what was collected under another one is applied.
    fn extend(
        &mut self,
        region: &Region,
        end: usize,
        protection: Protection,
    ) -> Result<(), MemoryError> {
        if end != self.end && protection != self.protection {
            self.apply(region)?;
            *self = Self { start: self.end, end: self.end, protection };
        }
        self.end = end;
        Ok(())
    }

    fn apply(&self, region: &Region) -> Result<(), MemoryError> {
        // So they are already.
        if self.protection == Protection::ReadWrite {
            return Ok(());
        }
        // SAFETY: both ends come from page counts. `publish` owns the pages, so that no borrow of
        // them is alive.
        unsafe { region.protect(self.start..self.end, self.protection) }
    }
}

/// Memory whose protections are final. Dropping it gives the memory back.
///
/// Its bytes are reached by address alone, because code that runs may change the writable ones at
/// any time: a Rust reference to them would promise what nobody can keep.
#[derive(Debug)]
pub struct PublishedPages {
    region: Region,
}

impl PublishedPages {
    /// Makes the pages writable and not executable again. They hold what they held.
    ///
    /// As with dropping them, no code in them may be running, and no address of them is good any more.
    ///
    /// # Errors
    ///
    /// [`MemoryError::Protect`] when the kernel refuses; the pages are unmapped then.
    pub(super) fn reclaim(self) -> Result<WritablePages, MemoryError> {
        let Self { region } = self;
        // SAFETY: both ends come from page counts; the value was owned, and lends no references.
        unsafe { region.protect(0..region.size().bytes(), Protection::ReadWrite) }?;
        Ok(WritablePages { region, used: true })
    }

    /// The first byte. Good for reading, writing and calling what the segments allow, as long as
    /// the value lives.
    #[inline]
    pub fn as_ptr(&self) -> *mut u8 {
        self.region.start().as_ptr()
    }

    /// As [`as_ptr`](Self::as_ptr).
    #[inline]
    pub(super) fn start(&self) -> NonNull<u8> {
        self.region.start()
    }

    /// The address of the first byte, a multiple of the page size. Means nothing when there are no
    /// pages.
    #[inline]
    pub fn address(&self) -> usize {
        self.region.addresses().start
    }

    /// How many pages there are.
    #[inline]
    pub fn size(&self) -> PageCount {
        self.region.size()
    }

    /// Whether `address` is that of one of the bytes.
    #[inline]
    pub fn contains(&self, address: usize) -> bool {
        self.region.addresses().contains(&address)
    }
}

#[cfg(test)]
mod tests {
    use super::super::fault_injection::{self, Call};
    use super::super::testing::{Line, alone, maps};
    use super::*;
    use rustix::io::Errno;
    use std::format;
    use std::string::{String, ToString};
    use std::vec::Vec;

    use Protection::{None as NoAccess, Read, ReadExecute, ReadWrite};

    fn pages(count: u64) -> PageCount {
        PageCount::exact(count * PageCount::one().bytes() as u64).unwrap()
    }

    fn writable(count: u64) -> WritablePages {
        WritablePages::allocate(pages(count), Placement::Anywhere).unwrap()
    }

    fn segment(offset: u64, size: u64, protection: Protection) -> Segment {
        Segment { offset: pages(offset), size: pages(size), protection }
    }

    /// What the kernel says of each page from `address`, for example `r-x`.
    fn protections(address: usize, count: usize) -> Vec<String> {
        let page = PageCount::one().bytes();
        let lines = maps();
        let of = |at| lines.iter().find(|line: &&Line| line.addresses.contains(&at));
        let pages = (0..count).map(|page_index| of(address + page_index * page));
        pages.map(|line| line.map_or("unmapped".to_string(), |l| l.access.clone())).collect()
    }

    #[test]
    fn fresh_pages_are_zero_writable_and_not_executable() {
        let mut fresh = writable(3);
        assert_eq!(fresh.address() % PageCount::one().bytes(), 0);
        assert_eq!(fresh.as_slice().len(), fresh.size().bytes());
        assert!(fresh.as_slice().iter().all(|&byte| byte == 0));
        fresh.as_mut_slice().fill(0xa5);
        assert!(fresh.as_slice().iter().all(|&byte| byte == 0xa5));
        assert_eq!(protections(fresh.address(), 3), ["rw-"; 3]);
    }

    #[test]
    fn publishing_gives_each_page_its_protection_and_keeps_the_bytes() {
        let mut fresh = writable(7);
        fresh.as_mut_slice().iter_mut().zip(0u32..).for_each(|(byte, i)| *byte = (i % 251) as u8);
        let address = fresh.address();
        let published = fresh
            .publish(&[
                segment(0, 2, ReadExecute),
                segment(2, 1, Read),
                segment(3, 0, ReadExecute),
                segment(4, 1, ReadWrite),
                segment(5, 1, NoAccess),
            ])
            .unwrap();
        assert_eq!((published.address(), published.size()), (address, pages(7)));
        assert_eq!(
            protections(address, 7),
            ["r-x", "r-x", "r--", "---", "rw-", "---", "---"],
            "the gap, the empty segment and the rest have none"
        );
        let page = PageCount::one().bytes();
        for offset in [0, page, 2 * page + 7, 4 * page, 5 * page - 1] {
            // SAFETY: the offset is in a page that was published as readable.
            let byte = unsafe { published.as_ptr().wrapping_add(offset).read() };
            assert_eq!(byte, (offset % 251) as u8, "at {offset:#x}");
        }
        // SAFETY: the page was published as writable.
        unsafe { published.as_ptr().wrapping_add(4 * page).write(1) };
        assert!(published.contains(address + 7 * page - 1));
        assert!(!published.contains(address + 7 * page) && !published.contains(address - 1));
    }

    #[test]
    fn nothing_in_the_process_is_ever_writable_and_executable() {
        for protection in [NoAccess, Read, ReadWrite, ReadExecute] {
            let published = writable(2).publish(&[segment(0, 2, protection)]).unwrap();
            assert!(published.contains(published.address()));
            for line in maps() {
                let both = line.access.contains('w') && line.access.contains('x');
                assert!(!both, "{:x?} is {}", line.addresses, line.access);
            }
        }
    }

    #[test]
    #[cfg_attr(miri, ignore = "runs machine code")]
    fn code_runs_once_it_is_published() {
        #[cfg(target_arch = "x86_64")]
        let code = [0xb8, 42, 0, 0, 0, 0xc3]; // mov eax, 42; ret
        #[cfg(target_arch = "aarch64")]
        let code = [0x40, 0x05, 0x80, 0x52, 0xc0, 0x03, 0x5f, 0xd6]; // mov w0, #42; ret
        #[cfg(target_arch = "riscv64")]
        let code = [0x13, 0x05, 0xa0, 0x02, 0x67, 0x80, 0x00, 0x00]; // li a0, 42; ret
        for _ in 0..50 {
            let mut fresh = writable(1);
            fresh.as_mut_slice()[..code.len()].copy_from_slice(&code);
            let published = fresh.publish(&[segment(0, 1, ReadExecute)]).unwrap();
            // SAFETY: the address of a function of this type, written above and executable.
            let function = unsafe {
                core::mem::transmute::<*mut u8, extern "C" fn() -> i32>(published.as_ptr())
            };
            assert_eq!(function(), 42);
        }
    }

    #[test]
    fn segments_out_of_order_over_each_other_or_outside_are_refused() {
        let page = PageCount::one().bytes();
        let refusal = |segments: &[Segment]| writable(4).publish(segments).map(|_| ()).unwrap_err();
        assert_eq!(
            refusal(&[segment(2, 1, Read), segment(0, 1, Read)]),
            MemoryError::SegmentOrder { index: 1, offset: 0, previous_end: 3 * page }
        );
        assert_eq!(
            refusal(&[segment(0, 2, Read), segment(1, 2, Read)]),
            MemoryError::SegmentOrder { index: 1, offset: page, previous_end: 2 * page }
        );
        assert_eq!(
            refusal(&[segment(0, 1, Read), segment(3, 2, Read)]),
            MemoryError::SegmentOutside {
                index: 1,
                offset: 3 * page,
                size: 2 * page,
                len: 4 * page
            }
        );
        assert!(matches!(
            refusal(&[segment(5, 0, Read)]),
            MemoryError::SegmentOutside { index: 0, .. }
        ));
        let most = PageCount::covering(isize::MAX as u64 - page as u64).unwrap();
        let huge = Segment { offset: pages(3), size: most, protection: Read };
        assert!(matches!(refusal(&[huge]), MemoryError::SegmentOutside { index: 0, .. }));
    }

    #[test]
    fn no_pages_are_no_system_call() {
        let _fault = fault_injection::inject(Call::Map, 0, Errno::NOMEM);
        let none = PageCount::ZERO;
        for placement in [Placement::Anywhere, Placement::Low2GiB, Placement::Near(1)] {
            let mut empty = WritablePages::allocate(none, placement).unwrap();
            assert_eq!((empty.as_mut_slice().len(), empty.prefault(1 << 20)), (0, Ok(())));
            let published = empty.publish(&[segment(0, 0, ReadExecute)]).unwrap();
            assert!(!published.contains(published.address()));
        }
        assert!(WritablePages::allocate(pages(1), Placement::Anywhere).is_err());
    }

    #[test]
    fn neighbours_of_one_protection_are_one_system_call() {
        let segments = [
            segment(0, 1, ReadExecute),
            segment(1, 1, ReadExecute),
            segment(2, 1, Read),
            segment(3, 1, Read),
            segment(4, 1, ReadWrite),
        ];
        let _fault = fault_injection::inject(Call::Protect, 2, Errno::NOMEM);
        assert!(writable(5).publish(&segments).is_ok());
        assert!(writable(5).publish(&segments).is_err(), "the third call");
    }

    #[test]
    fn prefaulting_changes_no_byte_and_passes_on_a_want_of_memory() {
        let mut fresh = writable(8);
        fresh.as_mut_slice()[5] = 5;
        for len in [0, 1, pages(4).bytes(), pages(8).bytes() + 1, usize::MAX] {
            assert_eq!(fresh.prefault(len), Ok(()));
        }
        assert_eq!(fresh.as_slice().iter().position(|&byte| byte != 0), Some(5));
        let fault = fault_injection::inject(Call::Populate, 0, Errno::INVAL);
        assert_eq!(fresh.prefault(usize::MAX), Ok(()), "a kernel before 5.14");
        drop(fault);
        let _fault = fault_injection::inject(Call::Populate, 0, Errno::NOMEM);
        let (address, size) = (fresh.address(), fresh.size().bytes());
        assert_eq!(
            fresh.prefault(usize::MAX),
            Err(MemoryError::Prefault { address, size, errno: Errno::NOMEM.into() })
        );
    }

    #[test]
    fn dropped_pages_are_unmapped_in_every_state() {
        if !alone("memory::pages::tests::dropped_pages_are_unmapped_in_every_state") {
            return;
        }
        let parts = [segment(0, 1, ReadExecute), segment(1, 1, Read), segment(3, 1, ReadExecute)];
        // One round first: the C library and the test harness map what they need.
        let mut before = maps().len();
        for round in 0..3 {
            drop(writable(4));
            drop(writable(4).publish(&parts).unwrap());
            assert!(writable(4).publish(&[segment(3, 2, Read)]).is_err());
            for passes in 0..3 {
                let _fault = fault_injection::inject(Call::Protect, passes, Errno::NOMEM);
                let error = writable(4).publish(&parts).map(|_| ()).unwrap_err();
                assert!(
                    matches!(error, MemoryError::Protect { errno, .. } if errno == Errno::NOMEM)
                );
            }
            let after = maps().len();
            assert!(round == 0 || after == before, "{before} mappings became {after}");
            before = after;
        }
        let kept = writable(4).publish(&parts).unwrap();
        assert!(maps().len() > before, "the count sees a mapping that lives");
        drop(kept);
    }

    #[test]
    fn ownership_may_cross_threads() {
        fn crosses<T: Send + Sync>() {}
        crosses::<WritablePages>();
        crosses::<PublishedPages>();
    }

    #[test]
    fn errors_say_what_the_kernel_refused() {
        let _fault = fault_injection::inject(Call::Protect, 0, Errno::ACCESS);
        let error = writable(1).publish(&[segment(0, 1, ReadExecute)]).map(|_| ()).unwrap_err();
        let text = error.to_string();
        let page = PageCount::one().bytes();
        assert!(text.starts_with(&format!("cannot make 0x{page:x} bytes at 0x")), "{text}");
        assert!(text.ends_with(" readable and executable: permission denied"), "{text}");
    }
}
