//! `smf run --watch`: reloads modules whose files change.
//!
//! Files are polled ten times a second, which works on every file system and covers files that are replaced
//! as well as files that are written to. A half-written file fails to load and is retried after its next
//! change.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::thread;
use std::time::Duration;

use smf_core::loader::{ModuleHandle, StateMigration};
use smf_core::memory::{FileStamp, stamp_of};
use smf_loader::loader::Loader;

use crate::output::{self, Failure};

/// The polling interval.
const PAUSE: Duration = Duration::from_millis(100);

/// A watched file and its module.
struct Watched<'a> {
    path: &'a Path,
    module: ModuleHandle,
    stamp: Option<FileStamp>,
}

/// The state of a program's files before they are loaded.
pub(crate) struct Snapshot<'a>(Vec<(&'a Path, Option<FileStamp>)>);

impl<'a> Snapshot<'a> {
    /// Records the state of the files; the main module comes first.
    pub(crate) fn new(paths: impl Iterator<Item = &'a Path>) -> Self {
        Self(paths.map(|path| (path, stamp(path))).collect())
    }

    /// Watches the main module, which must be reloadable, and the other modules that were loaded. Modules
    /// from archives are not watched.
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
                "not marked as reloadable; mark it with `smf pack --reloadable` or `smf asm --reloadable`",
            )),
        }
    }
}

/// The watched files of a program.
pub(crate) struct Watch<'a> {
    loader: &'a Loader,
    files: Vec<Watched<'a>>,
}

impl Watch<'_> {
    /// Waits until a module has been reloaded. Failed reloads are reported.
    pub(crate) fn wait(&mut self) {
        loop {
            thread::sleep(PAUSE);
            let loader = self.loader;
            let reloaded = self.files.iter_mut().filter_map(|file| file.poll(loader)).count();
            if reloaded != 0 {
                return;
            }
        }
    }
}

impl Watched<'_> {
    /// Reloads the module if its file has changed.
    fn poll(&mut self, loader: &Loader) -> Option<()> {
        let now = stamp(self.path);
        if now.is_none() || now == self.stamp {
            return None;
        }
        self.stamp = now;
        match loader.reload_file(self.module, self.path, StateMigration::Copy) {
            Ok(reloaded) => {
                let (symbols, bytes) = (reloaded.migrated.symbols, reloaded.migrated.bytes);
                let noun = if symbols == 1 { "symbol" } else { "symbols" };
                let path = self.path.display();
                let text = format!("{path}: {symbols} {noun} copied, {bytes} bytes");
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
