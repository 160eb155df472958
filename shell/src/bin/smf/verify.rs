//! `smf verify`: checks files without running them, with one line a file.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use smf_core::format::{File, FormatError, Library, Smf};
use smf_core::jit::verify::{Verifier, functions_of};
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
        let written = bar.suspend(|| match result {
            Ok(()) => print_ok(path),
            Err(why) => {
                failed = true;
                output::report("error", &format!("{}: {why}", path.display()));
                Ok(())
            }
        });
        written.map_err(Failure::Output)?;
        bar.inc(1);
    }
    bar.finish_and_clear();
    if failed { Err(Failure::Reported) } else { Ok(()) }
}

fn print_ok(path: &Path) -> io::Result<()> {
    let line = output::one_line(&path.to_string_lossy()) + ": ok\n";
    io::stdout().lock().write_all(line.as_bytes())
}

fn verify(path: &Path) -> Result<(), String> {
    let data = files::read(path).map_err(|error| error.to_string())?;
    match File::parse(&data).map_err(|error| error.to_string())? {
        File::Module(smf) => verify_module(&smf),
        File::Library(library) => verify_library(&library),
    }
}

fn verify_module(smf: &Smf<'_>) -> Result<(), String> {
    let format = |error: FormatError| error.to_string();
    smf.verify().map_err(format)?;
    smf.verify_compressed().map_err(format)?;
    let Some(functions) = smf.functions().map_err(format)? else { return Ok(()) };
    let functions = functions_of(&functions).map_err(format)?;
    Verifier::new().verify(functions).map(drop).map_err(|error| error.to_string())
}

fn verify_library(library: &Library<'_>) -> Result<(), String> {
    library.verify().map_err(|error| error.to_string())?;
    for module in library.modules() {
        let module = module.map_err(|error| error.to_string())?;
        let parsed = Smf::parse(module.data).map_err(|error| error.to_string());
        parsed.and_then(|smf| verify_module(&smf)).map_err(|error| {
            format!("module `{}` (at 0x{:x}): {error} of the module", module.name, module.offset)
        })?;
    }
    Ok(())
}
