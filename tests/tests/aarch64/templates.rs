//! Instances of templates: bodies precompiled for both instruction sets, and IR.

use std::fs;

use smf_core::format::template::{Container, Template};
use smf_core::format::write::note::NewPossible;
use smf_core::format::write::{NewTemplates, write_templates};
use smf_core::format::{Arch, RelocKind};
use smf_core::ir::text::parse;
use smf_core::templates::{PrecompiledReloc, Variant, encode_precompiled};
use smf_tests::compile::scratch;

use crate::tools::Loader;

/// Instructions, as bytes.
fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

/// Code for x86-64 and aarch64. The code for x86-64 returns a wrong number, which would show its use.
fn ready(code: &[u8], relocations: &[PrecompiledReloc<'_>]) -> Vec<u8> {
    let wrong = [0xb8, 13, 0, 0, 0, 0xc3];
    encode_precompiled(&[
        Variant { arch: Arch::X86_64, arguments: &[], code: &wrong, relocations: &[] },
        Variant { arch: Arch::AARCH64, arguments: &[], code, relocations },
    ])
    .unwrap()
}

#[test]
fn precompiled_bodies_and_ir_bodies_run() {
    let Some(loader) = Loader::get() else { return };
    // add x0, x0, x1; ret
    let add = ready(&words(&[0x8b01_0000, 0xd65f_03c0]), &[]);
    // b add$i64, and the address of itself out of a slot: adrp x0; ldr x0, [x0]; cmp x0, #0; cset x0, ne; ret
    let reloc = |offset, kind, symbol| PrecompiledReloc { offset, kind, symbol, addend: 0 };
    let tail = ready(&words(&[0x1400_0000]), &[reloc(0, RelocKind::Arm64Branch26, b"add$i64")]);
    let slot = [
        reloc(0, RelocKind::Arm64GotLoadPage21, &b"add$i64"[..]),
        reloc(4, RelocKind::Arm64GotLoadPageOff12, b"add$i64"),
    ];
    let there = [0x9000_0000, 0xf940_0000, 0xf100_001f, 0x9a9f_07e0, 0xd65f_03c0];
    let there = ready(&words(&there), &slot);
    let text = "template ir<T>(a: T, b: T) -> T\ncall a = half<T>(a, b)\nadd T a, a, 1\nreturn T a\nend\n\
                template half<T>(a: T, b: T) -> T\ndiv T a, a, b\nreturn T a\nend\n";
    let [ir, half] =
        parse(text).unwrap().try_into().map(|[ir, half]: [_; 2]| [ir.body, half.body]).unwrap();
    let bodies = [("add", &add), ("tail", &tail), ("there", &there), ("ir", &ir), ("half", &half)];
    let templates = bodies.map(|(name, body)| Template {
        name: name.as_bytes(),
        kind: None,
        params: 0,
        constraints: Default::default(),
        body,
    });
    let symbols = bodies.map(|(name, _)| format!("{name}$i64"));
    let rows: Vec<_> = bodies
        .iter()
        .zip(&symbols)
        .map(|((template, _), symbol)| NewPossible {
            template,
            type_args: "i64",
            mangled_name: symbol,
        })
        .collect();
    let all = NewTemplates { container: Container::Counted, templates: &templates };
    let directory = scratch();
    let file = directory.path().join("templates.smf");
    fs::write(&file, write_templates(&all, &rows).unwrap()).unwrap();
    let file = file.to_str().unwrap();
    for (symbol, arguments, expected) in [
        ("add$i64", &["40", "2"][..], "42\n"),
        ("tail$i64", &["-40", "-2"], "-42\n"),
        ("there$i64", &[], "1\n"),
        ("ir$i64", &["-85", "2"], "-41\n"),
    ] {
        let all = [&["jit", file, symbol], arguments, &["--update", "--keep-code"]].concat();
        let (done, out, told) = loader.says(&all);
        assert!(done && out == expected, "{symbol}: {out} {told}");
    }
    // The trap is reported by the call, and the code that was written to the note is used again.
    for _ in 0..2 {
        let (done, _, told) = loader.says(&["jit", file, "ir$i64", "7", "0"]);
        assert!(!done && told.contains("division by zero"), "{told}");
    }
    let (_, shown, _) = loader.says(&["templates", file]);
    assert!(shown.contains("tail$i64: tail of i64, jit_compiled\n"), "{shown}");
}
