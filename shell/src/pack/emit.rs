//! Writes the module: sections, symbols, header.

use std::collections::BTreeSet;

use ::object::elf;
use smf_core::format::ext::{debug_addresses, hash_index, ifunc, needed, prelink, tls};
use smf_core::format::write::{Module, NewSection, NewSymbol, Payload, Place, WriteError};
use smf_core::format::{
    Binding, Flags, Header, Layout, MAX_NAME, Reloc, SectionFlags, SectionKind, SymbolFlags,
    SymbolKind,
};

use smf_core::link::{DSO_HANDLE, REQUIRES_CONSTRUCTORS, REQUIRES_UNWINDING};

use super::check::check_code;
use super::contents;
use super::debug_info::DebugInfo;
use super::error::{PackError, PackWarning, Result};
use super::layout::{Address, ModuleLayout};
use super::module::ExtraSection;
use super::object::{Symbol, text};
use super::options::Options;
use super::output::{OutputSection, Segment};
use super::output_file::OutputFile;
use super::relocate::{
    ExportedData, OutputOffset, OutputRelocs, RelocContext, Relocator, WeakSymbols,
};
use super::resolve::{Export, Program, Rank, Resolution};
use super::section_symbols;
use super::shared_library;

/// What the module contains beside what is linked.
pub(super) struct Additions<'a> {
    /// Its code catches exceptions.
    pub(super) needs_unwinding: bool,
    /// The libraries that input modules need.
    pub(super) needed: Vec<&'a [u8]>,
    /// The names of the symbols that state section arrays, and parts of the arrays of constructors and destructors.
    pub(super) array_symbols: BTreeSet<Vec<u8>>,
    /// Templates and notes.
    pub(super) metadata: Vec<ExtraSection>,
    pub(super) debug_info: DebugInfo,
}

/// Writes the module.
pub(super) fn emit(
    addresses: &ModuleLayout<'_, '_>,
    options: &Options<'_>,
    entry: Option<Resolution>,
    additions: &Additions<'_>,
    warnings: &mut Vec<PackWarning>,
) -> Result<Vec<u8>> {
    let mut symbols = of_sections(&addresses.outputs, addresses.layout);
    let handle_at = u32::try_from(symbols.len()).map_err(|_| PackError::TooLarge)?;
    symbols.extend(dso_handle(addresses));
    let dso_handle = (symbols.len() > handle_at as usize).then_some(handle_at);
    symbols.extend(array_symbols(&additions.array_symbols, addresses.layout));
    let keeps_resolved = options.emit_relocs || options.reloadable;
    let Exports { others, of_storage } = exports(addresses, keeps_resolved, warnings)?;
    symbols.extend(others);
    let weak = keeps_resolved.then(|| weak_symbols(addresses.program, &symbols));
    let weak = &weak.unwrap_or_default();
    let names: Vec<_> = of_storage.iter().map(|of| [tls::EXPORT, of.name].concat()).collect();
    symbols
        .extend(of_storage.iter().zip(&names).map(|(&symbol, name)| NewSymbol { name, ..symbol }));
    symbols.extend(options.debug_info.then(|| local_functions(addresses)).into_iter().flatten());
    symbols.extend(options.reloadable.then(|| local_data(addresses)).into_iter().flatten());
    let first_import = u32::try_from(symbols.len()).map_err(|_| PackError::TooLarge)?;
    let exported_data = &exported_data(if options.reloadable { &symbols } else { &[] });
    symbols.extend(imports(addresses));
    let tls = tls_imports(addresses);
    symbols.extend(tls.iter().map(|name| import(name, SymbolKind::Data, Binding::Global)));
    let storage = tls::Value::Module.name();
    // Code of the module may not use the storage.
    let is_unused = !of_storage.is_empty() && !tls.iter().any(|name| name == storage);
    symbols.extend(is_unused.then(|| import(storage, SymbolKind::Data, Binding::Global)));
    let context =
        RelocContext { addresses, first_import, dso_handle, exported_data, weak, keeps_resolved };
    let mut file = OutputFile::new(&addresses.outputs, options, tables_len(addresses, &symbols))?;
    let relocated = contents::write(context, file.sections(), warnings)?;
    check_code(addresses, &relocated.contents)?;
    let Relocator { contents, low_addresses, needs_prelink, .. } = relocated;
    let mut relocs: Vec<OutputRelocs> = contents.into_iter().map(|data| data.relocs).collect();
    if needs_prelink && !keeps_resolved {
        section_symbols::remove_unused(addresses, &mut symbols, &mut relocs);
    }
    let needed = needed_libraries(addresses, options, &additions.needed)?;
    let requirements = [
        (runs_code_at_load(addresses) || dso_handle.is_some(), REQUIRES_CONSTRUCTORS),
        (addresses.output_of(Segment::Igot).is_some(), ifunc::NAME),
        (additions.needs_unwinding, REQUIRES_UNWINDING),
        // It is valid in its prelinked image only.
        (needs_prelink, prelink::NAME),
        (needed.is_some(), needed::IMPORT),
    ];
    // Readers that do not know what the module requires refuse it.
    let required = requirements.into_iter().filter(|(is_required, _)| *is_required);
    symbols.extend(required.map(|(_, name)| import(name, SymbolKind::Data, Binding::Global)));
    let mut header = header(addresses, options, entry_point(addresses, options, entry)?);
    header.flags.0 |= if low_addresses != 0 { 0 } else { Flags::PIC };
    header.flags.0 |= if additions.debug_info.outputs.is_empty() { 0 } else { Flags::DEBUG_INFO };
    let tables = Tables { relocs, needed, needs_prelink, symbols: &symbols, additions };
    write(header, options, &addresses.outputs, file, &tables)
        .map_err(|error| name_symbol(error, addresses.program, &symbols))
}

