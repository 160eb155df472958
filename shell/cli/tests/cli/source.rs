//! Simple source in the command: run, check, eval.

use std::path::Path;
use std::process::Command;

use super::{contains, fails, is_misused, ok, scratch, smf, text};

/// The back ends of source that every build has.
const BACKENDS: [&str; 2] = ["native", "interpret"];

/// The programs whose output is beside them.
fn programs() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/programs/simple")
}

/// Writes a file; its path.
fn source(directory: &Path, name: &str, text: &str) -> String {
    let path = directory.join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

/// The output of `smf run` on every back end, and at every level.
#[track_caller]
fn runs(file: &str, arguments: &[&str], expected: &str) {
    for backend in BACKENDS {
        for level in ["0", "1", "2", "3"] {
            let mut args = vec!["run", file];
            args.extend(arguments);
            args.extend(["--backend", backend, "--opt", level]);
            assert_eq!(ok(&args), format!("{expected}\n"), "{args:?}");
        }
    }
}

/// The error of `smf run` on every back end.
#[track_caller]
fn traps(file: &str, arguments: &[&str], expected: &str) {
    for backend in BACKENDS {
        let mut args = vec!["run", file];
        args.extend(arguments);
        args.extend(["--backend", backend]);
        assert_eq!(fails(&args), format!("error: {expected}\n"), "{args:?}");
    }
}

#[test]
fn programs_print_as_their_outputs_state() {
    let mut count = 0;
    for entry in std::fs::read_dir(programs()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "spl") {
            continue;
        }
        let expected = std::fs::read_to_string(path.with_extension("out")).unwrap();
        for backend in BACKENDS {
            for level in ["0", "2"] {
                let args = ["run", path.to_str().unwrap(), "--backend", backend, "--opt", level];
                let output = smf(&args);
                assert_eq!(text(&output.stderr), "", "{args:?}");
                let status = format!("status {}\n", output.status.code().unwrap());
                assert_eq!(text(&output.stdout) + &status, expected, "{args:?}");
            }
        }
        count += 1;
    }
    assert_eq!(count, 10);
}

#[test]
fn result_of_main_is_the_exit_status() {
    let directory = scratch("source-main");
    let status = |name: &str, text: &str, args: &[&str]| {
        let file = source(&directory, name, text);
        let mut all = vec!["run", &*file];
        all.extend(args);
        let output = smf(&all);
        (output.status.code().unwrap(), self::text(&output.stdout))
    };
    assert_eq!(status("a.spl", "fn main() -> i64: 42\n", &[]), (42, "42\n".into()));
    assert_eq!(status("b.spl", "fn main() -> i64: 256 + 7\n", &[]), (7, "263\n".into()));
    assert_eq!(status("c.spl", "fn main(): print 1\n", &[]), (0, "1\n".into()));
    assert_eq!(status("d.spl", "print_raw 6\n", &[]), (0, "6".into()));
    let text = "fn f() -> i64: 3\nfn g() -> f64: 1\nfn h() -> text: \"a b\"\n";
    assert_eq!(status("e.spl", text, &["f"]), (0, "3\n".into()));
    assert_eq!(status("e.spl", text, &["f", "--exit"]), (3, "3\n".into()));
    assert_eq!(status("e.spl", text, &["g"]), (0, "1.0\n".into()));
    assert_eq!(status("e.spl", text, &["h", "--interpret"]), (0, "a b\n".into()));
    assert_eq!(status("e.spl", text, &["h"]), (0, "a b\n".into()));
    assert_eq!(status("e.spl", text, &["f", "--returns", "i64"]), (0, "3\n".into()));
    let file = source(&directory, "script", "#!/usr/bin/env -S smf run\nprint \"script\"\n");
    assert_eq!(ok(&["run", &file]), "script\n");
    let timed = smf(&["run", &file, "--time"]);
    contains(&self::text(&timed.stderr), &["time: compile ", "generate ", "call "]);
}

