//! Profilers and debuggers that are notified of code. Each is enabled for the process, which exits afterwards.

use std::fs;

use smf_core::loader::{LoaderOptions, ModuleBytes};
use smf_loader::loader::Loader;
use smf_loader::tools::{enable_gdb, enable_jitdump, enable_perf_map};
use smf_tests::sample;

use super::{Scenario, directory, judge};

/// Loads a module whose functions are registered with an observer.
fn load(granted: usize) -> i32 {
    let bytes: &'static [u8] = sample("packed.smf").bytes.leak();
    let loader = Loader::new(LoaderOptions::default()).unwrap();
    let load = || loader.modules().load(b"packed", ModuleBytes::new(bytes)?);
    judge(granted, load, |module| loader.modules().unload(module).unwrap())
}

/// Removes the perf map of this process on drop, if there is one.
struct PerfMap;

impl Drop for PerfMap {
    fn drop(&mut self) {
        let _ = fs::remove_file(format!("/tmp/perf-{}.map", std::process::id()));
    }
}

pub(super) const SCENARIOS: &[Scenario] = &[
    ("switch on the perf map", |granted| {
        let _map = PerfMap;
        judge(granted, enable_perf_map, drop)
    }),
    ("switch on the jitdump", |granted| {
        let directory = directory();
        judge(granted, || enable_jitdump(directory.path()), drop)
    }),
    ("tell the perf map", |granted| {
        let _map = PerfMap;
        enable_perf_map().unwrap();
        load(granted)
    }),
    ("tell the jitdump", |granted| {
        let directory = directory();
        enable_jitdump(directory.path()).unwrap();
        load(granted)
    }),
    ("tell debuggers", |granted| {
        enable_gdb().unwrap();
        load(granted)
    }),
];
