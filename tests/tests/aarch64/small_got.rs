//! Code of `-fpic` and `-fpie`: the page of the GOT, and loads of slots by their distance from it.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use smf_core::format::{Layout, RelocKind};

use crate::pack::{Made, reloc, try_text};
use crate::tools::{File, LAYOUTS, Loader, assembled, try_pack};

/// ADRP of the GOT, and a load of a slot.
fn load(symbol: &str) -> String {
    format!("adrp x0, _GLOBAL_OFFSET_TABLE_\nldr x0, [x0, #:gotpage_lo15:{symbol}]\n")
}

/// The symbols `v0` to `vN`, each a word of eight bytes that holds its number.
fn variables(count: usize) -> String {
    let mut text = ".data\n.balign 8\n".to_owned();
    for number in 0..count {
        writeln!(text, ".globl v{number}\nv{number}: .quad {number}").unwrap();
    }
    text
}

/// A function that adds the values of the variables from `v0` on, each with its number as factor.
fn sum(name: &str, count: usize) -> String {
    let mut text = format!(
        ".text\n.globl {name}\n{name}: adrp x1, _GLOBAL_OFFSET_TABLE_\nmov x0, #0\nmov x2, #0\n"
    );
    for number in 0..count {
        writeln!(text, "ldr x3, [x1, #:gotpage_lo15:v{number}]\nldr x3, [x3]").unwrap();
        text += "madd x0, x3, x2, x0\nadd x2, x2, #1\n";
    }
    text + "ret\n"
}

#[test]
fn slots_of_the_small_got_come_first_and_at_a_page() {
    // The address in another pair needs a slot as well, because of the load into the zero register.
    let text = format!(
        "adrp x1, :got:near\n ldr xzr, [x1, :got_lo12:near]\n bl far\n{}ldr x2, [x1, #:gotpage_lo15:value]\n ret\n\
         .globl near\nnear: ret\n.data\n.globl value\nvalue: .quad 1",
        load("other")
    );
    let Some(made) = Made::new(&text, Layout::Packed) else { return };
    let smf = made.smf();
    let got = smf.sections().named(b".got").unwrap();
    assert_eq!(got.alignment, 4096);
    let slots = made.relocs(".got").into_iter().map(|slot| (slot.0, slot.3));
    let slots: BTreeMap<_, _> = slots.collect();
    let expected = [(0, "other"), (8, ".data"), (16, ".text"), (24, "far")];
    assert_eq!(slots, expected.map(|(offset, name)| (offset, name.to_owned())).into());
    // ldr x0, [x0] and ldr x2, [x1, #8]
    assert_eq!((made.word(4), made.word(5)), (0xf940_0000, 0xf940_0422));
    let pages = made.relocs(".text").into_iter().filter(|found| found.0 == 12);
    assert_eq!(pages.collect::<Vec<_>>(), [reloc(12, RelocKind::Arm64Page21, 0, ".got")]);
}

#[test]
fn got_has_no_page_of_its_own_without_the_small_got() {
    let Some(made) = Made::new("adrp x1, :got:far\n ldr x1, [x1, :got_lo12:far]", Layout::Packed)
    else {
        return;
    };
    assert_eq!(made.smf().sections().named(b".got").unwrap().alignment, 8);
}

/// The slots of a GOT of several pages, in both layouts, and after modules are linked again, where two of them have slots.
#[test]
fn slots_behind_the_first_page_are_loaded() {
    let Some(loader) = Loader::get() else { return };
    let count = 1200;
    let expected = (0..count as i64).map(|number| number * number).sum::<i64>();
    let text = sum("all", count) + &variables(count);
    let (Some(object), Some(few)) = (assembled(&text), assembled(&sum("few", 3))) else { return };
    for layout in LAYOUTS {
        let file = File::packed(&[&object, &few], layout);
        let call = |file: &File, name| loader.call(&file.path(), name, &[], &[]);
        assert_eq!((call(&file, "all"), call(&file, "few")), (expected, 5));
        let modules = [&few, &object].map(|object| try_pack(&[object], layout).unwrap().bytes);
        for again in LAYOUTS {
            let file = File::packed(&[&modules[0], &modules[1]], again);
            assert_eq!((call(&file, "all"), call(&file, "few")), (expected, 5));
        }
    }
}

