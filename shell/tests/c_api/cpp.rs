//! Programs in C++, and a build by pkg-config.

use super::*;

/// Hosts compile the header with warnings of their choice.
const WARNINGS: [&str; 9] = [
    "-Wall",
    "-Wextra",
    "-Weffc++",
    "-Wshadow",
    "-Wconversion",
    "-Wold-style-cast",
    "-Werror",
    "-pedantic",
    "-pthread",
];

/// A C++ program uses the header and sees no exception, not even from a callback's caller.
#[test]
fn cpp_program_loads_and_calls_modules() {
    for compiler in ["g++", "clang++"].into_iter().filter(|compiler| has(compiler)) {
        for linking in [Linking::Static, Linking::Shared] {
            let program = Path::new(SCRATCH).join(format!("client-{compiler}-{linking:?}"));
            let mut build = Command::new(compiler);
            build.arg("-std=c++17").args(WARNINGS).args(["-I", INCLUDE, "-o"]).arg(&program);
            build.arg(Path::new(SOURCES).join("client.cpp"));
            link_library(&mut build, JIT, linking);
            succeed(&mut build);
            let said = succeed(&mut Command::new(program));
            assert!(said.contains("ok"), "{said}");
        }
    }
}

#[test]
fn cpp_objects_own_what_they_stand_for() {
    for compiler in ["g++", "clang++"].into_iter().filter(|compiler| has(compiler)) {
        let program = Path::new(SCRATCH).join(format!("owning-{compiler}"));
        let mut build = Command::new(compiler);
        build.arg("-std=c++11").args(WARNINGS).args(["-I", INCLUDE, "-o"]).arg(&program);
        build.arg(Path::new(SOURCES).join("owning.cpp"));
        link_library(&mut build, C, Linking::Static);
        succeed(&mut build);
        assert_eq!(succeed(&mut Command::new(program)), "ok\n");
    }
}

#[test]
fn pkg_config_builds_a_program() {
    if !has("pkg-config") {
        return;
    }
    let place = Path::new(SCRATCH).join("pkg-config");
    fs::create_dir_all(&place).unwrap();
    let template = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/smf.pc.in")).unwrap();
    // The command in its first lines.
    let filled = template
        .replace("@prefix@", "/usr/local")
        .replace("@libdir@", libraries(C).to_str().unwrap())
        .replace("@includedir@", INCLUDE)
        .replace("@library@", library::name(false))
        .replace("@private@", "")
        .replace("@version@", env!("CARGO_PKG_VERSION"));
    fs::write(place.join("smf.pc"), filled).unwrap();
    let ask = |what: &[&str]| {
        let mut ask = Command::new("pkg-config");
        succeed(ask.args(what).arg("smf").env("PKG_CONFIG_PATH", &place)).trim().to_owned()
    };
    assert_eq!(ask(&["--modversion"]), env!("CARGO_PKG_VERSION"));
    let flags = ask(&["--cflags", "--libs", "--static"]);
    let program = place.join("hooks");
    let mut gcc = Command::new("gcc");
    gcc.arg("-o").arg(&program).arg(Path::new(SOURCES).join("hooks.c")).args(flags.split(' '));
    succeed(&mut gcc);
    succeed(Command::new(&program).env("LD_LIBRARY_PATH", libraries(C)));
}
