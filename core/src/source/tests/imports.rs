//! Which module an import means.

use super::run::*;
use crate::source::diagnostic::{Diagnostics, File};
use crate::source::imports::joined;
use crate::source::names::Names;
use crate::source::syntax::UseDecl;
use crate::source::{Compiled, Mode, SourceFile, compile, imports, parser};
use std::format;
use std::string::{String, ToString};
use std::vec::Vec;

/// The program of modules with these names and texts.
fn program(files: &[(&str, &str)]) -> Compiled {
    let file = |&(module, text)| SourceFile { name: module, module, text };
    compile(&files.iter().map(file).collect::<Vec<_>>(), Mode::Compile).unwrap()
}

/// The result of `f` of the first file.
fn result(files: &[(&str, &str)]) -> u64 {
    let compiled = program(files);
    let unit = compiled.unit.as_ref();
    let unit = unit.unwrap_or_else(|| panic!("{files:#?}\n{:#?}", messages(&compiled)));
    call_unit(unit, "main_value", &[]).0.unwrap()
}

fn errors(files: &[(&str, &str)]) -> Vec<String> {
    messages(&program(files))
}

#[test]
fn module_beside_the_file_that_imports_it_is_meant() {
    let main = "use a.x\nuse b.y\nfn main_value() -> i64: x.get() * 10 + y.get()\n";
    let user = "use util\nfn get() -> i64: util.value()\n";
    let (one, two) = ("fn value() -> i64: 1\n", "fn value() -> i64: 2\n");
    let beside = [("t", main), ("a.x", user), ("b.y", user), ("a.util", one), ("b.util", two)];
    assert_eq!(result(&beside), 12);
    // One below the directory of the program precedes it.
    let [t, x, y, a, _] = beside;
    assert_eq!(result(&[t, x, y, a, ("util", two)]), 22);
    // An item of it, and one deeper.
    let user = "use util.value\nfn get() -> i64: value()\n";
    assert_eq!(result(&[t, ("a.x", user), ("b.y", user), beside[3], beside[4]]), 12);
    let user = "use deep.util.{value as v}\nfn get() -> i64: v()\n";
    let deep = [("a.deep.util", one), ("b.deep.util", two)];
    assert_eq!(result(&[t, ("a.x", user), ("b.y", user), deep[0], deep[1]]), 12);
}

#[test]
fn path_of_another_module_is_not_found() {
    let (util, shapes) = (("util", "fn value() -> i64: 1\n"), ("geo.shapes", ""));
    for path in ["nosuch.util", "geo.util", "shapes", "geo.shapes.util"] {
        for (items, found) in [("", path), (".*", path), (".{value}", path), (" as x", path)] {
            let main = format!("use {path}{items}\n");
            let expected = format!("1: E1303: module `{found}` not found");
            let found = errors(&[("t", &main), util, shapes]);
            let is_item = path == "geo.shapes.util" && !items.starts_with('.');
            let of_module = "1: E1301: module `geo.shapes` declares no `util`";
            assert_eq!(found, [if is_item { of_module } else { &expected }], "{main}");
        }
    }
    // Of the file itself, which is not below `geo`.
    let errors = errors(&[("shapes", "use geo.shapes\n")]);
    assert_eq!(errors, ["1: E1303: module `geo.shapes` not found"]);
}

#[test]
fn item_of_a_module_is_meant_whatever_other_modules_are_called() {
    let main = "use other\nuse geo.area\nfn main_value() -> i64: area(3) + other.get()\n";
    let files = [
        ("t", main),
        ("geo", "fn area(x: i64) -> i64: x * x\n"),
        ("other", "use area\nfn get() -> i64: area.total()\n"),
        ("area", "fn total() -> i64: 9\n"),
    ];
    assert_eq!(result(&files), 18);
}

/// Also behind mistakes, as the errors of a program do not depend on them.
#[test]
fn imports_are_those_of_the_whole_file() {
    let text = "\u{feff}# use comment\nuse one\nfn f(x: i64) -> i64:\n    val from = \"use text\"\n    use inner\n    x\n\
                pub use two.{x,\n  y}; export use three.*\n@allow(all) use four\n@allow(all)\nuse five as use_five\n\
                import six\nfrom seven import x\nstruct S:\n    use: i64\n    from: i64\n\
                val from = \"\"\"\nuse raw\n\"\"\"\nfn g(: i64\nuse eight::nine\nx = \\\n  use_it\nuse lazy ten\nuse .eleven\n\
                fn h(from: i64):\n    use inner\nif true:\n    pass\n  use twelve\nuse last";
    let lines = "use a|\u{feff}use a|#[x] use a|pub use a|@allow(all) use a|x = 1; use a|  use a|\u{e9}use a|use\\\n a|\
                 /* c */ use a|# use a|fn f(): 1 # use a|import a|from a import b|use::a|use";
    let behind_comment = "/* head\n# end */ use lib2";
    let parts = text.char_indices().filter(|&(_, c)| c == '\n').map(|(start, _)| &text[start..]);
    for text in parts.chain([text, behind_comment]).chain(lines.split('|')) {
        let found = imports("t", text).unwrap();
        let found: Vec<&str> = found.iter().map(|names| names[0].as_str()).collect();
        let (file, mut names) = (File::new("", text).unwrap(), Names::default());
        let tree = parser::parse(&file, &mut names, &mut Diagnostics::new()).unwrap();
        let path = |import: &UseDecl| joined(&names, tree.list(import.path), ".").to_string();
        assert_eq!(found, tree.uses.iter().map(path).collect::<Vec<_>>(), "{text}");
    }
    assert_eq!(imports("t", text).unwrap().len(), 7);
}

