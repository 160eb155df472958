//! `cargo xtask load-order`: writes the list of functions in `shell/capi/load_order.ld`.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use super::{FEATURES, PREFIX, functions, matches, without_hashes};
use crate::error::{At, Error};
use crate::install::{self, Directories};
use crate::library;
use crate::shell::{Command, cargo, command, root, target};

/// A module and how it is loaded. The functions of the first come first in the list.
const LOADS: [[&str; 2]; 4] =
    [["map", "small"], ["copy", "small"], ["map", "large"], ["copy", "large"]];

/// A name without hashes that more functions have is listed last: of the instances of a generic function a load calls few.
const MANY: usize = 4;

/// Runs programs that load a module, and writes the functions of the library that they call.
pub(crate) fn run() -> Result<(), Error> {
    let directory = target().join("load-order");
    cargo("build --quiet --release --package smf-cli").run()?;
    let mut seen: [BTreeSet<String>; 2] = Default::default();
    let mut generic = BTreeSet::new();
    for features in FEATURES {
        let to = directory.join(features.replace(',', "-"));
        install::install(features, &Directories::below(&to))?;
        let named = command("nm --defined-only --quiet").args([archive()]).output()?;
        let named = functions(&named);
        build(&to)?;
        for load in LOADS {
            let called = called(&to, load)?;
            let called = called.iter().filter(|name| named.contains(name.as_str()));
            let [small, large] = &mut seen;
            let list = if load == LOADS[0] { small } else { large };
            list.extend(called.map(|name| without_hashes(name)));
        }
        let is_generic = |pattern: &&String| {
            named.iter().filter(|name| matches(pattern, name)).nth(MANY).is_some()
        };
        generic.extend(seen.iter().flatten().filter(is_generic).cloned());
    }
    let [small, large] = seen;
    let first = small.difference(&generic);
    let later = large.iter().filter(|name| !small.contains(*name) && !generic.contains(*name));
    write(&root().join("shell/capi/load_order.ld"), first.chain(later).chain(&generic))
}

/// The archive from which [`install::install`] links the shared library.
fn archive() -> PathBuf {
    install::built().join("release/libsmf_loader_shared.a")
}

/// Compiles the program and the modules in a directory with an installed library.
fn build(directory: &Path) -> Result<(), Error> {
    let compile = || Command::from(std::process::Command::new(library::compiler()));
    let source = |name: &str| root().join("xtask/src/load_order").join(name);
    let [include, lib, host] = ["include", "lib", "host"].map(|name| directory.join(name));
    compile()
        .args(["-O2", "-I"])
        .args([include])
        .args([source("host.c")])
        .args(["-lsmf_loader", "-L"])
        .args([&lib])
        .args([format!("-Wl,-rpath,{}", lib.display())])
        .args(["-o".as_ref(), host.as_os_str()])
        .run()?;
    for module in ["small", "large"] {
        let object = directory.join(module).with_extension("o");
        let source = source(module).with_extension("c");
        compile().args(["-O2", "-fPIC", "-c"]).args([source]).args(["-o"]).args([&object]).run()?;
        let pack = command(&format!("{} pack", target().join("release/smf").display()));
        pack.args([&object]).args(["-o"]).args([object.with_extension("smf")]).run()?;
    }
    Ok(())
}

/// The functions that a program calls from its start to its end, as callgrind sees them.
fn called(directory: &Path, [mode, module]: [&str; 2]) -> Result<BTreeSet<String>, Error> {
    let profile = directory.join("callgrind.out");
    command("valgrind --quiet --tool=callgrind --demangle=no")
        .args([format!("--callgrind-out-file={}", profile.display())])
        .args([directory.join("host")])
        .args([mode])
        .args([directory.join(module).with_extension("smf")])
        .run()?;
    let text = fs::read_to_string(&profile).at(&profile)?;
    Ok(text.lines().filter_map(function).map(str::to_owned).collect())
}

/// The function that a line of a profile introduces: `fn=(NUMBER) NAME` or `cfn=(NUMBER) NAME`, with `'2` and so on after the
/// name of a function that calls itself.
fn function(line: &str) -> Option<&str> {
    let (_, name) =
        line.strip_prefix('c').unwrap_or(line).strip_prefix("fn=(")?.split_once(") ")?;
    Some(name.split_once('\'').map_or(name, |(name, _)| name))
}

/// Replaces the list in the script.
fn write<'n>(path: &Path, names: impl Iterator<Item = &'n String>) -> Result<(), Error> {
    let script = fs::read_to_string(path).at(path)?;
    let is_name = |line: &&str| line.trim_start().starts_with(PREFIX);
    let before = script.lines().take_while(|line| !is_name(line));
    let after = script.lines().skip_while(|line| !is_name(line)).skip_while(is_name);
    let names: Vec<String> = names.map(|name| format!("        {PREFIX}{name})")).collect();
    let lines: Vec<&str> = before.chain(names.iter().map(String::as_str)).chain(after).collect();
    fs::write(path, lines.join("\n") + "\n").at(path)?;
    println!("{}: {} functions", path.display(), names.len());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn function_of_a_line_has_neither_number_nor_depth() {
        assert_eq!(function("fn=(12) smf_loader_open"), Some("smf_loader_open"));
        assert_eq!(
            function("cfn=(9) _ZN4core3fmt5write17h01E'2"),
            Some("_ZN4core3fmt5write17h01E")
        );
        assert_eq!(function("fn=(12)"), None);
        assert_eq!(function("cfi=(3) ./malloc/malloc.c"), None);
    }

    #[test]
    fn list_of_a_script_is_replaced() {
        let directory = std::env::temp_dir().join(format!("load-order-{}", std::process::id()));
        let script =
            "/* A comment. */\n{\n        *(.text*.old)\n        *(.text*.older)\n}\nINSERT\n";
        fs::write(&directory, script).unwrap();
        write(&directory, ["a17h*".to_owned(), "b".to_owned()].iter()).unwrap();
        let written = fs::read_to_string(&directory).unwrap();
        fs::remove_file(&directory).unwrap();
        let expected =
            "/* A comment. */\n{\n        *(.text*.a17h*)\n        *(.text*.b)\n}\nINSERT\n";
        assert_eq!(written, expected);
    }
}
