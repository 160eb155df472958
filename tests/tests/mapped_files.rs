//! Modules whose code is mapped from their files, which other processes change in every way meanwhile: no signal is
//! raised, no code changes, and the writer does not wait for long.
//!
//! The exhaustive mode runs fifty times as many rounds.
#![cfg(target_arch = "x86_64")]
#![allow(unsafe_code)]

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime};
use std::{env, thread};

use smf_core::format::write::{Module, NewSection, NewSymbol, Place};
use smf_core::format::{Header, Layout, Smf, SymbolKind};
use smf_core::link::host_arch;
use smf_core::loader::{LoaderOptions, ModuleBytes, ModuleHandle};
use smf_core::memory::{FileContents, FilePolicy, NoFileGuards, Unchanged};
use smf_loader::host_symbols::HostSymbols;
use smf_loader::loader::Loader;
use smf_loader::pack::{Input, Options, pack};
use smf_tests::alone::alone;
use smf_tests::compile::{Compiler, scratch};
use smf_tests::scale::scale;
use smf_tests::set_at_end::SetAtEnd;
use smf_tests::skip::{lacks, repeat, skip};

const PAGE: usize = 4096;

// SAFETY: the tests change no file that is mapped under it.
const MAP: FilePolicy = FilePolicy::Map(unsafe { Unchanged::promised() });

/// The number of functions, each on a page of its own.
const FUNCTIONS: usize = 200;

/// The file of a module. The function at page `n` of its code returns `version + n`. The code ends inside its last page.
fn version(version: u32) -> Vec<u8> {
    let mut code = vec![0xcc; FUNCTIONS * PAGE - 4000];
    for (number, page) in (version..).zip(code.chunks_mut(PAGE)) {
        // mov eax, number; ret
        page[0] = 0xb8;
        page[1..5].copy_from_slice(&number.to_le_bytes());
        page[5] = 0xc3;
    }
    let first = NewSymbol {
        name: b"first",
        kind: SymbolKind::Function,
        place: Place::Section(0),
        ..NewSymbol::default()
    };
    let header = Header { arch: host_arch(), ..Header::default() };
    let sections = [NewSection::code(&code)];
    let symbols = [first];
    let layout = Layout::Packed;
    Module { layout, header, stub: &[], sections: &sections, symbols: &symbols }.to_vec().unwrap()
}

/// Writes a file whose last modification is old.
fn write(path: &Path, bytes: &[u8]) {
    fs::write(path, bytes).unwrap();
    let file = OpenOptions::new().write(true).open(path).unwrap();
    file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(1)).unwrap();
}

/// A loaded module.
struct Loaded {
    loader: Loader,
    module: ModuleHandle,
    first: usize,
}

impl Loaded {
    fn load(path: &Path, file_policy: FilePolicy) -> Result<Self, String> {
        let options = LoaderOptions { file_policy, kept_bytes: 0, ..LoaderOptions::default() };
        let loader = Loader::new(options).unwrap();
        let module = loader.load_module(path, None).map_err(|error| error.to_string())?;
        let first = loader.modules().resolve(b"first").unwrap().unwrap().address;
        Ok(Self { loader, module, first: usize::try_from(first).unwrap() })
    }

    fn call(&self, number: usize) -> u32 {
        call(self.first, number)
    }

    /// Calls every function; the version of the code, of which all must be.
    fn version(&self) -> u32 {
        let version = self.call(0);
        for number in 0..FUNCTIONS {
            assert_eq!(self.call(number), version + number as u32, "function {number}");
        }
        version
    }

    /// The line of `/proc/self/maps` with the code.
    fn mapping(&self) -> String {
        mapping(self.first)
    }

    fn is_mapped_from(&self, path: &Path) -> bool {
        let [first, last] = [0, FUNCTIONS - 1].map(|page| mapping(self.first + page * PAGE));
        assert_eq!(first, last, "the last page is mapped as the others are");
        first.ends_with(path.to_str().unwrap())
    }
}

impl Drop for Loaded {
    fn drop(&mut self) {
        self.loader.modules().unload(self.module).unwrap();
    }
}

