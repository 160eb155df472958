//! The pieces of machine code that belong to no function: the entry into compiled code, the exit of a trap, and the
//! stand-ins of functions that have no code.
//!
//! An engine has one block of them. Their interface with compiled code is
//! [`abi`](crate::bytecode::translate::abi). A file for each machine assembles them; its functions are:
//!
//! * `assemble(interpret)`: the [`Stubs`] of an engine and their unwind rows, where `interpret` is the address of
//!   [`enter::interpret`](super::enter::interpret);
//! * `exit_trampoline(function, at, interpret)`: the stand-in of a function, at `at` in the block of the stubs, where
//!   `interpret` is the offset of [`Stubs::interpret`];
//! * `assemble_entry_trampoline(trampoline)`: a C function that calls a function of the program, and its unwind
//!   rows.

#[cfg(target_arch = "aarch64")]
mod aarch64;
mod interface;
#[cfg(target_arch = "x86_64")]
mod x64;

#[cfg(target_arch = "aarch64")]
pub(super) use aarch64::{EXIT_TRAMPOLINE, assemble, assemble_entry_trampoline, exit_trampoline};
#[cfg(target_arch = "x86_64")]
pub(super) use x64::{EXIT_TRAMPOLINE, assemble, assemble_entry_trampoline, exit_trampoline};

pub(super) use interface::{EntryTrampoline, Rows, Stubs, entry_eh_frame};

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(target_arch = "x86_64")]
    const PAD: [u8; 4] = [0xf3, 0x0f, 0x1e, 0xfa];
    #[cfg(target_arch = "aarch64")]
    const PAD: [u8; 4] = [0x5f, 0x24, 0x03, 0xd5];

    #[test]
    fn places_that_are_reached_by_address_begin_with_landing_pads() {
        let (code, Stubs { call, trap, interpret }, _) = assemble(0x1234).unwrap();
        for at in [call, trap] {
            assert!(code.bytes[at..].starts_with(&PAD));
        }
        assert!(!code.bytes[interpret..].starts_with(&PAD), "stand-ins jump there directly");
        assert!(exit_trampoline(3, 64, 32).unwrap().starts_with(&PAD));
        let trampoline = EntryTrampoline {
            function: 0,
            params: 1,
            shared: 0,
            depth: 9,
            budget: 0,
            stack_end: 0,
            trapped: 0,
        };
        let (code, _) = assemble_entry_trampoline(&trampoline).unwrap();
        assert!(code.bytes.starts_with(&PAD));
        let pads = code.bytes.windows(4).filter(|bytes| *bytes == PAD).count();
        assert_eq!(pads, 2, "the function and its trap handler");
    }

    #[test]
    fn stand_in_beyond_the_reach_of_a_jump_is_refused() {
        let reach: usize = if cfg!(target_arch = "x86_64") { 1 << 31 } else { 1 << 27 };
        assert!(exit_trampoline(3, reach - EXIT_TRAMPOLINE, 0).is_ok());
        assert!(exit_trampoline(3, reach + EXIT_TRAMPOLINE, 64).is_ok());
        assert!(exit_trampoline(3, reach + EXIT_TRAMPOLINE, 0).is_err());
    }
}
