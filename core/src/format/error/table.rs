//! Tables that errors name.

use core::fmt;

/// The table a count or an offset of the header speaks of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Table {
    /// The section table.
    Sections,
    /// The symbol table.
    Symbols,
    /// The index of a library archive.
    Modules,
    /// The function table of a bytecode section.
    Functions,
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Table::Sections => "section table",
            Table::Symbols => "symbol table",
            Table::Modules => "module index",
            Table::Functions => "bytecode function table",
        })
    }
}
