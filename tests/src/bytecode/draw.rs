//! Programs that the verifier accepts, drawn from any bytes.
//!
//! A drawn program is structured: blocks, branches and loops preserve the depth of the operand stack. Functions call
//! later functions, which take 0 to 9 arguments, and functions of the host, which take 0 to 8. Values stay on the
//! operand stack across joins and are moved, copied and popped there; slots are also written above the top of the
//! stack. Loops count down, so that a program ends, unless it divides by zero.

pub(crate) mod source;
mod values;

use smf_core::bytecode::instruction::{Instruction, OPCODE_SIZE};
use smf_core::bytecode::verify::{FunctionCode, Kind};

use Instruction as I;
use source::Source;
pub use source::seeded;

/// The operand stack at the start of a drawn function. These values are not popped.
const KEPT: [Kind; 6] = [Kind::I64, Kind::I64, Kind::I64, Kind::F64, Kind::F64, Kind::Bool];

/// Parameters of function 0.
const PARAMS: u16 = 2;

/// The maximum number of parameters of other functions.
const MOST_PARAMS: u8 = 9;

/// The maximum nesting depth of loops.
const DEEPEST: u16 = 4;

/// The maximum number of iterations of a loop.
const ROUNDS: u8 = 5;

/// At this stack depth and above, statements leave no further values.
const LONGEST: usize = 90;

/// A drawn function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drawn {
    /// Its code.
    pub code: Vec<u8>,
    /// The number of parameters.
    pub params: u16,
    /// The number of locals.
    pub locals: u16,
}

impl Drawn {
    /// The function in the form that the verifier takes.
    pub fn function(&self) -> FunctionCode<'_> {
        FunctionCode { code: &self.code, params: self.params, locals: self.locals }
    }
}

/// A valid program of one to four functions, whose function 0 takes two integers and returns one. Equal bytes give
/// equal programs. A function of the host takes as many arguments as its index.
pub fn draw(data: &[u8]) -> Vec<Drawn> {
    let mut source = Source { data };
    let count = 1 + source.below(4);
    let params: Vec<u16> = (0..count)
        .map(|index| if index == 0 { PARAMS } else { source.arguments(MOST_PARAMS) })
        .collect();
    (0..count.into()).map(|index| draw_function(&mut source, index, &params)).collect()
}

fn draw_function(source: &mut Source<'_>, index: usize, params: &[u16]) -> Drawn {
    let given = params[index];
    let mut writer = Writer {
        code: Vec::new(),
        index,
        params,
        integers: given.max(2),
        loops: 0,
        vector: Vec::new(),
        floor: KEPT.len(),
        left: 40,
    };
    for kind in KEPT {
        writer.constant(source, writer.vector.len(), kind);
        writer.vector.push(kind);
    }
    for local in given..writer.integers {
        writer.put(I::ConstI64Push { value: source.integer() });
        writer.put(I::PopStore { local });
    }
    writer.block(source);
    writer.finish(source);
    let locals = writer.unread() + 1;
    Drawn { code: writer.code, params: given, locals }
}

struct Writer<'p> {
    code: Vec<u8>,
    index: usize,
    /// The number of parameters of each function.
    params: &'p [u16],
    /// The number of integer locals, which come first. Loop counters follow.
    integers: u16,
    /// The number of enclosing loops.
    loops: u16,
    /// The kinds of the values on the operand stack.
    vector: Vec<Kind>,
    /// The number of these that stay until the end of the block.
    floor: usize,
    /// The number of statements that may still be drawn.
    left: u32,
}

