//! The environment of an interpreted function: memory, and other functions.

use crate::alloc_util::AllocError;
use crate::ir::function::{Callee, Function};
use crate::ir::verify::FunctionInstance;
use crate::trap_code::TrapCode;

/// Why an interpreted function ended without a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Stop {
    /// A trap.
    #[error("at 0x{at:x}: {}", TrapCode(*code))]
    Trap {
        /// The trap code.
        code: u32,
        /// The instruction, as an offset in bytes from the start of its function.
        at: u32,
        /// The operands, if the instruction [states them](crate::ir::Instruction::states_operands), or 0.
        operands: [u64; 2],
    },
    /// The step limit was reached.
    #[error("the step limit was reached")]
    Steps,
    /// The host has no memory at this address.
    #[error("there is no memory at 0x{0:x}")]
    Address(u64),
    /// The host does not provide the callee, or provides it with another signature.
    #[error("the host does not provide a callee of this signature")]
    Callee,
    /// The number of arguments differs from the number of parameters.
    #[error("the number of arguments differs from the number of parameters")]
    Arguments,
    /// The host provides no memory for stack slots or for read-only data.
    #[error("the host has no memory for stack slots or data")]
    Memory,
    /// Calls nest more deeply than the host allows.
    #[error("calls nest too deeply")]
    Depth,
    /// The allocator failed.
    #[error("out of memory")]
    OutOfMemory,
}

impl From<AllocError> for Stop {
    fn from(_: AllocError) -> Self {
        Self::OutOfMemory
    }
}

/// The environment of an interpreted function.
///
/// A host for functions of version 1 needs the first three methods. The defaults of the others refuse, or are made
/// of loads and stores. [`ProgramHost`](super::ProgramHost) implements them all.
pub trait Host {
    /// The `size` bytes (1, 2, 4 or 8) at `address`, little-endian; the upper bits are 0.
    ///
    /// # Errors
    /// Usually [`Stop::Address`].
    fn load(&mut self, address: u64, size: u8) -> Result<u64, Stop>;

    /// Writes the lower `size` bytes of `bits` to `address`.
    ///
    /// # Errors
    /// Usually [`Stop::Address`].
    fn store(&mut self, address: u64, size: u8, bits: u64) -> Result<(), Stop>;

    /// Calls a function and returns its result; any value if the function has no result.
    ///
    /// # Errors
    /// Usually [`Stop::Callee`], or why the callee ended.
    fn call(
        &mut self,
        caller: &FunctionInstance<'_, '_>,
        callee: &Callee<'_>,
        arguments: &[u64],
    ) -> Result<u64, Stop>;

    /// [`Host::call`] of a callee that may be passed addresses of stack slots: `_stack` is the address of the first byte of the
    /// slots, and the bytes. By default it is that call, and the callee cannot access them.
    ///
    /// # Errors
    /// As [`Host::call`].
    fn call_with_stack(
        &mut self,
        caller: &FunctionInstance<'_, '_>,
        callee: &Callee<'_>,
        arguments: &[u64],
        _stack: (u64, &mut [u8]),
    ) -> Result<u64, Stop> {
        self.call(caller, callee, arguments)
    }

    /// Calls the function at `address`, which has the signature of `callee`.
    ///
    /// # Errors
    /// As [`Host::call`].
    fn call_indirect(
        &mut self,
        _caller: &FunctionInstance<'_, '_>,
        _callee: &Callee<'_>,
        _address: u64,
        _arguments: &[u64],
    ) -> Result<u64, Stop> {
        Err(Stop::Callee)
    }

    /// The address of a function, by which [`Host::call_indirect`] finds it.
    ///
    /// # Errors
    /// Usually [`Stop::Callee`].
    fn function_address(
        &mut self,
        _caller: &FunctionInstance<'_, '_>,
        _callee: &Callee<'_>,
    ) -> Result<u64, Stop> {
        Err(Stop::Callee)
    }

    /// The address of entry `index` of the read-only data of `function`.
    ///
    /// # Errors
    /// Usually [`Stop::Memory`].
    fn data_address(&mut self, _function: &Function<'_>, _index: u16) -> Result<u64, Stop> {
        Err(Stop::Memory)
    }

    /// Reserves `size` bytes of memory for the stack slots of an activation. Their address is a multiple of
    /// [`MAX_SLOT_ALIGN`](crate::ir::MAX_SLOT_ALIGN).
    ///
    /// # Errors
    /// Usually [`Stop::Memory`].
    fn push_frame(&mut self, _size: u64) -> Result<u64, Stop> {
        Err(Stop::Memory)
    }

    /// Releases the memory that the last [`Host::push_frame`] reserved.
    fn pop_frame(&mut self, _address: u64) {}

    /// Copies `bytes` bytes from the address `from` to the address `to`.
    ///
    /// # Errors
    /// Those of [`Host::load`] and [`Host::store`].
    fn copy(&mut self, to: u64, from: u64, bytes: u64) -> Result<(), Stop> {
        for index in 0..bytes {
            let byte = self.load(from.wrapping_add(index), 1)?;
            self.store(to.wrapping_add(index), 1, byte)?;
        }
        Ok(())
    }

    /// Sets `bytes` bytes from the address `to` on to `value`.
    ///
    /// # Errors
    /// Those of [`Host::store`].
    fn fill(&mut self, to: u64, value: u8, bytes: u64) -> Result<(), Stop> {
        (0..bytes).try_for_each(|index| self.store(to.wrapping_add(index), 1, value.into()))
    }

    /// Called before each instruction.
    ///
    /// # Errors
    /// Usually [`Stop::Steps`].
    fn step(&mut self) -> Result<(), Stop> {
        Ok(())
    }
}

/// Bytes at an address: a host without functions.
#[derive(Debug)]
pub struct Memory<'m> {
    /// The address of the first byte.
    pub base: u64,
    /// The bytes.
    pub bytes: &'m mut [u8],
}

impl Memory<'_> {
    fn at(&mut self, address: u64, size: u8) -> Result<&mut [u8], Stop> {
        let start = address.checked_sub(self.base).and_then(|start| usize::try_from(start).ok());
        let from = start.and_then(|start| self.bytes.get_mut(start..));
        let place = from.and_then(|from| from.get_mut(..usize::from(size)));
        place.ok_or(Stop::Address(address))
    }
}

/// The value of up to eight little-endian bytes.
pub(super) fn from_bytes(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |bits, &byte| bits << 8 | u64::from(byte))
}

/// Writes the lower bytes of `bits`.
pub(super) fn to_bytes(bytes: &mut [u8], bits: u64) {
    bytes.iter_mut().zip(bits.to_le_bytes()).for_each(|(place, byte)| *place = byte);
}

impl Host for Memory<'_> {
    fn load(&mut self, address: u64, size: u8) -> Result<u64, Stop> {
        Ok(from_bytes(self.at(address, size)?))
    }

    fn store(&mut self, address: u64, size: u8, bits: u64) -> Result<(), Stop> {
        to_bytes(self.at(address, size)?, bits);
        Ok(())
    }

    fn call(
        &mut self,
        _: &FunctionInstance<'_, '_>,
        _: &Callee<'_>,
        _: &[u64],
    ) -> Result<u64, Stop> {
        Err(Stop::Callee)
    }
}
