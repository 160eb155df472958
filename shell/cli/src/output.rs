//! Input, output and errors of the commands.

use std::error::Error;
use std::fmt::Display;
use std::io::{self, BufWriter, Write};
use std::num::NonZero;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::thread::ScopedJoinHandle;

use smf_core::Printable;
use smf_core::format::{File, Layout, Smf};
use smf_loader::files::{self, Input, system_error};
use smf_loader::inspect::{self, Selection};

use crate::standard_output::StandardOutput;
use crate::{color, interrupt};

/// Size of the buffer for standard output, in bytes.
const OUTPUT_BUFFER: usize = 1 << 16;

/// Why a command failed.
pub(crate) enum Failure {
    /// A message for the user.
    Because(String),
    /// A message about options or arguments: wrong usage.
    Usage(String),
    /// The error was reported already.
    Reported,
    /// Writing to standard output failed.
    Output(io::Error),
}

impl Failure {
    /// A failure that concerns a file.
    pub(crate) fn of(path: &Path, why: impl Display) -> Self {
        Failure::Because(format!("{}: {why}", path.display()))
    }

    /// Wrong usage that concerns a file.
    pub(crate) fn usage_of(path: &Path, why: impl Display) -> Self {
        Failure::Usage(format!("{}: {why}", path.display()))
    }
}

/// An error that names its file itself, or concerns none.
impl<E: Error> From<E> for Failure {
    fn from(error: E) -> Self {
        Failure::Because(error.to_string())
    }
}

/// Results of operations on a file, whose errors do not name it.
pub(crate) trait At<T> {
    /// Names the file in the error.
    fn at(self, path: &Path) -> Result<T, Failure>;
}

impl<T, E: Display> At<T> for Result<T, E> {
    fn at(self, path: &Path) -> Result<T, Failure> {
        self.map_err(|error| Failure::of(path, error))
    }
}

/// The characters of a line of a source that an error shows.
const LINE_LIMIT: usize = 60;

/// An error in a line of a source, and the line, counted from 1.
pub(crate) fn with_line(error: &impl Display, line: u32, source: &str) -> String {
    let number = usize::try_from(line).unwrap_or(0).saturating_sub(1);
    let text = source.lines().nth(number).map_or("", str::trim);
    match text.char_indices().nth(LINE_LIMIT).and_then(|(end, _)| text.get(..end)) {
        Some(start) => format!("{error}: `{start}...`"),
        None if text.is_empty() => error.to_string(),
        None => format!("{error}: `{text}`"),
    }
}

/// Writes one line to standard error. A failure to do so cannot be reported.
pub(crate) fn report(kind: &str, message: &str) {
    let line = format!("{}\n", color::with_kind(&format!("{kind}: {}", one_line(message))));
    let _ = io::stderr().lock().write_all(line.as_bytes());
}

/// The name of a symbol or a section, [printable](Printable).
pub(crate) fn printable(name: &[u8]) -> String {
    Printable(name).to_string()
}

/// As [`printable`], for text that must neither break the line nor control the terminal.
pub(crate) fn one_line(text: &str) -> String {
    printable(text.as_bytes())
}

/// Runs `write` with buffered standard output and flushes it, [unless the pipe is closed](unless_closed).
pub(crate) fn to_stdout<T: Default>(
    write: impl FnOnce(&mut BufWriter<StandardOutput>) -> io::Result<T>,
) -> Result<T, Failure> {
    unless_closed(to_open_stdout(write))
}

/// Writes bytes to standard output, as [`to_stdout`].
pub(crate) fn put(bytes: &[u8]) -> Result<(), Failure> {
    to_stdout(|out| out.write_all(bytes))
}

/// What an output comes to: a reader that has closed the pipe wants no more, and what the command does is its result all
/// the same.
pub(crate) fn unless_closed<T: Default>(written: Result<T, Failure>) -> Result<T, Failure> {
    match written {
        Err(Failure::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
            Ok(T::default())
        }
        done => done,
    }
}

/// As [`to_stdout`], for output without an end: a closed pipe is an error.
pub(crate) fn to_open_stdout<T>(
    write: impl FnOnce(&mut BufWriter<StandardOutput>) -> io::Result<T>,
) -> Result<T, Failure> {
    let mut out = BufWriter::with_capacity(OUTPUT_BUFFER, StandardOutput);
    let written = write(&mut out).and_then(|value| out.flush().map(|()| value));
    // Dropping the writer would retry the failed write.
    let _ = out.into_parts();
    written.map_err(Failure::Output)
}

/// The number of functions that an error suggests.
const SUGGESTED: usize = 8;

/// Names the functions of a module, for an error: "; it has `f`, `g`".
pub(crate) fn suggestions<'n>(verb: &str, mut names: impl Iterator<Item = &'n [u8]>) -> String {
    let quoted = |name| format!("`{}`", Printable(name));
    let some: Vec<_> = names.by_ref().take(SUGGESTED).map(quoted).collect();
    let more = if names.next().is_some() { ", ..." } else { "" };
    match some.is_empty() {
        true => format!("; it {verb} no functions"),
        false => format!("; it {verb} {}{more}", some.join(", ")),
    }
}

