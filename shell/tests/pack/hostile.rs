//! Malformed objects cause errors, neither panics nor endless loops, and packed modules pass `smf verify`.

use smf_core::format::{Layout, Section, SectionKind, Smf};
use smf_loader::pack::{Algorithm, Input, Options, PackError, pack};

use crate::made::{ar, asm, c};
use crate::scale::scale;

const SOURCE: &str = r#"
    extern int far(int); int common[4]; int data = 3; const char *name = "name";
    static int (*const table[])(int) = {far, far};
    __attribute__((weak)) int weak(int x) { return x; }
    int go(int x) { switch (x) { case 0: return far(1); case 1: return weak(2); case 2: return 9;
        case 3: return data; case 4: return table[x & 1](x); } return common[x & 3] + name[0]; }
"#;

/// What the process has to provide: thread-local storage, constructors, an indirect function, unwinding tables, and
/// imported data that only a thunk reaches where the code is not compiled with `-fPIC`.
#[cfg(target_arch = "x86_64")]
const RUNTIME: &str = r#"
    extern int far(int), datum;
    _Thread_local int counter = 7;
    static _Thread_local char buffer[24] __attribute__((aligned(64)));
    static int one(int x) { return x + 1; }
    static int (*choose(void))(int) { return one; }
    int chosen(int) __attribute__((ifunc("choose")));
    __attribute__((constructor)) static void start(void) { counter = datum; }
    __attribute__((destructor(200))) static void stop(void) { far(buffer[0]); }
    __attribute__((visibility("hidden"))) int hidden(int x) { return far(x) + far(2); }
    int go(int x) { counter += x; buffer[x & 7] = 1; return chosen(x) + datum + hidden(counter); }
"#;

/// The layout of a program that is refused takes little memory, and adds no error of its own.
#[test]
fn refused_alignment_is_the_only_error_of_a_program() {
    let object = c("int data[2] = {1, 2}; int go(void) { return data[0]++; }", &["-O1"]);
    let number = |at: usize| usize::from(u16::from_le_bytes([object[at], object[at + 1]]));
    let table = usize::try_from(u64::from_le_bytes(object[40..48].try_into().unwrap())).unwrap();
    // Writable data with contents.
    let is_data = |header: &usize| {
        (object[header + 4], object[header + 8]) == (1, 3) && object[header + 32] != 0
    };
    let mut headers = (0..number(60)).map(|section| table + section * number(58));
    let data = headers.find(is_data).unwrap();
    let other = c("long other = 3; long get(void) { return other; }", &["-O1"]);
    for layout in [Layout::Packed, Layout::Native] {
        for alignment in [3, 0x7f00_0010, 1 << 22, 1 << 40, 1 << 63, u64::MAX] {
            let mut object = object.clone();
            object[data + 48..data + 56].copy_from_slice(&alignment.to_le_bytes());
            let inputs = [("b.o", &other), ("a.o", &object), ("c.o", &c("int z = 1;", &[]))];
            let inputs = inputs.map(|(name, data)| Input { name, data });
            let error = pack(&inputs, &Options { layout, ..Options::default() }).err().unwrap();
            let error = error.to_string();
            assert!(error.starts_with("a.o, section `.data`: "), "{alignment}: {error}");
            assert!(error.contains("alignment") && error.lines().count() == 1, "{error}");
        }
    }
}

/// Options that differ in the code that they run.
fn all_options() -> [Options<'static>; 4] {
    let plain = Options::default();
    [
        plain,
        Options { debug_info: true, emit_relocs: true, ..plain },
        Options { entry: Some("go"), reloadable: true, ..plain },
        Options { layout: Layout::Native, compress: Some(Algorithm::Lz4), ..plain },
    ]
}

fn pack_with_all_options(name: &str, data: &[u8]) {
    all_options().iter().for_each(|options| pack_or_refuse(name, data, options));
}

/// A packed module passes verification; other objects are refused before the final check.
fn pack_or_refuse(name: &str, data: &[u8], options: &Options<'_>) {
    match pack(&[Input { name, data }], options) {
        Ok(packed) => assert_valid(&packed.bytes, options),
        Err(PackError::Unsound(error)) => panic!("{options:?}: {error}"),
        Err(_) => {}
    }
}

