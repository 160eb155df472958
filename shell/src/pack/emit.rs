//! Writes the module: sections, symbols, header.

use smf_core::format::ext::{hash_index, prelink};
use smf_core::format::write::{Module, NewSection, NewSymbol, Payload, Place};
use smf_core::format::{
    Binding, Flags, Header, Layout, Phase, Reloc, SectionFlags, SectionKind, SymbolFlags,
    SymbolKind,
};

use super::check::check_code;
use super::error::{PackError, PackWarning, Result};
use super::layout::{Address, ModuleLayout};
use super::object::text;
use super::options::Options;
use super::output::{OutputSection, Segment};
use super::relocate::{ExportedData, OutputOffset, Relocated, SectionData, relocate};
use super::resolve::{Export, Resolution};

/// Writes the module.
pub(super) fn emit(
    addresses: &ModuleLayout<'_, '_>,
    options: &Options<'_>,
    entry: Option<Resolution>,
    warnings: &mut Vec<PackWarning>,
) -> Result<Vec<u8>> {
    let mut symbols = section_symbols(&addresses.outputs);
    symbols.extend(exports(addresses, warnings)?);
    if options.reloadable {
        symbols.extend(local_data(addresses));
    }
    let first_import = u32::try_from(symbols.len()).map_err(|_| PackError::TooLarge)?;
    let exported_data =
        if options.reloadable { exported_data(&symbols) } else { ExportedData::new() };
    symbols.extend(imports(addresses));
    let Relocated { contents, has_low_addresses, needs_prelink } =
        relocate(addresses, first_import, &exported_data, warnings)?;
    check_code(addresses, &contents)?;
    if needs_prelink {
        // Marks a module that is valid in its prelinked image only.
        symbols.push(import(prelink::NAME, SymbolKind::Data, Binding::Global));
    }

    let entry_point = entry_point(addresses, options, entry)?;
    let mut flags = Flags(0);
    flags.0 |= if has_low_addresses { 0 } else { Flags::PIC };
    flags.0 |= if entry_point.is_some() { Flags::EXECUTABLE } else { 0 };
    flags.0 |= if options.reloadable { Flags::RELOADABLE } else { 0 };
    let mut header = Header {
        arch: addresses.program.machine().arch(),
        flags,
        entry_point: entry_point.unwrap_or(0),
        prefetch_hint: u8::from(options.prefetch != 0),
        prefetch_files: options.prefetch,
        ..Header::default()
    };
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
) -> Result<Vec<u8>> {
    let names: Vec<_> = outputs.iter().map(|output| table_names(output, options.layout)).collect();
    let stored = match options.compress {
        Some(algorithm) => {
            algorithm.compress_all(outputs, contents.iter().map(|data| &*data.bytes))
        }
        None => vec![None; contents.len()],
    };
    let bodies = outputs.iter().zip(contents).zip(&stored);
    let bodies = bodies.map(|((output, data), stored)| {
        section(output, stored.as_deref().unwrap_or(&data.bytes), stored.is_some())
    });
    let mut sections: Vec<_> = bodies.collect();
    let mut offsets: Vec<_> = outputs.iter().map(|output| output.image).collect();
    let tables = |of: fn(&SectionData) -> &[Reloc]| {
        contents.iter().map(of).zip(&names).filter(|(relocs, _)| !relocs.is_empty())
    };
    let mut prelinked = Vec::new();
    for (relocs, (name, _)) in tables(|data| &data.prelinked) {
        prelinked.push(u32::try_from(sections.len()).map_err(|_| PackError::TooLarge)?);
        sections.push(unmapped_section(SectionKind::Reloc, name, Payload::Relocs(relocs)));
    }
    for (relocs, (_, name)) in tables(|data| &data.pending) {
        sections.push(unmapped_section(SectionKind::Reloc, name, Payload::Relocs(relocs)));
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
fn section<'a>(output: &OutputSection, bytes: &'a [u8], is_compressed: bool) -> NewSection<'a> {
    let access = match output.kind {
        SectionKind::Code => SectionFlags::READ | SectionFlags::EXECUTE,
        SectionKind::RoData => SectionFlags::READ,
        _ => SectionFlags::READ | SectionFlags::WRITE,
    };
    let mark = if is_compressed { SectionFlags::COMPRESSED } else { 0 };
    NewSection {
        kind: output.kind,
        name: output.name,
        flags: SectionFlags(access | mark),
        alignment: output.alignment,
        virtual_size: Some(output.size),
        payload: Payload::Bytes(bytes),
    }
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
    addresses: &ModuleLayout<'_, 'd>,
    warnings: &mut Vec<PackWarning>,
) -> Result<Vec<NewSymbol<'d>>> {
    let program = addresses.program;
    let mut symbols = Vec::new();
    for export in program.exports() {
        let Some(global) = program.global(export.id) else { continue };
        let Ok(resolution) = export.resolution else { continue };
        match addresses.locate(resolution) {
            address @ Some(Address::Section { .. }) => {
                let symbol = new_export(addresses, &export, resolution, OutputOffset::of(address));
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
    addresses: &ModuleLayout<'_, 'd>,
    export: &Export<'_, 'd>,
    resolution: Resolution,
    at: Option<OutputOffset>,
) -> Option<NewSymbol<'d>> {
    let (OutputOffset { output, offset }, program) = (at?, addresses.program);
    let global = program.global(export.id)?;
    let phase = match resolution {
        Resolution::Section { id, .. } => {
            let section = program.section(id)?;
            section.is_code().then(|| addresses.phases.of(id, section))
        }
        _ => None,
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
        value: offset,
        size: size.min(available(addresses, resolution)?),
        ..NewSymbol::default()
    })
}

