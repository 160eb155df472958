//! Thread-local storage of C, C++ and Rust programs, compiled here with every access model, packed, loaded and called
//! from threads that were made before and after.
#![cfg(target_arch = "x86_64")]
#![allow(unsafe_code)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError, mpsc};
use std::thread;

use smf_core::format::{Layout, Smf};
use smf_core::link::{Image, LinkError, Module};
use smf_core::trap::call;
use smf_loader::host_services::PROCESS_SERVICES;
use smf_loader::host_symbols::HostSymbols;
use smf_loader::pack::{Input, Options, PackError, PackWarning, Packed, pack};
use smf_tests::compile::{scratch, smf, succeed};
use smf_tests::skip::lacks;

#[path = "thread_local/modules.rs"]
mod modules;

/// Options that select an access model, and whether the native layout can express it.
const MODELS: [(&[&str], bool); 7] = [
    (&["-fPIC"], true),
    (&["-fPIC", "-ftls-model=global-dynamic"], true),
    (&["-fPIC", "-ftls-model=local-dynamic"], true),
    (&["-fPIC", "-ftls-model=initial-exec"], true),
    (&["-fPIC", "-mtls-dialect=gnu2"], true),
    // The default of the compiler: local exec.
    (&[], false),
    (&["-fno-pie", "-fno-pic", "-ftls-model=local-exec", "-mcmodel=small"], false),
];

/// Static storage of 50,000 bytes is more than the surplus, and less than the reserve of the command.
#[test]
fn command_runs_modules_with_static_storage_beyond_the_surplus() {
    let _alone = alone();
    for flags in [&["-DEXTRA=50000"][..], &["-fPIC", "-ftls-model=initial-exec", "-DEXTRA=50000"]] {
        let Some(object) = storage("-O2", flags) else { return };
        let module = packed(&object);
        for (function, expected) in [("check", "0\n"), ("check_threads", "0\n")] {
            let ran = smf_run(&module, &[function, "--host-symbols"]);
            assert_eq!(ran, (true, expected.to_owned()), "{flags:?} {function}");
        }
        assert!(try_link(&module).is_err());
    }
}

/// The surplus of static storage belongs to the process, which the tests share.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn source(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/thread_local").join(name)
}

/// The bytes of the object that a compiler makes of a source; `None` if the machine has no such compiler.
fn compiled(compiler: &str, name: &str, flags: &[&str]) -> Option<Vec<u8>> {
    let directory = scratch();
    let object = directory.path().join("out.o");
    let mut command = Command::new(compiler);
    command.args(flags).arg(source(name)).arg("-o").arg(&object);
    let Ok(output) = command.output() else {
        lacks(compiler);
        return None;
    };
    succeed(&command, &output);
    Some(fs::read(object).unwrap())
}

fn storage(level: &str, flags: &[&str]) -> Option<Vec<u8>> {
    compiled("gcc", "storage.c", &[&["-c", "-Wall", "-Werror", level], flags].concat())
}

fn try_pack(object: &[u8], layout: Layout) -> Result<Packed, PackError> {
    pack(&[Input { name: "a.o", data: object }], &Options { layout, ..Options::default() })
}

fn packed(object: &[u8]) -> Vec<u8> {
    try_pack(object, Layout::Packed).unwrap_or_else(|error| panic!("{error}")).bytes
}

fn process() -> HostSymbols {
    HostSymbols::of_process().unwrap()
}

fn try_link(module: &[u8]) -> Result<Module<'_>, LinkError> {
    let smf = Smf::parse(module).unwrap();
    smf.verify().unwrap();
    Image::map(&smf)?.link_with(&process(), PROCESS_SERVICES)
}

fn link(module: &[u8]) -> Module<'_> {
    try_link(module).unwrap_or_else(|error| panic!("{error}"))
}

fn address(module: &Module<'_>, name: &str) -> u64 {
    module.function(name.as_bytes()).unwrap_or_else(|| panic!("no {name}"))
}

fn run(address: u64, arguments: &[i64]) -> i64 {
    // SAFETY: the functions are those of the programs of this test, which stay loaded during the call.
    unsafe { call(address, arguments) }.unwrap()
}

/// The output of `smf run` for a function of a module.
fn smf_run(module: &[u8], arguments: &[&str]) -> (bool, String) {
    let directory = scratch();
    let file = directory.path().join("module.smf");
    fs::write(&file, module).unwrap();
    let all = [&["run", file.to_str().unwrap()], arguments].concat();
    let output = smf(all);
    let both = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8(both).unwrap())
}

