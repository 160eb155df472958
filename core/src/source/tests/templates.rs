//! Instances of the text of templates.

use super::run::*;
use crate::source::{Compiled, Mode, SourceFile, Type, compile, instantiate};
use std::string::{String, ToString};
use std::vec::Vec;

/// The text of a template, and its instance.
fn made(files: &[(&str, &str)], name: &str, types: &str) -> (String, Compiled) {
    let files: Vec<_> =
        files.iter().map(|&(module, text)| SourceFile { name: module, module, text }).collect();
    let compiled = compile(&files, Mode::Compile).unwrap();
    let unit = compiled.unit.as_ref().unwrap_or_else(|| panic!("{:#?}", messages(&compiled)));
    let template = unit.templates.iter().find(|template| template.name == name).unwrap();
    let types = Type::parse_arguments(types).unwrap();
    let made = instantiate(file(&template.text), name, &types).unwrap();
    (template.text.clone(), made)
}

/// The result of an instance that calls no function of the module.
fn instance(files: &[(&str, &str)], name: &str, types: &str, arguments: &[u64]) -> u64 {
    let (text, made) = made(files, name, types);
    let unit = made.unit.as_ref();
    let unit = unit.unwrap_or_else(|| panic!("{text}\n{:#?}", messages(&made)));
    let (result, _) = call_unit(unit, &unit.functions[0].symbol, arguments);
    result.unwrap_or_else(|stop| panic!("{text}\n{stop}"))
}

fn messages_of_instance(files: &[(&str, &str)], name: &str, types: &str) -> Vec<String> {
    messages(&made(files, name, types).1)
}

#[test]
fn type_with_methods_in_its_body_is_declared_once() {
    let text = "enum Op:\n    Nil\n    fn two() -> i64: 2\nstruct W:\n    p: i64\n    fn of() -> i64: self.p\n\
                struct V:\n    q: i64\nimpl V:\n    fn get() -> i64: self.q\n\
                pub fn g<T>(t: T) -> i64: W(3).of() + Op.Nil.two() + V(5).get()\n";
    assert_eq!(instance(&[("t", text)], "g", "i64", &[4]), 10);
}

#[test]
fn methods_of_each_instance_are_part_of_the_text() {
    let text = "struct B<T>:\n    v: T\nimpl B<i64>:\n    fn g() -> i64: 1\nimpl B<f64>:\n    fn g() -> i64: 20\n\
                pub fn g<T>(t: T) -> i64: B(1).g() + B(1.5).g() + B(t).g()\n";
    assert_eq!(instance(&[("t", text)], "g", "f64", &[4]), 41);
}

#[test]
fn function_inside_another_is_part_of_its_text() {
    let text = "fn a<T>(x: T) -> i64:\n    fn inner(y: i64) -> i64: y + 1\n    inner(x as i64)\n\
                fn b(x: i64) -> i64:\n    fn inner(y: i64) -> i64: y * 2\n    inner(x)\n";
    assert_eq!(instance(&[("t", text)], "a", "i64", &[4]), 5);
    // The IR would call a symbol that the module does not export.
    assert!(unit_of(text, Mode::Compile).templates[0].ir.is_none());
}

/// Found: the text lacked what only the inner function mentions.
#[test]
fn text_has_what_a_function_inside_another_mentions() {
    let text = "const K = 4\nfn help<T>(x: T) -> i64: K + 1\nfn plain(mut x: i64) -> i64:\n    \
                fn inner(y: i64) -> i64: help(y) * 10\n    inner(x)\n\
                fn a<T>(x: T) -> i64:\n    fn inner(y: i64) -> i64:\n        \
                fn most(z: i64) -> i64: help(z) + plain(z)\n        most(y)\n    inner(x as i64)\n";
    assert_eq!(instance(&[("t", text)], "a", "i64", &[4]), 55);
}

