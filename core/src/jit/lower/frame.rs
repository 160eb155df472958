//! How an activation begins and ends, and the words that it has.
//!
//! The frame of an activation, from `rsp` upwards: a word for each position of the vector, then one for
//! each local that needs it, then the registers that the function keeps for its caller, the return
//! address, and the arguments that came on the stack, whose words are the homes of those parameters. All
//! offsets are known before the first instruction, and so is how much stack an activation takes: one that
//! takes much, or calls something, begins with a look at where the stack ends. A function that calls nothing uses up to 128 bytes
//! below `rsp` instead of moving it, which signal handlers leave alone (System V ABI, AMD64 supplement,
//! 3.2.2, "The Stack Frame").

use super::abi::{Context, STACK_PAGE, Shared, TrapKind, UNCHECKED_STACK};
use super::homes::{Homes, KEPT, VOLATILE};
use super::variable::{Value, Variable};
use super::{Body, Lowering, Shape};
use crate::codegen::ARGUMENTS;
use crate::codegen::parallel_move::Source;
use crate::codegen::x64::{Assembler, Cond, Gpr, GprOrStack, Growing, Mem, W32, W64};
use crate::trap::bytecode::{MAX_STACK_DEPTH, activation_charge};

/// Arguments that are passed in registers.
const IN_REGISTERS: u16 = 6;

/// Bytes below `rsp` that nobody else touches.
const RED_ZONE: u32 = 128;

/// The shape of an activation.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Frame {
    /// Bytes that `rsp` is moved for words of the frame.
    size: u32,
    /// How many registers of [`KEPT`] are saved, the first ones.
    saved: u32,
    /// Where the words of the vector begin, from `rsp`.
    pub(super) slots: i32,
    /// Where those of the locals begin.
    locals: i32,
    /// The first local that has a word there: those before came on the stack, or have none.
    first_local: u16,
    /// One more than the last local that has a word.
    locals_end: u16,
    /// Where those of parameters that came on the stack begin.
    pub(super) incoming: i32,
    pub(super) params: u16,
    /// What is charged to the budget, 0 for nothing.
    charge: u32,
    /// The vector is longer than there may be values.
    pub(super) is_too_long: bool,
    /// It calls something, or is replaced by something that may be itself.
    looks_for_interrupts: bool,
    /// How far `rsp` has been moved for arguments.
    pub(super) moved: i32,
    /// Bytes of stack that an activation takes at most below its return address, with the arguments that it
    /// passes and the return address of what it calls.
    pub(super) need: u32,
}

/// Bytes of the arguments on the stack of a function with so many parameters: a multiple of 16.
pub(super) fn stack_bytes(params: u16) -> u32 {
    (8 * u32::from(params.saturating_sub(IN_REGISTERS))).next_multiple_of(16)
}

/// A number of bytes for an instruction: far less than 2 GiB.
pub(super) fn signed(bytes: u32) -> i32 {
    i32::try_from(bytes).unwrap_or(i32::MAX)
}

impl Frame {
    /// Plans for a function. Fields are set one by one, where they stay: they are made in pieces, and to
    /// copy them whole would wait for those.
    pub(super) fn plan(&mut self, shape: &Shape<'_>, homes: &mut Homes) {
        homes.choose(shape);
        let Shape { calls, max_stack_depth, params, .. } = *shape;
        self.saved = homes.kept;
        self.params = params;
        self.moved = 0;
        self.is_too_long = max_stack_depth > MAX_STACK_DEPTH;
        (self.first_local, self.locals_end) = locals_in_words(shape, homes, calls != 0);
        self.looks_for_interrupts = calls != 0 || shape.tail_calls;
        self.lay_out(if self.is_too_long { 0 } else { 8 * max_stack_depth }, shape.most_arguments);
        // Positions are limited, and locals are numbered with 16 bits.
        let charge = activation_charge(shape.locals, max_stack_depth);
        self.charge = u32::try_from(charge).unwrap_or(u32::MAX >> 1);
    }

