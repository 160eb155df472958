//! The first load of a library in a new process, compared with `dlopen` of the same library.
//!
//! Each turn starts a small C program, which opens the library, looks up a function and calls it, and prints how long
//! that took. The files are in the page cache. The libraries differ in size and in the number of dynamic relocations.
//!
//! The figures are minima over processes, ours and the peer's in turns, with the shared library for C as `cargo xtask
//! install` writes it.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use smf_loader::pack::{Input, Options, pack};

use crate::measure::{Bench, Contender, Measure, Statistic, Target, write_settled};

/// A generated library.
pub(crate) struct Library {
    row: &'static str,
    /// The size of text and data in KiB.
    size: usize,
    /// The number of dynamic relocations.
    relocs: usize,
    /// The option of the compiler for unwinding tables.
    tables: &'static str,
    /// How the program loads it.
    mode: &'static str,
    target: Target,
}

const ROWS: [Library; 14] = [
    mapped("first load of 5 KiB, sparse", 5, 2),
    mapped("first load of 5 KiB, dense", 5, 50),
    mapped("first load of 300 KiB, sparse", 300, 90),
    mapped("first load of 300 KiB, dense", 300, 3_000),
    mapped("first load of 1,500 KiB, sparse", 1_500, 450),
    mapped("first load of 1,500 KiB, dense", 1_500, 15_000),
    LARGE_SPARSE,
    LARGE_DENSE,
    Library {
        row: "first load of 7,000 KiB with unwinding tables",
        tables: "-fasynchronous-unwind-tables",
        ..LARGE_SPARSE
    },
    copied("first copy of 5 KiB, sparse", 5, 2),
    copied("first copy of 5 KiB, dense", 5, 50),
    copied("first copy of 300 KiB, sparse", 300, 90),
    copied("first copy of 300 KiB, dense", 300, 3_000),
    copied("first copy of 1,500 KiB, dense", 1_500, 15_000),
];

pub(crate) const LARGE_SPARSE: Library = mapped("first load of 7,000 KiB, sparse", 7_000, 2_100);
pub(crate) const LARGE_DENSE: Library = mapped("first load of 7,000 KiB, dense", 7_000, 70_000);

const NO_TABLES: &str = "-fno-asynchronous-unwind-tables";

/// Mapped if the files are large.
const fn mapped(row: &'static str, size: usize, relocs: usize) -> Library {
    Library { row, size, relocs, tables: NO_TABLES, mode: "smf", target: Target::ratio(0.8) }
}

const fn copied(row: &'static str, size: usize, relocs: usize) -> Library {
    Library { mode: "copy", target: Target::ratio(1.5), ..mapped(row, size, relocs) }
}

/// The bytes of a function; three quarters of a library are functions.
const FUNCTION: usize = 1024;

pub(crate) fn measure(bench: &mut Bench) {
    if !bench.wants(&ROWS.each_ref().map(|library| library.row)) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let host = build_host(directory.path());
    for library in &ROWS {
        if !bench.wants(&[library.row]) {
            continue;
        }
        let (module, shared) = library.build(directory.path());
        let measure = Measure {
            name: library.row,
            peer: "dlopen, RTLD_NOW",
            batches: 150,
            statistic: Statistic::Least,
            target: library.target,
            ..Measure::default()
        };
        let (ours, theirs) = (start(&host, library.mode, &module), start(&host, "dlopen", &shared));
        bench.take(&measure, ours, Some(theirs));
    }
}

/// Starts the program and returns the time that it prints.
fn start(host: &Path, mode: &'static str, file: &Path) -> Contender<'static> {
    let (host, file) = (host.to_owned(), file.to_owned());
    Box::new(move |times| {
        let turn = |_| {
            let output = Command::new(&host).arg(mode).arg(&file).output().unwrap();
            let text = String::from_utf8(output.stdout).unwrap();
            let time = text.trim().parse().unwrap_or_else(|_| {
                panic!("{mode}: {text}{}", String::from_utf8_lossy(&output.stderr))
            });
            Duration::from_nanos(time)
        };
        (0..times).map(turn).sum()
    })
}

/// Prints the nanoseconds from opening a library to the result of its function `first`; in a mode that ends with `-hold` the
/// KiB by which the private memory of the process has grown, and then waits for the end of its input.
const HOST: &str = r#"
#include <dlfcn.h>
#include <fcntl.h>
#include <smf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static char counters[4096];

/* Of pages that no other process has, those that are not as in a file. Allocates nothing. */
static long private_kib(void) {
    int file = open("/proc/self/smaps_rollup", O_RDONLY);
    long length = read(file, counters, sizeof counters - 1);
    close(file);
    counters[length > 0 ? length : 0] = 0;
    char *line = strstr(counters, "Private_Dirty:");
    return line ? atol(line + strlen("Private_Dirty:")) : -1;
}

static long now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1000000000 + time.tv_nsec;
}

