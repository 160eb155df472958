//! Shared parts of the tests: the sample files, the oracles, and the compilers.
//!
//! The package tests smf from outside. It is not shipped, so its helpers may panic.

pub mod allocator;
pub mod alone;
pub mod bytecode;
pub mod calls;
pub mod compile;
pub mod compressed;
pub mod differential;
pub mod ir;
pub mod play;
pub mod random;
pub mod records;
pub mod scale;
pub mod services;
pub mod set_at_end;
pub mod skip;
pub mod source;
pub mod spec;
pub mod tiny;
pub mod trace;
pub mod walk;
pub mod wrap;

use std::fs;
use std::path::{Path, PathBuf};

/// A file of `tests/samples`.
#[derive(Clone, Debug)]
pub struct Sample {
    /// Its path below `tests/samples`, such as `bad/empty.smf`.
    pub name: String,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

impl Sample {
    /// Whether the file is malformed on purpose.
    pub fn is_bad(&self) -> bool {
        self.name.starts_with("bad/")
    }

    /// Its path.
    pub fn path(&self) -> PathBuf {
        directory().join(&self.name)
    }
}

/// The directory of the samples.
pub fn directory() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/samples"))
}

/// The sample of this name.
///
/// # Panics
/// If it does not exist.
pub fn sample(name: &str) -> Sample {
    let path = directory().join(name);
    let bytes = fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    Sample { name: name.to_owned(), bytes }
}

/// Every module and archive of the samples, valid and malformed, in the order of their names.
///
/// # Panics
/// If the directory cannot be read.
pub fn samples() -> Vec<Sample> {
    let list = |below: &str| {
        let entries = fs::read_dir(directory().join(below)).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let modules = names.filter(|name| name.ends_with(".smf") || name.ends_with(".lsm"));
        modules.map(|name| format!("{below}{name}")).collect::<Vec<_>>()
    };
    let mut names = [list(""), list("bad/")].concat();
    names.sort();
    names.iter().map(|name| sample(name)).collect()
}
