//! Inputs read whole, outputs written whole or not at all.
//!
//! An input is a private copy ([`FileBytes`]), so that nothing another process does to the file while
//! it is being looked at matters. An output appears under its name only when it is complete: it is
//! written beside its place and renamed. Errors do not name the file; whoever gave the path has it.
//!
//! Who is killed while it writes leaves the old file, or the new one, and perhaps a temporary file. The
//! lock on that goes with the process, so that the next one that writes into the directory knows it for
//! what it is, and removes it.

use std::fmt;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::ops::Deref;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use smf_core::memory::{FileBytes, MemoryError};

#[cfg(test)]
use faults::may;

/// What every call of the system here is made through, so that a test can make any of them fail.
#[cfg(not(test))]
fn may<T>(call: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    call()
}

/// The path that means standard input, or standard output for what is written.
pub const STANDARD_STREAM: &str = "-";

/// Whether `path` means a standard stream instead of a file.
pub fn is_standard_stream(path: &Path) -> bool {
    path == Path::new(STANDARD_STREAM)
}

/// The bytes of an input, which nobody else can change.
#[derive(Debug)]
#[non_exhaustive]
pub enum Input {
    /// A private copy of a file.
    File(FileBytes),
    /// What standard input held.
    Stdin(Vec<u8>),
}

impl Deref for Input {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Input::File(bytes) => bytes,
            Input::Stdin(bytes) => bytes,
        }
    }
}

impl AsRef<[u8]> for Input {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

/// Why an input could not be read.
#[derive(Debug)]
#[non_exhaustive]
pub enum ReadError {
    /// The file.
    File(MemoryError),
    /// Standard input.
    Stdin(io::Error),
    /// More bytes on standard input than [`FileBytes::DEFAULT_LIMIT`].
    StdinTooLarge,
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ReadError::File(error) => error.fmt(f),
            ReadError::Stdin(error) => write!(f, "cannot read standard input: {error}"),
            ReadError::StdinTooLarge => {
                write!(f, "more than the limit of {} bytes", FileBytes::DEFAULT_LIMIT)
            }
        }
    }
}

impl std::error::Error for ReadError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            ReadError::File(error) => Some(error),
            ReadError::Stdin(error) => Some(error),
            ReadError::StdinTooLarge => None,
        }
    }
}

/// Reads the file at `path`, or standard input when it is `-`.
///
/// # Errors
/// Whatever the system says, and anything larger than [`FileBytes::DEFAULT_LIMIT`].
pub fn read(path: &Path) -> Result<Input, ReadError> {
    let limit = FileBytes::DEFAULT_LIMIT;
    if !is_standard_stream(path) {
        let read = FileBytes::read(path.as_os_str().as_bytes(), limit);
        return read.map(Input::File).map_err(ReadError::File);
    }
    let mut bytes = Vec::new();
    let mut stdin = io::stdin().lock().take(limit.saturating_add(1));
    let len = may(|| stdin.read_to_end(&mut bytes)).map_err(ReadError::Stdin)?;
    if len as u64 > limit {
        return Err(ReadError::StdinTooLarge);
    }
    Ok(Input::Stdin(bytes))
}

/// Whether the file at `path` may be executed by somebody; false for `-` and for no file.
pub fn is_executable(path: &Path) -> bool {
    !is_standard_stream(path)
        && may(|| fs::metadata(path)).is_ok_and(|found| found.permissions().mode() & 0o111 != 0)
}

/// Whether the system could run `bytes` as a program: a script or an ELF image.
pub fn is_program(bytes: &[u8]) -> bool {
    bytes.starts_with(b"#!") || bytes.starts_with(b"\x7fELF")
}

/// Writes `bytes` to the file at `path`, which is replaced when it exists and keeps what it held when
/// this fails. Symbolic links are followed; the permissions are those of a new file, with the
/// execute bits when `executable`. `-` is standard output; a device or a pipe is written to as it is.
///
/// # Errors
/// What the system says. Nothing is left behind.
pub fn write(path: &Path, bytes: &[u8], executable: bool) -> io::Result<()> {
    if is_standard_stream(path) {
        let mut stdout = io::stdout().lock();
        may(|| stdout.write_all(bytes))?;
        return may(|| stdout.flush());
    }
    match may(|| fs::metadata(path)) {
        Ok(found) if found.is_file() => {
            replace(&may(|| fs::canonicalize(path))?, bytes, executable)
        }
        Ok(_) => {
            let mut device = may(|| OpenOptions::new().write(true).open(path))?;
            may(|| device.write_all(bytes))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => replace(path, bytes, executable),
        // What there is might be a link or a device, which is not to be replaced.
        Err(error) => Err(error),
    }
}

fn replace(path: &Path, bytes: &[u8], executable: bool) -> io::Result<()> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let (mut file, temporary) = create_in(directory.unwrap_or(Path::new(".")), executable)?;
    let written = may(|| file.write_all(bytes)).and_then(|()| may(|| fs::rename(&temporary, path)));
    if written.is_err() {
        // The first error is the one to report.
        let _ = fs::remove_file(&temporary);
    }
    written
}

