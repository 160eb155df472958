//! Where variables live, and how an activation begins and ends.
//!
//! The frame of an activation, from `rsp` upwards: a word for each position of the vector, then one for
//! each local that needs it, then the registers that the function keeps for its caller, the return
//! address, and the arguments that came on the stack, whose words are the homes of those parameters. All
//! offsets are known before the first instruction. A function that calls nothing uses up to 128 bytes
//! below `rsp` instead of moving it, which signal handlers leave alone (System V ABI, AMD64 supplement,
//! 3.2.2, "The Stack Frame").

use alloc::vec::Vec;

use arrayvec::ArrayVec;

use super::Body;
use super::abi::{Context, STACK_PAGE, Shared, TrapKind};
use super::values::{Value, Variable};
use crate::jit::machine::{ARGUMENTS, Source};
use crate::jit::trap::{MAX_VECTOR, activation_charge};
use crate::jit::verify::Facts;
use crate::jit::x64::{Assembler, Cond, Gpr, GprOrMem, Growing, Mem, W32, W64};

/// Registers for variables that calls do not keep.
const VOLATILE: [Gpr; 6] = [Gpr::Rdi, Gpr::Rsi, Gpr::R8, Gpr::R9, Gpr::R10, Gpr::R11];

/// Registers for variables that calls keep, and whoever uses them for its caller.
const KEPT: [Gpr; 4] = [Gpr::R12, Gpr::R13, Gpr::R14, Gpr::R15];

/// From this weight on a variable is worth a register that has to be saved and restored.
const WORTH_KEEPING: u32 = 3;

/// Bytes below `rsp` that nobody else touches.
const RED_ZONE: u32 = 128;

/// The variables that live in registers.
#[derive(Debug, Default)]
pub(super) struct Homes {
    locals: Vec<Option<Gpr>>,
    slots: Vec<Option<Gpr>>,
    /// Those of either kind in registers, the most used first.
    chosen: ArrayVec<(Variable, Gpr), MOST>,
    /// How many registers of [`KEPT`] are in use, the first ones.
    kept: u32,
}

impl Homes {
    #[inline(always)]
    pub(super) fn local(&self, local: u16) -> Option<Gpr> {
        self.locals.get(usize::from(local)).copied().flatten()
    }

    #[inline(always)]
    pub(super) fn slot(&self, slot: u32) -> Option<Gpr> {
        self.slots.get(usize::try_from(slot).ok()?).copied().flatten()
    }

    /// The slots that live in registers.
    pub(super) fn slots_in_registers(&self) -> ArrayVec<(u32, Gpr), MOST> {
        let slots = self.chosen.iter().filter_map(|&(variable, register)| match variable {
            Variable::Slot(slot) => Some((slot, register)),
            Variable::Local(_) => None,
        });
        slots.collect()
    }

    /// Variables in registers that calls do not keep.
    pub(super) fn volatile(&self) -> ArrayVec<(Variable, Gpr), { VOLATILE.len() }> {
        self.chosen.iter().filter(|(_, register)| VOLATILE.contains(register)).copied().collect()
    }

    /// Chooses the variables that are worth a register.
    fn choose(&mut self, facts: &Facts<'_, '_>, calls: u32) {
        self.locals.clear();
        self.locals.resize(counted_locals(facts).len(), None);
        self.slots.clear();
        self.slots.resize(counted_slots(facts).len(), None);
        self.chosen.clear();
        self.kept = 0;
        let wanted = most_used(facts);
        if calls == 0 {
            self.give_volatile(&wanted, facts);
        } else {
            self.give_around_calls(&wanted, calls);
        }
    }

    /// Nothing is called: registers that need not be saved first, to parameters the one they come in.
    fn give_volatile(&mut self, wanted: &Wanted, facts: &Facts<'_, '_>) {
        let (first, rest) = wanted.split_at(wanted.len().min(VOLATILE.len()));
        let bit = |register: Gpr| 1u16 << register.number();
        let mut free = VOLATILE.into_iter().fold(0, |free, register| free | bit(register));
        let params = facts.function.params;
        for &key in first {
            if let Variable::Local(local) = variable_of(key)
                && local < params
                && let Some(&register) = ARGUMENTS.get(usize::from(local))
                && free & bit(register) != 0
            {
                free &= !bit(register);
                self.set(Variable::Local(local), register);
            }
        }
        for &key in first {
            let variable = variable_of(key);
            let lowest = usize::try_from(free.trailing_zeros()).ok();
            if self.of(variable).is_none()
                && let Some(&register) = lowest.and_then(|number| Gpr::ALL.get(number))
            {
                free &= !bit(register);
                self.set(variable, register);
            }
        }
        self.give_kept(rest);
    }

