//! Lines of SDN text.

use core::ops::Range;

use crate::format::error::{FormatError, NoteError};
use crate::format::read::sdn::cell::{is_blank, trim_start};

/// Converts an offset in the text to an offset in the file.
pub(crate) fn absolute(base: u64, offset: usize) -> u64 {
    base.saturating_add(offset as u64)
}

/// One line without its ending.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Line<'d> {
    pub(crate) text: &'d str,
    /// The offset of the line in the document's text.
    pub(crate) start: usize,
    /// The line number, from 1.
    pub(crate) number: u32,
}

impl Line<'_> {
    pub(crate) fn span(&self) -> Range<usize> {
        self.start..self.start.saturating_add(self.text.len())
    }

    pub(crate) fn broken(&self, base: u64, offset: usize) -> FormatError {
        let at = absolute(base, self.start.saturating_add(offset));
        FormatError::Note(NoteError::Syntax { line: self.number, at })
    }
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Lines<'d> {
    pub(crate) text: &'d str,
    pub(crate) at: usize,
    pub(crate) number: u32,
}

impl<'d> Iterator for Lines<'d> {
    type Item = Line<'d>;

    fn next(&mut self) -> Option<Line<'d>> {
        let rest = self.text.get(self.at..).filter(|rest| !rest.is_empty())?;
        let len = rest.find('\n').unwrap_or(rest.len());
        let text = rest.get(..len)?;
        let start = self.at;
        self.at = start.saturating_add(len).saturating_add(1);
        self.number = self.number.saturating_add(1);
        Some(Line { text: text.strip_suffix('\r').unwrap_or(text), start, number: self.number })
    }
}

/// Whether `text` consists of blanks and a comment only.
pub(crate) fn says_nothing(text: &str) -> bool {
    matches!(trim_start(text).as_bytes(), [] | [b'#', ..])
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LineKind {
    Nothing,
    Header,
    Key,
    Row,
}

/// The kind of a line, determined by its left margin and the first character after its first word.
pub(crate) fn kind_of(line: &str) -> LineKind {
    match line.as_bytes().first() {
        _ if says_nothing(line) => LineKind::Nothing,
        Some(b'|') => LineKind::Header,
        Some(b) if b.is_ascii_alphabetic() || *b == b'_' || !b.is_ascii() => {
            let word_ends = |b: u8| is_blank(b) || matches!(b, b'|' | b',' | b':' | b'=' | b'"');
            let word = line.bytes().take_while(|&b| !word_ends(b)).count();
            match line.bytes().skip(word).find(|&b| !is_blank(b)) {
                Some(b'|') => LineKind::Header,
                Some(b',') => LineKind::Row,
                _ => LineKind::Key,
            }
        }
        _ => LineKind::Row,
    }
}
