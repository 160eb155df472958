//! Measures smf and its peers and prints one table.
//!
//! `cargo xtask bench [FILTER] [--quick]`: only the measures whose names contain FILTER; `--quick`
//! takes fewer samples, and only shows that everything runs.
//!
//! Batches of a measure and of its peer alternate, so that other load of the machine affects both. The table shows
//! the median of the batches; of first loads, the least time.

mod cache;
mod exec;
mod exec_manager;
mod first_load;
mod format;
mod generated_library;
mod instantiate;
mod ir;
mod jit;
mod link;
mod load_memory;
mod loader;
mod measure;
mod object_to_smf;
mod pack;
mod prefetch;
mod process;
mod programs;
mod source_templates;
mod tier;
mod unwinding;

use std::fs;
use std::process::{Command, ExitCode};

use measure::{Bench, Row};

fn main() -> ExitCode {
    if std::env::args().nth(1).is_some_and(|option| option == exec::FIRST_OPTION) {
        exec::first_function();
        return ExitCode::SUCCESS;
    }
    if std::env::args().nth(1).is_some_and(|option| option == ir::FIRST_OPTION) {
        let module = std::env::args().nth(2).unwrap_or_default();
        ir::first_instance(&module, std::env::args().nth(3).is_some());
        return ExitCode::SUCCESS;
    }
    let (options, filters): (Vec<_>, Vec<_>) =
        std::env::args().skip(1).partition(|argument| argument.starts_with('-'));
    let has = |wanted: &str| options.iter().any(|option| option == wanted);
    // The file of the figures is the last argument.
    let (json, filters) = match filters.split_last() {
        Some((file, filters)) if has("--json") => (Some(file), filters),
        _ => (None, &filters[..]),
    };
    let is_known = |option: &String| option == "--quick" || option == "--json" && json.is_some();
    if !options.iter().all(is_known) || filters.len() > 1 {
        eprintln!("usage: cargo xtask bench [FILTER] [--quick] [--html [FILE]]");
        return ExitCode::from(2);
    }
    let machine = machine();
    machine.iter().for_each(|(name, value)| println!("{name:7} {value}"));
    println!();
    let filter = filters.first().map_or("", String::as_str);
    let mut bench = Bench::new(filter, has("--quick"));
    format::measure(&mut bench);
    link::measure(&mut bench);
    loader::measure(&mut bench);
    first_load::measure(&mut bench);
    load_memory::measure(&mut bench);
    unwinding::measure(&mut bench);
    exec::measure(&mut bench);
    exec_manager::measure(&mut bench);
    cache::measure(&mut bench);
    jit::measure(&mut bench);
    tier::measure(&mut bench);
    programs::measure(&mut bench);
    prefetch::measure(&mut bench);
    instantiate::measure(&mut bench);
    ir::measure(&mut bench);
    source_templates::measure(&mut bench);
    pack::measure(&mut bench);
    process::measure(&mut bench);
    Row::print(bench.rows());
    if let Some(file) = json {
        let machine: serde_json::Map<_, _> =
            machine.into_iter().map(|(name, value)| (name.to_owned(), value.into())).collect();
        let rows: Vec<_> = bench.rows().iter().map(Row::to_json).collect();
        let figures = serde_json::json!({ "machine": machine, "rows": rows });
        if let Err(error) = fs::write(file, figures.to_string()) {
            eprintln!("error: {file}: {error}");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

/// The properties of the machine that affect the figures.
fn machine() -> [(&'static str, String); 5] {
    let first_line = |mut command: Command| {
        let output = command.output().map(|output| output.stdout).unwrap_or_default();
        String::from_utf8_lossy(&output).lines().next().unwrap_or("unknown").to_owned()
    };
    let version = |program: &str| {
        let mut command = Command::new(program);
        command.arg("--version");
        first_line(command)
    };
    let cpus = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpus.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let count = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let model = model.map_or("unknown", |(_, model)| model);
    [
        ("cpu", format!("{model} ({count} usable)")),
        ("kernel", kernel.trim().to_owned()),
        ("libc", version("ldd")),
        ("gcc", version("gcc")),
        ("rustc", version("rustc")),
    ]
}
