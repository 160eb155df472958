//! Functions that register handlers on behalf of the module that calls them.
//!
//! C libraries link `atexit` and its like into every program and library, because they pass its `__dso_handle`: handlers of
//! a module have to run before its memory is freed. The packer adds the same code.
//!
//! Source: glibc, `stdlib/atexit.c`, `stdlib/at_quick_exit.c`, `nptl/pthread_atfork.c`; Linux Standard Base, Core,
//! `__cxa_atexit` and `__register_atfork`.

/// A function that registers handlers.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) enum Registrar {
    Atexit,
    AtQuickExit,
    PthreadAtfork,
}

impl Registrar {
    pub(super) const ALL: [Registrar; 3] =
        [Registrar::Atexit, Registrar::AtQuickExit, Registrar::PthreadAtfork];

    pub(super) fn of(name: &[u8]) -> Option<Self> {
        Self::ALL.into_iter().find(|registrar| registrar.name() == name)
    }

    pub(super) fn name(self) -> &'static [u8] {
        match self {
            Registrar::Atexit => b"atexit",
            Registrar::AtQuickExit => b"at_quick_exit",
            Registrar::PthreadAtfork => b"pthread_atfork",
        }
    }

    /// The function of the C library that takes the handle as its last argument.
    pub(super) fn target(self) -> &'static [u8] {
        match self {
            Registrar::Atexit => b"__cxa_atexit",
            Registrar::AtQuickExit => b"__cxa_at_quick_exit",
            Registrar::PthreadAtfork => b"__register_atfork",
        }
    }
}
