//! `smf run --watch`: reloads modules whose files change.
//!
//! Files are polled ten times a second, which works on every file system and covers files that are replaced
//! as well as files that are written to. A half-written file fails to load and is retried after its next
//! change.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::thread;
use std::time::Duration;

use smf_core::loader::{Migrated, StateMigration};
use smf_core::memory::{FileStamp, stamp_of};
use smf_core::plural;
use smf_loader::loader::Loader;

use crate::output;

/// The polling interval.
const PAUSE: Duration = Duration::from_millis(100);

/// The files of a program, each with its state before it was loaded. Modules from archives are not watched.
pub(crate) struct Watch<'a> {
    files: Vec<(&'a Path, Option<FileStamp>)>,
    migration: StateMigration,
}

impl<'a> Watch<'a> {
    /// Records the state of the files, before they are loaded.
    pub(crate) fn new(paths: impl Iterator<Item = &'a Path>, keeps_constructed: bool) -> Self {
        let migration = match keeps_constructed {
            true => StateMigration::CopyConstructed,
            false => StateMigration::Copy,
        };
        Self { files: paths.map(|path| (path, stamp(path))).collect(), migration }
    }

    /// Waits until a module of the loader has been reloaded. Failed reloads are reported.
    pub(crate) fn wait(&mut self, loader: &Loader) {
        let mut reloaded = false;
        while !reloaded {
            thread::sleep(PAUSE);
            for (path, last) in &mut self.files {
                reloaded |= poll(loader, path, last, self.migration);
            }
        }
    }
}

/// Reloads the module at `path` if it is loaded and its file has changed; returns whether it was reloaded.
fn poll(
    loader: &Loader,
    path: &Path,
    last: &mut Option<FileStamp>,
    migration: StateMigration,
) -> bool {
    let now = stamp(path);
    if now.is_none() || now == *last {
        return false;
    }
    let Some(module) = loader.modules().find(path.to_string_lossy().as_bytes()) else {
        return false;
    };
    *last = now;
    let reloaded = loader.reload_file(module, path, migration);
    match &reloaded {
        Ok(reloaded) => {
            let Migrated { symbols, bytes, reset, .. } = reloaded.migrated;
            let (path, s) = (path.display(), plural::s(symbols));
            let reset = match reset {
                0 => String::new(),
                _ => format!(
                    "; {reset} reset, which hold addresses, whose size or number has changed, or whose module has constructors"
                ),
            };
            output::report(
                "reloaded",
                &format!("{path}: {symbols} symbol{s} copied, {bytes} bytes{reset}"),
            );
        }
        Err(error) => output::report("error", &error.to_string()),
    }
    reloaded.is_ok()
}

fn stamp(path: &Path) -> Option<FileStamp> {
    stamp_of(path.as_os_str().as_bytes()).ok()
}
