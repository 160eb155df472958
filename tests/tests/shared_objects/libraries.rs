//! The libraries to damage: the sample, and some built with the tools of this machine.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use smf_core::format::Smf;
use smf_tests::compile::{scratch, succeed};
use smf_tests::skip::{has, lacks, skip};

use crate::cases::Library;

/// A library with every part that a loader reads.
const SOURCE: &str = r#"
    #include <stdlib.h>
    static __thread int hidden = 5;
    __thread int per_thread = 3;
    static int initialised;
    extern int absent(void) __attribute__((weak));
    int (*table[])(void) = {absent, rand};
    const char *texts[] = {"one", "two", "three"};
    char zeroes[5000];
    __attribute__((constructor)) static void begin(void) { initialised = 1; }
    __attribute__((destructor)) static void end(void) { initialised = 0; }
    static int one(void) { return 1; }
    static void *choose(void) { return one; }
    int chosen(void) __attribute__((ifunc("choose")));
    int value(void) { return initialised + hidden + per_thread + chosen(); }
    int old_name(void) { return atoi(texts[initialised]); }
    int new_name(void) { return getenv("HOME") != 0; }
"#;

/// Versions of its symbols.
const VERSIONS: &str = "V_1 { global: value; per_thread; table; texts; zeroes; }; V_2 { global: *_name; chosen; } V_1;";

/// The linker options of each library.
const OPTIONS: [(&str, &[&str]); 5] = [
    ("gnu-hash", &["-Wl,--hash-style=gnu,-z,now"]),
    ("system-v-hash", &["-Wl,--hash-style=sysv,-z,lazy", "-ftls-model=initial-exec"]),
    ("both-hashes", &["-Wl,--hash-style=both,-z,noseparate-code", "-Wl,--version-script=versions"]),
    ("relative", &["-Wl,-z,pack-relative-relocs", "-Wl,--version-script=versions"]),
    ("descriptors", &["-mtls-dialect=gnu2", "-Wl,-rpath,/nowhere:$ORIGIN,-soname,lib.so"]),
];

/// Linkers other than the compiler's default.
const LINKERS: [&str; 2] = ["lld", "mold"];

/// The sample that is a dynlib.
pub(crate) fn sample() -> Library {
    let dynlib = include_bytes!("../../samples/dynlib.smf");
    let object = Smf::parse(dynlib).unwrap().shared_object().unwrap();
    Library::new("dynlib.smf", object.to_vec())
}

/// The libraries that the compiler and the linkers of this machine build; none without a compiler.
pub(crate) fn made() -> Vec<Library> {
    let directory = scratch();
    let place = directory.path();
    fs::write(place.join("library.c"), SOURCE).unwrap();
    fs::write(place.join("versions"), VERSIONS).unwrap();
    if !has("gcc") {
        return Vec::new();
    }
    let mut libraries: Vec<_> =
        OPTIONS.iter().filter_map(|(name, options)| make(place, name, options)).collect();
    // The options of the last but one are new since 2022, and exist only for x86-64 and in newer linkers.
    assert!(libraries.len() >= 3, "gcc refuses options that all of its versions have");
    for linker in LINKERS {
        let found = linker_directory(linker).map(|path| format!("-B{}", path.display()));
        let option = format!("-fuse-ld={linker}");
        let options: Vec<&str> = found.as_deref().into_iter().chain([option.as_str()]).collect();
        match make(place, linker, &options) {
            Some(library) => libraries.push(library),
            None => lacks(linker),
        }
    }
    libraries
}

/// The directory in which the Rust toolchain has a linker under the name that gcc searches for.
fn linker_directory(linker: &str) -> Option<PathBuf> {
    let output = Command::new("rustc").args(["--print", "target-libdir"]).output().ok()?;
    let libraries = PathBuf::from(String::from_utf8(output.stdout).ok()?.trim());
    let directory = libraries.parent()?.join("bin/gcc-ld");
    directory.join(format!("ld.{linker}")).exists().then_some(directory)
}

fn make(place: &Path, name: &str, options: &[&str]) -> Option<Library> {
    let file = place.join(name);
    let mut gcc = Command::new("gcc");
    gcc.current_dir(place).args(["-O1", "-shared", "-fPIC", "library.c", "-o"]).arg(&file);
    let output = gcc.args(options).output().unwrap();
    if !output.status.success() {
        skip(&format!("gcc makes no library {name}"));
        return None;
    }
    // Only loaded parts are damaged; the rest of the file is stripped, as in a release.
    let mut strip = Command::new("strip");
    let output = strip.arg("--strip-unneeded").arg(&file).output().unwrap();
    succeed(&strip, &output);
    Some(Library::new(name, fs::read(&file).unwrap()))
}
