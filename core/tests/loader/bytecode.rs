//! Modules of bytecode: called by name and from other modules, replaced, refused, and unloaded.

use smf_core::format::Flags;
use std::ops::Range;
use std::sync::atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use smf_core::alloc_util::AttachResult;
use smf_core::bytecode::host::{HostFunction, HostTable};
use smf_core::bytecode::text::{assemble, write_module};
use smf_core::codegen::registry::{CodeRegistry, GeneratedCode};
use smf_core::link::Module;
use smf_core::loader::{
    DuplicateExports, LoadError, LoadObserver, LoaderOptions, ModuleBytes, ModuleLoader, Resolved,
    StateMigration,
};
use smf_core::memory::code_alloc::CodeMemory;
use smf_core::trap::bytecode::{Cause, Trap};
use smf_core::trap::{self, TrapError};
use smf_core::vm::{CallError, NEVER, Tiers};

use crate::build::{Does, Spec};
use crate::{call, call_at, collect};

const SAMPLE: &[u8] = include_bytes!("../../../tests/samples/bcod.smf");

fn module(source: &str) -> ModuleBytes {
    ModuleBytes::new(write_module(&assemble(source).unwrap(), Flags(0)).unwrap()).unwrap()
}

/// Returns a quotient.
const DIVIDES: &str = "function divide, 2, 2\nLOAD_PUSH 0\nLOAD_PUSH 1\nDIV_I64\nRET 0\n";

fn divides() -> ModuleBytes {
    module(&format!("function first, 0, 0\nCONST_I64 0, 7\nRET 0\n{DIVIDES}"))
}

const BY_ZERO: Trap = Trap { cause: Cause::DivisionByZero, function: 1, at: 0 };

/// Whether the call was stopped by a division by zero in the second function.
fn is_by_zero(result: Result<i64, TrapError>) -> bool {
    let Err(TrapError::Bytecode(trap)) = result else { return false };
    assert!(trap.at != 0);
    Trap { at: 0, ..trap } == BY_ZERO
}

#[test]
fn bytecode_functions_are_called_like_machine_code() {
    for threshold in [0, 3, NEVER] {
        let tiers = Tiers::Compile { threshold };
        let loader =
            ModuleLoader::new(LoaderOptions { tiers, ..LoaderOptions::default() }).unwrap();
        let user = Spec::new().function("through", Does::Calls("sum"));
        loader.register_provider(b"bcod", ModuleBytes::new(SAMPLE).unwrap()).unwrap();
        let user = loader.load(b"user", user.bytes()).unwrap();
        let bcod = loader.find(b"bcod").unwrap();
        for n in 0..9 {
            assert_eq!(call(&loader, user, "through", &[n]), n * (n + 1) / 2);
        }
        assert_eq!(call(&loader, bcod, "answer", &[]), 42);
        let Resolved { address, .. } = loader.resolve(b"sum").unwrap().unwrap();
        assert_eq!(call_at(address, &[100]), 5050);
        {
            let module = loader.get(bcod).unwrap();
            assert!(module.contains(address) && !module.contains(address + 1));
            assert!(module.function(b"absent").is_none());
            let names: Vec<_> = module.bytecode_exports().map(|(name, _)| name).collect();
            assert_eq!(names, [&b"answer"[..], b"sum"]);
            assert_eq!(module.engine().unwrap().call(1, &[10]), Ok(55));
        }
        assert!(matches!(loader.unload(bcod), Err(LoadError::Needed { .. })));
        loader.unload_all(&[user, bcod]).unwrap();
        assert!(loader.resolve(b"sum").unwrap().is_none());
    }
}

#[test]
fn trap_in_bytecode_ends_the_call_of_the_host() {
    let loader = ModuleLoader::new(LoaderOptions::default()).unwrap();
    let bcod = loader.load(b"bcod", divides()).unwrap();
    let user = Spec::new().function("through", Does::Calls("divide"));
    let user = loader.load(b"user", user.bytes()).unwrap();
    let (bcod, user) = (loader.get(bcod).unwrap(), loader.get(user).unwrap());
    for module in [&bcod, &user] {
        let name: &[u8] = if module.name() == b"bcod" { b"divide" } else { b"through" };
        let function = module.function(name).unwrap();
        for _ in 0..300 {
            // SAFETY: a function of two integers, in a module that is held.
            let divided = |by| unsafe { trap::call_catching(function, &[84, by]) };
            assert_eq!(divided(2), Ok(42));
            assert!(is_by_zero(divided(0)));
        }
        // No caller catches the trap.
        assert_eq!(call_at(function, &[84, 0]), 0);
    }
    let stopped = bcod.engine().unwrap().call(1, &[84, 0]);
    assert!(matches!(stopped, Err(CallError::Trap(trap)) if Trap { at: 0, ..trap } == BY_ZERO));
}

