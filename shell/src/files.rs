//! Reads whole inputs and replaces outputs atomically.
//!
//! An input is a private copy ([`FileBytes`]), which other processes cannot change. An output is written to a
//! temporary file and renamed when it is complete. Errors do not name the file, because the caller has its
//! path.
//!
//! A process that is killed while it writes leaves the old or the new file, and perhaps a temporary file. The
//! lock on that file ends with the process, so that a later writer to the directory detects and removes it. A process
//! that ends itself calls [`abandon_writes`] before.

use std::fmt::{self, Display};
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::ops::Deref;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

#[cfg(test)]
use faults::syscall;
use rustix::fs::FallocateFlags;
use smf_core::format::{FormatError, Library};
use smf_core::memory::{Errno, FileBytes, MemoryError};
use thiserror::Error;

use crate::unlocked_write;

/// Makes a system call. Tests replace this function to inject faults.
#[cfg(not(test))]
fn syscall<T>(call: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    call()
}

/// Whether `path` denotes standard input or standard output: `-`.
pub fn is_standard_stream(path: &Path) -> bool {
    path == Path::new("-")
}

/// Whether the bytes at `path` can be read once alone: those of standard input, a pipe or a character device.
pub fn is_stream(path: &Path) -> bool {
    let is_stream =
        |found: fs::Metadata| found.file_type().is_fifo() || found.file_type().is_char_device();
    is_standard_stream(path) || syscall(|| fs::metadata(path)).is_ok_and(is_stream)
}

/// The contents of an input, which other processes cannot change.
#[derive(Debug)]
#[non_exhaustive]
pub enum Input {
    /// A private copy of a file.
    File(FileBytes),
    /// What was read to its end, or a module of an archive.
    Buffer(Vec<u8>),
}

impl Deref for Input {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Input::File(bytes) => bytes,
            Input::Buffer(bytes) => bytes,
        }
    }
}

