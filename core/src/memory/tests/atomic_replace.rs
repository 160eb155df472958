//! Tests of atomic replacement: preserved metadata, refusals, a fault at every call, concurrent writers.

use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::string::String;
use std::vec::Vec;
use std::{env, format, fs, process, thread};

use rustix::io::Errno as Raw;

use super::super::fault_injection::{self, Call};
use super::*;

const LIMIT: u64 = 1 << 20;

/// A directory of one test, removed when dropped.
struct Directory(PathBuf);

impl Directory {
    fn new(name: &str) -> Self {
        let path = env::temp_dir().join(format!("smf-replace-{}-{name}", process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn file(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, bytes).unwrap();
        path
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.0).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn append(path: &Path, suffix: &[u8]) -> Result<bool, ReplaceError> {
    let path = path.as_os_str().as_encoded_bytes();
    replace_file(path, LIMIT, |old| Ok(Some([old, suffix].concat())))
}

#[test]
#[cfg_attr(miri, ignore = "gives files permissions")]
fn replace_changes_bytes_and_preserves_the_mode() {
    let directory = Directory::new("rights");
    let path = directory.file("a", b"one");
    for mode in [0o755, 0o640, 0o200 | 0o444] {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        assert_eq!(append(&path, b"+"), Ok(true));
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, mode);
    }
    assert_eq!(fs::read(&path).unwrap(), b"one+++");
    let nothing =
        replace_file(path.as_os_str().as_encoded_bytes(), LIMIT, |_| Ok::<_, ReplaceError>(None));
    assert_eq!(nothing, Ok(false));
    assert_eq!(directory.names(), ["a"]);
}

#[test]
fn symbolic_links_are_followed_and_remain() {
    let directory = Directory::new("links");
    fs::create_dir(directory.0.join("sub")).unwrap();
    let path = directory.file("sub/target", b"one");
    symlink("sub/target", directory.0.join("near")).unwrap();
    symlink(directory.0.join("near"), directory.0.join("far")).unwrap();
    assert_eq!(append(&directory.0.join("far"), b"+two"), Ok(true));
    assert_eq!(fs::read(&path).unwrap(), b"one+two");
    assert!(directory.0.join("near").is_symlink() && directory.0.join("far").is_symlink());
    symlink("circle", directory.0.join("circle")).unwrap();
    let circle = append(&directory.0.join("circle"), b"");
    assert!(matches!(circle, Err(ReplaceError::Link { .. })), "{circle:?}");
}

#[test]
#[cfg_attr(miri, ignore = "gives files permissions")]
fn irreplaceable_file_is_refused_and_unchanged() {
    let directory = Directory::new("refused");
    let path = directory.file("a", b"one");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o444)).unwrap();
    assert_eq!(append(&path, b"+"), Err(ReplaceError::ReadOnly));
    let gone = append(&directory.0.join("gone"), b"+");
    assert!(matches!(gone, Err(ReplaceError::Read(MemoryError::Open { .. }))), "{gone:?}");
    assert!(matches!(append(&directory.0, b"+"), Err(ReplaceError::Read(_))));
    assert!(append(Path::new("a\0b"), b"").is_err());
    assert_eq!(directory.names(), ["a"]);
    assert_eq!(fs::read(&path).unwrap(), b"one");
}

/// All calls from one on fail, as after a crash.
#[test]
fn crash_at_any_call_leaves_the_old_or_the_new_file() {
    let directory = Directory::new("crash");
    let path = directory.file("a", b"old");
    let mut outcomes = [0, 0];
    for passes in 0.. {
        fs::write(&path, b"old").unwrap();
        let fault = fault_injection::inject_at(passes, Raw::IO, false);
        let result = append(&path, b"+new");
        let happened = fault.has_happened();
        drop(fault);
        let bytes = fs::read(&path).unwrap();
        assert!(bytes == b"old" || bytes == b"old+new", "{passes}: {bytes:?}");
        assert_eq!(bytes == b"old+new", result == Ok(true), "{passes}");
        outcomes[usize::from(result.is_ok())] += 1;
        // The next writer removes the temporary file of the crash.
        assert_eq!(append(&path, b"!"), Ok(true));
        assert_eq!(directory.names(), ["a"], "{passes}");
        if !happened {
            break;
        }
    }
    assert!(outcomes[0] > 12 && outcomes[1] > 1, "{outcomes:?}");
}

#[test]
fn failed_call_leaves_no_temporary_file() {
    let directory = Directory::new("once");
    let path = directory.file("a", b"old");
    for (call, error) in [
        (Call::LockFile, ReplaceError::Lock { errno: Raw::NOLCK.into() }),
        (Call::Create, ReplaceError::Create { errno: Raw::NOLCK.into() }),
        (Call::SetMode, ReplaceError::Ownership { errno: Raw::NOLCK.into() }),
        (Call::Write, ReplaceError::Write { errno: Raw::NOLCK.into() }),
        (Call::SyncToDisk, ReplaceError::Sync { errno: Raw::NOLCK.into() }),
        (Call::Rename, ReplaceError::Rename { errno: Raw::NOLCK.into() }),
        (Call::Access, ReplaceError::ReadOnly),
    ] {
        let _fault = fault_injection::inject(call, 0, Raw::NOLCK);
        assert_eq!(append(&path, b"+"), Err(error));
        assert_eq!(directory.names(), ["a"]);
        assert_eq!(fs::read(&path).unwrap(), b"old");
    }
}

#[test]
#[cfg_attr(miri, ignore = "takes minutes in the interpreter")]
fn concurrent_writers_lose_no_change() {
    let directory = Directory::new("many");
    let path = directory.file("a", b"");
    thread::scope(|scope| {
        for thread in 0..4u8 {
            let path = &path;
            scope.spawn(move || {
                for _ in 0..25 {
                    assert_eq!(append(path, &[b'a' + thread]), Ok(true));
                }
            });
        }
        // A reader never sees a partial file.
        let mut len = 0;
        while len < 100 {
            let now = fs::read(&path).unwrap().len();
            assert!(now >= len);
            len = now;
        }
    });
    let bytes = fs::read(&path).unwrap();
    for thread in 0..4 {
        assert_eq!(bytes.iter().filter(|byte| **byte == b'a' + thread).count(), 25);
    }
    assert_eq!(directory.names(), ["a"]);
}

/// A writer without the lock replaces the file while the new one is computed.
#[test]
fn file_replaced_concurrently_is_read_again() {
    let directory = Directory::new("meanwhile");
    let path = directory.file("a", b"old");
    let other = directory.file("b", b"build");
    let mut times = 0;
    let replaced = replace_file(path.as_os_str().as_encoded_bytes(), LIMIT, |old| {
        times += 1;
        if times == 1 {
            fs::rename(&other, &path).unwrap();
        }
        Ok::<_, ReplaceError>(Some([old, b"+"].concat()))
    });
    assert_eq!((replaced, times), (Ok(true), 2));
    assert_eq!(fs::read(&path).unwrap(), b"build+");
    assert_eq!(directory.names(), ["a"]);
}
