//! Functions and templates extracted from modules, and inserted into others.
#![allow(unsafe_code, clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, missing_docs)]

use smf_core::extract::{ExtractError, ExtractedReloc, FunctionExtractor, template, templates};
use smf_core::format::template::{Container, Template, TemplateKind};
use smf_core::format::write::{
    Module as NewModule, NewSection, NewSymbol, NewTemplates, Payload, Place,
};
use smf_core::format::{
    Arch, Binding, Header, Layout, Reloc, RelocKind, SectionFlags, SectionKind, Smf, Symbol,
    SymbolKind,
};

macro_rules! sample {
    ($name:literal) => {
        Smf::parse(include_bytes!(concat!("../../tests/samples/", $name))).unwrap()
    };
}

/// The parts of a function: its name, its bytes, and offset, kind, addend and symbol of each relocation.
type Parts = (Vec<u8>, Vec<u8>, Vec<(u64, RelocKind, i64, u32)>);

/// The functions of a module, found by a naive search: every symbol is compared with every other one, and with every
/// relocation.
fn naive(smf: &Smf<'_>) -> Vec<Parts> {
    let smf = smf.linked().unwrap();
    let symbols: Vec<Symbol<'_>> = smf.symbols().iter().map(Result::unwrap).collect();
    let mut found = Vec::new();
    for symbol in symbols.iter().filter(|s| s.kind == SymbolKind::Function && s.defined) {
        let Some(index) = symbol.section else { continue };
        let section = smf.section(index).unwrap();
        let after = |other: &&Symbol<'_>| {
            other.section == Some(index)
                && other.kind.has_address()
                && other.kind != SymbolKind::Section
                && other.value > symbol.value
        };
        let next = symbols.iter().filter(after).map(|other| other.value).min();
        let end = match symbol.size {
            0 => next.unwrap_or(section.data.len() as u64),
            size => symbol.value + size,
        };
        let mut relocs = Vec::new();
        for table in smf.reloc_tables().map(Result::unwrap).filter(|t| t.target.index == index) {
            for reloc in table.iter().filter(|r| (symbol.value..end).contains(&r.offset)) {
                relocs.push((reloc.offset - symbol.value, reloc.kind, reloc.addend, reloc.symbol));
            }
        }
        relocs.sort_by_key(|reloc| reloc.0);
        let code = &section.data[symbol.value as usize..end as usize];
        found.push((symbol.name().to_vec(), code.to_vec(), relocs));
    }
    found.sort_by(|a, b| (&a.0, &a.1).cmp(&(&b.0, &b.1)));
    found
}

fn taken(all: &FunctionExtractor<'_>) -> Vec<Parts> {
    let mut found: Vec<Parts> = all
        .iter()
        .map(|concrete| {
            let concrete = concrete.unwrap();
            let relocs = concrete.relocations().map(|reloc| {
                let ExtractedReloc { offset, kind, addend, symbol } = reloc.unwrap();
                (offset, kind, addend, symbol.index)
            });
            (concrete.symbol.name().to_vec(), concrete.bytes.to_vec(), relocs.collect())
        })
        .collect();
    found.sort_by(|a, b| (&a.0, &a.1).cmp(&(&b.0, &b.1)));
    found
}

#[test]
fn functions_of_samples_agree_with_a_naive_search() {
    let mut relocs = 0;
    for (smf, functions) in [
        (sample!("packed.smf"), 5),
        (sample!("native.smf"), 5),
        (sample!("lib.smf"), 1),
        (sample!("app.smf"), 2),
        (sample!("app-native.smf"), 2),
        (sample!("stub-cat.smf"), 1),
        (sample!("native-stub219.smf"), 1),
        (sample!("elf-object.smf"), 5),
    ] {
        let all = FunctionExtractor::new(&smf).unwrap();
        assert_eq!((taken(&all), all.len()), (naive(&smf), functions));
        for (name, bytes, expected) in naive(&smf) {
            let one = all.function(&name).unwrap();
            assert_eq!((one.symbol.name(), one.bytes), (&name[..], &bytes[..]));
            assert_eq!(one.relocations().len(), expected.len());
            relocs += expected.len();
        }
    }
    assert!(relocs > 8, "only {relocs} relocations were seen");
}

