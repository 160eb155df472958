//! `smf strip-stub` and `smf extract`: separate modules from their stubs.

use std::path::PathBuf;

use smf_core::format::write::convert;
use smf_core::format::{Layout, Smf};

use crate::output::{self, At, Failure};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// The module
    #[arg(value_name = "IN")]
    file: PathBuf,
    /// The file to write
    #[arg(short, long, value_name = "OUT")]
    output: PathBuf,
}

/// Reads the input, and writes what `part` takes of it.
fn write_part(
    args: &Args,
    part: impl FnOnce(&Smf<'_>) -> Result<Vec<u8>, Failure>,
) -> Result<(), Failure> {
    output::check_keeps_archive(&args.output, &args.file)?;
    let data = output::read(&args.file)?;
    let part = part(&output::module(&args.file, &data)?)?;
    output::write(&args.output, &part, Some(&args.file))
}

pub(crate) fn strip(args: &Args) -> Result<(), Failure> {
    write_part(args, |smf| match smf.layout() {
        Layout::Dynlib => {
            let why = "a dynlib has no stub; extract its shared object with `smf extract`";
            Err(Failure::of(&args.file, why))
        }
        _ => convert::without_stub(smf).at(&args.file),
    })
}

pub(crate) fn extract(args: &Args) -> Result<(), Failure> {
    write_part(args, |smf| match smf.shared_object() {
        Some(object) => Ok(object.to_vec()),
        None if smf.has_stub() => convert::without_stub(smf).at(&args.file),
        None => Ok(smf.file().to_vec()),
    })
}
