//! `smf disasm` for machine code: the functions of a module, with the lines of their source, and its source templates.

use std::error::Error;
use std::fmt::Write;

use smf_core::format::ext::source_template::SourceTemplate;
use smf_core::format::{Arch, SectionKind, Smf, Symbol, SymbolKind};
use smf_core::ir::text::print;
use smf_core::ir::{Function, function_of};
use smf_loader::inspect::Parts;
use smf_loader::{DebugInfo, SourceLine};

use crate::bytecode::write_instructions;
use crate::nm::symbols;
use crate::output;

/// The text of a function or template, or of all of them; `None` for a module without machine code.
pub(crate) fn disassemble(
    smf: &Smf<'_>,
    name: Option<&str>,
) -> Result<Option<String>, Box<dyn Error>> {
    // Of a module whose code is an ELF object, the functions of the object.
    let (linked, symbols) = symbols(smf)?;
    let Some(first) = linked.sections().of_kind(SectionKind::Code) else { return Ok(None) };
    let is_function = |symbol: &Symbol<'_>| {
        let is_code = symbol.kind == SymbolKind::Function && !symbol.is_import();
        is_code && symbol.size > 0
    };
    let functions: Vec<_> = symbols.into_iter().filter(is_function).collect();
    let is_wanted = |other: &[u8]| name.is_none_or(|name| other == name.as_bytes());
    let debug_info = DebugInfo::of(smf);
    let lines = debug_info.lines();
    let mut text = String::new();
    for function in functions.iter().filter(|function| is_wanted(function.name())) {
        let section = function.section.and_then(|section| linked.sections().get(section));
        let Some(section) = section.filter(|s| s.kind == SectionKind::Code) else { continue };
        let bytes = linked.contents(&section)?;
        let code = bytes_of(&bytes, function).ok_or("a function is outside of its code section")?;
        writeln!(text, "function {}, {} bytes", output::printable(function.name()), code.len())?;
        // The line tables have offsets without a section.
        let line = |at| lines(at).filter(|_| section.index == first.index);
        write_function(&mut text, smf.header().arch, code, function.value, &line)?;
    }
    write_templates(&mut text, smf, &is_wanted)?;
    if let (Some(name), true) = (name, text.is_empty()) {
        let names = functions.iter().map(|function| function.name());
        return Err(format!("no function `{name}`{}", output::suggestions("has", names)).into());
    }
    Ok((!text.is_empty()).then_some(text))
}

/// The bytes of a symbol in the contents of its section; `None` if it lies outside.
pub(crate) fn bytes_of<'s>(contents: &'s [u8], symbol: &Symbol<'_>) -> Option<&'s [u8]> {
    let rest = contents.get(usize::try_from(symbol.value).ok()?..)?;
    rest.get(..usize::try_from(symbol.size).ok()?)
}

/// Writes the instructions of a function, each line of its source before those that it became.
fn write_function(
    text: &mut String,
    arch: Arch,
    code: &[u8],
    start: u64,
    lines: &dyn Fn(u64) -> Option<SourceLine>,
) -> std::fmt::Result {
    // Offsets at which the line changes; without line tables, the whole function.
    let mut parts: Vec<(usize, Option<SourceLine>)> = Vec::new();
    for offset in 0..code.len() {
        let line = lines(start + offset as u64);
        if parts.last().is_none_or(|(_, last)| *last != line) {
            parts.push((offset, line));
        }
    }
    let ends = parts.iter().skip(1).map(|(offset, _)| *offset).chain([code.len()]);
    for ((offset, line), end) in parts.iter().zip(ends) {
        if let Some(SourceLine { file, line, .. }) = line {
            writeln!(text, "    ; {}:{line}", output::one_line(file))?;
        }
        let part = code.get(*offset..end).unwrap_or(&[]);
        let at = start + *offset as u64;
        match arch {
            Arch::X86_64 => write_instructions(text, part, at)?,
            _ => write_words(text, part, at)?,
        }
    }
    Ok(())
}

/// Writes the words of a machine whose instructions are not decoded.
fn write_words(text: &mut String, code: &[u8], start: u64) -> std::fmt::Result {
    for (index, word) in code.chunks(4).enumerate() {
        write!(text, "        ; {:04x}:", start + index as u64 * 4)?;
        let number = word.iter().rev().fold(0u32, |all, &byte| all << 8 | u32::from(byte));
        writeln!(text, " {number:08x}")?;
    }
    Ok(())
}

fn write_templates(
    text: &mut String,
    smf: &Smf<'_>,
    is_wanted: &dyn Fn(&[u8]) -> bool,
) -> Result<(), Box<dyn Error>> {
    let parts = Parts::of(smf)?;
    let Some(templates) = parts.templates()? else { return Ok(()) };
    for template in templates.iter() {
        let template = template?;
        if !is_wanted(template.name) {
            continue;
        }
        let name = String::from_utf8_lossy(template.name);
        if let Some(body) = SourceTemplate::parse(template.body) {
            writeln!(text, "template {}, source", output::printable(template.name))?;
            // Without those that keep each declaration on its line.
            for line in body.text.lines().filter(|line| !line.is_empty()) {
                writeln!(text, "    | {}", output::one_line(line))?;
            }
            if let Ok(function) = Function::parse(body.ir) {
                print(&name, &function, text)?;
            }
        } else if let Some(Ok(function)) = function_of(template.body) {
            print(&name, &function, text)?;
        }
    }
    Ok(())
}
