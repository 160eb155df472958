//! Follows README.md and the chapters of the guide literally: writes the files that they show, executes their commands,
//! compiles their programs, and compares what is printed with what they show.
//!
//! `newcomer` builds a root with a compiler and nothing else, and follows the texts there; `newcomer --quick` omits what
//! needs another release build (`FULL_ONLY`). `newcomer follow REPOSITORY` follows them where it is.
//!
//! A command that cannot run here has a comment in the text, `# not run: REASON`; these are counted, and their number is
//! limited.

mod document;
mod follow;
mod matching;
mod root;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

const USAGE: &str = "usage: newcomer [--quick], newcomer follow [--quick] REPOSITORY";

/// The exit status if the machine lacks what a root needs.
const SKIPPED: u8 = 77;

/// Why the texts could not be followed.
#[derive(Debug)]
enum Error {
    /// A file that could not be read or written.
    File(PathBuf, io::Error),
    /// A program that could not be started or has failed.
    Program(String),
    /// A tool that the machine lacks.
    Lacks(String),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::File(path, error) => write!(f, "{}: {error}", path.display()),
            Error::Program(what) | Error::Lacks(what) => f.write_str(what),
        }
    }
}

/// Names the file of an error.
trait At<T> {
    fn at(self, path: &Path) -> Result<T, Error>;
}

impl<T> At<T> for io::Result<T> {
    fn at(self, path: &Path) -> Result<T, Error> {
        self.map_err(|error| Error::File(path.to_owned(), error))
    }
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let outcome = match *words {
        [] => root::run(false),
        ["--quick"] => root::run(true),
        ["follow", repository] => follow::follow(Path::new(repository), false),
        ["follow", "--quick", repository] => follow::follow(Path::new(repository), true),
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(if matches!(error, Error::Lacks(_)) { SKIPPED } else { 1 })
        }
    }
}
