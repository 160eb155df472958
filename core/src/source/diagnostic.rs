//! Diagnostics: errors and warnings with a stable code, a place in the source and an optional note.
//!
//! `Display` prints a diagnostic as text with the source line and a caret; [`Diagnostic::write_json`] prints one line
//! of JSON:
//!
//! ```text
//! error[E1301]: name `cout` not found
//!   --> sum.spl:3:12
//!    |
//!  3 |     return cout
//!    |            ^^^^
//!    = note: a similar name is `count`
//! ```

use alloc::string::String;
use alloc::vec::Vec;
use core::cell::Cell;
use core::fmt::{self, Write};

use super::code::Code;
use super::token::Span;
use crate::alloc_util::{AllocError, TryWriter, try_copy_str, try_push, try_reserve};
use crate::memory::{stack_pointer, stack_start};

/// More errors than these are not reported.
pub(super) const MAX_ERRORS: usize = 100;

/// More errors that follow from others are not looked for: each costs as much as one that is reported.
const MAX_IMPLIED: usize = 1000;

/// The longest source line that a diagnostic shows whole, in bytes.
const MAX_LINE: usize = 200;

/// How many bytes of a longer line are shown in front of the place, unless that is near the start.
const BEFORE_PLACE: usize = 60;

/// Stands for the parts of a line that are not shown.
const CUT: &str = "...";

/// Stands in messages for a type that is unknown because of an error, and is shown as `?`. No name has the control character.
pub(super) const UNKNOWN_TYPE: char = '\u{1a}';

/// How severe a diagnostic is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// The unit has no code.
    Error,
    /// The unit is compiled.
    Warning,
}

impl Severity {
    /// The word that is printed.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
        }
    }
}

/// An error or a warning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// How severe it is.
    pub severity: Severity,
    /// Its kind.
    pub code: Code,
    /// The name of the file.
    pub file: String,
    /// The line, from 1.
    pub line: u32,
    /// The column in characters, from 1.
    pub column: u32,
    /// The number of characters that the caret marks, at least 1.
    pub length: u32,
    /// One sentence.
    pub message: String,
    /// What can be done, or where the other party of a conflict is.
    pub note: Option<String>,
    /// The source line, without its end. Of a line of more than 200 bytes it is the part around the column, with `...`
    /// for the parts in front of it and behind it.
    pub source_line: String,
    /// The column of the first character of [`source_line`](Self::source_line), from 1: another one than 1 where that is
    /// cut at its start.
    pub source_column: u32,
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (severity, code) = (self.severity.as_str(), self.code.as_str());
        writeln!(f, "{severity}[{code}]: {}", self.message)?;
        let mut digits = Counter(0);
        write!(digits, "{}", self.line)?;
        let width = digits.0.max(2);
        writeln!(f, "{:>width$}--> {}:{}:{}", "", self.file, self.line, self.column)?;
        writeln!(f, "{:>width$} |", "")?;
        writeln!(f, "{:>width$} | {}", self.line, self.source_line)?;
        write!(f, "{:>width$} | ", "")?;
        let mut left = self.source_line.chars();
        let before = self.column.saturating_sub(self.source_column);
        let before = usize::try_from(before).unwrap_or(0);
        for character in left.by_ref().take(before) {
            f.write_char(if character == '\t' { '\t' } else { ' ' })?;
        }
        let length = usize::try_from(self.length).unwrap_or(usize::MAX);
        for _ in 0..left.count().clamp(1, length.max(1)) {
            f.write_char('^')?;
        }
        match &self.note {
            Some(note) => write!(f, "\n{:>width$} = note: {note}", ""),
            None => Ok(()),
        }
    }
}

/// Counts the bytes that are written.
struct Counter(usize);

impl Write for Counter {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0 = self.0.saturating_add(text.len());
        Ok(())
    }
}

