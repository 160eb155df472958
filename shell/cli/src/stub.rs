//! `smf strip-stub` and `smf extract`: separate modules from their stubs.

use std::path::PathBuf;

use smf_core::format::Layout;
use smf_core::format::write::convert;

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

pub(crate) fn strip(args: &Args) -> Result<(), Failure> {
    output::check_keeps_archive(&args.output, &args.file)?;
    let data = output::read(&args.file)?;
    let smf = output::module(&args.file, &data)?;
    if smf.layout() == Layout::Dynlib {
        let why = "a dynlib has no stub; extract its shared object with `smf extract`";
        return Err(Failure::of(&args.file, why));
    }
    let module = convert::without_stub(&smf).at(&args.file)?;
    output::write(&args.output, &module, Some(&args.file))
}

pub(crate) fn extract(args: &Args) -> Result<(), Failure> {
    output::check_keeps_archive(&args.output, &args.file)?;
    let data = output::read(&args.file)?;
    let smf = output::module(&args.file, &data)?;
    match smf.shared_object() {
        Some(object) => output::write(&args.output, object, Some(&args.file)),
        None if smf.has_stub() => strip(args),
        None => output::write(&args.output, &data, Some(&args.file)),
    }
}
