//! The archive from which `cargo xtask install` links the shared library for C.
//!
//! The implementation is in `loader::ffi`. This is a package of its own because cargo applies whole-program
//! optimisation to a library only if no Rust program links it. That makes it smaller, and calls of its own
//! functions do not go through the PLT.
#![allow(unsafe_code)]

use loader as _;

/// The unwinder of a library that aborts on panic.
#[cfg(all(panic = "abort", target_os = "linux"))]
mod unwind {
    use core::ffi::{c_int, c_void};

    /// `_URC_END_OF_STACK`: Itanium C++ ABI, exception handling, 1.2.1.
    const END_OF_STACK: c_int = 5;

    /// Visits no stack frames. The optimiser sees that the callback is never called, and removes 190 KB of the
    /// standard library that print frames: readers of debug information, compressed sections and mangled
    /// names. `unwind.ld` hides the symbol.
    // SAFETY: the symbol is not visible outside of the library.
    #[unsafe(no_mangle)]
    extern "C" fn _Unwind_Backtrace(_: *const c_void, _: *mut c_void) -> c_int {
        END_OF_STACK
    }
}
