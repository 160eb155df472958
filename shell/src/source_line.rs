//! Source lines of addresses in loaded modules, from their debugging information.

use addr2line::Context;
use addr2line::gimli::{Dwarf, EndianSlice, LittleEndian, SectionId};
use smf_core::format::Smf;
use smf_core::loader::ModuleRef;

use crate::debug_info;
use crate::tools::DebugSection;

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
    /// The name of the inlined function that has the line.
    pub inlined: Option<String>,
}

type Lines<'d> = Context<EndianSlice<'d, LittleEndian>>;

/// The lines in debugging information; `None` without it.
fn lines(sections: &[DebugSection]) -> Option<Lines<'_>> {
    let load = |id: SectionId| {
        let section = sections.iter().find(|section| section.name == id.name().as_bytes());
        let bytes = section.map_or(&[][..], |section| &section.bytes);
        Ok::<_, addr2line::gimli::Error>(EndianSlice::new(bytes, LittleEndian))
    };
    let dwarf = Dwarf::load(load).ok().filter(|_| !sections.is_empty())?;
    Context::from_dwarf(dwarf).ok()
}

/// The line at `address`, and the function around it.
fn line_of(lines: &Lines<'_>, address: u64) -> Option<SourceLine> {
    let mut frames = lines.find_frames(address).skip_all_loads().ok()?;
    // The innermost inlined function comes first, the function around them last.
    let innermost = frames.next().ok()??;
    let location = innermost.location?;
    let (mut function, mut inlined) = (innermost.function, None);
    while let Ok(Some(frame)) = frames.next() {
        let inner = std::mem::replace(&mut function, frame.function);
        inlined = inlined.or(inner);
    }
    let [function, inlined] = [function, inlined]
        .map(|name| name.and_then(|name| Some(name.raw_name().ok()?.into_owned())));
    Some(SourceLine { file: location.file?.to_owned(), line: location.line?, function, inlined })
}

/// The debugging information of a file that is not loaded.
#[derive(Debug)]
pub struct DebugInfo(Vec<DebugSection>);

impl DebugInfo {
    /// That of `smf`; empty if it has none, or has it in another form than `smf pack` and `smf compile` write.
    pub fn of(smf: &Smf<'_>) -> Self {
        Self(debug_info::of_file(smf))
    }

    /// The source lines of the code, by offset in its section.
    pub fn lines(&self) -> impl Fn(u64) -> Option<SourceLine> {
        let lines = lines(&self.0);
        move |offset| line_of(lines.as_ref()?, offset)
    }
}

/// The source line of the instruction at `address`; `None` if the module has no debugging information for it
/// (`smf pack -g` keeps that of its inputs).
pub fn source_line(module: &ModuleRef<'_>, address: u64) -> Option<SourceLine> {
    line_of(&lines(&debug_info::of_module(module))?, address)
}
