//! Moves rows of compiled instances from the table `possible` to `instantiations`.
//!
//! All other bytes of the text are preserved, including comments, unknown tables and the terminator. New rows follow
//! the dialect of the table: the order of its columns, its indent, its line endings, its number format. A column
//! without a value of its own gets the cell of the same column in the old row, or the empty string.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::{self, Display, Write};
use core::ops::Range;

use crate::alloc_util::{AllocError, TryWriter, try_push, try_with_capacity};
use crate::format::error::Result;
use crate::format::read::note::entries::{Column, Entry, Places};
use crate::format::read::note::{Instantiation, Possible, Status};
use crate::format::read::sdn::table::split_columns;
use crate::format::read::sdn::{Cell, Document, Row, Table};

/// The object file name in rows of code that a loader compiled.
pub const JIT_MEMORY: &str = "jit_memory";

/// The result of an edit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edited {
    /// The note, with its terminator if it had one.
    pub note: Vec<u8>,
    /// For each symbol, whether its row moved or it was among the instantiations already.
    pub done: Box<[bool]>,
    /// Whether any row moved; the note is unchanged otherwise.
    pub changed: bool,
}

/// Returns the note in `data`, which starts at offset `at` of its file, with the rows of `symbols` moved. The loader of
/// the module at `path` has compiled these symbols; they must be in ascending order.
///
/// # Errors
/// An invalid note, or [`FormatError::OutOfMemory`](crate::format::FormatError::OutOfMemory).
pub fn with_made(data: &[u8], at: u64, path: &dyn Display, symbols: &[&str]) -> Result<Edited> {
    let document = Document::parse(data, at)?;
    let mut done = try_with_capacity(symbols.len())?;
    done.resize(symbols.len(), false);
    let mut edit = Edit { text: document.text(), symbols, taken: Vec::new(), done };
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

/// A row of `possible` to be moved.
struct Taken<'d> {
    table: Table<'d>,
    row: Row<'d>,
    /// The index of the row's symbol.
    symbol: usize,
}

/// The position and the dialect of new rows.
struct Home<'d> {
    /// The columns of the table.
    columns: &'d str,
    /// Whether the table must be created.
    is_new: bool,
    /// The offset in the text at which the new rows are inserted.
    at: usize,
    indent: &'d str,
    quoted_id: bool,
    next_id: u64,
}

struct Edit<'e, 'd> {
    text: &'d str,
    symbols: &'e [&'e str],
    taken: Vec<Taken<'d>>,
    /// For each symbol, whether it is among the instantiations.
    done: Vec<bool>,
}

/// The position of the column that an entry decodes as its symbol.
fn symbol_place<'d, E: Entry<'d>>(table: &Table<'d>) -> Result<u32> {
    const SYMBOL: &str = "mangled_name";
    let places = Places::of::<E>(table)?;
    let is_symbol = |column: &Column| column.names.first() == Some(&SYMBOL);
    let index = E::COLUMNS.iter().position(is_symbol).unwrap_or(usize::MAX);
    Ok(places.0.get(index).copied().unwrap_or(u32::MAX))
}

