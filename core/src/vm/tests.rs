//! Programs in an engine: the same results and the same errors in every tier.

use std::boxed::Box;
use std::format;
use std::string::String;
use std::string::ToString;
use std::vec;
use std::vec::Vec;

use super::*;
use crate::bytecode::host::HostFunction;
use crate::bytecode::text::{Assembled, assemble};
use crate::bytecode::verify::{FunctionCode, Verifier, functions_of};
use crate::format::functions::Functions;
use crate::trap::bytecode::Cause;

const SAMPLE: &[u8] = include_bytes!("../../../tests/samples/bcod.smf");

#[test]
#[cfg_attr(miri, ignore = "runs machine code")]
fn functions_of_the_sample_are_called() {
    let table = Functions::parse(&SAMPLE[0xd0..0x16a], &SAMPLE[0x16a..0x175], 0xd0).unwrap();
    let program = Verifier::new().verify(functions_of(&table).unwrap()).unwrap();
    let engine = Engine::new(program, HostTable::new()).unwrap();
    assert_eq!(engine.call(0, &[]), Ok(42));
    assert_eq!(engine.call(1, &[100]), Ok(5050));
    assert_eq!(engine.call(1, &[-1]), Ok(0));
    let (function, given, params) = (1, 2, 1);
    assert_eq!(engine.call(1, &[1, 2]), Err(CallError::Arguments { function, given, params }));
    assert_eq!(engine.call(2, &[]), Err(CallError::NoFunction { function: 2 }));
    engine.signals().interrupt();
    let error = engine.call(1, &[5]).unwrap_err();
    assert_eq!(error.to_string(), "interrupted, in function 1 at offset 0x0");
    engine.signals().resume();
    assert_eq!(engine.call(1, &[5]), Ok(15));
}

extern "C" fn forty() -> i64 {
    40
}

#[test]
fn missing_host_function_is_refused() {
    // CALL_SFFI 0, 0; RET 0.
    let code = [0x50, 0, 0, 0, 0, 0, 0x44, 0, 0, 0];
    let program = || {
        let function = FunctionCode { code: &code, params: 0, locals: 0 };
        Verifier::new().verify(vec![function]).unwrap()
    };
    let missing = Engine::new(program(), HostTable::new()).unwrap_err().to_string();
    assert!(missing.contains("every call between functions"), "{missing}");
    let mut hosts = HostTable::new();
    hosts.set(0, HostFunction::Args0(forty)).unwrap();
    assert_eq!(Engine::new(program(), hosts.clone()).unwrap().call(0, &[]), Ok(40));
    extern "C" fn more(one: i64) -> i64 {
        one
    }
    hosts.set(0, HostFunction::Args1(more)).unwrap();
    let other = Engine::new(program(), hosts).unwrap_err().to_string();
    assert!(other.contains("which takes 1"), "{other}");
}

/// The engines of the tests below, which must behave equally.
fn engines(source: &str) -> [Engine<'static>; 3] {
    let functions: &'static [Assembled] = Box::leak(assemble(source).unwrap().into_boxed_slice());
    let tiers = [
        Tiers::Interpret,
        Tiers::default(),
        if cfg!(any(target_arch = "x86_64", target_arch = "aarch64")) {
            Tiers::Compile { threshold: 0 }
        } else {
            Tiers::Interpret
        },
    ];
    tiers.map(|tiers| {
        let codes = functions.iter().map(|function| FunctionCode {
            code: &function.code,
            params: function.params,
            locals: function.locals,
        });
        let program = Verifier::new().verify(codes.collect()).unwrap();
        let memory = CodeMemory::default();
        let mut hosts = HostTable::new();
        hosts.set(0, HostFunction::Args0(forty)).unwrap();
        Engine::with_tiers(program, hosts, tiers, &memory).unwrap()
    })
}

