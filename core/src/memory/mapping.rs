//! Files, as bytes that stay what they are.
//!
//! A file is copied into memory of our own. To map it would be cheaper for a large one, but the
//! kernel raises SIGBUS in whoever touches a page of a mapping that another process has truncated
//! away, and shows what that process overwrites; a copy does neither.
//!
//! The copy lies in the allocator's memory, which is warm. Measured (median of 2,000: open, fstat,
//! get memory, read, look at every line, give back), for 4 KiB, 64 KiB and 1 MiB: 3.5, 4.7 and 32
//! us so; 9.7, 33 and 454 us with an anonymous mapping for each file, of which the kernel has to
//! zero every page. The first file of 1 MiB costs about the same either way.

use alloc::vec::Vec;
use core::ffi::CStr;
use core::ops::Deref;

use arrayvec::ArrayVec;
use rustix::fd::OwnedFd;

use super::sys::{self, PATH_LIMIT};
use super::{FileKind, MemoryError};

/// The bytes of a file as they were when it was read.
///
/// Nobody else has access to them, so no process can change them or make touching them a fault.
#[derive(Debug)]
pub struct FileBytes {
    bytes: Vec<u8>,
}

impl FileBytes {
    /// The size up to which a file is read unless the caller says otherwise: 4 GiB.
    pub const DEFAULT_LIMIT: u64 = 4 << 30;

    /// Reads the file at `path`, which is bytes as the kernel takes them, relative to the working
    /// directory unless it begins with a slash. Symbolic links are followed.
    ///
    /// Four system calls (open, fstat, read, close) for a file of up to 2 GiB that holds still.
    /// Another process may write to it meanwhile; then
    ///
    /// * a file that **shrinks** after its size was asked gives the bytes that are still there,
    /// * a file that **grows** gives as many bytes as its size was,
    /// * a file that is **overwritten** may give some bytes from before and some from after.
    ///
    /// None of that is told apart from a file that was so from the start: what the bytes are worth
    /// is for the format to check. Files whose size the kernel gives as 0 (those in `/proc`) read
    /// as empty.
    ///
    /// # Errors
    ///
    /// * [`MemoryError::PathNul`], [`MemoryError::PathTooLong`] (more than 4095 bytes): no file can
    ///   have such a path.
    /// * [`MemoryError::Open`]: not there, not allowed, too many open files, a socket ...
    /// * [`MemoryError::NotRegular`]: a directory, a named pipe, a device. None of them is waited
    ///   for.
    /// * [`MemoryError::FileTooLarge`]: more than `limit` bytes; [`MemoryError::NoRoomForFile`]:
    ///   more than the allocator has.
    /// * [`MemoryError::Inspect`], [`MemoryError::Read`]: the file system failed.
    pub fn read(path: &[u8], limit: u64) -> Result<Self, MemoryError> {
        let file = open(path)?;
        let status = sys::status(&file).map_err(|errno| MemoryError::Inspect { errno })?;
        if status.kind != FileKind::Regular {
            return Err(MemoryError::NotRegular { kind: status.kind });
        }
        if status.size > limit {
            return Err(MemoryError::FileTooLarge { size: status.size, limit });
        }
        read_up_to(&file, status.size).map(|bytes| Self { bytes })
    }
}

