//! Arguments and results of calls by name.
#![allow(unsafe_code)]

use super::*;

#[test]
fn call_without_the_address_of_a_result_in_memory_is_refused_as_such() {
    let source = "enum Color:\n    Red\n    Blue\nfn pair(a) -> (i64, i64): (a, 2)\nfn color(c) -> Color: Color.Blue\n";
    for backend in backends() {
        let manager = manager(backend);
        manager.compile_source("a.spl", source).unwrap();
        let expected =
            "function `pair` returns its value in memory: the first argument is an address for it";
        assert_eq!(run(&manager, "pair", &[1]), Err(expected.to_owned()));
        assert_eq!(text(&manager, "pair", &["1", "2", "3"]), Err(expected.to_owned()));
        // An enum without payloads is an integer.
        assert_eq!(run(&manager, "color", &[1]), Ok(1));
        assert!(run(&manager, "color", &[]).unwrap_err().contains("takes 1 argument"));
        let mut pair = [0_i64; 2];
        let address = (&raw mut pair).expose_provenance() as i64;
        assert_eq!(run(&manager, "pair", &[address, 40]), Ok(0));
        // SAFETY: read after the function has written it.
        assert_eq!(unsafe { (&raw const pair).read_volatile() }, [40, 2]);
    }
}

#[test]
fn integers_are_no_addresses_of_texts() {
    let source = "\
fn hello() -> text: \"a\"
fn length(t: text) -> i64: t.len()
";
    let manager = manager(BackendChoice::Native);
    manager.compile_source("t.spl", source).unwrap();
    for (name, arguments) in [("hello", &[5][..]), ("length", &[1, 1])] {
        let error = run(&manager, name, arguments).unwrap_err();
        assert!(error.contains("is called with texts only"), "{name}: {error}");
    }
}

#[test]
fn wrong_number_of_arguments_names_the_parameter_that_is_more_than_one() {
    let source = "\
fn hello() -> text: \"a\"
fn length(n: i64, t: text) -> i64: t.len() + n
fn first(n: i64, xs: [i64]) -> i64: xs[n]
fn pair(a: i64) -> (i64, i64): (a, a)
";
    let manager = manager(BackendChoice::Auto);
    manager.compile_source("t.spl", source).unwrap();
    let only = "a text, so that the function is called with texts only (`call_text`, `rt_exec_manager_execute_string`)";
    let array = "parameter `xs` of function `first` is an array, whose address and length are two arguments: the function takes 3, and 1 is given";
    let memory =
        "function `pair` returns its value in memory: the first argument is an address for it";
    for (name, arguments, expected) in [
        ("hello", &[][..], format!("function `hello` returns {only}")),
        ("length", &[1], format!("parameter `t` of function `length` is {only}")),
        ("first", &[1], array.to_owned()),
        ("pair", &[1], memory.to_owned()),
    ] {
        let values: Vec<Value> = arguments.iter().map(|&n: &i64| n.into()).collect();
        // SAFETY: the calls are refused.
        let error = unsafe { manager.call_by_name(name.as_bytes(), &values) }.unwrap_err();
        assert_eq!(error.to_string(), expected);
        let function = manager.find(name.as_bytes()).unwrap();
        // SAFETY: as above.
        let error = unsafe { manager.call(&function, &values) }.unwrap_err();
        assert_eq!(error.to_string(), expected);
        assert_eq!(run(&manager, name, arguments), Err(expected));
    }
    assert_eq!(
        text(&manager, "length", &["1"]).unwrap_err(),
        "function `length` takes 2 arguments, and 1 is given"
    );
    assert_eq!(text(&manager, "first", &["1"]).unwrap_err(), array);
    let numbers = [40_i64, 42];
    let arguments = [1, (&raw const numbers).expose_provenance() as i64, 2];
    assert_eq!(run(&manager, "first", &arguments), Ok(42));
}

#[test]
fn results_are_text_numbers_or_nothing() {
    let source = "\
fn name(i) -> text:
    if i == 0: \"zero\" else: \"more\"
fn half(x) -> f64: x as f64 / 2.0
fn pick(first: bool, a: text, b: text) -> text:
    if first: a else: b
fn is_odd(x) -> bool: x % 2 != 0
fn nothing():
    pass
";
    for backend in backends() {
        let manager = manager(backend);
        manager.compile_source("r.spl", source).unwrap();
        assert_eq!(text(&manager, "name", &["0"]), Ok("zero".to_owned()));
        assert_eq!(text(&manager, "name", &["7"]), Ok("more".to_owned()));
        assert_eq!(text(&manager, "half", &["7"]), Ok("3.5".to_owned()));
        assert_eq!(text(&manager, "is_odd", &["7"]), Ok("true".to_owned()));
        assert_eq!(text(&manager, "nothing", &[]), Ok(String::new()));
        assert_eq!(text(&manager, "pick", &["false", "no", "yes"]), Ok("yes".to_owned()));
        let wrong = text(&manager, "pick", &["0", "no", "yes"]).unwrap_err();
        assert_eq!(wrong, "argument 1 of function `pick` is no value of type bool");
        assert_eq!((run(&manager, "is_odd", &[7]), run(&manager, "nothing", &[])), (Ok(1), Ok(0)));
        let float = run(&manager, "half", &[7]).unwrap_err();
        assert_eq!(float, "function `half` returns a value of type f64, which is not an integer");
        let count = text(&manager, "name", &[]).unwrap_err();
        assert_eq!(count, "function `name` takes 1 argument, and 0 are given");
        assert_eq!(run(&manager, "absent", &[]).unwrap_err(), "no function `absent`");
    }
}

#[test]
fn integer_that_the_parameter_lacks_is_refused() {
    let manager = manager(BackendChoice::Auto);
    manager
        .compile_source("n.spl", "fn small(x: u8) -> i64: x as i64\nfn f(x: f64) -> i64: 1\n")
        .unwrap();
    assert_eq!(run(&manager, "small", &[255]), Ok(255));
    let error = run(&manager, "small", &[256]).unwrap_err();
    assert_eq!(error, "argument 1 of function `small`: 256 is no value of type u8");
    let error = run(&manager, "f", &[1]).unwrap_err();
    assert_eq!(error, "argument 1 of function `f`: 1 is no value of type f64");
    // SAFETY: the function accesses no memory.
    let typed = unsafe { manager.call_by_name(b"f", &[Value::from(0.5)]) };
    assert_eq!(typed.unwrap(), Some(1i64.into()));
}
