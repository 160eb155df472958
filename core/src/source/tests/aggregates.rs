//! Programs with structs, tuples and enums, with known results.

use std::format;

use super::run::*;

#[test]
fn tuples_and_structs_are_values() {
    let text = "fn divmod(a: i64, b: i64) -> (i64, i64): (a / b, a % b)\n\
                fn f() -> i64:\n    val (q, r) = divmod(10, 3)\n    q * 10 + r\n\
                fn g() -> i64: divmod(10, 3).1\n\
                struct Point:\n    x: i64\n    y: i64\n\
                fn p() -> i64:\n    val p = Point(x: 3, y: 4)\n    p.x + p.y\n\
                fn copy() -> i64:\n    var a = Point(1, 2)\n    val b = a\n    a.x = 10\n    a.x + b.x\n\
                struct In:\n    v: i64\nstruct Mid:\n    i: In\nstruct Out:\n    m: Mid\n    z: u8 = 3\n\
                fn deep() -> i64:\n    var o = Out { m: Mid(i: In(v: 1)) }\n    val k = o\n    o.m.i.v = 40\n\
                \u{20}   o.m.i.v + k.m.i.v + o.z as i64 - 2\n\
                fn swap() -> i64:\n    var p = Point(1, 2)\n    p = Point(x: p.y, y: p.x)\n    p.x * 10 + p.y\n\
                fn mid(a: Point, b: Point) -> Point: Point((a.x + b.x) / 2, (a.y + b.y) / 2)\n\
                fn m() -> i64: mid(Point(0, 0), Point(x: 8, y: 6)).y\n";
    for (name, expected) in
        [("f", 31), ("g", 1), ("p", 7), ("copy", 11), ("deep", 42), ("swap", 21), ("m", 3)]
    {
        assert_eq!(run(text, name, &[]), expected, "{name}");
    }
}

#[test]
fn struct_with_every_width_has_its_neighbours_intact() {
    let text = "struct S:\n    a: i8\n    b: u16\n    c: f32\n    d: bool\n    e: u64\n    f: i32\n    g: f64\n    h: u8\n\
                fn f() -> i64:\n    var s = S(a: -1, b: 65535, c: 7.5, d: true, e: 1, f: -2, g: 2.5, h: 255)\n\
                \u{20}   s.c += 1.0\n    s.e += 1\n    s.b = 7\n\
                \u{20}   if s.c == 8.5 and s.d and s.a == -1 and s.g == 2.5 and s.f == -2: s.b as i64 + s.h as i64 + s.e as i64 else: 0\n";
    assert_eq!(run(text, "f", &[]), 7 + 255 + 2);
}

#[test]
fn methods_have_receivers() {
    let text = "struct Counter:\n    n: i64\n    steps: i64 = 0\nimpl Counter:\n    static fn zero() -> Counter: Counter(n: 0)\n\
                \u{20}   fn new(n: i64) -> Counter: Counter(n: n)\n    fn get() -> i64: self.n\n    fn plus(self, k: i64) -> i64: self.n + k\n\
                \u{20}   me add(k: i64):\n        self.n += k\n        self.steps += 1\n\
                fn f() -> i64:\n    var c = Counter.new(1)\n    c.add(5)\n    c.add(Counter.zero().get() + 1)\n    c.plus(100) + c.steps\n";
    assert_eq!(run(text, "f", &[]), 109);
    let text = "struct P:\n    x: i64\nimpl P:\n    me inc(): self.x += 1\nfn f():\n    val p = P(1)\n    p.inc()\n";
    assert_eq!(errors_of(text), ["7: E1305: `p` is not mutable"]);
}

#[test]
fn methods_of_one_instance_are_its_own() {
    let text = "struct B<T>:\n    x: T\nimpl B<i64>:\n    fn only() -> i64: self.x\n    me set(): self.x = -1\n    static fn of(x: i64) -> B<i64>: B(x)\n\
                struct P<A, B>:\n    a: A\n    b: B\nimpl<B> P<i64, B>:\n    fn second() -> B: self.b\n\
                impl<A> B<[A; 2]>:\n    fn both() -> A: self.x[1]\n    static fn twice(a: A) -> B<[A; 2]>: B([a, a])\n\
                fn f() -> i64:\n    var b = B(3)\n    b.set()\n    b.only() + P(5, 7u8).second() as i64 + B([1, 20]).both() + B<[i64; 2]>.twice(100).both() + B<i64>.of(1000).only()\n";
    assert_eq!(run(text, "f", &[]), -1 + 7 + 20 + 100 + 1000);
    for (call, expected) in [
        ("B(true).only()", "type `B<bool>` has no method `only`"),
        ("P(2u8, 1).second()", "type `P<u8, i64>` has no method `second`"),
        ("B(3).both()", "type `B<i64>` has no method `both`"),
        ("B<bool>.of(1).only()", "type `B<bool>` has no method `of`"),
        ("B<i64>.twice(1).both()", "type `B<i64>` has no method `twice`"),
        ("g(B(true))", "type `B<bool>` has no method `only`"),
    ] {
        let text = format!("{text}fn g<T>(b: T) -> i64: b.only()\nfn h() -> i64: {call}\n");
        let found = errors_of(&text);
        assert!(found[0].ends_with(expected), "{call}: {found:?}");
    }
    let text = format!("{text}fn h():\n    var b = B(true)\n    b.set()\n");
    assert!(errors_of(&text)[0].contains("type `B<bool>` has no method `set`"));
}

