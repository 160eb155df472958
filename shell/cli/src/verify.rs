//! `smf verify`: checks files without running them, with one line a file.

use std::error::Error;
use std::io::Write;
use std::path::{Path, PathBuf};

use indicatif::ProgressBar;
use smf_core::bytecode::verify::{Verifier, functions_of};
use smf_core::format::{File, Library, Smf};
use smf_core::link::{Image, LinkError};
use smf_loader::{cfi, files};

use crate::output::{self, Failure};
use crate::progress;

/// Verifies modules and archives without running them
///
/// Prints `FILE: ok` for each valid file, and `error: FILE: message, at offset 0x..` on standard error for
/// others. Sections are decompressed, bytecode is verified, and the tables of a dynlib's shared object are
/// checked without opening it. Modules for this machine are relocated, and what a load checks of them is checked,
/// but for imports; so are the relocations that a load does not read, because the packer has applied them. For an
/// archive, the index, all hashes and all modules are checked.
///
/// With `--cfi`, exported functions and places whose address is taken must begin with ENDBR64 (x86-64) or BTI
/// (aarch64). Each one that does not is reported, and whether the properties of the module state the protection.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The modules and archives
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Also check that every target of indirect branches begins with a landing pad
    #[arg(long)]
    cfi: bool,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let total = args.files.len();
    let failed = progress::during("verifying", total, |bar| verify_all(args, bar))?;
    if failed { Err(Failure::Reported) } else { Ok(()) }
}

/// Returns whether a file is invalid.
fn verify_all(args: &Args, bar: &ProgressBar) -> Result<bool, Failure> {
    let mut failed = false;
    for path in &args.files {
        let result = verify(path, args.cfi);
        failed |= result.is_err();
        let name = path.to_string_lossy();
        let written = bar.suspend(|| match result {
            Ok(remarks) => {
                let [name, remarks] = [&name, &*remarks.concat()].map(output::one_line);
                output::to_stdout(|out| writeln!(out, "{name}: ok{remarks}"))
            }
            Err(why) => {
                output::report("error", &format!("{name}: {why}"));
                Ok(())
            }
        });
        written?;
        bar.inc(1);
    }
    Ok(failed)
}

/// What the line of a valid file says besides.
type Remarks = Vec<String>;

fn verify(path: &Path, is_cfi: bool) -> Result<Remarks, Box<dyn Error>> {
    let data = files::read(path)?;
    match File::parse(&data)? {
        File::Module(smf) => verify_module(&smf, is_cfi).map(Vec::from_iter),
        File::Library(library) => verify_library(&library, is_cfi),
    }
}

fn verify_module(smf: &Smf<'_>, is_cfi: bool) -> Result<Option<String>, Box<dyn Error>> {
    smf.verify()?;
    smf.verify_compressed()?;
    if let Some(functions) = smf.functions()? {
        Verifier::new().verify_program(functions_of(&functions)?, smf.constants())?;
    }
    verify_link(smf)?;
    if is_cfi { verify_cfi(smf) } else { Ok(None) }
}

/// Checks what a load of a module for this machine would refuse.
fn verify_link(smf: &Smf<'_>) -> Result<(), LinkError> {
    match Image::map(smf) {
        Err(LinkError::Arch { .. } | LinkError::Platform { .. }) => Ok(()),
        // Other parts of the module are used.
        Err(LinkError::Dynlib | LinkError::Bytecode | LinkError::NoCode) => Ok(()),
        image => image?.check(),
    }
}

/// The number of missing landing pads that an error names.
const NAMED: usize = 20;

/// Checks the landing pads. Returns what is worth a remark.
fn verify_cfi(smf: &Smf<'_>) -> Result<Option<String>, Box<dyn Error>> {
    let Some(report) = cfi::check(smf)? else {
        return Ok(Some(", no machine code with landing pads".to_owned()));
    };
    let targets = report.targets;
    if report.offenders.is_empty() {
        let stated = match report.is_stated {
            Some(false) => ", but .smf.property does not state it",
            _ => "",
        };
        return Ok(Some(format!(", {targets} landing pads{stated}")));
    }
    let stated = match report.is_stated {
        Some(true) => ", although .smf.property states them",
        _ => "",
    };
    let count = report.offenders.len();
    let mut message = format!("{count} of {targets} landing pads are missing{stated}");
    for offender in report.offenders.iter().take(NAMED) {
        message.push_str(&format!("; {offender}"));
    }
    if count > NAMED {
        message.push_str("; ...");
    }
    Err(message.into())
}

fn verify_library(library: &Library<'_>, is_cfi: bool) -> Result<Remarks, Box<dyn Error>> {
    library.verify()?;
    let mut remarks = Vec::new();
    for module in library.modules() {
        let module = module?;
        let verified = Smf::parse(module.data).map_err(Into::into);
        let remark = verified.and_then(|smf| verify_module(&smf, is_cfi)).map_err(|error| {
            format!("module `{}`, which starts at 0x{:x}: {error}", module.name, module.offset)
        })?;
        remarks.extend(remark.map(|remark| format!("{remark} in `{}`", module.name)));
    }
    Ok(remarks)
}
