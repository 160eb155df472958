//! A note in which entries have been made: they leave `possible` and come to `instantiations`.
//!
//! The text is edited where it must be and kept byte by byte everywhere else, comments, unknown tables
//! and the terminator included. The new rows follow the dialect of the table: its columns in its order,
//! its indent, its line endings, its way to write numbers. What a column of the new row has no value
//! for comes from the column of that name in the old row, else it is the empty string.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt::Write;
use core::ops::Range;

use super::{Column, Entry, Instantiation, Places, Possible, Status};
use crate::format::error::FormatError;
use crate::format::sdn::{Cell, Document, Row, Table};

/// Where code that a loader made is said to be.
pub const JIT_MEMORY: &str = "jit_memory";

/// A note after entries were made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edited {
    /// The note, with its terminator if it had one.
    pub note: Vec<u8>,
    /// The symbols that moved, and those that were among the instantiations already.
    pub done: BTreeSet<String>,
    /// Whether any moved; the note is as it was when not.
    pub changed: bool,
}

/// The note in `data`, which begins at offset `at` of its file, after the loader of the module at `path`
/// has made `symbols`.
///
/// # Errors
/// What is wrong with the note.
pub fn with_made(
    data: &[u8],
    at: u64,
    path: &str,
    symbols: &BTreeSet<&str>,
) -> Result<Edited, FormatError> {
    let document = Document::parse(data, at)?;
    let mut edit =
        Edit { text: document.text(), symbols, taken: Vec::new(), known: BTreeSet::new() };
    let mut home = None;
    for table in document.tables() {
        let table = table?;
        match table.name() {
            Possible::TABLE => edit.take_rows(&table)?,
            Instantiation::TABLE => edit.look_for_place(&table, &mut home)?,
            _ => table.rows().try_for_each(|row| row.map(drop))?,
        }
    }
    edit.write(home, data, path)
}

/// A row of `possible` that moves.
struct Taken<'d> {
    table: Table<'d>,
    row: Row<'d>,
    symbol: String,
}

/// Where new rows go, and what they look like.
struct Home<'d> {
    columns: Vec<&'d str>,
    /// Bytes of the text before the new rows.
    at: usize,
    indent: &'d str,
    quoted_id: bool,
    next_id: u64,
}

struct Edit<'e, 'd> {
    text: &'d str,
    symbols: &'e BTreeSet<&'e str>,
    taken: Vec<Taken<'d>>,
    /// Those that are among the instantiations.
    known: BTreeSet<String>,
}

/// The cell of the column that an entry reads as its symbol.
fn symbol_place<'d, E: Entry<'d>>(table: &Table<'d>) -> Result<u32, FormatError> {
    const SYMBOL: &str = "mangled_name";
    let places = Places::of::<E>(table)?;
    let is_symbol = |column: &Column| column.names.first() == Some(&SYMBOL);
    let index = E::COLUMNS.iter().position(is_symbol).unwrap_or(usize::MAX);
    Ok(places.0.get(index).copied().unwrap_or(u32::MAX))
}

