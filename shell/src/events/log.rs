//! A line on standard error for each event of loaders and instantiators, where the environment variable `SMF_LOG` is
//! `info`: as text, or with `SMF_LOG_FORMAT=json` as one object of JSON.

use std::fmt::{self, Display, Write};

use super::Field;
use crate::environment::variable;
use crate::fallible_buf::FallibleBuf;
use crate::fork::{HeldAtFork, ProcessLock};
use crate::unlocked_write;

/// The form of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Text,
    Json,
}

/// The form that the environment asks for, once it has been read. Not a `OnceLock`: a child of `fork` would wait for ever
/// for a thread that was reading it.
static FORM: ProcessLock<Option<Option<Form>>> = ProcessLock::new(None);

/// The locks of this file that `fork` handlers take.
pub(crate) const LOCKS: &[&dyn HeldAtFork] = &[&FORM];

/// The form that the environment asks for; `None` if nothing is logged. The environment is read once.
fn form() -> Option<Form> {
    let known = *FORM.read();
    known.unwrap_or_else(|| *FORM.lock().get_or_insert_with(read))
}

fn read() -> Option<Form> {
    value("SMF_LOG", &["info"])?;
    Some(match value("SMF_LOG_FORMAT", &["text", "json"]) {
        Some("json") => Form::Json,
        _ => Form::Text,
    })
}

/// The value of an environment variable, if it is one of these; others are reported, except the empty one.
pub(crate) fn value<'v>(name: &str, values: &[&'v str]) -> Option<&'v str> {
    let found = variable(name)?;
    let known = values.iter().copied().find(|value| found == *value);
    if known.is_none() {
        let mut line = Line(FallibleBuf::default());
        let found = found.to_string_lossy();
        let _ = write!(line, "smf: {name} is `");
        let _ = write!(Quoted(&mut line), "{found}");
        let _ = writeln!(line, "`, which is unknown; known: {}", values.join(", "));
        if let Ok(line) = line.0.finish() {
            unlocked_write::report(&line);
        }
    }
    known
}

/// Whether events are logged.
pub(super) fn is_on() -> bool {
    form().is_some()
}

/// Writes an event. Without memory the line is dropped.
pub(super) fn write(event: &str, fields: &[(&str, Field<'_>)]) {
    let Some(form) = form() else { return };
    let mut line = Line(FallibleBuf::default());
    if line.event(form, event, fields).is_ok()
        && let Ok(line) = line.0.finish()
    {
        unlocked_write::report(&line);
    }
}

struct Line(FallibleBuf);

impl Line {
    fn event(&mut self, form: Form, event: &str, fields: &[(&str, Field<'_>)]) -> fmt::Result {
        match form {
            Form::Text => write!(self, "smf: {event}")?,
            Form::Json => write!(self, "{{\"event\":\"{event}\"")?,
        }
        for (name, value) in fields {
            match (form, value) {
                (Form::Text, Field::Number(number)) => write!(self, " {name}={number}")?,
                (Form::Json, Field::Number(number)) => write!(self, ",\"{name}\":{number}")?,
                (Form::Text, Field::Text(text)) if is_word(text) => write!(self, " {name}={text}")?,
                (form, Field::Text(text)) => {
                    match form {
                        Form::Text => write!(self, " {name}=\"")?,
                        Form::Json => write!(self, ",\"{name}\":\"")?,
                    }
                    write!(Quoted(self), "{text}")?;
                    self.write_str("\"")?;
                }
            }
        }
        self.write_str(if form == Form::Json { "}\n" } else { "\n" })
    }
}

impl Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.put(text.as_bytes());
        Ok(())
    }
}

/// Whether a text stands in a line of text as it is, without quotes.
fn is_word(text: &dyn Display) -> bool {
    write!(Word, "{text}").is_ok()
}

/// Refuses what is quoted.
struct Word;

impl Write for Word {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let is_quoted =
            |c: char| c.is_whitespace() || c.is_control() || matches!(c, '"' | '\\' | '=');
        if text.contains(is_quoted) { Err(fmt::Error) } else { Ok(()) }
    }
}

/// Escapes what JSON escapes in strings.
struct Quoted<'l>(&'l mut Line);

impl Write for Quoted<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for c in text.chars() {
            match c {
                '"' | '\\' => write!(self.0, "\\{c}")?,
                c if c.is_control() => write!(self.0, "\\u{:04x}", u32::from(c))?,
                c => self.0.write_char(c)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use smf_core::alloc_util::AllocError;

    use super::*;

    fn line(form: Form, fields: &[(&str, Field<'_>)]) -> Result<String, AllocError> {
        let mut line = Line(FallibleBuf::default());
        line.event(form, "load", fields).unwrap();
        Ok(String::from_utf8(line.0.finish()?).unwrap())
    }

    #[test]
    fn lines_are_text_or_json() {
        let fields = [("module", Field::Text(&"a \"b\"\n")), ("relocations", Field::Number(3))];
        let text = line(Form::Text, &fields).unwrap();
        assert_eq!(text, "smf: load module=\"a \\\"b\\\"\\u000a\" relocations=3\n");
        let plain = line(Form::Text, &[("module", Field::Text(&"ü/中.smf"))]).unwrap();
        assert_eq!(plain, "smf: load module=ü/中.smf\n");
        let json = line(Form::Json, &fields).unwrap();
        assert_eq!(
            json,
            "{\"event\":\"load\",\"module\":\"a \\\"b\\\"\\u000a\",\"relocations\":3}\n"
        );
    }
}
