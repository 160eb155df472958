//! Queries about modules: extracted functions and templates, lists, and parts of files.
#![allow(unsafe_code)]

use std::ffi::{CStr, c_void};
use std::ptr;

use smf_core::extract::{FunctionExtractor, templates};
use smf_core::format::ext::hash_index;
use smf_core::format::write::bytecode::{NewFunction, write_functions};
use smf_core::format::write::note::write_possible;
use smf_core::format::write::{Module, NewSection, NewSymbol};
use smf_core::format::{Flags, Header, Layout, Smf};
use smf_core::link::host_arch;
use smf_core::memory::code_alloc::CodeMemory;
use smf_core::templates::{JitConfig, JitInstantiator};
use smf_loader::ffi::{
    SmfConcrete, SmfDeferred, SmfTakenReloc, smf_jit_close, smf_jit_instantiate, smf_jit_update,
    smf_loader_close, smf_loader_hold, smf_loader_release, smf_take_all_deferred,
    smf_take_concrete, smf_take_concretes, smf_take_deferred,
};
use smf_tests::{sample, tiny};

use super::c::{load, load_jit, open_jit, open_loader, unless};
use super::{Scenario, judge};

extern "C" fn see_function(_: *const SmfConcrete, _: *const SmfTakenReloc, _: *mut c_void) -> bool {
    true
}

extern "C" fn see_template(_: *const SmfDeferred, _: *mut c_void) -> bool {
    true
}

/// Runs `act` with a loader and a module that it holds.
fn with_held(bytes: &[u8], act: impl FnOnce(u64, u64) -> i32) -> i32 {
    let loader = open_loader();
    let held = smf_loader_hold(loader, load(loader, c"held", bytes));
    assert_ne!(held, 0);
    let end = act(loader, held);
    assert!(smf_loader_release(loader, held) && smf_loader_close(loader));
    end
}

pub(super) const SCENARIOS: &[Scenario] = &[
    ("take functions out of a module", |granted| {
        let file = sample("packed.smf").bytes;
        let smf = Smf::parse(&file).unwrap();
        judge(
            granted,
            || FunctionExtractor::new(&smf),
            |all| assert!(all.iter().all(|one| one.is_ok())),
        )
    }),
    ("check a compressed module", |granted| {
        let file = sample("compressed-lz4.smf").bytes;
        let smf = Smf::parse(&file).unwrap();
        judge(granted, || smf.verify_compressed(), drop)
    }),
    ("write a module of bytecode", |granted| {
        let function = NewFunction { name: b"main", params: 0, locals: 0, code: &[1; 100] };
        judge(
            granted,
            || write_functions(&[function; 9], Flags(0)),
            |file| assert!(file.len() > 900),
        )
    }),
    ("write a note", |granted| {
        let row = smf_core::format::write::note::NewPossible {
            template: "same",
            type_args: "i64",
            mangled_name: "same$i64",
        };
        judge(granted, || write_possible(&[row; 9]), drop)
    }),
    ("write a module with an index", |granted| {
        let symbols = [b"one", b"two"].map(|name| NewSymbol { name, ..NewSymbol::default() });
        let make = || {
            let code = NewSection::code(&[0xc3; 100]);
            let index = hash_index::encode(&symbols);
            let index = index.as_deref().map_or(code, |index| hash_index::section(index));
            let (layout, header) = (Layout::Packed, Header::default());
            let sections = &[code, index];
            Module { layout, header, stub: &[], sections, symbols: &symbols }.to_vec()
        };
        judge(granted, make, drop)
    }),
    ("list what an instantiator has", |granted| {
        let jit = JitInstantiator::new(JitConfig::default(), CodeMemory::default()).unwrap();
        jit.load_smf_bytes(b"tiny", &tiny::module(host_arch(), 0).unwrap()).unwrap();
        let list = || {
            let row = jit.find_possible(b"same$i64")?;
            jit.note(b"tiny").map(|note| (row, note))
        };
        judge(granted, list, |(row, note)| {
            assert!(row.is_some_and(|row| row.template == "same") && note.is_some());
        })
    }),
    ("C: tell modules of instances", |granted| {
        let jit = open_jit();
        assert!(load_jit(jit, &tiny::module(host_arch(), 0).unwrap()));
        // SAFETY: a symbol; the second result is not requested.
        let made = unsafe { smf_jit_instantiate(jit, c"same$i64".as_ptr(), ptr::null_mut()) };
        assert_eq!(made, 0);
        let end = judge(granted, || unless(false, smf_jit_update(jit)), |_| ());
        assert!(smf_jit_close(jit));
        end
    }),
    ("C: take a function", |granted| {
        with_held(&sample("packed.smf").bytes, |loader, held| {
            let take = |name: &CStr| {
                let (size, no_bytes) = (size_of::<SmfConcrete>() as i64, ptr::null());
                let mut found = SmfConcrete {
                    size,
                    name: ptr::null(),
                    name_length: 0,
                    bytes: no_bytes,
                    length: 0,
                    offset: 0,
                    alignment: 0,
                    relocations: 0,
                    binding: 0,
                    error: 0,
                };
                // SAFETY: a name, a structure for the function, and no relocation buffer.
                unless(false, unsafe {
                    let (found, none) = (&raw mut found, ptr::null_mut());
                    smf_take_concrete(loader, held, name.as_ptr(), found, none, 0)
                })?;
                Ok::<_, super::c::Failed>(found.length)
            };
            judge(granted, || take(c"answer"), |length| assert!(length > 0))
        })
    }),
    ("C: take all functions", |granted| {
        with_held(&sample("packed.smf").bytes, |loader, held| {
            let take = || {
                // SAFETY: a visitor that uses nothing.
                let count = unsafe {
                    smf_take_concretes(loader, held, Some(see_function), ptr::null_mut())
                };
                unless(-1, count)
            };
            judge(granted, take, |count| assert!(count > 0))
        })
    }),
    ("C: take all templates", |granted| {
        let file = tiny::module(host_arch(), 0).unwrap();
        assert_eq!(templates(&Smf::parse(&file).unwrap()).unwrap().count(), 1);
        with_held(&file, |loader, held| {
            let take = || {
                // SAFETY: a name; the second result is not requested.
                unless(false, unsafe {
                    smf_take_deferred(loader, held, c"same".as_ptr(), ptr::null_mut())
                })?;
                // SAFETY: a visitor that uses nothing.
                let count = unsafe {
                    smf_take_all_deferred(loader, held, Some(see_template), ptr::null_mut())
                };
                unless(-1, count)
            };
            judge(granted, take, |count| assert_eq!(count, 1))
        })
    }),
];
