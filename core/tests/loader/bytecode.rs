//! Modules of bytecode: called by name and by other modules, replaced, refused, and gone.

use smf_core::format::Flags;
use smf_core::jit::host::{HostFunction, HostTable};
use smf_core::jit::text::{assemble, write_module};
use smf_core::jit::trap::{Cause, Trap};
use smf_core::link::{LinkError, landing};
use smf_core::loader::{
    Clash, LoadError, LoaderOptions, ModuleBytes, ModuleLoader, OldData, Resolved,
};
use smf_core::memory::exec::CodeMemory;
use smf_core::tier::{CallError, Tiers};

use crate::build::{Does, Spec};
use crate::{call, call_at};

const SAMPLE: &[u8] = include_bytes!("../../../tests/samples/bcod.smf");

fn module(source: &str) -> ModuleBytes {
    ModuleBytes::new(write_module(&assemble(source).unwrap(), Flags(0)).unwrap())
}

/// A quotient.
const DIVIDES: &str = "function divide, 2, 2\nLOAD_PUSH 0\nLOAD_PUSH 1\nDIV_I64\nRET 0\n";

fn divides() -> ModuleBytes {
    module(&format!("function first, 0, 0\nCONST_I64 0, 7\nRET 0\n{DIVIDES}"))
}

const BY_ZERO: Trap = Trap { cause: Cause::DivisionByZero, function: 1, at: 0 };

/// Whether the call was stopped by a division by zero in the second function.
fn is_by_zero(result: Result<i64, LinkError>) -> bool {
    let Err(LinkError::Stopped(trap)) = result else { return false };
    assert!(trap.at != 0);
    Trap { at: 0, ..trap } == BY_ZERO
}

