//! The shared library for C, which exports what `smf.h` declares, and nothing else.
//!
//! All of it is in `loader::ffi`. This is a package of its own because cargo optimises a library as a
//! whole only when it is for no program in Rust: so it is smaller, and calls of its own functions no
//! longer go through a table that the dynamic linker fills.
#![allow(unsafe_code)]

use loader as _;

/// The unwinder of a library that ends the process where others unwind.
#[cfg(all(panic = "abort", target_os = "linux"))]
mod unwind {
    use core::ffi::{c_int, c_void};

    /// `_URC_END_OF_STACK`: Itanium C++ ABI, exception handling, 1.2.1.
    const END_OF_STACK: c_int = 5;

    /// Visits the frames of the stack, of which there is none. The optimiser sees that nobody is ever
    /// called back, and leaves out what the standard library has to print a frame: readers of debug
    /// information, of compressed sections and of mangled names, which are 190 KB. `unwind.ld` keeps the
    /// name inside of the library.
    // SAFETY: nobody outside of the library has a use for it, or can see it.
    #[unsafe(no_mangle)]
    extern "C" fn _Unwind_Backtrace(_: *const c_void, _: *mut c_void) -> c_int {
        END_OF_STACK
    }
}
