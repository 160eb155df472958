//! Profiler and debugger support for code that no file on disk describes.
//!
//! Each tool is off until a call or an environment variable enables it:
//!
//! | tool | call | environment | reader |
//! |------|------|-------------|--------|
//! | perf map | [`enable_perf_map`] | `SMF_PERF_MAP=1` | `perf report` reads `/tmp/perf-PID.map` |
//! | jitdump | [`enable_jitdump`] | `SMF_JITDUMP=DIRECTORY` | `perf record -k 1`, then `perf inject --jit` |
//! | GDB's JIT interface | [`enable_gdb`] | `SMF_GDB=1` | gdb and lldb |
//!
//! The perf map is the simplest and has no timestamps: code that has been freed has a name until other code has its
//! addresses, or until most of a large file is such names. A jitdump has timestamps and the bytes of every function, so
//! that `perf annotate` shows instructions; it is only appended to, so that it grows with each reload.
//! Debuggers get an ELF object in memory for each module or named piece of code, and lose it when the code is freed. It has
//! the debugging information and the unwinding tables of the module; without the latter, call frame information where it
//! can be inferred (`cfi`).
//!
//! While all tools are off, a name costs one relaxed load ([`is_on`]). The environment is read when the first
//! name is announced; code that was announced before a tool was enabled is not reported to it.

#[cfg(target_arch = "x86_64")]
mod cfi;
pub(crate) mod dwarf;
mod elf;
mod error;
mod function;
#[cfg(feature = "gdb")]
mod gdb;
#[cfg(not(feature = "gdb"))]
#[path = "no_gdb.rs"]
mod gdb;
mod jitdump;
mod lines;
mod perf_map;
#[cfg(target_arch = "x86_64")]
mod x86_64;

use std::ffi::CString;
use std::io::Write;
use std::path::Path;
use std::sync::atomic::{AtomicU8, Ordering};

use smf_core::alloc_util::{AllocError, try_collect, try_push};

use crate::environment::variable;
use crate::events::log::value;
use crate::fallible_buf::FallibleBuf;
use crate::fork::{HeldAtFork, ProcessLock};
use crate::unlocked_write;
use dwarf::FunctionLines;
pub use elf::DebugSection;
pub use error::{Tool, ToolError};
pub use function::Function;
use jitdump::Jitdump;
pub use lines::{Line, Lines};
use perf_map::PerfMap;

/// The enabled tools, one bit each.
static ON: AtomicU8 = AtomicU8::new(UNREAD);
const PERF_MAP: u8 = 1;
const JITDUMP: u8 = 2;
const GDB: u8 = 4;
/// The environment has not been read yet.
const UNREAD: u8 = 0x80;

/// Whether the environment was read.
static ENVIRONMENT: ProcessLock<bool> = ProcessLock::new(false);
static THE_PERF_MAP: ProcessLock<Option<PerfMap>> = ProcessLock::new(None);
static THE_JITDUMP: ProcessLock<Option<Jitdump>> = ProcessLock::new(None);

/// The locks of the tools, for a thread that forks, in locking order.
pub(crate) const LOCKS: &[&dyn HeldAtFork] = &[
    &ENVIRONMENT,
    &THE_PERF_MAP,
    &THE_JITDUMP,
    #[cfg(feature = "gdb")]
    &gdb::LIST,
];

/// Whether a tool is enabled. The first call reads the environment.
pub fn is_on() -> bool {
    if ON.load(Ordering::Relaxed) == UNREAD {
        read_environment();
    }
    ON.load(Ordering::Relaxed) != 0
}

/// Whether a tool that reads lines is enabled.
pub(crate) fn needs_lines() -> bool {
    is_on() && ON.load(Ordering::Relaxed) & (JITDUMP | GDB) != 0
}

