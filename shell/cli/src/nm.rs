//! `smf nm`, `smf size` and `smf top`: symbols and sizes, in the habit of binutils.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};

use smf_core::format::{Binding, FormatError, Section, SectionKind, Smf, Symbol, SymbolKind};

use crate::integer::up_to;
use crate::output::{self, At, Failure};

/// Lists the symbols of modules
///
/// A line has the value in the section, the kind and the name. Kinds: T code, D data, R read-only data, B zeroed
/// data, U an import, A a number, N of no section that is loaded; lower case for symbols that are local to the module, and W, V, w
/// for weak definitions of code and data, and weak imports. Functions of bytecode have the offset of their code in the section.
/// Symbols that stand for sections are not listed; `smf inspect` shows them.
#[derive(clap::Args)]
pub(crate) struct NmArgs {
    /// The modules
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// Only imports
    #[arg(short, long, conflicts_with = "exports")]
    undefined: bool,
    /// Only exports
    #[arg(short, long)]
    exports: bool,
    /// Sort by size, with sizes in place of values
    #[arg(short = 'S', long)]
    size_sort: bool,
}

/// Shows the sizes of the parts of modules, in bytes
#[derive(clap::Args)]
pub(crate) struct SizeArgs {
    /// The modules
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// Show each section
    #[arg(short = 'A', long)]
    sections: bool,
}

/// Shows the largest symbols and sections of a module
///
/// A share is that of all symbols together, where names of the same bytes count once, or of all sections.
#[derive(clap::Args)]
pub(crate) struct TopArgs {
    /// The module
    file: PathBuf,
    /// The number of rows of each table
    #[arg(short, long, default_value_t = 20, value_parser = up_to::<usize>(i64::MAX))]
    number: usize,
}

/// What commands show as the symbols of a module: its symbols and its functions of bytecode, with
/// [sizes](Smf::fill_sizes) of all functions, and without those that stand for sections and files. They are those of the
/// module that is [linked](Smf::linked), which comes with them.
pub(crate) fn symbols<'d>(smf: &Smf<'d>) -> Result<(Smf<'d>, Vec<Symbol<'d>>), FormatError> {
    let linked = smf.linked()?;
    let mut symbols = linked.symbols().iter().collect::<Result<Vec<_>, _>>()?;
    linked.fill_sizes(&mut symbols);
    symbols.retain(|symbol| {
        let is_number = symbol.section.is_none() && symbol.kind == SymbolKind::None;
        let is_file = linked.layout().is_object() && is_number && symbol.value == 0;
        let is_named = !symbol.name().is_empty() && !linked.is_section_symbol(symbol);
        is_named && (symbol.is_import() || symbol.is_export() || !is_file)
    });
    for function in linked.function_symbols()? {
        symbols.push(function?);
    }
    Ok((linked, symbols))
}

/// The sections of a module; in place of code that is an ELF object, the sections of the object that have bytes.
pub(crate) fn sections<'d>(smf: &Smf<'d>) -> Result<Vec<Section<'d>>, FormatError> {
    let object = smf.object()?;
    let own = smf.sections().iter().filter(|section| object.is_none() || !section.holds_object());
    let linked = object.iter().flat_map(|object| object.sections().iter());
    Ok(own.chain(linked.filter(|section| section.memory_size().max(section.size) > 0)).collect())
}

pub(crate) fn nm(args: &NmArgs) -> Result<(), Failure> {
    output::for_each_file(&args.files, |file| list(args, file))
}

/// Lists the symbols of one module.
fn list(args: &NmArgs, file: &Path) -> Result<(), Failure> {
    let data = output::read(file)?;
    let smf = output::module_with_sections(file, &data)?;
    let (linked, mut symbols) = symbols(&smf).at(file)?;
    symbols.retain(|symbol| {
        (!args.undefined || symbol.is_import()) && (!args.exports || symbol.is_export())
    });
    if args.size_sort {
        symbols.sort_by_key(|symbol| symbol.size);
    } else {
        symbols.sort_by_key(|symbol| symbol.name());
    }
    output::to_stdout(|out| {
        if args.files.len() > 1 {
            writeln!(out, "\n{}:", output::one_line(&file.to_string_lossy()))?;
        }
        for symbol in &symbols {
            let number = if args.size_sort { symbol.size } else { symbol.value };
            let number = match symbol.is_import() {
                true => " ".repeat(16),
                false => format!("{number:016x}"),
            };
            let (letter, name) = (letter(&linked, symbol), output::printable(symbol.name()));
            writeln!(out, "{number} {letter} {name}")?;
        }
        Ok(())
    })
}