/// The error of a symbol name that is too long for readers, with the name and its object instead of a number.
fn name_symbol(error: PackError, program: &Program<'_>, symbols: &[NewSymbol<'_>]) -> PackError {
    let PackError::Write(WriteError::SymbolName(index)) = error else { return error };
    let name = symbols.get(index as usize).map_or(&[][..], |symbol| symbol.name);
    // Names of thread-local symbols have a prefix.
    let is_it =
        |symbol: &Symbol<'_>| symbol.name.len() > MAX_NAME / 2 && name.ends_with(symbol.name);
    let object = program.objects.iter().find(|object| object.symbols.iter().any(is_it));
    let object = object.map(|object| object.name.clone()).unwrap_or_default();
    let reason = "its name is longer than the 16,383 bytes that a module can state";
    PackError::BrokenSymbol { object, symbol: text(name), reason }
}

fn runs_code_at_load(addresses: &ModuleLayout<'_, '_>) -> bool {
    [Segment::InitArray, Segment::FiniArray].map(|run| addresses.output_of(run)) != [None; 2]
}

/// The header, as the options and the entry point determine it.
fn header(
    addresses: &ModuleLayout<'_, '_>,
    options: &Options<'_>,
    entry_point: Option<u64>,
) -> Header {
    let mut header = Header {
        arch: addresses.program.machine().arch(),
        entry_point: entry_point.unwrap_or(0),
        prefetch_hint: u8::from(options.prefetch != 0),
        prefetch_files: options.prefetch,
        ..Header::default()
    };
    header.flags.0 |= if entry_point.is_some() { Flags::EXECUTABLE } else { 0 };
    header.flags.0 |= if options.reloadable { Flags::RELOADABLE } else { 0 };
    if let Some(algorithm) = options.compress {
        algorithm.set_in(&mut header);
    }
    header
}

/// What the module contains beside its sections.
struct Tables<'t> {
    /// Of each section.
    relocs: Vec<OutputRelocs>,
    /// The names of needed libraries.
    needed: Option<Vec<u8>>,
    needs_prelink: bool,
    symbols: &'t [NewSymbol<'t>],
    additions: &'t Additions<'t>,
}