impl Writer<'_> {
    fn put(&mut self, instruction: I) {
        let (bytes, size) = instruction.encode();
        self.code.extend_from_slice(&bytes[..size]);
    }

    /// Emits an instruction that pops `pops` values and pushes one.
    fn operate(&mut self, instruction: I, pops: usize, result: Kind) {
        self.put(instruction);
        self.vector.truncate(self.vector.len() - pops);
        self.vector.push(result);
    }

    fn here(&self) -> i32 {
        i32::try_from(self.code.len()).unwrap()
    }

    /// A local that is never read, behind the loop counters.
    fn unread(&self) -> u16 {
        self.integers + DEEPEST
    }

    /// Emits a jump whose distance [`Writer::land`] fills in.
    fn jump(&mut self, instruction: I) -> usize {
        let at = self.code.len();
        self.put(instruction);
        at
    }

    fn land(&mut self, jump: usize) {
        let place = jump + usize::try_from(OPCODE_SIZE).unwrap();
        let distance = self.here() - i32::try_from(place + 4).unwrap();
        self.code[place..place + 4].copy_from_slice(&distance.to_le_bytes());
    }

    /// Writes a constant to a slot.
    fn constant(&mut self, source: &mut Source<'_>, slot: usize, kind: Kind) {
        let dest = u16::try_from(slot).unwrap();
        self.put(match kind {
            Kind::I64 => I::ConstI64 { dest, value: source.integer() },
            Kind::F64 => I::ConstF64 { dest, bits: source.float() },
            Kind::Bool => source.choose([I::ConstTrue { dest }, I::ConstFalse { dest }]),
            Kind::Nil | Kind::Value => {
                source.choose([I::ConstNone { dest }, I::ConstUnit { dest }])
            }
        });
    }

    /// A slot with a value of this kind, if any.
    fn slot_of(&self, source: &mut Source<'_>, kind: Kind) -> Option<u16> {
        let slots: Vec<u16> =
            (0..).zip(&self.vector).filter(|slot| *slot.1 == kind).map(|slot| slot.0).collect();
        let number = usize::from(source.byte()).checked_rem(slots.len())?;
        Some(slots[number])
    }

    /// A slot with a value of a kind that the stack starts with.
    fn slot(&self, source: &mut Source<'_>, kind: Kind) -> u16 {
        self.slot_of(source, kind).expect("they stay")
    }

    /// An integer local.
    fn local(&self, source: &mut Source<'_>) -> u16 {
        u16::from(source.byte()) % self.integers
    }

    /// Statements, which preserve the kinds of the values on the stack.
    fn block(&mut self, source: &mut Source<'_>) {
        let floor = std::mem::replace(&mut self.floor, self.vector.len());
        for _ in 0..=source.below(6) {
            if self.left == 0 {
                break;
            }
            self.left -= 1;
            self.statement(source);
        }
        while self.vector.len() > self.floor {
            self.drop_last(source);
        }
        self.floor = floor;
    }

    fn statement(&mut self, source: &mut Source<'_>) {
        let kind = source.choose(KEPT);
        match source.below(28) {
            0 | 1 => self.branch(source),
            2 if self.loops < DEEPEST => self.repeat(source),
            3 => self.leave_early(source),
            4..7 => self.join(),
            7 | 8 => {
                let (a, b) = (self.slot(source, kind), self.slot(source, kind));
                self.put(source.choose([I::Dup { src: a, dest: b }, I::Swap { a, b }]));
            }
            9 => {
                let slot = self.slot(source, kind).into();
                self.constant(source, slot, kind);
            }
            10 => {
                self.value(source, Kind::I64, 2);
                self.vector.pop();
                let local = self.local(source);
                self.put(I::PopStore { local });
            }
            11 => {
                let (src, local) = (self.slot(source, Kind::I64), self.local(source));
                self.put(I::Store { local, src });
            }
            12 => {
                self.value(source, Kind::I64, 2);
                self.value(source, Kind::I64, 2);
                self.vector.truncate(self.vector.len() - 2);
                let dest = self.slot(source, Kind::I64);
                self.put(source.choose([
                    I::AddI64Pop { dest },
                    I::SubI64Pop { dest },
                    I::MulI64Pop { dest },
                ]));
            }
            13 => {
                let (dest, local) = (self.slot(source, Kind::I64), self.local(source));
                self.put(I::Load { dest, local });
            }
            14..17 if self.vector.len() < LONGEST => self.value(source, kind, 1),
            17 if self.vector.len() > self.floor => self.drop_last(source),
            18 if self.vector.len() < LONGEST => self.write_beyond(source),
            19..22 if self.vector.len() > self.floor => self.fold(source),
            22..26 => {
                // The result may be pushed to the slot of a value that is now stored elsewhere.
                if self.vector.len() > self.floor {
                    self.drop_last(source);
                }
                self.call(source, 1);
                if source.below(2) == 0 {
                    self.drop_last(source);
                }
            }
            _ => {
                self.value(source, kind, 3);
                self.drop_last(source);
            }
        }
    }

    /// Pops the last value into a slot of its kind, or into a local.
    fn drop_last(&mut self, source: &mut Source<'_>) {
        let Some(kind) = self.vector.pop() else { return };
        match (source.below(4), self.slot_of(source, kind)) {
            (0, _) if kind == Kind::I64 => {
                let local = self.local(source);
                self.put(I::PopStore { local });
            }
            (0, _) | (_, None) => self.put(I::PopStore { local: self.unread() }),
            (_, Some(dest)) => self.put(I::Pop { dest }),
        }
    }

    /// Writes a slot at the top of the stack or above.
    fn write_beyond(&mut self, source: &mut Source<'_>) {
        let gap = match source.below(8) {
            0 => usize::from(source.below(80)),
            _ => usize::from(source.below(12)),
        };
        let kind = source.choose(KEPT);
        let way = source.below(4);
        if way == 0 {
            self.value(source, kind, 1);
            self.vector.pop();
        }
        let to = self.vector.len() + gap;
        let dest = u16::try_from(to).unwrap();
        let written = match way {
            0 => {
                self.put(I::Pop { dest });
                kind
            }
            1 => {
                let src = self.slot(source, kind);
                self.put(I::Dup { src, dest });
                kind
            }
            2 => {
                let local = self.local(source);
                self.put(I::Load { dest, local });
                Kind::I64
            }
            _ => {
                self.constant(source, to, kind);
                kind
            }
        };
        self.vector.resize(to, Kind::Nil);
        self.vector.push(written);
    }

    /// Emits a conditional jump past the next block, of any kind.
    fn unless(&mut self, source: &mut Source<'_>) -> usize {
        let length = self.vector.len();
        let jump = match source.below(4) {
            0 => {
                self.value(source, Kind::I64, 1);
                self.value(source, Kind::F64, 1);
                I::LtJmpIfNot { offset: 0 }
            }
            1 => {
                self.value(source, Kind::I64, 1);
                self.value(source, Kind::I64, 1);
                I::EqJmpIfNot { offset: 0 }
            }
            choice => {
                self.value(source, Kind::Bool, 2);
                if choice == 2 { I::JmpIf { offset: 0 } } else { I::JmpIfNot { offset: 0 } }
            }
        };
        self.vector.truncate(length);
        self.jump(jump)
    }

    /// A jump to the next instruction: at the join every value is in its home location.
    fn join(&mut self) {
        let jump = self.jump(I::Jmp { offset: 0 });
        self.land(jump);
    }

    fn branch(&mut self, source: &mut Source<'_>) {
        let to_other = self.unless(source);
        self.block(source);
        if source.below(2) == 0 {
            return self.land(to_other);
        }
        let to_end = self.jump(I::Jmp { offset: 0 });
        self.land(to_other);
        self.block(source);
        self.land(to_end);
    }

    /// Returns in one of two branches.
    fn leave_early(&mut self, source: &mut Source<'_>) {
        let to_rest = self.unless(source);
        let vector = self.vector.clone();
        self.block(source);
        self.finish(source);
        self.vector = vector;
        self.land(to_rest);
    }

    /// A loop with a counter in a local of its own.
    fn repeat(&mut self, source: &mut Source<'_>) {
        let local = self.integers + self.loops;
        self.loops += 1;
        self.put(I::ConstI64Push { value: i64::from(source.below(ROUNDS)) });
        self.put(I::PopStore { local });
        let head = self.here();
        self.put(I::ConstI64Push { value: 0 });
        self.put(I::LoadPush { local });
        let to_end = self.jump(I::LtJmpIfNot { offset: 0 });
        self.block(source);
        self.put(I::LoadPush { local });
        self.put(I::ConstI64Push { value: 1 });
        self.put(I::SubI64);
        self.put(I::PopStore { local });
        let end = self.here() + 6;
        self.put(I::Jmp { offset: head - end });
        self.land(to_end);
        self.loops -= 1;
    }

    /// Returns an integer, or the result of another function.
    fn finish(&mut self, source: &mut Source<'_>) {
        let later = self.params.len() - self.index - 1;
        if later > 0 && source.below(4) == 0 {
            let function = self.index + 1 + usize::from(source.byte()) % later;
            let argc = self.params[function];
            (0..argc).for_each(|_| self.value(source, Kind::I64, 1));
            self.put(I::TailCall { function: u32::try_from(function).unwrap(), argc });
        } else {
            let src = self.slot(source, Kind::I64);
            self.put(I::Ret { src });
        }
    }
}
