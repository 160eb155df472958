//! `smf trace`: `smf run` with a trace of what it does.
//!
//! The trace is in the JSON format of Chrome's tracing ("Trace Event Format"), which Perfetto reads: a complete event
//! (`X`) for each span of time, an instant (`i`) for each other event, and metadata (`M`) with the names of the process
//! and its threads. Times are microseconds from the start of the command, with three decimals.
#![allow(unsafe_code)]

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::getpid;
use rustix::thread::gettid;
use serde_json::{Map, Value, json};
use smf_loader::events::{self, Event, EventKind, EventSink, Field, Span};
use smf_loader::files;

use crate::output::{self, Failure};
use crate::run;

/// Does what `smf run` does, and writes a trace of it for Perfetto
///
/// The trace has a slice for reading, loading, mapping, relocation and construction of each module, for each instance of
/// a template, each compilation of a function, and the call, with the modules, sizes and counts as arguments. It is
/// written when the command ends, also by a failure, a call of `exit` or a crash of the module. Open it in
/// Perfetto (ui.perfetto.dev) or chrome://tracing.
// The group of the flattened arguments has the same name.
#[derive(clap::Args)]
#[group(skip)]
pub(crate) struct Args {
    /// The trace, a JSON file
    #[arg(short, long, value_name = "OUT")]
    output: PathBuf,
    #[command(flatten)]
    run: run::Args,
}

static RECORDER: OnceLock<Recorder> = OnceLock::new();

pub(crate) fn run(args: &Args) -> Result<ExitCode, Failure> {
    if args.run.watch {
        return Err(Failure::usage_of(&args.run.file, "--watch does not apply to traces"));
    }
    if files::is_standard_stream(&args.output) {
        let why = "the result goes to standard output: name a file for the trace";
        return Err(Failure::Usage(why.to_owned()));
    }
    let inputs = args.run.with.iter().chain([&args.run.file]);
    output::check_distinct(&args.output, inputs.map(|path| &**path))?;
    let recorder = RECORDER.get_or_init(|| Recorder::new(args));
    events::set_sink(recorder);
    // SAFETY: the function has the signature that atexit(3) states.
    unsafe { libc::atexit(write_at_exit) };
    let result = run::run(&args.run);
    match (&result, recorder.write()) {
        // The error of the run is the one to report.
        (Err(_), Err(Failure::Because(why))) => output::report("warning", &why),
        (_, written) => written?,
    }
    result
}

/// Refuses a trace that would replace one of the files of a program, which are known when they are read.
pub(crate) fn check_inputs(files: &[PathBuf]) -> Result<(), Failure> {
    let Some(recorder) = RECORDER.get() else { return Ok(()) };
    let checked = output::check_distinct(&recorder.output, files.iter().map(PathBuf::as_path));
    checked.inspect_err(|_| recorder.discard())
}

/// A span of this command that concerns a file or a function.
pub(crate) fn span(name: &'static str, subject: &Path) -> Span {
    events::span(name, &[("name", Field::Text(&subject.display()))])
}

/// Writes the trace of a module that ends the process.
extern "C" fn write_at_exit() {
    if let Some(Err(Failure::Because(why))) = RECORDER.get().map(Recorder::write) {
        output::report("error", &why);
    }
}

/// Writes the trace of a module that has crashed, unless an event is being recorded.
pub(crate) fn write_after_crash() {
    if let Some(recorder) = RECORDER.get().filter(|recorder| recorder.state.try_lock().is_ok()) {
        // The crash is what is reported.
        let _ = recorder.write();
    }
}

/// Records the events of this process.
struct Recorder {
    start: Instant,
    output: PathBuf,
    title: String,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    threads: Vec<Thread>,
    /// With their starts.
    done: Vec<(Duration, Value)>,
    is_written: bool,
}

struct Thread {
    id: i32,
    name: String,
    open: Vec<Slice>,
}

/// A span that has not ended.
struct Slice {
    name: &'static str,
    start: Duration,
    arguments: Map<String, Value>,
}