fn call(first: usize, number: usize) -> u32 {
    // SAFETY: a function of this type, whose code `version` made.
    let function: extern "C" fn() -> u32 = unsafe { std::mem::transmute(first + number * PAGE) };
    function()
}

fn mapping(address: usize) -> String {
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    let contains = |line: &&str| {
        let range = line.split(' ').next().and_then(|range| range.split_once('-'));
        let number = |text| usize::from_str_radix(text, 16).unwrap();
        range.is_some_and(|(start, end)| (number(start)..number(end)).contains(&address))
    };
    maps.lines().find(contains).unwrap().to_owned()
}

/// Loads `path`, whose file system supports leases; reports otherwise.
///
/// A child that another test forked while the file was being written has it open for writing until the child ends, and
/// there is no lease meanwhile.
fn load_mapped(path: &Path) -> Option<Loaded> {
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(10) {
        let loaded = Loaded::load(path, FilePolicy::Auto).unwrap();
        if loaded.is_mapped_from(path) {
            return Some(loaded);
        }
        thread::sleep(Duration::from_millis(50));
    }
    lacks("file system with leases");
    None
}

/// Runs `work` while two threads call the functions of `loaded`; the time that `work` takes.
fn while_running(loaded: &Loaded, work: impl FnOnce()) -> Duration {
    let (done, calls, expected) = (AtomicBool::new(false), AtomicUsize::new(0), loaded.version());
    thread::scope(|scope| {
        let _end = SetAtEnd(&done);
        let threads = [(); 2].map(|()| {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    assert_eq!(loaded.version(), expected);
                    calls.fetch_add(1, Ordering::Relaxed);
                }
            })
        });
        let wait_for = |count| {
            while calls.load(Ordering::Relaxed) < count {
                assert!(!threads.iter().any(thread::ScopedJoinHandle::is_finished));
                thread::yield_now();
            }
        };
        wait_for(2);
        let start = Instant::now();
        work();
        let time = start.elapsed();
        wait_for(calls.load(Ordering::Relaxed) + 4);
        time
    })
}

fn shell(script: &str, path: &Path) {
    let status = Command::new("sh").args(["-ec", script, "sh"]).arg(path).status().unwrap();
    assert!(status.success(), "{script}");
}