impl Deref for FileBytes {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

fn open(path: &[u8]) -> Result<OwnedFd, MemoryError> {
    let too_long = MemoryError::PathTooLong { len: path.len(), limit: PATH_LIMIT };
    let mut terminated = ArrayVec::<u8, { PATH_LIMIT + 1 }>::new();
    terminated.try_extend_from_slice(path).map_err(|_| too_long)?;
    terminated.try_push(0).map_err(|_| too_long)?;
    let first_nul = CStr::from_bytes_until_nul(&terminated);
    match first_nul {
        Ok(whole) if whole.count_bytes() == path.len() => {
            sys::open(whole).map_err(|errno| MemoryError::Open { errno })
        }
        Ok(part) => Err(MemoryError::PathNul { at: part.count_bytes() }),
        Err(_) => Err(too_long),
    }
}

/// The first `size` bytes of `file`, or all when there are fewer.
fn read_up_to(file: &OwnedFd, size: u64) -> Result<Vec<u8>, MemoryError> {
    let no_room = MemoryError::NoRoomForFile { size };
    let size = usize::try_from(size).map_err(|_| no_room)?;
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(size).map_err(|_| no_room)?;
    while let Some(missing @ 1..) = size.checked_sub(bytes.len()) {
        let at = bytes.len() as u64;
        let count = sys::read(file, &mut bytes, missing)
            .map_err(|errno| MemoryError::Read { at, errno })?;
        if count == 0 {
            break;
        }
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::super::faults::{self, Call};
    use super::*;
    use rustix::fs::{CWD, FileType, Mode};
    use rustix::io::Errno;
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::os::unix::net::UnixListener;
    use std::path::{Path, PathBuf};
    use std::string::ToString;
    use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
    use std::{env, format, fs, process, thread, vec};

    /// A directory of its own for one test, removed at its end.
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

    #[test]
    fn reads_what_is_there() {
        let directory = Directory::new();
        for len in [0, 1, 4095, 4096, 4097, 65_536, 3_000_001] {
            let expected = pattern(len);
            let file = directory.file(&expected);
            assert!(*read(&file).unwrap() == *expected, "{len} bytes");
        }
        let link = directory.0.join("link");
        symlink("file", &link).unwrap();
        assert_eq!(read(&link).unwrap().len(), 3_000_001);
    }

    #[test]
    fn the_copy_does_not_change_with_the_file() {
        let directory = Directory::new();
        let file = directory.file(&pattern(20_000));
        let bytes = read(&file).unwrap();
        fs::write(&file, [0; 100]).unwrap();
        assert!(*bytes == *pattern(20_000));
    }

    #[test]
    fn what_is_no_regular_file_is_refused_and_never_waited_for() {
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
    fn a_path_that_leads_nowhere_says_why() {
        let directory = Directory::new();
        let (one, two) = (directory.0.join("one"), directory.0.join("two"));
        symlink(&one, &two).unwrap();
        symlink(&two, &one).unwrap();
        let long_name = directory.0.join("n".repeat(256));
        for (path, errno, text) in [
            (directory.0.join("missing"), Errno::NOENT, "no such file or directory"),
            (PathBuf::new(), Errno::NOENT, "no such file or directory"),
            (
                directory.file(b"x").join("y"),
                Errno::NOTDIR,
                "a part of the path is not a directory",
            ),
            (one, Errno::LOOP, "too many symbolic links on the path"),
            (long_name, Errno::NAMETOOLONG, "the path, or a name in it, is too long"),
        ] {
            assert_eq!(error(&path), MemoryError::Open { errno: errno.into() });
            assert_eq!(error(&path).to_string(), format!("cannot open the file: {text}"));
        }
    }

    #[test]
    fn paths_that_no_file_can_have_never_reach_the_kernel() {
        let _fault = faults::inject(Call::Open, 0, Errno::IO);
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
    fn the_longest_path_is_read() {
        let directory = Directory::new();
        let file = directory.file(b"far");
        let name = file.as_os_str().as_bytes();
        let mut path = vec![b'/'; 4095 - name.len()];
        path.extend_from_slice(name);
        assert_eq!(&*FileBytes::read(&path, 3).unwrap(), b"far");
    }

    #[test]
    fn permission_is_the_kernels_word() {
        let directory = Directory::new();
        let file = directory.file(b"secret");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o000)).unwrap();
        let denied = MemoryError::Open { errno: Errno::ACCESS.into() };
        // The superuser may read it all the same.
        let expected = fs::read(&file).map_err(|_| denied);
        assert_eq!(read(&file).map(|bytes| bytes.to_vec()), expected);
        assert_eq!(denied.to_string(), "cannot open the file: permission denied");
    }

    #[test]
    fn the_limit_is_the_largest_size_that_is_read() {
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
    fn a_size_that_is_no_longer_true_is_an_upper_bound() {
        let directory = Directory::new();
        let file = directory.file(&pattern(5000));
        let open = || super::open(file.as_os_str().as_bytes()).unwrap();
        assert!(read_up_to(&open(), 4096).unwrap() == pattern(4096), "grown");
        assert!(read_up_to(&open(), 9000).unwrap() == pattern(5000), "shrunk");
        assert!(read_up_to(&open(), 0).unwrap().is_empty());
        for size in [1 << 63, u64::MAX] {
            assert_eq!(read_up_to(&open(), size), Err(MemoryError::NoRoomForFile { size }));
        }
    }

    #[test]
    fn a_file_that_another_thread_truncates_is_read_without_a_fault() {
        let directory = Directory::new();
        let file = directory.file(&[0xff; 300_000]);
        let done = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                let other = fs::OpenOptions::new().write(true).open(&file).unwrap();
                while !done.load(Ordering::Relaxed) {
                    other.set_len(0).unwrap();
                    other.set_len(300_000).unwrap();
                }
            });
            for _ in 0..2000 {
                let bytes = read(&file).unwrap();
                assert!(bytes.len() <= 300_000);
                // Touches every page.
                assert!(bytes.iter().all(|&byte| byte == 0 || byte == 0xff));
            }
            done.store(true, Ordering::Relaxed);
        });
    }

    #[test]
    fn every_call_that_fails_is_named() {
        let directory = Directory::new();
        let file = directory.file(&pattern(1000));
        let errno = Errno::IO.into();
        for (call, expected, text) in [
            (Call::Open, MemoryError::Open { errno }, "cannot open the file: input/output error"),
            (
                Call::Status,
                MemoryError::Inspect { errno },
                "cannot tell the size of the file: input/output error",
            ),
            (
                Call::Read,
                MemoryError::Read { at: 0, errno },
                "cannot read the file at offset 0x0: input/output error",
            ),
        ] {
            let _fault = faults::inject(call, 0, Errno::IO);
            assert_eq!(error(&file), expected);
            assert_eq!(expected.to_string(), text);
        }
        let fault = faults::inject(Call::Read, 1, Errno::IO);
        assert!(read(&file).is_ok(), "one read gets it all");
        drop(fault);
        let _fault = faults::inject(Call::Read, 1, Errno::IO);
        let shrunk = read_up_to(&super::open(file.as_os_str().as_bytes()).unwrap(), 1001);
        assert_eq!(shrunk, Err(MemoryError::Read { at: 1000, errno }));
    }
}