/// Bytes from a symbol to the end of its section or of the common symbol.
fn available(addresses: &ModuleLayout<'_, '_>, resolution: Resolution) -> Option<u64> {
    match resolution {
        Resolution::Section { id, value } => addresses.program.section(id)?.size.checked_sub(value),
        Resolution::Common(id) => Some(addresses.program.global(id)?.common_size),
        _ => None,
    }
}

/// The writable data that is not exported, by name, so that a new version of the module can take over its
/// contents. Names that start with a dot are the compiler's and are left out.
fn local_data<'d>(addresses: &ModuleLayout<'_, 'd>) -> impl Iterator<Item = NewSymbol<'d>> {
    addresses.program.local_data().filter_map(|(symbol, resolution)| {
        let is_writable = match resolution {
            Resolution::Section { id, .. } => {
                Segment::of(addresses.program.section(id)?).is_writable()
            }
            _ => true,
        };
        let size = symbol.size.min(available(addresses, resolution)?);
        let OutputOffset { output, offset } = OutputOffset::of(addresses.locate(resolution))?;
        (is_writable && size != 0 && !symbol.name.starts_with(b".")).then_some(NewSymbol {
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
fn imports<'d>(addresses: &ModuleLayout<'_, 'd>) -> impl Iterator<Item = NewSymbol<'d>> {
    addresses.plan.imports.iter().map(|of| {
        let name = addresses.program.global(of.global).map_or(&[][..], |global| global.name);
        let kind = if of.is_data { SymbolKind::Data } else { SymbolKind::Function };
        import(name, kind, if of.is_weak { Binding::Weak } else { Binding::Global })
    })
}

fn import(name: &[u8], kind: SymbolKind, binding: Binding) -> NewSymbol<'_> {
    NewSymbol { name, kind, binding, place: Place::Import, visibility: 0, ..NewSymbol::default() }
}

/// The offset of the entry point in the code: the one that the options name, else `main`, if there is one.
fn entry_point(
    addresses: &ModuleLayout<'_, '_>,
    options: &Options<'_>,
    entry: Option<Resolution>,
) -> Result<Option<u64>> {
    let code_offset = |resolution| {
        let at = OutputOffset::of(addresses.locate(resolution))?;
        let is_code = addresses.outputs.get(at.output)?.kind == SectionKind::Code;
        is_code.then_some(at.offset)
    };
    if let (Some(name), Some(resolution)) = (options.entry, entry) {
        let not_code = || PackError::EntryNotCode { name: name.to_owned() };
        return code_offset(resolution).ok_or_else(not_code).map(Some);
    }
    let program = addresses.program;
    let main = program
        .exports()
        .find(|export| program.global(export.id).is_some_and(|global| global.name == b"main"));
    Ok(main.and_then(|main| code_offset(main.resolution.ok()?)))
}
