//! Constants: what they may be, and that wrong ones are errors where nothing uses them.

use super::run::*;
use crate::source::{Mode, SourceFile, compile};
use std::format;
use std::vec::Vec;

#[test]
fn wrong_constant_of_a_file_without_functions_is_an_error() {
    for (text, expected) in [
        ("const d: i64 = nosuch\n", "1: E1301: name `nosuch` not found"),
        ("val c: i64 = nosuch\n", "1: E1301: name `nosuch` not found"),
        (
            "pub const d: i64 = nosuch + 1\npub struct P:\n    x: i64\n",
            "1: E1301: name `nosuch` not found",
        ),
        ("val a = [1, \"x\"]\n", "1: E1401: expected `i64`, found `text`"),
        ("struct P:\n    x: i64\nconst p = P(y: 1, x: 2)\n", "3: E1304: `P` has no field `y`"),
        ("struct P:\n    x: i64 = true\n", "2: E1401: expected `i64`, found `bool`"),
    ] {
        assert_eq!(errors_of(text), [expected], "{text}");
    }
    assert_eq!(errors_of("val a = [1, 2]\nenum E:\n    A\n"), [""; 0]);
}

#[test]
fn each_wrong_constant_of_each_module_is_reported() {
    let module = |name, text| SourceFile { name, module: name, text };
    let files = [
        module("main", "use one\nuse two\nfn main(): print one.d, two.x[0]\nconst a = [\"\", 1]\n"),
        module("one", "const d: i64 = nosuch\nconst e = 1 / 0\nconst f = e + 1\n"),
        module("two", "val x = [1, \"a\"]\nval y = x\nval z = [z]\nval w: [i64; 1] = w\n"),
    ];
    assert_eq!(
        messages(&compile(&files, Mode::Compile).unwrap()),
        [
            "1: E1301: name `nosuch` not found",
            "2: E1408: a constant is divided by zero",
            "1: E1401: expected `i64`, found `text`",
            "3: E1408: constant `z` depends on itself",
            "4: E1408: constant `w` depends on itself",
            "4: E1401: expected `text`, found `i64`",
        ]
    );
}

#[test]
fn long_chain_of_constants_is_an_error_at_once_unless_its_end_comes_first() {
    // Each constant names the next one twice: without the error, evaluation takes time that is exponential in their number.
    let link = |number| format!("const C{number} = C{} + C{}\n", number + 1, number + 1);
    let forward: std::string::String = (0..150).map(link).collect();
    let message = "more than 200 levels of expressions in constants that name each other";
    let errors = errors_of(&format!("{forward}const C150 = 0\n"));
    assert_eq!(errors, [format!("101: E1102: {message}")]);

    let back: std::string::String = (0..1000).rev().map(link).collect();
    assert_eq!(errors_of(&format!("const C1000 = 0\n{back}")), [""; 0]);
}

#[test]
fn function_in_a_constant_is_called() {
    let functions = "fn square(x: f64) -> f64: x * x\nfn add(a: i64, b: i64) -> i64: a + b\n";
    let program = "const F: fn(f64) -> f64 = square\nval G = add\nfn main():\n    print F(3.0)\n    print G(2, 3)\n";
    assert_eq!(output(&format!("{functions}{program}")), "9\n5\n");
    assert_eq!(
        errors_of(&format!("{functions}const G = add\nfn f() -> i64: G(1)\n")),
        ["4: E1405: the function has 2 parameters, found 1"]
    );
    assert_eq!(
        errors_of("const N = 3\nfn f() -> i64: N(1)\n"),
        ["2: E1405: a value of `i64` is not called"]
    );
    let module = format!("{functions}const G = add\n");
    let files = [
        file("use m\nfn f() -> i64: m.G(3, 4)\n"),
        SourceFile { name: "m", module: "m", text: &module },
    ];
    let compiled = compile(&files, Mode::Compile).unwrap();
    let unit = compiled.unit.unwrap_or_else(|| panic!("{:?}", compiled.diagnostics));
    assert_eq!(call_unit(&unit, "f", &[]).0, Ok(7));
}