/// The result of function 0 in every tier, called often enough for tier-up.
fn everywhere(source: &str, args: &[i64]) -> Result<i64, Trap> {
    let mut results = Vec::new();
    for engine in engines(source) {
        for _ in 0..DEFAULT_THRESHOLD + 3 {
            let result = engine.call(0, args).map_err(|error| match error {
                CallError::Trap(trap) => trap,
                other => panic!("{other}"),
            });
            if results.last() != Some(&result) {
                results.push(result);
            }
        }
    }
    assert_eq!(results.len(), 1, "{results:?}");
    results[0]
}

fn trap(cause: Cause, function: u32, at: u32) -> Result<i64, Trap> {
    Err(Trap { cause, function, at })
}

#[test]
#[cfg_attr(miri, ignore = "runs machine code")]
fn division_by_zero_traps_at_its_offset() {
    let divide = |operator: &str, left: i64, right: i64| {
        let source = format!("function f, 2, 2\nLOAD_PUSH 0\nLOAD_PUSH 1\n{operator}\nRET 0");
        everywhere(&source, &[left, right])
    };
    for operator in ["DIV_I64", "MOD_I64"] {
        assert_eq!(divide(operator, 7, 0), trap(Cause::DivisionByZero, 0, 8));
    }
    assert_eq!(divide("DIV_I64", i64::MIN, -1), Ok(i64::MIN));
    assert_eq!(divide("MOD_I64", i64::MIN, -1), Ok(0));
    assert_eq!((divide("DIV_I64", -7, 2), divide("MOD_I64", -7, 2)), (Ok(-3), Ok(-1)));
}

#[test]
#[cfg_attr(miri, ignore = "runs machine code")]
fn division_by_a_constant_rounds_towards_zero() {
    for right in
        [1, -1, 2, -2, 3, -3, 7, -7, 8, 10, -641, 1 << 31, 1 << 40, 1 << 62, i64::MIN, i64::MAX]
    {
        for left in [0, 1, -1, 6, -6, 7, -8, 9, i64::MAX, i64::MIN, i64::MIN + 1, 1 << 40] {
            for (operator, expected) in
                [("DIV", left.wrapping_div(right)), ("MOD", left.wrapping_rem(right))]
            {
                let source = format!(
                    "function f, 1, 1\nLOAD_PUSH 0\nCONST_I64_PUSH {right}\n{operator}_I64\nPOP_STORE 0\nLOAD 0, 0\nRET 0"
                );
                let engines = engines(&source);
                let results = engines.map(|engine| engine.call(0, &[left]));
                assert_eq!(results, [Ok(expected); 3], "{left} {operator} {right}");
            }
        }
    }
}

/// A value whose slot is popped into another one is moved elsewhere when that slot is pushed to again.
/// Found: the compiled code took the register of the result that was being pushed.
#[test]
#[cfg_attr(miri, ignore = "runs machine code")]
fn result_pushed_where_a_copied_slot_was_is_kept() {
    let popped = |call: &str| {
        let source = format!(
            "function f, 1, 1\nLOAD 1, 0\nJMP on\non:\nPOP 0\n{call}\nRET 1\nfunction g, 0, 0\nCONST_I64 0, -128\nRET 0"
        );
        everywhere(&source, &[7])
    };
    assert_eq!(popped("CALL g, 0"), Ok(-128));
    assert_eq!(popped("CALL_SFFI 0, 0"), Ok(40));
    assert_eq!(popped("CALL g, 0\nPUSH 0\nADD_I64"), Ok(-121));
    let divided = |operator: &str| {
        let source = format!(
            "function f, 2, 2\nLOAD 0, 0\nLOAD 1, 0\nJMP on\non:\nDUP 1, 0\nLOAD_PUSH 1\n{operator}\nRET 1"
        );
        everywhere(&source, &[70, 8])
    };
    assert_eq!((divided("DIV_I64"), divided("MOD_I64")), (Ok(8), Ok(6)));
}

