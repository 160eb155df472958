//! The module itself: sections, symbols, header.

use smf_core::format::ext::hash_index;
use smf_core::format::ext::prelink;
use smf_core::format::write::{Module, NewSection, NewSymbol, Payload, Place as Where};
use smf_core::format::{
    Binding, Flags, Header, Layout, Phase, Reloc, SectionFlags, SectionKind, SymbolFlags,
    SymbolKind,
};

use super::Options;
use super::error::{PackError, PackWarning};
use super::layout::{Home, Located, Placement, Run};
use super::object::text;
use super::relocate::{Applied, Body, ExportedData, Spot, Work, apply};
use super::relocs::Fixes;
use super::resolve::{Export, Program, Referent};

/// Writes the module.
pub(super) fn emit(
    program: &Program<'_>,
    fixes: &Fixes,
    placement: &Placement,
    options: &Options<'_>,
    entry: Option<Referent>,
    warnings: &mut Vec<PackWarning>,
) -> Result<Vec<u8>, PackError> {
    let layout = options.layout;
    let mut symbols = bases(&placement.homes);
    symbols.extend(exports(program, placement, warnings)?);
    if options.reloadable {
        symbols.extend(local_data(program, placement));
    }
    let first_import = u32::try_from(symbols.len()).map_err(|_| PackError::TooLarge)?;
    let exported_data =
        if options.reloadable { exported_data(&symbols) } else { ExportedData::new() };
    symbols.extend(imports(program, fixes));
    let work =
        Work { program, fixes, placement, layout, first_import, exported_data: &exported_data };
    let Applied { bodies, has_low_addresses, needs_image } = apply(work, warnings)?;
    if needs_image {
        symbols.push(image_symbol());
    }

    let entry_point = entry_point(program, placement, options, entry)?;
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
        algorithm.name_in(&mut header);
    }
    write(header, options, &placement.homes, &bodies, needs_image, &symbols)
}

fn write(
    header: Header,
    options: &Options<'_>,
    homes: &[Home],
    bodies: &[Body],
    needs_image: bool,
    symbols: &[NewSymbol<'_>],
) -> Result<Vec<u8>, PackError> {
    let names: Vec<_> = homes.iter().map(|home| table_names(home, options.layout)).collect();
    let stored = match options.compress {
        Some(algorithm) => algorithm.compress_all(homes, bodies.iter().map(|body| &*body.bytes)),
        None => vec![None; bodies.len()],
    };
    let bodies_stored = bodies.iter().zip(&stored);
    let mut sections: Vec<_> = homes
        .iter()
        .zip(bodies_stored)
        .map(|(home, (body, stored))| section(home, &body.bytes, stored.as_deref()))
        .collect();
    let mut offsets: Vec<_> = homes.iter().map(|home| home.image).collect();
    let mut settled = Vec::new();
    for (body, (name, _)) in bodies.iter().zip(&names) {
        if !body.settled.is_empty() {
            settled.push(u32::try_from(sections.len()).map_err(|_| PackError::TooLarge)?);
            sections.push(table(name, &body.settled));
        }
    }
    for (body, (_, name)) in bodies.iter().zip(&names) {
        if !body.open.is_empty() {
            sections.push(table(name, &body.open));
        }
    }
    let index = index_of(symbols);
    sections.extend(index.as_deref().map(hash_index::section));
    let note;
    if needs_image || !settled.is_empty() {
        offsets.resize(sections.len().saturating_add(1), None);
        note = prelink::encode(&offsets, &settled).ok_or(PackError::TooLarge)?;
        sections.push(loose(SectionKind::Note, prelink::NAME, Payload::Bytes(&note)));
    }
    let (layout, stub) = (options.layout, options.stub);
    Ok(Module { layout, header, stub, sections: &sections, symbols }.to_vec()?)
}

/// The index of the exported names, where there are enough of them.
fn index_of(symbols: &[NewSymbol<'_>]) -> Option<Vec<u8>> {
    let exports = symbols.iter().filter(|symbol| symbol.is_export()).count();
    if exports >= hash_index::WORTHWHILE { hash_index::encode(symbols) } else { None }
}

/// How the tables of relocations of a section are called: of the settled, and of the others.
fn table_names(home: &Home, layout: Layout) -> (Vec<u8>, Vec<u8>) {
    let full = [b".rela", home.name].concat();
    match (home.kind, layout) {
        // The table of the code needs no name of a section, and native readers know no other.
        (SectionKind::Code, Layout::Native) => (b".rela".to_vec(), b".rela".to_vec()),
        (SectionKind::Code, _) => (b".rela".to_vec(), full),
        _ => (full.clone(), full),
    }
}

/// A section of the module, with its bytes or with what they have been compressed to.
fn section<'a>(home: &'a Home, bytes: &'a [u8], compressed: Option<&'a [u8]>) -> NewSection<'a> {
    let mark = if compressed.is_some() { SectionFlags::COMPRESSED } else { 0 };
    NewSection {
        kind: home.kind,
        name: home.name,
        flags: SectionFlags(home.flags.0 | mark),
        alignment: home.alignment,
        virtual_size: Some(home.size),
        payload: Payload::Bytes(compressed.unwrap_or(bytes)),
    }
}

