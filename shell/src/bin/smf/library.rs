//! `smf lib`: archives of modules.

use std::path::{Path, PathBuf};

use clap::Subcommand;
use smf_core::format::write::library::{self, NamedModule};
use smf_core::format::{File, Library, Smf};

use crate::output::{self, Failure};

#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Creates an archive of modules
    Create {
        /// The archive to write
        #[arg(short, long, value_name = "OUT")]
        output: PathBuf,
        /// The modules and their names in the archive
        #[arg(required = true, value_name = "NAME=FILE", value_parser = member)]
        modules: Vec<(String, PathBuf)>,
    },
    /// Lists the modules of an archive
    List {
        /// The archive
        file: PathBuf,
        /// Print one JSON object
        #[arg(long)]
        json: bool,
    },
    /// Extracts a module from an archive
    Extract {
        /// The archive
        file: PathBuf,
        /// The module
        name: String,
        /// The file to write
        #[arg(short, long, value_name = "OUT")]
        output: PathBuf,
    },
}

fn member(text: &str) -> Result<(String, PathBuf), String> {
    match text.split_once('=') {
        Some((name, file)) if !name.is_empty() && !file.is_empty() => {
            Ok((name.to_owned(), file.into()))
        }
        _ => Err("expected NAME=FILE".to_owned()),
    }
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    match &args.command {
        Command::Create { output, modules } => create(output, modules),
        Command::List { file, json } => list(file, *json),
        Command::Extract { file, name, output } => extract(file, name, output),
    }
}

fn create(out: &Path, members: &[(String, PathBuf)]) -> Result<(), Failure> {
    let read = members.iter().map(|(_, file)| output::read(file));
    let inputs = read.collect::<Result<Vec<_>, _>>()?;
    let mut modules: Vec<NamedModule<'_>> = Vec::with_capacity(inputs.len());
    for ((name, file), data) in members.iter().zip(&inputs) {
        Smf::parse(data).map_err(Failure::at(file))?;
        modules.push((name, data));
    }
    let failed = Failure::at(out);
    let mut archive = vec![0; library::length(&modules).map_err(failed)?];
    library::write(&modules, &mut archive).map_err(failed)?;
    output::write(out, &archive, None)
}

fn list(file: &Path, json: bool) -> Result<(), Failure> {
    let data = output::read(file)?;
    let library = Library::parse(&data).map_err(Failure::at(file))?;
    output::show(file, &File::Library(library), json)
}

fn extract(file: &Path, name: &str, out: &Path) -> Result<(), Failure> {
    let data = output::read(file)?;
    let library = Library::parse(&data).map_err(Failure::at(file))?;
    let missing = || Failure::of(file, format_args!("the archive has no module `{name}`"));
    let module = library.find(name).ok_or_else(missing)?;
    let module = module.map_err(Failure::at(file))?;
    output::write(out, module.data, None)
}
