//! Typed templates from text to result: through a module, its note, and the compiler of the house.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use smf_core::instantiate::{JitInstantiator, JitResult, JitSymbolResolver, TRAP_SYMBOL};
use smf_core::jit::typed::text::parse;

use crate::build::{SILENT, Spec};
use crate::call_at;

const PROGRAMS: &str = include_str!("../../src/jit/typed/tests/programs.smt");

/// The code and the place of the last trap.
static TRAPPED: AtomicU64 = AtomicU64::new(0);

extern "C" fn trap(code: u32, at: u32) -> u64 {
    TRAPPED.store(u64::from(code) << 32 | u64::from(at), Ordering::Relaxed);
    0
}

/// Memory that is never given back.
extern "C" fn allocate(bytes: u64) -> *mut u64 {
    Box::leak(vec![0u64; usize::try_from(bytes).unwrap().div_ceil(8)].into_boxed_slice())
        .as_mut_ptr()
}

fn host(name: &[u8]) -> Option<u64> {
    match name {
        b"allocate" => Some(allocate as *const () as u64),
        _ if name == TRAP_SYMBOL.as_bytes() => Some(trap as *const () as u64),
        _ => None,
    }
}

/// All the programs, which may be made for some types.
fn resolver(types: &[&str], gtpl: bool) -> JitSymbolResolver {
    let mut module = if gtpl { Spec::new().parameters(1) } else { Spec::new() };
    for template in parse(PROGRAMS).unwrap() {
        module = module.template(&template.name, &template.body);
        for ty in types {
            module = module.possible(&template.name, ty, &format!("{}${ty}", template.name));
        }
    }
    let jit = JitInstantiator::new(SILENT).with_symbols(Arc::new(host));
    jit.load_smf_bytes(b"programs", &module.file()).unwrap();
    JitSymbolResolver::of(Arc::new(jit))
}

fn address<T>(values: &mut [T]) -> i64 {
    values.as_mut_ptr() as i64
}

#[test]
fn generic_functions_run_out_of_either_container() {
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
fn a_vector_of_four_types_grows() {
    let types = ["i64", "u8", "i32", "u32"];
    let resolver = resolver(&types, true);
    for ty in types {
        let [push, get] = ["push", "get"]
            .map(|name| resolver.resolve(format!("Vec.{name}${ty}").as_bytes()).unwrap());
        let mut vector = [0u64; 3];
        for value in 0..40 {
            call_at(push, &[address(&mut vector), value * 3]);
        }
        let got = |index| call_at(get, &[address(&mut vector), index]) & 0xff;
        assert_eq!((0..40).map(got).sum::<i64>(), (0..40).map(|value| value * 3).sum());
        assert_eq!(vector[1..], [40, 64]);
    }
}

#[test]
fn a_trap_goes_to_the_host_and_not_to_the_process() {
    let resolver = resolver(&["i64"], false);
    let divide = resolver.resolve(b"divide$i64").unwrap();
    assert_eq!(call_at(divide, &[42, 5]), 8);
    assert_eq!(call_at(divide, &[i64::MIN, -1]), i64::MIN);
    assert_eq!(TRAPPED.load(Ordering::Relaxed), 0);
    assert_eq!(call_at(divide, &[42, 0]), 0);
    assert_eq!(TRAPPED.load(Ordering::Relaxed), 1 << 32 | 40);
}

#[test]
fn a_type_without_meaning_is_refused_with_the_place() {
    let bits = parse("template bits<T>(a: T) -> T\nshl T a, a, 1\nreturn T a\nend").unwrap();
    let module = Spec::new().template("bits", &bits[0].body);
    let module = module.possible("bits", "f64", "bits$f64").possible("bits", "text", "bits$text");
    let jit = JitInstantiator::new(SILENT);
    jit.load_smf_bytes(b"bits", &module.file()).unwrap();
    for (symbol, what) in [("bits$f64", "f64"), ("bits$text", "no number")] {
        match jit.try_jit_instantiate(symbol.as_bytes()) {
            JitResult::CompilationError(failure) => {
                let said = failure.to_string();
                assert!(said.contains("shl has no meaning") && said.contains(what), "{said}");
            }
            other => panic!("{other:?}"),
        }
    }
}
