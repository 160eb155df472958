//! A read returns one whole version of a file or an error.

use super::super::fault_injection::{self, Call};
use super::super::types::{FileKind, FileRange, FileStamp, MemoryError};
use super::owned::Buffer;
use super::read::MAX_ATTEMPTS;
use super::*;
use crate::testing::SetAtEnd;
use rustix::fs::{CWD, FileType, Mode};
use rustix::io::Errno;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::string::ToString;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::{env, format, fs, process, thread, vec};

/// The directory of one test, removed at its end.
struct Directory(PathBuf);

impl Directory {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = env::temp_dir().join(format!("smf-mapping-{}-{count}", process::id()));
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn file(&self, bytes: &[u8]) -> PathBuf {
        let path = self.0.join("file");
        fs::write(&path, bytes).unwrap();
        path
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn read(path: &Path) -> Result<FileBytes, MemoryError> {
    FileBytes::read(path.as_os_str().as_bytes(), FileBytes::DEFAULT_LIMIT)
}

fn error(path: &Path) -> MemoryError {
    read(path).map(|bytes| bytes.len()).unwrap_err()
}

fn pattern(len: usize) -> vec::Vec<u8> {
    (0..len).map(|i| (i % 251) as u8).collect()
}

/// Waits until writes to a file that was written just now count as ended.
fn settle() {
    std::thread::sleep(std::time::Duration::from_millis(120));
}

#[test]
fn range_at_any_offset_is_copied_with_its_tail() {
    let directory = Directory::new();
    let file = directory.file(&pattern(10_000));
    let open = OpenFile::open(file.as_os_str().as_bytes()).unwrap();
    for to in [CopyTo::Allocator, CopyTo::Pages] {
        for (offset, length) in [(0, 10_000), (1, 9_999), (4095, 4098), (10_000, 0), (5, 0)] {
            let range = FileRange { offset, length: Some(length) };
            let part = open.copy(range, 10_000, b"tail", to).unwrap();
            let expected = &pattern(10_000)[offset as usize..][..length as usize];
            assert!(*part == *expected && part.tail() == b"tail");
            assert_eq!(part.stamp().size, 10_000);
        }
        let rest = FileRange { offset: 9_000, length: None };
        assert_eq!(open.copy(rest, 1000, b"", to).unwrap().len(), 1000);
        let too_large = MemoryError::FileTooLarge { size: 1000, limit: 999 };
        assert_eq!(open.copy(rest, 999, b"", to).unwrap_err(), too_large);
    }
    for (offset, length) in [(10_001, None), (10_001, Some(0)), (1, Some(10_000))] {
        let range = FileRange { offset, length };
        let error = FileBytes::read_range(file.as_os_str().as_bytes(), range, 1 << 20);
        let length = length.unwrap_or(0);
        let outside = MemoryError::RangeOutside { offset, length, size: 10_000 };
        assert_eq!(error.unwrap_err(), outside);
    }
    let huge = FileRange { offset: u64::MAX, length: Some(u64::MAX) };
    assert!(FileBytes::read_range(file.as_os_str().as_bytes(), huge, u64::MAX).is_err());
}

#[test]
#[cfg_attr(miri, ignore = "gives files times")]
fn comparison_with_file_finds_changed_bytes() {
    let directory = Directory::new();
    let file = directory.file(&pattern(10_000));
    let open = OpenFile::open(file.as_os_str().as_bytes()).unwrap();
    assert!(!open.is_settled(), "it was written just now");
    let writer = fs::OpenOptions::new().write(true).open(&file).unwrap();
    writer.set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
    let open = OpenFile::open(file.as_os_str().as_bytes()).unwrap();
    assert!(!open.is_settled(), "a writer can set the time of modification");
    assert_eq!(open.equals(&pattern(10_000), 0), Ok(true));
    assert_eq!(open.equals(&pattern(10_000)[5..], 5), Ok(true));
    assert_eq!(open.equals(&pattern(10_001), 0), Ok(false));
    let mut other = pattern(10_000);
    other[9_999] ^= 1;
    assert_eq!(open.equals(&other, 0), Ok(false));
    settle();
    assert!(OpenFile::open(file.as_os_str().as_bytes()).unwrap().is_settled());
}

#[test]
#[cfg_attr(miri, ignore = "takes minutes in the interpreter")]
fn file_overwritten_in_place_is_read_as_one_version() {
    let directory = Directory::new();
    const LEN: usize = 40_000;
    let file = directory.file(&[1; LEN]);
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let _end = SetAtEnd(&done);
        scope.spawn(|| {
            use std::os::unix::fs::FileExt;
            let other = fs::OpenOptions::new().write(true).open(&file).unwrap();
            for value in (1..=9).cycle().take_while(|_| !done.load(Ordering::Relaxed)) {
                other.write_all_at(&[value; LEN], 0).unwrap();
                if value > 4 {
                    // As `rsync` and `tar` do.
                    other.set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
                }
                // Otherwise a write is always under way.
                thread::sleep(std::time::Duration::from_micros(300));
            }
        });
        let seen: vec::Vec<_> = (0..2000).map(|_| read(&file)).collect();
        done.store(true, Ordering::Relaxed);
        let whole: vec::Vec<_> = seen.iter().filter_map(|read| read.as_ref().ok()).collect();
        assert!(!whole.is_empty(), "the retries never succeeded");
        for bytes in whole {
            assert!(bytes.iter().all(|byte| *byte == bytes[0]), "a mixture");
        }
    });
}

