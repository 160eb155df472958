//! `smf compile`: compiles Simple source to a module.

use std::path::PathBuf;

use smf_core::format::Arch;
use smf_core::source::{Mode, compile};
use smf_loader::compile::{self as module, CompileOptions};
use smf_loader::files::system_error;
use smf_loader::source::Program;

use crate::integer::up_to;
use crate::output::{self, At, Failure};
use crate::source::checked;

/// Compiles Simple source to a module: machine code, exports, templates of generic functions, note.sdn
///
/// All functions are exported; if a file marks functions by `pub` or `export`, only those. The parameters of functions
/// need types.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The source
    file: PathBuf,
    /// The module
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// The machine
    #[arg(long, value_name = "ARCH", value_enum, default_value_t = Target::HOST)]
    target: Target,
    /// The optimisation level
    #[arg(long, value_name = "LEVEL", default_value_t = 2, value_parser = up_to::<u8>(3))]
    opt: u8,
    /// Add line tables for debuggers, profilers and reports of crashes
    #[arg(short = 'g', long)]
    debug: bool,
}

/// A machine with a code generator.
#[derive(Clone, Copy, clap::ValueEnum)]
enum Target {
    #[value(name = "x86_64")]
    X86_64,
    #[value(name = "aarch64")]
    Aarch64,
}

impl Target {
    #[cfg(not(target_arch = "aarch64"))]
    const HOST: Self = Self::X86_64;
    #[cfg(target_arch = "aarch64")]
    const HOST: Self = Self::Aarch64;

    fn arch(self) -> Arch {
        match self {
            Self::X86_64 => Arch::X86_64,
            Self::Aarch64 => Arch::AARCH64,
        }
    }
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let program = Program::read(&args.file)?;
    let inputs = program.module_paths().iter().chain([&args.file]);
    output::check_distinct(&args.output, inputs.map(PathBuf::as_path))?;
    let unit = checked(compile(&program.files(), Mode::Compile)?, true)?;
    let directory = args.debug.then(std::env::current_dir).transpose();
    let directory = directory.map_err(|error| {
        Failure::Because(format!("cannot find the working directory: {}", system_error(&error)))
    })?;
    let options = CompileOptions {
        arch: args.target.arch(),
        level: args.opt,
        debug_directory: directory.as_deref(),
    };
    let bytes = module::compile(&unit, &options).at(&args.file)?;
    output::write(&args.output, &bytes, None)
}
