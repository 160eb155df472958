//! `smf lib`: archives of modules.

use std::path::PathBuf;

use clap::Subcommand;
use smf_core::format::write::library::{self, LibraryWriteError, NamedModule};
use smf_core::format::{File, Library};

use crate::examples;
use crate::output::{self, At, Failure};

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Creates an archive of modules
    #[command(after_help = examples::LIB_CREATE)]
    Create {
        /// The archive to write
        #[arg(short, long, value_name = "OUT")]
        output: PathBuf,
        /// The modules and their names in the archive
        #[arg(required = true, value_name = "NAME=FILE", value_parser = member)]
        modules: Vec<(String, PathBuf)>,
    },
    /// Lists the modules of an archive
    #[command(after_help = examples::LIB_LIST)]
    List {
        /// The archive
        file: PathBuf,
        /// Print one JSON object
        #[arg(long)]
        json: bool,
    },
    /// Extracts a module from an archive
    #[command(after_help = examples::LIB_EXTRACT)]
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

fn encode(modules: &[NamedModule<'_>]) -> Result<Vec<u8>, LibraryWriteError> {
    let mut archive = vec![0; library::length(modules)?];
    library::write(modules, &mut archive)?;
    Ok(archive)
}

pub(crate) fn run(command: &Command) -> Result<(), Failure> {
    match command {
        Command::Create { output: out, modules } => {
            output::check_distinct(out, modules.iter().map(|(_, file)| &**file))?;
            let inputs = modules.iter().map(|(_, file)| output::read(file));
            let inputs = inputs.collect::<Result<Vec<_>, _>>()?;
            let mut named: Vec<NamedModule<'_>> = Vec::with_capacity(inputs.len());
            for ((name, file), data) in modules.iter().zip(&inputs) {
                output::module(file, data)?;
                named.push((name, data));
            }
            let archive = encode(&named).map_err(|why| match why {
                LibraryWriteError::NameTwice { first, second } => {
                    let [first, second] = [first, second].map(|index| {
                        let module = modules.get(index);
                        module.map_or(String::new(), |(name, file)| {
                            format!("{name}={}", file.display())
                        })
                    });
                    Failure::of(out, format_args!("`{first}` and `{second}` have the same name"))
                }
                why => Failure::of(out, why),
            })?;
            output::write(out, &archive, None)
        }
        Command::List { file, json } => {
            let data = output::read(file)?;
            let library = Library::parse(&data).at(file)?;
            output::show(
                file,
                &File::Library(library),
                *json,
                &smf_loader::inspect::Selection::default(),
            )
        }
        Command::Extract { file, name, output: out } => {
            output::check_distinct(out, std::iter::once(&**file))?;
            let data = output::read(file)?;
            let library = Library::parse(&data).at(file)?;
            let missing = || Failure::of(file, format_args!("the archive has no module `{name}`"));
            let module = library.find(name).ok_or_else(missing)?.at(file)?;
            output::write(out, module.data, None)
        }
    }
}