/// Enables the perf map, `/tmp/perf-PID.map`. Has no effect if it is enabled already.
///
/// # Errors
/// The file cannot be created, or exists and belongs to another user.
pub fn enable_perf_map() -> Result<(), ToolError> {
    read_environment();
    enable(&THE_PERF_MAP, PERF_MAP, PerfMap::open)
}

/// Enables the jitdump, `jit-PID.dump` in `directory`. Has no effect if it is enabled already.
///
/// # Errors
/// The file cannot be created, or not be mapped, which is how `perf` notices it.
pub fn enable_jitdump(directory: &Path) -> Result<(), ToolError> {
    read_environment();
    enable(&THE_JITDUMP, JITDUMP, || Jitdump::open(directory))
}

/// Enables GDB's JIT interface.
///
/// # Errors
/// The library was built without the feature `gdb`.
pub fn enable_gdb() -> Result<(), ToolError> {
    read_environment();
    switch_on_gdb()
}

fn switch_on_gdb() -> Result<(), ToolError> {
    if cfg!(not(feature = "gdb")) {
        return Err(ToolError::LeftOut { tool: Tool::Gdb });
    }
    ON.fetch_or(GDB, Ordering::Relaxed);
    Ok(())
}

fn enable<T>(
    slot: &'static ProcessLock<Option<T>>,
    bit: u8,
    open: impl FnOnce() -> Result<T, ToolError>,
) -> Result<(), ToolError> {
    let mut slot = slot.lock();
    if slot.is_none() {
        *slot = Some(open()?);
        ON.fetch_or(bit, Ordering::Relaxed);
    }
    Ok(())
}

/// Reads the environment once, and enables the tools that it requests.
fn read_environment() {
    let mut is_read = ENVIRONMENT.lock();
    if std::mem::replace(&mut *is_read, true) {
        return;
    }
    let is_requested = |name| value(name, &["0", "1"]) == Some("1");
    let perf_map =
        is_requested("SMF_PERF_MAP").then(|| enable(&THE_PERF_MAP, PERF_MAP, PerfMap::open));
    let directory = variable("SMF_JITDUMP").filter(|value| value != "0");
    let jitdump = directory
        .map(|directory| enable(&THE_JITDUMP, JITDUMP, || Jitdump::open(Path::new(&directory))));
    let gdb = is_requested("SMF_GDB").then(switch_on_gdb);
    for error in [perf_map, jitdump, gdb].into_iter().flatten().filter_map(Result::err) {
        report(&error);
    }
    // Last, so that other threads wait for the lock until then.
    ON.fetch_and(!UNREAD, Ordering::Relaxed);
}

/// Prints an error of a tool that the environment enabled, so that no caller can receive it.
pub(crate) fn report(error: &ToolError) {
    let mut line = FallibleBuf::default();
    // Writing to a buffer cannot fail; allocation failures are reported by `finish`.
    let _ = writeln!(line, "smf: {error}");
    if let Ok(line) = line.finish() {
        unlocked_write::report(&line);
    }
}

/// A registration of code. Dropping it unregisters the code from debuggers. Profiles have its names until other code has
/// its addresses.
#[derive(Debug, Default)]
#[must_use = "dropping it unregisters the code from debuggers"]
pub struct Announced {
    object: Option<gdb::Object>,
    perf_map: Option<PerfMapLines>,
}

/// Lines of the perf map.
#[derive(Debug)]
struct PerfMapLines(perf_map::Batch);

impl Drop for PerfMapLines {
    fn drop(&mut self) {
        if let Some(map) = THE_PERF_MAP.lock().as_mut() {
            map.free(self.0);
        }
    }
}

