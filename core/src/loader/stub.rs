//! The jump through a table of entry points, one small file an architecture.
//!
//! A stub loads where the table is, then the entry, and jumps there with every argument untouched. It
//! uses only registers that belong to nobody between a caller and the function it calls. Each file has
//! `LEN`, the bytes of a stub, and `code`, a stub that reads the address of the table at the address
//! `root` and the entry `offset` bytes behind.

#[cfg_attr(target_arch = "x86_64", path = "stub/x86_64.rs")]
#[cfg_attr(target_arch = "aarch64", path = "stub/aarch64.rs")]
#[cfg_attr(target_arch = "riscv64", path = "stub/riscv64.rs")]
mod arch;

pub(super) use arch::{LEN, code};
