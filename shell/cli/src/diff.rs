//! `smf diff`: how two modules differ.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use smf_core::format::{SectionKind, Smf, Symbol};

use crate::nm::{Sizes, symbols};
use crate::output::{self, At, Failure};

/// Shows how the symbols and sizes of two modules differ
///
/// `+` is only in the second module, `-` only in the first, `~` in both with another kind, size or contents. Contents are
/// compared as they are in the files: code that refers to parts of the module that have moved differs too. The exit status is 0 if there is no difference and 1 if there is one.
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

/// A symbol as far as it is compared.
#[derive(PartialEq, Eq)]
struct Compared<'d> {
    is_import: bool,
    kind: String,
    size: u64,
    /// `None` if they lie outside of the section, or the section has no bytes.
    contents: Option<&'d [u8]>,
}

impl<'d> Compared<'d> {
    fn of(smf: &Smf<'d>, symbol: &Symbol<'d>) -> Self {
        let section = symbol.section.and_then(|section| smf.sections().get(section));
        let contents = section.filter(|section| section.kind != SectionKind::Bss).and_then(|s| {
            let from = usize::try_from(symbol.value).ok()?;
            s.data.get(from..)?.get(..usize::try_from(symbol.size).ok()?)
        });
        let is_import = symbol.is_import();
        Self { is_import, kind: symbol.kind.to_string(), size: symbol.size, contents }
    }

    fn describe(&self) -> String {
        match self.is_import {
            true => "import".to_owned(),
            false => format!("{} of {} bytes", self.kind, self.size),
        }
    }

    /// How `new` differs from this symbol.
    fn change(&self, new: &Self) -> String {
        match self.describe() == new.describe() {
            true => format!("{}, other contents", self.describe()),
            false => format!("{} -> {}", self.describe(), new.describe()),
        }
    }
}

pub(crate) fn run(args: &Args) -> Result<ExitCode, Failure> {
    let (old, new) = (output::read(&args.old)?, output::read(&args.new)?);
    let (old, new) = (output::module(&args.old, &old)?, output::module(&args.new, &new)?);
    let table = |smf| -> Result<BTreeMap<_, _>, smf_core::format::FormatError> {
        let (linked, symbols) = symbols(smf)?;
        let wanted = symbols.into_iter().filter(|symbol| {
            let is_global = symbol.is_export() || symbol.is_import();
            is_global || args.all && symbol.section.is_some()
        });
        Ok(wanted.map(|symbol| (symbol.name(), Compared::of(&linked, &symbol))).collect())
    };
    let (before, after) = (table(&old).at(&args.old)?, table(&new).at(&args.new)?);
    let mut lines = Vec::new();
    for (name, symbol) in &before {
        match after.get(name) {
            None => lines.push((*name, '-', symbol.describe())),
            Some(new) if new != symbol => lines.push((*name, '~', symbol.change(new))),
            Some(_) => {}
        }
    }
    let added = after.iter().filter(|(name, _)| !before.contains_key(*name));
    lines.extend(added.map(|(name, symbol)| (*name, '+', symbol.describe())));
    lines.sort();
    let sizes = changed_sizes(&Sizes::of(&old).at(&args.old)?, &Sizes::of(&new).at(&args.new)?);
    output::to_stdout(|out| {
        for (name, sign, what) in &lines {
            writeln!(out, "{sign} {}  ({what})", output::printable(name))?;
        }
        sizes.iter().try_for_each(|line| writeln!(out, "~ {line}"))
    })?;
    let is_same = lines.is_empty() && sizes.is_empty();
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
