//! Symbols of functions.

use super::run::*;
use crate::source::{Mode, SourceFile, Type, compile, instantiate};
use std::string::String;
use std::vec::Vec;

fn symbols(files: &[(&str, &str)]) -> Vec<String> {
    let file = |&(module, text)| SourceFile { name: module, module, text };
    let compiled = compile(&files.iter().map(file).collect::<Vec<_>>(), Mode::Compile).unwrap();
    let unit = compiled.unit.as_ref().unwrap_or_else(|| panic!("{:#?}", messages(&compiled)));
    unit.functions.iter().map(|function| function.symbol.clone()).collect()
}

#[test]
fn instances_for_pointers_are_called_by_their_targets() {
    let text = "struct W<T>:\n    v: T\n    fn get() -> T: self.v\nfn sz<T>(p: T, n: i64) -> i64: n\n\
                fn a(p: *const i64, q: *mut u8, r: *mut i64) -> i64: sz(p, 1) * 100 + sz(q, 2) * 10 + sz([r], 3)\n\
                fn b(p: *const i64, q: *const u8) -> bool: W(p).get() == W(p).get() and W(q).get() == q\n";
    let expected = [
        "sz$ptr._const.li64.g",
        "sz$ptr._mut.lu8.g",
        "sz$array._1.lptr._mut.li64.g.g",
        "W.get$ptr._const.li64.g",
        "W.get$ptr._const.lu8.g",
    ];
    let found = symbols(&[("t", text)]);
    let instances: Vec<_> = found.iter().filter(|symbol| symbol.contains('$')).collect();
    assert_eq!(instances, expected);
    assert_eq!(run(text, "a", &[0, 0, 0]), 123);
    let unit = unit_of(text, Mode::Compile);
    // The parameter itself is an address.
    let first = unit.functions.iter().find(|function| function.symbol == expected[0]).unwrap();
    assert_eq!(first.params, [Type::Pointer, Type::I64]);
    // A loader asks for them by these names.
    let template = unit.templates.iter().find(|template| template.name == "sz").unwrap();
    let types = Type::parse_arguments("*const u8").unwrap();
    let made = instantiate(file(&template.text), "sz", &types).unwrap();
    let made = made.unit.unwrap_or_else(|| panic!("{:?}", made.diagnostics));
    assert_eq!(made.functions[0].symbol, "sz$ptr._const.lu8.g");
}

#[test]
fn types_of_one_term_have_symbols_of_their_own() {
    let text = "struct array_3<T>:\n    v: T\nfn f<T>(x: T) -> i64: 4\n\
                fn g() -> i64: f(array_3(1)) + f([1, 2, 3])\n";
    let mut found = symbols(&[("t", text)]);
    assert_eq!(found.len(), 3);
    found.sort_unstable();
    found.dedup();
    assert_eq!(found, ["f$array._3.li64.g", "g", "t.f$array._3.li64.g"]);
    assert_eq!(run(text, "g", &[]), 8);
}

#[test]
fn methods_of_a_type_of_another_module_have_its_name() {
    let a = "struct P:\n    x: i64\nstruct Q:\n    x: i64\n";
    let text = "use a\nimpl a.P:\n    fn m() -> i64: 1\nimpl a.Q:\n    fn m() -> i64: 2\n";
    assert_eq!(symbols(&[("t", text), ("a", a)]), ["P.m", "Q.m"]);
}

#[test]
fn parameter_has_the_type_of_a_negative_default() {
    let text = "fn f(x = -1.5) -> f64: x\nfn g(x = -3) -> i64: x\nfn h(x = -3i32) -> i32: x\nfn k() -> bool: f() == -1.5\n";
    let unit = unit_of(text, Mode::Compile);
    let params: Vec<_> = unit.functions.iter().flat_map(|function| &function.params).collect();
    assert_eq!(params, [&Type::F64, &Type::I64, &Type::int(32, true)]);
    assert_eq!(manage(text, "k", &[]), 1);
}