impl<'d> Edit<'_, 'd> {
    /// The index of the symbol in a cell.
    fn symbol(&self, cell: Option<Cell<'d>>) -> Option<usize> {
        let cell = cell.unwrap_or_default();
        self.symbols.binary_search_by(|symbol| symbol.chars().cmp(cell.chars())).ok()
    }

    /// Collects the rows to be moved.
    fn take_rows(&mut self, table: &Table<'d>) -> Result<()> {
        let place = symbol_place::<Possible<'_>>(table)?;
        for row in table.rows() {
            let row = row?;
            if let Some(symbol) = self.symbol(row.cell(place)) {
                try_push(&mut self.taken, Taken { table: *table, row, symbol })?;
            }
        }
        Ok(())
    }

    /// Determines the position of new rows, unless a previous table has, and marks the existing instantiations.
    fn look_for_place(&mut self, table: &Table<'d>, home: &mut Option<Home<'d>>) -> Result<()> {
        let place = symbol_place::<Instantiation<'_>>(table)?;
        let mut new = Home {
            columns: table.columns,
            is_new: false,
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
            let known = self.symbol(row.cell(place)).and_then(|symbol| self.done.get_mut(symbol));
            known.into_iter().for_each(|done| *done = true);
        }
        home.get_or_insert(new);
        Ok(())
    }

    /// The line ending of the text.
    fn ending(&self) -> &'static str {
        let first = self.text.split_inclusive('\n').next().unwrap_or("");
        if first.ends_with("\r\n") { "\r\n" } else { "\n" }
    }

    fn write(mut self, home: Option<Home<'d>>, data: &[u8], path: &dyn Display) -> Result<Edited> {
        let Some(first) = self.taken.first() else {
            let mut note = try_with_capacity(data.len())?;
            note.extend_from_slice(data);
            return Ok(Edited { note, done: self.done.into_boxed_slice(), changed: false });
        };
        let mut home = home.unwrap_or_else(|| new_table(&first.table));
        let mut rows = String::new();
        self.write_rows(&mut home, &mut TryWriter(&mut rows), path).map_err(|_| AllocError)?;
        let note = self.put_together(&home, &rows, data)?;
        Ok(Edited { note, done: self.done.into_boxed_slice(), changed: true })
    }

    /// Writes the new rows, after the header of a new table.
    fn write_rows(
        &mut self,
        home: &mut Home<'_>,
        rows: &mut TryWriter<'_>,
        path: &dyn Display,
    ) -> fmt::Result {
        let ending = self.ending();
        if home.is_new {
            write!(rows, "instantiations |{}|{ending}", home.columns)?;
        }
        for taken in &self.taken {
            // A symbol that is already in the table, or that repeats, gets no second row.
            let done = self.done.get_mut(taken.symbol);
            if done.is_some_and(|done| !core::mem::replace(done, true)) {
                put_row(rows, home, taken, path)?;
                rows.write_str(ending)?;
            }
        }
        Ok(())
    }

    /// Returns the text without the moved rows and with the new rows.
    fn put_together(&self, home: &Home<'_>, rows: &str, data: &[u8]) -> Result<Vec<u8>> {
        let ending = self.ending();
        let lines = |span: Range<usize>| {
            let behind = self.text.get(span.end..).unwrap_or("");
            let rest = behind.find('\n').map_or(behind.len(), |at| at + 1);
            span.start..span.end + rest
        };
        // The rows were found in ascending order.
        let mut edits = try_with_capacity(self.taken.len() + 1)?;
        edits.extend(self.taken.iter().map(|taken| lines(taken.row.span())));
        // A new table precedes the table `possible`.
        let at = if home.is_new { home.at } else { lines(home.at..home.at).end };
        let place = edits.partition_point(|edit| edit.start < at);
        if edits.get(place).is_none_or(|edit| edit.start != at) {
            edits.insert(place, at..at);
        }
        let mut note = try_with_capacity(data.len() + rows.len() + ending.len())?;
        let mut from = 0;
        for Range { start, end } in edits {
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
        // The terminator and the bytes after it.
        note.extend_from_slice(data.get(self.text.len()..).unwrap_or(&[]));
        Ok(note)
    }
}

/// The position and dialect of a new table of instantiations, before the table `possible` and in its dialect.
fn new_table<'d>(possible: &Table<'d>) -> Home<'d> {
    let columns = if possible.column("id").is_some() { WITH_ID } else { WITHOUT_ID };
    let at = possible.header_span().start;
    Home { columns, is_new: true, at, indent: "    ", quoted_id: false, next_id: 0 }
}

const WITH_ID: &str = "id, template, type_args, mangled_name, from_file, from_loc, to_obj, status";
const WITHOUT_ID: &str =
    "template, type_args, mangled_name, from_file, from_loc, output_file, status";

fn put_row(
    rows: &mut TryWriter<'_>,
    home: &mut Home<'_>,
    taken: &Taken<'_>,
    path: &dyn Display,
) -> fmt::Result {
    let old = |name: &str| taken.table.column(name).and_then(|place| taken.row.cell(place));
    rows.write_str(home.indent)?;
    for (index, column) in split_columns(home.columns).enumerate() {
        rows.write_str(if index == 0 { "" } else { ", " })?;
        match column {
            "id" => {
                let quote = if home.quoted_id { "\"" } else { "" };
                write!(rows, "{quote}{}{quote}", home.next_id)?;
                home.next_id = home.next_id.saturating_add(1);
            }
            "from_file" => put_text(rows, path)?,
            "from_loc" => put_text(rows, format_args!("{path}:0:0:jit"))?,
            "to_obj" | "output_file" => put_text(rows, JIT_MEMORY)?,
            "status" => put_text(rows, Status::JitCompiled)?,
            "template" | "type_args" | "mangled_name" => {
                put_text(rows, old(column).unwrap_or_default())?;
            }
            other => put_cell(rows, &old(other).unwrap_or_default())?,
        }
    }
    Ok(())
}