/// How many processes may write into one directory at once.
const MOST_TEMPORARY: u32 = 1000;

fn temporary(directory: &Path, number: u32) -> PathBuf {
    directory.join(format!(".smf-{number}.tmp"))
}

/// A new file that is this process's own as long as it is open, and its name. What others have left
/// behind in the directory goes.
fn create_in(directory: &Path, executable: bool) -> io::Result<(File, PathBuf)> {
    let mode = if executable { 0o777 } else { 0o666 };
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(mode);
    let mut number = 0;
    loop {
        let path = temporary(directory, number);
        match may(|| options.open(&path)) {
            Ok(file) if is_own(&file, &path) => {
                (number + 1..MOST_TEMPORARY)
                    .take_while(|&left| remove_left(&temporary(directory, left)))
                    .for_each(drop);
                return Ok((file, path));
            }
            // Somebody took it for left behind before it was locked.
            Ok(_) => number += 1,
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            Err(_) if remove_left(&path) => {}
            Err(error) if number == MOST_TEMPORARY => return Err(error),
            Err(_) => number += 1,
        }
    }
}

/// Locks a file; whether nobody else has, and it still has its name.
fn is_own(file: &File, path: &Path) -> bool {
    // Where there are no locks, nobody takes a file for left behind either.
    let is_locked = !matches!(file.try_lock(), Err(TryLockError::WouldBlock));
    is_locked && has_name(file, path)
}

fn has_name(file: &File, path: &Path) -> bool {
    let identity = |found: fs::Metadata| (found.dev(), found.ino());
    let (file, path) = (file.metadata().map(identity), fs::symlink_metadata(path).map(identity));
    matches!((file, path), (Ok(file), Ok(path)) if file == path)
}

/// Removes a temporary file if whoever wrote it is no more; whether it did.
fn remove_left(path: &Path) -> bool {
    if !fs::symlink_metadata(path).is_ok_and(|found| found.is_file()) {
        return false;
    }
    let Ok(file) = File::open(path) else { return false };
    file.try_lock().is_ok() && has_name(&file, path) && fs::remove_file(path).is_ok()
}

/// Calls that fail because a test wants it so.
#[cfg(test)]
mod faults {
    use std::cell::Cell;
    use std::io;

    thread_local! {
        /// How many more calls of this thread succeed, and what the next one fails with; and whether it has.
        static NEXT: Cell<Option<(u32, i32)>> = const { Cell::new(None) };
        static HAPPENED: Cell<bool> = const { Cell::new(false) };
    }

    /// Makes a call, unless it is its turn to fail.
    pub(super) fn may<T>(call: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        match NEXT.get() {
            Some((0, errno)) => {
                NEXT.set(None);
                HAPPENED.set(true);
                Err(io::Error::from_raw_os_error(errno))
            }
            Some((passes, errno)) => {
                NEXT.set(Some((passes - 1, errno)));
                call()
            }
            None => call(),
        }
    }