/// A change of a file, in this process or in another one, and whether it changes the mapped bytes.
type Change = (&'static str, fn(&Path), bool);

const CHANGES: [Change; 6] = [
    ("truncate in this process", |path| File::create(path).map(drop).unwrap(), true),
    ("truncate", |path| shell(": > \"$1\"", path), true),
    (
        "overwrite",
        |path| shell("yes | dd of=\"$1\" conv=notrunc bs=64k count=8 2>/dev/null", path),
        true,
    ),
    ("punch a hole", |path| shell("fallocate -p -o 4096 -l 65536 \"$1\"", path), true),
    ("rename over", |path| shell("echo > \"$1.new\"; mv \"$1.new\" \"$1\"", path), false),
    ("delete", |path| shell("rm \"$1\"", path), false),
];

#[test]
fn running_code_does_not_change_with_its_mapped_file() {
    let directory = scratch();
    for round in 0..scale(50, 1) {
        for (number, (name, change, breaks)) in (0u32..).zip(CHANGES) {
            let path = directory.path().join("module.smf");
            write(&path, &version(1000 * number + round));
            let Some(loaded) = load_mapped(&path) else { return };
            let time = while_running(&loaded, || change(&path));
            assert!(time < Duration::from_secs(20), "{name} took {time:?}");
            assert_eq!(loaded.version(), 1000 * number + round, "{name}");
            let is_private = !loaded.mapping().contains("module.smf");
            assert_eq!(is_private, breaks, "{name}: {}", loaded.mapping());
        }
    }
}

#[test]
fn code_in_a_child_does_not_change_when_the_parent_gives_up_its_lease() {
    let directory = scratch();
    let path = directory.path().join("module.smf");
    for _ in 0..scale(100, 5) {
        write(&path, &version(7));
        let Some(loaded) = load_mapped(&path) else { return };
        let (mut reader, mut writer) = std::io::pipe().unwrap();
        // SAFETY: the child calls functions of the module and reads and ends.
        let child = unsafe { libc::fork() };
        if child == 0 {
            let mut byte = [0];
            let before = call(loaded.first, 0);
            let is_read = reader.read_exact(&mut byte).is_ok();
            let good =
                before == 7 && is_read && (0..FUNCTIONS).all(|n| loaded.call(n) == 7 + n as u32);
            // SAFETY: ends the process at once.
            unsafe { libc::_exit(i32::from(!good)) };
        }
        shell(": > \"$1\"; head -c 1000000 /dev/zero > \"$1\"", &path);
        writer.write_all(&[1]).unwrap();
        let mut status = 1;
        // SAFETY: a child of this process, and a place for its status.
        assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
        assert_eq!(status, 0);
        assert_eq!(loaded.version(), 7);
    }
}

/// Whether `act` is true in a child that has closed all descriptors but the standard ones, as daemons do.
fn in_daemon(act: impl FnOnce() -> bool) -> bool {
    // SAFETY: the child ends below.
    let child = unsafe { libc::fork() };
    if child == 0 {
        // SAFETY: what is closed here is not used by the child.
        let closed = unsafe { libc::close_range(3, u32::MAX, 0) } == 0;
        let good = closed && act();
        // SAFETY: ends the process at once.
        unsafe { libc::_exit(i32::from(!good)) };
    }
    let mut status = 1;
    // SAFETY: a child of this process, and a place for its status.
    assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
    status == 0
}

/// Opens `/dev/null` as the descriptors from 3 on, under all numbers that an inherited one may have had.
fn open_others() -> bool {
    // SAFETY: a path with a NUL. The descriptors stay open.
    (3..200).all(|number| unsafe { libc::open(c"/dev/null".as_ptr(), libc::O_RDONLY) } == number)
}

/// The open descriptors with a number below 200, and how many of them have a lease.
fn count_open() -> (usize, usize) {
    let count = |command, expected: fn(i32) -> bool| {
        // SAFETY: the calls change nothing, and fail for a closed descriptor.
        (3..200).filter(|number| expected(unsafe { libc::fcntl(*number, command) })).count()
    };
    (
        count(libc::F_GETFD, |flags| flags >= 0),
        count(libc::F_GETLEASE, |kind| kind == libc::F_RDLCK),
    )
}

/// Whether this process has a descriptor of a file.
fn is_open_here(path: &Path) -> bool {
    let descriptors = fs::read_dir("/proc/self/fd").unwrap();
    // Another thread may have closed one meanwhile.
    let mut targets = descriptors.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok());
    targets.any(|target| target == path)
}

#[test]
fn unload_in_a_child_closes_no_descriptor_of_the_host() {
    let directory = scratch();
    let path = directory.path().join("module.smf");
    write(&path, &version(7));
    for file_policy in [FilePolicy::Auto, MAP] {
        let mut loaded = Some(Loaded::load(&path, file_policy).unwrap());
        // Where there are no leases, the file is copied.
        let is_mapped = loaded.as_ref().is_some_and(|loaded| loaded.is_mapped_from(&path));
        let is_open = in_daemon(|| {
            let is_ready = open_others();
            let is_unchanged = loaded.take().is_some_and(|loaded| loaded.version() == 7);
            is_ready && is_unchanged && count_open().0 == 197
        });
        assert!(is_open, "{file_policy:?}");
        assert_eq!(is_open_here(&path), is_mapped, "{file_policy:?}");
        drop(loaded);
        assert!(!is_open_here(&path), "{file_policy:?}");
    }
}

