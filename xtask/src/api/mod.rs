//! `cargo xtask api`: the listing of the public Rust API, `api.txt` of each crate, which is compared with the code.
//!
//! The listing is made of the sources: items that are reachable from the crate root by public modules and re-exports, with
//! fields, variants, methods, implemented traits, and the conditions under which they are compiled. Not contained are items
//! that macros make, and the exports for C, which `cargo xtask header` checks.

mod listing;
mod tree;

pub(crate) use tree::import_paths;

use std::fs;
use std::path::PathBuf;

use crate::error::{At, Error};
use crate::shell::{command, root};

/// The crates: directory, name, and the public modules that are left out.
const CRATES: [(&str, &str, &[&str]); 2] =
    [("core", "smf_core", &[]), ("shell", "smf_loader", &["ffi"])];

/// The files of which one must have a line for a change.
const CHANGELOG: &str = "CHANGELOG.md";

/// Compares the listings with the code, or with `--update` writes them. A change needs a line in the change log.
pub(crate) fn run(arguments: &[String]) -> Result<(), Error> {
    let is_update = match arguments {
        [] => false,
        [update] if update == "--update" => true,
        [other, ..] => return Err(Error::Usage(other.clone())),
    };
    let mut differences = 0;
    for (directory, name, without) in CRATES {
        let new = listing::of_crate(&root().join(directory).join("src/lib.rs"), name, without)?;
        let path = root().join(directory).join("api.txt");
        let old = if path.exists() { fs::read_to_string(&path).at(&path)? } else { String::new() };
        differences += print_differences(&old, &new);
        if is_update && old != new {
            fs::write(&path, new).at(&path)?;
        }
    }
    if differences != 0 && !is_update {
        println!("`cargo xtask api --update` writes the listing; {CHANGELOG} needs a line");
        return Err(Error::Findings(differences, "lines of the public API"));
    }
    check_changelog()
}

/// Prints the lines that only one of the texts has; returns their number.
fn print_differences(old: &str, new: &str) -> usize {
    let only = |of: &str, other: &str, sign: char| {
        let other: std::collections::BTreeSet<&str> = other.lines().collect();
        let lines = of.lines().filter(|line| !other.contains(line));
        lines.map(|line| println!("{sign} {line}")).count()
    };
    only(old, new, '-') + only(new, old, '+')
}

/// A listing that differs from the last commit, or in the last commit from the one before, needs a change of the log.
fn check_changelog() -> Result<(), Error> {
    let listings = CRATES.map(|(directory, ..)| format!("{directory}/api.txt"));
    for range in [&["HEAD"][..], &["HEAD^", "HEAD"]] {
        let is_known =
            |commit: &&str| command("git rev-parse --quiet --verify").args([commit]).succeeds();
        if !range.iter().all(is_known) {
            println!("there is no commit {}: the change log is not checked", range.join(" or "));
            continue;
        }
        let changed = command("git diff --name-only").args(range).args(["--"]);
        let changed = changed.args(&listings).args([CHANGELOG]).output()?;
        // A listing that is new is no change.
        let is_changed = |name: &String| {
            let before = range.first().map_or("", |commit| commit);
            changed.lines().any(|line| line == name)
                && command("git cat-file -e").args([format!("{before}:{name}")]).succeeds()
        };
        if listings.iter().any(is_changed) && !changed.lines().any(|line| line == CHANGELOG) {
            let path = PathBuf::from(CHANGELOG);
            return Err(Error::Missing("line for the change of the public API", path));
        }
    }
    Ok(())
}
