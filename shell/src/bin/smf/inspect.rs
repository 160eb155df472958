//! `smf inspect`: shows the contents of a file.

use std::path::PathBuf;

use smf_loader::inspect::Subject;

use crate::output::{self, Failure};

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
    let subject = Subject::open(&data).and_then(|subject| subject.check().map(|()| subject));
    let subject = subject.map_err(|error| Failure::of(&args.file, error))?;
    let name = args.file.to_string_lossy();
    output::to_stdout(|out| {
        if args.json { subject.write_json(&name, out) } else { subject.write_text(&name, out) }
    })
}
