//! Messages: what they say, where, and that one mistake has one.

use super::run::*;
use crate::source::{Diagnostic, Mode, SourceFile, compile};
use std::format;
use std::string::String;
use std::vec::Vec;

#[test]
fn syntax_error_in_a_declaration_is_reported_once() {
    for (text, expected) in [
        (
            "struct P:\n    x: i64\n    y i64\nimpl P:\n    fn s() -> i64: self.x + self.y\n    me t(): self.y = 1\nfn f():\n    var p = P(x: 1, y: 2)\n    p.t()\n    print p.s(), p.y\n",
            "3: E1101: expected `:` and the type of the field, found `i64`",
        ),
        (
            "struct P:\n    x: i64\n    3: i64\nfn f() -> i64: P(x: 1, y: 2).y\n",
            "3: E1101: expected a field, found `3`",
        ),
        (
            "struct P:\n    x: i64, y: i64\nfn f(p: P) -> P: P(1, 2)\n",
            "2: E1101: expected the end of the line, found `,`",
        ),
        (
            "struct P\n    x: i64\n    y: i64\nfn f():\n    val p = P(x: 1, y: 2)\n    print p.x, p.y\n",
            "1: E1101: expected `:` and the members, found the end of the line",
        ),
        (
            "struct P { x: i64 }\nimpl P:\n    fn g() -> i64: self.x\nfn f(p: P) -> i64: p.g() + P { x: 1 }.x\n",
            "1: E1101: expected `:` and the members, found `{`",
        ),
        (
            "fn add(a: i64 b: i64) -> i64: a + b\nfn f() -> i64: add(1, 2)\nval g = add\n",
            "1: E1101: expected `)` behind the parameters, found `b`",
        ),
        (
            "fn add(a: i64 b: i64) -> i64:\n    a + b\nfn f() -> i64: add(1, 2)\n",
            "1: E1101: expected `)` behind the parameters, found `b`",
        ),
        (
            "fn g() -> i64:\n    # to do\n\nfn h(): print 1\nfn main():\n    print g()\n    h()\n",
            "1: E1101: expected an indented block, found the end of the line",
        ),
        (
            "enum E:\n    A\n    V(i64 i64)\n    B\nfn f(e: E) -> i64:\n    match e:\n        case E.A: 1\n        case E.V(a, b): a + b\n        case E.B: 2\nfn g() -> i64: f(E.V(1, 2)) + f(E.B)\n",
            "3: E1101: expected `)` behind the payload, found `i64`",
        ),
        (
            "enum E { A, B }\nfn f(e: E) -> i64: if e == E.A: 1 else: 2\n",
            "1: E1101: expected `:` and the members, found `{`",
        ),
    ] {
        assert_eq!(errors_of(text), [expected], "{text}");
    }
    let text = "struct P:\n    x: i64?\n    y: i64\nfn f(p: P) -> i64: p.x + p.z\n";
    let expected = [
        "2: E1201: an optional type `T?` is not supported: values without a presence tag only",
        "4: E1304: type `P` has no field `z`",
    ];
    assert_eq!(errors_of(text), expected);
}

/// An error with the text that it marks, and its note.
pub(super) fn mark(d: &Diagnostic) -> String {
    let start = d.column as usize - 1;
    let place: String = d.source_line.chars().skip(start).take(d.length as usize).collect();
    let note = d.note.as_ref().map_or(String::new(), |note| format!(" ({note})"));
    format!("{place}: {}{note}", d.message)
}

pub(super) fn marked(text: &str) -> Vec<String> {
    compiled(text, Mode::Compile).diagnostics.iter().map(mark).collect()
}

#[test]
fn method_behind_an_open_bracket_is_declared() {
    let close = "expected `)` behind the parameters, found";
    for (method, expected) in [
        ("fn one(a: i64 -> i64: a", format!("4: E1101: {close} `->`")),
        ("fn one(a: i64 -> i64:\n        val b = a\n        b", format!("4: E1101: {close} `->`")),
        ("fn one(a: i64,", format!("4: E1101: {close} the end of the line")),
        ("fn one(", format!("4: E1101: {close} the end of the line")),
        (
            "fn one() -> i64: later(self.x",
            "4: E1101: expected `)` behind the arguments, found the end of the line".into(),
        ),
        (
            "fn one() -> i64:\n        later(\n            self.x,",
            "6: E1101: expected `)` behind the arguments, found the end of the line".into(),
        ),
    ] {
        for next in ["fn", "pub fn", "static fn", "me"] {
            let text = format!(
                "struct A:\n    x: i64\nimpl A:\n    {method}\n    {next} two() -> i64: 2\n    \
                 fn three() -> i64: 3\nfn later(a: i64) -> i64: a\nfn f() -> i64:\n    var a = A(x: 1)\n    \
                 {}.two() + a.three() + later(1)\n",
                if next == "static fn" { "A" } else { "a" }
            );
            assert_eq!(errors_of(&text), [&*expected], "{text}");
        }
    }
    // A function type at the start of a line, and names that begin like these words.
    let text = "struct A:\n    fn one(\n    me: i64,\n    fnx: i64,\n    g:\n    fn(i64) -> i64) -> i64: me + fnx + g(1)\n";
    assert_eq!(errors_of(text), [""; 0]);
}

