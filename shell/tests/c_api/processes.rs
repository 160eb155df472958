//! Forks, and several copies of the library in a process.

use super::*;

/// Eight threads are inside the library while the process forks. Each child calls every group of exports.
#[test]
fn fork_of_busy_process_leaves_every_export_usable() {
    let directory = Path::new(SCRATCH).join("fork");
    make_modules(&directory);
    templates::make_modules(&directory.join("templates"));
    for (features, linking, forks) in [
        (JIT, Linking::Shared, scale("1000", "100")),
        (JIT, Linking::Static, scale("100", "20")),
        (C, Linking::Static, scale("100", "20")),
    ] {
        let mut program = Command::new(compile("fork", features, linking));
        let said = succeed(program.arg(&directory).arg(forks));
        assert!(said.contains("ok"), "{said}");
    }
}

#[test]
fn fork_waits_for_threads_inside_of_the_systems_loader() {
    let directory = Path::new(SCRATCH).join("fork-loading");
    let storage = "static __thread long t = 3; long f(void) { return ++t; }";
    let cosine = "double cos(double); long cosine(long x) { return cos(x) * 1000; }";
    let modules = [
        ("storage", false, storage),
        ("static-storage", false, storage),
        ("cosine-needed", false, cosine),
    ];
    compile_modules(&directory, modules.into_iter());
    for name in ["storage", "static-storage", "cosine-needed"] {
        let mut program = Command::new(compile("fork_loading", C, Linking::Static));
        let module = directory.join(name).with_extension("smf");
        let said = succeed(program.arg(scale("1000", "60")).arg(module));
        assert!(said.contains("ok"), "{name}: {said}");
    }
}

#[test]
fn copies_of_the_library_do_not_share_what_they_load() {
    let directory = Path::new(SCRATCH).join("copies");
    let module = |number: u32| {
        format!("static __thread long t = {number}0; long count(void) {{ return ++t; }}")
    };
    let (one, two) = (module(1), module(2));
    compile_modules(&directory, [("one", false, &*one), ("two", false, &*two)].into_iter());
    let (host, plugin) = (compile("two_copies", C, Linking::Static), directory.join("plugin.so"));
    let mut gcc = Command::new("gcc");
    gcc.args(["-shared", "-fPIC", "-DPLUGIN", "-DSMF_NO_JIT", "-I", INCLUDE, "-o"]).arg(&plugin);
    gcc.arg(Path::new(SOURCES).join("two_copies.c"));
    link_library(&mut gcc, C, Linking::Static);
    succeed(&mut gcc);
    let [one, two] = ["one.smf", "two.smf"].map(|name| directory.join(name));
    let said = succeed(Command::new(host).arg(plugin).arg(one).arg(two));
    assert!(said.contains("ok"), "{said}");
}

#[test]
fn fork_after_library_was_closed_runs_no_handler() {
    let program = Path::new(SCRATCH).join("unload");
    let mut gcc = Command::new("gcc");
    gcc.args(["-std=c11", "-Wall", "-Wextra", "-Werror", "-pthread", "-o"]).arg(&program);
    succeed(gcc.arg(Path::new(SOURCES).join("unload.c")).arg("-ldl"));
    let said = succeed(Command::new(program).arg(libraries(C).join("libsmf_loader.so")));
    assert!(said.contains("ok"), "{said}");
}
