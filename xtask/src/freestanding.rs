//! Restricted environments: `format` without a kernel and without an allocator, and the program without libc, which is
//! built, measured and run. The test `freestanding` of `smf-tests` runs it under a filter of system calls.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use crate::ci::has_target;
use crate::error::{At, Error};
use crate::shell::{Command, cargo, command, target};

/// Targets without an operating system, one of them of 32 bits.
const BARE: [&str; 3] =
    ["x86_64-unknown-none", "thumbv7em-none-eabihf", "riscv64gc-unknown-none-elf"];

/// The directory of the program, which is a workspace of its own with its own lint and format checks.
const PROGRAM: &str = "tests/freestanding";
const HOST: &str = "x86_64-unknown-linux-gnu";

/// A build of the program, with limits in bytes.
struct Build {
    name: &'static str,
    features: &'static str,
    /// Machine code.
    code: u64,
    /// Writable memory after the call of the module: the maximum of some runs.
    memory: u64,
}

/// The smallest build, and the complete one.
const BUILDS: [Build; 2] = [
    Build {
        name: "load, link, call",
        features: "--no-default-features",
        code: 76 << 10,
        memory: 20 << 10,
    },
    Build {
        name: "with templates and sentences",
        features: "",
        code: 384 << 10,
        memory: 128 << 10,
    },
];

/// The number of measurements of its memory. The kernel randomises the start of the stack within two pages, so that the
/// used part covers one page more or less.
const RUNS: usize = 41;

/// The memory for the data of the embedded module: eight bytes, hence a page.
const DATA: u64 = 4 << 10;

/// The time limit for the program to reach its blocking write.
const PATIENCE: Duration = Duration::from_secs(10);

/// Returns the number of checks that passed.
pub(crate) fn run() -> Result<u64, Error> {
    let mut passed = bare()?;
    cargo("fmt --check").directory(PROGRAM).run()?;
    for build in &BUILDS {
        let clippy = format!("clippy --quiet {} --target {HOST}", build.features);
        own(&clippy).args(["--", "-D", "warnings"]).run()?;
        measure(build)?;
        passed += 2;
    }
    Ok(passed)
}

/// Builds the modules that need no kernel and, without `alloc`, no allocator.
fn bare() -> Result<u64, Error> {
    let mut passed = 0;
    for target in BARE {
        if !has_target(target) {
            return Err(Error::Missing("library of the compiler", PathBuf::from(target)));
        }
        // The last has the code of the others, which is generated once.
        for (task, features) in [("check", ""), ("check", "alloc"), ("build", "compress")] {
            let package = "--quiet --package smf-core --no-default-features";
            let build = cargo(&format!("{task} {package} --target {target}"));
            build.args(["--features", features]).run()?;
            passed += 1;
        }
    }
    Ok(passed)
}

/// A call of cargo for the program, whose directory configures the linker.
fn own(line: &str) -> Command {
    cargo(line)
        .directory(PROGRAM)
        .without_env("RUSTFLAGS")
        .args(["--target-dir".as_ref(), directory().as_os_str()])
}

/// The target directory, which the tests share.
fn directory() -> PathBuf {
    target().join("tmp").join("freestanding")
}

impl Build {
    fn make(&self) -> Result<PathBuf, Error> {
        own(&format!("build --quiet --release {} --target {HOST}", self.features)).run()?;
        Ok(directory().join(HOST).join("release").join("freestanding"))
    }
}

/// The sizes of the sections of a program, by name.
fn sections(program: &Path) -> Result<impl Fn(&str) -> u64, Error> {
    let table = command("size -A -d").args([program]).output()?;
    Ok(move |name: &str| {
        let line = table.lines().find(|line| line.split_whitespace().next() == Some(name));
        line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok()).unwrap_or(0)
    })
}

/// Prints the sizes of the program; an error when a limit is exceeded.
fn measure(build: &Build) -> Result<(), Error> {
    let program = build.make()?;
    let section = sections(&program)?;
    let code = section(".text");
    let memory = memory_at_rest(&program)?;
    println!(
        "freestanding, {}: {code} bytes of code, {} of constants, {} of variables",
        build.name,
        section(".rodata"),
        section(".data") + section(".bss")
    );
    println!("{memory}");
    if code == 0 || code > build.code || memory.all() > build.memory {
        println!("more than {} bytes of code, or than {} of memory", build.code, build.memory);
        return Err(Error::Findings(1, "size"));
    }
    Ok(())
}

