//! `smf inspect`: shows the contents of a file.

use std::path::PathBuf;

use smf_core::format::File;

use crate::output::{self, At, Failure};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// The module or archive
    file: PathBuf,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let data = output::read(&args.file)?;
    let file = File::parse(&data).at(&args.file)?;
    output::show(&args.file, &file, args.json)
}
