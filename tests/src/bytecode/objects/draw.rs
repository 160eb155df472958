//! Programs on objects, drawn from any bytes.
//!
//! The operand stack of a function starts with a slot for each kind of value, and statements leave its depth as it is.
//! Most operands have the kind that an instruction takes; the others are refused or trap. A function calls later
//! functions, of which some use no objects. Loops count down.

use smf_core::bytecode::instruction::{Instruction as I, OPCODE_SIZE};
use smf_core::bytecode::objects::Value;

use crate::bytecode::Drawn;
use crate::bytecode::draw::source::Source;

/// The slots that hold values of a kind, and slots for values of any kind.
const INTEGERS: [u16; 3] = [0, 1, 2];
const FLOATS: [u16; 2] = [3, 4];
const BOOLS: [u16; 2] = [5, 6];
const NIL: u16 = 7;
const TEXTS: [u16; 2] = [8, 9];
const ARRAYS: [u16; 2] = [10, 11];
const TUPLE: u16 = 12;
const DICTS: [u16; 2] = [13, 14];
const VARIANT: u16 = 15;
const BLOCK: u16 = 16;
const ANY: [u16; 3] = [17, 18, 19];
const DEPTH: u16 = 20;

/// The locals of a function: parameters and others, then loop counters.
const LOCALS: u16 = 4;
const LOOPS: u16 = 3;

/// The arguments of function 0.
pub(super) fn arguments(data: &[u8]) -> [Value; 2] {
    let mut source = Source { data: data.get(1..).unwrap_or(&[]) };
    let mut value = || match source.below(6) {
        0 => Value::Nil,
        1 => Value::Bool(true),
        2 => Value::F64(f64::from_bits(source.float())),
        _ => Value::I64(source.integer()),
    };
    [value(), value()]
}

/// A program of one to four functions. Equal bytes give equal programs.
pub fn draw(data: &[u8]) -> Vec<Drawn> {
    let mut source = Source { data };
    let count = 1 + usize::from(source.below(4));
    let params: Vec<u16> =
        (0..count).map(|index| if index == 0 { 2 } else { source.below(4).into() }).collect();
    (0..count)
        .map(|index| {
            // Functions without objects are typed, and some of them compile.
            let is_typed = index > 0 && source.below(3) == 0;
            let mut writer = Writer {
                source: &mut source,
                code: Vec::new(),
                params: &params,
                index,
                loops: 0,
                left: 25,
            };
            if is_typed {
                writer.typed();
            } else {
                writer.start();
                writer.block();
                writer.finish();
            }
            Drawn { code: writer.code, params: params[index], locals: LOCALS + LOOPS }
        })
        .collect()
}

struct Writer<'w, 'd> {
    source: &'w mut Source<'d>,
    code: Vec<u8>,
    params: &'w [u16],
    index: usize,
    loops: u16,
    left: u32,
}

impl Writer<'_, '_> {
    fn put(&mut self, instruction: I) {
        let (bytes, size) = instruction.encode();
        self.code.extend_from_slice(&bytes[..size]);
    }

    /// A function that computes with its parameters, if they are integers.
    fn typed(&mut self) {
        let value = i64::from(self.source.byte());
        self.put(I::ConstI64 { dest: 0, value });
        for local in 0..self.params[self.index] {
            self.put(I::LoadPush { local });
            if self.source.below(4) != 0 {
                self.put(I::Push { src: 0 });
                let operator = self.source.choose([I::AddI64, I::SubI64, I::MulI64, I::DivI64]);
                self.put(operator);
            }
            self.put(I::Pop { dest: 0 });
        }
        self.put(I::Ret { src: 0 });
    }