/// The payload of the section with the names of needed libraries; `None` without any.
fn needed_libraries(
    addresses: &ModuleLayout<'_, '_>,
    options: &Options<'_>,
    of_modules: &[&[u8]],
) -> Result<Option<Vec<u8>>> {
    let mut names = shared_library::needed(options.needed, addresses.program, addresses.plan)?;
    for name in of_modules {
        if !names.contains(name) {
            names.push(name);
        }
    }
    if names.is_empty() {
        return Ok(None);
    }
    if names.len() > needed::MAX_LIBRARIES as usize {
        return Err(PackError::TooManyLibraries { count: names.len() });
    }
    needed::encode(&names).ok().flatten().ok_or(PackError::TooLarge).map(Some)
}

/// The most bytes that the relocations, the symbols, their index and the notes usually take. Memory that is not written
/// costs nothing, while a buffer that grows is copied.
fn tables_len(addresses: &ModuleLayout<'_, '_>, symbols: &[NewSymbol<'_>]) -> usize {
    const RELOC: usize = 24 + 8;
    const SYMBOL: usize = 56 + 16;
    const HEADERS: usize = 1 << 14;
    let names = symbols.iter().map(|symbol| symbol.name.len() + 1 + SYMBOL);
    let relocs = addresses.plan.sections.iter().map(|section| section.count * RELOC);
    names.chain(relocs).chain([HEADERS]).sum()
}

fn write(
    header: Header,
    options: &Options<'_>,
    outputs: &[OutputSection],
    file: OutputFile,
    tables: &Tables<'_>,
) -> Result<Vec<u8>> {
    let Tables { relocs, needed, needs_prelink, symbols, additions } = tables;
    let DebugInfo { outputs: debug, contents: debug_contents, addresses, offsets: debug_offsets } =
        &additions.debug_info;
    let names: Vec<_> = outputs.iter().map(|output| table_names(output, options.layout)).collect();
    let stored = compress(options, outputs, &file, &additions.debug_info);
    let (stored, stored_debug) = stored.split_at_checked(outputs.len()).unwrap_or_default();
    let bodies = outputs.iter().zip(file.contents()).zip(stored);
    let bodies = bodies.map(|((output, bytes), stored)| match stored {
        Some(stored) => output.new_section(Payload::Bytes(stored), true),
        None => output.new_section(Payload::Space(bytes.len()), false),
    });
    let mut sections: Vec<_> = bodies.collect();
    let mut offsets: Vec<_> = outputs.iter().map(|output| output.image).collect();
    let tables = |of: fn(&OutputRelocs) -> &Vec<Reloc>| {
        relocs.iter().map(of).zip(&names).filter(|(relocs, _)| !relocs.is_empty())
    };
    let prelinked = tables(|relocs| &relocs.prelinked).map(|(relocs, (name, _))| (relocs, name));
    let prelinked = add_tables(&mut sections, prelinked)?;
    let relative = tables(|relocs| &relocs.relative).map(|(relocs, (_, name))| (relocs, name));
    let relative = add_tables(&mut sections, relative)?;
    let pending = tables(|relocs| &relocs.pending).map(|(relocs, (_, name))| (relocs, name));
    add_tables(&mut sections, pending)?;
    let index = index_of(symbols);
    sections.extend(index.as_deref().map(hash_index::section));
    sections.extend(needed.as_deref().map(needed::section));
    sections.extend(additions.metadata.iter().map(ExtraSection::new_section));
    let debug_bodies = debug.iter().zip(debug_contents).zip(stored_debug);
    sections.extend(debug_bodies.map(|((output, bytes), stored)| {
        output.new_section(Payload::Bytes(stored.as_ref().unwrap_or(bytes)), stored.is_some())
    }));
    if !debug.is_empty() {
        sections.push(debug_addresses::section(addresses));
        sections.push(debug_addresses::offsets_section(debug_offsets));
    }
    // The distances in unwinding tables have no relocations.
    let is_table = |output: &OutputSection| output.name == b".eh_frame" && output.image.is_some();
    let note;
    let is_resolved = !prelinked.is_empty() || !relative.is_empty();
    if *needs_prelink || is_resolved || outputs.iter().any(is_table) {
        offsets.resize(sections.len().saturating_add(1), None);
        let payload = prelink_note(&offsets, &prelinked, &relative, &places(outputs, relocs));
        note = payload.ok_or(PackError::TooLarge)?;
        sections.push(unmapped_section(SectionKind::Note, prelink::NAME, Payload::Bytes(&note)));
    }
    let (layout, stub) = (options.layout, options.stub);
    Ok(file.finish(Module { layout, header, stub, sections: &sections, symbols })?)
}

/// Adds relocation sections and returns their numbers.
fn add_tables<'t>(
    sections: &mut Vec<NewSection<'t>>,
    tables: impl Iterator<Item = (&'t Vec<Reloc>, &'t Vec<u8>)>,
) -> Result<Vec<u32>> {
    let mut numbers = Vec::new();
    for (relocs, name) in tables {
        numbers.push(u32::try_from(sections.len()).map_err(|_| PackError::TooLarge)?);
        sections.push(unmapped_section(SectionKind::Reloc, name, Payload::Relocs(relocs)));
    }
    Ok(numbers)
}

