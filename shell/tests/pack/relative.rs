//! Relative relocations: the list of places in `.smf.image` against the relocations that it replaces.
#![allow(unsafe_code)]

use std::fmt::Write as _;

use smf_core::format::error::ExtensionError;
use smf_core::format::{FormatError, RelocKind, Section, SectionKind, Smf};
use smf_core::link::{Image, Module};
use smf_core::loader::{LoaderOptions, ModuleBytes, StateMigration};
use smf_core::memory::{FilePolicy, Unchanged};
use smf_core::trap::call;

use smf_loader::host_symbols::HostSymbols;
use smf_loader::loader::Loader;
use smf_loader::pack::{Algorithm, Options};

use crate::made::{Made, Scratch, asm, c, linked, packed, try_pack, with_relocs, without_relocs};
use crate::scale::scale;

/// The address of every import.
const IMPORT: u64 = 0x1234_5678;

fn link<'d>(smf: &Smf<'d>) -> Module<'d> {
    Image::map(smf).unwrap().link(&|_: &[u8]| Some(IMPORT)).unwrap()
}

/// The oracle: the bytes of a section of a module whose image lies at `base`, by its relocation sections alone.
fn expected(made: &Made, base: u64, section: &Section<'_>) -> Vec<u8> {
    let (smf, plan) = (made.smf(), made.plan());
    let start = |section| base + plan.section_offset(section).unwrap();
    let mut bytes = smf.contents(section).unwrap().into_owned();
    bytes.resize(usize::try_from(section.memory_size()).unwrap(), 0);
    let tables = smf.reloc_tables().map(Result::unwrap);
    for table in tables.filter(|table| table.target.index == section.index) {
        for reloc in table.iter() {
            assert_eq!(reloc.kind, RelocKind::Abs64);
            let symbol = smf.symbols().get(reloc.symbol).unwrap();
            let value = symbol.section.map_or(IMPORT, start) + symbol.value;
            let at = usize::try_from(reloc.offset).unwrap();
            let value = value.wrapping_add_signed(reloc.addend);
            bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
        }
    }
    bytes
}

/// Compares the data of a loaded module, in which the symbol `t` has an address, with the oracle.
fn compare_at(made: &Made, t: u64) {
    let (smf, plan, (section, offset)) = (made.smf(), made.plan(), made.place("t"));
    let base = t - offset - plan.section_offset(made.section(&section).index).unwrap();
    let is_data = |s: &Section<'_>| s.kind.is_loaded() && s.kind != SectionKind::Code;
    for section in smf.sections().iter().filter(is_data) {
        let start = base + plan.section_offset(section.index).unwrap();
        let start = std::ptr::with_exposed_provenance::<u8>(usize::try_from(start).unwrap());
        let len = usize::try_from(section.memory_size()).unwrap();
        // SAFETY: the module exposes its pages, which hold as many bytes of the section; no code of it runs.
        let bytes = unsafe { std::slice::from_raw_parts(start, len) };
        assert!(bytes == expected(made, base, &section), "{}", section.name.escape_ascii());
    }
}

/// Loads a module, compares it, and returns how many relative relocations it has.
fn compare(made: &Made) -> usize {
    let smf = made.smf();
    let module = link(&smf);
    compare_at(made, module.symbol(b"t").unwrap());
    made.plan().relative_relocs().places().count()
}

/// Numbers that are equal in every run (Knuth's MMIX constants).
struct Draw(u64);

impl Draw {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (self.0 >> 33) % end
    }
}

/// An object with tables of pointers to each other, to code and to imports, some misaligned.
fn object(seed: u64) -> Vec<u8> {
    object_with(seed, ".rodata,\"a\"")
}

