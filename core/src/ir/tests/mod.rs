//! Execution of IR functions: interpreted, and as machine code.
#![cfg(all(feature = "kernel", any(target_arch = "x86_64", target_arch = "aarch64")))]

mod ends;
mod machine;
mod programs;
mod random;