    /// A value in every slot.
    fn start(&mut self) {
        self.put(I::ConstNone { dest: DEPTH - 1 });
        for dest in INTEGERS {
            let value = self.small();
            self.put(I::ConstI64 { dest, value });
        }
        for dest in FLOATS {
            let bits = self.source.float();
            self.put(I::ConstF64 { dest, bits });
        }
        self.put(I::ConstTrue { dest: BOOLS[0] });
        self.put(I::ConstFalse { dest: BOOLS[1] });
        self.put(I::ConstNone { dest: NIL });
        self.put(I::LoadString { dest: TEXTS[0], index: 4 });
        self.put(I::LoadConst { dest: TEXTS[1], index: 5 });
        for dest in ARRAYS.into_iter().chain([TUPLE]).chain(DICTS).chain([VARIANT, BLOCK]) {
            self.make(dest);
        }
        for (dest, local) in ANY.into_iter().zip(0..LOCALS) {
            self.put(I::Load { dest, local });
        }
    }

    /// Mostly small, so that it is an index.
    fn small(&mut self) -> i64 {
        match self.source.below(10) {
            0 => self.source.integer(),
            1 => i64::from(self.source.byte().cast_signed()),
            _ => i64::from(self.source.below(5)) - 1,
        }
    }

    fn any(&mut self) -> u16 {
        u16::from(self.source.byte()) % DEPTH
    }

    /// A slot of these, or rarely any slot.
    fn slot<const N: usize>(&mut self, of: [u16; N]) -> u16 {
        match self.source.below(24) {
            0 => self.source.choose(ANY),
            1 if self.source.below(8) == 0 => self.any(),
            _ => self.source.choose(of),
        }
    }

    fn object(&mut self) -> u16 {
        let slots = [ARRAYS[0], ARRAYS[1], TUPLE, DICTS[0], DICTS[1], TEXTS[0], TEXTS[1]];
        self.slot(slots)
    }

    /// Pushes up to five values of any kinds.
    fn push_some(&mut self) -> u16 {
        let count = self.source.choose([0, 1, 2, 3, 3, 4, 4, 5]);
        self.push_many(count);
        count
    }

    fn push_many(&mut self, count: u16) {
        for _ in 0..count {
            let src = self.any();
            self.put(I::Push { src });
        }
    }

    /// Makes the object of a slot.
    fn make(&mut self, dest: u16) {
        match dest {
            10 | 11 => {
                let count = self.push_some();
                self.put(I::ArrayLit { dest, count, type_id: 0 });
            }
            12 => {
                let count = self.push_some();
                self.put(I::TupleLit { dest, count });
            }
            13 | 14 => {
                let count: u16 = self.source.below(3).into();
                for _ in 0..count {
                    let src = self.slot([0, 1, 2, 3, 5, 8, 9]);
                    self.put(I::Push { src });
                    self.push_many(1);
                }
                self.put(I::DictLit { dest, count });
            }
            15 => {
                let count = self.push_some();
                let number = self.source.below(3);
                let instruction = match self.source.below(2) {
                    0 => I::EnumNew { dest, discriminant: number.into(), count },
                    _ => {
                        let type_id = self.source.below(2).into();
                        I::EnumNewTyped { dest, type_id, discriminant: number.into(), count }
                    }
                };
                self.put(instruction);
            }
            _ => {
                let size = 8 * u32::from(self.source.below(4)) + u32::from(self.source.below(2));
                self.put(I::GcAlloc { dest, size, type_id: 0 });
            }
        }
    }

    fn block(&mut self) {
        for _ in 0..=self.source.below(8) {
            let Some(left) = self.left.checked_sub(1) else { return };
            self.left = left;
            self.statement();
        }
    }

