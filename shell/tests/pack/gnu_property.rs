//! The properties of the inputs combined, against those that GNU ld and lld make of the same objects.

use std::process::Command;

use smf_core::format::Layout;
use smf_core::format::ext::gnu_property::Properties;
use smf_loader::pack::Options;

use crate::made::{Made, Scratch, asm, c, linked, refusal, try_pack};
use crate::skip::lacks;

/// x86-64: bits that hold for all, bits that are needed, bits that are used.
const FEATURE_1_AND: u32 = 0xc000_0002;
const ISA_1_NEEDED: u32 = 0xc000_8002;
const ISA_1_USED: u32 = 0xc001_0002;

/// An object that exports `name` and has these properties, in notes of their own.
fn object(name: &str, notes: &[&[(u32, u32)]]) -> Vec<u8> {
    let mut source = format!(".text\n.globl {name}\n{name}: ret\n");
    source.push_str(".section .note.gnu.property, \"a\", @note\n.p2align 3\n");
    for note in notes {
        source.push_str(&format!(".long 4, {}, 5\n.asciz \"GNU\"\n", note.len() * 16));
        for (kind, value) in *note {
            source.push_str(&format!(".long {kind:#x}, 4, {value:#x}, 0\n"));
        }
    }
    asm(&source)
}

/// The types and values in a module.
fn properties(made: &Made) -> Vec<(u32, u32)> {
    let properties = Properties::of(&made.smf()).unwrap().into_iter().flatten().flatten();
    properties.map(|property| (property.kind, property.number().unwrap())).collect()
}

/// The types and values in a shared object that `linker` makes of the objects; `None` without that linker.
fn oracle(linker: &str, objects: &[(&str, &[u8])]) -> Option<Vec<(u32, u32)>> {
    Command::new(linker).arg("--version").output().ok()?;
    let scratch = Scratch::new();
    for (name, data) in objects {
        std::fs::write(scratch.path(name), data).unwrap();
    }
    let names = objects.iter().map(|(name, _)| scratch.path(name));
    let out = scratch.path("out.so");
    let output = Command::new(linker).args(["-shared", "-o"]).arg(&out).args(names).output();
    let output = output.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let file = std::fs::read(&out).unwrap();
    let word = |at: usize| u64::from_le_bytes(file[at..at + 8].try_into().unwrap()) as usize;
    let half = |at: usize| u32::from_le_bytes(file[at..at + 4].try_into().unwrap());
    let count = usize::from(u16::from_le_bytes([file[60], file[61]]));
    let header_of = |index: usize| word(40) + index * 64;
    let names = word(header_of(usize::from(u16::from_le_bytes([file[62], file[63]]))) + 24);
    let mut notes = (0..count).map(header_of).filter(|header| {
        let name = &file[names + half(*header) as usize..];
        name.starts_with(b".note.gnu.property\0")
    });
    let contents = notes.next().map(|header| (word(header + 24), word(header + 32)));
    let contents = contents.map_or(&[][..], |(at, size)| &file[at..at + size]);
    // The note is one of `object`'s form.
    let rows = contents.get(16..).unwrap_or_default().chunks(16);
    let value = |row: &[u8], at: usize| u32::from_le_bytes(row[at..at + 4].try_into().unwrap());
    Some(rows.map(|row| (value(row, 0), value(row, 8))).collect())
}

/// Compares the properties with those that linkers make. lld knows only those that hold for all objects.
fn check(objects: &[(&str, &[u8])], expected: &[(u32, u32)]) {
    let made = linked(objects);
    assert_eq!(properties(&made), expected);
    if cfg!(target_arch = "x86_64") {
        assert_eq!(oracle("ld", objects).expect("ld is installed"), expected, "GNU ld");
        match oracle("ld.lld", objects) {
            Some(found) => {
                let for_all: Vec<_> =
                    expected.iter().copied().filter(|(kind, _)| *kind == FEATURE_1_AND).collect();
                assert_eq!(found, for_all, "lld");
            }
            None => lacks("ld.lld"),
        }
    }
}

