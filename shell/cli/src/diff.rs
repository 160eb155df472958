//! `smf diff`: how two modules differ.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use smf_core::format::{Contents, FormatError, Section, SectionKind, Smf, Symbol};
use smf_loader::inspect::Parts;

use crate::machine_code::bytes_of;
use crate::nm::{Sizes, sections, symbols};
use crate::output::{self, At, Failure};

/// Shows how the symbols, templates, sections and sizes of two modules differ
///
/// `+` is only in the second module, `-` only in the first, `~` in both with another kind, size or contents. Contents are
/// compared after decompression, and as they are in the files: code that refers to parts of the module that have moved
/// differs too. A section with other contents is shown unless one of its symbols or templates is. The exit status is 0 if
/// the files are equal, 1 if they differ, and 2 if the command fails, as that of diff(1) and cmp(1).
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The first module
    old: PathBuf,
    /// The second module
    new: PathBuf,
    /// Also compare symbols that are local to the modules
    #[arg(long)]
    all: bool,
}

/// What a name is that of.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Symbol,
    Template,
    Section,
}

/// What is compared of a symbol, a template or a section.
struct Part<'m> {
    /// The kind and the size.
    shown: String,
    /// `None` if they lie outside of the section, or the section has no bytes.
    contents: Option<&'m [u8]>,
    /// The name of its section.
    section: Option<&'m [u8]>,
}

impl Part<'_> {
    /// How `new` differs from this part.
    fn change(&self, new: &Self) -> Option<String> {
        match self.shown == new.shown {
            true if self.contents == new.contents => None,
            true => Some(format!("{}, other contents", self.shown)),
            false => Some(format!("{} -> {}", self.shown, new.shown)),
        }
    }
}

/// The parts of one name and kind, in the order of their places.
type Table<'m> = BTreeMap<(&'m [u8], Kind), Vec<Part<'m>>>;

/// A module with what is compared of it in memory.
struct Module<'d> {
    linked: Smf<'d>,
    symbols: Vec<Symbol<'d>>,
    parts: Parts<'d>,
    /// By index and offset, because [`sections`] may be those of two tables.
    sections: BTreeMap<(u32, u64), (Section<'d>, Contents<'d>)>,
}

impl<'d> Module<'d> {
    fn of(smf: &Smf<'d>) -> Result<Self, FormatError> {
        let (linked, symbols) = symbols(smf)?;
        let place = |section: Section<'d>| {
            let contents = smf.contents(&section)?;
            Ok(((section.index, section.offset), (section, contents)))
        };
        let sections = sections(smf)?.into_iter().map(place).collect::<Result<_, FormatError>>()?;
        Ok(Self { linked, symbols, parts: Parts::of(smf)?, sections })
    }

    fn table(&self, has_locals: bool) -> Result<Table<'_>, FormatError> {
        let mut table = Table::new();
        let mut add = |name, kind, part| table.entry((name, kind)).or_default().push(part);
        for symbol in &self.symbols {
            let is_global = symbol.is_export() || symbol.is_import();
            if is_global || has_locals && symbol.section.is_some() {
                add(symbol.name(), Kind::Symbol, self.symbol(symbol));
            }
        }
        let mut template_section = None;
        for (section, contents) in self.sections.values() {
            // Those that the symbols are read from.
            if matches!(section.kind, SectionKind::SymTab | SectionKind::StrTab) {
                continue;
            }
            if section.kind == SectionKind::TemplateCode {
                template_section = Some(section.name);
            }
            let shown = format!("{} section of {} bytes", section.kind, section.memory_size());
            let contents = (section.kind != SectionKind::Bss).then_some(&**contents);
            let part = Part { shown, contents, section: Some(section.name) };
            add(section.name, Kind::Section, part);
        }
        for template in self.parts.templates()?.iter().flat_map(|templates| templates.iter()) {
            let template = template?;
            let shown = format!("template of {} bytes", template.body.len());
            let part = Part { shown, contents: Some(template.body), section: template_section };
            add(template.name, Kind::Template, part);
        }
        Ok(table)
    }

    fn symbol(&self, symbol: &Symbol<'_>) -> Part<'_> {
        if symbol.is_import() {
            return Part { shown: "import".to_owned(), contents: None, section: None };
        }
        let section = symbol.section.and_then(|index| self.linked.sections().get(index));
        let section = section.and_then(|s| self.sections.get(&(s.index, s.offset)));
        let with_bytes = section.filter(|(section, _)| section.kind != SectionKind::Bss);
        let contents = with_bytes.and_then(|(_, contents)| bytes_of(contents, symbol));
        let shown = format!("{} of {} bytes", symbol.kind, symbol.size);
        Part { shown, contents, section: section.map(|(section, _)| section.name) }
    }
}

