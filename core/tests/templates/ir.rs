//! Templates in IR, from text to result: through a module, its note, and `IrBodies`.

use std::sync::Arc;

use smf_core::ir::text::parse;
use smf_core::link::Resolve;
use smf_core::loader::{LoaderOptions, ModuleLoader};
use smf_core::memory::code_alloc::CodeMemory;
use smf_core::templates::{InstantiateError, JitInstantiator, JitSymbolResolver};
use smf_core::trap::{CallArg, ReturnRegisters, Trap, TrapError, call_catching, call_values};

use crate::build::{SILENT, Spec};
use crate::call_at;
use crate::linked::user;

const PROGRAMS: &str = include_str!("../../src/ir/tests/programs.smt");

/// Leaked memory.
extern "C" fn allocate(bytes: u64) -> *mut u64 {
    Box::leak(vec![0u64; usize::try_from(bytes).unwrap().div_ceil(8)].into_boxed_slice())
        .as_mut_ptr()
}

fn host(name: &[u8]) -> Option<u64> {
    (name == b"allocate").then_some(allocate as *const () as u64)
}

/// Calls an instance that may trap.
fn land_at(address: u64, args: &[i64]) -> Result<i64, TrapError> {
    // SAFETY: the callers own the code and pass arguments of its signature.
    unsafe { call_catching(address, args) }
}

fn values_at(address: u64, args: &[CallArg]) -> Result<ReturnRegisters, TrapError> {
    // SAFETY: as above.
    unsafe { call_values(address, args) }
}

fn trap(code: u32, at: u32, function: u64) -> TrapError {
    TrapError::Trap(Trap { code, at, function, operands: [0; 2] })
}

/// All sample programs, with possible instances for some types.
fn resolver(types: &[&str], gtpl: bool) -> JitSymbolResolver {
    let mut module = if gtpl { Spec::new().parameters(1) } else { Spec::new() };
    for template in parse(PROGRAMS).unwrap() {
        module = module.template(&template.name, &template.body);
        for ty in types {
            module = module.possible(&template.name, ty, &format!("{}${ty}", template.name));
        }
    }
    let jit =
        JitInstantiator::new(SILENT, CodeMemory::default()).unwrap().with_symbols(host).unwrap();
    jit.load_smf_bytes(b"programs", &module.file()).unwrap();
    JitSymbolResolver::new(jit)
}

fn address<T>(values: &mut [T]) -> i64 {
    values.as_mut_ptr() as i64
}

#[test]
fn generic_functions_run_from_both_containers() {
    for gtpl in [false, true] {
        let resolver = resolver(&["i64", "u8", "i32"], gtpl);
        let find = |name: &str| resolver.resolve(name.as_bytes()).unwrap();
        assert_eq!(call_at(find("max$i64"), &[-3, 7]), 7);
        assert_eq!(call_at(find("max$u8"), &[0xfd, 7]), 0xfd);
        assert_eq!(call_at(find("fib$i64"), &[15]), 610);
        let mut bytes = [200u8, 100, 7];
        assert_eq!(call_at(find("sum$u8"), &[address(&mut bytes), 3]), 51);
        let mut numbers: Vec<i32> =
            (0..1000).map(|n: i32| n.wrapping_mul(0x9e37_79b1u32 as i32)).collect();
        let mut sorted = numbers.clone();
        sorted.sort_unstable();
        call_at(find("sort$i32"), &[address(&mut numbers), 0, 999]);
        assert_eq!(numbers, sorted);
    }
}

#[test]
fn generic_vector_grows_for_four_types() {
    let types = ["i64", "i32", "f64", "u8"];
    let resolver = resolver(&types, true);
    for ty in types {
        let [push, get] = ["push", "get"]
            .map(|name| resolver.resolve(format!("Vec.{name}${ty}").as_bytes()).unwrap());
        let mut vector = [0u64; 3];
        let this = CallArg::Integer(address(&mut vector) as u64);
        let value = |value: u8| match ty {
            "f64" => CallArg::Float(f64::from(value).to_bits()),
            _ => CallArg::Integer(value.into()),
        };
        for index in 0..40 {
            values_at(push, &[this, value(index * 3)]).unwrap();
        }
        for index in 0..40 {
            let got = values_at(get, &[this, CallArg::Integer(index.into())]).unwrap();
            match ty {
                "f64" => assert_eq!(value(index * 3), CallArg::Float(got.float)),
                _ => assert_eq!(value(index * 3), CallArg::Integer(got.integer & 0xff), "{ty}"),
            }
        }
        assert_eq!(vector[1..], [40, 64]);
        let beyond = values_at(get, &[this, CallArg::Integer(40)]).unwrap_err();
        assert!(matches!(beyond, TrapError::Trap(Trap { code: 16, .. })), "{beyond}");
    }
}

