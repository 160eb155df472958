//! Template bodies with source text: an extension of this project.
//!
//! The body of a generic function as `smf compile` stores it in a GTPL: its signature, its source with the declarations
//! that it refers to, and, where its type parameters can be scalars only, its IR. Other readers treat it as opaque. All
//! numbers are little-endian; `text` is a `u32` length and UTF-8.
//!
//! | bytes | |
//! |---|---|
//! | 4 | `SMTS` |
//! | 1 | version, 1 |
//! | 1 | the number of type parameters |
//! | texts | the type parameters: the name, and behind `: ` its bounds with ` + ` between them |
//! | 4 + texts | the number of parameters, and their types; a type parameter is a variable such as `?T` |
//! | text | the type of the result; empty for none, or if it follows from the body |
//! | text | the source |
//! | 4 + n | the length of the IR, and the IR; 0 without |

use alloc::vec::Vec;

use crate::alloc_util::try_reserve;
use crate::format::read::template_record::{Reader, Texts};
use crate::format::wire::Cursor;
use crate::format::write::WriteError;

/// The first bytes of a body.
const MAGIC: &[u8; 4] = b"SMTS";

/// The version that is read and written.
const VERSION: u8 = 1;

/// The body of a template with source text.
#[derive(Clone, Copy, Debug)]
pub struct SourceTemplate<'d> {
    /// The type parameters: the name, and behind a colon its bounds with `+` between them.
    pub type_params: Texts<'d>,
    /// The types of the parameters.
    pub params: Texts<'d>,
    /// The type of the result; empty for none, or if it follows from the body.
    pub result: &'d str,
    /// The source of the function, behind the declarations that it refers to.
    pub text: &'d str,
    /// The IR for scalar type arguments; empty without.
    pub ir: &'d [u8],
}

/// A body to be written.
#[derive(Clone, Copy, Debug)]
pub struct NewSourceTemplate<'a, S> {
    /// The type parameters with their bounds, at most 255.
    pub type_params: &'a [S],
    /// The types of the parameters.
    pub params: &'a [S],
    /// The type of the result; empty for none.
    pub result: &'a str,
    /// The source.
    pub text: &'a str,
    /// The IR; empty without.
    pub ir: &'a [u8],
}

/// Whether `body` claims to be a template with source text, of any version.
pub fn is_source_template(body: &[u8]) -> bool {
    body.starts_with(MAGIC)
}

impl<'d> SourceTemplate<'d> {
    /// Reads a whole body; `None` for another version or form, and if it is malformed.
    pub fn parse(body: &'d [u8]) -> Option<Self> {
        let mut reader = Reader(Cursor::new(body.strip_prefix(MAGIC)?));
        let version = reader.0.u8()?;
        let count = reader.0.u8()?;
        let type_params = reader.texts(count.into())?;
        let params = reader.list(1)?;
        let (result, text) = (reader.text()?, reader.text()?);
        let len = usize::try_from(reader.0.u32()?).ok()?;
        let ir = reader.0.take(len)?;
        let is_whole = reader.0.rest().is_empty() && version == VERSION;
        is_whole.then_some(Self { type_params, params, result, text, ir })
    }
}

impl<S: AsRef<str>> NewSourceTemplate<'_, S> {
    /// Encodes the body.
    ///
    /// # Errors
    /// [`WriteError::TemplateTooLarge`] for a length of more than 32 bits, or more than 255 type parameters;
    /// [`WriteError::OutOfMemory`].
    pub fn to_vec(&self) -> Result<Vec<u8>, WriteError> {
        let too_large = WriteError::TemplateTooLarge(0);
        let mut out = Vec::new();
        let count = u8::try_from(self.type_params.len()).map_err(|_| too_large)?;
        put(&mut out, MAGIC)?;
        put(&mut out, &[VERSION, count])?;
        for name in self.type_params {
            put_counted(&mut out, name.as_ref().as_bytes())?;
        }
        put(&mut out, &length(self.params.len())?)?;
        for ty in self.params {
            put_counted(&mut out, ty.as_ref().as_bytes())?;
        }
        for bytes in [self.result.as_bytes(), self.text.as_bytes(), self.ir] {
            put_counted(&mut out, bytes)?;
        }
        Ok(out)
    }
}

fn length(len: usize) -> Result<[u8; 4], WriteError> {
    let len = u32::try_from(len).map_err(|_| WriteError::TemplateTooLarge(0))?;
    Ok(len.to_le_bytes())
}

fn put_counted(out: &mut Vec<u8>, bytes: &[u8]) -> Result<(), WriteError> {
    put(out, &length(bytes.len())?)?;
    put(out, bytes)
}

fn put(out: &mut Vec<u8>, bytes: &[u8]) -> Result<(), WriteError> {
    try_reserve(out, bytes.len())?;
    out.extend_from_slice(bytes);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{cut, flipped};

    const PICK: NewSourceTemplate<'static, &str> = NewSourceTemplate {
        type_params: &["T"],
        params: &["bool", "?T", "?T"],
        result: "?T",
        text: "fn pick<T>(first: bool, a: T, b: T) -> T: if first: a else: b\n",
        ir: b"IR",
    };

    #[test]
    fn written_body_is_read_back() {
        let body = PICK.to_vec().unwrap();
        let read = SourceTemplate::parse(&body).unwrap();
        assert_eq!(read.type_params.iter().collect::<Vec<_>>(), ["T"]);
        assert_eq!(read.params.iter().collect::<Vec<_>>(), ["bool", "?T", "?T"]);
        assert_eq!((read.result, read.text, read.ir), (PICK.result, PICK.text, PICK.ir));
        assert!(is_source_template(&body) && !is_source_template(b"SMTB"));
    }

    #[test]
    fn damaged_body_is_refused_or_read_without_a_panic() {
        let body = PICK.to_vec().unwrap();
        for damaged in cut(&body).filter(|damaged| damaged.len() < body.len()) {
            assert!(SourceTemplate::parse(damaged).is_none());
        }
        for (_, damaged) in flipped(&body) {
            let Some(read) = SourceTemplate::parse(&damaged) else { continue };
            assert_eq!(read.params.iter().count(), read.params.len());
        }
        let longer = [&body[..], b"!"].concat();
        assert!(SourceTemplate::parse(&longer).is_none());
    }
}
