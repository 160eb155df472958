//! `smf run --watch`: a new file is a new version.
//!
//! Files are looked at ten times a second: that works on every file system, misses nothing that stays,
//! and finds files that were replaced as well as files that were written to. What is half written is
//! refused by its own reader, and tried again when it has changed once more.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::thread;
use std::time::Duration;

use smf_core::loader::{ModuleHandle, StateMigration};
use smf_core::memory::{FileStamp, stamp_of};
use smf_loader::loader::Loader;

use crate::output::{self, Failure};

/// How long to wait between two looks.
const PAUSE: Duration = Duration::from_millis(100);

/// A file and the module that came out of it.
struct Watched<'a> {
    path: &'a Path,
    module: ModuleHandle,
    stamp: Option<FileStamp>,
}

/// What the files of a program were before it was loaded.
pub(crate) struct Before<'a>(Vec<(&'a Path, Option<FileStamp>)>);

impl<'a> Before<'a> {
    /// The main module comes first.
    pub(crate) fn new(paths: impl Iterator<Item = &'a Path>) -> Self {
        Self(paths.map(|path| (path, stamp(path))).collect())
    }

    /// Begins to watch the main module, which must be replaceable, and the others that were loaded.
    /// Modules of archives are not watched.
    pub(crate) fn watch(self, loader: &'a Loader) -> Result<Watch<'a>, Failure> {
        let main = self.0.first().map_or(Path::new(""), |(path, _)| path);
        let loaded = |(path, stamp): (&'a Path, _)| {
            let module = loader.modules().find(path.to_string_lossy().as_bytes())?;
            Some(Watched { path, module, stamp })
        };
        let files: Vec<_> = self.0.into_iter().filter_map(loaded).collect();
        match files.first() {
            Some(file) if loader.modules().is_reloadable(file.module) => {
                Ok(Watch { loader, files })
            }
            _ => Err(Failure::of(
                main,
                "not marked as reloadable, so nothing may replace it; `smf pack --reloadable` or `smf asm --reloadable` marks it",
            )),
        }
    }
}

/// The files of a program that is loaded.
pub(crate) struct Watch<'a> {
    loader: &'a Loader,
    files: Vec<Watched<'a>>,
}

impl Watch<'_> {
    /// Waits until a module has been replaced. What cannot replace one is reported, and waited on.
    pub(crate) fn wait(&mut self) {
        loop {
            thread::sleep(PAUSE);
            let loader = self.loader;
            let replaced = self.files.iter_mut().filter_map(|file| file.look(loader)).count();
            if replaced != 0 {
                return;
            }
        }
    }
}

impl Watched<'_> {
    /// Replaces the module if the file has changed.
    fn look(&mut self, loader: &Loader) -> Option<()> {
        let now = stamp(self.path);
        if now.is_none() || now == self.stamp {
            return None;
        }
        self.stamp = now;
        match loader.reload_file(self.module, self.path, StateMigration::Copy) {
            Ok(reloaded) => {
                let moved = reloaded.moved;
                let (symbols, bytes) = (moved.symbols, moved.bytes);
                let text = format!("{}: {symbols} data moved, {bytes} bytes", self.path.display());
                output::report("reloaded", &text);
                Some(())
            }
            Err(error) => {
                output::report("error", &error.to_string());
                None
            }
        }
    }
}

fn stamp(path: &Path) -> Option<FileStamp> {
    stamp_of(path.as_os_str().as_bytes()).ok()
}
