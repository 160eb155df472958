//! What profilers and debuggers are told about machine code that no file on disk describes.
//!
//! Three tools, each off until a call or an environment variable switches it on:
//!
//! | tool | by a call | by the environment | who reads it |
//! |------|-----------|--------------------|--------------|
//! | perf map | [`enable_perf_map`] | `SMF_PERF_MAP=1` | `perf report` finds `/tmp/perf-PID.map` by itself |
//! | jitdump | [`enable_jitdump`] | `SMF_JITDUMP=DIRECTORY` | `perf record -k 1`, then `perf inject --jit` |
//! | GDB's JIT interface | [`enable_gdb`] | `SMF_GDB=1` | gdb and lldb, at once |
//!
//! The perf map is the simplest and knows no time: where memory is used again, the names of old code
//! stay in it. A jitdump has the time and the bytes of every function, so that `perf annotate` shows
//! instructions. Debuggers get an ELF object in memory for each module, or each named piece of code,
//! with a description of its frames where they can be found out (`frames`), and lose it when the code
//! goes.
//!
//! While all are off, a name costs one relaxed load ([`is_on`]). The environment is read when the
//! first name comes; what was named before a tool was switched on is not told to it.

#[cfg(target_arch = "x86_64")]
mod cfi;
mod elf;
#[cfg(feature = "gdb")]
mod gdb;
#[cfg(not(feature = "gdb"))]
#[path = "no_gdb.rs"]
mod gdb;
mod jitdump;
mod perf_map;
#[cfg(target_arch = "x86_64")]
mod x86_64;

use std::fmt;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicU8, Ordering};

use smf_core::alloc_util::AllocError;

use crate::fallible_buf::FallibleBuf;
use crate::fork::{HeldAtFork, ProcessLock};
use crate::stderr;
use jitdump::Jitdump;
use perf_map::PerfMap;

/// A function in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Function<'n> {
    /// Where it begins.
    pub address: u64,
    /// Its size in bytes.
    pub size: u64,
    /// Its name, as it is to be shown.
    pub name: &'n [u8],
}

impl Function<'_> {
    /// Its bytes, read through the kernel, for which memory that is not there is an error.
    fn code(&self) -> io::Result<Vec<u8>> {
        let mut code = Vec::new();
        let size = usize::try_from(self.size).unwrap_or(0);
        code.try_reserve_exact(size).map_err(|_| io::ErrorKind::OutOfMemory)?;
        code.resize(size, 0);
        File::open("/proc/self/mem")?.read_exact_at(&mut code, self.address)?;
        Ok(code)
    }
}

/// One of the tools.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tool {
    /// `/tmp/perf-PID.map`.
    PerfMap,
    /// `jit-PID.dump`.
    Jitdump,
    /// The interface of `__jit_debug_register_code`.
    Gdb,
}

impl fmt::Display for Tool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Tool::PerfMap => "the perf map",
            Tool::Jitdump => "the jitdump",
            Tool::Gdb => "GDB's JIT interface",
        })
    }
}

/// Why a tool could not be told something, or not be switched on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ToolError {
    /// The system refused.
    System {
        /// The tool.
        tool: Tool,
        /// What was wanted.
        doing: &'static str,
        /// The number in `errno.h`.
        errno: i32,
    },
    /// Its file exists and belongs to somebody else, or is no regular file.
    NotOurs {
        /// The tool.
        tool: Tool,
    },
    /// There is no memory for what it is to be told.
    AllocError {
        /// The tool.
        tool: Tool,
    },
    /// It was left out when the library was built.
    LeftOut {
        /// The tool.
        tool: Tool,
    },
}

impl ToolError {
    fn system(tool: Tool, doing: &'static str) -> impl Fn(io::Error) -> Self {
        move |error| match error.kind() {
            io::ErrorKind::OutOfMemory => Self::AllocError { tool },
            _ => Self::System { tool, doing, errno: error.raw_os_error().unwrap_or(0) },
        }
    }

    fn no_memory(tool: Tool) -> impl Fn(AllocError) -> Self + Copy {
        move |AllocError| Self::AllocError { tool }
    }
}

impl fmt::Display for ToolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::System { tool, doing, errno } => {
                write!(f, "{tool}: cannot {doing}: {}", io::Error::from_raw_os_error(errno))
            }
            Self::NotOurs { tool } => {
                write!(f, "{tool}: its file exists and is no regular file of this user")
            }
            Self::AllocError { tool } => write!(f, "{tool}: no memory for what it is to be told"),
            Self::LeftOut { tool } => write!(f, "{tool} was left out when the library was built"),
        }
    }
}

impl std::error::Error for ToolError {}

/// Which tools are on, one bit each.
static ON: AtomicU8 = AtomicU8::new(UNREAD);
const PERF_MAP: u8 = 1;
const JITDUMP: u8 = 2;
const GDB: u8 = 4;
/// The environment has not been asked yet.
const UNREAD: u8 = 0x80;

/// Whether the environment was read.
static ENVIRONMENT: ProcessLock<bool> = ProcessLock::new(false);
static THE_PERF_MAP: ProcessLock<Option<PerfMap>> = ProcessLock::new(None);
static THE_JITDUMP: ProcessLock<Option<Jitdump>> = ProcessLock::new(None);

