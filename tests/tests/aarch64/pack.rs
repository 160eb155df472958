//! The result of packing every type of relocation, and of the instructions that they apply to.

use std::path::Path;
use std::process::Command;

use smf_core::format::ext::gnu_property::Properties;
use smf_core::format::{Layout, RelocKind, Smf};
use smf_loader::pack::{PackError, PackWarning, Packed};
use smf_tests::compile::{scratch, succeed};

use crate::tools::{LAYOUTS, TOOLS, assembled, compiled, try_pack};

/// A packed or native module of this code, which begins with `go`.
pub(crate) struct Made(pub(crate) Packed);

impl Made {
    pub(crate) fn new(text: &str, layout: Layout) -> Option<Self> {
        Some(Self(try_text(text, layout)?.unwrap_or_else(|error| panic!("{error}"))))
    }

    pub(crate) fn smf(&self) -> Smf<'_> {
        Smf::parse(&self.0.bytes).unwrap()
    }

    pub(crate) fn word(&self, number: usize) -> u32 {
        let code = self.smf().code().unwrap().data;
        u32::from_le_bytes(code[number * 4..][..4].try_into().unwrap())
    }

    /// The relocations of a section: offset, kind, addend, symbol.
    pub(crate) fn relocs(&self, section: &str) -> Vec<(u64, RelocKind, i64, String)> {
        let smf = self.smf();
        let tables = smf.reloc_tables().map(Result::unwrap);
        let tables = tables.filter(|table| table.target.name == section.as_bytes());
        tables
            .flat_map(|table| table.iter())
            .map(|reloc| {
                let symbol = smf.symbols().get(reloc.symbol).unwrap();
                let name = String::from_utf8(symbol.name().to_vec()).unwrap();
                (reloc.offset, reloc.kind, reloc.addend, name)
            })
            .collect()
    }

    fn imports(&self) -> Vec<String> {
        let symbols: Vec<_> = self.smf().symbols().iter().map(Result::unwrap).collect();
        let imports = symbols.iter().filter(|symbol| symbol.is_import());
        imports.map(|symbol| String::from_utf8(symbol.name().to_vec()).unwrap()).collect()
    }
}

/// Packs assembly text; `None` without an assembler.
pub(crate) fn try_text(text: &str, layout: Layout) -> Option<Result<Packed, PackError>> {
    let object = assembled(&format!(".text\n.globl go\ngo:\n{text}\n"))?;
    Some(try_pack(&[&object], layout))
}

pub(crate) fn reloc(
    offset: u64,
    kind: RelocKind,
    addend: i64,
    name: &str,
) -> (u64, RelocKind, i64, String) {
    (offset, kind, addend, name.to_owned())
}

#[test]
fn packed_code_is_prelinked_and_keeps_its_relocations() {
    let text = "adrp x0, value\n ldr x0, [x0, :lo12:value]\n bl far\n bl far\n b.ne far\n tbz x0, #1, far\n ret\n.data\n.quad 1\nvalue: .quad 2";
    let Some(made) = Made::new(text, Layout::Packed) else { return };
    let (page, offset) = (RelocKind::Arm64Page21, RelocKind::Arm64PageOff12);
    let expected = [
        reloc(0, page, 8, ".data"),
        reloc(4, offset, 8, ".data"),
        reloc(32, page, 0, ".got"),
        reloc(36, offset, 0, ".got"),
    ];
    assert_eq!(made.relocs(".text"), expected);
    assert_eq!(made.relocs(".got"), [reloc(0, RelocKind::Abs64, 0, "far")]);
    assert_eq!(made.imports(), ["far"]);
    // All branches lead to one stub, at 0x20.
    let expected = [0x9400_0006, 0x9400_0005, 0x5400_0081, 0x3608_0060];
    assert_eq!([2, 3, 4, 5].map(|number| made.word(number)), expected);
    // adrp x16, one page on; ldr x16, [x16]; br x16; udf #0
    let stub = [8, 9, 10, 11].map(|number| made.word(number));
    assert_eq!(stub, [0xb000_0010, 0xf940_0210, 0xd61f_0200, 0]);
    // adrp x0, two pages on; ldr x0, [x0, #8]
    assert_eq!((made.word(0), made.word(1)), (0xd000_0000, 0xf940_0400));

    let alone = "adrp x0, near\n add x0, x0, :lo12:near\n bl near\n ret\nnear: ret";
    let made = Made::new(alone, Layout::Packed).unwrap();
    assert_eq!((made.imports(), made.relocs(".text")), (vec![], vec![]));
    assert_eq!(made.smf().sections().len(), 1);
    assert_eq!((made.word(0), made.word(1)), (0x9000_0000, 0x9100_4000));
}