/// Compilers fold the constant part of an index into the relocation, which then leads past the thread pointer, or far below it.
#[test]
fn local_exec_offset_on_the_other_side_of_the_thread_pointer_is_linked() {
    let _alone = alone();
    for fixed in [8000, 100_000, -100_000] {
        let shift = format!("-DSHIFT=({fixed})");
        let flags = ["-c", "-O2", "-fno-pic", &shift];
        let Some(object) = compiled("gcc", "folded.c", &flags) else { return };
        let file = packed(&object);
        assert_eq!(run(address(&link(&file), "get"), &[2 - fixed]), 3, "{fixed}");
        // A module as input of the packer.
        assert_eq!(run(address(&link(&packed(&file)), "get"), &[2 - fixed]), 3, "{fixed}");
    }
}

/// The value of `mixed_bits` by the same arithmetic.
fn mixed(n: i64) -> i64 {
    let (mut a, mut b, mut c, mut d) = (1.5f64, 2.5f64, 3.5f64, 4.5f64);
    let (mut e, mut f, mut g, mut h, mut i) = (1i64, 2i64, 3i64, 4i64, 5i64);
    let mut zeroes = [0i64; 16];
    for round in 0..n {
        zeroes[(round % 16) as usize] += round;
        a += b * c - d;
        b += 0.25;
        c += 0.5;
        d += a;
        e = e.wrapping_add(f ^ g);
        f = f.wrapping_add(h.wrapping_mul(i));
        g = g.wrapping_add(e);
        h ^= f;
        i = i.wrapping_add(zeroes[(round % 16) as usize]);
    }
    let sum = e.wrapping_add(f).wrapping_add(g).wrapping_add(h).wrapping_add(i) & 0xffff;
    (a + b + c + d + sum as f64).to_bits().cast_signed()
}

#[test]
fn every_access_model_has_storage_in_every_thread() {
    let _alone = alone();
    for level in ["-O0", "-O2"] {
        for (flags, has_native) in MODELS {
            let Some(object) = storage(level, flags) else { return };
            for layout in [Layout::Packed, Layout::Native] {
                println!("{level} {flags:?} {}", layout.name());
                let module = match try_pack(&object, layout) {
                    Ok(packed) => packed.bytes,
                    Err(error) if layout == Layout::Native && !has_native => {
                        assert!(error.to_string().contains("compile with -fPIC"), "{error}");
                        continue;
                    }
                    Err(error) => panic!("{error}"),
                };
                let module = link(&module);
                assert_eq!(run(address(&module, "mixed_bits"), &[50]), mixed(50));
                assert_eq!(run(address(&module, "check_threads"), &[]), 0);
                // The calling thread has been changed by now.
                assert_eq!(run(address(&module, "check"), &[]), 1);
                assert_eq!(run(address(&module, "bump"), &[]), 101);
            }
        }
    }
}

#[test]
fn command_runs_modules_with_thread_local_storage() {
    for (flags, _) in MODELS {
        let Some(object) = storage("-O2", flags) else { return };
        let module = packed(&object);
        for (function, expected) in [("bump", "4\n"), ("check", "0\n"), ("check_threads", "0\n")] {
            let ran = smf_run(&module, &[function, "--host-symbols"]);
            assert_eq!(ran, (true, expected.to_owned()), "{flags:?} {function}");
        }
    }
}

#[test]
fn threads_made_before_and_after_loading_have_storage_of_their_own() {
    let _alone = alone();
    for (flags, _) in MODELS {
        let Some(object) = storage("-O2", flags) else { return };
        let (send, receive) = mpsc::channel::<(u64, u64)>();
        let (done, is_done) = mpsc::channel();
        let older = thread::spawn(move || {
            for (check, place) in receive {
                done.send((run(check, &[]), run(place, &[]))).unwrap();
            }
        });
        let file = packed(&object);
        // Each round has storage with initial contents, although the older thread lives on.
        for _ in 0..50 {
            let module = link(&file);
            let functions = (address(&module, "check"), address(&module, "where"));
            send.send(functions).unwrap();
            let (result, there) = is_done.recv().unwrap();
            let newer = thread::spawn(move || (run(functions.0, &[]), run(functions.1, &[])));
            let (newer_result, newer_there) = newer.join().unwrap();
            assert_eq!((result, newer_result, run(functions.0, &[])), (0, 0, 0), "{flags:?}");
            let here = run(functions.1, &[]);
            assert!(here != there && here != newer_there);
        }
        drop(send);
        older.join().unwrap();
    }
}

#[test]
fn modules_loaded_at_once_have_distinct_storage() {
    let Some(object) = storage("-O2", &["-fPIC"]) else { return };
    let file = packed(&object);
    let modules: Vec<_> = (0..20).map(|_| link(&file)).collect();
    for (number, module) in modules.iter().enumerate() {
        for _ in 0..number {
            run(address(module, "bump"), &[]);
        }
    }
    for (number, module) in modules.iter().enumerate() {
        assert_eq!(run(address(module, "bump"), &[]), 4 + number as i64);
    }
}

