//! Moves rows of compiled instances from the table `possible` to `instantiations`, and lists in `dependencies` which instances
//! they call.
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
use crate::format::read::note::entries::{Column, Entries, Entry, Places};
use crate::format::read::note::{Dependency, DependencyKind, Instantiation, Possible, Status};
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

/// Whether calls are listed: the freestanding program has no tool that reads them.
pub(crate) const LISTS_CALLS: bool = cfg!(feature = "source");

/// A compiled instance, and one that it calls.
pub type Call<'s> = (&'s str, &'s str);

/// Returns the note in `data`, which starts at offset `at` of its file, with the rows of `symbols` moved, and, with the
/// feature `source`, rows for those `calls` whose callers are among the instantiations. The loader of the module at `path`
/// has compiled these symbols. Symbols and calls must be in ascending order.
///
/// # Errors
/// An invalid note, or [`FormatError::OutOfMemory`](crate::format::FormatError::OutOfMemory).
pub fn with_made(
    data: &[u8],
    at: u64,
    path: &dyn Display,
    symbols: &[&str],
    calls: &[Call<'_>],
) -> Result<Edited> {
    let edited = with_rows_moved(data, at, path, symbols)?;
    let is_made = |symbol: &str| {
        let found = symbols.binary_search(&symbol).ok();
        found.and_then(|index| edited.done.get(index)).is_some_and(|done| *done)
    };
    let noted = with_dependencies(&edited.note, at, calls, is_made)?;
    Ok(match noted {
        Some(note) => Edited { note, changed: true, ..edited },
        None => edited,
    })
}

/// The note with rows for those calls that it does not list and whose callers are made; `None` if there are none.
fn with_dependencies(
    data: &[u8],
    at: u64,
    calls: &[Call<'_>],
    is_made: impl Fn(&str) -> bool,
) -> Result<Option<Vec<u8>>> {
    if !LISTS_CALLS || calls.is_empty() {
        return Ok(None);
    }
    let document = Document::parse(data, at)?;
    let mut is_listed = try_with_capacity(calls.len())?;
    is_listed.extend(calls.iter().map(|(caller, _)| !is_made(caller)));
    for row in Entries::<Dependency<'_>>::of(&document) {
        let row = row?;
        let (from, to) = (row.from_inst(), row.to_inst());
        let order = |call: &Call<'_>| {
            call.0.chars().cmp(from.chars()).then_with(|| call.1.chars().cmp(to.chars()))
        };
        let known = calls.binary_search_by(order).ok();
        if let Some(known) = known.and_then(|index| is_listed.get_mut(index)) {
            *known = true;
        }
    }
    if is_listed.iter().all(|known| *known) {
        return Ok(None);
    }
    let (text, ending) = (document.text(), ending(document.text()));
    let mut home = None;
    for table in document.tables() {
        let table = table?;
        if table.name() == Dependency::TABLE {
            let last = table.rows().last().transpose()?.map(|row| row.span().end);
            home = Some((table.columns, last.unwrap_or(table.header_span().end)));
            break;
        }
    }
    let mut rows = String::new();
    let mut out = TryWriter(&mut rows);
    let (columns, at) = home
        .map_or((DEPENDENCY, text.len()), |(columns, end)| (columns, lines(text, end..end).end));
    if home.is_none() {
        write!(out, "{} |{columns}|{ending}", Dependency::TABLE).map_err(|_| AllocError)?;
    }
    for ((from, to), _) in calls.iter().zip(is_listed).filter(|(_, is_listed)| !is_listed) {
        put_dependency(&mut out, columns, from, to).map_err(|_| AllocError)?;
        out.write_str(ending).map_err(|_| AllocError)?;
    }
    let (before, behind) = data.split_at_checked(at).unwrap_or((data, &[]));
    let mut note = try_with_capacity(data.len() + rows.len() + ending.len())?;
    note.extend_from_slice(before);
    if !matches!(note.last(), None | Some(b'\n')) {
        note.extend_from_slice(ending.as_bytes());
    }
    note.extend_from_slice(rows.as_bytes());
    note.extend_from_slice(behind);
    Ok(Some(note))
}

