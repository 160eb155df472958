//! One function on its way to machine code: what lowering of all machines shares.
//!
//! The instructions are lowered in order. What no path reaches is left out. Trap sites are collected and put down
//! behind the last instruction, then literals and the read-only data of the function.

use core::fmt::Debug;

use super::arguments::CallArguments;
use super::error::CodegenError;
use super::frame::{Frame, PAGE, StackPlace};
use super::label::{Label, Labels};
use super::liveness::Liveness;
use super::machine::{MachineAssembler, Register, without_cuts};
use super::options::{Options, TrapConvention};
use super::regalloc::{Allocation, Location, RegisterFile};
use super::unwind::{UnwindMachine, UnwindOp, UnwindRow};
use crate::alloc_util::{AllocError, try_push};
use crate::codegen::code::SourceLoc;
use crate::format::Arch;
use crate::ir::error::Part;
use crate::ir::{
    Callee, CalleeKind, Function, FunctionInstance, Instruction, IrError, Opcode, Scalar,
};

/// The most bytes that are copied or filled without a loop.
pub(super) const MAX_INLINE_BYTES: u32 = 128;

/// A machine that code is generated for.
///
/// An integer of 8 or 16 bits, or a bool, is held extended to 32 bits, by its sign if it has one. What is above the
/// lower 32 bits of a register is undefined for all types but those of 64 bits. A spill slot holds eight bytes of a
/// register, so that a value has the same form in both.
pub(crate) trait Machine: Debug + Sized {
    /// Encodes instructions.
    type Assembler: MachineAssembler;

    /// An integer register.
    type Int: Register<Self::Assembler>;

    /// A floating-point register.
    type Float: Register<Self::Assembler>;

    /// The registers for locals, and those of the calling convention.
    const REGISTERS: &'static RegisterFile;

    /// The architecture in the header of a module with this code.
    const ARCH: Arch;

    /// What unwind tables need to know.
    const UNWIND: UnwindMachine;

    /// A register that holds no local, not even an argument of a call.
    const INT_SCRATCH: Self::Int;

    /// The same of the floating-point registers.
    const FLOAT_SCRATCH: Self::Float;

    /// The integer register with this hardware number.
    fn int(number: u8) -> Self::Int;

    /// The floating-point register with this hardware number.
    fn float(number: u8) -> Self::Float;

    /// Sets up the frame, if the function has one, and states the unwind rows.
    fn enter(lowering: &mut Lowering<'_, '_, Self>);

    /// Loads eight bytes.
    fn load_int(lowering: &mut Lowering<'_, '_, Self>, to: Self::Int, from: StackPlace);

    /// Stores eight bytes.
    fn store_int(lowering: &mut Lowering<'_, '_, Self>, to: StackPlace, from: Self::Int);

    /// Loads eight bytes.
    fn load_float(lowering: &mut Lowering<'_, '_, Self>, to: Self::Float, from: StackPlace);

    /// Stores eight bytes.
    fn store_float(lowering: &mut Lowering<'_, '_, Self>, to: StackPlace, from: Self::Float);

    /// Brings a value of which only its own bits count into the form of a local. Nothing for other types than
    /// those of 8 and 16 bits and bool.
    fn extend(lowering: &mut Lowering<'_, '_, Self>, register: Self::Int, scalar: Scalar);

    /// Sets a local to 0.
    fn zero(lowering: &mut Lowering<'_, '_, Self>, local: u16, scalar: Scalar);

    /// Lowers one instruction. May lower the next one with it ([`Lowering::peek`], [`Lowering::take_next`]).
    fn instruction(lowering: &mut Lowering<'_, '_, Self>, instruction: &Instruction);

    /// Puts down what the trap sites of the function jump to, and what comes behind them but literals and data.
    fn traps(lowering: &mut Lowering<'_, '_, Self>);
}

/// A conditional exit of the function, whose code is put down behind it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TrapSite {
    pub(crate) label: Label,
    pub(crate) code: u32,
    /// The instruction, as trap handlers see it.
    pub(crate) at: u32,
    /// The comparison whose operands trap handlers see.
    pub(crate) compared: Option<Instruction>,
}

/// What trap sites jump to, if there are any.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TrapExits {
    /// Where a site goes that has its code and its place in one register, and states no operands.
    pub(crate) packed_plain: Option<Label>,
    /// Where a site goes that has its code and its place in one register.
    pub(crate) packed: Option<Label>,
    /// Where a site goes that has them in their registers.
    pub(crate) unpacked: Option<Label>,
}