#[test]
fn arguments_have_the_types_of_the_parameters() {
    let directory = scratch("source-arguments");
    let text = "fn half(x: f64) -> f64: x / 2\nfn small(x: i8, y: u8) -> i64: (x as i64) + (y as i64)\n\
        fn sum(a: [i64]) -> i64:\n    var s = 0\n    for x in a: s += x\n    s\n\
        fn last(a: [u8; 3]) -> u8: a[2]\nfn both(a: bool, b: bool) -> bool: a and b\n\
        fn show(t: text):\n    print t\n\
        fn bump(mut a: [i64]):\n    a[0] += 1\nstruct P:\n    x: i64\nfn of(p: P) -> i64: p.x\n";
    let file = source(&directory, "a.spl", text);
    runs(&file, &["half", "3"], "1.5");
    runs(&file, &["half", "f64:3"], "1.5");
    runs(&file, &["small", "-128", "255"], "127");
    runs(&file, &["sum", "i64:1,2,3"], "6");
    runs(&file, &["sum", "1,2,39"], "42");
    runs(&file, &["last", "u8:1,2,3"], "3");
    runs(&file, &["both", "true", "false"], "false");
    runs(&file, &["show", "str:a b"], "a b");
    for (args, expected) in [
        (&["half", "x"][..], "argument 1 `x`: `x` is not a valid f64"),
        (&["half", "i64:1"], "is not a value of type f64"),
        (&["small", "256", "1"][..], "`256` is not a valid i8"),
        (&["last", "1,2"], "the array has 3 elements, and 2 are given"),
        (&["of", "1"], "a value of type `P` cannot be given on the command line"),
    ] {
        let mut all = vec!["run", &*file];
        all.extend(args);
        let output = smf(&all);
        assert_eq!(output.status.code(), Some(2));
        contains(&self::text(&output.stderr), &[expected]);
    }
    contains(&fails(&["run", &file, "none"]), &["no function `none`; it has `half`, `small`"]);
    contains(&fails(&["run", &file]), &["no function `main` and no statements at the top level"]);
}

#[test]
fn generic_functions_and_default_arguments_are_called_by_name() {
    let directory = scratch("source-generic-call");
    let text = "fn least<T>(a: T, b: T) -> T:\n    if a < b: a else: b\n\
        fn sum<T>(xs: [T], start: T) -> T:\n    var s = start\n    for x in xs: s += x\n    s\n\
        fn nothing<T>() -> i64: 1\nfn div<T>(a: T, b: T) -> T: a / b\n\
        fn calc(a, b=2, c=3): a + b * c\nfn of_float(x: f64 = 2.5) -> f64: x * 2\n\
        struct P:\n    x: i64\nimpl P:\n    static fn twice(n: i64 = 4) -> i64: n * 2\n\
        fn fill(mut xs: [u8], with: u8 = 7):\n    for i in 0..xs.len: xs[i] = with\n";
    let file = source(&directory, "a.spl", text);
    runs(&file, &["least", "3", "2"], "2");
    runs(&file, &["least", "1.5", "2"], "1.5");
    runs(&file, &["least", "3", "2.5"], "2.5");
    runs(&file, &["least", "u8:200", "100"], "100");
    runs(&file, &["least<f64>", "1", "2"], "1.0");
    runs(&file, &["least$f32", "1", "2"], "1.0");
    runs(&file, &["sum", "u8:200,100", "0"], "44");
    runs(&file, &["sum<i64>", "1,2,39", "0"], "42");
    runs(&file, &["sum", "1,2,39", "0"], "42");
    runs(&file, &["sum", "7", "0"], "7");
    runs(&file, &["sum", "1,2.5", "0"], "3.5");
    runs(&file, &["calc", "1"], "7");
    runs(&file, &["calc", "1", "10"], "31");
    runs(&file, &["of_float"], "5.0");
    runs(&file, &["P.twice"], "8");
    runs(&file, &["fill", "buf:2"], "u8:7,7");
    source(
        &directory,
        "lib.spl",
        "fn pick<T>(a: T, b: T, first: bool = true) -> T: if first: a else: b\nfn plus(a: i64, b: i64 = 1) -> i64: a + b\n\
         struct S:\n    x: i64\n",
    );
    let user = source(
        &directory,
        "user.spl",
        "use lib\nstruct S:\n    x: u8\nfn plus(a, b = lib.plus(1)): a - b\nfn next<T>(n: i64) -> i64: n + 1\n",
    );
    runs(&user, &["next<lib.S>", "4"], "5");
    runs(&user, &["next<S>", "4"], "5");
    runs(&user, &["pick", "1", "2"], "1");
    runs(&user, &["pick", "1", "2", "false"], "2");
    runs(&user, &["plus", "1"], "-1");
    runs(&user, &["lib.plus", "1"], "2");
    traps(
        &file,
        &["div", "1", "0"],
        &format!("division by zero in function `div$i64` at {file}:8:29"),
    );
    for (args, expected) in [
        (&["nothing"][..], "type parameter `T`: write the type arguments, as in `nothing<T>`"),
        (&["least", "1.5", "true"], "argument 2: expected `f64`, found `bool`"),
        (&["sum", "true", "0"], "argument 1: expected `[T]`, found `bool`"),
        (&["least", "1", "2", "3"], "it has 2 parameters"),
        (&["least<bool>", "true", "false"], "function `least<bool>`: "),
        (&["least<i64, i64>", "1", "2"], "1 type parameter, and 2 types are given"),
        (&["least<i64", "1", "2"], "missing `>`"),
        (&["least", "1"], "function `least$i64` takes 2 arguments, and 1 is given"),
        (&["calc"], "function `calc` takes 3 arguments, and 0 are given"),
    ] {
        contains(&is_misused(&[&["run", &*file], args].concat()), &[expected]);
    }
    contains(&fails(&["run", &file, "greatest<f64>", "1"]), &["no function `greatest<f64>`"]);
}

