//! Text output, in aligned columns. Names are last in a line, so that they are neither cut nor padded;
//! control characters in them are escaped, so that a file cannot control the terminal.

use std::io::{self, Write};

use smf_core::Printable;
use smf_core::format::ext::needed::NeededLibraries;
use smf_core::format::ext::prelink::Prelink;
use smf_core::format::functions::Function;
use smf_core::format::layout_phase::{PhaseSpan, phases};
use smf_core::format::sdn::{Row, Table};
use smf_core::format::template::TemplateKind;
use smf_core::format::{Library, Reloc, RelocTable, Section, Smf, Symbol, SymbolIndex};

use super::properties::properties;
use super::{
    InitFunction, Parts, Selection, ThreadStorage, init_functions, prelink, shown_sections,
};

pub(super) fn write_library(
    file: &str,
    library: &Library<'_>,
    out: &mut impl Write,
) -> io::Result<()> {
    let size = library.file().len();
    writeln!(out, "{}: library archive, {size} bytes", Printable(file.as_bytes()))?;
    let columns = "    offset        size  hash                name";
    heading(out, "modules", library.len(), columns)?;
    for module in library.modules() {
        let module = module.map_err(io::Error::other)?;
        let (offset, size, hash) = (module.offset, module.size, module.hash);
        let name = Printable(module.name.as_bytes());
        writeln!(out, "  {offset:>#10x}  {size:>10}  0x{hash:016x}  {name}")?;
    }
    Ok(())
}

pub(super) fn write_module(
    file: &str,
    smf: &Smf<'_>,
    selected: &Selection<'_>,
    out: &mut impl Write,
) -> io::Result<()> {
    let all = selected.is_all();
    if all {
        write_header(file, smf, out)?;
    }
    if all || selected.sections {
        write_sections(smf, selected, out)?;
    }
    if all || selected.symbols {
        write_symbols(smf, selected, out)?;
    }
    if all {
        if selected.filter.is_empty() {
            write_phases(smf, out)?;
        }
        write_init_functions("constructors", smf, b".init_array", selected, out)?;
        write_init_functions("destructors", smf, b".fini_array", selected, out)?;
        write_functions(smf, selected, out)?;
    }
    if all || selected.relocs {
        write_relocs(smf, selected, out)?;
    }
    if all {
        write_object(smf, selected, out)?;
    }
    if all || selected.templates {
        let parts = Parts::of(smf).map_err(io::Error::other)?;
        write_templates(&parts, selected, out)?;
        write_note(&parts, selected, out)?;
    }
    Ok(())
}

/// Begins a table; one without rows has no line for the columns.
fn heading(out: &mut impl Write, what: &str, rows: usize, columns: &str) -> io::Result<()> {
    writeln!(out, "\n{what} ({rows})")?;
    if rows == 0 { Ok(()) } else { writeln!(out, "  {columns}") }
}

fn write_header(file: &str, smf: &Smf<'_>, out: &mut impl Write) -> io::Result<()> {
    let header = smf.header();
    let (major, minor) = header.version;
    let (layout, size) = (smf.layout().name(), smf.file().len());
    writeln!(out, "{}: {layout} {major}.{minor}, {size} bytes", Printable(file.as_bytes()))?;
    writeln!(out, "  platform     {}", header.platform)?;
    writeln!(out, "  arch         {}", header.arch)?;
    let flags: Vec<_> = header.flags.names().collect();
    let flags = if flags.is_empty() { "none".to_owned() } else { flags.join(", ") };
    writeln!(out, "  flags        {flags}")?;
    writeln!(out, "  compression  {}", header.compression)?;
    writeln!(out, "  entry point  {:#x}", header.entry_point)?;
    let declared = if header.data_offset == 0 { ", not declared" } else { "" };
    match smf.base() {
        0 => writeln!(out, "  stub         none")?,
        base => writeln!(out, "  stub         {base} bytes{declared}")?,
    }
    if let Some(storage) = ThreadStorage::of(smf) {
        let ThreadStorage { size, initial, alignment, is_static } = storage;
        let place = if is_static { ", static" } else { "" };
        writeln!(
            out,
            "  thread-local {size} bytes, {initial} of them initialised, alignment {alignment}{place}"
        )?;
    }
    let needed = NeededLibraries::of(smf).map_err(io::Error::other)?;
    for library in needed.iter().flat_map(NeededLibraries::iter) {
        writeln!(out, "  needs        {}", Printable(library))?;
    }
    for property in properties(smf).map_err(io::Error::other)?.into_iter().flatten() {
        let flags = property.flags.join(", ");
        writeln!(out, "  property     {} {:#x} {flags}", property.name, property.value)?;
    }
    let Ok(Some(index)) = SymbolIndex::of(smf.symbols()) else { return Ok(()) };
    writeln!(out, "  name index   {} names in {} buckets", index.names(), index.buckets())
}

