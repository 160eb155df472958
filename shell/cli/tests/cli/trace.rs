//! `smf trace`: the slices of modules of each kind, and of runs that fail.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Output;

use serde_json::Value;

use super::{contains, is_misused, scratch, smf, text};

/// A slice: its name behind those of the slices around it, as in `link/relocate`, and its arguments.
struct Slice {
    path: String,
    arguments: Value,
}

/// Where times are equal except for rounding, in microseconds.
const ROUNDING: f64 = 0.002;

/// The slices of a trace by thread and start. Each must lie inside the one around it, which must be as long as all inside
/// it together.
fn slices(trace: &Value) -> Vec<Slice> {
    let events = trace["traceEvents"].as_array().unwrap();
    let named = |name: &'static str| events.iter().filter(move |event| event["name"] == name);
    assert_eq!(named("process_name").count(), 1);
    let mut found = Vec::new();
    for thread in named("thread_name") {
        assert!(!thread["args"]["name"].as_str().unwrap().is_empty());
        let of_thread = events.iter().filter(|event| event["tid"] == thread["tid"]);
        let complete: Vec<_> = of_thread.filter(|event| event["ph"] == "X").collect();
        // The ends and names of the open slices, and what is left of their durations.
        let mut open: Vec<(f64, &str, f64)> = Vec::new();
        let mut last = 0.0;
        for event in complete {
            let number = |name: &str| event[name].as_f64().unwrap();
            let (start, duration) = (number("ts"), number("dur"));
            let (name, end) = (event["name"].as_str().unwrap(), start + duration);
            assert!(start >= last && duration >= 0.0, "{event}");
            last = start;
            while open.last().is_some_and(|(end, ..)| start >= *end - ROUNDING) {
                open.pop();
            }
            if let Some((around, _, rest)) = open.last_mut() {
                *rest -= duration;
                assert!(end <= *around + ROUNDING && *rest >= -ROUNDING * 10.0, "{trace:#}");
            }
            let names = open.iter().map(|(_, name, _)| *name).chain([name]);
            let path = names.collect::<Vec<_>>().join("/");
            found.push(Slice { path, arguments: event["args"].clone() });
            open.push((end, name, duration));
        }
    }
    let complete = events.iter().filter(|event| event["ph"] == "X").count();
    assert_eq!(found.len(), complete, "a slice of a thread without a name");
    let is_known = |event: &Value| ["M", "X", "i"].iter().any(|kind| event["ph"] == *kind);
    assert!(events.iter().all(|event| is_known(event) && event["pid"] == events[0]["pid"]));
    found
}

/// Runs `smf trace`; its output, and the trace.
fn trace(directory: &Path, args: &[&str]) -> (Output, Value) {
    let out = directory.join("trace.json");
    let output = smf(&[&["trace", "-o", out.to_str().unwrap()], args].concat());
    let trace = fs::read(&out).unwrap_or_else(|_| panic!("{}", text(&output.stderr)));
    (output, serde_json::from_slice(&trace).unwrap())
}

fn paths(slices: &[Slice]) -> Vec<&str> {
    slices.iter().map(|slice| &*slice.path).collect()
}

/// The only slice at a path with this value of an argument.
#[track_caller]
fn only<'s>(slices: &'s [Slice], path: &str, name: &str, value: &str) -> &'s Value {
    let is_it = |slice: &&Slice| slice.path == path && slice.arguments[name] == value;
    let mut found = slices.iter().filter(is_it);
    let Some(slice) = found.next() else { panic!("no {path} of {value} in {:?}", paths(slices)) };
    assert!(found.next().is_none(), "{path} of {value} twice");
    &slice.arguments
}

#[cfg(target_arch = "x86_64")]
#[test]
fn native_modules_have_slices_for_each_phase() {
    let place = scratch("trace-native");
    let (output, trace) = trace(&place, &["app.smf", "direct", "14", "--with", "lib.smf"]);
    assert_eq!((text(&output.stdout), text(&output.stderr)), ("42\n".into(), String::new()));
    let slices = slices(&trace);
    for module in ["app.smf", "lib.smf"] {
        assert!(only(&slices, "load/read", "path", module)["bytes"].as_u64() > Some(100));
        only(&slices, "load/map", "module", module);
        only(&slices, "link/resolve", "module", module);
        let linked = only(&slices, "link/relocate", "module", module);
        assert!(linked["code_bytes"].as_u64() > Some(0));
        assert_eq!(linked["relocations"], if module == "app.smf" { 2 } else { 0 });
    }
    only(&slices, "load/parse", "module", "app.smf");
    only(&slices, "call", "name", "direct");
    let tops = paths(&slices).into_iter().filter(|path| !path.contains('/'));
    assert_eq!(tops.collect::<Vec<_>>(), ["load", "link", "call"]);
    let events = trace["traceEvents"].as_array().unwrap();
    let instants = events.iter().filter(|event| event["ph"] == "i" && event["name"] == "load");
    assert_eq!(
        instants.map(|event| event["args"]["module"].clone()).collect::<Vec<_>>(),
        ["app.smf", "lib.smf"]
    );
}