/// A module to be written, of functions in one code section.
struct Made<'a> {
    code: Vec<u8>,
    symbols: Vec<NewSymbol<'a>>,
    relocs: Vec<Reloc>,
}

impl<'a> Made<'a> {
    fn new() -> Self {
        Made { code: Vec::new(), symbols: Vec::new(), relocs: Vec::new() }
    }

    fn function(&mut self, name: &'a str, value: u64, size: u64, binding: Binding) -> &mut Self {
        let place = Place::Section(0);
        let name = name.as_bytes();
        self.symbols.push(NewSymbol { name, place, value, size, binding, ..NewSymbol::default() });
        self
    }

    fn file(&self) -> Vec<u8> {
        let code = NewSection::code(&self.code);
        let relocs = NewSection {
            kind: SectionKind::Reloc,
            name: b".rela.text",
            payload: Payload::Relocs(&self.relocs),
            ..code
        };
        let (layout, header) = (Layout::Packed, Header::default());
        let sections = &[code, relocs];
        let module = NewModule { layout, header, stub: &[], sections, symbols: &self.symbols };
        module.to_vec().unwrap()
    }

    /// Appends an extracted function, with imports for the symbols that it uses.
    fn put(&mut self, function: &smf_core::extract::FunctionBody<'_, 'a>) {
        self.code.resize(self.code.len().next_multiple_of(16), 0x90);
        let begin = self.code.len() as u64;
        self.code.extend_from_slice(function.bytes);
        let symbol = function.symbol;
        let new = NewSymbol {
            name: symbol.name(),
            place: Place::Section(0),
            value: begin,
            size: function.bytes.len() as u64,
            ..NewSymbol::default()
        };
        match self.symbols.iter_mut().find(|known| known.name == symbol.name()) {
            Some(import) => *import = new,
            None => self.symbols.push(new),
        }
        for reloc in function.relocations() {
            let ExtractedReloc { offset, kind, addend, symbol } = reloc.unwrap();
            let index = match self.symbols.iter().position(|s| s.name == symbol.name()) {
                Some(index) => index,
                None => {
                    self.symbols.push(NewSymbol {
                        name: symbol.name(),
                        kind: symbol.kind,
                        place: Place::Import,
                        visibility: 0,
                        ..NewSymbol::default()
                    });
                    self.symbols.len() - 1
                }
            };
            self.relocs.push(Reloc { offset: begin + offset, symbol: index as u32, kind, addend });
        }
    }
}

#[test]
fn function_without_size_ends_at_the_next_symbol() {
    let mut made = Made::new();
    made.code = (0..100).collect();
    let global = Binding::Global;
    made.function("last", 80, 0, global).function("first", 0, 0, global);
    made.function("sized", 20, 5, global).function("alias", 20, 0, Binding::Local);
    // A label inside `first` ends it.
    let label = NewSymbol { kind: SymbolKind::Constant, ..made.symbols[0] };
    made.symbols.push(NewSymbol { name: b"label", value: 10, ..label });
    let file = made.file();
    let smf = Smf::parse(&file).unwrap();
    let all = FunctionExtractor::new(&smf).unwrap();
    assert_eq!(taken(&all), naive(&smf));
    let range = |name: &[u8]| all.function(name).unwrap().bytes.to_vec();
    assert_eq!(range(b"first"), (0..10).collect::<Vec<u8>>());
    assert_eq!(range(b"sized"), (20..25).collect::<Vec<u8>>());
    assert_eq!(range(b"alias"), (20..80).collect::<Vec<u8>>());
    assert_eq!(range(b"last"), (80..100).collect::<Vec<u8>>());
    assert_eq!(all.function(b"first").unwrap().alignment, 16);
    let order: Vec<_> = all.iter().map(|found| found.unwrap().symbol.value).collect();
    assert_eq!(order, [0, 20, 20, 80]);
}