/// A constant that is loaded from memory behind the code.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Literal {
    pub(crate) label: Label,
    pub(crate) bits: u64,
    /// Whether the 16 bytes at the label are `bits` and 0, aligned to 16.
    pub(crate) is_wide: bool,
}

/// Literals that are compared with a new one.
const RECENT_LITERALS: usize = 16;

/// What lowering a function fills. The memory is reused.
#[derive(Debug, Default)]
pub(crate) struct Buffers {
    pub(crate) traps: alloc::vec::Vec<TrapSite>,
    pub(crate) literals: alloc::vec::Vec<Literal>,
    pub(crate) unwind: alloc::vec::Vec<UnwindRow>,
    pub(crate) source_map: alloc::vec::Vec<SourceLoc>,
}

impl Buffers {
    pub(crate) fn clear(&mut self) {
        self.traps.clear();
        self.literals.clear();
        self.unwind.clear();
        self.source_map.clear();
    }
}

/// A function that is being lowered.
#[derive(Debug)]
pub(crate) struct Lowering<'c, 'i, M: Machine> {
    pub(crate) asm: &'c mut M::Assembler,
    pub(crate) instance: &'c FunctionInstance<'i, 'i>,
    pub(crate) body: Function<'i>,
    pub(crate) options: &'c Options,
    pub(crate) liveness: &'c Liveness,
    pub(crate) allocation: &'c Allocation,
    pub(crate) frame: Frame,
    pub(crate) buffers: &'c mut Buffers,
    /// The distance of each stack slot from the frame pointer.
    slots: &'c [u32],
    /// One for each instruction that a jump leads to.
    labels: Labels,
    /// One for each entry of the read-only data.
    data: Labels,
    /// The first byte of the function.
    pub(crate) start: Label,
    pub(crate) exits: TrapExits,
    /// The current instruction, and the next one.
    pub(crate) index: u32,
    next: u32,
    upcoming: Option<Instruction>,
    /// Whether a jump leads to the next instruction.
    is_upcoming_target: bool,
    /// Whether a jump was lowered with the current instruction, and control does not go on behind it.
    pub(crate) has_jumped: bool,
    /// The line of the current instruction, and the next entry of the source locations.
    line: u32,
    next_location: usize,
    /// The first error, so that no instruction returns one.
    error: Option<CodegenError>,
}

impl<'c, 'i, M: Machine> Lowering<'c, 'i, M> {
    #[expect(clippy::too_many_arguments, reason = "the parts of one compiler")]
    pub(crate) fn new(
        asm: &'c mut M::Assembler,
        instance: &'c FunctionInstance<'i, 'i>,
        options: &'c Options,
        liveness: &'c Liveness,
        allocation: &'c Allocation,
        frame: Frame,
        slots: &'c [u32],
        buffers: &'c mut Buffers,
    ) -> Self {
        let body = *instance.body();
        let labels = asm.labels(liveness.target_count());
        let data = asm.labels(body.data_count());
        let start = asm.label();
        Self {
            asm,
            instance,
            body,
            options,
            liveness,
            allocation,
            frame,
            buffers,
            slots,
            labels,
            data,
            start,
            exits: TrapExits { packed_plain: None, packed: None, unpacked: None },
            index: 0,
            next: 0,
            upcoming: None,
            is_upcoming_target: false,
            has_jumped: false,
            line: 0,
            next_location: 0,
            error: None,
        }
    }

    /// Lowers the whole function. Returns the length of its code, without literals and data.
    pub(crate) fn function(&mut self) -> Result<u32, CodegenError> {
        self.bind(self.start);
        M::enter(self);
        self.take_parameters();
        self.instructions();
        M::traps(self);
        self.settle();
        let size = self.asm.position();
        self.constants();
        self.error.map_or(Ok(size), Err)
    }

    fn instructions(&mut self) {
        let mut is_reached = true;
        self.look_at(0);
        while let Some(i) = self.upcoming {
            let is_target = self.is_upcoming_target;
            self.advance();
            if is_target {
                is_reached = true;
                if let Some(label) = self.label(self.index) {
                    self.bind(label);
                }
            }
            if is_reached {
                self.locate();
                is_reached = !self.lower(&i);
            }
        }
    }

    /// Makes the next instruction the current one.
    #[inline]
    fn advance(&mut self) {
        self.index = self.next;
        self.look_at(self.index.saturating_add(1));
    }

    /// Decodes the next instruction.
    #[inline]
    fn look_at(&mut self, next: u32) {
        self.next = next;
        self.upcoming = self.body.instruction(next);
        self.is_upcoming_target = self.liveness.is_target(next);
    }

