//! Source compiled in a manager.

use super::*;
use crate::source::{Mode, SourceFile};

/// Compiles a text; its diagnostics as `line: message`.
fn compile(manager: &Manager, text: &str) -> Result<Vec<String>, ManagerError> {
    let file = SourceFile { name: "t.spl", module: "t", text };
    let compiled = manager.compile_source(&[file], Mode::Manager, &NoImports)?;
    assert_eq!(compiled.unit.is_none(), !compiled.diagnostics.is_empty());
    Ok(compiled.diagnostics.iter().map(|d| format!("{}: {}", d.line, d.message)).collect())
}

#[test]
fn source_is_callable_at_every_level() {
    let text = "struct Point:\n    x: i64\n    y: i64\n\nfn sum(p: Point) -> i64: p.x + p.y\n\n\
        fn pick<T>(a: T, b: T, first: bool) -> T:\n    if first: a else: b\n\n\
        fn f(x, y):\n    sum(Point(x: x, y: pick(y, 1, true)))\n";
    for number in 0..4 {
        let manager = manager();
        manager.set_level(Level::from_number(number).unwrap());
        assert_eq!(compile(&manager, text), Ok(Vec::new()));
        assert_eq!(integer(&manager, "f", &[40, 2]), 42);
        assert!(manager.find(b"pick$i64").is_some());
    }
}

#[test]
fn values_behind_pointers_are_copied_at_every_level() {
    use crate::source::tests::pointers::{ARRAYS, TEXT, cases};
    for number in 0..4 {
        let manager = manager();
        manager.set_level(Level::from_number(number).unwrap());
        assert_eq!(compile(&manager, TEXT), Ok(Vec::new()));
        for (name, expected) in cases() {
            let mut arrays = ARRAYS;
            let [one, two] = arrays.each_mut().map(|array| array.as_mut_ptr().expose_provenance());
            let addresses = [one, two].map(|address| Value::from(address as i64));
            // SAFETY: the functions access the two arrays only, which nothing else does.
            let result = unsafe { manager.call_by_name(name.as_bytes(), &addresses) };
            assert_eq!(result.unwrap().unwrap().as_integer(), Some(expected), "{name} {number}");
        }
    }
}

#[test]
fn later_source_calls_earlier_functions_and_reaches_replacements() {
    let manager = manager();
    compile(&manager, "fn half(x: f64) -> f64: x / 2.0\nfn is_big(x): x > 100\n").unwrap();
    let later = "fn f(x: f64) -> f64:\n    fn inner(x: f64) -> f64: half(x)\n    inner(x) + half(1)\n\
        fn g(x):\n    fn inner(y): is_big(y)\n    inner(x)\n";
    assert_eq!(compile(&manager, later), Ok(Vec::new()));
    let f = |x: f64| call(&manager, "f", &[x.into()]).unwrap().unwrap().as_float();
    assert_eq!(f(3.0), Some(2.0));
    assert_eq!(call(&manager, "g", &[101i64.into()]), Ok(Some(true.into())));
    compile(&manager, "fn half(x: f64) -> f64: x * 10.0\n").unwrap();
    assert_eq!(f(3.0), Some(40.0));
    // A function of its own hides an earlier one, which others call: their signatures must agree.
    let error = compile(&manager, "fn half(x): x\nfn h(x): half(x)\n").unwrap_err();
    assert!(matches!(error, ManagerError::Signature(_)), "{error}");
    compile(&manager, "fn is_big(x): x > 5\nfn h(x): is_big(x)\n").unwrap();
    assert_eq!(call(&manager, "h", &[6i64.into()]), Ok(Some(true.into())));
}

#[test]
fn errors_are_diagnostics_and_change_nothing() {
    let manager = manager();
    compile(&manager, "fn one(): 1\nfn address(p: *const u8) -> i64: 1\n").unwrap();
    let wrong =
        "fn one(): 2\nfn f(): two()\nfn g(): one(1)\nfn h(): one() + true\nfn i(): address(1)\n";
    let expected = [
        "2: name `two` not found",
        "3: `one` has 0 parameters, found 1",
        "4: `+` has no meaning for `i64` and `bool`",
        "5: name `address` not found",
    ];
    let file = SourceFile { name: "t.spl", module: "t", text: wrong };
    let found = manager.compile_source(&[file], Mode::Manager, &NoImports).unwrap().diagnostics;
    let hint = "an earlier source has it: state its types, as in `extern fn address(numbers: [i64]) -> i64`";
    assert_eq!(found[3].note.as_deref(), Some(hint));
    let found = compile(&manager, wrong).unwrap();
    assert_eq!(found.len(), expected.len(), "{found:#?}");
    for (found, expected) in found.iter().zip(expected) {
        assert!(found.starts_with(expected), "{found}");
    }
    assert_eq!(integer(&manager, "one", &[]), 1);
    assert_eq!(manager.statistics().functions, 2);
    // Without the host's functions for printing.
    let error = compile(&manager, "fn f(): print(1)\n").unwrap_err();
    assert_eq!(error.to_string(), "function `f` calls `rt_print_i64`, which is undefined");
}