#[test]
fn missing_or_ambiguous_name_is_an_error_with_the_name() {
    use Binding::{Global, Local, Weak};
    let mut made = Made::new();
    made.code = vec![0xc3; 64];
    for (name, binding) in [
        ("one", Local),
        ("one", Global),
        ("one", Weak),
        ("two", Global),
        ("two", Global),
        ("two", Local),
        ("local", Local),
        ("local", Local),
        ("weak", Weak),
        ("weak", Local),
    ] {
        let value = made.symbols.len() as u64 * 4;
        made.function(name, value, 4, binding);
    }
    made.function("datum", 0, 4, Global).function("import", 0, 0, Global);
    let count = made.symbols.len();
    made.symbols[count - 2].kind = SymbolKind::Constant;
    made.symbols[count - 1].place = Place::Import;
    made.symbols[count - 1].visibility = 0;
    let file = made.file();
    let smf = Smf::parse(&file).unwrap();
    let all = FunctionExtractor::new(&smf).unwrap();
    let at = |name: &[u8]| all.function(name).unwrap().symbol.value;
    assert_eq!((at(b"one"), at(b"weak")), (4, 32));
    let fault = |name| all.function(name).map(|found| found.symbol.value).unwrap_err();
    for (name, error) in [
        (&b"two"[..], ExtractError::Ambiguous { name: b"two" }),
        (b"local", ExtractError::Ambiguous { name: b"local" }),
        (b"datum", ExtractError::NotAFunction { name: b"datum" }),
        (b"import", ExtractError::Import { name: b"import" }),
        (b"absent", ExtractError::Missing { name: b"absent" }),
        (b"", ExtractError::Missing { name: b"" }),
    ] {
        assert_eq!(fault(name), error);
        assert!(error.to_string().contains(std::str::from_utf8(name).unwrap()), "{error}");
    }
}

#[test]
fn relocation_across_the_end_of_a_function_is_an_error() {
    let mut made = Made::new();
    made.code = vec![0xc3; 64];
    made.function("before", 0, 16, Binding::Global).function("after", 16, 16, Binding::Global);
    made.function("far", 48, 16, Binding::Global);
    for offset in [14, 40] {
        made.relocs.push(Reloc { offset, symbol: 0, kind: RelocKind::Pc32, addend: 0 });
    }
    let file = made.file();
    let all = FunctionExtractor::new(&Smf::parse(&file).unwrap()).map(|all| {
        for name in [&b"before"[..], b"after"] {
            let error = all.function(name).map(|found| found.bytes.len()).unwrap_err();
            assert_eq!(error, ExtractError::Edge { name, offset: 14 });
        }
        assert_eq!(all.function(b"far").unwrap().relocations().len(), 0);
        all.iter().filter(Result::is_err).count()
    });
    assert_eq!(all, Ok(2));
}

#[test]
fn many_functions_and_relocations_in_any_order_agree_with_a_naive_search() {
    // A linear congruential generator: equal numbers in every run.
    let mut state = 1u64;
    let mut random = |below: u64| {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 33) % below
    };
    for round in 0..if cfg!(miri) { 4 } else { 60 } {
        let names: Vec<String> = (0..random(40)).map(|number| format!("f{number}")).collect();
        let mut made = Made::new();
        // `push` and `pop`, which refer to nothing.
        made.code = (0..64 * names.len().max(1)).map(|_| 0x50 + random(16) as u8).collect();
        for (number, name) in (0u64..).zip(&names) {
            let size = if random(3) == 0 { 0 } else { 8 * (1 + random(8)) };
            made.function(name, 64 * number, size, Binding::Global);
        }
        let mut places: Vec<u64> = (0..made.code.len() as u64 / 8).collect();
        for at in (1..places.len()).rev() {
            places.swap(at, random(at as u64 + 1) as usize);
        }
        let symbols = made.symbols.len() as u64;
        for place in places.iter().take(if symbols == 0 { 0 } else { places.len() / 2 }) {
            let (symbol, addend) = (random(symbols) as u32, random(100) as i64);
            made.relocs.push(Reloc { offset: place * 8, symbol, kind: RelocKind::Abs64, addend });
        }
        if round % 2 == 0 {
            made.relocs.sort_by_key(|reloc| reloc.offset);
        }
        let file = made.file();
        let smf = Smf::parse(&file).unwrap();
        let all = FunctionExtractor::new(&smf).unwrap();
        assert_eq!(taken(&all), naive(&smf));
        for name in &names {
            assert_eq!(all.function(name.as_bytes()).unwrap().symbol.name(), name.as_bytes());
        }
    }
}

