//! SDN tables, the text of note.sdn, read where they lie.
//!
//! The dialects of FORMAT.md, section 6, are one grammar of lines:
//!
//! * blank lines and lines whose first visible character is `#` say nothing;
//! * `name |column, column|` at the left margin opens a table;
//! * any other word at the left margin (`build:`) is a key of SDN that means nothing here: it closes
//!   the table, and it and the lines that belong to it are skipped;
//! * every other line after a header is a row of that table, one cell for each column. A cell is a
//!   string in quotes with `\n \t \r \\ \"`, or bare text up to the comma, blanks trimmed; nothing at
//!   all is the empty string. `#` after a string or a blank begins a comment.
//!
//! The text ends before the line `# END_NOTE`, or with the bytes when there is none. It is checked to
//! be UTF-8 once; from then on everything is slices of it. A row is split once, when its iterator
//! comes to it, and what an iterator hands out has no faults left: [`Row::cells`] cannot fail. An
//! iterator that met an error ends after it.

pub(crate) mod cell;
pub(crate) mod document;
pub(crate) mod line;
pub(crate) mod table;

pub use cell::Cell;
pub use document::{Document, END_NOTE, NOTE_CAP, find_end};
pub use table::{Row, Rows, Table, Tables};
