//! Source lines of addresses in loaded modules, from their debugging information.

use addr2line::Context;
use addr2line::gimli::{Dwarf, EndianSlice, LittleEndian, SectionId};
use smf_core::format::ext::debug_addresses;
use smf_core::format::{SectionKind, Smf};
use smf_core::loader::ModuleRef;

use crate::debug_info;

/// A line of a source text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceLine {
    /// The path of the file, as the compiler recorded it.
    pub file: String,
    /// The line, from 1.
    pub line: u32,
    /// The name of the function of which the code was compiled, as a symbol has it: of the caller, if the line is that of an
    /// inlined function.
    pub function: Option<String>,
}

/// The line at `address`, and the function around it.
fn line_of(context: &Context<EndianSlice<'_, LittleEndian>>, address: u64) -> Option<SourceLine> {
    let location = context.find_location(address).ok()??;
    let mut frames = context.find_frames(address).skip_all_loads().ok()?;
    let mut function = None;
    while let Ok(Some(frame)) = frames.next() {
        function = frame.function;
    }
    let function = function.and_then(|name| Some(name.raw_name().ok()?.into_owned()));
    Some(SourceLine { file: location.file?.to_owned(), line: location.line?, function })
}

/// The source lines of the code of a file that is not loaded, by offset in its code section.
pub fn code_lines<'d>(smf: &Smf<'d>) -> Box<dyn Fn(u64) -> Option<SourceLine> + 'd> {
    let sections: Vec<_> = smf
        .sections()
        .iter()
        .filter(|section| section.kind == SectionKind::Debug)
        .filter_map(|section| Some((debug_addresses::elf_name(section.name)?, section.data)))
        .collect();
    let load = |id: SectionId| {
        let section = sections.iter().find(|(name, _)| *name == id.name().as_bytes());
        let bytes = section.map_or(&[][..], |(_, bytes)| bytes);
        Ok::<_, addr2line::gimli::Error>(EndianSlice::new(bytes, LittleEndian))
    };
    let dwarf = Dwarf::load(load).ok().filter(|_| !sections.is_empty());
    let context = dwarf.and_then(|dwarf| Context::from_dwarf(dwarf).ok());
    Box::new(move |offset| line_of(context.as_ref()?, offset))
}

/// The source line of the instruction at `address`; `None` if the module has no debugging information for it
/// (`smf pack -g` keeps that of its inputs).
pub fn source_line(module: &ModuleRef<'_>, address: u64) -> Option<SourceLine> {
    let sections = debug_info::of_module(module);
    if sections.is_empty() {
        return None;
    }
    let load = |id: SectionId| {
        let section = sections.iter().find(|section| section.name == id.name().as_bytes());
        let bytes = section.map_or(&[][..], |section| &section.bytes);
        Ok::<_, addr2line::gimli::Error>(EndianSlice::new(bytes, LittleEndian))
    };
    let dwarf = Dwarf::load(load).ok()?;
    let context = Context::from_dwarf(dwarf).ok()?;
    line_of(&context, address)
}
