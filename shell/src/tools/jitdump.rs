//! The jitdump: the bytes, the name, the time and the lines of every function.
//!
//! `perf record` does not read the file. It records that the process mapped a file of this name as executable,
//! and `perf inject --jit` reads the file afterwards. The first page is therefore mapped until the process
//! ends, read-only and executable, and never executed.
//!
//! Source: tools/perf/Documentation/jitdump-specification.txt of Linux. Timestamps are CLOCK_MONOTONIC, hence
//! `perf record -k 1`.
#![allow(unsafe_code)]

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Write};
use std::mem::ManuallyDrop;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::ptr;

use rustix::fs::{Mode, OFlags};
use rustix::mm::{MapFlags, ProtFlags};

use smf_core::alloc_util::{AllocError, try_copy_bytes};
use smf_core::memory::PageCount;

use super::elf;
use super::error::{Tool, ToolError};
use super::function::Function;
use super::lines::Lines;
use crate::fallible_buf::FallibleBuf;

/// "JiTD", in little-endian byte order.
const MAGIC: u32 = 0x4a69_5444;
const VERSION: u32 = 1;
const HEADER: u32 = 40;
/// The identifier of a code load record.
const CODE_LOAD: u32 = 0;
/// The identifier of a debugging information record.
const CODE_DEBUG_INFO: u32 = 2;
/// Bytes before the rows in a debugging information record.
const DEBUG_INFO_HEADER: usize = 32;
/// Bytes before the name in a code load record.
const CODE_LOAD_HEADER: usize = 56;

/// The dump of a process.
#[derive(Debug)]
pub(super) struct Jitdump {
    /// Never closed: a child, which opens its own, may have closed the descriptor and have a file of that number.
    file: ManuallyDrop<File>,
    /// The directory for the dump of a forked child.
    directory: Box<[u8]>,
    process: u32,
    /// The unique index of the next function.
    next: u64,
}

impl Jitdump {
    /// Creates or truncates `jit-PID.dump` in `directory`.
    pub(super) fn open(directory: &Path) -> Result<Self, ToolError> {
        let process = std::process::id();
        let out_of_memory = ToolError::out_of_memory(Tool::Jitdump);
        let directory = directory.as_os_str().as_bytes();
        let mut path = FallibleBuf::default();
        path.put(directory);
        // Writing to a buffer cannot fail; allocation failures are reported by `finish`.
        let _ = write!(path, "/jit-{process}.dump");
        let path = path.finish().map_err(out_of_memory)?;
        let directory = try_copy_bytes(directory).map_err(out_of_memory)?;
        let header = header(process).map_err(out_of_memory)?;
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::TRUNC;
        let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::open(&*path, flags, Mode::RUSR | Mode::WUSR);
        let file = file.map_err(ToolError::system(Tool::Jitdump, "create its file"))?;
        let mut file = File::from(file);
        let written = file.write_all(&header);
        written.map_err(ToolError::system(Tool::Jitdump, "write to its file"))?;
        let mapped = map_for_perf(&file);
        mapped.map_err(ToolError::system(Tool::Jitdump, "map its file so that perf sees it"))?;
        Ok(Self { file: ManuallyDrop::new(file), directory, process, next: 0 })
    }

