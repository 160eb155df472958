//! Measurement, and the table of results.

use std::fs;
use std::hint::black_box;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// Runs an operation this number of times and returns the total time.
pub(crate) type Contender<'a> = Box<dyn FnMut(u64) -> Duration + 'a>;

/// A contender that only runs `work`.
pub(crate) fn repeat<'a, T>(mut work: impl FnMut() -> T + 'a) -> Contender<'a> {
    Box::new(move |times| {
        let start = Instant::now();
        for _ in 0..times {
            black_box(work());
        }
        start.elapsed()
    })
}

/// The time for which this thread has run.
pub(crate) fn thread_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// The least time in nanoseconds for which the thread runs in one of `rounds` rounds of `work`. On a shared machine every
/// round of long work is interrupted, which a median of times would count for long work alone.
pub(crate) fn least_thread_time<T>(rounds: u32, mut work: impl FnMut() -> T) -> f64 {
    let mut round = || {
        let start = thread_time();
        black_box(work());
        (thread_time() - start).as_nanos() as f64
    };
    (0..rounds).map(|_| round()).fold(f64::INFINITY, f64::min)
}

/// A contender that prepares a new value each time; only its use is timed.
pub(crate) fn repeat_prepared<'a, P, T>(
    mut prepare: impl FnMut() -> P + 'a,
    mut work: impl FnMut(&P) -> T + 'a,
) -> Contender<'a> {
    Box::new(move |times| {
        let timed = |_| {
            let prepared = prepare();
            let start = Instant::now();
            black_box(work(&prepared));
            start.elapsed()
        };
        (0..times).map(timed).sum()
    })
}

/// Writes a file and waits until it is as old as almost all files that a loader reads. A file that was changed within
/// the last 100 ms is read twice, which doubles the time of loading, and that may be all of the time of a few batches.
pub(crate) fn write_settled(path: &Path, bytes: &[u8]) {
    fs::write(path, bytes).unwrap();
    settle();
}

/// Waits until files that were written just now are as old.
pub(crate) fn settle() {
    thread::sleep(Duration::from_millis(120));
}

/// The target of a figure.
#[derive(Clone, Copy, Default)]
pub(crate) struct Target {
    /// The maximum ratio to the peer's time.
    pub(crate) ratio: Option<f64>,
    /// A limit in the unit of the row. A time depends on the machine, so it is printed in parentheses and not judged.
    pub(crate) limit: Option<f64>,
}

impl Target {
    /// No target.
    pub(crate) const NONE: Target = Target { ratio: None, limit: None };

    pub(crate) const fn ratio(ratio: f64) -> Self {
        Target { ratio: Some(ratio), limit: None }
    }

    pub(crate) const fn limit(limit: f64) -> Self {
        Target { ratio: None, limit: Some(limit) }
    }
}

/// How the times of batches become a figure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Statistic {
    Median,
    /// The least time of a batch of one turn: of an operation that a process does once, every other time contains
    /// waiting for other processes. `--quick` takes all batches.
    Least,
}

/// One figure.
pub(crate) struct Measure<'a> {
    /// The measured operation.
    pub(crate) name: &'a str,
    /// The peer; empty without one.
    pub(crate) peer: &'a str,
    /// The divisor of a turn's time, for turns of several operations.
    pub(crate) per: u64,
    /// The number of batches of each contender.
    pub(crate) batches: usize,
    pub(crate) statistic: Statistic,
    pub(crate) target: Target,
    /// The maximum difference to the peer's time in nanoseconds; printed and not judged.
    pub(crate) over: Option<f64>,
    /// What the durations of the contenders stand for.
    pub(crate) unit: Unit,
}

impl Default for Measure<'_> {
    fn default() -> Self {
        Measure {
            name: "",
            peer: "",
            per: 1,
            batches: 400,
            statistic: Statistic::Median,
            target: Target::NONE,
            over: None,
            unit: Unit::Nanoseconds,
        }
    }
}

/// The unit of a figure.
#[derive(Clone, Copy, Default)]
pub(crate) enum Unit {
    #[default]
    Nanoseconds,
    Percent,
    Count,
}

impl Unit {
    fn show(self, figure: f64) -> String {
        match self {
            Unit::Nanoseconds => time(figure),
            Unit::Percent => format!("{figure:.1} %"),
            Unit::Count => format!("{figure}"),
        }
    }
}

