//! Writes the module: sections, symbols, header.

use smf_core::format::ext::hash_index;
use smf_core::format::ext::prelink;
use smf_core::format::write::{Module, NewSection, NewSymbol, Payload, Place};
use smf_core::format::{
    Binding, Flags, Header, Layout, Phase, Reloc, SectionFlags, SectionKind, SymbolFlags,
    SymbolKind,
};

use super::check::check_code;
use super::error::{PackError, PackWarning};
use super::layout::{Address, ModuleLayout};
use super::object::text;
use super::options::Options;
use super::output::{OutputSection, Segment};
use super::pack_reloc::RelocPlan;
use super::relocate::{
    ExportedData, OutputOffset, RelocateInput, Relocated, SectionData, relocate,
};
use super::resolve::{Export, Program, Resolution};

/// Writes the module.
pub(super) fn emit(
    program: &Program<'_>,
    plan: &RelocPlan,
    addresses: &ModuleLayout,
    options: &Options<'_>,
    entry: Option<Resolution>,
    warnings: &mut Vec<PackWarning>,
) -> Result<Vec<u8>, PackError> {
    let layout = options.layout;
    let mut symbols = section_symbols(&addresses.outputs);
    symbols.extend(exports(program, addresses, warnings)?);
    if options.reloadable {
        symbols.extend(local_data(program, addresses));
    }
    let first_import = u32::try_from(symbols.len()).map_err(|_| PackError::TooLarge)?;
    let exported_data =
        if options.reloadable { exported_data(&symbols) } else { ExportedData::new() };
    symbols.extend(imports(program, plan));
    let input = RelocateInput {
        program,
        plan,
        addresses,
        layout,
        first_import,
        exported_data: &exported_data,
    };
    let Relocated { contents, has_low_addresses, needs_prelink } = relocate(input, warnings)?;
    check_code(input, &contents)?;
    if needs_prelink {
        symbols.push(prelink_symbol());
    }

    let entry_point = entry_point(program, addresses, options, entry)?;
    let mut flags = Flags(0);
    flags.0 |= if has_low_addresses { 0 } else { Flags::PIC };
    flags.0 |= if entry_point.is_some() { Flags::EXECUTABLE } else { 0 };
    flags.0 |= if options.reloadable { Flags::RELOADABLE } else { 0 };
    let entry_point = entry_point.unwrap_or(0);
    let arch = program.machine().arch();
    let (prefetch_hint, prefetch_files) = (u8::from(options.prefetch != 0), options.prefetch);
    let hints = Header { prefetch_hint, prefetch_files, ..Header::default() };
    let mut header = Header { arch, flags, entry_point, ..hints };
    if let Some(algorithm) = options.compress {
        algorithm.set_in(&mut header);
    }
    write(header, options, &addresses.outputs, &contents, needs_prelink, &symbols)
}

