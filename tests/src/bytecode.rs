//! Programs of bytecode: the oracle for any bytes, and programs that the verifier accepts, drawn from
//! any bytes.
//!
//! A drawn program has structure: blocks, branches and loops that leave the vector as long as they
//! found it, in functions that call those after them. Its loops count down, so that it ends, unless it
//! divides by zero or calls too deep.

use smf_core::jit::bytecode::{Instruction, OPCODE_SIZE};
use smf_core::jit::compile::{CompileError, Compiler};
use smf_core::jit::host::{HostTable, Signals};
use smf_core::jit::interpret::{Environment, Interpreter, LoopHead, Room, Tier};
use smf_core::jit::trap::{Cause, MAX_DEPTH, Trap};
use smf_core::jit::verify::{FunctionCode, Kind, Program, Verifier, VerifyError};
use smf_core::memory::exec::CodeMemory;
use smf_core::tier::{CallError, Engine, EngineError, Tiers};

use Instruction as I;

/// Slots that a drawn function keeps: integers, floats and bools, in this order.
const KEPT: [Kind; 6] = [Kind::I64, Kind::I64, Kind::I64, Kind::F64, Kind::F64, Kind::Bool];

/// Locals of a drawn function: two parameters, and one that counts for each loop around.
const LOCALS: u16 = 6;

/// Loops inside each other, at most.
const DEEPEST: u16 = LOCALS - 2;

/// Rounds of a loop, at most.
const ROUNDS: u8 = 5;

/// What large activations of a program may take together.
const BUDGET: u64 = 1 << 16;

/// A function that was drawn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drawn {
    /// Its code.
    pub code: Vec<u8>,
    /// How many arguments it takes.
    pub params: u16,
    /// How many locals it has.
    pub locals: u16,
}

impl Drawn {
    /// As the verifier takes it.
    pub fn function(&self) -> FunctionCode<'_> {
        FunctionCode { code: &self.code, params: self.params, locals: self.locals }
    }
}

/// Numbers out of bytes; zeros when they have come to their end.
struct Source<'d> {
    data: &'d [u8],
}

impl Source<'_> {
    fn byte(&mut self) -> u8 {
        let (first, rest) = self.data.split_first().unwrap_or((&0, &[]));
        self.data = rest;
        *first
    }

    fn below(&mut self, bound: u8) -> u8 {
        self.byte() % bound
    }

    /// Small numbers and extreme ones.
    fn integer(&mut self) -> i64 {
        match self.below(8) {
            0 => i64::MIN,
            1 => i64::MAX,
            2 => i64::from_le_bytes(std::array::from_fn(|_| self.byte())),
            _ => i64::from(self.byte().cast_signed()),
        }
    }

    fn float(&mut self) -> u64 {
        match self.below(8) {
            0 => f64::NAN.to_bits(),
            1 => (-0.0f64).to_bits(),
            2 => u64::from_le_bytes(std::array::from_fn(|_| self.byte())),
            _ => (f64::from(self.byte().cast_signed()) / 4.0).to_bits(),
        }
    }
}

/// A program of one to four functions that is accepted, whose function 0 takes two integers and returns
/// one. The same bytes give the same program.
pub fn draw(data: &[u8]) -> Vec<Drawn> {
    let mut source = Source { data };
    let count = 1 + u32::from(source.below(4));
    (0..count).map(|index| draw_function(&mut source, index, count)).collect()
}

fn draw_function(source: &mut Source<'_>, index: u32, count: u32) -> Drawn {
    let mut writer = Writer { code: Vec::new(), index, count, depth: 0, left: 40 };
    for (slot, kind) in (0..).zip(KEPT) {
        writer.constant(source, slot, kind);
    }
    writer.block(source);
    let src = u16::from(source.below(3));
    writer.put(I::Ret { src });
    Drawn { code: writer.code, params: 2, locals: LOCALS }
}

struct Writer {
    code: Vec<u8>,
    index: u32,
    count: u32,
    /// Loops around.
    depth: u16,
    /// Statements that may still be drawn.
    left: u32,
}