#[test]
fn operand_that_does_not_fit_is_marked() {
    for (body, place) in [
        ("x + 5 == 300", "300"),
        ("300 < x + 5", "300"),
        ("0 < x < 300 + 1", "300 + 1"),
        ("if x != -129: true else: false", "-129"),
        ("x + 1 + 200 == 3", "200"),
        ("200 - x == 3", "200"),
    ] {
        let expected = format!("{place}: the number does not fit `i8`");
        assert_eq!(marked(&format!("fn f(x: i8) -> bool: {body}\n")), [expected], "{body}");
    }
    let text = "fn f(a: i8):\n    var x = a\n    x += 200\n    for i in x..300: pass\n";
    let expected = ["200", "300"].map(|place| format!("{place}: the number does not fit `i8`"));
    assert_eq!(marked(text), expected);
}

#[test]
fn messages_name_and_mark_what_is_wrong() {
    let point =
        "struct P:\n    x: i64\n    y: i64\nimpl P:\n    fn sum() -> i64: self.x + self.y\n";
    let color = "enum Color:\n    Red\n    Green\n";
    for (text, expected) in [
        ("fn f(a: i64, b: i64) -> i64: f(1, c: 2)\n", "c: `f` has no parameter `c`"),
        ("fn f(a: i64, b: i64) -> i64: f(1, a: 2)\n", "a: parameter `a` of `f` has two arguments"),
        (
            "fn f(a: i64, b: bool) -> i64: f(b: true, a: true)\n",
            "true: expected `i64`, found `bool`",
        ),
        (&format!("{point}fn f() -> P: P(x: 1, z: 3)\n"), "z: `P` has no field `z`"),
        (&format!("{point}fn f() -> P: P(x: 1, x: 3)\n"), "x: field `x` of `P` has two values"),
        (
            "enum E:\n    A\n    B\n    me next(): pass\nfn f():\n    var e = E.A\n    e.next()\n",
            "next: a method with `me` on an enum without payloads is not supported: return the new value",
        ),
        (
            &format!(
                "{color}fn f(c: Color) -> i64:\n    match c:\n        case F.X: 1\n        case _: 2\n"
            ),
            "F.X: type `F` not found",
        ),
        (
            &format!(
                "{color}{point}fn f(c: Color) -> i64:\n    match c:\n        case P.X: 1\n        case _: 2\n"
            ),
            "P.X: `P.X` is no variant of `Color`",
        ),
        (
            "const N = 1\nfn f(): N = 2\n",
            "N: `N` is not mutable (a constant does not change: copy the value to a variable of `var`)",
        ),
        (
            "const N = [1]\nfn f(): N[0] = 2\n",
            "N: `N` is not mutable (a constant does not change: copy the value to a variable of `var`)",
        ),
        (
            "fn f():\n    for i in 0..3: i = 2\n",
            "i: `i` is not mutable (a loop or an arm of `match` names it: copy the value to a variable of `var`)",
        ),
        (
            "fn f(p: i64):\n    match p:\n        case n: n += 1\n",
            "n: `n` is not mutable (a loop or an arm of `match` names it: copy the value to a variable of `var`)",
        ),
        (
            "fn f():\n    val n = 1\n    n = 2\n",
            "n: `n` is not mutable (declare it with `var`, or a parameter with `mut`)",
        ),
        ("fn f(a: string): pass\n", "string: type `string` not found (write `text`)"),
        ("fn f(a: [Int]): pass\n", "Int: type `Int` not found (write `i64`)"),
        ("fn f() -> boolean: true\n", "boolean: type `boolean` not found (write `bool`)"),
        (
            &format!("{color}fn f(a: Colour): pass\n"),
            "Colour: type `Colour` not found (write `Color`)",
        ),
        (&format!("{point}    fn t() -> i64: x\n"), "x: name `x` not found (write `self.x`)"),
        (
            &format!("{point}    fn t() -> i64: sum()\n"),
            "sum: name `sum` not found (write `self.sum()`)",
        ),
        (
            &format!("{color}fn f() -> Color: Red\n"),
            "Red: name `Red` not found (write `Color.Red`)",
        ),
        ("enum E:\n    A = 1\n    B = 1\n", "B: variants `A` and `B` have the discriminant 1"),
        (
            "enum E:\n    A = 1\n    B = 0\n    C\n",
            "C: variants `A` and `C` have the discriminant 1",
        ),
        ("fn f(): print 1 + true\n", "+: `+` has no meaning for `i64` and `bool`"),
        ("fn f(): print true == 1\n", "==: `==` has no meaning for `bool` and `i64`"),
        (
            "fn f(a: i64, b: u64): print (a) * 2 + b\n",
            "+: `+` mixes `i64` and `u64` (convert one operand with `as`)",
        ),
        ("fn f(mut a: i64): a += true\n", "+=: `+` has no meaning for `i64` and `bool`"),
        ("fn f(a: i64): print a xor (a < 1)\n", "xor: `xor` has no meaning for `i64` and `bool`"),
        (&format!("{point}fn f(): P.foo()\n"), "P.foo(): type `P` has no static method `foo`"),
        (&format!("{point}fn f(): P.foo\n"), "P.foo: type `P` has no static method `foo`"),
        (
            &format!("{point}    static fn one() -> i64: 1\nfn f() -> i64: P.one\n"),
            "P.one: method `one` of `P` is not a value (call it)",
        ),
        (&format!("{color}fn f(): Color.foo()\n"), "Color.foo(): `Color` has no variant `foo`"),
        ("fn f(): 3 = 4\n", "3: only a name, field or element is assigned to"),
        ("fn f<T>(a: T) -> i64: a(1)\n", "a(1): a value of `T` is not called"),
        ("fn f<A, B>(a: A, b: B) -> i64: *b\n", "*b: `B` is no raw pointer"),
        (
            "fn g<A, B>(a: A, b: [(A, B)]) -> A: a\nfn f(): print g(true, [1])\n",
            "[1]: expected `[(bool, B)]`, found `[i64; 1]` (the types of the other arguments decide on the type parameter)",
        ),
        (
            "fn g<T>(a: T, b: [T]) -> T: a\nfn f(): print g(1, 2)\n",
            "2: expected `[i64]`, found `i64`",
        ),
    ] {
        assert_eq!(marked(text), [expected], "{text}");
    }
}

