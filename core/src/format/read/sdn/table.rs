//! Tables, their rows, and the iterators that come to them.

use core::ops::Range;

use crate::format::error::{NoteError, Result};
use crate::format::read::sdn::cell::{BLANKS, Cell, split_cell};
use crate::format::read::sdn::line::{Line, LineKind, Lines, absolute, kind_of, says_nothing};

/// The tables of a [`Document`](super::Document).
///
/// An item is an error for a broken header, and for a row before any table or key.
#[derive(Clone, Debug)]
pub struct Tables<'d> {
    lines: Lines<'d>,
    at: u64,
    /// Whether a key or a header stands above, to which a row can belong.
    owned: bool,
    failed: bool,
}

impl<'d> Tables<'d> {
    /// The tables of `text`, which begins at offset `at` of the file.
    pub(crate) fn of(text: &'d str, at: u64) -> Self {
        let lines = Lines { text, at: 0, number: 0 };
        Self { lines, at, owned: false, failed: false }
    }

    /// Steps over the lines that belong to the header just read, and returns them.
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

/// A table: a name, columns, and rows below them.
#[derive(Clone, Copy, Debug)]
pub struct Table<'d> {
    name: &'d str,
    pub(crate) columns: &'d str,
    /// How many cells a row has; at least one.
    pub(crate) column_count: u32,
    header: Line<'d>,
    body: Lines<'d>,
    at: u64,
}

impl<'d> Table<'d> {
    /// The table that `header` opens, without its rows.
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

    /// The word before the columns.
    pub fn name(&self) -> &'d str {
        self.name
    }

    /// The names of the columns, from the left. None is empty.
    pub fn columns(&self) -> impl Iterator<Item = &'d str> + Clone + use<'d> {
        split_columns(self.columns)
    }

    /// The place of the first column of this name, from 0.
    pub fn column(&self, name: &str) -> Option<u32> {
        self.columns().position(|column| column == name).and_then(|at| u32::try_from(at).ok())
    }

    /// The rows from the top.
    pub fn rows(&self) -> Rows<'d> {
        Rows { lines: self.body, columns: self.column_count, at: self.at, failed: false }
    }

    /// The line of the header, from 1.
    pub fn line(&self) -> u32 {
        self.header.number
    }

    /// Where the header stands in the file, in bytes.
    pub fn offset(&self) -> u64 {
        absolute(self.at, self.header.start)
    }

    /// The bytes of [`Document::text`](super::Document::text) that are the header, without its line ending.
    pub fn header_span(&self) -> Range<usize> {
        self.header.span()
    }
}

pub(crate) fn split_columns(columns: &str) -> impl Iterator<Item = &str> + Clone {
    columns.split(',').map(|column| column.trim_matches(BLANKS))
}

/// The rows of a [`Table`].
///
/// An item is an error for a broken string and for a row that has more or fewer cells than the table
/// has columns.
#[derive(Clone, Debug)]
pub struct Rows<'d> {
    lines: Lines<'d>,
    columns: u32,
    at: u64,
    failed: bool,
}

impl<'d> Rows<'d> {
    /// The next row, and `each` of its cells with its column while it is split: who wants some cells
    /// of every row need not split it again. On an error `each` has seen the cells before it.
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

/// A row whose cells are known to be sound, one for each column of its table.
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

    /// The cell of column `index`, which [`Table::column`] gives.
    pub fn cell(&self, index: u32) -> Option<Cell<'d>> {
        self.cells().nth(usize::try_from(index).ok()?)
    }

    /// The line of the row, from 1.
    pub fn line(&self) -> u32 {
        self.line.number
    }

    /// The bytes of [`Document::text`](super::Document::text) that are the row: indent, cells and comment, but not the line
    /// ending.
    pub fn span(&self) -> Range<usize> {
        self.line.span()
    }
}