#[test]
fn enums_match_with_payloads_guards_and_alternatives() {
    let text = "enum Color:\n    Red\n    Green = 4\n    Blue\n\
                fn code(c: Color) -> i64:\n    match c:\n        case Color.Red: 1\n        case Green: 2\n        case Color.Blue: 3\n\
                fn f() -> i64: code(Color.Red) * 100 + code(Color.Blue) * 10 + Color.Blue as i64\n\
                enum Op:\n    Add(i64)\n    Mul(by: i64)\n    Stop\n\
                struct Counter:\n    value: i64\n    steps: i64\n\
                impl Counter:\n    me apply(op: Op):\n        match op:\n            case Op.Add(n): self.value += n\n            case Op.Mul(by): self.value = self.value * by\n            case _: pass\n        self.steps += 1\n\
                fn machine() -> i64:\n    var c = Counter(value: 1, steps: 0)\n    c.apply(Op.Add(6))\n    c.apply(Op.Mul(by: 2))\n    c.apply(Op.Add(0))\n    c.value * 10 + c.steps\n\
                fn guard(x: i64) -> i64:\n    match x:\n        case n if n < 0: 0\n        case 1 | 2: 10\n        case 3..6: 20\n        case 6..=7: 30\n        case _: 40\n\
                fn is_add(n: i64) -> bool:\n    val op = if n > 0: Op.Add(n) else: Op.Stop\n    op is Op.Add(_)\n";
    assert_eq!(run(text, "f", &[]), 135);
    assert_eq!(run(text, "machine", &[]), 143);
    assert_eq!(
        [-5, 1, 2, 3, 5, 6, 7, 8].map(|x| run(text, "guard", &[x])),
        [0, 10, 10, 20, 20, 30, 30, 40]
    );
    assert_eq!((run(text, "is_add", &[1]), run(text, "is_add", &[0])), (1, 0));
    let text = "enum E:\n    A\n    B\nfn f(e: E) -> i64:\n    match e:\n        case E.A: 1\n";
    assert_eq!(errors_of(text), ["5: E1409: the match has no arm for some values of `E`"]);
}

#[test]
fn alternatives_bind_the_same_names() {
    let text = "struct P:\n    x: i64\n    y: i64\n\
                enum S:\n    Circle(r: i64)\n    Box(p: P, name: text)\n    Line(name: text, p: P)\n    Dot\n\
                fn area(s: S) -> i64:\n    match s:\n        case S.Box(p, _) | S.Line(p: p, name: _) if p.x > 1: p.x * p.y\n        case S.Box(_, t) | S.Line(t, _): t.len\n        case _: -1\n\
                fn zero(a: i64, b: i64) -> i64:\n    match (a, b):\n        case (0, y) | (y, 0): y\n        case (1 | 2, y) | (y, (3 | 4)): y * 100\n        case _: 7\n\
                fn big(p: i64, k: i64) -> i64: area(if k > 0: S.Box(P(p, 5), \"abc\") else: S.Line(\"abcd\", P(p, 6)))\n\
                fn all(a: bool, b: i64) -> i64:\n    match (a, b):\n        case (true, n) | (false, n): n\n";
    for (a, b, expected) in [(0, 9, 9), (8, 0, 8), (0, 0, 0), (2, 6, 600), (5, 4, 500), (5, 5, 7)] {
        assert_eq!(run(text, "zero", &[a, b]), expected, "{a} {b}");
    }
    for (p, k, expected) in [(2, 1, 10), (2, 0, 12), (1, 1, 3), (1, 0, 4)] {
        assert_eq!(run(text, "big", &[p, k]), expected, "{p} {k}");
    }
    assert_eq!((run(text, "all", &[1, 4]), run(text, "all", &[0, 5])), (4, 5));
}

