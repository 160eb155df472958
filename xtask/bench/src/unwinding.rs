//! Unwinding tables: gcc compiles 40,000 functions, and `smf pack` makes a module of them with its tables and one without.
//!
//! The row loads both modules. The difference contains reading, relocating and checking the tables, and their registration
//! with the unwinder of this process: libgcc before version 13 sorts the records at the first exception, later versions
//! find the range of the code at registration.

use std::fmt::Write;
use std::fs;
use std::process::Command;

use smf_core::format::Smf;
use smf_core::link::{Image, NoImports};
use smf_loader::host_services::PROCESS_SERVICES;
use smf_loader::pack::{Input, Options, pack};

use crate::measure::{Bench, Measure, repeat};

const LOAD: &str = "unwinding: load 40,000 functions with tables";

const FUNCTIONS: usize = 40_000;

/// The most nanoseconds that unwinding tables may cost.
const MOST: f64 = 2e6;

pub(crate) fn measure(bench: &mut Bench) {
    if !bench.wants(&[LOAD]) {
        return;
    }
    let object = compile();
    let packed = |omit_unwind_tables| {
        let options = Options { export_all: true, omit_unwind_tables, ..Options::default() };
        pack(&[Input { name: "module.o", data: &object }], &options).unwrap().bytes
    };
    let (with, without) = (packed(false), packed(true));
    let link = |bytes: &[u8]| {
        let smf = Smf::parse(bytes).unwrap();
        let module = Image::map(&smf).unwrap().link_with(&NoImports, PROCESS_SERVICES).unwrap();
        std::hint::black_box(module.code().count());
    };
    let load = |bytes| repeat(move || link(bytes));
    let over = Some(MOST);
    let measure = Measure { name: LOAD, peer: "without", over, batches: 40, ..Measure::default() };
    bench.take(&measure, load(&with), Some(load(&without)));
}

fn compile() -> Vec<u8> {
    let directory = tempfile::tempdir().unwrap();
    let path = |name| directory.path().join(name);
    let mut source = String::new();
    for number in 0..FUNCTIONS {
        writeln!(source, "long f{number}(long n) {{ return n + {number}; }}").unwrap();
    }
    fs::write(path("module.c"), source).unwrap();
    let mut command = Command::new("gcc");
    let status = command.args(["-O1", "-c", "module.c"]).current_dir(directory.path()).status();
    assert!(status.is_ok_and(|status| status.success()), "{command:?}");
    fs::read(path("module.o")).unwrap()
}