#[test]
fn file_of_any_size_is_read_whole() {
    // Miri takes minutes for millions of bytes.
    const LARGE: usize = if cfg!(miri) { 100_001 } else { 3_000_001 };
    let directory = Directory::new();
    for len in [0, 1, 4095, 4096, 4097, 65_536, LARGE] {
        let expected = pattern(len);
        let file = directory.file(&expected);
        assert!(*read(&file).unwrap() == *expected, "{len} bytes");
    }
    let link = directory.0.join("link");
    symlink("file", &link).unwrap();
    assert_eq!(read(&link).unwrap().len(), LARGE);
}

#[test]
fn copy_does_not_change_with_file() {
    let directory = Directory::new();
    let file = directory.file(&pattern(20_000));
    let bytes = read(&file).unwrap();
    fs::write(&file, [0; 100]).unwrap();
    assert!(*bytes == *pattern(20_000));
}

#[test]
#[cfg_attr(miri, ignore = "makes a named pipe")]
fn special_file_is_refused_without_blocking() {
    let directory = Directory::new();
    let fifo = directory.0.join("fifo");
    rustix::fs::mknodat(
        CWD,
        fifo.as_os_str().as_bytes(),
        FileType::Fifo,
        Mode::RUSR | Mode::WUSR,
        0,
    )
    .unwrap();
    for (path, kind, text) in [
        (directory.0.as_path(), FileKind::Directory, "not a regular file but a directory"),
        (&fifo, FileKind::Fifo, "not a regular file but a named pipe"),
        (
            Path::new("/dev/zero"),
            FileKind::CharacterDevice,
            "not a regular file but a character device",
        ),
    ] {
        assert_eq!(error(path), MemoryError::NotRegular { kind });
        assert_eq!(error(path).to_string(), text);
    }
    let socket = directory.0.join("socket");
    let _listener = UnixListener::bind(&socket).unwrap();
    assert_eq!(error(&socket), MemoryError::Open { errno: Errno::NXIO.into() });
}

#[test]
fn path_without_file_gives_errno_of_open() {
    let directory = Directory::new();
    let (one, two) = (directory.0.join("one"), directory.0.join("two"));
    symlink(&one, &two).unwrap();
    symlink(&two, &one).unwrap();
    let long_name = directory.0.join("n".repeat(256));
    for (path, errno, text) in [
        (directory.0.join("missing"), Errno::NOENT, "no such file or directory"),
        (PathBuf::new(), Errno::NOENT, "no such file or directory"),
        (directory.file(b"x").join("y"), Errno::NOTDIR, "a part of the path is not a directory"),
        (one, Errno::LOOP, "too many symbolic links on the path"),
        (long_name, Errno::NAMETOOLONG, "the path, or a name in it, is too long"),
    ] {
        assert_eq!(error(&path), MemoryError::Open { errno: errno.into() });
        assert_eq!(error(&path).to_string(), format!("cannot open the file: {text}"));
    }
}

#[test]
fn path_with_nul_or_too_long_is_refused_without_system_call() {
    let _fault = fault_injection::inject(Call::Open, 0, Errno::IO);
    let read = |path: &[u8]| FileBytes::read(path, 1).map(|bytes| bytes.len()).unwrap_err();
    assert_eq!(read(b"a\0b"), MemoryError::PathNul { at: 1 });
    assert_eq!(read(b"\0"), MemoryError::PathNul { at: 0 });
    assert_eq!(read(b"ab\0"), MemoryError::PathNul { at: 2 });
    for len in [4096, 5000] {
        let path = vec![b'a'; len];
        assert_eq!(read(&path), MemoryError::PathTooLong { len, limit: 4095 });
    }
    let longest = vec![b'/'; 4095];
    assert_eq!(read(&longest), MemoryError::Open { errno: Errno::IO.into() });
}

#[test]
fn path_of_4095_bytes_is_read() {
    let directory = Directory::new();
    let file = directory.file(b"far");
    let name = file.as_os_str().as_bytes();
    let mut path = vec![b'/'; 4095 - name.len()];
    path.extend_from_slice(name);
    assert_eq!(&*FileBytes::read(&path, 3).unwrap(), b"far");
}