#[test]
fn instance_has_the_lines_and_files_of_the_program() {
    let a = "# The first line.\n\nconst K = 4\nfn check(x: i64 = 7) -> i64:\n    assert x > K, \"more\"\n    x\n";
    let text = "fn after(x: i64) -> i64: x\nuse a.{check}\n\n\nfn g<T>(x: T) -> i64:\n    assert (x as i64) != 3, \"not three\"\n\
                \n    check(x as i64)\nstruct P:\n    x: i64\n\n    fn of() -> i64:\n        assert self.x > 0, \"positive\"\n        1\n\
                \nfn h<T>(x: T) -> i64: P(x as i64).of() + after(1)\n";
    let lines = |made: &Compiled| {
        let unit = made.unit.as_ref().unwrap();
        let functions = unit.functions.iter().map(|function| {
            let assertion = function.assertions.first().map_or(0, |assertion| assertion.line);
            let line = (function.line, function.last_line, assertion);
            (function.symbol.clone(), unit.file(function).to_string(), line)
        });
        functions.collect::<Vec<_>>()
    };
    let found = |symbol: &str, file: &str, lines| (symbol.to_string(), file.to_string(), lines);
    let files = [("t", text), ("a", a)];
    let expected = [found("g$i64", "t", (5, 8, 6)), found("check", "a", (4, 6, 5))];
    assert_eq!(lines(&made(&files, "g", "i64").1), expected);
    // Far behind the declaration before, the text does not grow with the lines between.
    let far = text.replace("fn g<T>", &std::format!("{}fn g<T>", "# A comment.\n".repeat(3000)));
    let (body, instance) = made(&[("t", &far), ("a", a)], "g", "i64");
    assert!(body.len() < 400, "{body}");
    let expected = [found("g$i64", "t", (3005, 3008, 3006)), found("check", "a", (4, 6, 5))];
    assert_eq!(lines(&instance), expected);
    // A file without imports.
    let text = text.replace("use a.{check}", "").replace("check(", "after(");
    let expected = [found("h$i64", "t", (16, 16, 0)), found("P.of", "t", (12, 14, 13))];
    assert_eq!(lines(&made(&[("t", &text)], "h", "i64").1), expected);
}

/// A name may be that of a function of each module, of a constant, and of a type.
#[test]
fn text_has_the_names_of_each_module() {
    let m = "pub fn max<T>(a: T, b: T) -> T: if a > b: a else: b\npub const K = 7\npub fn f(x: i64) -> i64: x + K\n\
             pub struct P:\n    x: i64\n    fn get() -> i64: self.x + 1\n";
    let b = "use m\npub const K = 70\npub fn f(x: i64) -> i64: x + K\npub struct P:\n    x: i64\n    fn get() -> i64: self.x + m.K\n";
    let text = "use m\nuse b.{f as ff, P}\npub fn max<T>(a: T, b: T) -> T: m.max(a, b)\n\
                pub fn g<T>(t: T) -> T: max(t, t + 1)\n\
                fn f(x: i64) -> i64: x\n\
                pub fn h<T>(t: T) -> i64: f(1) + m.f(1) + ff(1) + m.P(x: 1).get() + P(2).get()\n\
                pub fn p<T>(t: T) -> i64: t.x\n";
    let files = [("t", text), ("m", m), ("b", b)];
    assert_eq!(instance(&files, "g", "i64", &[4]), 5);
    assert_eq!(instance(&files, "h", "i64", &[4]), 1 + 8 + 71 + 2 + 9);
    assert_eq!(messages_of_instance(&files, "p", "P"), [""; 0]);
    assert_eq!(instance(&files, "m.max", "i64", &[4, 3]), 4);
}

#[test]
fn text_has_imports_under_other_names() {
    let a = "pub fn f(x: i64) -> i64: x + 1\npub fn over(x: i64 = 5) -> i64: x\n";
    let text = "use a.{f as ff}\nuse a as other\nfn a2(x: i64) -> i64: x\n\
                pub fn g<T>(t: T) -> i64: ff(3) + a2(1) + other.over()\n\
                pub fn v<T>(t: T) -> i64:\n    val F = ff\n    val G = a2\n    F(3) + G(4)\n";
    let files = [("t", text), ("a", a)];
    assert_eq!(messages_of_instance(&files, "g", "i64"), [""; 0]);
    assert_eq!(instance(&files, "v", "i64", &[0]), 8);
}