#[test]
fn arms_of_a_match_cover_the_parts_of_its_value() {
    let text = "enum E:\n    A(x: bool, y: i64)\n    B(t: (bool, E2))\n    C\n\
                enum E2:\n    D\n    F(bool)\n\
                fn pair(a: bool, b: bool) -> i64:\n    match (a, b):\n        case (true, true): 3\n        case (false, true) | (false, false): 1\n        case (true, false): 2\n\
                fn deep(e: E) -> i64:\n    match e:\n        case E.A(y: n, x: true): n\n        case E.A(x: false, y: 0): 1\n        case E.A(false, n) if n > 9: 2\n        case E.A(false, n): n + 10\n        case E.B((true, E2.D | E2.F(true))): 3\n        case E.B((true, E2.F(false))): 4\n        case E.B((false, _)): 5\n        case C: 6\n\
                fn f(n: i64) -> i64:\n    if n == 0: deep(E.A(true, 7))\n    elif n == 1: deep(E.A(false, 0))\n    elif n == 2: deep(E.A(false, 20))\n    elif n == 3: deep(E.A(false, 5))\n    elif n == 4: deep(E.B((true, E2.F(true))))\n    elif n == 5: deep(E.B((true, E2.F(false))))\n    elif n == 6: deep(E.B((false, E2.D)))\n    else: deep(E.C)\n\
                fn bits(n: i64) -> i64: pair((n & 2) != 0, (n & 1) != 0)\n";
    assert_eq!([0, 1, 2, 3, 4, 5, 6, 7].map(|n| run(text, "f", &[n])), [7, 1, 2, 15, 3, 4, 5, 6]);
    assert_eq!([0, 1, 2, 3].map(|n| run(text, "bits", &[n])), [1, 1, 2, 3]);

    let not_all = |arms: &str| {
        errors_of(&std::format!(
            "enum E:\n    A(x: i64, y: (bool, i64))\n    B\nfn f(e: E, a: bool) -> i64:\n    match (a, e):\n{arms}"
        ))
    };
    let missing = ["5: E1409: the match has no arm for some values of `(bool, E)`"];
    assert_eq!(not_all("        case (true, _): 1\n        case (_, E.B): 2\n"), missing);
    // A field by name is that field, wherever it stands.
    let arms = "        case (_, E.A(y: (true, _), x: _)): 1\n        case (_, E.B): 2\n";
    assert_eq!(not_all(arms), missing);
    let arms = "        case (_, E.A(y: (_, 3), x: _)): 1\n        case (_, E.B): 2\n";
    assert_eq!(not_all(arms), missing);
    let arms = "        case (true, _): 1\n        case (false, E.B): 2\n        case (false, E.A(..)) if a: 3\n";
    assert!(!not_all(&arms.replace("..", "_, _")).is_empty());
    let text = "enum E:\n    A(x: i64, y: (bool, i64))\n    B\nfn f(e: E) -> i64:\n    match e:\n        case E.A(y: (true, _), x: _): 1\n        case E.B: 2\n";
    assert_eq!(errors_of(text), ["5: E1409: the match has no arm for some values of `E`"]);
}

const EQUAL: &str = "\
enum Color:
    Red
    Blue
struct In:
    a: u8
    b: f64
struct P:
    x: i64
    i: In
    t: (bool, Color)
fn make(x: i64, b: f64, c: Color) -> P: P(x: x, i: In(a: 7, b: b), t: (true, c))
fn f(x: i64) -> i64:
    val p = make(1, 2.5, Color.Blue)
    val q = make(x, 2.5, Color.Blue)
    var n = 0
    if p == q: n += 1
    if p != q: n += 2
    if p == make(1, 2.5, Color.Red): n += 4
    if not (p == make(1, 0.0 / 0.0, Color.Blue)): n += 8
    val same = p == q
    if same: n += 16
    if (1, 2) == (x, 2): n += 32
    n
";

#[test]
fn structs_and_tuples_are_equal_if_their_fields_are() {
    assert_eq!(run(EQUAL, "f", &[1]), 1 + 8 + 16 + 32);
    assert_eq!(run(EQUAL, "f", &[2]), 2 + 8);
    let refused = "enum E:\n    A(i64)\n    B\nfn f(a: E, b: E) -> bool: a == b\nfn g(a: [i64; 2], b: [i64; 2]) -> bool: a == b\n";
    let errors = errors_of(refused);
    assert!(errors[0].starts_with("4: E1404") && errors[1].starts_with("5: E1404"), "{errors:?}");
}