/// A line of the output.
struct Line<'m> {
    name: &'m [u8],
    kind: Kind,
    sign: char,
    what: String,
    section: Option<&'m [u8]>,
}

/// How two tables differ, without sections in which something else does.
fn compare<'m>(before: &Table<'m>, after: &Table<'m>) -> Vec<Line<'m>> {
    let mut lines = Vec::new();
    let keys: BTreeSet<_> = before.keys().chain(after.keys()).collect();
    for key @ (name, kind) in keys {
        let [before, after] = [before, after].map(|table| table.get(key).map_or(&[][..], |v| v));
        for at in 0..before.len().max(after.len()) {
            let (part, sign, what) = match (before.get(at), after.get(at)) {
                (Some(old), Some(new)) => match old.change(new) {
                    Some(change) => (old, '~', change),
                    None => continue,
                },
                (Some(old), None) => (old, '-', old.shown.clone()),
                (None, Some(new)) => (new, '+', new.shown.clone()),
                (None, None) => continue,
            };
            lines.push(Line { name, kind: *kind, sign, what, section: part.section });
        }
    }
    let inside = lines.iter().filter(|line| line.kind != Kind::Section);
    let shown: BTreeSet<_> = inside.filter_map(|line| line.section).collect();
    lines.retain(|line| line.kind != Kind::Section || !shown.contains(line.name));
    lines
}

pub(crate) fn run(args: &Args) -> Result<ExitCode, Failure> {
    let (old, new) = (output::read(&args.old)?, output::read(&args.new)?);
    let (old, new) = (output::module(&args.old, &old)?, output::module(&args.new, &new)?);
    let sizes = changed_sizes(&Sizes::of(&old).at(&args.old)?, &Sizes::of(&new).at(&args.new)?);
    let is_same = old.file() == new.file();
    let (old, new) = (Module::of(&old).at(&args.old)?, Module::of(&new).at(&args.new)?);
    let before = old.table(args.all).at(&args.old)?;
    let lines = compare(&before, &new.table(args.all).at(&args.new)?);
    output::to_stdout(|out| {
        for Line { name, sign, what, .. } in &lines {
            writeln!(out, "{sign} {}  ({what})", output::printable(name))?;
        }
        if lines.is_empty() && sizes.is_empty() && !is_same {
            writeln!(out, "~ the file: other bytes outside of its symbols and sections")?;
        }
        sizes.iter().try_for_each(|line| writeln!(out, "~ {line}"))
    })?;
    Ok(if is_same { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn changed_sizes(old: &Sizes, new: &Sizes) -> Vec<String> {
    let parts = [
        ("text", old.text, new.text),
        ("data", old.data, new.data),
        ("bss", old.bss, new.bss),
        ("the rest", old.rest, new.rest),
        ("the file", old.file, new.file),
    ];
    let changed = parts.into_iter().filter(|(_, old, new)| old != new);
    changed.map(|(what, old, new)| format!("{what}: {old} -> {new} bytes")).collect()
}
