//! Compiled bytecode compared with Cranelift and the interpreter: the cost of compilation, and the speed of the
//! code.

mod clif;
mod winch;

use std::time::{Duration, Instant};

use smf_core::bytecode::host::HostTable;
use smf_core::bytecode::text::{Assembled, assemble};
use smf_core::bytecode::verify::{FunctionCode, Program, Verifier};
use smf_core::memory::code_alloc::CodeMemory;
use smf_core::vm::{Engine, Tiers, X64Compiler};

use crate::measure::{Bench, Contender, Measure, Target, Unit, repeat};

/// Increments a loop counter in a local and jumps back.
macro_rules! next_round {
    ($local:literal, $head:literal) => {
        concat!(
            "    LOAD_PUSH ",
            $local,
            "\n    CONST_I64_PUSH 1\n    ADD_I64\n    POP_STORE ",
            $local,
            "\n    JMP ",
            $head,
            "\n"
        )
    };
}

/// The programs, each with one function of the same name.
const SOURCE: &str = concat!(
    "
function sum, 1, 3 ; local 1: i, local 2: the sum
    CONST_I64_PUSH 0
    POP_STORE 1
    CONST_I64_PUSH 0
    POP_STORE 2
again:
    LOAD_PUSH 1
    LOAD_PUSH 0
    LT_JMP_IF_NOT done
    LOAD_PUSH 2
    LOAD_PUSH 1
    ADD_I64
    POP_STORE 2
",
    next_round!(1, "again"),
    "done:
    LOAD 0, 2
    RET 0
function nested, 1, 4 ; local 1: i, 2: j, 3: the sum
    CONST_I64_PUSH 0
    POP_STORE 1
    CONST_I64_PUSH 0
    POP_STORE 3
outer:
    LOAD_PUSH 1
    LOAD_PUSH 0
    LT_JMP_IF_NOT done
    CONST_I64_PUSH 0
    POP_STORE 2
inner:
    LOAD_PUSH 2
    LOAD_PUSH 0
    LT_JMP_IF_NOT next
    LOAD_PUSH 3
    LOAD_PUSH 1
    LOAD_PUSH 2
    MUL_I64
    ADD_I64
    POP_STORE 3
",
    next_round!(2, "inner"),
    "next:
",
    next_round!(1, "outer"),
    "done:
    LOAD 0, 3
    RET 0
function primes, 1, 4 ; local 1: candidate, 2: divisor, 3: how many are prime
    CONST_I64_PUSH 2
    POP_STORE 1
    CONST_I64_PUSH 0
    POP_STORE 3
outer:
    LOAD_PUSH 1
    LOAD_PUSH 0
    LT_JMP_IF_NOT done
    CONST_I64_PUSH 2
    POP_STORE 2
inner:
    LOAD_PUSH 2
    LOAD_PUSH 2
    MUL_I64
    LOAD_PUSH 1
    GT
    JMP_IF prime
    LOAD_PUSH 1
    LOAD_PUSH 2
    MOD_I64
    CONST_I64_PUSH 0
    EQ
    JMP_IF next
",
    next_round!(2, "inner"),
    "prime:
    LOAD_PUSH 3
    CONST_I64_PUSH 1
    ADD_I64
    POP_STORE 3
next:
",
    next_round!(1, "outer"),
    "done:
    LOAD 0, 3
    RET 0
function fib, 1, 1
    LOAD_PUSH 0
    CONST_I64_PUSH 2
    LT_JMP_IF_NOT more
    LOAD 0, 0
    RET 0
more:
    LOAD_PUSH 0
    CONST_I64_PUSH 1
    SUB_I64
    CALL fib, 1
    LOAD_PUSH 0
    CONST_I64_PUSH 2
    SUB_I64
    CALL fib, 1
    ADD_I64_POP 0
    RET 0
function add, 2, 2
    LOAD_PUSH 0
    LOAD_PUSH 1
    ADD_I64
    RET 0
"
);

/// A program and its workload in one turn.
struct Case {
    name: &'static str,
    /// The arguments for the compilers, for quick runs, and for the interpreter, which is slow.
    arguments: [i64; 3],
    /// The number of bytecode instructions that run for an argument.
    instructions: fn(i64) -> u64,
}

