//! How to compile a function.

/// The target of relocations for the function that traps jump to under [`TrapConvention::Hook`]; no callee has this
/// number.
pub const TRAP_HOOK: u32 = 0x1_0000;

/// How a trap leaves a function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrapConvention {
    /// The function takes down its frame and jumps to [`TRAP_HOOK`],
    /// `extern "C" fn(code: u32, at: u32, function: u64, left: u64, right: u64) -> u64`, where `function` is the address of
    /// the function's first byte, and `left` and `right` are the operands that the instruction
    /// [states](crate::ir::Instruction::states_operands), or 0. What the hook returns is the result of the function, an
    /// undefined number if it returns a float.
    Hook,
    /// Parameter 0 of the function is a pointer to a context. The function jumps to the handler whose address is at
    /// `context + handler_offset`, with the context, the code, the place and the tag of the [`Options`] in registers:
    /// rdi, esi, edx, ecx, or x0 to x3. The handler restores the stack pointer.
    Context {
        /// Bytes from the context to the address of the handler.
        handler_offset: i32,
    },
}

/// How to compile a function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// How traps leave the function.
    pub traps: TrapConvention,
    /// The number of the function for trap handlers and the source map.
    pub tag: u32,
    /// The number of this function in its program: calls of it need no relocation.
    pub own_function: Option<u32>,
    /// Whether the function starts with a landing pad for indirect calls (ENDBR64, BTI).
    pub landing_pad: bool,
    /// Whether functions with a frame sign their return address (aarch64: PACIASP; nothing on other machines).
    pub sign_return_address: bool,
    /// Whether the source map is recorded.
    pub source_map: bool,
}

impl Options {
    /// Traps by the hook, no landing pad, no source map.
    pub const DEFAULT: Self = Self {
        traps: TrapConvention::Hook,
        tag: 0,
        own_function: None,
        landing_pad: false,
        sign_return_address: false,
        source_map: false,
    };
}

impl Default for Options {
    fn default() -> Self {
        Self::DEFAULT
    }
}