#[test]
fn trap_is_returned_by_the_call_on_its_thread() {
    let resolver = resolver(&["i64"], false);
    let divide = resolver.resolve(b"divide$i64").unwrap();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..100 {
                    assert_eq!(land_at(divide, &[42, 5]), Ok(8));
                    assert_eq!(land_at(divide, &[i64::MIN, -1]), Ok(i64::MIN));
                    assert_eq!(land_at(divide, &[42, 0]), Err(trap(1, 40, divide)));
                }
            });
        }
    });
}

/// From text to result: a module that imports a missing instance loads and runs.
#[test]
fn module_with_missing_ir_instance_loads_and_runs() {
    let text = "template quotient<T>(a: T, b: T) -> T\ncall a = halve<T>(a)\ndiv T a, a, b\n\
                return T a\nend\n\
                template halve<T>(a: T) -> T\nlocal two: T\ncall two = two()\ndiv T a, a, two\n\
                return T a\nend\n\
                template two() -> i64\nlocal n: i64\nconst i64 n, 2\nreturn i64 n\nend";
    // Types at a call must equal those of the callee: the result of `two` is i64, not T.
    let text =
        text.replace("call two = two()", "local n: i64\ncall n = two()\nconvert T two, i64 n");
    let mut module = Spec::new().possible("quotient", "i64", "fn$quotient$i64");
    for template in parse(&text).unwrap() {
        module = module.template(&template.name, &template.body);
    }
    let jit = JitInstantiator::new(SILENT, CodeMemory::default()).unwrap();
    jit.load_smf_bytes(b"quotients", &module.file()).unwrap();
    let loader = ModuleLoader::new(LoaderOptions::default()).unwrap();
    assert!(loader.load(b"early", user("fn$quotient$i64")).is_err());
    let resolver = Arc::new(JitSymbolResolver::new(jit));
    let fallback = resolver.clone();
    let fallback = move |name: &[u8]| Resolve::resolve(&*fallback, name);
    loader.set_fallback_resolver(Some(Box::new(fallback))).unwrap();
    let handle = loader.load(b"user", user("fn$quotient$i64")).unwrap();
    let main = loader.get(handle).unwrap().function(b"main").unwrap();
    assert_eq!(land_at(main, &[84, 6]), Ok(7));
    assert!(matches!(land_at(main, &[84, 0]), Err(TrapError::Trap(Trap { code: 1, .. }))));
    assert_eq!(land_at(main, &[-84, 6]), Ok(-7));
    let made: Vec<_> = [&b"fn$quotient$i64"[..], b"fn$halve$i64", b"two"]
        .map(|symbol| resolver.instantiator().instance(symbol).is_some())
        .to_vec();
    assert_eq!(made, [true; 3]);
}

/// The error names the function that trapped, not the one that was called.
#[test]
fn trap_names_its_instance() {
    let text = "template outer<T>(a: T, b: T) -> T\ncall a = inner<T>(a, b)\nreturn T a\nend\n\
                template inner<T>(a: T, b: T) -> T\ndiv T a, a, b\nreturn T a\nend";
    let mut module = Spec::new().possible("outer", "i64", "fn$outer$i64");
    for template in parse(text).unwrap() {
        module = module.template(&template.name, &template.body);
    }
    let jit = JitInstantiator::new(SILENT, CodeMemory::default()).unwrap();
    jit.load_smf_bytes(b"m", &module.file()).unwrap();
    let outer = jit.try_jit_instantiate(b"fn$outer$i64").unwrap().clone();
    let Err(TrapError::Trap(trap)) = land_at(outer.address(), &[1, 0]) else { panic!() };
    let inner = jit.instance_at(trap.function).unwrap();
    assert_eq!((inner.symbol(), inner.address()), (&b"fn$inner$i64"[..], trap.function));
    assert_eq!((trap.code, trap.at), (1, 40));
    assert_eq!(jit.instance_at(outer.address()).unwrap().symbol(), outer.symbol());
    assert!(jit.instance_at(0).is_none());
}

