//! `smf completions` and `smf man`: files that a package or a user installs with the command.

use std::env::var_os;
use std::fs::create_dir_all;
use std::io::Write;
use std::path::{Path, PathBuf};

use clap::Command;
use clap_complete::Shell;
use clap_mangen::Man;
use smf_loader::files::system_error;

use crate::output::{self, At, Failure};

/// The directory of the completions of a shell, as the XDG base directory specification and the shells define them; an
/// error for other shells.
fn completions_directory(shell: Shell) -> Result<PathBuf, Failure> {
    let (variable, default, below) = match shell {
        Shell::Bash => ("XDG_DATA_HOME", ".local/share", "bash-completion/completions"),
        Shell::Zsh => ("XDG_DATA_HOME", ".local/share", "zsh/site-functions"),
        Shell::Fish => ("XDG_CONFIG_HOME", ".config", "fish/completions"),
        other => {
            let message = format!("--install knows bash, zsh and fish, not {other}");
            return Err(Failure::Usage(message));
        }
    };
    let absolute = |path: &PathBuf| path.is_absolute();
    let base = var_os(variable)
        .map(PathBuf::from)
        .filter(absolute)
        .or_else(|| Some(PathBuf::from(var_os("HOME")?).join(default)).filter(absolute));
    let base = base.ok_or_else(|| Failure::Because("HOME is not set".to_owned()))?;
    Ok(base.join(below))
}

/// Prints the completions, or writes them where the shell finds them.
pub(crate) fn completions(
    shell: Option<Shell>,
    install: bool,
    mut command: Command,
) -> Result<(), Failure> {
    let unknown = || Failure::Usage("SHELL names no known shell; name one".to_owned());
    let shell = shell.or_else(Shell::from_env).ok_or_else(unknown)?;
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut command, "smf", &mut text);
    if !install {
        return output::put(&text);
    }
    let directory = completions_directory(shell)?;
    let no_directory = |error| format!("cannot create the directory: {}", system_error(&error));
    create_dir_all(&directory).map_err(no_directory).at(&directory)?;
    let name = match shell {
        Shell::Zsh => "_smf",
        Shell::Fish => "smf.fish",
        _ => "smf",
    };
    let path = directory.join(name);
    output::write(&path, &text, None)?;
    output::to_stdout(|out| writeln!(out, "{}", path.display()))
}

/// Prints a page, or writes those of all commands into a directory.
pub(crate) fn man(
    names: &[String],
    directory: Option<&Path>,
    command: Command,
) -> Result<(), Failure> {
    let mut command = command.disable_help_subcommand(true);
    command.build();
    if let Some(directory) = directory {
        return write_pages(&command, directory);
    }
    for name in names {
        let found = command.find_subcommand(name).cloned();
        let unknown = || Failure::Usage(format!("no command `{}`", names.join(" ")));
        command = found.ok_or_else(unknown)?;
    }
    let page = page(&command)?;
    output::put(page.as_bytes())
}

/// Writes the pages of a command and of its commands.
fn write_pages(command: &Command, directory: &Path) -> Result<(), Failure> {
    for command in command.get_subcommands().filter(|command| !command.is_hide_set()) {
        write_pages(command, directory)?;
    }
    let path = directory.join(Man::new(command.clone()).get_filename());
    output::write(&path, page(command)?.as_bytes(), None)
}

/// The page of a command, with the usage that `--help` shows as its synopsis: that of `clap_mangen` has neither the values of
/// options nor that arguments may be repeated.
fn page(command: &Command) -> Result<String, Failure> {
    const SYNOPSIS: &str = "\n.SH SYNOPSIS\n";
    let mut page = Vec::new();
    Man::new(command.clone()).render(&mut page)?;
    let page = String::from_utf8(page)?;
    let usage = command.clone().render_usage().to_string();
    let usage = usage.trim_start_matches("Usage:").trim().replace('-', "\\-");
    let (before, behind) = page.split_once(SYNOPSIS).unwrap_or((&page, ""));
    let behind = behind.find("\n.SH ").and_then(|end| behind.get(end..)).unwrap_or_default();
    Ok(format!("{before}{SYNOPSIS}{usage}{behind}"))
}
