//! Translated functions, interpreted as IR, compared with the interpreter of bytecode.

use std::boxed::Box;
use std::vec;
use std::vec::Vec;

use super::abi::{Context, Shared, trap_code};
use super::*;
use crate::bytecode::host::{HostTable, Signals};
use crate::bytecode::instruction::{Instruction as I, Instructions};
use crate::bytecode::interpret::{
    Environment, Interpreter, LoopHead, NoTierUp, StackSpace, TierUp,
};
use crate::bytecode::testing::{Random, hosts, slot_program, statement_program, view};
use crate::bytecode::text::assemble;
use crate::bytecode::verify::{FunctionCode, Verifier};
use crate::ir::{
    Arguments, Callee, CalleeKind, Function, FunctionInstance, Host, INSTRUCTION_SIZE, Stop,
    Verified, interpret,
};
use crate::testing::scale;
use crate::trap::bytecode::{Cause, DEFAULT_BUDGET, MAX_DEPTH, Trap};

const SPACE: StackSpace = StackSpace { depth: MAX_DEPTH, budget: DEFAULT_BUDGET, stack_end: 0 };

/// Addresses of the memory that translated functions see.
const CONTEXT: u64 = 0x1_0000;
const SHARED: u64 = 0x2_0000;
const HOSTS: u64 = 0x3_0000;
const STACK: u64 = 0x10_0000;
const FRAME: u64 = 0x20_0000;
/// Addresses that stand for functions.
const FUNCTION: u64 = 0x100_0000;
const HOST_FUNCTION: u64 = 0x200_0000;
/// The address that stands for the function that takes the error of a host function.
const TAKE_HOST_ERROR: u64 = 0x1ff_ffff;

/// An engine that interprets IR.
struct Machine<'p> {
    program: &'p Program<'p>,
    hosts: &'p HostTable,
    signals: &'p Signals,
    functions: Vec<Option<Box<[u8]>>>,
    context: Vec<u8>,
    stack: Vec<u8>,
    frame: Vec<u8>,
    trap: Option<Trap>,
    steps: u64,
}

fn translated(program: &Program<'_>, index: u32, entry: Entry) -> Box<[u8]> {
    let mut verifier = Verifier::new();
    let facts = verifier.facts(program, index).unwrap();
    let mut translator = Translator::new();
    let bytes: Box<[u8]> = translator.function(program, &facts, entry).unwrap().into();
    if let Err(error) = Verified::new(Function::parse(&bytes).unwrap()) {
        panic!("function {index}: {error}");
    }
    bytes
}

/// The source line of the instruction at an offset of a function.
fn line(function: &Function<'_>, at: u32) -> u32 {
    let number = (at - function.offset(0)) / INSTRUCTION_SIZE as u32;
    let before = function.locations().take_while(|location| location.instruction <= number);
    before.last().expect("an instruction that may trap has a location").line
}

impl<'p> Machine<'p> {
    fn new(program: &'p Program<'p>, hosts: &'p HostTable, signals: &'p Signals) -> Self {
        Self {
            program,
            hosts,
            signals,
            functions: vec![None; program.functions().len()],
            context: vec![0; Context::SIZE as usize],
            stack: Vec::new(),
            frame: Vec::new(),
            trap: None,
            steps: 10_000_000,
        }
    }

    fn set_space(&mut self, budget: u64) {
        self.context.fill(0);
        for (offset, value) in [(Context::SHARED, SHARED), (Context::BUDGET, budget)] {
            self.store(CONTEXT + offset as u64, 8, value).unwrap();
        }
    }

    /// Calls a function as the engine does.
    fn call(&mut self, function: u32, args: &[u64], space: StackSpace) -> Result<u64, Trap> {
        let Some(depth) = space.depth.checked_sub(1) else {
            return Err(Trap { cause: Cause::CallDepth, function, at: 0 });
        };
        self.set_space(space.budget);
        let (parameters, others) = args.split_at(args.len().min(abi::REGISTER_ARGUMENTS));
        for (number, &argument) in others.iter().enumerate() {
            let at = CONTEXT + Context::ARGUMENTS as u64 + 8 * number as u64;
            self.store(at, 8, argument).unwrap();
        }
        let mut arguments = vec![CONTEXT, depth.into()];
        arguments.extend(parameters);
        let result = self.run(function, &arguments);
        self.finish(result)
    }