/// As [`object`]; one of the tables lies in the section `constants`.
fn object_with(seed: u64, constants: &str) -> Vec<u8> {
    let sections = [".data,\"aw\"", ".data.rel.ro,\"aw\"", constants, ".data.rel.local,\"aw\""];
    let mut draw = Draw(seed);
    let mut text =
        String::from(".text\n.globl t\nt: ret\n .skip 100\n.bss\n.globl b\nb: .skip 40\n");
    for (number, section) in sections.iter().enumerate() {
        write!(text, ".section {section}\n.balign 8\n.globl s{number}\ns{number}:\n").unwrap();
        for _ in 0..draw.below(200) {
            let target = ["t", "b", "s0", "s1", "s2", "s3", "far"][draw.below(7) as usize];
            let addend = draw.below(64) as i64 - 16;
            match draw.below(16) {
                0 => writeln!(text, ".byte 7"),
                1 => writeln!(text, ".balign 8"),
                2 => writeln!(text, ".skip {}", 8 * draw.below(140)),
                3 => writeln!(text, ".quad {}", draw.below(1 << 31)),
                _ => writeln!(text, ".quad {target}+{addend}"),
            }
            .unwrap();
        }
        text.push_str(" .byte 1\n");
    }
    asm(&text)
}

#[test]
fn loaded_data_agrees_with_the_relocation_sections() {
    let mut relative = 0;
    for seed in 0..scale(60, 12) {
        let object = object(seed);
        for (reloadable, compress) in [
            (false, None),
            (true, None),
            (false, Some(Algorithm::Zstd)),
            (true, Some(Algorithm::Lz4)),
        ] {
            let options = Options { reloadable, compress, ..with_relocs() };
            let made = try_pack(&[("a.o", &object)], &options).unwrap();
            let count = compare(&made);
            let plain = made.without_relative();
            assert_eq!(compare(&plain), 0);
            // Every aligned address in the module is in the list.
            let smf = made.smf();
            let tables = smf.reloc_tables().map(Result::unwrap);
            let relocs = tables.flat_map(|t| t.iter().map(move |r| (t, r)).collect::<Vec<_>>());
            let aligned = relocs.filter(|(table, reloc)| {
                let start = made.plan_offset(table.target.index).unwrap();
                let symbol = smf.symbols().get(reloc.symbol).unwrap();
                (start + reloc.offset).is_multiple_of(8) && symbol.section.is_some()
            });
            assert_eq!(aligned.count(), count);
            relative += count;
        }
    }
    assert!(relative > 1000, "{relative}");
}

/// A module without the relocations that its image makes superfluous is smaller, and its data are the same.
#[test]
fn omitted_relocations_are_those_of_the_image() {
    for seed in 0..scale(60, 12) {
        let object = object(seed);
        let kept = packed(&object);
        let made = without_relocs(&[("a.o", &object)]);
        let smf = made.smf();
        compare_at(&kept, link(&smf).symbol(b"t").unwrap());
        let relative = |made: &Made| made.plan().relative_relocs().places().collect::<Vec<_>>();
        assert!(!relative(&made).is_empty() && relative(&made) == relative(&kept));
        let omitted = kept.bytes().len() - made.bytes().len();
        assert!(omitted > 8 * relative(&made).len(), "{omitted}");
        // Other readers refuse the module.
        assert!(made.imports().contains(&".smf.image".to_owned()));
        // The data of a reloadable module are migrated by relocations.
        let [with, without] = [false, true].map(|emit_relocs| {
            let options = Options { reloadable: true, emit_relocs, ..Options::default() };
            try_pack(&[("a.o", &object)], &options).unwrap()
        });
        assert_eq!(with.bytes(), without.bytes());
    }
    // It cannot be linked again.
    let made = without_relocs(&[("a.o", &object(0))]);
    let error = crate::made::refusal_of(&[("a.smf", made.bytes())]);
    assert!(error.contains("--emit-relocs"), "{error}");
}

/// Of the symbols of sections, those are left to which a relocation for the loader refers.
#[test]
#[cfg(target_arch = "x86_64")]
fn symbols_of_sections_without_relocations_are_left_out() {
    let misaligned = "\n.byte 0\n.quad t+1, far";
    for (more, expected) in [("", &[][..]), (misaligned, &[".text"][..])] {
        let object = asm(&format!(
            ".text\n.globl t\nt: call far\n ret\n.data\n.globl d\nd: .quad d, t{more}\n.bss\n.skip 8\n"
        ));
        let (made, kept) = (without_relocs(&[("a.o", &object)]), packed(&object));
        let locals = |made: &Made| -> Vec<String> {
            let symbols = made.symbols().into_iter();
            let locals = symbols.filter(|symbol| !symbol.is_import() && !symbol.is_export());
            locals.map(|symbol| String::from_utf8_lossy(symbol.name()).into_owned()).collect()
        };
        assert_eq!(locals(&made), expected);
        assert!(locals(&kept).len() >= 3, "{:?}", locals(&kept));
        let smf = made.smf();
        compare_at(&kept, link(&smf).symbol(b"t").unwrap());
    }
}

