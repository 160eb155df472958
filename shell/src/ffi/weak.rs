//! Weak definitions of exports that the Simple runtime may define itself.
//!
//! A linker prefers any other definition of the name, in either order of the objects. Stable Rust cannot define weak
//! symbols, so each is a jump to the function.

/// Defines weak symbols with the names of the functions.
macro_rules! export_weak {
    ($($name:ident;)*) => {$(
        core::arch::global_asm!(
            concat!(".pushsection .text.", stringify!($name), ",\"ax\",@progbits"),
            concat!(".weak ", stringify!($name)),
            concat!(".type ", stringify!($name), ",@function"),
            ".balign 16",
            concat!(stringify!($name), ":"),
            jump!(),
            concat!(".size ", stringify!($name), ", . - ", stringify!($name)),
            ".popsection",
            function = sym $name,
        );
    )*};
}

/// A jump to `function`, wherever the linker places it.
#[cfg(target_arch = "x86_64")]
macro_rules! jump {
    () => {
        "jmp {function}"
    };
}
#[cfg(target_arch = "aarch64")]
macro_rules! jump {
    () => {
        "b {function}"
    };
}
#[cfg(target_arch = "riscv64")]
macro_rules! jump {
    () => {
        "tail {function}"
    };
}

pub(super) use {export_weak, jump};