#[test]
fn trap_names_the_error_the_function_and_the_place() {
    let directory = scratch("source-traps");
    let text = "fn div(a, b):\n    val c = a + 1\n    c / b\n\
        fn at(i) -> i64:\n    val a = [1, 2, 3]\n    a[0] + a[i]\n\
        fn check(x):\n    assert x > 0, \"x is positive\"\n    assert x < 9\n    x\n\
        fn power(n): 2 ** n\nfn inner(x): 10 / x\nfn outer(x):\n    val y = x + 1\n    inner(x) + y\n\
        fn deep(n) -> i64: deep(n + 1) + 1\nfn tail(n) -> i64: if n == 0: 0 else: tail(n - 1)\n\
        fn half(x): x / 2\nfn called(x):\n    assert half(x) > 3, \"half of x\"\n    x\n";
    let file = source(&directory, "t.spl", text);
    let place = |rest: &str| format!("{file}:{rest}");
    traps(
        &file,
        &["div", "1", "0"],
        &format!("division by zero in function `div` at {}", place("3:5")),
    );
    traps(
        &file,
        &["at", "9"],
        &format!("index 9 out of range for length 3 in function `at` at {}", place("6:12")),
    );
    traps(
        &file,
        &["check", "0"],
        &format!("assertion failed: x is positive in function `check` at {}", place("8:5")),
    );
    traps(
        &file,
        &["check", "9"],
        &format!("assertion failed in function `check` at {}", place("9:5")),
    );
    traps(
        &file,
        &["called", "6"],
        &format!("assertion failed: half of x in function `called` at {}", place("20:5")),
    );
    traps(
        &file,
        &["power", "-1"],
        &format!("negative exponent in function `power` at {}", place("11:14")),
    );
    traps(
        &file,
        &["outer", "0"],
        &format!("division by zero in function `inner` at {}", place("12:14")),
    );
    for name in ["deep", "tail"] {
        let expected =
            format!("the stack is exhausted in function `{name}`: calls nest too deeply");
        traps(&file, &[name, "100000000"], &expected);
    }
    // Two instances became part of `both`, and either may have trapped.
    let text = "fn rest<T: Int>(p: T) -> T:\n    100 % p\nfn both(a: u16, b: u32) -> u32:\n    val x = rest(a)\n    rest(b) + (x as u32)\n";
    let file = source(&directory, "g.spl", text);
    for (level, function) in [("0", " in function `rest$u32`"), ("2", "")] {
        let error = fails(&["run", "--opt", level, &file, "both", "7", "0"]);
        assert_eq!(error, format!("error: division by zero{function} at {file}:2:5\n"));
    }
    // What was printed before is not lost.
    let file = source(&directory, "p.spl", "fn f(x):\n    print_raw \"before\"\n    1 / x\n");
    let output = smf(&["run", &file, "f", "0"]);
    assert_eq!((output.status.code(), self::text(&output.stdout)), (Some(1), "before".into()));
}