#[test]
fn unload_of_an_inherited_module_releases_no_lease_of_the_child() {
    let directory = scratch();
    let [path, own] = ["module.smf", "own.smf"].map(|name| directory.path().join(name));
    write(&path, &version(7));
    write(&own, &version(8));
    let Some(loaded) = load_mapped(&path) else { return };
    let mut inherited = Some(loaded);
    assert!(in_daemon(|| {
        // As many as the parent may have had, so that one has the same number.
        let loaded = [(); 100].map(|()| Loaded::load(&own, FilePolicy::Auto));
        let leases = count_open().1;
        drop(inherited.take());
        let is_loaded = loaded.iter().all(|own| own.as_ref().is_ok_and(|own| own.version() == 8));
        is_loaded && leases == 100 && count_open().1 == leases
    }));
}

#[test]
fn inherited_file_is_loaded_in_a_child_without_its_descriptor() {
    let directory = scratch();
    let path = directory.path().join("module.smf");
    write(&path, &version(7));
    let name = path.as_os_str().as_encoded_bytes();
    let contents = FileContents::open(name, 1 << 30, MAP, &NoFileGuards).unwrap();
    let bytes = ModuleBytes::of_file(contents).unwrap();
    let loader = Loader::new(LoaderOptions::default()).unwrap();
    assert!(in_daemon(|| {
        let is_loaded = open_others() && loader.modules().load(b"module", bytes.clone()).is_ok();
        let first = loader.modules().resolve(b"first").ok().flatten();
        is_loaded && first.is_some_and(|first| call(first.address as usize, 3) == 10)
    }));
}

#[test]
fn lease_of_a_child_does_not_outlive_its_parent() {
    let directory = scratch();
    let path = directory.path().join("module.smf");
    write(&path, &version(7));
    let Some(loaded) = load_mapped(&path) else { return };
    let (reader, mut writer) = std::io::pipe().unwrap();
    // SAFETY: the child reads and ends.
    let child = unsafe { libc::fork() };
    if child == 0 {
        drop(writer);
        let _ = (&reader).read(&mut [0]);
        // SAFETY: ends the process at once.
        unsafe { libc::_exit(0) };
    }
    // As at the end of the parent, the child has the only descriptors from here on.
    drop(loaded);
    let start = Instant::now();
    write(&path, b"changed");
    assert!(start.elapsed() < Duration::from_secs(20));
    writer.write_all(&[1]).unwrap();
    // SAFETY: a child of this process; its status is not needed.
    unsafe { libc::waitpid(child, std::ptr::null_mut(), 0) };
}

/// The threads for leases in this process.
fn lease_threads() -> Vec<PathBuf> {
    let threads = fs::read_dir("/proc/self/task").unwrap();
    let is_found = |thread: &PathBuf| {
        fs::read_to_string(thread.join("comm")).is_ok_and(|name| name == "smf-leases\n")
    };
    threads.map(|thread| thread.unwrap().path()).filter(is_found).collect()
}

fn wait_for(is_reached: impl Fn() -> bool) {
    let start = Instant::now();
    while !is_reached() {
        assert!(start.elapsed() < Duration::from_secs(20));
        thread::yield_now();
    }
}

/// A process in which a thread is left does not end with the last thread of the host.
#[test]
fn thread_for_leases_ends_with_the_last_loader_and_not_before() {
    if !alone("thread_for_leases_ends_with_the_last_loader_and_not_before") {
        return;
    }
    let directory = scratch();
    let path = directory.path().join("module.smf");
    write(&path, &version(7));
    for _ in 0..scale(1000, 20) {
        let loader = Loader::new(LoaderOptions::default()).unwrap();
        let Some(loaded) = load_mapped(&path) else { return };
        drop(loaded);
        wait_for(|| lease_threads().len() == 1);
        let threads = lease_threads();
        for _ in 0..3 {
            drop(load_mapped(&path));
            assert_eq!(lease_threads(), threads, "it remains between leases");
        }
        drop(loader);
        // The kernel lists a thread for a moment after it has been joined.
        wait_for(|| lease_threads().is_empty());
    }
    let Some(loaded) = load_mapped(&path) else { return };
    shell(": > \"$1\"", &path);
    assert_eq!(loaded.version(), 7, "a later thread serves its leases");
}

/// Set to the limited resource in the process that has the limit.
const LIMITED: &str = "SMF_TEST_LIMITED";

