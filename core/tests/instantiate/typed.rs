//! Templates of typed bytecode, from text to calls.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use smf_core::instantiate::{JitInstantiator, TRAP_HOOK};
use smf_core::jit::typed::text::parse;

use crate::build::{SILENT, Spec};
use crate::call_at;

const TEXT: &str = "
template sum<T>(data: pointer, count: i64) -> T
    local i: i64
    local total: T
    local item: T
more:
    br_ge i64 i, count, done
    load_element T item, data[i]
    add T total, total, item
    add i64 i, i, 1
    jump more
done:
    return T total
end
template twice<T>(data: pointer, count: i64) -> T
    local one: T
    call one = sum<T>(data, count)
    add T one, one, one
    return T one
end
template fact<T>(n: T) -> T
    local less: T
    br_gt T n, 1, more
    return T n
more:
    sub T less, n, 1
    call less = fact<T>(less)
    mul T less, less, n
    return T less
end
template quotient<T>(a: T, b: T) -> T
    div T a, a, b
    return T a
end
template host<T>(a: T) -> T
    call_host a = add_seven(a)
    return T a
end
template wrong<T>(a: T) -> T
    call a = sum<T>(a)
    return T a
end
template even<T>(a: T) -> T
    local b: T
    sub T b, a, 1
    call b = odd<T>(b)
    return T b
end
template odd<T>(a: T) -> T
    call a = even<T>(a)
    mul T a, a, 3
    return T a
end
";

static TRAPS: AtomicU64 = AtomicU64::new(0);

extern "C" fn trap(code: u32, _: u32) -> u64 {
    TRAPS.fetch_add(1 << 32 | u64::from(code), Ordering::Relaxed);
    0
}

extern "C" fn add_seven(a: i64) -> i64 {
    a + 7
}

fn jit() -> JitInstantiator {
    let mut module = Spec::new();
    for template in parse(TEXT).unwrap() {
        module = module.template(&template.name, &template.body);
        for types in ["i64", "u8", "i32", "text"] {
            module =
                module.possible(&template.name, types, &format!("fn${}${types}", template.name));
        }
    }
    let symbols = |name: &[u8]| match name {
        b"add_seven" => Some(add_seven as *const () as u64),
        name if name == TRAP_HOOK.as_bytes() => Some(trap as *const () as u64),
        _ => None,
    };
    let jit = JitInstantiator::new(SILENT).with_symbols(Arc::new(symbols));
    jit.load_smf_bytes(b"m", &module.file()).unwrap();
    jit
}

fn call(jit: &JitInstantiator, symbol: &str, args: &[i64]) -> i64 {
    let result = jit.try_jit_instantiate(symbol.as_bytes());
    let instance = result.instance().unwrap_or_else(|| panic!("{result}"));
    call_at(instance.address(), args)
}

fn refused(jit: &JitInstantiator, symbol: &str) -> String {
    let result = jit.try_jit_instantiate(symbol.as_bytes());
    assert!(result.is_error(), "{result}");
    result.to_string()
}

#[test]
fn a_sum_of_each_type_adds_in_its_width() {
    let jit = jit();
    let place = |first: *const ()| first as i64;
    let (longs, bytes) = ([1i64 << 40, 2, 3], [200u8, 100, 1]);
    assert_eq!(call(&jit, "fn$sum$i64", &[place(longs.as_ptr().cast()), 3]), (1 << 40) + 5);
    assert_eq!(call(&jit, "fn$sum$u8", &[place(bytes.as_ptr().cast()), 3]) & 0xff, 301 & 0xff);
    // Of an instance that calls another one.
    assert_eq!(call(&jit, "fn$twice$i64", &[place(longs.as_ptr().cast()), 3]), (2 << 40) + 10);
    assert_eq!(jit.stats().cached_count, 3);
}

#[test]
fn an_instance_calls_itself_and_the_host() {
    let jit = jit();
    assert_eq!(call(&jit, "fn$fact$i64", &[10]), 3_628_800);
    assert_eq!(call(&jit, "fn$host$i64", &[35]), 42);
}

#[test]
fn a_trap_reaches_the_host() {
    let (jit, before) = (jit(), TRAPS.load(Ordering::Relaxed));
    assert_eq!(call(&jit, "fn$quotient$i64", &[84, 2]), 42);
    assert_eq!(TRAPS.load(Ordering::Relaxed), before);
    assert_eq!(call(&jit, "fn$quotient$i64", &[84, 0]), 0);
    assert_ne!(TRAPS.load(Ordering::Relaxed), before);
}

#[test]
fn what_does_not_fit_is_refused() {
    let jit = jit();
    let told = refused(&jit, "fn$wrong$i64");
    assert!(told.contains("`sum` takes or gives something else"), "{told}");
    let told = refused(&jit, "fn$even$i64");
    assert!(told.ends_with("`fn$even$i64` -> `fn$odd$i64` -> `fn$even$i64`"), "{told}");
    let told = refused(&jit, "fn$sum$text");
    assert!(told.starts_with("cannot make `fn$sum$text`: "), "{told}");
    assert_eq!(jit.stats().cached_count, 0);
}

#[test]
fn broken_bodies_are_refused() {
    let sum = parse(TEXT).unwrap().remove(0);
    for bit in 0..sum.body.len() * 8 {
        let mut body = sum.body.clone();
        body[bit / 8] ^= 1 << (bit % 8);
        let jit = JitInstantiator::new(SILENT);
        jit.load_smf_bytes(b"m", &Spec::new().both("sum", &body).file()).unwrap();
        // Made or refused, but never more than that.
        let result = jit.try_jit_instantiate(b"sum$i64");
        assert!(result.is_success() != result.is_error());
    }
}
