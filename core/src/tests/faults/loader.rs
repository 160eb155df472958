//! Modules: load, reload, unload.
#![allow(unsafe_code)]

use std::os::unix::ffi::OsStrExt;
use std::string::ToString;
use std::vec::Vec;

use rustix::fd::BorrowedFd;
use rustix::io::Errno;

use super::fail_each;
use crate::alloc_util::TryArc;
use crate::format::write::{Module, NewSection, NewSymbol, Place};
use crate::format::{Header, Layout, SymbolKind};
use crate::loader::{LoaderOptions, ModuleBytes, ModuleHandle, ModuleLoader, StateMigration};
use crate::memory::fault_injection;
use crate::memory::testing::alone;
use crate::memory::{FileContents, FileGuards, FileMapping, FilePolicy, Unchanged};

const PACKED: &[u8] = include_bytes!("../../../../tests/samples/packed.smf");
const LIBRARY: &[u8] = include_bytes!("../../../../tests/samples/lib.smf");
const APP: &[u8] = include_bytes!("../../../../tests/samples/app.smf");

fn call(loader: &ModuleLoader, module: ModuleHandle, name: &[u8], argument: i64) -> i64 {
    let module = loader.get(module).unwrap();
    // SAFETY: the samples define functions of at most two integers, and the module is held.
    unsafe { crate::trap::call(module.function(name).unwrap(), &[argument, 0]) }.unwrap()
}

#[test]
#[cfg_attr(miri, ignore = "runs machine code")]
fn failed_call_leaves_the_loader_unchanged() {
    let test = "faults::loader::failed_call_leaves_the_loader_unchanged";
    if !alone(test) {
        return;
    }
    let options = LoaderOptions { kept_bytes: 0, reload_unmarked: true, ..Default::default() };
    let loader = ModuleLoader::new(options).unwrap();
    let counter = loader.load(b"packed", ModuleBytes::new(PACKED).unwrap()).unwrap();
    loader.register_provider(b"library", ModuleBytes::new(LIBRARY).unwrap()).unwrap();
    let resolved = loader.resolve(b"answer").unwrap().unwrap().address;
    // SAFETY: no other thread uses the loader.
    let collect = || unsafe { loader.collect_quiescent() };
    let intact = || {
        collect();
        assert_eq!(
            (call(&loader, counter, b"bump", 0), call(&loader, counter, b"answer", 0)),
            (100, 42)
        );
        let again = loader.resolve(b"answer").unwrap().unwrap().address;
        assert_eq!((again, loader.statistics().retired), (resolved, 0));
    };

    let load = || loader.load(b"app", ModuleBytes::new(APP).unwrap());
    let unload = |app| {
        assert_eq!(call(&loader, app, b"direct", 14), 42);
        loader.unload_all(&[app, loader.find(b"library").unwrap()]).unwrap();
    };
    let only_one = || {
        intact();
        assert_eq!(loader.statistics().modules, 1);
    };
    let loads = fail_each("load", load, only_one, unload);

    let reload = || {
        let bytes = ModuleBytes::new(PACKED).unwrap();
        loader.reload(counter, bytes, StateMigration::Copy, &mut |_| {})
    };
    let reloads = fail_each("reload", reload, intact, |_| collect());

    let unloads: Vec<u32> = [Errno::NOMEM, Errno::PERM]
        .map(|errno| {
            let app = load().unwrap();
            let library = loader.find(b"library").unwrap();
            let fault = fault_injection::inject_at(0, errno, false);
            loader.unload_all(&[app, library]).unwrap();
            u32::from(fault.has_happened())
        })
        .into();
    intact();
    std::println!("unload: {unloads:?} points");
    assert!(loads >= 40 && reloads >= 40, "the faults did not reach the calls");
}

/// Guards every file, and gives its pages up when asked.
struct Guards(spin::Mutex<Option<TryArc<FileMapping>>>);

// SAFETY: no process changes the files of these tests.
unsafe impl FileGuards for Guards {
    fn accepts(&self, _: BorrowedFd<'_>, _: u64) -> bool {
        true
    }

    fn guard(&self, file: &TryArc<FileMapping>) -> Option<u64> {
        *self.0.lock() = Some(file.clone());
        Some(0)
    }

    unsafe fn release(&self, _: u64) {
        drop(self.0.lock().take());
    }
}

static GUARDS: Guards = Guards(spin::Mutex::new(None));

/// A module that is large enough to be mapped, whose function at the end of the code returns 42.
fn large_module() -> Vec<u8> {
    let mut code = std::vec![0xcc; 200_000];
    // mov eax, 42; ret
    code[199_000..199_006].copy_from_slice(&[0xb8, 42, 0, 0, 0, 0xc3]);
    let symbol = NewSymbol {
        name: b"answer",
        kind: SymbolKind::Function,
        place: Place::Section(0),
        value: 199_000,
        ..NewSymbol::default()
    };
    let (sections, symbols) = ([NewSection::code(&code)], [symbol]);
    let (layout, header) = (Layout::Packed, Header::default());
    Module { layout, header, stub: &[], sections: &sections, symbols: &symbols }.to_vec().unwrap()
}

#[test]
#[cfg_attr(miri, ignore = "runs machine code")]
fn failed_call_leaves_no_pages_of_a_mapped_file() {
    let test = "faults::loader::failed_call_leaves_no_pages_of_a_mapped_file";
    if !alone(test) {
        return;
    }
    let name = std::format!("smf-mapped-{}", std::process::id());
    let path = std::env::temp_dir().join(name);
    std::fs::write(&path, large_module()).unwrap();
    // A file that was changed just now is not copied to a memory file.
    std::thread::sleep(std::time::Duration::from_millis(120));
    let loader = ModuleLoader::new(LoaderOptions { kept_bytes: 0, ..Default::default() }).unwrap();
    let unload = |module| {
        assert_eq!(call(&loader, module, b"answer", 0), 42);
        loader.unload(module).unwrap();
    };
    // SAFETY: no process changes the file.
    let map = FilePolicy::Map(unsafe { Unchanged::promised() });
    for (policy, is_broken) in [(map, false), (FilePolicy::Copy, false), (FilePolicy::Auto, true)] {
        let load = || {
            let contents =
                FileContents::open(path.as_os_str().as_bytes(), 1 << 30, policy, &GUARDS)
                    .map_err(|error| error.to_string())?;
            let bytes = ModuleBytes::of_file(contents).map_err(|error| error.to_string())?;
            let module = loader.load(b"m", bytes).map_err(|error| error.to_string())?;
            let mapping = GUARDS.0.lock().clone().filter(|_| is_broken);
            let broken = mapping.map_or(Ok(()), |mapping| mapping.make_private());
            broken.map(|()| module).map_err(|error| {
                loader.unload(module).unwrap();
                error.to_string()
            })
        };
        let only_that = || assert_eq!(loader.statistics().modules, 0);
        let points = fail_each(&std::format!("{policy:?}"), load, only_that, unload);
        assert!(points >= 40, "the faults did not reach the calls");
    }
    std::fs::remove_file(&path).unwrap();
}