/// Constants without addresses are pages of the file; those with addresses are copied and relocated.
#[test]
fn data_of_a_mapped_file_agrees_with_the_relocation_sections() {
    let scratch = Scratch::new();
    let path = scratch.path("mapped.smf");
    let constants = asm(".section .rodata\n.globl c\nc: .rept 32768\n .quad 0x1234\n .endr
        .section .data.rel.ro,\"aw\"\n.globl p\np: .rept 3000\n .quad c, p, 0\n .endr\n");
    let check = |object: &[u8]| {
        let objects = [("a.o", object), ("c.o", &*constants)];
        let made = linked(&objects);
        for module in [made.without_relative(), without_relocs(&objects), linked(&objects)] {
            std::fs::write(&path, module.bytes()).unwrap();
            // SAFETY: no process changes the file.
            let file_policy = FilePolicy::Map(unsafe { Unchanged::promised() });
            let options = LoaderOptions { file_policy, ..LoaderOptions::default() };
            let loader = Loader::new(options).unwrap();
            loader.modules().define(b"far", IMPORT).unwrap();
            loader.load_module(&path, None).unwrap();
            compare_at(&made, loader.modules().resolve(b"t").unwrap().unwrap().address);
            let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
            assert!(maps.contains(path.to_str().unwrap()));
        }
    };
    // Without imports, all relocations of `.relro` are relative.
    check(&asm(".text\n.globl t\nt: ret\n"));
    (0..scale(20, 4)).for_each(|seed| check(&object_with(seed, ".data.rel.ro.more,\"aw\"")));
}

#[test]
fn list_of_a_table_is_a_bit_for_each_pointer() {
    let made = packed(&asm(".data\n.globl d\nd: .rept 640\n .quad d\n .endr\n"));
    let with = made.section(".smf.image").data.len();
    let plain = made.without_relative();
    // A magic, two counts, one section, an offset and a bitmap for every 63 other words.
    assert_eq!(with - plain.section(".smf.image").data.len(), 4 + 4 + 4 + 4 + 8 + 8 * 11);
}

/// The error of verifying a module with 64 bits changed at an offset of a section.
fn error_of(made: &Made, at: u64, value: u64) -> FormatError {
    let mut bytes = made.bytes().to_vec();
    let at = usize::try_from(at).unwrap();
    bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
    Smf::parse(&bytes).and_then(|smf| smf.verify()).unwrap_err()
}

#[test]
fn list_that_contradicts_the_relocations_is_refused() {
    let made = packed(&asm(".data\n.globl d\nd: .quad d, d+8, 0, d+16, 0, 0\n"));
    let note = made.section(".smf.image");
    let data = made.section(".data");
    // An offset and a bitmap end the note.
    let list = note.offset + note.data.len() as u64 - 16;
    let start = made.plan_offset(data.index).unwrap();
    for (at, value, expected) in [
        // A place without a relocation, and a relocation without a place.
        (list + 8, 0b11011, ExtensionError::PrelinkRelative { place: start + 32, at: list }),
        (
            list + 8,
            0b10011,
            ExtensionError::PrelinkPlace { section: 1, index: 2, at: data.offset + 24 },
        ),
        (
            list + 8,
            0b0011,
            ExtensionError::PrelinkPlace { section: 1, index: 2, at: data.offset + 24 },
        ),
        // Another value than that of the relocation.
        (
            data.offset + 8,
            start + 9,
            ExtensionError::PrelinkValue { section: 1, index: 1, at: data.offset + 8 },
        ),
        // A place behind the data.
        (list, start + 48, ExtensionError::PrelinkRelative { place: start + 48, at: list }),
    ] {
        assert_eq!(error_of(&made, at, value), FormatError::Extension(expected), "{value:#x}");
    }
}

