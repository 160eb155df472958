//! What version 2 has: memory of the function, read-only data, conditional traps, calls by number and by address.

use super::error::{count_16, count_32};
use super::{BuildError, Data, FileName, FunctionBuilder, Local, NewCallee, Slot, Value};
use crate::alloc_util::{try_push, try_reserve, try_resize};
use crate::ir::function::{CalleeKind, MAX_DATA_ALIGN};
use crate::ir::instruction::NONE;
use crate::ir::opcode::{Condition, Opcode};
use crate::ir::types::ValueType;

/// A callee without a name.
fn unnamed(kind: CalleeKind) -> NewCallee<'static> {
    NewCallee { kind, name: "", types: &[] }
}

impl FunctionBuilder {
    /// A stack slot of `size` bytes whose address is a multiple of `align`, at most
    /// [`MAX_SLOT_ALIGN`](crate::ir::MAX_SLOT_ALIGN).
    pub fn slot(&mut self, size: u32, align: u32) -> Slot {
        let number = self.number_of(self.slots.len(), "stack slots");
        let ([s0, s1, s2, s3], [a0, a1, a2, a3]) = (size.to_le_bytes(), align.to_le_bytes());
        let pushed = try_push(&mut self.slots, [s0, s1, s2, s3, a0, a1, a2, a3]);
        self.record(pushed);
        Slot(number)
    }

    /// Read-only bytes whose address is a multiple of `align`, at most
    /// [`MAX_DATA_ALIGN`](crate::ir::MAX_DATA_ALIGN).
    pub fn data(&mut self, bytes: &[u8], align: u32) -> Data {
        let number = self.number_of(self.data.len(), "pieces of data");
        let appended = self.append_data(bytes, align);
        self.record(appended);
        Data(number)
    }

    fn append_data(&mut self, bytes: &[u8], align: u32) -> Result<(), BuildError> {
        let multiple = usize::try_from(align.clamp(1, MAX_DATA_ALIGN)).unwrap_or(1);
        let start = self.data_bytes.len().next_multiple_of(multiple);
        try_resize(&mut self.data_bytes, start, 0)?;
        try_reserve(&mut self.data_bytes, bytes.len())?;
        self.data_bytes.extend_from_slice(bytes);
        let what = "bytes of data";
        let fields = [count_32(start, what)?, count_32(bytes.len(), what)?, align];
        let mut entry = [0; 12];
        entry.copy_from_slice(fields.map(u32::to_le_bytes).as_flattened());
        Ok(try_push(&mut self.data, entry)?)
    }

    fn number_of(&mut self, count: usize, what: &'static str) -> u16 {
        count_16(count, what).unwrap_or_else(|error| {
            self.fail(error);
            0
        })
    }

    /// The name of a file, for [`location`](Self::location).
    pub fn file(&mut self, name: &str) -> FileName {
        FileName(self.string(name).unwrap_or_else(|error| {
            self.fail(error);
            NONE
        }))
    }

    /// States where the instructions from here on come from. The column is 0 where it is not known.
    pub fn location(&mut self, line: u32, column: u16, file: Option<FileName>) {
        let next = self.next().to_le_bytes();
        let ([i0, i1, i2, i3], [l0, l1, l2, l3]) = (next, line.to_le_bytes());
        let [c0, c1] = column.to_le_bytes();
        let [f0, f1] = file.map_or(NONE, |file| file.0).to_le_bytes();
        let entry = [i0, i1, i2, i3, l0, l1, l2, l3, c0, c1, f0, f1];
        match self.locations.last_mut() {
            Some(last) if last.starts_with(&next) => *last = entry,
            _ => {
                let pushed = try_push(&mut self.locations, entry);
                self.record(pushed);
            }
        }
    }

    /// Sets `to` to `first` where `condition`, a bool, is true, and to `second` elsewhere.
    pub fn select(
        &mut self,
        ty: impl Into<ValueType>,
        to: Local,
        condition: Local,
        first: Local,
        second: Local,
    ) {
        let fields = [to.0, condition.0, first.0];
        self.plain(Opcode::Select, Some(ty.into()), fields, second.0.into());
    }

