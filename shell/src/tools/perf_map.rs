//! The perf map: a text file with a line for each function, which `perf report` reads.
//!
//! A line is `START SIZE NAME`, with hexadecimal numbers without a prefix. Each update is one `write` at the
//! end of the file, so that nothing is lost when the process dies, and another writer of the same map (a
//! second JIT compiler) does not interfere.
//!
//! The map has no times, and is read after the process has ended: a line remains when its code is freed, because samples
//! of the code need its name. It is overwritten by empty lines, which `perf` skips, when new code has an address of
//! it, so that each address has the name of the last code there. When these and the lines of freed code are most of a
//! file that is not small, and no other writer has appended to it, it is rewritten with the lines of live code only.
//!
//! Source: tools/perf/Documentation/jit-interface.txt of Linux. `perf` requires that the file belongs to root
//! or to its own user, which is checked here. A file of an earlier process with the same id, common in
//! containers, is truncated.

use std::collections::HashMap;
use std::fs::{File, Metadata};
use std::io::{self, Read, Seek, Write};
use std::mem::ManuallyDrop;
use std::ops::Range;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use rustix::fs::{Mode, OFlags};
use smf_core::alloc_util::{AllocError, try_collect, try_push};

use super::error::{Tool, ToolError};
use super::function::Function;
use crate::fallible_buf::FallibleBuf;

/// The map of a process.
#[derive(Debug)]
pub(super) struct PerfMap {
    /// Never closed: a child, which opens its own, may have closed the descriptor and have a file of that number.
    file: ManuallyDrop<File>,
    /// The process of the map; a forked child opens its own.
    process: u32,
    /// The lines of live code.
    lines: HashMap<Batch, Vec<Line>>,
    /// The lines of freed code.
    freed: Vec<Line>,
    /// Bytes that this map has appended, and those of the lines of live code among them.
    appended: u64,
    live: u64,
}

/// A line of the file.
#[derive(Clone, Copy, Debug)]
struct Line {
    /// The address and the size of the code.
    address: u64,
    size: u64,
    /// The first byte and the length in the file.
    offset: u64,
    len: u64,
}

/// Lines that were appended together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Batch(u64);

/// The next batch, of any map.
static NEXT_BATCH: AtomicU64 = AtomicU64::new(0);

/// A file of this size, in bytes, is not rewritten.
const SMALL: u64 = 1 << 16;

impl PerfMap {
    /// Opens the map of this process.
    pub(super) fn open() -> Result<Self, ToolError> {
        let process = std::process::id();
        let mut path = FallibleBuf::default();
        // Writing to a buffer cannot fail; allocation failures are reported by `finish`.
        let _ = write!(path, "/tmp/perf-{process}.map");
        let path = path.finish().map_err(ToolError::out_of_memory(Tool::PerfMap))?;
        let flags = OFlags::RDWR | OFlags::APPEND | OFlags::CREATE;
        let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::open(&*path, flags, Mode::RUSR | Mode::WUSR);
        let file = file.map_err(ToolError::system(Tool::PerfMap, "open its file in /tmp"))?;
        let file = File::from(file);
        let status = file.metadata();
        let status = status.map_err(ToolError::system(Tool::PerfMap, "inspect its file"))?;
        if !status.is_file() || status.uid() != rustix::process::geteuid().as_raw() {
            return Err(ToolError::NotOurs { tool: Tool::PerfMap });
        }
        if is_older_than_this_process(&status) {
            file.set_len(0).map_err(ToolError::system(Tool::PerfMap, "empty its file"))?;
        }
        let (lines, freed, appended, live) = (HashMap::new(), Vec::new(), 0, 0);
        let file = ManuallyDrop::new(file);
        Ok(Self { file, process, lines, freed, appended, live })
    }

