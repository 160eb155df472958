//! Functions by example, before and after the passes.

use alloc::format;
use std::string::String;
use std::vec::Vec;

use super::super::{Lookup, PassMemory, optimize};
use super::differential::reported;
use crate::ir::{
    Arguments, Binary, Condition, Function, FunctionBuilder, Memory, ProgramHost, Scalar, Verified,
    interpret, text,
};

/// The statements of `text` at a level, without the declarations of locals.
fn optimized(level: u8, source: &str) -> Vec<String> {
    let templates = text::parse(source).unwrap();
    let bodies: Vec<Function<'_>> =
        templates.iter().map(|template| Function::parse(&template.body).unwrap()).collect();
    let lookup: Lookup<'_> = &|number| bodies.get(number as usize);
    let verified = Verified::new(*bodies.last().unwrap()).unwrap();
    statements(level, &verified, lookup)
}

fn statements(level: u8, verified: &Verified<'_>, lookup: Lookup<'_>) -> Vec<String> {
    let instance = verified.instance(Arguments::new(&[]).unwrap()).unwrap();
    let mut memory = PassMemory::default();
    let found = optimize(level, &instance, lookup, &mut memory).unwrap();
    let body = found.unwrap_or(*instance.body());
    Verified::new(body).unwrap();
    let mut listing = String::new();
    text::print("f", &body, &mut listing).unwrap();
    let lines = listing.lines().map(str::trim).map(String::from);
    let is_statement = |line: &String| {
        !["template", "local", "end", "loc ", "location"].iter().any(|word| line.starts_with(word))
    };
    lines.filter(|line| !line.is_empty()).filter(is_statement).collect()
}

#[test]
fn level_0_changes_nothing() {
    let source = "template f(a: i64) -> i64\nlocal b: i64\nconst i64 b, 1\nreturn i64 a\nend";
    assert_eq!(optimized(0, source).len(), 2);
    assert_eq!(optimized(1, source), ["return i64 v0"]);
}

#[test]
fn constant_local_becomes_an_immediate_operand() {
    let source = "template f(a: u32) -> u32\nlocal b: u32\nlocal c: u32\nconst u32 b, 8\n\
                  mul u32 c, b, a\ndiv u32 c, c, b\nrem u32 c, c, b\nreturn u32 c\nend";
    let expected = ["mul u32 v2, v0, 8", "div u32 v2, v2, 8", "rem u32 v2, v2, 8", "return u32 v2"];
    assert_eq!(optimized(1, source), expected);
}

#[test]
fn negated_comparison_is_its_inverse_except_of_floats() {
    let source = |ty: &str| {
        format!(
            "template f(a: {ty}, b: {ty}) -> bool\nlocal c: bool\nlt {ty} c, a, b\nnot bool c, c\nreturn bool c\nend"
        )
    };
    assert_eq!(optimized(1, &source("i64")), ["ge i64 v2, v0, v1", "return bool v2"]);
    assert_eq!(optimized(1, &source("f64")).len(), 3);
    let branch = "template f(a: i64, b: i64) -> i64\nlocal c: bool\nlt i64 c, a, b\nnot bool c, c\n\
                  br_true c, other\nreturn i64 a\nother:\nreturn i64 b\nend";
    assert_eq!(optimized(1, branch)[..2], ["ge i64 v2, v0, v1", "br_true v2, L3"]);
}

#[test]
fn operations_on_constants_become_their_results() {
    let source = "template f(p: ptr) -> i64\nlocal a: i64\nlocal b: i64\nlocal c: bool\nconst i64 a, 6\n\
                  mul i64 b, a, 7\nlt i64 c, b, a\nbr_true c, less\nload_element i64 a, p[a + 2]\n\
                  sub_checked i64 b, b, a\nreturn i64 b\nless:\nreturn i64 a\nend";
    let expected = [
        "const i64 v2, 42",
        "load_element i64 v1, v0[8]",
        "sub_checked i64 v2, v2, v1",
        "return i64 v2",
    ];
    assert_eq!(optimized(1, source), expected);
    let traps =
        "template f() -> i64\nlocal a: i64\nconst i64 a, 0\ndiv i64 a, a, a\nreturn i64 a\nend";
    assert_eq!(optimized(1, traps)[1..], ["div i64 v0, v0, 0", "return i64 v0"]);
}

#[test]
fn sum_through_a_temporary_is_computed_in_place() {
    let source = "template f(a: i64) -> i64\nlocal t: i64\nhead:\nadd i64 t, a, 1\nmove i64 a, t\n\
                  br_lt i64 a, 9, head\nreturn i64 a\nend";
    assert_eq!(optimized(1, source)[1..3], ["add i64 v0, v0, 1", "br_lt i64 v0, 9, L0"]);
}

#[test]
fn loads_are_redundant_until_a_store() {
    let source = "template f(p: ptr, q: ptr) -> i64\nlocal a: i64\nlocal b: i64\nlocal c: i64\n\
                  load i64 a, p + 0\nload i64 b, p + 0\nstore i64 b, q + 0\nload i64 c, p + 0\n\
                  add i64 c, c, b\nreturn i64 c\nend";
    let loads = optimized(1, source).iter().filter(|line| line.starts_with("load")).count();
    assert_eq!(loads, 2);
}

