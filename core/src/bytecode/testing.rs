//! What the tests of the room share: code from instructions, and numbers that look random.

mod slots;

use std::vec::Vec;

pub(crate) use slots::{hosts, slot_program};

use super::instruction::{Instruction, OPCODE_SIZE};
use super::verify::FunctionCode;

use Instruction as I;

/// The code of these instructions. The offset of a jump is the number of the instruction that it leads
/// to; that after the last one is the end.
pub(crate) fn code(instructions: &[Instruction]) -> Vec<u8> {
    let mut places = std::vec![0u32];
    for instruction in instructions {
        places.push(places.last().unwrap() + instruction.size());
    }
    let mut code = Vec::new();
    for (number, instruction) in instructions.iter().enumerate() {
        let (mut bytes, size) = instruction.encode();
        if let Some(to) = instruction.jump_offset() {
            let to = places[usize::try_from(to).unwrap()];
            let offset = i32::try_from(i64::from(to) - i64::from(places[number + 1])).unwrap();
            bytes[OPCODE_SIZE as usize..][..4].copy_from_slice(&offset.to_le_bytes());
        }
        code.extend_from_slice(&bytes[..size]);
    }
    code
}

/// A function without parameters that has `locals` locals.
pub(crate) fn function(code: &[u8], params: u16, locals: u16) -> FunctionCode<'_> {
    FunctionCode { code, params, locals }
}

/// Numbers that look random and are the same every time (xorshift64*).
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number below `bound`.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        (self.next() >> 32) % bound
    }
}

/// Code, parameters and locals of functions.
pub(crate) type Functions = Vec<(Vec<u8>, u16, u16)>;

pub(crate) fn view(functions: &Functions) -> Vec<FunctionCode<'_>> {
    functions.iter().map(|(code, params, locals)| function(code, *params, *locals)).collect()
}

/// A program of which most functions are such as a compiler makes of statements: jumps find the vector
/// empty. They end, and call those after them and functions of the host. With `trouble`, some have
/// instructions that do not fit.
pub(crate) fn statement_program(random: &mut Random, trouble: bool) -> Functions {
    let count = 1 + random.below(4);
    let params: Vec<u16> = (0..count).map(|_| random.below(7) as u16).collect();
    let mut functions = Vec::new();
    for (index, &given) in (0..).zip(&params) {
        let integers = given + random.below(6) as u16;
        let mut writer = Statements {
            random,
            out: Vec::new(),
            params: &params,
            index,
            integers,
            set: (0..integers + BOOLS + LOOPS).map(|local| local < given).collect(),
            height: 0,
            loops: 0,
            left: 12,
            trouble,
        };
        for local in given..integers + BOOLS {
            if writer.below(8) != 0 {
                writer.set(local, 1);
            }
        }
        writer.block();
        writer.finish();
        functions.push((code(&writer.out), given, integers + BOOLS + LOOPS));
    }
    functions
}

/// Locals that are bools, behind those that are integers, and those that count rounds.
const BOOLS: u16 = 2;
const LOOPS: u16 = 2;

/// A function that is written statement by statement.
struct Statements<'r> {
    random: &'r mut Random,
    out: Vec<I>,
    params: &'r [u16],
    index: u32,
    integers: u16,
    /// Which locals are set.
    set: Vec<bool>,
    /// The length of the vector.
    height: u16,
    loops: u16,
    left: u32,
    trouble: bool,
}