/// The places of the relative relocations, in bytes from the start of the image, ascending.
fn places(outputs: &[OutputSection], relocs: &[OutputRelocs]) -> Vec<u64> {
    let places = outputs.iter().zip(relocs).flat_map(|(output, relocs)| {
        let start = output.image.unwrap_or(0);
        relocs.relative_places.iter().map(move |place| start.saturating_add(*place))
    });
    places.collect()
}

/// The payload of the prelink note; `None` if a count does not fit its field.
fn prelink_note(
    offsets: &[Option<u64>],
    prelinked: &[u32],
    relative: &[u32],
    places: &[u64],
) -> Option<Vec<u8>> {
    let mut note = prelink::encode(offsets, prelinked)?;
    if !places.is_empty() {
        prelink::append_relative(&mut note, relative, places)?;
    }
    Some(note)
}

/// The compressed form of each section that becomes smaller by it: of those that are loaded, and of debugging information.
fn compress(
    options: &Options<'_>,
    outputs: &[OutputSection],
    file: &OutputFile,
    debug_info: &DebugInfo,
) -> Vec<Option<Vec<u8>>> {
    let DebugInfo { outputs: debug, contents, .. } = debug_info;
    let all = file.contents().chain(contents.iter().map(Vec::as_slice));
    match options.compress {
        Some(algorithm) => algorithm.compress_all(outputs.iter().chain(debug), all),
        None => vec![None; outputs.len().saturating_add(debug.len())],
    }
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

/// A section that is not mapped.
fn unmapped_section<'a>(kind: SectionKind, name: &'a [u8], payload: Payload<'a>) -> NewSection<'a> {
    let flags = SectionFlags(SectionFlags::READ);
    NewSection { kind, name, flags, alignment: 8, virtual_size: None, payload }
}

/// A local symbol at the start of every section, which relocations refer to.
fn of_sections(outputs: &[OutputSection], layout: Layout) -> Vec<NewSymbol<'_>> {
    let symbols = (0u16..).zip(outputs).map(|(number, output)| {
        // The native layout has no symbols in read-only sections, and no relocation refers to this one.
        let is_nowhere = layout == Layout::Native && output.kind == SectionKind::RoData;
        let (kind, place) = match is_nowhere {
            true => (SymbolKind::None, Place::Unstated),
            false => (symbol_kind(output.kind), Place::Section(number)),
        };
        NewSymbol {
            name: output.name,
            kind,
            binding: Binding::Local,
            place,
            ..NewSymbol::default()
        }
    });
    symbols.collect()
}

/// The names of the imports that denote values of thread-local storage.
fn tls_imports(addresses: &ModuleLayout<'_, '_>) -> Vec<Vec<u8>> {
    let symbol = |global| addresses.program.global(global).map(|global| global.name);
    let imports = addresses.plan.tls_imports.iter();
    let names = imports.map(|(value, global)| match global.and_then(symbol) {
        Some(symbol) => [value.name(), &[tls::SEPARATOR], symbol].concat(),
        None => value.name().to_vec(),
    });
    names.collect()
}

