//! `smf verify`: checks files without running them, with one line a file.

use std::error::Error;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use smf_core::bytecode::verify::{Verifier, functions_of};
use smf_core::format::{File, Library, Smf};
use smf_loader::files;

use crate::output::{self, Failure};

/// Verifies modules and archives without running them
///
/// Prints `FILE: ok` for each valid file, and `error: FILE: message, at offset 0x..` on standard error for
/// others. Sections are decompressed, bytecode is verified, and the tables of a dynlib's shared object are
/// checked without opening it. For an archive, the index, all hashes and all modules are checked.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The modules and archives
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let bar = output::progress(args.files.len());
    let mut failed = false;
    for path in &args.files {
        let result = verify(path);
        failed |= result.is_err();
        let name = path.to_string_lossy();
        let written = bar.suspend(|| match result {
            Ok(()) => writeln!(io::stdout(), "{}: ok", output::one_line(&name)),
            Err(why) => {
                output::report("error", &format!("{name}: {why}"));
                Ok(())
            }
        });
        written.map_err(Failure::Output)?;
        bar.inc(1);
    }
    bar.finish_and_clear();
    if failed { Err(Failure::Reported) } else { Ok(()) }
}

fn verify(path: &Path) -> Result<(), Box<dyn Error>> {
    let data = files::read(path)?;
    match File::parse(&data)? {
        File::Module(smf) => verify_module(&smf),
        File::Library(library) => verify_library(&library),
    }
}

fn verify_module(smf: &Smf<'_>) -> Result<(), Box<dyn Error>> {
    smf.verify()?;
    smf.verify_compressed()?;
    if let Some(functions) = smf.functions()? {
        Verifier::new().verify_program(functions_of(&functions)?, smf.constants())?;
    }
    Ok(())
}

fn verify_library(library: &Library<'_>) -> Result<(), Box<dyn Error>> {
    library.verify()?;
    for module in library.modules() {
        let module = module?;
        let verified = Smf::parse(module.data).map_err(Into::into);
        verified.and_then(|smf| verify_module(&smf)).map_err(|error| {
            format!("module `{}` (at 0x{:x}): {error} of the module", module.name, module.offset)
        })?;
    }
    Ok(())
}