impl Writer {
    fn put(&mut self, instruction: I) {
        let (bytes, size) = instruction.encode();
        self.code.extend_from_slice(&bytes[..size]);
    }

    fn here(&self) -> i32 {
        i32::try_from(self.code.len()).unwrap()
    }

    /// Puts a jump whose distance is not known yet; [`Writer::land`] says where it leads.
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

    fn constant(&mut self, source: &mut Source<'_>, dest: u16, kind: Kind) {
        self.put(match kind {
            Kind::I64 => I::ConstI64 { dest, value: source.integer() },
            Kind::F64 => I::ConstF64 { dest, bits: source.float() },
            Kind::Bool if source.below(2) == 0 => I::ConstTrue { dest },
            Kind::Bool => I::ConstFalse { dest },
            Kind::Nil => I::ConstNone { dest },
        });
    }

    /// A slot that is kept, of this kind.
    fn slot(source: &mut Source<'_>, kind: Kind) -> u16 {
        let slots: Vec<u16> = (0..).zip(KEPT).filter(|slot| slot.1 == kind).map(|s| s.0).collect();
        slots[usize::from(source.below(u8::try_from(slots.len()).unwrap()))]
    }

    fn block(&mut self, source: &mut Source<'_>) {
        for _ in 0..=source.below(6) {
            if self.left == 0 {
                return;
            }
            self.left -= 1;
            self.statement(source);
        }
    }

    fn statement(&mut self, source: &mut Source<'_>) {
        match source.below(12) {
            0 => self.branch(source),
            1 if self.depth < DEEPEST => self.repeat(source),
            2 => {
                let kind = KEPT[usize::from(source.below(6))];
                let (src, dest) = (Self::slot(source, kind), Self::slot(source, kind));
                self.put(if source.below(2) == 0 {
                    I::Dup { src, dest }
                } else {
                    I::Swap { a: src, b: dest }
                });
            }
            3 => {
                let kind = KEPT[usize::from(source.below(6))];
                let dest = Self::slot(source, kind);
                self.constant(source, dest, kind);
            }
            4 => {
                self.value(source, Kind::I64, 2);
                self.put(I::PopStore { local: u16::from(source.below(2)) });
            }
            5 => {
                let src = Self::slot(source, Kind::I64);
                self.put(I::Store { local: u16::from(source.below(2)), src });
            }
            6 => {
                self.value(source, Kind::I64, 2);
                self.value(source, Kind::I64, 2);
                let dest = Self::slot(source, Kind::I64);
                self.put(
                    [I::AddI64Pop { dest }, I::SubI64Pop { dest }, I::MulI64Pop { dest }]
                        [usize::from(source.below(3))],
                );
            }
            7 => {
                let dest = Self::slot(source, Kind::I64);
                self.put(I::Load { dest, local: u16::from(source.below(2)) });
            }
            _ => {
                let kind = KEPT[usize::from(source.below(6))];
                self.value(source, kind, 3);
                let dest = Self::slot(source, kind);
                self.put(I::Pop { dest });
            }
        }
    }

    /// Pushes a value of a kind.
    fn value(&mut self, source: &mut Source<'_>, kind: Kind, depth: u8) {
        if depth == 0 || source.below(3) == 0 {
            let src = Self::slot(source, kind);
            match (kind, source.below(3)) {
                (Kind::I64, 0) => self.put(I::ConstI64Push { value: source.integer() }),
                (Kind::I64, 1) => self.put(I::LoadPush { local: u16::from(source.below(2)) }),
                _ => self.put(I::Push { src }),
            }
            return;
        }
        match kind {
            Kind::I64 => self.integer(source, depth - 1),
            Kind::F64 => {
                self.value(source, Kind::F64, depth - 1);
                self.value(source, Kind::F64, depth - 1);
                self.put(
                    [I::AddF64, I::SubF64, I::MulF64, I::DivF64][usize::from(source.below(4))],
                );
            }
            Kind::Bool => self.condition(source, depth - 1),
            Kind::Nil => self.put(I::Push { src: 0 }),
        }
    }

