//! Imports that the linker itself resolves. A module that needs what other readers of the format do not know imports
//! such a name, so that those readers refuse it.

use crate::format::ext::{ifunc, needed, prelink};

/// The import of a module with constructors, destructors or exit handlers.
pub const REQUIRES_CONSTRUCTORS: &[u8] = b"__smf_requires_constructors";

/// The import of a module whose code catches exceptions or cleans up after them.
pub const REQUIRES_UNWINDING: &[u8] = b"__smf_requires_unwinding";

/// The import of code that reports traps as compiled templates do: the address of
/// [`trap_hook`](crate::trap::trap_hook).
pub const TRAP_HOOK: &[u8] = b"__smf_requires_trap_hook";

/// The local symbol at the address by which the code of a module registers exit handlers.
pub const DSO_HANDLE: &[u8] = b"__dso_handle";

/// Whether the linker resolves an import of this name, so that no provider is needed.
pub(super) fn is_special(name: &[u8]) -> bool {
    [
        prelink::NAME,
        ifunc::NAME,
        needed::IMPORT,
        REQUIRES_CONSTRUCTORS,
        REQUIRES_UNWINDING,
        TRAP_HOOK,
    ]
    .contains(&name)
}
