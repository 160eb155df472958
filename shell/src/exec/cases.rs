//! Programs with known results on every back end at levels 0 and 2, and in the interpreter.
#![allow(unsafe_code)]

use smf_core::exec::{Level, Value};
use smf_core::ir::{Arguments, Function, Memory, ProgramHost, Scalar, Stop, Verified};
use smf_core::source::{Mode, SourceFile, TranslationUnit, compile};

use super::tests::{backends, manager};
use super::*;

/// The limit of steps of the interpreter.
const STEPS: u64 = 10_000_000;

#[test]
fn cases_have_their_values_on_every_back_end() {
    for (text, calls) in CASES {
        for call in *calls {
            let (call, expected) = call.split_once(['=', '!']).unwrap();
            let words: Vec<&str> = call.split_whitespace().collect();
            let (name, arguments) = words.split_first().unwrap();
            let expected = expected.trim();
            assert_eq!(interpreted(text, name, arguments), expected, "{text}{call}");
            for backend in backends() {
                for level in [Level::None, Level::Speed] {
                    let found = compiled(backend, level, text, name, arguments);
                    assert_eq!(found, expected, "{text}{call}: {backend:?} at {level:?}");
                }
            }
        }
    }
}

/// The value of a call, the code of its trap, or that of the first error in the program.
fn compiled(
    backend: BackendChoice,
    level: Level,
    text: &str,
    name: &str,
    arguments: &[&str],
) -> String {
    let manager = manager(backend);
    manager.set_level(level);
    let arguments: Vec<&[u8]> = arguments.iter().map(|text| text.as_bytes()).collect();
    let compiled = manager.compile_source("case.spl", text);
    // SAFETY: the functions of the cases access their own memory only.
    match compiled.and_then(|_| unsafe { manager.call_text(name.as_bytes(), &arguments) }) {
        Ok(value) => value,
        Err(ExecError::Trap { code, .. }) => code.to_string(),
        Err(ExecError::Source(errors)) => errors[0].code.as_str().to_owned(),
        Err(error) => panic!("{text}{error}"),
    }
}

/// As [`compiled`], in the interpreter of the IR.
fn interpreted(text: &str, name: &str, arguments: &[&str]) -> String {
    let file = SourceFile { name: "case.spl", module: "case", text };
    let compiled = compile(&[file], Mode::Manager).unwrap();
    let Some(unit) = compiled.unit else { return compiled.diagnostics[0].code.as_str().to_owned() };
    let index = unit.find(name).unwrap();
    let result = unit.functions[index].result.as_ref().unwrap().to_string();
    let words: Vec<u64> = arguments.iter().map(|a| a.parse::<i64>().unwrap() as u64).collect();
    match interpret(&unit, index as u32, &words) {
        Ok(bits) => Value::new(Scalar::from_name(&result).unwrap(), bits).to_string(),
        Err(Stop::Trap { code, .. }) => code.to_string(),
        Err(stop) => panic!("{text}{stop}"),
    }
}

fn interpret(unit: &TranslationUnit, index: u32, arguments: &[u64]) -> Result<u64, Stop> {
    let functions: Vec<_> =
        unit.functions.iter().map(|f| Function::parse(f.ir()).unwrap()).collect();
    let verified: Vec<_> = functions.iter().map(|f| Verified::new(*f).unwrap()).collect();
    let none = Arguments::new(&[]).unwrap();
    let instances: Vec<_> = verified.iter().map(|v| v.instance(none).unwrap()).collect();
    let mut memory = Memory { base: 0, bytes: &mut [] };
    ProgramHost::new(&instances, &mut memory, STEPS).unwrap().call_function(index, arguments)
}