impl Diagnostic {
    /// Writes the diagnostic as one line of JSON without a line break. The key `source_column` is there where it is not 1.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn write_json(&self, out: &mut dyn Write) -> fmt::Result {
        write!(out, "{{\"severity\":\"{}\",", self.severity.as_str())?;
        write!(out, "\"code\":\"{}\",\"message\":", self.code.as_str())?;
        write_json_text(out, &self.message)?;
        out.write_str(",\"file\":")?;
        write_json_text(out, &self.file)?;
        write!(out, ",\"line\":{},\"column\":{},", self.line, self.column)?;
        write!(out, "\"length\":{},\"source\":", self.length)?;
        write_json_text(out, &self.source_line)?;
        if self.source_column != 1 {
            write!(out, ",\"source_column\":{}", self.source_column)?;
        }
        out.write_str(",\"note\":")?;
        match &self.note {
            Some(note) => write_json_text(out, note)?,
            None => out.write_str("null")?,
        }
        out.write_char('}')
    }
}

fn write_json_text(out: &mut dyn Write, text: &str) -> fmt::Result {
    out.write_char('"')?;
    for character in text.chars() {
        match character {
            '"' => out.write_str("\\\"")?,
            '\\' => out.write_str("\\\\")?,
            '\n' => out.write_str("\\n")?,
            '\r' => out.write_str("\\r")?,
            '\t' => out.write_str("\\t")?,
            control if u32::from(control) < 0x20 => write!(out, "\\u{:04x}", u32::from(control))?,
            other => out.write_char(other)?,
        }
    }
    out.write_char('"')
}

/// A source file, with the starts of its lines.
#[derive(Clone, Debug)]
pub(super) struct File<'s> {
    /// How diagnostics name it.
    pub(super) name: &'s str,
    pub(super) text: &'s str,
    /// The offset of each line, ascending.
    lines: Vec<u32>,
    /// The index of the line that was found last.
    last: Cell<usize>,
}

impl<'s> File<'s> {
    /// The file with this text, of which a byte order mark at the start is no part.
    pub(super) fn new(name: &'s str, text: &'s str) -> Result<Self, AllocError> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let mut lines = Vec::new();
        try_push(&mut lines, 0)?;
        for (at, byte) in (1_u32..).zip(text.bytes()) {
            if byte == b'\n' {
                try_push(&mut lines, at)?;
            }
        }
        Ok(Self { name, text, lines, last: Cell::new(0) })
    }

    /// The line of an offset, from 1, and the offset at which the line starts.
    pub(super) fn line(&self, offset: u32) -> (u32, u32) {
        let last = self.last.get();
        // Most questions are about the line of the last one, or about the next one.
        let (index, start) = match *self.lines.get(last..).unwrap_or(&[]) {
            [here, next, ..] if (here..next).contains(&offset) => (last, here),
            [_, here, next, ..] if (here..next).contains(&offset) => (last + 1, here),
            _ => {
                let count = self.lines.partition_point(|&start| start <= offset);
                let index = count.saturating_sub(1);
                (index, self.lines.get(index).copied().unwrap_or(0))
            }
        };
        self.last.set(index);
        (u32::try_from(index + 1).unwrap_or(u32::MAX), start)
    }

    /// The line that starts at `start`, without its end.
    fn line_text(&self, start: u32) -> &'s str {
        let rest = Span::new(start, self.len()).of(self.text);
        let line = rest.split('\n').next().unwrap_or("");
        line.strip_suffix('\r').unwrap_or(line)
    }

    fn len(&self) -> u32 {
        u32::try_from(self.text.len()).unwrap_or(u32::MAX)
    }
}

/// Collects the diagnostics of a run, up to [`MAX_ERRORS`] errors.
#[derive(Debug, Default)]
pub(super) struct Diagnostics {
    list: Vec<Diagnostic>,
    errors: usize,
    /// The errors that were dropped since they follow from one that is reported.
    implied: usize,
    /// While it is not 0, diagnostics are counted and not recorded.
    pub(super) muted: usize,
    /// The errors that were counted while diagnostics were muted.
    pub(super) muted_errors: usize,
    /// Set when an allocation failed.
    pub(super) out_of_memory: bool,
    /// The lowest address that the stack pointer may have where source nests; 0 if the end of the stack is unknown.
    stack_end: usize,
    /// Whether it was reported that the stack ends.
    pub(super) is_too_deep: bool,
}

/// Bytes of stack that the front end and the code generator take at most between two levels of nesting, and behind the last.
const RESERVED_STACK: usize = 64 << 10;

/// The error where [`Diagnostics::has_stack`] is false.
pub(super) const STACK_ENDS: &str = "the source nests too deeply for the stack of this thread";