#[test]
fn module_with_inseparable_functions_is_refused() {
    let refused = |smf: Smf<'_>| FunctionExtractor::new(&smf).err().unwrap();
    assert_eq!(refused(sample!("bcod.smf")), ExtractError::Bytecode);
    assert!(matches!(refused(sample!("bad/reloc-symbol.smf")), ExtractError::Format(_)));
    assert!(FunctionExtractor::new(&sample!("compact.smf")).unwrap().is_empty());

    // Linked with a layout of its own: two sections, of which the second is not loaded.
    let code = NewSection::code(&[0xc3; 16]);
    let plan = [&b"IMG1"[..], &[0, 16, 0, 0], &[2, 0, 0, 0], &[0; 8], &[0xff; 8], &[0; 4]].concat();
    let payload = Payload::Bytes(&plan);
    let plan = NewSection { kind: SectionKind::Note, name: b".smf.image", payload, ..code };
    let (layout, sections) = (Layout::Packed, &[code, plan]);
    // Instructions of two machines are decoded.
    for (arch, is_read) in [(Arch::X86_64, true), (Arch::AARCH64, true), (Arch::RISCV64, false)] {
        let header = Header { arch, ..Header::default() };
        let module = NewModule { layout, header, stub: &[], sections, symbols: &[] };
        let module = module.to_vec().unwrap();
        let smf = Smf::parse(&module).unwrap();
        smf.verify().unwrap();
        let error = FunctionExtractor::new(&smf).err();
        assert_eq!(error, (!is_read).then_some(ExtractError::Prelinked));
    }
}

#[cfg(target_arch = "x86_64")]
mod put_elsewhere {
    use super::*;
    use smf_core::link::{Image, NoImports, Resolve};

    use smf_core::trap::call;

    fn run(file: &[u8], imports: &dyn Resolve, name: &str, args: &[i64]) -> i64 {
        let smf = Smf::parse(file).unwrap();
        smf.verify().unwrap();
        let module = Image::map(&smf).unwrap().link(imports).unwrap();
        let function = module.function(name.as_bytes()).unwrap();
        // SAFETY: the functions of the samples take integers, as many as are passed here.
        unsafe { call(function, args) }.unwrap()
    }

    #[test]
    #[cfg_attr(miri, ignore = "runs machine code")]
    fn extracted_function_runs_in_another_module() {
        for smf in [sample!("packed.smf"), sample!("native.smf")] {
            let all = FunctionExtractor::new(&smf).unwrap();
            let mut made = Made::new();
            made.put(&all.function(b"add").unwrap());
            made.put(&all.function(b"answer").unwrap());
            let file = made.file();
            assert_eq!(run(&file, &NoImports, "add", &[40, -2]), 38);
            assert_eq!(run(&file, &NoImports, "answer", &[]), 42);
        }
    }

    #[test]
    #[cfg_attr(miri, ignore = "runs machine code")]
    fn functions_of_two_modules_are_linked_into_one() {
        let (app, lib) = (sample!("app.smf"), sample!("lib.smf"));
        let (app, lib) =
            (FunctionExtractor::new(&app).unwrap(), FunctionExtractor::new(&lib).unwrap());
        let mut made = Made::new();
        made.put(&app.function(b"direct").unwrap());
        made.put(&app.function(b"through_got").unwrap());
        made.put(&lib.function(b"scale").unwrap());
        let file = made.file();
        assert_eq!(run(&file, &NoImports, "direct", &[14]), 42);
        assert_eq!(run(&file, &NoImports, "through_got", &[-2]), -6);
    }

    #[test]
    #[cfg_attr(miri, ignore = "runs machine code")]
    fn function_is_extracted_from_an_elf_object() {
        let smf = sample!("elf-object.smf");
        let all = FunctionExtractor::new(&smf).unwrap();
        let mut made = Made::new();
        made.put(&all.function(b"answer").unwrap());
        let provide = |name: &[u8]| {
            extern "C" fn multiply(a: i64, b: i64) -> i64 {
                a * b
            }
            let multiply = multiply as extern "C" fn(i64, i64) -> i64 as usize as u64;
            (name == b"add").then_some(multiply)
        };
        assert_eq!(run(&made.file(), &provide, "answer", &[]), 80);
        made.put(&all.function(b"add").unwrap());
        assert_eq!(run(&made.file(), &NoImports, "answer", &[]), 42);
    }
}

