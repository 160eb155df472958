//! The text of a note.

use core::ops::Range;

use crate::format::error::{NoteError, Result};
use crate::format::read::sdn::line::absolute;
use crate::format::read::sdn::table::Tables;

/// The comment that ends a note of size 0, on a line of its own.
pub const END_NOTE: &[u8] = b"# END_NOTE";

/// The maximum length of a note of size 0, in bytes (FORMAT.md, section 6).
pub const NOTE_CAP: usize = 1 << 20;

/// The length of a note of size 0 that starts at `data[0]`, up to and including its terminator line.
///
/// The terminator may be the first line, may end with `\r\n`, and needs no line feed at the end of `data`: a file that
/// was cut right after it is complete. Returns `None` if no terminator ends within the first `cap` bytes.
pub fn find_end(data: &[u8], cap: usize) -> Option<usize> {
    let window = data.get(..cap).unwrap_or(data);
    terminator(window, window.len() == data.len()).map(|line| line.end)
}

/// The terminator line with its line ending. `whole`: `data` extends to the end of the file.
fn terminator(data: &[u8], whole: bool) -> Option<Range<usize>> {
    let mut from = 0;
    loop {
        let start = from + data.get(from..)?.iter().position(|&b| b == b'#')?;
        from = start + 1;
        let (before, line) = data.split_at_checked(start)?;
        let Some(rest) = line.strip_prefix(END_NOTE) else { continue };
        let ending = match rest {
            [] if whole => 0,
            [b'\n', ..] => 1,
            [b'\r', b'\n', ..] => 2,
            _ => continue,
        };
        if matches!(before, [] | [.., b'\n']) {
            return Some(start..start + END_NOTE.len() + ending);
        }
    }
}

/// The text of a note: tables, one after another.
#[derive(Clone, Copy, Debug)]
pub struct Document<'d> {
    text: &'d str,
    at: u64,
}

impl<'d> Document<'d> {
    /// Parses the document in `data`, up to its terminator line if it has one. `at` is the offset of `data` in the
    /// file, for errors.
    ///
    /// # Errors
    /// [`NoteError::Encoding`] with the offset of the first byte that is not UTF-8. Bytes after the terminator are not
    /// read.
    pub fn parse(data: &'d [u8], at: u64) -> Result<Self> {
        let end = terminator(data, true);
        let text = end.and_then(|line| data.get(..line.start)).unwrap_or(data);
        match core::str::from_utf8(text) {
            Ok(text) => Ok(Self { text, at }),
            Err(fault) => Err(NoteError::Encoding { at: absolute(at, fault.valid_up_to()) }.into()),
        }
    }