#[test]
fn more_slots_than_an_offset_of_15_bits_reaches_are_refused_by_name() {
    let text = |count| sum("go", count) + &variables(count);
    // Slots that other code loads do not count.
    let other = "adrp x0, :got:go\nldr xzr, [x0, :got_lo12:go]\nbl far\n";
    let Some(object) = assembled(&(other.to_owned() + &text(4096))) else { return };
    try_pack(&[&object], Layout::Packed).unwrap();
    let object = assembled(&text(4097)).unwrap();
    let error = try_pack(&[&object], Layout::Packed).unwrap_err().to_string();
    let expected = "a.o, section `.text`: R_AARCH64_LD64_GOTPAGE_LO15 against `v4096` needs one of the first 4096 slots \
                    of the GOT, which other symbols have; compile with -fPIC";
    assert_eq!(error, expected);
}

#[test]
fn distance_from_the_start_of_the_got_is_that_from_its_page() {
    let Some(loader) = Loader::get() else { return };
    let text = "adrp x1, _GLOBAL_OFFSET_TABLE_\nadd x1, x1, #:lo12:_GLOBAL_OFFSET_TABLE_\n\
                ldr x0, [x1, #:gotoff_lo15:other]\nldr x0, [x1, #:gotoff_lo15:value]\nldr x0, [x0]\nret\n\
                .data\n.globl value, other\nother: .quad 6\nvalue: .quad 7\n";
    for layout in LAYOUTS {
        let Some(packed) = try_text(text, layout) else { return };
        let file = File::new(&packed.unwrap().bytes);
        assert_eq!(loader.call(&file.path(), "go", &[], &[]), 7);
    }
}

#[test]
fn other_references_to_the_got_are_refused_by_name() {
    for (text, section, message) in [
        (
            "adrp x0, _GLOBAL_OFFSET_TABLE_\nldr x0, [x0, #:lo12:_GLOBAL_OFFSET_TABLE_]",
            ".text",
            "R_AARCH64_LDST64_ABS_LO12_NC against `_GLOBAL_OFFSET_TABLE_` does not compute",
        ),
        ("ldr x0, _GLOBAL_OFFSET_TABLE_", ".text", "R_AARCH64_LD_PREL_LO19 against `_GLOBAL"),
        ("bl _GLOBAL_OFFSET_TABLE_", ".text", "R_AARCH64_CALL26 against `_GLOBAL_OFFSET_TABLE_`"),
        (load("_GLOBAL_OFFSET_TABLE_").as_str(), ".text", "R_AARCH64_LD64_GOTPAGE_LO15 against"),
        (
            "nop\n.data\n.globl word\nword: .quad _GLOBAL_OFFSET_TABLE_",
            ".data",
            "R_AARCH64_ABS64 against `_GLOBAL_OFFSET_TABLE_` does not compute",
        ),
        (
            "nop\n.data\n.globl word\nword: .word _GLOBAL_OFFSET_TABLE_ - .",
            ".data",
            "R_AARCH64_PREL32 against `_GLOBAL_OFFSET_TABLE_` does not compute",
        ),
        (
            ".reloc ., R_AARCH64_LD64_GOTPAGE_LO15, go\nldr w0, [x0]",
            ".text",
            "R_AARCH64_LD64_GOTPAGE_LO15 against `go` does not match its instruction",
        ),
    ] {
        let Some(packed) = try_text(text, Layout::Packed) else { return };
        let error = packed.err().unwrap_or_else(|| panic!("{text} can be packed")).to_string();
        assert!(error.starts_with(&format!("a.o, section `{section}`: {message}")), "{error}");
    }
}
