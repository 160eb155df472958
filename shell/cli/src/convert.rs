//! `smf convert`: writes a module in another layout.

use std::path::PathBuf;

use smf_core::format::Layout;
use smf_core::format::write::convert::{self, Dropped};

use crate::layout::WrittenLayout;
use crate::output::{self, At, Failure};

/// Writes a module in another layout
///
/// Prints a `dropped: ...` line on standard error for everything that the new layout cannot express, and a warning if that
/// includes relocations: code that depends on them reads and calls wrong addresses. The native layout has one section each of
/// code and data; `smf pack --layout native` links objects for it.
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
    let relocs = converted.dropped.iter().filter(|part| matches!(part, Dropped::Reloc { .. }));
    let count = relocs.count();
    if count != 0 {
        let out = args.output.to_string_lossy();
        let warning = format!(
            "{out}: {count} relocations are dropped, and code that depends on them fails; link the objects with `smf pack --layout {}`",
            Layout::from(args.layout).name()
        );
        output::report("warning", &warning);
    }
    Ok(())
}