/// The template section of a module, alone in a module.
fn with_templates(payload: &[u8]) -> Vec<u8> {
    let section = NewSection {
        kind: SectionKind::TemplateCode,
        name: b"templates",
        flags: SectionFlags(1),
        alignment: 8,
        virtual_size: None,
        payload: Payload::Bytes(payload),
    };
    let (layout, header, sections) = (Layout::Native, Header::default(), &[section][..]);
    NewModule { layout, header, stub: &[], sections, symbols: &[] }.to_vec().unwrap()
}

#[test]
fn templates_are_extracted_byte_for_byte() {
    for (smf, names) in [
        (sample!("note-zero-size.smf"), &["identity", "Pair", "max"][..]),
        (sample!("compact.smf"), &["Vec", "List"]),
    ] {
        let all: Vec<_> = templates(&smf).unwrap().map(Result::unwrap).collect();
        let found: Vec<_> =
            all.iter().map(|one| one.template.name.escape_ascii().to_string()).collect();
        assert_eq!(found, names);
        let section = smf.sections().of_kind(SectionKind::TemplateCode).unwrap();
        // All entries in a row, behind their count, are the section.
        let entries: Vec<u8> = all.iter().flat_map(|one| one.entry).copied().collect();
        assert!(section.data.ends_with(&entries));
        assert_eq!(section.data.len() - entries.len(), if names.len() == 3 { 10 } else { 4 });
        for name in names {
            let one = template(&smf, name.as_bytes()).unwrap();
            assert_eq!(one.template.name, name.as_bytes());
        }
        let missing = template(&smf, b"absent").err();
        assert_eq!(missing, Some(ExtractError::Missing { name: b"absent" }));
    }
    assert_eq!(
        template(&sample!("packed.smf"), b"x").err(),
        Some(ExtractError::Missing { name: b"x" })
    );
}

#[test]
fn template_inserted_into_a_module_is_read_back() {
    let gtpl = sample!("note-zero-size.smf");
    let counted = sample!("compact.smf");
    let pair = template(&gtpl, b"Pair").unwrap();
    let vec = template(&counted, b"Vec").unwrap();
    for (one, others) in [(pair, [b"max", b"max"]), (vec, [b"Lis", b"Lis"])] {
        let other = Template { name: others[0], ..one.template };
        let templates = [other, one.template];
        let new = NewTemplates { container: one.container, templates: &templates };
        let file = with_templates(&new.to_vec().unwrap());
        let smf = Smf::parse(&file).unwrap();
        smf.verify().unwrap();
        let again = template(&smf, one.template.name).unwrap();
        assert_eq!((again.entry, again.container), (one.entry, one.container));
        assert_eq!(again.template.body, one.template.body);
    }
    // In the other container, which requires a known kind.
    let known = Template { kind: Some(TemplateKind::Class), params: 1, ..vec.template };
    let container = Container::Gtpl { constrained: true };
    let payload = NewTemplates { container, templates: &[known] }.to_vec().unwrap();
    let file = with_templates(&payload);
    let again = template(&Smf::parse(&file).unwrap(), b"Vec").map(|one| one.template.body.to_vec());
    assert_eq!(again, Ok(vec![1, 2, 3]));
}

#[test]
fn ambiguous_templates_are_errors() {
    let twice = b"\x02\0\0\0\x01\0\0\0T\0\0\0\0\x01\0\0\0T\0\0\0\0";
    let file = with_templates(twice);
    let smf = Smf::parse(&file).unwrap();
    assert_eq!(template(&smf, b"T").err(), Some(ExtractError::Ambiguous { name: b"T" }));
    // Two with bodies that have no lengths; a single one ends with the section.
    let header = b"\x04\x01\0\0\0T\x02";
    for (count, endless) in [(2u8, true), (1, false)] {
        let entries = [&header[..], b"body"].concat().repeat(count.into());
        let payload = [&b"GTPL\x01\0"[..], &[count, 0, 0, 0], &entries].concat();
        let file = with_templates(&payload);
        let smf = Smf::parse(&file).unwrap();
        match template(&smf, b"T") {
            Err(error) => {
                assert_eq!((error, endless), (ExtractError::UnknownLength { name: b"T" }, true))
            }
            Ok(one) => {
                assert_eq!((one.entry, one.template.body), (&payload[10..], &b"body"[..]));
                assert!(!endless);
            }
        }
    }
}
