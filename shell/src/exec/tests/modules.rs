//! Functions of modules, called by name and by source.
#![allow(unsafe_code)]

use super::*;

#[cfg(all(feature = "pack", target_arch = "x86_64"))]
#[test]
fn functions_of_a_module_have_the_types_that_it_states() {
    let text = "fn half(x: f64) -> f64: x / 2.0\nfn narrow(x: u8) -> u8: x + 1\nfn unit(x: bool): print x\n\
                fn length(t: text) -> i64: t.len()\nfn div(a: i64, b: i64) -> i64:\n    assert a != 9, \"not nine\"\n    a / b\n";
    let module = module(text);
    let manager = manager(BackendChoice::Auto);
    manager.compile_file(&scratch("types.smf", &module)).unwrap();
    let call = |name: &str, arguments: &[Value]| {
        // SAFETY: the functions access no memory.
        let result = unsafe { manager.call_by_name(name.as_bytes(), arguments) };
        result.map_err(|error| error.to_string())
    };
    assert_eq!(call("half", &[5.0.into()]), Ok(Some(2.5.into())));
    assert_eq!(call("narrow", &[255_i64.into()]), Ok(Some(0_u8.into())));
    assert_eq!(call("unit", &[true.into()]), Ok(None));
    assert!(run(&manager, "half", &[]).unwrap_err().contains("takes 1 argument"));
    // SAFETY: as above.
    let text = unsafe { manager.call_text(b"half", &[b"0.5"]) };
    assert_eq!(text.unwrap(), "0.25");
    for (name, arguments, expected) in [
        ("half", &[Value::from(3_i64)][..], "argument 1 of function `half`"),
        ("half", &[], "function `half` takes 1 argument, and 0 are given"),
        (
            "narrow",
            &[300_i64.into()],
            "argument 1 of function `narrow`: 300 is no value of type u8",
        ),
        ("unit", &[2_i64.into()], "argument 1 of function `unit`: 2 is no value of type bool"),
        ("length", &[0_i64.into(), 0_i64.into()], "function `length` of a module has a parameter"),
        ("div", &[1_i64.into(), 0_i64.into()], "division by zero, at 7 in function `div`"),
        (
            "div",
            &[9_i64.into(), 1_i64.into()],
            "assertion failed, at 6 in function `div`: not nine",
        ),
    ] {
        let error = call(name, arguments).unwrap_err();
        assert!(error.contains(expected), "{name}: {error}");
    }
    // The same traps in a function that source has called.
    let source = "extern fn div(a: i64, b: i64) -> i64\nfn ask(a: i64, b: i64) -> i64: div(a, b)\n";
    manager.compile_source("ask.spl", source).unwrap();
    for (arguments, expected) in [
        ([1_i64, 0], "division by zero, at 7 in function `div`"),
        ([9, 1], "assertion failed, at 6 in function `div`: not nine"),
    ] {
        assert_eq!(call("ask", &arguments.map(Value::from)).unwrap_err(), expected);
    }
    // Source that states other types than the module is refused.
    for (declared, called) in [
        ("div(a: i64) -> i64", "div(1)"),
        ("div(a: i64, b: i64) -> f64", "div(1, 2) as i64"),
        ("half(x: i64) -> f64", "half(1) as i64"),
        ("narrow(x: i64) -> u8", "narrow(1) as i64"),
    ] {
        let source = format!("extern fn {declared}\nfn wrong() -> i64: {called}\n");
        let error = manager.compile_source("wrong.spl", &source).unwrap_err().to_string();
        assert!(error.contains("which has another signature"), "{declared}: {error}");
        assert!(!manager.has_function(b"wrong"));
    }
    let source = "extern fn length(t: text) -> i64\nfn right() -> i64: length(\"four\")\n";
    manager.compile_source("right.spl", source).unwrap();
    assert_eq!(run(&manager, "right", &[]), Ok(4));
}

#[test]
fn functions_of_a_module_are_called_by_name_and_by_source() {
    let manager = manager(BackendChoice::Auto);
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/samples/bcod.smf");
    manager.compile_file(&path).unwrap();
    let all = names(&manager);
    assert_eq!(all, ["answer", "sum"]);
    assert_eq!(run(&manager, "sum", &[10]), Ok(55));
    assert!(manager.has_function(b"sum") && !manager.has_function(b"printf"));
    let source = "extern fn sum(n: i64) -> i64\nfn next(n: i64) -> i64: sum(n + 1)\n";
    manager.compile_source("s.spl", source).unwrap();
    assert_eq!(run(&manager, "next", &[9]), Ok(55));
    // SAFETY: the call is refused.
    let error = unsafe { manager.call_by_name(b"sum", &[1.5f64.into()]) }.unwrap_err();
    assert_eq!(error.to_string(), "argument 1 of function `sum` must be of type i64");
}

#[test]
fn function_that_is_compiled_hides_that_of_a_module_in_the_list_of_names() {
    let manager = manager(BackendChoice::Auto);
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/samples/bcod.smf");
    manager.compile_source("s.spl", "fn sum(n): n\nfn one(): 1\n").unwrap();
    manager.compile_file(&path).unwrap();
    assert_eq!(names(&manager), ["sum", "one", "answer"]);
}