    /// Appends a line for each function. Lines of freed code in the pages `code` are removed.
    pub(super) fn append(
        &mut self,
        functions: &[Function<'_>],
        code: &[Range<u64>],
    ) -> Result<Batch, ToolError> {
        if self.process != std::process::id() {
            *self = Self::open()?;
        }
        let out_of_memory = ToolError::out_of_memory(Tool::PerfMap);
        let written = ToolError::write(Tool::PerfMap);
        self.remove_freed(code).map_err(written)?;
        let mut text = FallibleBuf::default();
        let lines = functions.iter().map(|function| {
            let offset = text.len() as u64;
            write_line(&mut text, function);
            let &Function { address, size, .. } = function;
            Line { address, size, offset, len: text.len() as u64 - offset }
        });
        let mut lines = try_collect(lines).map_err(out_of_memory)?;
        self.lines.try_reserve(1).map_err(|_| out_of_memory(AllocError))?;
        let text = text.finish().map_err(out_of_memory)?;
        self.file.write_all(&text).map_err(written)?;
        let (end, len) = (self.file.stream_position().map_err(written)?, text.len() as u64);
        lines.iter_mut().for_each(|line| line.offset += end.saturating_sub(len));
        let batch = Batch(NEXT_BATCH.fetch_add(1, Ordering::Relaxed));
        self.lines.insert(batch, lines);
        self.appended += len;
        self.live += len;
        self.compact().map_err(written)?;
        Ok(batch)
    }

    /// The code of a batch is freed.
    pub(super) fn free(&mut self, batch: Batch) {
        for line in self.lines.remove(&batch).unwrap_or_default() {
            self.live = self.live.saturating_sub(line.len);
            // Without memory, the name stays.
            let _ = try_push(&mut self.freed, line);
        }
    }

    /// Overwrites the lines of freed code that has addresses of `code`.
    fn remove_freed(&mut self, code: &[Range<u64>]) -> io::Result<()> {
        let Self { file, freed, .. } = self;
        let is_outdated = |line: &Line| {
            let end = line.address.saturating_add(line.size.max(1));
            code.iter().any(|range| line.address < range.end && range.start < end)
        };
        if !freed.iter().any(is_outdated) {
            return Ok(());
        }
        let mut result = Ok(());
        in_place(file, |file| {
            freed.retain(|line| {
                let remains = result.is_err() || !is_outdated(line);
                if !remains {
                    result = overwrite(file, line.offset, line.len);
                }
                remains
            });
        })?;
        result
    }

    /// Rewrites the file with the lines of live code if others are most of it.
    fn compact(&mut self) -> io::Result<()> {
        let is_small = self.appended <= SMALL || self.appended / 2 <= self.live;
        if is_small || self.file.metadata()?.len() != self.appended {
            return Ok(());
        }
        let mut text = Vec::new();
        let live = usize::try_from(self.live).unwrap_or(usize::MAX);
        text.try_reserve_exact(live).map_err(|_| io::ErrorKind::OutOfMemory)?;
        for line in self.lines.values_mut().flatten() {
            let start = text.len();
            text.resize(start + usize::try_from(line.len).unwrap_or(0), 0);
            self.file.read_exact_at(text.get_mut(start..).unwrap_or_default(), line.offset)?;
            line.offset = start as u64;
        }
        in_place(&self.file, |file| file.write_all_at(&text, 0))??;
        self.file.set_len(text.len() as u64)?;
        self.freed.clear();
        (self.appended, self.live) = (text.len() as u64, text.len() as u64);
        Ok(())
    }
}

/// Calls `act` with a file that is written at any offset meanwhile, and otherwise at its end.
fn in_place<T>(file: &File, act: impl FnOnce(&File) -> T) -> io::Result<T> {
    rustix::fs::fcntl_setfl(file, OFlags::empty())?;
    let result = act(file);
    rustix::fs::fcntl_setfl(file, OFlags::APPEND)?;
    Ok(result)
}

/// Overwrites a line by empty ones.
fn overwrite(file: &File, mut offset: u64, mut len: u64) -> io::Result<()> {
    const EMPTY: [u8; 256] = [b'\n'; 256];
    while len > 0 {
        let some = EMPTY.get(..usize::try_from(len).unwrap_or(usize::MAX)).unwrap_or(&EMPTY);
        file.write_all_at(some, offset)?;
        offset += some.len() as u64;
        len -= some.len() as u64;
    }
    Ok(())
}

fn write_line(lines: &mut FallibleBuf, function: &Function<'_>) {
    // Writing to a buffer cannot fail; allocation failures are reported by `finish`.
    let _ = write!(lines, "{:x} {:x} ", function.address, function.size);
    for (index, visible) in function.name.split(u8::is_ascii_control).enumerate() {
        lines.put(if index == 0 { b"" } else { b"?" });
        lines.put(visible);
    }
    lines.put(b"\n");
}

/// Whether a file was last written before this process started; false if the times are unknown.
fn is_older_than_this_process(file: &Metadata) -> bool {
    let untouched = file.modified().ok().and_then(|at| SystemTime::now().duration_since(at).ok());
    untouched.zip(process_age()).is_some_and(|(untouched, age)| is_older(untouched, age))
}

/// Whether what is untouched for so long is older than a process of this age. The age is known to 10 ms, and a file has
/// the time of a tick of the kernel, at most 10 ms earlier: the file of a process that has just started is not older.
fn is_older(untouched: Duration, age: Duration) -> bool {
    untouched > age + Duration::from_millis(20)
}

/// The time since this process started: proc_pid_stat(5), field 22, in hundredths of a second after boot;
/// proc_uptime(5).
fn process_age() -> Option<Duration> {
    let (mut stat, mut uptime) = ([0; 1024], [0; 64]);
    let stat = read_begin("/proc/self/stat", &mut stat)?;
    // The second field is a name in parentheses, which may contain parentheses.
    let (_, fields) = stat.rsplit_once(") ")?;
    let began: u64 = fields.split(' ').nth(22 - 3)?.parse().ok()?;
    let uptime = hundredths(read_begin("/proc/uptime", &mut uptime)?)?;
    Some(Duration::from_millis(uptime.checked_sub(began)?.checked_mul(10)?))
}

/// Reads the start of a /proc file, up to the first invalid UTF-8. The standard library's functions allocate
/// infallibly.
fn read_begin<'r>(path: &str, buffer: &'r mut [u8]) -> Option<&'r str> {
    let len = File::open(path).ok()?.read(buffer).ok()?;
    Some(buffer.get(..len)?.utf8_chunks().next()?.valid())
}