#[test]
#[cfg_attr(miri, ignore = "runs machine code")]
fn recursion_without_end_stops_at_the_same_depth() {
    let forever = "function f, 1, 1\nLOAD_PUSH 0\nCALL f, 1\nRET 0";
    assert_eq!(everywhere(forever, &[1]), trap(Cause::CallDepth, 0, 0));
    let two = "function f, 1, 1\nLOAD_PUSH 0\nCALL g, 1\nRET 0\nfunction g, 1, 1\nLOAD_PUSH 0\nCALL f, 1\nRET 0";
    assert_eq!(everywhere(two, &[1]), trap(Cause::CallDepth, 0, 0));
    let deep = "function f, 1, 1\nLOAD_PUSH 0\nCONST_I64_PUSH 0\nEQ_JMP_IF_NOT on\nLOAD 0, 0\nRET 0\non:\nLOAD_PUSH 0\nCONST_I64_PUSH 1\nSUB_I64\nCALL f, 1\nCONST_I64_PUSH 1\nADD_I64_POP 0\nRET 0";
    assert_eq!(everywhere(deep, &[999]), Ok(999));
    assert_eq!(everywhere(deep, &[1000]), trap(Cause::CallDepth, 0, 0));
}

#[test]
#[cfg_attr(miri, ignore = "runs machine code")]
fn tail_calls_need_no_depth() {
    // Nine parameters count down, passed in registers and on the stack.
    let pushes = (1..9).map(|local| format!("LOAD_PUSH {local}\n")).collect::<String>();
    let source = format!(
        "function f, 2, 2\nLOAD_PUSH 0\n{}TAIL_CALL g, 9\nfunction g, 9, 9\nLOAD_PUSH 0\nCONST_I64_PUSH 0\nEQ_JMP_IF_NOT on\nLOAD 0, 8\nRET 0\non:\nLOAD_PUSH 0\nCONST_I64_PUSH 1\nSUB_I64\n{}TAIL_CALL h, 8\nfunction h, 8, 8\nLOAD_PUSH 0\n{}CONST_I64_PUSH 5\nTAIL_CALL g, 9\n",
        "LOAD_PUSH 1\n".repeat(8),
        pushes.lines().take(7).map(|line| format!("{line}\n")).collect::<String>(),
        pushes.lines().take(7).map(|line| format!("{line}\n")).collect::<String>(),
    );
    assert_eq!(everywhere(&source, &[20_000, 77]), Ok(5));
    assert_eq!(everywhere(&source, &[0, 77]), Ok(77));
}

#[test]
#[cfg_attr(miri, ignore = "runs machine code")]
fn operand_stack_and_large_frames_are_limited() {
    let pushes = |count: usize| {
        let source = format!("function f, 0, 0\n{}RET 3", "CONST_I64_PUSH 7\n".repeat(count));
        everywhere(&source, &[])
    };
    assert_eq!(pushes(10_000), Ok(7));
    assert_eq!(pushes(10_001), trap(Cause::StackLimit, 0, 0));
    let slots = "function f, 0, 0\nCONST_I64 65534, 1\nRET 65534";
    assert_eq!(everywhere(slots, &[]), trap(Cause::StackLimit, 0, 0));
    let filled = "function f, 0, 0\nCONST_I64 9999, 1\nPUSH 9999\nPOP 4\nRET 9999";
    assert_eq!(everywhere(&filled.replace("9999", "9998"), &[]), Ok(1));
    let locals = "function f, 1, 65535\nLOAD_PUSH 0\nPOP_STORE 65534\nLOAD_PUSH 65534\nRET 0";
    assert_eq!(everywhere(locals, &[3]), Ok(3));
    // 64 KiB each: fifteen fit.
    let large = "function f, 1, 8100\nLOAD_PUSH 0\nCONST_I64_PUSH 0\nEQ_JMP_IF_NOT on\nLOAD 0, 8000\nLOAD 0, 0\nRET 0\non:\nLOAD_PUSH 0\nPOP_STORE 8000\nLOAD_PUSH 0\nCONST_I64_PUSH 1\nSUB_I64\nCALL f, 1\nRET 0";
    assert_eq!(everywhere(large, &[14]), Ok(0));
    assert_eq!(everywhere(large, &[30]), trap(Cause::StackLimit, 0, 0));
    // Activations of the largest size without charge, up to the limit of their number.
    let many = "function f, 1, 100\nLOAD_PUSH 0\nPOP_STORE 99\nLOAD_PUSH 99\nCALL f, 1\nRET 0";
    assert_eq!(everywhere(many, &[1]), trap(Cause::CallDepth, 0, 0));
}

