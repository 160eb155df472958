//! The order of code by phases.
#![allow(unsafe_code)]

use smf_core::format::layout_phase::phases;
use smf_core::format::{Layout, Phase};
use smf_core::link::{Image, NoImports};

use smf_core::trap::call;
use smf_loader::pack::{Options, PackWarning, parse_phases};

use crate::made::{Made, asm, c, packed, try_pack};

fn with_phases(object: &[u8], list: &str) -> Made {
    let list = parse_phases(list.as_bytes()).unwrap();
    let options = Options { phases: Some(&list), ..Options::default() };
    try_pack(&[("a.o", object)], &options).unwrap()
}

fn phase(made: &Made, name: &str) -> Phase {
    made.export(name).unwrap().flags.phase()
}

/// Functions of a third of a page, each in a section of its own.
fn many() -> Vec<u8> {
    let function = |number: u32| {
        format!(
            ".section .text.f{number},\"ax\"\n.globl f{number}\n.type f{number}, @function\n\
             f{number}: mov ${number}, %eax\nret\n.skip 1500, 0xcc\n.size f{number}, .-f{number}\n"
        )
    };
    asm(&(0..30).map(function).collect::<String>())
}

const LIST: &str = "f0 startup\nf10 startup\nf20 startup\nf5 cold\nf15 cold\nf25 cold\nf7 first_frame\n\
                    f17 first_frame\nf27 first_frame\nf1 steady\n";

#[test]
fn phases_are_contiguous_and_in_order() {
    let object = many();
    let (plain, sorted) = (packed(&object), with_phases(&object, LIST));
    let order = [
        "f0", "f10", "f20", "f7", "f17", "f27", "f1", "f2", "f3", "f4", "f6", "f29", "f5", "f15",
        "f25",
    ];
    let values: Vec<_> = order.iter().map(|name| sorted.place(name).1).collect();
    assert!(values.is_sorted() && values[0] == 0, "{values:?}");
    assert_eq!(phase(&sorted, "f20"), Phase::Startup);
    assert_eq!(phase(&sorted, "f7"), Phase::FirstFrame);
    assert_eq!(phase(&sorted, "f29"), Phase::Steady, "its phase is not declared");
    assert_eq!(phase(&sorted, "f25"), Phase::Cold);
    assert_eq!(sorted.warnings, []);

    // As few pages as possible, except where two phases share one.
    let spans = phases(&sorted.smf()).unwrap();
    assert_eq!(spans.map(|span| span.functions), [3, 3, 21, 3]);
    assert!(spans.iter().all(|span| span.pages <= span.pages_packed + 1), "{spans:?}");
    assert_eq!(phases(&plain.smf()).unwrap().map(|span| span.functions), [0, 0, 30, 0]);

    // The functions of each phase, regardless of order.
    let scattered = |names: [&str; 3]| {
        let pages = names.map(|name| plain.place(name).1 / 4096);
        pages.iter().collect::<std::collections::BTreeSet<_>>().len()
    };
    assert_eq!(scattered(["f0", "f10", "f20"]), 3);
    assert_eq!(spans[0].pages, 2);
}

#[test]
fn reordered_code_runs() {
    let sorted = with_phases(&many(), LIST);
    let smf = sorted.smf();
    let module = Image::map(&smf).unwrap().link(&NoImports).unwrap();
    for number in 0..30 {
        let function = module.function(format!("f{number}").as_bytes()).unwrap();
        // SAFETY: the functions take nothing and return their number, and the module is still loaded.
        assert_eq!(unsafe { call(function, &[]) }.unwrap(), number);
    }
}

/// Warm and cold code of these sizes, in bytes.
fn warm_and_cold(warm: u32, cold: u32) -> Vec<u8> {
    asm(&format!(
        ".text\n.globl warm\n.type warm, @function\nwarm: .skip {warm}, 0xc3\n.size warm, {warm}\n\
         .section .text.unlikely,\"ax\"\n.globl cold\n.type cold, @function\n\
         cold: .skip {cold}, 0xc3\n.size cold, {cold}\n"
    ))
}