    fn finish(&mut self, result: Result<u64, Stop>) -> Result<u64, Trap> {
        result.map_err(|stop| self.trap.take().unwrap_or_else(|| panic!("{stop}")))
    }

    fn run(&mut self, function: u32, arguments: &[u64]) -> Result<u64, Stop> {
        let index = function as usize;
        if self.functions[index].is_none() {
            self.functions[index] = Some(translated(self.program, function, Entry::Call));
        }
        let bytes = self.functions[index].clone().unwrap();
        self.run_ir(function, &bytes, arguments)
    }

    fn run_ir(&mut self, function: u32, bytes: &[u8], arguments: &[u64]) -> Result<u64, Stop> {
        let verified = Verified::new(Function::parse(bytes).unwrap()).unwrap();
        let instance = verified.instance(Arguments::new(&[]).unwrap()).unwrap();
        let mut steps = self.steps;
        let result = interpret(&instance, arguments, self, &mut steps);
        self.steps = self.steps.min(steps);
        if let Err(Stop::Trap { code, at, .. }) = result
            && self.trap.is_none()
        {
            self.trap = Some(self.trap_at(function, code, line(verified.body(), at)));
        }
        result
    }

    fn trap_at(&self, function: u32, code: u32, at: u32) -> Trap {
        let cause = match code {
            trap_code::DIVISION_BY_ZERO => Cause::DivisionByZero,
            trap_code::STACK_LIMIT => Cause::StackLimit,
            trap_code::INTERRUPTED => Cause::Interrupted,
            trap_code::HOST => {
                let error = &self.context[Context::HOST_ERROR as usize..][..4];
                Cause::Host(u32::from_le_bytes(error.try_into().unwrap()))
            }
            trap_code::CALL_DEPTH => {
                let code = self.program.function(function).unwrap().code;
                let I::Call { function, .. } = I::decode(code, at).unwrap() else {
                    panic!("no call at {at}")
                };
                return Trap { cause: Cause::CallDepth, function, at: 0 };
            }
            _ => panic!("trap {code}"),
        };
        Trap { cause, function, at }
    }

    fn memory(&mut self, address: u64) -> Result<&mut [u8], Stop> {
        let (base, bytes) = match address {
            FRAME.. => (FRAME, &mut self.frame),
            STACK.. => (STACK, &mut self.stack),
            _ => (CONTEXT, &mut self.context),
        };
        let start = usize::try_from(address - base).unwrap();
        bytes.get_mut(start..).ok_or(Stop::Address(address))
    }
}

impl Host for Machine<'_> {
    fn load(&mut self, address: u64, size: u8) -> Result<u64, Stop> {
        use std::sync::atomic::Ordering::Relaxed;
        const INTERRUPT: u64 = SHARED + Shared::INTERRUPT as u64;
        const ERROR: u64 = SHARED + Shared::HOST_ERROR as u64;
        const HOST_TABLE: u64 = SHARED + Shared::HOST_FUNCTIONS as u64;
        const TAKE: u64 = SHARED + Shared::TAKE_HOST_ERROR as u64;
        const FUNCTIONS: u64 = SHARED + Shared::FUNCTIONS as u64;
        Ok(match address {
            INTERRUPT => self.signals.interrupt_word().load(Relaxed).into(),
            ERROR => self.signals.error_word().load(Relaxed).into(),
            HOST_TABLE => HOSTS,
            TAKE => TAKE_HOST_ERROR,
            FUNCTIONS..HOSTS => FUNCTION + (address - FUNCTIONS) / 8,
            HOSTS..STACK => HOST_FUNCTION + (address - HOSTS) / 8,
            _ => {
                let bytes = self.memory(address)?.get(..size.into()).ok_or(Stop::Memory)?;
                bytes.iter().rev().fold(0, |bits, &byte| bits << 8 | u64::from(byte))
            }
        })
    }

    fn store(&mut self, address: u64, size: u8, bits: u64) -> Result<(), Stop> {
        let place = self.memory(address)?.get_mut(..size.into()).ok_or(Stop::Memory)?;
        place.iter_mut().zip(bits.to_le_bytes()).for_each(|(place, byte)| *place = byte);
        Ok(())
    }

    fn call(
        &mut self,
        _: &FunctionInstance<'_, '_>,
        callee: &Callee<'_>,
        arguments: &[u64],
    ) -> Result<u64, Stop> {
        let CalleeKind::Function(function) = callee.kind else { return Err(Stop::Callee) };
        self.run(function, arguments)
    }

    fn call_indirect(
        &mut self,
        _: &FunctionInstance<'_, '_>,
        _: &Callee<'_>,
        address: u64,
        arguments: &[u64],
    ) -> Result<u64, Stop> {
        if address == TAKE_HOST_ERROR {
            let error = self.signals.take_error().unwrap_or(0);
            self.store(CONTEXT + Context::HOST_ERROR as u64, 4, error.into())?;
            return Ok(arguments[1]);
        }
        if address >= HOST_FUNCTION {
            let function = self.hosts.get((address - HOST_FUNCTION) as u16).unwrap();
            return Ok(function.call(arguments).unwrap().cast_unsigned());
        }
        self.run((address - FUNCTION) as u32, arguments)
    }

    fn push_frame(&mut self, size: u64) -> Result<u64, Stop> {
        let address = STACK + self.stack.len() as u64;
        self.stack.resize(self.stack.len() + size.next_multiple_of(16) as usize, 0x55);
        Ok(address)
    }

    fn pop_frame(&mut self, address: u64) {
        self.stack.truncate((address - STACK) as usize);
    }
}

