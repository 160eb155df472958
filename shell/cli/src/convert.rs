//! `smf convert`: writes a module in another layout.

use std::path::PathBuf;

use smf_core::format::Layout;
use smf_core::format::write::convert::{self, Converted, Dropped};
use smf_core::plural;

use crate::layout::WrittenLayout;
use crate::output::{self, At, Failure};

/// Writes a module in another layout
///
/// Prints a `dropped: ...` line on standard error for everything that the new layout cannot express. Relocations are not
/// dropped, since code that depends on them would read and call wrong addresses: a module with such relocations is an error.
/// The native layout has one section each of code and data; `smf pack --layout native` links objects for it.
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
    output::check_keeps_archive(&args.output, &args.file)?;
    let data = output::read(&args.file)?;
    let smf = output::module(&args.file, &data)?;
    let converted = convert::convert(&smf, args.layout.into()).at(&args.file)?;
    check_relocs(&converted, args.layout.into()).at(&args.file)?;
    output::write(&args.output, &converted.bytes, Some(&args.file))?;
    for dropped in &converted.dropped {
        output::report("dropped", &dropped.to_string());
    }
    Ok(())
}

/// The number of relocations that an error names.
const NAMED: usize = 4;

/// Refuses a module whose relocations the layout cannot express.
fn check_relocs(converted: &Converted<'_>, layout: Layout) -> Result<(), String> {
    let is_reloc = |part: &&Dropped<'_>| matches!(part, Dropped::Reloc { .. });
    let lost: Vec<_> = converted.dropped.iter().filter(is_reloc).collect();
    let named: Vec<_> = lost.iter().take(NAMED).map(ToString::to_string).collect();
    let (named, layout, count) = (named.join(", "), layout.name(), lost.len());
    let more = if count > NAMED { ", ..." } else { "" };
    match count {
        0 => Ok(()),
        _ => Err(format!(
            "the {layout} layout cannot express {count} relocation{}, without which the code fails: {named}{more}; \
             link the objects with `smf pack --layout {layout}`",
            plural::s(count)
        )),
    }
}
