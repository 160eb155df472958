//! The pieces of machine code that belong to no function: the entry into compiled code, the exit of a trap, and the
//! stand-ins of functions that have no code.
//!
//! An engine has one block of them. Their interface with compiled code is
//! [`abi`](crate::bytecode::translate::abi). A file for each machine assembles them; its functions are:
//!
//! * `assemble(interpret)`: the [`Stubs`] of an engine, where `interpret` is the address of
//!   [`enter::interpret`](super::enter::interpret);
//! * `exit_trampoline(function, at, interpret)`: the stand-in of a function, at `at` in the block of the stubs;
//! * `assemble_entry_trampoline(trampoline)`: a C function that calls a function of the program.

#[cfg(target_arch = "aarch64")]
mod aarch64;
#[cfg(target_arch = "x86_64")]
mod x64;

#[cfg(target_arch = "aarch64")]
pub(super) use aarch64::{EXIT_TRAMPOLINE, assemble, assemble_entry_trampoline, exit_trampoline};
#[cfg(target_arch = "x86_64")]
pub(super) use x64::{EXIT_TRAMPOLINE, assemble, assemble_entry_trampoline, exit_trampoline};

/// The offsets of the pieces in their block, in bytes.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Stubs {
    /// `extern "C" fn(context, depth, code, arguments) -> u64`: calls `code` with the words at `arguments`, of which it
    /// reads as many as are passed in registers.
    pub(super) call: usize,
    /// The trap handler of calls through `call`.
    pub(super) trap: usize,
    /// Where stand-ins continue, with the index of the function in a register.
    pub(super) interpret: usize,
}

/// The parameters of a C function that calls a function of the program.
#[derive(Clone, Copy, Debug)]
pub(super) struct EntryTrampoline {
    /// The function.
    pub(super) function: u32,
    /// Its number of parameters, at most eight.
    pub(super) params: u16,
    /// The address of the shared block.
    pub(super) shared: usize,
    /// The number of activations that there may be below that of the function.
    pub(super) depth: u32,
    /// The bytes that large activations may take.
    pub(super) budget: u64,
    /// The address of `extern "C" fn(budget) -> stack_end`.
    pub(super) stack_end: usize,
    /// The address of `extern "C" fn(context)`, which is called when the function has trapped.
    pub(super) trapped: usize,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(target_arch = "x86_64")]
    const PAD: [u8; 4] = [0xf3, 0x0f, 0x1e, 0xfa];
    #[cfg(target_arch = "aarch64")]
    const PAD: [u8; 4] = [0x5f, 0x24, 0x03, 0xd5];

    #[test]
    fn places_that_are_reached_by_address_begin_with_landing_pads() {
        let (code, Stubs { call, trap, interpret }) = assemble(0x1234).unwrap();
        for at in [call, trap] {
            assert!(code.bytes[at..].starts_with(&PAD));
        }
        assert!(!code.bytes[interpret..].starts_with(&PAD), "stand-ins jump there directly");
        assert!(exit_trampoline(3, 64, 32).starts_with(&PAD));
        let trampoline = EntryTrampoline {
            function: 0,
            params: 1,
            shared: 0,
            depth: 9,
            budget: 0,
            stack_end: 0,
            trapped: 0,
        };
        let code = assemble_entry_trampoline(&trampoline).unwrap();
        assert!(code.bytes.starts_with(&PAD));
        let pads = code.bytes.windows(4).filter(|bytes| *bytes == PAD).count();
        assert_eq!(pads, 2, "the function and its trap handler");
    }
}
