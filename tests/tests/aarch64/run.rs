//! Execution of C and Rust programs, and calls over long distances.

use smf_core::format::write::{Module, NewSection, NewSymbol, Payload, Place};
use smf_core::format::{
    Arch, Binding, Header, Layout, Reloc, RelocKind, SectionFlags, SectionKind, SymbolKind,
};

use smf_tests::scale::scale;

use crate::tools::{File, LAYOUTS, Loader, program};

pub(crate) const C_WAYS: [&[&str]; 5] =
    [&["-O0"], &["-O2"], &["-O2", "-fPIC"], &["-O1", "-fno-pie"], &["-O1", "-fno-section-anchors"]];

/// Code of the small GOT, which the packer accepts, and the loader in whole objects does not.
const SMALL_GOT: [&[&str]; 3] = [&["-O2", "-fpic"], &["-O0", "-fpic"], &["-O1", "-fpie"]];

fn even_first_checksum(len: i64) -> i64 {
    let mut values: Vec<i64> = (0..len).map(|i| (i * 7919 + 13) % 101 - 50).collect();
    values.sort_by_key(|value| (value & 1, *value));
    values.iter().fold(0i64, |sum, value| sum.wrapping_mul(31).wrapping_add(*value))
}

/// Functions, their arguments, and their results.
pub(crate) fn calls() -> Vec<(&'static str, Vec<i64>, i64)> {
    let circle = (std::f64::consts::PI * 17.0 * 17.0 * 1000.0) as i64;
    vec![
        ("crc32_of_digits", vec![], 0xcbf4_3926),
        ("calculate", vec![2, -100, 7], -700),
        ("calculate", vec![8, 1 << 40, 5], 1 << 35),
        ("circle_in_thousandths", vec![17], circle),
        ("mirrored", vec![-1000], 525_000),
        ("sorted_checksum", vec![1000], even_first_checksum(1000)),
        ("by_table", vec![3, 100], even_first_checksum(100)),
        ("by_table", vec![0, 20], 6765),
        ("state_after", vec![3], 106 * 1_000_000 + 3 * 10_000 + 10 * 100 + 3),
        ("widths", vec![7], 6 + 9 + 4 + 11 + 15 + 29 + 12 * 1000 - 100_000 + 13 + 16),
        ("letter_of_name", vec![1, 2], i64::from(b'n')),
        ("scaled_sum", vec![4, 5], 27),
        ("sorted_digits", vec![4], 56789),
    ]
}

const PROGRAMS: [&str; 9] = [
    "crc32.c",
    "jump_table.c",
    "floats.c",
    "quicksort.c",
    "state.c",
    "driver.c",
    "widths.c",
    "caller.c",
    "callee.c",
];

/// The objects of all programs, compiled with these options; `None` without a compiler.
pub(crate) fn programs(way: &[&str]) -> Option<Vec<Vec<u8>>> {
    PROGRAMS.into_iter().chain(["libc.c"]).map(|name| program(name, way)).collect()
}

#[test]
fn programs_in_c_compute_the_expected_results() {
    let Some(loader) = Loader::get() else { return };
    let small_got = &SMALL_GOT[..scale(3, 1)];
    for way in C_WAYS[..scale(5, 2)].iter().chain(small_got) {
        let Some(objects) = programs(way) else { return };
        let objects: Vec<&[u8]> = objects.iter().map(Vec::as_slice).collect();
        for layout in LAYOUTS {
            let file = File::packed(&objects, layout);
            for (function, arguments, expected) in calls() {
                let found = loader.call(&file.path(), function, &arguments, &["--host-symbols"]);
                assert_eq!(found, expected, "{way:?} {} {function} {arguments:?}", layout.name());
            }
        }
    }
}

#[test]
fn programs_in_rust_compute_the_expected_results() {
    let Some(loader) = Loader::get() else { return };
    for level in ["-Copt-level=0", "-Copt-level=2"] {
        for (source, function, arguments, expected) in [
            ("crc32.rs", "crc32_of_digits", &[][..], 0xcbf4_3926),
            ("jump_table.rs", "calculate", &[2, -100, 7], -700),
            ("floats.rs", "mirrored", &[-1000], 525_000),
            ("state.rs", "bump", &[5], 105),
        ] {
            let checks = ["-Coverflow-checks=off", "-Cdebug-assertions=off"];
            let Some(object) = program(source, &[&[level], &checks[..]].concat()) else { return };
            for layout in LAYOUTS {
                let file = File::packed(&[&object], layout);
                assert_eq!(
                    loader.call(&file.path(), function, arguments, &[]),
                    expected,
                    "{source}"
                );
            }
        }
    }
}