#[test]
fn unloaded_bytecode_frees_its_memory() {
    let code_memory = CodeMemory::default();
    let options = LoaderOptions { code_memory: code_memory.clone(), ..LoaderOptions::default() };
    let loader = ModuleLoader::new(options).unwrap();
    for _ in 0..20 {
        let bcod = loader.load(b"bcod", ModuleBytes::new(SAMPLE).unwrap()).unwrap();
        assert_eq!(call(&loader, bcod, "sum", &[1000]), 500_500);
        assert_ne!(code_memory.statistics().live_blocks, 0);
        loader.unload(bcod).unwrap();
        assert_eq!(code_memory.statistics().live_blocks, 0);
    }
}

#[test]
fn new_version_is_reached_through_the_same_address() {
    let options = LoaderOptions { reload_unmarked: true, ..LoaderOptions::default() };
    let loader = ModuleLoader::new(options).unwrap();
    let version =
        |number: i32| module(&format!("function v, 0, 0\nCONST_I64 0, {number}\nRET 0\n"));
    let handle = loader.load(b"m", version(1)).unwrap();
    let user = Spec::new().function("u", Does::Calls("v"));
    let user = loader.load(b"user", user.bytes()).unwrap();
    assert_eq!(call(&loader, user, "u", &[]), 1);
    let reload = |bytes| loader.reload(handle, bytes, StateMigration::Copy, &mut |_| {});
    // From bytecode to bytecode, to machine code, and back.
    for number in [2, 3] {
        assert_eq!(reload(version(number)).unwrap().kept, 0);
        assert_eq!(call(&loader, user, "u", &[]), i64::from(number));
    }
    reload(Spec::new().function("v", Does::Returns(4)).bytes()).unwrap();
    assert_eq!(call(&loader, user, "u", &[]), 4);
    reload(version(5)).unwrap();
    assert_eq!(call(&loader, user, "u", &[]), 5);
    assert!(matches!(reload(divides()), Err(LoadError::FunctionRemoved { .. })));
    assert!(matches!(
        reload(module("function v, 0, 0\nADD_I64\nRET 0\n")),
        Err(LoadError::Bytecode { .. })
    ));
    assert_eq!(call(&loader, user, "u", &[]), 5);
    collect(&loader);
    assert_eq!(loader.statistics().retired, 0);
}

#[test]
fn module_with_referenced_data_cannot_become_bytecode() {
    let options = LoaderOptions { reload_unmarked: true, ..LoaderOptions::default() };
    let loader = ModuleLoader::new(options).unwrap();
    let with_data = Spec::new().function("f", Does::Returns(1)).data("d", 7);
    let handle = loader.load(b"m", with_data.bytes()).unwrap();
    let user = Spec::new().function("u", Does::Reads("d"));
    let user = loader.load(b"user", user.bytes()).unwrap();
    let refused = loader.reload(handle, divides(), StateMigration::Copy, &mut |_| {});
    assert!(matches!(refused, Err(LoadError::DataInUse { .. })), "{refused:?}");
    assert_eq!(call(&loader, user, "u", &[]), 7);
}

