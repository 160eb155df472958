//! Arrays, and views of them.

use std::format;

use super::run::*;

#[test]
fn index_of_an_unsigned_type_does_not_count_from_the_end() {
    for ty in ["u64", "i64"] {
        let text = &std::format!(
            "fn get(index: {ty}) -> i64:\n    val a = [1, 2, 3]\n    a[index]\n\
             fn of(a: [i64], index: {ty}) -> i64: a[index]\n\
             fn view(index: {ty}) -> i64:\n    val a = [1, 2, 3]\n    of(a, index)\n"
        );
        for name in ["get", "view"] {
            assert_eq!(run(text, name, &[2]), 3, "{ty}");
            match ty {
                "u64" => assert_eq!(
                    [-1, 3].map(|i| trap_message(text, name, &[i])),
                    [
                        "index 18446744073709551615 out of range for length 3",
                        "index 3 out of range for length 3"
                    ]
                ),
                _ => assert_eq!(run(text, name, &[-1]), 3),
            }
        }
    }
}

/// Found: the constant -1 of u64 was the last element.
#[test]
fn constant_index_of_an_unsigned_type_does_not_count_from_the_end() {
    for index in ["18446744073709551615u64", "-(1u64)", "0u64 - 1u64", "~0u64", "LAST"] {
        let text = std::format!(
            "const LAST: u64 = 18446744073709551615\nfn f() -> i64:\n    val a = [1, 2, 3]\n    a[{index}]\n"
        );
        let message = "index 18446744073709551615 out of range for length 3";
        assert_eq!(trap_message(&text, "f", &[]), message, "{index}");
    }
    assert_eq!(
        run("fn f() -> i64:\n    val a = [1, 2, 3]\n    a[-(1i64)] + a[1u64]\n", "f", &[]),
        5
    );
}

#[test]
fn arrays_have_elements_and_checks() {
    let text = "fn len() -> i64:\n    val a = [0; 100000]\n    a.len + a[123]\n\
                fn one() -> i64: [1; 8][7]\n\
                fn get(i: i64) -> i64:\n    val a = [5, 9, 17, 33]\n    a[i]\n\
                fn sum() -> i64:\n    var s = 0\n    for x in [5, 9, 17, 33]: s += x\n    s\n\
                fn total(xs: [i64]) -> i64:\n    var s = 0\n    for i, x in xs: s += x * i\n    s\n\
                fn call() -> i64: total([1, 2, 3])\n\
                fn bytes() -> i64:\n    var b: [u8; 4] = [250; 4]\n    b[1] += 10\n    b[0] as i64 + b[1] as i64\n\
                fn nested() -> i64:\n    var m = [[1, 2], [3, 4]]\n    m[1][0] = 9\n    m[1][0] + m[0][1]\n";
    assert_eq!(run(text, "len", &[]), 100_000);
    assert_eq!(run(text, "one", &[]), 1);
    assert_eq!([0, 1, 2, 3, -1].map(|i| run(text, "get", &[i])), [5, 9, 17, 33, 33]);
    assert_eq!(run(text, "sum", &[]), 64);
    assert_eq!(run(text, "call", &[]), 8);
    assert_eq!(run(text, "bytes", &[]), 254);
    assert_eq!(run(text, "nested", &[]), 11);
    for index in [4, -5, i64::MAX, i64::MIN] {
        let message = std::format!("index {index} out of range for length 4");
        assert_eq!(trap_message(text, "get", &[index]), message);
    }
    let text = "fn f() -> i64:\n    val a = [1, 2, 3]\n    a[9]\n";
    assert_eq!(errors_of(text), ["3: E1407: index 9 is out of range for an array of length 3"]);
    // A named constant may be compared with the length before.
    let text = "const N = 7\nfn f() -> i64:\n    val a = [1, 2, 3]\n    if N < a.len(): a[N] else: 5\n\
                fn g() -> i64:\n    val a = [1, 2, 3]\n    a[N]\n";
    assert_eq!(run(text, "f", &[]), 5);
    assert_eq!(trap_message(text, "g", &[]), "index 7 out of range for length 3");
}

#[test]
fn insertion_sort_changes_a_copy_or_a_view() {
    let text = "fn sort(mut a: [i64]):\n    for i in 1..a.len:\n        val x = a[i]\n        var j = i\n\
                \u{20}       while j > 0 and a[j - 1] > x:\n            a[j] = a[j - 1]\n            j -= 1\n\
                \u{20}       a[j] = x\n\
                fn main():\n    var a = [5, 1, 9, 2]\n    val b = a\n    sort(a)\n    for x in a: print x\n\
                \u{20}   print b[0]\n";
    assert_eq!(output(text), "1\n2\n5\n9\n5\n");
}