    fn integer(&mut self, source: &mut Source<'_>, depth: u8) {
        let op = source.below(8);
        self.value(source, Kind::I64, depth);
        if op == 0 {
            return self.put(I::NegI64);
        }
        self.value(source, Kind::I64, depth);
        let later = self.count - self.index - 1;
        match op {
            1 if later > 0 => {
                let function = self.index + 1 + u32::from(source.byte()) % later;
                self.put(I::Call { function, argc: 2 });
            }
            2 => self.put(if source.below(2) == 0 { I::DivI64 } else { I::ModI64 }),
            3 | 4 => self.put(I::AddI64),
            5 => self.put(I::SubI64),
            _ => self.put(I::MulI64),
        }
    }

    fn condition(&mut self, source: &mut Source<'_>, depth: u8) {
        const ORDERED: [I; 6] = [I::Eq, I::Ne, I::Lt, I::Le, I::Gt, I::Ge];
        let number = |source: &mut Source<'_>| [Kind::I64, Kind::F64][usize::from(source.below(2))];
        match source.below(4) {
            0 => {
                self.value(source, Kind::Bool, depth);
                self.put(I::Not);
            }
            1 => {
                self.value(source, Kind::Bool, depth);
                self.value(source, Kind::Bool, depth);
                self.put([I::And, I::Or, I::Eq, I::Ne][usize::from(source.below(4))]);
            }
            _ => {
                let (left, right) = (number(source), number(source));
                self.value(source, left, depth);
                self.value(source, right, depth);
                self.put(ORDERED[usize::from(source.below(6))]);
            }
        }
    }

    /// A jump that is not taken into the next block, of one of the kinds that there are.
    fn unless(&mut self, source: &mut Source<'_>) -> usize {
        match source.below(4) {
            0 => {
                self.value(source, Kind::I64, 1);
                self.value(source, Kind::F64, 1);
                self.jump(I::LtJmpIfNot { offset: 0 })
            }
            1 => {
                self.value(source, Kind::I64, 1);
                self.value(source, Kind::I64, 1);
                self.jump(I::EqJmpIfNot { offset: 0 })
            }
            2 => {
                self.value(source, Kind::Bool, 2);
                self.jump(I::JmpIf { offset: 0 })
            }
            _ => {
                self.value(source, Kind::Bool, 2);
                self.jump(I::JmpIfNot { offset: 0 })
            }
        }
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

    /// A loop of some rounds, counted in a local of its own.
    fn repeat(&mut self, source: &mut Source<'_>) {
        let local = 2 + self.depth;
        self.depth += 1;
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
        self.depth -= 1;
    }
}

/// Stops a program after so many calls and jumps back.
#[derive(Clone, Copy, Debug)]
pub struct Fuel<'s> {
    /// How many are left.
    pub left: u32,
    /// What is told to stop.
    pub signals: &'s Signals,
}

impl Fuel<'_> {
    fn burn(&mut self) {
        match self.left.checked_sub(1) {
            Some(left) => self.left = left,
            None => self.signals.interrupt(),
        }
    }
}

impl Tier for Fuel<'_> {
    fn enter(&mut self, _: u32, _: &[u64], _: Room) -> Option<Result<u64, Trap>> {
        self.burn();
        None
    }

    fn loop_head(&mut self, _: LoopHead<'_>) -> Option<Result<u64, Trap>> {
        self.burn();
        None
    }
}

/// What function 0 gives after at most `fuel` calls and jumps back.
///
/// # Errors
/// What stops it.
pub fn interpret(program: &Program<'_>, args: &[u64], fuel: u32) -> Result<u64, Trap> {
    let (signals, hosts) = (Signals::new(), HostTable::new());
    let environment = Environment { program, hosts: &hosts, signals: &signals };
    let mut tier = Fuel { left: fuel, signals: &signals };
    let room = Room { depth: MAX_DEPTH, budget: BUDGET };
    Interpreter::new().call(environment, &mut tier, 0, args, room)
}