    fn statement(&mut self) {
        match self.source.below(30) {
            0 | 1 => {
                let made = [10, 11, 12, 13, 14, 15, 16];
                let dest = self.source.choose(made);
                self.make(dest);
            }
            2..6 => {
                let (dest, collection) = (self.source.choose(ANY), self.object());
                let index = self.slot([0, 1, 2, 0, 1, 2, 8]);
                self.put(I::IndexGet { dest, collection, index });
            }
            6 | 7 => {
                let collection = self.slot([10, 11, 13, 14]);
                let (index, value) = (self.slot([0, 1, 2, 0, 1, 2, 8]), self.any());
                self.put(I::IndexSet { collection, index, value });
            }
            8 => {
                let (dest, collection) = (self.source.choose(INTEGERS), self.object());
                self.put(I::Len { dest, collection });
            }
            9 => {
                let (collection, value) = (self.slot(ARRAYS), self.any());
                self.put(I::Append { collection, value });
            }
            10 => {
                let (dest, collection) = (self.source.choose(ANY), self.slot([10, 11, 8, 9]));
                let (start, end) = (self.slot(INTEGERS), self.slot(INTEGERS));
                self.put(I::Slice { dest, collection, start, end });
            }
            11 => self.match_variant(),
            12 => {
                let (dest, value) = (self.source.choose(ANY), self.slot([VARIANT]));
                let field = self.source.below(2).into();
                self.put(I::EnumPayload { dest, value, field });
            }
            13 => {
                let (dest, value) = (self.source.choose(BOOLS), self.any());
                self.put(I::IsSome { dest, value });
            }
            14 | 15 => {
                let (ptr, other) = (self.slot([BLOCK]), self.any());
                let offset = 8 * u32::from(self.source.below(3));
                let dest = self.source.choose(ANY);
                let instruction = match self.source.below(2) {
                    0 => I::LoadHeap { dest, ptr, offset },
                    _ => I::StoreHeap { ptr, offset, src: other },
                };
                self.put(instruction);
            }
            16 => {
                let (dest, index) = (self.source.choose(ANY), self.source.below(6).into());
                self.put(I::LoadConst { dest, index });
            }
            17 | 18 => self.call(),
            19..22 => self.compute(),
            22 | 23 => self.branch(),
            24 if self.loops < LOOPS => self.repeat(),
            25 => {
                let (local, src) = (u16::from(self.source.below(4)), self.any());
                self.put(I::Store { local, src });
            }
            26 => {
                let (dest, local) = (self.source.choose(ANY), u16::from(self.source.below(4)));
                self.put(I::Load { dest, local });
            }
            27 => {
                let (src, dest) = (self.any(), self.source.choose(ANY));
                let (a, b) = (self.source.choose(ANY), self.source.choose(ANY));
                let instruction = match self.source.below(2) {
                    0 => I::Dup { src, dest },
                    _ => I::Swap { a, b },
                };
                self.put(instruction);
            }
            _ => {
                let (dest, value) = (self.source.choose(INTEGERS), self.small());
                self.put(I::ConstI64 { dest, value });
            }
        }
    }

    fn match_variant(&mut self) {
        let (dest, value) = (self.source.choose(BOOLS), self.slot([VARIANT, 17, 18]));
        let number = self.source.below(3);
        let instruction = match self.source.below(2) {
            0 => I::EnumMatch { dest, value, discriminant: number.into() },
            _ => {
                let type_id = self.source.below(2).into();
                I::EnumMatchTyped { dest, value, type_id, discriminant: number.into() }
            }
        };
        self.put(instruction);
    }

    /// Calls a later function, directly or as a value, or one of the host.
    fn call(&mut self) {
        let later = self.params.len() - self.index - 1;
        let dest = self.source.choose(ANY);
        match self.source.below(4) {
            0 => {
                let argc = u16::from(self.source.below(4));
                self.push_many(argc);
                self.put(I::CallRuntime { index: 20 + argc, argc });
            }
            1 => {
                let argc = u16::from(self.source.below(3));
                for _ in 0..argc {
                    let src = self.slot(INTEGERS);
                    self.put(I::Push { src });
                }
                self.put(I::CallSffi { index: argc, argc });
            }
            choice if later > 0 => {
                let function = self.index + 1 + usize::from(self.source.byte()) % later;
                let argc = self.params[function];
                for _ in 0..argc {
                    let src =
                        if self.source.below(2) == 0 { self.any() } else { self.slot(INTEGERS) };
                    self.put(I::Push { src });
                }
                let index = u32::try_from(function).unwrap();
                if choice == 2 {
                    self.put(I::Call { function: index, argc });
                } else {
                    let value = if self.source.below(16) == 0 { 99 } else { i64::from(index) };
                    self.put(I::ConstI64Push { value });
                    self.put(I::CallIndirect { argc });
                }
            }
            _ => self.push_many(1),
        }
        self.put(I::Pop { dest });
    }

