//! Thread-local storage with each access model.

use std::path::Path;

use smf_core::format::Layout;

use crate::standard::Host;
use crate::tools::{File, LAYOUTS, Loader, assembled, compiled, try_pack};

const MODELS: [&[&str]; 6] = [
    // TLS descriptors, the default.
    &["-fPIC"],
    &["-fpic"],
    &["-fPIC", "-mtls-dialect=trad"],
    &["-fPIC", "-mtls-dialect=trad", "-ftls-model=local-dynamic"],
    // The static storage of the system's loader has the alignment of the libraries that a program starts with.
    &["-fPIC", "-ftls-model=initial-exec", "-DALIGNMENT=16"],
    // Local exec.
    &["-fPIE", "-DALIGNMENT=16"],
];

fn storage(flags: &[&str]) -> Option<Vec<u8>> {
    let directory = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/thread_local"));
    compiled(&directory.join("storage.c"), flags)
}

#[test]
fn every_access_model_has_storage_in_every_thread() {
    let Some(loader) = Loader::get() else { return };
    for level in ["-O0", "-O2"] {
        for model in MODELS {
            let Some(object) = storage(&[&[level, "-ffp-contract=off"], model].concat()) else {
                return;
            };
            for layout in LAYOUTS {
                println!("{level} {model:?} {}", layout.name());
                let file = File::packed(&[&object], layout);
                let call = |name: &str, arguments: &[i64]| {
                    loader.call(&file.path(), name, arguments, &["--host-symbols"])
                };
                assert_eq!((call("check_threads", &[]), call("bump", &[])), (0, 4));
                assert_eq!(call("mixed_bits", &[50]), mixed(50));
            }
        }
    }
}

#[test]
fn program_in_c_has_storage_with_every_access_model() {
    let Some(loader) = Loader::get() else { return };
    let host = Host::new(loader);
    for model in MODELS {
        let Some(object) = storage(&[&["-O2", "-ffp-contract=off"], model].concat()) else {
            return;
        };
        let file = File::packed(&[&object], Layout::Packed);
        host.check(&[&file], ("check_threads", 0), ["", ""], 0);
    }
}

/// The value of `mixed_bits` by the same arithmetic.
fn mixed(n: i64) -> i64 {
    let (mut a, mut b, mut c, mut d) = (1.5f64, 2.5f64, 3.5f64, 4.5f64);
    let (mut e, mut f, mut g, mut h, mut i) = (1i64, 2i64, 3i64, 4i64, 5i64);
    let mut zeroes = [0i64; 16];
    for round in 0..n {
        let zero = &mut zeroes[(round % 16) as usize];
        *zero += round;
        a += b * c - d;
        b += 0.25;
        c += 0.5;
        d += a;
        e = e.wrapping_add(f ^ g);
        f = f.wrapping_add(h.wrapping_mul(i));
        g = g.wrapping_add(e);
        h ^= f;
        i = i.wrapping_add(*zero);
    }
    let sum = e.wrapping_add(f).wrapping_add(g).wrapping_add(h).wrapping_add(i) & 0xffff;
    (a + b + c + d + sum as f64).to_bits().cast_signed()
}

#[test]
fn other_forms_of_local_exec_are_refused_with_the_remedy() {
    for size in ["-mtls-size=12", "-mtls-size=32", "-mtls-size=48"] {
        let Some(object) = storage(&["-O2", "-fPIE", size]) else { return };
        let error = try_pack(&[&object], Layout::Packed).unwrap_err().to_string();
        let is_named = error.contains("R_AARCH64_TLSLE_") && error.contains("compile with -fPIC");
        assert!(is_named, "{size}: {error}");
    }
}

/// Offsets in loads and stores, and an instruction without the operand that its relocation names.
#[test]
fn local_exec_operands_are_those_of_their_instructions() {
    let Some(loader) = Loader::get() else { return };
    let text = |load: &str| {
        format!(
            ".text\n.globl go\ngo: mrs x1, tpidr_el0\nadd x1, x1, #:tprel_hi12:value, lsl #12\n{load}\nret\n\
             .section .tdata,\"awT\",@progbits\n.balign 16\n.quad 9, 9\nvalue: .quad 42, 43\n"
        )
    };
    for load in [
        "ldrb w0, [x1, #:tprel_lo12_nc:value]",
        "ldrh w0, [x1, #:tprel_lo12_nc:value]",
        "ldr w0, [x1, #:tprel_lo12_nc:value]",
        "ldr x0, [x1, #:tprel_lo12_nc:value]",
        "add x1, x1, #:tprel_lo12_nc:value\nldr x0, [x1]",
    ] {
        let Some(object) = assembled(&text(load)) else { return };
        for layout in LAYOUTS {
            let file = File::packed(&[&object], layout);
            assert_eq!(loader.call(&file.path(), "go", &[], &[]), 42, "{load}");
        }
    }
    let swapped = "nop\n.reloc . - 4, R_AARCH64_TLSLE_ADD_TPREL_LO12_NC, value";
    let object = assembled(&text(swapped)).unwrap();
    let error = try_pack(&[&object], Layout::Packed).unwrap_err().to_string();
    assert!(error.contains("does not match its instruction"), "{error}");
}