/// Resident writable memory of a process in bytes, by purpose.
#[derive(Debug, Default)]
struct Memory {
    /// The heap starts in the rest of their last page.
    variables: u64,
    /// The kernel merges adjacent mappings, so that the data of a module may be in it.
    heap: u64,
    stack: u64,
}

impl Memory {
    fn all(&self) -> u64 {
        self.variables + self.heap + self.stack
    }
}

impl std::fmt::Display for Memory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Memory { variables, heap, stack } = self;
        let all = self.all();
        write!(
            f,
            "writable memory at rest, at most: {all} bytes (variables {variables}, heap {heap}, stack {stack})"
        )
    }
}

/// The maximum of the runs.
fn memory_at_rest(program: &Path) -> Result<Memory, Error> {
    let mut runs = Vec::new();
    for _ in 0..RUNS {
        runs.push(memory_of_a_run(program)?);
    }
    let most = runs.into_iter().max_by_key(Memory::all);
    most.ok_or_else(|| Error::Missing("run", program.to_owned()))
}

/// The memory of the program after it has called its module, while it blocks on the write of its result to a full
/// socket.
fn memory_of_a_run(program: &Path) -> Result<Memory, Error> {
    let (mut listener, talker) = UnixStream::pair().at(program)?;
    fill(&talker).at(program)?;
    let mut command = std::process::Command::new(program);
    let mut child =
        command.env_clear().stdout(Stdio::from(OwnedFd::from(talker))).spawn().at(program)?;
    // The command holds a copy of the descriptor.
    drop(command);
    let memory = wait_for_sleep(&child).and_then(|()| {
        let maps = PathBuf::from(format!("/proc/{}/smaps", child.id()));
        fs::read_to_string(&maps).at(&maps)
    });
    let mut said = Vec::new();
    let listened = listener.read_to_end(&mut said);
    let status = child.wait().at(program)?;
    listened.at(program)?;
    if !status.success() || !said.ends_with(b"42\n") {
        return Err(Error::Status(program.display().to_string(), status));
    }
    let mut memory = count(&memory?);
    memory.heap = memory.heap.saturating_sub(DATA);
    Ok(memory)
}

/// Writes until the socket is full.
fn fill(mut stream: &UnixStream) -> std::io::Result<()> {
    stream.set_nonblocking(true)?;
    loop {
        match stream.write(&[0; 1024]) {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) => return Err(error),
        }
    }
    stream.set_nonblocking(false)
}

/// Waits until the process blocks.
fn wait_for_sleep(child: &Child) -> Result<(), Error> {
    let path = PathBuf::from(format!("/proc/{}/stat", child.id()));
    let start = Instant::now();
    loop {
        let stat = fs::read_to_string(&path).at(&path)?;
        // The state follows the name, which is in parentheses.
        if stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('S')) {
            return Ok(());
        }
        if start.elapsed() > PATIENCE {
            return Err(Error::Missing("end of the work", path));
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Adds up the sizes of the mappings.
fn count(maps: &str) -> Memory {
    let mut memory = Memory::default();
    let mut mapping: Vec<&str> = Vec::new();
    for line in maps.lines() {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let ["Rss:", kilobytes, ..] = fields[..] else {
            if fields.first().is_some_and(|first| first.contains('-')) {
                mapping = fields;
            }
            continue;
        };
        let is_writable = mapping.get(1).is_some_and(|rights| rights.contains('w'));
        let part = match mapping.get(5) {
            _ if !is_writable => continue,
            Some(&"[stack]") => &mut memory.stack,
            Some(name) if name.starts_with('/') => &mut memory.variables,
            _ => &mut memory.heap,
        };
        *part += kilobytes.parse::<u64>().unwrap_or(0) << 10;
    }
    memory
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_counted_by_purpose() {
        let map = |line: &str, kilobytes| format!("{line}\nSize: 8 kB\nRss: {kilobytes} kB\n");
        let maps = [
            map("400000-401000 r--p 00000000 08:01 77 /program", 4),
            map("401000-402000 r-xp 00000000 08:01 77 /program", 4),
            map("402000-403000 rw-p 00000000 08:01 77 /program", 4),
            map("7f0000-7f1000 rw-p 00000000 00:00 0", 8),
            map("7f2000-7f3000 r-xp 00000000 00:00 0", 4),
            map("7f3000-7f4000 rw-p 00000000 00:00 0", 16),
            map("7ff000-7ff800 rw-p 00000000 00:00 0 [stack]", 12),
        ];
        let memory = count(&maps.concat());
        assert_eq!((memory.variables, memory.heap, memory.stack), (4 << 10, 24 << 10, 12 << 10));
        assert_eq!(memory.all(), 40 << 10);
    }
}
