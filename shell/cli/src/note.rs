//! `smf note`: shows the note of a module.

use std::io::{self, Write};
use std::path::PathBuf;

use smf_core::Printable;
use smf_core::format::note::Note;
use smf_loader::inspect::write_note_json;

use crate::output::{self, At, Failure};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// The module
    file: PathBuf,
    /// Print one JSON object instead of the text
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let data = output::read(&args.file)?;
    let smf = output::module(&args.file, &data)?;
    let Some((text, at)) = smf.note_contents().at(&args.file)? else {
        return Err(Failure::of(&args.file, "the module has no note.sdn"));
    };
    if !args.json {
        return output::to_stdout(|out| write_lines(&text, out));
    }
    let note = Note::parse(&text, at).at(&args.file)?;
    note.check().at(&args.file)?;
    output::to_stdout(|out| write_note_json(&note, out))
}

/// Writes text, with other control characters than tabs and ends of lines escaped.
fn write_lines(text: &[u8], out: &mut impl Write) -> io::Result<()> {
    let is_blank = |byte: &u8| matches!(byte, b'\n' | b'\t');
    for part in text.chunk_by(|one, next| is_blank(one) == is_blank(next)) {
        match part.first() {
            Some(first) if is_blank(first) => out.write_all(part)?,
            _ => write!(out, "{}", Printable(part))?,
        }
    }
    Ok(())
}
