//! Extraction of functions from packed modules, and relinking.
#![allow(unsafe_code)]

use std::collections::HashMap;

use smf_core::extract::{ExtractError, ExtractedReloc, FunctionBody, FunctionExtractor};
use smf_core::format::write::{Module, NewSection, NewSymbol, Payload, Place};
use smf_core::format::{
    Binding, Header, Layout, Reloc, RelocKind, SectionFlags, SectionKind, Smf, SymbolKind,
};
use smf_core::link::Image;

use smf_core::trap::call;
use smf_loader::pack::Options;

use crate::made::{Made, c, packed, try_pack, with_relocs, without_relocs};

/// Calls in every direction, data of every kind, imported functions and data.
const PROGRAM: &str = r#"
    extern long outer(long), far_data;
    long counter = 5; static long hidden; static const long table[4] = {3, 5, 7, 11};
    long add(long x) { return counter += x; }
    __attribute__((noinline)) long twice(long x) { return 2 * x; }
    long calls(long x) { return twice(add(x)) + twice(x); }
    long tail(long x) { return twice(x + 1); }
    long recursive(long n) { return n ? n + recursive(n - 1) : 0; }
    long reads(long i) { return table[i & 3] + hidden++; }
    long imports(long x) { return outer(x) + far_data; }
    long tail_import(long x) { return outer(x + 1); }
    long (*taken(void))(long) { return twice; }
    long pointed(long x) { return taken()(x); }
    long loops(long n) { long s = 0; for (; n; n--) s += n & 1 ? n : -n; return s; }
"#;

extern "C" fn outer(x: i64) -> i64 {
    1000 + x
}

static FAR_DATA: i64 = 77;

fn imports(name: &[u8]) -> Option<u64> {
    match name {
        b"outer" => Some(outer as extern "C" fn(i64) -> i64 as usize as u64),
        b"far_data" => Some(std::ptr::from_ref(&FAR_DATA) as u64),
        _ => None,
    }
}

/// Relinks a module: unchanged data, and the functions in reverse order.
fn relinked(smf: &Smf<'_>) -> Vec<u8> {
    let all = FunctionExtractor::new(smf).unwrap();
    let functions: Vec<FunctionBody<'_, '_>> = all.iter().map(Result::unwrap).collect();
    let data: Vec<_> = smf.sections().iter().filter(|s| s.kind.is_loaded()).collect();
    let data: Vec<_> = data.into_iter().filter(|s| s.kind != SectionKind::Code).collect();
    let mut code: Vec<u8> = Vec::new();
    let mut symbols: Vec<NewSymbol<'_>> = Vec::new();
    let symbol = |name, kind, place, value, size, binding| NewSymbol {
        name,
        kind,
        binding,
        place,
        value,
        size,
        ..NewSymbol::default()
    };
    for (number, section) in (1u16..).zip(&data) {
        let (kind, place) = (SymbolKind::Data, Place::Section(number));
        symbols.push(symbol(section.name, kind, place, 0, 0, Binding::Local));
    }
    let mut begins = Vec::new();
    for function in functions.iter().rev() {
        code.resize(code.len().next_multiple_of(16) + 16, 0xcc);
        let (at, size) = (code.len() as u64, function.bytes.len() as u64);
        code.extend_from_slice(function.bytes);
        let (kind, place) = (SymbolKind::Function, Place::Section(0));
        symbols.push(symbol(function.symbol.name(), kind, place, at, size, Binding::Global));
        begins.push(at);
    }
    let mut imports: HashMap<&[u8], u32> = HashMap::new();
    let mut relocs = Vec::new();
    for (function, begin) in functions.iter().rev().zip(begins) {
        for reloc in function.relocations() {
            let ExtractedReloc { offset, kind, addend, symbol: to } = reloc.unwrap();
            let (symbol, addend) = if to.is_import() {
                let next = symbols.len() as u32;
                let number = *imports.entry(to.name()).or_insert(next);
                if number == next {
                    let (kind, place) = (SymbolKind::Function, Place::Import);
                    symbols.push(symbol(to.name(), kind, place, 0, 0, Binding::Global));
                }
                (number, addend)
            } else if let Some(at) = data.iter().position(|s| Some(s.index) == to.section) {
                (at as u32, addend + to.value as i64)
            } else {
                let named = |s: &NewSymbol<'_>| s.name == to.name() && s.size != 0;
                (symbols.iter().position(named).unwrap() as u32, addend)
            };
            relocs.push(Reloc { offset: begin + offset, symbol, kind, addend });
        }
    }
    let new = |kind, name, payload| NewSection {
        kind,
        name,
        flags: SectionFlags(SectionFlags::READ),
        alignment: 64,
        virtual_size: None,
        payload,
    };
    let mut sections = vec![new(SectionKind::Code, b".text", Payload::Bytes(&code))];
    for section in &data {
        let mut copy = new(section.kind, section.name, Payload::Bytes(section.data));
        copy.virtual_size = Some(section.virtual_size);
        sections.push(copy);
    }
    sections.push(new(SectionKind::Reloc, b".rela", Payload::Relocs(&relocs)));
    let header = Header { arch: smf.header().arch, ..Header::default() };
    let (layout, stub) = (Layout::Packed, &[][..]);
    Module { layout, header, stub, sections: &sections, symbols: &symbols }.to_vec().unwrap()
}