fn table<'a>(name: &'a [u8], relocs: &'a [Reloc]) -> NewSection<'a> {
    loose(SectionKind::Reloc, name, Payload::Relocs(relocs))
}

/// A section that is not loaded.
fn loose<'a>(kind: SectionKind, name: &'a [u8], payload: Payload<'a>) -> NewSection<'a> {
    let flags = SectionFlags(SectionFlags::READ);
    NewSection { kind, name, flags, alignment: 8, virtual_size: None, payload }
}

/// A local symbol at the begin of every section, for relocations to count from.
fn bases(homes: &[Home]) -> Vec<NewSymbol<'_>> {
    (0u16..)
        .zip(homes)
        .map(|(number, home)| NewSymbol {
            name: home.name,
            kind: symbol_kind(home.kind),
            binding: Binding::Local,
            place: Where::Section(number),
            ..NewSymbol::default()
        })
        .collect()
}

/// The numbers of the symbols of data that other modules can see, by section and offset. A new version of
/// the module may have to leave such data where the old one has it, and so must not reach it by the section.
fn exported_data(symbols: &[NewSymbol<'_>]) -> ExportedData {
    let is_data = |s: &&NewSymbol<'_>| matches!(s.kind, SymbolKind::Data | SymbolKind::Constant);
    let places = (0u32..).zip(symbols).filter_map(|(number, symbol)| {
        let Where::Section(section) = symbol.place else { return None };
        let exported = Some(symbol).filter(is_data).filter(|s| s.is_export() && s.size != 0)?;
        Some(((usize::from(section), exported.value), number))
    });
    places.collect()
}

fn symbol_kind(home: SectionKind) -> SymbolKind {
    match home {
        SectionKind::Code => SymbolKind::Function,
        SectionKind::RoData => SymbolKind::Constant,
        _ => SymbolKind::Data,
    }
}

/// The symbols that other modules can see.
fn exports<'d>(
    program: &Program<'d>,
    placement: &Placement,
    warnings: &mut Vec<PackWarning>,
) -> Result<Vec<NewSymbol<'d>>, PackError> {
    let mut symbols = Vec::new();
    for export in program.exports() {
        let Some(global) = program.global(export.id) else { continue };
        let Ok(referent) = export.referent else { continue };
        match placement.locate(program, referent) {
            Some(Located::At { home, offset }) => {
                let symbol = new_export(program, placement, &export, referent, home, offset);
                let outside = || PackError::BrokenSymbol {
                    object: program.title(program.definer(export.id)),
                    symbol: text(global.name),
                    reason: "it lies outside its section",
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
    placement: &Placement,
    export: &Export<'_, 'd>,
    referent: Referent,
    home: usize,
    offset: i64,
) -> Option<NewSymbol<'d>> {
    let global = program.global(export.id)?;
    let (room, phase) = match referent {
        Referent::Section { id, value } => {
            let section = program.section(id)?;
            let phase = section.is_code().then(|| placement.phases.of(id, section));
            (section.size.checked_sub(value)?, phase)
        }
        _ => (global.common_size, None),
    };
    let size = match referent {
        Referent::Common(_) => global.common_size,
        _ => export.symbol.size,
    };
    Some(NewSymbol {
        name: global.name,
        kind: symbol_kind(placement.homes.get(home)?.kind),
        binding: if program.is_weak(export.id) { Binding::Weak } else { Binding::Global },
        place: Where::Section(u16::try_from(home).ok()?),
        flags: SymbolFlags(phase.map_or(0, Phase::number)),
        value: u64::try_from(offset).ok()?,
        size: size.min(room),
        ..NewSymbol::default()
    })
}

/// The data that a new version of the module takes over by its name, although no other module can see it:
/// what a program may write to. Names that compilers make up are not among it.
fn local_data<'p, 'd>(
    program: &'p Program<'d>,
    placement: &'p Placement,
) -> impl Iterator<Item = NewSymbol<'d>> + 'p {
    program.local_data().filter_map(|(symbol, referent)| {
        let room = match referent {
            Referent::Section { id, value } => {
                let section =
                    program.section(id).filter(|section| Run::of(section).is_writable())?;
                section.size.checked_sub(value)?
            }
            Referent::Common(id) => program.global(id)?.common_size,
            _ => return None,
        };
        let Spot { home, offset } = Spot::of(placement.locate(program, referent))?;
        let size = symbol.size.min(room);
        (size != 0 && !symbol.name.starts_with(b".")).then_some(NewSymbol {
            name: symbol.name,
            kind: SymbolKind::Data,
            binding: Binding::Local,
            place: Where::Section(u16::try_from(home).ok()?),
            value: offset,
            size,
            ..NewSymbol::default()
        })
    })
}

/// The symbols of other modules.
fn imports<'p, 'd>(
    program: &'p Program<'d>,
    fixes: &'p Fixes,
) -> impl Iterator<Item = NewSymbol<'d>> + 'p {
    fixes.imports.iter().map(|import| NewSymbol {
        name: program.global(import.global).map_or(&[], |global| global.name),
        kind: if import.is_data { SymbolKind::Data } else { SymbolKind::Function },
        binding: if import.is_weak { Binding::Weak } else { Binding::Global },
        place: Where::Import,
        visibility: 0,
        ..NewSymbol::default()
    })
}

/// The import by which a module says that it works under its own placement alone.
fn image_symbol() -> NewSymbol<'static> {
    NewSymbol {
        name: prelink::NAME,
        kind: SymbolKind::Data,
        binding: Binding::Global,
        place: Where::Import,
        visibility: 0,
        ..NewSymbol::default()
    }
}

/// Where the module's `main` is in the code, if it has one.
fn main(program: &Program<'_>, placement: &Placement) -> Option<u64> {
    let main = program
        .exports()
        .find(|export| program.global(export.id).is_some_and(|global| global.name == b"main"))?;
    code_offset(placement, placement.locate(program, main.referent.ok()?))
}

fn code_offset(placement: &Placement, located: Option<Located>) -> Option<u64> {
    let spot = Spot::of(located)?;
    let is_code = placement.homes.get(spot.home)?.kind == SectionKind::Code;
    is_code.then_some(spot.offset)
}

/// Where running begins: at the entry that was asked for, else at `main`.
fn entry_point(
    program: &Program<'_>,
    placement: &Placement,
    options: &Options<'_>,
    entry: Option<Referent>,
) -> Result<Option<u64>, PackError> {
    let (Some(name), Some(referent)) = (options.entry, entry) else {
        return Ok(main(program, placement));
    };
    let not_code = || PackError::EntryNotCode { name: name.to_owned() };
    let offset = code_offset(placement, placement.locate(program, referent));
    offset.ok_or_else(not_code).map(Some)
}
