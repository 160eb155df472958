//! Oracles of template sections: records of the Simple compiler, and bodies with source text.

use smf_core::format::Arch;
use smf_core::format::ext::source_template::{NewSourceTemplate, SourceTemplate};
use smf_core::format::template::{Container, Template, Templates};
use smf_core::format::template_record::TemplateRecord;
use smf_core::format::write::NewTemplates;
use smf_core::templates::{
    CompileError, CompileRequest, Compiler, Environment, RecordBodies, SourceBodies, Target,
};
use smf_core::types::Type;

/// The largest number of templates of a section that are compiled.
const MAX_COMPILED: usize = 4;

/// Any payload of a template section is refused, or its templates are read, written again byte for byte if they are
/// records, and compiled or refused with a message. Nothing is run.
pub fn check_templates(payload: &[u8]) {
    check_source(payload);
    let Ok(templates) = Templates::parse(payload, 0) else { return };
    let all: Vec<Template<'_>> = templates.iter().flatten().collect();
    let is_record = matches!(templates.container, Container::Records { .. });
    if is_record {
        let container = templates.container;
        let written = NewTemplates { container, templates: &all }.to_vec().expect("records");
        assert_eq!(written, payload);
    }
    for template in all.iter().take(MAX_COMPILED) {
        if is_record {
            let kind = template.kind.expect("a kind");
            let record = TemplateRecord::parse(kind, template.body).expect("a record");
            assert_eq!(record.name.as_bytes(), template.name);
            assert_eq!(record.body.iter().count(), record.body.len());
            assert_eq!(record.members.iter().count(), record.members.len());
            compile(&RecordBodies::new(), template, payload);
        }
        check_source(template.body);
        if SourceTemplate::parse(template.body).is_some() {
            compile(&SourceBodies::new(), template, payload);
        }
    }
}

/// A body with source text is written again byte for byte.
fn check_source(body: &[u8]) {
    let Some(read) = SourceTemplate::parse(body) else { return };
    let [type_params, params] =
        [read.type_params, read.params].map(|t| t.iter().collect::<Vec<_>>());
    let (result, text, ir) = (read.result, read.text, read.ir);
    let new = NewSourceTemplate { type_params: &type_params, params: &params, result, text, ir };
    assert_eq!(new.to_vec().expect("a body"), body);
}

fn compile(compiler: &dyn Compiler, template: &Template<'_>, section: &[u8]) {
    let arguments = vec![Type::I64; usize::from(template.params)];
    for arch in [Arch::X86_64, Arch::AARCH64] {
        let request = CompileRequest {
            symbol: b"instance",
            template: template.name,
            kind: template.kind,
            parameters: Some(template.params),
            body: template.body,
            section,
            requester: &[],
            arguments: &arguments,
            arch,
        };
        match compiler.compile(&request, &mut NoSymbols) {
            Ok(compiled) => {
                assert!(!compiled.code.is_empty());
                let size = compiled.code.len();
                assert!(compiled.relocations.iter().all(|reloc| (reloc.offset as usize) < size));
            }
            Err(error) => assert!(!error.to_string().is_empty()),
        }
    }
}

/// An environment with every symbol, none of which has an address.
struct NoSymbols;

impl Environment for NoSymbols {
    fn instance(&mut self, _: &[u8], _: &[Type]) -> Result<Target, CompileError> {
        Ok(Target::OWN)
    }

    fn symbol(&mut self, _: &[u8]) -> Result<Target, CompileError> {
        Target::of(1).ok_or(CompileError::Needs)
    }

    fn absolute(&mut self, _: u64) -> Result<Target, CompileError> {
        Target::of(0).ok_or(CompileError::Needs)
    }

    fn address(&self, _: Target) -> Option<u64> {
        None
    }

    fn declare_signature(&mut self, _: Box<[u8]>) {}

    fn signature(&self, _: Target) -> Option<&[u8]> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::check_templates;
    use crate::sample;

    #[test]
    fn damaged_sections_are_refused_or_compiled() {
        let section = &sample("records.smf").bytes[..390];
        check_templates(section);
        for length in 0..section.len() {
            check_templates(&section[..length]);
        }
        for place in 0..section.len() {
            let mut damaged = section.to_vec();
            damaged[place] ^= 1 << (place % 8);
            check_templates(&damaged);
        }
    }
}