    /// Lowers an instruction. Whether control does not go on behind it.
    fn lower(&mut self, i: &Instruction) -> bool {
        M::instruction(self, i);
        core::mem::take(&mut self.has_jumped) || i.opcode.ends()
    }

    /// The next instruction, if no jump leads to it.
    #[inline]
    pub(crate) fn peek(&self) -> Option<Instruction> {
        if self.is_upcoming_target { None } else { self.upcoming }
    }

    /// Goes to the next instruction, which [`peek`](Self::peek) has returned. A trap behind this is at that instruction.
    pub(crate) fn take_next(&mut self) {
        self.advance();
        self.locate();
    }

    /// Whether `local` is not read behind instruction `index`, nor in the next round of a loop that it ends.
    #[inline]
    pub(crate) fn dies_at(&self, local: u16, index: u32) -> bool {
        let interval = self.liveness.interval(local);
        let is_live_at = |target: u32| target <= index && interval.first_value() <= target;
        let is_live_in_loop = || {
            let target = self.body.instruction(index).and_then(|i| i.target());
            target.is_some_and(is_live_at)
        };
        interval.end < index || interval.end == index && !is_live_in_loop()
    }

    /// Puts a label here.
    #[inline]
    pub(crate) fn bind(&mut self, label: Label) {
        self.asm.bind(label);
    }

    /// Gives all jumps their final form, and corrects the offsets that were recorded.
    fn settle(&mut self) {
        let Buffers { unwind, source_map, .. } = &mut *self.buffers;
        let cuts = self.asm.settle();
        without_cuts(cuts, unwind.iter_mut().map(|row| &mut row.offset));
        without_cuts(cuts, source_map.iter_mut().map(|line| &mut line.offset));
    }

    /// Finds the source location of the current instruction.
    #[inline]
    fn locate(&mut self) {
        let mut is_new = self.body.locations.is_empty();
        while let Some([i0, i1, i2, i3, l0, l1, l2, l3, ..]) =
            self.body.locations.get(self.next_location)
            && u32::from_le_bytes([*i0, *i1, *i2, *i3]) <= self.index
        {
            self.line = u32::from_le_bytes([*l0, *l1, *l2, *l3]);
            self.next_location += 1;
            is_new = true;
        }
        if self.options.source_map && is_new {
            self.record_location();
        }
    }

    #[cold]
    fn record_location(&mut self) {
        let (offset, line) = (self.asm.position(), self.at());
        let location = SourceLoc { offset, function: self.options.tag, line };
        let pushed = try_push(&mut self.buffers.source_map, location);
        self.check(pushed);
    }

    /// What trap handlers see as the place of the current instruction.
    pub(crate) fn at(&self) -> u32 {
        if !self.body.locations.is_empty() {
            return self.line;
        }
        self.body.offset(usize::try_from(self.index).unwrap_or(usize::MAX))
    }

    /// The instruction, if trap handlers see its operands.
    pub(crate) fn compared(&self, i: &Instruction) -> Option<Instruction> {
        let scalar = self.instance.scalar(i.type_code)?;
        let is_stated = self.options.traps == TrapConvention::Hook && i.states_operands(scalar);
        is_stated.then_some(*i)
    }

    /// A place behind the function that traps with `code` at the current instruction.
    pub(crate) fn trap(&mut self, code: u32) -> Label {
        self.trap_site(code, None)
    }

    /// A place behind the function where the conditional trap `i` traps.
    pub(crate) fn trap_of(&mut self, i: &Instruction) -> Label {
        self.trap_site(i.imm.cast_unsigned(), self.compared(i))
    }

    fn trap_site(&mut self, code: u32, compared: Option<Instruction>) -> Label {
        let at = self.at();
        if let Some(last) = self.buffers.traps.last()
            && (last.code, last.at) == (code, at)
            && compared.or(last.compared).is_none()
        {
            return last.label;
        }
        let label = self.asm.label();
        let pushed = try_push(&mut self.buffers.traps, TrapSite { label, code, at, compared });
        self.check(pushed);
        label
    }

    /// The place of a constant behind the code.
    pub(crate) fn literal(&mut self, bits: u64, is_wide: bool) -> Label {
        let recent = self.buffers.literals.iter().rev().take(RECENT_LITERALS);
        let found = recent.into_iter().find(|known| (known.bits, known.is_wide) == (bits, is_wide));
        if let Some(found) = found {
            return found.label;
        }
        let label = self.asm.label();
        let pushed = try_push(&mut self.buffers.literals, Literal { label, bits, is_wide });
        self.check(pushed);
        label
    }