/// The kind of a symbol, as `nm` of binutils shows it.
fn letter(smf: &Smf<'_>, symbol: &Symbol<'_>) -> char {
    let is_weak = symbol.binding == Binding::Weak;
    if symbol.is_import() {
        return if is_weak { 'w' } else { 'U' };
    }
    let section = symbol.section.and_then(|section| smf.sections().get(section));
    let letter = match section.map(|section| section.kind) {
        Some(SectionKind::Code) if is_weak => 'W',
        Some(SectionKind::Code) => 'T',
        Some(_) if is_weak => 'V',
        Some(SectionKind::Data) => 'D',
        Some(SectionKind::RoData) => 'R',
        Some(SectionKind::Bss) => 'B',
        None if symbol.defined => 'A',
        _ => 'N',
    };
    if symbol.binding == Binding::Local { letter.to_ascii_lowercase() } else { letter }
}

/// The bytes of the parts of a module.
#[derive(Default)]
pub(crate) struct Sizes {
    pub(crate) text: u64,
    pub(crate) data: u64,
    pub(crate) bss: u64,
    /// Sections that are not loaded: symbols, relocations, notes.
    pub(crate) rest: u64,
    pub(crate) file: u64,
}

impl Sizes {
    /// Code and read-only data count as text, as in binutils.
    pub(crate) fn of(smf: &Smf<'_>) -> Result<Self, FormatError> {
        let mut sizes = Self { file: smf.file().len() as u64, ..Self::default() };
        for section in sections(smf)? {
            match section.kind {
                SectionKind::Code | SectionKind::RoData => sizes.text += section.memory_size(),
                SectionKind::Data => sizes.data += section.memory_size(),
                SectionKind::Bss => sizes.bss += section.memory_size(),
                _ => sizes.rest += section.size,
            }
        }
        Ok(sizes)
    }
}

pub(crate) fn size(args: &SizeArgs) -> Result<(), Failure> {
    let mut is_first = true;
    output::for_each_file(&args.files, |file| {
        let data = output::read(file)?;
        let smf = output::module_with_sections(file, &data)?;
        let (sections, sizes) = (sections(&smf).at(file)?, Sizes::of(&smf).at(file)?);
        let name = output::one_line(&file.to_string_lossy());
        let has_heading = std::mem::replace(&mut is_first, false);
        output::to_stdout(|out| {
            if args.sections {
                writeln!(out, "{name}:\n        size    in file  section")?;
                for section in &sections {
                    let (memory, size) = (section.memory_size(), section.size);
                    let name = output::printable(section.name);
                    writeln!(out, "  {memory:>10} {size:>10}  {name} ({})", section.kind)?;
                }
                return Ok(());
            }
            if has_heading {
                writeln!(out, "      text       data        bss       rest       file  name")?;
            }
            let Sizes { text, data, bss, rest, file } = sizes;
            writeln!(out, "{text:>10} {data:>10} {bss:>10} {rest:>10} {file:>10}  {name}")
        })
    })
}

pub(crate) fn top(args: &TopArgs) -> Result<(), Failure> {
    let data = output::read(&args.file)?;
    let smf = output::module_with_sections(&args.file, &data)?;
    let (linked, mut symbols) = symbols(&smf).at(&args.file)?;
    symbols.retain(|symbol| symbol.defined && symbol.size > 0 && symbol.section.is_some());
    // Names of the same bytes, such as those of the constructors of a C++ class, count once.
    let places = symbols.iter().map(|symbol| (symbol.section, symbol.value, symbol.size));
    let all = places.collect::<BTreeSet<_>>().iter().map(|(.., size)| size).sum();
    symbols.sort_by_key(|symbol| Reverse(symbol.size));
    let mut sections = sections(&smf).at(&args.file)?;
    sections.retain(|section| section.memory_size() > 0);
    sections.sort_by_key(|section| Reverse(section.memory_size()));
    output::to_stdout(|out| {
        writeln!(out, "      size  share  symbol")?;
        for symbol in symbols.iter().take(args.number) {
            row(out, symbol.size, all, letter(&linked, symbol), symbol.name())?;
        }
        let all = sections.iter().map(|section| section.memory_size()).sum();
        writeln!(out, "\n      size  share  section")?;
        for section in sections.iter().take(args.number) {
            row(out, section.memory_size(), all, ' ', section.name)?;
        }
        Ok(())
    })
}

fn row(
    out: &mut impl Write,
    size: u64,
    all: u64,
    letter: char,
    name: &[u8],
) -> std::io::Result<()> {
    let share = (size as f64) * 100.0 / (all.max(1) as f64);
    writeln!(out, "{size:>10} {share:>5.1}%  {letter} {}", output::printable(name))
}
