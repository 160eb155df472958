//! The `smf` command: results on standard output, one `error: ...` line on standard error, exit
//! status 0 for done, 1 for failed, 2 for wrong usage.
//!
//! Each command is a file of its own: its arguments, what it does, and nothing that another needs.
#![deny(unsafe_code)]

use std::io;
use std::process::ExitCode;

use clap::Parser;

mod allocator;
mod args;
mod bytecode;
mod convert;
mod generate;
mod generic;
mod inspect;
mod jit;
mod library;
mod note;
mod output;
mod pack;
mod prefetch;
mod run;
mod stub;
mod templates;
mod values;
mod verify;
mod watch;

use args::{Cli, Command};
use output::Failure;

#[global_allocator]
static ALLOCATOR: allocator::OrExit = allocator::OrExit;

fn main() -> ExitCode {
    let cli = Cli::parse_from(args::with_decimal_negatives(std::env::args_os()));
    let done = match &cli.command {
        Command::Run(args) => return finish(run::run(args)),
        Command::Jit(args) => jit::run(args),
        Command::Templates(args) => templates::run(args),
        Command::Inspect(args) => inspect::run(args),
        Command::Verify(args) => verify::run(args),
        Command::Pack(args) => pack::run(args),
        Command::Convert(args) => convert::run(args),
        Command::StripStub(args) => stub::strip(args),
        Command::Extract(args) => stub::extract(args),
        Command::Lib(args) => library::run(args),
        Command::Note(args) => note::run(args),
        Command::Prefetch(args) => prefetch::run(args),
        Command::Asm(args) => bytecode::asm(args),
        Command::Disasm(args) => bytecode::disasm(args),
        Command::Completions(args) => generate::completions(args),
        Command::Man(args) => generate::man(args),
    };
    finish(done.map(|()| ExitCode::SUCCESS))
}

fn finish(done: Result<ExitCode, Failure>) -> ExitCode {
    match done {
        Ok(code) => code,
        Err(Failure::Because(message)) => {
            output::report("error", &message);
            ExitCode::FAILURE
        }
        Err(Failure::Reported) => ExitCode::FAILURE,
        // Whoever read the output has seen enough.
        Err(Failure::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
            ExitCode::SUCCESS
        }
        Err(Failure::Output(error)) => {
            output::report("error", &format!("cannot write to standard output: {error}"));
            ExitCode::FAILURE
        }
    }
}
