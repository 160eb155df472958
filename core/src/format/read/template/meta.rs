//! The counts beside the templates, which nothing here relies on.

use crate::format::error::{FormatError, Result, TemplateError};
use crate::format::wire::{u16_at, u32_at};

/// How many templates of each kind a module has: section TemplateMeta.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TemplateMeta {
    /// The version as the file writes it; known is 1.
    pub version: u16,
    /// Function templates.
    pub functions: u32,
    /// Struct templates.
    pub structs: u32,
    /// Enum templates.
    pub enums: u32,
    /// Trait templates.
    pub traits: u32,
}

impl TemplateMeta {
    /// The counts in `payload`, which begins at offset `at` of the file. Bytes after the counts are
    /// ignored. The counts are not compared with the templates.
    ///
    /// # Errors
    /// [`TemplateError::Meta`] when the payload does not begin with `META` or is too short.
    pub fn parse(payload: &[u8], at: u64) -> Result<Self> {
        Self::read(payload).ok_or(FormatError::Template(TemplateError::Meta { at }))
    }

    fn read(payload: &[u8]) -> Option<Self> {
        let fields = payload.strip_prefix(b"META")?;
        Some(Self {
            version: u16_at(fields, 0)?,
            functions: u32_at(fields, 2)?,
            structs: u32_at(fields, 6)?,
            enums: u32_at(fields, 10)?,
            traits: u32_at(fields, 14)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NATIVE: &[u8] = include_bytes!("../../../../../tests/samples/note-zero-size.smf");

    #[test]
    fn reads_the_counts() {
        let payload = &NATIVE[0x171..0x171 + 0x16];
        let meta = TemplateMeta { version: 1, functions: 2, structs: 1, enums: 0, traits: 0 };
        assert_eq!(TemplateMeta::parse(payload, 0), Ok(meta));
        for len in 0..payload.len() {
            let error = FormatError::Template(TemplateError::Meta { at: 5 });
            assert_eq!(TemplateMeta::parse(&payload[..len], 5), Err(error));
        }
        assert!(TemplateMeta::parse(b"GTPL\x01\0\x01\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 0).is_err());
    }
}
