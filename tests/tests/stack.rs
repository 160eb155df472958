//! The native stack of bytecode calls, measured on painted stacks: a function uses at most the stack that it is
//! charged, a call without enough stack traps, and nothing is written below the end.
#![cfg(all(any(target_arch = "x86_64", target_arch = "aarch64"), target_os = "linux"))]
#![allow(unsafe_code)]

use core::arch::asm;
use std::cell::{Cell, RefCell};
use std::fmt::Write;
use std::hint::black_box;
use std::ops::Range;
use std::thread;

use smf_core::bytecode::host::{HostFunction, HostTable};
use smf_core::bytecode::text::{Assembled, assemble};
use smf_core::bytecode::verify::{FunctionCode, Verifier};
use smf_core::memory::code_alloc::CodeMemory;
use smf_core::trap::bytecode::{Cause, Trap, activation_cost};
use smf_core::vm::{CallError, Engine, HOST_STACK, NEVER, Tiers, set_stack_bounds};

/// The contents of words of a stack that were never written.
const PAINT: u64 = 0x5afe_57ac_5afe_57ac;

/// Stack in bytes of the entry into compiled code, in addition to the activations: saved registers, and the query
/// of the stack bounds.
const ENTRY: u64 = 1536;

/// A stack for calls.
struct Stack {
    words: Box<[u64]>,
}

impl Stack {
    /// A painted stack; `bytes` is a multiple of 16.
    fn new(bytes: usize) -> Self {
        Self { words: vec![PAINT; bytes / 16 * 2].into_boxed_slice() }
    }

    /// Calls a C function without parameters, with the stack pointer at the end of this stack.
    fn call(&mut self, address: usize) -> i64 {
        let end = self.words.as_mut_ptr_range().end;
        // The allocator aligns words to no more than 16 bytes.
        assert!(end.addr().is_multiple_of(16));
        let result: i64;
        // SAFETY: the stack pointer is restored; the address is that of an engine's function, which returns.
        // The compiler does not see the writes to the words; `words` is borrowed exclusively for
        // them.
        unsafe {
            #[cfg(target_arch = "x86_64")]
            asm!(
                "mov r12, rsp",
                "mov rsp, {end}",
                "call {address}",
                "mov rsp, r12",
                end = in(reg) end,
                address = in(reg) address,
                out("r12") _,
                lateout("rax") result,
                clobber_abi("C"),
            );
            #[cfg(target_arch = "aarch64")]
            asm!(
                "mov x20, sp",
                "mov sp, {end}",
                "blr {address}",
                "mov sp, x20",
                end = in(reg) end,
                address = in(reg) address,
                out("x20") _,
                lateout("x0") result,
                clobber_abi("C"),
            );
        }
        result
    }

    /// The bytes from the end down to the lowest written word.
    fn used(&self) -> u64 {
        let clean = self.words.iter().take_while(|word| **word == PAINT).count();
        8 * (self.words.len() - clean) as u64
    }
}

std::thread_local! {
    /// The stack of the next call, if it is one of these.
    static BOUNDS: RefCell<Option<Range<usize>>> = const { RefCell::new(None) };
    /// The trap of the last call through an address.
    static TRAP: Cell<Option<Trap>> = const { Cell::new(None) };
}

const COMPILED: Tiers = Tiers::Compile { threshold: 0 };

/// The bounds of the thread's own stack, unless `BOUNDS` overrides them.
fn bounds() -> Option<Range<usize>> {
    BOUNDS.with_borrow(Option::clone).or_else(smf_loader::stack::bounds)
}

/// A function of the host that uses most of the stack reserved for the host.
extern "C" fn use_stack() -> i64 {
    let mut bytes = [1_u8; HOST_STACK - (1 << 10)];
    i64::from(black_box(&mut bytes)[7])
}

/// Calls an address on a stack of this many bytes: the result or the trap, and the number of used bytes. Memory below
/// the stack must not change.
fn call_with(bytes: usize, address: usize) -> (Result<i64, Cause>, u64) {
    set_stack_bounds(bounds);
    let mut stack = Stack::new(bytes + (64 << 10));
    let end = stack.words.as_ptr_range().end.addr();
    BOUNDS.set(Some(end - bytes..end));
    TRAP.set(None);
    let result = stack.call(address);
    BOUNDS.set(None);
    assert!(stack.used() <= bytes as u64, "{} of {bytes} bytes were used", stack.used());
    (TRAP.get().map_or(Ok(result), |trap| Err(trap.cause)), stack.used())
}

