//! Runs the fuzz targets and reports executions, rate and coverage of each.
//!
//! Targets of modules without unsafe code run without a sanitizer: a panic shows every defect there, and the sanitizer
//! costs most of the speed. Arithmetic that overflows panics in all targets.
//!
//! A target starts from the files of `fuzz/seeds/TARGET`, or from the samples where there are none, and from the corpus
//! of earlier runs on this machine.

use std::num::NonZero;
use std::panic::resume_unwind;
use std::path::PathBuf;
use std::{fs, thread};

use crate::error::{At, Error};
use crate::shell::{cargo, root, target};

/// Targets that reach unsafe code: memory, the cache, the linker and the exports for C.
const UNSAFE: [&str; 4] = ["cache", "calls", "code", "link"];

/// The length limit of an input in bytes. All samples but one are shorter.
const MAX_INPUT: u32 = 2048;

/// Targets whose inputs are lists of operations, four bytes each, that take microseconds.
const OPERATION_LISTS: [&str; 2] = ["calls", "code"];

/// The length limit of such a list in bytes.
const MAX_OPERATION_LIST: u32 = 256;

/// The options of a build without Cranelift, which takes longer to build than the rest.
const QUICK: &str = "--no-default-features";

/// The statistics that libFuzzer prints.
#[derive(Default)]
struct Statistics {
    executions: u64,
    per_second: u64,
    covered: u64,
}

impl Statistics {
    fn read(&mut self, line: &str) {
        let number = |text: &str| text.split_whitespace().next().and_then(|word| word.parse().ok());
        if let Some(count) = line.strip_prefix("stat::number_of_executed_units:").and_then(number) {
            self.executions = count;
        }
        if let Some(rate) = line.strip_prefix("stat::average_exec_per_sec:").and_then(number) {
            self.per_second = rate;
        }
        if let Some(covered) = line.split_once(" cov: ").and_then(|(_, rest)| number(rest)) {
            self.covered = self.covered.max(covered);
        }
    }
}

/// `fuzz [--seconds N] [TARGET...]`.
pub(crate) fn run(arguments: &[String]) -> Result<(), Error> {
    let (seconds, wanted) = match arguments {
        [option, seconds, wanted @ ..] if option == "--seconds" => (seconds.parse().ok(), wanted),
        wanted => (Some(30), wanted),
    };
    let seconds = seconds.ok_or_else(|| Error::Usage("--seconds".to_owned()))?;
    each(seconds, true, wanted).map(drop)
}

/// Runs all targets, or those listed, each for `seconds`, as many at once as there are cores. In a full run,
/// targets that reach unsafe code run under the address sanitizer, and those that compare engines have Cranelift. Returns
/// the number of targets.
pub(crate) fn each(seconds: u32, is_full: bool, wanted: &[String]) -> Result<u64, Error> {
    let targets = cargo("+nightly fuzz list").output()?;
    let targets = select(&targets.lines().collect::<Vec<_>>(), wanted)?;
    if !is_full && wanted.is_empty() {
        cargo(&format!("+nightly fuzz build --sanitizer none {QUICK}")).run()?;
    }
    let mut summary = Vec::new();
    for names in targets.chunks(thread::available_parallelism().map_or(1, NonZero::get)) {
        for (name, statistics) in names.iter().zip(run_together(names, seconds, is_full)) {
            let Statistics { executions, per_second, covered } = statistics?;
            summary.push(format!("{name:12} {executions:>12} {per_second:>12} {covered:>9}"));
        }
    }
    println!("{:12} {:>12} {:>12} {:>9}", "target", "executions", "per second", "covered");
    summary.iter().for_each(|line| println!("{line}"));
    Ok(summary.len() as u64)
}

/// The targets that are wanted, all if none is listed.
///
/// # Errors
/// A name that is listed, there or in this file, and is that of no target.
fn select<'t>(targets: &[&'t str], wanted: &[String]) -> Result<Vec<&'t str>, Error> {
    let listed = UNSAFE.into_iter().chain(OPERATION_LISTS).chain(wanted.iter().map(String::as_str));
    for name in listed {
        if !targets.contains(&name) {
            return Err(Error::no_such("fuzz target", name, targets.iter().copied()));
        }
    }
    let is_wanted = |name: &&&str| wanted.is_empty() || wanted.iter().any(|wanted| wanted == *name);
    Ok(targets.iter().filter(is_wanted).copied().collect())
}