#[test]
#[cfg(target_arch = "x86_64")]
fn properties_of_compiled_objects_are_combined_as_by_linkers() {
    let source = |name: &str| format!("int {name}(int x) {{ return x + 1; }}");
    let built = |name: &str, flags: &[&str]| c(&source(name), &[&["-fPIC"], flags].concat());
    let full = built("f", &["-fcf-protection"]);
    let branch = built("g", &["-fcf-protection=branch"]);
    let none = built("h", &["-fcf-protection=none"]);
    check(&[("f.o", &full)], &[(FEATURE_1_AND, 3)]);
    check(&[("f.o", &full), ("g.o", &branch)], &[(FEATURE_1_AND, 1)]);
    check(&[("g.o", &branch), ("f.o", &full)], &[(FEATURE_1_AND, 1)]);
    check(&[("f.o", &full), ("h.o", &none)], &[]);
    check(&[("h.o", &none), ("f.o", &full)], &[]);
    let level = built("v", &["-fcf-protection", "-march=x86-64-v3", "-mneeded"]);
    check(&[("f.o", &full), ("v.o", &level)], &[(FEATURE_1_AND, 3), (ISA_1_NEEDED, 7)]);
}

#[test]
#[cfg(target_arch = "x86_64")]
fn every_pair_of_values_is_combined_as_by_gnu_ld() {
    let kinds = [0xb000_0001, 0xb000_8001, FEATURE_1_AND, ISA_1_NEEDED, ISA_1_USED];
    let values = [None, Some(0), Some(1), Some(6)];
    let object_of = |name, value: Option<u32>| match value {
        None => asm(&format!(".text\n.globl {name}\n{name}: ret\n")),
        Some(value) => object(name, &[&kinds.map(|kind| (kind, value))]),
    };
    let (first, second) = (values.map(|v| object_of("a", v)), values.map(|v| object_of("b", v)));
    for (one, a) in values.iter().zip(&first) {
        for (other, b) in values.iter().zip(&second) {
            let objects = [("a.o", &**a), ("b.o", b)];
            let expected = oracle("ld", &objects).expect("ld is installed");
            assert_eq!(properties(&linked(&objects)), expected, "{one:?} and {other:?}");
        }
    }
}

#[test]
#[cfg(target_arch = "x86_64")]
fn input_module_contributes_its_properties() {
    let full = [(FEATURE_1_AND, 3), (ISA_1_NEEDED, 1)];
    let a = object("a", &[&full]);
    let b = object("b", &[&[(FEATURE_1_AND, 1)], &[(ISA_1_NEEDED, 4)]]);
    for layout in [Layout::Packed, Layout::Native] {
        let options = Options { layout, ..Options::default() };
        let module = try_pack(&[("a.o", &a)], &options).unwrap();
        assert_eq!(properties(&module), full);
        let made = linked(&[("a.smf", module.bytes()), ("b.o", &b)]);
        assert_eq!(properties(&made), [(FEATURE_1_AND, 1), (ISA_1_NEEDED, 5)]);
        let without = linked(&[("b.o", &asm(".text\n.globl b\nb: ret\n"))]);
        let made = linked(&[("a.smf", module.bytes()), ("b.smf", without.bytes())]);
        assert_eq!(properties(&made), [(ISA_1_NEEDED, 1)]);
    }
}

#[test]
#[cfg(target_arch = "x86_64")]
fn malformed_note_is_refused_with_object_section_and_offset() {
    let note = |text: &str| {
        asm(&format!(
            ".text\n.globl a\na: ret\n.section .note.gnu.property, \"a\", @note\n.p2align 3\n{text}"
        ))
    };
    let place = "a.o, section `.note.gnu.property`: ";
    for (text, reason) in [
        (".long 4, 16\n", "a property note extends past the end of the section, at offset 0x0"),
        (
            ".long 4, 12, 5\n.asciz \"GNU\"\n.long 0xc0000002, 4, 3\n",
            "the size of a property note is not a multiple of 8, at offset 0x0",
        ),
        (
            ".long 4, 16, 5\n.asciz \"GNU\"\n.long 0xc0000002, 9, 3, 0\n",
            "a property extends past the end of its note, at offset 0x10",
        ),
        (
            ".long 4, 16, 5\n.asciz \"GNU\"\n.long 0xc0000002, 8, 3, 0\n",
            "the value of a property has a size other than 4 bytes, at offset 0x10",
        ),
    ] {
        assert_eq!(refusal(&note(text)), format!("{place}{reason}"));
    }
}
