//! Bodies that run: interpreted, and as machine code.

mod machine;
mod programs;
mod random;
