//! The `smf` command. Results go to standard output, an `error: ...` line to standard error. The exit status
//! is 0 for success, 1 for failure, 2 for wrong usage.
//!
//! Each command has a file of its own, with its arguments and its implementation.
#![deny(unsafe_code)]

use std::io;
use std::process::ExitCode;
use std::sync::atomic::Ordering;

use clap::{CommandFactory, Parser};
use smf_loader::exec::host_functions;
use smf_loader::files::system_error;

mod allocator;
mod args;
mod bytecode;
mod check;
mod color;
mod compile;
mod convert;
mod crash;
mod diff;
mod eval;
mod examples;
mod generate;
mod generic;
mod help;
mod initial_stack;
mod inspect;
mod integer;
mod interrupt;
mod jit;
mod layout;
mod library;
mod loaded_code;
mod machine_code;
mod map;
mod nm;
mod note;
mod objects;
mod output;
mod pack;
mod prefetch;
mod progress;
mod run;
mod run_source;
mod signature;
mod source;
mod standard_output;
mod stub;
mod templates;
#[cfg(all(target_arch = "x86_64", target_env = "gnu"))]
mod tls_reserve;
mod trace;
mod values;
mod verify;
mod watch;

use args::{Cli, Command};
use output::Failure;

#[global_allocator]
static ALLOCATOR: allocator::OrExit = allocator::OrExit;

/// The exit status for wrong usage, as that of clap, and for failures of `smf diff`.
const USAGE: u8 = 2;

fn main() -> ExitCode {
    let cli = match Cli::try_parse_from(integer::mark_negatives(std::env::args_os())) {
        Ok(cli) => cli,
        // Help and version are results.
        Err(shown) if !shown.use_stderr() => {
            let text = shown.render().to_string();
            return finish(output::put(text.as_bytes()).map(|()| ExitCode::SUCCESS));
        }
        Err(wrong) => wrong.exit(),
    };
    color::choose(cli.color);
    progress::choose(cli.quiet);
    if cli.command.writes_files() {
        interrupt::clean_up_at_signals();
    }
    let done = match &cli.command {
        Command::Run(args) => return finish(run::run(args)),
        Command::Trace(args) => return finish(trace::run(args)),
        Command::Eval(args) => return finish(eval::run(args)),
        // Status 1 states a difference.
        Command::Diff(args) => {
            allocator::FAILURE.store(USAGE.into(), Ordering::Relaxed);
            return finish_as(diff::run(args), ExitCode::from(USAGE));
        }
        Command::Compile(args) => compile::run(args),
        Command::Check(args) => check::run(args),
        Command::Help(args) => help::run(args),
        Command::Jit(args) => jit::run(args),
        Command::Templates(args) => templates::run(args),
        Command::Inspect(args) => inspect::run(args),
        Command::Map(args) => map::run(args),
        Command::Nm(args) => nm::nm(args),
        Command::Size(args) => nm::size(args),
        Command::Top(args) => nm::top(args),
        Command::Verify(args) => verify::run(args),
        Command::Pack(args) => pack::run(args),
        Command::Convert(args) => convert::run(args),
        Command::StripStub(args) => stub::strip(args),
        Command::Extract(args) => stub::extract(args),
        Command::Lib(command) => library::run(command),
        Command::Note(args) => note::run(args),
        Command::Prefetch(args) => prefetch::run(args),
        Command::Asm(args) => bytecode::asm(args),
        Command::Disasm(args) => bytecode::disasm(args),
        Command::Completions { shell, install } => {
            generate::completions(*shell, *install, Cli::command())
        }
        Command::Man { command, directory } => {
            generate::man(command, directory.as_deref(), Cli::command())
        }
    };
    finish(done.map(|()| ExitCode::SUCCESS))
}

/// The end of the command, which has failed if the output of a program is lost, other than because the reader closed the pipe.
fn finish(done: Result<ExitCode, Failure>) -> ExitCode {
    finish_as(done, ExitCode::FAILURE)
}

/// As [`finish`], with the exit status of failures.
fn finish_as(done: Result<ExitCode, Failure>, failed: ExitCode) -> ExitCode {
    host_functions::flush();
    let is_lost = |error: &io::Error| error.kind() != io::ErrorKind::BrokenPipe;
    let lost = host_functions::output_error().filter(is_lost).map_or(Ok(()), Err);
    match done.and_then(|code| lost.map_err(Failure::Output).map(|()| code)) {
        Ok(code) => code,
        Err(Failure::Because(message)) => {
            output::report("error", &message);
            failed
        }
        Err(Failure::Usage(message)) => {
            output::report("error", &message);
            ExitCode::from(USAGE)
        }
        Err(Failure::Reported) => failed,
        // The reader closed the pipe.
        Err(Failure::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
            ExitCode::SUCCESS
        }
        Err(Failure::Output(error)) => {
            output::report(
                "error",
                &format!("cannot write to standard output: {}", system_error(&error)),
            );
            failed
        }
    }
}