fn write_sections(smf: &Smf<'_>, selected: &Selection<'_>, out: &mut impl Write) -> io::Result<()> {
    let shown = || shown_sections(smf).filter(|section| selected.has(section.name));
    let columns = "index  kind          flags      offset        size      memory  align  name";
    heading(out, "sections", shown().count(), columns)?;
    for section in shown() {
        let Section { index, kind, offset, size, virtual_size, alignment, .. } = section;
        // These `Display` implementations ignore the width.
        let (kind, flags) = (kind.to_string(), section.flags.to_string());
        let compressed = if section.is_compressed() { " (compressed)" } else { "" };
        let name = Printable(section.name);
        writeln!(
            out,
            "  {index:>5}  {kind:<12}  {flags:<5}  {offset:>#10x}  {size:>10}  {virtual_size:>10}  {alignment:>5}  {name}{compressed}"
        )?;
    }
    Ok(())
}

/// The tables of an ELF object in the code section.
fn write_object(smf: &Smf<'_>, selected: &Selection<'_>, out: &mut impl Write) -> io::Result<()> {
    let Some(object) = smf.object().map_err(io::Error::other)? else { return Ok(()) };
    writeln!(out, "\nthe code is an ELF object, and is linked from the tables that follow")?;
    write_sections(&object, selected, out)?;
    write_symbols(&object, selected, out)?;
    write_relocs(&object, selected, out)
}

fn write_symbols(smf: &Smf<'_>, selected: &Selection<'_>, out: &mut impl Write) -> io::Result<()> {
    let symbols = smf.symbols();
    let columns = "section       value        size  kind      binding  name";
    let is_shown = |symbol: &Symbol<'_>| selected.has(symbol.name());
    let count = match selected.filter {
        [] => symbols.len(),
        _ => symbols.iter().flatten().filter(is_shown).count(),
    };
    heading(out, "symbols", count, columns)?;
    for symbol in symbols.iter() {
        let symbol = symbol.map_err(io::Error::other)?;
        if !is_shown(&symbol) {
            continue;
        }
        let Symbol { kind, binding, value, size, .. } = symbol;
        let section = match (symbol.defined, symbol.section) {
            (false, _) => "import".to_owned(),
            (true, Some(section)) => section.to_string(),
            (true, None) => "-".to_owned(),
        };
        let name = Printable(symbol.name());
        write!(out, "  {section:>7}  {value:>#10x}  {size:>10}  {kind:<8}  {binding:<7}  {name}")?;
        let flags: Vec<_> = symbol.flags.names().collect();
        if !flags.is_empty() {
            write!(out, " [{}]", flags.join(", "))?;
        }
        writeln!(out)?;
    }
    Ok(())
}

/// The number of pages that the functions of each phase touch, and the number if they were contiguous.
fn write_phases(smf: &Smf<'_>, out: &mut impl Write) -> io::Result<()> {
    let spans = phases(smf).map_err(io::Error::other)?;
    let used = || spans.iter().filter(|span| span.functions != 0);
    if used().next().is_none() {
        return Ok(());
    }
    let columns = "functions       bytes   pages  together  phase";
    heading(out, "layout phases, in pages of 4 KiB", used().count(), columns)?;
    for PhaseSpan { phase, functions, bytes, pages, pages_packed } in used() {
        writeln!(out, "  {functions:>9}  {bytes:>10}  {pages:>6}  {pages_packed:>8}  {phase}")?;
    }
    Ok(())
}

/// The functions that run when the module is loaded, or those that run in reverse order when it is unloaded.
fn write_init_functions(
    what: &str,
    smf: &Smf<'_>,
    array: &[u8],
    selected: &Selection<'_>,
    out: &mut impl Write,
) -> io::Result<()> {
    let mut functions = init_functions(smf, array);
    functions.retain(|function| selected.has(function.name));
    if functions.is_empty() {
        return Ok(());
    }
    heading(out, what, functions.len(), "entry  section       value  name")?;
    for InitFunction { offset, section, value, name } in functions {
        writeln!(out, "  {offset:>#5x}  {section:>7}  {value:>#10x}  {}", Printable(name))?;
    }
    Ok(())
}

fn write_functions(
    smf: &Smf<'_>,
    selected: &Selection<'_>,
    out: &mut impl Write,
) -> io::Result<()> {
    let Some(functions) = smf.functions().map_err(io::Error::other)? else { return Ok(()) };
    let columns = "    offset      length  params  locals  name";
    let shown = functions.iter().flatten().filter(|function| selected.has(function.name()));
    heading(out, "bytecode functions", shown.count(), columns)?;
    for function in functions.iter() {
        let function = function.map_err(io::Error::other)?;
        if !selected.has(function.name()) {
            continue;
        }
        let Function { code_offset: offset, length, params, locals, .. } = function;
        let name = Printable(function.name());
        writeln!(out, "  {offset:>#10x}  {length:>10}  {params:>6}  {locals:>6}  {name}")?;
    }
    Ok(())
}

