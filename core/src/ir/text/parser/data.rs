//! Read-only data.

use alloc::vec::Vec;

use super::statement::bits_of;
use super::{Parser, alignment, declare};
use crate::ir::function::MAX_TEMPLATE_DATA_ALIGN;
use crate::ir::text::error::TextErrorKind;
use crate::ir::text::lexer::Token;
use crate::ir::text::words::{Words, unescape};
use crate::ir::types::Scalar;

impl<'t> Parser<'t> {
    /// `NAME: ITEMS` or `NAME align N: ITEMS`. An item is a quoted text, or a scalar type and numbers of that type.
    pub(super) fn data_declaration(&mut self, words: &mut Words<'t>) -> Result<(), TextErrorKind> {
        let (name, align) = (words.name()?, alignment(words)?);
        words.sign(':', "`:`")?;
        let (mut bytes, mut natural) = (Vec::new(), 1);
        loop {
            match words.next()? {
                Some(Token::Quoted(text)) => bytes.extend(unescape(text)?),
                Some(Token::Name(name)) => {
                    let scalar = Scalar::from_name(name).ok_or(TextErrorKind::Type)?;
                    natural = natural.max(scalar.size().into());
                    numbers(scalar, words, &mut bytes)?;
                }
                _ => return Err(TextErrorKind::Expected("a quoted text or a type")),
            }
            if !words.has(',')? {
                break;
            }
        }
        let align = align.unwrap_or(natural);
        if self.is_template && align > MAX_TEMPLATE_DATA_ALIGN {
            return Err(TextErrorKind::TemplateAlign(align));
        }
        let data = self.builder.data(&bytes, align);
        declare(&mut self.data, name, data)
    }
}

/// Numbers up to a comma or the end of the line.
fn numbers(
    scalar: Scalar,
    words: &mut Words<'_>,
    bytes: &mut Vec<u8>,
) -> Result<(), TextErrorKind> {
    while matches!(words.peek()?, Some(Token::Number(_) | Token::Sign('-'))) {
        let (negative, digits) = words.digits()?;
        let bits = bits_of(scalar, negative, digits)?.to_le_bytes();
        bytes.extend(bits.iter().take(scalar.size().into()));
    }
    Ok(())
}
