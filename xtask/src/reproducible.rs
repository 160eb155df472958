//! Whether two builds from different directories give the same shared library.

use std::fs;
use std::path::PathBuf;

use crate::error::{At, Error};
use crate::library;
use crate::shell::{command, root, target};

/// Clones the last commit to two paths of different lengths, builds the libraries there, and compares them.
pub(crate) fn run() -> Result<(), Error> {
    let directory = target().join("reproducible");
    if directory.exists() {
        fs::remove_dir_all(&directory).at(&directory)?;
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
        let bytes = fs::read(&built).at(&built)?;
        fs::remove_dir_all(clone.join("target")).at(&clone)?;
        Ok((built, bytes))
    };
    let ((_, one), (path, other)) = (build("a")?, build("longer/path")?);
    match one == other {
        true => Ok(()),
        false => Err(Error::Different(path)),
    }
}
