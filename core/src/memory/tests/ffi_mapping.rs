//! Tests of mappings for foreign code.
#![allow(unsafe_code)]

use super::super::fault_injection::{self, Call};
use super::super::testing::{End, alone, in_child, maps};
use super::*;
use rustix::io::Errno;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::{env, format, fs, process, vec, vec::Vec};

fn file(name: &str, len: usize) -> (PathBuf, Vec<u8>) {
    let path = env::temp_dir().join(format!("smf-ffi-{name}-{}", process::id()));
    let bytes: Vec<u8> = (0..len).map(|i| (i % 251) as u8).collect();
    fs::write(&path, &bytes).unwrap();
    (path, bytes)
}

fn share(path: &Path, offset: u64, protection: Protection) -> FfiMapping {
    let range = FileRange { offset, length: None };
    FfiMapping::share(path.as_os_str().as_bytes(), range, protection).unwrap()
}

fn copy(path: &Path, offset: u64, protection: Protection) -> FfiMapping {
    let range = FileRange { offset, length: None };
    FfiMapping::copy(path.as_os_str().as_bytes(), range, 1 << 20, protection).unwrap()
}

fn read(pages: &FfiMapping, offset: usize, len: usize) -> Result<Vec<u8>, MemoryError> {
    let (mut bytes, mut count) = (vec![0xee; len], 0);
    loop {
        count += pages.read_some(offset + count, &mut bytes[count..])?;
        if count == len {
            return Ok(bytes);
        }
    }
}

#[test]
fn read_returns_the_bytes_of_the_file_and_refuses_others() {
    let (path, bytes) = file("part", 10_000);
    for offset in [0, 4096, 8192] {
        let rest = &bytes[offset as usize..];
        for pages in
            [share(&path, offset, Protection::Read), copy(&path, offset, Protection::ReadWrite)]
        {
            assert_eq!((pages.len(), pages.address() % 4096), (rest.len(), 0));
            for (at, len) in [(0, 0), (0, rest.len()), (1, 1700), (rest.len(), 0)] {
                assert_eq!(read(&pages, at, len).unwrap(), rest[at..at + len]);
            }
            for (at, len) in
                [(0, rest.len() + 1), (rest.len() + 1, 0), (usize::MAX, 1), (usize::MAX, 2)]
            {
                let size = rest.len() as u64;
                let outside = |length: usize| {
                    let length = length as u64;
                    Err(MemoryError::RangeOutside { offset: at as u64, length, size })
                };
                assert_eq!(read(&pages, at, len), outside(len).map(|()| Vec::new()));
                let range = at..at.saturating_add(len);
                assert_eq!(pages.sync(range.clone(), true), outside(range.len()));
            }
        }
    }
    let inaccessible = [copy(&path, 0, Protection::None), share(&path, 0, Protection::None)];
    for pages in inaccessible {
        let address = pages.address();
        assert_eq!(read(&pages, 0, 1), Err(MemoryError::NotReadable { address }));
    }
    fs::remove_file(path).unwrap();
}

#[test]
fn read_of_a_truncated_shared_file_is_an_error() {
    let (path, bytes) = file("cut", 10_000);
    let (shared, copied) =
        (share(&path, 4096, Protection::Read), copy(&path, 4096, Protection::Read));
    let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
    file.set_len(5000).unwrap();
    assert_eq!(read(&shared, 0, 904).unwrap(), bytes[4096..5000]);
    for (at, len) in [(0, 905), (903, 5001), (904, 1), (5000, 1)] {
        let error = MemoryError::Truncated { at: 4096 + at.max(904) as u64 };
        assert_eq!(read(&shared, at, len), Err(error), "{at} {len}");
        assert_eq!(read(&copied, at, len).unwrap(), bytes[4096 + at..4096 + at + len]);
    }
    // Longer again: zeros.
    file.set_len(10_000).unwrap();
    assert_eq!(read(&shared, 904, 5000).unwrap(), [0; 5000]);
    // Another file of that name is not the one that was mapped.
    fs::remove_file(&path).unwrap();
    fs::write(&path, b"new").unwrap();
    assert_eq!(read(&shared, 0, 904).unwrap(), bytes[4096..5000]);
    fs::remove_file(path).unwrap();
}

