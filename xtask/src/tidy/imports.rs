//! Imports between files, from their `use` lines: cycles within a package, and imports against the layers of the core.
//!
//! Test files and test modules are left out. A `pub use` counts like any other. A path names the file that its longest
//! prefix names.

use std::collections::BTreeMap;

use super::source::Source;

/// The layers of the core. A module imports from lower layers only, never from another module of its own layer.
const LAYERS: &[(u8, &[&str])] = &[
    (0, &["plural", "printable", "trap_code"]),
    (1, &["alloc_util"]),
    (2, &["format", "memory"]),
    (3, &["ir", "types", "trap", "cache", "extract"]),
    (4, &["codegen", "bytecode", "source"]),
    (5, &["vm", "link"]),
    (6, &["exec", "loader", "templates"]),
];

/// The path of a module below the root of its package, such as `format`, `write`.
type Module = Vec<String>;

/// An import of one file by another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Import {
    from: Module,
    to: Module,
    line: usize,
}

impl Import {
    fn describe(&self) -> String {
        format!("{} (line {}) uses {}", shown(&self.from), self.line, shown(&self.to))
    }
}

fn shown(module: &[String]) -> String {
    if module.is_empty() { "the root".to_owned() } else { module.join("::") }
}

/// The imports between files, given with their paths below `src` and their texts.
pub(super) fn imports(files: &[(String, String)]) -> Vec<Import> {
    let modules: BTreeMap<Module, &str> = files
        .iter()
        .map(|(path, text)| (module_of(path), text.as_str()))
        .filter(|(module, _)| !is_test(module))
        .collect();
    let mut imports: Vec<Import> = Vec::new();
    for (from, text) in &modules {
        for (line, path) in Source::new(text).imports {
            let Some(to) = resolve(from, &path, &modules) else { continue };
            let is_known = imports.iter().any(|known| known.from == *from && known.to == to);
            if to != *from && !is_test(&to) && !is_known {
                imports.push(Import { from: from.clone(), to, line });
            }
        }
    }
    imports
}

fn module_of(path: &str) -> Module {
    let path = path.trim_end_matches(".rs");
    let mut module: Module = path.split('/').map(str::to_owned).collect();
    if module.last().is_some_and(|last| last == "mod") {
        module.pop();
    }
    if matches!(module.as_slice(), [only] if only == "lib" || only == "main") {
        module.clear();
    }
    module
}

/// Whether a module contains tests, or replaces the kernel in them.
pub(super) fn is_test(module: &[String]) -> bool {
    let is_tests = |part: &String| part == "tests" || part == "shim";
    let last = module.last().map_or("", String::as_str);
    let is_last = ["testing", "test", "tests"].contains(&last) || last.ends_with("_tests");
    is_last || module.iter().any(is_tests)
}

/// Whether a file below `src` holds tests.
pub(super) fn is_test_file(path: &str) -> bool {
    is_test(&module_of(path))
}

/// The file that a path names, if it lies in the package.
fn resolve(from: &[String], path: &[String], modules: &BTreeMap<Module, &str>) -> Option<Module> {
    let mut base = from.to_vec();
    let mut rest = path;
    match path.split_first() {
        Some((first, after)) if first == "crate" => {
            base.clear();
            rest = after;
        }
        Some((first, _)) if first == "super" || first == "self" => {
            while let Some((first, after)) = rest.split_first() {
                match first.as_str() {
                    "super" => drop(base.pop()),
                    "self" => {}
                    _ => break,
                }
                rest = after;
            }
        }
        Some((first, _)) => {
            let child = [from, std::slice::from_ref(first)].concat();
            modules.get(&child)?;
        }
        None => return None,
    }
    base.extend_from_slice(rest);
    while !modules.contains_key(&base) {
        base.pop()?;
    }
    Some(base)
}