/// The shape of an activation.
#[derive(Clone, Copy, Debug)]
struct Shape {
    params: u16,
    /// Locals in addition to the parameters.
    more: u16,
    /// Values on the operand stack at the call.
    pushed: u16,
    /// Arguments of the called function.
    passed: u16,
    calls: bool,
}

/// A function of this shape, and `f`, which calls it with arguments that are all 1. It returns the sum of some of its
/// parameters and of its other locals, which are 2 each.
fn program_of(shape: Shape) -> (String, i64) {
    let Shape { params, more, pushed, passed, calls } = shape;
    let ones = |count: u16| "CONST_I64_PUSH 1\n".repeat(count.into());
    let mut source = format!("function f, 0, 0\n{}CALL g, {params}\nRET 0\n", ones(params));
    writeln!(source, "function g, {params}, {}", params + more).unwrap();
    let named: Vec<u16> =
        (0..params.min(9)).chain(params.max(1) - 1..params).chain(params..params + more).collect();
    for local in params..params + more {
        writeln!(source, "CONST_I64_PUSH 2\nPOP_STORE {local}").unwrap();
    }
    source += &ones(pushed);
    if calls {
        writeln!(source, "{}CALL h, {passed}\nPOP_STORE {}", ones(passed), params + more - 1)
            .unwrap();
    }
    source += "CONST_I64_PUSH 0\n";
    for local in &named {
        writeln!(source, "LOAD_PUSH {local}\nADD_I64").unwrap();
    }
    writeln!(source, "RET {pushed}\nfunction h, {passed}, {passed}\nCONST_I64 0, 2\nRET 0")
        .unwrap();
    let sum = named.iter().map(|local| if *local < params { 1 } else { 2 }).sum();
    (source, sum)
}

/// The bytes that the activations of `f`, `g` and `h` are charged.
fn cost_of(shape: Shape) -> u64 {
    let Shape { params, more, pushed, passed, .. } = shape;
    let max_stack_depth = u32::from(pushed) + u32::from(passed).max(2);
    activation_cost(0, params.max(1).into())
        + activation_cost(params + more, max_stack_depth)
        + activation_cost(passed, 1)
}

fn shapes() -> impl Iterator<Item = Shape> {
    const COUNTS: [u16; 8] = [0, 1, 4, 5, 6, 8, 20, 64];
    let few = [1, 5, 12, 400, 9000];
    COUNTS.into_iter().flat_map(move |params| {
        few.into_iter().flat_map(move |more| {
            [(0, 0), (30, 3), (0, 9), (200, 40), (0, 64)].into_iter().flat_map(
                move |(pushed, passed)| {
                    [false, true].map(|calls| Shape { params, more, pushed, passed, calls })
                },
            )
        })
    })
}

/// An engine whose programs may call `use_stack` as host function 0. Its code is at new addresses: an emulator of another
/// machine does not see that code at an old address was replaced through another mapping.
fn engine_of(functions: &[Assembled], tiers: Tiers) -> Engine<'_> {
    let codes = functions.iter().map(|function| FunctionCode {
        code: &function.code,
        params: function.params,
        locals: function.locals,
    });
    let program = Verifier::new().verify(codes.collect()).unwrap();
    let mut hosts = HostTable::new();
    hosts.set(0, HostFunction::Args0(use_stack)).unwrap();
    let engine = Engine::with_tiers(program, hosts, tiers, &CodeMemory::default()).unwrap();
    engine.on_trap(Some(|trap| TRAP.set(Some(trap))));
    engine
}

/// Found: parameters on the stack also took words of the frame, which were not charged. An activation with 1,000
/// parameters took 8 KB more than was accounted for.
#[test]
fn activation_uses_at_most_its_charged_stack() {
    for shape in shapes() {
        let (source, sum) = program_of(shape);
        let functions = assemble(&source).unwrap();
        let engine = engine_of(&functions, COMPILED);
        (0..3).for_each(|function| assert!(engine.compile(function).is_ok()));
        let address = engine.address(0).unwrap();
        let mut stack = Stack::new(1 << 20);
        assert_eq!(stack.call(address), sum, "{shape:?}");
        let (used, allowed) = (stack.used(), cost_of(shape) + ENTRY);
        assert!(used <= allowed, "{shape:?}: {used} bytes, of {allowed}");
    }
}