/// Limits a resource of this process to what it has.
fn limit(resource: &str) {
    let pages = |text: String| text.split(' ').next().unwrap().parse::<u64>().unwrap();
    let (number, value) = match resource {
        "data" => (libc::RLIMIT_DATA, 0),
        _ => (libc::RLIMIT_AS, pages(fs::read_to_string("/proc/self/statm").unwrap()) * 4096),
    };
    set_limit(number, value);
}

fn set_limit(resource: libc::__rlimit_resource_t, value: u64) {
    let limit = libc::rlimit { rlim_cur: value, rlim_max: libc::RLIM_INFINITY };
    // SAFETY: a limit for this process.
    assert_eq!(unsafe { libc::setrlimit(resource, &raw const limit) }, 0);
}

fn change_at_a_limit(resource: &str) {
    let directory = scratch();
    let path = directory.path().join("module.smf");
    for forks in [false, true] {
        write(&path, &version(7));
        let Some(loaded) = load_mapped(&path) else { return };
        let (mut reader, mut writer) = std::io::pipe().unwrap();
        let start = Instant::now();
        limit(resource);
        // SAFETY: the child calls functions of the module and reads and ends.
        let child = if forks { unsafe { libc::fork() } } else { -1 };
        if child == 0 {
            let is_read = reader.read_exact(&mut [0]).is_ok();
            let good = is_read && (0..FUNCTIONS).all(|n| loaded.call(n) == 7 + n as u32);
            // SAFETY: ends the process at once.
            unsafe { libc::_exit(i32::from(!good)) };
        }
        drop(File::create(&path).unwrap());
        for resource in [libc::RLIMIT_AS, libc::RLIMIT_DATA] {
            set_limit(resource, libc::RLIM_INFINITY);
        }
        assert!(start.elapsed() < Duration::from_secs(20), "{resource}: {:?}", start.elapsed());
        assert_eq!(loaded.version(), 7);
        writer.write_all(&[1]).unwrap();
        if forks {
            let mut status = 1;
            // SAFETY: a child of this process, and a place for its status.
            assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
            assert_eq!(status, 0);
        }
    }
}

#[test]
fn process_at_the_limit_of_its_memory_gives_up_a_lease() {
    if let Ok(resource) = env::var(LIMITED) {
        return change_at_a_limit(&resource);
    }
    for resource in ["address space", "data"] {
        let mut command = Command::new(env::current_exe().unwrap());
        command.args(["--exact", "process_at_the_limit_of_its_memory_gives_up_a_lease"]);
        let output = command.arg("--nocapture").env(LIMITED, resource).output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{resource}: {}: {text}", output.status);
        repeat(&output.stdout);
    }
}

/// The file is rewritten in place and replaced while it is loaded again and again.
#[test]
fn load_during_changes_gives_one_version_or_an_error() {
    let directory = scratch();
    let path = directory.path().join("module.smf");
    write(&path, &version(0));
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let _end = SetAtEnd(&done);
        scope.spawn(|| {
            let beside = directory.path().join("beside");
            for number in (1..).take_while(|_| !done.load(Ordering::Relaxed)) {
                let bytes = version(number);
                if number % 3 == 0 {
                    write(&beside, &bytes);
                    fs::rename(&beside, &path).unwrap();
                } else {
                    let file = OpenOptions::new().write(true).open(&path).unwrap();
                    if number % 3 == 1 {
                        file.set_len(10_000).unwrap();
                    }
                    file.write_at(&bytes, 0).unwrap();
                    file.set_modified(SystemTime::UNIX_EPOCH).unwrap();
                }
                thread::sleep(Duration::from_millis(2));
            }
        });
        let (mut loads, mut errors, mut last) = (0, 0, String::new());
        let end = Instant::now() + Duration::from_secs(60);
        while loads < scale(5_000, 100) && Instant::now() < end {
            match Loaded::load(&path, FilePolicy::Auto) {
                Ok(loaded) => {
                    loads += 1;
                    loaded.version();
                    thread::sleep(Duration::from_micros(500));
                    loaded.version();
                }
                Err(error) => {
                    errors += 1;
                    last = error;
                }
            }
        }
        println!("{loads} loads, {errors} errors: {last}");
        assert!(loads > 0);
    });
}

