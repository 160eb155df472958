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
//! The perf map is the simplest and has no timestamps: when memory is reused, the names of old code remain.
//! A jitdump has timestamps and the bytes of every function, so that `perf annotate` shows instructions.
//! Debuggers get an ELF object in memory for each module or named piece of code, with call frame information
//! where it can be inferred (`cfi`), and lose it when the code is freed.
//!
//! While all tools are off, a name costs one relaxed load ([`is_on`]). The environment is read when the first
//! name is announced; code that was announced before a tool was enabled is not reported to it.

#[cfg(target_arch = "x86_64")]
mod cfi;
mod elf;
mod error;
mod function;
#[cfg(feature = "gdb")]
mod gdb;
#[cfg(not(feature = "gdb"))]
#[path = "no_gdb.rs"]
mod gdb;
mod jitdump;
mod perf_map;
#[cfg(target_arch = "x86_64")]
mod x86_64;

use std::io::Write;
use std::path::Path;
use std::sync::atomic::{AtomicU8, Ordering};

use smf_core::alloc_util::AllocError;

use crate::fallible_buf::FallibleBuf;
use crate::fork::{HeldAtFork, ProcessLock};
use crate::stderr;
pub use error::{Tool, ToolError};
pub use function::Function;
use jitdump::Jitdump;
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

/// Whether a tool is enabled, or might be: the environment has not been read before the first announcement.
pub fn is_on() -> bool {
    ON.load(Ordering::Relaxed) != 0
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
    gdb::available()?;
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
    ON.fetch_and(!UNREAD, Ordering::Relaxed);
    let requested = |name| std::env::var_os(name).filter(|value| !value.is_empty() && value != "0");
    let mut outcomes = [Ok(()); 3];
    if requested("SMF_PERF_MAP").is_some() {
        outcomes[0] = enable(&THE_PERF_MAP, PERF_MAP, PerfMap::open);
    }
    if let Some(directory) = requested("SMF_JITDUMP") {
        outcomes[1] = enable(&THE_JITDUMP, JITDUMP, || Jitdump::open(Path::new(&directory)));
    }
    if requested("SMF_GDB").is_some() {
        outcomes[2] = switch_on_gdb();
    }
    outcomes.iter().filter_map(|outcome| outcome.as_ref().err()).for_each(report);
}

/// Prints an error of a tool that the environment enabled, so that no caller can receive it.
pub(crate) fn report(error: &ToolError) {
    let mut line = FallibleBuf::default();
    // Writing to a buffer cannot fail; allocation failures are reported by `finish`.
    let _ = writeln!(line, "smf: {error}");
    if let Ok(line) = line.finish() {
        stderr::write(&line);
    }
}

/// A registration of code. Dropping it unregisters the code from debuggers; profiles keep the names.
#[derive(Debug, Default)]
#[must_use = "dropping it unregisters the code from debuggers"]
pub struct Announced(#[expect(dead_code, reason = "held for its end")] Option<gdb::Object>);

/// Reports functions that belong together, in the pages `code`, to every enabled tool.
///
/// The code must be readable, final and in place. A jitdump reads its bytes through the kernel, so that
/// unmapped memory is an error.
///
/// # Errors
/// The first tool's error; the other tools have been informed.
pub fn announce(
    functions: &[Function<'_>],
    code: &[std::ops::Range<u64>],
) -> Result<Announced, ToolError> {
    read_environment();
    match ON.load(Ordering::Relaxed) {
        0 => Ok(Announced(None)),
        on => announce_to(on, functions, code),
    }
}

fn announce_to(
    on: u8,
    functions: &[Function<'_>],
    code: &[std::ops::Range<u64>],
) -> Result<Announced, ToolError> {
    let mut outcome = Ok(());
    if on & PERF_MAP != 0 {
        outcome = update(&THE_PERF_MAP, |map| map.append(functions));
    }
    if on & JITDUMP != 0 {
        outcome = outcome.and(update(&THE_JITDUMP, |dump| dump.append(functions)));
    }
    if on & GDB == 0 {
        return outcome.map(|()| Announced(None));
    }
    // Without call frame information debuggers fall back to frame pointers.
    let debug_frame = debug_frame(functions).unwrap_or_default();
    let object = elf::object(functions, code, &debug_frame).and_then(gdb::Object::register);
    let object = object.map_err(ToolError::out_of_memory(Tool::Gdb));
    outcome.and(object.map(|object| Announced(Some(object))))
}

/// The call frame information of the functions, as far as it can be inferred.
#[cfg(target_arch = "x86_64")]
fn debug_frame(functions: &[Function<'_>]) -> Result<Vec<u8>, AllocError> {
    let read = functions.iter().filter_map(|f| Some((f.address, f.code().ok()?)));
    cfi::debug_frame(read)
}

/// Empty: debuggers fall back to frame pointers.
#[cfg(not(target_arch = "x86_64"))]
fn debug_frame(_: &[Function<'_>]) -> Result<Vec<u8>, AllocError> {
    Ok(Vec::new())
}

fn update<T>(
    slot: &'static ProcessLock<Option<T>>,
    update: impl FnOnce(&mut T) -> Result<(), ToolError>,
) -> Result<(), ToolError> {
    slot.lock().as_mut().map_or(Ok(()), update)
}
