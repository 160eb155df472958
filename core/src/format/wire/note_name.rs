//! Names of the note sections of this project.

/// The symbol index.
pub(crate) const HASH_INDEX: &[u8] = b".smf.hash";
/// Cached machine code.
pub(crate) const CACHED_CODE: &[u8] = b".smf.code";

/// Whether the native layout, which has no number for notes, stores a note of this name as debugging information.
pub(crate) fn is_own_note(name: &[u8]) -> bool {
    name == HASH_INDEX || name == CACHED_CODE
}
