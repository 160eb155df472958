//! Why there is no code at the end, as one `Copy` value.

use core::fmt;

/// What went wrong first while instructions were put down. It is kept until the code is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the message of each variant names its fields")]
pub enum AssembleError {
    /// The caller's bytes are too few. `needed` are enough.
    Full { room: usize, needed: usize },
    /// The caller's table of labels has no free entry.
    TooManyLabels { room: usize },
    /// The caller's list of relocations has no free entry.
    TooManyRelocations { room: usize },
    /// There is no memory for more.
    OutOfMemory { bytes: usize },
    /// More code than distances within it can be kept for.
    TooLarge { most: usize },
    /// A jump or an address leads to a label that never was bound.
    Unbound { label: u32 },
    /// A label was bound twice. The offset is the second one.
    BoundTwice { label: u32, offset: u32 },
    /// A label of another assembler.
    UnknownLabel { label: u32 },
    /// A jump was promised to be short and is not. The offset is that of its distance.
    NotShort { offset: u32, distance: i64 },
    /// A branch or an address leads further than its instruction can say.
    BranchRange { offset: u32, distance: i64, limit: i64 },
    /// An operand that the instruction at the offset cannot encode.
    Immediate { offset: u32, value: i64 },
}

impl fmt::Display for AssembleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use AssembleError as E;
        match *self {
            E::Full { room, needed } => {
                write!(f, "the code does not fit {room} bytes; {needed} are enough")
            }
            E::TooManyLabels { room } => write!(f, "the code needs more than {room} labels"),
            E::TooManyRelocations { room } => {
                write!(f, "the code needs more than {room} relocations")
            }
            E::OutOfMemory { bytes } => write!(f, "no memory for {bytes} bytes of code and labels"),
            E::TooLarge { most } => write!(f, "the code is larger than {most} bytes"),
            E::Unbound { label } => write!(f, "label {label} is used and never bound"),
            E::BoundTwice { label, offset } => {
                write!(f, "label {label} is bound again at offset {offset}")
            }
            E::UnknownLabel { label } => write!(f, "label {label} is not one of this code"),
            E::BranchRange { offset, distance, limit } => write!(
                f,
                "the instruction at offset {offset} refers to a label {distance} bytes away, beyond its limit of {limit} bytes"
            ),
            E::Immediate { offset, value } => {
                write!(f, "the instruction at offset {offset} cannot encode the operand {value}")
            }
            E::NotShort { offset, distance } => write!(
                f,
                "the jump whose distance is at offset {offset} was promised to be short, and its \
                 target is {distance} bytes away"
            ),
        }
    }
}

impl core::error::Error for AssembleError {}