#[test]
fn its_functions_are_called_like_any_others() {
    for threshold in [0, 3, u32::MAX] {
        let tiers = Tiers::Compile { threshold };
        let loader = ModuleLoader::new(LoaderOptions { tiers, ..LoaderOptions::default() });
        let user = Spec::new().function("through", Does::Calls("sum"));
        loader.provide(b"bcod", ModuleBytes::new(SAMPLE)).unwrap();
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
            assert!(module.function(b"nobody").is_none());
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
fn what_stops_it_ends_the_call_from_the_host() {
    let loader = ModuleLoader::default();
    let bcod = loader.load(b"bcod", divides()).unwrap();
    let user = Spec::new().function("through", Does::Calls("divide"));
    let user = loader.load(b"user", user.bytes()).unwrap();
    let (bcod, user) = (loader.get(bcod).unwrap(), loader.get(user).unwrap());
    for module in [&bcod, &user] {
        let name: &[u8] = if module.name() == b"bcod" { b"divide" } else { b"through" };
        let function = module.function(name).unwrap();
        for _ in 0..300 {
            // SAFETY: a function of two integers, in a module that is held.
            let divided = |by| unsafe { landing::call_landing(function, &[84, by]) };
            assert_eq!(divided(2), Ok(42));
            assert!(is_by_zero(divided(0)));
        }
        // Nobody can be told.
        assert_eq!(call_at(function, &[84, 0]), 0);
    }
    let stopped = bcod.engine().unwrap().call(1, &[84, 0]);
    assert!(matches!(stopped, Err(CallError::Trap(trap)) if Trap { at: 0, ..trap } == BY_ZERO));
}

#[test]
fn its_memory_goes_with_it() {
    let code_memory = CodeMemory::default();
    let options = LoaderOptions { code_memory: code_memory.clone(), ..LoaderOptions::default() };
    let loader = ModuleLoader::new(options);
    for _ in 0..20 {
        let bcod = loader.load(b"bcod", ModuleBytes::new(SAMPLE)).unwrap();
        assert_eq!(call(&loader, bcod, "sum", &[1000]), 500_500);
        assert_ne!(code_memory.statistics().live_blocks, 0);
        loader.unload(bcod).unwrap();
        assert_eq!(code_memory.statistics().live_blocks, 0);
    }
}

#[test]
fn a_new_version_is_reached_through_the_same_address() {
    let options = LoaderOptions { reload_unmarked: true, ..LoaderOptions::default() };
    let loader = ModuleLoader::new(options);
    let version =
        |number: i32| module(&format!("function v, 0, 0\nCONST_I64 0, {number}\nRET 0\n"));
    let handle = loader.load(b"m", version(1)).unwrap();
    let user = Spec::new().function("u", Does::Calls("v"));
    let user = loader.load(b"user", user.bytes()).unwrap();
    assert_eq!(call(&loader, user, "u", &[]), 1);
    let reload = |bytes| loader.reload(handle, bytes, OldData::Move, &mut |_| {});
    // From bytecode to bytecode, to machine code, and back.
    for number in [2, 3] {
        assert_eq!(reload(version(number)).unwrap().kept, 0);
        assert_eq!(call(&loader, user, "u", &[]), i64::from(number));
    }
    reload(Spec::new().function("v", Does::Returns(4)).bytes()).unwrap();
    assert_eq!(call(&loader, user, "u", &[]), 4);
    reload(version(5)).unwrap();
    assert_eq!(call(&loader, user, "u", &[]), 5);
    assert!(matches!(reload(divides()), Err(LoadError::FunctionGone { .. })));
    assert!(matches!(
        reload(module("function v, 0, 0\nADD_I64\nRET 0\n")),
        Err(LoadError::Bytecode { .. })
    ));
    assert_eq!(call(&loader, user, "u", &[]), 5);
    assert_eq!(loader.statistics().retired, 0);
}

#[test]
fn data_that_others_refer_to_cannot_become_bytecode() {
    let options = LoaderOptions { reload_unmarked: true, ..LoaderOptions::default() };
    let loader = ModuleLoader::new(options);
    let with_data = Spec::new().function("f", Does::Returns(1)).data("d", 7);
    let handle = loader.load(b"m", with_data.bytes()).unwrap();
    let user = Spec::new().function("u", Does::Reads("d"));
    let user = loader.load(b"user", user.bytes()).unwrap();
    let refused = loader.reload(handle, divides(), OldData::Move, &mut |_| {});
    assert!(matches!(refused, Err(LoadError::DataInUse { .. })), "{refused:?}");
    assert_eq!(call(&loader, user, "u", &[]), 7);
}

#[test]
fn what_cannot_be_called_is_refused() {
    let loader = ModuleLoader::default();
    let error = |loader: &ModuleLoader, bytes| loader.load(b"m", bytes).unwrap_err().to_string();
    let unsound = error(&loader, module("function f, 0, 0\nADD_I64\nRET 0\n"));
    assert!(unsound.starts_with("m: function 0: ADD_I64 pops 2"), "{unsound}");
    let calls_host = "function f, 0, 0\nCALL_SFFI 3, 0\nRET 0\n";
    let nobody = error(&loader, module(calls_host));
    assert!(nobody.starts_with("m: function 0: CALL_SFFI calls host function 3"), "{nobody}");
    let interpreting = LoaderOptions { tiers: Tiers::Interpret, ..LoaderOptions::default() };
    let interpreted = error(&ModuleLoader::new(interpreting), ModuleBytes::new(SAMPLE));
    assert_eq!(interpreted, "m: the engine interprets and has no machine code");
    for len in 0..SAMPLE.len() {
        assert!(loader.load(b"m", ModuleBytes::new(&SAMPLE[..len])).is_err(), "{len}");
    }
    assert_eq!(loader.statistics().modules, 0);

    extern "C" fn seven() -> i64 {
        7
    }
    let mut host_functions = HostTable::new();
    host_functions.set(3, HostFunction::Args0(seven));
    let options =
        LoaderOptions { host_functions, clash: Clash::Refuse, ..LoaderOptions::default() };
    let loader = ModuleLoader::new(options);
    let m = loader.load(b"m", module(calls_host)).unwrap();
    assert_eq!(call(&loader, m, "f", &[]), 7);
    let second = loader.load(b"n", module(calls_host)).unwrap_err().to_string();
    assert_eq!(second, "both m and n export `f`");
}

#[test]
fn a_function_of_nine_parameters_has_no_address() {
    let loader = ModuleLoader::default();
    let source =
        "function nine, 9, 9\nLOAD 0, 8\nRET 0\nfunction main, 0, 0\nCONST_I64 0, 3\nRET 0\n";
    let m = loader.load(b"m", module(source)).unwrap();
    let m = loader.get(m).unwrap();
    assert!(m.function(b"nine").is_none());
    assert_eq!(m.engine().unwrap().call(0, &[1, 2, 3, 4, 5, 6, 7, 8, 9]), Ok(9));
    assert_eq!(call_at(m.entry_point().unwrap(), &[]), 3);
}
