//! Memory after the first load of a library in a new process, compared with `dlopen` of the same library, and the memory
//! that processes share. The kernel counts both (`smaps`).

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::first_load::{LARGE_DENSE, LARGE_SPARSE, Library, build_host};
use crate::measure::{Bench, Contender, Measure, Statistic, Target, Unit};

const PRIVATE: [(&str, Library); 2] = [
    ("private KiB after the first load of 7,000 KiB, sparse", LARGE_SPARSE),
    ("private KiB after the first load of 7,000 KiB, dense", LARGE_DENSE),
];

const SHARED: &str = "KiB of text of 20 processes with 7,000 KiB";

const PROCESSES: usize = 20;

pub(crate) fn measure(bench: &mut Bench) {
    if !bench.wants(&[PRIVATE[0].0, PRIVATE[1].0, SHARED]) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let host = build_host(directory.path());
    let row = Measure { statistic: Statistic::Least, unit: Unit::Count, ..Measure::default() };
    for (name, library) in PRIVATE {
        if bench.wants(&[name]) {
            let (module, shared) = written_back(&library, directory.path());
            let measure = Measure {
                name,
                peer: "dlopen, RTLD_NOW",
                batches: 10,
                target: Target::ratio(1.0),
                ..row
            };
            let growth = |mode, file: &Path| grown(Holder::start(&host, mode, file));
            let ours = figure(|| growth("smf-hold", &module));
            bench.take(&measure, ours, Some(figure(|| growth("dlopen-hold", &shared))));
        }
    }
    if bench.wants(&[SHARED]) {
        let (module, _) = written_back(&LARGE_SPARSE, directory.path());
        let text = |count| {
            let holders: Vec<_> =
                (0..count).map(|_| Holder::start(&host, "smf-hold", &module)).collect();
            holders.iter().map(|holder| holder.text_kib(&module)).sum()
        };
        let measure = Measure {
            name: SHARED,
            peer: "one process",
            batches: 3,
            target: Target::ratio(1.1),
            ..row
        };
        bench.take(&measure, figure(|| text(PROCESSES)), Some(figure(|| text(1))));
    }
}

/// A contender whose figure is a number.
fn figure<'a>(mut of: impl FnMut() -> u64 + 'a) -> Contender<'a> {
    Box::new(move |times| (0..times).map(|_| Duration::from_nanos(of())).sum())
}

/// Builds a library, and waits until its files are on the disk: pages that are not would count as private.
fn written_back(library: &Library, directory: &Path) -> (PathBuf, PathBuf) {
    let files = library.build(directory);
    for file in [&files.0, &files.1] {
        fs::File::open(file).unwrap().sync_all().unwrap();
    }
    files
}

fn grown(holder: Holder) -> u64 {
    holder.private_kib
}

/// A process that has loaded a library and waits.
struct Holder {
    process: Child,
    /// How much its private memory has grown.
    private_kib: u64,
}

impl Holder {
    fn start(host: &Path, mode: &str, file: &Path) -> Self {
        let mut command = Command::new(host);
        command.arg(mode).arg(file).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        let private_kib = line.trim().parse().unwrap();
        Self { process, private_kib }
    }

    /// The share of the process in the pages of its mappings of `file` that are executable, in KiB.
    fn text_kib(&self, file: &Path) -> u64 {
        let smaps = fs::read_to_string(format!("/proc/{}/smaps", self.process.id())).unwrap();
        let mut is_text = false;
        let mut total = 0;
        for line in smaps.lines() {
            if line.contains(" r-xp ") || line.contains(" r--p ") || line.contains(" rw-p ") {
                is_text = line.contains(" r-xp ") && line.ends_with(file.to_str().unwrap());
            } else if let Some(share) = line.strip_prefix("Pss:").filter(|_| is_text) {
                total += share.trim().trim_end_matches(" kB").parse::<u64>().unwrap();
            }
        }
        assert_ne!(total, 0, "no executable mapping of the module: the file was copied");
        total
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        // The end of its input ends it.
        drop(self.process.stdin.take());
        self.process.wait().unwrap();
    }
}