/// Goes on in translated code at every `each`th jump back.
struct Replacing<'p> {
    program: &'p Program<'p>,
    hosts: &'p HostTable,
    signals: &'p Signals,
    each: u32,
    jumps: u32,
}

impl TierUp for Replacing<'_> {
    fn on_call(&mut self, _: u32, _: &[u64], _: StackSpace) -> Option<Result<u64, Trap>> {
        None
    }

    fn on_back_edge(&mut self, head: LoopHead<'_>) -> Option<Result<u64, Trap>> {
        self.jumps += 1;
        if !self.jumps.is_multiple_of(self.each) {
            return None;
        }
        let LoopHead { function, at, locals, vector, space } = head;
        let mut machine = Machine::new(self.program, self.hosts, self.signals);
        machine.set_space(space.budget);
        machine.frame = locals.iter().chain(&*vector).flat_map(|v| v.to_le_bytes()).collect();
        let bytes = translated(self.program, function, Entry::LoopHead(at));
        let arguments = [CONTEXT, space.depth.into(), FRAME];
        let result = machine.run_ir(function, &bytes, &arguments);
        Some(machine.finish(result))
    }
}

/// The result of function 0 of assembled functions, translated.
fn run(source: &str, args: &[u64]) -> Result<u64, Trap> {
    let functions = assemble(source).unwrap();
    let codes = functions.iter().map(|function| FunctionCode {
        code: &function.code,
        params: function.params,
        locals: function.locals,
    });
    let program = Verifier::new().verify(codes.collect()).unwrap();
    let (hosts, signals) = (hosts(), Signals::new());
    Machine::new(&program, &hosts, &signals).call(0, args, SPACE)
}

fn check(seed: u64) {
    let mut random = Random(seed | 1);
    (0..4).for_each(|_| assert_ne!(random.next(), 0));
    let functions = match seed % 2 {
        0 => slot_program(&mut random),
        _ => statement_program(&mut random, false),
    };
    let program = Verifier::new().verify(view(&functions)).unwrap();
    let args: Vec<u64> = (0..functions[0].1).map(|_| random.below(50)).collect();
    let (hosts, signals) = (hosts(), Signals::new());
    let environment = Environment { program: &program, hosts: &hosts, signals: &signals };
    let expected = Interpreter::new().call(environment, &mut NoTierUp, 0, &args, SPACE);
    let found = Machine::new(&program, &hosts, &signals).call(0, &args, SPACE);
    assert_eq!(found, expected, "seed {seed}");
    for each in [1, 3] {
        let (program, hosts, signals) = (&program, &hosts, &signals);
        let mut tier = Replacing { program, hosts, signals, each, jumps: 0 };
        let found = Interpreter::new().call(environment, &mut tier, 0, &args, SPACE);
        assert_eq!(found, expected, "seed {seed}, replaced at jump {each}");
    }
}