/// Writes a cell as in the old row.
fn put_cell(row: &mut impl Write, cell: &Cell<'_>) -> fmt::Result {
    if cell.is_quoted() || cell.is_empty() {
        put_text(row, cell)
    } else {
        row.write_str(cell.raw())
    }
}

/// Writes a quoted cell, with escapes where necessary.
pub(crate) fn put_text(row: &mut impl Write, text: impl Display) -> fmt::Result {
    row.write_char('"')?;
    write!(Escaped(&mut *row), "{text}")?;
    row.write_char('"')
}

/// Escapes the text between quotes.
struct Escaped<'r, W>(&'r mut W);

impl<W: Write> Write for Escaped<'_, W> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        text.chars().try_for_each(|c| match c {
            '\n' => self.0.write_str("\\n"),
            '\t' => self.0.write_str("\\t"),
            '\r' => self.0.write_str("\\r"),
            '\\' | '"' => self.0.write_char('\\').and_then(|()| self.0.write_char(c)),
            c => self.0.write_char(c),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::read::note::Note;
    use crate::format::read::sdn::document::{NOTE_CAP, find_end};
    use alloc::string::ToString;

    const NATIVE: &[u8] = include_bytes!("../../../../tests/samples/note-zero-size.smf");
    const DRIVER: &[u8] = include_bytes!("../../../../tests/samples/driver.smf");

    fn made(text: &str, symbols: &[&str]) -> String {
        let edited = with_made(text.as_bytes(), 0, &"a.smf", symbols).unwrap();
        let text = String::from_utf8(edited.note).unwrap();
        Note::parse(text.as_bytes(), 0).unwrap().check().unwrap();
        text
    }

    #[test]
    fn moved_row_leaves_the_rest_unchanged() {
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
        // A second edit changes nothing.
        assert_eq!(made(&expected, &["Vec$i64"]), expected);
        assert_eq!(made(text, &["Vec$f64"]), text);
    }

    #[test]
    fn other_dialect_preserves_its_columns() {
        let text = "instantiations |template, extra, mangled_name, type_args, output_file, status|\r\n\
            possible |template, type_args, mangled_name, extra, can_defer|\r\n\
            \x20 Vec, i64, Vec$i64, 12, \"true\"\r\n";
        let expected = "instantiations |template, extra, mangled_name, type_args, output_file, status|\r\n\
            \x20   \"Vec\", 12, \"Vec$i64\", \"i64\", \"jit_memory\", \"jit_compiled\"\r\n\
            possible |template, type_args, mangled_name, extra, can_defer|\r\n";
        assert_eq!(made(text, &["Vec$i64"]), expected);
    }

    #[test]
    fn missing_table_is_created() {
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
    fn instantiation_of_every_possible_entry_is_recorded() {
        for (file, at) in [(NATIVE, 0x187), (DRIVER, 0x47)] {
            let data = &file[at..][..find_end(&file[at..], NOTE_CAP).unwrap()];
            let note = Note::parse(data, 0).unwrap();
            let names: Vec<_> = note
                .entries::<Possible>()
                .map(|entry| entry.unwrap().mangled_name().to_string())
                .collect();
            let before = note.entries::<Instantiation>().count();
            let mut symbols: Vec<&str> = names.iter().map(String::as_str).collect();
            symbols.sort_unstable();
            let edited = with_made(data, 0, &"dir/\"x\".smf", &symbols).unwrap();
            assert!(edited.changed && edited.note.ends_with(b"# END_NOTE\n"));
            let note = Note::parse(&edited.note, 0).unwrap();
            note.check().unwrap();
            assert_eq!(note.entries::<Possible>().count(), 0);
            let made: Vec<_> = note.entries::<Instantiation>().map(Result::unwrap).collect();
            assert_eq!(made.len(), before + symbols.len());
            let last = made.last().unwrap();
            assert!(last.from_loc().eq_str("dir/\"x\".smf:0:0:jit"));
            assert!(last.to_obj().eq_str("jit_memory"));
            assert!(matches!(last.status(), Status::JitCompiled));
        }
    }

    #[test]
    fn both_rows_of_one_symbol_are_removed() {
        let text = "possible |template, type_args, mangled_name|\n a, b, c\n a, b, d\n a, b, c\n";
        let found = made(text, &["c"]);
        let note = Note::parse(found.as_bytes(), 0).unwrap();
        assert_eq!(
            (note.entries::<Possible>().count(), note.entries::<Instantiation>().count()),
            (1, 1)
        );
    }
}