#[test]
fn bytecode_has_slices_for_compiled_functions() {
    let place = scratch("trace-bytecode");
    let (output, trace) = trace(&place, &["bcod.smf", "answer", "--compile"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let slices = slices(&trace);
    only(&slices, "compile all/compile", "function", "answer");
    only(&slices, "call", "name", "answer");
}

#[cfg(target_arch = "x86_64")]
#[test]
fn instances_of_templates_have_slices_inside_of_the_link() {
    let place = scratch("trace-templates");
    let library = super::source_templates::library(&place);
    let user = super::source_templates::user(&place, "fn$max$f64");
    let args = ["--with", &library, "--returns", "f64", &user, "main", "1.5", "2.5"];
    let (output, trace) = trace(&place, &args);
    assert_eq!((text(&output.stdout), text(&output.stderr)), ("2.5\n".into(), String::new()));
    let slices = slices(&trace);
    only(&slices, "link/resolve/instantiate", "symbol", "fn$max$f64");
    only(&slices, "link/resolve/instantiate/compile", "function", "max");
    let events = trace["traceEvents"].as_array().unwrap();
    assert!(events.iter().any(|event| event["ph"] == "i" && event["name"] == "instance"));
}

const SOURCE: &str = "\
fn half(x): 100 / x

fn main(): half(4)
";

#[test]
fn source_has_slices_for_compilation_and_call() {
    let place = scratch("trace-source");
    let file = place.join("half.spl");
    fs::write(&file, SOURCE).unwrap();
    let file = file.to_str().unwrap();
    let (output, found) = trace(&place, &[file, "half", "50"]);
    assert_eq!((text(&output.stdout), text(&output.stderr)), ("2\n".into(), String::new()));
    let found = slices(&found);
    only(&found, "read", "name", file);
    only(&found, "compile", "name", file);
    only(&found, "generate", "name", "half");
    for function in ["half", "main"] {
        only(&found, "generate/compile", "function", function);
    }
    only(&found, "call", "name", "half");

    // A trap ends the slice of the call.
    let (output, found) = trace(&place, &[file, "half", "0"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("division by zero"), "{}", text(&output.stderr));
    only(&slices(&found), "call", "name", "half");
    let (output, found) = trace(&place, &[file, "half", "5", "--backend", "interpret"]);
    assert_eq!(text(&output.stdout), "20\n");
    only(&slices(&found), "call", "name", "half");
}

#[test]
fn run_that_fails_leaves_a_trace() {
    let place = scratch("trace-failures");
    let (output, found) = trace(&place, &["no-such-file.smf"]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(paths(&slices(&found)), ["load", "load/read"]);
    let broken = place.join("broken.smf");
    fs::write(&broken, "broken").unwrap();
    let (output, found) = trace(&place, &[broken.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(paths(&slices(&found)), ["load", "load/read", "load/parse"]);
    let events = found["traceEvents"].as_array().unwrap();
    let refused = events.iter().find(|event| event["name"] == "refuse").unwrap();
    assert!(refused["args"]["error"].as_str().unwrap().contains("broken.smf"));
    // No function is called.
    for args in
        [&["bcod.smf", "nosuch"][..], &["bcod.smf", "answer", "x"], &["bcod.smf", "answer", "1"]]
    {
        let (output, found) = trace(&place, args);
        assert_ne!(output.status.code(), Some(0));
        assert!(!paths(&slices(&found)).contains(&"call"), "{args:?}");
    }
    let watched = smf(&["trace", "bcod.smf", "answer", "--watch", "-o", "x.json"]);
    assert!(text(&watched.stderr).contains("--watch does not apply to traces"));
}

#[cfg(target_arch = "x86_64")]
#[test]
fn module_that_exits_or_crashes_leaves_a_trace() {
    let place = scratch("trace-ends");
    let user = super::source_templates::user(&place, "exit");
    let (output, found) = trace(&place, &["--host-symbols", &user, "main", "7"]);
    assert_eq!(output.status.code(), Some(7));
    assert_eq!(only(&slices(&found), "call", "name", "main")["unfinished"], true);
    let user = super::source_templates::user(&place, "abort");
    let (output, found) = trace(&place, &["--host-symbols", &user, "main"]);
    assert_eq!(output.status.signal(), Some(libc::SIGABRT));
    assert_eq!(only(&slices(&found), "call", "name", "main")["unfinished"], true);
}

#[test]
fn trace_that_cannot_be_written_is_an_error() {
    let output = smf(&["trace", "bcod.smf", "answer", "-o", "/no/such/directory/trace.json"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("/no/such/directory/trace.json"));
    let error = is_misused(&["trace", "bcod.smf", "answer", "-o", "-"]);
    contains(&error, &["name a file for the trace"]);
}

#[test]
fn run_that_fails_is_reported_if_the_trace_cannot_be_written() {
    let out = scratch("trace-unwritable").join("none/trace.json");
    let output = smf(&["trace", "bcod.smf", "nosuch", "-o", out.to_str().unwrap()]);
    let lines = text(&output.stderr);
    assert_eq!((output.status.code(), lines.lines().count()), (Some(1), 2), "{lines}");
    assert!(lines.starts_with("warning: "), "{lines}");
    contains(
        &lines,
        &["trace.json: cannot write the file", "\nerror: bcod.smf: no function `nosuch`"],
    );
}

#[cfg(target_arch = "x86_64")]
#[test]
fn call_that_does_not_begin_has_no_slice() {
    let place = scratch("trace-no-call");
    for args in [&["packed.smf", "nosuch"][..], &["packed.smf", "add", "x"]] {
        let (output, found) = trace(&place, args);
        assert_ne!(output.status.code(), Some(0));
        assert!(!paths(&slices(&found)).contains(&"call"), "{args:?}");
    }
}