#[test]
fn names_and_defaults_of_earlier_parameters_are_stated_again() {
    let manager = manager();
    compile(&manager, "fn area(w, h = 3): w * h\n").unwrap();
    for (text, message) in [
        ("fn f(): area(2)\n", "`area` has 2 parameters, found 1 argument"),
        (
            "fn f(): area(w: 2, h: 1)\n",
            "`w` names no parameter of `area`, which was compiled before",
        ),
    ] {
        let file = SourceFile { name: "t.spl", module: "t", text };
        let compiled = manager.compile_source(&[file], Mode::Manager, &NoImports).unwrap();
        let error = &compiled.diagnostics[0];
        assert_eq!(error.message, message);
        assert_eq!(
            error.note.as_deref(),
            Some(
                "names and defaults of parameters are not kept: give all arguments, or state them in an `extern fn`"
            )
        );
    }
    let text =
        "extern fn area(w: i64, h: i64 = 4) -> i64\nfn f(): area(2) * 100 + area(h: 1, w: 2)\n";
    compile(&manager, text).unwrap();
    assert_eq!(integer(&manager, "f", &[]), 802);
}

#[test]
fn callee_of_another_unit_must_have_the_signature_of_the_call() {
    let manager = manager();
    compile(&manager, "fn one(x: f64) -> i64: 1\n").unwrap();
    let text = "extern fn one(x: i64) -> i64\nfn f(x: i64) -> i64: one(x)\n";
    let error = compile(&manager, text).unwrap_err();
    assert_eq!(error.to_string(), "function `f` calls `one`, which has another signature");
    compile(&manager, "extern fn one(x: f64) -> i64\nfn f(x: f64) -> i64: one(x)\n").unwrap();
    assert_eq!(call(&manager, "f", &[1f64.into()]), Ok(Some(1i64.into())));
}

#[test]
fn types_in_memory_must_be_those_of_the_call() {
    let manager = manager();
    let text = "struct P:\n    x: i64\n    y: [i64; 3]\nenum E:\n    A\n    B(i64)\n\
                fn sum(xs: [i64]) -> i64: xs[0] + xs[1]\nfn last(p: P) -> i64: p.y[2]\n\
                fn make() -> P: P(1, [7; 3])\nfn of(e: E) -> i64: 1\nfn ap(f: fn(i64) -> i64) -> i64: f(1)\n";
    assert_eq!(compile(&manager, text), Ok(Vec::new()));
    let refused = |declared: &str, call: &str| {
        let text = format!("{declared}\nfn c() -> i64: {call}\n");
        matches!(compile(&manager, &text), Err(ManagerError::CalleeSignature { .. }))
    };
    assert!(refused("extern fn sum(xs: [i8]) -> i64", "sum([4i8, 5i8])"));
    assert!(refused("extern fn sum(xs: text) -> i64", "sum(\"ab\")"));
    let last = |fields: &str| format!("struct P:\n    {fields}\nextern fn last(p: P) -> i64");
    assert!(refused(&last("x: i8"), "last(P(1))"));
    assert!(refused(&last("x: i64\n    y: [i64; 2]"), "last(P(1, [1, 2]))"));
    assert!(refused("struct P:\n    x: i8\nextern fn make() -> P", "make().x as i64"));
    assert!(refused("enum E:\n    B(i64)\n    A\nextern fn of(e: E) -> i64", "of(E.A)"));
    assert!(refused("fn g(x: f64) -> f64: x\nextern fn ap(f: fn(f64) -> f64) -> i64", "ap(g)"));
    // The name of a struct does not matter.
    let text = "struct Q:\n    x: i64\n    y: [i64; 3]\nextern fn last(q: Q) -> i64\nextern fn sum(xs: [i64]) -> i64\n\
                fn d() -> i64: last(Q(1, [1, 2, 3])) + sum([4, 5])\n";
    assert_eq!(compile(&manager, text), Ok(Vec::new()));
    assert_eq!(integer(&manager, "d", &[]), 12);
    // Each file of a program declares it.
    fn declared<'t>(name: &'t str, text: &'t str) -> SourceFile<'t> {
        SourceFile { name, module: name, text }
    }
    let one = "use b\nextern fn sum(xs: [i64]) -> i64\nfn e() -> i64: sum([1, 2]) + b.g()\n";
    let other = "extern fn sum(xs: [i8]) -> i64\nfn g() -> i64: sum([1i8, 2i8])\n";
    for element in ["i8", "i64"] {
        let other = other.replace("i8", element);
        let files = [declared("a", one), declared("b", &other)];
        let compiled = manager.compile_source(&files, Mode::Manager, &NoImports);
        assert_eq!(compiled.is_ok(), element == "i64", "{compiled:?}");
    }
    // Callers keep the version that they were compiled for.
    let error = compile(&manager, "fn sum(xs: [i8]) -> i64: 0\n").unwrap_err();
    assert!(matches!(error, ManagerError::Signature(_)), "{error}");
    assert_eq!(compile(&manager, "fn sum(xs: [i64]) -> i64: xs[0]\n"), Ok(Vec::new()));
    assert_eq!(integer(&manager, "d", &[]), 7);
}
