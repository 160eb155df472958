//! Modules that need shared libraries of the system: `smf pack --needed`, `-l` and `-L`.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::pack::object;
use super::{contains, fails, inspected, ok, scratch, smf, text};

/// Needs a function of the mathematics library.
const MODE: &str = "int fegetround(void); long f(long x) { return 1000 + x + fegetround(); }";

/// Packs or converts, with warnings.
fn packed(args: &[&str]) {
    let output = smf(args);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// Builds a shared library in `dir`.
fn shared(dir: &Path, file: &str, soname: &str, source: &str) -> String {
    let (c, library) = (dir.join("lib.c"), dir.join(file));
    fs::write(&c, source).unwrap();
    let mut cc = Command::new("cc");
    cc.args(["-shared", "-fPIC", "-o"]).arg(&library).arg(&c);
    cc.arg(format!("-Wl,-soname,{soname}"));
    assert!(cc.status().unwrap().success());
    library.to_str().unwrap().to_owned()
}

#[test]
fn needed_library_is_opened_in_both_layouts() {
    let (object, out) = object("needed", MODE);
    for layout in ["packed", "native"] {
        packed(&["pack", &object, "-o", &out, "--layout", layout, "--needed", "libm.so.6"]);
        assert_eq!(ok(&["verify", &out]), format!("{out}: ok\n"));
        assert_eq!(ok(&["run", &out, "f", "0"]), "1000\n");
        let shown = inspected(&out);
        assert_eq!(shown["needed_libraries"], serde_json::json!(["libm.so.6"]));
        contains(&ok(&["inspect", &out]), &["needs        libm.so.6", "__smf_requires_libraries"]);
    }
    ok(&["pack", &object, "-o", &out]);
    contains(&fails(&["run", &out, "f", "0"]), &["unresolved", "`fegetround`"]);
    assert!(inspected(&out).get("needed_libraries").is_none());
}

#[test]
fn what_a_module_prints_through_its_library_comes_before_the_result() {
    let source = "int puts(const char *); long f(void) { puts(\"first\"); return 2; }";
    let (object, out) = object("needed-puts", source);
    packed(&["pack", &object, "-o", &out, "--needed", "libc.so.6"]);
    assert_eq!(ok(&["run", &out, "f"]), "first\n2\n");
}

/// A library that the process has open is used; opening another one would run its initialisers.
#[test]
fn initialisers_of_a_needed_library_do_not_run_with_no_constructors() {
    let dir = scratch("needed-refused-lib");
    let library = "int puts(const char *); long g(void) { return 41; }
        __attribute__((constructor)) static void start(void) { puts(\"initialiser\"); }";
    shared(&dir, "libstart.so", "libstart.so", library);
    let (object, out) = object("needed-refused", "long g(void); long f(void) { return g() + 1; }");
    ok(&["pack", &object, "-o", &out, "--needed", "libstart.so"]);
    let run = |extra: &[&str]| {
        let mut smf = Command::new(env!("CARGO_BIN_EXE_smf"));
        smf.args(["run", &out, "f"]).args(extra).env("LD_LIBRARY_PATH", &dir).output().unwrap()
    };
    assert_eq!(run(&[]).stdout, b"initialiser\n42\n");
    let refused = run(&["--no-constructors"]);
    assert_eq!((refused.status.code(), &*refused.stdout), (Some(1), &b""[..]));
    let error = String::from_utf8(refused.stderr).unwrap();
    contains(&error, &[&out, "`libstart.so`", "its initialisers would run"]);
    let (object, out) =
        self::object("needed-libc", "long labs(long); long f(long x) { return labs(x); }");
    packed(&["pack", &object, "-o", &out, "--needed", "libc.so.6"]);
    assert_eq!(ok(&["run", &out, "f", "--no-constructors", "--", "-3"]), "3\n");
}

/// As those of one shared object do.
#[test]
fn needed_libraries_find_each_others_symbols() {
    let dir = scratch("needed-scope-lib");
    shared(
        &dir,
        "libfirst.so",
        "libfirst.so",
        "int second(void); int first(void) { return second() + 1; }",
    );
    shared(&dir, "libsecond.so", "libsecond.so", "int second(void) { return 41; }");
    let source = "int first(void), second(void); long f(void) { return first() * 100 + second(); }";
    let (object, out) = object("needed-scope", source);
    let run = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_smf"));
        command.args(["run", &out, "f"]).env("LD_LIBRARY_PATH", &dir).output().unwrap()
    };
    for [one, two] in [["libfirst.so", "libsecond.so"], ["libsecond.so", "libfirst.so"]] {
        packed(&["pack", &object, "-o", &out, "--needed", one, "--needed", two]);
        assert_eq!(text(&run().stdout), "4241\n");
    }
    packed(&["pack", &object, "-o", &out, "--needed", "libfirst.so", "--needed", "libm.so.6"]);
    contains(&text(&run().stderr), &["libfirst.so", "undefined symbol: second"]);
}

#[test]
fn more_needed_libraries_than_a_module_can_state_are_refused_with_their_number() {
    let (object, out) = object("needed-many", "int f(void) { return 1; }");
    let names: Vec<_> = (0..1025).map(|number| format!("--needed=lib{number}.so")).collect();
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    let error = fails(&[&["pack", &object, "-o", &out][..], &names].concat());
    contains(&error, &["would need 1025 shared libraries, more than the maximum of 1,024"]);
    ok(&[&["pack", &object, "-o", &out][..], &names[1..]].concat());
}

#[test]
fn needed_libraries_survive_conversion() {
    let (object, out) = object("needed-convert", MODE);
    packed(&["pack", &object, "-o", &out, "--layout", "native", "--needed", "libm.so.6"]);
    let converted = out.replace("out.smf", "converted.smf");
    for layout in ["packed", "native"] {
        packed(&["convert", &out, "-o", &converted, "--layout", layout]);
        assert_eq!(ok(&["run", &converted, "f", "0"]), "1000\n", "{layout}");
    }
}

#[test]
fn short_name_is_resolved_as_by_the_linker() {
    let (object, out) = object("needed-l", MODE);
    let names = |out: &str| inspected(out)["needed_libraries"].clone();
    // libm.so is a linker script on x86-64: libm.so.6, and libmvec.so.1 only if it is used.
    ok(&["pack", &object, "-o", &out, "-l", "m"]);
    assert_eq!(names(&out), serde_json::json!(["libm.so.6"]));
    assert_eq!(ok(&["run", &out, "f", "0"]), "1000\n");
    ok(&["pack", &object, "-o", &out, "-lm", "--needed", "libm.so.6", "-lc"]);
    assert_eq!(names(&out), serde_json::json!(["libm.so.6", "libc.so.6"]));
    let error = fails(&["pack", &object, "-o", &out, "-l", "no-such"]);
    contains(&error, &["no library no-such", "libno-such.so", "/usr/lib", "--needed"]);
}

/// The compiler's own libraries lie in its own directory.
#[test]
fn libraries_of_the_compiler_are_found() {
    let dir = scratch("needed-gcc");
    let path = |name: &str| dir.join(name).to_str().unwrap().to_owned();
    let (source, object, out) = (path("in.cc"), path("in.o"), path("out.smf"));
    let text = "#include <string>
        extern \"C\" long f(long x) { return std::to_string(x).size(); }";
    fs::write(&source, text).unwrap();
    let mut compiler = Command::new("c++");
    compiler.args(["-O2", "-c", "-o", &object, &source]);
    assert!(compiler.status().unwrap().success());
    ok(&["pack", &object, "-o", &out, "-lstdc++", "-lc"]);
    let needed = serde_json::json!(["libstdc++.so.6", "libc.so.6"]);
    assert_eq!(inspected(&out)["needed_libraries"], needed);
    assert_eq!(ok(&["run", &out, "f", "12345"]), "5\n");
}

#[test]
fn directory_of_a_library_comes_before_those_of_the_system() {
    let (object, out) = object("needed-dir", "long g(void); long f(void) { return g() + 1; }");
    let dir = scratch("needed-dir-lib");
    let source = "long g(void) { return 41; } long h(void) { return 7; }";
    shared(&dir, "libm.so", "libours.so.3", source);
    let path = dir.to_str().unwrap();
    ok(&["pack", &object, "-o", &out, "-L", path, "-lm"]);
    assert_eq!(inspected(&out)["needed_libraries"], serde_json::json!(["libours.so.3"]));
    // The search path of the process does not contain it.
    let error = fails(&["run", &out, "f"]);
    contains(&error, &["out.smf", "libours.so.3", "cannot open"]);
    fs::rename(dir.join("libm.so"), dir.join("libours.so.3")).unwrap();
    let run = |path: &str| {
        let mut smf = Command::new(env!("CARGO_BIN_EXE_smf"));
        smf.args(["run", &out, "f"]).env("LD_LIBRARY_PATH", path).output().unwrap()
    };
    assert_eq!(run(path).stdout, b"42\n");
    assert!(!run("/").status.success());
    // An archive instead: the needed member is linked.
    fs::remove_file(dir.join("libours.so.3")).unwrap();
    let (c, o) = (dir.join("g.c"), dir.join("g.o"));
    fs::write(&c, source).unwrap();
    assert!(Command::new("cc").arg("-c").arg(&c).arg("-o").arg(&o).status().unwrap().success());
    let archive = dir.join("libm.a");
    assert!(Command::new("ar").arg("rcs").arg(&archive).arg(&o).status().unwrap().success());
    ok(&["pack", &object, "-o", &out, "-L", path, "-l", "m"]);
    assert!(inspected(&out).get("needed_libraries").is_none());
    assert_eq!(ok(&["run", &out, "f"]), "42\n");
    ok(&["pack", &object, "-o", &out, "-L", path, "-l", ":libm.a"]);
    assert_eq!(ok(&["run", &out, "f"]), "42\n");
}

#[test]
fn library_in_as_needed_is_recorded_only_if_it_is_used() {
    let dir = scratch("as-needed");
    let path = dir.to_str().unwrap();
    let g = shared(&dir, "libg.so.1", "libg.so.1", "long g(void) { return 41; }");
    let h =
        shared(&dir, "libh.so.1", "libh.so.1", "long h(void) { return 7; } __thread long t = 3;");
    let script = format!("/* GNU ld script */ GROUP ( AS_NEEDED ( {g} {h} ) )");
    fs::write(dir.join("libboth.so"), script).unwrap();
    let uses = [
        ("long g(void); long f(void) { return g(); }", "libg.so.1"),
        ("long h(void); long f(void) { return h(); }", "libh.so.1"),
        ("extern __thread long t; long f(void) { return t; }", "libh.so.1"),
    ];
    for (number, (source, needed)) in uses.into_iter().enumerate() {
        let (object, out) = object(&format!("as-needed-{number}"), source);
        ok(&["pack", &object, "-o", &out, "-L", path, "-lboth"]);
        assert_eq!(inspected(&out)["needed_libraries"], serde_json::json!([needed]), "{source}");
    }
}

#[test]
fn thread_local_symbol_is_found_in_a_needed_library() {
    let dir = scratch("needed-tls");
    shared(&dir, "libt.so.1", "libt.so.1", "__thread long t = 41; long *at(void) { return &t; }");
    let source = "extern __thread long t; long *at(void);
                  long f(void) { return at() == &t ? ++t : -1; }";
    let (object, out) = super::pack::compiled("needed-tls-use", source, &["-O2", "-fPIC"]);
    ok(&["pack", &object, "-o", &out, "--needed", "libt.so.1"]);
    let mut smf = Command::new(env!("CARGO_BIN_EXE_smf"));
    let output = smf.args(["run", &out, "f"]).env("LD_LIBRARY_PATH", &dir).output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!((&*output.stdout, &*error), (&b"42\n"[..], ""));
}

#[test]
fn missing_library_and_malformed_name_are_refused() {
    let (object, out) = object("needed-missing", MODE);
    ok(&["pack", &object, "-o", &out, "--needed", "libno-such.so.9"]);
    let error = fails(&["run", &out, "f", "0", "--host-symbols"]);
    contains(&error, &[&out, "`libno-such.so.9`", "cannot open", "No such file"]);
    for (name, why) in [("", "is empty"), ("/lib/libm.so.6", "slash"), (&*"x".repeat(256), "256")] {
        contains(&fails(&["pack", &object, "-o", &out, "--needed", name]), &["library", why]);
    }
}
