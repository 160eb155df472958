//! The command line: the commands and their documentation.

use clap::{Parser, Subcommand};
use clap_complete::Shell;

use crate::{
    bytecode, check, compile, convert, diff, eval, help, inspect, jit, library, map, nm, note,
    pack, prefetch, run, stub, templates, verify,
};

/// Loads, runs, verifies and links SMF modules.
///
/// Results go to standard output. A failure is one `error: ...` line on standard error and exit
/// status 1; wrong usage is exit status 2. A file argument of `-` is standard input or output. Every
/// command reads every layout: native, packed, compact and dynlib.
#[derive(Parser)]
#[command(name = "smf", version, disable_help_subcommand = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Commands without a description here are described at their arguments.
#[derive(Subcommand)]
pub(crate) enum Command {
    Run(run::Args),
    Compile(compile::Args),
    Check(check::Args),
    Eval(eval::Args),
    /// Shows header, sections, symbols, relocations, templates and note
    Inspect(inspect::Args),
    Nm(nm::NmArgs),
    Size(nm::SizeArgs),
    Top(nm::TopArgs),
    Diff(diff::Args),
    Map(map::Args),
    Verify(verify::Args),
    /// Links relocatable ELF objects and modules into one module
    Pack(pack::Args),
    Convert(convert::Args),
    /// Removes the stub before the module
    StripStub(stub::Args),
    /// Extracts the module, or the shared object of a dynlib, from a hybrid file
    Extract(stub::Args),
    /// Creates and reads LSMF archives
    #[command(subcommand)]
    Lib(library::Command),
    /// Shows note.sdn
    Note(note::Args),
    Jit(jit::Args),
    /// Shows the templates of a module and their possible and existing instances
    Templates(templates::Args),
    Prefetch(prefetch::Args),
    Asm(bytecode::AsmArgs),
    Disasm(bytecode::DisasmArgs),
    Help(help::Args),
    /// Prints completions for a shell
    #[command(hide = true)]
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Prints the man page, or that of one command
    #[command(hide = true)]
    Man {
        /// The command [default: the page that lists all commands]
        command: Option<String>,
    },
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn command_line_definition_is_consistent() {
        Cli::command().debug_assert();
    }
}