fn run_together(names: &[&str], seconds: u32, is_full: bool) -> Vec<Result<Statistics, Error>> {
    thread::scope(|scope| {
        let running: Vec<_> = names
            .iter()
            .map(|&name| scope.spawn(move || run_target(name, seconds, is_full)))
            .collect();
        let ended = running.into_iter().map(|run| run.join().unwrap_or_else(|p| resume_unwind(p)));
        ended.collect()
    })
}

fn run_target(name: &str, seconds: u32, is_full: bool) -> Result<Statistics, Error> {
    let corpus = target().join("fuzz-corpus").join(name);
    fs::create_dir_all(&corpus).at(&corpus)?;
    let seeds = ["fuzz/seeds", name].iter().collect::<PathBuf>();
    let seeds = if root().join(&seeds).is_dir() { seeds } else { "tests/samples".into() };
    let sanitizer = if is_full && UNSAFE.contains(&name) { "address" } else { "none" };
    let features = if is_full { "" } else { QUICK };
    let limit = if OPERATION_LISTS.contains(&name) { MAX_OPERATION_LIST } else { MAX_INPUT };
    let mut statistics = Statistics::default();
    cargo(&format!("+nightly fuzz run --sanitizer {sanitizer} {features} {name}"))
        .args([corpus, seeds])
        .args(["--", "-timeout=10", "-rss_limit_mb=1024", "-print_final_stats=1"])
        // The address sanitizer looks for leaks once, at the end: a search after each input takes longer than the
        // input.
        .args(["-detect_leaks=0"])
        .args([format!("-max_len={limit}"), format!("-max_total_time={seconds}")])
        .for_each_error(|line| {
            statistics.read(line);
            // The other lines report inputs that raise the coverage.
            if !line.starts_with(['#', '\t']) || line.contains("DONE") {
                eprintln!("{name}: {line}");
            }
        })?;
    Ok(statistics)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_of_no_target_is_an_error_that_lists_the_targets() {
        let targets = ["cache", "calls", "code", "link", "parse"];
        let selected = |wanted: &[&str]| {
            let wanted: Vec<String> = wanted.iter().map(|&name| name.to_owned()).collect();
            select(&targets, &wanted).map_err(|error| error.to_string())
        };
        assert_eq!(selected(&["parse", "code"]).unwrap(), ["code", "parse"]);
        assert_eq!(selected(&[]).unwrap(), targets);
        let message = "there is no fuzz target `pars`, only cache, calls, code, link, parse";
        assert_eq!(selected(&["code", "pars"]), Err(message.to_owned()));
        let unknown = select(&targets[1..], &[]).unwrap_err().to_string();
        assert!(unknown.contains("no fuzz target `cache`"), "{unknown}");
    }

    #[test]
    fn lists_name_targets_of_the_manifest() {
        let manifest = fs::read_to_string(root().join("fuzz/Cargo.toml")).unwrap();
        let names = manifest.lines().filter_map(|line| line.strip_prefix("name = "));
        let names: Vec<&str> = names.map(|name| name.trim_matches('"')).collect();
        select(&names, &[]).unwrap();
        for seeds in fs::read_dir(root().join("fuzz/seeds")).unwrap() {
            let name = seeds.unwrap().file_name().into_string().unwrap();
            assert!(names.contains(&&*name), "{name}");
        }
    }

    #[test]
    fn libfuzzer_output_yields_statistics() {
        let mut statistics = Statistics::default();
        for line in [
            "#2048\tpulse  cov: 812 ft: 2100 corp: 90/12Kb",
            "#4096\tDONE   cov: 830 ft: 2200 corp: 99/13Kb",
            "stat::number_of_executed_units: 4096",
            "stat::average_exec_per_sec:     1024",
            "INFO: Loaded 1 modules",
        ] {
            statistics.read(line);
        }
        let Statistics { executions, per_second, covered } = statistics;
        assert_eq!((executions, per_second, covered), (4096, 1024, 830));
    }
}
