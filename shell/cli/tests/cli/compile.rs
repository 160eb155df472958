//! `smf compile`: modules from Simple source, and what other commands make of them.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use super::{contains, fails, inspected, ok, scratch, smf, text};

const SOURCE: &str = "\
fn max<T>(a: T, b: T) -> T:
    if a > b: a else: b

struct W:
    n: i64

fn field<T>(w: T) -> i64: w.n
fn twice<T>(x: T) -> T: max(x, x)

fn add(a: i64, b: i64) -> i64: a + b
fn greatest(a: i64, b: i64, c: i64) -> i64: max(a, max(b, twice(c)))
fn div(a: i64, b: i64) -> i64:
    val c = a + 1
    c / b
fn table(i: i64) -> i64:
    val a = [5, 9, 17, 33]
    a[i]
fn double(x: i64) -> i64: x * 2
fn apply(f: fn(i64) -> i64, x: i64) -> i64: f(x)
fn by_address(x: i64) -> i64: apply(double, x)
fn half(x: f64) -> f64: x / 2
fn wide(n: i64) -> i64: field(W(n: n))
fn show(x: i64):
    print \"x is {x}\"
fn main() -> i64: add(40, 2)
";

fn write(directory: &Path, name: &str, text: &str) -> String {
    let path = directory.join(name);
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

/// A module of [`SOURCE`]; its path.
fn compiled(test: &str, options: &[&str]) -> String {
    let directory = scratch(test);
    let source = write(&directory, "a.spl", SOURCE);
    let module = directory.join("a.smf").to_str().unwrap().to_owned();
    assert_eq!(ok(&[&["compile", &source, "-o", &module], options].concat()), "");
    module
}

#[cfg(target_arch = "x86_64")]
#[test]
fn module_runs_at_every_level() {
    for level in ["0", "1", "2", "3"] {
        let module = compiled(&format!("compile-{level}"), &["--opt", level]);
        assert_eq!(ok(&["verify", &module]), format!("{module}: ok\n"));
        let run = |call: &[&str]| ok(&[&["run", &module], call].concat());
        assert_eq!(run(&[]), "42\n");
        assert_eq!(run(&["add", "-5", "3"]), "-2\n");
        assert_eq!(run(&["greatest", "1", "5", "3"]), "5\n");
        assert_eq!(run(&["table", "3"]), "33\n");
        assert_eq!(run(&["by_address", "21"]), "42\n");
        assert_eq!(run(&["half", "3.0"]), "1.5\n");
        assert_eq!(run(&["wide", "7"]), "7\n");
        assert_eq!(run(&["show", "7"]), "x is 7\n");
        assert_eq!(run(&["twice$i64", "8"]), "8\n");
        let error = fails(&["run", &module, "div", "1", "0"]);
        let file = module.replace(".smf", ".spl");
        assert_eq!(
            error,
            format!("error: {module}: division by zero in function `div` at {file}:14\n")
        );
        contains(
            &fails(&["run", &module, "table", "4"]),
            &["index 4 out of range for length 4 in function `table`"],
        );
    }
}

/// Found: readers of the module refused it.
#[test]
fn function_whose_symbol_no_reader_accepts_is_named() {
    let directory = scratch("compile-long-symbol");
    let parts = "1, ".repeat(5000);
    let source = format!("fn id<T>(x: T) -> i64: 3\npub fn f() -> i64: id(({parts}1))\n");
    let source = write(&directory, "long.spl", &source);
    assert_eq!(ok(&["run", &source, "f"]), "3\n");
    let module = directory.join("long.smf");
    let error = fails(&["compile", &source, "-o", module.to_str().unwrap()]);
    contains(&error, &["function `id$", "longer than the 16,383 bytes of a symbol"]);
}

#[cfg(target_arch = "x86_64")]
#[test]
fn module_states_the_types_of_its_functions() {
    let directory = scratch("compile-signatures");
    let source = "enum Color:\n    Red\n    Blue = 7\nstruct P:\n    x: i64\n\
                  fn neg() -> i32: -5\nfn yes() -> bool: 3 > 2\nfn half(x: f32) -> f32: x / 2\n\
                  fn mixed(a: u8, b: f64, c: bool) -> f64: if c: a + b else: 0.0\nfn blue() -> Color: Color.Blue\n\
                  fn big() -> u64: 18446744073709551615\nfn show(x: i64):\n    print x\nfn make() -> P: P(3)\n\
                  fn sum(xs: [i64; 2]) -> i64: xs[0] + xs[1]\nfn id<T>(x: T) -> T: x\nfn use_id() -> f64: id(2.5)\n\
                  fn main():\n    print \"main\"\n";
    let source = write(&directory, "a.spl", source);
    let [module, packed] = ["a.smf", "packed.smf"].map(|name| {
        let path = directory.join(name);
        path.to_str().unwrap().to_owned()
    });
    ok(&["compile", &source, "-o", &module]);
    ok(&["pack", &module, "-o", &packed]);
    for module in [&module, &packed] {
        for (call, printed) in [
            (&["neg"][..], "-5\n"),
            (&["yes"], "true\n"),
            (&["half", "3"], "1.5\n"),
            (&["half", "f32:3"], "1.5\n"),
            (&["mixed", "200", "0.5", "true"], "200.5\n"),
            (&["blue"], "7\n"),
            (&["big"], "18446744073709551615\n"),
            (&["show", "-3"], "-3\n"),
            (&["sum", "i64:40,2"], "42\n"),
            (&["id$f64", "1.5"], "1.5\n"),
            (&["main"], "main\n"),
            (&[], "main\n"),
            (&["neg", "--returns", "u8"], "251\n"),
        ] {
            assert_eq!(ok(&[&["run", module], call].concat()), printed, "{module} {call:?}");
        }
        assert_eq!(smf(&["run", module, "--exit"]).status.code(), Some(0));
    }
}

#[cfg(target_arch = "x86_64")]
#[test]
fn module_states_hashes_of_the_types_of_its_functions() {
    let directory = scratch("compile-type-hashes");
    let [module, packed] =
        ["a.smf", "packed.smf"].map(|name| directory.join(name).to_str().unwrap().to_owned());
    let hashes = |field: &str| {
        let text = format!("struct P:\n    {field}\nfn f(p: P) -> i64: p.x\nfn g() -> i64: 1\n");
        let source = write(&directory, "a.spl", &text);
        ok(&["compile", &source, "-o", &module]);
        ok(&["pack", &module, "-o", &packed]);
        [&module, &packed].map(|module| {
            let note = inspected(module)["note"]["signatures"].clone();
            ["f", "g"].map(|name| {
                let row = note.as_array().unwrap().iter().find(|row| row["function"] == name);
                row.unwrap()["type_hash"].as_str().unwrap().to_owned()
            })
        })
    };
    let [one, other] = ["x: i64", "x: i64\n    y: i64"].map(hashes);
    assert_eq!((&one[0], &other[0]), (&one[1], &other[1]), "packed");
    assert!(one[0][0].len() == 16 && one[0][0] != other[0][0] && one[0][1] == other[0][1]);
}

#[cfg(target_arch = "x86_64")]
#[test]
fn module_answers_a_call_as_its_source_does() {
    let directory = scratch("compile-calls");
    let source = "struct P:\n    x: i64\nfn make(x: i64) -> P: P(x)\nfn pair(x: i64) -> (i64, bool): (x, true)\n\
                  fn half(x: f32) -> f32: x / 2\nfn quiet(x: i64): pass\n\
                  fn echo(words: text, twice: bool) -> text: if twice: words else: \"once\"\n\
                  fn sum(n: i64) -> i64: if n == 0: 0 else: n + sum(n - 1)\n\
                  fn down(n: i64) -> i64: down(n + 1) + 1\n";
    let source = write(&directory, "a.spl", source);
    let module = directory.join("a.smf").to_str().unwrap().to_owned();
    ok(&["compile", &source, "-o", &module]);
    for (call, status, expected) in [
        (&["echo", "a b", "true"][..], 0, "a b\n"),
        (&["echo", "a b", "false", "--returns", "str"], 0, "once\n"),
        (&["echo", "a", "true", "--returns", "void"], 0, ""),
        (&["echo", "a", "true", "--returns", "i64"], 2, "the function has a text as result"),
        (&["half", "3", "--returns", "i64"], 2, "the function has a result of type f32"),
        (&["half", "3", "--returns", "str"], 2, "the function has a result of type f32"),
        (&["quiet", "3", "--returns", "i64"], 2, "the function has no result"),
        (&["half", "true"], 2, "error: argument 1: `true` is not a valid f32"),
        (&["quiet", "x"], 2, "error: argument 1: `x` is not a valid i64"),
        (&["make", "1"], 1, "error: the result of function `make` is of type `P`, which is not"),
        (&["pair", "1"], 1, "is of type `(i64, bool)`, which is not printed: return a number"),
        // More stack than that of the first thread.
        (&["sum", "1000000"], 0, "500000500000\n"),
        (&["down", "1"], 1, "error: the stack is exhausted in function `down`: calls nest"),
    ] {
        let outputs = [&source, &module].map(|file| {
            let output = smf(&[&["run", file], call].concat());
            // The source has the names of parameters.
            let error = text(&output.stderr).replace(&**file, "FILE").replace(" `x`: ", ": ");
            (output.status.code(), text(&output.stdout), error)
        });
        assert_eq!(outputs[0], outputs[1], "{call:?}");
        let (code, printed, error) = &outputs[1];
        let shown = if status == 0 { printed } else { error };
        assert!(*code == Some(status) && shown.contains(expected), "{call:?}: {outputs:?}");
    }
    let error = text(&smf(&["run", &module, "half"]).stderr);
    let expected = "error: function `half` takes 1 argument, and 0 are given; a module keeps no defaults of parameters\n";
    assert_eq!(error, expected);
}

#[cfg(target_arch = "x86_64")]
#[test]
fn module_for_any_system_is_packed_with_one_for_linux() {
    let directory = scratch("compile-systems");
    let library = write(&directory, "lib.spl", "fn triple(x: i64) -> i64: x * 3\n");
    let user = "extern fn triple(x: i64) -> i64\nfn f(x: i64) -> i64: triple(x) + 1\n";
    let user = write(&directory, "user.spl", user);
    let path = |name| directory.join(name).to_str().unwrap().to_owned();
    let [compiled, packed, using, both] =
        ["lib.smf", "packed.smf", "user.smf", "both.smf"].map(path);
    ok(&["compile", &library, "-o", &compiled]);
    ok(&["pack", &compiled, "-o", &packed]);
    ok(&["compile", &user, "-o", &using]);
    let platform = |module: &str| inspected(module)["platform"].clone();
    assert_ne!(platform(&packed), platform(&using));
    for modules in [[&packed, &using], [&using, &packed]] {
        ok(&["pack", modules[0], modules[1], "-o", &both]);
        assert_eq!(ok(&["run", &both, "f", "4"]), "13\n");
    }
}

#[cfg(target_arch = "x86_64")]
#[test]
fn templates_of_a_file_call_its_own_functions() {
    let directory = scratch("compile-same-names");
    write(
        &directory,
        "one.spl",
        "fn count(x: i64) -> i64: x + 1\nfn same<T>(x: T) -> T: x + 1\npub fn app<T>(x: T) -> i64: count(x as i64)\npub fn gen<T>(x: T) -> T: same(x)\n",
    );
    write(&directory, "two.spl", "fn same<T>(x: T) -> T: x * 7\nfn seven<T>(x: T) -> T: same(x)\n");
    let main = "use one.{app, gen}\nuse two.{seven}\nfn count(x: i64) -> i64: x * 100\nfn same<T>(x: T) -> T: x * 50\n\
                fn main() -> i64: gen(1) + seven(10) + app(100) + same(1000)\n";
    let main = write(&directory, "main.spl", main);
    let module = directory.join("main.smf").to_str().unwrap().to_owned();
    ok(&["compile", &main, "-o", &module]);
    assert_eq!(ok(&["run", &module]), (2 + 70 + 101 + 50_000).to_string() + "\n");
    for (instance, expected) in [
        ("app$i32", "3\n"),
        ("gen$i32", "3\n"),
        ("seven$i32", "14\n"),
        ("same$i32", "100\n"),
        ("same$i64", "100\n"),
        ("one.same$i32", "3\n"),
        ("two.same$i64", "14\n"),
    ] {
        assert_eq!(ok(&["jit", &module, instance, "2"]), expected, "{instance}");
    }
}

#[cfg(target_arch = "x86_64")]
#[test]
fn templates_that_call_each_other_have_instances() {
    let directory = scratch("compile-mutual");
    let text = "fn even<T>(x: T, n: i64) -> bool: if n == 0: true else: odd(x, n - 1)\n\
                fn odd<T>(x: T, n: i64) -> bool: if n == 0: false else: even(x, n - 1)\n";
    let text = write(&directory, "mutual.spl", text);
    let module = directory.join("mutual.smf").to_str().unwrap().to_owned();
    ok(&["compile", &text, "-o", &module]);
    assert_eq!(ok(&["jit", &module, "even$i64", "1", "7"]), "false\n");
    assert_eq!(ok(&["jit", &module, "odd$u8", "1", "7"]), "true\n");
}

#[cfg(target_arch = "x86_64")]
#[test]
fn arguments_of_a_module_have_the_types_of_its_parameters() {
    let directory = scratch("compile-arguments");
    let text = "fn view(xs: [u8], n: i64) -> i64: xs.len() * 10 + n\nfn array(xs: [i16; 3]) -> i64: xs[2] as i64\n\
                fn shown(t: text): print t\nfn float(x: f64, c: bool) -> f64: if c: x else: -x\nfn pair(t: (i64, bool)) -> i64: t.0\n";
    let source = write(&directory, "a.spl", text);
    let module = directory.join("a.smf").to_str().unwrap().to_owned();
    ok(&["compile", &source, "-o", &module]);
    for file in [&source, &module] {
        for (call, expected) in [
            (&["view", "u8:1,2", "1"][..], "21\n"),
            (&["view", "1,2", "1"], "21\n"),
            (&["array", "i16:1,2,3"], "3\n"),
            (&["shown", "abc"], "abc\n"),
            (&["shown", "5"], "5\n"),
            (&["float", "2.5", "false"], "-2.5\n"),
        ] {
            assert_eq!(ok(&[&["run", file], call].concat()), expected, "{file} {call:?}");
        }
        for (call, expected) in [
            (&["array", "1,2"][..], "the array has 3 elements, and 2 are given"),
            (&["array", "i64:1,2,3"], "is not an array of i16"),
            (&["pair", "1"], "a value of type `(i64, bool)` cannot be given"),
        ] {
            let output = smf(&[&["run", file], call].concat());
            assert_eq!(output.status.code(), Some(2));
            contains(&super::text(&output.stderr), &[expected]);
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[test]
fn module_keeps_the_messages_of_assertions() {
    let directory = scratch("compile-assertions");
    let source = "fn f(x: i64):\n    assert x > 0, \"x is \\\"small\\\",\\n or 0\"\n    \
                  assert x < 9\nfn same(x: i64):\n    if x > 1: assert x > 2, \"a\" else: assert x > 3, \"b\"\n";
    let source = write(&directory, "a.spl", source);
    let [module, packed] = ["a.smf", "packed.smf"].map(|name| {
        let path = directory.join(name);
        path.to_str().unwrap().to_owned()
    });
    ok(&["compile", &source, "-o", &module]);
    ok(&["pack", &module, "-o", &packed]);
    for module in [&module, &packed] {
        let error = |call: &[&str]| fails(&[&["run", module], call].concat());
        // Messages on standard error show control characters as escapes.
        let message = "assertion failed: x is \"small\",\\n or 0 in function `f` at";
        assert_eq!(error(&["f", "0"]), format!("error: {module}: {message} {source}:2\n"));
        contains(
            &error(&["f", "9"]),
            &[&format!("assertion failed in function `f` at {source}:3")],
        );
        // Its line has two.
        contains(
            &error(&["same", "2"]),
            &[&format!("assertion failed in function `same` at {source}:5")],
        );
    }
    // The code of the callee is part of its caller at this level.
    let source = "fn check(x: i64) -> i64:\n    assert x > 0, \"positive\"\n    x + 1\n\
                  fn outer(x: i64) -> i64:\n    check(x) * 2\nfn plain(x: i64): assert x > 0\n";
    let source = write(&directory, "inlined.spl", source);
    ok(&["compile", "--opt", "2", &source, "-o", &module]);
    contains(
        &fails(&["run", &module, "outer", "0"]),
        &[&format!("assertion failed: positive in function `check` at {source}:2")],
    );
    contains(
        &fails(&["run", &module, "plain", "0"]),
        &[&format!("assertion failed in function `plain` at {source}:6")],
    );
}

#[cfg(target_arch = "x86_64")]
#[test]
fn trap_in_a_module_names_the_function_of_its_line() {
    let directory = scratch("compile-traps");
    let source = "fn at(xs: [i64], i: i64) -> i64: xs[i]\nfn inner(i: i64) -> i64:\n    \
                  val xs = [1, 2, 3]\n    at(xs, i)\nfn outer(x: i64) -> i64:\n    \
                  fn third(y: i64) -> i64:\n        9 / y\n    third(x) + 9 / (x - 1)\n\
                  val n = inner(2)\nfn behind(x: i64) -> i64: x\nprint 6 / (n - 3)\n";
    let source = write(&directory, "a.spl", source);
    let module = directory.join("a.smf").to_str().unwrap().to_owned();
    for level in ["0", "1", "2", "3"] {
        ok(&["compile", "--opt", level, &source, "-o", &module]);
        for (call, expected) in [
            (&["inner", "9"][..], "index 9 out of range for length 3 in function `at` at {}:1"),
            (&["outer", "0"], "division by zero in function `outer.third` at {}:7"),
            (&["outer", "1"], "division by zero in function `outer` at {}:8"),
            (&[], "division by zero in function `main` at {}:11"),
        ] {
            let error = fails(&[&["run", &module], call].concat());
            contains(&error, &[&expected.replace("{}", &source)]);
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[test]
fn result_of_each_type_has_its_exit_status() {
    let directory = scratch("compile-status");
    let module = directory.join("m.smf").to_str().unwrap().to_owned();
    for (result, value, status) in [
        ("bool", "true", 1),
        ("bool", "false", 0),
        ("i64", "-1", 255),
        ("u8", "7", 7),
        ("f64", "2.5", 0),
        ("f32", "2.5", 0),
        ("text", "\"abc\"", 0),
    ] {
        // The register of integers has another value than 0 behind a result that is no integer.
        let text = format!(
            "fn n(x: i64) -> i64: x\nfn main() -> {result}:\n    print n(7)\n    {value}\n"
        );
        let source = write(&directory, "m.spl", &text);
        has_status(&["compile", &source, "-o", &module], 0);
        has_status(&["run", &source], status);
        has_status(&["run", &source, "--backend", "interpret"], status);
        has_status(&["run", &module, "--exit"], status);
    }
}

fn has_status(call: &[&str], status: i32) {
    let output = smf(call);
    assert_eq!(output.status.code(), Some(status), "{call:?}: {}", text(&output.stderr));
}

#[cfg(target_arch = "x86_64")]
#[test]
fn programs_print_the_same_as_modules_and_in_memory() {
    let programs = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/programs/simple");
    let module = scratch("compile-programs").join("program.smf");
    let module = module.to_str().unwrap();
    let mut count = 0;
    for entry in std::fs::read_dir(programs).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "spl") {
            continue;
        }
        let source = path.to_str().unwrap();
        ok(&["compile", source, "-o", module, "-g"]);
        let (memory, file) =
            (smf(&["run", source]), smf(&["run", module, "--exit", "--returns", "void"]));
        let shown = text(&memory.stdout);
        let printed = text(&file.stdout);
        // The result of `main` is printed in memory, where its type is known.
        let rest = shown.strip_prefix(&printed).unwrap_or_else(|| panic!("{source}: {printed}"));
        assert!(rest.is_empty() || rest.trim_end().parse::<i64>().is_ok(), "{source}: {rest}");
        count += 1;
    }
    assert_eq!(count, 10);
}

#[test]
fn module_has_symbols_templates_and_a_note() {
    for target in ["x86_64", "aarch64"] {
        let module = compiled(&format!("compile-parts-{target}"), &["--target", target]);
        assert_eq!(ok(&["verify", &module]), format!("{module}: ok\n"));
        let protected = ok(&["verify", "--cfi", &module]);
        assert!(protected.contains("landing pads") && !protected.contains("but"), "{protected}");
        let file = inspected(&module);
        assert_eq!((&file["layout"], &file["arch"]), (&"native".into(), &target.into()));
        let symbols: Vec<(&str, &str, bool)> = file["symbols"]
            .as_array()
            .unwrap()
            .iter()
            .map(|s| {
                (s["name"].as_str().unwrap(), s["binding"].as_str().unwrap(), s["defined"] == true)
            })
            .collect();
        for expected in [
            ("add", "global", true),
            ("main", "global", true),
            ("max$i64", "weak", true),
            ("field$W", "weak", true),
            ("rt_print_i64", "global", false),
            ("__smf_requires_trap_hook", "global", false),
        ] {
            assert!(symbols.contains(&expected), "{expected:?} of {symbols:?}");
        }
        let names: Vec<&Value> =
            file["templates"].as_array().unwrap().iter().map(|t| &t["name"]).collect();
        assert_eq!(names, ["max", "field", "twice"]);
        contains(
            &ok(&["templates", &module]),
            &[
                "max$i64: max of i64, compiled",
                "max$f64: max of f64, possible",
                "twice$f64: twice of f64, possible",
            ],
        );
        let note = ok(&["note", &module]);
        contains(
            &note,
            &[
                "\"field\", \"W\", \"field$W\", ",
                "\"twice$i64\", \"max$i64\", \"type_param\"",
                "\"W\", \"field\", \"argument 0\"",
                // Where an instance is used first.
                "a.spl:11:59",
            ],
        );
        assert!(!note.contains("max$bool") && !note.contains("field$i64"), "{note}");
        contains(
            &ok(&["disasm", &module]),
            &["function add, ", "template field, source", "| fn field<T>(w: T) -> i64: w.n"],
        );
    }
}

#[cfg(target_arch = "x86_64")]
#[test]
fn note_states_the_targets_of_pointers_that_are_type_arguments() {
    let directory = scratch("compile-pointers");
    let text = "extern fn give() -> *const i64\nfn size<S, T>(n: i64, s: S, p: T) -> i64: n\nfn f() -> i64: size(3, 1.5, give())\n";
    let source = write(&directory, "a.spl", text);
    let module = directory.join("a.smf").to_str().unwrap().to_owned();
    ok(&["compile", &source, "-o", &module]);
    contains(
        &ok(&["note", &module]),
        &["\"f64\", \"size\", \"argument 1\"", "\"ptr_const<i64>\", \"size\", \"argument 2\""],
    );
}

#[cfg(target_arch = "x86_64")]
#[test]
fn line_tables_name_the_lines_of_the_code() {
    let module = compiled("compile-lines", &["-g", "--opt", "0"]);
    let listing = ok(&["disasm", &module, "div"]);
    contains(&listing, &["function div, ", "a.spl:12\n", "a.spl:13\n", "a.spl:14\n", "idiv"]);
    let (before, after) = listing.split_once("a.spl:14\n").unwrap();
    assert!(!before.contains("idiv") && after.contains("idiv"), "{listing}");
    let error = fails(&["run", &module, "div", "1", "0"]);
    assert!(error.ends_with("a.spl:14\n"), "{error}");
    assert!(!ok(&["disasm", &compiled("compile-no-lines", &[]), "div"]).contains("a.spl"));
    // Behind the lines of another module.
    let directory = scratch("compile-lines-linked");
    let source = write(&directory, "other.spl", "\nfn other(x: i64) -> i64: x / 2\n");
    let [other, linked] = ["other.smf", "linked.smf"].map(|name| directory.join(name));
    let [other, linked] = [&other, &linked].map(|path| path.to_str().unwrap());
    ok(&["compile", &source, "-o", other, "-g", "--opt", "0"]);
    ok(&["pack", "-g", "--compress", "zstd", other, &module, "-o", linked]);
    assert!(ok(&["disasm", linked, "other"]).contains("other.spl:2\n"));
    assert_eq!(ok(&["pack", "-g", other, &module, "-o", linked]), "");
    let error = fails(&["run", linked, "div", "1", "0"]);
    assert!(error.ends_with("a.spl:14\n"), "{error}");
    assert!(ok(&["disasm", linked, "other"]).contains("other.spl:2\n"));
}

#[test]
fn line_tables_name_files_of_the_directory_in_which_they_were_compiled() {
    let directory = scratch("compile-directory").canonicalize().unwrap();
    write(&directory, "a.spl", SOURCE);
    let mut compile = Command::new(env!("CARGO_BIN_EXE_smf"));
    compile.args(["compile", "a.spl", "-g", "-o", "a.smf"]).current_dir(&directory);
    assert!(compile.status().unwrap().success());
    let listing = ok(&["disasm", directory.join("a.smf").to_str().unwrap(), "div"]);
    contains(&listing, &[&format!("    ; {}/a.spl:12\n", directory.display())]);
}

#[cfg(target_arch = "x86_64")]
#[test]
fn extern_fn_with_other_types_than_those_of_the_module_is_refused() {
    let directory = scratch("compile-signature");
    let text = "fn plain(x: i64) -> i64: x + 1\nfn sum(xs: [i64]) -> i64: xs[0] + xs[1]\n";
    let library = write(&directory, "lib.spl", text);
    let module = directory.join("lib.smf");
    let module = module.to_str().unwrap();
    ok(&["compile", &library, "-o", module]);
    for (declared, call) in
        [("x: f64", "4.0"), ("x: i64, y: i64", "4, 5"), ("", ""), ("x: i32", "4")]
    {
        let text = format!("extern fn plain({declared}) -> i64\nfn main() -> i64: plain({call})\n");
        let source = write(&directory, "user.spl", &text);
        for backend in ["native", "interpret"] {
            let error = fails(&["run", &source, "--with", module, "--backend", backend]);
            contains(&error, &["function `main` calls `plain`, which has another signature"]);
        }
    }
    let text = "extern fn sum(xs: [i8]) -> i64\nfn main() -> i64: sum([4i8, 5i8])\n";
    let error = fails(&["run", &write(&directory, "user.spl", text), "--with", module]);
    contains(&error, &["function `main` calls `sum`, which has another signature"]);
    let text = "extern fn plain(x: i64) -> i64\nfn main():\n    print plain(4)\n";
    let source = write(&directory, "user.spl", text);
    assert_eq!(ok(&["run", &source, "--with", module]), "5\n");
}

#[cfg(target_arch = "x86_64")]
#[test]
fn other_programs_use_functions_and_templates_of_a_module() {
    let module = compiled("compile-library", &[]);
    let directory = scratch("compile-user");
    let source = "extern fn add(a: i64, b: i64) -> i64\nfn main() -> i64: add(20, 22)\n";
    let source = write(&directory, "user.spl", source);
    for backend in ["native", "interpret"] {
        let output = smf(&["run", &source, "--with", &module, "--backend", backend]);
        assert_eq!((output.status.code(), text(&output.stdout)), (Some(42), "42\n".into()));
    }
    let user = directory.join("user.smf");
    let user = user.to_str().unwrap();
    ok(&["compile", &source, "-o", user]);
    contains(&fails(&["run", user]), &["unresolved import", "`add`"]);
    assert_eq!(ok(&["run", user, "--with", &module]), "42\n");
    assert_eq!(ok(&["jit", &module, "max$f64", "1.5", "2.5"]), "2.5\n");
    // Without code, and with functions of this program.
    let source = write(&directory, "shown.spl", "fn shown<T>(x: T) -> i64:\n    print x\n    3\n");
    let module = directory.join("shown.smf");
    let module = module.to_str().unwrap();
    ok(&["compile", &source, "-o", module]);
    assert_eq!(ok(&["jit", module, "shown$i64", "5"]), "5\n3\n");
    let error = fails(&["jit", module, "absent$i64", "5"]);
    assert!(!error.contains("no code"), "{error}");
}

#[test]
fn marked_functions_alone_are_exported() {
    let directory = scratch("compile-export");
    let source = "pub fn shown(x: i64) -> i64: hidden(x) + 1\n\nfn hidden(x: i64) -> i64: x * 2\n";
    let source = write(&directory, "a.spl", source);
    let module = directory.join("a.smf");
    let module = module.to_str().unwrap();
    ok(&["compile", &source, "-o", module]);
    let file = inspected(module);
    let binding = |name: &str| {
        let symbols = file["symbols"].as_array().unwrap();
        symbols.iter().find(|s| s["name"] == name).unwrap()["binding"].clone()
    };
    assert_eq!((binding("shown"), binding("hidden")), ("global".into(), "local".into()));
    // An export of a type alone marks too, in the compiler and in the module.
    let types = "export P\nstruct P:\n    x: i64\nfn hidden() -> i64: P(x: 1).x\nfn main() -> i64: hidden()\n";
    ok(&["compile", &write(&directory, "c.spl", types), "-o", module]);
    let file = inspected(module);
    let bindings: Vec<_> =
        file["symbols"].as_array().unwrap().iter().map(|s| &s["binding"]).collect();
    assert_eq!(bindings[..2], ["local", "global"]);
    // The `main` that statements at the top level make is not marked.
    let script = write(&directory, "b.spl", "fn double(x: i64) -> i64: x * 2\nprint 1\n");
    ok(&["compile", &script, "-o", module]);
    assert_eq!(ok(&["run", module, "double", "21"]), "42\n");
    assert_eq!(ok(&["run", module]), "1\n");
}

#[test]
fn parameters_without_types_are_refused() {
    let directory = scratch("compile-errors");
    let source = write(&directory, "a.spl", "fn f(x): x\n");
    let module = directory.join("a.smf");
    let output = smf(&["compile", &source, "-o", module.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1));
    contains(
        &text(&output.stderr),
        &["error[E1402]: Parameter 'x' in function 'f' requires explicit type annotation"],
    );
    assert!(!module.exists());
    assert_eq!(smf(&["compile", &source, "-o", "x", "--target", "mips"]).status.code(), Some(2));
}