#[test]
fn error_about_a_type_of_a_module_stands_where_it_is_written() {
    let text = "use lib\n\nfn f(p: lib.Pair<i64>) -> i64: 3\nfn g(p: lib.Pai): pass\nstruct Pay:\n    x: i64\n";
    let module = "struct Pair<A, B>:\n    a: A\n    b: B\n";
    let files = [file(text), SourceFile { name: "lib", module: "lib", text: module }];
    let found = compile(&files, Mode::Compile).unwrap().diagnostics;
    let note = |d: &Diagnostic| d.note.clone().unwrap_or_default();
    let shown =
        |d: &Diagnostic| format!("{}:{}:{}: {} {}", d.file, d.line, d.column, d.message, note(d));
    let found: Vec<_> = found.iter().map(shown).collect();
    let expected = [
        "t.spl:3:9: type `Pair` has 2 type arguments, found 1 ",
        "t.spl:4:9: type `Pai` not found write `Pair`",
    ];
    assert_eq!(found, expected);
}

#[test]
fn module_in_front_of_a_pattern_or_type_is_checked() {
    let lib = "enum C:\n    R\n    V(i64)\nenum D:\n    R\nconst K = 1\nfn make() -> C: C.V(3)\n";
    let errors = |pattern: &str| {
        let main = format!(
            "use lib\nfn f(v: i64) -> i64:\n    match lib.make():\n        case {pattern}: 1\n        case _: 2\n"
        );
        let files = [file(&main), SourceFile { name: "lib", module: "lib", text: lib }];
        messages(&compile(&files, Mode::Compile).unwrap())
    };
    for (pattern, expected) in [
        ("nolib.C.R", "E1301: name `nolib` not found"),
        ("nolib.C.V(n)", "E1301: name `nolib` not found"),
        ("a.lib.C.R", "E1301: name `a` not found"),
        ("lib.E.R", "E1301: module `lib` declares no `E`"),
        ("lib.K.R", "E1406: type `K` not found"),
        ("lib.D.R", "E1410: `D.R` is no variant of `C`"),
        ("lib.C.X", "E1410: `C.X` is no variant of `C`"),
        ("v.C.R", "E1304: type `i64` has no field `C`"),
        ("lib.C.R | nolib.C.R", "E1301: name `nolib` not found"),
    ] {
        assert_eq!(errors(pattern), [format!("4: {expected}")], "{pattern}");
    }
    for (ty, expected) in [
        ("nolib.C", "E1303: module `nolib` not found"),
        ("f.C", "E1303: module `f` not found"),
        ("lib.E", "E1406: type `E` not found"),
        ("lib.P", "E1406: type `P` not found"),
    ] {
        let main = format!("use lib\nstruct P:\n    x: i64\nfn f(v: {ty}) -> i64: 1\n");
        let files = [file(&main), SourceFile { name: "lib", module: "lib", text: lib }];
        let found = messages(&compile(&files, Mode::Compile).unwrap());
        assert_eq!(found, [format!("4: {expected}")], "{ty}");
    }
    for pattern in ["lib.C.R", "lib.C.V(n)", "lib::C::V(_)"] {
        assert!(errors(pattern).iter().all(|error| error.contains("W2003")), "{pattern}");
    }
}

