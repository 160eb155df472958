//! Indirect jumps through a table of addresses, one small file for each architecture.
//!
//! A stub loads the address of the table, then an entry, and jumps there with all arguments unchanged. It uses only
//! registers that calling conventions reserve for procedure linkage. Each file has `LEN`, the size of a stub in bytes, and
//! `code`, the bytes of a stub that reads the address of the table at `root` and the entry `offset` bytes into the table.

#[cfg_attr(target_arch = "x86_64", path = "stub/x86_64.rs")]
#[cfg_attr(target_arch = "aarch64", path = "stub/aarch64.rs")]
#[cfg_attr(target_arch = "riscv64", path = "stub/riscv64.rs")]
mod arch;

pub(super) use arch::{LEN, code};
