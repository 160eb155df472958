//! Lines of generated code: which line of a source an instruction belongs to.

/// The lines of a function.
#[derive(Clone, Copy, Debug)]
pub struct Lines<'l> {
    /// The name of the source file.
    pub file: &'l [u8],
    /// The rows, by ascending address in the function.
    pub rows: &'l [Line],
}

/// A row: holds from an address up to that of the next row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line {
    /// The address of the first instruction.
    pub address: u64,
    /// The line; 0 for instructions without one.
    pub line: u32,
}

impl Lines<'_> {
    /// No lines.
    pub const NONE: Self = Self { file: b"", rows: &[] };
}
