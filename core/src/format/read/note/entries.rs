//! Rows as entries. The columns of a table are looked up once by name, and each row is split once.

use core::marker::PhantomData;

use crate::format::error::{NoteError, Result};
use crate::format::read::sdn::{Cell, Document, Row, Rows, Table, Tables};

/// The maximum number of columns that an entry reads.
pub(crate) const MAX_COLUMNS: usize = 8;

/// A column of a known table: its names, the usual one first, and whether the column is required.
#[derive(Clone, Copy, Debug)]
pub struct Column {
    pub(crate) names: &'static [&'static str],
    pub(crate) required: bool,
}

/// A row of a known table. Only this crate can name the type of the columns, and so only it implements the trait.
pub trait Entry<'d>: Copy {
    /// The name of the table.
    const TABLE: &'static str;

    #[doc(hidden)]
    const COLUMNS: &'static [Column];

    /// Creates an entry from cells in the order of `COLUMNS`; `None` if there are too few.
    #[doc(hidden)]
    fn new(row: Row<'d>, cells: &[Cell<'d>]) -> Option<Self>;
}

/// The positions of an entry's columns in a row; `u32::MAX` for a column that the table does not have.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Places(pub(crate) [u32; MAX_COLUMNS]);

impl Places {
    /// The positions in a table.
    pub(crate) fn of(columns: &[Column], table: &Table<'_>) -> Result<Self> {
        let mut places = [u32::MAX; MAX_COLUMNS];
        for (place, column) in places.iter_mut().zip(columns) {
            match column.names.iter().find_map(|name| table.column(name)) {
                Some(found) => *place = found,
                None if column.required => {
                    let column = column.names.first().copied().unwrap_or_default();
                    let (line, at) = (table.line(), table.offset());
                    return Err(NoteError::MissingColumn { line, column, at }.into());
                }
                None => {}
            }
        }
        Ok(Self(places))
    }
}

/// The entries of one kind in the order of the text, from all tables with that name.
///
/// An item is an error if the text up to the entry is invalid. The iterator ends after an error.
#[derive(Clone, Debug)]
pub struct Entries<'d, E> {
    tables: Tables<'d>,
    rows: Option<(Rows<'d>, Places)>,
    failed: bool,
    entry: PhantomData<fn() -> E>,
}

impl<'d, E: Entry<'d>> Entries<'d, E> {
    pub(crate) fn of(document: &Document<'d>) -> Self {
        Self { tables: document.tables(), rows: None, failed: false, entry: PhantomData }
    }

    /// The next row of the current table.
    fn next_row(&mut self) -> Option<Result<E>> {
        let (rows, places) = self.rows.as_mut()?;
        let mut cells = [Cell::default(); MAX_COLUMNS];
        let row = rows.next_with(|index, found| {
            for (cell, &place) in cells.iter_mut().zip(&places.0) {
                if place == index {
                    *cell = found;
                }
            }
        })?;
        row.map(|row| E::new(row, &cells)).transpose()
    }

    /// Advances to the next table with the name; `None` without another one.
    fn open_table(&mut self) -> Option<Result<()>> {
        loop {
            let opened = match self.tables.next()? {
                Ok(table) if table.name() != E::TABLE => continue,
                Ok(table) => Places::of(E::COLUMNS, &table).map(|places| (table.rows(), places)),
                Err(error) => Err(error),
            };
            return Some(opened.map(|rows| self.rows = Some(rows)));
        }
    }
}

impl<'d, E: Entry<'d>> Iterator for Entries<'d, E> {
    type Item = Result<E>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.failed {
            if let Some(entry) = self.next_row() {
                self.failed = entry.is_err();
                return Some(entry);
            }
            if let Err(error) = self.open_table()? {
                self.failed = true;
                return Some(Err(error));
            }
        }
        None
    }
}
