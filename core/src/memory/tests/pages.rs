//! Tests of writable and published pages.
#![allow(unsafe_code)]

use super::super::fault_injection::{self, Call};
use super::super::testing::{Line, alone, maps};
use super::*;
use rustix::io::Errno;
use rustix::mm::Advice;
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

/// The permissions of each page from `address`, for example `r-x`.
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
fn publish_sets_each_protection_and_preserves_the_bytes() {
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
        "gaps, empty segments and the rest are inaccessible"
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
fn published_mappings_are_never_writable_and_executable() {
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
fn published_code_is_executable() {
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
        let function =
            unsafe { core::mem::transmute::<*mut u8, extern "C" fn() -> i32>(published.as_ptr()) };
        assert_eq!(function(), 42);
    }
}

#[test]
fn unordered_overlapping_or_outside_segments_are_refused() {
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
        MemoryError::SegmentOutside { index: 1, offset: 3 * page, size: 2 * page, len: 4 * page }
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
fn zero_pages_make_no_system_call() {
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
fn adjacent_segments_of_equal_protection_share_a_system_call() {
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
fn prefault_changes_no_byte_and_reports_out_of_memory() {
    let mut fresh = writable(8);
    fresh.as_mut_slice()[5] = 5;
    for len in [0, 1, pages(4).bytes(), pages(8).bytes() + 1, usize::MAX] {
        assert_eq!(fresh.prefault(len), Ok(()));
    }
    assert_eq!(fresh.as_slice().iter().position(|&byte| byte != 0), Some(5));
    let fault = fault_injection::inject(Call::Advise(Advice::LinuxPopulateWrite), 0, Errno::INVAL);
    assert_eq!(fresh.prefault(usize::MAX), Ok(()), "kernels before 5.14");
    drop(fault);
    let _fault = fault_injection::inject(Call::Advise(Advice::LinuxPopulateWrite), 0, Errno::NOMEM);
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
    // The first round warms up the C library and the test harness.
    let mut before = maps().len();
    for round in 0..3 {
        drop(writable(4));
        drop(writable(4).publish(&parts).unwrap());
        assert!(writable(4).publish(&[segment(3, 2, Read)]).is_err());
        for passes in 0..3 {
            let _fault = fault_injection::inject(Call::Protect, passes, Errno::NOMEM);
            let error = writable(4).publish(&parts).map(|_| ()).unwrap_err();
            assert!(matches!(error, MemoryError::Protect { errno, .. } if errno == Errno::NOMEM));
        }
        let after = maps().len();
        assert!(round == 0 || after == before, "{before} mappings became {after}");
        before = after;
    }
    let live = writable(4).publish(&parts).unwrap();
    assert!(maps().len() > before, "a live mapping is counted");
    drop(live);
}

#[test]
fn pages_are_send_and_sync() {
    fn crosses<T: Send + Sync>() {}
    crosses::<WritablePages>();
    crosses::<PublishedPages>();
}

#[test]
fn protect_error_names_address_protection_and_errno() {
    let _fault = fault_injection::inject(Call::Protect, 0, Errno::NOMEM);
    let error = writable(1).publish(&[segment(0, 1, ReadExecute)]).map(|_| ()).unwrap_err();
    let text = error.to_string();
    let page = PageCount::one().bytes();
    assert!(text.starts_with(&format!("cannot make 0x{page:x} bytes at 0x")), "{text}");
    assert!(text.contains(" readable and executable: out of memory"), "{text}");
}

/// `PR_SET_MDWE` refuses `mprotect` with EACCES. The bytes are then mapped from a memory file, whose writes may fail too.
#[test]
#[cfg_attr(miri, ignore = "maps a file")]
fn code_is_mapped_from_a_file_where_memory_does_not_become_executable() {
    let published = |second: Option<Call>| {
        let mut pages = writable(4);
        let page = PageCount::one().bytes();
        pages.as_mut_slice().chunks_mut(page).zip(1..).for_each(|(bytes, n)| bytes.fill(n));
        let _fault = match second {
            None => fault_injection::inject(Call::Protect, 0, Errno::ACCESS),
            Some(call) => fault_injection::inject(call, 0, Errno::NOMEM),
        };
        let code = [segment(0, 1, ReadWrite), segment(1, 3, ReadExecute)];
        pages.publish(&code)
    };
    let pages = published(None).unwrap();
    assert_eq!(protections(pages.address(), 4), ["rw-", "r-x", "r-x", "r-x"]);
    for (number, at) in (1..).zip((0..4).map(|page| page * PageCount::one().bytes())) {
        // SAFETY: a readable byte of the pages.
        assert_eq!(unsafe { pages.as_ptr().wrapping_add(at).read() }, number);
    }
    // The pages can be used for another image, and again for code.
    let mut again = pages.reclaim().unwrap();
    again.as_mut_slice().fill(7);
    let again = again.publish(&[segment(0, 4, ReadExecute)]).unwrap();
    assert_eq!(protections(again.address(), 4), ["r-x"; 4]);
    // SAFETY: as above.
    assert_eq!(unsafe { again.as_ptr().read() }, 7);
    assert!(published(Some(Call::Protect)).is_err());
}

#[test]
#[cfg_attr(miri, ignore = "asks for addresses, which the allocator does not give")]
fn aligned_pages_start_at_a_multiple_of_the_alignment() {
    for shift in [12, 13, 16, 21] {
        let alignment = PageCount::covering(1 << shift).unwrap();
        for placement in [Placement::Anywhere, Placement::Low2GiB] {
            let mut all = WritablePages::allocate_aligned(pages(3), alignment, placement).unwrap();
            assert!(all.address().is_multiple_of(alignment.bytes()) && all.size() == pages(3));
            all.as_mut_slice().fill(1);
        }
    }
}
