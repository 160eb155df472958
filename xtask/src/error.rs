//! Why a chore could not be done.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::process::ExitStatus;

/// One sentence for whoever ran the chore; the details have been printed by then.
#[derive(Debug)]
pub(crate) enum Error {
    /// A command that could not be started.
    Start(String, io::Error),
    /// A command that failed.
    Status(String, ExitStatus),
    /// A command that printed something else.
    Output {
        /// The command.
        command: String,
        /// What it should have printed.
        expected: &'static str,
        /// What it printed.
        found: String,
    },
    /// A file that could not be read or written.
    File(PathBuf, io::Error),
    /// Something that should be in a file and is not.
    Missing(&'static str, PathBuf),
    /// A step that does not exist.
    NoSuchStep(String),
    /// How many things are not as they should be.
    Broken(usize, &'static str),
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
            Error::Missing(what, path) => write!(f, "{}: there is no {what}", path.display()),
            Error::NoSuchStep(name) => {
                write!(f, "there is no step `{name}`; `cargo xtask ci list` names them")
            }
            Error::Broken(count, what) => write!(f, "{what}: {count} not as it should be"),
        }
    }
}

impl std::error::Error for Error {}