/// Local dynamic as clang emits it: the address of the storage of the module, and an offset of 24 bits in it.
#[test]
fn local_dynamic_code_adds_offsets_to_the_storage_of_the_module() {
    let Some(loader) = Loader::get() else { return };
    let text = |symbol: &str| {
        format!(
            ".text\n.globl go\ngo: stp x29, x30, [sp, #-16]!\nadrp x0, :tlsldm:first\n\
             add x0, x0, #:tlsldm_lo12_nc:first\nbl __tls_get_addr\nadd x0, x0, #:dtprel_hi12:{symbol}, lsl #12\n\
             add x0, x0, #:dtprel_lo12_nc:{symbol}\nldr x0, [x0]\nldp x29, x30, [sp], #16\nret\n\
             .section .tdata,\"awT\",@progbits\n.balign 16\nfirst: .quad 9\n.space 0x5000\nvalue: .quad 42\n"
        )
    };
    let Some(object) = assembled(&text("value")) else { return };
    for layout in LAYOUTS {
        let file = File::packed(&[&object], layout);
        assert_eq!(loader.call(&file.path(), "go", &[], &["--host-symbols"]), 42);
    }
    let object = assembled(&text("elsewhere")).unwrap();
    let error = try_pack(&[&object], Layout::Packed).unwrap_err().to_string();
    assert!(error.contains("against `elsewhere` is imported, and local dynamic code"), "{error}");
}

/// Modules with local-exec code are linked again: their storage is behind that of another module.
#[test]
fn modules_with_local_exec_code_are_linked() {
    let Some(loader) = Loader::get() else { return };
    let Some(object) = storage(&["-O2", "-fPIE", "-DALIGNMENT=16"]) else { return };
    let other = ".section .tdata,\"awT\",@progbits\n.balign 16\n.globl first\nfirst: .quad 1, 2, 3\n\
                 .text\n.globl get\nget: mrs x0, tpidr_el0\nadd x0, x0, #:tprel_hi12:first, lsl #12\n\
                 ldr x0, [x0, #:tprel_lo12_nc:first]\nret\n";
    let Some(other) = assembled(other) else { return };
    for (layouts, layout) in [(LAYOUTS, Layout::Packed), ([Layout::Packed; 2], Layout::Native)] {
        let module = |object: &[u8], layout| try_pack(&[object], layout).unwrap().bytes;
        let inputs = [module(&other, layouts[0]), module(&object, layouts[1])];
        let file = File::packed(&[&inputs[0], &inputs[1]], layout);
        let call = |name: &str| loader.call(&file.path(), name, &[], &["--host-symbols"]);
        assert_eq!((call("check_threads"), call("bump"), call("get")), (0, 4, 1));
    }
}

/// Modules that import thread-local symbols from each other, as two modules and as one.
#[test]
fn modules_share_storage_with_every_access_model() {
    let Some(loader) = Loader::get() else { return };
    let directory = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/thread_local"));
    let object = |name: &str, flags: &[&str]| {
        let module = try_pack(&[&compiled(&directory.join(name), flags)?], Layout::Packed);
        Some(module.unwrap().bytes)
    };
    let models: [&[&str]; 4] = [
        &["-O2", "-fPIC"],
        &["-O2", "-fPIC", "-mtls-dialect=trad"],
        &["-O2", "-fPIC", "-ftls-model=initial-exec"],
        // Initial exec, the default for symbols of others.
        &["-O2", "-fPIE"],
    ];
    for (number, of_user) in models.into_iter().enumerate() {
        let Some(definer) = object("definer.c", models[(number + 1) % 4]) else { return };
        let user = object("user.c", of_user).unwrap();
        let merged = File::packed(&[&user, &definer], Layout::Packed);
        let [user, definer] = [&user, &definer].map(|module| File::new(module));
        let with = definer.path();
        let both = ["--host-symbols", "--with", with.to_str().unwrap()];
        assert_eq!(loader.call(&user.path(), "check", &[], &both), 0, "{of_user:?}");
        assert_eq!(loader.call(&merged.path(), "check", &[], &both[..1]), 0, "{of_user:?}");
    }
}