    /// Sets `to`, a pointer, to the address of byte `bytes` of a stack slot.
    pub fn slot_address(&mut self, to: Local, slot: Slot, bytes: i32) {
        self.plain(Opcode::SlotAddress, None, [to.0, slot.0, 0], bytes);
    }

    /// Sets `to`, a pointer, to the address of byte `bytes` of read-only data.
    pub fn data_address(&mut self, to: Local, data: Data, bytes: i32) {
        self.plain(Opcode::DataAddress, None, [to.0, data.0, 0], bytes);
    }

    /// Sets `to`, a pointer, to the address of function `index` of the program, which has this signature.
    pub fn function_address(
        &mut self,
        to: Local,
        index: u32,
        params: &[ValueType],
        result: Option<ValueType>,
    ) {
        self.address_of(to, unnamed(CalleeKind::Function(index)), params, result);
    }

    /// Traps with `code` when `condition` holds for two values of type `ty`.
    pub fn trap_compare(
        &mut self,
        condition: Condition,
        ty: impl Into<ValueType>,
        left: Local,
        right: impl Into<Value>,
        code: u32,
    ) {
        let opcode = Opcode::TrapCompare(condition);
        self.short(opcode, ty.into(), left, right.into(), code.cast_signed());
    }

    /// Traps with `code` when `condition`, a bool, is `expected`.
    pub fn trap_if(&mut self, condition: Local, expected: bool, code: u32) {
        self.plain(Opcode::TrapIf(expected), None, [condition.0, 0, 0], code.cast_signed());
    }

    /// Copies `bytes` (an i64 or u64, or a number) from the address in `from` to the address in `to`.
    pub fn copy_memory(&mut self, to: Local, from: Local, bytes: impl Into<Value>) {
        self.two(Opcode::CopyMemory, None, to, from, bytes.into());
    }

    /// Sets `bytes` (an i64 or u64, or a number) at the address in `to` to `value`, a u8.
    pub fn fill_memory(&mut self, to: Local, value: Local, bytes: impl Into<Value>) {
        self.two(Opcode::FillMemory, None, to, value, bytes.into());
    }

    /// Traps with code 3 when the frame of the function would reach below the address that lies in memory at
    /// `at + bytes`.
    pub fn check_stack(&mut self, at: Local, bytes: i32) {
        self.plain(Opcode::CheckStack, None, [at.0, 0, 0], bytes);
    }

    /// Calls function `index` of the program, as [`call`](Self::call) does.
    pub fn call_function(
        &mut self,
        index: u32,
        to: Option<Local>,
        arguments: &[Local],
        dropped: Option<ValueType>,
    ) {
        let callee = unnamed(CalleeKind::Function(index));
        self.call_of(Opcode::Call, callee, to, None, arguments, dropped);
    }

    /// Calls the function at `address`, a pointer, as [`call`](Self::call) does.
    pub fn call_indirect(
        &mut self,
        address: Local,
        to: Option<Local>,
        arguments: &[Local],
        dropped: Option<ValueType>,
    ) {
        let callee = unnamed(CalleeKind::Indirect);
        self.call_of(Opcode::CallIndirect, callee, to, Some(address), arguments, dropped);
    }

    /// Calls function `index` of the program and returns its result, in the frame of the caller.
    pub fn return_call_function(&mut self, index: u32, arguments: &[Local]) {
        let callee = unnamed(CalleeKind::Function(index));
        self.call_of(Opcode::ReturnCall, callee, None, None, arguments, None);
    }

    /// Calls the function at `address` and returns its result, in the frame of the caller.
    pub fn return_call_indirect(&mut self, address: Local, arguments: &[Local]) {
        let callee = unnamed(CalleeKind::Indirect);
        let address = Some(address);
        self.call_of(Opcode::ReturnCallIndirect, callee, None, address, arguments, None);
    }
}