#[test]
#[cfg_attr(miri, ignore = "runs machine code")]
fn values_are_tracked_in_every_stack_slot() {
    // Constants and copies of locals on both sides of stack slot 64, which are exchanged, and whose local is
    // set meanwhile.
    let mut source = String::from("function f, 2, 2\n");
    let mut vector: Vec<i64> = Vec::new();
    for number in 0..150 {
        let (line, value) = match number % 3 {
            0 => (String::from("LOAD_PUSH 0"), 11),
            1 => (format!("CONST_I64_PUSH {number}"), number),
            _ => (String::from("LOAD_PUSH 1"), -5),
        };
        source += &format!("{line}\n");
        vector.push(value);
    }
    for (a, b) in [(2, 66), (64, 63), (149, 0), (127, 129)] {
        source += &format!("SWAP {a}, {b}\n");
        vector.swap(a, b);
    }
    source += "CONST_I64_PUSH 1000\nPOP_STORE 0\nPUSH 65\nPOP 70\nLOAD_PUSH 0\n";
    vector[70] = vector[65];
    vector.push(1000);
    while let [.., left, right] = vector[..] {
        vector.truncate(vector.len() - 2);
        let subtracts = vector.len().is_multiple_of(2);
        source += if subtracts { "SUB_I64\n" } else { "ADD_I64\n" };
        vector.push(if subtracts { left - right } else { left + right });
    }
    source += "RET 0";
    assert_eq!(everywhere(&source, &[11, -5]), Ok(vector[0]));
}

#[test]
#[cfg_attr(miri, ignore = "runs machine code")]
fn endless_program_is_stopped_from_another_thread() {
    let sources = [
        "function f, 1, 1\nagain:\nJMP again",
        "function f, 1, 1\nagain:\nLOAD_PUSH 0\nCONST_I64_PUSH 1\nEQ\nJMP_IF again\nRET_VOID",
        "function f, 1, 1\nLOAD_PUSH 0\nTAIL_CALL f, 1",
        "function f, 1, 1\nagain:\nLOAD_PUSH 0\nCALL g, 1\nPOP_STORE 0\nJMP again\nfunction g, 1, 1\nLOAD_PUSH 0\nRET 0",
    ];
    for engine in sources.into_iter().flat_map(engines) {
        std::thread::scope(|scope| {
            let call = scope.spawn(|| engine.call(0, &[1]));
            std::thread::sleep(std::time::Duration::from_millis(5));
            engine.signals().interrupt();
            match call.join().unwrap() {
                Err(CallError::Trap(Trap { cause: Cause::Interrupted, .. })) => {}
                other => panic!("{other:?}"),
            }
        });
        engine.signals().resume();
    }
}