int main(int count, char **arguments) {
    if (count != 3) return 2;
    const char *path = arguments[2];
    int hold = strstr(arguments[1], "-hold") != 0;
    /* Twice: the first call touches pages of its own. */
    long before = hold ? (private_kib(), private_kib()) : 0;
    long start = now();
    long (*first)(long) = 0;
    if (strncmp(arguments[1], "dlopen", 6) == 0) {
        void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
        if (library != 0) first = (long (*)(long))dlsym(library, "first");
    } else {
        SmfLoaderOptions options = { sizeof options, 4 << 20, 0, SMF_LOADER_COPY_FILES, 0 };
        int copy = strcmp(arguments[1], "copy") == 0;
        uint64_t loader = smf_loader_open(copy ? &options : 0);
        uint64_t module = smf_loader_load(loader, path);
        if (module != 0) first = (long (*)(long))smf_loader_symbol(loader, module, "first", 0);
    }
    if (first == 0) return 1;
    long result = first(40);
    long end = now();
    if (result != 42) return 3;
    printf("%ld\n", hold ? private_kib() - before : end - start);
    fflush(stdout);
    if (hold) getchar();
    return 0;
}
"#;

fn gcc(arguments: &[&str], directory: &Path) {
    let mut command = Command::new("gcc");
    let status = command.args(arguments).current_dir(directory).status();
    assert!(status.is_ok_and(|status| status.success()), "{command:?}");
}

/// The directory of the shared library for C. A directory that is not named could hold a library that was installed long
/// ago.
const LIBRARIES: &str = "SMF_BENCH_LIBRARIES";

/// The program, linked with the shared library for C.
pub(crate) fn build_host(directory: &Path) -> PathBuf {
    let libraries = std::env::var(LIBRARIES).unwrap_or_else(|_| {
        panic!(
            "{LIBRARIES} does not name the directory of an installed library: run `cargo xtask bench`, which installs one"
        )
    });
    fs::write(directory.join("host.c"), HOST).unwrap();
    let include = concat!("-I", env!("CARGO_MANIFEST_DIR"), "/../../shell/include");
    let (search, run) = (format!("-L{libraries}"), format!("-Wl,-rpath,{libraries}"));
    gcc(&["-O2", include, "host.c", "-o", "host", &search, &run, "-lsmf_loader"], directory);
    directory.join("host")
}

impl Library {
    /// Functions of [`FUNCTION`] bytes, a table of pointers to them, and constants.
    fn source(&self) -> String {
        let bytes = self.size * 1024;
        let functions = (bytes * 3 / 4 / FUNCTION).max(1);
        let constants = (bytes / 4).saturating_sub(8 * self.relocs).max(8);
        let mut c = String::new();
        for number in 0..functions {
            // One function in four is exported.
            let linkage = if number % 4 == 0 { "" } else { "static " };
            writeln!(
                c,
                "{linkage}long function_{number}(long x) {{ __asm__(\".skip {FUNCTION}, 0x90\"); return x + {number}; }}"
            )
            .unwrap();
        }
        writeln!(c, "static long (*const table[])(long) = {{").unwrap();
        for pointer in 0..self.relocs {
            // Static functions, so that both loaders need no name.
            let number = (pointer * 13 % functions) / 4 * 4 + 1;
            writeln!(c, "function_{},", if number < functions { number } else { 0 }).unwrap();
        }
        writeln!(c, "}};\nconst char constants[{constants}] = {{ 1 }};").unwrap();
        let last = self.relocs - 1;
        writeln!(
            c,
            "long first(long x) {{ long (*const volatile *t)(long) = table; return t[0](x) - t[0](0) + constants[0] + (t[{last}] != 0); }}"
        )
        .unwrap();
        c
    }

    /// The packed module and the shared object.
    pub(crate) fn build(&self, directory: &Path) -> (PathBuf, PathBuf) {
        let tables = if self.tables == NO_TABLES { "" } else { "-tables" };
        let stem = format!("l{}-{}{tables}", self.size, self.relocs);
        let file = |extension: &str| format!("{stem}.{extension}");
        fs::write(directory.join(file("c")), self.source()).unwrap();
        let common = ["-O1", "-fPIC", self.tables];
        let [source, object, shared] = ["c", "o", "so"].map(file);
        gcc(&[&common[..], &["-c", &source, "-o", &object]].concat(), directory);
        gcc(&["-shared", "-s", &object, "-o", &shared], directory);
        let data = fs::read(directory.join(&object)).unwrap();
        let input = Input { name: &object, data: &data };
        let module = pack(&[input], &Options::default()).unwrap().bytes;
        // Both as an installer leaves them, written whole.
        let (path, shared) = (directory.join(file("smf")), directory.join(shared));
        let library = fs::read(&shared).unwrap();
        fs::remove_file(&shared).unwrap();
        fs::write(&shared, library).unwrap();
        write_settled(&path, &module);
        (path, shared)
    }
}