impl Diagnostics {
    /// The diagnostics of a run on the calling thread.
    pub(super) fn new() -> Self {
        let end = stack_start().map(|start| start.saturating_add(RESERVED_STACK));
        Self { stack_end: end.unwrap_or(0), ..Self::default() }
    }

    /// Whether the stack has room for another level of nesting.
    #[inline]
    pub(super) fn has_stack(&self) -> bool {
        self.stack_end == 0 || stack_pointer() >= self.stack_end
    }

    /// Whether a recorded diagnostic is an error.
    pub(super) fn has_errors(&self) -> bool {
        self.errors > 0
    }

    /// The number of errors so far, those counted while diagnostics were muted included.
    pub(super) fn error_count(&self) -> usize {
        self.errors.saturating_add(self.muted_errors)
    }

    /// Whether no further error is recorded.
    pub(super) fn is_full(&self) -> bool {
        self.errors >= MAX_ERRORS || self.implied >= MAX_IMPLIED
    }

    /// Drops an error that follows from one that is reported.
    pub(super) fn drop_implied(&mut self) {
        self.implied += 1;
    }

    pub(super) fn into_list(self) -> Vec<Diagnostic> {
        self.list
    }

    /// Remembers a failed allocation, and returns the value of a successful one.
    pub(super) fn allocated<T>(&mut self, result: Result<T, AllocError>) -> Option<T> {
        self.out_of_memory |= result.is_err();
        result.ok()
    }

    /// Appends to a list; `None` without memory for it.
    #[inline]
    pub(super) fn push<T>(&mut self, list: &mut Vec<T>, value: T) -> Option<()> {
        let pushed = try_push(list, value);
        self.allocated(pushed)
    }

    pub(super) fn error(
        &mut self,
        file: &File<'_>,
        span: Span,
        code: Code,
        message: fmt::Arguments<'_>,
    ) {
        self.add(file, span, (Severity::Error, code), message, None);
    }

    /// Records a diagnostic; an error beyond the limit is replaced by [`Code::TooManyErrors`].
    pub(super) fn add(
        &mut self,
        file: &File<'_>,
        span: Span,
        (severity, code): (Severity, Code),
        message: fmt::Arguments<'_>,
        note: Option<fmt::Arguments<'_>>,
    ) {
        if self.muted > 0 {
            self.muted_errors += usize::from(severity == Severity::Error);
            return;
        }
        if self.is_full() || self.list.len() >= 2 * MAX_ERRORS {
            return;
        }
        // What follows a lexical or syntax error on its line is a consequence of it.
        let line = file.line(span.start.min(file.len())).0;
        let is_broken = |known: &Diagnostic| {
            known.code.is_syntax() && known.line == line && known.file == file.name
        };
        if severity == Severity::Error && self.list.iter().any(is_broken) {
            return;
        }
        let message = formatted(message);
        // What follows from an error somewhere else has no type.
        if self.has_errors() && message.as_ref().is_ok_and(|text| text.contains(UNKNOWN_TYPE)) {
            return;
        }
        // One mistake in a declaration is seen at every use.
        let is_repeated = |known: &Diagnostic| {
            (known.code, &*known.file) == (code, file.name)
                && message.as_ref().is_ok_and(|text| *text == known.message)
        };
        if code.is_of_declaration(span.of(file.text)) && self.list.iter().any(is_repeated) {
            return;
        }
        let diagnostic = message
            .and_then(|text| make(file, span, (severity, code), format_args!("{text}"), note));
        self.errors += usize::from(severity == Severity::Error);
        let last = self.is_full();
        self.record(diagnostic);
        if last {
            let limit = (Severity::Error, Code::TooManyErrors);
            let text = format_args!("more than {MAX_ERRORS} errors: the others are not reported");
            let diagnostic = make(file, span, limit, text, None);
            self.record(diagnostic);
        }
    }

    fn record(&mut self, diagnostic: Result<Diagnostic, AllocError>) {
        let result = diagnostic.and_then(|diagnostic| {
            // A second error at one place is a consequence of the first.
            let is_known = self.list.iter().any(|known| {
                (known.line, known.column, known.code, &known.file, &known.message)
                    == (
                        diagnostic.line,
                        diagnostic.column,
                        diagnostic.code,
                        &diagnostic.file,
                        &diagnostic.message,
                    )
            });
            if is_known { Ok(()) } else { self.insert(diagnostic) }
        });
        self.allocated(result);
    }