/// Sets of files that import each other cyclically.
pub(super) fn cycles(imports: &[Import]) -> Vec<Vec<String>> {
    let mut names: Vec<&Module> = imports.iter().flat_map(|i| [&i.from, &i.to]).collect();
    names.sort_unstable();
    names.dedup();
    let reachable: Vec<Vec<bool>> = names.iter().map(|name| reach(name, &names, imports)).collect();
    let is_reached = |from: usize, to: usize| {
        reachable.get(from).and_then(|row| row.get(to)).copied().unwrap_or(false)
    };
    let mut found = Vec::new();
    let mut done = vec![false; names.len()];
    for first in 0..names.len() {
        let is_member = |other: &usize| is_reached(first, *other) && is_reached(*other, first);
        let members: Vec<usize> = (0..names.len()).filter(is_member).collect();
        if members.len() > 1 && !done.get(first).copied().unwrap_or(true) {
            members.iter().filter_map(|m| done.get_mut(*m).map(|d| *d = true)).for_each(drop);
            let of = |module: &Module| members.iter().any(|m| names.get(*m) == Some(&module));
            let inside = imports.iter().filter(|import| of(&import.from) && of(&import.to));
            found.push(inside.map(|import| import.describe()).collect());
        }
    }
    found
}

/// The subset of `names` that `start` reaches over at least one import.
fn reach(start: &Module, names: &[&Module], imports: &[Import]) -> Vec<bool> {
    let mut reached = vec![false; names.len()];
    let mut open = vec![start];
    while let Some(module) = open.pop() {
        for import in imports.iter().filter(|import| import.from == *module) {
            let Ok(index) = names.binary_search(&&import.to) else { continue };
            if let Some(seen @ false) = reached.get_mut(index) {
                *seen = true;
                open.push(&import.to);
            }
        }
    }
    reached
}

/// Imports from the same layer or a higher one, and of or by a module that is in no layer.
pub(super) fn upward(imports: &[Import]) -> Vec<String> {
    let layer = |module: &Module| {
        let first = module.first()?;
        LAYERS.iter().find(|(_, names)| names.contains(&first.as_str())).map(|(layer, _)| *layer)
    };
    let is_upward = |import: &&Import| {
        let crosses = import.from.first() != import.to.first();
        let [from, to] = [&import.from, &import.to].map(layer);
        crosses && !import.from.is_empty() && !import.to.is_empty() && (to.is_none() || from <= to)
    };
    imports.iter().filter(is_upward).map(Import::describe).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(files: &[(&str, &str)]) -> Vec<Import> {
        let owned = files.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned()));
        imports(&owned.collect::<Vec<_>>())
    }

    #[test]
    fn nested_use_tree_names_each_file() {
        let found = of(&[
            ("lib.rs", "pub mod a; pub mod b;"),
            ("a.rs", "use crate::b::{self, c::{X, Y as Z}};\n"),
            ("b/mod.rs", "mod c;"),
            ("b/c.rs", ""),
        ]);
        let to: Vec<String> = found.iter().map(|import| shown(&import.to)).collect();
        // `b::self` names `b`.
        assert_eq!(to, ["b", "b::c"]);
    }

    #[test]
    fn parent_that_reexports_a_child_which_uses_it_is_a_cycle() {
        let found = of(&[
            ("a/mod.rs", "mod b;\npub use b::B;\npub struct A;\n"),
            ("a/b.rs", "use super::A;\npub struct B(A);\n"),
        ]);
        let cycles = cycles(&found);
        assert_eq!(cycles, [["a (line 2) uses a::b", "a::b (line 1) uses a"]]);
    }

    #[test]
    fn files_that_form_a_tree_have_no_cycle() {
        let found = of(&[
            ("a/mod.rs", "mod b;\nmod c;\npub use b::B;\n"),
            ("a/b.rs", "use super::c::C;\n#[cfg(test)]\nuse super::B;\n"),
            ("a/c.rs", "// use super::b::B;\n"),
        ]);
        assert_eq!(cycles(&found), [[""; 0]; 0]);
    }

    #[test]
    fn import_of_a_higher_or_equal_layer_is_upward() {
        let found = of(&[
            ("format.rs", "use crate::link::Image;\nuse crate::alloc_util::AllocError;\n"),
            ("memory.rs", "use crate::format::Smf;\n"),
            ("link.rs", "use crate::memory::Mapping;\n"),
            ("alloc_util.rs", ""),
        ]);
        let expected = ["format (line 1) uses link", "memory (line 1) uses format"];
        assert_eq!(upward(&found), expected);
    }

    #[test]
    fn module_without_a_layer_is_found() {
        let found = of(&[
            ("lib.rs", "pub use unlisted::A;\n"),
            ("format.rs", "use crate::unlisted::A;\n"),
            ("unlisted.rs", "use crate::vm::Engine;\n"),
            ("vm.rs", ""),
        ]);
        assert_eq!(upward(&found), ["format (line 1) uses unlisted", "unlisted (line 1) uses vm"]);
    }
}
