//! What the stubs of all machines have in common.

use core::ops::Range;

use alloc::vec::Vec;
use arrayvec::ArrayVec;

use crate::alloc_util::AllocError;
use crate::codegen::unwind::{UnwindMachine, UnwindOp, UnwindRow, UnwindTable, encode_rows};
use crate::codegen::x64::AssembleError;

/// The offsets of the pieces in their block, in bytes.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::vm::native) struct Stubs {
    /// `extern "C" fn(context, depth, code, arguments) -> u64`: calls `code` with the words at `arguments`, of which it
    /// reads as many as are passed in registers.
    pub(in crate::vm::native) call: usize,
    /// The trap handler of calls through `call`.
    pub(in crate::vm::native) trap: usize,
    /// Where stand-ins continue, with the index of the function in a register.
    pub(in crate::vm::native) interpret: usize,
}

/// The parameters of a C function that calls a function of the program.
#[derive(Clone, Copy, Debug)]
pub(in crate::vm::native) struct EntryTrampoline {
    /// The function.
    pub(in crate::vm::native) function: u32,
    /// Its number of parameters, at most eight.
    pub(in crate::vm::native) params: u16,
    /// The address of the shared block.
    pub(in crate::vm::native) shared: usize,
    /// The number of activations that there may be below that of the function.
    pub(in crate::vm::native) depth: u32,
    /// The bytes that large activations may take.
    pub(in crate::vm::native) budget: u64,
    /// The address of `extern "C" fn(budget) -> stack_end`.
    pub(in crate::vm::native) stack_end: usize,
    /// The address of `extern "C" fn(context)`, which is called when the function has trapped.
    pub(in crate::vm::native) trapped: usize,
}

/// The distance of a jump from `from` to `to` in one block, for an instruction that states less than `limit` bytes.
pub(super) fn jump_distance(from: usize, to: usize, limit: i64) -> Result<i32, AssembleError> {
    let offset = |place| i64::try_from(place).unwrap_or(i64::MAX);
    let distance = offset(to).saturating_sub(offset(from));
    let near = i32::try_from(distance).ok().filter(|_| (-limit..limit).contains(&distance));
    let offset = u32::try_from(from).unwrap_or(u32::MAX);
    near.ok_or(AssembleError::BranchRange { offset, distance, limit })
}

/// The most unwind rows of a piece.
const MAX_ROWS: usize = 64;

/// The unwind rows of a piece that is being assembled.
#[derive(Clone, Debug, Default)]
pub(in crate::vm::native) struct Rows {
    /// The offset of the piece in its block.
    start: u32,
    rows: ArrayVec<UnwindRow, MAX_ROWS>,
}

impl Rows {
    /// Those of a piece at an offset.
    pub(super) fn new(start: u32) -> Self {
        Self { start, rows: ArrayVec::new() }
    }

    /// Adds a row that applies from the instruction at `offset` in the block on.
    pub(super) fn push(&mut self, offset: u32, op: UnwindOp) {
        let row = UnwindRow { offset: offset.saturating_sub(self.start), op };
        let pushed = self.rows.try_push(row);
        debug_assert!(pushed.is_ok(), "a piece has at most {MAX_ROWS} rows");
    }
}

/// The unwind rows of the stubs. The trap handler has none: the stack pointer is undefined at its start, and it calls
/// nothing.
#[derive(Clone, Debug)]
pub(in crate::vm::native) struct StubRows {
    pub(super) call: Rows,
    pub(super) interpret: Rows,
}

impl StubRows {
    /// The `.eh_frame` section of the block of the stubs, in which `stand_ins` is the offset of the stand-ins.
    pub(in crate::vm::native) fn eh_frame(
        &self,
        machine: UnwindMachine,
        stubs: &Stubs,
        block: &Range<usize>,
        stand_ins: usize,
    ) -> Result<Vec<u8>, AllocError> {
        let mut table = UnwindTable::new(machine)?;
        let mut add = |rows: &[UnwindRow], offsets: Range<usize>| {
            let frames = encode_rows(&machine, rows)?;
            table.add(&frames, block.start.saturating_add(offsets.start), offsets.len())
        };
        add(&self.call.rows, stubs.call..stubs.trap)?;
        add(&self.interpret.rows, stubs.interpret..stand_ins)?;
        // A stand-in jumps to the stub and leaves the stack alone.
        add(&[], stand_ins..block.len())?;
        table.finish()
    }
}

/// The `.eh_frame` section of an entry trampoline at the addresses `code`.
pub(in crate::vm::native) fn entry_eh_frame(
    machine: UnwindMachine,
    rows: &Rows,
    code: &Range<usize>,
) -> Result<Vec<u8>, AllocError> {
    let mut table = UnwindTable::new(machine)?;
    table.add(&encode_rows(&machine, &rows.rows)?, code.start, code.len())?;
    table.finish()
}