#[test]
fn assignment_to_a_part_of_what_is_no_variable_is_refused() {
    let point = "struct P:\n    x: i64\nconst C = P(1)\n";
    for (lines, expected) in [
        ("C.x = 2", "C: `C` is not mutable"),
        ("nosuch[0] = 2", "nosuch: name `nosuch` not found"),
        ("nosuch.x += 2", "nosuch: name `nosuch` not found"),
        ("f.x = 2", "f: `f` is no variable"),
        ("f = 2", "f: `f` is no variable"),
        ("var t = (1, 2)\n    t.7 = 2", "t.7: type `(i64, i64)` has no field `7`"),
        ("var t = 1\n    t.x = 2", "t: a value of `i64` has no parts that are assigned to"),
        ("var t = 1\n    t.0 = 2", "t: a value of `i64` has no parts that are assigned to"),
        ("var t = \"a\"\n    t.x = 2", "t: a value of `text` has no parts that are assigned to"),
        ("var t = [1]\n    t[0].x = 2", "t[0].x: type `i64` has no field `x`"),
    ] {
        let text = format!("{point}fn f():\n    {lines}\n");
        let found = marked(&text);
        assert!(found.len() == 1 && found[0].starts_with(expected), "{text}\n{found:?}");
    }
    assert_eq!(
        run(
            "fn f<T>(x: T) -> i64:\n    var t = [x]\n    t[0] = x\n    1\nfn g() -> i64: f(2)\n",
            "g",
            &[]
        ),
        1
    );
}

#[test]
fn assignment_to_a_name_of_a_module_is_refused() {
    let lib =
        "struct P:\n    x: i64\nconst K = 1\nconst A = [1, 2]\nconst C = P(1)\nfn g() -> i64: 1\n";
    let constant = "(a constant does not change: copy the value to a variable of `var`)";
    for (assignment, expected) in [
        ("lib.K = 3", format!("lib.K: `K` is not mutable {constant}")),
        ("lib.K += 3", format!("lib.K: `K` is not mutable {constant}")),
        ("lib.A[0] = 3", format!("lib.A: `A` is not mutable {constant}")),
        ("lib.C.x = 3", format!("lib.C: `C` is not mutable {constant}")),
        ("lib.g = 3", "lib.g: `g` is no variable".into()),
        ("lib.nosuch = 3", "lib.nosuch: module `lib` declares no `nosuch`".into()),
        (
            "fill(lib.A)",
            "lib.A: `A` is not mutable, and `fill` changes `a` (pass a variable of `var`, or declare the parameter with `mut`)".into(),
        ),
    ] {
        let main = format!(
            "use lib\nfn fill(mut a: [i64]): a[0] = 1\nfn f(K: i64):\n    {assignment}\n"
        );
        let files = [file(&main), SourceFile { name: "lib", module: "lib", text: lib }];
        let found = compile(&files, Mode::Compile).unwrap().diagnostics;
        let found: Vec<_> = found.iter().map(mark).collect();
        assert_eq!(found, [expected], "{assignment}");
    }
}