impl<'d> Edit<'_, 'd> {
    /// Finds the rows that move.
    fn take_rows(&mut self, table: &Table<'d>) -> Result<(), FormatError> {
        let place = symbol_place::<Possible<'_>>(table)?;
        for row in table.rows() {
            let row = row?;
            let symbol = row.cell(place).unwrap_or_default().to_string();
            if self.symbols.contains(&*symbol) {
                self.taken.push(Taken { table: *table, row, symbol });
            }
        }
        Ok(())
    }

    /// Finds where new rows go, unless a table before has said so, and which there are.
    fn look_for_place(
        &mut self,
        table: &Table<'d>,
        home: &mut Option<Home<'d>>,
    ) -> Result<(), FormatError> {
        let place = symbol_place::<Instantiation<'_>>(table)?;
        let mut new = Home {
            columns: table.columns().collect(),
            at: table.header_span().end,
            indent: "    ",
            quoted_id: false,
            next_id: 0,
        };
        let id = table.column("id");
        for row in table.rows() {
            let row = row?;
            let span = row.span();
            let line = self.text.get(span.clone()).unwrap_or("");
            new.at = span.end;
            new.indent = line.get(..line.len() - line.trim_start().len()).unwrap_or("");
            if let Some(cell) = id.and_then(|id| row.cell(id)) {
                new.quoted_id = cell.is_quoted();
                let next = cell.raw().parse().map_or(0, |id: u64| id.saturating_add(1));
                new.next_id = new.next_id.max(next);
            }
            let symbol = row.cell(place).unwrap_or_default().to_string();
            if self.symbols.contains(&*symbol) {
                self.known.insert(symbol);
            }
        }
        home.get_or_insert(new);
        Ok(())
    }

    /// The line ending of the text.
    fn ending(&self) -> &'static str {
        let first = self.text.split_inclusive('\n').next().unwrap_or("");
        if first.ends_with("\r\n") { "\r\n" } else { "\n" }
    }

    fn write(
        mut self,
        home: Option<Home<'d>>,
        data: &[u8],
        path: &str,
    ) -> Result<Edited, FormatError> {
        let mut done = core::mem::take(&mut self.known);
        let Some(first) = self.taken.first() else {
            return Ok(Edited { note: data.to_vec(), done, changed: false });
        };
        let ending = self.ending();
        let mut rows = String::new();
        let mut home = home.unwrap_or_else(|| new_table(&first.table, ending, &mut rows));
        for taken in &self.taken {
            // What is there already, or comes twice, gets no second row.
            if done.insert(taken.symbol.clone()) {
                rows.push_str(&new_row(&mut home, taken, path));
                rows.push_str(ending);
            }
        }
        let note = self.put_together(&home, &rows, ending, data);
        Ok(Edited { note, done, changed: true })
    }

    /// The text without the rows that move, and with the new ones.
    fn put_together(&self, home: &Home<'_>, rows: &str, ending: &str, data: &[u8]) -> Vec<u8> {
        let lines = |span: Range<usize>| {
            let behind = self.text.get(span.end..).unwrap_or("");
            let rest = behind.find('\n').map_or(behind.len(), |at| at + 1);
            span.start..span.end + rest
        };
        let mut edits: BTreeMap<usize, usize> = self
            .taken
            .iter()
            .map(|taken| lines(taken.row.span()))
            .map(|r| (r.start, r.end))
            .collect();
        // A new table goes before the line at which it was found to be missing.
        let at = if home.is_new() { home.at } else { lines(home.at..home.at).end };
        edits.entry(at).or_insert(at);
        let mut note = Vec::with_capacity(data.len() + rows.len());
        let mut from = 0;
        for (start, end) in edits {
            note.extend_from_slice(self.text.as_bytes().get(from..start).unwrap_or(&[]));
            if start == at {
                if !matches!(note.last(), None | Some(b'\n')) {
                    note.extend_from_slice(ending.as_bytes());
                }
                note.extend_from_slice(rows.as_bytes());
            }
            from = end;
        }
        note.extend_from_slice(self.text.as_bytes().get(from..).unwrap_or(&[]));
        // The terminator, and whatever stands behind it.
        note.extend_from_slice(data.get(self.text.len()..).unwrap_or(&[]));
        note
    }
}

impl Home<'_> {
    /// Whether it is of a table that the note does not have yet.
    fn is_new(&self) -> bool {
        self.indent.is_empty() && self.columns.is_empty()
    }
}

/// The header of a table of instantiations, in the dialect of the table of `possible` in front of which it
/// goes.
fn new_table<'d>(possible: &Table<'d>, ending: &str, rows: &mut String) -> Home<'d> {
    let header = if possible.column("id").is_some() { WITH_ID } else { WITHOUT_ID };
    rows.push_str(header);
    rows.push_str(ending);
    Home {
        columns: Vec::new(),
        at: possible.header_span().start,
        indent: "",
        quoted_id: false,
        next_id: 0,
    }
}