    /// Does `act` with the call after so many failing; whether there was such a call.
    pub(super) fn failing<T>(passes: u32, errno: i32, act: impl FnOnce() -> T) -> (T, bool) {
        NEXT.set(Some((passes, errno)));
        HAPPENED.set(false);
        let done = act();
        NEXT.set(None);
        (done, HAPPENED.get())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn directory(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("smf-files-{}-{name}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        path
    }

    fn names(directory: &Path) -> Vec<String> {
        let entries = fs::read_dir(directory).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn what_is_written_is_read_and_nothing_else_is_left() {
        let directory = directory("roundtrip");
        let path = directory.join("out");
        write(&path, b"first", true).unwrap();
        assert!(is_executable(&path));
        write(&path, b"second", false).unwrap();
        assert_eq!((&*read(&path).unwrap(), is_executable(&path)), (&b"second"[..], false));
        assert_eq!(names(&directory), ["out"]);
        fs::remove_dir_all(&directory).unwrap();
    }

    #[test]
    fn a_link_is_followed_and_stays() {
        let directory = directory("link");
        let (target, link) = (directory.join("target"), directory.join("link"));
        write(&target, b"old", false).unwrap();
        std::os::unix::fs::symlink("target", &link).unwrap();
        write(&link, b"new", false).unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(&*read(&target).unwrap(), b"new");
        fs::remove_dir_all(&directory).unwrap();
    }

    #[test]
    fn a_failure_keeps_the_old_file_and_leaves_nothing() {
        let directory = directory("failure");
        let taken = directory.join("taken");
        fs::create_dir_all(taken.join("inside")).unwrap();
        assert!(write(&taken, b"x", false).is_err());
        assert!(write(&directory.join("absent/out"), b"x", false).is_err());
        assert_eq!(names(&directory), ["taken"]);
        fs::remove_dir_all(&directory).unwrap();
    }

    #[test]
    fn whatever_call_fails_the_error_says_why_and_nothing_is_left_behind() {
        let directory = directory("faults");
        let (old, new, link) =
            (directory.join("old"), directory.join("new"), directory.join("link"));
        std::os::unix::fs::symlink("old", &link).unwrap();
        let device = Path::new("/dev/null").to_path_buf();
        let is_open_inside = || {
            let open = fs::read_dir("/proc/self/fd").unwrap();
            let mut files = open.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok());
            files.any(|file| file.starts_with(&directory))
        };
        for (path, calls) in [(&old, 5), (&new, 4), (&link, 5), (&device, 3)] {
            // Interrupted, no space left, input/output error, too many open files, access denied.
            for errno in [4, 28, 5, 24, 13] {
                let mut failed = 0;
                for passes in 0.. {
                    let _ = fs::remove_file(&new);
                    fs::write(&old, b"old").unwrap();
                    let (written, happened) =
                        faults::failing(passes, errno, || write(path, b"bytes", true));
                    assert!(happened || written.is_ok());
                    if !happened {
                        break;
                    }
                    failed += 1;
                    let error = written.unwrap_err();
                    assert_eq!(error.raw_os_error(), Some(errno), "call {passes}");
                    assert_eq!(fs::read(&old).unwrap(), b"old");
                    assert_eq!(names(&directory), ["link", "old"]);
                    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
                    assert!(!is_open_inside(), "call {passes}");
                    // And at the next attempt there is nothing in the way.
                    write(path, b"bytes", true).unwrap();
                }
                assert_eq!(failed, calls, "{path:?}");
            }
        }
        fs::remove_dir_all(&directory).unwrap();
    }

    #[test]
    fn a_device_is_written_to_and_not_replaced() {
        use std::os::unix::fs::FileTypeExt;
        write(Path::new("/dev/null"), b"gone", false).unwrap();
        assert!(fs::metadata("/dev/null").unwrap().file_type().is_char_device());
    }

    #[test]
    fn what_was_left_behind_goes_and_what_is_in_use_stays() {
        let directory = directory("left");
        let numbered = |number| temporary(&directory, number);
        // The third is another process's, or looks so: its lock is that of another open file.
        (0..5).for_each(|number| fs::write(numbered(number), b"left").unwrap());
        let used = File::open(numbered(2)).unwrap();
        used.lock().unwrap();
        write(&directory.join("out"), b"new", false).unwrap();
        assert_eq!(names(&directory), [".smf-2.tmp", ".smf-3.tmp", ".smf-4.tmp", "out"]);
        drop(used);
        fs::write(numbered(0), b"left").unwrap();
        fs::write(numbered(1), b"left").unwrap();
        write(&directory.join("out"), b"newer", false).unwrap();
        assert_eq!(names(&directory), ["out"]);
        assert_eq!(&*read(&directory.join("out")).unwrap(), b"newer");
        fs::remove_dir_all(&directory).unwrap();
    }

    #[test]
    fn what_is_no_file_is_not_taken_for_left_behind() {
        let directory = directory("not-left");
        let precious = directory.join("precious");
        fs::write(&precious, b"precious").unwrap();
        std::os::unix::fs::symlink("precious", temporary(&directory, 0)).unwrap();
        fs::create_dir(temporary(&directory, 1)).unwrap();
        write(&directory.join("out"), b"new", false).unwrap();
        assert_eq!(fs::read(&precious).unwrap(), b"precious");
        assert_eq!(names(&directory), [".smf-0.tmp", ".smf-1.tmp", "out", "precious"]);
        fs::remove_dir_all(&directory).unwrap();
    }

    #[test]
    fn many_at_once_write_whole_files() {
        let directory = directory("many");
        let path = directory.join("out");
        std::thread::scope(|scope| {
            for writer in 0..8u8 {
                let path = &path;
                scope.spawn(move || {
                    (0..100).for_each(|_| write(path, &[writer; 1000], false).unwrap());
                });
            }
        });
        let bytes = read(&path).unwrap();
        assert!(bytes.len() == 1000 && bytes.iter().all(|byte| *byte == bytes[0]));
        assert_eq!(names(&directory), ["out"]);
        fs::remove_dir_all(&directory).unwrap();
    }
}