/// Each text has one mistake.
#[test]
fn nothing_follows_from_a_syntax_error_in_a_type_or_constant() {
    for text in [
        "struct Big:\n    limb: i64;\n    used: i64\nimpl Big:\n    static fn new(n: i64) -> Big: Big(limb: n, used: 1)\n    me grow(n: i64) -> bool:\n        if self.used == 16: return false\n        self.used += n\n        true\nfn main() -> i64:\n    var r = Big.new(1)\n    r.limb\n",
        "const K: [i64; 4] = [\n    1, 2, (,\n    3, 4]\nfn f() -> i64: K[0]\n",
        "fn square(x: f64) / f64: x * x\nconst F: fn(f64) -> f64 = square\nfn f():\n    print F(2.0)\n",
        "enum E:\n    A B\n    C\nfn f(e: (E, bool)) -> i64:\n    match e:\n        case (E.A, _): 1\n        case (E.C, _): 2\n",
        "fn f(a: i64, b: i64) -> i64:\n    f(match a:\n        case 1: 2\n        case _: 3, 1)\n",
        "fn f(a: i64, b: i64) -> i64:\n    f(1\n      2,\n      3)\n",
        "struct P:\n    x: i64\n    y: i64\nfn f() -> i64:\n    val p = P { x: 1,\n      y 2 }\n    p.y\n",
        "fn f() -> i64:\n    val x: Foo = 1\n    x.a()\n    for i in x: print i\n    x.b\n",
        "fn f() -> i64:\n    val (x, y): (Foo, i64) = (1, 2)\n    x.a()\n    y\n",
        "struct P:\n    x: i64\n    print b\nfn f() -> i64: P(1).x + P(x: 2).x\n",
        "struct P:\n    x: i64\n    call b\nfn f() -> i64: P(1).x\n",
        "fn f(x: bool) -> i64:\n    match x:\n        case true: 1\n        case false 2\n",
        "fn f(x: bool) -> i64:\n    match x:\n        case true: 1\n        case false if: y\n",
        "fn f(x: bool) -> i64:\n    val r = match x:\n        case true: 1\n        else: 2\n    r\n",
        "fn f(x: bool) -> i64:\n    match x:\n        case (true: 1\n        case false:\n            val y = 2\n            y\n",
        "enum E:\n    A(i64)\n    B\nfn f(e: E) -> i64:\n    match e:\n        case E.A(n:\n            n\n        case E.B: 2\n",
        "struct In:\n    a: [i64; 3]\n    i.x = 1\nstruct Out:\n    x: In\nfn f(mut o: Out):\n    o.x.a[1] += 4\n    o.x.a[2] += 4\n",
    ] {
        let found = errors_of(text);
        assert_eq!(found.len(), 1, "{text}\n{found:#?}");
    }
}

/// A `?` of the text is no unknown type.
#[test]
fn question_marks_of_the_text_are_all_reported() {
    let text = "fn f() -> i64:\n    val a = ?\n    1\nfn g() -> i64:\n    val b = ?\n    2\n";
    let found = errors_of(text);
    assert_eq!(found.len(), 2, "{found:#?}");
    assert!(found.iter().all(|error| error.contains("`?`")), "{found:#?}");
}

