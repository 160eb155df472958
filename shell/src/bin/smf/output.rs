//! What the commands share: how they fail, and where they read from and write to.

use std::fmt::Display;
use std::io::{self, BufWriter, IsTerminal, StdoutLock, Write};
use std::path::Path;

use indicatif::{ProgressBar, ProgressDrawTarget};
use smf_core::format::Smf;
use smf_core::format::library::is_library;
use smf_loader::files::{self, Input};

/// Bytes gathered before they are written to standard output.
const OUTPUT_BUFFER: usize = 1 << 16;

/// Fewer files than this are done before anybody could look at a progress bar.
const MANY_FILES: usize = 50;

/// Why a command did not do what it was asked to.
pub(crate) enum Failure {
    /// Something that a user can act on.
    Because(String),
    /// As above, and already reported.
    Reported,
    /// Standard output.
    Output(io::Error),
}

impl Failure {
    /// A failure that has to do with a file.
    pub(crate) fn of(path: &Path, why: impl Display) -> Self {
        Failure::Because(format!("{}: {why}", path.display()))
    }
}

/// Writes one line to standard error: what cannot be told there cannot be told at all.
pub(crate) fn report(kind: &str, message: &str) {
    let line = format!("{kind}: {}\n", one_line(message));
    let _ = io::stderr().lock().write_all(line.as_bytes());
}

/// `text` with its control characters escaped: a name inside it must neither break the line nor reach
/// a terminal's controls.
pub(crate) fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() { line.extend(c.escape_default()) } else { line.push(c) }
    }
    line
}

/// Runs `write` with standard output and sees that everything arrives there.
pub(crate) fn to_stdout<T>(
    write: impl FnOnce(&mut BufWriter<StdoutLock<'static>>) -> io::Result<T>,
) -> Result<T, Failure> {
    let mut out = BufWriter::with_capacity(OUTPUT_BUFFER, io::stdout().lock());
    let written = write(&mut out).and_then(|value| {
        out.flush()?;
        Ok(value)
    });
    // Dropping the writer would try what is left again.
    let _ = out.into_parts();
    written.map_err(Failure::Output)
}

/// A progress bar for so many files; hidden for few, and when standard error is no terminal.
pub(crate) fn progress(files: usize) -> ProgressBar {
    if files > MANY_FILES && io::stderr().is_terminal() {
        ProgressBar::with_draw_target(u64::try_from(files).ok(), ProgressDrawTarget::stderr())
    } else {
        ProgressBar::hidden()
    }
}

/// The bytes of an input.
pub(crate) fn read(path: &Path) -> Result<Input, Failure> {
    files::read(path).map_err(|error| Failure::of(path, error))
}

/// The module in `data`.
pub(crate) fn module<'d>(path: &Path, data: &'d [u8]) -> Result<Smf<'d>, Failure> {
    if is_library(data) {
        let hint = "a library archive; take a module out with `smf lib extract` first";
        return Err(Failure::of(path, hint));
    }
    Smf::parse(data).map_err(|error| Failure::of(path, error))
}

/// Writes an output; one that the system can run may be run if `source` may.
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