    /// Gives registers that have to be saved, as many as are worth that.
    fn give_kept(&mut self, wanted: &[u64]) {
        let worth = wanted.iter().take_while(|key| weight_of(**key) >= WORTH_KEEPING);
        for (&key, register) in worth.zip(KEPT) {
            self.set(variable_of(key), register);
            self.kept += 1;
        }
    }

    /// Something is called: registers that calls keep first, then others to variables that are used
    /// more often than they have to be saved and restored.
    fn give_around_calls(&mut self, wanted: &Wanted, calls: u32) {
        self.give_kept(wanted);
        let cost = calls.saturating_mul(2);
        let rest = wanted.iter().skip(KEPT.len()).take_while(|key| weight_of(**key) > cost);
        for (&key, register) in rest.zip(VOLATILE) {
            self.set(variable_of(key), register);
        }
    }

    fn of(&self, variable: Variable) -> Option<Gpr> {
        match variable {
            Variable::Local(local) => self.local(local),
            Variable::Slot(slot) => self.slot(slot),
        }
    }

    fn set(&mut self, variable: Variable, register: Gpr) {
        let place = match variable {
            Variable::Local(local) => self.locals.get_mut(usize::from(local)),
            Variable::Slot(slot) => {
                usize::try_from(slot).ok().and_then(|slot| self.slots.get_mut(slot))
            }
        };
        if let Some(place) = place {
            *place = Some(register);
            let _ = self.chosen.try_push((variable, register));
        }
    }
}

/// How often those locals are named that may be.
fn counted_locals<'f>(facts: &Facts<'f, '_>) -> &'f [u32] {
    let uses = facts.local_uses();
    uses.get(..usize::from(facts.locals_named())).unwrap_or(uses)
}

/// How often those positions are named that may be.
fn counted_slots<'f>(facts: &Facts<'f, '_>) -> &'f [u32] {
    let uses = facts.slot_uses();
    usize::try_from(facts.longest()).ok().and_then(|longest| uses.get(..longest)).unwrap_or(uses)
}

/// The most variables in registers.
const MOST: usize = VOLATILE.len() + KEPT.len();

/// Variables as keys, the heaviest first: their weight, and below it what tells them apart.
type Wanted = ArrayVec<u64, MOST>;

/// What is added to the numbers of slots, to tell them from locals.
const SLOTS: u64 = 1 << 16;

fn weight_of(key: u64) -> u32 {
    // The upper half.
    (key >> 32) as u32
}

fn variable_of(key: u64) -> Variable {
    let number = key & 0xffff;
    if key & SLOTS == 0 {
        // 16 bits.
        Variable::Local(number as u16)
    } else {
        Variable::Slot(number as u32)
    }
}

/// The variables that are named most often.
fn most_used(facts: &Facts<'_, '_>) -> Wanted {
    let mut wanted = Wanted::new();
    for (number, &weight) in (0..).zip(counted_locals(facts)) {
        insert(&mut wanted, weight, number);
    }
    for (number, &weight) in (0..).zip(counted_slots(facts)) {
        insert(&mut wanted, weight, SLOTS | number);
    }
    wanted
}

#[inline]
fn insert(wanted: &mut Wanted, weight: u32, number: u64) {
    let key = u64::from(weight) << 32 | number;
    if weight == 0 || wanted.is_full() && wanted.last().is_some_and(|last| *last >= key) {
        return;
    }
    if wanted.is_full() {
        wanted.pop();
    }
    // There is room.
    let _ = wanted.try_push(key);
    let mut at = wanted.len() - 1;
    while let Some([before, here]) = at.checked_sub(1).and_then(|from| wanted.get_mut(from..=at))
        && *before < *here
    {
        core::mem::swap(before, here);
        at -= 1;
    }
}