fn write_relocs(smf: &Smf<'_>, selected: &Selection<'_>, out: &mut impl Write) -> io::Result<()> {
    let prelink = prelink(smf);
    for table in smf.reloc_tables() {
        let table: RelocTable<'_> = table.map_err(io::Error::other)?;
        let (index, target) = (table.target.index, Printable(table.target.name));
        let resolved = match prelink {
            Some(plan) if plan.is_prelinked(table.section.index) => "prelinked ",
            Some(plan) if plan.is_relative(table.section.index) => "relative ",
            _ => "",
        };
        let title = format!("{resolved}relocations for section {index} {target}");
        let columns = "    offset  kind                       addend  symbol";
        let is_shown = |reloc: &Reloc| {
            let symbol = smf.symbols().get(reloc.symbol);
            selected.filter.is_empty() || symbol.is_ok_and(|symbol| selected.has(symbol.name()))
        };
        let count = match selected.filter {
            [] => table.len(),
            _ => table.iter().filter(is_shown).count(),
        };
        if count == 0 && !table.is_empty() {
            continue;
        }
        heading(out, &title, count, columns)?;
        for reloc in table.iter().filter(is_shown) {
            let symbol = smf.symbols().get(reloc.symbol).map_err(io::Error::other)?;
            let (Reloc { offset, kind, addend, .. }, name) = (reloc, Printable(symbol.name()));
            writeln!(out, "  {offset:>#10x}  {kind:<21}  {addend:>10}  {name}")?;
        }
    }
    if selected.filter.is_empty()
        && let Some(plan) = prelink
    {
        write_places(smf, &plan, out)?;
    }
    Ok(())
}

/// The words of each section to which the address of the image is added, where no relocation states them.
fn write_places(smf: &Smf<'_>, plan: &Prelink<'_>, out: &mut impl Write) -> io::Result<()> {
    let sections = smf.sections();
    if plan.relative_relocs().is_empty() || sections.iter().any(|s| plan.is_relative(s.index)) {
        return Ok(());
    }
    for section in sections.iter() {
        let count = plan.relative_places_in(&section).count();
        if count != 0 {
            let (index, name) = (section.index, Printable(section.name));
            writeln!(out, "\naddresses in section {index} {name}, without relocations ({count})")?;
        }
    }
    Ok(())
}

fn write_templates(
    parts: &Parts<'_>,
    selected: &Selection<'_>,
    out: &mut impl Write,
) -> io::Result<()> {
    let Some(templates) = parts.templates().map_err(io::Error::other)? else { return Ok(()) };
    let shown = templates.iter().flatten().filter(|template| selected.has(template.name));
    let count = match selected.filter {
        [] => templates.count as usize,
        _ => shown.count(),
    };
    heading(out, "templates", count, "kind      params  name")?;
    for template in templates.iter() {
        let template = template.map_err(io::Error::other)?;
        if !selected.has(template.name) {
            continue;
        }
        let kind = template.kind.map_or("unknown", TemplateKind::name);
        let (params, name) = (template.params, Printable(template.name));
        writeln!(out, "  {kind:<8}  {params:>6}  {name}")?;
    }
    if templates.listed() < templates.count {
        writeln!(out, "  (bodies of unknown length follow the first; the rest cannot be listed)")?;
    }
    Ok(())
}

/// Writes the rows with a cell that is selected, and the tables that have one, or all.
fn write_note(parts: &Parts<'_>, selected: &Selection<'_>, out: &mut impl Write) -> io::Result<()> {
    let Some(note) = parts.note().map_err(io::Error::other)? else { return Ok(()) };
    writeln!(out, "\nnote")?;
    let is_shown = |row: &Result<Row<'_>, _>| {
        let row = row.as_ref();
        row.map_or(true, |row| row.cells().any(|cell| selected.has(cell.to_string().as_bytes())))
    };
    for table in note.document().tables() {
        let table: Table<'_> = table.map_err(io::Error::other)?;
        let mut rows = table.rows().filter(is_shown).peekable();
        if rows.peek().is_none() && !selected.filter.is_empty() {
            continue;
        }
        writeln!(out, "  {}", Printable(table.name().as_bytes()))?;
        for row in rows {
            let row = row.map_err(io::Error::other)?;
            write!(out, "   ")?;
            for (column, cell) in table.columns().zip(row.cells()) {
                let cell = Printable(cell.raw().as_bytes());
                write!(out, " {}=\"{cell}\"", Printable(column.as_bytes()))?;
            }
            writeln!(out)?;
        }
    }
    Ok(())
}