#[test]
fn unloading_returns_storage_to_the_process() {
    let _alone = alone();
    for flags in [&["-fPIC"][..], &["-fPIC", "-ftls-model=initial-exec"]] {
        let Some(object) = storage("-O2", flags) else { return };
        let file = packed(&object);
        // The static storage of the process holds a few of these only.
        for _ in 0..500 {
            assert_eq!(run(address(&link(&file), "check"), &[]), 0);
        }
    }
}

#[test]
fn thread_local_symbol_of_a_shared_object_is_shared() {
    let _alone = alone();
    let directory = scratch();
    let library = directory.path().join("libshared.so");
    let Some(bytes) = compiled("gcc", "shared.c", &["-shared", "-fPIC", "-O2"]) else { return };
    fs::write(&library, bytes).unwrap();
    let mut host = process();
    // SAFETY: the library of this test, without initialisers.
    unsafe { host.add_library(library.to_str().unwrap()) }.unwrap();
    let models: [&[&str]; 4] = [
        &[],
        &["-mtls-dialect=gnu2"],
        &["-ftls-model=initial-exec"],
        &["-ftls-model=global-dynamic"],
    ];
    for flags in models {
        let flags = [&["-c", "-O2", "-fPIC"], flags].concat();
        let object = compiled("gcc", "imports.c", &flags).unwrap();
        let file = packed(&object);
        let smf = Smf::parse(&file).unwrap();
        let module = Image::map(&smf).unwrap().link_with(&host, PROCESS_SERVICES);
        let module = match module {
            Ok(module) => module,
            // The library was opened while the process ran, and its storage may be dynamic by now.
            Err(error) if flags.contains(&"-ftls-model=initial-exec") => {
                assert!(error.to_string().contains("-fPIC"), "{error}");
                continue;
            }
            Err(error) => panic!("{error}"),
        };
        let there = smf_core::link::Resolve::resolve(&host, b"shared_where_is").unwrap();
        let (bump, place) = (address(&module, "bump_shared"), address(&module, "shared_where"));
        let check = move || {
            assert_eq!(run(bump, &[]), 41);
            assert_eq!(run(place, &[]), run(there, &[]));
        };
        thread::spawn(check).join().unwrap();
        assert_eq!(run(place, &[]), run(there, &[]));
    }
}

#[test]
fn missing_thread_local_symbol_is_named() {
    let Some(object) =
        compiled("gcc", "imports.c", &["-c", "-O2", "-fPIC", "-Dshared_value=absent"])
    else {
        return;
    };
    let error = try_link(&packed(&object)).err().unwrap().to_string();
    assert!(error.contains("unresolved thread-local import `absent`"), "{error}");
}

#[test]
fn storage_is_refused_by_name_without_host_services() {
    let Some(object) = storage("-O2", &["-fPIC"]) else { return };
    let file = packed(&object);
    let image = Image::map(&Smf::parse(&file).unwrap()).unwrap();
    let error = image.link(&process()).err().unwrap().to_string();
    assert_eq!(error, "the module needs thread-local storage, which this host does not offer");
}

#[test]
fn static_storage_beyond_the_surplus_is_refused_with_the_remedy() {
    let _alone = alone();
    let directory = scratch();
    let large = directory.path().join("large.c");
    fs::write(&large, "static __thread char all[1 << 20]; char *f(int i) { return &all[i]; }")
        .unwrap();
    let flags = ["-c", "-O2", "-fPIC", "-ftls-model=initial-exec"];
    let Some(object) = compiled("gcc", large.to_str().unwrap(), &flags) else { return };
    let error = try_link(&packed(&object)).err().unwrap().to_string();
    assert!(error.contains("1048576 bytes of thread-local storage"), "{error}");
    assert!(error.contains("-fPIC") && error.contains("glibc.rtld.optional_static_tls"), "{error}");
    let dynamic = compiled("gcc", large.to_str().unwrap(), &["-c", "-O2", "-fPIC"]).unwrap();
    assert_ne!(run(address(&link(&packed(&dynamic)), "f"), &[0]), 0);
}