#[test]
fn bytecode_that_cannot_be_called_is_refused() {
    let loader = ModuleLoader::new(LoaderOptions::default()).unwrap();
    let error = |loader: &ModuleLoader, bytes| loader.load(b"m", bytes).unwrap_err().to_string();
    let unsound = error(&loader, module("function f, 0, 0\nADD_I64\nRET 0\n"));
    assert!(unsound.starts_with("m: function 0: ADD_I64 pops 2"), "{unsound}");
    let calls_host = "function f, 0, 0\nCALL_SFFI 3, 0\nRET 0\n";
    let message = error(&loader, module(calls_host));
    assert!(message.starts_with("m: function 0: CALL_SFFI calls host function 3"), "{message}");
    for len in 0..SAMPLE.len() {
        assert!(loader.load(b"m", ModuleBytes::new(&SAMPLE[..len]).unwrap()).is_err(), "{len}");
    }
    assert_eq!(loader.statistics().modules, 0);

    extern "C" fn seven() -> i64 {
        7
    }
    let mut host_functions = HostTable::new();
    host_functions.set(3, HostFunction::Args0(seven)).unwrap();
    let options = LoaderOptions {
        host_functions,
        duplicate_exports: DuplicateExports::Refuse,
        ..LoaderOptions::default()
    };
    let loader = ModuleLoader::new(options).unwrap();
    let m = loader.load(b"m", module(calls_host)).unwrap();
    assert_eq!(call(&loader, m, "f", &[]), 7);
    let second = loader.load(b"n", module(calls_host)).unwrap_err().to_string();
    assert_eq!(second, "both m and n export `f`");
}

#[test]
fn function_of_nine_parameters_has_no_address() {
    let loader = ModuleLoader::new(LoaderOptions::default()).unwrap();
    let source =
        "function nine, 9, 9\nLOAD 0, 8\nRET 0\nfunction main, 0, 0\nCONST_I64 0, 3\nRET 0\n";
    let m = loader.load(b"m", module(source)).unwrap();
    let m = loader.get(m).unwrap();
    assert!(m.function(b"nine").is_none());
    assert_eq!(m.engine().unwrap().call(0, &[1, 2, 3, 4, 5, 6, 7, 8, 9]), Ok(9));
    assert_eq!(call_at(m.entry_point().unwrap(), &[]), 3);
}

#[test]
fn machine_code_cannot_import_interpreted_only_functions() {
    let tiers = Tiers::Interpret;
    let loader = ModuleLoader::new(LoaderOptions { tiers, ..LoaderOptions::default() }).unwrap();
    let user = Spec::new().function("through", Does::Calls("sum"));
    loader.register_provider(b"bcod", ModuleBytes::new(SAMPLE).unwrap()).unwrap();
    // First with the provider not yet loaded, then with it loaded.
    for _ in 0..2 {
        let refused = loader.load(b"user", user.bytes()).unwrap_err();
        assert!(matches!(refused, LoadError::Bytecode { .. }), "{refused}");
        let because = "bcod: the engine interprets bytecode alone";
        assert!(refused.to_string().starts_with(because), "{refused}");
        assert!(loader.find(b"user").is_none());
        if loader.find(b"bcod").is_none() {
            loader.load(b"bcod", ModuleBytes::new(SAMPLE).unwrap()).unwrap();
        }
    }
    let weak = Spec::new().function("through", Does::Calls("absent"));
    assert!(matches!(loader.load(b"other", weak.bytes()), Err(LoadError::Link { .. })));
}

#[test]
fn called_module_cannot_become_bytecode_without_addresses() {
    let options = LoaderOptions {
        reload_unmarked: true,
        tiers: Tiers::Interpret,
        ..LoaderOptions::default()
    };
    let loader = ModuleLoader::new(options).unwrap();
    let version = Spec::new().function("v", Does::Returns(4)).bytes();
    let handle = loader.load(b"m", version).unwrap();
    let user = Spec::new().function("u", Does::Calls("v"));
    let user = loader.load(b"user", user.bytes()).unwrap();
    let bytecode = module("function v, 0, 0\nCONST_I64 0, 5\nRET 0\n");
    let refused = loader.reload(handle, bytecode, StateMigration::Copy, &mut |_| {});
    assert!(matches!(refused, Err(LoadError::Bytecode { .. })), "{refused:?}");
    assert_eq!(call(&loader, user, "u", &[]), 4);
}

/// An observer that records registered code until it is unregistered.
#[derive(Clone, Default)]
struct Ear(Arc<Mutex<Vec<Heard>>>);

/// The name and the addresses of code.
type Heard = (String, Range<usize>);

impl Ear {
    fn hear(&self, names: &[&[u8]], code: Range<usize>) -> Option<Box<dyn Send + Sync>> {
        let name = String::from_utf8(names.concat()).unwrap();
        self.0.lock().unwrap().push((name, code.clone()));
        Some(Box::new(Going(self.clone(), code)))
    }