#[test]
fn branch_decides_the_opposite_of_integers_but_not_of_floats() {
    let source = |ty: &str| {
        std::format!(
            "template f(a: {ty}, b: {ty}) -> bool\nlocal c: bool\nbr_lt {ty} a, b, less\n\
             ge bool_ c, a, b\nreturn bool c\nless:\nreturn bool c\nend"
        )
        .replace("bool_", ty)
    };
    let has_comparison = |ty: &str| optimized(1, &source(ty)).iter().any(|l| l.starts_with("ge"));
    assert!(!has_comparison("i64"));
    assert!(has_comparison("f64"), "neither holds for a NaN");
}

/// The statements in front of the label of a loop.
fn in_front(source: &str) -> Vec<String> {
    let all = optimized(2, source);
    all.into_iter().take_while(|line| !line.ends_with(':')).collect()
}

#[test]
fn invariant_operations_leave_the_loop() {
    let source = "template f(a: i64, b: i64, x: f64) -> f64\nlocal i: i64\nlocal t: i64\n\
                  head:\nmul i64 t, a, b\nmul f64 x, x, 3\nadd i64 i, i, t\nbr_lt i64 i, 9, head\n\
                  return f64 x\nend";
    let front = in_front(source);
    assert!(front.iter().any(|line| line.starts_with("mul i64")), "{front:?}");
}

#[test]
fn division_stays_in_the_loop() {
    let source = "template f(a: i64, b: i64) -> i64\nlocal i: i64\nlocal t: i64\nhead:\nmul i64 i, i, i\n\
                  div i64 t, a, b\nadd i64 i, i, t\nbr_lt i64 i, 9, head\nreturn i64 i\nend";
    assert!(!in_front(source).iter().any(|line| line.starts_with("div")));
}

#[test]
fn rotated_loop_has_one_jump() {
    let source = "template f(p: ptr, n: i64) -> i64\nlocal i: i64\nlocal t: i64\nlocal s: i64\nhead:\n\
                  br_ge i64 i, n, over\nload i64 t, p + 0\nadd i64 s, s, t\nadd i64 i, i, 1\n\
                  jump head\nover:\nreturn i64 s\nend";
    let all = optimized(2, source);
    assert!(all[0].starts_with("br_ge i64 v2, v1"), "{all:?}");
    assert!(!all.iter().any(|line| line.starts_with("jump")), "{all:?}");
}

#[test]
fn load_stays_in_the_loop() {
    let source = "template f(p: ptr, n: u32) -> u32\nlocal i: u32\nlocal t: u32\nhead:\nload u32 t, p + 0\n\
                  br_ge u32 i, t, over\nadd u32 i, i, 1\nbr_lt u32 i, n, head\nover:\nreturn u32 i\nend";
    assert!(!in_front(source).iter().any(|line| line.starts_with("load")));
}

#[test]
fn small_function_of_the_program_is_inlined() {
    let mut callee = FunctionBuilder::new(0, Some(Scalar::I64.into()));
    let (a, b) = (callee.param(Scalar::I64), callee.param(Scalar::I64));
    let other = callee.label();
    callee.branch(Condition::Less, Scalar::I64, a, b, other);
    callee.return_value(Scalar::I64, a);
    callee.bind(other);
    callee.return_value(Scalar::I64, b);
    let callee = callee.finish().unwrap();
    let callee = Function::parse(&callee).unwrap();
    let mut caller = FunctionBuilder::new(0, Some(Scalar::I64.into()));
    let (x, y) = (caller.param(Scalar::I64), caller.local(Scalar::I64));
    let z = caller.local(Scalar::I64);
    caller.binary(Binary::Add, Scalar::I64, y, x, 1);
    caller.call_function(0, Some(z), &[x, y], None);
    caller.return_value(Scalar::I64, z);
    let caller = caller.finish().unwrap();
    let verified = Verified::new(Function::parse(&caller).unwrap()).unwrap();
    let has_call = |lines: Vec<String>| lines.iter().any(|line| line.starts_with("call"));
    assert!(has_call(statements(1, &verified, &|_| Some(&callee))));
    assert!(has_call(statements(2, &verified, &|_| None)));
    assert!(!has_call(statements(2, &verified, &|_| Some(&callee))));
    let instance = verified.instance(Arguments::new(&[]).unwrap()).unwrap();
    let mut memory = PassMemory::default();
    let inlined = optimize(2, &instance, &|_| Some(&callee), &mut memory).unwrap().unwrap();
    let inlined = Verified::new(inlined).unwrap();
    let instance = inlined.instance(Arguments::new(&[]).unwrap()).unwrap();
    let mut host = Memory { base: 0, bytes: &mut [] };
    for (argument, larger) in [(4, 5), (i64::MAX as u64, i64::MAX as u64)] {
        assert_eq!(interpret(&instance, &[argument], &mut host, &mut 100), Ok(larger));
    }
}