/// The text has no marks, which hide the function of `a` from `t` and `c`.
#[test]
fn text_calls_the_function_that_a_private_one_does_not_hide() {
    let a = "pub fn ga<T>(x: T) -> i64: helper(x) + other(1)\nfn helper<T>(x: T) -> i64: 1\n\
             fn other(x: i64) -> i64: 2\n";
    let b = "pub fn helper<T>(x: T) -> i64: 20\npub fn other(x: i64 = 7) -> i64: 300 * x\n";
    let c = "use p.b.*\nuse a.*\npub fn gc<T>(x: T) -> i64: helper(x) + ga(x)\n";
    let text = "use a.*\nuse p.b.*\nuse c.*\n\
                pub fn g<T>(x: T) -> i64: helper(x) + ga(x) + other() * gc(x)\npub fn h<T>(x: T) -> i64: ga(x)\n";
    let files = [("t", text), ("a", a), ("p.b", b), ("c", c)];
    assert_eq!(instance(&files, "g", "i64", &[4]), 20 + 3 + 2100 * 23);
    assert_eq!(instance(&files, "h", "i64", &[4]), 3);
}

/// Found: only functions were imported by name.
#[test]
fn text_has_the_declaration_that_a_private_function_does_not_hide() {
    let a = "pub fn ga<T>(x: T) -> i64: limit(x) + 1\nfn limit<T>(x: T) -> i64: 1\n";
    let declared = [
        ("pub const limit = 20\n", "limit"),
        ("pub struct limit:\n    x: i64\n", "limit(x: 20).x"),
    ];
    for (b, used) in declared {
        let text = std::format!("use a.*\nuse b.*\npub fn g<T>(x: T) -> i64: {used} + ga(x)\n");
        let files = [("t", &*text), ("a", a), ("b", b)];
        assert_eq!(instance(&files, "g", "i64", &[4]), 22, "{used}");
    }
}

#[test]
fn functions_that_are_values_are_copied() {
    let a = "pub fn f(x: i64) -> i64: x + twice(1)\nfn twice(x: i64) -> i64: 2 * x\n";
    let text = "use a\nfn ap(f: fn(i64) -> i64, x: i64) -> i64: f(x)\n\
                pub fn g<T>(t: T) -> i64:\n    val F = a.f\n    F(1) + F(2)\n\
                export g\n";
    assert_eq!(instance(&[("t", text), ("a", a)], "g", "i64", &[4]), 7);
    let text = "fn ap(f: fn(i64) -> i64, x: i64) -> i64: f(x)\npub fn h(x: i64) -> i64: x + 1\n\
                pub fn g<T>(t: T) -> i64: ap(h, 3)\n";
    assert_eq!(instance(&[("t", text)], "g", "i64", &[4]), 4);
}

#[test]
fn text_has_the_functions_that_it_mentions() {
    let a = "pub fn by_item<T>(t: T) -> T: by_other(t)\npub fn by_other<T>(t: T) -> T: t\n\
             pub fn not_used<T>(t: T) -> T: t\n";
    let text = "use a.{by_item as item}\nuse a\n\
                fn direct<T>(t: T) -> i64: t as i64\n\
                fn generic<T>(t: T) -> i64: direct(t)\n\
                fn by_text(t: i64) -> i64: t\n\
                fn by_default(t: i64) -> i64: t\n\
                fn by_copied(t: i64 = by_default(2)) -> i64: t\n\
                const K = 4\n\
                fn by_method(x: i64) -> i64: x\n\
                struct P:\n    x: i64\n    fn get() -> i64: by_method(self.x)\n\
                fn g<T>(t: T) -> i64:\n    print \"{by_text(3)}\"\n    generic<T>(t) + by_copied() + K\n\
                fn other<T>(t: T) -> i64: behind(t as i64)\n\
                fn behind(t: i64) -> i64: t\n\
                fn main():\n    print \"{behind(1)}\"\n";
    let files = [("t", text), ("a", a)];
    let has = |name: &str| {
        let (body, _) = made(&files, name, "i64");
        let declared = |word: &&str| {
            ["<", "("].iter().any(|end| body.contains(&std::format!("fn {word}{end}")))
        };
        let names = "direct generic by_text by_default by_copied by_method g other behind main by_item by_other not_used";
        names.split(' ').filter(declared).collect::<Vec<_>>().join(" ")
    };
    let always = "by_method";
    let imported = "by_item by_other";
    assert_eq!(
        has("g"),
        std::format!("direct generic by_text by_default by_copied {always} g {imported}")
    );
    assert_eq!(has("direct"), std::format!("direct {always} {imported}"));
    assert_eq!(has("other"), std::format!("{always} other behind {imported}"));
    for name in ["g", "direct", "other"] {
        assert_eq!(messages_of_instance(&files, name, "i64"), [""; 0]);
    }
}

