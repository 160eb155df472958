//! Every fuzz target, and what came of it: how many executions, how fast, how much was covered.
//!
//! Targets of rooms that hold no unsafe code run without a sanitizer, which would find nothing there that
//! a panic does not show, and costs most of the speed. Arithmetic that overflows panics in all of them.
//!
//! A target begins with the files of `fuzz/seeds/TARGET`, or with the samples where there are none, and
//! with what earlier runs on this machine have found.

use std::num::NonZero;
use std::panic::resume_unwind;
use std::path::PathBuf;
use std::{fs, thread};

use crate::error::Error;
use crate::shell::{cargo, root, target};

/// Targets that reach code with pointers in it: memory, the cache, and the exports for C.
const UNSAFE: [&str; 4] = ["cache", "calls", "code", "link"];

/// The longest input in bytes: all samples but one are shorter. What a longer one does, a shorter one does
/// sooner.
const LONGEST: u32 = 2048;

/// Targets whose inputs are lists of operations, four bytes each, that take microseconds.
const LISTS: [&str; 2] = ["calls", "code"];

/// The longest input of those.
const LONGEST_LIST: u32 = 256;

/// What libFuzzer says at the end.
#[derive(Default)]
struct Figures {
    executions: u64,
    per_second: u64,
    covered: u64,
}

impl Figures {
    /// Takes what a line says.
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
    let seconds = seconds.ok_or_else(|| Error::NoSuchStep("--seconds".to_owned()))?;
    each(seconds, wanted).map(drop)
}

/// Runs all targets, or these, so many seconds each, as many at once as there are cores; how many there were.
pub(crate) fn each(seconds: u32, wanted: &[String]) -> Result<u64, Error> {
    let targets = cargo("+nightly fuzz list").output()?;
    let is_wanted = |name: &&str| wanted.is_empty() || wanted.iter().any(|wanted| wanted == name);
    let targets: Vec<&str> = targets.lines().filter(is_wanted).collect();
    let mut summary = Vec::new();
    for names in targets.chunks(thread::available_parallelism().map_or(1, NonZero::get)) {
        for (name, figures) in names.iter().zip(at_once(names, seconds)) {
            let Figures { executions, per_second, covered } = figures?;
            summary.push(format!("{name:12} {executions:>12} {per_second:>12} {covered:>9}"));
        }
    }
    println!("{:12} {:>12} {:>12} {:>9}", "target", "executions", "per second", "covered");
    summary.iter().for_each(|line| println!("{line}"));
    Ok(summary.len() as u64)
}

/// Runs these targets beside each other.
fn at_once(names: &[&str], seconds: u32) -> Vec<Result<Figures, Error>> {
    thread::scope(|scope| {
        let running: Vec<_> =
            names.iter().map(|&name| scope.spawn(move || one(name, seconds))).collect();
        let ended = running.into_iter().map(|run| run.join().unwrap_or_else(|p| resume_unwind(p)));
        ended.collect()
    })
}

fn one(name: &str, seconds: u32) -> Result<Figures, Error> {
    let corpus = target().join("fuzz-corpus").join(name);
    fs::create_dir_all(&corpus).map_err(|error| Error::File(corpus.clone(), error))?;
    let seeds = ["fuzz/seeds", name].iter().collect::<PathBuf>();
    let seeds = if root().join(&seeds).is_dir() { seeds } else { "tests/samples".into() };
    let sanitizer = if UNSAFE.contains(&name) { "address" } else { "none" };
    let longest = if LISTS.contains(&name) { LONGEST_LIST } else { LONGEST };
    let mut figures = Figures::default();
    cargo(&format!("+nightly fuzz run --sanitizer {sanitizer} {name}"))
        .args([corpus, seeds])
        .args(["--", "-timeout=10", "-rss_limit_mb=1024", "-print_final_stats=1"])
        // The address sanitizer looks for leaks once, at the end: after each input that is slower than the input.
        .args(["-detect_leaks=0"])
        .args([format!("-max_len={longest}"), format!("-max_total_time={seconds}")])
        .for_each_error(|line| {
            figures.read(line);
            // The rest is one line for each input that covers more.
            if !line.starts_with(['#', '\t']) || line.contains("DONE") {
                eprintln!("{name}: {line}");
            }
        })?;
    Ok(figures)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_the_fuzzer_says() {
        let mut figures = Figures::default();
        for line in [
            "#2048\tpulse  cov: 812 ft: 2100 corp: 90/12Kb",
            "#4096\tDONE   cov: 830 ft: 2200 corp: 99/13Kb",
            "stat::number_of_executed_units: 4096",
            "stat::average_exec_per_sec:     1024",
            "INFO: Loaded 1 modules",
        ] {
            figures.read(line);
        }
        assert_eq!((figures.executions, figures.per_second, figures.covered), (4096, 1024, 830));
    }
}
