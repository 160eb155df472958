//! Traps and assertions: their causes, lines and functions.

use super::*;

#[test]
fn traps_are_errors_with_a_cause_a_line_and_a_function() {
    let source = "\
fn divide(x, y): x / y
fn at(i):
    val a = [1, 2, 3]
    a[i]
fn positive(x):
    assert x > 0, \"x must be positive\"
    x
fn power(x, n): x ** n
";
    for backend in backends() {
        for level in 0..4 {
            let manager = manager(backend);
            manager.set_level(Level::from_number(level).unwrap());
            manager.compile_source("t.spl", source).unwrap();
            let error = |name, arguments: &[i64]| run(&manager, name, arguments).unwrap_err();
            assert_eq!(error("divide", &[1, 0]), "division by zero, at 1 in function `divide`");
            assert_eq!(run(&manager, "divide", &[i64::MIN, -1]), Ok(i64::MIN));
            assert_eq!(
                error("at", &[3]),
                "index 3 out of range for length 3, at 4 in function `at`"
            );
            assert_eq!(run(&manager, "at", &[-1]), Ok(3));
            assert_eq!(
                error("positive", &[0]),
                "assertion failed, at 6 in function `positive`: x must be positive"
            );
            let negative = "negative exponent, at 8 in function `power`";
            assert_eq!(error("power", &[2, -1]), negative);
            assert_eq!(run(&manager, "power", &[2, 10]), Ok(1024));
        }
    }
}

/// Signed and unsigned indices of arrays and views, also of functions that become part of their callers.
#[test]
fn traps_of_indices_state_index_and_length() {
    let source = "\
fn array(i: i64) -> i64: [10, 20, 30][i]
fn unsigned(i: u64) -> i64: [10, 20, 30][i]
fn narrow(i: i64) -> i64: [10, 20, 30][i as u8]
fn signed(i: i64) -> i64: [10, 20, 30][i as i8]
fn of_view(a: [i64], i: i64) -> i64: a[i]
fn of_view_unsigned(a: [i64], i: u64) -> i64: a[i]
fn view(i: i64) -> i64: of_view([10, 20, 30], i)
fn view_unsigned(i: u64) -> i64: of_view_unsigned([10, 20, 30], i)
fn store(i: i64) -> i64:
    var a = [10, 20, 30]
    a[i] = 5
    a[0]
fn sum(n: i64) -> i64:
    val a = [10, 20, 30]
    var all = 0
    var i = 0
    while i < n:
        all = all + a[i] * 7 + i
        i = i + 1
    all
fn nine() -> i64: array(9)
fn minus() -> i64: view(-4)
";
    let message = |name: &str, index: i128| {
        let line = source.lines().position(|line| line.starts_with(&format!("fn {name}(")));
        let line = line.unwrap() + 1;
        format!("index {index} out of range for length 3, at {line} in function `{name}`")
    };
    for (backend, level) in backends().flat_map(|b| (0..4).map(move |l| (b, l))) {
        let manager = manager(backend);
        manager.set_level(Level::from_number(level).unwrap());
        manager.compile_source("t.spl", source).unwrap();
        let error = |name, arguments: &[i64]| {
            let error = run(&manager, name, arguments).unwrap_err();
            error.split(", at").next().unwrap().to_owned()
        };
        let expect = |index: i128| format!("index {index} out of range for length 3");
        for index in [3, 4, 9, 1 << 40, i64::MAX, -4, -5, i64::MIN] {
            for name in ["array", "view", "store"] {
                assert_eq!(error(name, &[index]), expect(index.into()), "{backend:?} {level}");
            }
            for name in ["unsigned", "view_unsigned"] {
                let index = index.cast_unsigned();
                let found = error(name, &[index.cast_signed()]);
                assert_eq!(found, expect(index.into()), "{backend:?} {level}");
            }
        }
        assert_eq!(error("narrow", &[-1]), expect(255));
        assert_eq!(error("signed", &[-4]), expect(-4));
        assert_eq!(error("sum", &[4]), expect(3));
        assert_eq!(error("nine", &[]), expect(9));
        assert_eq!(error("minus", &[]), expect(-4));
        assert_eq!(run(&manager, "array", &[-3]), Ok(10));
        assert_eq!(run(&manager, "array", &[3]), Err(message("array", 3)));
    }
}

#[test]
fn assertions_of_inlined_functions_keep_their_messages() {
    let source = "\
fn check(x):
    assert x > 5, \"above 5\"
    x
fn outer(x): check(x) * 2
";
    for backend in backends() {
        for level in 0..4 {
            let manager = manager(backend);
            manager.set_level(Level::from_number(level).unwrap());
            manager.compile_source("t.spl", source).unwrap();
            assert_eq!(
                run(&manager, "outer", &[1]).unwrap_err(),
                "assertion failed, at 2 in function `check`: above 5"
            );
            assert_eq!(run(&manager, "outer", &[6]), Ok(12));
        }
    }
}

#[test]
fn functions_of_other_files_that_may_trap_are_not_inlined() {
    let library = "# no code\nfn check(x: i64) -> i64:\n    assert x > 5, \"above 5\"\n    x\n";
    scratch("inline/lib.spl", library.as_bytes());
    let main =
        "use lib.{check}\nfn outer(b: i64) -> i64:\n    assert b != 77, \"not 77\"\n    check(b)\n";
    let main = scratch("inline/main.spl", main.as_bytes());
    for backend in backends() {
        for level in 0..4 {
            let manager = manager(backend);
            manager.set_level(Level::from_number(level).unwrap());
            manager.compile_file(&main).unwrap();
            let error = |argument| run(&manager, "outer", &[argument]).unwrap_err();
            assert_eq!(error(77), "assertion failed, at 3 in function `outer`: not 77");
            if backend == BackendChoice::Native {
                assert_eq!(error(1), "assertion failed, at 3 in function `check`: above 5");
            }
        }
    }
}
