//! `smf run` with symbols of the process and of its libraries.

use std::fs;

use smf_core::format::write::{Module, NewSection, NewSymbol, Payload, Place};
use smf_core::format::{Header, Layout, Reloc, RelocKind, SectionFlags, SectionKind};

use super::{contains, fails, ok, scratch};

/// A module whose function `f` calls the import `callee` with its argument.
fn calls(callee: &str) -> Vec<u8> {
    const CODE: [u8; 14] = [0x48, 0x83, 0xec, 8, 0xe8, 0, 0, 0, 0, 0x48, 0x83, 0xc4, 8, 0xc3];
    let relocs = [Reloc { offset: 5, symbol: 1, kind: RelocKind::Plt32, addend: -4 }];
    let section = |kind, name, payload| NewSection {
        kind,
        name,
        flags: SectionFlags(SectionFlags::READ | SectionFlags::EXECUTE),
        alignment: 16,
        virtual_size: None,
        payload,
    };
    let symbol = |name, place| NewSymbol { name, place, ..NewSymbol::default() };
    let module = Module {
        layout: Layout::Packed,
        header: Header::default(),
        stub: &[],
        sections: &[
            section(SectionKind::Code, b".text", Payload::Bytes(&CODE)),
            section(SectionKind::Reloc, b".rela", Payload::Relocs(&relocs)),
        ],
        symbols: &[symbol(b"f", Place::Section(0)), symbol(callee.as_bytes(), Place::Import)],
    };
    module.to_vec().unwrap()
}

fn file(test: &str, callee: &str) -> String {
    let path = scratch(test).join("calls.smf");
    fs::write(&path, calls(callee)).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn host_symbols_resolve_remaining_imports() {
    let file = file("libc", "labs");
    assert_eq!(ok(&["run", &file, "f", "-5", "--host-symbols"]), "5\n");
    contains(&fails(&["run", &file, "f", "-5"]), &["`labs`"]);
    contains(&fails(&["run", &file, "--host-symbols"]), &["no entry point", "exports f"]);
}

#[test]
fn host_library_resolves_remaining_imports() {
    let file = file("libm", "fegetround");
    assert_eq!(ok(&["run", &file, "f", "--host-library", "m"]), "0\n");
}

#[test]
fn output_of_c_code_precedes_the_result() {
    let file = file("stdio", "putchar");
    assert_eq!(ok(&["run", &file, "f", "65", "--host-symbols"]), "A65\n");
}