#[test]
fn modules_import_functions_and_data_of_each_other() {
    let Some(loader) = Loader::get() else { return };
    let objects = |pic| ["caller.c", "callee.c"].map(|name| program(name, &["-O2", pic]));
    let pairs = [("-fPIC", 0, 0), ("-fPIC", 0, 1), ("-fPIC", 1, 0), ("-fPIC", 1, 1)];
    for (pic, one, other) in pairs.into_iter().chain([("-fpic", 0, 0), ("-fpic", 1, 1)]) {
        let [Some(caller), Some(callee)] = objects(pic) else { return };
        let caller = File::packed(&[&caller], LAYOUTS[one]);
        let callee = File::packed(&[&callee], LAYOUTS[other]);
        let callee_path = callee.path();
        let call = |function, arguments: &[i64]| {
            let with = ["--with", callee_path.to_str().unwrap()];
            loader.call(&caller.path(), function, arguments, &with)
        };
        assert_eq!(call("scaled_sum", &[4, 5]), 27);
        assert_eq!(call("set_scale", &[9]), 3);
        assert_eq!(call("letter_of_name", &[0, 1]), i64::from(b'a'));
    }
}

/// A section of a hand-built module.
fn section<'a>(kind: SectionKind, name: &'a [u8], payload: Payload<'a>) -> NewSection<'a> {
    let flags = SectionFlags(SectionFlags::READ);
    NewSection { kind, name, flags, alignment: 16, virtual_size: None, payload }
}

/// A native module of these instructions, with relocations for some of them against `far`, followed by so many zero
/// bytes that no branch reaches across.
fn spread_out(words: &[u32], relocs: &[(u64, RelocKind)], far: Place) -> Vec<u8> {
    let code: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    let reloc = |&(offset, kind): &(u64, _)| Reloc { offset, symbol: 1, kind, addend: 0 };
    let relocs: Vec<Reloc> = relocs.iter().map(reloc).collect();
    let mut sections = vec![
        section(SectionKind::Code, b".text", Payload::Bytes(&code)),
        section(SectionKind::Bss, b".bss", Payload::Bytes(&[])),
        section(SectionKind::Reloc, b".rela", Payload::Relocs(&relocs)),
    ];
    sections[1].virtual_size = Some(200 << 20);
    let function = |name: &'static [u8], place, value| NewSymbol {
        name,
        kind: SymbolKind::Function,
        binding: Binding::Global,
        place,
        value,
        visibility: u8::from(place != Place::Import),
        ..NewSymbol::default()
    };
    let own: &[u8] = if far == Place::Import { b"call" } else { b"pad" };
    let symbols =
        [function(own, Place::Section(0), 0), function(b"distance", Place::Section(0), 16)];
    let symbols = [symbols[0], function(b"far", far, 0), symbols[1]];
    let count = if far == Place::Import { 3 } else { 2 };
    let header = Header { arch: Arch::AARCH64, ..Header::default() };
    let (layout, symbols) = (Layout::Native, &symbols[..count]);
    Module { layout, header, stub: &[], sections: &sections, symbols }.to_vec().unwrap()
}

#[test]
fn branch_out_of_reach_goes_through_a_veneer() {
    let Some(loader) = Loader::get() else { return };
    let caller = spread_out(
        &[
            0xa9bf_7bfd, // stp x29, x30, [sp, #-16]!
            0x9400_0000, // bl far
            0xa8c1_7bfd, // ldp x29, x30, [sp], #16
            0x1400_0000, // b far
            0x9000_0000, // adrp x0, slot of far
            0xf940_0000, // ldr x0, [x0, slot of far]
            0x1000_0001, // adr x1, .
            0xcb01_0000, // sub x0, x0, x1
            0xd65f_03c0, // ret
        ],
        &[
            (4, RelocKind::Arm64Branch26),
            (12, RelocKind::Arm64Branch26),
            (16, RelocKind::Arm64GotLoadPage21),
            (20, RelocKind::Arm64GotLoadPageOff12),
        ],
        Place::Import,
    );
    // add x0, x0, x0, lsl #1; ret
    let callee = spread_out(&[0x8b00_0400, 0xd65f_03c0], &[], Place::Section(0));
    let (caller, callee) = (File::new(&caller), File::new(&callee));
    let callee = callee.path();
    let with = ["--with", callee.to_str().unwrap()];
    // Three times three, by a call and by a jump.
    assert_eq!(loader.call(&caller.path(), "call", &[14], &with), 9 * 14);
    let distance = loader.call(&caller.path(), "distance", &[], &with);
    assert!(distance.unsigned_abs() > 1 << 27, "{distance:#x} is in reach");
}
