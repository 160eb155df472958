//! A process that opens damaged shared objects until one of them kills it.
//!
//! It records the current case in a file. Its exit status reports a fault in the text of the system's loader, or
//! elsewhere: in code of the object or in code that it calls.
#![allow(unsafe_code)]

use std::ffi::{c_int, c_void};
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::{env, mem, ptr};

use smf_core::link::Resolve;
use smf_loader::SharedObject;

use crate::cases::{Library, Plan};

/// Set to the directory of the case, its plan and the first case.
const CHILD: &str = "SMF_TEST_OPENS";

/// Exit statuses for a fault in the loader and for one outside.
const IN_LOADER: i32 = 101;
const OUTSIDE: i32 = 102;

/// The start and the end of the loader's text.
static LOADER: [AtomicUsize; 2] = [AtomicUsize::new(0), AtomicUsize::new(0)];

/// How a case ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// A fault in the text of the system's loader, or an exit by the loader.
    InLoader,
    /// A fault anywhere else.
    Outside,
    /// No end within the time.
    Hung,
}

/// The results of a plan.
#[derive(Default)]
pub(crate) struct Outcome {
    /// The numbers of objects that were opened, refused by the check, and refused by the system's loader.
    pub(crate) counts: [u32; 3],
    /// The cases that killed the process.
    pub(crate) killed: Vec<(u32, End)>,
}

/// Opens every case of `plan` in child processes.
pub(crate) fn run(library: &Library, plan: Plan) -> Outcome {
    let directory = smf_tests::compile::scratch();
    fs::write(directory.path().join("object"), &library.object.bytes).unwrap();
    let progress = directory.path().join("progress");
    fs::write(&progress, [0; 16]).unwrap();
    let mut outcome = Outcome::default();
    let (mut first, count) = (0, plan.count(library));
    while first < count {
        let status = spawn(directory.path(), plan, first);
        let words = fs::read(&progress).unwrap();
        let words: Vec<u32> = words
            .chunks_exact(4)
            .map(|word| u32::from_le_bytes(word.try_into().unwrap()))
            .collect();
        outcome.counts = [words[1], words[2], words[3]];
        if status.success() {
            break;
        }
        outcome.killed.push((words[0], end_of(status)));
        first = words[0] + 1;
    }
    outcome
}

fn spawn(directory: &Path, plan: Plan, first: u32) -> ExitStatus {
    let mut child = Command::new(env::current_exe().unwrap());
    child.args(["--exact", "child::opens", "--quiet", "--nocapture", "--test-threads=1"]);
    child.env(CHILD, format!("{}\n{}\n{first}", directory.display(), plan.to_text()));
    child.stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap()
}

fn end_of(status: ExitStatus) -> End {
    match status.code() {
        Some(OUTSIDE) => End::Outside,
        None if format!("{status}").contains("SIGALRM") => End::Hung,
        // A failed assertion of the loader is an exit of its own.
        _ => End::InLoader,
    }
}

#[test]
fn opens() {
    let Ok(told) = env::var(CHILD) else { return };
    let [directory, plan, first] = told.split('\n').collect::<Vec<_>>().try_into().unwrap();
    let directory = Path::new(directory);
    let bytes = fs::read(directory.join("object")).unwrap();
    let library = Library::new("child", bytes);
    let plan = Plan::from_text(plan);
    let path = directory.join("progress");
    let progress = File::options().read(true).write(true).open(path).unwrap();
    watch_faults();
    let names = library.object.names();
    for case in first.parse().unwrap()..plan.count(&library) {
        progress.write_at(&case.to_le_bytes(), 0).unwrap();
        // SAFETY: it sets the timer of this process.
        unsafe { libc::alarm(10) };
        let which = open(&plan.bytes(&library, case), &names);
        count(&progress, which);
    }
}

/// Adds one to the count of an outcome.
fn count(progress: &File, which: u64) {
    let mut word = [0; 4];
    let at = 4 + 4 * which;
    progress.read_exact_at(&mut word, at).unwrap();
    progress.write_at(&(u32::from_le_bytes(word) + 1).to_le_bytes(), at).unwrap();
}

/// Opens an object, looks up its names and closes it.
fn open(bytes: &[u8], names: &[Vec<u8>]) -> u64 {
    // SAFETY: its code and initialisers are those of a valid library. Effects of its damaged tables
    // are confined to this process, which may be killed by them.
    match unsafe { SharedObject::open(bytes) } {
        Ok(object) => {
            for name in names.iter().map(Vec::as_slice).chain([&b"no such name"[..]]) {
                let _ = object.resolve(name);
            }
            0
        }
        Err(error) if error.to_string().starts_with("the system's loader") => 2,
        Err(_) => 1,
    }
}

/// Ends the process at a fault with a status that reports its location.
fn watch_faults() {
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    let text = maps.lines().find(|line| {
        let name = line.rsplit('/').next().unwrap_or("");
        line.contains("r-xp") && name.starts_with("ld-")
    });
    let (start, end) = text.unwrap().split(' ').next().unwrap().split_once('-').unwrap();
    for (place, text) in LOADER.iter().zip([start, end]) {
        place.store(usize::from_str_radix(text, 16).unwrap(), Ordering::Relaxed);
    }
    let stack = Box::leak(vec![0u8; 1 << 16].into_boxed_slice());
    let stack =
        libc::stack_t { ss_sp: stack.as_mut_ptr().cast(), ss_flags: 0, ss_size: stack.len() };
    // SAFETY: leaked memory, for this thread, which is the one that opens objects.
    assert_eq!(unsafe { libc::sigaltstack(&raw const stack, ptr::null_mut()) }, 0);
    for signal in [libc::SIGSEGV, libc::SIGBUS, libc::SIGFPE, libc::SIGILL, libc::SIGTRAP] {
        // SAFETY: zeroes are a valid action.
        let mut action: libc::sigaction = unsafe { mem::zeroed() };
        action.sa_sigaction = on_fault as *const () as usize;
        action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
        // SAFETY: a valid action; the handler is async-signal-safe.
        assert_eq!(unsafe { libc::sigaction(signal, &raw const action, ptr::null_mut()) }, 0);
    }
}

extern "C" fn on_fault(_: c_int, _: *mut libc::siginfo_t, context: *mut c_void) {
    // SAFETY: the kernel passes the context of the fault.
    let context = unsafe { &*context.cast::<libc::ucontext_t>() };
    let bounds = LOADER.each_ref().map(|place| place.load(Ordering::Relaxed));
    let is_inside = (bounds[0]..bounds[1]).contains(&program_counter(context));
    // SAFETY: it only ends the process.
    unsafe { libc::_exit(if is_inside { IN_LOADER } else { OUTSIDE }) };
}

#[cfg(target_arch = "x86_64")]
fn program_counter(context: &libc::ucontext_t) -> usize {
    context.uc_mcontext.gregs[libc::REG_RIP as usize] as usize
}

#[cfg(target_arch = "aarch64")]
fn program_counter(context: &libc::ucontext_t) -> usize {
    context.uc_mcontext.pc as usize
}