/// A list that a bit changes is refused, or only words of constants and data change.
#[test]
fn damaged_list_is_refused_or_stays_in_data() {
    let made = packed(&object(3));
    let note = made.section(".smf.image");
    let end = note.data.len();
    let first = note.data.windows(4).position(|magic| magic == b"RELR").unwrap();
    let code = |module: &Module<'_>| {
        let range = module.code().next().unwrap();
        let start = std::ptr::with_exposed_provenance::<u8>(range.start);
        // SAFETY: the module exposes its pages, and nothing writes to its code.
        unsafe { std::slice::from_raw_parts(start, range.len()) }.to_vec()
    };
    let smf = made.smf();
    let intact = code(&link(&smf));
    let (mut refused, mut linked) = (0, 0);
    for bit in (first * 8..end * 8).step_by(scale(1, 3) as usize) {
        let mut bytes = made.bytes().to_vec();
        bytes[usize::try_from(note.offset).unwrap() + bit / 8] ^= 1 << (bit % 8);
        let Ok(smf) = Smf::parse(&bytes) else { continue };
        match Image::map(&smf).and_then(|image| image.link(&|_: &[u8]| Some(IMPORT))) {
            Ok(module) => {
                assert!(code(&module) == intact);
                assert!(smf.verify().is_err());
                linked += 1;
            }
            Err(_) => refused += 1,
        }
    }
    assert!(linked > 10 && refused > 10, "{linked} {refused}");
}

#[test]
#[cfg(target_arch = "x86_64")]
fn pointers_in_thread_local_storage_are_relocated_once() {
    let source = "static const char text[] = \"abc\";
        __thread const char *volatile pointer = text;
        long get(long i) { return pointer[i]; }";
    let made = packed(&c(source, &["-O1", "-fPIC"]));
    assert_eq!(made.plan().relative_relocs().places().count(), 1);
    let loader = Loader::new(LoaderOptions::default()).unwrap();
    let host = HostSymbols::of_process().unwrap();
    loader.modules().set_host_resolver(Some(Box::new(host))).unwrap();
    let bytes = ModuleBytes::new(made.bytes().to_vec()).unwrap();
    let module = loader.modules().load(b"m", bytes).unwrap();
    let get = loader.modules().get(module).unwrap().function(b"get").unwrap();
    // SAFETY: the function takes and returns an integer, and the module stays loaded.
    assert_eq!(unsafe { call(get, &[1]) }.unwrap(), i64::from(b'b'));
}

/// Words that refer to data of the old version hold its address, not one in the new image.
#[test]
fn references_to_preserved_data_stay_with_the_old_version() {
    let version = |step: u32| {
        let source = format!(
            "long visible = {step};
            long *const pointers[3] = {{0, &visible, &visible}}; long *pointer = &visible;
            long *at(long n) {{ return n ? ((long *const volatile *)pointers)[n] : *(long *volatile *)&pointer; }}"
        );
        let options = Options { reloadable: true, ..Options::default() };
        let object = c(&source, &["-O1", "-fPIC"]);
        let made = try_pack(&[("a.o", &object)], &options).unwrap();
        assert!(made.plan().relative_relocs().places().count() >= 3);
        ModuleBytes::new(made.bytes().to_vec()).unwrap()
    };
    let user = c("extern long visible; long *where(void) { return &visible; }", &["-O1", "-fPIC"]);
    let loader = Loader::new(LoaderOptions::default()).unwrap();
    let modules = loader.modules();
    let module = modules.load(b"m", version(1)).unwrap();
    let user = ModuleBytes::new(packed(&user).bytes().to_vec()).unwrap();
    let user = modules.load(b"user", user).unwrap();
    let run = |handle, name: &[u8], args: &[i64]| {
        let function = modules.get(handle).unwrap().function(name).unwrap();
        // SAFETY: the functions take and return integers and addresses, and the modules stay loaded.
        unsafe { call(function, args) }.unwrap()
    };
    let visible = run(user, b"where", &[]);
    for step in [2, 3] {
        let done = modules.reload(module, version(step), StateMigration::Copy, &mut |_| {});
        assert_eq!(done.unwrap().kept, 1);
        for n in 0..3 {
            assert_eq!(run(module, b"at", &[n]), visible, "{n}");
        }
    }
}
