//! Progress of work that takes more than a second, on standard error if that is a terminal.

use std::io::{self, IsTerminal};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// The time after which progress is shown.
const DELAY: Duration = Duration::from_secs(1);

/// The time between two updates.
const TICK: Duration = Duration::from_millis(100);

static IS_QUIET: OnceLock<bool> = OnceLock::new();

/// Decides whether progress may be shown.
pub(crate) fn choose(is_quiet: bool) {
    // A second choice has no effect.
    let _ = IS_QUIET.set(is_quiet);
}

/// Does `work`, which is called `name` and has `total` parts, or an unknown number for 0. It advances the bar, and prints
/// through [`ProgressBar::suspend`].
pub(crate) fn during<T>(name: &str, total: usize, work: impl FnOnce(&ProgressBar) -> T) -> T {
    watched(name, total, |_| {}, work)
}

/// The same, with a function that updates the bar before it is drawn.
pub(crate) fn watched<T>(
    name: &str,
    total: usize,
    update: impl Fn(&ProgressBar) + Sync,
    work: impl FnOnce(&ProgressBar) -> T,
) -> T {
    let total = u64::try_from(total).unwrap_or(u64::MAX);
    let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::hidden());
    if IS_QUIET.get() != Some(&false) || !io::stderr().is_terminal() {
        return work(&bar);
    }
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        // If the thread cannot be started, no progress is shown.
        let show = || show(name, total, &bar, &update, &done);
        let shown = thread::Builder::new().spawn_scoped(scope, show).ok();
        let result = work(&bar);
        done.store(true, Ordering::Relaxed);
        if let Some(shown) = shown {
            shown.thread().unpark();
        }
        result
    })
}

fn show(
    name: &str,
    total: u64,
    bar: &ProgressBar,
    update: &impl Fn(&ProgressBar),
    done: &AtomicBool,
) {
    let start = Instant::now();
    let is_done = || done.load(Ordering::Relaxed);
    while let Some(left) = DELAY.checked_sub(start.elapsed()) {
        if is_done() {
            return;
        }
        thread::park_timeout(left);
    }
    let template = match total {
        0 => "{msg} {spinner} {elapsed}",
        _ => "{msg} {wide_bar} {pos}/{len} {elapsed}",
    };
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar.set_message(name.to_owned());
    bar.set_draw_target(ProgressDrawTarget::stderr());
    while !is_done() {
        update(bar);
        bar.tick();
        thread::park_timeout(TICK);
    }
    bar.finish_and_clear();
}