#[test]
fn native_code_keeps_its_relocations() {
    let text = "adrp x0, value\n ldr x0, [x0, :lo12:value]\n bl far\n adrp x1, near\n ldr q1, [x1, :lo12:near]\n ret\n.balign 16\nnear: ret\n.data\n.quad 1\nvalue: .quad 2";
    let Some(made) = Made::new(text, Layout::Native) else { return };
    let slot = made.relocs(".data");
    assert_eq!(slot, [reloc(slot[0].0, RelocKind::Abs64, 0, "far")]);
    let at = i64::try_from(slot[0].0).unwrap();
    let expected = [
        reloc(0, RelocKind::Arm64Page21, 8, ".data"),
        reloc(4, RelocKind::Arm64PageOff12, 8, ".data"),
        reloc(48, RelocKind::Arm64Page21, at, ".data"),
        reloc(52, RelocKind::Arm64PageOff12, at, ".data"),
    ];
    // The code at 0 in its section and the code behind it may come in any order.
    let at_8 = made.relocs(".text")[0].2;
    assert_eq!(made.relocs(".text")[0], reloc(0, RelocKind::Arm64Page21, at_8, ".data"));
    assert_eq!(made.relocs(".text")[2..], expected[2..]);
    assert_eq!(made.relocs(".text")[1].1, expected[1].1);
    assert_eq!(made.imports(), ["far"]);
    assert_eq!((made.word(3), made.word(4)), (0x9000_0001, 0x3dc0_0821));
}

#[test]
fn got_loads_become_additions_when_all_can() {
    let text = "adrp x1, :got:near\n ldr x2, [x1, :got_lo12:near]\n ret\n.globl near\nnear: ret";
    let Some(made) = Made::new(text, Layout::Packed) else { return };
    assert_eq!((made.word(0), made.word(1)), (0x9000_0001, 0x9100_3022));
    assert_eq!(made.relocs(".got"), []);
    // A load into xzr has no other form, and both halves of the other pair stay unchanged.
    let rigid = format!(
        "{text}\n.section .text.cold,\"ax\"\n.globl cold\ncold: ldr xzr, [x1, :got_lo12:near]\n ret"
    );
    let made = Made::new(&rigid, Layout::Packed).unwrap();
    assert_eq!((made.word(0), made.word(1)), (0xb000_0001, 0xf940_0022));
    assert_eq!(made.relocs(".got"), [reloc(0, RelocKind::Abs64, 12, ".text")]);
    let native = Made::new(text, Layout::Native).unwrap();
    assert_eq!((native.word(0), native.word(1)), (0x9000_0001, 0x9100_3022));
}

#[test]
fn addresses_of_another_module_are_loaded_from_got_when_all_can() {
    let text = "adrp x1, far+8\n add x2, x1, :lo12:far+8\n ret";
    for layout in LAYOUTS {
        let Some(made) = Made::new(text, layout) else { return };
        assert_eq!(made.word(1) & !(0xfff << 10), 0xf940_0022);
        let section = if layout == Layout::Packed { ".got" } else { ".data" };
        assert_eq!(made.relocs(section), [reloc(0, RelocKind::Abs64, 8, "far")]);
        assert!(made.0.warnings.iter().all(|w| !matches!(w, PackWarning::NearImport { .. })));
    }
    // A load of the datum itself would need one instruction more.
    let rigid = format!(
        "{text}\n.section .text.cold,\"ax\"\n.globl cold\ncold: ldr x3, [x1, :lo12:far+8]\n ret"
    );
    for layout in LAYOUTS {
        let made = Made::new(&rigid, layout).unwrap();
        let kinds: Vec<_> =
            made.relocs(".text").into_iter().map(|reloc| (reloc.1, reloc.2)).collect();
        let (page, offset) = (RelocKind::Arm64Page21, RelocKind::Arm64PageOff12);
        assert_eq!(kinds, [(page, 8), (offset, 8), (offset, 8)]);
        assert!(made.0.warnings.iter().any(|w| matches!(w, PackWarning::NearImport { .. })));
    }
}

