//! `smf pack`: relocatable ELF objects become one module.

use std::path::PathBuf;

use clap::ValueEnum;
use smf_loader::pack::{self, Input, Options, pack, parse_phases};

use crate::args::WrittenLayout;
use crate::output::{self, Failure};

/// An algorithm that sections can be compressed with.
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
    /// Its layout
    #[arg(long, default_value = "packed")]
    layout: WrittenLayout,
    /// The function where running begins
    #[arg(long, value_name = "NAME")]
    entry: Option<String>,
    /// A file to put in front of the module, such as a `#!` line or a whole program
    #[arg(long, value_name = "FILE")]
    stub: Option<PathBuf>,
    /// Mark the module as one that a new version may replace while it runs
    ///
    /// Data that it does not export is named as well, so that the new version can take over what it holds.
    #[arg(long)]
    reloadable: bool,
    /// A file that says when functions run: a line `NAME PHASE` for each
    ///
    /// Phases are startup, first_frame, steady and cold, and the code lies in that order. Counts for functions
    /// that were compiled with -ffunction-sections; of others, the names of their sections tell.
    #[arg(long, value_name = "FILE")]
    phases: Option<PathBuf>,
    /// Say in the header that so many of the files that the program is started with are worth reading ahead
    #[arg(long, value_name = "FILES", default_value_t = 0, hide_default_value = true)]
    prefetch: u8,
    /// Compress what is not code, where it becomes smaller by that
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
        (Some(path), Some(list)) => {
            Some(parse_phases(list).map_err(|error| Failure::of(path, error))?)
        }
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
    let packed = pack(&inputs, &options).map_err(|error| Failure::Because(error.to_string()))?;
    output::write(&args.output, &packed.bytes, args.stub.as_deref())?;
    for warning in &packed.warnings {
        output::report("warning", &warning.to_string());
    }
    Ok(())
}
