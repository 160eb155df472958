//! IR functions: refused, printed, interpreted, and as machine code.

mod damage;
#[cfg(all(feature = "kernel", target_arch = "x86_64"))]
mod ends;
mod generate;
#[cfg(all(feature = "kernel", target_arch = "x86_64"))]
mod machine;
mod operations;
#[cfg(all(feature = "kernel", target_arch = "x86_64"))]
mod programs;
#[cfg(all(feature = "kernel", target_arch = "x86_64"))]
mod random;
mod refusals;