    /// Says where everything is, with so many bytes for the vector, and at most so many arguments of a call.
    #[inline(always)]
    fn lay_out(&mut self, vector: u32, most_arguments: u16) {
        let locals = self.locals_end.saturating_sub(self.first_local);
        let words =
            vector + 8 * u32::from(locals - self.came_on_stack(self.locals_end).min(locals));
        let below = !self.looks_for_interrupts && words <= RED_ZONE;
        // With the return address and what is saved, a multiple of 16.
        let kept = 8 * (self.saved + 1);
        self.size = if below { 0 } else { words + (words + kept) % 16 };
        self.slots = if below { -signed(words) } else { 0 };
        self.locals = self.slots + signed(vector);
        self.incoming = signed(self.size + kept);
        let callee = if self.looks_for_interrupts { stack_bytes(most_arguments) } else { 0 };
        // A trap pushes 8 bytes, as a call does.
        self.need = 8 * self.saved + if below { words.max(8) } else { self.size + callee + 8 };
    }

    /// How many of the locals from the first that may have a word of the frame up to `local` are parameters
    /// that came on the stack, whose words those arguments are.
    #[inline(always)]
    fn came_on_stack(&self, local: u16) -> u16 {
        local.min(self.params).saturating_sub(self.first_local.max(IN_REGISTERS))
    }

    /// The word of a variable.
    #[inline(always)]
    pub(super) fn word(&self, variable: Variable) -> GprOrStack {
        self.place(variable).moved(self.moved)
    }

    /// The word of a variable, as it is between instructions.
    #[inline(always)]
    pub(super) fn place(&self, variable: Variable) -> GprOrStack {
        GprOrStack::stack(self.offset(variable).unwrap_or(0))
    }

    /// Where the word of a variable is, from `rsp` as it is between instructions; `None` for a local
    /// that has none.
    #[inline(always)]
    pub(super) fn offset(&self, variable: Variable) -> Option<i32> {
        let Some(local) = variable.as_local() else {
            return variable.as_slot().map(|slot| self.slots + 8 * signed(slot));
        };
        if local < self.params && local >= IN_REGISTERS {
            return Some(self.incoming + 8 * i32::from(local - IN_REGISTERS));
        }
        if local < self.first_local || local >= self.locals_end {
            return None;
        }
        let before = local - self.first_local;
        Some(self.locals + 8 * i32::from(before.saturating_sub(self.came_on_stack(local))))
    }

    /// Where the return address is, from `rsp`.
    pub(super) fn return_address(&self) -> i32 {
        self.incoming - 8
    }

    /// Bytes of arguments that came on the stack.
    pub(super) fn incoming_bytes(&self) -> u32 {
        stack_bytes(self.params)
    }
}

/// The locals that may need a word in the frame: from the first to behind the last, but for parameters
/// between them that came on the stack. With `calls`, those in registers that calls do not keep are among
/// them.
#[inline(never)]
fn locals_in_words(shape: &Shape<'_>, homes: &Homes, calls: bool) -> (u16, u16) {
    let uses = shape.counted_locals();
    if homes.nothing_in_words && usize::from(shape.locals_named) == uses.len() {
        return (0, 0);
    }
    let counted = u16::try_from(uses.len()).unwrap_or(u16::MAX);
    let params = shape.params;
    let came_on_stack = |local: u16| local < params && local >= IN_REGISTERS;
    let needs = |local: &u16| {
        let is_used = uses.get(usize::from(*local)).is_some_and(|&weight| weight != 0);
        let has_word = match homes.register(Variable::local(*local)) {
            Some(register) => calls && VOLATILE.contains(&register),
            None => true,
        };
        is_used && has_word && !came_on_stack(*local)
    };
    let (first, last) = ((0..counted).find(needs), (0..counted).rfind(needs));
    // What is not counted may be used.
    let uncounted = shape.locals_named.max(counted);
    if uncounted > counted {
        return (first.unwrap_or(counted), uncounted);
    }
    match (first, last) {
        (Some(first), Some(last)) => (first, last + 1),
        _ => (0, 0),
    }
}

