//! Checks `tests/samples` against its list and with the `smf` command.
//!
//! The samples were built byte by byte and are never written again. `EXPECTED.md` lists them with their lengths. `smf inspect` and
//! `smf verify` succeed for valid samples; for malformed ones they succeed or print one error line, and never end by a signal.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use crate::error::{At, Error};
use crate::shell::{cargo, root, target};

pub(crate) fn run() -> Result<(), Error> {
    cargo("build --quiet --package smf-cli").run()?;
    let smf = target().join("debug").join("smf");
    let directory = root().join("tests").join("samples");
    let listed = listed(&directory.join("EXPECTED.md"))?;
    let mut found = files(&directory, "")?;
    found.extend(files(&directory, "bad/")?);

    let mut findings = Vec::new();
    for (name, len) in &found {
        match listed.get(name) {
            Some(expected) if expected == len => {}
            Some(expected) => findings.push(format!("{name}: {len} bytes, {expected} are listed")),
            None => findings.push(format!("{name}: not listed")),
        }
        let path = directory.join(name);
        for arguments in [&["inspect"][..], &["inspect", "--json"], &["verify"]] {
            let output = run_smf(&smf, arguments, &path)?;
            if let Some(finding) = judge(name, &output) {
                findings.push(format!("{name}: smf {}: {finding}", arguments.join(" ")));
            }
        }
    }
    let gone = listed.keys().filter(|name| !found.contains_key(*name));
    findings.extend(gone.map(|name| format!("{name}: listed, and does not exist")));
    findings.iter().for_each(|finding| println!("{finding}"));
    println!("{} samples checked", found.len());
    if findings.is_empty() { Ok(()) } else { Err(Error::Findings(findings.len(), "samples")) }
}

/// The names and lengths in the table of the list.
fn listed(path: &Path) -> Result<BTreeMap<String, u64>, Error> {
    let text = fs::read_to_string(path).at(path)?;
    let rows = text.lines().filter_map(|line| {
        let mut cells = line.split('|').map(str::trim).skip(1);
        let (name, bytes) = (cells.next()?, cells.next()?);
        Some((name.to_owned(), bytes.parse().ok()?))
    });
    Ok(rows.collect())
}

/// The modules and archives in `directory/below` with their lengths.
fn files(directory: &Path, below: &str) -> Result<BTreeMap<String, u64>, Error> {
    let directory = directory.join(below);
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(&directory).at(&directory)? {
        let entry = entry.at(&directory)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.ends_with(".smf") || name.ends_with(".lsm") {
            files.insert(format!("{below}{name}"), entry.metadata().at(&directory)?.len());
        }
    }
    Ok(files)
}

fn run_smf(smf: &Path, arguments: &[&str], file: &PathBuf) -> Result<Output, Error> {
    let mut command = Command::new(smf);
    command.args(arguments).arg(file).stdin(Stdio::null());
    command.output().map_err(|error| Error::Start(smf.display().to_string(), error))
}

/// The finding for the way in which `smf` ended.
fn judge(name: &str, output: &Output) -> Option<String> {
    let errors = String::from_utf8_lossy(&output.stderr);
    match output.status.code() {
        Some(0) => None,
        Some(1) if !name.starts_with("bad/") => Some(errors.trim_end().to_owned()),
        Some(1) if errors.starts_with("error: ") && errors.lines().count() == 1 => None,
        Some(1) => Some(format!("not one line that begins with `error: `: {errors:?}")),
        _ => Some(output.status.to_string()),
    }
}