    /// Appends a record for each function, behind one for its lines, if it has any.
    pub(super) fn append(
        &mut self,
        functions: &[Function<'_>],
        lines: &[Lines<'_>],
    ) -> Result<(), ToolError> {
        if self.process != std::process::id() {
            *self = Self::open(Path::new(OsStr::from_bytes(&self.directory)))?;
        }
        let mut lines = lines.iter();
        for function in functions {
            let debug = debug_record(function, lines.next().unwrap_or(&Lines::NONE));
            let debug = debug.map_err(ToolError::out_of_memory(Tool::Jitdump))?;
            let code =
                function.code().map_err(ToolError::system(Tool::Jitdump, "read the code"))?;
            let record = record(self.process, self.next, function, &code)
                .map_err(ToolError::out_of_memory(Tool::Jitdump))?;
            let written = self.file.write_all(&debug).and_then(|()| self.file.write_all(&record));
            written.map_err(ToolError::write(Tool::Jitdump))?;
            self.next += 1;
        }
        Ok(())
    }
}

/// Maps the first page of the file until the process ends.
fn map_for_perf(file: &File) -> io::Result<()> {
    let protection = ProtFlags::READ | ProtFlags::EXEC;
    let size = PageCount::one().bytes();
    // SAFETY: the kernel chooses a free address, and no reference to the memory exists.
    unsafe { rustix::mm::mmap(ptr::null_mut(), size, protection, MapFlags::PRIVATE, file, 0) }?;
    Ok(())
}

fn header(process: u32) -> Result<Vec<u8>, AllocError> {
    let mut header = FallibleBuf::default();
    header.put_u32(&[MAGIC, VERSION, HEADER, elf::MACHINE.into(), 0, process]);
    // Timestamp and flags, which are 0.
    header.put_u64(&[now(), 0]);
    header.finish()
}

fn record(
    process: u32,
    index: u64,
    function: &Function<'_>,
    code: &[u8],
) -> Result<Vec<u8>, AllocError> {
    let name = function.name.split(|&byte| byte == 0).next().unwrap_or_default();
    let size = CODE_LOAD_HEADER + name.len() + 1 + code.len();
    let mut record = FallibleBuf::default();
    record.put_u32(&[CODE_LOAD, u32::try_from(size).unwrap_or(u32::MAX)]);
    record.put_u64(&[now()]);
    let thread = rustix::thread::gettid().as_raw_nonzero().get().unsigned_abs();
    record.put_u32(&[process, thread]);
    record.put_u64(&[function.address, function.address, code.len() as u64, index]);
    for part in [name, &[0], code] {
        record.put(part);
    }
    record.finish()
}

/// The debugging information of the next function: the file and line of each of its rows; empty without lines. perf 6.1
/// takes the two bytes by which the format abbreviates the file of the previous row for the name of a file.
fn debug_record(function: &Function<'_>, lines: &Lines<'_>) -> Result<Vec<u8>, AllocError> {
    let mut rows = FallibleBuf::default();
    let file = lines.file.split(|&byte| byte == 0).next().unwrap_or_default();
    for row in lines.rows {
        rows.put_u64(&[row.address]);
        // The line, and the discriminator.
        rows.put_u32(&[row.line, 0]);
        rows.put(file);
        rows.put(&[0]);
    }
    let rows = rows.finish()?;
    let mut record = FallibleBuf::default();
    if !rows.is_empty() {
        // A multiple of eight bytes.
        let size = (DEBUG_INFO_HEADER + rows.len()).next_multiple_of(8);
        record.put_u32(&[CODE_DEBUG_INFO, u32::try_from(size).map_err(|_| AllocError)?]);
        record.put_u64(&[now(), function.address, lines.rows.len() as u64]);
        record.put(&rows);
        record.put([0; 8].get(..size - DEBUG_INFO_HEADER - rows.len()).unwrap_or_default());
    }
    record.finish()
}

/// CLOCK_MONOTONIC in nanoseconds.
fn now() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: clock_gettime(2) with memory for its result.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
    let part = |number: i64| u64::try_from(number).unwrap_or(0);
    part(time.tv_sec).wrapping_mul(1_000_000_000).wrapping_add(part(time.tv_nsec))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fork::tests::in_child;
    use crate::tools::tests::{give_number_to_pipe, is_pipe};
    use crate::tools::{self, Line, THE_JITDUMP};

    #[test]
    fn record_has_the_specified_layout() {
        let function = Function { address: 0x1122_3344, size: 3, name: b"f\0g" };
        let record = record(7, 9, &function, &[1, 2, 3]).unwrap();
        let u32_at = |at: usize| u32::from_ne_bytes(record[at..at + 4].try_into().unwrap());
        let u64_at = |at: usize| u64::from_ne_bytes(record[at..at + 8].try_into().unwrap());
        assert_eq!((u32_at(0), u32_at(4), record.len()), (0, 61, 61));
        assert!(u64_at(8) > 0);
        assert_eq!((u32_at(16), u64_at(24), u64_at(32)), (7, 0x1122_3344, 0x1122_3344));
        assert_eq!((u64_at(40), u64_at(48), &record[56..]), (3, 9, &b"f\0\x01\x02\x03"[..]));
    }

    #[test]
    fn debug_record_has_the_specified_layout() {
        let function = Function { address: 0x100, size: 9, name: b"f" };
        let rows = [Line { address: 0x102, line: 5 }, Line { address: 0x107, line: 6 }];
        let record = debug_record(&function, &Lines { file: b"a.spl", rows: &rows }).unwrap();
        let u32_at = |at: usize| u32::from_ne_bytes(record[at..at + 4].try_into().unwrap());
        let u64_at = |at: usize| u64::from_ne_bytes(record[at..at + 8].try_into().unwrap());
        assert_eq!((u32_at(0), u32_at(4) as usize, record.len()), (2, record.len(), 80));
        assert_eq!((u64_at(16), u64_at(24)), (0x100, 2));
        assert_eq!((u64_at(32), u32_at(40), u32_at(44)), (0x102, 5, 0));
        assert_eq!(record[48..54], *b"a.spl\0");
        assert_eq!((u64_at(54), u32_at(62), &record[70..76]), (0x107, 6, &b"a.spl\0"[..]));
        assert!(debug_record(&function, &Lines::NONE).unwrap().is_empty());
    }

    #[test]
    fn header_has_the_specified_size() {
        let header = header(1).unwrap();
        assert_eq!((header.len(), &header[..4]), (40, &0x4a69_5444u32.to_ne_bytes()[..]));
    }

    #[test]
    fn child_does_not_close_a_file_of_its_own() {
        let directory = std::env::temp_dir().join(format!("smf-forked-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let mut dump = Jitdump::open(&directory).unwrap();
        let is_open = in_child(|| {
            let number = give_number_to_pipe(&mut dump.file);
            dump.append(&[], &[]).unwrap();
            is_pipe(number)
        });
        std::fs::remove_dir_all(&directory).unwrap();
        assert!(is_open);
    }

    #[test]
    fn dump_that_cannot_be_written_is_disabled_and_other_tools_are_told() {
        let directory = std::env::temp_dir().join(format!("smf-full-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let code = [0x90u8, 0xc3];
        let here = Function { address: code.as_ptr().addr() as u64, size: 2, name: b"here" };
        let is_right = in_child(|| {
            tools::enable_perf_map().unwrap();
            tools::enable_jitdump(&directory).unwrap();
            let full = File::options().write(true).open("/dev/full").unwrap();
            *THE_JITDUMP.lock().as_mut().unwrap().file = full;
            let (first, failed) = tools::announce(&[here], &[]);
            let (second, outcome) = tools::announce(&[here], &[]);
            std::fs::remove_file(format!("/tmp/perf-{}.map", std::process::id())).unwrap();
            matches!(failed, Err(ToolError::Write { tool: Tool::Jitdump, .. }))
                && outcome.is_ok()
                && [first, second].iter().all(|announced| announced.perf_map.is_some())
        });
        std::fs::remove_dir_all(&directory).unwrap();
        assert!(is_right);
    }

    #[test]
    fn unmapped_code_is_an_error() {
        let directory = std::env::temp_dir().join(format!("smf-jitdump-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let mut dump = Jitdump::open(&directory).unwrap();
        let code = [0x90u8, 0xc3];
        let here = Function { address: code.as_ptr().addr() as u64, size: 2, name: b"here" };
        assert_eq!(dump.append(&[here], &[]), Ok(()));
        let nowhere = Function { address: 64, ..here };
        assert!(
            dump.append(&[here, nowhere], &[]).unwrap_err().to_string().contains("read the code")
        );
        let path = directory.join(format!("jit-{}.dump", std::process::id()));
        let written = std::fs::read(&path).unwrap();
        std::fs::remove_dir_all(&directory).unwrap();
        assert!(written.ends_with(b"here\0\x90\xc3"));
        assert_eq!(written.len(), 40 + 2 * (56 + 5 + 2), "two whole records");
    }
}