fn write(
    header: Header,
    options: &Options<'_>,
    outputs: &[OutputSection],
    contents: &[SectionData],
    needs_prelink: bool,
    symbols: &[NewSymbol<'_>],
) -> Result<Vec<u8>, PackError> {
    let names: Vec<_> = outputs.iter().map(|output| table_names(output, options.layout)).collect();
    let stored = match options.compress {
        Some(algorithm) => {
            algorithm.compress_all(outputs, contents.iter().map(|data| &*data.bytes))
        }
        None => vec![None; contents.len()],
    };
    let bodies_stored = contents.iter().zip(&stored);
    let mut sections: Vec<_> = outputs
        .iter()
        .zip(bodies_stored)
        .map(|(output, (data, stored))| section(output, &data.bytes, stored.as_deref()))
        .collect();
    let mut offsets: Vec<_> = outputs.iter().map(|output| output.image).collect();
    let mut prelinked = Vec::new();
    for (data, (name, _)) in contents.iter().zip(&names) {
        if !data.prelinked.is_empty() {
            prelinked.push(u32::try_from(sections.len()).map_err(|_| PackError::TooLarge)?);
            sections.push(table(name, &data.prelinked));
        }
    }
    for (data, (_, name)) in contents.iter().zip(&names) {
        if !data.pending.is_empty() {
            sections.push(table(name, &data.pending));
        }
    }
    let index = index_of(symbols);
    sections.extend(index.as_deref().map(hash_index::section));
    let note;
    if needs_prelink || !prelinked.is_empty() {
        offsets.resize(sections.len().saturating_add(1), None);
        note = prelink::encode(&offsets, &prelinked).ok_or(PackError::TooLarge)?;
        sections.push(unmapped_section(SectionKind::Note, prelink::NAME, Payload::Bytes(&note)));
    }
    let (layout, stub) = (options.layout, options.stub);
    Ok(Module { layout, header, stub, sections: &sections, symbols }.to_vec()?)
}

/// The hash index of the exported names, if there are enough of them to be worth it.
fn index_of(symbols: &[NewSymbol<'_>]) -> Option<Vec<u8>> {
    let exports = symbols.iter().filter(|symbol| symbol.is_export()).count();
    if exports >= hash_index::WORTHWHILE { hash_index::encode(symbols) } else { None }
}

/// The names of a section's relocation tables: of the prelinked relocations, and of the others.
fn table_names(output: &OutputSection, layout: Layout) -> (Vec<u8>, Vec<u8>) {
    let full = [b".rela", output.name].concat();
    match (output.kind, layout) {
        // The code's table omits the section name; native readers accept no other table.
        (SectionKind::Code, Layout::Native) => (b".rela".to_vec(), b".rela".to_vec()),
        (SectionKind::Code, _) => (b".rela".to_vec(), full),
        _ => (full.clone(), full),
    }
}

/// A section of the module, with its bytes or their compressed form.
fn section<'a>(
    output: &'a OutputSection,
    bytes: &'a [u8],
    compressed: Option<&'a [u8]>,
) -> NewSection<'a> {
    let mark = if compressed.is_some() { SectionFlags::COMPRESSED } else { 0 };
    NewSection {
        kind: output.kind,
        name: output.name,
        flags: SectionFlags(output.flags.0 | mark),
        alignment: output.alignment,
        virtual_size: Some(output.size),
        payload: Payload::Bytes(compressed.unwrap_or(bytes)),
    }
}

fn table<'a>(name: &'a [u8], relocs: &'a [Reloc]) -> NewSection<'a> {
    unmapped_section(SectionKind::Reloc, name, Payload::Relocs(relocs))
}

/// A section that is not mapped.
fn unmapped_section<'a>(kind: SectionKind, name: &'a [u8], payload: Payload<'a>) -> NewSection<'a> {
    let flags = SectionFlags(SectionFlags::READ);
    NewSection { kind, name, flags, alignment: 8, virtual_size: None, payload }
}

/// A local symbol at the start of every section, which relocations refer to.
fn section_symbols(outputs: &[OutputSection]) -> Vec<NewSymbol<'_>> {
    (0u16..)
        .zip(outputs)
        .map(|(number, output)| NewSymbol {
            name: output.name,
            kind: symbol_kind(output.kind),
            binding: Binding::Local,
            place: Place::Section(number),
            ..NewSymbol::default()
        })
        .collect()
}

/// The symbol numbers of exported data, by section and offset. A new version of the module may leave such
/// data in the old one, so that references to it must not go by the section.
fn exported_data(symbols: &[NewSymbol<'_>]) -> ExportedData {
    let is_data = |s: &&NewSymbol<'_>| matches!(s.kind, SymbolKind::Data | SymbolKind::Constant);
    let places = (0u32..).zip(symbols).filter_map(|(number, symbol)| {
        let Place::Section(section) = symbol.place else { return None };
        let exported = Some(symbol).filter(is_data).filter(|s| s.is_export() && s.size != 0)?;
        Some(((usize::from(section), exported.value), number))
    });
    places.collect()
}

fn symbol_kind(output: SectionKind) -> SymbolKind {
    match output {
        SectionKind::Code => SymbolKind::Function,
        SectionKind::RoData => SymbolKind::Constant,
        _ => SymbolKind::Data,
    }
}

/// The exported symbols.
fn exports<'d>(
    program: &Program<'d>,
    addresses: &ModuleLayout,
    warnings: &mut Vec<PackWarning>,
) -> Result<Vec<NewSymbol<'d>>, PackError> {
    let mut symbols = Vec::new();
    for export in program.exports() {
        let Some(global) = program.global(export.id) else { continue };
        let Ok(resolution) = export.resolution else { continue };
        match addresses.locate(program, resolution) {
            Some(Address::Section { output, offset }) => {
                let symbol = new_export(program, addresses, &export, resolution, output, offset);
                let outside = || PackError::BrokenSymbol {
                    object: program.title(program.defining_object(export.id)),
                    symbol: text(global.name),
                    reason: "its address is outside its section",
                };
                symbols.push(symbol.ok_or_else(outside)?);
            }
            _ => warnings.push(PackWarning::AbsoluteNotExported { name: text(global.name) }),
        }
    }
    Ok(symbols)
}

