//! Commands, run at the top of the repository and printed in a form that a shell accepts.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{self, Stdio};

use crate::error::Error;

/// The top of the repository.
pub(crate) fn root() -> &'static Path {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here)
}

/// The target directory of cargo.
pub(crate) fn target() -> PathBuf {
    root().join(std::env::var_os("CARGO_TARGET_DIR").unwrap_or("target".into()))
}

/// A command and its printed form.
pub(crate) struct Command {
    command: process::Command,
    shown: String,
}

/// `program` and its arguments, separated by spaces.
pub(crate) fn command(line: &str) -> Command {
    let mut words = line.split_whitespace();
    let mut command = process::Command::new(words.next().unwrap_or_default());
    command.args(words).current_dir(root()).stdin(Stdio::null());
    Command { command, shown: line.to_owned() }
}

/// `cargo` with these arguments, separated by spaces.
pub(crate) fn cargo(line: &str) -> Command {
    command(&format!("cargo {line}"))
}

impl From<process::Command> for Command {
    fn from(command: process::Command) -> Self {
        let words = [command.get_program()].into_iter().chain(command.get_args());
        let shown: Vec<_> = words.map(|word| word.to_string_lossy()).collect();
        Self { shown: shown.join(" "), command }
    }
}

impl Command {
    pub(crate) fn args<A: AsRef<OsStr>>(mut self, arguments: impl IntoIterator<Item = A>) -> Self {
        for argument in arguments {
            self.shown = format!("{} {}", self.shown, argument.as_ref().display());
            self.command.arg(argument);
        }
        self
    }

    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.shown = if value.contains(' ') {
            format!("{name}=\"{value}\" {}", self.shown)
        } else {
            format!("{name}={value} {}", self.shown)
        };
        self.command.env(name, value);
        self
    }

    /// Sets the directory, below the top of the repository.
    pub(crate) fn directory(mut self, below: &str) -> Self {
        self.shown = format!("cd {below} && {}", self.shown);
        self.command.current_dir(root().join(below));
        self
    }

    /// Removes an environment variable.
    pub(crate) fn without_env(mut self, name: &str) -> Self {
        self.command.env_remove(name);
        self
    }

    /// Runs the command with its output shown.
    pub(crate) fn run(mut self) -> Result<(), Error> {
        println!("$ {}", self.shown);
        let status = self.command.status();
        self.judge(status.map(|status| (status, ()))).map(drop)
    }

    /// Runs the command and passes each line of its output to `line` as it appears.
    pub(crate) fn for_each_line(mut self, line: impl FnMut(&str)) -> Result<(), Error> {
        self.command.stdout(Stdio::piped());
        self.listen(|child| child.stdout.take(), line)
    }

    /// The same for standard error.
    pub(crate) fn for_each_error(mut self, line: impl FnMut(&str)) -> Result<(), Error> {
        self.command.stderr(Stdio::piped());
        self.listen(|child| child.stderr.take(), line)
    }

    fn listen<R: Read>(
        mut self,
        end: impl FnOnce(&mut process::Child) -> Option<R>,
        mut line: impl FnMut(&str),
    ) -> Result<(), Error> {
        println!("$ {}", self.shown);
        let status = self.command.spawn().and_then(|mut child| {
            let lines = end(&mut child).into_iter().flat_map(|out| BufReader::new(out).lines());
            for text in lines {
                line(&text?);
            }
            child.wait()
        });
        self.judge(status.map(|status| (status, ()))).map(drop)
    }

    /// Runs the command silently and returns its output.
    pub(crate) fn output(mut self) -> Result<String, Error> {
        let output = self.command.stderr(Stdio::inherit()).output();
        let output = output.map(|output| (output.status, output.stdout));
        self.judge(output).map(|stdout| String::from_utf8_lossy(&stdout).into_owned())
    }

    /// Whether the command starts and succeeds, without output.
    pub(crate) fn succeeds(mut self) -> bool {
        let silent = self.command.stdout(Stdio::null()).stderr(Stdio::null());
        silent.status().is_ok_and(|status| status.success())
    }

    fn judge<T>(self, outcome: std::io::Result<(process::ExitStatus, T)>) -> Result<T, Error> {
        match outcome {
            Ok((status, output)) if status.success() => Ok(output),
            Ok((status, _)) => Err(Error::Status(self.shown, status)),
            Err(error) => Err(Error::Start(self.shown, error)),
        }
    }
}