    fn names(&self) -> Vec<String> {
        self.0.lock().unwrap().iter().map(|(name, _)| name.clone()).collect()
    }
}

struct Going(Ear, Range<usize>);

impl Drop for Going {
    fn drop(&mut self) {
        self.0.0.lock().unwrap().retain(|(_, code)| *code != self.1);
    }
}

impl LoadObserver for Ear {
    fn on_load(&self, _: &[u8], _: &Module<'_>) -> AttachResult {
        Ok(None)
    }

    fn on_trampoline(&self, module: &[u8], function: &[u8], code: Range<usize>) -> AttachResult {
        Ok(self.hear(&[b"entry ", module, b":", function], code))
    }
}

impl CodeRegistry for Ear {
    fn register(&self, code: GeneratedCode<'_>) -> AttachResult {
        let [function] = code.functions else { panic!("one function a block: {code:?}") };
        assert!(code.block.start <= function.code.start && function.code.end <= code.block.end);
        assert_eq!(code.eh_frame().last_chunk(), Some(&[0; 4]), "{code:?}");
        Ok(self.hear(&[function.name], code.block))
    }
}

fn heard_by(ear: &Ear, threshold: u32) -> ModuleLoader {
    let options = LoaderOptions { tiers: Tiers::Compile { threshold }, ..LoaderOptions::default() };
    ModuleLoader::with_observer(options, Box::new(ear.clone())).unwrap()
}

#[test]
fn observer_is_notified_of_created_and_freed_code() {
    let ear = Ear::default();
    let loader = heard_by(&ear, 3);
    let bcod = loader.load(b"bcod", ModuleBytes::new(SAMPLE).unwrap()).unwrap();
    assert_eq!(ear.names(), ["bcod:stubs"]);
    let address = loader.get(bcod).unwrap().function(b"answer").unwrap();
    let entered = ["bcod:stubs", "bcod:answer:entry", "entry bcod:answer"];
    assert_eq!(ear.names(), entered);
    assert_eq!(ear.0.lock().unwrap()[1].1.start as u64, address);
    assert_eq!(call_at(address, &[]), 42);
    assert_eq!(ear.names(), entered);
    (0..9).for_each(|_| assert_eq!(call_at(address, &[]), 42));
    assert_eq!(call(&loader, bcod, "sum", &[1_000]), 500_500);
    // The loop of `sum` became hot: its on-stack replacement is code of its own.
    let compiled = ["bcod:answer", "bcod:sum:entry", "entry bcod:sum", "bcod:sum", "bcod:sum"];
    assert_eq!(ear.names(), [&entered[..], &compiled].concat());
    {
        let bcod = loader.get(bcod).unwrap();
        let mut places = Vec::new();
        bcod.engine()
            .unwrap()
            .for_each_code(|_, address, size| places.push(address..address + size));
        let told = ear.0.lock().unwrap();
        let told: Vec<_> = told.iter().map(|(_, range)| range.clone()).collect();
        assert!(places.len() >= 2 && places.iter().all(|place| told.contains(place)), "{places:?}");
        assert_eq!(places[0], told[3]);
    }
    loader.unload(bcod).unwrap();
    assert_eq!(ear.names(), [""; 0]);
    // A function that is never compiled has only its entry code.
    let never = heard_by(&ear, NEVER);
    let bcod = never.load(b"bcod", ModuleBytes::new(SAMPLE).unwrap()).unwrap();
    assert_eq!(call(&never, bcod, "sum", &[100_000]), 5_000_050_000);
    assert_eq!(ear.names(), ["bcod:stubs", "bcod:sum:entry", "entry bcod:sum"]);
}