/// The context of the host call, in `register`.
pub(super) fn load_context(asm: &mut Assembler<Growing>, register: Gpr) {
    asm.mov(W64, register, Gpr::Rbp);
    asm.shr(W64, register, 16);
}

impl Lowering {
    /// Everything before the first instruction.
    pub(super) fn prologue(&mut self, shape: &Shape<'_>) {
        if self.frame.is_too_long {
            self.asm.bind(self.entry);
            return self.trap_always(TrapKind::StackLimit);
        }
        self.enter();
        self.take_parameters(shape);
        if shape.reads_nil_locals {
            self.start_locals();
        }
    }

    /// Makes room for an activation, which is looked at first.
    pub(super) fn enter(&mut self) {
        let Frame { charge, looks_for_interrupts, size, need, .. } = self.frame;
        self.asm.bind(self.entry);
        if charge != 0 {
            self.take_from_budget(charge);
        }
        if looks_for_interrupts || need > UNCHECKED_STACK {
            self.look_for_stack_end(need);
        }
        if looks_for_interrupts {
            self.look_for_interrupt();
        }
        for register in self.saved_registers() {
            self.asm.push(register);
        }
        self.reserve(size);
    }

    // What few functions need is out of the way of what all do.

    #[cold]
    fn take_from_budget(&mut self, charge: u32) {
        let asm = &mut self.asm;
        load_context(asm, Gpr::Rax);
        asm.sub(W64, Mem::at(Gpr::Rax, Context::BUDGET), signed(charge));
        self.trap_if(Cond::S, TrapKind::StackLimit);
    }

    /// Traps when less than so many bytes of stack are left. Changes the flags, `rax` and `r11`.
    fn look_for_stack_end(&mut self, need: u32) {
        let asm = &mut self.asm;
        load_context(asm, Gpr::Rax);
        asm.lea(W64, Gpr::R11, Mem::at(Gpr::Rsp, -signed(need)));
        asm.cmp(W64, Gpr::R11, Mem::at(Gpr::Rax, Context::STACK_END));
        self.trap_if(Cond::B, TrapKind::StackLimit);
    }

    #[cold]
    fn touch_pages(&mut self, count: u32) {
        let asm = &mut self.asm;
        asm.mov_imm(Gpr::Rax, u64::from(count));
        let again = asm.label();
        asm.bind(again);
        asm.sub(W64, Gpr::Rsp, signed(STACK_PAGE));
        asm.mov(W32, Mem::at(Gpr::Rsp, 0), Gpr::Rax);
        asm.dec(W32, Gpr::Rax);
        asm.jcc(Cond::Ne, again);
    }

    /// Traps when the host wants everything to stop. Changes the flags.
    pub(super) fn look_for_interrupt(&mut self) {
        self.asm.cmp(W32, Mem::at(Gpr::Rbx, Shared::INTERRUPT), 0);
        self.trap_if(Cond::Ne, TrapKind::Interrupted);
    }

    fn saved_registers(&self) -> impl DoubleEndedIterator<Item = Gpr> + use<> {
        let saved = usize::try_from(self.frame.saved).unwrap_or(0);
        KEPT.get(..saved).unwrap_or(&KEPT).iter().copied()
    }

    /// Moves `rsp` down, touching each page of a large frame.
    fn reserve(&mut self, size: u32) {
        if size == 0 {
            return;
        }
        if size >= STACK_PAGE {
            self.touch_pages(size / STACK_PAGE);
        }
        if !size.is_multiple_of(STACK_PAGE) {
            self.asm.sub(W64, Gpr::Rsp, signed(size % STACK_PAGE));
        }
    }