/// The least stack with which a call returns is the used stack and the stack reserved for functions of the host.
#[test]
fn call_without_enough_stack_traps() {
    for shape in shapes().filter(|shape| shape.calls) {
        let (source, sum) = program_of(shape);
        let functions = assemble(&source).unwrap();
        let engine = engine_of(&functions, COMPILED);
        (0..3).for_each(|function| assert!(engine.compile(function).is_ok()));
        let address = engine.address(0).unwrap();
        let (mut too_few, mut enough) = (HOST_STACK, 1 << 20);
        let (result, used) = call_with(enough, address);
        assert_eq!(result, Ok(sum), "{shape:?}");
        assert_eq!(call_with(too_few, address).0, Err(Cause::StackLimit), "{shape:?}");
        while enough - too_few > 16 {
            let bytes = ((too_few + enough) / 2) & !15;
            match call_with(bytes, address).0 {
                Ok(result) => (enough, _) = (bytes, assert_eq!(result, sum)),
                Err(cause) => (too_few, _) = (bytes, assert_eq!(cause, Cause::StackLimit)),
            }
        }
        // The last function calls nothing and does not check; small ones use less than the check.
        let needed = (enough - HOST_STACK) as u64;
        let least = if used < ENTRY { 0 } else { used - 256 };
        assert!((least..=used + 64).contains(&needed), "{shape:?}: {needed}, {used}");
    }
}

/// `f` counts down from its argument through `g`, and each calls the host.
fn countdown(from: u32) -> String {
    let step = |callee| {
        format!(
            "1, 1\nLOAD_PUSH 0\nCONST_I64_PUSH 0\nEQ_JMP_IF_NOT on\nCALL_SFFI 0, 0\nRET 0\non:\n\
             LOAD_PUSH 0\nCONST_I64_PUSH 1\nSUB_I64\nCALL {callee}, 1\nCALL_SFFI 0, 0\nADD_I64\nRET 0\n"
        )
    };
    format!(
        "function start, 0, 0\nCONST_I64_PUSH {from}\nCALL f, 1\nRET 0\nfunction f, {}function g, {}",
        step("g"),
        step("f")
    )
}

/// Calls of compiled and of interpreted functions, on stacks from 8 KiB on: nothing below the end is written in any
/// combination, and a stack larger than a sufficient one is sufficient.
#[test]
fn call_writes_nothing_below_the_end_of_its_stack() {
    let compiled: [&[u32]; 4] = [&[0, 1, 2], &[], &[1], &[0, 2]];
    let most = |compiled: &[u32], from: u32| {
        let functions = assemble(&countdown(from)).unwrap();
        let mut least = None;
        for bytes in (8 << 10..=256 << 10).step_by(if from < 10 { 1 << 10 } else { 7 << 10 }) {
            // A new engine each time: the first call translates a function.
            let tiers = Tiers::Compile { threshold: NEVER };
            let engine = engine_of(&functions, tiers);
            compiled.iter().for_each(|function| assert!(engine.compile(*function).is_ok()));
            match call_with(bytes, engine.address(0).unwrap()).0 {
                Ok(result) => {
                    assert_eq!(result, i64::from(from) + 1);
                    least.get_or_insert(bytes);
                }
                Err(cause) => {
                    assert_eq!((cause, least), (Cause::StackLimit, None), "{bytes} bytes");
                }
            }
        }
        least
    };
    for compiled in compiled {
        assert!(most(compiled, 1).is_some_and(|bytes| bytes <= 48 << 10), "{compiled:?}");
    }
    // Recursion that is all compiled or all interpreted is deep on a small stack.
    assert!(most(&[0, 1, 2], 900).is_some_and(|bytes| bytes <= 192 << 10));
    assert!(most(&[], 900).is_some_and(|bytes| bytes <= 48 << 10));
    // Each transition between the two takes stack of its own.
    assert_eq!(most(&[1], 900), None);
}

/// Functions and loops are compiled by tier-up where there is enough stack for the compiler.
#[test]
fn functions_and_loops_are_compiled_where_stack_suffices() {
    let loops = "function start, 0, 3000\nCONST_I64_PUSH 500\nPOP_STORE 2999\nCONST_I64_PUSH 0\nPOP_STORE 1\n\
        again:\nLOAD_PUSH 1\nLOAD_PUSH 2999\nADD_I64\nPOP_STORE 1\nLOAD_PUSH 2999\nCONST_I64_PUSH 1\nSUB_I64\n\
        POP_STORE 2999\nCONST_I64_PUSH 0\nLOAD_PUSH 2999\nLT\nJMP_IF again\nLOAD_PUSH 1\nRET 0";
    for (source, expected) in [(countdown(40), 41), (loops.to_owned(), 125_250)] {
        let functions = assemble(&source).unwrap();
        for (threshold, bytes) in [0, 3].into_iter().flat_map(|threshold| {
            (16 << 10..=192 << 10).step_by(4 << 10).map(move |bytes| (threshold, bytes))
        }) {
            let engine = engine_of(&functions, Tiers::Compile { threshold });
            let (result, _) = call_with(bytes, engine.address(0).unwrap());
            let mut count = 0;
            engine.for_each_code(|_, _, _| count += 1);
            match result {
                Ok(result) => assert_eq!(result, expected, "{bytes} bytes"),
                Err(cause) => assert_eq!(cause, Cause::StackLimit),
            }
            assert!(bytes < 160 << 10 || (result.is_ok() && count > 0), "{bytes}, {count}");
        }
    }
}