#[test]
fn instance_of_a_template_has_the_operations_of_its_bounds() {
    let unit = unit_of(
        "fn keep<T: Num>(a: T) -> T: a\n\
         fn second<A, B>(a: A, b: B) -> B where B: Ord + Int: b\n\
         fn deep<T>(a: T) -> T: keep(a)\n",
        Mode::Compile,
    );
    let bounds = unit.templates.iter().flat_map(|template| &template.type_params);
    let bounds: Vec<_> = bounds.map(|param| (&*param.name, param.bounds.join(" + "))).collect();
    let expected = [("T", "Num"), ("A", ""), ("B", "Ord + Int"), ("T", "")];
    assert_eq!(bounds, expected.map(|(name, bounds)| (name, bounds.to_string())));
    let has_ir: Vec<_> = unit.templates.iter().map(|template| template.ir.is_some()).collect();
    assert_eq!(has_ir, [false, false, true]);
    for (name, types, expected) in [
        ("keep", "i64", ""),
        ("keep", "bool", "`bool` does not have the operations of `Num`, which `keep` asks for"),
        ("second", "bool, u8", ""),
        (
            "second",
            "u8, f64",
            "`f64` does not have the operations of `Int`, which `second` asks for",
        ),
        ("deep", "f32", ""),
        ("deep", "bool", "`bool` does not have the operations of `Num`, which `keep` asks for"),
    ] {
        let template = unit.templates.iter().find(|template| template.name == name).unwrap();
        let types = Type::parse_arguments(types).unwrap();
        let made = instantiate(file(&template.text), name, &types).unwrap();
        let message = made.diagnostics.first().map_or("", |error| &error.message);
        assert_eq!((message, made.unit.is_some()), (expected, expected.is_empty()), "{name}");
    }
}

/// A line of a declaration may look like one that stands for empty lines.
#[test]
fn text_keeps_the_lines_of_declarations() {
    let far = "# A comment.\n".repeat(20);
    let text = std::format!(
        "fn g<T>(x: T) -> T:\n#:line\t3\n    print \"\"\"a\n#:line\t4\n#:line\t0\nb\"\"\"\n    x\n{far}\
         fn h<T>(x: T) -> T:\n    assert x != x, \"never\"\n    g(x)\n"
    );
    let (body, made) = made(&[("t", &text)], "h", "i64");
    assert!(body.contains("#:line\t"), "{body}");
    let unit = made.unit.as_ref().unwrap_or_else(|| panic!("{body}\n{:#?}", messages(&made)));
    let line = |symbol: &str| unit.functions.iter().find(|f| f.symbol == symbol).unwrap().line;
    assert_eq!((line("g$i64"), line("h$i64")), (1, 28));
    let (result, out) = call_unit(unit, "g$i64", &[7]);
    assert_eq!((result, out.as_str()), (Ok(7), "a\n#:line\t4\n#:line\t0\nb\n"));
}

#[test]
fn text_has_the_constants_that_it_mentions() {
    let a = "pub const A = 2\npub const IMPORTED = 3\npub const NOT = 4\n";
    let text = "use a.{IMPORTED}\nuse a\n\
                const BY_CONST = 1\nconst BY_TEXT = BY_CONST + 1\nconst BY_PATTERN = 6\nconst BY_TYPE = 2\n\
                const BY_LENGTH = 3\nconst BY_DEFAULT = 5\nconst BY_METHOD = 9\nconst BY_CALLED = 8\nconst OTHER = 7\n\
                struct P:\n    x: [i64; BY_TYPE]\n    fn get() -> i64: self.x[0] + BY_METHOD\n\
                fn by_call<T>(t: T, d: i64 = BY_DEFAULT) -> i64: BY_CALLED + d\n\
                fn other<T>(t: T) -> i64: OTHER\n\
                fn g<T>(t: T) -> i64:\n    val x = [0; BY_LENGTH]\n    print \"{BY_TEXT}\"\n    \
                match t as i64:\n        case BY_PATTERN: 1\n        case a.A: 2\n        case _: by_call(t) + x[0]\n";
    let files = [("t", text), ("a", a)];
    let has = |name: &str| {
        let (body, _) = made(&files, name, "i64");
        let words = "A IMPORTED NOT BY_CONST BY_TEXT BY_PATTERN BY_TYPE BY_LENGTH BY_DEFAULT BY_METHOD BY_CALLED OTHER";
        let declared = |word: &&str| body.contains(&std::format!("const {word} "));
        words.split(' ').filter(declared).collect::<Vec<_>>().join(" ")
    };
    let always = ["IMPORTED", "BY_TYPE", "BY_METHOD"];
    assert_eq!(
        has("g"),
        "A IMPORTED BY_CONST BY_TEXT BY_PATTERN BY_TYPE BY_LENGTH BY_DEFAULT BY_METHOD BY_CALLED"
    );
    assert_eq!(has("other"), [&always[..], &["OTHER"]].concat().join(" "));
    for name in ["g", "other", "by_call"] {
        assert_eq!(messages_of_instance(&files, name, "i64"), [""; 0]);
    }
    assert_eq!(instance(&files, "g", "i64", &[2]), 2);
    assert_eq!(instance(&files, "g", "i64", &[3]), 13);
}