/// A local symbol at the address by which code of the module registers exit handlers, if any does.
fn dso_handle<'d>(addresses: &ModuleLayout<'_, 'd>) -> Option<NewSymbol<'d>> {
    let program = addresses.program;
    let at = addresses.locate(program.dso_handle());
    let OutputOffset { output, offset } = OutputOffset::of(at)?;
    Some(NewSymbol {
        name: DSO_HANDLE,
        kind: symbol_kind(addresses.outputs.get(output)?.kind),
        binding: Binding::Local,
        place: Place::Section(u16::try_from(output).ok()?),
        value: offset,
        ..NewSymbol::default()
    })
}

/// The local symbols that state arrays. Their addresses mean nothing.
fn array_symbols(names: &BTreeSet<Vec<u8>>, layout: Layout) -> impl Iterator<Item = NewSymbol<'_>> {
    let (kind, place) = match layout {
        Layout::Native => (SymbolKind::None, Place::Unstated),
        _ => (SymbolKind::Data, Place::Section(0)),
    };
    let binding = Binding::Local;
    names.iter().map(move |name| NewSymbol { name, kind, binding, place, ..NewSymbol::default() })
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

/// The exported weak and common symbols among `symbols`.
fn weak_symbols(program: &Program<'_>, symbols: &[NewSymbol<'_>]) -> WeakSymbols {
    let mut weak = WeakSymbols::default();
    let numbered = (0u32..).zip(symbols).filter(|(_, symbol)| symbol.is_export());
    let exports = numbered.filter_map(|(number, symbol)| {
        let id = program.find(symbol.name)?;
        Some((number, symbol, id, program.resolve_global(id).ok()?))
    });
    let (weaks, others): (Vec<_>, Vec<_>) = exports.partition(|(_, symbol, ..)| {
        symbol.binding == Binding::Weak || symbol.flags.has(SymbolFlags::COMMON)
    });
    for (number, _, id, resolution) in weaks {
        weak.numbers.insert(id, number);
        weak.definitions.entry(resolution).or_insert(number);
    }
    for (.., resolution) in others {
        weak.definitions.remove(&resolution);
    }
    weak
}

fn symbol_kind(output: SectionKind) -> SymbolKind {
    match output {
        SectionKind::Code => SymbolKind::Function,
        SectionKind::RoData => SymbolKind::Constant,
        _ => SymbolKind::Data,
    }
}

/// The exported symbols.
#[derive(Default)]
struct Exports<'d> {
    others: Vec<NewSymbol<'d>>,
    /// Thread-local ones, under their own names.
    of_storage: Vec<NewSymbol<'d>>,
}

fn exports<'d>(
    addresses: &ModuleLayout<'_, 'd>,
    keeps_resolved: bool,
    warnings: &mut Vec<PackWarning>,
) -> Result<Exports<'d>> {
    let program = addresses.program;
    let mut exports = Exports::default();
    let storage = addresses.output_of(Segment::Tls);
    for export in program.exports() {
        let Some(global) = program.global(export.id) else { continue };
        let Ok(resolution) = export.resolution else { continue };
        match addresses.locate(resolution) {
            address if export.symbol.kind == elf::STT_TLS => {
                let at = OutputOffset::of(address).filter(|at| Some(at.output) == storage);
                let symbol = new_export(addresses, &export, resolution, at);
                if let Some(symbol) = symbol.filter(|_| addresses.layout == Layout::Packed) {
                    exports.of_storage.push(symbol);
                    continue;
                }
                // Read-only sections of the native layout have no symbols.
                warnings.push(PackWarning::ThreadLocalNotExported { name: text(global.name) });
            }
            address @ Some(Address::Section { .. }) => {
                let at = OutputOffset::of(address);
                let mut symbol = new_export(addresses, &export, resolution, at);
                if let (Some(symbol), Resolution::Common(_)) = (&mut symbol, resolution) {
                    // Without relocations by symbol, references could not follow another definition.
                    symbol.flags.0 |= if keeps_resolved { SymbolFlags::COMMON } else { 0 };
                }
                let outside = || PackError::BrokenSymbol {
                    object: program.title(program.defining_object(export.id)),
                    symbol: text(global.name),
                    reason: "its address is outside its section",
                };
                exports.others.push(symbol.ok_or_else(outside)?);
            }
            _ => warnings.push(PackWarning::AbsoluteNotExported { name: text(global.name) }),
        }
    }
    Ok(exports)
}

