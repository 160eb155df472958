//! Files that one process changes in every way while two others read them: a read returns the content of the file at
//! one moment, or an error, and never raises a signal.
//!
//! The exhaustive mode runs a thousand rounds of each change, else a hundred.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use std::{env, thread};

use smf_core::cache::{CacheError, Capacity, FileCache, Options, Revalidation};
use smf_core::memory::{Errno, FileBytes, MemoryError};
use smf_tests::compile::scratch;
use smf_tests::scale::scale;

/// The size in bytes of a whole file, several pages; and of a truncated one, which ends in the middle of a page.
const WHOLE: usize = 40_000;
const PART: usize = 9_000;

/// Set to the directory in reader processes.
const READER: &str = "SMF_TEST_READS_IN";

/// The contents of a version of the file.
fn version(round: usize) -> Vec<u8> {
    // Never zero, which is the content of a hole.
    vec![1 + (round % 250) as u8; WHOLE]
}

/// A way to change a file. Each leaves a whole file of the version of its round.
type Change = fn(&Path, &Path, usize);

fn truncate(file: &Path, _: &Path, round: usize) {
    let file = OpenOptions::new().write(true).open(file).unwrap();
    file.set_len(PART as u64).unwrap();
    thread::sleep(Duration::from_micros(200));
    write_at_once(&file, round);
}

fn overwrite(file: &Path, _: &Path, round: usize) {
    write_at_once(&OpenOptions::new().write(true).open(file).unwrap(), round);
}

fn rename_over(file: &Path, beside: &Path, round: usize) {
    fs::write(beside, version(round)).unwrap();
    fs::rename(beside, file).unwrap();
}

fn delete(file: &Path, beside: &Path, round: usize) {
    fs::remove_file(file).unwrap();
    thread::yield_now();
    rename_over(file, beside, round);
}

fn write_at_once(file: &File, round: usize) {
    let bytes = version(round);
    assert_eq!(file.write_at(&bytes, 0).unwrap(), bytes.len());
}

const CHANGES: [(&str, Change); 4] = [
    ("truncate", truncate),
    ("overwrite", overwrite),
    ("rename over", rename_over),
    ("delete", delete),
];

/// The observations of a reader.
#[derive(Default)]
struct Seen {
    whole: usize,
    part: usize,
    gone: usize,
    changing: usize,
    versions: BTreeSet<u8>,
}

impl Seen {
    fn bytes(&mut self, bytes: &[u8]) {
        let first = bytes.first().copied().unwrap_or(0);
        assert!(bytes.iter().all(|byte| *byte == first), "part old and part new");
        self.versions.insert(first);
        match bytes.len() {
            WHOLE => self.whole += 1,
            PART => self.part += 1,
            other => panic!("{other} bytes, a size that the file never had"),
        }
    }

    fn error(&mut self, error: MemoryError) {
        match error {
            MemoryError::Open { errno } if is_missing(errno) => self.gone += 1,
            MemoryError::Changing { .. } => self.changing += 1,
            MemoryError::RangeOutside { .. } => self.part += 1,
            other => panic!("{other}"),
        }
    }
}

fn is_missing(errno: Errno) -> bool {
    std::io::Error::from_raw_os_error(errno.raw()).kind() == ErrorKind::NotFound
}

/// Reads the file in every way until the directory contains the signal to stop.
fn read(directory: &Path) {
    let file = directory.join("file");
    let path = file.as_os_str().as_bytes();
    let options = Options { revalidation: Revalidation::OnGet, ..Options::default() };
    let cache = FileCache::new(Capacity { files: 4, bytes: 1 << 20 }, options).unwrap();
    let mut seen = Seen::default();
    let mut held = Vec::new();
    while !directory.join("enough").exists() {
        match FileBytes::read(path, 1 << 20) {
            Ok(bytes) => seen.bytes(&bytes),
            Err(error) => seen.error(error),
        }
        match cache.get(path) {
            Ok(view) => {
                seen.bytes(&view);
                held.push((view[0], view));
                held.drain(..held.len().saturating_sub(3));
            }
            Err(CacheError::File(error)) => seen.error(error),
            Err(CacheError::AllInUse { .. }) => held.clear(),
            Err(other) => panic!("{other}"),
        }
        assert!(held.iter().all(|(first, view)| view.iter().all(|byte| byte == first)));
    }
    let versions = seen.versions.len();
    let Seen { whole, part, gone, changing, .. } = seen;
    println!(
        "read {whole} whole, {part} cut off, {gone} missing, {changing} changing; {versions} versions"
    );
    assert!(whole > 0 && versions > 3);
}

/// Runs the test of this name in another process, as a reader.
fn reader(directory: &Path) -> Child {
    let mut command = Command::new(env::current_exe().unwrap());
    command.args(["--exact", TEST, "--nocapture"]).env(READER, directory);
    command.stdout(Stdio::inherit()).spawn().unwrap()
}

const TEST: &str = "read_during_a_change_returns_one_moment_of_the_file";

#[test]
fn read_during_a_change_returns_one_moment_of_the_file() {
    if let Some(directory) = env::var_os(READER) {
        return read(Path::new(&directory));
    }
    let rounds = scale(1000, 100);
    for (name, change) in CHANGES {
        let scratch = scratch();
        let [file, beside] = ["file", "beside"].map(|name| scratch.path().join(name));
        fs::write(&file, version(0)).unwrap();
        let readers = [(); 2].map(|()| reader(scratch.path()));
        for round in 0..rounds {
            change(&file, &beside, round);
            // Without pauses, readers would only see errors.
            thread::sleep(Duration::from_micros(300 * (round as u64 % 8)));
        }
        fs::write(scratch.path().join("enough"), b"").unwrap();
        for mut reader in readers {
            let status = reader.wait().unwrap();
            assert!(status.success(), "{name}: a reader ended with {status}");
        }
        println!("{name}: {rounds} rounds, two readers");
    }
}
