//! Messages that propose what may be meant: a similar name, the form of this language, a remedy.

use super::messages::{mark, marked};
use super::run::*;
use crate::source::{Mode, SourceFile, compile};
use std::format;
use std::string::String;
use std::vec::Vec;

#[test]
fn name_of_an_imported_module_is_proposed() {
    let files = [
        file("use lib\nfn f() -> i64: twice(2)\n"),
        SourceFile { name: "lib", module: "lib", text: "fn twice(x: i64) -> i64: x * 2\n" },
    ];
    let found = compile(&files, Mode::Compile).unwrap().diagnostics;
    assert_eq!(found[0].message, "name `twice` not found");
    assert_eq!(found[0].note.as_deref(), Some("write `lib.twice`"));
}

#[test]
fn forms_of_other_languages_have_a_hint() {
    let choice = "(a choice is `if c: a else: b`)";
    let lambda = "(a lambda is not supported: pass a named function)";
    let exceptions = "(there are no exceptions; return a bool or an enum)";
    let mut wrong = Vec::new();
    for (body, expected) in [
        ("x === 3", "=: `===` is not supported: Simple does not have it (write `==`)".into()),
        ("x !== 3", "=: `!==` is not supported: Simple does not have it (write `!=`)".into()),
        ("// a comment", "//: a comment starts with `#`, not with `//`".into()),
        ("val y = 5 if x > 0 else 6", format!("if: expected the end of the line, found `if` {choice}")),
        (
            "val p = new P(1)",
            "P: expected the end of the line, found `P` (a struct is made as `P(x: 1)`, without `new`)".into(),
        ),
        ("println!(\"x\")", "!: a macro `f!(...)` is not supported: it is outside of the subset (call a function, without `!`: `print(x)`)".into()),
        ("int y = 3", "int: `int` starts no statement (a variable is declared with `val` or `var`, and a function with `fn`)".into()),
        ("del x", "del: `del` starts no statement (a variable ends with its block)".into()),
        ("repeat 3:\n        pass", "repeat: `repeat` starts no statement (write `for i in 0..n:`)".into()),
        ("unless x > 3:\n        pass", "unless: `unless` starts no statement (write `if not (c):`)".into()),
        ("guard x > 3 else: return", "guard: `guard` starts no statement (write `if not (c): return`)".into()),
        ("outer: for i in 0..3: pass", "outer: `outer` starts no statement (a label is written `'outer`)".into()),
        ("if x = 3: pass", "=: expected `:` behind the condition, found `=` (a comparison is `==`)".into()),
        ("val y = (f64)x", "x: expected the end of the line, found `x` (a conversion is `x as f64`)".into()),
        ("for (int i = 0; i < 3; i++):\n        pass", "i: expected `)`, found `i` (a type stands behind the name, as in `x: i64`; a loop is `for i in 0..n:`)".into()),
        ("val y = x mod 3", "mod: expected the end of the line, found `mod` (the remainder is `a % b`)".into()),
        ("for i in range(0, 10, 3): pass", "range(0, 10, 3): `range` has one or two arguments (a loop with another step is `while`)".into()),
        ("for i in 0..10 step 3: pass", "step: expected `:` behind the values of the loop, found `step` (a loop with another step is `while`)".into()),
        ("match x:\n        case x > 3: pass\n        case _: pass", ">: expected `:` behind the pattern, found `>` (a condition stands behind `if`, as in `case x if x > 3:`)".into()),
        ("val ä = 3", "ä: a name starts with a letter of ASCII or `_`".into()),
        (
            "val l = lambda y: y",
            format!("y: expected the end of the line, found `y` {lambda}"),
        ),
        ("val l = (x) => x", format!("=>: expected the end of the line, found `=>` {lambda}")),
        ("except:\n        pass", format!("except: `except` starts no statement {exceptions}")),
        ("do:\n        pass", "do: `do` starts no statement (write `loop:` or `while c:`)".into()),
        (
            "new P(1)",
            "new: `new` starts no statement (a struct is made as `P(x: 1)`, without `new`)".into(),
        ),
        (
            "until:\n        pass",
            "until: `until` starts no statement (a block starts with `if`, `match`, `for`, `while` or `loop`)".into(),
        ),
    ] {
        let found = marked(&format!("fn f(x: i64):\n    {body}\n"));
        if found != [String::as_str(&expected)] {
            wrong.push(format!("{body}\n{found:#?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    for (text, expected) in [
        (
            "fn f(x: i64): i64:\n    x\nprint f(2)\n",
            ":: the type of the result stands behind `->` (write `-> i64`)",
        ),
        ("fn f(x: i64): loop: return x\n", ""),
        (
            "fn f[T](x: T) -> T: x\n",
            "[: expected `(` and the parameters, found `[` (type parameters are `<T>`)",
        ),
        (
            "struct P:\n    x: i64\n    fn f(&self) -> i64: self.x\n",
            "&: expected a parameter, found `&` (`self` is not declared: a method is `fn name()`, or `me name()` if it changes `self`)",
        ),
        (
            "use a.b\nprint b.f(2)\n",
            "use a.b: module `a.b` not found (its file is `a/b.spl`, below the directory of the program or of this file)",
        ),
    ] {
        let found = marked(text);
        assert!(
            found.iter().map(|found| &**found).eq([expected].into_iter().filter(|e| !e.is_empty())),
            "{found:?}"
        );
    }
    assert_eq!(
        errors_of("from lib import f\nprint f(2)\n")[0],
        "1: E1101: expected the end of the line, found `import`"
    );
    assert_eq!(
        marked("static fn main(): pass\n"),
        [
            "static: `static fn` outside of a type is not supported: a function that belongs to no type is declared with `fn`"
        ]
    );
    for text in
        ["fn f(x: i64) -> i64:\n    if x > 0: 1\n", "fn f(x: i64):\n    val y: i64 = if x > 0: 1\n"]
    {
        let found = marked(text);
        let expected =
            "if x > 0: 1: expected `i64`, found `()` (an `if` has a value if it has an `else`)";
        assert_eq!(found, [expected], "{text}");
    }
    let found = errors_of("fn none<T>() -> i64: 1\nfn f() -> i64: none()\n");
    assert_eq!(found, ["2: E-MONO-032: the type arguments of `none` are not known"]);
    let head = "fn f(c: bool, n: i64) -> i64:\n    ";
    for (body, expected) in [
        ("if c: \"a\" else: 3\n", "2: E1401: expected `i64`, found `text`"),
        ("if c: 3 else: \"a\"\n", "2: E1401: expected `i64`, found `text`"),
        ("val x: i64 = if c: \"a\" elif n > 1: 2 else: 3\n    x\n", ""),
        ("match n:\n        case 1: \"a\"\n        case 2: 2\n        case _: n\n", ""),
        ("val x = match n:\n        case 1: \"a\"\n        case _: n\n    n\n", ""),
    ] {
        let found = errors_of(&format!("{head}{body}"));
        assert_eq!(found.len(), 1, "{body}{found:?}");
        assert!(found[0].ends_with(expected), "{body}{found:?}");
    }
}

#[test]
fn equality_that_a_type_does_not_have_has_a_proposal() {
    let head = "enum E:\n    A(i64)\n    B\nfn f(a: E, x: [i64; 2], n: i64) -> bool: ";
    for (body, note) in [
        ("a == E.B", Some("a variant is tested by `x is E.A`, or by `match`")),
        ("x != x", Some("compare the elements in a loop")),
        ("a < a", None),
    ] {
        let found = compiled(&format!("{head}{body}\n"), Mode::Compile).diagnostics;
        assert_eq!(found.iter().map(|d| d.note.as_deref()).collect::<Vec<_>>(), [note], "{body}");
    }
    let found = compiled("fn f(n: i64):\n    for i in n: print i\n", Mode::Compile).diagnostics;
    assert_eq!(found[0].note.as_deref(), Some("a loop that counts is `for i in 0..n:`"));
}

#[test]
fn assignment_to_several_names_has_a_remedy() {
    for assignment in ["a, b = b, a", "(a, b) = (b, a)"] {
        let text = format!("fn f():\n    var a = 1\n    var b = 2\n    {assignment}\n");
        let found = compiled(&text, Mode::Compile).diagnostics;
        let note = found[0].note.as_deref().unwrap_or_default();
        assert!(note.ends_with("; an assignment has one name, as in `a = x`"), "{note}");
    }
}

#[test]
fn similar_name_is_proposed_for_all_kinds_of_names() {
    let head = "fn average(x: i64) -> i64: x\nconst LIMIT = 3\nstruct P:\n    xpos: i64\n    fn length() -> i64: self.xpos\n\
                enum Color:\n    Red\n    Green(shade: i64)\n";
    let mut wrong = Vec::new();
    for (body, expected) in [
        ("avrage(3)", "avrage: name `avrage` not found (a similar name is `average`)"),
        ("LIMTI", "LIMTI: name `LIMTI` not found (a similar name is `LIMIT`)"),
        ("prnit(3)", "prnit: name `prnit` not found (a similar name is `print`)"),
        ("p.xps", "p.xps: type `P` has no field `xps` (a similar name is `xpos`)"),
        ("p.xps = 3", "p.xps: type `P` has no field `xps` (a similar name is `xpos`)"),
        ("p.lenght()", "p.lenght(): type `P` has no method `lenght` (a similar name is `length`)"),
        (
            "[1].lenght()",
            "[1].lenght(): type `[i64; 1]` has no method `lenght` (a similar name is `length`)",
        ),
        ("average(xx: 2)", "xx: `average` has no parameter `xx`"),
        ("P(xpoz: 1)", "xpoz: `P` has no field `xpoz` (a similar name is `xpos`)"),
        (
            "Color.Gren(2)",
            "Color.Gren(2): `Color` has no variant `Gren` (a similar name is `Green`)",
        ),
        ("Color.Rad", "Color.Rad: `Color` has no variant `Rad` (a similar name is `Red`)"),
        (
            "c is Color.Rad",
            "Color.Rad: `Color.Rad` is no variant of `Color` (a similar name is `Red`)",
        ),
        ("c is Grene(_)", "Grene(_): `Grene` is no variant of `Color` (a similar name is `Green`)"),
        (
            "scale(factro: 2)",
            "factro: `scale` has no parameter `factro` (a similar name is `factor`)",
        ),
    ] {
        let text = format!(
            "{head}fn scale(factor: i64) -> i64: factor\nfn f(c: Color):\n    var p = P(xpos: 1)\n    {body}\n"
        );
        let found = marked(&text);
        if found != [expected] {
            wrong.push(format!("{body}\n{found:#?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let lib = SourceFile { name: "b.spl", module: "a.b", text: "fn max3(x: i64) -> i64: x\n" };
    for body in ["b.max4(1)", "b.max4"] {
        let text = format!("use a.b\nfn f(x: i64) -> i64: {body}\n");
        let found = compile(&[file(&text), lib], Mode::Compile).unwrap().diagnostics;
        let found: Vec<_> = found.iter().map(mark).collect();
        let expected = "module `a.b` declares no `max4` (a similar name is `max3`)";
        assert_eq!(found, [format!("{body}: {expected}")]);
    }
}

#[test]
fn generic_implementation_and_variant_have_a_note_that_works() {
    let types = "struct Box<T>:\n    v: T\nenum Opt<T>:\n    Some(v: T)\n    None\nenum Either<A, B>:\n    Left(A)\n    Right(B)\n    No\n";
    let tail = "fn get() -> T: self.v\nfn f(b: Box<i64>) -> i64: b.get() + Box(v: 3).get()\n";
    let found = marked(&format!("{types}impl Box<T>:\n    {tail}"));
    let expected =
        "Box<T>: the type parameters of `Box<T>` are not declared (write `impl<T> Box<T>:`)";
    assert_eq!(found, [expected]);
    assert_eq!(errors_of(&format!("{types}impl<T> Box<T>:\n    {tail}")), [""; 0]);
    let text = format!(
        "{types}impl Box<i64>:\n    fn get() -> i64: self.v\nfn f() -> i64: Box(v: 3).get()\n"
    );
    assert_eq!(run(&text, "f", &[]), 3);
    for (value, note) in [
        ("Opt.None", "write `Opt<i64>.None`, or declare the type, as in `val x: Opt<i64>`"),
        (
            "Either.No",
            "write `Either<i64, i64>.No`, or declare the type, as in `val x: Either<i64, i64>`",
        ),
        (
            "Either.Left(3)",
            "write `Either<i64, i64>.Left`, or declare the type, as in `val x: Either<i64, i64>`",
        ),
    ] {
        let text = format!("{types}fn f():\n    val x = {value}\n");
        let found = compiled(&text, Mode::Compile).diagnostics.remove(0).note;
        assert_eq!(found.as_deref(), Some(note));
    }
    for line in
        ["val x = Opt<i64>.None", "val x: Opt<i64> = Opt.None", "val x = Either<i64, i64>.Left(3)"]
    {
        assert_eq!(errors_of(&format!("{types}fn f():\n    {line}\n")), [""; 0], "{line}");
    }
}

#[test]
fn uses_of_what_another_language_declares_are_no_errors() {
    let starts = |word: &str| format!("1: E1101: `{word}` starts no statement");
    for (text, expected) in [
        ("def f(x: int) -> int:\n    return x + 1\nprint f(2)\n", starts("def")),
        ("int f(int x) { return x + 1; }\nprint f(2)\n", starts("int")),
        ("x: int = 3\nprint x, x + 1\n", starts("x")),
        ("outer: for i in 0..3:\n    break outer\nprint 3\n", starts("outer")),
        (
            "a, b = g()\nprint a, b\nfn g() -> (i64, i64): (1, 2)\n",
            "1: E1101: expected the end of the line, found `,`".into(),
        ),
        (
            "fn g(a: i64) -> i64:\nval c = a + 1\nreturn c\nfn f() -> i64: g(1)\n",
            "1: E1101: expected an indented block, found the end of the line".into(),
        ),
        (
            "fn f() -> i64:\n    y = 3\n    y += 1\n    y + y\n",
            "2: E1301: name `y` not found".into(),
        ),
        (
            "fn f() -> i64:\n    val g = |x| x + 1\n    g(2)\n",
            "2: E1201: a lambda is not supported: it needs an environment object; pass a named function".into(),
        ),
        ("fn f():\n    print\n", "2: E1301: `print` is a function, not a value".into()),
    ] {
        assert_eq!(errors_of(text), [expected], "{text}");
    }
}

#[test]
fn increment_and_decrement_are_refused_and_end_their_line() {
    let minus = "E1201: `--` is not supported: Simple does not have it";
    let plus = "E1201: `++` is not supported: Simple does not have it";
    for (line, expected) in
        [("i--", minus), ("--i", minus), ("val j = --i", minus), ("i++", plus), ("++i", plus)]
    {
        let text =
            format!("fn f() -> i64:\n    var i = 5\n    {line}\n    i\n    print i\n    i\n");
        assert_eq!(errors_of(&text), [format!("3: {expected}")], "{line}");
        let found = compiled(&text, Mode::Compile).diagnostics.remove(0).note;
        let operator = if line.contains('-') { '-' } else { '+' };
        assert_eq!(found, Some(format!("write `x {operator}= 1`")), "{line}");
    }
    for (expression, value) in [("5--3", 8), ("5 - -3", 8), ("- -3", 3)] {
        assert_eq!(super::run::value(expression), value, "{expression}");
    }
}
