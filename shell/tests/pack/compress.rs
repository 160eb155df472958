//! Modules with compressed sections.
#![allow(unsafe_code)]

use smf_core::format::error::ExtensionError;
use smf_core::format::write::convert::{convert, without_stub};
use smf_core::format::{Compression, FormatError, Layout, SectionKind, Smf};
use smf_core::link::{Image, NoImports};

use smf_core::trap::call;
use smf_loader::pack::{Algorithm, Options};

use crate::made::{Made, c, try_pack, with_relocs};

const BOTH: [(Algorithm, Compression); 2] =
    [(Algorithm::Zstd, Compression::ZSTD), (Algorithm::Lz4, Compression::LZ4)];

/// Compressible tables, some with addresses, a switch with a prelinked table of distances in constants, and
/// zeroes behind the data.
const PROGRAM: &str = "
    #define R4(x) x, x + 1, x + 2, x + 3
    #define R16(x) R4(x), R4(x), R4(x), R4(x)
    #define R64(x) R16(x), R16(x), R16(x), R16(x)
    #define R256(x) R64(x), R64(x), R64(x), R64(x)
    static const long constants[] = {R256(1), R256(5), R256(100)};
    long variables[] = {R256(7), R256(9)};
    static long zeroes[100];
    static const char *const names[] = {\"zero\", \"one\", \"two\", \"three\", \"four\", \"five\",
        \"six\", \"seven\", \"eight\", \"nine\", \"ten\", \"zero\", \"one\", \"two\", \"three\", \"four\"};
    long constant(long at) { return constants[at]; }
    long bump(long at) { return ++variables[at] + ++zeroes[at % 100]; }
    long letter(long name, long at) { return names[name][at]; }
    long *where(void) { return variables; }
    long choose(long n) { switch (n) {
        case 0: return constant(3); case 1: return bump(4); case 2: return letter(1, 1);
        case 3: return 33; case 4: return bump(1) + 4; case 5: return zeroes[5] + 55;
        case 6: return constant(6) * 2; case 7: return letter(2, 2); default: return -1; } }
";

fn made(layout: Layout, compress: Option<Algorithm>, flags: &[&str]) -> Made {
    let options = Options { layout, compress, ..with_relocs() };
    try_pack(&[("a.o", &c(PROGRAM, flags))], &options).unwrap_or_else(|error| panic!("{error}"))
}

/// The results of the program's functions.
fn results(smf: &Smf<'_>) -> Vec<i64> {
    let module = Image::map(smf).unwrap().link(&NoImports).unwrap();
    let run = |name: &str, args: &[i64]| {
        let address = module.function(name.as_bytes()).unwrap();
        // SAFETY: the functions take integers, as many as are passed, and return one; the module
        // lives until the end of the block.
        unsafe { call(address, args) }.unwrap()
    };
    let mut found = Vec::new();
    for at in [0, 1, 255, 256, 511, 511, 300] {
        found.extend([run("constant", &[at]), run("bump", &[at])]);
    }
    found.extend((0..10).map(|n| run("choose", &[n])));
    found.extend((0..16).map(|n| run("letter", &[n, 2])));
    assert_eq!(run("where", &[]), module.symbol(b"variables").unwrap().cast_signed());
    found
}

#[test]
fn compressed_module_returns_the_same_results() {
    for flags in [&["-O0"][..], &["-O2"], &["-O2", "-fPIC"], &["-O2", "-fno-pie"]] {
        for layout in [Layout::Packed, Layout::Native] {
            if layout == Layout::Native && flags.contains(&"-fno-pie") {
                // 32-bit addresses, which the native layout does not have.
                continue;
            }
            let plain = made(layout, None, flags);
            let expected = results(&plain.smf());
            for (algorithm, compression) in BOTH {
                let made = made(layout, Some(algorithm), flags);
                let smf = made.smf();
                smf.verify_compressed().unwrap();
                assert_eq!(smf.header().compression, compression);
                assert_eq!(results(&smf), expected, "{flags:?}");
                assert!(made.bytes().len() < plain.bytes().len() - 5000);
            }
        }
    }
}

#[test]
fn only_sections_that_shrink_are_compressed() {
    let flags = &["-O2", "-fPIC", "-fno-asynchronous-unwind-tables"];
    for layout in [Layout::Packed, Layout::Native] {
        for (algorithm, _) in BOTH {
            let (plain, made) = (made(layout, None, flags), made(layout, Some(algorithm), flags));
            let (smf, plain) = (made.smf(), plain.smf());
            assert_eq!(smf.sections().len(), plain.sections().len());
            let mut compressed = Vec::new();
            for (section, plain) in smf.sections().iter().zip(plain.sections().iter()) {
                assert_eq!((section.name, section.kind), (plain.name, plain.kind));
                assert_eq!(section.memory_size(), plain.memory_size());
                let mut contents = smf.contents(&section).unwrap().into_owned();
                if section.is_compressed() {
                    assert!(section.size < plain.size);
                    // Zeroes that existed in memory only have become bytes.
                    let tail = contents.split_off(plain.data.len());
                    assert!(tail.iter().all(|byte| *byte == 0));
                    compressed.push(section.kind);
                }
                assert_eq!(contents, plain.data);
            }
            assert!(compressed.contains(&SectionKind::Data), "{compressed:?}");
            assert_eq!(compressed.contains(&SectionKind::RoData), layout == Layout::Packed);
            assert!(!compressed.contains(&SectionKind::Code));
        }
    }
}

/// Without unwinding tables, which shrink.
const FLAGS: &[&str] = &["-O2", "-fno-asynchronous-unwind-tables"];

#[test]
fn incompressible_section_is_stored() {
    let small = c("long f(void) { return 1; } long datum = 0x123456789abcdef;", FLAGS);
    // Too many trailing zeroes to write at every load.
    let mostly_zeroes = c("char data[100] = {1, 1, 1}; char zeroes[100000];", FLAGS);
    for (object, layout) in
        [(&small, Layout::Packed), (&small, Layout::Native), (&mostly_zeroes, Layout::Native)]
    {
        for (algorithm, _) in BOTH {
            let options = Options { layout, compress: Some(algorithm), ..Options::default() };
            let made = try_pack(&[("a.o", object)], &options).unwrap();
            assert!(made.smf().sections().iter().all(|section| !section.is_compressed()));
        }
    }
}

/// The prelinked distances of a switch table are verified against the decompressed section.
#[test]
fn prelinked_distances_in_compressed_sections_are_verified() {
    let made = made(Layout::Packed, Some(Algorithm::Lz4), &["-O2", "-fPIC"]);
    let settled = made.relocs(".rodata", true);
    assert!(!settled.is_empty() && made.section(".rodata").is_compressed());
    made.smf().verify_compressed().unwrap();
    // Damages the first of their relocations.
    let table = made.smf().reloc_tables().map(Result::unwrap).find(|table| {
        made.plan().is_prelinked(table.section.index) && table.target.name == b".rodata"
    });
    let addend = usize::try_from(table.unwrap().section.offset).unwrap() + 16;
    let mut broken = made.bytes().to_vec();
    broken[addend] ^= 1;
    let smf = Smf::parse(&broken).unwrap();
    smf.verify().unwrap();
    let error = smf.verify_compressed().unwrap_err();
    assert!(
        matches!(error, FormatError::Extension(ExtensionError::PrelinkValue { index: 0, .. })),
        "{error}"
    );
}

#[test]
fn converted_module_keeps_compressed_sections() {
    let stub = b"#!/usr/bin/env smf\n";
    for (algorithm, compression) in BOTH {
        let options = Options { stub, compress: Some(algorithm), ..Options::default() };
        let made = try_pack(&[("a.o", &c(PROGRAM, &["-O2"]))], &options).unwrap();
        let expected = results(&made.smf());
        let bare = without_stub(&made.smf()).unwrap();
        let packed = convert(&made.smf(), Layout::Packed).unwrap().bytes;
        let native = super::made::try_pack(
            &[("a.o", &c(PROGRAM, &["-O2"]))],
            &Options { layout: Layout::Native, compress: Some(algorithm), ..Options::default() },
        );
        let native = native.unwrap();
        let from_native = convert(&native.smf(), Layout::Packed).unwrap().bytes;
        let back = convert(&Smf::parse(&from_native).unwrap(), Layout::Native).unwrap().bytes;
        for file in [&bare, &packed, &from_native, &back] {
            let smf = Smf::parse(file).unwrap();
            assert_eq!(smf.header().compression, compression);
            assert!(smf.sections().iter().any(|section| section.is_compressed()));
            smf.verify_compressed().unwrap();
            assert_eq!(results(&smf), expected);
        }
    }
}

/// Sections whose ratio exceeds a reader's limit, alone or together, are stored.
#[test]
fn section_beyond_the_ratio_limit_is_stored() {
    let large = "const char zeroes[16 << 20] = {0}; long datum = 1;";
    let two = "const char zeroes[1000 << 10] = {0}; char data[1000 << 10] = {1};";
    // LZ4 compresses zeroes by at most 255, which is within both limits.
    for (source, expected) in [(large, [0, 0]), (two, [1, 2])] {
        let object = c(source, &["-O2", "-fno-zero-initialized-in-bss"]);
        for ((algorithm, _), expected) in BOTH.into_iter().zip(expected) {
            let options = Options { compress: Some(algorithm), ..Options::default() };
            let made = try_pack(&[("a.o", &object)], &options).unwrap();
            let smf = made.smf();
            smf.verify_compressed().unwrap();
            let compressed = smf.sections().iter().filter(|section| section.is_compressed());
            assert_eq!(compressed.count(), expected, "{algorithm:?} {source}");
        }
    }
}