    /// The text without the terminator. Spans are offsets in this text.
    pub fn text(&self) -> &'d str {
        self.text
    }

    /// The tables in the order of the text; names may repeat.
    pub fn tables(&self) -> Tables<'d> {
        Tables::of(self.text, self.at)
    }

    /// Reads every row of every table.
    ///
    /// # Errors
    /// The first error in the order of the text: [`NoteError::Syntax`] for an invalid header, an invalid string or a
    /// row outside a table, [`NoteError::CellCount`] for a row with a wrong number of cells.
    pub fn check(&self) -> Result<()> {
        for table in self.tables() {
            table?.rows().try_for_each(|row| row.map(drop))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::format;
    use std::string::{String, ToString};
    use std::vec::Vec;

    use super::*;
    use crate::format::error::FormatError;
    use crate::format::read::sdn::table::{Row, Table};
    use crate::testing::{cut, flipped};

    const NATIVE: &[u8] = include_bytes!("../../../../../tests/samples/note-zero-size.smf");
    const DRIVER: &[u8] = include_bytes!("../../../../../tests/samples/driver.smf");
    const COMPACT: &[u8] = include_bytes!("../../../../../tests/samples/compact.smf");

    /// The notes of the samples with their offsets; two of size 0, one of 0x2d2 bytes.
    fn notes() -> [(&'static [u8], u64); 3] {
        let open = |file: &'static [u8], at: usize| {
            let note = &file[at..];
            (&note[..find_end(note, NOTE_CAP).unwrap()], at as u64)
        };
        [open(NATIVE, 0x187), open(DRIVER, 0x47), (&COMPACT[0xe4..0xe4 + 0x2d2], 0xe4)]
    }

    fn shape(text: &str) -> Vec<(String, Vec<String>)> {
        let document = Document::parse(text.as_bytes(), 0).unwrap();
        let line =
            |row: Row| row.cells().map(|cell| cell.to_string()).collect::<Vec<_>>().join("|");
        let rows = |table: Table| table.rows().map(|row| line(row.unwrap())).collect();
        document.tables().map(|table| table.unwrap()).map(|t| (t.name().into(), rows(t))).collect()
    }

    fn table<'d>(document: &Document<'d>, name: &str) -> Table<'d> {
        document.tables().map(Result::unwrap).find(|table| table.name() == name).unwrap()
    }

    fn fault(text: &str) -> Option<FormatError> {
        Document::parse(text.as_bytes(), 0x1000).and_then(|d| d.check()).err()
    }

    #[test]
    fn notes_of_the_samples_are_read() {
        for (note, at) in notes() {
            let document = Document::parse(note, at).unwrap();
            assert!(document.text().ends_with("\n\n"));
            document.check().unwrap();
        }
        let (native, at) = notes()[0];
        let document = Document::parse(native, at).unwrap();
        let names: Vec<_> = document.tables().map(|table| table.unwrap().name()).collect();
        assert_eq!(
            names,
            [
                "instantiations",
                "possible",
                "type_inferences",
                "dependencies",
                "circular_warnings",
                "circular_errors"
            ]
        );
        let possible = table(&document, "possible");
        assert_eq!((possible.column_count, possible.column("required_by")), (6, Some(4)));
        let rows: Vec<_> = possible.rows().map(|row| row.unwrap()).collect();
        assert!(rows[1].cell(4).unwrap().eq_str("quote \"here\", comma"));
        assert!(rows[1].cell(6).is_none());
    }

    #[test]
    fn build_key_of_the_other_dialect_is_skipped() {
        let (driver, at) = notes()[1];
        let document = Document::parse(driver, at).unwrap();
        let tables: Vec<_> = document.tables().map(|table| table.unwrap()).collect();
        let counts: Vec<_> = tables.iter().map(|t| (t.name(), t.rows().count())).collect();
        assert_eq!(counts, [("possible", 1), ("instantiations", 1)]);
        assert_eq!(tables[0].columns().last(), Some("ctx"));
        assert_eq!(tables[0].line(), 6);
        assert_eq!(&DRIVER[tables[0].offset() as usize..][..10], b"possible |");
    }

    #[test]
    fn spans_of_rows_are_their_lines() {
        for (note, at) in notes() {
            let document = Document::parse(note, at).unwrap();
            let lines: Vec<_> = document.text().split('\n').collect();
            for table in document.tables().map(|table| table.unwrap()) {
                assert_eq!(&document.text()[table.header_span()], lines[table.line() as usize - 1]);
                for row in table.rows().map(|row| row.unwrap()) {
                    assert_eq!(&document.text()[row.span()], lines[row.line() as usize - 1]);
                }
            }
        }
    }

    #[test]
    fn rows_belong_to_the_key_above_them() {
        let text = "build:\n  features:\n    - +avx2\n- x\nt |a| # why\r\n\t1\r\n\n# c\n2\nkey: v\n  \"x\n\
                    größe|b , c|\n3,4\n x, y # z\n";
        let expected = [
            ("t".to_string(), Vec::from(["1".to_string(), "2".into()])),
            ("größe".into(), Vec::from(["3|4".to_string(), "x|y".into()])),
        ];
        assert_eq!(shape(text), expected);
        assert_eq!(shape(""), []);
        assert_eq!(shape("\n\n# only\n"), []);
    }

    #[test]
    fn error_names_the_cause_and_the_offset() {
        let syntax =
            |line, at: u64| Some(FormatError::Note(NoteError::Syntax { line, at: 0x1000 + at }));
        assert_eq!(fault("\n  1, 2\n"), syntax(2, 1));
        assert_eq!(fault("a |b\n"), syntax(1, 0));
        assert_eq!(fault("a |b,|\n"), syntax(1, 0));
        assert_eq!(fault("a || x\n"), syntax(1, 0));
        assert_eq!(fault("|a|\n"), syntax(1, 0));
        assert_eq!(fault("a |b| c\n"), syntax(1, 0));
        assert_eq!(fault("t |a, b|\n 1, \"x\n"), syntax(2, 12));
        let ragged = |cells| {
            Some(FormatError::Note(NoteError::CellCount {
                line: 3,
                cells,
                columns: 2,
                at: 0x1000 + 15,
            }))
        };
        assert_eq!(fault("t |a, b|\n 1, 2\n 1\n"), ragged(1));
        assert_eq!(fault("t |a, b|\n 1, 2\n 1, 2, \n"), ragged(3));
        let encoding = Document::parse(b"t |a|\n \xff\n", 7).unwrap_err();
        assert_eq!(encoding, FormatError::Note(NoteError::Encoding { at: 14 }));
    }

    #[test]
    fn iterator_ends_after_its_error() {
        let document = Document::parse(b"t |a|\n 1,2\n 3\n", 0).unwrap();
        let mut rows = table(&document, "t").rows();
        assert!(rows.next().unwrap().is_err() && rows.next().is_none());
        let document = Document::parse(b"t |a\nu |a|\n", 0).unwrap();
        let mut tables = document.tables();
        assert!(tables.next().unwrap().is_err() && tables.next().is_none());
    }

    #[test]
    fn end_of_a_note_without_size_is_found() {
        let (note, _) = notes()[0];
        assert_eq!((0x187 + note.len(), NATIVE[0x187 + note.len()]), (0x459, 0));
        for (data, cap, end) in [
            (&b"# END_NOTE\nrest"[..], 99, Some(11)),
            (b"a\n# END_NOTE\n", 99, Some(13)),
            (b"a\n# END_NOTE\r\n", 99, Some(14)),
            (b"a\n# END_NOTE", 99, Some(12)),
            (b"a\n# END_NOTE", 12, Some(12)),
            (b"a\n# END_NOTE\n", 12, None),
            (b"a\n# END_NOTE\n", 13, Some(13)),
            (b"a\n# END_NOTES\n# END_NOTE\n", 99, Some(25)),
            (b"a # END_NOTE\n", 99, None),
            (b"a\n# END_NOT", 99, None),
            (b"", 99, None),
        ] {
            assert_eq!(find_end(data, cap), end, "{:?}", String::from_utf8_lossy(data));
        }
    }

    #[test]
    fn text_behind_the_terminator_is_ignored() {
        let document = Document::parse(b"t |a|\n1\n# END_NOTE\n\xff \"", 0).unwrap();
        assert_eq!((document.text(), document.check()), ("t |a|\n1\n", Ok(())));
    }

    /// Visits everything in a document.
    fn walk(data: &[u8]) {
        let Ok(document) = Document::parse(data, u64::MAX - 3) else { return };
        let checked = document.check().is_ok();
        let mut all = true;
        for table in document.tables() {
            let Ok(table) = table else {
                all = false;
                continue;
            };
            for row in table.rows() {
                let Ok(row) = row else {
                    all = false;
                    continue;
                };
                assert_eq!(row.cells().count() as u32, table.column_count);
                assert!(row.cells().all(|cell| cell.to_string().len() <= cell.raw().len()));
            }
        }
        assert_eq!(checked, all);
    }

    #[test]
    fn damaged_input_never_panics() {
        for (note, _) in notes() {
            for short in cut(note) {
                walk(short);
                let _ = find_end(short, NOTE_CAP);
            }
            for (_, damaged) in flipped(note) {
                walk(&damaged);
                let _ = find_end(&damaged, NOTE_CAP);
            }
        }
    }

    #[test]
    fn mebibyte_of_one_character_is_read_in_one_pass() {
        for sign in [",", "#", "\"", "\\", "|", "\n", " ", "t |a|\n", "\n# END_NOT", "a,"] {
            let len = if cfg!(miri) { 1 << 5 } else { 1 << 20 };
            let filling = sign.repeat(len / sign.len());
            for text in
                [filling.clone(), format!("t |a|\n {filling}"), format!("t |{filling}a|\n1")]
            {
                walk(text.as_bytes());
                assert_eq!(find_end(text.as_bytes(), NOTE_CAP), None);
            }
        }
    }
}
