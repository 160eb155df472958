//! Random programs of slots, locals and operands of all kinds, with the host functions that they call.

use std::vec;
use std::vec::Vec;

use super::{Functions, Random};
use crate::bytecode::host::{HostFunction, HostTable};
use crate::bytecode::instruction::Instruction as I;
use crate::bytecode::verify::Kind;

/// A function under construction: labels are numbers, jumps are patched at the end.
struct Writer<'r> {
    random: &'r mut Random,
    code: Vec<u8>,
    locals: Vec<Kind>,
    vector: Vec<Kind>,
    /// Slots below this one keep their kinds.
    index: u32,
    params: Vec<u16>,
    left: u32,
    counters: u16,
    depth: u32,
    in_loop: u32,
}

impl Writer<'_> {
    fn put(&mut self, instruction: I) -> usize {
        let at = self.code.len();
        let (bytes, size) = instruction.encode();
        self.code.extend_from_slice(&bytes[..size]);
        at
    }

    /// Sets the target of the jump at `at` to the end.
    fn patch(&mut self, at: usize) {
        let offset = (self.code.len() - at - 6) as i32;
        self.code[at + 2..at + 6].copy_from_slice(&offset.to_le_bytes());
    }

    fn below(&mut self, bound: usize) -> usize {
        self.random.below(bound as u64) as usize
    }

    fn int(&mut self) -> i64 {
        match self.below(6) {
            0 => self.random.next() as i64,
            1 => [i64::MIN, i64::MAX, -1, 0, 1, 128, -128, 1 << 31, 1 << 32][self.below(9)],
            _ => self.below(20) as i64 - 6,
        }
    }

    fn push(&mut self, kind: Kind) {
        let slot = (0..self.vector.len()).rfind(|&slot| self.vector[slot] == kind);
        let local = self.below(self.locals.len());
        if self.locals[local] == kind && self.below(2) == 0 {
            self.put(I::LoadPush { local: local as u16 });
        } else if let Some(slot) = slot.filter(|_| self.below(3) == 0) {
            self.put(I::Push { src: slot as u16 });
        } else {
            let dest = self.vector.len() as u16;
            match kind {
                Kind::I64 => {
                    let value = self.int();
                    self.put(I::ConstI64Push { value })
                }
                Kind::F64 => {
                    let bits = (self.below(9) as f64 / 2.0 - 2.0).to_bits();
                    self.put(I::ConstF64 { dest, bits })
                }
                Kind::Bool if self.below(2) == 0 => self.put(I::ConstTrue { dest }),
                Kind::Bool => self.put(I::ConstFalse { dest }),
                Kind::Nil | Kind::Value => self.put(I::ConstNone { dest }),
            };
        }
        self.vector.push(kind);
    }

    fn kind(&mut self) -> Kind {
        [Kind::I64, Kind::I64, Kind::I64, Kind::I64, Kind::F64, Kind::Bool, Kind::Nil]
            [self.below(7)]
    }

    /// Pushes a value of a kind, computed from others.
    fn expression(&mut self, kind: Kind, deep: u32) {
        if deep == 0 || self.below(4) == 0 {
            return self.push(kind);
        }
        match kind {
            Kind::I64 if self.below(8) == 0 => self.call(),
            Kind::I64 => {
                self.expression(Kind::I64, deep - 1);
                let choice = self.below(6);
                if choice == 5 {
                    self.put(I::NegI64);
                    return;
                }
                self.expression(Kind::I64, deep - 1);
                self.put([I::AddI64, I::SubI64, I::MulI64, I::DivI64, I::ModI64][choice]);
                self.vector.pop();
            }
            Kind::F64 => {
                self.expression(Kind::F64, deep - 1);
                self.expression(Kind::F64, deep - 1);
                let op = [I::AddF64, I::SubF64, I::MulF64, I::DivF64][self.below(4)];
                self.put(op);
                self.vector.pop();
            }
            Kind::Bool => self.condition(deep),
            Kind::Nil | Kind::Value => self.push(Kind::Nil),
        }
    }

    fn condition(&mut self, deep: u32) {
        if self.below(4) == 0 {
            self.expression(Kind::Bool, deep - 1);
            if self.below(2) == 0 {
                self.put(I::Not);
            } else {
                self.expression(Kind::Bool, deep - 1);
                let op = [I::And, I::Or][self.below(2)];
                self.put(op);
                self.vector.pop();
            }
            return;
        }
        self.operands(deep);
        let op = [I::Eq, I::Ne, I::Lt, I::Le, I::Gt, I::Ge][self.below(6)];
        self.put(op);
        self.vector.pop();
        *self.vector.last_mut().unwrap() = Kind::Bool;
    }

    fn operands(&mut self, deep: u32) {
        let kinds = match self.below(6) {
            0 => [Kind::F64, Kind::F64],
            1 => [Kind::F64, Kind::I64],
            2 => [Kind::I64, Kind::F64],
            _ => [Kind::I64, Kind::I64],
        };
        kinds.into_iter().for_each(|kind| self.expression(kind, deep.saturating_sub(1)));
    }

    fn call(&mut self) {
        if self.below(2) == 0 || self.index as usize + 1 >= self.params.len() || self.in_loop > 1 {
            let argc = self.below(9);
            (0..argc).for_each(|_| self.push(Kind::I64));
            self.put(I::CallSffi { index: argc as u16, argc: argc as u16 });
            self.vector.truncate(self.vector.len() - argc);
        } else {
            let rest = self.params.len() - self.index as usize - 1;
            let function = self.index + 1 + self.below(rest) as u32;
            let argc = self.params[function as usize];
            (0..argc).for_each(|_| self.push(Kind::I64));
            self.put(I::Call { function, argc });
            self.vector.truncate(self.vector.len() - argc as usize);
        }
        self.vector.push(Kind::I64);
    }

    fn statement(&mut self) {
        self.left = self.left.saturating_sub(1);
        let length = self.vector.len();
        match self.below(16) {
            0..3 => {
                let local = 1 + self.below(self.locals.len() - 1);
                self.expression(self.locals[local], 3);
                self.put(I::PopStore { local: local as u16 });
                self.vector.pop();
            }
            3 if length > 0 => {
                let slot = self.below(length);
                self.expression(self.vector[slot], 2);
                self.put(I::Pop { dest: slot as u16 });
                self.vector.pop();
            }
            4 if length > 0 => {
                let slot = self.below(length);
                if self.vector[slot] == Kind::I64 {
                    self.expression(Kind::I64, 2);
                    self.expression(Kind::I64, 2);
                    let dest = slot as u16;
                    let op = [I::AddI64Pop { dest }, I::SubI64Pop { dest }, I::MulI64Pop { dest }];
                    let op = op[self.below(3)];
                    self.put(op);
                    self.vector.truncate(length);
                }
            }
            5 if length > 1 => {
                let (a, b) = (self.below(length), self.below(length));
                if self.vector[a] == self.vector[b] {
                    let (a, b) = (a as u16, b as u16);
                    let op = [I::Swap { a, b }, I::Dup { src: a, dest: b }][self.below(2)];
                    self.put(op);
                }
            }
            6 if length > 0 => {
                let (slot, local) = (self.below(length), 1 + self.below(self.locals.len() - 1));
                if self.vector[slot] == self.locals[local] {
                    let (slot, local) = (slot as u16, local as u16);
                    if self.below(2) == 0 {
                        self.put(I::Store { local, src: slot });
                    } else {
                        self.put(I::Load { dest: slot, local });
                    }
                }
            }
            _ => self.other_statement(length),
        }
    }

    /// Statements that change control flow or the number of slots.
    fn other_statement(&mut self, length: usize) {
        match 7 + self.below(9) {
            7 | 8 if self.depth < 3 => self.branch(),
            9 | 10 if self.depth < 3 => self.repeat(),
            11 if self.depth == 0 => {
                let kind = self.kind();
                self.expression(kind, 2);
            }
            12 if self.depth == 0 && self.below(8) == 0 => {
                let more = self.below(20);
                self.put(I::ConstI64 { dest: (length + more) as u16, value: 7 });
                self.vector.resize(length + more, Kind::Nil);
                self.vector.push(Kind::I64);
            }
            13 if self.below(5) == 0 => {
                let after = {
                    self.condition(2);
                    self.vector.pop();
                    self.put(I::JmpIfNot { offset: 0 })
                };
                self.finish();
                self.vector.truncate(length);
                self.patch(after);
            }
            _ if length > 0 => {
                let slot = self.below(length);
                let dest = slot as u16;
                if self.vector[slot] == Kind::I64 {
                    let value = self.int();
                    self.put(I::ConstI64 { dest, value });
                }
            }
            _ => self.push(Kind::I64),
        }
    }

    fn block(&mut self, length: usize) {
        self.depth += 1;
        for _ in 0..1 + self.below(4) {
            if self.left > 0 {
                self.statement();
            }
        }
        assert_eq!(self.vector.len(), length.max(self.vector.len()));
        while self.vector.len() > length {
            let kind = self.vector.pop().unwrap();
            let local = self.locals.iter().skip(1).position(|&k| k == kind).unwrap() + 1;
            self.put(I::PopStore { local: local as u16 });
        }
        self.depth -= 1;
    }

    fn branch(&mut self) {
        let length = self.vector.len();
        let other = match self.below(4) {
            0 => {
                self.operands(2);
                let op = [I::LtJmpIfNot { offset: 0 }, I::EqJmpIfNot { offset: 0 }][self.below(2)];
                self.vector.truncate(length);
                self.put(op)
            }
            choice => {
                self.expression(Kind::Bool, 3);
                self.vector.truncate(length);
                let jumps = [I::JmpIf { offset: 0 }, I::JmpIfNot { offset: 0 }];
                self.put(jumps[choice % 2])
            }
        };
        self.block(length);
        let after = self.put(I::Jmp { offset: 0 });
        self.patch(other);
        if self.below(2) == 0 {
            self.block(length);
        }
        self.patch(after);
    }

    fn repeat(&mut self) {
        let length = self.vector.len();
        let counter = self.counters;
        if counter as usize >= 4 {
            return;
        }
        self.counters += 1;
        self.in_loop += 1;
        let local = 100 + counter;
        let value = 1 + self.below(12) as i64;
        self.put(I::ConstI64Push { value });
        self.put(I::PopStore { local });
        let head = self.code.len();
        self.put(I::LoadPush { local });
        self.put(I::ConstI64Push { value: 1 });
        self.put(I::SubI64);
        self.put(I::PopStore { local });
        self.block(length);
        self.put(I::ConstI64Push { value: 0 });
        self.put(I::LoadPush { local });
        self.put(I::Lt);
        let back = self.put(I::JmpIf { offset: 0 });
        let offset = head as i32 - back as i32 - 6;
        self.code[back + 2..back + 6].copy_from_slice(&offset.to_le_bytes());
        self.counters -= 1;
        self.in_loop -= 1;
    }

    fn finish(&mut self) {
        let rest = self.params.len() - self.index as usize - 1;
        if rest > 0 && self.below(4) == 0 {
            let function = self.index + 1 + self.below(rest) as u32;
            let argc = self.params[function as usize];
            (0..argc).for_each(|_| self.push(Kind::I64));
            self.put(I::TailCall { function, argc });
        } else {
            self.expression(Kind::I64, 3);
            let src = self.vector.len() as u16 - 1;
            self.put(I::Ret { src });
        }
    }
}