    /// Computes with two values.
    fn compute(&mut self) {
        let (dest, operator, slots) = match self.source.below(5) {
            0 => {
                let operators = [I::AddI64, I::SubI64, I::MulI64, I::DivI64, I::ModI64];
                let slots = [self.slot(INTEGERS), self.slot(INTEGERS)];
                (self.source.choose(INTEGERS), self.source.choose(operators), slots)
            }
            1 => {
                let operators = [I::AddF64, I::SubF64, I::MulF64, I::DivF64];
                let slots = [self.slot(FLOATS), self.slot(FLOATS)];
                (self.source.choose(FLOATS), self.source.choose(operators), slots)
            }
            2 => {
                let slots = [self.slot(BOOLS), self.slot(BOOLS)];
                (self.source.choose(BOOLS), self.source.choose([I::And, I::Or]), slots)
            }
            3 => {
                let numbers = [0, 1, 2, 3, 4];
                let slots = [self.slot(numbers), self.slot(numbers)];
                let operators = [I::Lt, I::Le, I::Gt, I::Ge];
                (self.source.choose(BOOLS), self.source.choose(operators), slots)
            }
            _ => {
                let objects = [8, 9, 10, 11, 12, 17, 18];
                let slots = [self.source.choose(objects), self.source.choose(objects)];
                (self.source.choose(BOOLS), self.source.choose([I::Eq, I::Ne]), slots)
            }
        };
        slots.into_iter().for_each(|src| self.put(I::Push { src }));
        self.put(operator);
        self.put(I::Pop { dest });
    }

    fn here(&self) -> i32 {
        i32::try_from(self.code.len()).unwrap()
    }

    fn land(&mut self, jump: usize) {
        let place = jump + usize::try_from(OPCODE_SIZE).unwrap();
        let distance = self.here() - i32::try_from(place + 4).unwrap();
        self.code[place..place + 4].copy_from_slice(&distance.to_le_bytes());
    }

    fn jump(&mut self, instruction: I) -> usize {
        let at = self.code.len();
        self.put(instruction);
        at
    }

    fn branch(&mut self) {
        let jump = match self.source.below(3) {
            0 => {
                let objects = [8, 9, 17, 18];
                let (one, two) = (self.source.choose(objects), self.source.choose(objects));
                self.put(I::Push { src: one });
                self.put(I::Push { src: two });
                I::EqJmpIfNot { offset: 0 }
            }
            1 => {
                let (one, two) = (self.slot(INTEGERS), self.slot(INTEGERS));
                self.put(I::Push { src: one });
                self.put(I::Push { src: two });
                I::LtJmpIfNot { offset: 0 }
            }
            _ => {
                let src = self.slot(BOOLS);
                self.put(I::Push { src });
                self.source.choose([I::JmpIf { offset: 0 }, I::JmpIfNot { offset: 0 }])
            }
        };
        let to_other = self.jump(jump);
        self.block();
        let to_end = self.jump(I::Jmp { offset: 0 });
        self.land(to_other);
        self.block();
        self.land(to_end);
    }

    fn repeat(&mut self) {
        let local = LOCALS + self.loops;
        self.loops += 1;
        let value = i64::from(self.source.below(4));
        self.put(I::ConstI64Push { value });
        self.put(I::PopStore { local });
        let head = self.here();
        self.put(I::ConstI64Push { value: 0 });
        self.put(I::LoadPush { local });
        let to_end = self.jump(I::LtJmpIfNot { offset: 0 });
        self.block();
        self.put(I::LoadPush { local });
        self.put(I::ConstI64Push { value: 1 });
        self.put(I::SubI64);
        self.put(I::PopStore { local });
        let behind = self.here() + 6;
        self.put(I::Jmp { offset: head - behind });
        self.land(to_end);
        self.loops -= 1;
    }

    fn finish(&mut self) {
        let later = self.params.len() - self.index - 1;
        if later > 0 && self.source.below(4) == 0 {
            let function = self.index + 1;
            let argc = self.params[function];
            self.push_many(argc);
            self.put(I::TailCall { function: u32::try_from(function).unwrap(), argc });
        } else {
            let src = self.any();
            self.put(I::Ret { src });
        }
    }
}