fn results(file: &[u8]) -> Vec<i64> {
    let smf = Smf::parse(file).unwrap();
    let module = Image::map(&smf).unwrap().link(&imports).unwrap();
    let mut results = Vec::new();
    for round in 0..3 {
        for name in [
            "add",
            "calls",
            "tail",
            "recursive",
            "reads",
            "imports",
            "tail_import",
            "pointed",
            "loops",
        ] {
            let address = module.function(name.as_bytes()).unwrap();
            // SAFETY: they take and return an integer, and the module lives until the end.
            results.push(unsafe { call(address, &[round + 2]) }.unwrap());
        }
    }
    results
}

const FLAGS: [&[&str]; 4] = [
    &["-O0", "-fPIC"],
    &["-O2", "-fPIC"],
    &["-O3", "-fPIC", "-march=x86-64-v3"],
    &["-Os", "-fPIC"],
];

fn pack(source: &str, layout: Layout, flags: &[&str]) -> Made {
    let options = Options { layout, ..with_relocs() };
    try_pack(&[("a.o", &c(source, flags))], &options).unwrap()
}

#[test]
#[cfg(target_arch = "x86_64")]
fn extracted_functions_return_the_same_in_another_module() {
    for flags in FLAGS {
        let made = pack(PROGRAM, Layout::Packed, flags);
        let expected = results(made.bytes());
        assert_eq!(results(&relinked(&made.smf())), expected, "{flags:?}");
    }
}

#[test]
#[cfg(target_arch = "x86_64")]
fn distances_are_extracted_as_named_relocations() {
    for flags in FLAGS {
        let made = pack(PROGRAM, Layout::Packed, flags);
        let smf = made.smf();
        let all = FunctionExtractor::new(&smf).unwrap();
        let names = |function: &str| -> Vec<(RelocKind, String)> {
            let function = all.function(function.as_bytes()).unwrap();
            let relocs = function.relocations().map(Result::unwrap);
            relocs
                .map(|r| (r.kind, String::from_utf8_lossy(r.symbol.name()).into_owned()))
                .collect()
        };
        let call = |name: &str| (RelocKind::Plt32, name.to_owned());
        assert_eq!(names("tail"), [call("twice")]);
        assert_eq!(names("tail_import"), [call("outer")]);
        assert_eq!(
            names("calls"),
            [call("add"), call("twice"), call("twice")][..names("calls").len()]
        );
        let slot = (RelocKind::GotPcRel, "far_data".to_owned());
        assert!(names("imports").contains(&call("outer")) && names("imports").contains(&slot));
        assert!(names("taken").contains(&(RelocKind::Pc32, "twice".to_owned())));
        // Branches within a function need no relocation.
        assert!(names("loops").iter().all(|(kind, _)| *kind != RelocKind::Plt32));
    }
}

/// Without its relocations a function that uses data is refused. One that calls others or imports is not.
#[test]
#[cfg(target_arch = "x86_64")]
fn functions_without_relocations_are_extracted_unless_they_use_data() {
    for flags in FLAGS {
        let object = c(PROGRAM, flags);
        let (made, kept) = (without_relocs(&[("a.o", &object)]), packed(&object));
        let (smf, with) = (made.smf(), kept.smf());
        let all = FunctionExtractor::new(&smf).unwrap();
        let with = FunctionExtractor::new(&with).unwrap();
        let relocs = |function: &FunctionBody<'_, '_>| -> Vec<(u64, RelocKind, i64, String)> {
            let relocs = function.relocations().map(Result::unwrap);
            let name = |name: &[u8]| String::from_utf8_lossy(name).into_owned();
            relocs.map(|r| (r.offset, r.kind, r.addend, name(r.symbol.name()))).collect()
        };
        for name in ["twice", "tail", "imports", "tail_import", "taken"] {
            let expected = relocs(&with.function(name.as_bytes()).unwrap());
            assert_eq!(
                relocs(&all.function(name.as_bytes()).unwrap()),
                expected,
                "{name} {flags:?}"
            );
        }
        let refused = all.function(b"reads").map(|_| ()).unwrap_err();
        assert!(matches!(refused, ExtractError::Instruction { .. }), "{flags:?}");
        assert!(refused.to_string().contains("--emit-relocs"), "{refused}");
    }
}

#[test]
#[cfg(target_arch = "x86_64")]
fn function_with_unnamed_target_is_refused_alone() {
    let source = "__attribute__((noinline)) static long nameless(long x) { return x * 3; }
        long user(long x) { return nameless(x) + 1; } long other(long x) { return x + 2; }";
    let made = pack(source, Layout::Packed, &["-O2", "-fPIC"]);
    // A distance to another section, which requires an image.
    let with_data = format!("{source} long data; long reads(void) {{ return data; }}");
    let with_data = pack(&with_data, Layout::Packed, &["-O2", "-fPIC"]);
    for made in [&with_data, &made] {
        let smf = made.smf();
        let all = FunctionExtractor::new(&smf).unwrap();
        assert!(all.function(b"other").is_ok());
        let refused = all.function(b"user").err();
        assert!(
            matches!(refused, Some(ExtractError::Instruction { name: b"user", .. })),
            "{refused:?}"
        );
    }
    // In the native layout an import's slot lies in writable data.
    let calls_out = "extern long outer(long); long user(long x) { return outer(x) + 1; }
        long calls(long x) { return user(x) + user(1); }";
    let native = pack(calls_out, Layout::Native, &["-O1", "-fPIC"]);
    let smf = native.smf();
    let all = FunctionExtractor::new(&smf).unwrap();
    assert!(matches!(all.function(b"user").err(), Some(ExtractError::Instruction { .. })));
    assert_eq!(all.function(b"calls").unwrap().relocations().len(), 2);
}