/// A program whose functions use slots, locals and operands of all kinds.
pub(crate) fn slot_program(random: &mut Random) -> Functions {
    let count = 1 + random.below(4) as usize;
    let params: Vec<u16> = (0..count)
        .map(|_| if random.below(4) == 0 { 5 + random.below(8) } else { random.below(4) } as u16)
        .collect();
    let mut functions = Vec::new();
    for index in 0..count as u32 {
        let left = 3 + random.below(25) as u32;
        let given = params[index as usize];
        let mut writer = Writer {
            random,
            code: Vec::new(),
            locals: vec![Kind::I64; given as usize],
            vector: Vec::new(),
            index,
            params: params.clone(),
            left,
            counters: 0,
            depth: 0,
            in_loop: 0,
        };
        if given == 0 {
            writer.locals.push(Kind::Nil);
        }
        for kind in [Kind::I64, Kind::Bool, Kind::F64, Kind::Nil, Kind::I64, Kind::I64, Kind::I64] {
            writer.push(kind);
            writer.vector.pop();
            writer.put(I::PopStore { local: writer.locals.len() as u16 });
            writer.locals.push(kind);
        }
        while writer.left > 0 {
            writer.statement();
        }
        writer.finish();
        functions.push((writer.code, given, 104));
    }
    functions
}

