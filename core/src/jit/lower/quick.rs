//! The quick way: one walk over the code of a simple function, which checks it and compiles it at once.
//!
//! Nothing is known of the code when the walk begins. So a function is simple when nothing has to be:
//!
//! * It has at most 14 locals, whose numbers say where they live, and at most six parameters.
//! * Its vector has at most twelve values, and none wherever a jump leads or comes from.
//! * It computes with integers and bools. Each local is of one of these kinds throughout, and set on all
//!   paths to where it is read.
//! * All of its code is reached in the order of the code, and ends with a return.
//! * What it returns is of one kind, and when that is an integer, one return at least gives what is one
//!   whatever other functions return: of functions that only return each other's results the verifier
//!   says that they return nil.
//!
//! Everything else makes the walk give up, and so does everything that is wrong; the verifier then looks
//! at the function as if nothing had been. So the quick way is never the one that refuses, and what it
//! accepts the verifier accepts as well, with the same summary: each rule asks for more than the
//! verifier's, which `compile::tests` and the oracle of the verifier's tests compare.
//!
//! For each pair of bytes at which an instruction begins with an empty vector, the walk remembers the
//! offset of its code and which locals may not be set there. A jump back finds both, so that loops need
//! not be known before they are entered: it is refused when a local may not be set that was there. A
//! jump forward leaves there the locals that may not be set where it stands; a label that is never bound
//! because it is inside an instruction is no code.
//!
//! A value of the vector is a constant, in the home of a local, in a temporary register, or, when
//! something is called or divided above it, in a word of the frame that its position has. Such a word
//! belongs to that position alone. What a register or a word is called, how activations begin and end, and
//! the instructions that operators, comparisons and calls become are those of [`super`].
//!
//! Memory beside the code: 8 bytes a byte of the function's bytecode, reused from one to the next.

mod operators;
mod vector;

use alloc::vec::Vec;

use super::compare::signed;
use super::division::Wanted;
use super::integers::Operator;
use super::{Lowering, Places};
use crate::alloc_util::{try_reserve, try_resize};
use crate::format::bytes::i64_at;
use crate::jit::bytecode::{Instruction, Opcode, bytes_of};
use crate::jit::machine::ARGUMENTS;
use crate::jit::relation::Relation;
use crate::jit::verify::{Calls, FunctionCode, Kind};
use crate::jit::x64::{Cond, Gpr, GprOrStack, Label, Labels, W64};
pub(super) use vector::MOST;
use vector::{Place, Sort, Value, Vector};

/// The most locals.
pub(super) const MOST_LOCALS: u16 = 14;

/// The most bytes of bytecode.
const MOST_CODE: usize = 1 << 24;

/// Locals, a bit each.
type Set = u32;

/// A path has come here: a bit that no local has.
const REACHED: Set = 1 << 31;

/// No path has come here, or one with values in the vector.
const NOWHERE: Set = 0;

/// What is known of a place where an instruction may begin.
#[derive(Clone, Copy, Debug)]
struct Spot {
    /// The locals that may not be set there and [`REACHED`], or [`NOWHERE`].
    unset: Set,
    /// Where its code begins, once the walk has come there.
    offset: u32,
}

/// What the walk keeps, and its memory.
#[derive(Debug)]
pub(super) struct Quick {
    vector: Vector,
    /// Where the locals live.
    homes: [GprOrStack; MOST_LOCALS as usize],
    /// For each pair of bytes; what follows the code is stale.
    spots: Vec<Spot>,
    /// The functions whose results were taken for integers.
    taken: Vec<u32>,
}

impl Default for Quick {
    fn default() -> Self {
        Self {
            vector: Vector::default(),
            homes: [Gpr::Rax.into(); MOST_LOCALS as usize],
            spots: Vec::new(),
            taken: Vec::new(),
        }
    }
}

/// A function that is being compiled.
struct Walk<'l, 'p, 'c> {
    l: &'l mut Lowering,
    calls: &'p mut (dyn Calls + 'c),
    code: &'p [u8],
    labels: Labels,
    /// Which instruction is behind the one at hand, in bytes.
    next: usize,
    /// Where the code ends that is reached from above, once that is known.
    end: usize,
    locals: u16,
    /// The locals that may not be set, and [`REACHED`].
    unset: Set,
    /// The locals whose kind is known, and those of them that are bools.
    known: Set,
    bools: Set,
    result: Option<Kind>,
    /// Whether an integer was returned that is one, whatever other functions return.
    returns_integer: bool,
    /// Whether a local was set to what only may be an integer.
    keeps_taken: bool,
}

