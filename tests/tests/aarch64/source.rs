//! Modules of Simple source.

use smf_core::format::Arch;
use smf_core::source::{Mode, SourceFile, compile};
use smf_loader::compile::{self as module, CompileOptions};
use smf_tests::compile::scratch;

use crate::tools::Loader;

const SOURCE: &str = "\
fn max<T>(a: T, b: T) -> T:
    if a > b: a else: b
fn greatest(a: i64, b: i64, c: i64) -> i64: max(a, max(b, c))
fn fib(n: i64) -> i64:
    if n < 2: n else: fib(n - 1) + fib(n - 2)
fn table(i: i64) -> i64:
    val a = [5, 9, 17, 33]
    a[i]
fn double(x: i64) -> i64: x * 2
fn apply(f: fn(i64) -> i64, x: i64) -> i64: f(x)
fn by_address(x: i64) -> i64: apply(double, x)
fn show(x: i64) -> i64:
    print \"x is {x}\"
    x
";

#[test]
fn compiled_source_runs_at_every_level() {
    let Some(loader) = Loader::get() else { return };
    let file = SourceFile { name: "a.spl", module: "a", text: SOURCE };
    let unit = compile(&[file], Mode::Compile).unwrap().unit.unwrap();
    let directory = scratch();
    for level in 0..4 {
        let debug_directory = (level == 2).then_some(directory.path());
        let options = CompileOptions { arch: Arch::AARCH64, level, debug_directory };
        let path = directory.path().join(format!("a{level}.smf"));
        std::fs::write(&path, module::compile(&unit, &options).unwrap()).unwrap();
        let call = |name: &str, arguments: &[i64]| loader.call(&path, name, arguments, &[]);
        assert_eq!(call("greatest", &[1, 5, 3]), 5);
        assert_eq!(call("fib", &[15]), 610);
        assert_eq!((call("table", &[3]), call("table", &[-4])), (33, 5));
        assert_eq!(call("by_address", &[21]), 42);
        let path = path.to_str().unwrap();
        let (is_done, shown, _) = loader.says(&["run", path, "show", "7"]);
        assert_eq!((is_done, &*shown), (true, "x is 7\n7\n"));
        let (is_done, _, error) = loader.says(&["run", path, "table", "4"]);
        let index = "index 4 out of range for length 4 in function `table`";
        assert!(!is_done && error.contains(index), "{error}");
    }
}

#[test]
fn source_is_compiled_and_run_on_the_machine() {
    let Some(loader) = Loader::get() else { return };
    let directory = scratch();
    let path = directory.path().join("a.spl");
    std::fs::write(&path, SOURCE).unwrap();
    let path = path.to_str().unwrap();
    for level in ["0", "1", "2", "3"] {
        for (arguments, result) in [
            (&["greatest", "1", "5", "3"][..], "5\n"),
            (&["fib", "15"], "610\n"),
            (&["table", "3"], "33\n"),
            (&["by_address", "21"], "42\n"),
            (&["show", "7"], "x is 7\n7\n"),
        ] {
            let command = [&["run", "--opt", level, path], arguments].concat();
            let (is_done, shown, error) = loader.says(&command);
            assert_eq!((is_done, &*shown), (true, result), "{command:?}: {error}");
        }
    }
}