const CASES: [Case; 4] = [
    Case {
        name: "sum",
        arguments: [1_000_000_000, 1_000_000, 100_000],
        instructions: |n| 12 * n as u64,
    },
    Case {
        name: "nested",
        arguments: [20_000, 1_000, 300],
        instructions: |n| (14 * n * n + 10 * n) as u64,
    },
    Case {
        name: "primes",
        arguments: [200_000, 20_000, 2_000],
        instructions: instructions_of_primes,
    },
    Case { name: "fib", arguments: [35, 25, 18], instructions: instructions_of_fib },
];

fn instructions_of_primes(end: i64) -> u64 {
    let mut count = 0;
    for candidate in 2..end {
        let mut divisor = 2;
        count += 10;
        while divisor * divisor <= candidate {
            count += 12;
            if candidate % divisor == 0 {
                break;
            }
            count += 5;
            divisor += 1;
        }
    }
    count
}

fn instructions_of_fib(n: i64) -> u64 {
    if n < 2 { 5 } else { 13 + instructions_of_fib(n - 1) + instructions_of_fib(n - 2) }
}

fn verified(functions: &[Assembled]) -> Program<'_> {
    let codes = functions.iter().map(|function| FunctionCode {
        code: &function.code,
        params: function.params,
        locals: function.locals,
    });
    Verifier::new().verify(codes.collect()).unwrap()
}

const COMPILE: &str = "bytecode: compile an instruction, verify included";
const COMPILE_WINCH: &str = "bytecode: compile an instruction, verify included, beside Winch";

pub(crate) fn measure(bench: &mut Bench) {
    let names: Vec<String> = CASES
        .iter()
        .flat_map(|case| {
            ["none", "speed", "interpreted", "by the interpreter"].map(|peer| row(case.name, peer))
        })
        .chain(
            [COMPILE, COMPILE_WINCH, "bytecode: host call", "bytecode: bytes"].map(str::to_owned),
        )
        .collect();
    if !bench.wants(&names.iter().map(String::as_str).collect::<Vec<_>>()) {
        return;
    }
    let functions = assemble(SOURCE).unwrap();
    let memory = CodeMemory::default();
    let tiers = Tiers::Compile { threshold: 0 };
    let engine =
        Engine::with_tiers(verified(&functions), HostTable::new(), tiers, &memory).unwrap();
    compiling(bench, &functions);
    running(bench, &engine, &functions);
    host_call(bench, &engine);
    bytes(bench, &engine, &functions);
}

fn row(case: &str, peer: &str) -> String {
    format!("bytecode: {case}, an instruction; {peer}")
}

fn count_instructions(functions: &[Assembled]) -> u64 {
    use smf_core::bytecode::instruction::Instructions;
    functions.iter().map(|function| Instructions::new(&function.code).count() as u64).sum()
}

fn compiling(bench: &mut Bench, functions: &[Assembled]) {
    // Large enough that the caches contain more than one function.
    let many: Vec<Assembled> =
        std::iter::repeat_n(&functions[..4], 100).flatten().cloned().collect();
    let codes: Vec<FunctionCode<'_>> = many
        .iter()
        .zip(0u32..)
        .map(|(function, _)| FunctionCode {
            code: &function.code,
            params: function.params,
            locals: function.locals,
        })
        .collect();
    let ours = || {
        let (mut verifier, mut compiler) = (Verifier::new(), X64Compiler::new());
        let codes = codes.clone();
        repeat(move || {
            let program = verifier.verify(codes.clone()).unwrap();
            let count = u32::try_from(program.functions().len()).unwrap();
            let mut bytes = 0;
            for index in 0..count {
                bytes += compiler.function(&program, index).unwrap().bytes.len();
            }
            bytes
        })
    };
    let per = count_instructions(&many);
    let target = Target { ratio: Some(0.02), limit: Some(10.0) };
    let peer = "cranelift-jit, none";
    let measure = Measure { name: COMPILE, peer, per, batches: 60, target, ..Measure::default() };
    let theirs = repeat(move || {
        for _ in 0..100 {
            clif::Compiled::new("none");
        }
    });
    bench.take(&measure, ours(), Some(theirs));
    let (name, peer, target) = (COMPILE_WINCH, "winch-codegen", Target::ratio(1.0 / 8.0));
    let measure = Measure { name, peer, per, batches: 60, target, ..Measure::default() };
    let winch = winch::Winch::new(100);
    bench.take(&measure, ours(), Some(repeat(|| winch.compile())));
}