impl Lowering {
    /// Checks and compiles a simple function, which is [there](Self::lowered) then; `None` when it is
    /// none. Gives the most values that its vector ever holds, and the kind of what it returns.
    pub(crate) fn quick(
        &mut self,
        function: FunctionCode<'_>,
        index: u32,
        calls: &mut dyn Calls,
    ) -> Option<(u32, Kind)> {
        let FunctionCode { code, params, locals } = function;
        let is_large = locals > MOST_LOCALS || code.len() > MOST_CODE;
        if is_large || params > locals || usize::from(params) > ARGUMENTS.len() {
            return None;
        }
        let (pairs, []) = code.as_chunks() else { return None };
        self.quick.homes = self.frame.plan_simple(params, locals, may_call(pairs));
        self.start(index, true);
        self.quick.vector.start();
        self.quick.taken.clear();
        let nothing = Spot { unset: NOWHERE, offset: 0 };
        if self.quick.spots.len() < pairs.len() {
            try_resize(&mut self.quick.spots, pairs.len(), nothing).ok()?;
        }
        self.quick.spots.get_mut(..pairs.len())?.fill(nothing);
        let labels = self.asm.labels(pairs.len());
        let known = (1 << params) - 1;
        let mut walk = Walk {
            l: self,
            calls,
            code,
            labels,
            next: 0,
            end: 0,
            locals,
            unset: REACHED | !known,
            known,
            bools: 0,
            result: None,
            returns_integer: false,
            keeps_taken: false,
        };
        walk.l.origin(0);
        walk.prologue(params);
        walk.run()?;
        walk.l.origin(u32::try_from(code.len()).ok()?);
        let result = walk.result?;
        if result == Kind::I64 && !walk.returns_integer {
            return None;
        }
        let longest = u32::try_from(self.quick.vector.longest).ok()?;
        self.put_traps();
        // What jumps lead to and no instruction begins with is no label that was bound.
        self.asm.code().ok()?;
        Some((longest, result))
    }

    /// The functions that the function calls that went the quick way last, and whose results it took
    /// for integers because nothing was known of them.
    pub(crate) fn taken_for_integers(&self) -> &[u32] {
        &self.quick.taken
    }

    /// As [`places`](Self::places), of a function that went the quick way.
    pub(crate) fn simple_places(&mut self, function: FunctionCode<'_>) -> Places<'_> {
        let FunctionCode { code, params, locals } = function;
        let (pairs, _) = code.as_chunks();
        let homes = self.frame.plan_simple(params, locals, may_call(pairs));
        self.homes.set(&homes);
        Places { frame: self.frame, homes: &self.homes }
    }
}

/// Whether there may be calls: whether two bytes are such an opcode, which may be those of an operand.
fn may_call(pairs: &[[u8; 2]]) -> bool {
    const CALLS: [u16; 2] = [Opcode::Call.0 as u16, Opcode::CallSffi.0 as u16];
    // All of them are looked at, so that many are at once.
    let [call, host] = CALLS;
    let is_call = |opcode| u16::from(opcode == call) | u16::from(opcode == host);
    pairs.iter().fold(0, |found, pair| found | is_call(u16::from_le_bytes(*pair))) != 0
}

/// The first eight bytes of an instruction.
#[derive(Clone, Copy)]
struct Bytes(u64);

impl Bytes {
    /// Those at `at`; those behind the code are 0. `None` at its end.
    #[inline(always)]
    fn of(code: &[u8], at: usize) -> Option<Self> {
        let rest = code.get(at..)?;
        match rest.first_chunk() {
            Some(bytes) => Some(Self(u64::from_le_bytes(*bytes))),
            None => Self::of_few(rest),
        }
    }

    #[cold]
    fn of_few(rest: &[u8]) -> Option<Self> {
        let word = rest.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte));
        (!rest.is_empty()).then_some(Self(word))
    }

    #[inline(always)]
    fn opcode(self) -> u16 {
        self.0 as u16
    }

    #[inline(always)]
    fn a(self) -> u16 {
        (self.0 >> 16) as u16
    }

    #[inline(always)]
    fn b(self) -> u16 {
        (self.0 >> 32) as u16
    }

    #[inline(always)]
    fn long(self) -> u32 {
        (self.0 >> 16) as u32
    }

    #[inline(always)]
    fn argc(self) -> u16 {
        (self.0 >> 48) as u16
    }
}