#[test]
fn recursive_function_is_inlined_once_and_returns_the_same() {
    let fib = "function f(n: i64, m: i64) -> i64\nlocal a: i64\nlocal b: i64\nbr_ge i64 n, 2, more\n\
               return i64 n\nmore:\nsub i64 a, n, 1\ncall a = f(a, m)\nsub i64 b, n, 2\n\
               call b = f(b, m)\nadd i64 a, a, b\nreturn i64 a\nend";
    // The operands are exchanged, and the last activation divides by 0 for some arguments.
    let exchanged = "function f(n: i64, m: i64) -> i64\nlocal a: i64\nbr_le i64 n, 0, last\n\
                     sub i64 a, m, 3\ncall a = f(a, n)\nadd i64 a, a, n\nreturn i64 a\nlast:\n\
                     div i64 a, m, n\nreturn i64 a\nend";
    for source in [fib, exchanged] {
        let templates = text::parse(source).unwrap();
        let before = Verified::new(Function::parse(&templates[0].body).unwrap()).unwrap();
        let own = *before.body();
        let instance = before.instance(Arguments::new(&[]).unwrap()).unwrap();
        let calls = |level| {
            let lines = statements(level, &before, &|_| Some(&own));
            lines.iter().filter(|line| line.starts_with("call")).count()
        };
        assert_eq!(calls(2), calls(1) * calls(1), "{source}");
        let mut memory = PassMemory::default();
        let after = optimize(2, &instance, &|_| Some(&own), &mut memory).unwrap().unwrap();
        let after = Verified::new(after).unwrap();
        let after = after.instance(Arguments::new(&[]).unwrap()).unwrap();
        for (n, m) in (-2..14).flat_map(|n| (-2..14).map(move |m| (n, m))) {
            let run = |instance| {
                let mut outer = Memory { base: 0, bytes: &mut [] };
                let functions = [instance];
                let mut host = ProgramHost::new(&functions, &mut outer, 100_000).unwrap();
                let args = [n, m].map(i64::cast_unsigned);
                host.call_function(0, &args).map_err(|stop| reported(instance.body(), stop))
            };
            assert_eq!(run(after), run(instance), "{source}: {n}, {m}");
        }
    }
}

/// Whether level 2 inlines the function with the statements `callee` into one with the statement `before` in front of
/// the call.
fn is_inlined(callee: &str, before: &str) -> bool {
    let source = format!(
        "function g(a: i64) -> i64\n{callee}\nreturn i64 a\nend\n\
         function f(n: i64) -> i64\n{before}\nadd i64 n, n, 1\ncall n = g(n)\nreturn i64 n\nend"
    );
    !optimized(2, &source).iter().any(|line| line.starts_with("call"))
}

#[test]
fn function_that_may_trap_is_inlined_within_one_file_only() {
    let in_a = "location 7 in a.spl";
    let (traps, divides) = ("trap_lt i64 a, 0, 20", "div i64 a, a, a");
    assert!(is_inlined(&format!("{in_a}\n{traps}"), "location 9 in a.spl"));
    assert!(is_inlined(&format!("location 7\n{traps}"), "location 9"));
    for callee in [
        format!("location 1 in a.spl\nadd i64 a, a, 1\nlocation 7 in b.spl\n{traps}"),
        format!("location 7\n{traps}"),
        format!("{traps}\n{in_a}\nadd i64 a, a, 1"),
        divides.into(),
    ] {
        assert!(!is_inlined(&callee, "location 9 in a.spl"), "{callee}");
    }
    for before in [
        "location 9 in b.spl",
        "location 9",
        "location 1\nadd i64 n, n, 1\nlocation 9 in a.spl",
        "location 1 in a.spl\nadd i64 n, n, 1\nlocation 9 in b.spl",
        "",
    ] {
        assert!(!is_inlined(&format!("{in_a}\n{traps}"), before), "{before}");
    }
    assert!(!is_inlined(traps, ""));
}

#[test]
fn inlined_function_of_another_file_has_the_location_of_its_call() {
    let callee = "location 7 in a.spl\nmul i64 a, a, a";
    for before in ["", "location 9", "location 9 in b.spl"] {
        assert!(is_inlined(callee, before), "{before}");
    }
    let source = format!(
        "function g(a: i64) -> i64\n{callee}\nreturn i64 a\nend\nfunction f(n: i64) -> i64\n\
         location 9 in b.spl\ncall n = g(n)\nlocation 10 in b.spl\nreturn i64 n\nend"
    );
    let functions = text::parse(&source).unwrap();
    let [g, f] = [0, 1].map(|number| Function::parse(&functions[number].body).unwrap());
    let verified = Verified::new(f).unwrap();
    let instance = verified.instance(Arguments::new(&[]).unwrap()).unwrap();
    let mut memory = PassMemory::default();
    let found = optimize(2, &instance, &|_| Some(&g), &mut memory).unwrap().unwrap();
    let lines: Vec<_> = found.locations().map(|found| (found.line, found.file)).collect();
    assert_eq!(lines, [9, 10].map(|line| (line, Some("b.spl"))));
}
