//! The libraries for C, which export what `smf.h` declares, and nothing else.
//!
//! All of it is in `loader::ffi`. This is a package of its own because cargo optimises a library as a
//! whole only when it is for no program in Rust: so it is smaller, and calls of its own functions no
//! longer go through a table that the dynamic linker fills.
#![allow(unsafe_code)]

use core::ffi::c_int;

use loader as _;

/// What stands for the unwinder in the shared library that is built for release, where `unwind.ld` gives
/// it the names of all of its functions: there is no frame to go to.
// SAFETY: a section of code, for code.
#[unsafe(link_section = ".text.unwinds_nothing")]
extern "C" fn unwind() -> c_int {
    /// `_URC_END_OF_STACK`: Itanium C++ ABI, exception handling, 1.2.1.
    const END_OF_STACK: c_int = 5;
    END_OF_STACK
}

#[used]
static UNWIND: extern "C" fn() -> c_int = unwind;