#[test]
fn import_may_mean_modules_of_two_directories() {
    assert_eq!(imports("t", "use a.b\n").unwrap(), [["a.b", "a"]]);
    let found = imports("a.b.t", "use c.d\nuse c.d.{e}\nuse e\n").unwrap();
    let expected = [&["c.d", "a.b.c.d", "c", "a.b.c"][..], &["c.d", "a.b.c.d"], &["e", "a.b.e"]];
    assert_eq!(found, expected);
}

#[test]
fn imports_do_not_depend_on_the_order_of_files() {
    let b = ("b", "fn x() -> i64: 4\n");
    let get = "fn main_value() -> i64: c.z()\n";
    for import in ["use b.{x}", "use b.*", "use b.x"] {
        let a = format!("{import}\nfn y() -> i64: x()\n");
        let c = "use a.{x, y}\nfn z() -> i64: x() + y()\n";
        for uses in ["use a\nuse c\n", "use c\nuse a\n"] {
            let main = format!("{uses}{get}");
            let [a, c] = [("a", &*a), ("c", c)];
            assert_eq!(result(&[("t", &main), a, c, b]), 8, "{import}");
            assert_eq!(result(&[("t", &main), c, a, b]), 8, "{import}");
            assert_eq!(result(&[("t", &main), b, c, a]), 8, "{import}");
        }
    }
    // All that a module declares is not what it imports.
    let (a, c) = (("a", "use b.{x}\n"), ("c", "use a.*\nfn z() -> i64: x()\n"));
    let main = ("t", "use a\nuse c\nfn main_value() -> i64: c.z()\n");
    for files in [[main, a, c, b], [main, c, b, a]] {
        assert_eq!(errors(&files), ["2: E1301: name `x` not found"]);
    }
}

#[test]
fn private_function_yields_to_one_of_another_module() {
    let a = ("a", "pub fn f() -> i64: 1\n");
    let b = ("b", "pub fn g() -> i64: 5\nfn f() -> i64: 2\n");
    let c = ("c", "pub fn h() -> i64: 7\nfn f() -> i64: 3\n");
    for uses in ["use a.*\nuse b.*\n", "use b.*\nuse a.*\n", "use b.*\nuse c.*\nuse a.*\n"] {
        let main = format!("{uses}fn main_value() -> i64: f() + g()\n");
        assert_eq!(result(&[("t", &main), a, b, c]), 6, "{uses}");
    }
    // Its own function stays, though it is marked and the other is not.
    let main = "use a.*\nfn f() -> i64: 10\npub fn main_value() -> i64: f()\n";
    assert_eq!(result(&[("t", main), a]), 10);
    let main = "use b.*\nuse c.*\nfn main_value() -> i64: f() + h()\n";
    assert_eq!(errors(&[("t", main), b, c]), ["3: E1301: function `f` is private to module `b`"]);
    let main = "use a.*\nuse d.*\nfn main_value() -> i64: f()\n";
    let found = errors(&[("t", main), a, ("d", a.1)]);
    assert_eq!(found, ["3: E1302: several modules that are imported with `*` declare `f`"]);
}

#[test]
fn exported_name_is_one_of_the_file() {
    let rest = "fn helper() -> i64: 3\nfn main() -> i64: helper()\n";
    let text = format!("export mian, helper, nosuch\n{rest}");
    let compiled = program(&[("t", &text)]);
    let found = messages(&compiled);
    let expected = ["mian", "nosuch"].map(|n| format!("1: E1301: the file declares no `{n}`"));
    assert_eq!(found, expected);
    let notes: Vec<_> = compiled.diagnostics.iter().map(|d| d.note.as_deref()).collect();
    assert_eq!(notes, [Some("a similar name is `main`"), None]);
    for text in [
        format!("export main, helper\n{rest}"),
        format!(
            "export K, P, E, T\nconst K = 1\nstruct P:\n    x: i64\nenum E:\n    A\ntype T = P\n{rest}"
        ),
        format!("use lib.{{g}}\nexport g, main\n{rest}"),
        format!("use lib.*\nexport g\n{rest}"),
        format!("use lib\nexport lib\n{rest}"),
    ] {
        assert_eq!(errors(&[("t", &text), ("lib", "fn g() -> i64: 1\n")]), [""; 0], "{text}");
    }
    // One mistake is one error.
    for text in [
        "use nosuch.{g}\nexport g\n",
        "use nosuch.*\nexport g\n",
        "export C\nclass C:\n    x: i64\n",
    ] {
        assert_eq!(errors(&[("t", text)]).len(), 1, "{text}");
    }
}