#[test]
#[cfg_attr(miri, ignore = "runs machine code")]
fn threads_requesting_one_function_get_the_same() {
    let [_, tiers, always] = engines(
        "function f, 1, 3\nCONST_I64_PUSH 0\nPOP_STORE 1\nCONST_I64_PUSH 0\nPOP_STORE 2\nagain:\nLOAD_PUSH 1\nLOAD_PUSH 0\nLT_JMP_IF_NOT done\nLOAD_PUSH 2\nLOAD_PUSH 1\nADD_I64\nPOP_STORE 2\nLOAD_PUSH 1\nCONST_I64_PUSH 1\nADD_I64\nPOP_STORE 1\nJMP again\ndone:\nLOAD_PUSH 2\nRET 0",
    );
    for engine in [tiers, always] {
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| assert_eq!(engine.call(0, &[10_000]), Ok(49_995_000)));
            }
        });
        let mut count = 0;
        engine.for_each_code(|_, _, _| count += 1);
        assert_eq!(
            count,
            if cfg!(any(target_arch = "x86_64", target_arch = "aarch64")) { 1 } else { 0 }
        );
    }
}

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
#[test]
#[cfg_attr(miri, ignore = "runs machine code")]
fn host_calls_by_address() {
    use std::sync::atomic::{AtomicU32, Ordering};
    static TOLD: AtomicU32 = AtomicU32::new(0);
    fn tell(trap: Trap) {
        TOLD.fetch_add(1 + trap.at, Ordering::Relaxed);
    }
    let names = ["a", "b", "c", "d", "e", "f", "g", "h"];
    let pushes = |count: usize| {
        let load = |local: usize| {
            format!("LOAD_PUSH {local}\nCONST_I64_PUSH {}\nMUL_I64\n", 10i64.pow(local as u32))
        };
        let adds = "ADD_I64\n".repeat(count.saturating_sub(1));
        (0..count).map(load).collect::<String>() + &adds + "RET 0\n"
    };
    let mut source = String::new();
    for (name, params) in names.iter().zip(1..) {
        source += &format!("function {name}, {params}, {params}\n{}", pushes(params));
    }
    source += "function divide, 1, 1\nCONST_I64_PUSH 9\nLOAD_PUSH 0\nDIV_I64\nRET 0\nfunction nine, 9, 9\nRET_VOID";
    let [interpreted, tiers, always] = engines(&source);
    assert_eq!(interpreted.address(0), Err(CodeError::Interpreted));
    for engine in [tiers, always] {
        engine.on_trap(Some(tell));
        for round in 0..DEFAULT_THRESHOLD + 3 {
            for params in 1..=8u32 {
                let address = engine.address(params - 1).unwrap();
                assert_eq!(engine.address(params - 1), Ok(address), "{round}");
                let args: Vec<i64> = (1..=i64::from(params)).collect();
                let expected = (0..params).map(|n| i64::from(n + 1) * 10i64.pow(n)).sum();
                assert_eq!(call_address(address, &args), expected, "{params}");
            }
        }
        let address = engine.address(8).unwrap();
        let before = TOLD.load(Ordering::Relaxed);
        assert_eq!((call_address(address, &[3]), call_address(address, &[0])), (3, 0));
        assert_eq!(TOLD.load(Ordering::Relaxed), before + 15);
        let too_many = CodeError::Parameters { index: 9, params: 9 };
        assert_eq!(engine.address(9), Err(too_many));
        assert_eq!(engine.address(10), Err(CodeError::NoFunction { index: 10 }));
    }
}

/// Found: the hook got an error out of memory of the stack that nothing had written, and the next call of the engine
/// stopped with the error of the host function.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
#[test]
#[cfg_attr(miri, ignore = "runs machine code")]
fn error_of_host_function_in_a_call_by_address_reaches_the_hook() {
    use std::sync::{Mutex, OnceLock};
    static ENGINE: OnceLock<Engine<'static>> = OnceLock::new();
    static TOLD: Mutex<Option<Trap>> = Mutex::new(None);
    fn tell(trap: Trap) {
        *TOLD.lock().unwrap() = Some(trap);
    }
    extern "C" fn fail() -> i64 {
        ENGINE.get().unwrap().signals().report(7).unwrap();
        0
    }
    #[inline(never)]
    fn fill_stack() {
        std::hint::black_box([0xa5u8; 16 << 10]);
    }
    static CODE: [u8; 10] = [0x50, 0, 0, 0, 0, 0, 0x44, 0, 0, 0];
    let function = FunctionCode { code: &CODE, params: 0, locals: 0 };
    let program = Verifier::new().verify(vec![function]).unwrap();
    let mut hosts = HostTable::new();
    hosts.set(0, HostFunction::Args0(fail)).unwrap();
    let tiers = Tiers::Compile { threshold: 1 };
    let engine = Engine::with_tiers(program, hosts, tiers, &CodeMemory::default()).unwrap();
    let engine = ENGINE.get_or_init(|| engine);
    engine.on_trap(Some(tell));
    let address = engine.address(0).unwrap();
    for _ in 0..3 {
        fill_stack();
        assert_eq!(call_address(address, &[]), 0);
        let told = TOLD.lock().unwrap().take();
        assert_eq!(told, Some(Trap { cause: Cause::Host(7), function: 0, at: 0 }));
        assert_eq!(engine.signals().take_error(), None);
    }
}