#[test]
fn import_of_the_tiny_code_model_is_a_warning_with_its_distance() {
    let Some(made) = Made::new("adr x0, far\n ret", Layout::Packed) else { return };
    let [warning] = &made.0.warnings[..] else { panic!("{:?}", made.0.warnings) };
    let warning = warning.to_string();
    let expected = "refers to the import `far` by a 21-bit distance, so that both modules have to lie within 1 MiB; compile with -mcmodel=small";
    assert!(warning.ends_with(expected), "{warning}");
}

#[test]
fn data_words_are_relocated_or_left() {
    let text = ".globl n\n.set n, 77\n.text\n.globl go\ngo: ret\n.section .rodata\n.globl r\n\
                r: .word go - .\n.word 0\n.quad go\n.quad n\n.word far - .";
    let Some(mut object) = assembled(text) else { return };
    // The last relocation becomes R_AARCH64_PLT32, which some assemblers do not support.
    let (prel32, plt32) = (261u32.to_le_bytes(), 314u32.to_le_bytes());
    let at = object.windows(4).rposition(|bytes| bytes == prel32).unwrap();
    object[at..at + 4].copy_from_slice(&plt32);
    let made = Made(try_pack(&[&object], Layout::Packed).unwrap());
    let mut found = made.relocs(".rodata");
    found.sort_by_key(|reloc| reloc.0);
    let kinds: Vec<_> = found.iter().map(|reloc| (reloc.0, reloc.1, reloc.3.as_str())).collect();
    let (abs64, pc32) = (RelocKind::Abs64, RelocKind::Pc32);
    assert_eq!(kinds, [(0, pc32, ".text"), (8, abs64, ".text"), (24, pc32, ".text")]);
    let rodata = made.smf().sections().named(b".rodata").unwrap().data;
    assert_eq!(rodata[16..24], 77u64.to_le_bytes());
}

#[test]
fn unsupported_relocation_is_refused_by_name() {
    for (text, message) in [
        ("movz x0, #:abs_g0:far", "R_AARCH64_MOVW_UABS_G0 against `far` is part of an address"),
        ("movk x0, #:abs_g1_nc:far", "R_AARCH64_MOVW_UABS_G1_NC against `far` is part of"),
        ("movz x0, #:abs_g3:far", "R_AARCH64_MOVW_UABS_G3 against `far` is part of"),
        (".reloc ., R_AARCH64_COPY, far\n nop", "R_AARCH64_COPY against `far` cannot be expressed"),
        (
            ".reloc ., R_AARCH64_MOVW_PREL_G0, far\n nop",
            "R_AARCH64_MOVW_PREL_G0 against `far` cannot",
        ),
        // Relocations for other instructions than those at their offsets.
        (
            ".reloc ., R_AARCH64_CALL26, go\n nop",
            "R_AARCH64_CALL26 against `go` does not match its instruction",
        ),
        (
            ".reloc ., R_AARCH64_LDST64_ABS_LO12_NC, go\n ldr w0, [x1]",
            "R_AARCH64_LDST64_ABS_LO12_NC against `go` does not match its instruction",
        ),
        (
            ".reloc ., R_AARCH64_ADD_ABS_LO12_NC, go\n ldrb w0, [x1]",
            "R_AARCH64_ADD_ABS_LO12_NC against `go` does not match its instruction",
        ),
        (
            "ldr x0, [x1, :lo12:go+4]",
            "R_AARCH64_LDST64_ABS_LO12_NC against `go` has a target that is not aligned",
        ),
        ("tbz x0, #1, go+32768", "R_AARCH64_TSTBR14 against `go` at 0x0 is out of range"),
        (
            "b go+0x8000000",
            "R_AARCH64_JUMP26 against `go` is out of range, because a call reaches 128 MiB; pack the objects as several modules",
        ),
    ] {
        let Some(packed) = try_text(text, Layout::Packed) else { return };
        let error = packed.err().unwrap_or_else(|| panic!("{text} can be packed")).to_string();
        assert!(error.starts_with(&format!("a.o, section `.text`: {message}")), "{error}");
    }
}

