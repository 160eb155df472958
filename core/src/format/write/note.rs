//! Writing of a note for a template module: the possible instances of its templates.

use alloc::string::String;
use core::fmt::Write;

use crate::alloc_util::{AllocError, TryWriter};
use crate::format::write::note_edit::put_text;

/// A row of the table `possible`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NewPossible<'a> {
    /// The name of the template.
    pub template: &'a str,
    /// The type arguments, separated by commas.
    pub type_args: &'a str,
    /// The symbol of the instance.
    pub mangled_name: &'a str,
}

/// The text of a note with these rows and no instantiations: the usual tables and the terminator line.
///
/// # Errors
/// The allocator has no memory.
pub fn write_possible(rows: &[NewPossible<'_>]) -> Result<String, AllocError> {
    let mut text = String::new();
    // Formatting fails only without memory.
    write_rows(&mut TryWriter(&mut text), rows).map_err(|_| AllocError)?;
    Ok(text)
}

fn write_rows(text: &mut TryWriter<'_>, rows: &[NewPossible<'_>]) -> core::fmt::Result {
    text.write_str(
        "instantiations |id, template, type_args, mangled_name, from_file, from_loc, to_obj, status|\n\
         possible |id, template, type_args, mangled_name, required_by, can_defer|\n",
    )?;
    for (id, row) in rows.iter().enumerate() {
        write!(text, "    {id}")?;
        for cell in [row.template, row.type_args, row.mangled_name, ""] {
            text.write_str(", ")?;
            put_text(text, cell)?;
        }
        text.write_str(", true\n")?;
    }
    text.write_str("# END_NOTE\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::read::note::{Instantiation, Note, Possible};
    use std::string::ToString;
    use std::vec::Vec;

    #[test]
    fn written_note_round_trips() {
        let strange = ["a\"b\\c\n", "Vec<i64>, u8", "fn$x y"];
        let [template, type_args, mangled_name] = strange;
        let plain = NewPossible { template: "f", type_args: "i64", mangled_name: "f$i64" };
        let text =
            write_possible(&[NewPossible { template, type_args, mangled_name }, plain]).unwrap();
        let note = Note::parse(text.as_bytes(), 0).unwrap();
        note.check().unwrap();
        let rows: Vec<_> = note.entries::<Possible>().map(Result::unwrap).collect();
        let cells = |row: &Possible<'_>| {
            [row.template(), row.type_args(), row.mangled_name()].map(|cell| cell.to_string())
        };
        assert_eq!(rows.iter().map(cells).collect::<Vec<_>>(), [strange, ["f", "i64", "f$i64"]]);
        assert_eq!(note.entries::<Instantiation>().count(), 0);
    }
}