/// Reports functions that belong together, in the pages `code`, to every enabled tool.
///
/// The code must be readable, final and in place. A jitdump reads its bytes through the kernel, so that
/// unmapped memory is an error.
///
/// # Errors
/// The first tool's error, beside the registration with the others. A tool that cannot write its file is disabled.
pub fn announce(
    functions: &[Function<'_>],
    code: &[std::ops::Range<u64>],
) -> (Announced, Result<(), ToolError>) {
    announce_with(functions, &[], code, || Ok(Vec::new()))
}

/// As [`announce`], with the lines of each function, in the same order; functions without lines may be missing at the end.
/// Debuggers also get the sections that `debug_sections` returns, which is called if one may be there.
///
/// Returns the registration with the tools that have not failed, and the first error of the others. An error of
/// `debug_sections` is printed, and debuggers get the rest.
pub fn announce_with(
    functions: &[Function<'_>],
    lines: &[Lines<'_>],
    code: &[std::ops::Range<u64>],
    debug_sections: impl FnOnce() -> Result<Vec<DebugSection>, ToolError>,
) -> (Announced, Result<(), ToolError>) {
    read_environment();
    let on = ON.load(Ordering::Relaxed);
    let (mut announced, mut outcome) = (Announced::default(), Ok(()));
    if on & PERF_MAP != 0 {
        let batch = append(&THE_PERF_MAP, PERF_MAP, |map| map.append(functions, code));
        outcome = batch.map(|batch| announced.perf_map = batch.map(PerfMapLines));
    }
    if on & JITDUMP != 0 {
        let appended = append(&THE_JITDUMP, JITDUMP, |dump| dump.append(functions, lines));
        outcome = outcome.and(appended.map(drop));
    }
    if on & GDB != 0 {
        match register_with_debuggers(functions, lines, code, debug_sections) {
            Ok(object) => announced.object = Some(object),
            Err(error) => outcome = outcome.and(Err(ToolError::out_of_memory(Tool::Gdb)(error))),
        }
    }
    (announced, outcome)
}

/// Appends to the file of a tool, which is disabled if it cannot write: what follows a part of a record is unreadable.
fn append<T, R>(
    slot: &'static ProcessLock<Option<T>>,
    bit: u8,
    write: impl FnOnce(&mut T) -> Result<R, ToolError>,
) -> Result<Option<R>, ToolError> {
    let mut slot = slot.lock();
    let appended = slot.as_mut().map(write).transpose();
    if matches!(appended, Err(ToolError::Write { .. })) {
        *slot = None;
        ON.fetch_and(!bit, Ordering::Relaxed);
    }
    appended
}

/// Registers an object with the functions and their debugging information.
fn register_with_debuggers(
    functions: &[Function<'_>],
    lines: &[Lines<'_>],
    code: &[std::ops::Range<u64>],
    debug_sections: impl FnOnce() -> Result<Vec<DebugSection>, ToolError>,
) -> Result<gdb::Object, AllocError> {
    let mut sections = debug_sections().unwrap_or_else(|error| {
        report(&error);
        Vec::new()
    });
    let has_frames = sections.iter().any(|section| FRAMES.contains(&section.name));
    if !has_frames {
        let section = DebugSection { name: b".debug_frame", address: 0, bytes: frames(functions) };
        // Without call frame information debuggers fall back to frame pointers.
        let _ = try_push(&mut sections, section);
    }
    add_lines(&mut sections, functions, lines)?;
    gdb::Object::register(elf::object(functions, code, &sections)?)
}

/// Adds the sections with the lines of functions; none without lines.
fn add_lines(
    sections: &mut Vec<DebugSection>,
    functions: &[Function<'_>],
    lines: &[Lines<'_>],
) -> Result<(), AllocError> {
    if lines.iter().all(|lines| lines.rows.is_empty()) {
        return Ok(());
    }
    // A file for each function with lines; 0 stands for no file.
    let of_lines = (1..).zip(lines.iter().copied());
    let all = functions.iter().zip(of_lines.chain(std::iter::repeat((0, Lines::NONE))));
    let listed = try_collect(all.map(|(&function, (file, Lines { rows, .. }))| FunctionLines {
        function,
        file,
        line: rows.first().map_or(0, |row| row.line),
        rows,
    }))?;
    let files = lines.iter().map(|lines| lines.file);
    let written = dwarf::sections(&working_directory(), files, &listed)?;
    written.into_iter().try_for_each(|dwarf::Section { name, bytes, .. }| {
        try_push(sections, DebugSection { name, address: 0, bytes })
    })
}

/// The working directory; empty if it is unknown.
fn working_directory() -> Vec<u8> {
    /// PATH_MAX of Linux: longer paths would make the buffer grow, which may end the process.
    const MAX_PATH: usize = 4096;
    let mut buffer = Vec::new();
    match buffer.try_reserve_exact(MAX_PATH) {
        Ok(()) => rustix::process::getcwd(buffer).map(CString::into_bytes).unwrap_or_default(),
        Err(_) => buffer,
    }
}

/// The sections with call frame information.
const FRAMES: [&[u8]; 2] = [b".eh_frame", b".debug_frame"];

/// The call frame information that can be inferred; empty without any.
fn frames(functions: &[Function<'_>]) -> Vec<u8> {
    #[cfg(target_arch = "x86_64")]
    let frames =
        cfi::debug_frame(functions.iter().filter_map(|f| Some((f.address, f.code().ok()?))));
    #[cfg(not(target_arch = "x86_64"))]
    let frames = {
        let _ = functions;
        Ok::<_, AllocError>(Vec::new())
    };
    frames.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::io;
    use std::mem::{self, ManuallyDrop};
    use std::os::fd::{AsRawFd, OwnedFd, RawFd};

    use super::*;
    #[cfg(feature = "gdb")]
    use crate::fork::tests::in_child;

    /// Closes the file of a tool and gives its number to a pipe, as a child may that closes the descriptors of its parent.
    pub(super) fn give_number_to_pipe(file: &mut ManuallyDrop<File>) -> RawFd {
        let (reader, writer) = io::pipe().unwrap();
        let meanwhile = ManuallyDrop::new(File::from(OwnedFd::from(writer)));
        let mut own = OwnedFd::from(ManuallyDrop::into_inner(mem::replace(file, meanwhile)));
        rustix::io::dup2(&reader, &mut own).unwrap();
        *file = ManuallyDrop::new(File::from(own));
        file.as_raw_fd()
    }

    /// A jitdump reads the code, which debuggers need not.
    #[test]
    #[cfg(feature = "gdb")]
    fn tool_that_fails_leaves_the_registration_with_the_others() {
        let directory = std::env::temp_dir().join(format!("smf-tools-{}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        let is_registered = in_child(|| {
            enable_jitdump(&directory).unwrap();
            enable_gdb().unwrap();
            let functions = [Function { address: 64, size: 16, name: b"nowhere" }];
            let (announced, outcome) = announce_with(&functions, &[], &[], || Ok(Vec::new()));
            announced.object.is_some() && outcome.unwrap_err().to_string().contains("read the code")
        });
        fs::remove_dir_all(&directory).unwrap();
        assert!(is_registered);
    }

    #[test]
    fn function_without_lines_has_no_file() {
        let functions = [(&b"one"[..], 0x1000), (b"two", 0x2000)];
        let functions = functions.map(|(name, address)| Function { address, size: 16, name });
        let lines = [Lines { file: b"a.spl", rows: &[Line { address: 0x1000, line: 7 }] }];
        let mut sections = Vec::new();
        add_lines(&mut sections, &functions, &lines).unwrap();
        let info = sections.iter().find(|section| section.name == b".debug_info").unwrap();
        // The number of the file and the line follow the name.
        for entry in [b"one\0\x01\x07", b"two\0\0\0"] {
            assert!(info.bytes.windows(entry.len()).any(|bytes| bytes == entry), "{entry:?}");
        }
    }

    pub(super) fn is_pipe(number: RawFd) -> bool {
        let link = fs::read_link(format!("/proc/self/fd/{number}"));
        link.is_ok_and(|link| link.to_string_lossy().starts_with("pipe:"))
    }
}
