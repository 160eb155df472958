//! The example hosts in C, C++ and Python print what they should.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::{C, INCLUDE, Linking, SCRATCH, compile_modules, has, libraries, link_library, succeed};

const EXAMPLES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/c");

/// Two versions of the plugin, in a directory of their own.
fn plugins(directory: &str) -> [PathBuf; 2] {
    let directory = Path::new(SCRATCH).join(directory);
    let source = std::fs::read_to_string(Path::new(EXAMPLES).join("plugin.c")).unwrap();
    let [one, two] = [1, 10].map(|step| format!("#define STEP {step}\n{source}"));
    let modules = [("one", true, &*one), ("two", true, &*two)];
    compile_modules(&directory, modules.into_iter());
    ["one.smf", "two.smf"].map(|name| directory.join(name))
}

fn host(compiler: &str, source: &str, options: &[&str]) -> Command {
    let program = Path::new(SCRATCH).join(source).with_extension(compiler);
    let mut build = Command::new(compiler);
    build.args(options).args(["-Wall", "-Wextra", "-Werror", "-I", INCLUDE, "-o"]).arg(&program);
    build.arg(Path::new(EXAMPLES).join(source));
    link_library(&mut build, C, Linking::Shared);
    succeed(&mut build);
    Command::new(program)
}

#[test]
fn host_in_c_reloads_its_plugin() {
    let mut host = host("gcc", "plugin_host.c", &["-std=c11"]);
    let said = succeed(host.args(plugins("examples-c")));
    let expected =
        "plugin: calls 1\nreloaded, 1 data symbols kept their values\nplugin: calls 11\n";
    assert_eq!(said, expected);
}

#[test]
fn host_in_cpp_reloads_its_plugin() {
    for compiler in ["g++", "clang++"].into_iter().filter(|compiler| has(compiler)) {
        let mut host = host(compiler, "plugin_host.cpp", &["-std=c++17", "-Wno-error=pedantic"]);
        let said = succeed(host.args(plugins("examples-cpp")));
        let lines: Vec<&str> = said.lines().collect();
        let [missing, first, reloaded, second, calls, held] = lines[..] else { panic!("{said}") };
        assert_eq!(missing, "the plugin imports host_log");
        assert_eq!((first, second), ("plugin: calls 1", "plugin: calls 11"));
        assert_eq!(reloaded, "reloaded, 1 data symbols kept their values");
        assert_eq!(calls, "calls is 11");
        assert!(held.ends_with("one.smf is held 1 time"), "{held}");
    }
}

#[test]
fn host_in_python_reloads_its_plugin() {
    if !has("python3") {
        return;
    }
    let mut python = Command::new("python3");
    python.arg(Path::new(EXAMPLES).join("plugin_host.py"));
    python.arg(libraries(C).join("libsmf_loader.so")).args(plugins("examples-python"));
    assert_eq!(succeed(&mut python), "plugin: calls 1\nreloaded\nplugin: calls 11\n");
}