const WITH_ID: &str =
    "instantiations |id, template, type_args, mangled_name, from_file, from_loc, to_obj, status|";
const WITHOUT_ID: &str =
    "instantiations |template, type_args, mangled_name, from_file, from_loc, output_file, status|";

/// The columns of a header.
fn columns_of(header: &'static str) -> Vec<&'static str> {
    let (_, columns) = header.trim_end_matches('|').split_once('|').unwrap_or_default();
    columns.split(", ").collect()
}

fn new_row(home: &mut Home<'_>, taken: &Taken<'_>, path: &str) -> String {
    let is_new = home.is_new();
    let header = if taken.table.column("id").is_some() { WITH_ID } else { WITHOUT_ID };
    let columns = if is_new { columns_of(header) } else { home.columns.clone() };
    let mut row = String::from(if is_new { "    " } else { home.indent });
    let old = |name: &str| taken.table.column(name).and_then(|place| taken.row.cell(place));
    for (index, column) in columns.iter().enumerate() {
        row.push_str(if index == 0 { "" } else { ", " });
        match *column {
            "id" => {
                let quote = if home.quoted_id { "\"" } else { "" };
                // Writing to a string cannot fail.
                let _ = write!(row, "{quote}{}{quote}", home.next_id);
                home.next_id = home.next_id.saturating_add(1);
            }
            "from_file" => put_text(&mut row, path),
            "from_loc" => put_text(&mut row, &alloc::format!("{path}:0:0:jit")),
            "to_obj" | "output_file" => put_text(&mut row, JIT_MEMORY),
            "status" => put_text(&mut row, &Status::JitCompiled.to_string()),
            "template" | "type_args" | "mangled_name" => {
                put_text(&mut row, &old(column).unwrap_or_default().to_string());
            }
            other => put_cell(&mut row, &old(other).unwrap_or_default()),
        }
    }
    row
}

/// A cell as it stood.
fn put_cell(row: &mut String, cell: &Cell<'_>) {
    if cell.is_quoted() || cell.is_empty() {
        put_text(row, &cell.to_string());
    } else {
        row.push_str(cell.raw());
    }
}

/// A cell in quotes, with escapes where it needs them.
pub(super) fn put_text(row: &mut String, text: &str) {
    row.push('"');
    for c in text.chars() {
        match c {
            '\n' => row.push_str("\\n"),
            '\t' => row.push_str("\\t"),
            '\r' => row.push_str("\\r"),
            '\\' | '"' => row.extend(['\\', c]),
            c => row.push(c),
        }
    }
    row.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::note::Note;
    use crate::format::sdn::{NOTE_CAP, find_end};

    const NATIVE: &[u8] = include_bytes!("../../../../tests/samples/note-zero-size.smf");
    const DRIVER: &[u8] = include_bytes!("../../../../tests/samples/driver.smf");

    fn made(text: &str, symbols: &[&str]) -> String {
        let edited =
            with_made(text.as_bytes(), 0, "a.smf", &symbols.iter().copied().collect()).unwrap();
        let text = String::from_utf8(edited.note).unwrap();
        Note::parse(text.as_bytes(), 0).unwrap().check().unwrap();
        text
    }

    #[test]
    fn a_row_moves_and_nothing_else_changes() {
        let text = "# head\n\
            instantiations |id, template, type_args, mangled_name, from_file, from_loc, to_obj, status|\n\
            \t7, \"List\", \"Int\", \"List$Int\", \"a\", \"b\", \"c\", \"compiled\" # first\n\n\
            mine |x|\n  \"kept\" # as it is\n\
            possible |id, template, type_args, mangled_name, required_by, can_defer|\n\
            \t0, \"Vec\", \"i64\", \"Vec$i64\", \"m\", true\n\
            \t1, \"Pair\", \"i64,f64\", \"Pair$i64_f64\", \"m\", false\n\
            # END_NOTE\n";
        let expected = text.replace("\t0, \"Vec\", \"i64\", \"Vec$i64\", \"m\", true\n", "").replace(
            "# first\n",
            "# first\n\t8, \"Vec\", \"i64\", \"Vec$i64\", \"a.smf\", \"a.smf:0:0:jit\", \"jit_memory\", \"jit_compiled\"\n",
        );
        assert_eq!(made(text, &["Vec$i64"]), expected);
        // Once more changes nothing.
        assert_eq!(made(&expected, &["Vec$i64"]), expected);
        assert_eq!(made(text, &["Vec$f64"]), text);
    }

    #[test]
    fn the_other_dialect_keeps_its_columns() {
        let text = "instantiations |template, extra, mangled_name, type_args, output_file, status|\r\n\
            possible |template, type_args, mangled_name, extra, can_defer|\r\n\
            \x20 Vec, i64, Vec$i64, 12, \"true\"\r\n";
        let expected = "instantiations |template, extra, mangled_name, type_args, output_file, status|\r\n\
            \x20   \"Vec\", 12, \"Vec$i64\", \"i64\", \"jit_memory\", \"jit_compiled\"\r\n\
            possible |template, type_args, mangled_name, extra, can_defer|\r\n";
        assert_eq!(made(text, &["Vec$i64"]), expected);
    }

    #[test]
    fn a_table_that_is_not_there_is_made() {
        for (id, output) in [("id, ", "to_obj"), ("", "output_file")] {
            let number = if id.is_empty() { "" } else { "5, " };
            let zero = if id.is_empty() { "" } else { "0, " };
            let head = alloc::format!("possible |{id}template, type_args, mangled_name|\n");
            let text = alloc::format!("{head}    {number}Vec, i64, Vec$i64");
            let expected = alloc::format!(
                "instantiations |{id}template, type_args, mangled_name, from_file, from_loc, {output}, status|\n\
                \x20   {zero}\"Vec\", \"i64\", \"Vec$i64\", \"a.smf\", \"a.smf:0:0:jit\", \"jit_memory\", \"jit_compiled\"\n{head}"
            );
            assert_eq!(made(&text, &["Vec$i64"]), expected);
        }
    }

    #[test]
    fn all_entries_of_the_samples_can_be_made() {
        for (file, at) in [(NATIVE, 0x187), (DRIVER, 0x47)] {
            let data = &file[at..][..find_end(&file[at..], NOTE_CAP).unwrap()];
            let note = Note::parse(data, 0).unwrap();
            let names: Vec<_> =
                note.possible().map(|entry| entry.unwrap().mangled_name().to_string()).collect();
            let before = note.instantiations().count();
            let symbols: BTreeSet<&str> = names.iter().map(String::as_str).collect();
            let edited = with_made(data, 0, "dir/\"x\".smf", &symbols).unwrap();
            assert!(edited.changed && edited.note.ends_with(b"# END_NOTE\n"));
            let note = Note::parse(&edited.note, 0).unwrap();
            note.check().unwrap();
            assert_eq!(note.possible().count(), 0);
            let made: Vec<_> = note.instantiations().map(Result::unwrap).collect();
            assert_eq!(made.len(), before + symbols.len());
            let last = made.last().unwrap();
            assert!(last.from_loc().eq_str("dir/\"x\".smf:0:0:jit"));
            assert!(last.to_obj().eq_str("jit_memory"));
            assert!(matches!(last.status(), Status::JitCompiled));
        }
    }

    #[test]
    fn two_rows_of_one_symbol_leave_together() {
        let text = "possible |template, type_args, mangled_name|\n a, b, c\n a, b, d\n a, b, c\n";
        let found = made(text, &["c"]);
        let note = Note::parse(found.as_bytes(), 0).unwrap();
        assert_eq!((note.possible().count(), note.instantiations().count()), (1, 1));
    }
}
