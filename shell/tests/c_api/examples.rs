//! The example hosts in C, C++ and Python print what they should.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{
    C, INCLUDE, JIT, Linking, SCRATCH, compile_modules, guide_programs, has, header_path,
    libraries, link_library, succeed,
};

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
        let mut host = host(compiler, "plugin_host.cpp", &["-std=c++11", "-pedantic"]);
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
    // The library with all features: its static thread-local storage must fit into what is left for libraries that are
    // opened by name.
    python.arg(libraries(JIT).join("libsmf_loader.so")).args(plugins("examples-python"));
    assert_eq!(succeed(&mut python), "plugin: calls 1\nreloaded\nplugin: calls 11\n");
}

/// The examples in comments of the header: statements, from an assignment to the end of the paragraph,
/// with `...` for the statement of the reader.
fn header_examples() -> Vec<String> {
    let header = fs::read_to_string(header_path()).unwrap();
    let mut examples: Vec<String> = Vec::new();
    let mut is_inside = false;
    for line in header.lines() {
        let Some(code) = line.strip_prefix(" *     ") else {
            is_inside = false;
            continue;
        };
        if !is_inside && code.ends_with(';') && code.contains(" = ") {
            examples.push(String::new());
            is_inside = true;
        }
        if is_inside {
            let line = format!("{}\n", code.replace(" ...", " (void)result;"));
            examples.last_mut().unwrap().push_str(&line);
        }
    }
    let function = |code: String| {
        format!(
            "#include <smf.h>\nvoid f(int64_t function);\nvoid f(int64_t function) {{\n{code}}}\n"
        )
    };
    examples.into_iter().map(function).collect()
}

/// Checks sources with a compiler and a standard of its language.
fn check(compiler: &str, standard: &str, sources: &[PathBuf]) {
    let mut check = Command::new(compiler);
    check.args([
        standard,
        "-fsyntax-only",
        "-pedantic",
        "-Wall",
        "-Wextra",
        "-Werror",
        "-I",
        INCLUDE,
    ]);
    succeed(check.args(sources));
}

/// Headers, guide programs, examples in the header and example hosts, for each compiler of either machine.
#[test]
fn documented_c_compiles_for_every_installed_compiler() {
    let directory = Path::new(SCRATCH).join("documented");
    fs::create_dir_all(&directory).unwrap();
    let examples = header_examples();
    assert_eq!(examples.len(), 1);
    let programs = [guide_programs(), examples].concat();
    assert_eq!(programs.len(), 5);
    let mut sources = vec![Path::new(EXAMPLES).join("plugin_host.c")];
    for (number, text) in programs.iter().enumerate() {
        let path = directory.join(format!("{number}.c"));
        fs::write(&path, text).unwrap();
        sources.push(path);
    }
    for compiler in ["gcc", "clang", "aarch64-linux-gnu-gcc"].into_iter().filter(|name| has(name)) {
        ["-std=c11", "-std=c17", "-std=gnu2x"].iter().for_each(|c| check(compiler, c, &sources));
    }
    let plain = directory.join("plain.cpp");
    fs::write(&plain, "#include <smf.h>\n").unwrap();
    let sources = [Path::new(EXAMPLES).join("plugin_host.cpp"), plain];
    for compiler in ["g++", "clang++", "aarch64-linux-gnu-g++"].into_iter().filter(|name| has(name))
    {
        ["-std=c++11", "-std=c++17", "-std=c++20"]
            .iter()
            .for_each(|cpp| check(compiler, cpp, &sources));
    }
}