#[test]
fn recursion_without_end_exhausts_the_stack_at_every_level_of_every_back_end() {
    let directory = scratch("source-recursion");
    let text = "fn rec(n: i64) -> i64: rec(n + 1) + 1\nfn tail(n: i64) -> i64: tail(n + 1)\n\
        fn odd(n: i64) -> i64: even(n + 1)\nfn even(n: i64) -> i64: odd(n + 1)\n";
    let file = source(&directory, "r.spl", text);
    let optional = [("cranelift", cfg!(feature = "cranelift")), ("llvm", cfg!(feature = "llvm"))];
    let optional = optional.into_iter().filter(|(_, is_built_in)| *is_built_in);
    for backend in BACKENDS.into_iter().chain(optional.map(|(backend, _)| backend)) {
        for level in ["0", "1", "2", "3"] {
            for name in ["rec", "tail", "odd"] {
                let args = ["run", &file, name, "1", "--backend", backend, "--opt", level];
                let error = fails(&args);
                let expected = "error: the stack is exhausted in function `";
                assert!(error.starts_with(expected), "{args:?}: {error}");
            }
        }
    }
}

#[test]
fn interpreter_passes_memory_of_locals_to_functions_of_the_host() {
    let directory = scratch("source-extern-addresses");
    let text = "extern fn strnlen(bytes: [u8]) -> u64\nextern fn labs(x: i64) -> i64\n\
        fn local(n: u8) -> u64:\n    val bytes = [n, n, 0u8]\n    strnlen(bytes)\n\
        fn given(bytes: [u8]) -> u64: strnlen(bytes)\n";
    let file = source(&directory, "a.spl", text);
    let library = "struct Pair:\n    a: i64\n    b: i64\n\
        fn sign(x: i64) -> text: if x < 0: \"below\" else: \"above\"\n\
        fn swapped(p: Pair) -> Pair: Pair(a: p.b, b: p.a)\n\
        fn clear(mut xs: [i64]): xs[1] = 0\n";
    let library = source(&directory, "lib.spl", library);
    let module = format!("{}/lib.smf", directory.display());
    ok(&["compile", &library, "-o", &module]);
    let text = "struct Pair:\n    a: i64\n    b: i64\nextern fn sign(x: i64) -> text\n\
        extern fn swapped(p: Pair) -> Pair\nextern fn clear(mut xs: [i64])\n\
        fn f(x: i64) -> text:\n    val p = swapped(Pair(a: x, b: 5))\n    var xs = [x, x]\n\
        \x20   clear(xs)\n    print sign(x - 3), p.a, p.b, xs[0], xs[1]\n    sign(x)\n";
    let app = source(&directory, "app.spl", text);
    for backend in BACKENDS {
        for call in [["local", "7"], ["given", "1,2,0,3"]] {
            let host = ["--host-symbols", "--backend", backend];
            assert_eq!(ok(&[&["run", &file], &call[..], &host].concat()), "2\n");
        }
        let found = ok(&["run", &app, "f", "2", "--with", &module, "--backend", backend]);
        assert_eq!(found, "below 5 2 2 0\nabove\n");
    }
}

#[test]
fn interpreter_passes_no_addresses_of_its_own_to_functions_of_the_host() {
    let directory = scratch("source-extern-own-addresses");
    let text = "struct Named:\n    name: text\nextern fn strnlen(named: Named, n: u64) -> u64\n\
        extern fn strlen(f: fn(u64) -> u64) -> u64\nfn same(n: u64): n\n\
        fn once(n: u64) -> u64: strlen(same)\n\
        fn twice(n: u64) -> u64:\n    val named = Named(name: \"a\")\n    strnlen(named, n) +\n        strnlen(named, n)\n";
    let file = source(&directory, "a.spl", text);
    for (call, symbol, places) in
        [("once", "strlen", "6:25"), ("twice", "strnlen", "9:5 or FILE:10:9")]
    {
        let args = ["run", &file, call, "0", "--host-symbols", "--backend"];
        let places = places.replace("FILE", &file);
        let error = format!(
            "error: the interpreter cannot pass the address of a function, or of locals with texts or functions, to the external function `{symbol}`, in function `{call}` at {file}:{places}; use another back end\n"
        );
        assert_eq!(fails(&[&args[..], &["interpret"]].concat()), error);
    }
}