#[test]
#[cfg_attr(miri, ignore = "reads a file that holds unsynchronised stores")]
fn stored_bytes_are_read_and_synchronised() {
    let (path, _) = file("store", 5000);
    let shared = share(&path, 0, Protection::ReadWrite);
    let copied = copy(&path, 0, Protection::ReadWrite);
    let zeroed = FfiMapping::zeroed(5000, Protection::ReadWrite).unwrap();
    let for_children = FfiMapping::share_zeroed(5000, Protection::ReadWrite).unwrap();
    for pages in [&shared, &copied, &zeroed, &for_children] {
        let address = core::ptr::with_exposed_provenance_mut::<[u8; 4]>(pages.address() + 4990);
        // SAFETY: inside the mapping, which is writable and has no references.
        unsafe { address.write_unaligned(*b"DATA") };
        assert_eq!(read(pages, 4990, 4).unwrap(), *b"DATA");
        for wait in [true, false] {
            pages.sync(0..5000, wait).unwrap();
        }
        for advice in [Advice::Normal, Advice::Random, Advice::Sequential, Advice::WillNeed] {
            pages.advise(4096..5000, advice).unwrap();
        }
        pages.lock(0..5000, true).unwrap();
        pages.lock(0..5000, false).unwrap();
        pages.discard(0..5000).unwrap();
    }
    assert!(fs::read(&path).unwrap()[4990..4994] == *b"DATA");
    for file_backed in [&shared, &copied, &for_children] {
        assert_eq!(read(file_backed, 4990, 4).unwrap(), *b"DATA");
    }
    assert_eq!(read(&zeroed, 4990, 4).unwrap(), [0; 4]);
    fs::remove_file(path).unwrap();
}

#[test]
fn shared_mappings_are_never_executable_and_leave_nothing_behind() {
    if !alone(
        "memory::ffi_mapping::tests::shared_mappings_are_never_executable_and_leave_nothing_behind",
    ) {
        return;
    }
    let (path, _) = file("leak", 40_000);
    let name = path.as_os_str().as_bytes();
    let open = || fs::read_dir("/proc/self/fd").unwrap().count();
    let before = (maps().len(), open());
    for protection in [Protection::None, Protection::Read, Protection::ReadWrite] {
        drop((share(&path, 0, protection), copy(&path, 4096, protection)));
        drop(FfiMapping::zeroed(1, protection).unwrap());
        drop(FfiMapping::share_zeroed(1, protection).unwrap());
    }
    let code = copy(&path, 0, Protection::ReadExecute);
    let line = maps().into_iter().find(|line| line.addresses.contains(&code.address()));
    assert_eq!(line.unwrap().access, "r-x");
    drop(code);
    let refused = FfiMapping::share(name, FileRange::WHOLE, Protection::ReadExecute);
    assert_eq!(refused.unwrap_err(), MemoryError::SharedCode);
    let refused = FfiMapping::share_zeroed(1, Protection::ReadExecute);
    assert_eq!(refused.unwrap_err(), MemoryError::SharedCode);
    for call in [Call::Map, Call::MapFile(Protection::Read), Call::Protect, Call::MemoryFile] {
        let fault = fault_injection::inject(call, 0, Errno::NOMEM);
        let made = [
            FfiMapping::copy(name, FileRange::WHOLE, 1 << 20, Protection::Read),
            FfiMapping::share(name, FileRange::WHOLE, Protection::Read),
            FfiMapping::zeroed(1, Protection::Read),
            FfiMapping::share_zeroed(1, Protection::Read),
        ];
        drop(fault);
        assert!(made.iter().any(Result::is_err), "{call:?}");
    }
    let fault = fault_injection::inject(Call::Seal, 0, Errno::NOMEM);
    assert!(FfiMapping::share_zeroed(1, Protection::Read).is_err());
    drop(fault);
    assert_eq!((maps().len(), open()), before);
    fs::remove_file(path).unwrap();
}

unsafe extern "C" {
    safe fn dup2(old: i32, new: i32) -> i32;
}

/// A daemon closes inherited descriptors, and opens files under the same numbers.
#[test]
#[cfg_attr(miri, ignore = "forks")]
fn child_with_other_descriptors_reads_no_other_file_and_closes_none() {
    let (path, bytes) = file("child", 5000);
    let zeroed = FfiMapping::share_zeroed(5000, Protection::ReadWrite).unwrap();
    let mut shared = Some([share(&path, 0, Protection::Read), zeroed]);
    let child = in_child(|| {
        let [of_file, zeroed] = shared.take().unwrap();
        assert_eq!(read(&of_file, 0, 5000).unwrap(), bytes);
        assert_eq!(read(&zeroed, 0, 5000).unwrap(), [0; 5000]);
        let other = fs::File::open("/proc/self/exe").unwrap();
        let number = std::os::fd::AsRawFd::as_raw_fd(&other);
        assert!((3..100).all(|new| dup2(number, new) == new));
        for pages in [of_file, zeroed] {
            let errno = Errno::BADF.into();
            assert_eq!(read(&pages, 7, 1), Err(MemoryError::Read { at: 7, errno }));
        }
        i32::from(!(3..100).all(|number| dup2(number, number) == number))
    });
    assert_eq!(child, End::Status(0));
    assert_eq!(read(&shared.unwrap()[0], 0, 5000).unwrap(), bytes);
    fs::remove_file(path).unwrap();
}