/// The error for `symbol` in a module with these templates and one row.
fn refused(text: &str, row: [&str; 3]) -> String {
    let [template, arguments, symbol] = row;
    let mut module = Spec::new().possible(template, arguments, symbol);
    for template in parse(text).unwrap() {
        module = module.template(&template.name, &template.body);
    }
    told(module, symbol)
}

fn told(module: Spec, symbol: &str) -> String {
    let jit = JitInstantiator::new(SILENT, CodeMemory::default()).unwrap();
    jit.load_smf_bytes(b"m", &module.file()).unwrap();
    let told = jit.try_jit_instantiate(symbol.as_bytes()).unwrap_err().to_string();
    assert!(told.contains(symbol), "{told}");
    // Valid callees may exist, but not the requested instance.
    assert_eq!(jit.address(symbol.as_bytes()), None);
    told
}

#[test]
fn invalid_functions_are_refused_with_symbol_and_cause() {
    let call = |what: &str| format!("template f<T>(a: T)\n{what}\nreturn_none\nend\n");
    let grow = call("call f<Box<T>>(a)").replace("(a: T)", "()").replace("(a)", "()");
    let double = grow.replace("Box<T>", "Pair<T, T>");
    let row = ["f", "i64", "fn$f$i64"];
    for (text, cause) in [
        (&grow, "a type argument is nested 17 levels deep; the limit is 16"),
        (&double, "exceed the limits of a type"),
        (&call("call gone<T>(a)"), "no loaded module has a template `gone`"),
        (&call("call_host gone(a)"), "undefined symbol `gone`"),
        (
            &(call("call g<T>(a)") + "template g<T>()\nreturn_none\nend"),
            "it calls `g` with types that differ from its signature",
        ),
        (&call("call f<T>()"), "it calls `f` with types that differ from its signature"),
    ] {
        let told = refused(text, row);
        assert!(told.contains(cause), "{told}");
    }
    let sound = &call("");
    for (arguments, cause) in [
        ("i64, i64", "2"),
        ("Pair<i64, i64>", "a type that is no scalar"),
        ("i64>", "syntax error in the type arguments at byte 3"),
    ] {
        let told = refused(sound, ["f", arguments, "fn$f$x"]);
        assert!(told.contains(cause), "{told}");
    }
}

#[test]
fn malformed_functions_are_refused_with_symbol_and_cause() {
    let body = &parse(PROGRAMS).unwrap()[0].body;
    let with = |at: usize, byte: u8| {
        let mut body = body.clone();
        body[at] = byte;
        told(Spec::new().both("max", &body), "max$i64")
    };
    for (at, byte, cause) in [
        (4, 0xff, "states 255 bytes"),
        (8, 9, "version 9"),
        (12, 65, "65 type parameters"),
        (14, 9, "locals"),
        (18, 1, "tables"),
        (36, 0xff, "tables"),
        (40, 0x7f, "is no opcode"),
    ] {
        let told = with(at, byte);
        assert!(told.contains(cause), "{told}");
    }
    let told = told(Spec::new().both("max", &body[..body.len() - 1]), "max$i64");
    assert!(told.contains("states 78 bytes but has 77"), "{told}");
}

#[test]
fn operation_undefined_for_a_type_is_refused_with_its_offset() {
    let bits = parse("template bits<T>(a: T) -> T\nshl T a, a, 1\nreturn T a\nend").unwrap();
    let module = Spec::new().template("bits", &bits[0].body);
    let module = module.possible("bits", "f64", "bits$f64").possible("bits", "text", "bits$text");
    let jit = JitInstantiator::new(SILENT, CodeMemory::default()).unwrap();
    jit.load_smf_bytes(b"bits", &module.file()).unwrap();
    for (symbol, what) in [("bits$f64", "f64"), ("bits$text", "no scalar")] {
        match jit.try_jit_instantiate(symbol.as_bytes()) {
            Err(InstantiateError::Failed(failure)) => {
                let said = failure.to_string();
                assert!(said.contains("shl has no meaning") && said.contains(what), "{said}");
            }
            other => panic!("{other:?}"),
        }
    }
}
