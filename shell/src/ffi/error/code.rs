//! The error numbers of the C API.

/// `SmfErrorCode` in `smf.h`. A number never changes its meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
#[cfg_attr(not(feature = "exec"), expect(dead_code, reason = "errors of features"))]
pub(in super::super) enum Code {
    Argument = 1,
    UnknownAddress = 2,
    OtherSize = 3,
    OutOfRange = 4,
    NotExecutable = 5,
    WriteAndExecute = 6,
    Value = 7,
    NoMemory = 8,
    Ceiling = 9,
    Policy = 10,
    Forked = 11,
    Unmapped = 12,
    State = 13,
    System = 14,
    File = 15,
    Access = 16,
    Handle = 17,
    InUse = 18,
    Full = 19,
    Format = 20,
    Link = 21,
    Missing = 22,
    NameTaken = 23,
    Reload = 24,
    NotFound = 25,
    Take = 26,
    Instantiate = 27,
    Update = 28,
    Trap = 29,
    Unsupported = 30,
    Compile = 31,
}