/// The errors that a syntax error leaves are those of other lines.
#[test]
fn statements_behind_a_syntax_error_are_checked() {
    let mut wrong = Vec::new();
    for (body, expected) in [
        (
            "if x = 3:\n        print a\n    elif y:\n        print b\n    else:\n        print c",
            &[2, 3, 4, 5, 7][..],
        ),
        ("if x = 3: print 1\n    elif x == 4: print 2\n    else: print d", &[2, 4]),
        ("if x +:\n        print a\n    else:\n        print 2", &[2, 3]),
        ("if x == 3\n        print a\n    else:\n        print 2", &[2, 3]),
        ("if x == 3: print 1 2\n    else: print d", &[2]),
        ("if val y = x:\n        print y\n    else:\n        print d", &[2, 5]),
        ("if val y = x:\n        print y\n    print a", &[2, 4]),
        ("while x = 3:\n        print a", &[2, 3]),
        ("while x == 3\n        print a", &[2, 3]),
        ("while val y = x:\n        print y", &[2]),
        ("for i in 0..x = 2:\n        print i + a", &[2, 3]),
        ("match x = 3:\n        case 1: print a\n        case _: print 2", &[2, 3]),
        ("val r = if x = 3: 1 else: 2\n    val s: i64 = r", &[2]),
        ("val r = if x = 3:\n        1\n    else:\n        2\n    val s: i64 = r", &[2]),
        ("val r = [1 2, 3]\n    print r[2]", &[2]),
        ("val r = (1 2, 3)\n    print r.2", &[2]),
        ("y := 3\n    print y\n    y = 4", &[2]),
        ("val z = 1\n        val y = 2\n    print y\n    print a", &[3, 5]),
        ("print(x\n    val y = 2\n    print y\n    print a", &[2, 5]),
        ("val y = (x + 1\n    return a", &[2, 3]),
        ("print(x\n    print a\n    val y = b", &[2, 3, 4]),
        ("print(x,\n    x\n    )\n    print a", &[5]),
    ] {
        let text = format!("fn f(x: i64):\n    {body}\n");
        let found = compiled(&text, Mode::Compile).diagnostics;
        let lines: Vec<_> = found.iter().map(|d| d.line).collect();
        if lines != expected {
            wrong.push(format!("{text}{:#?}", messages(&compiled(&text, Mode::Compile))));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let text = "fn f(x: i64) -> i64:\n    if (x > 0:\n        1\n    else:\n        2\n";
    assert_eq!(errors_of(text).len(), 1, "{:?}", errors_of(text));
    let text = "fn f(x: i64) -> i64:\n    if x = 3: 1\n    else: 2\nfn g() -> i64:\n    struct P:\n        x: i64\n";
    assert_eq!(errors_of(text).len(), 2, "{:?}", errors_of(text));
}

/// Each text has one mistake, which names that it declares do not repeat.
#[test]
fn name_of_a_declaration_with_an_error_is_known() {
    let mut wrong = Vec::new();
    for text in [
        "const M i64 = 4\nfn f() -> i64: M + 1\nfn g(a: [i64; M]) -> i64: a[0]\n",
        "type T i64\nfn f(x: T) -> T: x\n",
        "fn f() -> i64:\n    val (a b) = (1, 2)\n    a + b\n",
        "fn f() -> i64:\n    val (a, b c) = (1, 2, 3)\n    a + b + c\n",
        "  const N = 1\nfn f() -> i64: N\n",
        "struct P:\n    x: i64\n    x: i64\nfn f(p: P) -> i64: p.x + P(1).x + P(x: 1).x\n",
        "enum E:\n    A\n    A\n    B(i64)\nfn f(e: E) -> i64:\n    match e:\n        case E.A: 1\n        case E.B(n): n\n",
        "enum E:\n    A\n    C =\n    D\nfn f() -> i64: 1\n",
        "extern fn pick<T>(a: T) -> T\nfn f() -> i64: pick(1) + pick<i64>(2)\n",
    ] {
        let found = errors_of(text);
        if found.len() != 1 {
            wrong.push(format!("{text}{found:#?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn failed_import_is_reported_once() {
    let uses = "    nolib.a(x)\n".repeat(20_000);
    let text = format!("use nolib\nfn f(x: i64):\n{uses}");
    assert_eq!(errors_of(&text), ["1: E1303: module `nolib` not found"]);
    let lib = "fn known() -> i64: 1\n";
    for (text, expected) in [
        (
            "use nolib\nfn f(x: nolib.T) -> i64: nolib.a(1) + nolib.B\n",
            &["1: E1303: module `nolib` not found"][..],
        ),
        (
            "use nolib as n\nfn f() -> i64: n.a(1) + nolib\n",
            &["1: E1303: module `nolib` not found", "2: E1301: name `nolib` not found"],
        ),
        (
            "use nolib.{a, B as C}\nfn f(x: C) -> i64: a(1) + C(x: 2).x + d\n",
            &["1: E1303: module `nolib` not found", "2: E1301: name `d` not found"],
        ),
        (
            "use nolib.*\nuse other\nfn f(x: C) -> i64: a(1) + C(x: 2).x + d\n",
            &["1: E1303: module `nolib` not found", "2: E1303: module `other` not found"],
        ),
        (
            "use lib.{a, known}\nfn f() -> i64: a(1) + known() + b\n",
            &["1: E1301: module `lib` declares no `a`", "2: E1301: name `b` not found"],
        ),
    ] {
        let files = [file(text), SourceFile { name: "lib", module: "lib", text: lib }];
        assert_eq!(messages(&compile(&files, Mode::Compile).unwrap()), expected, "{text}");
    }
}

#[test]
fn name_of_a_built_in_type_is_not_declared_again() {
    for text in [
        "type i64 = f64\nfn f(x: i64) -> i64: x\n",
        "struct bool:\n    x: i64\nfn f(x: bool) -> i64: x.x\n",
        "enum f32:\n    A\nfn f(x: f32) -> f32: x\n",
    ] {
        let found = errors_of(text);
        assert!(found.len() == 1 && found[0].contains("is a built-in type"), "{text}\n{found:?}");
    }
    assert_eq!(
        errors_of("fn i<i64>(x: i64) -> i64: x\nfn f() -> i64: i(3)\n"),
        ["1: E1302: `i64` is a built-in type, and no type parameter"]
    );
    let text = "fn bool(x: i64) -> i64: x\nfn f64() -> i64: 3\nconst u8 = 4\nfn g(x: f64) -> f64: x\n\
                fn h(x: u8) -> u8: abs(g(x as f64)) as u8\nfn f() -> i64: (h(8) as i64) + bool(2) + f64() + u8\n";
    assert_eq!(run(text, "f", &[]), 17);
}

#[test]
fn type_with_the_name_of_a_refused_one_may_be_declared_anywhere() {
    let text = "fn f(l: List, o: Option<i64>) -> i64: l.v\nstruct List:\n    v: i64\n\
        enum Option<T>:\n    None\n    Some(T)\n";
    assert_eq!(errors_of(text), [""; 0]);
    assert_eq!(errors_of("use m.{Set}\nfn f(s: Set): pass\n").len(), 1);
    let text = "enum List:\n    Nil\n    Cons(i64, List)\n";
    assert_eq!(errors_of(text), ["1: E1411: type `List` contains itself"]);
}

#[test]
fn implementation_of_a_generic_type_without_its_parameters_is_one_error() {
    let text = "struct P<A, B>:\n    a: A\n    b: B\nimpl P:\n    fn f(a: A) -> A: a\n\
        fn g() -> i64: P(a: 1, b: true).f(2)\n";
    let found = compiled(text, Mode::Compile).diagnostics;
    let found: Vec<_> = found.iter().map(|d| (&*d.message, d.note.as_deref())).collect();
    let message = "the type parameters of `P` are not declared";
    assert_eq!(found, [(message, Some("write `impl<A, B> P<A, B>:`"))]);
}

#[test]
fn uses_of_a_refused_type_are_no_errors() {
    let text = "class Foo:\n    x: i64\nfn f(a: Foo) -> i64: a.x\nfn g(): print f(Foo(x: 1))\n";
    let expected = "1: E1201: `class` is not supported: ";
    let found = errors_of(text);
    assert!(found.len() == 1 && found[0].starts_with(expected), "{found:?}");
    let text = "trait Shape:\n    fn area() -> f64\nfn f<T: Shape>(s: T): pass\nfn g(): f(1)\n";
    let found = errors_of(text);
    assert!(found.len() == 1 && found[0].contains("`trait`"), "{found:?}");
}

#[test]
fn keyword_as_the_name_of_a_function_is_one_error() {
    let text = "struct P:\n    x: i64\nimpl P:\n    fn or(d: i64) -> i64: self.x + d\n\
        fn f(p: P) -> i64: p.or(1) + p.or(2)\n";
    let expected = "4: E1101: expected the name of a function, found the keyword `or`";
    assert_eq!(errors_of(text), [expected]);
}

#[test]
fn line_behind_an_operator_is_its_operand_unless_it_is_another_statement() {
    let end = "E1101: expected an expression, found the end of the line";
    for (text, line) in [
        ("fn f(x: i64) -> i64:\n    return x +\nprint f(2)\n", 2),
        ("fn f(x: i64) -> i64:\n    if x > 1:\n        return x *\n    f(x)\n", 3),
        ("fn f(x: i64) -> i64:\n    val y = x +\n    val z = 3\n    z\n", 2),
        ("fn f(x: i64) -> i64:\n    var y = x <<\n    y = 3\n    y\n", 2),
        ("fn f(x: i64) -> i64:\n    var y = x -\n    y %= 3\n    y\n", 2),
        ("fn f(x: i64) -> i64:\n    val y = x /\n    print x\n    y\n", 2),
        ("fn f(x: i64) -> i64:\n    val y = x *\n    if x > 1: print y\n    y\n", 2),
        ("fn f(x: i64) -> i64: x +\nfn g() -> i64: f(3)\n", 1),
    ] {
        assert_eq!(errors_of(text), [format!("{line}: {end}")], "{text}");
    }
    for body in ["x +\n    x + 1", "x +\n        f(x - 1)", "x *\n    (x + 1)", "x -\n    -x"] {
        assert_eq!(errors_of(&format!("fn f(x: i64) -> i64:\n    {body}\n")), [""; 0], "{body}");
    }
}

#[test]
fn construct_outside_of_the_subset_is_named_where_it_stands() {
    let suspending = "E1201: a suspending form with `~` is not supported: it needs a scheduler";
    let library = "is not supported: it belongs to a library";
    for (text, expected) in [
        ("fn f(a: bool, b: bool) -> bool: a or~ b\n", format!("1: {suspending}")),
        ("fn f(a: bool, b: bool) -> bool: a and~ b\n", format!("1: {suspending}")),
        (
            "struct P:\n    x: i64\n    invariant: x > 0\nfn f() -> i64: P(x: 1).x\n",
            "3: E1201: a contract `invariant` is not supported: it is outside of the subset".into(),
        ),
        ("print :sym\n", format!("1: E1201: a symbol {library}")),
        ("print `atom`\n", format!("1: E1201: an atom {library}")),
        ("print Login_\"text\"\n", format!("1: E1201: a translated text {library}")),
        (
            "fn f(x: i64) -> i64: x\nfn g(): f >> f\n",
            "2: E1201: the composition of functions `>>` is not supported: it makes a function when the program \
             runs; call them one after the other"
                .into(),
        ),
        (
            "fn f():\n    assert(1 > 2, \"m\")\n",
            "2: E1101: `assert` has no parentheses around the condition and the message".into(),
        ),
    ] {
        assert_eq!(errors_of(text), [expected], "{text}");
    }
    let field = "struct P:\n    invariant: i64 = 3\nfn f() -> i64: P().invariant\n";
    assert_eq!(run(field, "f", &[]), 3);
    let note = &compiled("assert(1 > 2, \"m\")\n", Mode::Compile).diagnostics[0].note;
    assert_eq!(note.as_deref(), Some("write `assert 1 > 2, \"m\"`"));
    assert_eq!(run("fn f(a: i64, b: bool) -> bool: b and ~a == -1\n", "f", &[0, 1]), 1);
}

#[test]
fn number_beyond_its_type_is_refused() {
    let character =
        "E1005: no character has this number: they are at most 10FFFF, without D800 to DFFF";
    for (text, expected) in [
        ("val s = \"\\u{110000}\"\n", format!("1: {character}")),
        ("val s = \"\\uD800\"\n", format!("1: {character}")),
        ("val s = \"\\u{}\"\n", "1: E1005: the escape has no hexadecimal digits".into()),
        (
            "enum E:\n    A = 9223372036854775807\n    B\n    C = 3\n",
            "3: E1407: the discriminant of `B` does not fit `i64`".into(),
        ),
        ("const X = 1.0e39f32\n", "1: E1003: the number does not fit `f32`".into()),
        ("const X: f32 = 1.0e39\n", "1: E1407: the number does not fit `f32`".into()),
        ("fn f() -> f32: -1.0e39\n", "1: E1407: the number does not fit `f32`".into()),
        ("fn f(x: f32) -> f32: x + 1.0e39\n", "1: E1407: the number does not fit `f32`".into()),
    ] {
        assert_eq!(errors_of(text), [expected], "{text}");
    }
    let text = "const INF: f32 = 1.0 / 0.0\nconst MAX: f32 = 3.4028234e38\nfn f() -> bool: INF > MAX\n\
                const CAST = 1.0e39 as f32\nfn g() -> bool: 1.0e39 as f32 == CAST and CAST == INF\n";
    assert_eq!((run(text, "f", &[]), run(text, "g", &[])), (1, 1));
}

#[test]
fn mistake_in_a_declaration_or_pattern_is_reported_once() {
    let in_enum = "enum E:\n    A(x: i64)\n    B\n";
    for (text, expected) in [
        (
            "fn f(xs...) -> i64: xs + 1\n",
            "1: E1201: a variadic parameter is not supported: the number of arguments is fixed",
        ),
        (
            "fn main(args):\n    print args\n",
            "1: E1201: `fn main(args)` is not supported: the parameter is never bound by Simple",
        ),
        (
            "fn fib(n): if n < 2: n else: fib(n - 1) + fib(n - 2)\nprint fib(10)\n",
            "1: E1402: Parameter 'n' in function 'fib' requires explicit type annotation",
        ),
        (
            &format!(
                "{in_enum}fn f(e: E) -> i64:\n    match e:\n        case E.A(x, y): x + y\n        case E.B: 2\n"
            ),
            "6: E1410: variant `A` has 1 value",
        ),
        (
            &format!(
                "{in_enum}fn f(e: E) -> i64:\n    match e:\n        case E.A(x): x\n        case E.B(y): y\n"
            ),
            "7: E1410: variant `B` has 0 values",
        ),
        (
            "struct P:\n    x: i64\nimpl P:\n    fn a() -> i64: self.x\n   fn b() -> i64:\n        self.x\n    \
             fn c() -> i64: self.b()\nfn f() -> i64: P(x: 1).c()\n",
            "5: E1004: the line is indented by 3 columns, which is the indentation of no open block",
        ),
        ("fn f(x: i64) -> i64:\n    vra y = x\n    y + y\n", "2: E1101: `vra` starts no statement"),
        (
            "enum E:\n    A\nfn f(e: E) -> i64:\n    match e:\n        case E.A(x): x\n",
            "5: E1410: variant `A` has 0 values",
        ),
    ] {
        assert_eq!(errors_of(text), [expected], "{text}");
    }
}
