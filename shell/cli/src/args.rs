//! The command line: the commands and their documentation.

use std::path::PathBuf;

use clap::{ColorChoice, Parser, Subcommand};
use clap_complete::Shell;

use crate::{
    bytecode, check, compile, convert, diff, eval, examples, help, inspect, jit, library, map, nm,
    note, pack, prefetch, run, stub, templates, trace, verify,
};

/// Loads, runs, verifies and links SMF modules.
///
/// Results go to standard output. A failure is one `error: ...` line on standard error and exit
/// status 1 (of `smf diff`: 2). Wrong usage is exit status 2: options and arguments that the command
/// does not accept, or that do not fit the file or the function that is called. A file argument of `-`
/// is standard input or output; inputs may also be pipes, such as `<(COMMAND)` of a shell. Every command
/// reads every layout: native, packed, compact and dynlib; but the sections and symbols of a dynlib are
/// those of its shared object, which `smf extract` writes.
#[derive(Parser)]
#[command(name = "smf", version, disable_help_subcommand = true, max_term_width = 100)]
pub(crate) struct Cli {
    /// Colour of messages on standard error; `auto`: on a terminal, unless NO_COLOR is set
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto")]
    pub(crate) color: ColorChoice,
    /// Show no progress; it is shown on a terminal only, of work that takes more than a second
    #[arg(long, global = true)]
    pub(crate) quiet: bool,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Commands without a description here are described at their arguments.
#[derive(Subcommand)]
pub(crate) enum Command {
    #[command(after_help = examples::RUN)]
    Run(run::Args),
    #[command(after_help = examples::TRACE)]
    Trace(trace::Args),
    #[command(after_help = examples::COMPILE)]
    Compile(compile::Args),
    #[command(after_help = examples::CHECK)]
    Check(check::Args),
    #[command(after_help = examples::EVAL)]
    Eval(eval::Args),
    /// Shows header, sections, symbols, relocations, templates and note
    #[command(after_help = examples::INSPECT)]
    Inspect(inspect::Args),
    #[command(after_help = examples::NM)]
    Nm(nm::NmArgs),
    #[command(after_help = examples::SIZE)]
    Size(nm::SizeArgs),
    #[command(after_help = examples::TOP)]
    Top(nm::TopArgs),
    #[command(after_help = examples::DIFF)]
    Diff(diff::Args),
    #[command(after_help = examples::MAP)]
    Map(map::Args),
    #[command(after_help = examples::VERIFY)]
    Verify(verify::Args),
    /// Links relocatable ELF objects and modules into one module
    #[command(after_help = examples::PACK)]
    Pack(pack::Args),
    #[command(after_help = examples::CONVERT)]
    Convert(convert::Args),
    /// Removes the stub before the module
    #[command(after_help = examples::STRIP_STUB)]
    StripStub(stub::Args),
    /// Extracts the module, or the shared object of a dynlib, from a hybrid file
    #[command(after_help = examples::EXTRACT)]
    Extract(stub::Args),
    /// Creates and reads LSMF archives
    #[command(subcommand, after_help = examples::LIB)]
    Lib(library::Command),
    /// Shows note.sdn
    #[command(after_help = examples::NOTE)]
    Note(note::Args),
    #[command(after_help = examples::JIT)]
    Jit(jit::Args),
    /// Shows the templates of a module and their possible and existing instances
    #[command(after_help = examples::TEMPLATES)]
    Templates(templates::Args),
    #[command(after_help = examples::PREFETCH)]
    Prefetch(prefetch::Args),
    #[command(after_help = examples::ASM)]
    Asm(bytecode::AsmArgs),
    #[command(after_help = examples::DISASM)]
    Disasm(bytecode::DisasmArgs),
    #[command(after_help = examples::HELP)]
    Help(help::Args),
    /// Prints completions for a shell
    #[command(after_help = examples::COMPLETIONS)]
    Completions {
        /// The shell [default: the one that SHELL names]
        shell: Option<Shell>,
        /// Write them to the user's directory for them, and print the path: bash, zsh, fish
        #[arg(long)]
        install: bool,
    },
    /// Prints the man page, or that of one command
    #[command(after_help = examples::MAN)]
    Man {
        /// The command, such as `run` or `lib create` [default: the page that lists all commands]
        command: Vec<String>,
        /// Write the pages of all commands into this directory
        #[arg(long, value_name = "DIR", conflicts_with = "command")]
        directory: Option<PathBuf>,
    },
}

impl Command {
    /// Whether the command writes outputs by [`output::write`](crate::output::write), and runs no code of modules, which
    /// may handle signals itself.
    pub(crate) fn writes_files(&self) -> bool {
        matches!(
            self,
            Self::Asm(_)
                | Self::Compile(_)
                | Self::Completions { .. }
                | Self::Convert(_)
                | Self::Extract(_)
                | Self::Lib(_)
                | Self::Man { .. }
                | Self::Map(_)
                | Self::Pack(_)
                | Self::StripStub(_)
        )
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn command_line_definition_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn examples_are_accepted() {
        for line in examples::ALL.iter().flat_map(|all| all.lines().skip(1)) {
            let quoted = line.split('\'').enumerate();
            let words = quoted.flat_map(|(number, part)| match number % 2 {
                0 => part.split_whitespace().collect(),
                _ => vec![part],
            });
            assert!(Cli::try_parse_from(words).is_ok(), "{line}");
        }
    }

    #[test]
    fn every_command_has_examples() {
        let commands = Cli::command();
        let shown = commands.get_subcommands().filter(|command| !command.is_hide_set());
        for command in shown {
            let mut last: Vec<_> = command.get_subcommands().collect();
            if last.is_empty() {
                last.push(command);
            }
            let has = |command: &clap::Command| command.get_after_help().is_some();
            assert!(last.into_iter().all(has), "{}", command.get_name());
        }
    }
}
