//! Compiles an instance of a generic template and calls it: `cargo run -p smf-core --example jit_template`.
#![allow(unsafe_code)]

use std::error::Error;

use smf_core::format::ext::hash_index;
use smf_core::format::template::{Container, Template};
use smf_core::format::write::{Module, NewSection, NewTemplates};
use smf_core::format::{Header, Layout, SectionKind};
use smf_core::ir::text::parse;
use smf_core::memory::code_alloc::CodeMemory;
use smf_core::templates::{JitConfig, JitInstantiator};
use smf_core::trap::call;

/// A template in the text form of the IR.
const TEMPLATE: &str = "\
template max<T>(a: T, b: T) -> T
    br_ge T a, b, first
    return T b
first:
    return T a
end
";

/// The note of the module: the instances that may be compiled.
const NOTE: &[u8] = b"possible |template, type_args, mangled_name|\n    max, i64, max$i64\n";

/// A module with the template and its note.
fn module() -> Result<Vec<u8>, Box<dyn Error>> {
    let body = parse(TEMPLATE)?.remove(0).body;
    let (kind, params, constraints) = (None, 0, Default::default());
    let templates = &[Template { name: b"max", kind, params, constraints, body: &body }];
    let templates = NewTemplates { container: Container::Counted, templates }.to_vec()?;
    let section = |kind, name, payload| NewSection { kind, name, ..hash_index::section(payload) };
    let sections = &[
        section(SectionKind::TemplateCode, &b".templates"[..], &templates[..]),
        section(SectionKind::Note, b"note.sdn", NOTE),
    ];
    let (layout, header) = (Layout::Native, Header::default());
    Ok(Module { layout, header, stub: &[], sections, symbols: &[] }.to_vec()?)
}

fn max(a: i64, b: i64) -> Result<i64, Box<dyn Error>> {
    let templates = JitInstantiator::new(
        JitConfig { update_smf: false, ..JitConfig::default() },
        CodeMemory::default(),
    )?;
    templates.load_smf_bytes(b"max.smf", &module()?)?;
    let instance = templates.try_jit_instantiate(b"max$i64")?;
    // SAFETY: the instance takes two integers, and `instance` keeps its code mapped.
    Ok(unsafe { call(instance.address(), &[a, b]) }?)
}

fn main() -> Result<(), Box<dyn Error>> {
    println!("{}", max(17, 42)?);
    Ok(())
}

#[cfg(all(test, target_arch = "x86_64"))]
#[test]
fn instance_of_the_template_is_called() -> Result<(), Box<dyn Error>> {
    assert_eq!(max(17, 42)?, 42);
    assert_eq!(max(-1, -2)?, -1);
    Ok(())
}
