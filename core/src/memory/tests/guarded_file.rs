//! A file is mapped in few system calls, and only if the host may guard it.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::{env, format, fs, process, vec, vec::Vec};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::super::fault_injection::{Call, recorded};
use super::super::file_limit::set_file_size_limit;
use super::super::testing::alone;
use super::*;

/// Guards no file, and accepts all or none.
struct Guards {
    accepts: bool,
}

// SAFETY: no process changes the files of these tests.
unsafe impl FileGuards for Guards {
    fn accepts(&self, _: BorrowedFd<'_>, _: u64) -> bool {
        self.accepts
    }

    fn guard(&self, _: &TryArc<FileMapping>) -> Option<u64> {
        Some(1)
    }

    unsafe fn release(&self, _: u64) {}
}

fn file(name: &str) -> PathBuf {
    let path = env::temp_dir().join(format!("smf-guarded-{}-{name}", process::id()));
    fs::write(&path, vec![7; 200_001]).unwrap();
    path
}

fn open(path: &Path, guards: &'static Guards) -> (FileContents, Vec<Call>) {
    let path = path.as_os_str().as_bytes();
    let (contents, calls) =
        recorded(|| FileContents::open(path, 1 << 30, FilePolicy::Auto, guards));
    (contents.unwrap(), calls)
}

#[test]
#[cfg_attr(miri, ignore = "no type of a file system")]
fn guarded_file_is_mapped_once_by_seven_calls() {
    let path = file("mapped");
    let (contents, calls) = open(&path, &Guards { accepts: true });
    assert!(matches!(contents, FileContents::Mapped(file) if file.as_slice() == vec![7; 200_001]));
    let map = Call::MapFile(Protection::ReadExecute);
    let reserve = Call::Map;
    let mut expected =
        vec![Call::Open, Call::Status, Call::FileSystem, map, Call::Protect, reserve, Call::Status];
    if calls.len() > expected.len() {
        // On tmpfs, whether the file has a name.
        expected.insert(3, Call::Status);
    }
    assert_eq!(calls, expected);
    fs::remove_file(path).unwrap();
}

#[test]
#[cfg_attr(miri, ignore = "no type of a file system")]
fn file_that_the_host_does_not_accept_is_not_mapped_itself() {
    let path = file("copied");
    let (contents, calls) = open(&path, &Guards { accepts: false });
    let bytes = match &contents {
        FileContents::Mapped(file) => file.as_slice(),
        FileContents::Copied(bytes) => bytes,
    };
    assert_eq!(bytes, vec![7; 200_001]);
    // It was written just now, and is copied by reading it.
    assert!(!calls.iter().any(|call| matches!(call, Call::MapFile(_))), "{calls:?}");
    fs::remove_file(path).unwrap();
}

/// A memory file beyond the limit would end the process by a signal.
#[test]
#[cfg_attr(miri, ignore = "restricts the process")]
fn limit_of_file_sizes_is_heeded_by_copies() {
    if !alone("memory::guarded_file::tests::limit_of_file_sizes_is_heeded_by_copies") {
        return;
    }
    let path = file("limited");
    // Until no write is under way.
    std::thread::sleep(std::time::Duration::from_millis(200));
    let limit = Rlimit { current: Some(100_000), maximum: Some(100_000) };
    setrlimit(Resource::Fsize, limit).unwrap();
    set_file_size_limit(|| getrlimit(Resource::Fsize).current);
    let (contents, _) = open(&path, &Guards { accepts: false });
    assert!(matches!(contents, FileContents::Copied(bytes) if *bytes == vec![7; 200_001]));
    fs::remove_file(path).unwrap();
}