    /// Puts down literals and read-only data.
    fn constants(&mut self) {
        for is_wide in [true, false] {
            let literals = core::mem::take(&mut self.buffers.literals);
            for literal in literals.iter().filter(|literal| literal.is_wide == is_wide) {
                self.asm.align_data(if is_wide { 16 } else { 8 });
                self.bind(literal.label);
                self.asm.data(&literal.bits.to_le_bytes());
                if is_wide {
                    self.asm.data(&[0; 8]);
                }
            }
            self.buffers.literals = literals;
        }
        for index in 0..self.body.data_count() {
            let Some(entry) = self.body.data(index) else { continue };
            self.asm.align_data(entry.align);
            if let Some(label) = self.data.get(index) {
                self.bind(label);
            }
            self.asm.data(entry.bytes);
        }
    }

    /// Records an unwind row for the next instruction.
    pub(crate) fn row(&mut self, op: UnwindOp) {
        let offset = self.asm.position();
        let pushed = try_push(&mut self.buffers.unwind, UnwindRow { offset, op });
        self.check(pushed);
    }

    /// Ends the code behind that which leaves the frame.
    pub(crate) fn left(&mut self) {
        if self.frame.is_needed {
            self.row(UnwindOp::RestoreState);
        }
    }

    /// Records an error.
    pub(crate) fn fail(&mut self, error: impl Into<CodegenError>) {
        self.error.get_or_insert(error.into());
    }

    fn check(&mut self, result: Result<(), AllocError>) {
        if let Err(error) = result {
            self.fail(error);
        }
    }

    /// The label of an instruction that a jump leads to.
    #[inline]
    pub(crate) fn label(&self, instruction: u32) -> Option<Label> {
        self.labels.get(self.liveness.target_number(instruction)?)
    }

    /// Where a jump or branch leads.
    #[inline]
    pub(crate) fn target(&self, i: &Instruction) -> Option<Label> {
        self.label(i.target()?)
    }

    /// The label of an entry of the read-only data.
    pub(crate) fn data_label(&self, entry: u16) -> Option<Label> {
        self.data.get(usize::from(entry))
    }

    /// The distance of a stack slot of the function from the frame pointer, downwards.
    pub(crate) fn slot_distance(&self, slot: u16) -> i32 {
        let distance = self.slots.get(usize::from(slot)).copied().unwrap_or(0);
        i32::try_from(distance).unwrap_or(0)
    }

    /// The location of a local.
    #[inline]
    pub(crate) fn location(&self, local: u16) -> Location {
        self.allocation.location(local)
    }

    /// The callee of a call and its arguments.
    pub(crate) fn callee(
        &self,
        call: &Instruction,
    ) -> Result<(Callee<'i>, CallArguments<'i>), IrError> {
        let callee = self.body.callee(call.b)?;
        let (at, index) = (self.body.offset(0), call.imm.cast_unsigned());
        let none = IrError::Index { at, part: Part::Operands, index };
        let operands = self.body.operands_of(call).ok_or(none)?;
        let params = callee.signature.params;
        Ok((callee, CallArguments { operands, params }))
    }

    /// As [`callee`](Self::callee); an error is that of the function.
    pub(crate) fn callee_or_fail(
        &mut self,
        call: &Instruction,
    ) -> Option<(Callee<'i>, CallArguments<'i>)> {
        self.callee(call).inspect_err(|&error| self.fail(error)).ok()
    }

    /// Whether the callee is the function itself.
    pub(crate) fn is_own(&self, callee: &Callee<'_>) -> bool {
        match callee.kind {
            CalleeKind::Function(number) => self.options.own_function == Some(number),
            _ => false,
        }
    }

    /// Where a large frame is checked against the stack limit before it is set up, because its first write could lie
    /// behind the guard page of the stack: the offsets of the limit and of the trap handler in the context, which is where
    /// the caller has put it. Nothing unless the function starts with a stack check.
    pub(crate) fn early_stack_check(&self) -> Option<(i32, i32)> {
        let first = self.body.instruction(0)?;
        match self.options.traps {
            TrapConvention::Context { handler_offset }
                if first.opcode == Opcode::CheckStack
                    && first.a == 0
                    && self.frame.size >= PAGE =>
            {
                Some((first.imm, handler_offset))
            }
            _ => None,
        }
    }

    /// Bytes of a place in the stack from the frame pointer.
    #[inline]
    pub(crate) fn frame_pointer_offset(&self, place: StackPlace) -> i32 {
        self.frame.frame_pointer_offset(place)
    }
}
