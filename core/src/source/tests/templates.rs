//! Instances of the text of templates.

use super::run::*;
use crate::source::{Mode, SourceFile, Type, compile, instantiate};
use std::vec::Vec;

/// The result of an instance that calls no function of the module.
fn instance(files: &[(&str, &str)], name: &str, types: &str, arguments: &[u64]) -> u64 {
    let files: Vec<_> =
        files.iter().map(|&(module, text)| SourceFile { name: module, module, text }).collect();
    let compiled = compile(&files, Mode::Compile).unwrap();
    let unit = compiled.unit.as_ref().unwrap_or_else(|| panic!("{:#?}", messages(&compiled)));
    let template = unit.templates.iter().find(|template| template.name == name).unwrap();
    let types = Type::parse_arguments(types).unwrap();
    let made = instantiate(file(&template.text), name, &types).unwrap();
    let unit = made.unit.as_ref();
    let unit = unit.unwrap_or_else(|| panic!("{}\n{:#?}", template.text, messages(&made)));
    let (result, _) = call_unit(unit, &unit.functions[0].symbol, arguments);
    result.unwrap_or_else(|stop| panic!("{}\n{stop}", template.text))
}

#[test]
fn type_with_methods_in_its_body_is_declared_once() {
    let text = "enum Op:\n    Nil\n    fn two() -> i64: 2\nstruct W:\n    p: i64\n    fn of() -> i64: self.p\n\
                struct V:\n    q: i64\nimpl V:\n    fn get() -> i64: self.q\n\
                pub fn g<T>(t: T) -> i64: W(3).of() + Op.Nil.two() + V(5).get()\n";
    assert_eq!(instance(&[("t", text)], "g", "i64", &[4]), 10);
}