/// Found: a call took the error of a host function that another thread had called, and that thread's call went on with 0.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
#[test]
#[cfg_attr(miri, ignore = "runs machine code")]
fn error_of_host_function_stops_the_call_of_its_own_thread() {
    use std::sync::atomic::{AtomicPtr, AtomicU32, Ordering};
    static SIGNALS: AtomicPtr<Signals> = AtomicPtr::new(std::ptr::null_mut());
    static STAGE: AtomicU32 = AtomicU32::new(0);
    /// More than there are reports in one table.
    const THREADS: u32 = 17;
    fn reach(stage: u32) {
        STAGE.fetch_add(1, Ordering::AcqRel);
        while STAGE.load(Ordering::Acquire) < stage {
            std::thread::yield_now();
        }
    }
    extern "C" fn fail(error: i64) -> i64 {
        #[expect(unsafe_code, reason = "a host function has no other way to its engine")]
        // SAFETY: the engine outlives the calls.
        let signals = unsafe { &*SIGNALS.load(Ordering::Relaxed) };
        reach(THREADS);
        signals.report(error as u32).unwrap();
        // All have reported before any call looks for an error.
        reach(2 * THREADS);
        error + 40
    }
    for tiers in [Tiers::Interpret, Tiers::default(), Tiers::Compile { threshold: 0 }] {
        let functions = assemble("function f, 1, 1\nLOAD_PUSH 0\nCALL_SFFI 0, 1\nRET 0").unwrap();
        let [Assembled { code, params, locals, .. }] = &functions[..] else {
            panic!("one function")
        };
        let function = FunctionCode { code, params: *params, locals: *locals };
        let program = Verifier::new().verify(vec![function]).unwrap();
        let mut hosts = HostTable::new();
        hosts.set(0, HostFunction::Args1(fail)).unwrap();
        let engine = Engine::with_tiers(program, hosts, tiers, &CodeMemory::default()).unwrap();
        SIGNALS.store(std::ptr::from_ref(engine.signals()).cast_mut(), Ordering::Relaxed);
        STAGE.store(0, Ordering::Relaxed);
        std::thread::scope(|scope| {
            let call = |error| engine.call(0, &[i64::from(error)]);
            let calls = (0..THREADS).map(|error| (error, scope.spawn(move || call(error))));
            for (error, result) in calls.collect::<Vec<_>>() {
                let cause = Cause::Host(error);
                let expected = match error {
                    0 => Ok(40),
                    _ => Err(CallError::Trap(Trap { cause, function: 0, at: 4 })),
                };
                assert_eq!(result.join().unwrap(), expected, "{tiers:?}");
            }
        });
        assert_eq!(engine.call(0, &[0]), Ok(40));
    }
}

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
#[expect(unsafe_code, reason = "it calls machine code")]
fn call_address(address: usize, args: &[i64]) -> i64 {
    // SAFETY: the engine returned the address for these arguments, and is alive.
    unsafe { crate::trap::call(address as u64, args) }.unwrap()
}