impl AsRef<[u8]> for Input {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

/// The message of an error of the system, in the words of [`Errno`].
pub fn system_error(error: &io::Error) -> impl fmt::Display {
    fmt::from_fn(move |f| match rustix::io::Errno::from_io_error(error) {
        Some(errno) => Errno::from(errno).fmt(f),
        None => error.fmt(f),
    })
}

/// Why an input could not be read.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ReadError {
    /// Reading the file failed.
    #[error(transparent)]
    File(#[from] MemoryError),
    /// Reading a [stream](is_stream) to its end failed.
    #[error("cannot read the input: {}", system_error(.0))]
    Stream(io::Error),
    /// Standard input was read before, and has no more bytes.
    #[error("standard input was read already: name it once")]
    StdinTwice,
    /// A stream exceeds [`FileBytes::DEFAULT_LIMIT`] bytes.
    #[error("more than the limit of {} bytes", FileBytes::DEFAULT_LIMIT)]
    StreamTooLarge,
    /// A malformed archive, or a malformed index entry of the module.
    #[error(transparent)]
    Archive(#[from] FormatError),
    /// The archive has no module of this name.
    #[error("no module called {0} in this archive")]
    NoSuchModule(String),
}

/// The archive and the module in `ARCHIVE:MODULE`, where both names may contain `:`; `None` if a file has this name, or none
/// has the name of the archive.
pub fn module_of_archive(path: &Path) -> Option<(&Path, &str)> {
    let text = path.to_str()?;
    if !text.contains(':') || path.exists() {
        return None;
    }
    let split = |(at, _)| Some((Path::new(text.get(..at)?), text.get(at + 1..)?));
    text.match_indices(':').filter_map(split).find(|(archive, _)| archive.is_file())
}

/// The file that [`read`] reads for `path`: the archive of `ARCHIVE:MODULE`, else the path itself.
pub fn input_file(path: &Path) -> &Path {
    module_of_archive(path).map_or(path, |(archive, _)| archive)
}

static STDIN_WAS_READ: AtomicBool = AtomicBool::new(false);

/// Reads the file at `path`, or a module of an archive (`ARCHIVE:MODULE`); standard input for `-`. A [stream](is_stream) is
/// read to its end, and so is a file that states no size, as those of `/proc`.
///
/// # Errors
/// The system's error, an input larger than [`FileBytes::DEFAULT_LIMIT`], or an archive that is malformed or has no such
/// module.
pub fn read(path: &Path) -> Result<Input, ReadError> {
    let limit = FileBytes::DEFAULT_LIMIT;
    if let Some((archive, name)) = module_of_archive(path) {
        let archive = FileBytes::read(archive.as_os_str().as_bytes(), limit)?;
        let module = Library::parse(&archive)?.find(name);
        let module = module.ok_or_else(|| ReadError::NoSuchModule(name.to_owned()))??;
        return Ok(Input::Buffer(module.data.to_vec()));
    }
    if !is_stream(path) {
        let bytes = FileBytes::read(path.as_os_str().as_bytes(), limit)?;
        if !bytes.is_empty() {
            return Ok(Input::File(bytes));
        }
    }
    let stream: io::Result<Box<dyn Read>> = match is_standard_stream(path) {
        true => Ok(Box::new(io::stdin().lock())),
        false => syscall(|| File::open(path)).map(|file| Box::new(file) as _),
    };
    let mut bytes = Vec::new();
    let mut stream = stream.map_err(ReadError::Stream)?.take(limit.saturating_add(1));
    let len = syscall(|| stream.read_to_end(&mut bytes)).map_err(ReadError::Stream)?;
    if len as u64 > limit {
        return Err(ReadError::StreamTooLarge);
    }
    // A terminal may have more.
    match is_standard_stream(path) && STDIN_WAS_READ.swap(true, Ordering::Relaxed) && len == 0 {
        true => Err(ReadError::StdinTwice),
        false => Ok(Input::Buffer(bytes)),
    }
}

/// Whether the file at `path` has an execute bit; false for `-` and for a missing file.
pub fn is_executable(path: &Path) -> bool {
    !is_standard_stream(path)
        && syscall(|| fs::metadata(path)).is_ok_and(|found| found.permissions().mode() & 0o111 != 0)
}

/// Whether `bytes` are a script or an ELF image.
pub fn is_program(bytes: &[u8]) -> bool {
    bytes.starts_with(b"#!") || bytes.starts_with(b"\x7fELF")
}

/// Writes `bytes` to the file at `path`. An existing file is replaced, and unchanged if this fails. Symbolic
/// links are followed. The permissions are those of a new file, with execute bits if `executable`. `-` is
/// standard output; a device or a pipe is written to directly.
///
/// # Errors
/// The system's error. No temporary file is left.
pub fn write(path: &Path, bytes: &[u8], executable: bool) -> io::Result<()> {
    if is_standard_stream(path) {
        // `Stdout` takes a closed descriptor for a sink.
        io::stdout().flush()?;
        return syscall(|| Ok(unlocked_write::write(io::stdout(), bytes)?));
    }
    match syscall(|| fs::metadata(path)) {
        Ok(found) if found.is_file() => {
            replace(&syscall(|| fs::canonicalize(path))?, bytes, executable)
        }
        Ok(_) => {
            let mut device = syscall(|| OpenOptions::new().write(true).open(path))?;
            syscall(|| device.write_all(bytes))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => match fs::read_link(path) {
            // Of a link without a target: a relative one starts in the directory of the link.
            Ok(target) => write(&path.with_file_name("").join(target), bytes, executable),
            Err(_) => replace(path, bytes, executable),
        },
        // The path may be a link or a device, which must not be replaced.
        Err(error) => Err(error),
    }
}

/// The temporary files that this process is writing. Locked while one of them is created, renamed or removed.
static TEMPORARY: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

fn temporary_files() -> MutexGuard<'static, Vec<PathBuf>> {
    TEMPORARY.lock().unwrap_or_else(PoisonError::into_inner)
}

/// No file is written while this exists.
#[derive(Debug)]
#[must_use = "writing continues when it is dropped"]
pub struct AbandonedWrites(#[expect(dead_code, reason = "held")] MutexGuard<'static, Vec<PathBuf>>);

/// Removes the temporary files that threads of this process are writing, and stops these threads, for a process that is
/// about to end: each output is then the old or the new file, and nothing else is left.
pub fn abandon_writes() -> AbandonedWrites {
    let mut temporary = temporary_files();
    for path in temporary.drain(..) {
        // The process ends, and cannot report it.
        let _ = fs::remove_file(path);
    }
    AbandonedWrites(temporary)
}

fn replace(path: &Path, bytes: &[u8], executable: bool) -> io::Result<()> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let mut known = temporary_files();
    let (mut file, temporary) = create_in(directory.unwrap_or(Path::new(".")), executable)?;
    known.push(temporary.clone());
    drop(known);
    // With its blocks reserved, ext4 does not write a file back while it is renamed over another one, which takes a seventh
    // of the time to pack 7,000 KiB (row `pack 7,000 KiB, dense`). A file system that cannot reserve blocks returns an error,
    // and the file is written without them.
    let _ = rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, bytes.len() as u64);
    let written = syscall(|| file.write_all(bytes));
    let mut known = temporary_files();
    let written = written.and_then(|()| syscall(|| fs::rename(&temporary, path)));
    if written.is_err() {
        // The first error is reported.
        let _ = fs::remove_file(&temporary);
    }
    known.retain(|path| *path != temporary);
    written
}

/// How many processes can write to a directory at once.
const MAX_TEMPORARY: u32 = 1000;

fn temporary(directory: &Path, number: u32) -> PathBuf {
    directory.join(format!(".smf-{number}.tmp"))
}

/// Creates and locks a temporary file; the file and its path. Removes temporary files of dead processes.
fn create_in(directory: &Path, executable: bool) -> io::Result<(File, PathBuf)> {
    let mode = if executable { 0o777 } else { 0o666 };
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(mode);
    let mut number = 0;
    loop {
        let path = temporary(directory, number);
        match syscall(|| options.open(&path)) {
            Ok(file) if is_own(&file, &path) => {
                (number + 1..MAX_TEMPORARY)
                    .take_while(|&other| remove_stale(&temporary(directory, other)))
                    .for_each(drop);
                return Ok((file, path));
            }
            // Another process removed it as stale before it was locked.
            Ok(_) => number += 1,
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            Err(_) if remove_stale(&path) => {}
            Err(error) if number == MAX_TEMPORARY => return Err(error),
            Err(_) => number += 1,
        }
    }
}

/// Locks a file; whether the lock was free and the file still has its name.
fn is_own(file: &File, path: &Path) -> bool {
    // Without lock support, other processes cannot detect stale files either.
    let is_locked = !matches!(file.try_lock(), Err(TryLockError::WouldBlock));
    is_locked && has_name(file, path)
}

fn has_name(file: &File, path: &Path) -> bool {
    let identity = |found: fs::Metadata| (found.dev(), found.ino());
    let (file, path) = (file.metadata().map(identity), fs::symlink_metadata(path).map(identity));
    matches!((file, path), (Ok(file), Ok(path)) if file == path)
}

/// Removes a temporary file if no process has it locked; returns whether it did.
fn remove_stale(path: &Path) -> bool {
    if !fs::symlink_metadata(path).is_ok_and(|found| found.is_file()) {
        return false;
    }
    let Ok(file) = File::open(path) else { return false };
    file.try_lock().is_ok() && has_name(&file, path) && fs::remove_file(path).is_ok()
}

/// Fault injection.
#[cfg(test)]
mod faults {
    use std::cell::Cell;
    use std::io;

