//! `smf pack`: links relocatable ELF objects into a module.

use std::path::PathBuf;

use clap::ValueEnum;
use smf_loader::pack::{self, Input, Options, pack, parse_phases};

use crate::layout::WrittenLayout;
use crate::output::{self, Failure};

/// A compression algorithm.
#[derive(Clone, Copy, ValueEnum)]
enum Algorithm {
    /// Zstandard
    Zstd,
    /// LZ4
    Lz4,
}

impl From<Algorithm> for pack::Algorithm {
    fn from(algorithm: Algorithm) -> Self {
        match algorithm {
            Algorithm::Zstd => pack::Algorithm::Zstd,
            Algorithm::Lz4 => pack::Algorithm::Lz4,
        }
    }
}

#[derive(clap::Args)]
pub(crate) struct Args {
    /// The objects, or archives of objects, as gcc, clang and rustc write them
    #[arg(required = true, value_name = "OBJ")]
    objects: Vec<PathBuf>,
    /// The module to write
    #[arg(short, long, value_name = "OUT")]
    output: PathBuf,
    /// The layout of the module
    #[arg(long, default_value = "packed")]
    layout: WrittenLayout,
    /// The function that is the entry point
    #[arg(long, value_name = "NAME")]
    entry: Option<String>,
    /// A file to put before the module, such as a `#!` line or an executable
    #[arg(long, value_name = "FILE")]
    stub: Option<PathBuf>,
    /// Mark the module as reloadable: a new version may replace it while it runs
    ///
    /// Adds symbols for data that is not exported, so that the new version can take over its contents.
    #[arg(long)]
    reloadable: bool,
    /// A list of layout phases: a line `NAME PHASE` for each function
    ///
    /// Phases are startup, first_frame, steady and cold; the code lies in that order. They apply to functions
    /// compiled with -ffunction-sections; for others, the section names of the compiler decide.
    #[arg(long, value_name = "FILE")]
    phases: Option<PathBuf>,
    /// Record in the header how many of a program's files to prefetch
    #[arg(long, value_name = "FILES", default_value_t = 0, hide_default_value = true)]
    prefetch: u8,
    /// Compress sections other than code where that makes them smaller
    #[arg(long, value_name = "ALGORITHM")]
    compress: Option<Algorithm>,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let read = args.objects.iter().map(|path| output::read(path));
    let objects = read.collect::<Result<Vec<_>, _>>()?;
    let names: Vec<_> = args.objects.iter().map(|path| path.to_string_lossy()).collect();
    let inputs: Vec<_> =
        names.iter().zip(&objects).map(|(name, data)| Input { name, data }).collect();
    let stub = args.stub.as_deref().map(output::read).transpose()?;
    let list = args.phases.as_deref().map(output::read).transpose()?;
    let phases = match (&args.phases, &list) {
        (Some(path), Some(list)) => Some(parse_phases(list).map_err(Failure::at(path))?),
        _ => None,
    };
    let options = Options {
        layout: args.layout.into(),
        entry: args.entry.as_deref(),
        stub: stub.as_deref().unwrap_or(&[]),
        reloadable: args.reloadable,
        compress: args.compress.map(Into::into),
        phases: phases.as_ref(),
        prefetch: args.prefetch,
    };
    let packed = pack(&inputs, &options).map_err(Failure::because)?;
    output::write(&args.output, &packed.bytes, args.stub.as_deref())?;
    for warning in &packed.warnings {
        output::report("warning", &warning.to_string());
    }
    Ok(())
}