fn new_export<'d>(
    program: &Program<'d>,
    addresses: &ModuleLayout,
    export: &Export<'_, 'd>,
    resolution: Resolution,
    output: usize,
    offset: i64,
) -> Option<NewSymbol<'d>> {
    let global = program.global(export.id)?;
    let (available, phase) = match resolution {
        Resolution::Section { id, value } => {
            let section = program.section(id)?;
            let phase = section.is_code().then(|| addresses.phases.of(id, section));
            (section.size.checked_sub(value)?, phase)
        }
        _ => (global.common_size, None),
    };
    let size = match resolution {
        Resolution::Common(_) => global.common_size,
        _ => export.symbol.size,
    };
    Some(NewSymbol {
        name: global.name,
        kind: symbol_kind(addresses.outputs.get(output)?.kind),
        binding: if program.is_weak(export.id) { Binding::Weak } else { Binding::Global },
        place: Place::Section(u16::try_from(output).ok()?),
        flags: SymbolFlags(phase.map_or(0, Phase::number)),
        value: u64::try_from(offset).ok()?,
        size: size.min(available),
        ..NewSymbol::default()
    })
}

/// The writable data that is not exported, by name, so that a new version of the module can take over its
/// contents. Names that start with a dot are the compiler's and are left out.
fn local_data<'p, 'd>(
    program: &'p Program<'d>,
    addresses: &'p ModuleLayout,
) -> impl Iterator<Item = NewSymbol<'d>> + 'p {
    program.local_data().filter_map(|(symbol, resolution)| {
        let available = match resolution {
            Resolution::Section { id, value } => {
                let section =
                    program.section(id).filter(|section| Segment::of(section).is_writable())?;
                section.size.checked_sub(value)?
            }
            Resolution::Common(id) => program.global(id)?.common_size,
            _ => return None,
        };
        let OutputOffset { output, offset } =
            OutputOffset::of(addresses.locate(program, resolution))?;
        let size = symbol.size.min(available);
        (size != 0 && !symbol.name.starts_with(b".")).then_some(NewSymbol {
            name: symbol.name,
            kind: SymbolKind::Data,
            binding: Binding::Local,
            place: Place::Section(u16::try_from(output).ok()?),
            value: offset,
            size,
            ..NewSymbol::default()
        })
    })
}

/// The imported symbols.
fn imports<'p, 'd>(
    program: &'p Program<'d>,
    plan: &'p RelocPlan,
) -> impl Iterator<Item = NewSymbol<'d>> + 'p {
    plan.imports.iter().map(|import| NewSymbol {
        name: program.global(import.global).map_or(&[], |global| global.name),
        kind: if import.is_data { SymbolKind::Data } else { SymbolKind::Function },
        binding: if import.is_weak { Binding::Weak } else { Binding::Global },
        place: Place::Import,
        visibility: 0,
        ..NewSymbol::default()
    })
}

/// The import that marks a module which is valid in its prelinked image only.
fn prelink_symbol() -> NewSymbol<'static> {
    NewSymbol {
        name: prelink::NAME,
        kind: SymbolKind::Data,
        binding: Binding::Global,
        place: Place::Import,
        visibility: 0,
        ..NewSymbol::default()
    }
}

/// The offset of `main` in the code, if there is one.
fn main(program: &Program<'_>, addresses: &ModuleLayout) -> Option<u64> {
    let main = program
        .exports()
        .find(|export| program.global(export.id).is_some_and(|global| global.name == b"main"))?;
    code_offset(addresses, addresses.locate(program, main.resolution.ok()?))
}

fn code_offset(addresses: &ModuleLayout, address: Option<Address>) -> Option<u64> {
    let at = OutputOffset::of(address)?;
    let is_code = addresses.outputs.get(at.output)?.kind == SectionKind::Code;
    is_code.then_some(at.offset)
}

/// The offset of the entry point in the code: the one that the options name, else `main`.
fn entry_point(
    program: &Program<'_>,
    addresses: &ModuleLayout,
    options: &Options<'_>,
    entry: Option<Resolution>,
) -> Result<Option<u64>, PackError> {
    let (Some(name), Some(resolution)) = (options.entry, entry) else {
        return Ok(main(program, addresses));
    };
    let not_code = || PackError::EntryNotCode { name: name.to_owned() };
    let offset = code_offset(addresses, addresses.locate(program, resolution));
    offset.ok_or_else(not_code).map(Some)
}
