//! Packs, verifies and loads every static archive below a directory, and counts the outcomes by reason.
//!
//! Archives of the C library, of sanitizers and of the compiler's own runtime are left out: a process has one of each.
//! Where every symbol of an archive is hidden, all are exported. The host is a C program that mentions `stderr`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Instant;

use crate::error::{At, Error};
use crate::install::{self, Directories};
use crate::shell::{cargo, command, target};

/// The starts of the names of archives that are left out.
const LEFT_OUT: [&str; 20] = [
    "libc.a",
    "libc_nonshared",
    "libg.a",
    "libm.a",
    "libm-",
    "libmvec",
    "libpthread",
    "libdl.a",
    "librt.a",
    "libutil.a",
    "libanl.a",
    "libresolv.a",
    "libBrokenLocale",
    "libgcc.a",
    "libgcc_eh",
    "libgcov",
    "libasan",
    "libtsan",
    "liblsan",
    "libubsan",
];

/// What becomes of an archive.
struct Outcome {
    packed: Result<(), String>,
    verified: bool,
    loaded: Result<(), String>,
}

pub(crate) fn run(arguments: &[String]) -> Result<(), Error> {
    let [directory] = arguments else {
        return Err(Error::Usage("survey".to_owned()));
    };
    cargo("build --quiet --release --package smf-cli").run()?;
    let installed = target().join("install");
    install::install("gdb", &Directories::below(&installed))?;
    let libraries = installed.join("lib");
    let scratch = target().join("survey");
    fs::create_dir_all(&scratch).at(&scratch)?;
    let host = scratch.join("host");
    let compile =
        command("gcc -O1 -std=gnu11 -I shell/include xtask/src/survey/host.c -lsmf_loader -ldl");
    let search = format!("-L{}", libraries.display());
    let path = format!("-Wl,--disable-new-dtags,-rpath,{}", libraries.display());
    compile.args([search, path, "-o".to_owned(), host.display().to_string()]).run()?;

    let mut archives = Vec::new();
    find(Path::new(directory), &mut archives)?;
    archives.sort();
    let mut outcomes = Vec::new();
    for archive in &archives {
        let start = Instant::now();
        let outcome =
            survey(&target().join("release/smf"), &host, archive, &scratch.join("module.smf"))?;
        print(archive, &outcome, start.elapsed().as_millis());
        outcomes.push(outcome);
    }
    summarize(&outcomes);
    Ok(())
}

/// The archives below a directory.
fn find(directory: &Path, archives: &mut Vec<PathBuf>) -> Result<(), Error> {
    for entry in fs::read_dir(directory).at(directory)? {
        let entry = entry.at(directory)?;
        let (path, name) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
        let kind = entry.file_type().at(directory)?;
        let is_left_out = LEFT_OUT.iter().any(|start| name.starts_with(start));
        if kind.is_dir() {
            find(&path, archives)?;
        } else if name.ends_with(".a") && !is_left_out {
            archives.push(path);
        }
    }
    Ok(())
}

fn survey(smf: &Path, host: &Path, archive: &Path, module: &Path) -> Result<Outcome, Error> {
    let pack = |flags: &[&str]| {
        let mut command = Command::new(smf);
        start(command.arg("pack").arg(archive).args(flags).arg("-o").arg(module))
    };
    let mut output = pack(&[])?;
    if text(&output).contains("--export-all") {
        output = pack(&["--export-all"])?;
    }
    if !output.status.success() {
        let nothing = Err(String::new());
        return Ok(Outcome { packed: Err(text(&output)), verified: false, loaded: nothing });
    }
    let verified = start(Command::new(smf).arg("verify").arg(module))?.status.success();
    let output = start(Command::new(host).arg(module))?;
    let status = output.status;
    let loaded = match status.success() {
        true => Ok(()),
        false if status.code() == Some(1) => Err(text(&output)),
        false => Err(status.to_string()),
    };
    Ok(Outcome { packed: Ok(()), verified, loaded })
}

fn start(command: &mut Command) -> Result<Output, Error> {
    let output = command.stdin(Stdio::null()).output();
    output.map_err(|error| Error::Start(format!("{command:?}"), error))
}

/// The errors that a command printed, without its warnings.
fn text(output: &Output) -> String {
    let errors = String::from_utf8_lossy(&output.stderr);
    let lines = errors.lines().filter(|line| !line.starts_with("warning: "));
    lines.collect::<Vec<_>>().join("\n")
}

fn print(archive: &Path, outcome: &Outcome, milliseconds: u128) {
    let name = archive.file_name().unwrap_or_default().to_string_lossy();
    let state = match outcome {
        Outcome { packed: Err(why), .. } => format!("not packed: {}", first(why)),
        Outcome { verified: false, .. } => "packed, not verified".to_owned(),
        Outcome { loaded: Err(why), .. } => format!("packed, not loaded: {}", first(why)),
        _ => "loaded".to_owned(),
    };
    println!("{milliseconds:6} ms  {name}: {state}");
}

fn first(text: &str) -> &str {
    text.lines().next().unwrap_or("no message")
}

/// The kind of a message: what follows the last name in it.
fn kind(message: &str) -> String {
    let quoted = message.split('`').step_by(2).collect::<Vec<_>>().join("_");
    let sentence = quoted.rsplit_once(": ").map_or(&*quoted, |(_, sentence)| sentence);
    sentence.chars().filter(|c| !c.is_ascii_digit()).collect()
}

fn summarize(outcomes: &[Outcome]) {
    let packed = outcomes.iter().filter(|outcome| outcome.packed.is_ok()).count();
    let verified = outcomes.iter().filter(|outcome| outcome.verified).count();
    let loaded = outcomes.iter().filter(|outcome| outcome.loaded.is_ok()).count();
    println!("{} archives: {packed} packed, {verified} verified, {loaded} loaded", outcomes.len());
    let mut reasons: BTreeMap<String, usize> = BTreeMap::new();
    for outcome in outcomes {
        let why = match outcome {
            Outcome { packed: Err(why), .. } => format!("not packed: {}", kind(first(why))),
            Outcome { loaded: Err(why), .. } => format!("not loaded: {}", kind(first(why))),
            _ => continue,
        };
        *reasons.entry(why).or_default() += 1;
    }
    for (reason, count) in reasons {
        println!("{count:6}  {reason}");
    }
}