#[test]
fn file_without_permission_is_refused_by_kernel() {
    let directory = Directory::new();
    let file = directory.file(b"secret");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o000)).unwrap();
    let denied = MemoryError::Open { errno: Errno::ACCESS.into() };
    // The superuser may read it nevertheless.
    let expected = fs::read(&file).map_err(|_| denied);
    assert_eq!(read(&file).map(|bytes| bytes.to_vec()), expected);
    assert_eq!(denied.to_string(), "cannot open the file: permission denied");
}

#[test]
fn file_larger_than_limit_is_refused() {
    let directory = Directory::new();
    let file = directory.file(&pattern(1000));
    let path = file.as_os_str().as_bytes();
    assert_eq!(FileBytes::read(path, 1000).unwrap().len(), 1000);
    let error = FileBytes::read(path, 999).map(|_| ()).unwrap_err();
    assert_eq!(error, MemoryError::FileTooLarge { size: 1000, limit: 999 });
    let sparse = fs::File::create(&file).unwrap();
    sparse.set_len(FileBytes::DEFAULT_LIMIT + 1).unwrap();
    assert!(matches!(read(&file), Err(MemoryError::FileTooLarge { .. })));
}

#[test]
fn file_shorter_than_its_size_is_read_to_its_end() {
    let directory = Directory::new();
    let file = directory.file(&pattern(5000));
    let open = OpenFile::open(file.as_os_str().as_bytes()).unwrap();
    for to in [CopyTo::Allocator, CopyTo::Pages] {
        let read = |size| {
            let mut buffer = Buffer::new(size, 0, to).unwrap();
            buffer.fill(&open.descriptor, 0, size).unwrap();
            buffer.as_slice().to_vec()
        };
        assert!(read(4096) == pattern(4096), "grown");
        assert!(read(9000) == pattern(5000), "shrunk");
        assert!(read(0).is_empty());
        assert!(Buffer::new(u64::MAX, 0, to).is_err());
    }
    let size = 1 << 63;
    let refused = Buffer::new(size, 0, CopyTo::Allocator).map(|_| ()).unwrap_err();
    assert_eq!(refused, MemoryError::OutOfMemory { size });
}

#[test]
#[cfg_attr(miri, ignore = "takes minutes in the interpreter")]
fn file_truncated_by_another_thread_is_read_without_fault() {
    let directory = Directory::new();
    let file = directory.file(&[0xff; 300_000]);
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let _end = SetAtEnd(&done);
        scope.spawn(|| {
            let other = fs::OpenOptions::new().write(true).open(&file).unwrap();
            while !done.load(Ordering::Relaxed) {
                other.set_len(0).unwrap();
                other.set_len(300_000).unwrap();
            }
        });
        for _ in 0..500 {
            match read(&file) {
                // Touches every page.
                Ok(bytes) => assert!(bytes.iter().all(|&byte| byte == 0 || byte == 0xff)),
                Err(error) => assert_eq!(error, MemoryError::Changing { attempts: MAX_ATTEMPTS }),
            }
        }
    });
}

#[test]
#[cfg_attr(miri, ignore = "gives files times")]
fn failing_system_call_gives_its_own_error() {
    let directory = Directory::new();
    let file = directory.file(&pattern(1000));
    let errno = Errno::IO.into();
    for (call, expected, text) in [
        (Call::Open, MemoryError::Open { errno }, "cannot open the file: input/output error"),
        (
            Call::Status,
            MemoryError::Inspect { errno },
            "cannot read the type and the size of the file: input/output error",
        ),
        (
            Call::Read,
            MemoryError::Read { at: 0, errno },
            "cannot read the file at offset 0x0: input/output error",
        ),
    ] {
        let _fault = fault_injection::inject(call, 0, Errno::IO);
        assert_eq!(error(&file), expected);
        assert_eq!(expected.to_string(), text);
    }
    settle();
    let _fault = fault_injection::inject(Call::Read, 1, Errno::IO);
    assert!(read(&file).is_ok(), "one read gets it all");
    drop(_fault);
    let _fault = fault_injection::inject(Call::Read, 1, Errno::IO);
    let file = OpenFile::open(file.as_os_str().as_bytes()).unwrap();
    let mut buffer = Buffer::new(1001, 0, CopyTo::Allocator).unwrap();
    let shrunk = buffer.fill(&file.descriptor, 0, 1001);
    assert_eq!(shrunk, Err(MemoryError::Read { at: 1000, errno }));
}

#[test]
fn bytes_and_tail_in_either_memory_are_separate() {
    const STAMP: FileStamp = FileStamp { size: 0, modified: 0, device: 0, inode: 0 };
    for (len, tail) in [(0, 0), (0, 5), (5, 0), (4095, 1), (4096, 4095), (10_000, 62)] {
        let all: vec::Vec<u8> = (0..len + tail).map(|i| (i % 251) as u8).collect();
        let (bytes, tail) = all.split_at(len);
        for to in [CopyTo::Allocator, CopyTo::Pages] {
            let owned = FileBytes::copy_of(bytes, tail, STAMP, to).unwrap();
            assert_eq!((&*owned, owned.tail()), (bytes, tail));
        }
    }
}