#[test]
fn compile_errors_have_code_place_line_and_caret() {
    let directory = scratch("source-errors");
    let text = "fn f() -> bool: \"hello\"\nfn g(x: bool) -> i64: 1\nfn h() -> i64: g(3)\n\
        fn i() -> i64:\n    val count = 1\n    cout\nfn j(x: i64): x + )\n";
    source(&directory, "bad.spl", text);
    let run = |args: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_smf"));
        command.args(args).current_dir(&directory).output().unwrap()
    };
    let output = run(&["run", "bad.spl", "f"]);
    assert_eq!((output.status.code(), self::text(&output.stdout)), (Some(1), String::new()));
    let errors = self::text(&output.stderr);
    contains(
        &errors,
        &[
            "error[E1401]: ",
            "  --> bad.spl:1:17\n   |\n 1 | fn f() -> bool: \"hello\"\n   |                 ^^^^^^^",
            "--> bad.spl:3:18",
            "error[E1301]: name `cout` not found\n  --> bad.spl:6:5",
            "= note: a similar name is `count`",
            "error[E1101]: ",
            "--> bad.spl:7:",
        ],
    );
    let output = run(&["check", "bad.spl"]);
    assert_eq!(
        (output.status.code(), self::text(&output.stdout)),
        (Some(1), "bad.spl: 4 errors\n".into())
    );
    assert_eq!(self::text(&output.stderr), errors);
    let output = run(&["check", "--json", "absent.spl"]);
    let line: serde_json::Value = serde_json::from_str(&self::text(&output.stdout)).unwrap();
    assert_eq!((&line["severity"], &line["code"]), (&"error".into(), &"E1303".into()));
    assert_eq!((&line["file"], output.status.code()), (&"absent.spl".into(), Some(1)));
    contains(&self::text(&output.stderr), &["error: absent.spl: "]);
    let output = run(&["check", "--json", "bad.spl"]);
    let lines: Vec<serde_json::Value> = self::text(&output.stdout)
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let code = |line: &serde_json::Value| line["code"].as_str().unwrap().to_owned();
    let mut codes: Vec<String> = lines.iter().map(code).collect();
    codes.sort_unstable();
    assert_eq!(
        (output.status.code(), codes),
        (Some(1), ["E1101", "E1301", "E1401", "E1401"].map(String::from).to_vec())
    );
    let unknown = lines.iter().find(|line| line["code"] == "E1301").unwrap();
    assert_eq!(
        (&unknown["file"], &unknown["line"], &unknown["column"]),
        (&"bad.spl".into(), &6.into(), &5.into())
    );
    // Types of parameters are asked for by check, not by run.
    source(&directory, "untyped.spl", "fn f(x): x\n");
    assert_eq!(self::text(&run(&["run", "untyped.spl", "f", "4"]).stdout), "4\n");
    let output = run(&["check", "untyped.spl"]);
    contains(
        &self::text(&output.stderr),
        &["error[E1402]: Parameter 'x' in function 'f' requires explicit type annotation"],
    );
    source(&directory, "good.spl", "fn f(x: i64): x\n");
    assert_eq!(self::text(&run(&["check", "good.spl"]).stdout), "good.spl: ok\n");
    std::fs::write(directory.join("binary.spl"), b"\xff\xfe").unwrap();
    contains(
        &self::text(&run(&["run", "binary.spl"]).stderr),
        &["binary.spl: not UTF-8 text, at offset 0x0"],
    );
    contains(&self::text(&run(&["check", "none.spl"]).stderr), &["none.spl"]);
}

#[test]
fn modules_that_are_missing_or_import_each_other_are_errors() {
    let directory = scratch("source-modules");
    let file = source(&directory, "main.spl", "use lib.a.{f}\nuse nowhere\nprint f()\n");
    source(&directory, "lib/a.spl", "use b.{g}\nfn f(): g() + 1\n");
    source(&directory, "lib/b.spl", "fn g(): 1\n");
    let errors = text(&smf(&["run", &file]).stderr);
    contains(&errors, &["error[E1303]: module `nowhere` not found", "main.spl:2:"]);
    assert!(!errors.contains("`b`"), "{errors}");
    source(&directory, "lib/b.spl", "use lib.a\nfn g(): 1\n");
    let errors = text(&smf(&["run", &file]).stderr);
    contains(&errors, &["error[E1307]: modules import each other: `lib.a`, `lib.b`, `lib.a`"]);
}

