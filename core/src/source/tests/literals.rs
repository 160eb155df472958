//! Literals that take their types from the other arguments of a call.

use std::format;

use super::run::*;

#[test]
fn literals_in_an_argument_take_the_type_of_the_others() {
    let prelude = "struct P<T>:\n    x: T\n    y: T\nenum O<T>:\n    S(T)\n    N\n\
                   fn pick<T>(a: T, b: T) -> T: a\nfn first<T>(a: [T; 2], b: T) -> T: a[0]\n\
                   fn view<T>(a: [T], b: T) -> T: a[1]\nfn part<T>(a: (T, T), b: T) -> T: a.0\n\
                   fn parts<T, U>(a: (T, U), b: T, c: U) -> T: a.0\nfn of<T>(p: P<T>, b: T) -> T: p.y\n\
                   fn make<T>(x: i64) -> T: x as T\nfn opt<T>(o: O<T>, b: T) -> T:\n    match o:\n        \
                   case O.S(x): x\n        case O.N: b\n";
    // Of the type u8 the results wrap.
    for (call, expected) in [
        ("pick(if n > 0: 200 else: 2, n)", 144),
        ("pick(n, if n > 0: 1 else: 2)", 144),
        ("first([200, 2], n)", 144),
        ("first([200, n], n)", 144),
        ("first([if n > 0: 200 else: 1, 3], n)", 144),
        ("view([2, 200], n)", 144),
        ("part((200, 2), n)", 144),
        ("part((200, n), n)", 144),
        ("parts((200, n), n, n)", 144),
        ("of(P(x: 1, y: 200), n)", 144),
        ("of(P { x: 1, y: 200 }, n)", 144),
        ("P(x: if n > 0: 200 else: 1, y: n).x", 144),
        ("opt(O.S(200), n)", 144),
        ("opt(O<u8>.S(200), n)", 144),
        ("pick((200, 2), (n, n)).0", 144),
        ("pick([200; 3], [n; 3])[2]", 144),
        ("pick([[200, 2]], [[n, n]])[0][0]", 144),
        ("pick(pick((200, 1), (3, 4)), (n, n)).0", 144),
        ("pick(pick(200, 1), n)", 144),
        ("pick(make(200), n)", 144),
        ("pick([-1 + 201, 2], [n, n])[0]", 144),
    ] {
        let text = format!("{prelude}fn f(n: u8) -> u8: {call} + 200\n");
        assert_eq!(run(&text, "f", &[200]), expected, "{call}");
    }
    // By the type that is wanted, and else by themselves.
    for (call, expected) in [
        ("val x: (u8, u8) = pick((200, 1), (3, 4))\n    x.0 + 200", 144),
        ("val x: u8 = first([200, 2], 3)\n    x + 200", 144),
        ("val x: u8 = if n > 0: pick(if n > 1: 200 else: 2, 3) else: n\n    x + 200", 144),
        ("(pick((200, 1), (3, 4)).0 + 200) as u8", 144),
        ("(parts((200, 1.5), n as i32, 2.5) + 200) as u8", 144),
    ] {
        let text = format!("{prelude}fn f(n: u8) -> u8:\n    {call}\n");
        assert_eq!(run(&text, "f", &[200]), expected, "{call}");
    }
    // The arguments are computed from left to right all the same.
    let text = format!(
        "{prelude}fn show(x: u8) -> u8:\n    print x\n    x\nfn main():\n    \
         print pick(if show(1) == 1: 2 else: 3, show(4))\n"
    );
    assert_eq!(output(&text), "1\n4\n2\n");
}