fn new_export<'d>(
    addresses: &ModuleLayout<'_, 'd>,
    export: &Export<'_, 'd>,
    resolution: Resolution,
    at: Option<OutputOffset>,
) -> Option<NewSymbol<'d>> {
    let (OutputOffset { output, offset }, program) = (at?, addresses.program);
    let global = program.global(export.id)?;
    let size = match resolution {
        Resolution::Common(_) => global.common_size,
        _ => export.symbol.size,
    };
    Some(NewSymbol {
        name: global.name,
        kind: symbol_kind(addresses.outputs.get(output)?.kind),
        binding: if global.rank == Rank::Weak { Binding::Weak } else { Binding::Global },
        place: Place::Section(u16::try_from(output).ok()?),
        flags: phase_flags(addresses, resolution),
        value: offset,
        size: size.min(available(addresses, resolution)?),
        ..NewSymbol::default()
    })
}

/// The layout phase of a function.
fn phase_flags(addresses: &ModuleLayout<'_, '_>, resolution: Resolution) -> SymbolFlags {
    let Resolution::Section { id, .. } = resolution else { return SymbolFlags::default() };
    let section = addresses.program.section(id).filter(|section| section.is_code());
    SymbolFlags(section.map_or(0, |section| addresses.phases.of(id, section) as u8))
}

/// Bytes from a symbol to the end of its section or of the common symbol.
fn available(addresses: &ModuleLayout<'_, '_>, resolution: Resolution) -> Option<u64> {
    match resolution {
        Resolution::Section { id, value } => addresses.program.section(id)?.size.checked_sub(value),
        Resolution::Common(id) => Some(addresses.program.global(id)?.common_size),
        Resolution::Ifunc { .. } => {
            Some(addresses.program.machine().isa().landing_stub.bytes.len() as u64)
        }
        _ => None,
    }
}

/// The functions that are not exported, by name, for listings, debuggers and profilers.
fn local_functions<'d>(addresses: &ModuleLayout<'_, 'd>) -> impl Iterator<Item = NewSymbol<'d>> {
    let functions = addresses.program.locals(elf::STT_FUNC);
    functions.filter_map(|(symbol, resolution)| new_local(addresses, symbol, resolution))
}

/// The writable data that is not exported, by name, so that a new version of the module can take over its
/// contents.
fn local_data<'d>(addresses: &ModuleLayout<'_, 'd>) -> impl Iterator<Item = NewSymbol<'d>> {
    addresses.program.locals(elf::STT_OBJECT).filter_map(|(symbol, resolution)| {
        let segment = match resolution {
            Resolution::Section { id, .. } => Segment::of(addresses.program.section(id)?),
            _ => Segment::Bss,
        };
        let is_writable = matches!(segment, Segment::Data | Segment::Bss);
        new_local(addresses, symbol, resolution).filter(|_| is_writable)
    })
}

/// A symbol that is not exported. Names that start with a dot are the compiler's and are left out.
fn new_local<'d>(
    addresses: &ModuleLayout<'_, 'd>,
    symbol: &Symbol<'d>,
    resolution: Resolution,
) -> Option<NewSymbol<'d>> {
    let size = symbol.size.min(available(addresses, resolution)?);
    let OutputOffset { output, offset } = OutputOffset::of(addresses.locate(resolution))?;
    (size != 0 && !symbol.name.starts_with(b".")).then_some(NewSymbol {
        name: symbol.name,
        kind: symbol_kind(addresses.outputs.get(output)?.kind),
        binding: Binding::Local,
        place: Place::Section(u16::try_from(output).ok()?),
        flags: phase_flags(addresses, resolution),
        value: offset,
        size,
        ..NewSymbol::default()
    })
}

/// The imported symbols.
fn imports<'d>(addresses: &ModuleLayout<'_, 'd>) -> impl Iterator<Item = NewSymbol<'d>> {
    addresses.plan.imports.iter().map(|(&id, of)| {
        let name = addresses.program.global(id).map_or(&[][..], |global| global.name);
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
        let is_inside = available(addresses, resolution).is_some_and(|bytes| bytes != 0);
        (is_code && is_inside).then_some(at.offset)
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
