//! Messages: what they say, where, and that one mistake has one.

use super::run::*;

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