impl Statements<'_> {
    fn below(&mut self, bound: u64) -> u64 {
        self.random.below(bound)
    }

    fn put(&mut self, instruction: I, height: u16) {
        self.out.push(instruction);
        self.height = height;
    }

    /// One of the locals in a range that are set.
    fn local(&mut self, from: u16, to: u16) -> Option<u16> {
        let set: Vec<u16> = (from..to).filter(|local| self.set[usize::from(*local)]).collect();
        let number = self.below(1 + set.len() as u64) as usize;
        set.get(number).copied()
    }

    fn integer(&mut self, depth: u64) {
        let height = self.height;
        if self.below(3) >= depth {
            return match self.local(0, self.integers) {
                Some(local) => self.put(I::LoadPush { local }, height + 1),
                None => {
                    let value = match self.below(9) {
                        0 => self.random.next() as i64,
                        1 => [i64::MIN, i64::MAX, -1, 128, -128, 1 << 31, 1 << 40]
                            [self.below(7) as usize],
                        _ => self.below(20) as i64 - 5,
                    };
                    self.put(I::ConstI64Push { value }, height + 1);
                }
            };
        }
        match self.below(12) {
            0 => self.call(depth),
            1 => {
                let argc = self.below(if depth > 1 { 3 } else { 8 }) as u16;
                (0..argc).for_each(|_| self.integer(depth - 1));
                self.put(I::CallSffi { index: argc, argc }, height + 1);
            }
            choice => {
                self.integer(depth - 1);
                self.integer(depth - 1);
                let dest = height;
                let operator = match choice {
                    2 => I::DivI64,
                    3 => I::ModI64,
                    4 => I::AddI64Pop { dest },
                    5 => I::SubI64Pop { dest },
                    6 | 7 => I::MulI64,
                    8 | 9 => I::SubI64,
                    _ => I::AddI64,
                };
                self.put(operator, height + 1);
            }
        }
    }

    fn call(&mut self, depth: u64) {
        let (height, later) = (self.height, self.params.len() as u64 - u64::from(self.index) - 1);
        if later == 0 || self.loops > 1 {
            return self.integer(0);
        }
        let function = self.index + 1 + self.below(later) as u32;
        let argc = self.params[function as usize];
        (0..argc).for_each(|_| self.integer(depth - 1));
        self.put(I::Call { function, argc }, height + 1);
    }

    fn bool(&mut self, depth: u64) {
        let dest = self.height;
        if depth == 0 {
            return match self.local(self.integers, self.integers + BOOLS) {
                Some(local) => self.put(I::LoadPush { local }, dest + 1),
                None => {
                    let value =
                        [I::ConstTrue { dest }, I::ConstFalse { dest }][self.below(2) as usize];
                    self.put(value, dest + 1);
                }
            };
        }
        match self.below(5) {
            0 => {
                self.bool(depth - 1);
                self.put(I::Not, dest + 1);
            }
            1 => {
                self.bool(depth - 1);
                self.bool(depth - 1);
                let operator = [I::And, I::Or, I::Eq, I::Ne][self.below(4) as usize];
                self.put(operator, dest + 1);
            }
            _ => {
                self.integer(depth);
                self.integer(depth);
                let relation = [I::Eq, I::Ne, I::Lt, I::Le, I::Gt, I::Ge][self.below(6) as usize];
                self.put(relation, dest + 1);
            }
        }
    }

    /// Sets a local to a value of its kind.
    fn set(&mut self, local: u16, depth: u64) {
        if local < self.integers {
            self.integer(depth);
        } else {
            self.bool(depth);
        }
        self.put(I::PopStore { local }, 0);
        self.set[usize::from(local)] = true;
    }

    /// Returns an integer, or with trouble sometimes nothing.
    fn finish(&mut self) {
        if self.trouble && self.below(9) == 0 {
            return self.put(I::RetVoid, 0);
        }
        self.integer(2);
        if self.below(2) == 0 {
            self.put(I::Pop { dest: 0 }, 1);
        }
        self.put(I::Ret { src: 0 }, 0);
    }

    fn block(&mut self) {
        for _ in 0..1 + self.below(4) {
            if self.left > 0 {
                self.left -= 1;
                self.statement();
            }
        }
    }

    fn statement(&mut self) {
        match self.below(8) {
            0 | 1 => self.branch(),
            2 | 3 if self.loops < LOOPS => self.repeat(),
            4 if self.trouble && self.below(6) == 0 => {
                let slot = self.below(2) as u16;
                let odd = [
                    I::ConstF64 { dest: slot, bits: 0 },
                    I::ConstNone { dest: slot },
                    I::Push { src: slot },
                    I::LoadPush { local: slot },
                    I::PopStore { local: slot },
                    I::AddI64,
                    I::Jmp { offset: slot.into() },
                ];
                let odd = odd[self.below(7) as usize];
                self.put(odd, 0);
            }
            5 if self.integers > 0 => {
                // A value that a call has to keep, which may be one that was written below its place.
                self.integer(2);
                if self.below(2) == 0 {
                    self.integer(1);
                    self.put(I::Pop { dest: 0 }, 1);
                }
                self.call(2);
                let local = self.below(self.integers.into()) as u16;
                self.put(I::SubI64, 1);
                self.put(I::Store { local, src: 0 }, 1);
                self.put(I::PopStore { local }, 0);
                self.set[usize::from(local)] = true;
            }
            _ => {
                let local = self.below((self.integers + BOOLS).into()) as u16;
                self.set(local, 3);
            }
        }
    }

    /// Puts a jump; where it leads is said later.
    fn jump(&mut self) -> usize {
        match self.below(4) {
            0 | 1 => {
                self.integer(2);
                self.integer(1);
                let jumps = [I::LtJmpIfNot { offset: 0 }, I::EqJmpIfNot { offset: 0 }];
                let jump = jumps[self.below(2) as usize];
                self.put(jump, 0);
            }
            choice => {
                self.bool(2);
                let jumps = [I::JmpIf { offset: 0 }, I::JmpIfNot { offset: 0 }];
                self.put(jumps[choice as usize - 2], 0);
            }
        }
        self.out.len() - 1
    }

    /// Lets a jump lead to an instruction.
    fn lead(&mut self, jump: usize, to: usize) {
        match &mut self.out[jump] {
            I::Jmp { offset }
            | I::JmpIf { offset }
            | I::JmpIfNot { offset }
            | I::LtJmpIfNot { offset }
            | I::EqJmpIfNot { offset } => *offset = to as i32,
            other => panic!("{other:?}"),
        }
    }

    fn branch(&mut self) {
        let set = self.set.clone();
        let to_other = self.jump();
        self.block();
        if self.below(3) == 0 {
            self.finish();
            self.set = set;
            return self.lead(to_other, self.out.len());
        }
        if self.below(2) == 0 {
            self.set = set;
            return self.lead(to_other, self.out.len());
        }
        let to_end = self.out.len();
        self.put(I::Jmp { offset: 0 }, 0);
        let after = core::mem::replace(&mut self.set, set);
        self.lead(to_other, self.out.len());
        self.block();
        self.lead(to_end, self.out.len());
        self.set.iter_mut().zip(after).for_each(|(set, other)| *set &= other);
    }

    /// A loop that looks at its begin, or at its end, whether it goes on.
    fn repeat(&mut self) {
        let local = self.integers + BOOLS + self.loops;
        self.loops += 1;
        let value = 1 + self.below(5) as i64;
        self.put(I::ConstI64Push { value }, 1);
        self.put(I::PopStore { local }, 0);
        let (head, looks_first) = (self.out.len(), self.below(2) == 0);
        if looks_first {
            self.put(I::ConstI64Push { value: 0 }, 1);
            self.put(I::LoadPush { local }, 2);
            self.put(I::LtJmpIfNot { offset: 0 }, 0);
        }
        let set = self.set.clone();
        self.block();
        self.put(I::LoadPush { local }, 1);
        self.put(I::ConstI64Push { value: 1 }, 2);
        self.put(I::SubI64, 1);
        self.put(I::PopStore { local }, 0);
        if looks_first {
            self.put(I::Jmp { offset: head as i32 }, 0);
            self.lead(head + 2, self.out.len());
            self.set = set;
        } else {
            self.put(I::LoadPush { local }, 1);
            self.put(I::ConstI64Push { value: 0 }, 2);
            self.put(I::Gt, 1);
            self.put(I::JmpIf { offset: head as i32 }, 0);
        }
        self.loops -= 1;
    }
}
