//! `smf convert`: writes a module in another layout.

use std::path::PathBuf;

use smf_core::format::write::convert;

use crate::layout::WrittenLayout;
use crate::output::{self, At, Failure};

/// Writes a module in another layout
///
/// Prints a `dropped: ...` line on standard error for everything that the new layout cannot express.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The module
    #[arg(value_name = "IN")]
    file: PathBuf,
    /// The file to write
    #[arg(short, long, value_name = "OUT")]
    output: PathBuf,
    /// The new layout
    #[arg(long)]
    layout: WrittenLayout,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let data = output::read(&args.file)?;
    let smf = output::module(&args.file, &data)?;
    let converted = convert::convert(&smf, args.layout.into()).at(&args.file)?;
    output::write(&args.output, &converted.bytes, Some(&args.file))?;
    for dropped in &converted.dropped {
        output::report("dropped", &dropped.to_string());
    }
    Ok(())
}