    thread_local! {
        /// How many more calls succeed, and the error of the next one.
        static NEXT: Cell<Option<(u32, i32)>> = const { Cell::new(None) };
        /// Whether the fault was injected.
        static HAPPENED: Cell<bool> = const { Cell::new(false) };
    }

    /// Makes a call, or injects a fault.
    pub(super) fn syscall<T>(call: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
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

    /// Runs `act` with a fault after `passes` calls; returns whether it was injected.
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
    fn written_file_is_read_back_without_leftovers() {
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
    fn symbolic_link_is_followed() {
        let directory = directory("link");
        let (target, link) = (directory.join("target"), directory.join("link"));
        write(&target, b"old", false).unwrap();
        std::os::unix::fs::symlink("target", &link).unwrap();
        write(&link, b"new", false).unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        fs::remove_file(&target).unwrap();
        write(&link, b"new", false).unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(&*read(&target).unwrap(), b"new");
        fs::remove_dir_all(&directory).unwrap();
    }

    #[test]
    fn failed_write_keeps_the_old_file() {
        let directory = directory("failure");
        let taken = directory.join("taken");
        fs::create_dir_all(taken.join("inside")).unwrap();
        assert!(write(&taken, b"x", false).is_err());
        assert!(write(&directory.join("absent/out"), b"x", false).is_err());
        assert_eq!(names(&directory), ["taken"]);
        fs::remove_dir_all(&directory).unwrap();
    }

    #[test]
    fn failed_system_call_is_reported_without_leftovers() {
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
                    // The next attempt succeeds.
                    write(path, b"bytes", true).unwrap();
                }
                assert_eq!(failed, calls, "{path:?}");
            }
        }
        fs::remove_dir_all(&directory).unwrap();
    }

    #[test]
    fn device_is_written_to_and_not_replaced() {
        use std::os::unix::fs::FileTypeExt;
        write(Path::new("/dev/null"), b"gone", false).unwrap();
        assert!(fs::metadata("/dev/null").unwrap().file_type().is_char_device());
    }

    #[test]
    fn stale_temporary_files_are_removed_and_locked_ones_stay() {
        let directory = directory("left");
        let numbered = |number| temporary(&directory, number);
        // The lock of another open file stands for another process.
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
    fn links_and_directories_are_not_removed_as_stale() {
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
    fn concurrent_writers_write_whole_files() {
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
