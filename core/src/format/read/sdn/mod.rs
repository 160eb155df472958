//! SDN tables, the text of note.sdn, read in place.
//!
//! The dialects of FORMAT.md, section 6, share one grammar of lines:
//!
//! * blank lines and lines whose first visible character is `#` are ignored;
//! * `name |column, column|` at the left margin opens a table;
//! * any other word at the left margin (`build:`) is an SDN key without a meaning in a note: it closes the table, and
//!   it and its lines are skipped;
//! * every other line after a header is a row of that table, one cell for each column. A cell is a quoted string with
//!   `\n \t \r \\ \"`, or bare text up to the comma, with blanks trimmed. An empty cell is the empty string. `#` after
//!   a string or a blank starts a comment.
//!
//! The text ends before the line `# END_NOTE`, or at the end of the bytes without one. It is checked to be UTF-8 once;
//! all values are slices of it. A row is split once, when its iterator reaches it, and items of an iterator are valid:
//! [`Row::cells`] cannot fail. An iterator ends after an error.

pub(crate) mod cell;
pub(crate) mod document;
pub(crate) mod line;
pub(crate) mod table;

pub use cell::Cell;
pub use document::{Document, END_NOTE, NOTE_CAP, find_end};
pub use table::{Row, Rows, Table, Tables};