impl EventSink for Recorder {
    fn event(&self, event: &Event<'_>) {
        let now = self.start.elapsed();
        let fields = event.fields.iter().map(|(name, value)| ((*name).to_owned(), json_of(*value)));
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let State { threads, done, .. } = &mut *state;
        let thread = Thread::current(threads);
        match event.kind {
            EventKind::Begin => {
                let (name, arguments) = (event.name, fields.collect());
                // After the lock, so that waiting for it is no part of the slice.
                thread.open.push(Slice { name, start: self.start.elapsed(), arguments });
            }
            EventKind::Add => {
                if let Some(slice) = thread.open.last_mut() {
                    slice.arguments.extend(fields);
                }
            }
            EventKind::End => {
                if let Some(slice) = thread.open.pop() {
                    done.push((slice.start, slice.ended(thread.id, now)));
                }
            }
            _ => {
                let arguments: Map<_, _> = fields.collect();
                let (id, name, at) = (thread.id, event.name, microseconds(now));
                let event = json!({
                    "ph": "i", "name": name, "cat": "smf", "s": "t", "ts": at, "pid": pid(), "tid": id,
                    "args": arguments,
                });
                done.push((now, event));
            }
        }
    }
}

impl Thread {
    /// The calling thread.
    fn current(all: &mut Vec<Self>) -> &mut Self {
        let id = gettid().as_raw_nonzero().get();
        let found = all.iter().position(|thread| thread.id == id).unwrap_or_else(|| {
            let current = std::thread::current();
            let name = match current.name() {
                _ if id == pid() => "main thread".to_owned(),
                Some(name) => name.to_owned(),
                None => format!("thread {id}"),
            };
            all.push(Self { id, name, open: Vec::new() });
            all.len() - 1
        });
        #[expect(clippy::indexing_slicing, reason = "found or pushed above")]
        &mut all[found]
    }
}

impl Slice {
    fn ended(self, thread: i32, end: Duration) -> Value {
        let Self { name, start, arguments } = self;
        let (at, duration) = (microseconds(start), microseconds(end.saturating_sub(start)));
        json!({
            "ph": "X", "name": name, "cat": "smf", "ts": at, "dur": duration, "pid": pid(), "tid": thread,
            "args": arguments,
        })
    }
}

impl Recorder {
    fn new(args: &Args) -> Self {
        let title = format!("smf {}", args.run.file.display());
        let (start, output, state) = (Instant::now(), args.output.clone(), Mutex::default());
        Self { start, output, title, state }
    }

    /// Makes [`write`](Self::write) write nothing.
    fn discard(&self) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).is_written = true;
    }

    /// Writes the trace, once. Spans that have not ended end now.
    fn write(&self) -> Result<(), Failure> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if std::mem::replace(&mut state.is_written, true) {
            return Ok(());
        }
        let now = self.start.elapsed();
        let State { threads, done, .. } = &mut *state;
        let mut all = vec![metadata("process_name", pid(), &self.title)];
        for thread in threads {
            all.push(metadata("thread_name", thread.id, &thread.name));
            for mut slice in thread.open.drain(..).rev() {
                slice.arguments.insert("unfinished".to_owned(), true.into());
                done.push((slice.start, slice.ended(thread.id, now)));
            }
        }
        // Slices that end later come first among those that begin together, because they enclose the others.
        done.reverse();
        done.sort_by_key(|(start, _)| *start);
        all.extend(done.drain(..).map(|(_, event)| event));
        let trace = json!({ "displayTimeUnit": "ns", "traceEvents": all });
        let text = format!("{trace:#}\n");
        output::write(&self.output, text.as_bytes(), None)
    }
}

fn metadata(name: &str, thread: i32, value: &str) -> Value {
    json!({ "ph": "M", "name": name, "pid": pid(), "tid": thread, "args": { "name": value } })
}

fn pid() -> i32 {
    getpid().as_raw_nonzero().get()
}

fn microseconds(time: Duration) -> f64 {
    time.as_nanos() as f64 / 1000.0
}

fn json_of(value: Field<'_>) -> Value {
    match value {
        Field::Text(text) => text.to_string().into(),
        Field::Number(number) => number.into(),
        other => format!("{other:?}").into(),
    }
}