#[test]
fn exported_thread_local_symbol_is_reported_in_the_native_layout_alone() {
    let Some(object) = storage("-O2", &["-fPIC"]) else { return };
    for layout in [Layout::Packed, Layout::Native] {
        let Packed { bytes, warnings } = try_pack(&object, layout).unwrap();
        for name in ["visible", "visible_zero"] {
            let warning = PackWarning::ThreadLocalNotExported { name: name.to_owned() };
            let export = [b"__smf_tls_export:", name.as_bytes()].concat();
            let is_exported = link(&bytes).symbol(&export).is_some();
            assert_eq!(is_exported, layout == Layout::Packed);
            assert_eq!(warnings.contains(&warning), !is_exported);
        }
        let module = link(&bytes);
        assert!(module.symbol(b"visible").is_none() && module.symbol(b"counter").is_none());
    }
}

#[test]
fn inspect_shows_thread_local_storage() {
    let Some(object) = storage("-O2", &["-fPIC", "-ftls-model=initial-exec"]) else { return };
    let directory = scratch();
    let file = directory.path().join("module.smf");
    fs::write(&file, packed(&object)).unwrap();
    let shown = smf(["inspect", file.to_str().unwrap()]);
    let shown = String::from_utf8(shown.stdout).unwrap();
    let line = shown.lines().find(|line| line.starts_with("  thread-local ")).unwrap();
    assert!(line.ends_with(" initialised, alignment 64, static"), "{line}");
    let shown = smf(["inspect", "--json", file.to_str().unwrap()]);
    let shown: serde_json::Value = serde_json::from_slice(&shown.stdout).unwrap();
    let storage = &shown["thread_local"];
    assert_eq!((&storage["alignment"], &storage["static"]), (&64.into(), &true.into()));
    assert!(storage["size"].as_u64() > storage["initialised"].as_u64());
}

/// Changed bytes are refused or linked, and never end the process.
#[test]
fn damaged_sections_are_refused_or_linked() {
    let Some(object) = storage("-O2", &["-fPIC"]) else { return };
    let file = packed(&object);
    let smf = Smf::parse(&file).unwrap();
    let section = smf.sections().iter().find(|section| section.name == b".tdata").unwrap();
    let tables = smf.sections().iter().filter(|section| section.name.starts_with(b".rela"));
    let ranges = tables.map(|table| table.offset..table.offset + table.size);
    let entry = section.entry_offset..section.entry_offset + 64;
    let (mut linked, mut refused) = (0, 0);
    for at in ranges.chain([entry]).flatten() {
        for value in [0, 1, 0x7f, 0xff] {
            let mut damaged = file.clone();
            let at = usize::try_from(at).unwrap();
            damaged[at] = value;
            let Ok(smf) = Smf::parse(&damaged) else { continue };
            // As the loader, which does not verify.
            match Image::map(&smf).and_then(|image| image.link_with(&process(), PROCESS_SERVICES)) {
                Ok(_) => linked += 1,
                Err(_) => refused += 1,
            }
        }
    }
    assert!(linked > 0 && refused > 0, "{linked} {refused}");
}

#[test]
fn thread_local_objects_of_cpp_are_constructed_and_destroyed_in_each_thread() {
    for model in [&[][..], &["-mtls-dialect=gnu2"], &["-ftls-model=initial-exec"]] {
        let flags = [&["-c", "-O2", "-fPIC", "-fno-exceptions"], model].concat();
        let Some(object) = compiled("g++", "destructors.cc", &flags) else { return };
        let ran = smf_run(&packed(&object), &["check_guards", "--host-library", "stdc++"]);
        assert_eq!(ran, (true, "808\n".to_owned()), "{model:?}");
    }
}

#[test]
fn thread_local_of_rust_std_works_in_each_thread() {
    let rustc = |arguments: &[&str]| Command::new("rustc").args(arguments).output().unwrap();
    let libraries = rustc(&["--print", "target-libdir"]).stdout;
    let libraries = String::from_utf8(libraries).unwrap();
    let is_std = |path: &PathBuf| {
        let name = path.file_name().unwrap().to_str().unwrap();
        name.starts_with("libstd-") && name.ends_with(".so")
    };
    let mut paths = fs::read_dir(libraries.trim()).unwrap().map(|entry| entry.unwrap().path());
    let std = paths.find(is_std).expect("libstd-*.so of rustc");
    for level in ["-Copt-level=0", "-Copt-level=2"] {
        let flags = ["--edition=2024", "--emit=obj", "--crate-type=lib", "-Cpanic=abort", level];
        let flags = [&flags[..], &["-Ccodegen-units=1", "-Coverflow-checks=off"]].concat();
        let object = compiled("rustc", "local.rs", &flags).unwrap();
        let arguments = ["check_local", "--host-symbols", "--host-library", std.to_str().unwrap()];
        // 1 + 2 + 3 + 4 in each of eight threads, and eight guards.
        assert_eq!(smf_run(&packed(&object), &arguments), (true, "8008\n".to_owned()), "{level}");
    }
}