#[test]
fn eval_prints_the_value_of_the_last_expression() {
    for (expression, expected) in [
        ("21 + 21", "42\n"),
        ("42", "42\n"),
        ("-5", "-5\n"),
        ("1.5 * 2", "3.0\n"),
        ("1 < 2 < 3", "true\n"),
        ("\"text\"", "text\n"),
        ("print 5", "5\n"),
        ("val x = 20\nx + 22", "42\n"),
        ("fn square(x): x * x\nsquare(7)", "49\n"),
        ("struct P:\n    x: i64\nval p = P(x: 4)\nif p.x > 3:\n    p.x\nelse:\n    0", "4\n"),
        ("fn f(): 1", ""),
    ] {
        for backend in BACKENDS {
            assert_eq!(ok(&["eval", expression, "--backend", backend]), expected, "{expression}");
        }
    }
    assert_eq!(fails(&["eval", "1 / 0"]), "error: division by zero at <eval>:1:1\n");
    contains(
        &fails(&["eval", "(1, 2)"]),
        &["the result of the expression is of type `(i64, i64)`"],
    );
    let output = smf(&["eval", "val a = 1\na + b"]);
    contains(
        &text(&output.stderr),
        &["error[E1301]: name `b` not found\n  --> <eval>:2:5", " 2 | a + b"],
    );
}

#[test]
fn eval_does_not_show_the_function_around_the_statements() {
    assert_eq!(ok(&["eval", "if true:\n\tprint 3"]), "3\n");
    assert_eq!(ok(&["eval", "  3"]), "3\n");
    assert_eq!(ok(&["eval", "# only a comment"]), "");
    assert_eq!(ok(&["eval", "fn __eval_main(): 4\n__eval_main()"]), "4\n");
    for (expression, expected) in [
        (
            "\\",
            "error[E1101]: expected an expression or a statement\n  --> <eval>:1:1\n   |\n 1 | \\\n",
        ),
        (
            "  3\n4",
            "the line is indented by 0 columns, which is the indentation of no open block\n  --> <eval>:2:1\n",
        ),
        ("if true:\n \tprint 3", "a tab follows a blank in the indentation\n  --> <eval>:2:3\n"),
    ] {
        let error = text(&smf(&["eval", expression]).stderr);
        assert!(
            error.contains(expected) && !error.contains("__eval_main"),
            "{expression}\n{error}"
        );
    }
}

#[test]
fn back_end_that_is_not_built_in_is_an_error() {
    let directory = scratch("source-backends");
    let file = source(&directory, "a.spl", "fn f(): 1\n");
    for (backend, is_built_in) in
        [("cranelift", cfg!(feature = "cranelift")), ("llvm", cfg!(feature = "llvm"))]
    {
        if is_built_in {
            assert_eq!(ok(&["run", &file, "f", "--backend", backend]), "1\n");
        } else {
            let quoted = format!("the feature `{backend}`");
            contains(&fails(&["run", &file, "f", "--backend", backend]), &[quoted.as_str()]);
        }
    }
    assert_eq!(smf(&["run", &file, "f", "--backend", "gcc"]).status.code(), Some(2));
    contains(&is_misused(&["run", &file, "--watch"]), &["--watch does not apply to source"]);
    contains(&is_misused(&["run", "packed.smf", "add", "--opt", "1"]), &["apply to source"]);
}

#[test]
fn trap_of_a_module_that_source_calls_names_its_function() {
    let directory = scratch("trap-of-module");
    let path = |name: &str| directory.join(name).to_str().unwrap().to_owned();
    let (library, module, source) = (path("lib.spl"), path("lib.smf"), path("a.spl"));
    std::fs::write(&library, "# Comment\nfn div(a: i64, b: i64) -> i64: a / b\n").unwrap();
    ok(&["compile", &library, "-o", &module]);
    let text = "extern fn div(a: i64, b: i64) -> i64\nfn f() -> i64: div(1, 0)\n";
    std::fs::write(&source, text).unwrap();
    for backend in ["native", "interpret"] {
        let error = fails(&["run", &source, "f", "--with", &module, "--backend", backend]);
        contains(&error, &["error: division by zero in function `div` at ", "lib.spl:2\n"]);
    }
}

/// Found: a trap in an inlined function was told to be in the first file that has its line.
#[test]
fn trap_of_an_inlined_function_names_its_file() {
    let directory = scratch("trap-of-inlined");
    let text = "use b\n\nfn half(x: i64, y: i64) -> i64: x / y\n\n\
        fn go(x: i64, y: i64) -> i64:\n    half(x, y) + b.other(x, y)\n";
    let a = source(&directory, "a.spl", text);
    let text = "\nfn before(x: i64, y: i64) -> i64:\n    x / y\n\n\
        fn other(x: i64, y: i64) -> i64:\n    before(x, y - 1)\n";
    source(&directory, "b.spl", text);
    for backend in ["native", "interpret"] {
        for (y, place) in [("0", "`half` at "), ("1", "`before` at ")] {
            let error = fails(&["run", &a, "go", "5", y, "--backend", backend]);
            let file = if y == "0" { "a.spl:3:33\n" } else { "b.spl:3:5\n" };
            contains(&error, &["error: division by zero in function ", place, file]);
        }
    }
}

