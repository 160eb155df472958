//! `smf disasm` for modules without bytecode: their functions of machine code, with the lines of their source, and their
//! templates.

use std::error::Error;
use std::fmt::Write;

use smf_core::format::{Arch, SectionKind, Smf, Symbol, SymbolKind};
use smf_loader::inspect::Parts;
use smf_loader::{DebugInfo, SourceLine};

use crate::bytecode::write_instructions;
use crate::generic::{print_instances, print_templates};
use crate::nm::symbols;
use crate::output;
use crate::values::little_endian;

/// The text of the functions and templates, or of those with this name.
pub(crate) fn disassemble(smf: &Smf<'_>, name: Option<&str>) -> Result<String, Box<dyn Error>> {
    let is_wanted = |other: &[u8]| name.is_none_or(|name| other == name.as_bytes());
    let mut text = String::new();
    let functions = write_functions(&mut text, smf, &is_wanted)?;
    let parts = Parts::of(smf)?;
    let templates = print_templates(&mut text, &parts, &is_wanted)?;
    if name.is_none() {
        print_instances(&mut text, &parts)?;
    }
    match name {
        _ if !text.is_empty() => Ok(text),
        Some(name) => {
            let what = if templates.is_empty() { "function" } else { "function or template" };
            let suggestions = output::suggestions("has", functions.into_iter().chain(templates));
            Err(format!("no {what} `{name}`{suggestions}").into())
        }
        None => Err("the module has no bytecode and no machine code".into()),
    }
}

/// Writes the functions that are wanted. Returns the names of all.
fn write_functions<'d>(
    text: &mut String,
    smf: &Smf<'d>,
    is_wanted: &dyn Fn(&[u8]) -> bool,
) -> Result<Vec<&'d [u8]>, Box<dyn Error>> {
    let (linked, mut functions) = symbols(smf)?;
    let Some(first) = linked.sections().of_kind(SectionKind::Code) else { return Ok(Vec::new()) };
    functions.retain(|symbol| {
        let is_code = symbol.kind == SymbolKind::Function && !symbol.is_import();
        is_code && symbol.size > 0
    });
    let debug_info = DebugInfo::of(smf);
    let lines = debug_info.lines();
    for function in functions.iter().filter(|function| is_wanted(function.name())) {
        let section = function.section.and_then(|section| linked.sections().get(section));
        let Some(section) = section.filter(|s| s.kind == SectionKind::Code) else { continue };
        let bytes = linked.contents(&section)?;
        let code = bytes_of(&bytes, function).ok_or("a function is outside of its code section")?;
        writeln!(text, "function {}, {} bytes", output::printable(function.name()), code.len())?;
        // The line tables have offsets without a section.
        let line = |at| lines(at).filter(|_| section.index == first.index);
        write_function(text, smf.header().arch, code, function.value, &line)?;
    }
    Ok(functions.iter().map(Symbol::name).collect())
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
        writeln!(text, " {:08x}", little_endian(word))?;
    }
    Ok(())
}