/// Compares with what the interpreter gave what function 0 gives when it is compiled, at once and on the
/// way. A NaN is as good as another: which one an operation gives the compiler of the interpreter
/// decides.
///
/// # Panics
/// When they differ.
pub fn check_compiled(functions: &[FunctionCode<'_>], args: &[u64], expected: Result<u64, Trap>) {
    if !cfg!(target_arch = "x86_64") || functions.is_empty() {
        return;
    }
    thread_local! {
        static MEMORY: CodeMemory = CodeMemory::default();
    }
    for threshold in [0, 2] {
        let program = Verifier::new().verify(functions.to_vec()).unwrap();
        let params = program.function(0).map_or(0, |function| usize::from(function.params));
        let calls_host = program.host_calls().next().is_some();
        let is_float = program.summary(0).is_some_and(|summary| summary.result == Kind::F64);
        let tiers = Tiers::Compile { threshold };
        let engine =
            MEMORY.with(|memory| Engine::with_tiers(program, HostTable::new(), tiers, memory));
        let mut engine = match engine {
            Ok(engine) => engine,
            // The interpreter finds out when it calls, the engine before anything runs.
            Err(EngineError::Host(_)) if calls_host => return,
            Err(error) => panic!("{error}"),
        };
        engine.set_budget(BUDGET);
        let args: Vec<i64> = args.iter().take(params).map(|arg| arg.cast_signed()).collect();
        let comparable = |result: Result<u64, Trap>| match result {
            Ok(bits) if is_float && f64::from_bits(bits).is_nan() => Ok(f64::NAN.to_bits()),
            result => result,
        };
        for _ in 0..2 {
            let found =
                engine.call(0, &args).map(i64::cast_unsigned).map_err(|error| match error {
                    CallError::Trap(trap) => trap,
                    error => panic!("{error}"),
                });
            assert_eq!(comparable(found), comparable(expected), "threshold {threshold}");
        }
    }
}

/// Compares what the verifier finds of a program with what is found when it is compiled at once.
///
/// # Panics
/// When they differ.
pub fn check_found(functions: &[FunctionCode<'_>], expected: &Result<Program<'_>, VerifyError>) {
    let found = Compiler::new().program(functions.to_vec(), |_, _| {});
    match (expected, found) {
        (Ok(expected), Ok(found)) => {
            let indices = 0..u32::try_from(functions.len()).unwrap();
            indices.for_each(|index| assert_eq!(expected.summary(index), found.summary(index)));
            assert!(expected.host_calls().eq(found.host_calls()));
        }
        (Err(expected), Err(found)) => assert_eq!(CompileError::Verify(*expected), found),
        (expected, found) => panic!("{expected:?}, {found:?}"),
    }
}

/// Any bytes are an error, or a program that runs until it returns, traps or is stopped: the first
/// three say how many parameters and locals each function has and how many functions there are.
///
/// # Panics
/// When an error lies outside the code.
pub fn check_any(data: &[u8]) -> Option<Result<u64, Trap>> {
    let [params, locals, count, code @ ..] = data else { return None };
    let (params, locals) = (u16::from(params % 4), u16::from(locals % 8));
    let size = code.len().div_ceil(usize::from(count % 4) + 1).max(1);
    let functions: Vec<_> =
        code.chunks(size).map(|code| FunctionCode { code, params, locals }).collect();
    let lengths: Vec<_> = functions.iter().map(|function| function.code.len()).collect();
    let verified = Verifier::new().verify(functions.clone());
    check_found(&functions, &verified);
    match verified {
        Ok(program) => {
            let result = interpret(&program, &[1, 2, 3], 1000);
            // What did not end is not waited for.
            if !matches!(result, Err(Trap { cause: Cause::Interrupted, .. })) {
                check_compiled(&functions, &[1, 2, 3], result);
            }
            Some(result)
        }
        Err(VerifyError { function, at, .. }) => {
            let length = lengths.get(usize::try_from(function).unwrap()).copied().unwrap_or(0);
            assert!(usize::try_from(at).unwrap() <= length);
            None
        }
    }
}