#[test]
fn extern_functions_are_those_of_the_host() {
    let directory = scratch("source-extern");
    let text = "extern fn labs(x: i64) -> i64\nextern fn sqrt(x: f64) -> f64\n\
        fn f(x: i64) -> i64: labs(x)\nfn g(x: f64) -> f64: sqrt(x)\n";
    let file = source(&directory, "a.spl", text);
    for backend in BACKENDS {
        let args = ["--backend", backend, "--host-symbols", "--host-library", "m"];
        let run = |call: &[&str]| ok(&[&["run", &file], call, &args].concat());
        assert_eq!((run(&["f", "-7"]), run(&["g", "2.25"])), ("7\n".into(), "1.5\n".into()));
        let missing = fails(&["run", &file, "f", "1", "--backend", backend]);
        let hint = "`labs`, which is undefined; may be provided by --host-symbols";
        contains(&missing, &["function `f` calls ", hint]);
    }
}

#[test]
fn text_arguments_are_passed_as_they_are() {
    let directory = scratch("source-text-arguments");
    let code = "fn show(t: text) -> text: t\nfn minus(x: i64) -> i64: x - 1\n";
    let file = source(&directory, "t.spl", code);
    for argument in ["-0x10", "-0XfF", "0x10", "-16"] {
        assert_eq!(ok(&["run", &file, "show", argument]), format!("{argument}\n"));
    }
    assert_eq!(ok(&["run", &file, "minus", "-0x10", "--opt", "0"]), "-17\n");
}

#[test]
fn ir_text_is_run() {
    let directory = scratch("source-ir");
    let text = "function add(a: i64, b: i64) -> i64\nadd i64 a, a, b\nreturn i64 a\nend\n\
        function div(a: i64, b: i64) -> i64\ndiv i64 a, a, b\nreturn i64 a\nend\n";
    let file = source(&directory, "a.sir", text);
    runs(&file, &["add", "40", "2"], "42");
    for backend in BACKENDS {
        let error = fails(&["run", &file, "div", "1", "0", "--backend", backend]);
        contains(&error, &["error: division by zero in function `div`"]);
    }
    let unknown = source(&directory, "b.sir", "function f() -> i64\nreturn i64 missing\nend\n");
    contains(&fails(&["run", &unknown]), &["line 2: no such local: `return i64 missing`"]);
}

#[test]
fn import_is_the_file_beside_the_one_that_imports_it() {
    let directory = scratch("source-beside");
    for (name, value) in [("a", 1), ("b", 2)] {
        source(&directory, &format!("{name}/util.spl"), &format!("fn value() -> i64: {value}\n"));
        source(&directory, &format!("{name}/x.spl"), "use util\nfn get() -> i64: util.value()\n");
    }
    let text = "use a.x as one\nuse b.x as two\nfn main() -> i64: one.get() * 10 + two.get()\n";
    runs(&source(&directory, "main.spl", text), &["main"], "12");
    // A program of another name is no module.
    source(&directory, "tool.spl", "fn value() -> i64: 3\n");
    source(&directory, "my/test/tool.spl", "fn value() -> i64: 4\n");
    let text = "#!/usr/bin/env -S smf run\nuse tool\nfn main() -> i64: tool.value()\n";
    for name in ["tool", "my.test.spl"] {
        runs(&source(&directory, name, text), &["main"], "3");
    }
}

#[test]
fn function_with_a_parameter_of_its_name_is_called_with_defaults() {
    let text = "fn f(f: i64, b: i64 = 3) -> i64: f + b\nfn p0<T>(a: T, b: i64 = 4) -> i64: b\n\
        struct P:\n    x: i64\nimpl P:\n    static fn of(P: i64, b: i64 = 5) -> i64: P + b\n";
    let file = source(&scratch("source-own-name"), "a.spl", text);
    runs(&file, &["f", "1"], "4");
    runs(&file, &["p0", "1"], "4");
    runs(&file, &["P.of", "1"], "6");
}