/// Verifies a module as `smf verify` does.
pub(crate) fn assert_valid(module: &[u8], options: &Options<'_>) {
    let smf = Smf::parse(module).unwrap_or_else(|error| panic!("{options:?}: {error}"));
    let verified = smf.verify().and_then(|()| smf.verify_compressed());
    let verified = verified.and_then(|()| smf.functions());
    match verified {
        Ok(functions) => {
            assert!(functions.is_none(), "{options:?}: machine code is read as bytecode")
        }
        Err(error) => panic!("{options:?}: packed, but malformed: {error}"),
    }
    let is_plain = |section: &Section<'_>| !section.is_compressed();
    let read_only = smf.sections().iter().filter(|s| s.kind == SectionKind::RoData);
    for section in read_only.filter(is_plain) {
        match section.name {
            b".init_array" | b".fini_array" => {
                assert_eq!(section.data.len() % 8, 0, "{options:?}: a part of an address");
            }
            b".eh_frame" => assert_records(section.data),
            b".tdata" => {
                assert!(section.alignment.is_power_of_two(), "{options:?}");
                assert!(section.memory_size() >= section.data.len() as u64, "{options:?}");
            }
            _ => {}
        }
    }
}

/// Unwinders do not check these tables: every length and every distance of a common record must be right, and a zero word
/// must end them.
fn assert_records(table: &[u8]) {
    let word = |at: usize| u32::from_le_bytes(table[at..at + 4].try_into().unwrap()) as usize;
    let (mut at, mut commons) = (0, Vec::new());
    while word(at) != 0 {
        let (end, id) = (at + 4 + word(at), word(at + 4));
        assert!(end >= at + 8, "a record of {} bytes at {at:#x}", end - at);
        match id {
            0 => commons.push(at),
            _ => assert!(commons.contains(&(at + 4 - id)), "no common record for that at {at:#x}"),
        }
        at = end;
    }
    assert_eq!(at + 4, table.len(), "bytes behind the end of the records");
}

fn refused(data: &[u8]) -> String {
    let made = pack(&[Input { name: "a.o", data }], &Options::default());
    made.expect_err("the object is packed").to_string()
}

#[test]
fn truncated_object_is_refused_or_packed() {
    let object = c(SOURCE, &["-O1", "-fPIC"]);
    for len in 0..object.len() {
        pack_with_all_options("a.o", &object[..len]);
    }
    let archive = ar("rcs", &[("a.o", &object)]);
    for len in 0..archive.len().min(400) {
        pack_with_all_options("a.a", &archive[..len]);
    }
}

#[test]
fn object_with_any_changed_byte_is_refused_or_packed() {
    change_bytes(&c(SOURCE, &["-O1", "-fPIC", "-ffunction-sections"]), scale(1, 13));
}

#[test]
#[cfg(target_arch = "x86_64")]
fn object_for_services_of_the_process_with_any_changed_byte_is_refused_or_packed() {
    for flags in [&["-O1"][..], &["-O1", "-fPIC", "-ffunction-sections"]] {
        let object = c(RUNTIME, flags);
        let packed = pack(&[Input { name: "a.o", data: &object }], &Options::default()).unwrap();
        let smf = Smf::parse(&packed.bytes).unwrap();
        let sections = smf.sections();
        for name in [&b".init_array"[..], b".fini_array", b".eh_frame", b".tdata"] {
            assert!(sections.iter().any(|section| section.name == name), "{flags:?}");
        }
        change_bytes(&object, scale(1, 37));
    }
}

#[test]
fn object_with_any_changed_byte_in_debugging_information_is_refused_or_packed() {
    let source = "struct pair { int first, second; }; static __thread int storage;
        int go(struct pair *pair) { storage++; return pair->first; }";
    for flags in [&["-g", "-O1", "-gz=none"][..], &["-g", "-O1", "-gz", "-gdwarf-4"]] {
        let object = c(source, flags);
        let options = Options { debug_info: true, ..Options::default() };
        let packed = pack(&[Input { name: "a.o", data: &object }], &options).unwrap();
        let smf = Smf::parse(&packed.bytes).unwrap();
        assert!(smf.sections().named(b".debug_info").is_some(), "{flags:?}");
        change_bytes(&object, scale(1, 13));
    }
}

#[test]
#[cfg(target_arch = "x86_64")]
fn debugging_information_about_what_the_object_lacks_is_packed() {
    let code = ".text\n.globl go\ngo: ret\n.data\n.globl datum\ndatum: .long 1\n";
    let empty = "\n.section .debug_str,\"MS\",@progbits,1\n.Lstring:\n";
    for field in [".long .Lstring", ".reloc 0, R_X86_64_DTPOFF32, .data\n.long 0"] {
        let object = asm(&format!("{code}.section .debug_info\n{field}\n{empty}"));
        let options = Options { debug_info: true, ..Options::default() };
        let packed = pack(&[Input { name: "a.o", data: &object }], &options);
        assert_valid(&packed.unwrap_or_else(|e| panic!("{field}: {e}")).bytes, &options);
    }
}

