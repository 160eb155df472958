//! Why there is no code at the end, as one `Copy` value.

/// What went wrong first while instructions were put down. It is kept until the code is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the message of each variant names its fields")]
pub enum AssembleError {
    /// There is no memory for more.
    #[error("no memory for {bytes} bytes of code and labels")]
    OutOfMemory { bytes: usize },
    /// More code than distances within it can be kept for.
    #[error("the code is larger than {limit} bytes")]
    TooLarge { limit: usize },
    /// A jump or an address leads to a label that never was bound.
    #[error("label {label} is used and never bound")]
    Unbound { label: u32 },
    /// A label was bound twice. The offset is the second one.
    #[error("label {label} is bound again at offset {offset}")]
    BoundTwice { label: u32, offset: u32 },
    /// A label of another assembler.
    #[error("label {label} is not one of this code")]
    UnknownLabel { label: u32 },
    /// A jump was promised to be short and is not. The offset is that of its distance.
    #[error(
        "the jump whose distance is at offset {offset} was promised to be short, and its target is {distance} bytes away"
    )]
    NotShort { offset: u32, distance: i64 },
    /// A branch or an address leads further than its instruction can say.
    #[error(
        "the instruction at offset {offset} refers to a label {distance} bytes away, beyond its limit of {limit} bytes"
    )]
    BranchRange { offset: u32, distance: i64, limit: i64 },
    /// An operand that the instruction at the offset cannot encode.
    #[error("the instruction at offset {offset} cannot encode the operand {value}")]
    Immediate { offset: u32, value: i64 },
}
