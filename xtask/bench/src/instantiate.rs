//! Templates: the time to make an instance, and to find an existing one.
//!
//! The bodies are precompiled, so that everything but compilation is measured.

use std::cell::Cell;
use std::fmt::Write;
use std::hint::black_box;

use smf_core::format::Layout;
use smf_core::format::ext::hash_index;
use smf_core::format::note::Note;
use smf_core::format::template::{Container, Template};
use smf_core::format::write::{Module, NewSection, NewTemplates};
use smf_core::format::{Arch, Header, SectionKind};
use smf_core::memory::code_alloc::CodeMemory;
use smf_core::templates::{
    JitConfig, JitInstantiator, JitSymbolResolver, MetadataError, Variant, encode_precompiled,
};

use crate::measure::{Bench, Measure, Target, repeat, write_settled};

const MAKE: &str = "instantiate a template whose code is ready, metadata loaded, note not written";
const FIND: &str = "resolve an instance made before";
const CAN: &str = "tell whether one of 100,000 possible instances can be made";
const PARSE: &str = "parse a note.sdn of 1 MiB, a byte";
const FIRST: &str = "load a module's metadata and make its first instance";

const MANY: usize = 100_000;

pub(crate) fn measure(bench: &mut Bench) {
    if !bench.wants(&[MAKE, FIND, CAN, PARSE, FIRST]) {
        return;
    }
    let target = Target::limit;
    let rows = symbols();
    let file = module(&rows);
    {
        let next = Cell::new(0);
        let jit = Cell::new(open(&file).unwrap());
        let make = || {
            if next.get() == MANY {
                jit.set(open(&file).unwrap());
                next.set(0);
            }
            let symbol = &rows[next.replace(next.get() + 1)];
            let open = jit.take();
            let made = open.as_ref().unwrap().try_jit_instantiate(symbol.as_bytes()).is_ok();
            jit.set(open);
            assert!(made);
        };
        let measure =
            Measure { name: MAKE, target: target(2000.0), batches: 100, ..Measure::default() };
        bench.take(&measure, repeat(make), None);
    }
    let resolver = JitSymbolResolver::new(open(&file).unwrap().unwrap());
    assert!(resolver.resolve(rows[7].as_bytes()).is_some());
    let find = Measure { name: FIND, target: target(20.0), ..Measure::default() };
    let symbol = rows[7].as_bytes();
    bench.take(&find, repeat(|| resolver.resolve(black_box(symbol))), None);

    let next = Cell::new(0);
    let jit = resolver.instantiator();
    // Rows far apart in the module. The requests use existing names.
    let asked: Vec<_> = rows.iter().step_by(397).cloned().collect();
    let can = || {
        let number = (next.get() + 1) % asked.len();
        next.set(number);
        jit.can_jit_instantiate(asked[number].as_bytes())
    };
    bench.take(
        &Measure { name: CAN, target: target(30.0), ..Measure::default() },
        repeat(can),
        None,
    );

    let text = note(&rows, 1 << 20);
    let parse = Measure {
        name: PARSE,
        per: text.len() as u64,
        // 300 MB/s.
        target: target(1000.0 / 300.0),
        ..Measure::default()
    };
    bench.take(&parse, repeat(|| Note::parse(text.as_bytes(), 0).unwrap().check().unwrap()), None);

    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("small.smf");
    write_settled(&path, &module(&rows[..100]));
    let path = path.into_os_string().into_encoded_bytes();
    let first = || {
        let jit = JitInstantiator::new(
            JitConfig { update_smf: false, ..JitConfig::default() },
            CodeMemory::default(),
        )
        .unwrap();
        jit.load_smf_metadata(&path).unwrap();
        assert!(jit.try_jit_instantiate(rows[50].as_bytes()).is_ok());
    };
    let measure = Measure { name: FIRST, target: target(300_000.0), ..Measure::default() };
    bench.take(&measure, repeat(first), None);
}

fn symbols() -> Vec<String> {
    (0..MANY).map(|number| format!("fn$Vec$T{number}")).collect()
}

/// A note with a row for each symbol, up to this number of bytes.
fn note(rows: &[String], most: usize) -> String {
    let mut text =
        "possible |id, template, type_args, mangled_name, required_by, can_defer|\n".to_owned();
    for (id, symbol) in rows.iter().enumerate() {
        let types = &symbol["fn$Vec$".len()..];
        if text.len() + 100 > most {
            break;
        }
        writeln!(text, "    {id}, \"Vec\", \"{types}\", \"{symbol}\", \"app.spl\", true").unwrap();
    }
    text + "# END_NOTE\n"
}

/// A module with one template, whose code is 64 bytes for any types.
fn module(rows: &[String]) -> Vec<u8> {
    let code = [&[0x90; 63][..], &[0xc3]].concat();
    let variant = Variant { arch: Arch::X86_64, arguments: &[], code: &code, relocations: &[] };
    let body = encode_precompiled(&[variant]).unwrap();
    let template = Template {
        name: b"Vec",
        kind: None,
        params: 0,
        constraints: Default::default(),
        body: &body,
    };
    let templates = NewTemplates { container: Container::Counted, templates: &[template] };
    let (templates, note) = (templates.to_vec().unwrap(), note(rows, usize::MAX));
    let section = |kind, name, payload| NewSection { kind, name, ..hash_index::section(payload) };
    let sections = [
        section(SectionKind::Code, &b".text"[..], &code),
        section(SectionKind::TemplateCode, b".templates", &templates),
        section(SectionKind::Note, b"note.sdn", note.as_bytes()),
    ];
    let (layout, header) = (Layout::Packed, Header::default());
    Module { layout, header, stub: &[], sections: &sections, symbols: &[] }.to_vec().unwrap()
}

/// An `Option`, for moving it in and out of a cell.
fn open(file: &[u8]) -> Result<Option<JitInstantiator>, MetadataError> {
    let jit = JitInstantiator::new(
        JitConfig { update_smf: false, ..JitConfig::default() },
        CodeMemory::default(),
    )
    .unwrap();
    jit.load_smf_bytes(b"bench", file)?;
    Ok(Some(jit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_that_is_measured_works() {
        let rows = symbols();
        let jit = open(&module(&rows[..1000])).unwrap().unwrap();
        assert!(rows[..1000].iter().all(|symbol| jit.can_jit_instantiate(symbol.as_bytes())));
        assert!(jit.try_jit_instantiate(rows[999].as_bytes()).is_ok());
        Note::parse(note(&rows, 1 << 20).as_bytes(), 0).unwrap().check().unwrap();
    }
}