#[test]
fn cold_code_starts_at_a_page_when_that_saves_one() {
    for (warm, cold, begin) in [
        (100, 100, 100),
        (4096, 100, 4096),
        // Two pages in all, or one for the cold code alone: apart there would be three.
        (5000, 100, 5000),
        // Three in all either way, of which the cold code touches two or one.
        (5000, 4096, 8192),
        (5000, 3500, 8192),
        (5000, 3192, 5000),
        (4097, 8191, 4097),
        (4097, 8192, 8192),
    ] {
        for layout in [Layout::Packed, Layout::Native] {
            let options = Options { layout, ..Options::default() };
            let made = try_pack(&[("a.o", &warm_and_cold(warm, cold))], &options).unwrap();
            assert_eq!(made.place("cold").1, begin, "{warm} {cold} {layout:?}");
            let apart = u64::from(warm.div_ceil(4096) + cold.div_ceil(4096));
            let pages = made.section(".text").size.div_ceil(4096);
            assert!(pages <= apart);
        }
    }
}

#[test]
fn stubs_precede_cold_code() {
    let source = r#"
        extern int far(void);
        int go(void) { return far() + 1; }
        __attribute__((cold)) int rare(void) { return far() + 2; }
    "#;
    let made = packed(&c(source, &["-O2", "-fPIC", "-ffunction-sections"]));
    assert_eq!(phase(&made, "rare"), Phase::Cold);
    let (_, rare) = made.place("rare");
    let size = made.export("rare").unwrap().size;
    assert_eq!(made.section(".text").size, rare + size, "nothing is behind it");
}

#[test]
fn phase_that_cannot_be_applied_causes_a_warning() {
    let source = "int one(void) { return 1; } int two(void) { return 2; }";
    let made = with_phases(&c(source, &["-O1"]), "two startup\nthree cold\n");
    let messages: Vec<_> = made.warnings.iter().map(PackWarning::to_string).collect();
    assert_eq!(
        messages,
        [
            "a.o, section `.text`: `two` has a phase but shares the section with other functions and stays there; compile with -ffunction-sections",
            "`three` has a phase, but the module has no function of that name",
        ]
    );
    assert_eq!(phase(&made, "two"), Phase::Steady);
    // Of two names of one function, the earlier phase applies.
    let alias = "int one(void) { return 1; } int two(void) __attribute__((alias(\"one\")));";
    let made = with_phases(&c(alias, &["-O1"]), "two cold\none first_frame");
    assert_eq!((phase(&made, "one"), phase(&made, "two")), (Phase::FirstFrame, Phase::FirstFrame));
    assert_eq!(made.warnings, []);
    // An array is contiguous.
    let array = r#"
        __attribute__((section("steps"))) int step(void) { return 1; }
        extern const char __start_steps[], __stop_steps[];
        long length(void) { return __stop_steps - __start_steps; }
    "#;
    let made = with_phases(&c(array, &["-O1", "-fPIC"]), "step cold");
    assert_eq!((phase(&made, "step"), made.warnings.len()), (Phase::Steady, 1));
}

#[test]
fn equal_inputs_give_equal_bytes() {
    let object = many();
    let first = with_phases(&object, LIST);
    let shuffled: Vec<_> = LIST.lines().rev().collect();
    assert_eq!(with_phases(&object, &shuffled.join("\n")).bytes(), first.bytes());
}

#[test]
fn prefetch_option_is_recorded_in_the_header() {
    let object = c("int f(void) { return 1; }", &["-O1"]);
    for (prefetch, hint) in [(0, 0), (1, 1), (255, 1)] {
        let options = Options { prefetch, ..Options::default() };
        let made = try_pack(&[("a.o", &object)], &options).unwrap();
        let header = made.smf().header();
        assert_eq!((header.prefetch_hint, header.prefetch_files), (hint, prefetch));
        assert_eq!(header.files_to_prefetch(), usize::from(prefetch));
    }
}