/// A row of the table.
pub(crate) struct Row {
    name: String,
    ours: f64,
    unit: Unit,
    peer: Option<(String, f64)>,
    target: Target,
    over: Option<f64>,
}

/// Takes measures and collects the figures.
pub(crate) struct Bench {
    filter: String,
    quick: bool,
    rows: Vec<Row>,
}

/// The minimum duration of a batch.
const BATCH: Duration = Duration::from_micros(500);

impl Bench {
    pub(crate) fn new(filter: &str, quick: bool) -> Self {
        Bench { filter: filter.to_owned(), quick, rows: Vec::new() }
    }

    /// Whether only a few short batches are taken.
    pub(crate) fn is_quick(&self) -> bool {
        self.quick
    }

    /// Whether any of these measures is selected; queried before expensive preparations.
    pub(crate) fn wants(&self, names: &[&str]) -> bool {
        names.iter().any(|name| name.contains(&self.filter))
    }

    /// Takes the measure, unless it is filtered out.
    pub(crate) fn take(
        &mut self,
        measure: &Measure<'_>,
        ours: Contender<'_>,
        peer: Option<Contender<'_>>,
    ) {
        if !self.wants(&[measure.name]) {
            return;
        }
        eprintln!("measuring: {}", measure.name);
        let is_short = self.quick && measure.statistic == Statistic::Median;
        let batches = if is_short { measure.batches.min(9) } else { measure.batches };
        let mut contenders: Vec<Contender<'_>> = std::iter::once(ours).chain(peer).collect();
        let times = in_turns(&mut contenders, batches, measure.statistic);
        let each = |index: usize| times.get(index).map(|time| time / measure.per as f64);
        self.rows.push(Row {
            name: measure.name.to_owned(),
            ours: each(0).unwrap_or(f64::NAN),
            unit: measure.unit,
            peer: each(1).map(|time| (measure.peer.to_owned(), time)),
            target: measure.target,
            over: measure.over,
        });
    }

    /// Adds a figure that needs no measurement, and its maximum.
    pub(crate) fn state(&mut self, name: &str, ours: f64, unit: Unit, most: f64) {
        if self.wants(&[name]) {
            let (name, target) = (name.to_owned(), Target::limit(most));
            self.rows.push(Row { name, ours, unit, peer: None, target, over: None });
        }
    }

    /// The ratio to the peer's time of a row that was taken.
    pub(crate) fn ratio(&self, name: &str) -> Option<f64> {
        self.rows.iter().find(|row| row.name == name)?.ratio()
    }

    pub(crate) fn rows(&self) -> &[Row] {
        &self.rows
    }
}