/// The locks of the tools, for the thread that forks, in the order in which they are taken.
pub(crate) const LOCKS: &[&dyn HeldAtFork] = &[
    &ENVIRONMENT,
    &THE_PERF_MAP,
    &THE_JITDUMP,
    #[cfg(feature = "gdb")]
    &gdb::LIST,
];

/// Whether any tool wants to know about code, or might: before the first question nobody has looked at
/// the environment.
#[inline]
pub fn is_on() -> bool {
    ON.load(Ordering::Relaxed) != 0
}

/// Writes `/tmp/perf-PID.map` from now on. Once it is on, nothing happens.
///
/// # Errors
/// The file cannot be created, or exists and belongs to somebody else.
pub fn enable_perf_map() -> Result<(), ToolError> {
    read_environment();
    enable(&THE_PERF_MAP, PERF_MAP, PerfMap::open)
}

/// Writes `jit-PID.dump` in `directory` from now on. Once it is on, nothing happens.
///
/// # Errors
/// The file cannot be created or mapped; `perf` notices it by its being mapped.
pub fn enable_jitdump(directory: &Path) -> Result<(), ToolError> {
    read_environment();
    enable(&THE_JITDUMP, JITDUMP, || Jitdump::open(directory))
}

/// Tells debuggers from now on.
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
    place: &'static ProcessLock<Option<T>>,
    bit: u8,
    open: impl FnOnce() -> Result<T, ToolError>,
) -> Result<(), ToolError> {
    let mut place = place.lock();
    if place.is_none() {
        *place = Some(open()?);
        ON.fetch_or(bit, Ordering::Relaxed);
    }
    Ok(())
}

/// Switches on what the environment asks for, the first time.
fn read_environment() {
    let mut is_read = ENVIRONMENT.lock();
    if std::mem::replace(&mut *is_read, true) {
        return;
    }
    ON.fetch_and(!UNREAD, Ordering::Relaxed);
    let wanted = |name| std::env::var_os(name).filter(|value| !value.is_empty() && value != "0");
    let mut outcomes = [Ok(()); 3];
    if wanted("SMF_PERF_MAP").is_some() {
        outcomes[0] = enable(&THE_PERF_MAP, PERF_MAP, PerfMap::open);
    }
    if let Some(directory) = wanted("SMF_JITDUMP") {
        outcomes[1] = enable(&THE_JITDUMP, JITDUMP, || Jitdump::open(Path::new(&directory)));
    }
    if wanted("SMF_GDB").is_some() {
        outcomes[2] = switch_on_gdb();
    }
    outcomes.iter().filter_map(|outcome| outcome.as_ref().err()).for_each(report);
}

/// For what was wanted by the environment: whoever set it reads standard error, and nobody else can be
/// told.
pub(crate) fn report(error: &ToolError) {
    let mut line = FallibleBuf::default();
    // Writing to it is no error.
    let _ = writeln!(line, "smf: {error}");
    if let Ok(line) = line.finish() {
        stderr::write(&line);
    }
}

/// What was told about code. Dropping it takes back from the debugger what the debugger has; a profile
/// keeps its names.
#[derive(Debug, Default)]
#[must_use = "the debugger forgets the names when this is dropped"]
pub struct Announced(#[expect(dead_code, reason = "held for its end")] Option<gdb::Object>);

/// Tells every tool that is on about functions that belong together, in the pages `code`.
///
/// The code must be readable, final and in its place; for a jitdump its bytes are read through the
/// kernel, so that memory which is not there is an error.
///
/// # Errors
/// What the first tool that failed says; the others have been told all the same.
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

/// Tells those that are on. Apart, so that it is no part of what loading brings into memory when nobody
/// watches.
#[cold]
#[inline(never)]
fn announce_to(
    on: u8,
    functions: &[Function<'_>],
    code: &[std::ops::Range<u64>],
) -> Result<Announced, ToolError> {
    let mut outcome = Ok(());
    if on & PERF_MAP != 0 {
        outcome = tell(&THE_PERF_MAP, |map| map.append(functions));
    }
    if on & JITDUMP != 0 {
        outcome = outcome.and(tell(&THE_JITDUMP, |dump| dump.append(functions)));
    }
    if on & GDB == 0 {
        return outcome.map(|()| Announced(None));
    }
    // Without memory for the frames debuggers look for frame pointers by themselves.
    let frames = debug_frame(functions).unwrap_or_default();
    let object = elf::object(functions, code, &frames).and_then(gdb::Object::register);
    let object = object.map_err(ToolError::no_memory(Tool::Gdb));
    outcome.and(object.map(|object| Announced(Some(object))))
}

/// How to walk the stack through the functions; nothing where that cannot be found out.
#[cfg(target_arch = "x86_64")]
fn debug_frame(functions: &[Function<'_>]) -> Result<Vec<u8>, AllocError> {
    let read = functions.iter().filter_map(|f| Some((f.address, f.code().ok()?)));
    cfi::debug_frame(read)
}

/// Debuggers then look for frame pointers by themselves.
#[cfg(not(target_arch = "x86_64"))]
fn debug_frame(_: &[Function<'_>]) -> Result<Vec<u8>, AllocError> {
    Ok(Vec::new())
}

fn tell<T>(
    place: &'static ProcessLock<Option<T>>,
    tell: impl FnOnce(&mut T) -> Result<(), ToolError>,
) -> Result<(), ToolError> {
    place.lock().as_mut().map_or(Ok(()), tell)
}
