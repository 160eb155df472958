//! The static library for C, which exports what `smf.h` declares. All of it is in `loader::ffi`.

use loader as _;