const DEPENDENCY: &str = "from_inst, to_inst, dep_kind";

fn put_dependency(out: &mut TryWriter<'_>, columns: &str, from: &str, to: &str) -> fmt::Result {
    for (index, column) in split_columns(columns).enumerate() {
        out.write_str(if index == 0 { "    " } else { ", " })?;
        match column {
            "from_inst" => put_text(out, from)?,
            "to_inst" => put_text(out, to)?,
            "dep_kind" => put_text(out, DependencyKind::TypeParam)?,
            _ => put_text(out, "")?,
        }
    }
    Ok(())
}

/// The line ending of a text.
fn ending(text: &str) -> &'static str {
    let first = text.split_inclusive('\n').next().unwrap_or("");
    if first.ends_with("\r\n") { "\r\n" } else { "\n" }
}

/// A range of a text and the rest of its last line.
fn lines(text: &str, span: Range<usize>) -> Range<usize> {
    let behind = text.get(span.end..).unwrap_or("");
    let rest = behind.find('\n').map_or(behind.len(), |at| at + 1);
    span.start..span.end + rest
}

/// The note with the rows of `symbols` moved.
fn with_rows_moved(data: &[u8], at: u64, path: &dyn Display, symbols: &[&str]) -> Result<Edited> {
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
    let places = Places::of(E::COLUMNS, table)?;
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
        let ending = ending(self.text);
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
        let ending = ending(self.text);
        // The rows were found in ascending order.
        let mut edits = try_with_capacity(self.taken.len() + 1)?;
        edits.extend(self.taken.iter().map(|taken| lines(self.text, taken.row.span())));
        // A new table precedes the table `possible`.
        let at = if home.is_new { home.at } else { lines(self.text, home.at..home.at).end };
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

/// Writes a quoted cell of a note, with escapes where necessary.
///
/// # Errors
/// Those of `row`.
pub fn put_text(row: &mut impl Write, text: impl Display) -> fmt::Result {
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
        let edited = with_made(text.as_bytes(), 0, &"a.smf", symbols, &[]).unwrap();
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
            let edited = with_made(data, 0, &"dir/\"x\".smf", &symbols, &[]).unwrap();
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

    #[cfg(feature = "source")]
    #[test]
    fn calls_of_compiled_instances_are_listed_once() {
        let text = "possible |template, type_args, mangled_name|\n a, i64, a$i64\n b, i64, b$i64\n# END_NOTE\n";
        let calls = [("a$i64", "b$i64"), ("a$i64", "c$\"x\""), ("other", "b$i64")];
        let noted = |text: &str, symbols: &[&str], calls: &[Call<'_>]| {
            let edited = with_made(text.as_bytes(), 0, &"a.smf", symbols, calls).unwrap();
            let note = String::from_utf8(edited.note).unwrap();
            Note::parse(note.as_bytes(), 0).unwrap().check().unwrap();
            note
        };
        let one = noted(text, &["a$i64"], &calls[..1]);
        let table = "dependencies |from_inst, to_inst, dep_kind|\n    \"a$i64\", \"b$i64\", \"type_param\"\n";
        assert!(one.ends_with(&(table.to_string() + "# END_NOTE\n")), "{one}");
        // The caller `other` is not listed.
        let both = noted(&one, &["a$i64"], &calls);
        let row = "    \"a$i64\", \"c$\\\"x\\\"\", \"type_param\"\n";
        assert_eq!(both, one.replace(table, &(table.to_string() + row)));
        assert_eq!(noted(&both, &["a$i64"], &calls), both);
        assert_eq!(noted(text, &["absent"], &calls), text);
        // Other columns, before another table.
        let text = one.replace(table, "dependencies |id, to_inst, from_inst|\r\nmine |x|\n y\n");
        let found = noted(&text, &["a$i64"], &calls[..1]);
        let row = "from_inst|\r\n    \"\", \"b$i64\", \"a$i64\"\nmine |x|";
        assert!(found.contains(row), "{found}");
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
