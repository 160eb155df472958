//! The frame of a function.
//!
//! ```text
//! frame pointer + 16   arguments of the caller that are on the stack
//! frame pointer + 8    return address
//! frame pointer        the caller's frame pointer
//!                      callee-saved registers that the function uses
//!                      spill slots, eight bytes each
//!                      stack slots of the function
//! stack pointer        arguments on the stack of the functions that it calls
//! ```
//!
//! A leaf function without any of these has no frame: its stack pointer is that of the call.

use alloc::vec::Vec;

use super::arguments::ArgumentPlaces;
use super::error::{CodegenError, Limit};
use super::liveness::Liveness;
use super::regalloc::{Allocation, RegisterFile};
use crate::alloc_util::try_push;
use crate::ir::FunctionInstance;

/// The largest frame, in bytes.
pub(crate) const MAX_FRAME: u64 = 1 << 26;

/// Frames that are larger touch every page in order, so that the guard page of the stack is not skipped.
pub(crate) const PAGE: u32 = 4096;

/// Bytes from the frame pointer to the first argument on the stack.
const INCOMING: i32 = 16;

/// Something in the stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StackPlace {
    /// A spill slot, by number.
    Spill(u32),
    /// An argument of this function, in bytes from the first one on the stack.
    Incoming(u32),
    /// An argument of a function that is called, in bytes from the first one on the stack.
    Outgoing(u32),
}

/// The layout of a frame.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Frame {
    /// Whether there is a frame.
    pub(crate) is_needed: bool,
    /// Bytes of callee-saved registers.
    pub(crate) saved: u32,
    /// Bytes below the frame pointer, a multiple of 16.
    pub(crate) size: u32,
    /// Bytes of arguments that came by the stack.
    pub(crate) incoming: u32,
}

impl Frame {
    /// Lays out the frame of `instance`. `slots` becomes the distance of each stack slot from the frame pointer.
    pub(crate) fn plan(
        instance: &FunctionInstance<'_, '_>,
        liveness: &Liveness,
        allocation: &Allocation,
        registers: &'static RegisterFile,
        slots: &mut Vec<u32>,
    ) -> Result<Self, CodegenError> {
        let (ints, floats) = allocation.callee_saved();
        let saved = 8 * (ints.count_ones() + floats.count_ones());
        let mut size = u64::from(saved) + 8 * u64::from(allocation.spill_slots());
        slots.clear();
        for slot in instance.body().slots().flatten() {
            let end = size.saturating_add(slot.size.into());
            size = end.next_multiple_of(u64::from(slot.align.max(1)));
            check(size)?;
            try_push(slots, u32::try_from(size).unwrap_or(u32::MAX))?;
        }
        let incoming = stack_bytes(instance, instance.body().signature().params, registers);
        let is_needed = size > 0 || incoming > 0 || liveness.has_calls();
        if liveness.has_calls() {
            size = size.saturating_add(outgoing(instance, registers)?.into());
        }
        let size = size.next_multiple_of(16);
        check(size)?;
        Ok(Self { is_needed, saved, size: u32::try_from(size).unwrap_or(u32::MAX), incoming })
    }

    /// Bytes of a place in the stack from the frame pointer.
    #[inline]
    pub(crate) fn frame_pointer_offset(&self, place: StackPlace) -> i32 {
        // A frame is much smaller than 2 GiB.
        match place {
            StackPlace::Spill(slot) => -signed(self.saved + 8 * (slot + 1)),
            StackPlace::Incoming(offset) => INCOMING.saturating_add(signed(offset)),
            StackPlace::Outgoing(offset) => signed(offset) - signed(self.size),
        }
    }

    /// Bytes of a place in the stack from the stack pointer, while the frame is whole.
    #[inline]
    pub(crate) fn stack_pointer_offset(&self, place: StackPlace) -> i32 {
        self.frame_pointer_offset(place).saturating_add(signed(self.size))
    }
}

fn signed(bytes: u32) -> i32 {
    i32::try_from(bytes).unwrap_or(i32::MAX)
}

fn check(size: u64) -> Result<(), CodegenError> {
    let error = CodegenError::Limit { limit: Limit::FrameBytes, max: MAX_FRAME, value: size };
    if size > MAX_FRAME { Err(error) } else { Ok(()) }
}

/// How many bytes of arguments of these types go by the stack.
fn stack_bytes(
    instance: &FunctionInstance<'_, '_>,
    params: &[u8],
    registers: &'static RegisterFile,
) -> u32 {
    let mut places = ArgumentPlaces::new(registers);
    for &code in params {
        places.next(instance.scalar(code).is_some_and(|scalar| scalar.is_float()));
    }
    places.stack()
}

/// Bytes that the arguments of the callee with the most of them take on the stack.
fn outgoing(
    instance: &FunctionInstance<'_, '_>,
    registers: &'static RegisterFile,
) -> Result<u32, CodegenError> {
    let body = instance.body();
    let mut most = 0;
    for index in 0..body.callee_count() {
        let callee = body.callee(index)?;
        most = most.max(stack_bytes(instance, callee.signature.params, registers));
    }
    Ok(most)
}
