//! Interpretation and compilation.

/// The execution tiers of an [`Engine`](super::Engine).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tiers {
    /// The interpreter only.
    Interpret,
    /// The interpreter first, and compiled code once the calls and loop iterations of a function reach a
    /// threshold. With 0, functions are compiled before the first call; with [`NEVER`], they are not compiled,
    /// but have [addresses](super::Engine::address).
    Compile {
        /// The number of times.
        threshold: u32,
    },
}

/// The threshold that no function reaches.
pub const NEVER: u32 = u32::MAX;

/// The default threshold.
pub const DEFAULT_THRESHOLD: u32 = 200;

impl Tiers {
    /// The interpreter only, with addresses of functions on machines that support them.
    pub const UNCOMPILED: Tiers = if cfg!(any(target_arch = "x86_64", target_arch = "aarch64")) {
        Tiers::Compile { threshold: NEVER }
    } else {
        Tiers::Interpret
    };
}

impl Default for Tiers {
    /// Both tiers if there is a compiler for this machine, otherwise the interpreter.
    fn default() -> Self {
        if cfg!(any(target_arch = "x86_64", target_arch = "aarch64")) {
            Tiers::Compile { threshold: DEFAULT_THRESHOLD }
        } else {
            Tiers::Interpret
        }
    }
}
