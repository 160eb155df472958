//! `smf pack` from objects to a module, compared with the fastest linker of shared libraries that is installed.
//!
//! All of them run as commands, with all cores: `mold --no-fork -shared` and, if it is on the path, `wild`. Without
//! `--no-fork` they return while a child still writes pages back.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use crate::generated_library::Library;
use crate::measure::{Bench, Measure, Target, repeat};

/// A row: its name, the library, and the target.
struct Row(&'static str, Library, Target);

const fn row(name: &'static str, size: usize, relocs: usize, sources: usize) -> Row {
    // The target is that of the largest library; the start of a process dominates the others.
    let target = if size == 7_000 { Target::ratio(1.0) } else { Target::NONE };
    Row(name, Library { size, relocs, sources }, target)
}

const ROWS: [Row; 8] = [
    row("pack 5 KiB, sparse", 5, 2, 1),
    row("pack 5 KiB, dense", 5, 50, 1),
    row("pack 300 KiB, sparse", 300, 90, 2),
    row("pack 300 KiB, dense", 300, 3_000, 2),
    row("pack 1,500 KiB, sparse", 1_500, 450, 6),
    row("pack 1,500 KiB, dense", 1_500, 15_000, 6),
    row("pack 7,000 KiB, sparse", 7_000, 2_100, 28),
    row("pack 7,000 KiB, dense", 7_000, 70_000, 28),
];

pub(crate) fn measure(bench: &mut Bench) {
    if !bench.wants(&ROWS.each_ref().map(|row| row.0)) {
        return;
    }
    // Built beside this program by `cargo xtask bench`.
    let smf = std::env::current_exe().unwrap().with_file_name("smf");
    let directory = tempfile::tempdir().unwrap();
    for Row(name, library, target) in &ROWS {
        if !bench.wants(&[name]) {
            continue;
        }
        let objects = compile(library, directory.path());
        let command = |program: &Path, options: &[&str], output: &str| {
            let mut command = Command::new(program);
            command.args(options).arg(directory.path().join(output)).args(&objects);
            command.stdin(Stdio::null());
            move || assert!(command.status().unwrap().success(), "{command:?}")
        };
        let linkers =
            [("mold", &["--no-fork", "-shared", "-o"]), ("wild", &["--no-fork", "-shared", "-o"])];
        let linkers = linkers
            .map(|(linker, options)| (linker, command(Path::new(linker), options, "out.so")));
        let installed = linkers.into_iter().filter(|(linker, _)| is_installed(linker));
        let best = installed
            .map(|(linker, mut link)| (time(&mut link), linker, link))
            .min_by_key(|(time, ..)| *time);
        let measure = Measure {
            name,
            peer: best.as_ref().map_or("", |(_, linker, _)| *linker),
            batches: 40,
            target: *target,
            ..Measure::default()
        };
        let pack = repeat(command(&smf, &["pack", "-o"], "out.smf"));
        bench.take(&measure, pack, best.map(|(_, _, link)| repeat(link)));
    }
}

fn is_installed(program: &str) -> bool {
    let mut command = Command::new(program);
    command.arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok()
}

/// The median time of a few runs, in nanoseconds.
fn time(run: &mut impl FnMut()) -> u128 {
    let mut times = [(); 9].map(|()| {
        let start = Instant::now();
        run();
        start.elapsed().as_nanos()
    });
    times.sort_unstable();
    times[times.len() / 2]
}

/// Compiles the sources of a library with the defaults of the compiler, unwinding tables included.
fn compile(library: &Library, directory: &Path) -> Vec<PathBuf> {
    let object = |number| {
        let stem = format!("l{}-{}-{number}", library.size, library.relocs);
        let [source, object] =
            ["c", "o"].map(|extension| directory.join(&stem).with_extension(extension));
        fs::write(&source, library.source(number)).unwrap();
        let mut gcc = Command::new("gcc");
        gcc.args(["-O1", "-fPIC", "-c", "-o"]).args([&object, &source]);
        assert!(gcc.status().is_ok_and(|status| status.success()), "{gcc:?}");
        object
    };
    (0..library.sources).map(object).collect()
}