/// Threads with stacks from 64 KiB on: a leaf runs, and endless recursion traps.
#[test]
fn call_on_small_thread_traps_before_the_end_of_its_stack() {
    set_stack_bounds(bounds);
    let large = "function start, 0, 0\nCONST_I64_PUSH 0\nCALL f, 1\nRET 0\nfunction f, 1, 100\nLOAD_PUSH 0\n\
        POP_STORE 99\nLOAD_PUSH 99\nCALL f, 1\nRET 0\nfunction leaf, 0, 0\nCONST_I64 0, 42\nRET 0";
    for (bytes, tiers) in [64, 256, 2 << 10, 8 << 10].into_iter().flat_map(|size| {
        [(size << 10, COMPILED), (size << 10, Tiers::Interpret), (size << 10, Tiers::default())]
    }) {
        let run = move || {
            let functions = assemble(large).unwrap();
            let engine = engine_of(&functions, tiers);
            for _ in 0..250 {
                assert_eq!(engine.call(2, &[]), Ok(42));
            }
            let error = engine.call(0, &[]).unwrap_err();
            let CallError::Trap(Trap { cause, .. }) = error else { panic!("{error}") };
            let is_deep = bytes > 1 << 20 || tiers == Tiers::Interpret;
            let expected = if is_deep { Cause::CallDepth } else { Cause::StackLimit };
            assert!(
                cause == expected || (!is_deep && cause == Cause::CallDepth),
                "{bytes}: {cause}"
            );
        };
        thread::Builder::new().stack_size(bytes).spawn(run).unwrap().join().unwrap();
    }
}

/// A frame that is larger than the stack traps before anything behind the guard page is touched.
#[test]
fn frame_larger_than_the_stack_traps_before_the_guard_page() {
    set_stack_bounds(bounds);
    let shape = Shape { params: 0, more: 30_000, pushed: 0, passed: 0, calls: true };
    let (source, sum) = program_of(shape);
    let functions = assemble(&source).unwrap();
    let engine = engine_of(&functions, COMPILED);
    (0..3).for_each(|function| assert!(engine.compile(function).is_ok()));
    let call = |bytes: usize| {
        let run = || engine.call(0, &[]).map_err(|error| error.to_string());
        thread::scope(|scope| {
            let thread = thread::Builder::new().stack_size(bytes).spawn_scoped(scope, run);
            thread.unwrap().join().unwrap()
        })
    };
    assert_eq!(call(1 << 20), Ok(sum));
    let error = call(192 << 10).unwrap_err();
    assert!(error.contains("function 1 at offset 0x0"), "{error}");
}

/// A stack with unknown bounds needs 2 MiB, the limit of all activations together.
#[test]
fn unknown_stack_of_two_mebibytes_is_enough() {
    let parameters = "LOAD_PUSH 0\n".repeat(50);
    let deep = format!(
        "function start, 0, 0\n{}CALL f, 50\nRET 0\nfunction f, 50, 52\nCONST_I64_PUSH 1\nPOP_STORE 51\n\
         LOAD_PUSH 1\nPOP_STORE 2\nLOAD_PUSH 3\nPOP_STORE 4\nLOAD_PUSH 51\nPOP_STORE 5\n{parameters}CALL f, 50\n\
         LOAD_PUSH 0\nLOAD_PUSH 51\nADD_I64\nRET 0",
        "CONST_I64_PUSH 1\n".repeat(50)
    );
    for (source, limit) in [(deep, Cause::CallDepth), (countdown(2000), Cause::CallDepth)] {
        let functions = assemble(&source).unwrap();
        let engine = engine_of(&functions, COMPILED);
        (0..2).for_each(|function| assert!(engine.compile(function).is_ok()));
        // Outside of the bounds of the calling thread, as in a coroutine.
        set_stack_bounds(bounds);
        let mut stack = Stack::new((2 << 20) + (64 << 10));
        TRAP.set(None);
        stack.call(engine.address(0).unwrap());
        assert!(stack.used() <= 2 << 20, "{} bytes", stack.used());
        let cause = TRAP.get().map(|trap| trap.cause);
        assert_eq!(cause, Some(limit));
    }
}
