//! Bodies that run: interpreted, and as machine code.

mod ends;
mod machine;
mod programs;
mod random;