#[test]
fn logic_of_constants_stops_early() {
    for (text, expected) in [
        ("const O = 3\nconst A = O < 0 and 1 / 0 == 1\nfn f() -> bool: A\n", 0),
        ("const O = 3\nconst A = O > 0 or 2 ** (1 - 2) == 1\nfn f() -> bool: A\n", 1),
        ("const O = 0\nconst A = O != 0 and 7.fdiv(O) == 1\nfn f() -> bool: A\n", 0),
        ("const O = 0\nconst A = [O != 0 and 7 % O == 1]\nfn f() -> bool: A[0]\n", 0),
        ("const A: f64 = 1.0 / 0\nfn f() -> bool: A > 1.0\n", 1),
    ] {
        assert_eq!(run(text, "f", &[]), expected, "{text}");
    }
    for (text, expected) in [
        ("const A = true and 1 / 0 == 1\n", "1: E1408: a constant is divided by zero"),
        ("const A = (false and true) or 1 / 0 == 1\n", "1: E1408: a constant is divided by zero"),
        ("const A = false and nosuch\n", "1: E1301: name `nosuch` not found"),
        ("const A = false and 1 as Q == 1\n", "1: E1406: type `Q` not found"),
        (
            "const A = false and 3\n",
            "1: E1201: a condition of type `i64` is not supported: truthiness has a dynamic meaning",
        ),
        (
            "const B = 1 / 0\nconst A = false and B == 1\n",
            "1: E1408: a constant is divided by zero",
        ),
    ] {
        assert_eq!(errors_of(text), [expected], "{text}");
    }
}

#[test]
fn constant_that_would_trap_is_an_error() {
    let zero = "1: E1408: a constant is divided by zero";
    let exponent = "1: E1408: a constant has a negative exponent";
    for (text, expected) in [
        ("const A = 2 ** -1\n", exponent),
        ("const A = 2u8 ** (1i8 - 3)\n", exponent),
        ("const A = 7.fdiv(0)\n", zero),
        ("const A = 7.fdiv(2 - 2) + 1\n", zero),
        ("const A = [1, 2 % 0]\n", zero),
        ("const A = [(1, 2 / 0); 3]\n", zero),
    ] {
        assert_eq!(errors_of(text), [expected], "{text}");
    }
    let text = "struct P:\n    x: i64\nconst A = P(x: 1 / 0)\nconst B = P { x: 2 ** -1 }\n";
    let expected = [zero.replacen('1', "3", 1), exponent.replacen('1', "4", 1)];
    assert_eq!(errors_of(text), expected);
    let text = "const A = 2.0 ** -1\nconst B = 7.fdiv(2)\nfn f() -> i64: B + (A * 4.0) as i64\n";
    assert_eq!(run(text, "f", &[]), 5);
}

#[test]
fn val_at_the_top_level_sees_the_bindings_above_it() {
    for (text, expected) in [
        ("var a = 3\nval b = a\nprint b\n", "3\n"),
        (
            "fn f(x: i64) -> i64: x + 1\nval a = f(1)\nval b = a * 2\nval c = [b, b]\nprint c[1]\n",
            "4\n",
        ),
        ("var t = 0\nfor i in 0..5: t += i\nval mean = t / 5\nprint mean\n", "2\n"),
        ("val (a, (b, c)) = (1, (2, 3))\nval d = a + b + c\nprint d\n", "6\n"),
        ("x = 4\nval y = x + 1\nprint y\n", "5\n"),
        // The latest binding above counts.
        ("var x = 1\nval x = 2\nprint x\n", "2\n"),
        ("fn f() -> i64: 7\nval x = f()\nval x = 1\nprint x\n", "1\n"),
        ("val x = 1\nprint x\nval x = x + 1\nprint x\n", "1\n2\n"),
        ("const X = 1\nval X = 2.5\nprint X\n", "2.5\n"),
        ("val x = 1\nval y = x\nvar x = 5\nprint y, x\n", "1 5\n"),
        // A constant is that of the functions.
        ("val x = 1\nfn f() -> i64: x\nval x = x + f()\nprint x, f()\n", "2 1\n"),
        ("val b = a\nval a = 2\nprint b\n", "2\n"),
        // `;` separates constants and statements.
        ("val a = 1; val b = a + 1\nprint a; print b\nconst C = 3; print C\n", "1\n2\n3\n"),
        ("fn f() -> i64: B\nval A = 1; val B = 2;\nprint f()\n", "2\n"),
    ] {
        assert_eq!(output(text), expected, "{text}");
    }
    let captured = "name `b` not found";
    for (text, expected) in [
        ("var a = 3\nval b = a\nfn f() -> i64: b\nprint f()\n", format!("3: E1301: {captured}")),
        ("const X = 1\nconst X = 2\n", "2: E1302: `X` is declared twice".into()),
        ("var X = 1\nconst X = 2\nprint X\n", "2: E1302: `X` is declared twice".into()),
        ("val X = 1\nval X = 2\nfn main(): print X\n", "2: E1302: `X` is declared twice".into()),
    ] {
        assert_eq!(errors_of(text), [expected], "{text}");
    }
}