#[test]
#[cfg(target_arch = "x86_64")]
fn object_with_any_changed_byte_in_properties_is_refused_or_packed() {
    let object =
        asm(".text\n.globl go\ngo: ret\n.section .note.gnu.property, \"a\", @note\n.p2align 3
        .long 4, 32, 5\n.asciz \"GNU\"\n.long 0xc0000002, 4, 3, 0, 0xc0008002, 4, 1, 0
        .long 4, 16, 5\n.asciz \"GNU\"\n.long 0xc0010002, 4, 1, 0\n");
    let packed = pack(&[Input { name: "a.o", data: &object }], &Options::default()).unwrap();
    assert!(Smf::parse(&packed.bytes).unwrap().sections().named(b".smf.property").is_some());
    change_bytes(&object, scale(1, 5));
}

/// Names the case of a test that fails.
struct Case {
    at: usize,
    value: u8,
}

impl Drop for Case {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the byte at {:#x} of the object is {:#x}", self.at, self.value);
        }
    }
}

/// Packs with every byte changed to every value, with all options: one case in `stride`, which is coprime to the number of
/// values and options, so that each of them occurs in every part of the object.
fn change_bytes(object: &[u8], stride: usize) {
    let mut mutant = object.to_vec();
    let mut case = 0usize;
    for at in 0..object.len() {
        for value in [0, 1, 0x7f, 0x80, 0xff, object[at] ^ 4] {
            mutant[at] = value;
            let _case = Case { at, value };
            for options in &all_options() {
                case += 1;
                if case.is_multiple_of(stride) {
                    pack_or_refuse("a.o", &mutant, options);
                }
            }
        }
        mutant[at] = object[at];
    }
}

#[test]
fn object_with_many_changed_bytes_is_refused_or_packed() {
    let object = c(SOURCE, &["-O2"]);
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut next = |bound: usize| {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        usize::try_from(state >> 33).unwrap() % bound
    };
    for _ in 0..scale(2000, 400) {
        let mut mutant = object.clone();
        for _ in 0..=next(12) {
            let at = next(mutant.len());
            mutant[at] = u8::try_from(next(256)).unwrap();
        }
        pack_with_all_options("a.o", &mutant);
    }
}

/// The relocations of an object: the offset of each in the file, and the size of its target section.
fn relocs(object: &[u8]) -> Vec<(usize, u64)> {
    let number = |at: usize| u64::from_le_bytes(object[at..at + 8].try_into().unwrap());
    let half = |at: usize| u32::from_le_bytes(object[at..at + 4].try_into().unwrap());
    let at = |number: u64| usize::try_from(number).unwrap();
    let table = at(number(40));
    let headers = usize::from(u16::from_le_bytes([object[60], object[61]]));
    let mut found = Vec::new();
    for header in (0..headers).map(|index| table + index * 64) {
        let is_rela = half(header + 4) == 4;
        let target = table + at(half(header + 44).into()) * 64;
        if is_rela {
            let (start, size) = (at(number(header + 24)), at(number(header + 32)));
            found.extend((0..size / 24).map(|n| (start + n * 24, number(target + 32))));
        }
    }
    found
}

/// Relocations of any type and addend, against any symbol, at any offset. Found: overlaps with rewritten opcodes
/// gave modules that `verify` refused.
#[test]
fn object_with_any_relocation_is_refused_or_packed() {
    let mut state = 0x2545_f491_4f6c_dd1du64;
    let mut next = |bound: u64| {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 33) % bound
    };
    for flags in
        [&["-O2", "-fPIC", "-fno-plt"][..], &["-O1"], &["-O2", "-ffunction-sections", "-fPIC"]]
    {
        let object = c(SOURCE, flags);
        let relocs = relocs(&object);
        assert!(relocs.len() > 10);
        for _ in 0..scale(3000, 400) {
            let mut mutant = object.clone();
            for _ in 0..=next(2) {
                let (at, size) = relocs[usize::try_from(next(relocs.len() as u64)).unwrap()];
                let mut put = |offset: usize, bytes: &[u8]| {
                    mutant[at + offset..at + offset + bytes.len()].copy_from_slice(bytes);
                };
                match next(5) {
                    0 => put(0, &next(size).to_le_bytes()),
                    1 => put(8, &u32::try_from(next(46)).unwrap().to_le_bytes()),
                    // The types that change the instruction, near the place of another relocation.
                    2 => {
                        let (other, _) =
                            relocs[usize::try_from(next(relocs.len() as u64)).unwrap()];
                        let place =
                            u64::from_le_bytes(object[other..other + 8].try_into().unwrap());
                        put(0, &(place + next(13)).saturating_sub(6).to_le_bytes());
                        put(8, &[9u32, 41, 42, 2][usize::try_from(next(4)).unwrap()].to_le_bytes());
                    }
                    3 => put(12, &u32::try_from(next(20)).unwrap().to_le_bytes()),
                    _ => put(16, &(next(64).cast_signed() - 32).to_le_bytes()),
                }
            }
            pack_with_all_options("a.o", &mutant);
        }
    }
}