#[test]
fn policy_decides_whether_a_file_is_mapped() {
    let directory = scratch();
    let path = directory.path().join("module.smf");
    write(&path, &version(3));
    let is_mapped = |policy| {
        let loaded = Loaded::load(&path, policy).unwrap();
        assert_eq!(loaded.version(), 3);
        loaded.is_mapped_from(&path)
    };
    assert!(is_mapped(MAP));
    assert!(!is_mapped(FilePolicy::Copy));
    let writer = OpenOptions::new().write(true).open(&path).unwrap();
    assert!(!is_mapped(FilePolicy::Auto), "a process may write to it");
    // Before the copy is used, the file is that of the writer.
    let loaded = Loaded::load(&path, FilePolicy::Copy).unwrap();
    writer.set_len(0).unwrap();
    assert_eq!(loaded.version(), 3);
}

#[test]
fn sealed_memory_file_is_mapped_without_a_lease() {
    // SAFETY: a name with a NUL.
    let number = unsafe { libc::memfd_create(c"module".as_ptr(), libc::MFD_ALLOW_SEALING) };
    assert!(number >= 0);
    let path = PathBuf::from(format!("/proc/self/fd/{number}"));
    fs::write(&path, version(5)).unwrap();
    let unsealed = Loaded::load(&path, FilePolicy::Auto).unwrap();
    assert!(
        !unsealed.mapping().contains("memfd:module "),
        "it has a writer: {}",
        unsealed.mapping()
    );
    let seals = libc::F_SEAL_WRITE | libc::F_SEAL_SHRINK;
    // SAFETY: an open file.
    assert_eq!(unsafe { libc::fcntl(number, libc::F_ADD_SEALS, seals) }, 0);
    let sealed = Loaded::load(&path, FilePolicy::Auto).unwrap();
    assert!(sealed.mapping().contains("memfd:module "), "{}", sealed.mapping());
    assert_eq!((sealed.version(), unsealed.version()), (5, 5));
    // SAFETY: opened above.
    unsafe { libc::close(number) };
}

/// Set to the mounted directory in the process that has the mount.
const OVERLAY: &str = "SMF_TEST_OVERLAY";

/// A write to the lower layer of an overlay passes by the lease.
#[test]
fn file_of_an_overlay_is_copied() {
    if let Some(directory) = env::var_os(OVERLAY) {
        let directory = PathBuf::from(directory);
        let loaded = Loaded::load(&directory.join("merged/module.smf"), FilePolicy::Auto).unwrap();
        fs::write(directory.join("lower/module.smf"), vec![0; 900_000]).unwrap();
        assert_eq!(loaded.version(), 9);
        println!("copied from an overlay");
        return;
    }
    let directory = scratch();
    for name in ["lower", "upper", "work", "merged"] {
        fs::create_dir(directory.path().join(name)).unwrap();
    }
    write(&directory.path().join("lower/module.smf"), &version(9));
    let mount = "cd \"$1\"; shift; \
        mount -t overlay overlay -o lowerdir=lower,upperdir=upper,workdir=work merged || exit 77; \
        exec \"$@\" --exact file_of_an_overlay_is_copied --nocapture";
    let mut command = Command::new("unshare");
    command.args(["-m", "sh", "-c", mount, "sh"]).arg(directory.path());
    command.arg(env::current_exe().unwrap()).env(OVERLAY, directory.path());
    match command.output() {
        Ok(output) if output.status.success() => {
            let text = String::from_utf8_lossy(&output.stdout);
            assert!(text.contains("copied from an overlay"), "{text}");
        }
        Ok(output) if output.status.code() == Some(101) => {
            panic!("{}", String::from_utf8_lossy(&output.stderr))
        }
        // It takes rights that a continuous integration rarely has.
        _ => skip("no overlay can be mounted"),
    }
}

