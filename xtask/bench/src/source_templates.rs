//! Templates in source text: from a missing symbol to an instance, against the same template in IR.

use std::cell::Cell;

use smf_core::format::template::{Constraints, Container, Template, TemplateKind};
use smf_core::format::write::{NewTemplates, write_templates};
use smf_core::memory::code_alloc::CodeMemory;
use smf_core::source::{Mode, SourceFile, compile};
use smf_core::templates::{JitConfig, JitInstantiator, encode_source};

use crate::measure::{Bench, Measure, Target, repeat};

const STORED: &str =
    "missing symbol to instance from a source template, metadata loaded, scalar types";
const TEXT: &str = "missing symbol to instance from a source template without IR, metadata loaded";

/// The last three type parameters only serve to distinguish the instances.
const SOURCE: &str = "\
fn work<T, A, B, C>(a: T, b: T, p: T, n: i64) -> T:
    var r = a
    var i = 0
    while i < n:
        val t = a + p
        val u = t * b
        r = r + u
        if r < t:
            r = r - 3
        val v = r + p
        val w = v * b
        r = r + w
        if r < v:
            r = r - 5
        i = i + 2
    r
";

const SCALARS: [&str; 10] = ["i8", "i16", "i32", "i64", "u8", "u16", "u32", "u64", "f32", "f64"];

pub(crate) fn measure(bench: &mut Bench) {
    if !bench.wants(&[STORED, TEXT]) {
        return;
    }
    let file = SourceFile { name: "work.spl", module: "work", text: SOURCE };
    let unit = compile(&[file], Mode::Compile).unwrap().unit.unwrap();
    let mut template = unit.templates.into_iter().next().unwrap();
    let ir = module(template.ir.as_deref().unwrap());
    let stored = module(&encode_source(&template).unwrap());
    template.ir = None;
    let text = module(&encode_source(&template).unwrap());
    for (name, file, target) in [(STORED, &stored, Target::ratio(3.0)), (TEXT, &text, Target::NONE)]
    {
        let measure = Measure { name, peer: "an IR template", target, ..Measure::default() };
        bench.take(&measure, repeat(make(file)), Some(repeat(make(&ir))));
    }
}

fn module(body: &[u8]) -> Vec<u8> {
    let template = Template {
        name: b"work",
        kind: Some(TemplateKind::Function),
        params: 4,
        constraints: Constraints::default(),
        body,
    };
    let container = Container::Gtpl { constrained: false };
    write_templates(&NewTemplates { container, templates: &[template] }, &[]).unwrap()
}

/// Makes one instance after another, in a new instantiator when all have been made.
fn make(file: &[u8]) -> impl FnMut() + '_ {
    let symbols: Vec<String> = (0..SCALARS.len().pow(3))
        .map(|n| {
            let [a, b, c] = [n / 100, n / 10 % 10, n % 10].map(|digit| SCALARS[digit]);
            format!("work$i64_{a}_{b}_{c}")
        })
        .collect();
    let next = Cell::new(0);
    let mut jit = open(file);
    move || {
        if next.get() == symbols.len() {
            jit = open(file);
            next.set(0);
        }
        let symbol = &symbols[next.replace(next.get() + 1)];
        assert!(jit.try_jit_instantiate(symbol.as_bytes()).is_ok());
    }
}

fn open(file: &[u8]) -> JitInstantiator {
    let config = JitConfig { update_smf: false, ..JitConfig::default() };
    let jit = JitInstantiator::new(config, CodeMemory::default()).unwrap();
    jit.load_smf_bytes(b"bench", file).unwrap();
    jit
}
