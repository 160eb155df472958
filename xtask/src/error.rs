//! The errors of tasks.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;

/// One sentence for the caller of the task; the details are printed before.
#[derive(Debug)]
pub(crate) enum Error {
    /// A command that could not be started.
    Start(String, io::Error),
    /// A command that failed.
    Status(String, ExitStatus),
    /// A command with an unexpected output.
    Output {
        /// The command.
        command: String,
        /// The expected output.
        expected: &'static str,
        /// The output.
        found: String,
    },
    /// A file that could not be read or written.
    File(PathBuf, io::Error),
    /// A part that a file lacks.
    Missing(&'static str, PathBuf),
    /// An argument that the task does not know, or without its value.
    Usage(String),
    /// A file that another build gives with other bytes.
    Different(PathBuf),
    /// A name, what it should be the name of, and the names of those that exist.
    NoSuch {
        /// The name.
        name: String,
        /// Such as `step`.
        kind: &'static str,
        /// Those that exist, separated by commas.
        known: String,
    },
    /// The number of findings, and the check that made them.
    Findings(usize, &'static str),
}

impl Error {
    /// The error of an unknown name.
    pub(crate) fn no_such<'k>(
        kind: &'static str,
        name: &str,
        known: impl Iterator<Item = &'k str>,
    ) -> Self {
        let known = known.collect::<Vec<_>>().join(", ");
        Error::NoSuch { name: name.to_owned(), kind, known }
    }
}

/// Adds the name of a file to an error of the system.
pub(crate) trait At<T> {
    /// The result of an operation on the file `path`.
    fn at(self, path: impl AsRef<Path>) -> Result<T, Error>;
}

impl<T, E: Into<io::Error>> At<T> for Result<T, E> {
    fn at(self, path: impl AsRef<Path>) -> Result<T, Error> {
        self.map_err(|error| Error::File(path.as_ref().to_owned(), error.into()))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Start(command, error) => write!(f, "`{command}` does not start: {error}"),
            Error::Status(command, status) => write!(f, "`{command}`: {status}"),
            Error::Output { command, expected, found } => {
                write!(f, "`{command}` printed {found:?}, not {expected:?}")
            }
            Error::File(path, error) => write!(f, "{}: {error}", path.display()),
            Error::Missing(part, path) => write!(f, "{}: there is no {part}", path.display()),
            Error::Usage(argument) => {
                write!(f, "`{argument}`: no such option, or its value is missing")
            }
            Error::Different(path) => {
                write!(f, "{}: a build in another directory gives other bytes", path.display())
            }
            Error::NoSuch { name, kind, known } => {
                write!(f, "there is no {kind} `{name}`, only {known}")
            }
            Error::Findings(count, check) => write!(f, "{check}: {count} failed"),
        }
    }
}

impl std::error::Error for Error {}