/// The bytes of the instruction with each opcode; 0 for none.
const SIZES: [u8; 256] = {
    let mut sizes = [0; 256];
    let (mut opcode, mut rest) = (0, sizes.as_mut_slice());
    while let Some((size, others)) = rest.split_first_mut() {
        if let Some(roles) = Instruction::roles_of(opcode) {
            // At most 14.
            *size = bytes_of(roles) as u8;
        }
        (opcode, rest) = (opcode + 1, others);
    }
    sizes
};

impl Walk<'_, '_, '_> {
    /// Everything before the first instruction.
    fn prologue(&mut self, params: u16) {
        self.l.enter();
        for (&home, &register) in self.l.quick.homes.iter().zip(&ARGUMENTS).take(params.into()) {
            if home != register.into() {
                self.l.asm.mov(W64, home, register);
            }
        }
    }

    /// Follows the code to its end, which is never reached from above.
    fn run(&mut self) -> Option<()> {
        while let Some(bytes) = Bytes::of(self.code, self.next) {
            let at = self.next;
            self.l.here = at / 2;
            self.next = at + usize::from(*SIZES.get(usize::from(bytes.opcode()))?);
            self.begin()?;
            self.instruction(bytes)?;
        }
        (self.end == self.code.len()).then_some(())
    }

    /// Comes to the instruction at hand.
    #[inline(always)]
    fn begin(&mut self) -> Option<()> {
        let offset = self.l.asm.offset();
        self.l.origin(self.l.at());
        let quick = &mut self.l.quick;
        let is_empty = quick.vector.length() == 0;
        let spot = quick.spots.get_mut(self.l.here)?;
        spot.offset = offset;
        if spot.unset == NOWHERE {
            if is_empty {
                spot.unset = self.unset;
            }
            return Some(());
        }
        spot.unset |= self.unset;
        self.unset = spot.unset;
        let label = self.labels.get(self.l.here).filter(|_| is_empty)?;
        self.l.asm.bind(label);
        Some(())
    }

    /// The next instruction is not reached from here: it is from elsewhere, or there is none.
    #[inline(always)]
    fn leave(&mut self) -> Option<()> {
        self.l.quick.vector.empty();
        if self.next >= self.code.len() {
            self.end = self.next;
            return Some(());
        }
        self.unset = self.l.quick.spots.get(self.next / 2)?.unset;
        (self.unset != NOWHERE).then_some(())
    }

    /// Where a jump leads, to which it brings what is there now; `None` unless the vector is empty. A
    /// jump back looks whether it may go on, and changes the flags.
    #[inline(always)]
    fn lead(&mut self, bytes: Bytes) -> Option<Label> {
        let distance = isize::try_from(bytes.long().cast_signed()).ok()?;
        let target = self.next.checked_add_signed(distance).filter(|target| target % 2 == 0)? / 2;
        let quick = &mut self.l.quick;
        if quick.vector.length() != 0 {
            return None;
        }
        let spot = quick.spots.get_mut(target)?;
        let label = self.labels.get(target)?;
        if target > self.l.here {
            spot.unset |= self.unset;
            return Some(label);
        }
        // What is read behind there must be set here as well.
        if spot.unset == NOWHERE || self.unset & !spot.unset != 0 {
            return None;
        }
        let offset = spot.offset;
        self.close_loop(target, label, offset)?;
        Some(label)
    }

    /// A jump back to `target`, whose code begins at `offset`.
    fn close_loop(&mut self, target: usize, label: Label, offset: u32) -> Option<()> {
        if self.l.asm.offset_of(label).is_none() {
            self.l.asm.bind_at(label, offset);
        }
        let (heads, head) = (&mut self.l.loop_heads, super::offset(target));
        if let Err(place) = heads.binary_search_by_key(&head, |&(head, _)| head) {
            try_reserve(heads, 1).ok()?;
            heads.insert(place, (head, offset));
        }
        self.l.look_for_interrupt();
        Some(())
    }

    /// Puts an instruction down.
    #[inline(always)]
    fn instruction(&mut self, bytes: Bytes) -> Option<()> {
        use Opcode as O;
        match Opcode(u8::try_from(bytes.opcode()).ok()?) {
            O::ConstI64 => self.set_slot(bytes.a(), Value::integer(self.constant(4)?)),
            O::ConstTrue => self.set_slot(bytes.a(), Value::TRUE),
            O::ConstFalse => self.set_slot(bytes.a(), Value::FALSE),
            O::ConstI64Push => {
                let value = Value::integer(self.constant(2)?);
                self.push(value)
            }
            O::Load => {
                let value = self.local(bytes.b())?;
                self.set_slot(bytes.a(), value)
            }
            O::LoadPush => {
                let value = self.local(bytes.a())?;
                self.push(value)
            }
            O::PopStore => {
                let value = self.pop()?;
                self.set_local(bytes.a(), value, true)
            }
            O::Store => {
                let value = self.l.quick.vector.get(bytes.b())?;
                self.set_local(bytes.a(), value, false)
            }
            O::Pop => {
                let value = self.pop()?;
                self.set_slot(bytes.a(), value)
            }
            O::AddI64 => self.combine(Operator::Add, false, None),
            O::SubI64 => self.combine(Operator::Sub, false, None),
            O::MulI64 => self.combine(Operator::Mul, false, None),
            O::AddI64Pop => self.combine(Operator::Add, false, Some(bytes.a())),
            O::SubI64Pop => self.combine(Operator::Sub, false, Some(bytes.a())),
            O::MulI64Pop => self.combine(Operator::Mul, false, Some(bytes.a())),
            O::And => self.combine(Operator::And, true, None),
            O::Or => self.combine(Operator::Or, true, None),
            O::Not => self.invert(),
            O::DivI64 => self.divide(Wanted::Quotient),
            O::ModI64 => self.divide(Wanted::Rest),
            O::Eq => self.compare(Relation::Eq),
            O::Ne => self.compare(Relation::Ne),
            O::Lt => self.compare(Relation::Lt),
            O::Le => self.compare(Relation::Le),
            O::Gt => self.compare(Relation::Gt),
            O::Ge => self.compare(Relation::Ge),
            O::LtJmpIfNot => self.compare_and_jump(Relation::Lt, false, bytes),
            O::EqJmpIfNot => self.compare_and_jump(Relation::Eq, false, bytes),
            O::JmpIf => self.jump_if(Cond::Ne, bytes),
            O::JmpIfNot => self.jump_if(Cond::E, bytes),
            O::Jmp => {
                let label = self.lead(bytes)?;
                self.l.asm.jmp(label);
                self.leave()
            }
            O::Call => self.call(bytes.long(), bytes.argc()),
            O::CallSffi => self.call_host(bytes.a(), bytes.b()),
            O::Ret => {
                let value = self.l.quick.vector.get(bytes.a())?;
                let kind = if value.is_bool() { Kind::Bool } else { Kind::I64 };
                self.returns_integer |= value.sort == Sort::Integer;
                self.return_value(kind, value.place)
            }
            O::RetVoid => self.return_value(Kind::Nil, Place::Constant(0)),
            _ => None,
        }
    }

    /// The constant of the instruction at hand, `start` bytes from its begin.
    #[inline(always)]
    fn constant(&self, start: usize) -> Option<i64> {
        i64_at(self.code, 2 * self.l.here + start)
    }

    fn return_value(&mut self, kind: Kind, place: Place) -> Option<()> {
        if *self.result.get_or_insert(kind) != kind {
            return None;
        }
        if place == Place::Constant(0) {
            self.l.asm.zero(Gpr::Rax);
        } else {
            self.load(Gpr::Rax, place);
        }
        self.l.epilogue(Gpr::Rcx);
        self.l.leave();
        self.leave()
    }

    /// The next instruction, if no jump forward leads there, and what is behind it. No jump back does
    /// either when it is passed over, because nothing is known at its place then.
    #[inline(always)]
    fn peek(&self) -> Option<(Bytes, Opcode)> {
        let bytes = Bytes::of(self.code, self.next)?;
        let spot = self.l.quick.spots.get(self.next / 2)?;
        let opcode = u8::try_from(bytes.opcode()).ok().filter(|_| spot.unset == NOWHERE)?;
        Some((bytes, Opcode(opcode)))
    }
}
