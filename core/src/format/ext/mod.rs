//! Sections that this project adds to a module; readers that do not know them pass them over.

pub mod cached_code;
pub mod hash_index;
pub mod prelink;
