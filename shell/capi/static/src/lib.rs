//! The static library for C, which exports what `smf.h` declares. The implementation is in `loader::ffi`.

use loader as _;
