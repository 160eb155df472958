//! Protections of pages and hints about their use.

use core::fmt;

use thiserror::Error;

/// The protection of a page. Writable and executable at once cannot be expressed.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum Protection {
    /// No access (`PROT_NONE`).
    #[error("inaccessible")]
    None,
    /// Read-only.
    #[error("read-only")]
    Read,
    /// Readable and writable.
    #[error("readable and writable")]
    ReadWrite,
    /// Readable and executable.
    #[error("readable and executable")]
    ReadExecute,
}

/// Permissions of an existing mapping, as `/proc/self/maps` lists them.
///
/// Unlike a [`Protection`], they can be writable and executable at once: other parts of the process may
/// create such mappings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Permissions {
    /// The mapping is readable.
    pub read: bool,
    /// The mapping is writable.
    pub write: bool,
    /// The mapping is executable.
    pub execute: bool,
}

impl fmt::Display for Permissions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let flag = |set: bool, letter: char| if set { letter } else { '-' };
        let Self { read, write, execute } = *self;
        write!(f, "{}{}{}", flag(read, 'r'), flag(write, 'w'), flag(execute, 'x'))
    }
}

/// An access pattern for pages. It changes no byte.
///
/// # References
/// `madvise(2)`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Advice {
    /// `MADV_NORMAL`: no particular pattern.
    Normal,
    /// `MADV_RANDOM`: read-ahead does not pay.
    Random,
    /// `MADV_SEQUENTIAL`: from first to last byte.
    Sequential,
    /// `MADV_WILLNEED`: read the pages now.
    WillNeed,
}

impl From<Advice> for rustix::mm::Advice {
    fn from(advice: Advice) -> Self {
        match advice {
            Advice::Normal => Self::Normal,
            Advice::Random => Self::Random,
            Advice::Sequential => Self::Sequential,
            Advice::WillNeed => Self::WillNeed,
        }
    }
}
