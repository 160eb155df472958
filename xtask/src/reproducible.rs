//! Whether two builds from different directories give the same shared library.

use std::fs;
use std::path::PathBuf;

use crate::error::Error;
use crate::library;
use crate::shell::{command, root, target};

/// Clones the last commit to two paths of different lengths, builds the libraries there, and compares them.
pub(crate) fn run() -> Result<(), Error> {
    let directory = target().join("reproducible");
    if directory.exists() {
        fs::remove_dir_all(&directory).map_err(|error| Error::File(directory.clone(), error))?;
    }
    let build = |below: &str| -> Result<(PathBuf, Vec<u8>), Error> {
        let clone = directory.join(below);
        command("git clone --quiet --no-hardlinks").args([root(), &clone]).run()?;
        let installed = clone.join("installed");
        let manifest = clone.join("Cargo.toml");
        command("cargo run --quiet --package xtask --target-dir")
            .args([clone.join("target")])
            .args(["--manifest-path".as_ref(), manifest.as_os_str()])
            .args(["--", "install", "--libraries", "--prefix"])
            .args([&installed])
            .env("CARGO_TARGET_DIR", &clone.join("target").display().to_string())
            .run()?;
        let built = installed.join("lib").join(library::soname(false));
        let bytes = fs::read(&built).map_err(|error| Error::File(built.clone(), error))?;
        fs::remove_dir_all(clone.join("target")).map_err(|error| Error::File(clone, error))?;
        Ok((built, bytes))
    };
    let ((_, one), (path, other)) = (build("a")?, build("longer/path")?);
    match one == other {
        true => Ok(()),
        false => Err(Error::Different(path)),
    }
}