/// A library of C with as many functions as fill some pages with unwinding tables, and one that counts the callers of
/// itself by them.
fn with_tables() -> Option<Vec<u8>> {
    let mut source = String::from("int backtrace(void **, int);\n");
    for number in 0..5_000 {
        source += &format!("int f{number}(int n) {{ return n + {number}; }}\n");
    }
    source += "__attribute__((noinline)) int first(int n) {
        void *callers[64]; volatile int depth = n;
        return depth != 0 ? first(depth - 1) + depth - n : backtrace(callers, 64); }";
    let directory = scratch();
    let [path, object] = ["tables.c", "tables.o"].map(|name| directory.path().join(name));
    fs::write(&path, source).unwrap();
    let flags = ["-fPIC", "-fasynchronous-unwind-tables", "-fomit-frame-pointer"];
    if !Compiler::Gcc.compile(&path, 1, &flags, &object) {
        return None;
    }
    let input = Input { name: "tables.o", data: &fs::read(object).unwrap() };
    Some(pack(&[input], &Options::default()).unwrap().bytes)
}

fn loader_with_process_symbols(file_policy: FilePolicy) -> Loader {
    let options = LoaderOptions { file_policy, kept_bytes: 0, ..LoaderOptions::default() };
    let loader = Loader::new(options).unwrap();
    let symbols = HostSymbols::of_process().unwrap();
    loader.modules().set_host_resolver(Some(Box::new(symbols))).unwrap();
    loader
}

#[test]
fn unwinding_tables_are_mapped_from_the_file_and_used() {
    let Some(module) = with_tables() else { return };
    let smf = Smf::parse(&module).unwrap();
    let table = smf.sections().named(b".eh_frame").unwrap().data;
    let offset = table.as_ptr().addr() - module.as_ptr().addr();
    let directory = scratch();
    let path = directory.path().join("module.smf");
    write(&path, &module);
    for file_policy in [MAP, FilePolicy::Copy] {
        let loader = loader_with_process_symbols(file_policy);
        let module = loader.load_module(&path, None).unwrap();
        let is_mapped = |line: &str| {
            let fields: Vec<&str> = line.split_ascii_whitespace().collect();
            let start = usize::from_str_radix(fields[2], 16).unwrap();
            fields[1] == "r--p" && start != 0 && (offset..offset + PAGE).contains(&start)
        };
        let maps = fs::read_to_string("/proc/self/maps").unwrap();
        let name = path.to_str().unwrap();
        let found = maps.lines().any(|line| line.ends_with(name) && is_mapped(line));
        assert_eq!(found, file_policy == MAP, "{maps}");
        let address = loader.modules().resolve(b"first").unwrap().unwrap().address;
        // SAFETY: the function takes an integer and returns one, and the module is loaded.
        let depth = |n| unsafe { smf_core::trap::call(address, &[n]) }.unwrap();
        assert_eq!(depth(20) - depth(10), 10, "{file_policy:?}");
        loader.modules().unload(module).unwrap();
    }
}

#[test]
fn malformed_unwinding_tables_are_refused_alike_whether_mapped_or_copied() {
    let Some(module) = with_tables() else { return };
    let smf = Smf::parse(&module).unwrap();
    let table = smf.sections().named(b".eh_frame").unwrap().data;
    let start = table.as_ptr().addr() - module.as_ptr().addr();
    let directory = scratch();
    let path = directory.path().join("module.smf");
    // The length of the first record, the distance of the first function, and the zero word at the end.
    for (at, byte, reason) in [
        (3, 0x7f, "a record exceeds the section"),
        (32 + 3, 0x40, "a record describes code outside the module"),
        (table.len() - 4, 1, "a record exceeds the section"),
    ] {
        let mut changed = module.clone();
        changed[start + at] = byte;
        write(&path, &changed);
        let [mapped, copied] = [MAP, FilePolicy::Copy].map(|policy| {
            let error = loader_with_process_symbols(policy).load_module(&path, None).unwrap_err();
            error.to_string()
        });
        assert_eq!(mapped, copied);
        assert!(mapped.contains(reason), "{at}: {mapped}");
    }
}
