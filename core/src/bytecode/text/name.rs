//! Names that need no quotes.

/// Whether a byte may stand in a name that is not quoted.
pub(super) fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"_.$:".contains(&byte)
}