#[test]
fn threads_requesting_one_address_get_the_same() {
    let ear = Ear::default();
    for _ in 0..20 {
        let loader = heard_by(&ear, 0);
        let bcod = loader.load(b"bcod", ModuleBytes::new(SAMPLE).unwrap()).unwrap();
        let bcod = loader.get(bcod).unwrap();
        let addresses: Vec<u64> = std::thread::scope(|scope| {
            let ask = || {
                let address = bcod.function(b"sum").unwrap();
                assert!(bcod.contains(address) && call_at(address, &[4]) == 10);
                address
            };
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(ask)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert!(addresses.iter().all(|address| *address == addresses[0]));
        let mut names = ear.names();
        names.sort();
        assert_eq!(names, ["bcod:stubs", "bcod:sum", "bcod:sum:entry", "entry bcod:sum"]);
        drop(bcod);
    }
    assert_eq!(ear.names(), [""; 0]);
}

#[test]
fn hundred_thousand_uncalled_functions_take_no_code_memory() {
    let body = "LOAD_PUSH 0\nCONST_I64_PUSH 1\nADD_I64\nRET 0\n";
    let source: String = (0..100_000).map(|n| format!("function f{n}, 1, 1\n{body}")).collect();
    let code_memory = CodeMemory::default();
    let options = LoaderOptions { code_memory: code_memory.clone(), ..LoaderOptions::default() };
    let loader = ModuleLoader::new(options).unwrap();
    let m = loader.load(b"m", module(&source)).unwrap();
    let blocks = || code_memory.statistics().live_blocks;
    assert_eq!(blocks(), 1);
    for n in [0, 77, 99_999] {
        assert_eq!(call(&loader, m, &format!("f{n}"), &[n]), n + 1);
    }
    assert_eq!(blocks(), 4);
    // In an unsorted order.
    let m = loader.get(m).unwrap();
    for n in 0..100_000u64 {
        let name = format!("f{}", n * 7919 % 100_000);
        assert!(m.function(name.as_bytes()).is_some_and(|address| address != 0));
    }
    assert_eq!(m.bytecode_exports().count(), 100_000);
    assert_eq!(blocks(), 100_001);
    assert_eq!(m.bytecode_function(b"f100000"), None);
}

#[test]
fn endless_call_of_any_kind_is_stopped_from_another_thread() {
    let forever = "function forever, 1, 1\nagain:\nLOAD_PUSH 0\nPOP_STORE 0\nJMP again\n";
    for threshold in [0, 3, NEVER] {
        let tiers = Tiers::Compile { threshold };
        let loader =
            ModuleLoader::new(LoaderOptions { tiers, ..LoaderOptions::default() }).unwrap();
        let m = loader.load(b"m", module(forever)).unwrap();
        let user = Spec::new().function("through", Does::Calls("forever"));
        let user = loader.load(b"user", user.bytes()).unwrap();
        let (m, user) = (loader.get(m).unwrap(), loader.get(user).unwrap());
        let through = user.function(b"through").unwrap();
        let engine = m.engine().unwrap();
        for _ in 0..2 {
            std::thread::scope(|scope| {
                // SAFETY: a function of one integer, in a module that is held.
                let by_address = || unsafe { trap::call_catching(through, &[1]) };
                let stopped = scope.spawn(by_address);
                std::thread::sleep(std::time::Duration::from_millis(5));
                engine.signals().interrupt();
                let stopped = stopped.join().unwrap();
                let interrupted = |trap: Trap| trap.cause == Cause::Interrupted;
                assert!(matches!(stopped, Err(TrapError::Bytecode(trap)) if interrupted(trap)));
                let again = engine.call(0, &[1]);
                assert!(matches!(again, Err(CallError::Trap(trap)) if interrupted(trap)));
            });
            engine.signals().resume();
        }
    }
}

/// The address of machine code that bytecode calls.
static THROUGH: AtomicU64 = AtomicU64::new(0);
/// The current number of nested calls of it, and their limit.
static DEPTH: AtomicUsize = AtomicUsize::new(0);
const MOST: usize = 500;
const TOO_DEEP: u32 = 99;
static SIGNALS: AtomicUsize = AtomicUsize::new(0);
static DOWN_TO: AtomicI64 = AtomicI64::new(0);

/// A function of the host for bytecode: calls a function of another module, to a depth that the host limits.
extern "C" fn go_through(n: i64) -> i64 {
    let deep = DEPTH.fetch_add(1, Ordering::Relaxed);
    DOWN_TO.fetch_min(n, Ordering::Relaxed);
    let result = if deep < MOST {
        call_at(THROUGH.load(Ordering::Relaxed), &[n])
    } else {
        let signals = SIGNALS.load(Ordering::Relaxed) as *const smf_core::bytecode::host::Signals;
        // SAFETY: the signals of the calling engine, which the test holds.
        unsafe { &*signals }.report(TOO_DEEP).unwrap();
        0
    };
    DEPTH.fetch_sub(1, Ordering::Relaxed);
    result
}

#[test]
fn recursion_through_both_kinds_of_code_is_limited_by_the_host() {
    // The host provides the stack that it uses.
    let thread = std::thread::Builder::new().stack_size(16 << 20);
    thread.spawn(go_through_both_worlds).unwrap().join().unwrap();
}

fn go_through_both_worlds() {
    // Calls itself through machine code until the argument is 0, and adds one per call.
    let down = "function down, 1, 1\nLOAD_PUSH 0\nCONST_I64_PUSH 0\nEQ_JMP_IF_NOT on\nLOAD 0, 0\nRET 0\non:\n\
        LOAD_PUSH 0\nCONST_I64_PUSH 1\nSUB_I64\nCALL_SFFI 5, 1\nCONST_I64_PUSH 1\nADD_I64\nRET 0\n";
    for threshold in [0, 3, NEVER] {
        let mut host_functions = HostTable::new();
        host_functions.set(5, HostFunction::Args1(go_through)).unwrap();
        let tiers = Tiers::Compile { threshold };
        let loader =
            ModuleLoader::new(LoaderOptions { tiers, host_functions, ..LoaderOptions::default() })
                .unwrap();
        let m = loader.load(b"m", module(down)).unwrap();
        let user = Spec::new().function("through", Does::Calls("down"));
        let user = loader.load(b"user", user.bytes()).unwrap();
        let (m, user) = (loader.get(m).unwrap(), loader.get(user).unwrap());
        let engine = m.engine().unwrap();
        THROUGH.store(user.function(b"through").unwrap(), Ordering::Relaxed);
        SIGNALS.store(std::ptr::from_ref(engine.signals()).expose_provenance(), Ordering::Relaxed);
        for n in [0, 1, 10, MOST as i64] {
            assert_eq!(engine.call(0, &[n]), Ok(n), "{threshold}");
        }
        // The host stops endless recursion. Its error stops the innermost call; the outer calls receive
        // 0 from it, because no call between them catches traps.
        DOWN_TO.store(0, Ordering::Relaxed);
        assert_eq!(engine.call(0, &[-1]), Ok(MOST as i64), "{threshold}");
        assert_eq!(DOWN_TO.load(Ordering::Relaxed), -2 - MOST as i64);
        assert_eq!(DEPTH.load(Ordering::Relaxed), 0);
    }
}

#[test]
fn program_of_any_size_runs_or_traps() {
    // As many slots as an index can address, more than the operand stack may have.
    let slots = "function main, 0, 0\nCONST_I64 65534, 1\nRET 65534\n";
    // 10 MB of straight-line code that adds 1 to 9 repeatedly.
    let adds =
        |n: i64| format!("LOAD_PUSH 0\nCONST_I64_PUSH {}\nADD_I64\nPOP_STORE 0\n", n % 9 + 1);
    let count = 10_000_000 / 20;
    let long: String = (0..count).map(adds).collect();
    let long = format!("function main, 1, 1\n{long}LOAD 0, 0\nRET 0\n");
    let sum: i64 = (0..count).map(|n| n % 9 + 1).sum();
    for threshold in [0, NEVER] {
        let tiers = Tiers::Compile { threshold };
        let loader =
            ModuleLoader::new(LoaderOptions { tiers, ..LoaderOptions::default() }).unwrap();
        let large = loader.load(b"slots", module(slots)).unwrap();
        let large = loader.get(large).unwrap();
        let stopped = large.engine().unwrap().call(0, &[]);
        let trap = Trap { cause: Cause::StackLimit, function: 0, at: 0 };
        assert_eq!(stopped, Err(CallError::Trap(trap)));
        let main = large.entry_point().unwrap();
        // SAFETY: a function without arguments, in a module that is held.
        let by_address = unsafe { trap::call_catching(main, &[]) };
        assert_eq!(by_address, Err(TrapError::Bytecode(trap)));
        let file = module(&long);
        assert!(file.as_slice().len() > 10_000_000);
        let long = loader.load(b"long", file).unwrap();
        assert_eq!(call(&loader, long, "main", &[5]), sum + 5, "{threshold}");
    }
}