/// The type parameter of the array is bound by the argument itself, before later arguments make calls.
#[test]
fn generic_function_changes_the_array_itself_whatever_the_other_arguments_are() {
    let declarations = "fn put<T>(mut a: [T], i: i64, x: T):\n    a[i] = x\n\
                        fn sum<T>(a: [T], n: i64) -> T: a[0] + a[1] + a[2]\n\
                        fn bump(mut a: [i64]) -> i64:\n    a[1] = 50\n    0\n\
                        fn by_value<T>(a: T, n: i64) -> T: a\n\
                        fn id(x: i64) -> i64: x\n\
                        fn one(mut a: [i64], x: i64):\n    a[0] = x\n\
                        struct W:\n    cells: [i64; 3]\n    rows: [[i64; 3]; 2] = [[0; 3]; 2]\n\
                        impl W:\n    me put_row(x: i64):\n        one(self.rows[self.rows.len() - 1], x)\n        self.cells[0] = self.rows[1][0]\n\
                        \u{20}   me put<T>(mut a: [T], i: i64, x: T):\n        a[i] = x\n";
    let bodies = [
        ("put(a, id(0), 9)", "a[0]", 9),
        ("put(a, a.len() - 3, 9)", "a[0]", 9),
        ("put(a, if a[0] == 1: 0 else: 1, 9)", "a[0]", 9),
        ("put(a, x: id(9), i: 0)", "a[0]", 9),
        ("put(h[1], id(0), 9)", "h[1][0] + h[0][0]", 10),
        ("put(w.cells, id(0), 9)", "w.cells[0]", 9),
        ("val n = sum(a, bump(a))", "n", 54),
        ("put(h[h.len() - 1], 0, 9)", "h[1][0]", 9),
        ("put<i64>(h[id(1)], 0, 9)", "h[1][0]", 9),
        ("one(h[id(1)], 9)", "h[1][0]", 9),
        ("one(h[if a[0] == 1: 1 else: 0], 9)", "h[1][0]", 9),
        ("one(v[v.len() - 2].cells, 9)", "v[0].cells[0] + v[1].cells[0]", 10),
        ("one(g.0[id(1)], 9)", "g.0[1][0]", 9),
        ("w.put_row(9)", "w.cells[0]", 9),
        ("val b = by_value(a, bump(a))", "b[1]", 2),
    ];
    for (statement, value, expected) in bodies {
        let text = format!(
            "{declarations}fn f() -> i64:\n    var a = [1, 2, 3]\n    var h = [[1, 2, 3], [4, 5, 6]]\n\
             \u{20}   var w = W([1, 2, 3])\n    var v = [W([1, 2, 3]), W([1, 2, 3])]\n    var g = ([[1, 2], [3, 4]], 5)\n    {statement}\n    {value}\n"
        );
        assert_eq!(run(&text, "f", &[]), expected, "{statement}");
    }
}

/// A function that is generic and one that is not get the same arrays.
#[test]
fn argument_with_branches_is_the_array_of_the_branch() {
    for params in ["(mut xs: [i64], i: i64, v: i64)", "<T>(mut xs: [T], i: i64, v: T)"] {
        let declarations = format!(
            "fn set{params}: xs[i] = v\nfn len{}: xs.len()\n",
            params
                .replace("mut ", "")
                .replace(", i: i64, v: i64", "")
                .replace(", i: i64, v: T", "")
        );
        for (statement, value, expected) in [
            ("set(if c: a else: b, 0, 9)", "a[0] * 10 + b[0]", 94),
            ("set(if not c: a else: b, 0, 9)", "a[0] * 10 + b[0]", 19),
            ("set(if not c: a elif c: h[1] else: b, 0, 9)", "h[1][0]", 9),
            ("set(if c: h[a.len() - 2] else: b, 0, 9)", "h[1][0]", 9),
            ("set(if c: (if c: b else: a) else: a, 1, 9)", "a[1] * 10 + b[1]", 29),
            ("set(if c: long else: a, 4, 9)", "long[4]", 9),
            ("set(v: 9, i: 2, xs: if c: h[0] else: a)", "h[0][2]", 9),
            ("set(if c: [7, 8] else: a, 0, 9)", "a[0]", 1),
            ("set(if c: a else: b, b.len() - 3, 9)", "a[0]", 9),
            ("pass", "len(if c: long else: a) * 10 + len(if c: a else: long)", 53),
        ] {
            let text = format!(
                "{declarations}fn f() -> i64:\n    var a = [1, 2, 3]\n    var b = [4, 5, 6]\n    \
                 var h = [[1, 2, 3], [4, 5, 6]]\n    var long = [1, 2, 3, 4, 5]\n    val c = a[0] == 1\n    \
                 {statement}\n    {value}\n"
            );
            assert_eq!(run(&text, "f", &[]), expected, "{params} {statement}");
        }
    }
}
