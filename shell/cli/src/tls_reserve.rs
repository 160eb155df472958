//! The reserve of static thread-local storage for modules of the initial-exec and local-exec models, as in
//! `shell/capi/tls_reserve.c`, which explains it.
#![allow(unsafe_code)]

// SAFETY: defines a hidden thread-local byte that no code uses.
core::arch::global_asm!(
    ".pushsection .tdata.smf_tls_reserve, \"awTR\", @progbits",
    ".hidden smf_tls_reserve",
    ".globl smf_tls_reserve",
    ".type smf_tls_reserve, @object",
    ".balign 65536",
    "smf_tls_reserve: .byte 1",
    ".size smf_tls_reserve, 1",
    ".popsection",
);
