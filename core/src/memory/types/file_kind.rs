//! Types of files.

use thiserror::Error;

/// The type of a file.
///
/// # References
/// `inode(7)`
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum FileKind {
    /// A regular file: the only kind that is read.
    #[error("a regular file")]
    Regular,
    /// A directory.
    #[error("a directory")]
    Directory,
    /// A named pipe.
    #[error("a named pipe")]
    Fifo,
    /// A character device, for example a terminal or `/dev/zero`.
    #[error("a character device")]
    CharacterDevice,
    /// A block device.
    #[error("a block device")]
    BlockDevice,
    /// A socket, or a type that this crate does not know.
    #[error("a special file")]
    Other,
}