extern "C" fn mix(a: i64, b: i64, c: i64, d: i64, e: i64, f: i64, g: i64, h: i64) -> i64 {
    [a, b, c, d, e, f, g, h].iter().fold(7, |sum, value| sum.wrapping_mul(31).wrapping_add(*value))
}
extern "C" fn mix7(a: i64, b: i64, c: i64, d: i64, e: i64, f: i64, g: i64) -> i64 {
    mix(a, b, c, d, e, f, g, 3)
}
extern "C" fn mix6(a: i64, b: i64, c: i64, d: i64, e: i64, f: i64) -> i64 {
    mix(a, b, c, d, e, f, 2, 3)
}
extern "C" fn mix5(a: i64, b: i64, c: i64, d: i64, e: i64) -> i64 {
    mix(a, b, c, d, e, 1, 2, 3)
}
extern "C" fn mix4(a: i64, b: i64, c: i64, d: i64) -> i64 {
    mix(a, b, c, d, 4, 1, 2, 3)
}
extern "C" fn mix3(a: i64, b: i64, c: i64) -> i64 {
    mix(a, b, c, 5, 4, 1, 2, 3)
}
extern "C" fn mix2(a: i64, b: i64) -> i64 {
    mix(a, b, 6, 5, 4, 1, 2, 3)
}
extern "C" fn mix1(a: i64) -> i64 {
    mix(a, 8, 6, 5, 4, 1, 2, 3)
}
extern "C" fn mix0() -> i64 {
    9
}

/// Host functions that mix their arguments, each at the index of their number.
pub(crate) fn hosts() -> HostTable {
    use HostFunction as H;
    let all = [
        H::Args0(mix0),
        H::Args1(mix1),
        H::Args2(mix2),
        H::Args3(mix3),
        H::Args4(mix4),
        H::Args5(mix5),
        H::Args6(mix6),
        H::Args7(mix7),
        H::Args8(mix),
    ];
    let mut hosts = HostTable::new();
    all.into_iter().zip(0..).for_each(|(function, index)| hosts.set(index, function).unwrap());
    hosts
}
