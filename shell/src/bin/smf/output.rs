//! Input, output and errors of the commands.

use std::fmt::Display;
use std::io::{self, BufWriter, IsTerminal, StdoutLock, Write};
use std::path::Path;

use indicatif::{ProgressBar, ProgressDrawTarget};
use smf_core::format::{File, Smf};
use smf_loader::files::{self, Input};
use smf_loader::inspect;

/// Size of the buffer for standard output, in bytes.
const OUTPUT_BUFFER: usize = 1 << 16;

/// A progress bar is shown for more files than this.
const MANY_FILES: usize = 50;

/// Why a command failed.
pub(crate) enum Failure {
    /// A message for the user.
    Because(String),
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

    /// An error that names its file itself.
    pub(crate) fn because(why: impl Display) -> Self {
        Failure::Because(why.to_string())
    }

    /// What [`Failure::of`] makes of any error.
    pub(crate) fn at<E: Display>(path: &Path) -> impl Fn(E) -> Self + Copy {
        move |error| Self::of(path, error)
    }
}

/// Writes one line to standard error. A failure to do so cannot be reported.
pub(crate) fn report(kind: &str, message: &str) {
    let line = format!("{kind}: {}\n", one_line(message));
    let _ = io::stderr().lock().write_all(line.as_bytes());
}

/// `text` with control characters escaped: a name must neither break the line nor control the terminal.
pub(crate) fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() { line.extend(c.escape_default()) } else { line.push(c) }
    }
    line
}

/// Runs `write` with buffered standard output and flushes it.
pub(crate) fn to_stdout<T>(
    write: impl FnOnce(&mut BufWriter<StdoutLock<'static>>) -> io::Result<T>,
) -> Result<T, Failure> {
    let mut out = BufWriter::with_capacity(OUTPUT_BUFFER, io::stdout().lock());
    let written = write(&mut out).and_then(|value| {
        out.flush()?;
        Ok(value)
    });
    // Dropping the writer would retry the failed write.
    let _ = out.into_parts();
    written.map_err(Failure::Output)
}

/// The number of functions that an error suggests.
const SUGGESTED: usize = 8;

/// Names the functions of a module, for an error: `; it has f, g`.
pub(crate) fn suggestions<'n>(verb: &str, mut names: impl Iterator<Item = &'n [u8]>) -> String {
    let some: Vec<_> = names.by_ref().take(SUGGESTED).map(String::from_utf8_lossy).collect();
    let more = if names.next().is_some() { ", ..." } else { "" };
    match some.is_empty() {
        true => format!("; it {verb} no functions"),
        false => format!("; it {verb} {}{more}", some.join(", ")),
    }
}

/// A progress bar; hidden for few files and when standard error is not a terminal.
pub(crate) fn progress(files: usize) -> ProgressBar {
    if files > MANY_FILES && io::stderr().is_terminal() {
        ProgressBar::with_draw_target(u64::try_from(files).ok(), ProgressDrawTarget::stderr())
    } else {
        ProgressBar::hidden()
    }
}

/// Reads an input.
pub(crate) fn read(path: &Path) -> Result<Input, Failure> {
    files::read(path).map_err(Failure::at(path))
}

/// Parses a module.
pub(crate) fn module<'d>(path: &Path, data: &'d [u8]) -> Result<Smf<'d>, Failure> {
    let file = File::parse(data).map_err(Failure::at(path))?;
    let hint = "this is an archive: extract a module with `smf lib extract`";
    file.module().ok_or_else(|| Failure::of(path, hint))
}

/// Shows a module or an archive, after checking everything that is shown.
pub(crate) fn show(path: &Path, file: &File<'_>, json: bool) -> Result<(), Failure> {
    inspect::check(file).map_err(Failure::at(path))?;
    let name = path.to_string_lossy();
    to_stdout(|out| {
        if json {
            inspect::write_json(file, &name, out)
        } else {
            inspect::write_text(file, &name, out)
        }
    })
}

/// Writes an output; a program is executable if `source` is.
pub(crate) fn write(path: &Path, bytes: &[u8], source: Option<&Path>) -> Result<(), Failure> {
    let executable = files::is_program(bytes) && source.is_some_and(files::is_executable);
    files::write(path, bytes, executable).map_err(|error| {
        if files::is_standard_stream(path) {
            Failure::Output(error)
        } else {
            Failure::of(path, format_args!("cannot write the file: {error}"))
        }
    })
}
