//! Sections that this project adds to a module. Readers without support skip them.

pub mod cached_code;
pub mod hash_index;
pub mod prelink;
