//! Memory and time of the front end for Simple source, in proportion to the source.
#![cfg(feature = "source")]
#![allow(unsafe_code, clippy::unwrap_used)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::fmt::Write;
use std::time::Duration;

use smf_core::source::{Mode, SourceFile, compile, imports};

std::thread_local! {
    /// The bytes that this thread has allocated and not freed, and their maximum.
    static LIVE: Cell<(i64, i64)> = const { Cell::new((0, 0)) };
    /// The bytes of all allocations of this thread.
    static ALLOCATED: Cell<u64> = const { Cell::new(0) };
}

/// The allocator of the system, counted for each thread. A reallocation counts as an allocation, a copy and a release.
struct Counting;

fn count(bytes: i64) {
    let _ = ALLOCATED.try_with(|all| all.set(all.get() + u64::try_from(bytes).unwrap_or(0)));
    // Thread-local storage may be gone while the thread ends.
    let _ = LIVE.try_with(|live| {
        let (now, peak) = live.get();
        live.set((now + bytes, peak.max(now + bytes)));
    });
}

// SAFETY: forwards to the allocator of the system.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as i64);
        // SAFETY: forwarded to the caller.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, start: *mut u8, layout: Layout) {
        count(-(layout.size() as i64));
        // SAFETY: forwarded to the caller.
        unsafe { System.dealloc(start, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// The most bytes of memory for a byte of source.
const BYTES_A_BYTE: f64 = 200.0;

/// What every run needs, whatever its source: tables of known names and types.
const FIXED_BYTES: f64 = 64.0 * 1024.0;

/// Sources of many small parts of each kind.
fn sources() -> Vec<(&'static str, String)> {
    let repeat =
        |count: usize, part: &dyn Fn(usize) -> String| -> String { (0..count).map(part).collect() };
    let mut functions = String::new();
    for number in 0..2000 {
        let line = "    while s < n: s += 1\n    s\n";
        write!(functions, "fn f{number}(n: i64) -> i64:\n    var s = {number}\n{line}").unwrap();
    }
    let body = |head: &str, line: &str| format!("{head}{}    x\n", line.repeat(10_000));
    vec![
        ("functions with a loop", functions),
        ("the sample", include_str!("../src/source/tests/sample.spl").to_owned()),
        ("a long sum", format!("fn f(x: i64) -> i64: x{}\n", " + x".repeat(20_000))),
        ("variables", body("fn f(x: i64) -> i64:\n", "    val y = x\n")),
        ("calls", body("fn f(x: i64) -> i64:\n", "    f(f(x))\n")),
        ("constants", repeat(5000, &|i| format!("const C{i}: i64 = {i}\n"))),
        ("structs", repeat(2000, &|i| format!("struct S{i}:\n    x: i64\n    y: i64\n"))),
        ("enums", repeat(2000, &|i| format!("enum E{i}:\n    A\n    B(i64)\n"))),
        ("unknown names", repeat(5000, &|i| format!("fn f{i}() -> i64: x{i}\n"))),
        ("comments", "# nothing\n".repeat(20_000)),
        ("punctuation", "(,:".repeat(20_000)),
        ("blocks", repeat(150, &|i| format!("{}if true:\n", " ".repeat(i)))),
    ]
}

#[test]
#[cfg_attr(miri, ignore = "takes too long")]
fn memory_is_in_proportion_to_the_source() {
    for (name, text) in sources() {
        let file = || SourceFile { name: "a.spl", module: "a", text: &text };
        let peak_of = |work: &dyn Fn()| {
            let (before, _) = LIVE.get();
            LIVE.set((before, before));
            work();
            (LIVE.get().1 - before) as f64 - FIXED_BYTES
        };
        let importing = format!("use a\n{text}");
        let parsed = peak_of(&|| drop(imports("a", &importing).unwrap()));
        let compiled = peak_of(&|| drop(compile(&[file()], Mode::Manager).unwrap()));
        let [parsed, compiled] = [parsed, compiled].map(|bytes| bytes / text.len() as f64);
        println!("{name}: {parsed:.0} bytes a byte read for imports, {compiled:.0} compiled");
        assert!(parsed <= BYTES_A_BYTE && compiled <= BYTES_A_BYTE, "{name}: {parsed} {compiled}");
    }
}

#[test]
#[cfg_attr(miri, ignore = "takes too long")]
fn time_is_in_proportion_to_the_source() {
    let processor_time = || {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
        Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
    };
    for (name, text) in sources() {
        let file = SourceFile { name: "a.spl", module: "a", text: &text };
        let start = processor_time();
        drop(compile(&[file], Mode::Manager).unwrap());
        let seconds = (processor_time() - start).as_secs_f64();
        let limit = (text.len() as f64 / f64::from(1 << 20)).max(0.1);
        assert!(seconds <= limit, "{name}: {seconds} s for {} bytes", text.len());
    }
}

/// Twice the source takes about twice the work, where lists are copied: counted in bytes.
#[test]
#[cfg_attr(miri, ignore = "takes too long")]
fn copied_bytes_are_in_proportion_to_the_source() {
    let repeat =
        |count: usize, part: &dyn Fn(usize) -> String| -> String { (0..count).map(part).collect() };
    let fields = |count: usize| {
        let (fields, sum) = (
            repeat(count, &|i| format!("    f{i}: i64\n")),
            repeat(count, &|i| format!(" + s.f{i}")),
        );
        format!("struct S:\n{fields}fn f(s: S) -> i64: 0{sum}\n")
    };
    let assigned = |count: usize| {
        let (fields, lines) = (
            repeat(count, &|i| format!("    f{i}: i64\n")),
            repeat(count, &|i| format!("    s.f{i} = 1\n")),
        );
        format!("struct S:\n{fields}fn f(mut s: S):\n{lines}")
    };
    let elements = |count: usize| {
        let (types, sum) =
            (repeat(count, &|_| "i64, ".into()), repeat(count, &|i| format!(" + s.{i}")));
        format!("fn f(s: ({types})) -> i64: 0{sum}\n")
    };
    let parameters = |count: usize| {
        repeat(count, &|i| format!("struct S{i}:\n    x: i64\nfn f{i}(s: S{i}) -> i64: s.x\n"))
    };
    let kinds: [(&str, &dyn Fn(usize) -> String); 4] = [
        ("fields", &fields),
        ("assigned fields", &assigned),
        ("elements of a tuple", &elements),
        ("types of parameters", &parameters),
    ];
    for (name, source) in kinds {
        let [one, two] = [500, 1000].map(|count| {
            let text = source(count);
            let before = ALLOCATED.get();
            let file = SourceFile { name: "a.spl", module: "a", text: &text };
            assert!(compile(&[file], Mode::Compile).unwrap().unit.is_some(), "{name}");
            ALLOCATED.get() - before
        });
        println!("{name}: {one} bytes, {two} for twice the source");
        assert!(two < one * 5 / 2, "{name}: {one} bytes, {two} for twice the source");
    }
}
