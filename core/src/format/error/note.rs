//! Errors in note.sdn.

use thiserror::Error;

/// The reason why note.sdn is invalid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the module `error` documents the units of the fields")]
pub enum NoteError {
    /// A note of size 0 without its terminator within the first 1 MiB.
    #[error("note.sdn has size 0 and no line `# END_NOTE` within 1 MiB, at offset {at:#x}")]
    Unterminated { at: u64 },
    /// A note that is not UTF-8.
    #[error("note.sdn is not UTF-8, at offset {at:#x}")]
    Encoding { at: u64 },
    /// A row outside a table, a broken header or a broken string.
    #[error("note.sdn, line {line}: not a table row, at offset {at:#x}")]
    Syntax { line: u32, at: u64 },
    /// A row with more or fewer cells than its table has columns.
    #[error(
        "note.sdn, line {line}: {cells} cells in a table of {columns} columns, at offset {at:#x}"
    )]
    CellCount { line: u32, cells: u32, columns: u32, at: u64 },
    /// A known table without a required column.
    #[error("note.sdn, line {line}: the table has no column `{column}`, at offset {at:#x}")]
    MissingColumn { line: u32, column: &'static str, at: u64 },
}