#[test]
fn array_of_a_constant_is_read_in_place() {
    let text = "const N = 3\nconst XS: [i64; 4] = [1, N, -2, N * 2]\nval YS = [[0.5, 2.0], [1.0, 4.0]]\n\
                const ZS = [(1u8, 70000, true); 3]\nconst BIG = [7; 60000]\nconst SAME = [XS, XS]\n\
                const FS: [f32; 2] = [0.1, 3]\nenum E:\n    A = 4\n    B\nconst ES = [E.B, E.A]\n\
                const VIEW: [u16] = [1, 65535]\nconst TEXTS = [\"a\", \"b\"]\nconst GS = [double]\n\
                fn double(x: i64) -> i64: x * 2\nfn next(x: i64) -> i64: x + 1\n\
                fn first(xs: [i64]) -> i64: xs[0] + xs.len()\n\
                fn change(mut xs: [i64] = XS) -> i64:\n    xs[0] += 10\n    xs[0]\n\
                fn f(i: i64) -> i64: XS[i] + XS[next(i)] + XS.len() + BIG[i] + BIG[i + 1] + BIG[59999]\n\
                fn g(i: i64) -> i64:\n    var xs = XS\n    xs[0] = 100\n    val ys = XS\n    xs[0] + ys[0] + SAME[i][3]\n\
                fn h() -> i64:\n    var s = 0\n    for x in XS:\n        s = s * 10 + next(x)\n    for (a, b, c) in ZS: s += b\n    s\n\
                fn k() -> i64: first(XS) * 100 + change() * 10 + change()\n\
                fn m(i: i64) -> i64: (YS[i][1] * 2.0) as i64 + (ZS[i].0 as i64) + (FS[1] as i64) + (VIEW[1] as i64)\n\
                fn t(i: i64) -> i64:\n    print TEXTS[i], ES[0] == E.B, GS[0](4), FS[0]\n    match ES[i]:\n        case E.A: 1\n        case E.B: 2\n\
                fn cube() -> [i64; 4]: XS\nfn r() -> i64: cube()[1]\n";
    let unit = unit_of(text, Mode::Compile);
    for (name, arguments, expected) in [
        ("f", &[1][..], 3 - 2 + 4 + 21),
        ("f", &[-2], 4 + 4 + 21),
        ("g", &[0], 100 + 1 + 6),
        ("h", &[], 2417 - 20 + 210_000),
        ("k", &[], 5 * 100 + 11 * 10 + 11),
        ("m", &[1], 8 + 1 + 3 + 65535),
        ("t", &[1], 1),
        ("r", &[], 3),
    ] {
        let arguments: Vec<u64> = arguments.iter().map(|&argument: &i64| argument as u64).collect();
        assert_eq!(call_unit(&unit, name, &arguments).0, Ok(expected as u64), "{name}");
    }
    // Neither a slot nor more than one copy of the data.
    let of =
        |name| crate::ir::Function::parse(&unit.functions[unit.find(name).unwrap()].ir).unwrap();
    assert_eq!((of("f").slots().len(), of("f").data_bytes.len()), (0, 60_000 * 8 + 32));
    assert_eq!((of("h").slots().len(), of("m").slots().len()), (0, 0));
    // Structs as well, with their defaults.
    let text = "struct P:\n    x: i32\n    y: i64 = N + 1\n    on: bool = true\n    fn sum() -> i64: self.x + self.y\n\
                struct B<T>:\n    at: P\n    item: T\nconst N = 4\n\
                const PS = [P(x: 1, y: 2), P { y: N, x: -3 }, P(5)]\nconst LAST = P(7, on: false)\n\
                const BS: [B<u8>; 2] = [B(at: LAST, item: 9), B(at: P(1), item: 4)]\n\
                fn f(i: i64) -> i64: PS[i].sum() * 100 + PS[i].x + (if PS[i].on: 0 else: 1)\n\
                fn g(i: i64) -> i64: BS[i].at.sum() * 10 + BS[i].item as i64\n\
                fn h() -> i64:\n    var p = LAST\n    p.x = 8\n    p.sum() * 100 + LAST.sum()\n\
                fn k() -> i64: if LAST == P(x: 7, on: false): PS.len() else: 0\n";
    let unit = unit_of(text, Mode::Compile);
    for (name, arguments, expected) in [
        ("f", &[0][..], 301),
        ("f", &[1], 100 - 3),
        ("f", &[2], 1005),
        ("g", &[0], 129),
        ("g", &[1], 64),
        ("h", &[], 1312),
        ("k", &[], 3),
    ] {
        let arguments: Vec<u64> = arguments.iter().map(|&argument: &i64| argument as u64).collect();
        assert_eq!(call_unit(&unit, name, &arguments).0, Ok(expected as u64), "{name}");
    }
    let of =
        |name| crate::ir::Function::parse(&unit.functions[unit.find(name).unwrap()].ir).unwrap();
    assert_eq!((of("f").slots().len(), of("f").data_bytes.len()), (0, 3 * 24));
    assert_eq!((of("g").slots().len(), of("g").data_bytes.len()), (0, 2 * 32));
    for (value, error) in [
        ("[P(1, x: 2)]", "2: E1405: field `x` of `P` has two values"),
        ("[P(1, z: 2)]", "2: E1304: `P` has no field `z`"),
        ("[P(y: 2)]", "2: E1405: field `x` of `P` has no value"),
        ("[P(1, 2, true, 4)]", "2: E1405: `P` has 3 fields"),
        ("[P(1.5)]", "2: E1401: expected `i32`, found `f64`"),
    ] {
        let text = std::format!(
            "const N = 4\nconst WRONG = {value}\nstruct P:\n    x: i32\n    y: i64 = N + 1\n    on: bool = true\n\
             fn f(i: i64) -> i64: WRONG[i].y\n"
        );
        assert_eq!(errors_of(&text), [error], "{value}");
    }
    // A literal without a type has that of its place.
    let text = "const XS = [1, 2]\nfn f(xs: [u8; 2]) -> u8: xs[1]\nfn g() -> i64: (f(XS) as i64) + XS[0]\n";
    assert_eq!(run(text, "g", &[]), 3);
    assert_eq!(
        errors_of("const XS = [1, 300u16, 2]\nfn f(i: i64) -> i64: XS[i]\n"),
        ["1: E1401: expected `i64`, found `u16`"]
    );
}