/// The shape of an activation.
#[derive(Clone, Copy, Debug)]
pub(super) struct Frame {
    /// Bytes that `rsp` is moved for words of the frame.
    size: u32,
    /// How many registers of [`KEPT`] are saved, the first ones.
    saved: u32,
    /// Where the words of the vector begin, from `rsp`.
    slots: i32,
    /// Where those of the locals begin.
    locals: i32,
    /// The first local that has a word there: those before came on the stack, or have none.
    first_local: u16,
    /// One more than the last local that has a word.
    locals_end: u16,
    /// Where those of parameters that came on the stack begin.
    incoming: i32,
    pub(super) params: u16,
    /// What is charged to the budget, 0 for nothing.
    charge: u32,
    /// The vector is longer than there may be values.
    pub(super) is_too_long: bool,
    /// It calls something, or is replaced by something that may be itself.
    looks_for_interrupts: bool,
    /// How far `rsp` has been moved for arguments.
    pub(super) moved: i32,
}

/// Bytes of the arguments on the stack of a function with so many parameters: a multiple of 16.
pub(super) fn stack_bytes(params: u16) -> u32 {
    (8 * u32::from(params.saturating_sub(6))).next_multiple_of(16)
}

/// A number of bytes for an instruction: far less than 2 GiB.
pub(super) fn signed(bytes: u32) -> i32 {
    i32::try_from(bytes).unwrap_or(i32::MAX)
}

impl Frame {
    pub(super) fn plan(facts: &Facts<'_, '_>, homes: &mut Homes) -> Self {
        let calls = facts.call_weight();
        homes.choose(facts, calls);
        let saved = homes.kept;
        let (longest, params) = (facts.longest(), facts.function.params);
        let is_too_long = longest > MAX_VECTOR;
        let vector = if is_too_long { 0 } else { 8 * longest };
        let (first_local, locals_end) = locals_in_words(facts, homes, calls != 0);
        let words = vector + 8 * u32::from(locals_end.saturating_sub(first_local));
        let below = calls == 0 && !facts.has_tail_calls() && words <= RED_ZONE;
        // With the return address and what is saved, a multiple of 16.
        let size = if below { 0 } else { words + (words + 8 * (saved + 1)) % 16 };
        let slots = if below { -signed(words) } else { 0 };
        let charge = activation_charge(facts.function.locals, longest);
        Self {
            size,
            saved,
            slots,
            locals: slots + signed(vector),
            first_local,
            locals_end,
            incoming: signed(size + 8 * (saved + 1)),
            params,
            // Positions are limited, and locals are numbered with 16 bits.
            charge: u32::try_from(charge).unwrap_or(u32::MAX >> 1),
            is_too_long,
            looks_for_interrupts: calls != 0 || facts.has_tail_calls(),
            moved: 0,
        }
    }

    /// The word of a variable.
    #[inline(always)]
    pub(super) fn word(&self, variable: Variable) -> Mem {
        Mem::at(Gpr::Rsp, self.offset(variable).unwrap_or(0) + self.moved)
    }

