//! A module does not depend on the number of threads that write it.
#![cfg(target_arch = "x86_64")]

use std::fmt::Write as _;

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use smf_core::format::Layout;
use smf_loader::pack::{Input, Options, PackError, pack};

use crate::made::asm;

/// Enough code and data for several threads. Each part refers to the next one, and to imports.
fn parts() -> String {
    const PARTS: usize = 12;
    let mut source = String::new();
    for part in 0..PARTS {
        let next = (part + 1) % PARTS;
        write!(
            source,
            ".section .text.p{part},\"ax\",@progbits\n.globl f{part}\n.balign 64\nf{part}:\n\
             .rept 1500\ncall f{next}@PLT\nmov d{next}@GOTPCREL(%rip), %rax\ncall far{part}@PLT\n.endr\nret\n\
             .section .data.p{part},\"aw\",@progbits\n.globl d{part}\n.balign 64\nd{part}:\n\
             .rept 1500\n.quad f{next}+1, d{next}\n.endr\n"
        )
        .unwrap();
    }
    source
}

/// Packs in a thread that runs on as many processors as `of` takes from those of the process.
fn packed(object: &[u8], options: &Options<'_>, cores: usize) -> Result<Vec<u8>, PackError> {
    let all = sched_getaffinity(None).unwrap();
    let mut some = CpuSet::new();
    (0..CpuSet::MAX_CPU).filter(|cpu| all.is_set(*cpu)).take(cores).for_each(|cpu| some.set(cpu));
    let pack = || {
        sched_setaffinity(None, &some).unwrap();
        pack(&[Input { name: "a.o", data: object }], options).map(|packed| packed.bytes)
    };
    std::thread::scope(|scope| scope.spawn(pack).join().unwrap())
}

#[test]
fn module_is_the_same_for_one_and_for_several_threads() {
    let object = asm(&parts());
    let plain = Options::default();
    for options in [
        plain,
        Options { stub: b"#!/bin/sh\n", reloadable: true, ..plain },
        Options { layout: Layout::Native, ..plain },
    ] {
        let one = packed(&object, &options, 1).unwrap();
        for _ in 0..4 {
            assert!(packed(&object, &options, usize::MAX).unwrap() == one, "{options:?}");
        }
    }
}

#[test]
fn errors_are_in_the_order_of_the_input_for_one_and_for_several_threads() {
    let mut source = parts();
    // Data come last in the output, and first in the input.
    let mut first = String::new();
    for part in 0..12 {
        let section = if part % 2 == 0 { "data" } else { "text" };
        let flags = if part % 2 == 0 { "aw" } else { "ax" };
        write!(
            first,
            ".section .{section}.e{part},\"{flags}\",@progbits\n.globl e{part}\ne{part}: .word f0 - .\n.byte f0 - .\n.skip 600000\n"
        )
        .unwrap();
    }
    source.insert_str(0, &first);
    let object = asm(&source);
    let refused = |cores| {
        let error = packed(&object, &Options::default(), cores).unwrap_err();
        let PackError::Several(errors) = error else { panic!("{error}") };
        errors.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    let one = refused(1);
    assert_eq!(one.len(), 24, "{one:#?}");
    for (number, pair) in one.chunks(2).enumerate() {
        let is_here = |error: &String| error.contains(&format!(".e{number}`"));
        assert!(pair.iter().all(is_here), "{number}: {pair:?}");
    }
    (0..4).for_each(|_| assert_eq!(refused(usize::MAX), one));
}