/// Many sections with the same contents would need far more memory than the file has.
#[test]
fn overlapping_sections_are_refused() {
    let object = c(SOURCE, &["-O0"]);
    let mut mutant = object.clone();
    let table = usize::try_from(u64::from_le_bytes(object[40..48].try_into().unwrap())).unwrap();
    for header in mutant[table..].chunks_exact_mut(64).skip(1) {
        // Loaded program bits that cover the whole file.
        header[4..8].copy_from_slice(&1u32.to_le_bytes());
        header[8..16].copy_from_slice(&2u64.to_le_bytes());
        header[24..32].fill(0);
        header[32..40].copy_from_slice(&(object.len() as u64).to_le_bytes());
    }
    let error = pack(&[Input { name: "a.o", data: &mutant }], &Options::default()).err().unwrap();
    assert_eq!(error.to_string(), "a.o: its sections overlap");
}

#[test]
fn section_larger_than_an_image_is_refused() {
    for size in ["0x7fffffff", "0xffffffffff"] {
        let source = format!("char zeroes[{size}]; int go(void) {{ return 1; }}");
        let object = c(&source, &["-mcmodel=medium"]);
        let error =
            pack(&[Input { name: "a.o", data: &object }], &Options::default()).err().unwrap();
        assert!(error.to_string().starts_with("the module would take 2 GiB or more"), "{error}");
    }
}

/// Readers identify ELF objects and bytecode by the magic number of the code section. Found: pack succeeded, and
/// the module was refused or loaded as bytecode.
#[test]
#[cfg(target_arch = "x86_64")]
fn code_with_magic_of_another_format_is_refused() {
    for (magic, format) in
        [("0x7f, 0x45, 0x4c, 0x46", "an ELF object"), ("0x42, 0x43, 0x4f, 0x44", "bytecode")]
    {
        for data in ["", ".data\n.globl d\nd: .quad 7\n"] {
            let code = format!(".text\n.globl f\nf: .byte {magic}\n ret\n{data}");
            let why = refused(&asm(&code));
            assert_eq!(
                why,
                format!(
                    "a.o, section `.text`: the code at 0x0 starts with the magic number of {format}, so that loaders would misread it"
                )
            );
        }
        // Elsewhere in the code the magic number has no meaning.
        let code = format!(".text\n.globl f\nf: nop\n .byte {magic}\n ret\n");
        let object = asm(&code);
        let options = Options::default();
        let packed = pack(&[Input { name: "a.o", data: &object }], &options).unwrap();
        assert_valid(&packed.bytes, &options);
    }
    // A relocation can write the magic number as well.
    let code = ".text\n.globl f\nf: .long 0\n ret\n.reloc 0, R_X86_64_PC32, f + 0x464c457f\n";
    assert!(refused(&asm(code)).contains("the magic number of an ELF object"));
}

/// A stub that contains a module is refused if readers would find its module first.
#[test]
fn stub_that_contains_a_module_is_refused_or_skipped() {
    let object = c(SOURCE, &["-O1", "-fPIC"]);
    let samples = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/samples");
    let (mut packed, mut tried) = (0, 0);
    for entry in std::fs::read_dir(samples).unwrap() {
        let path = entry.unwrap().path();
        if !path.is_file() {
            continue;
        }
        let stub = std::fs::read(&path).unwrap();
        tried += 1;
        let options = Options { stub: &stub, ..Options::default() };
        if let Ok(made) = pack(&[Input { name: "a.o", data: &object }], &options) {
            packed += 1;
            assert_valid(&made.bytes, &options);
            let smf = Smf::parse(&made.bytes).unwrap();
            assert_eq!(smf.base(), stub.len() as u64, "{}", path.display());
        }
    }
    assert!(tried > 10 && packed > 0, "{packed} of {tried}");
}

/// Two relocations that rewrite instructions. Found: overlaps with rewritten opcodes gave modules with wrong
/// prelinked distances.
#[test]
#[cfg(target_arch = "x86_64")]
fn overlapping_relocations_are_refused() {
    let text = |relocs: &str| {
        asm(&format!(
            ".text\n.globl f\nf: nop\n nop\n nop\n nop\nmov d@GOTPCREL(%rip), %rax\n ret\n nop\n nop\n{relocs}
             .data\n.globl d\nd: .quad 7\n"
        ))
    };
    let gotpcrelx = |at: u32| format!(".reloc {at}, R_X86_64_REX_GOTPCRELX, d - 4\n");
    assert!(pack(&[Input { name: "a.o", data: &text("") }], &Options::default()).is_ok());
    // The operand is at 7, the opcode at 5. Found: those at 2 and 3 were packed.
    for at in [2, 3, 4, 5, 6, 8, 9, 10] {
        let error = refused(&text(&gotpcrelx(at)));
        assert!(
            error.starts_with("a.o, section `.text`: two relocations overlap at 0x"),
            "{error}"
        );
    }
}
