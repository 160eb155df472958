//! IR functions: refused, printed, interpreted, and as machine code.

mod damage;
#[cfg(all(feature = "kernel", any(target_arch = "x86_64", target_arch = "aarch64"), not(miri)))]
mod ends;
mod generate;
#[cfg(all(feature = "kernel", any(target_arch = "x86_64", target_arch = "aarch64"), not(miri)))]
mod machine;
mod operations;
#[cfg(all(feature = "kernel", any(target_arch = "x86_64", target_arch = "aarch64"), not(miri)))]
mod programs;
#[cfg(all(feature = "kernel", any(target_arch = "x86_64", target_arch = "aarch64"), not(miri)))]
mod random;
mod refusals;