/// Parses the first number of a text, with two decimals, in hundredths. Parsing floating-point numbers would add
/// 16 KB to the library.
fn hundredths(text: &str) -> Option<u64> {
    let (whole, fraction) = text.split(' ').next()?.split_once('.')?;
    let fraction: u64 = fraction.parse().ok().filter(|_| fraction.len() == 2)?;
    whole.parse::<u64>().ok()?.checked_mul(100)?.checked_add(fraction)
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::fork::tests::in_child;
    use crate::tools::tests::{give_number_to_pipe, is_pipe};

    #[test]
    fn line_has_two_numbers_and_a_printable_name() {
        let mut lines = FallibleBuf::default();
        let function = |name| Function { address: 0x7f00_1000, size: 26, name };
        write_line(&mut lines, &function(b"fn$Vec$i64"));
        write_line(&mut lines, &function(b"two\nlines\tand\0more"));
        assert_eq!(
            lines.finish().unwrap(),
            b"7f001000 1a fn$Vec$i64\n7f001000 1a two?lines?and?more\n"
        );
    }

    #[test]
    fn file_of_the_first_moments_of_a_process_is_not_older() {
        let milliseconds = Duration::from_millis;
        // The process is 9 ms old, which reads as 0; the tick before the file's write was 9 ms earlier.
        assert!(!is_older(milliseconds(18), milliseconds(0)));
        assert!(is_older(milliseconds(21), milliseconds(0)));
        assert!(!is_older(milliseconds(1000), milliseconds(990)));
        assert!(is_older(milliseconds(6000), milliseconds(990)));
    }

    #[test]
    fn outdated_map_is_truncated_and_link_is_not_followed() {
        let _file = FILE.lock().unwrap();
        let path = path();
        let function = Function { address: 1, size: 2, name: b"f" };
        std::fs::write(&path, "1000 10 of another writer in this process\n").unwrap();
        PerfMap::open().unwrap().append(&[function], &[]).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text, "1000 10 of another writer in this process\n1 2 f\n");

        let old = SystemTime::now() - process_age().unwrap() - Duration::from_secs(5);
        File::options().write(true).open(&path).unwrap().set_modified(old).unwrap();
        PerfMap::open().unwrap().append(&[function], &[]).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "1 2 f\n");

        std::fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink("/dev/null", &path).unwrap();
        let error = PerfMap::open().unwrap_err().to_string();
        std::fs::remove_file(&path).unwrap();
        assert!(error.contains("the perf map: cannot open its file in /tmp"), "{error}");
    }

    fn path() -> String {
        format!("/tmp/perf-{}.map", std::process::id())
    }

    /// The lines of the map that are not empty.
    fn lines() -> Vec<String> {
        let text = std::fs::read_to_string(path()).unwrap();
        text.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect()
    }

    fn pages(start: u64, size: u64) -> [Range<u64>; 1] {
        let range = start..start + size;
        [range]
    }

    /// The tests of this process have one file.
    static FILE: Mutex<()> = Mutex::new(());

    #[test]
    fn name_remains_until_other_code_has_the_address() {
        let _file = FILE.lock().unwrap();
        let _ = std::fs::remove_file(path());
        let mut map = PerfMap::open().unwrap();
        let function = |address, name| Function { address, size: 16, name };
        let page = |start| pages(start, 0x1000);
        let first = [function(0x1000, b"first"), function(0x1010, b"second")];
        let first = map.append(&first, &page(0x1000)).unwrap();
        let other = map.append(&[function(0x5000, b"other")], &page(0x5000)).unwrap();
        map.free(first);
        assert_eq!(lines(), ["1000 10 first", "1010 10 second", "5000 10 other"]);
        // Code of both is in the pages of the new one, that of `other` is not.
        let next = map.append(&[function(0x1800, b"next")], &page(0x1000)).unwrap();
        assert_eq!(lines(), ["5000 10 other", "1800 10 next"]);
        // Live code has its name, whatever is announced beside it.
        map.append(&[function(0x1900, b"beside")], &page(0x1000)).unwrap();
        assert_eq!(lines(), ["5000 10 other", "1800 10 next", "1900 10 beside"]);
        // Another writer's line stays.
        let mut writer = File::options().append(true).open(path()).unwrap();
        writer.write_all(b"7000 1 of another writer\n").unwrap();
        map.free(other);
        map.free(next);
        map.append(&[function(0x5010, b"last")], &page(0x5000)).unwrap();
        let expected =
            ["1800 10 next", "1900 10 beside", "7000 1 of another writer", "5010 10 last"];
        assert_eq!(lines(), expected);
        std::fs::remove_file(path()).unwrap();
    }

    #[test]
    fn file_does_not_grow_without_bound() {
        let _file = FILE.lock().unwrap();
        for (shift, has_other_writer) in [(0, false), (16, false), (16, true)] {
            let _ = std::fs::remove_file(path());
            let mut map = PerfMap::open().unwrap();
            if has_other_writer {
                std::fs::write(path(), "7000 1 of another writer\n").unwrap();
            }
            let live = Function { address: 0x100, size: 16, name: b"live" };
            map.append(&[live], &pages(0x100, 16)).unwrap();
            let mut largest = 0;
            for number in 0..10_000u64 {
                // One address again and again, or a new one each time.
                let (address, name) = (0x1000 + (number << shift), format!("version_{number}"));
                let function = Function { address, size: 32, name: name.as_bytes() };
                let batch = map.append(&[function], &pages(address, 64)).unwrap();
                if number != 9_999 {
                    map.free(batch);
                }
                largest = largest.max(std::fs::metadata(path()).unwrap().len());
            }
            let last = lines();
            let count = |name: &str| last.iter().filter(|line| line.ends_with(name)).count();
            assert_eq!((count(" live"), count(" version_9999")), (1, 1), "{last:?}");
            // Lines of another writer must not be lost, so that the file is not rewritten.
            assert_eq!(count(" of another writer"), usize::from(has_other_writer));
            assert_eq!(largest > 2 * SMALL, has_other_writer, "{largest}");
            if shift == 0 {
                assert_eq!(last.len(), 2);
            }
        }
        std::fs::remove_file(path()).unwrap();
    }

    #[test]
    fn child_does_not_close_a_file_of_its_own() {
        let _file = FILE.lock().unwrap();
        let mut map = PerfMap::open().unwrap();
        let is_open = in_child(|| {
            let number = give_number_to_pipe(&mut map.file);
            map.append(&[Function { address: 1, size: 2, name: b"f" }], &[]).unwrap();
            std::fs::remove_file(path()).unwrap();
            is_pipe(number)
        });
        std::fs::remove_file(path()).unwrap();
        assert!(is_open);
    }

    #[test]
    fn time_is_parsed_with_two_decimals() {
        assert_eq!(hundredths("350735.47 234388.90\n"), Some(35_073_547));
        for text in ["", "1", "1.5 2", "1.234 2", "-1.00 2", "1.-5 2", "x.00 2"] {
            assert_eq!(hundredths(text), None, "{text}");
        }
    }

    #[test]
    fn process_age_increases() {
        let before = process_age().unwrap();
        std::thread::sleep(Duration::from_millis(50));
        let later = process_age().unwrap();
        assert!(later > before && later < before + Duration::from_secs(60), "{before:?} {later:?}");
    }
}
