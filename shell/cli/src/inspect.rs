//! `smf inspect`: shows the contents of a file.

use std::path::PathBuf;

use smf_core::format::File;
use smf_loader::inspect::Selection;

use crate::output::{self, At, Failure};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// The module or archive
    file: PathBuf,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    /// Show only the sections
    #[arg(long, conflicts_with = "json")]
    sections: bool,
    /// Show only the symbols
    #[arg(long, conflicts_with = "json")]
    symbols: bool,
    /// Show only the relocations
    #[arg(long, conflicts_with = "json")]
    relocs: bool,
    /// Show only the templates and the note
    #[arg(long, conflicts_with = "json")]
    templates: bool,
    /// Show only rows whose name, or in the note one of whose cells, contains this text
    #[arg(long, value_name = "TEXT", conflicts_with = "json")]
    filter: Option<String>,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let data = output::read(&args.file)?;
    let file = File::parse(&data).at(&args.file)?;
    let &Args { sections, symbols, relocs, templates, .. } = args;
    let is_selection = sections || symbols || relocs || templates || args.filter.is_some();
    if is_selection && matches!(file, File::Library(_)) {
        let why = "an archive is shown as a whole: name one of its modules, as in ARCHIVE:NAME";
        return Err(Failure::usage_of(&args.file, why));
    }
    let parts = Selection { sections, symbols, relocs, templates, ..Selection::default() };
    let parts = Selection { filter: args.filter.as_deref().unwrap_or("").as_bytes(), ..parts };
    output::show(&args.file, &file, args.json, &parts)
}
