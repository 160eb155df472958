//! Files and pages: copy, map, publish, and query permissions.

use std::os::unix::ffi::OsStrExt;
use std::{env, format, fs, process, vec};

use super::fail_each;
use crate::memory::testing::alone;
use crate::memory::{
    Advice, FfiMapping, FileBytes, FileRange, MemoryError, PageCount, Placement, Protection,
    Segment, WritablePages, permissions_at, read_ahead, stamp_of,
};

const LIMIT: u64 = 1 << 20;

fn pages(count: usize) -> Result<PageCount, MemoryError> {
    PageCount::exact((count * PageCount::one().bytes()) as u64)
}

#[test]
#[cfg_attr(miri, ignore = "takes minutes in the interpreter")]
fn failed_call_releases_files_and_pages() {
    if !alone("faults::memory::failed_call_releases_files_and_pages") {
        return;
    }
    let path = env::temp_dir().join(format!("smf-faults-memory-{}", process::id()));
    let bytes = vec![0x5a; 50_000];
    fs::write(&path, &bytes).unwrap();
    let name = path.as_os_str().as_bytes();
    let intact = || assert_eq!(fs::read(&path).unwrap(), bytes);

    let read = || {
        // A recent modification, so that the file is read twice.
        let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
        file.set_modified(std::time::SystemTime::now()).unwrap();
        assert!(*FileBytes::read(name, LIMIT)? == *bytes);
        stamp_of(name)
    };
    let mut points = fail_each("read a file", read, intact, drop);
    points += fail_each("read ahead", || read_ahead(name), intact, drop);
    let map = || {
        let mapping = FfiMapping::share(name, FileRange::WHOLE, Protection::ReadWrite)?;
        mapping.advise(0..bytes.len(), Advice::WillNeed)?;
        mapping.lock(0..bytes.len(), true)?;
        mapping.lock(0..bytes.len(), false)?;
        mapping.sync(0..bytes.len(), false)?;
        Ok::<_, MemoryError>(mapping)
    };
    points += fail_each("map a file", map, intact, drop);
    let ffi_copy = || FfiMapping::copy(name, FileRange::WHOLE, LIMIT, Protection::Read);
    points += fail_each("copy a file for foreign code", ffi_copy, intact, drop);
    let share = || {
        let shared = FfiMapping::share_zeroed(100_000, Protection::ReadWrite)?;
        shared.read_some(0, &mut [0])?;
        Ok::<_, MemoryError>(shared)
    };
    points += fail_each("share memory with foreign code", share, intact, drop);
    points += fail_each("query permissions", || permissions_at(0x1000), intact, drop);

    for placement in [Placement::Anywhere, Placement::Low2GiB] {
        let publish = || {
            let mut all = WritablePages::allocate(pages(20)?, placement)?;
            all.prefault(80_000)?;
            let segment = |offset, count, protection| {
                Ok(Segment { offset: pages(offset)?, size: pages(count)?, protection })
            };
            all.publish(&[
                segment(0, 8, Protection::ReadExecute)?,
                segment(8, 4, Protection::Read)?,
                segment(12, 8, Protection::ReadWrite)?,
            ])
        };
        points += fail_each(&format!("publish pages, {placement:?}"), publish, intact, drop);
    }
    fs::remove_file(&path).unwrap();
    std::println!("{points} points in memory");
    assert!(points > crate::testing::scale(300, 100), "the faults did not reach the calls");
}
