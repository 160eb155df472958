//! Extraction of functions from packed modules, whose distances become relocations again.

use smf_core::extract::{ExtractError, FunctionExtractor};
use smf_core::format::{Layout, RelocKind, Smf};
use smf_loader::pack::Options;

use crate::tools::{assembled, compiled, pack_with, try_pack};
use smf_tests::compile::scratch;
use std::fs;

/// Functions that refer to each other, to data and to imports, in every form that can be extracted, and in some
/// that cannot.
const TEXT: &str = "
    .macro function name
    .globl \\name
    .type \\name, %function
\\name:
    .endm
    .macro end name
    .size \\name, . - \\name
    .endm
    .text
    function calls
        bl other
        bl far
        cbz x0, 1f
        b calls
    1:  ret
    end calls
    function other
        adrp x0, calls
        add x0, x0, :lo12:calls
        ret
    end other
    function reads
        adrp x1, second
        ldr x1, [x1, :lo12:second]
        adrp x0, :got:far_data
        ldr x0, [x0, :got_lo12:far_data]
        ret
    end reads
    function keeps
        adrp x1, second
        ldr x0, [x1, :lo12:second]
        ret
    end keeps
    function jumps
        cbz x0, other
        ret
    end jumps
    .data
    .quad 1
    .globl second
    second: .quad 2
";

/// The relocations of a function: offset, kind, addend, symbol.
type RelocList = Vec<(u64, RelocKind, i64, String)>;

fn taken(all: &FunctionExtractor<'_>, name: &str) -> Result<RelocList, String> {
    let function = all.function(name.as_bytes()).map_err(|error| match error {
        ExtractError::Instruction { offset, .. } => format!("instruction at {offset}"),
        other => other.to_string(),
    })?;
    let told = function.relocations().map(Result::unwrap).map(|reloc| {
        let name = String::from_utf8_lossy(reloc.symbol.name()).into_owned();
        (reloc.offset, reloc.kind, reloc.addend, name)
    });
    Ok(told.collect())
}

fn told(all: &[(u64, RelocKind, i64, &str)]) -> Result<RelocList, String> {
    Ok(all
        .iter()
        .map(|(at, kind, addend, name)| (*at, *kind, *addend, (*name).to_owned()))
        .collect())
}

#[test]
fn distances_are_extracted_as_relocations() {
    use RelocKind::{Arm64Branch26, Arm64Page21, Arm64PageOff12};
    use RelocKind::{Arm64GotLoadPage21, Arm64GotLoadPageOff12};
    let Some(object) = assembled(TEXT) else { return };
    let module = try_pack(&[&object], Layout::Packed).unwrap();
    let smf = Smf::parse(&module.bytes).unwrap();
    let all = FunctionExtractor::new(&smf).unwrap();
    let calls = [(0, Arm64Branch26, 0, "other"), (4, Arm64Branch26, 0, "far")];
    assert_eq!(taken(&all, "calls"), told(&calls));
    let other = [(0, Arm64Page21, 0, "calls"), (4, Arm64PageOff12, 0, "calls")];
    assert_eq!(taken(&all, "other"), told(&other));
    let reads = [
        (0, Arm64Page21, 8, ".data"),
        (4, Arm64PageOff12, 8, ".data"),
        (8, Arm64GotLoadPage21, 0, "far_data"),
        (12, Arm64GotLoadPageOff12, 0, "far_data"),
    ];
    assert_eq!(taken(&all, "reads"), told(&reads));
    // The page address stays in a register, and both instructions have relocations.
    let keeps = [(0, Arm64Page21, 8, ".data"), (4, Arm64PageOff12, 8, ".data")];
    assert_eq!(taken(&all, "keeps"), told(&keeps));
    // Conditional branches have none.
    let begin = |name: &[u8]| smf.symbols().find_export(name).unwrap().value;
    let refused = format!("instruction at {}", begin(b"jumps"));
    assert_eq!(taken(&all, "jumps"), Err(refused));
    // Without relocations the page address has no known end.
    let module = pack_with(&[&object], &Options::default()).unwrap();
    let smf = Smf::parse(&module.bytes).unwrap();
    let all = FunctionExtractor::new(&smf).unwrap();
    assert_eq!(taken(&all, "reads"), told(&reads));
    assert_eq!(taken(&all, "other"), told(&other));
    let refused = format!("instruction at {}", begin(b"keeps"));
    assert_eq!(taken(&all, "keeps"), Err(refused));
}

#[test]
fn distances_of_unlinked_code_are_extracted_as_relocations() {
    let text = TEXT.split("    function reads").next().unwrap().replace("bl far", "nop");
    let Some(object) = assembled(&text) else { return };
    let module = try_pack(&[&object], Layout::Packed).unwrap();
    let smf = Smf::parse(&module.bytes).unwrap();
    assert_eq!(smf.sections().iter().filter(|section| section.kind.is_loaded()).count(), 1);
    let all = FunctionExtractor::new(&smf).unwrap();
    assert_eq!(taken(&all, "calls"), told(&[(0, RelocKind::Arm64Branch26, 0, "other")]));
    let other =
        [(0, RelocKind::Arm64Page21, 0, "calls"), (4, RelocKind::Arm64PageOff12, 0, "calls")];
    assert_eq!(taken(&all, "other"), told(&other));
}

#[test]
fn compiled_function_is_extracted_or_refused_without_stale_distances() {
    let source = "extern long outer(long); long counter = 5;
        __attribute__((noinline)) long twice(long x) { return 2 * x; }
        long calls(long x) { return twice(x) + twice(x + 1); }
        long tail(long x) { return outer(x + 1); }
        long *taken(void) { return &counter; }
        long adds(long x) { return counter += x; }";
    let directory = scratch();
    let file = directory.path().join("take.c");
    fs::write(&file, source).unwrap();
    // The relocations of `taken` and of `adds`. Without a GOT slot, the load and the store share one page address. In the
    // small GOT, the distance of the slot from the page is part of the code.
    for (flags, counts) in [
        (&["-O1", "-fPIC"][..], (2, 2)),
        (&["-O2", "-fPIC"], (2, 2)),
        (&["-Os"], (2, 3)),
        (&["-O2", "-fpic"], (1, 1)),
    ] {
        let Some(object) = compiled(&file, flags) else { return };
        let module = try_pack(&[&object], Layout::Packed).unwrap();
        let smf = Smf::parse(&module.bytes).unwrap();
        let all = FunctionExtractor::new(&smf).unwrap();
        let names = |name: &str| -> Vec<String> {
            taken(&all, name).unwrap().into_iter().map(|(.., name)| name).collect()
        };
        assert_eq!(names("calls")[0], "twice", "{flags:?}");
        assert_eq!(names("tail"), ["outer"], "{flags:?}");
        assert_eq!(names("twice"), [""; 0], "{flags:?}");
        assert_eq!((names("taken").len(), names("adds").len()), counts, "{flags:?}");
    }
}
