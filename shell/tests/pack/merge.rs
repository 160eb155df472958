//! Malformed modules as inputs cause errors, and merged modules pass verification.

use smf_core::format::{Section, Smf, Symbol};
use smf_loader::pack::{Input, Options, PackError, SharedLibrary, pack};

use crate::hostile::assert_valid;
use crate::made::c;
use crate::scale::scale;

/// A module of code, data and zeroes with every kind of reference, which needs a library.
fn module() -> Vec<u8> {
    packed(SOURCE, &["-fno-asynchronous-unwind-tables"])
}

fn packed(source: &str, flags: &[&str]) -> Vec<u8> {
    let object = c(source, &[&["-O2", "-fPIC"], flags].concat());
    let needed = [SharedLibrary::new("libm.so.6")];
    let options = Options { needed: &needed, emit_relocs: true, ..Options::default() };
    pack(&[Input { name: "a.o", data: &object }], &options).unwrap().bytes
}

const SOURCE: &str = "extern long imported; long call(long); long data = 3, zeroes[9];
        long *address = &data; __attribute__((weak)) long weak(void) { return 5; }
        long run(long x) { return call(x) + imported + *address + zeroes[x & 7] + weak(); }";
/// Thread-local storage, constructors, exit handlers, indirect functions and unwinding tables, with the names of `part`.
fn services(part: &str) -> Vec<u8> {
    let source = format!("#include <stdlib.h>
        static __thread long counter = 7; static __thread char buffer[24] __attribute__((aligned(64)));
        static void end(void) {{ counter = 1; }}
        __attribute__((constructor)) static void start(void) {{ atexit(end); }}
        static long plain(long x) {{ return x; }} static void *pick(void) {{ return plain; }}
        long {part}_picked(long) __attribute__((ifunc(\"pick\")));
        __attribute__((destructor(200))) static void stop(void) {{ counter = 2; }}
        long {part}(long x) {{ counter += x; return ++buffer[x & 7] + counter; }}");
    packed(&source, &["-mtls-dialect=gnu2", "-g0"])
}

fn check(data: &[u8], other: &[u8]) -> bool {
    let inputs = [Input { name: "a.smf", data }, Input { name: "b.o", data: other }];
    let options = Options::default();
    match pack(&inputs, &options) {
        Ok(packed) => {
            assert_valid(&packed.bytes, &options);
            true
        }
        Err(PackError::Unsound(error)) => panic!("{error}"),
        Err(error) => {
            assert!(!error.to_string().is_empty());
            false
        }
    }
}

#[test]
fn changed_module_is_refused_or_linked() {
    let module = module();
    let other = c("long call(long x) { return x; } long imported;", &["-O2"]);
    assert!(check(&module, &other));
    let mut linked = 0;
    for len in (0..module.len()).step_by(3) {
        assert!(!check(&module[..len], &other), "{len} bytes");
    }
    let mut changed = module.clone();
    for bit in (0..module.len() * 8).step_by(5) {
        changed[bit / 8] ^= 1 << (bit % 8);
        linked += u32::from(check(&changed, &other));
        changed[bit / 8] ^= 1 << (bit % 8);
    }
    assert!(linked > 100, "{linked}");
}

/// Two modules with tables that are rewritten when they are merged.
#[test]
#[cfg(target_arch = "x86_64")]
fn changed_module_with_services_of_the_process_is_refused_or_linked() {
    let (module, other) = (services("one"), services("two"));
    assert!(check(&module, &other));
    let smf = Smf::parse(&module).unwrap();
    let names: [&[u8]; 8] = [
        b".tdata",
        b".init_array",
        b".fini_array",
        b".eh_frame",
        b".got",
        b".rela.got",
        b".igot",
        b".smf.image",
    ];
    let (mut cases, mut linked) = (0, 0);
    for name in names {
        let section = smf.sections().named(name).expect("a section is missing");
        let entry = section.entry_offset..section.entry_offset + 64;
        let contents = section.offset..section.offset + section.data.len() as u64;
        for at in entry.chain(contents).map(|at| usize::try_from(at).unwrap()) {
            for value in [0, 1, 4, 0x1b, 0x7f, 0x80, 0xff] {
                cases += 1;
                if cases % scale(1, 11) == 0 {
                    let mut changed = module.clone();
                    changed[at] = value;
                    linked += usize::from(check(&changed, &other));
                }
            }
        }
    }
    let tried = cases / scale(1, 11);
    assert!(tried > 200 && linked > tried / 10 && linked < tried, "{linked} of {tried}");
}

/// The module with `change` applied to the contents of one section, the last one of this name.
fn changed(module: &[u8], section: &[u8], change: impl FnOnce(&mut [u8])) -> Vec<u8> {
    let found = last_named(&Smf::parse(module).unwrap(), section);
    let start = usize::try_from(found.offset).unwrap();
    let mut changed = module.to_vec();
    change(&mut changed[start..start + found.data.len()]);
    changed
}

/// The last section of a name: of relocation sections, the one that a loader applies.
fn last_named<'d>(smf: &Smf<'d>, name: &[u8]) -> Section<'d> {
    smf.sections().iter().filter(|section| section.name == name).last().unwrap()
}

#[test]
#[cfg(target_arch = "x86_64")]
fn malformed_tables_of_a_module_are_refused_with_section_and_offset() {
    let module = services("one");
    let refusal = |data: &[u8]| {
        let made = pack(&[Input { name: "a.smf", data }], &Options::default());
        made.map(drop).expect_err("the module is linked").to_string()
    };
    let tables = |change: fn(&mut [u8])| refusal(&changed(&module, b".eh_frame", change));
    let place = "a.smf, section `.eh_frame`: ";
    // The second record is the first one of a function.
    for (error, expected) in [
        (tables(|table| table[2] = 1), "a record exceeds the section, at offset 0x0"),
        (tables(|table| table[8] = 9), "a common record is malformed, at offset 0x0"),
        (tables(|table| table[28] = 27), "a record refers to no common record, at offset 0x18"),
        (tables(|table| table[35] = 0x40), "a pointer leads outside the module, at offset 0x20"),
    ] {
        assert_eq!(error, format!("{place}{expected}"));
    }
    // The number of the storage in the last word of the section, where no offset can follow.
    let table = last_named(&Smf::parse(&module).unwrap(), b".rela.got");
    let got = Smf::parse(&module).unwrap().sections().named(b".got").unwrap().data.len() as u64;
    let is_storage = |entry: &[u8]| entry[..8] != [0; 8];
    let last = table.data.chunks_exact(24).position(is_storage).unwrap() * 24;
    let error = refusal(&changed(&module, b".rela.got", |relocs| {
        relocs[last..last + 8].copy_from_slice(&(got - 8).to_le_bytes());
    }));
    let expected = format!(
        "a.smf, section `.got`: no offset follows the module number, at offset {:#x}",
        got - 8
    );
    assert_eq!(error, expected);
}

#[test]
#[cfg(target_arch = "x86_64")]
fn malformed_slots_and_exit_handles_of_a_module_are_refused() {
    let module = services("one");
    let refusal = |data: &[u8]| {
        let made = pack(&[Input { name: "a.smf", data }], &Options::default());
        made.map(drop).expect_err("the module is linked").to_string()
    };
    let slots = Smf::parse(&module).unwrap().sections().named(b".igot").unwrap();
    let mut changed = module.clone();
    // The alignment.
    changed[usize::try_from(slots.entry_offset).unwrap() + 32] = 4;
    let error = refusal(&changed);
    assert!(error.contains("has indirect functions (IFUNC)") && error.contains(".igot"), "{error}");
    let smf = Smf::parse(&module).unwrap();
    let handle = smf.symbols().iter().position(|s| s.unwrap().name() == b"__dso_handle").unwrap();
    let error = refusal(&without_relocs(&module, handle));
    assert!(error.contains("registers exit handlers under a `__dso_handle`"), "{error}");
}

/// The module whose relocations refer to the section of symbol `number` instead, which has the same address.
#[cfg(target_arch = "x86_64")]
fn without_relocs(module: &[u8], number: usize) -> Vec<u8> {
    let smf = Smf::parse(module).unwrap();
    let handle = smf.symbols().get(number as u32).unwrap();
    let is_start = |s: &Symbol<'_>| (s.section, s.value) == (handle.section, 0);
    let start = smf.symbols().iter().position(|s| is_start(&s.unwrap())).unwrap() as u32;
    let mut changed = module.to_vec();
    for table in smf.reloc_tables().map(Result::unwrap) {
        for (index, reloc) in table.iter().enumerate() {
            if reloc.symbol as usize == number {
                let at = usize::try_from(table.section.offset).unwrap() + index * 24;
                let addend = reloc.addend + handle.value as i64;
                changed[at + 8..at + 12].copy_from_slice(&start.to_le_bytes());
                changed[at + 16..at + 24].copy_from_slice(&addend.to_le_bytes());
            }
        }
    }
    changed
}

#[test]
fn malformed_list_of_libraries_is_refused_with_section_and_offset() {
    let mut module = module();
    let at = module.windows(9).position(|bytes| bytes == b"libm.so.6").unwrap();
    module[at] = b'/';
    let error = pack(&[Input { name: "a.smf", data: &module }], &Options::default()).unwrap_err();
    let error = error.to_string();
    let offset = format!("at offset {:#x}", at - 1);
    for part in ["a.smf: section ", ".smf.needed: name 0 contains a slash", &offset] {
        assert!(error.contains(part), "{error}");
    }
}
