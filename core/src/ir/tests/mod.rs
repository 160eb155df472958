//! Execution of IR functions: interpreted, and as machine code.
#![cfg(all(feature = "kernel", target_arch = "x86_64"))]

mod ends;
mod machine;
mod programs;
mod random;
