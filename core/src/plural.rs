//! Numbers of things in messages.

/// The ending of a noun behind this number: "1 argument", "2 arguments".
///
/// ```
/// # use smf_core::plural;
/// let count = 1_u32;
/// assert_eq!(format!("{count} argument{} {} given", plural::s(count), plural::is(count)), "1 argument is given");
/// ```
pub fn s<N: PartialEq + From<u8>>(count: N) -> &'static str {
    if count == N::from(1) { "" } else { "s" }
}

/// The verb behind this number of things: "is" or "are".
pub fn is<N: PartialEq + From<u8>>(count: N) -> &'static str {
    if count == N::from(1) { "is" } else { "are" }
}