#[test]
#[cfg_attr(miri, ignore = "takes minutes in the interpreter")]
fn translated_programs_agree_with_the_interpreter() {
    let asked_for = std::env::var("SMF_PROGRAMS").ok().map(|count| count.parse().unwrap());
    for seed in 0..asked_for.unwrap_or(scale(100_000, 2_000)) {
        check(seed * 7919 + 12345);
    }
}

#[test]
fn popped_value_outlives_the_extension_of_the_stack() {
    let source = "function f, 1, 1\nLOAD 0, 0\nJMP on\non:\nPOP 70\nRET 70";
    assert_eq!(run(source, &[9]), Ok(9));
}

#[test]
fn copy_of_a_slot_outlives_its_change() {
    let on = "function f, 1, 1\nLOAD 0, 0\nJMP on\non:\nPUSH 0";
    let written = "CONST_I64_PUSH 1\nCONST_I64_PUSH 2\nADD_I64_POP 0\nRET 1";
    assert_eq!(run(&std::format!("{on}\n{written}"), &[9]), Ok(9));
    let compared = "CONST_I64 0, 5\nCONST_I64_PUSH 7\nLT_JMP_IF_NOT other\nCONST_I64 0, 1\nRET 0\nother:\nRET 0";
    assert_eq!(run(&std::format!("{on}\n{compared}"), &[9]), Ok(5));
    let bools = "function f, 1, 1\nLOAD_PUSH 0\nCONST_I64_PUSH 7\nLT\nJMP on\non:\nPUSH 0\n\
        CONST_TRUE 0\nJMP_IF other\nRET 0\nother:\nCONST_FALSE 0\nRET 0";
    assert_eq!((run(bools, &[9]), run(bools, &[5])), (Ok(1), Ok(0)));
}

#[test]
fn limits_are_named() {
    let pushes = "CONST_I64_PUSH 1\n".repeat(65);
    let source =
        std::format!("function f, 0, 0\n{pushes}CALL g, 65\nRET 0\nfunction g, 65, 65\nRET_VOID");
    let functions = assemble(&source).unwrap();
    let codes = functions.iter().map(|function| FunctionCode {
        code: &function.code,
        params: function.params,
        locals: function.locals,
    });
    let program = Verifier::new().verify(codes.collect()).unwrap();
    for (index, name) in [(0, "arguments of a call"), (1, "parameters")] {
        let mut verifier = Verifier::new();
        let facts = verifier.facts(&program, index).unwrap();
        let found = Translator::new().function(&program, &facts, Entry::Call).map(|_| ());
        assert_eq!(found, Err(TranslateError::Limit { name, limit: 64, value: 65 }));
        let found = Translator::new().function(&program, &facts, Entry::LoopHead(0)).map(|_| ());
        assert_eq!(found, Err(TranslateError::NoLoop { at: 0 }));
    }
}

/// More values are computed than an IR function has locals.
#[test]
#[cfg_attr(miri, ignore = "takes minutes in the interpreter")]
fn long_function_uses_temporaries_again() {
    let step = "LOAD_PUSH 0\nCONST_I64_PUSH 3\nMUL_I64\nLOAD_PUSH 0\nSUB_I64\nADD_I64\n";
    // A value that is computed then waits until the temporaries have been used many times.
    let source = std::format!(
        "function f, 1, 1\nCONST_I64_PUSH 1\n{}LOAD_PUSH 0\nCONST_I64_PUSH 5\nMUL_I64\n\
            CONST_I64_PUSH 0\n{}SUB_I64\nADD_I64\nRET 0",
        step.repeat(20_000),
        step.repeat(1_000),
    );
    assert_eq!(run(&source, &[7]), Ok(1 + 20_000 * 14 + 35 - 1_000 * 14));
}

#[test]
fn known_values_produce_no_instructions() {
    let code = crate::bytecode::testing::code(&[
        I::LoadPush { local: 0 },
        I::ConstI64Push { value: 1 },
        I::AddI64,
        I::PopStore { local: 0 },
        I::Load { dest: 0, local: 0 },
        I::Ret { src: 0 },
    ]);
    assert_eq!(Instructions::new(&code).count(), 6);
    let function = crate::bytecode::testing::function(&code, 1, 1);
    let program = Verifier::new().verify(vec![function]).unwrap();
    let bytes = translated(&program, 0, Entry::Call);
    // The addition in the home of the local, and the return.
    assert_eq!(Function::parse(&bytes).unwrap().len(), 2);
}