#[test]
fn objects_for_two_machines_are_refused() {
    let Some(object) = assembled(".globl go\ngo: ret") else { return };
    let mut other = object.clone();
    other[18] = 62;
    let error = try_pack(&[&object, &other], Layout::Packed).err().unwrap().to_string();
    assert_eq!(error, "a.o: an object for x86-64, among objects for aarch64 such as a.o");
}

#[test]
fn damaged_object_is_refused_or_makes_a_sound_module() {
    let text = ".text\n.globl go\ngo: adrp x0, :got:near\n ldr x0, [x0, :got_lo12:near]\n bl far\n adrp x1, far\n add x1, x1, :lo12:far\n ldr x2, [x0, :lo12:near]\n tbz x0, #1, go\n adrp x3, _GLOBAL_OFFSET_TABLE_\n ldr x4, [x3, #:gotpage_lo15:near]\n ret\n.data\n.globl near\nnear: .quad far\n.word go - .\n";
    let Some(object) = assembled(text) else { return };
    let (mut sound, mut refused) = (0, 0);
    for at in 0..object.len() {
        for mask in [1, 0x10, 0x80, 0xff] {
            let mut broken = object.clone();
            broken[at] ^= mask;
            for layout in LAYOUTS {
                match try_pack(&[&broken], layout) {
                    Ok(packed) => {
                        Smf::parse(&packed.bytes).unwrap().verify().unwrap();
                        sound += 1;
                    }
                    Err(error) => {
                        assert!(!error.to_string().is_empty());
                        refused += 1;
                    }
                }
            }
        }
    }
    assert!(sound > 100 && refused > 100, "{sound} {refused}");
}

/// The note of properties in an object or a shared object, as `readelf` shows it.
fn shown_properties(file: &Path) -> Option<String> {
    let output = Command::new(format!("{TOOLS}readelf")).arg("-nW").arg(file).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    Some(text.split_once("AArch64 feature: ")?.1.lines().next()?.to_owned())
}

#[test]
fn branch_protection_of_all_objects_is_recorded_as_by_the_linker() {
    let protections = ["standard", "bti", "pac-ret", "none"];
    let built = protections.map(|protection| {
        let source = scratch();
        let file = source.path().join("in.c");
        std::fs::write(&file, format!("int {}(int x) {{ return x + 1; }}", &protection[..3]))
            .unwrap();
        compiled(&file, &[&format!("-mbranch-protection={protection}"), "-fPIC"])
    });
    let [Some(standard), Some(bti), Some(pac), Some(none)] = &built else { return };
    let bits = |objects: &[&[u8]]| {
        let directory = scratch();
        let mut link = Command::new(format!("{TOOLS}ld"));
        let out = directory.path().join("out.so");
        link.args(["-shared", "-o"]).arg(&out);
        for (number, object) in objects.iter().enumerate() {
            let path = directory.path().join(format!("{number}.o"));
            std::fs::write(&path, object).unwrap();
            link.arg(path);
        }
        let output = link.output().unwrap();
        succeed(&link, &output);
        let packed = try_pack(objects, Layout::Packed).unwrap();
        let smf = Smf::parse(&packed.bytes).unwrap();
        let mut found = Properties::of(&smf).unwrap().into_iter().flatten().flatten();
        let value = found.next().map(|property| (property.kind, property.number().unwrap()));
        (value, shown_properties(&out))
    };
    let (kind, shown) = (0xc000_0000, |text: &str| Some(text.to_owned()));
    assert_eq!(bits(&[standard]), (Some((kind, 3)), shown("BTI, PAC")));
    assert_eq!(bits(&[standard, bti]), (Some((kind, 1)), shown("BTI")));
    assert_eq!(bits(&[pac, standard]), (Some((kind, 2)), shown("PAC")));
    assert_eq!(bits(&[bti, pac]), (None, None));
    assert_eq!(bits(&[standard, none]), (None, None));
}