/// Programs, and calls of their functions with results (`=`), or with the code of a trap or of an error (`!`).
const CASES: &[(&str, &[&str])] = &[
    ("fn answer() -> i64: 42\n", &["answer = 42"]),
    (
        "fn add(a: i64, b: i64) -> i64: a + b\nfn sub(a: i64, b: i64) -> i64: a - b\nfn mul(a: i64, b: i64) -> i64: a * b\nfn neg(x: i64) -> i64: -x\n",
        &["add 10 32 = 42", "sub 50 8 = 42", "mul 6 7 = 42", "neg -42 = 42"],
    ),
    ("fn max(a, b):\n    if a > b: a else: b\n", &["max 42 10 = 42", "max 10 42 = 42"]),
    ("fn fact(n: i64) -> i64:\n    if n <= 1: 1 else: n * fact(n - 1)\n", &["fact 5 = 120"]),
    (
        "fn fib(n):\n    var a = 0\n    var b = 1\n    var i = 0\n    while i < n:\n        val c = a + b\n        a = b\n        b = c\n        i += 1\n    a\n",
        &["fib 10 = 55"],
    ),
    (
        "fn is_even(n: i64) -> i64:\n    if n == 0: 1 else: is_odd(n - 1)\nfn is_odd(n: i64) -> i64:\n    if n == 0: 0 else: is_even(n - 1)\n",
        &["is_even 10 = 1"],
    ),
    (
        "fn f() -> i64:\n    var total = 0\n    for i in 1..4: total = total + i\n    total\nfn g() -> i64:\n    var total = 0\n    for i in (1..):\n        total += i\n        if i == 3: break\n    total\n",
        &["f = 6", "g = 6"],
    ),
    (
        "fn a() -> i64:\n    var s = 0\n    for i in 0..7: s += i\n    s\nfn b() -> i64:\n    var s = 0\n    for i in 0..=6: s += i\n    s\n",
        &["a = 21", "b = 21"],
    ),
    (
        "fn f() -> i64:\n    var s = 0\n    var i = 1\n    while i < 10:\n        s += i\n        i += 1\n    s\n",
        &["f = 45"],
    ),
    (
        "fn sum_to(n):\n    var s = 0\n    for i in 0..=n: s += i\n    s\nfn squares(n):\n    var s = 0\n    for i in 1..=n: s += i * i\n    s\n",
        &["sum_to 10 = 55", "squares 4 = 30"],
    ),
    (
        "fn f() -> i64:\n    var n = 0\n    for i in 0..3:\n        for j in 0..4: n += 1\n    n\n",
        &["f = 12"],
    ),
    (
        "fn power(x, n):\n    var r = 1\n    for i in 0..n: r *= x\n    r\nfn f() -> i64: power(2, 5) + 10\n",
        &["power 2 7 = 128", "f = 42"],
    ),
    (
        "fn a() -> i64: 2 * 3 ** 2\nfn b() -> i64: 2 ** 10\nfn c() -> i64: 3 ** 4\nfn d() -> i64: 2 + 3 * 4\n",
        &["a = 18", "b = 1024", "c = 81", "d = 14"],
    ),
    (
        "fn a() -> i64: 0xFF & 0x2A\nfn b() -> i64: 0x20 | 0x0A\nfn c() -> i64: 0x55 xor 0x7F\nfn d() -> i64: 21 << 1\nfn e() -> i64: 84 >> 1\nfn f() -> i64: ~0\nfn g() -> i64: (5 + 3) & 7\n",
        &["a = 42", "b = 42", "c = 42", "d = 42", "e = 42", "f = -1", "g = 0"],
    ),
    (
        "fn a() -> i64: 0xFF_00\nfn b() -> i64: 0x1A2B\nfn c() -> i64: 12_34_56\n",
        &["a = 65280", "b = 6699", "c = 123456"],
    ),
    (
        "fn a() -> i64: 3.7 as i64\nfn b() -> i64: 9.8 as i64\nfn c() -> i64: (42 as f64) as i64\nfn d() -> i64: (21.0 * 2.0) as i64\n",
        &["a = 3", "b = 9", "c = 42", "d = 42"],
    ),
    (
        "fn calc(a, b=2, c=3): a + b * c\nfn f() -> i64: calc(1)\nfn g() -> i64: calc(1, c=10)\n",
        &["f = 7", "g = 21"],
    ),
    (
        "fn classify(n: i64) -> i64:\n    if n < 50: 1\n    elif n < 90: 2\n    else: 3\n",
        &["classify 75 = 2", "classify 10 = 1", "classify 95 = 3"],
    ),
    (
        "fn length() -> i64:\n    val a = [0; 100000]\n    a.len()\nfn element() -> i64:\n    val a = [0; 100000]\n    a[123]\nfn one() -> i64: [1; 8][7]\n",
        &["length = 100000", "element = 0", "one = 1"],
    ),
    (
        "fn divmod(a: i64, b: i64) -> (i64, i64): (a / b, a % b)\nfn q() -> i64: divmod(10, 3).0\nfn r() -> i64: divmod(10, 3).1\n",
        &["q = 3", "r = 1"],
    ),
    (
        "struct Point:\n    x: i64\n    y: i64\nstruct A:\n    b: B\nstruct B:\n    c: C\nstruct C:\n    n: i64\nfn f() -> i64:\n    val p = Point(x: 3, y: 4)\n    p.x + p.y\nfn g() -> i64: A(b: B(c: C(n: 42))).b.c.n\n",
        &["f = 7", "g = 42"],
    ),
    (
        "enum Op:\n    Add(i64)\n    Mul(i64)\nstruct Counter:\n    value: i64\n    steps: i64\nimpl Counter:\n    fn apply(op: Op) -> Counter:\n        val v = match op:\n            case Op.Add(n): self.value + n\n            case Op.Mul(n): self.value * n\n        Counter(value: v, steps: self.steps + 1)\nfn run() -> Counter: Counter(value: 1, steps: 0).apply(Op.Add(6)).apply(Op.Mul(2)).apply(Op.Add(0))\nfn value() -> i64: run().value\nfn steps() -> i64: run().steps\n",
        &["value = 14", "steps = 3"],
    ),
    (
        "struct W<T>:\n    n: T\nfn wrap<T>(x: T) -> W<T>: W(n: x)\nfn f() -> i64: wrap(wrap(3)).n.n\nfn g() -> i64: wrap(W(n: 4)).n.n\n",
        &["f = 3", "g = 4"],
    ),
    ("fn ident<T>(x: T) -> T: x\nfn f() -> i64: ident<i64>(7)\n", &["f = 7"]),
    (
        "struct Box<T>:\n    item: T\nimpl<T> Box<T>:\n    fn get() -> T: self.item\nfn f() -> i64: Box<i64>(item: 7).get()\n",
        &["f = 7"],
    ),
    (
        "fn id<T>(x: T) -> T: x\nfn apply(f: fn(i64) -> i64, x: i64) -> i64: f(x)\nfn double(x: i64) -> i64: x * 2\nfn f() -> i64: id(id(42))\nfn g() -> i64: apply(double, 21)\n",
        &["f = 42", "g = 42"],
    ),
    (
        "fn same(x: i64) -> i64: x\nfn plus(x: i64) -> i64: x + 1 - x\nfn part(x: i64) -> i64: x / 1024\n",
        &[
            "same 1152921504606846976 = 1152921504606846976",
            "same 4611686018427387904 = 4611686018427387904",
            "same 9223372036854775807 = 9223372036854775807",
            "plus 1152921504606846976 = 1",
            "part 1152921504606846976 = 1125899906842624",
        ],
    ),
    (
        "fn f(i) -> i64:\n    val a = [5, 9, 17, 33]\n    a[i]\nfn sum() -> i64:\n    var s = 0\n    for x in [5, 9, 17, 33]: s += x\n    s\n",
        &["f 0 = 5", "f 3 = 33", "f -1 = 33", "sum = 64"],
    ),
    ("fn f() -> i64: (-7).fdiv(2)\nfn g() -> i64: (-5).abs()\n", &["f = -4", "g = 5"]),
    (
        "fn f() -> bool: 3 == nil\nfn g() -> bool: 0 == nil\nfn h() -> bool: false == nil\n",
        &["f = false", "g = false", "h = false"],
    ),
    (
        "fn a() -> i64: 12 & 10\nfn b() -> i64: 12 | 10\nfn c() -> i64: 12 xor 10\nfn d() -> i64: 5 << 2\nfn e() -> i64: 20 >> 2\n",
        &["a = 8", "b = 14", "c = 6", "d = 20", "e = 5"],
    ),
    (
        "fn sort(mut a: [i64]):\n    for i in 1..a.len:\n        val x = a[i]\n        var j = i\n        while j > 0 and a[j - 1] > x:\n            a[j] = a[j - 1]\n            j -= 1\n        a[j] = x\nfn f(i) -> i64:\n    var a = [5, 1, 9, 2]\n    sort(a)\n    a[i]\n",
        &["f 0 = 1", "f 1 = 2", "f 2 = 5", "f 3 = 9"],
    ),
    (
        "struct S:\n    a: i8\n    b: u16\n    c: f32\n    d: bool\n    e: u64\n    f: i32\n    g: f64\n    h: u8\nfn s() -> S: S(a: -1, b: 65535, c: 7.5, d: true, e: 1, f: -2, g: 2.5, h: 255)\nfn float() -> f32:\n    var s = s()\n    s.c += 1.0\n    s.c\nfn set() -> i64:\n    var s = s()\n    s.c = 1.0\n    s.e += 1\n    s.b = 7\n    if s.d and s.a == -1 and s.g == 2.5 and s.f == -2: (s.b as i64) + (s.h as i64) + (s.e as i64) else: 0\n",
        &["float = 8.5", "set = 264"],
    ),
    ("fn f() -> bool: \"hello\"\n", &["f ! E1401"]),
    ("fn g(x: bool) -> i64: 1\nfn f() -> i64: g(3)\n", &["f ! E1401"]),
    ("fn at(i) -> i64:\n    val a = [1, 2, 3]\n    a[i]\n", &["at 2 = 3", "at 9 ! 16"]),
    (
        "fn at(i) -> i64:\n    val a = [1, 2, 3, 4]\n    a[(if i > 0: 1u64 else: 2u64) & 3] + a[if i > 0: 1u8 else: 2u8]\n",
        &["at 1 = 4", "at 0 = 6"],
    ),
];
