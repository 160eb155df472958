//! Unwinding tables: gcc compiles 40,000 functions, and `smf pack` makes a module of them with its tables and one without.
//!
//! One row is the registration with the unwinder of this process and its removal; libgcc before version 13 sorts the
//! records at the first exception, later versions find the range of the code at registration. The other row loads both
//! modules: the difference contains reading, relocating and checking the tables too.

use std::fmt::Write;
use std::fs;
use std::process::Command;
use std::sync::Mutex;

use smf_core::format::Smf;
use smf_core::link::{HostServiceError, HostServices, Image, NoImports};
use smf_loader::host_services::ProcessServices;
use smf_loader::pack::{Input, Options, pack};

use crate::measure::{Bench, Measure, Target, repeat};

const REGISTER: &str = "unwinding: register 40,000 functions and remove them";
const LOAD: &str = "unwinding: load 40,000 functions with tables";

const FUNCTIONS: usize = 40_000;

/// The most nanoseconds that unwinding tables may cost.
const MOST: f64 = 2e6;

/// The registered tables: address and size in bytes.
static TABLES: Mutex<Option<(usize, usize)>> = Mutex::new(None);

/// Notes which tables are to be registered.
struct Recorder;

impl HostServices for Recorder {
    fn register_unwinding(&self, address: usize, size: usize) -> Result<usize, HostServiceError> {
        *TABLES.lock().unwrap() = Some((address, size));
        Ok(0)
    }
}

pub(crate) fn measure(bench: &mut Bench) {
    if !bench.wants(&[REGISTER, LOAD]) {
        return;
    }
    let object = compile();
    let packed = |omit_unwind_tables| {
        let options = Options { export_all: true, omit_unwind_tables, ..Options::default() };
        pack(&[Input { name: "module.o", data: &object }], &options).unwrap().bytes
    };
    let (with, without) = (packed(false), packed(true));
    let link = |bytes: &[u8], services: &'static dyn HostServices| {
        let smf = Smf::parse(bytes).unwrap();
        let module = Image::map(&smf).unwrap().link_with(&NoImports, services).unwrap();
        std::hint::black_box(module.code().count());
    };
    let load = |bytes| repeat(move || link(bytes, &ProcessServices));
    let over = Some(MOST);
    let measure = Measure { name: LOAD, peer: "without", over, batches: 40, ..Measure::default() };
    bench.take(&measure, load(&with), Some(load(&without)));

    let smf = Smf::parse(&with).unwrap();
    let module = Image::map(&smf).unwrap().link_with(&NoImports, &Recorder).unwrap();
    let (address, size) = TABLES.lock().unwrap().take().unwrap();
    let register = || {
        let token = ProcessServices.register_unwinding(address, size).unwrap();
        ProcessServices.deregister_unwinding(address, size, token);
    };
    let target = Target::limit(MOST);
    let measure = Measure { name: REGISTER, target, batches: 40, ..Measure::default() };
    bench.take(&measure, repeat(register), None);
    drop(module);
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
