//! Names of the note sections of this project.

/// The symbol index.
pub(crate) const HASH_INDEX: &[u8] = b".smf.hash";
/// Cached machine code.
pub(crate) const CACHED_CODE: &[u8] = b".smf.code";
/// The needed shared libraries.
pub(crate) const NEEDED: &[u8] = b".smf.needed";
/// The properties of the code.
pub(crate) const GNU_PROPERTY: &[u8] = b".smf.property";
/// Where debugging information holds addresses.
pub(crate) const DEBUG_ADDRESSES: &[u8] = b".smf.debugaddr";

/// The placement of the sections.
pub(crate) const IMAGE: &[u8] = b".smf.image";
/// Where debugging information holds offsets in other sections.
pub(crate) const DEBUG_OFFSETS: &[u8] = b".smf.debugoffs";

/// Whether the native layout, which has no number for notes, stores a note of this name as debugging information.
#[inline(never)]
pub(crate) fn is_own_note(name: &[u8]) -> bool {
    let own =
        [HASH_INDEX, CACHED_CODE, NEEDED, GNU_PROPERTY, DEBUG_ADDRESSES, DEBUG_OFFSETS, IMAGE];
    own.contains(&name)
}