/// Calls `call` with an argument, the requested number of times.
fn calls<'a>(argument: i64, call: impl Fn(i64) -> i64 + 'a) -> Contender<'a> {
    Box::new(move |times| -> Duration {
        let start = Instant::now();
        for _ in 0..times {
            std::hint::black_box(call(std::hint::black_box(argument)));
        }
        start.elapsed()
    })
}

fn running(bench: &mut Bench, engine: &Engine<'_>, functions: &[Assembled]) {
    let interpreter = Engine::new(verified(functions), HostTable::new()).unwrap();
    let [none, speed] = ["none", "speed"].map(clif::Compiled::new);
    for (case, index) in CASES.iter().zip(0..) {
        let [all, some, few] = case.arguments;
        let (argument, batches) = if bench.is_quick() { (some, 30) } else { (all, 9) };
        let run = |engine: &Engine<'_>, argument| engine.call(index, &[argument]).unwrap();
        assert_eq!(run(engine, few), run(&interpreter, few), "{}", case.name);
        assert_eq!(run(engine, argument), none.call(index, argument), "{}", case.name);
        for (peer, code, ratio) in [("none", &none, 1.5), ("speed", &speed, 2.5)] {
            let name = row(case.name, peer);
            let per = (case.instructions)(argument);
            // 1,500 million per second.
            let target = Target { ratio: Some(ratio), limit: Some(1.0 / 1.5) };
            let peer = format!("cranelift, {peer}");
            let measure =
                Measure { name: &name, peer: &peer, per, batches, target, ..Measure::default() };
            let theirs = calls(argument, |argument| code.call(index, argument));
            bench.take(&measure, calls(argument, |argument| run(engine, argument)), Some(theirs));
        }
        let name = row(case.name, "interpreted");
        let (per, target) = ((case.instructions)(few), Target::ratio(1.0 / 15.0));
        let measure = Measure {
            name: &name,
            peer: "interpreter",
            per,
            batches: 30,
            target,
            ..Measure::default()
        };
        let theirs = calls(few, |argument| run(&interpreter, argument));
        bench.take(&measure, calls(few, |argument| run(engine, argument)), Some(theirs));
        let name = row(case.name, "by the interpreter");
        // 250 million per second.
        let target = Target::limit(4.0);
        let measure = Measure { name: &name, per, batches: 30, target, ..Measure::default() };
        bench.take(&measure, calls(few, |argument| run(&interpreter, argument)), None);
    }
}

fn host_call(bench: &mut Bench, engine: &Engine<'_>) {
    use smf_core::trap;
    let target = Target::limit(3.0);
    for (index, args, name) in [
        (4, &[3, 4][..], "bytecode: host call by address"),
        (3, &[1][..], "bytecode: host call by address, of what calls others"),
    ] {
        let address = engine.address(index).unwrap() as u64;
        #[expect(unsafe_code, reason = "it calls machine code")]
        let ours = repeat(move || {
            let (mut sum, args) = (0, std::hint::black_box(args));
            for _ in 0..1000 {
                // SAFETY: the engine returned the address for these arguments, and is alive.
                sum += unsafe { trap::call(address, args) }.unwrap();
            }
            sum
        });
        let measure = Measure { name, per: 1000, batches: 60, target, ..Measure::default() };
        bench.take(&measure, ours, None);
    }
    let ours = repeat(|| engine.call(4, std::hint::black_box(&[3, 4])));
    let measure = Measure {
        name: "bytecode: host call through the engine",
        batches: 60,
        ..Measure::default()
    };
    bench.take(&measure, ours, None);
}

fn bytes(bench: &mut Bench, engine: &Engine<'_>, functions: &[Assembled]) {
    let mut bytes = 0;
    engine.for_each_code(|_, _, size| bytes += size);
    let each = bytes as f64 / count_instructions(functions) as f64;
    bench.state(
        "bytecode: bytes of code an instruction",
        (each * 10.0).round() / 10.0,
        Unit::Count,
        5.0,
    );
}