/// As those that the text of the template has.
#[test]
fn possible_instances_are_those_that_can_be_made() {
    let chain = |index: usize| std::format!("fn t{}<T>(x: T) -> T: t{index}(x)\n", index + 1);
    let chain: String = (0..60).map(chain).collect();
    let text = std::format!(
        "const K: [i64] = [1, 2, 3]\nstruct P:\n    x: i64\nfn plain(x: i64) -> i64: x\n\
         fn any<T>(x: T) -> T: x\nfn order<T>(a: T, b: T) -> bool: a < b\nfn whole<T>(x: T) -> i64: K[x & 1]\n\
         fn both<A, B>(a: A, b: B) -> A: a + any(b)\nfn three<A, B, C>(a: A, b: B, c: C) -> A: a\n\
         fn bound<T: Float>(x: T) -> T: x\nfn calls<T>(x: T) -> T: bound(x)\nfn none<T>(x: T) -> i64: x.y\n\
         fn memory<T>(x: T) -> i64:\n    val a = [x; 3]\n    plain(a[1])\n\
         fn recursive<T>(x: T): if x > x: recursive(x) else: x\nfn deep<T>(x: T) -> i64: deep((x, x))\n\
         fn t0<T>(x: T) -> T: x + x\n{chain}fn main() -> i64: any(4)\n"
    );
    let unit = unit_of(&text, Mode::Compile);
    assert!(unit.functions.iter().any(|function| function.symbol == "any$i64"));
    let shown = |types: &[Type]| types.iter().map(Type::to_string).collect::<Vec<_>>().join(" ");
    let all = ["i64", "f64", "i32", "bool"];
    let mut listed = 0;
    for template in &unit.templates {
        let possible: Vec<_> = template.possible.iter().map(|types| shown(types)).collect();
        let combinations: Vec<String> = match template.type_params.len() {
            1 => all.map(String::from).to_vec(),
            2 => all.iter().flat_map(|b| all.map(|a| std::format!("{a} {b}"))).collect(),
            _ => Vec::new(),
        };
        let accepted = combinations.into_iter().filter(|types| {
            let types = Type::parse_arguments(&types.replace(' ', ", ")).unwrap();
            let made = instantiate(file(&template.text), &template.name, &types).unwrap();
            made.unit.is_some()
        });
        assert_eq!(possible, accepted.collect::<Vec<_>>(), "{}", template.name);
        listed += possible.len();
    }
    assert!(listed > 100, "{listed}");
    assert!(unit_of(&text, Mode::Manager).templates.iter().all(|t| t.possible.is_empty()));
}

/// The IR would have them for other types than the language.
#[test]
fn complement_and_range_of_a_type_parameter_are_made_of_the_text() {
    let text = "fn inverted<T>(a: T) -> T: ~a\nfn negated<T>(a: T) -> T: -a\n\
                fn sum<T>(n: T) -> T:\n    var t = n\n    for i in 0..n: t = t + i\n    t\n";
    let unit = unit_of(text, Mode::Compile);
    let found: Vec<_> = unit.templates.iter().map(|one| (&*one.name, one.ir.is_some())).collect();
    assert_eq!(found, [("inverted", false), ("negated", true), ("sum", false)]);
}