#[test]
fn constant_becomes_one_of_a_wider_type() {
    let text = "const A: i32 = -5\nconst B: i64 = A\nconst C: f64 = D\nconst D: f32 = 0.5\nconst XS: [u64; 2] = [E, 7]\n\
                const E: u8 = 9\nfn f(i: i64) -> i64: B + (C * 4.0) as i64 + (XS[i] as i64)\n";
    assert_eq!(run(text, "f", &[0]), 6);
    for (from, to) in [("i64", "i32"), ("i32", "u64"), ("u8", "i64"), ("f64", "f32")] {
        let text = format!("const A: {from} = 5\nconst B: {to} = A\nfn f() -> {to}: B\n");
        assert_eq!(errors_of(&text), [format!("2: E1401: expected `{to}`, found `{from}`")]);
    }
}

#[test]
fn min_and_max_of_integers_are_constants() {
    let text = "const A: i64 = min(2, 3)\nconst B = max(A, 7)\nenum E:\n    K = max(3, 9)\n\
                fn f() -> i64:\n    var xs: [i64; min(4, B)] = [1; max(A, 4)]\n    xs.len() * 100 + B * 10 + E.K as i64\n";
    assert_eq!(run(text, "f", &[]), 479);
    let method = "struct P:\n    x: i64\nimpl P:\n    fn max() -> i64: self.x\n";
    assert_eq!(run(&format!("{method}fn f() -> i64: [0; max(2, 3)].len()\n"), "f", &[]), 3);
    // Of a function of the program the value is not known.
    let own = "fn max(a: i64, b: i64) -> i64: a\n";
    let inner = "fn f() -> i64:\n    fn max(a: i64, b: i64) -> i64: a\n    [0; max(2, 3)].len()\n";
    for text in [
        &format!("{own}fn f() -> i64: [0; max(2, 3)].len()\n"),
        inner,
        "fn f() -> i64: [0; max(2, 3.5)].len()\n",
        "fn f() -> i64: [0; max(2u8, 300)].len()\n",
        "fn f() -> i64: [0; min(1, 2, 3)].len()\n",
    ] {
        let errors = errors_of(text);
        assert!(errors.iter().any(|error| error.contains("not a constant integer")), "{errors:?}");
    }
    let module = |module, text| SourceFile { name: module, module, text };
    let other_name = [
        module("t", "use d.{smallest as max}\nconst N = max(2, 3)\nfn f() -> i64: [0; N].len()\n"),
        module("d", "fn smallest(a: i64, b: i64) -> i64: if a < b: a else: b\n"),
    ];
    let compiled = compile(&other_name, Mode::Compile).unwrap();
    assert!(compiled.unit.is_none(), "{:#?}", messages(&compiled));
    let not_imported = [
        module("t", "use d.{f}\nconst N = max(2, 3)\nfn g() -> i64: [0; N].len() + f()\n"),
        module("d", "fn f() -> i64: max(1, 2)\nfn max(a: i64, b: i64) -> i64: a\n"),
    ];
    let compiled = compile(&not_imported, Mode::Compile).unwrap();
    assert!(compiled.unit.is_some(), "{:#?}", messages(&compiled));
}
