//! Names in messages.

use core::fmt::{self, Write as _};

/// Bytes as text that can neither break a line nor control a terminal: control characters and invalid bytes are escaped.
///
/// ```
/// use smf_core::Printable;
///
/// assert_eq!(Printable("straße\u{1b}[2J\n".as_bytes()).to_string(), "straße\\u{1b}[2J\\n");
/// assert_eq!(Printable(b"a\xffb").to_string(), "a\\xffb");
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Printable<'d>(pub &'d [u8]);

impl fmt::Display for Printable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for chunk in self.0.utf8_chunks() {
            for c in chunk.valid().chars() {
                if c.is_control() { c.escape_default().fmt(f)? } else { f.write_char(c)? }
            }
            chunk.invalid().escape_ascii().fmt(f)?;
        }
        Ok(())
    }
}
