//! Tables, their rows, and iterators over both.

use core::ops::Range;

use crate::format::error::{NoteError, Result};
use crate::format::read::sdn::cell::{BLANKS, Cell, split_cell};
use crate::format::read::sdn::line::{Line, LineKind, Lines, absolute, kind_of, says_nothing};

/// The tables of a [`Document`](super::Document).
///
/// An item is an error for an invalid header, and for a row before any table or key.
#[derive(Clone, Debug)]
pub struct Tables<'d> {
    lines: Lines<'d>,
    at: u64,
    /// Whether a key or a header precedes, to which a row can belong.
    owned: bool,
    failed: bool,
}

impl<'d> Tables<'d> {
    /// The tables of `text`, which begins at offset `at` of the file.
    pub(crate) fn of(text: &'d str, at: u64) -> Self {
        let lines = Lines { text, at: 0, number: 0 };
        Self { lines, at, owned: false, failed: false }
    }

    /// Skips the lines that belong to the last header, and returns them.
    fn body(&mut self) -> Lines<'d> {
        let start = self.lines;
        let end = loop {
            let before = self.lines;
            let Some(line) = self.lines.next() else { break self.lines.text.len() };
            if matches!(kind_of(line.text), LineKind::Header | LineKind::Key) {
                self.lines = before;
                break line.start;
            }
        };
        Lines { text: start.text.get(..end).unwrap_or(""), ..start }
    }
}

impl<'d> Iterator for Tables<'d> {
    type Item = Result<Table<'d>>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.failed {
            let line = self.lines.next()?;
            let found = match kind_of(line.text) {
                LineKind::Row if !self.owned => Err(line.broken(self.at, 0)),
                LineKind::Header => Table::open(line, self.at),
                LineKind::Key => {
                    self.owned = true;
                    continue;
                }
                LineKind::Nothing | LineKind::Row => continue,
            };
            self.owned = true;
            self.failed = found.is_err();
            return Some(found.map(|table| Table { body: self.body(), ..table }));
        }
        None
    }
}

/// A table: a name, columns, and rows.
#[derive(Clone, Copy, Debug)]
pub struct Table<'d> {
    name: &'d str,
    pub(crate) columns: &'d str,
    /// The number of cells in a row; at least one.
    pub(crate) column_count: u32,
    header: Line<'d>,
    body: Lines<'d>,
    at: u64,
}

impl<'d> Table<'d> {
    /// Parses the table that `header` opens, without its rows.
    fn open(header: Line<'d>, at: u64) -> Result<Self> {
        let broken = header.broken(at, 0);
        let (name, rest) = header.text.split_once('|').ok_or(broken)?;
        let (columns, rest) = rest.split_once('|').ok_or(broken)?;
        let name = name.trim_end_matches(BLANKS);
        if name.is_empty() || !says_nothing(rest) || split_columns(columns).any(str::is_empty) {
            return Err(broken);
        }
        let column_count = u32::try_from(split_columns(columns).count()).unwrap_or(u32::MAX);
        let body = Lines { text: "", at: 0, number: 0 };
        Ok(Self { name, columns, column_count, header, body, at })
    }

    /// The name in the header.
    pub fn name(&self) -> &'d str {
        self.name
    }

    /// The names of the columns, from the left; none is empty.
    pub fn columns(&self) -> impl Iterator<Item = &'d str> + Clone + use<'d> {
        split_columns(self.columns)
    }

    /// The position of the first column with this name, from 0.
    pub fn column(&self, name: &str) -> Option<u32> {
        self.columns().position(|column| column == name).and_then(|at| u32::try_from(at).ok())
    }

    /// The rows in the order of the text.
    pub fn rows(&self) -> Rows<'d> {
        Rows { lines: self.body, columns: self.column_count, at: self.at, failed: false }
    }

    /// The line number of the header, from 1.
    pub fn line(&self) -> u32 {
        self.header.number
    }

    /// The offset of the header in the file, in bytes.
    pub fn offset(&self) -> u64 {
        absolute(self.at, self.header.start)
    }

    /// The span of the header in [`Document::text`](super::Document::text), without its line ending.
    pub fn header_span(&self) -> Range<usize> {
        self.header.span()
    }
}

pub(crate) fn split_columns(columns: &str) -> impl Iterator<Item = &str> + Clone {
    columns.split(',').map(|column| column.trim_matches(BLANKS))
}

/// The rows of a [`Table`].
///
/// An item is an error for an invalid string and for a row whose number of cells differs from the table's number of
/// columns.
#[derive(Clone, Debug)]
pub struct Rows<'d> {
    lines: Lines<'d>,
    columns: u32,
    at: u64,
    failed: bool,
}

impl<'d> Rows<'d> {
    /// The next row. Passes each of its cells with its column to `each` during the split, so that a caller that needs
    /// some cells of every row does not split the row again. On an error, `each` has received the cells before it.
    pub(crate) fn next_with(&mut self, each: impl FnMut(u32, Cell<'d>)) -> Option<Result<Row<'d>>> {
        if self.failed {
            return None;
        }
        let line = self.lines.find(|line| !says_nothing(line.text))?;
        let row = self.split(line, each);
        self.failed = row.is_err();
        Some(row)
    }

    fn split(&self, line: Line<'d>, mut each: impl FnMut(u32, Cell<'d>)) -> Result<Row<'d>> {
        let mut cells = 0u32;
        let mut rest = Some(line.text);
        while let Some(text) = rest {
            let Some((cell, next)) = split_cell(text) else {
                return Err(line.broken(self.at, line.text.len().saturating_sub(text.len())));
            };
            each(cells, cell);
            cells = cells.saturating_add(1);
            rest = next;
        }
        if cells == self.columns {
            return Ok(Row { line });
        }
        let at = absolute(self.at, line.start);
        Err(NoteError::CellCount { line: line.number, cells, columns: self.columns, at }.into())
    }
}

impl<'d> Iterator for Rows<'d> {
    type Item = Result<Row<'d>>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_with(|_, _| ())
    }
}

/// A valid row, with one cell for each column of its table.
#[derive(Clone, Copy, Debug)]
pub struct Row<'d> {
    line: Line<'d>,
}

impl<'d> Row<'d> {
    /// The cells from the left.
    pub fn cells(&self) -> impl Iterator<Item = Cell<'d>> + Clone + use<'d> {
        let mut rest = Some(self.line.text);
        core::iter::from_fn(move || {
            let (cell, next) = split_cell(rest?)?;
            rest = next;
            Some(cell)
        })
    }

    /// The cell of column `index`, as returned by [`Table::column`].
    pub fn cell(&self, index: u32) -> Option<Cell<'d>> {
        self.cells().nth(usize::try_from(index).ok()?)
    }

    /// The line number of the row, from 1.
    pub fn line(&self) -> u32 {
        self.line.number
    }

    /// The span of the row in [`Document::text`](super::Document::text): indent, cells and comment, without the line
    /// ending.
    pub fn span(&self) -> Range<usize> {
        self.line.span()
    }
}
