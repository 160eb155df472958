//! Equal strings and constants of several objects are in the module once.
#![allow(unsafe_code)]

use smf_core::link::{Image, NoImports};
use smf_core::trap::call;
use smf_loader::pack::Options;

use crate::made::{Made, asm, c, try_pack};

/// Strings in code and in tables, wide strings and constants, each in both parts and some in one.
fn part(name: &str, other: &str) -> String {
    format!(
        r#"
        static const char *const table[] = {{"shared string", "only {name}", "shared string too", "{other}"}};
        static const char *direct(int i) {{ return i ? "shared string" : "only {name} in code"; }}
        static const __WCHAR_TYPE__ *wide(int i) {{ return i ? L"wide" : L"wide {name}"; }}
        long {name}_text(long i, long at) {{ return ((const char *const volatile *)table)[i][at]; }}
        const void *{name}_table(long i) {{ return ((const char *const volatile *)table)[i]; }}
        const void *{name}_direct(long i) {{ return direct(i); }}
        long {name}_letter(long i, long at) {{ return direct(i)[at]; }}
        const void *{name}_wide(long i) {{ return wide(i); }}
        long {name}_scaled(long x) {{ return (long)((double)x * 1.25 + 3.5); }}
        "#
    )
}

fn run(made: &Made, name: &str, args: &[i64]) -> i64 {
    let smf = made.smf();
    let module = Image::map(&smf).unwrap().link(&NoImports).unwrap();
    let base = module.symbol(b"one_text").unwrap() as i64;
    let address = module.function(name.as_bytes()).unwrap();
    // SAFETY: the functions take integers, as many as are passed, and return an integer or an address; the module lives until
    // the end of the block.
    let result = unsafe { call(address, args) }.unwrap();
    // Addresses count from a function, so that those of several loads compare.
    if ["_table", "_direct", "_wide"].iter().any(|end| name.ends_with(end)) {
        result - base
    } else {
        result
    }
}

#[test]
fn strings_of_several_objects_are_shared() {
    for flags in [&["-O1"][..], &["-O2"], &["-O2", "-fPIC"], &["-O2", "-fPIC", "-g"]] {
        let [one, two] = [part("one", "end"), part("two", "fin")].map(|source| c(&source, flags));
        let options = Options { debug_info: flags.contains(&"-g"), ..Options::default() };
        let made = try_pack(&[("a.o", &one), ("b.o", &two)], &options).unwrap();
        let data = made.section(".rodata").data;
        let count = |text: &[u8]| data.windows(text.len()).filter(|found| *found == text).count();
        assert_eq!((count(b"shared string\0"), count(b"shared string too\0")), (1, 1), "{flags:?}");
        assert_eq!((count(b"only one\0"), count(b"only two\0"), count(b"fin\0")), (1, 1, 1));
        let at = |name: &str, i| run(&made, name, &[i]);
        assert_eq!(at("one_direct", 1), at("two_direct", 1), "{flags:?}");
        assert_eq!(at("one_table", 0), at("two_table", 0));
        assert_eq!(at("one_table", 0), at("one_direct", 1));
        assert_eq!(at("one_wide", 1), at("two_wide", 1));
        assert_ne!(at("one_wide", 0), at("two_wide", 0));
        for (i, text) in
            ["shared string", "only two", "shared string too", "fin"].iter().enumerate()
        {
            for (at, letter) in text.bytes().chain([0]).enumerate() {
                let args = [i as i64, at as i64];
                assert_eq!(
                    run(&made, "two_text", &args),
                    i64::from(letter),
                    "{text} {at} {flags:?}"
                );
            }
        }
        for (at, letter) in "only two in code".bytes().enumerate() {
            assert_eq!(run(&made, "two_letter", &[0, at as i64]), i64::from(letter));
        }
        assert_eq!((run(&made, "one_scaled", &[10]), run(&made, "two_scaled", &[6])), (16, 11));
    }
}

/// A string that an object needs at a multiple of 16 is not one that another object has elsewhere.
#[test]
fn alignment_of_merged_pieces_is_kept() {
    let object = |name: &str, alignment: u32| {
        asm(&format!(
            ".section .rodata.str,\"aMS\",%progbits,1\n.balign {alignment}\n.string \"x\"\n.balign {alignment}\nlocal: .string \"same\"
            .data\n.balign 8\n.globl {name}\n{name}: .quad local, .rodata.str + {alignment}\n"
        ))
    };
    let (one, two, three) = (object("one", 1), object("two", 16), object("three", 16));
    let made =
        try_pack(&[("a.o", &one), ("b.o", &two), ("c.o", &three)], &Options::default()).unwrap();
    let smf = made.smf();
    let module = Image::map(&smf).unwrap().link(&NoImports).unwrap();
    let places = [&b"one"[..], b"two", b"three"].map(|name| {
        let address = module.symbol(name).unwrap() as usize;
        // SAFETY: the symbol denotes two addresses in loaded data.
        unsafe { std::ptr::with_exposed_provenance::<[u64; 2]>(address).read() }
    });
    assert!(places[1][0].is_multiple_of(16) && places[1] == places[2]);
    assert_eq!(places[1][0], places[1][1]);
    assert_ne!(places[0][0], places[1][0]);
    // SAFETY: the address is that of four letters in loaded constants.
    let text =
        unsafe { std::ptr::with_exposed_provenance::<[u8; 5]>(places[0][0] as usize).read() };
    assert_eq!(&text, b"same\0");
}

/// A section whose last string has no end is copied as it is.
#[test]
fn malformed_mergeable_sections_are_copied() {
    for (flags, size, text) in [("aMS", 1, ".ascii \"abc\""), ("aMS", 2, ".ascii \"abcd\"")] {
        let source = format!(
            ".section .rodata.part,\"{flags}\",%progbits,{size}\n{text}\n.data\n.globl d\nd: .quad .rodata.part + 2\n"
        );
        let object = asm(&source);
        let made = try_pack(
            &[
                ("a.o", &object),
                ("b.o", &asm(&source.replace("d:", "e:").replace("globl d", "globl e"))),
            ],
            &Options::default(),
        )
        .unwrap();
        let count = made.section(".rodata").data.windows(3).filter(|found| found == b"abc").count();
        assert_eq!(count, 2, "{flags} {size}");
    }
}