    /// Moves the parameters to their homes.
    fn take_parameters(&mut self, shape: &Shape<'_>) {
        let uses = shape.local_uses;
        let named = |local: u16| uses.get(usize::from(local)).is_none_or(|&weight| weight != 0);
        for (local, &register) in (0..self.frame.params).zip(&ARGUMENTS) {
            if !named(local) || local >= shape.locals_named {
                continue;
            }
            let home = self.home(Variable::local(local));
            match home.register() {
                Some(home) => self.moves.add(home, Source::Gpr(register)),
                None => self.asm.mov(W64, home, register),
            }
        }
        if self.frame.params > 6 {
            self.take_parameters_from_stack();
        }
        self.moves.emit(&mut self.asm);
    }

    #[cold]
    fn take_parameters_from_stack(&mut self) {
        for (variable, register) in self.homes.chosen() {
            if variable.as_local().is_some_and(|local| local >= 6 && local < self.frame.params) {
                self.moves.add(register, self.frame.word(variable).into());
            }
        }
    }

    /// Nil in all other locals.
    #[cold]
    fn start_locals(&mut self) {
        let Frame { params, first_local, locals_end, .. } = self.frame;
        for (variable, register) in self.homes.chosen() {
            if variable.as_local().is_some_and(|local| local >= params) {
                self.asm.zero(register);
            }
        }
        let first = first_local.max(params);
        if first < locals_end {
            let words = u32::from(locals_end - first);
            self.clear_words(Gpr::Rax, words, self.frame.word(Variable::local(first)));
        }
    }

    /// Undoes the prologue but for the return address. Changes the flags and `scratch`.
    pub(super) fn epilogue(&mut self, scratch: Gpr) {
        self.release_budget(scratch);
        let size = self.frame.size;
        if size != 0 {
            self.asm.add(W64, Gpr::Rsp, signed(size));
        }
        for register in self.saved_registers().rev() {
            self.asm.pop(register);
        }
    }

    #[inline(always)]
    pub(super) fn release_budget(&mut self, scratch: Gpr) {
        if self.frame.charge != 0 {
            self.give_to_budget(scratch);
        }
    }

    #[cold]
    fn give_to_budget(&mut self, scratch: Gpr) {
        let charge = signed(self.frame.charge);
        load_context(&mut self.asm, scratch);
        self.asm.add(W64, Mem::at(scratch, Context::BUDGET), charge);
    }

    /// Restores the saved registers from where they are, with `rsp` so many bytes lower.
    pub(super) fn restore_saved(&mut self, moved: i32) {
        let first = self.frame.return_address() + moved;
        for (register, number) in self.saved_registers().zip(1..) {
            self.asm.mov(W64, register, Mem::at(Gpr::Rsp, first - 8 * number));
        }
    }

    /// Returns, and takes the arguments off the stack.
    pub(super) fn leave(&mut self) {
        match self.frame.incoming_bytes() {
            0 => self.asm.ret(),
            bytes => self.leave_with_arguments(bytes),
        }
    }

    #[cold]
    fn leave_with_arguments(&mut self, bytes: u32) {
        let asm = &mut self.asm;
        match u16::try_from(bytes) {
            Ok(bytes) => {
                let [low, high] = bytes.to_le_bytes();
                // RET imm16. Source: Intel SDM volume 2, "RET—Return From Procedure".
                asm.bytes(&[0xc2, low, high]);
            }
            Err(_) => {
                asm.pop(Gpr::Rcx);
                asm.add(W64, Gpr::Rsp, signed(bytes));
                asm.jmp_to(Gpr::Rcx);
            }
        }
    }
}

impl Body<'_, '_> {
    /// Returns a slot.
    pub(super) fn return_slot(&mut self, slot: u16) -> bool {
        let value = self.slot_once(slot);
        self.return_value(value)
    }

    /// Returns the top.
    pub(super) fn return_top(&mut self) {
        let value = self.pop();
        self.return_value(value);
    }

    pub(super) fn return_value(&mut self, value: Value) -> bool {
        if value == Value::Int(0) {
            self.l.asm.zero(Gpr::Rax);
        } else {
            self.load(Gpr::Rax, value);
        }
        self.l.epilogue(Gpr::Rcx);
        self.l.leave();
        false
    }
}
