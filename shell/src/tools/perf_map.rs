//! The perf map: a text file with a line for each function, which `perf report` reads.
//!
//! A line is `START SIZE NAME`, with hexadecimal numbers without a prefix. Each update is one `write` at the
//! end of the file, so that nothing is lost when the process dies, and another writer of the same map (a
//! second JIT compiler) does not interfere.
//!
//! Source: tools/perf/Documentation/jit-interface.txt of Linux. `perf` requires that the file belongs to root
//! or to its own user, which is checked here. A file of an earlier process with the same id, common in
//! containers, is truncated.

use std::fs::{File, Metadata};
use std::io::{Read, Write};
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, SystemTime};

use rustix::fs::{Mode, OFlags};

use super::error::{Tool, ToolError};
use super::function::Function;
use crate::fallible_buf::FallibleBuf;

/// The map of a process.
#[derive(Debug)]
pub(super) struct PerfMap {
    file: File,
    /// The process of the map; a forked child opens its own.
    process: u32,
}

impl PerfMap {
    /// Opens the map of this process.
    pub(super) fn open() -> Result<Self, ToolError> {
        let process = std::process::id();
        let mut path = FallibleBuf::default();
        // Writing to a buffer cannot fail; allocation failures are reported by `finish`.
        let _ = write!(path, "/tmp/perf-{process}.map");
        let path = path.finish().map_err(ToolError::out_of_memory(Tool::PerfMap))?;
        let flags = OFlags::WRONLY | OFlags::APPEND | OFlags::CREATE;
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
        Ok(Self { file, process })
    }

    /// Appends a line for each function.
    pub(super) fn append(&mut self, functions: &[Function<'_>]) -> Result<(), ToolError> {
        if self.process != std::process::id() {
            *self = Self::open()?;
        }
        let mut lines = FallibleBuf::default();
        for function in functions {
            write_line(&mut lines, function);
        }
        let lines = lines.finish().map_err(ToolError::out_of_memory(Tool::PerfMap))?;
        self.file.write_all(&lines).map_err(ToolError::system(Tool::PerfMap, "write to its file"))
    }
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
    untouched.zip(process_age()).is_some_and(|(untouched, age)| untouched > age)
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
    use super::*;

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
    fn outdated_map_is_truncated_and_link_is_not_followed() {
        let path = format!("/tmp/perf-{}.map", std::process::id());
        let function = Function { address: 1, size: 2, name: b"f" };
        std::fs::write(&path, "1000 10 of another writer in this process\n").unwrap();
        PerfMap::open().unwrap().append(&[function]).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text, "1000 10 of another writer in this process\n1 2 f\n");

        let old = SystemTime::now() - process_age().unwrap() - Duration::from_secs(5);
        File::options().write(true).open(&path).unwrap().set_modified(old).unwrap();
        PerfMap::open().unwrap().append(&[function]).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "1 2 f\n");

        std::fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink("/dev/null", &path).unwrap();
        let error = PerfMap::open().unwrap_err().to_string();
        std::fs::remove_file(&path).unwrap();
        assert!(error.contains("the perf map: cannot open its file in /tmp"), "{error}");
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