    /// Where the word of a variable is, from `rsp` as it is between instructions; `None` for a local
    /// that has none.
    #[inline(always)]
    fn offset(&self, variable: Variable) -> Option<i32> {
        match variable {
            Variable::Slot(slot) => Some(self.slots + 8 * signed(slot)),
            Variable::Local(local) if local < self.params && local >= 6 => {
                Some(self.incoming + 8 * i32::from(local - 6))
            }
            Variable::Local(local) if local < self.first_local || local >= self.locals_end => None,
            Variable::Local(local) => {
                Some(self.locals + 8 * (i32::from(local) - i32::from(self.first_local)))
            }
        }
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

/// The locals that may need a word in the frame: from the first to behind the last. With `calls`, those
/// in registers that calls do not keep are among them.
fn locals_in_words(facts: &Facts<'_, '_>, homes: &Homes, calls: bool) -> (u16, u16) {
    let uses = counted_locals(facts);
    let counted = u16::try_from(uses.len()).unwrap_or(u16::MAX);
    let params = facts.function.params;
    let came_on_stack = |local: u16| local < params && local >= 6;
    let needs = |local: &u16| {
        let is_used = uses.get(usize::from(*local)).is_some_and(|&weight| weight != 0);
        let has_word = match homes.local(*local) {
            Some(register) => calls && VOLATILE.contains(&register),
            None => true,
        };
        is_used && has_word && !came_on_stack(*local)
    };
    let (first, last) = ((0..counted).find(needs), (0..counted).rfind(needs));
    // What is not counted may be used.
    let uncounted = facts.locals_named().max(counted);
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

impl Body<'_, '_> {
    /// Everything before the first instruction.
    pub(super) fn prologue(&mut self) {
        let (entry, frame) = (self.entry, self.frame);
        self.l.asm.bind(entry);
        if frame.is_too_long {
            return self.trap_at_once(TrapKind::StackLimit);
        }
        if frame.charge != 0 {
            let asm = &mut self.l.asm;
            load_context(asm, Gpr::Rax);
            asm.sub(W64, Mem::at(Gpr::Rax, Context::BUDGET), signed(frame.charge));
            self.trap_if(Cond::S, TrapKind::StackLimit);
        }
        if frame.looks_for_interrupts {
            self.look_for_interrupt();
        }
        for register in self.saved_registers() {
            self.l.asm.push(register);
        }
        self.reserve(frame.size);
        self.take_parameters();
        self.start_locals();
    }

    /// Traps when the host wants everything to stop. Changes the flags.
    pub(super) fn look_for_interrupt(&mut self) {
        self.l.asm.cmp(W32, Mem::at(Gpr::Rbx, Shared::INTERRUPT), 0);
        self.trap_if(Cond::Ne, TrapKind::Interrupted);
    }

    fn saved_registers(&self) -> impl DoubleEndedIterator<Item = Gpr> + use<> {
        let saved = usize::try_from(self.frame.saved).unwrap_or(0);
        KEPT.into_iter().enumerate().filter(move |(number, _)| *number < saved).map(|(_, gpr)| gpr)
    }

    /// Moves `rsp` down, touching each page of a large frame.
    fn reserve(&mut self, size: u32) {
        let asm = &mut self.l.asm;
        if size == 0 {
            return;
        }
        if size >= STACK_PAGE {
            asm.mov_imm(Gpr::Rax, u64::from(size / STACK_PAGE));
            let again = asm.label();
            asm.bind(again);
            asm.sub(W64, Gpr::Rsp, signed(STACK_PAGE));
            asm.mov(W32, Mem::at(Gpr::Rsp, 0), Gpr::Rax);
            asm.dec(W32, Gpr::Rax);
            asm.jcc(Cond::Ne, again);
        }
        if !size.is_multiple_of(STACK_PAGE) {
            asm.sub(W64, Gpr::Rsp, signed(size % STACK_PAGE));
        }
    }

    /// Moves the parameters to their homes.
    fn take_parameters(&mut self) {
        let uses = self.facts.local_uses();
        let named = |local: u16| uses.get(usize::from(local)).is_none_or(|&weight| weight != 0);
        for (local, register) in (0..self.frame.params).zip(ARGUMENTS) {
            if !named(local) || local >= self.facts.locals_named() {
                continue;
            }
            match self.home(Variable::Local(local)) {
                GprOrMem::Gpr(home) => self.l.moves.add(home, Source::Gpr(register)),
                GprOrMem::Mem(word) => self.l.asm.mov(W64, word, register),
            }
        }
        for &(variable, register) in &self.l.homes.chosen {
            if let Variable::Local(local) = variable
                && local >= 6
                && local < self.frame.params
            {
                self.l.moves.add(register, Source::Mem(self.frame.word(variable)));
            }
        }
        self.l.moves.emit(&mut self.l.asm);
    }

    /// Nil in all other locals, if anything reads nil.
    fn start_locals(&mut self) {
        let facts = self.facts;
        if !facts.reads_nil_locals() {
            return;
        }
        let Frame { params, first_local, locals_end, .. } = self.frame;
        for &(variable, register) in &self.l.homes.chosen {
            if matches!(variable, Variable::Local(local) if local >= params) {
                self.l.asm.zero(register);
            }
        }
        let first = first_local.max(params);
        if first < locals_end {
            let words = u32::from(locals_end - first);
            self.clear_words(Gpr::Rax, words, self.frame.word(Variable::Local(first)));
        }
    }

    /// Undoes the prologue but for the return address. Changes the flags and `scratch`.
    pub(super) fn epilogue(&mut self, scratch: Gpr) {
        self.release_budget(scratch);
        let size = self.frame.size;
        if size != 0 {
            self.l.asm.add(W64, Gpr::Rsp, signed(size));
        }
        for register in self.saved_registers().rev() {
            self.l.asm.pop(register);
        }
    }

    pub(super) fn release_budget(&mut self, scratch: Gpr) {
        let charge = self.frame.charge;
        if charge != 0 {
            let asm = &mut self.l.asm;
            load_context(asm, scratch);
            asm.add(W64, Mem::at(scratch, Context::BUDGET), signed(charge));
        }
    }

    /// Restores the saved registers from where they are, with `rsp` so many bytes lower.
    pub(super) fn restore_saved(&mut self, moved: i32) {
        let first = self.frame.return_address() + moved;
        for (register, number) in self.saved_registers().zip(1..) {
            self.l.asm.mov(W64, register, Mem::at(Gpr::Rsp, first - 8 * number));
        }
    }

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
        self.epilogue(Gpr::Rcx);
        self.leave();
        false
    }

    /// Returns, and takes the arguments off the stack.
    fn leave(&mut self) {
        let bytes = self.frame.incoming_bytes();
        let asm = &mut self.l.asm;
        match u16::try_from(bytes) {
            Ok(0) => asm.ret(),
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

/// Where the values of an activation are at a loop head.
#[derive(Debug)]
pub struct Places<'h> {
    pub(super) frame: Frame,
    pub(super) homes: &'h Homes,
}

/// The registers that an activation may keep variables in, in the order of [`Image::registers`].
pub const REGISTERS: [Gpr; 10] = [
    Gpr::Rdi,
    Gpr::Rsi,
    Gpr::R8,
    Gpr::R9,
    Gpr::R10,
    Gpr::R11,
    Gpr::R12,
    Gpr::R13,
    Gpr::R14,
    Gpr::R15,
];

/// An activation as it is in registers and on the stack at a loop head.
#[derive(Clone, Debug, Default)]
pub struct Image {
    /// What the registers of [`REGISTERS`] hold.
    pub registers: [u64; REGISTERS.len()],
    /// The words of the stack, from the lowest that is in use. After the return address come the
    /// arguments that were passed on the stack.
    pub words: Vec<u64>,
    /// How many of the words are below `rsp`.
    pub below: usize,
    /// Which of the words is the return address, to be filled in.
    pub return_address: usize,
}

impl Places<'_> {
    /// Fills an image with the values of an activation.
    pub fn fill(&self, image: &mut Image, locals: &[u64], vector: &[u64]) {
        let words = |bytes: i32| usize::try_from(bytes / 8).unwrap_or(0);
        let (below, incoming) = (words(-self.frame.slots), words(self.frame.incoming));
        let arguments = words(signed(self.frame.incoming_bytes()));
        image.registers = [0; REGISTERS.len()];
        image.below = below;
        image.return_address = (below + incoming).saturating_sub(1);
        image.words.clear();
        image.words.resize(below + incoming + arguments, 0);
        for (local, &value) in (0..).zip(locals) {
            self.put(image, Variable::Local(local), value);
        }
        for (slot, &value) in (0..).zip(vector) {
            self.put(image, Variable::Slot(slot), value);
        }
    }

    /// Puts a value into its home, if it has one: what nobody names has none.
    fn put(&self, image: &mut Image, variable: Variable, value: u64) {
        let place = match self.homes.of(variable) {
            Some(register) => {
                let number = REGISTERS.iter().position(|&found| found == register);
                number.and_then(|number| image.registers.get_mut(number))
            }
            None => {
                let offset = self
                    .frame
                    .offset(variable)
                    .and_then(|offset| usize::try_from(offset - self.frame.slots.min(0)).ok());
                offset.and_then(|offset| image.words.get_mut(offset / 8))
            }
        };
        if let Some(place) = place {
            *place = value;
        }
    }
}