/// Reads an input.
pub(crate) fn read(path: &Path) -> Result<Input, Failure> {
    files::read(path).at(path)
}

/// Reads inputs, on as many threads as pay. Only files: standard input is read by one thread, in order.
pub(crate) fn read_all(paths: &[PathBuf]) -> Result<Vec<Input>, Failure> {
    let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
    let has_stdin = paths.iter().any(|path| files::is_standard_stream(path));
    let threads = if has_stdin { 1 } else { cores.min(paths.len()).max(1) };
    let read_some = |paths: &[PathBuf]| paths.iter().map(|path| read(path)).collect();
    let mut chunks = paths.chunks(paths.len().div_ceil(threads).max(1));
    let first = chunks.next().unwrap_or(&[]);
    let parts: Vec<Result<Vec<Input>, Failure>> = std::thread::scope(|scope| {
        let start = |chunk| {
            let thread = std::thread::Builder::new().spawn_scoped(scope, move || read_some(chunk));
            (chunk, thread.ok())
        };
        let others: Vec<_> = chunks.map(start).collect();
        let first = std::iter::once(read_some(first));
        // A thread that cannot be started costs time alone.
        let join = |(chunk, thread): (_, Option<ScopedJoinHandle<'_, _>>)| {
            thread.and_then(|thread| thread.join().ok()).unwrap_or_else(|| read_some(chunk))
        };
        first.chain(others.into_iter().map(join)).collect()
    });
    let parts = parts.into_iter().collect::<Result<Vec<_>, _>>()?;
    Ok(parts.into_iter().flatten().collect())
}

/// Parses a module.
pub(crate) fn module<'d>(path: &Path, data: &'d [u8]) -> Result<Smf<'d>, Failure> {
    let file = File::parse(data).at(path)?;
    let hint = "this is an archive: name one of its modules, as in ARCHIVE:NAME (`smf lib list` shows them)";
    file.module().ok_or_else(|| Failure::of(path, hint))
}

/// As [`module`], for commands that show the sections and symbols of a module.
pub(crate) fn module_with_sections<'d>(path: &Path, data: &'d [u8]) -> Result<Smf<'d>, Failure> {
    let smf = module(path, data)?;
    match smf.layout() {
        Layout::Dynlib => {
            let why = "a dynlib has no sections and symbols but those of its shared object, which `smf extract` writes";
            Err(Failure::of(path, why))
        }
        _ => Ok(smf),
    }
}

/// Does something with each file. The failure of one is reported, and the others follow.
pub(crate) fn for_each_file(
    paths: &[PathBuf],
    mut show: impl FnMut(&Path) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let mut failed = false;
    for path in paths {
        match show(path) {
            Err(Failure::Because(message)) => {
                report("error", &message);
                failed = true;
            }
            shown => shown?,
        }
    }
    if failed { Err(Failure::Reported) } else { Ok(()) }
}

/// Shows a module or an archive, after checking everything that is shown.
pub(crate) fn show(
    path: &Path,
    file: &File<'_>,
    json: bool,
    parts: &Selection<'_>,
) -> Result<(), Failure> {
    inspect::check(file).at(path)?;
    let name = path.to_string_lossy();
    to_stdout(|out| match json {
        true => inspect::write_json(file, &name, out),
        false => inspect::write_selected(file, &name, parts, out),
    })
}

/// Refuses an output that would replace an input, or the archive of an input.
pub(crate) fn check_distinct<'p>(
    output: &Path,
    mut inputs: impl Iterator<Item = &'p Path>,
) -> Result<(), Failure> {
    let file = |path: &Path| std::fs::metadata(path).ok().map(|found| (found.dev(), found.ino()));
    let Some(existing) = file(output).filter(|_| !files::is_standard_stream(output)) else {
        return Ok(());
    };
    let is_output = |input: &Path| file(files::input_file(input)) == Some(existing);
    match inputs.any(|input| !files::is_standard_stream(input) && is_output(input)) {
        true => Err(Failure::of(output, "the output is one of the inputs")),
        false => Ok(()),
    }
}

/// Refuses an output that would replace the archive of the input. A module that is a file may be replaced by what is made
/// of it.
pub(crate) fn check_keeps_archive(output: &Path, input: &Path) -> Result<(), Failure> {
    match files::input_file(input) == input {
        true => Ok(()),
        false => check_distinct(output, std::iter::once(input)),
    }
}

/// Writes an output; a program is executable if `source` is.
pub(crate) fn write(path: &Path, bytes: &[u8], source: Option<&Path>) -> Result<(), Failure> {
    interrupt::report_file_limit();
    let executable = files::is_program(bytes) && source.is_some_and(files::is_executable);
    files::write(path, bytes, executable).map_err(|error| match files::is_standard_stream(path) {
        true => Failure::Output(error),
        false => Failure::of(path, format_args!("cannot write the file: {}", system_error(&error))),
    })
}
