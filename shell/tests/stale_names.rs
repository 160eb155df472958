//! The names that debuggers and profilers have after many reloads: those of the live version, once.
#![cfg(not(miri))]
#![allow(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails loudly")]

use std::fs;

use smf_core::format::write::{Module, NewSection, NewSymbol, Place};
use smf_core::format::{Flags, Header, Layout};
use smf_core::link::host_arch;
use smf_core::loader::{LoaderOptions, ModuleBytes, StateMigration};
use smf_loader::loader::Loader;
use smf_loader::tools;

/// `jit_code_entry` and `jit_descriptor` of the GDB manual.
#[repr(C)]
struct Entry {
    next: *const Entry,
    prev: *const Entry,
    symfile: *const u8,
    size: u64,
}

#[repr(C)]
struct Descriptor {
    version: u32,
    action: u32,
    relevant: *const Entry,
    first: *const Entry,
}

unsafe extern "C" {
    static mut __jit_debug_descriptor: Descriptor;
}

/// The ELF objects that debuggers have. Only this thread changes the list.
fn objects() -> Vec<Vec<u8>> {
    // SAFETY: no other thread writes it.
    let mut next = unsafe { __jit_debug_descriptor.first };
    let mut all = Vec::new();
    // SAFETY: entries in the list are alive.
    while let Some(entry) = unsafe { next.as_ref() } {
        // SAFETY: the object outlives its entry.
        all.push(
            unsafe { std::slice::from_raw_parts(entry.symfile, entry.size as usize) }.to_vec(),
        );
        next = entry.next;
    }
    all
}

/// A module whose functions are `stable` and `version_NUMBER`. The code is never executed.
fn version(number: u32) -> ModuleBytes {
    let code = [0xc3; 64];
    let name = format!("version_{number}");
    let function = |name, value| NewSymbol {
        name,
        place: Place::Section(0),
        value,
        size: 16,
        ..NewSymbol::default()
    };
    let symbols = [function(b"stable", 0), function(name.as_bytes(), 32)];
    let flags = Flags(Flags::RELOADABLE);
    let header = Header { arch: host_arch(), flags, ..Header::default() };
    let sections = &[NewSection::code(&code)];
    let layout = Layout::Packed;
    let module = Module { layout, header, stub: &[], sections, symbols: &symbols };
    ModuleBytes::new(module.to_vec().unwrap()).unwrap()
}

#[test]
fn tools_have_the_names_of_live_code_only_after_many_reloads() {
    const RELOADS: u32 = 10_000;
    tools::enable_gdb().unwrap();
    tools::enable_perf_map().unwrap();
    let loader = Loader::new(LoaderOptions::default()).unwrap();
    let load = |name| loader.map_module(name, version(0)).unwrap().link().unwrap();
    let module = load("module");
    // Holds an address, so that reloads leave memory at other addresses than one.
    let other = loader.map_module("other", other()).unwrap().link().unwrap();
    for number in 1..=RELOADS {
        let reloaded =
            loader.modules().reload(module, version(number), StateMigration::Copy, &mut |_| {});
        reloaded.unwrap();
    }
    loader.modules().collect();
    assert_eq!(loader.modules().statistics().retired, 0);
    let objects = objects();
    let has = |name: &str| {
        objects.iter().filter(|o| o.windows(name.len()).any(|w| w == name.as_bytes())).count()
    };
    assert_eq!((objects.len(), has("version_10000\0"), has("of_other\0")), (2, 1, 1));
    assert_eq!(has("version_"), 1);

    let path = format!("/tmp/perf-{}.map", std::process::id());
    let map = fs::read_to_string(&path).unwrap();
    fs::remove_file(path).unwrap();
    assert!(map.len() < 256 << 10, "{}", map.len());
    let lines = map.lines().filter(|line| !line.is_empty()).map(|line| {
        let mut words = line.splitn(3, ' ');
        let number = |word: &str| u64::from_str_radix(word, 16).unwrap();
        let (start, size) = (number(words.next().unwrap()), number(words.next().unwrap()));
        (start..start + size, words.next().unwrap())
    });
    let lines: Vec<_> = lines.collect();
    // Every address of live code has its live name, and no other one.
    for (handle, name) in [(module, "version_10000"), (module, "stable"), (other, "of_other")] {
        let module = loader.modules().get(handle).unwrap();
        let address = module.function(name.as_bytes()).unwrap();
        let found = lines.iter().filter(|(range, _)| range.contains(&address));
        assert_eq!(found.map(|(_, name)| *name).collect::<Vec<_>>(), [name]);
    }
}

fn other() -> ModuleBytes {
    let function =
        NewSymbol { name: b"of_other", place: Place::Section(0), size: 16, ..NewSymbol::default() };
    let header = Header { arch: host_arch(), ..Header::default() };
    let sections = &[NewSection::code(&[0xc3; 64])];
    let layout = Layout::Packed;
    let module = Module { layout, header, stub: &[], sections, symbols: &[function] };
    ModuleBytes::new(module.to_vec().unwrap()).unwrap()
}