    /// Inserts a diagnostic behind those of its file that are seen first: errors of syntax, of which others may follow, and then
    /// those further up. One that sums up others is the last of all.
    fn insert(&mut self, diagnostic: Diagnostic) -> Result<(), AllocError> {
        try_reserve(&mut self.list, 1)?;
        if diagnostic.code.is_summary() {
            self.list.push(diagnostic);
            return Ok(());
        }
        let order = |known: &Diagnostic| (!known.code.is_syntax(), known.line, known.column);
        let own = order(&diagnostic);
        let is_of_file =
            |known: &Diagnostic| known.file == diagnostic.file && !known.code.is_summary();
        let last = self.list.iter().rposition(|known| is_of_file(known) && order(known) <= own);
        let first = || self.list.iter().position(is_of_file);
        let is_summary = |known: &Diagnostic| known.code.is_summary();
        let end = || self.list.iter().position(is_summary).unwrap_or(self.list.len());
        let place = last.map(|last| last + 1).or_else(first).unwrap_or_else(end);
        self.list.insert(place, diagnostic);
        Ok(())
    }
}

fn make(
    file: &File<'_>,
    span: Span,
    (severity, code): (Severity, Code),
    message: fmt::Arguments<'_>,
    note: Option<fmt::Arguments<'_>>,
) -> Result<Diagnostic, AllocError> {
    let start = span.start.min(file.len());
    let (line, line_start) = file.line(start);
    let count = |text: &str| u32::try_from(text.chars().count()).unwrap_or(u32::MAX);
    let before = Span::new(line_start, start).of(file.text);
    let marked = Span::new(start, span.end.min(file.len())).of(file.text);
    let marked = count(marked.lines().next().unwrap_or(""));
    let place = usize::try_from(start - line_start).unwrap_or(0);
    let (source_line, source_column) = shown_part(file.line_text(line_start), place)?;
    Ok(Diagnostic {
        severity,
        code,
        file: try_copy_str(file.name)?,
        line,
        column: count(before).saturating_add(1),
        length: marked.max(1),
        message: shown(message)?,
        note: note.map(shown).transpose()?,
        source_line,
        source_column,
    })
}

/// The line, or the part of a long one around byte `place`; the column at which that starts.
fn shown_part(line: &str, place: usize) -> Result<(String, u32), AllocError> {
    if line.len() <= MAX_LINE {
        return Ok((try_copy_str(line)?, 1));
    }
    let boundary = |at: usize| (0..=at.min(line.len())).rev().find(|&at| line.is_char_boundary(at));
    let start = match place < MAX_LINE - BEFORE_PLACE {
        true => 0,
        false => (place - BEFORE_PLACE).min((line.len() - MAX_LINE).max(BEFORE_PLACE)),
    };
    let start = boundary(start).unwrap_or(0);
    // A start inside of a character has moved back by less than its bytes.
    let end = match line.len() - start < MAX_LINE + char::MAX.len_utf8() {
        true => line.len(),
        false => boundary(start + MAX_LINE).unwrap_or(0),
    };
    let (before, part) = (line.get(..start).unwrap_or(""), line.get(start..end).unwrap_or(""));
    let [front, back] = [start > 0, end < line.len()].map(|is_cut| if is_cut { CUT } else { "" });
    let column = (before.chars().count() + 1).saturating_sub(front.len());
    let text = formatted(format_args!("{front}{part}{back}"))?;
    Ok((text, u32::try_from(column).unwrap_or(u32::MAX)))
}

/// A message with `?` for [`UNKNOWN_TYPE`].
fn shown(message: fmt::Arguments<'_>) -> Result<String, AllocError> {
    let mut text = formatted(message)?;
    while let Some(at) = text.find(UNKNOWN_TYPE) {
        text.replace_range(at..at + UNKNOWN_TYPE.len_utf8(), "?");
    }
    Ok(text)
}

/// Fallible `format!`.
pub(super) fn formatted(message: fmt::Arguments<'_>) -> Result<String, AllocError> {
    let mut text = String::new();
    TryWriter(&mut text).write_fmt(message).map_err(|_| AllocError)?;
    Ok(text)
}