/// The median or least time of one turn of each contender, in nanoseconds.
fn in_turns(contenders: &mut [Contender<'_>], batches: usize, statistic: Statistic) -> Vec<f64> {
    let turns = |contender| match statistic {
        Statistic::Median => calibrate(contender),
        Statistic::Least => 1,
    };
    let times: Vec<u64> = contenders.iter_mut().map(turns).collect();
    let mut samples = vec![Vec::with_capacity(batches); contenders.len()];
    for _ in 0..batches {
        for ((contender, times), samples) in contenders.iter_mut().zip(&times).zip(&mut samples) {
            samples.push(contender(*times).as_nanos() as f64 / *times as f64);
        }
    }
    let figure = match statistic {
        Statistic::Median => median,
        Statistic::Least => |samples: Vec<f64>| samples.into_iter().fold(f64::INFINITY, f64::min),
    };
    samples.into_iter().map(figure).collect()
}

/// The number of turns in a batch.
fn calibrate(contender: &mut Contender<'_>) -> u64 {
    let mut times = 1;
    while contender(times) < BATCH && times < 1 << 40 {
        times *= 2;
    }
    times
}

fn median(mut samples: Vec<f64>) -> f64 {
    samples.sort_unstable_by(f64::total_cmp);
    samples.get(samples.len() / 2).copied().unwrap_or(f64::NAN)
}

impl Row {
    fn ratio(&self) -> Option<f64> {
        self.peer.as_ref().map(|(_, peer)| self.ours / peer)
    }

    fn is_met(&self) -> Option<bool> {
        let Target { ratio, limit } = self.target;
        let ratio = ratio.map(|most| self.ratio().is_some_and(|ratio| ratio <= most));
        let is_time = matches!(self.unit, Unit::Nanoseconds);
        let limit = limit.filter(|_| !is_time).map(|most| self.ours <= most);
        [ratio, limit].into_iter().flatten().reduce(|one, other| one && other)
    }

    /// The row for `cargo xtask bench --html`.
    pub(crate) fn to_json(&self) -> Value {
        let unit = match self.unit {
            Unit::Nanoseconds => "ns",
            Unit::Percent => "%",
            Unit::Count => "",
        };
        json!({
            "name": self.name,
            "ours": self.ours,
            "unit": unit,
            "peer_name": self.peer.as_ref().map(|(name, _)| name),
            "peer": self.peer.as_ref().map(|(_, time)| time),
            "target_ratio": self.target.ratio,
            "target_limit": self.target.limit,
            "met": self.is_met(),
        })
    }

    fn cells(&self) -> [String; 6] {
        let Target { ratio, limit } = self.target;
        let most = limit.map(|most| match self.unit {
            Unit::Nanoseconds => format!("({})", time(most)),
            unit => unit.show(most),
        });
        let over = self.over.map(|most| format!("(+{})", time(most)));
        let targets = [ratio.map(|ratio| format!("{ratio} x")), most, over];
        let peer =
            self.peer.as_ref().map(|(name, peer)| format!("{} {name}", self.unit.show(*peer)));
        [
            self.name.clone(),
            self.unit.show(self.ours),
            peer.unwrap_or_default(),
            self.ratio().map(|ratio| format!("{ratio:.3} x")).unwrap_or_default(),
            targets.into_iter().flatten().collect::<Vec<_>>().join(", "),
            self.is_met().map_or("", |met| if met { "met" } else { "NOT MET" }).to_owned(),
        ]
    }

    /// Prints the table.
    pub(crate) fn print(rows: &[Row]) {
        let head = ["measure", "ours", "peer", "ratio", "target", ""].map(str::to_owned);
        let table: Vec<_> = std::iter::once(head).chain(rows.iter().map(Row::cells)).collect();
        let mut widths = [0; 6];
        for cells in &table {
            for (width, cell) in widths.iter_mut().zip(cells) {
                *width = cell.chars().count().max(*width);
            }
        }
        for cells in &table {
            let cells = cells.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}"));
            println!("{}", cells.collect::<Vec<_>>().join("  ").trim_end());
        }
    }
}

/// A time in readable units.
fn time(nanoseconds: f64) -> String {
    match nanoseconds {
        ..1e3 => format!("{nanoseconds:.2} ns"),
        ..1e6 => format!("{:.2} us", nanoseconds / 1e3),
        _ => format!("{:.2} ms", nanoseconds / 1e6),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_and_counts_are_judged_and_times_are_not() {
        let row = |ours, unit, target| Row {
            name: String::new(),
            ours,
            unit,
            peer: Some((String::new(), 100.0)),
            target,
            over: Some(2.0),
        };
        let both = Target { ratio: Some(0.3), limit: Some(20.0) };
        assert_eq!(row(25.0, Unit::Nanoseconds, both).is_met(), Some(true));
        assert_eq!(row(35.0, Unit::Nanoseconds, both).is_met(), Some(false));
        assert_eq!(row(25.0, Unit::Nanoseconds, Target::limit(20.0)).is_met(), None);
        assert_eq!(row(25.0, Unit::Percent, Target::limit(20.0)).is_met(), Some(false));
        assert_eq!(row(15.0, Unit::Count, Target::limit(20.0)).is_met(), Some(true));
        assert_eq!(row(35.0, Unit::Nanoseconds, Target::NONE).is_met(), None);
    }

    #[test]
    fn least_time_is_that_of_one_turn() {
        let mut times = [9, 3, 5].into_iter();
        let turn = Box::new(move |turns: u64| {
            assert_eq!(turns, 1);
            Duration::from_nanos(times.next().unwrap())
        });
        assert_eq!(in_turns(&mut [turn], 3, Statistic::Least), [3.0]);
    }

    #[test]
    fn median_is_the_middle() {
        assert_eq!(median(vec![9.0, 1.0, 2.0]), 2.0);
    }
}
