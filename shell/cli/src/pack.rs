//! `smf pack`: links relocatable ELF objects and modules into a module.

use std::collections::HashMap;
use std::hash::Hash;
use std::mem::{Discriminant, discriminant};
use std::path::PathBuf;

use clap::ValueEnum;

use smf_loader::library_search::{Found, FoundFile, FoundLibrary, LibrarySearch};
use smf_loader::pack::{
    Algorithm, Input, Machine, Options, PackError, PackWarning, SharedLibrary, pack, parse_phases,
};

use crate::allocator;
use crate::integer::up_to;
use crate::layout::WrittenLayout;
use crate::output::{self, At, Failure};
use crate::progress;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Objects as gcc, clang and rustc write them, modules, and archives of either
    #[arg(required = true, value_name = "OBJ")]
    objects: Vec<PathBuf>,
    /// The module to write
    #[arg(short, long, value_name = "OUT")]
    output: PathBuf,
    /// The layout of the module
    #[arg(long, default_value = "packed")]
    layout: WrittenLayout,
    /// The function that is the entry point
    #[arg(long, value_name = "NAME")]
    entry: Option<String>,
    /// Export a symbol although it is hidden; may be repeated
    ///
    /// Archive members that define it are linked.
    #[arg(long, value_name = "NAME")]
    export: Vec<String>,
    /// Export hidden symbols as if they were not hidden
    #[arg(long)]
    export_all: bool,
    /// Need this shared library of the system, such as `libm.so.6`; may be repeated
    ///
    /// The loader opens it with the module and resolves imports in it that nothing else defines.
    #[arg(long, value_name = "SONAME")]
    needed: Vec<String>,
    /// Link or need the library NAME as a linker does: `libNAME.so` or `libNAME.a`; may be repeated
    ///
    /// A shared library is needed under the name that it states (DT_SONAME). Of an archive, the members that are needed
    /// are linked. `:FILE` stands for a file name. Linker scripts are followed.
    #[arg(short, long, value_name = "NAME")]
    library: Vec<String>,
    /// Search libraries here first; may be repeated
    #[arg(short = 'L', long, value_name = "DIR")]
    library_path: Vec<PathBuf>,
    /// Leave instances of templates that a module lists as possible to the loader
    #[arg(long)]
    defer: bool,
    /// A file to put before the module, such as a `#!` line or an executable
    #[arg(long, value_name = "FILE")]
    stub: Option<PathBuf>,
    /// Mark the module as reloadable: a new version may replace it while it runs
    ///
    /// Adds symbols for data that is not exported, so that the new version can take over its contents.
    #[arg(long)]
    reloadable: bool,
    /// A list of layout phases: a line `NAME PHASE` for each function
    ///
    /// Phases are startup, first_frame, steady and cold; the code lies in that order. They apply to functions
    /// compiled with -ffunction-sections; for others, the section names of the compiler decide.
    #[arg(long, value_name = "FILE")]
    phases: Option<PathBuf>,
    /// Record in the header how many of a program's files to prefetch
    #[arg(long, value_name = "FILES", default_value_t = 0, hide_default_value = true, value_parser = up_to::<u8>(255))]
    prefetch: u8,
    /// Leave the unwinding tables out
    ///
    /// The module becomes smaller. An exception that reaches its code ends the process, and backtraces end there.
    #[arg(long)]
    no_unwind_tables: bool,
    /// Keep the relocations that the placement of the packed layout makes superfluous
    ///
    /// The module becomes larger. It can be an input of `smf pack`, be converted to another layout, and be loaded by other
    /// readers of SMF. Reloadable modules and the native layout always have them.
    #[arg(short = 'q', long)]
    emit_relocs: bool,
    /// Keep the debugging information of the objects and modules (DWARF), and the symbols of local functions
    ///
    /// Debuggers get it when the module is loaded with SMF_GDB=1: source lines, variables and types. The symbols name static
    /// functions in listings, profiles and backtraces. Neither is loaded into memory with the module.
    #[arg(short = 'g', long)]
    debug_info: bool,
    /// Compress sections other than code where that makes them smaller
    #[arg(long, value_name = "ALGORITHM")]
    compress: Option<Compression>,
}

/// The choices of `--compress`.
#[derive(Clone, Copy, ValueEnum)]
enum Compression {
    /// Zstandard
    ///
    /// Smaller files.
    Zstd,
    /// LZ4
    ///
    /// Faster loading.
    Lz4,
}

impl From<Compression> for Algorithm {
    fn from(compression: Compression) -> Self {
        match compression {
            Compression::Zstd => Self::Zstd,
            Compression::Lz4 => Self::Lz4,
        }
    }
}

/// The size of the inputs in bytes from which large pages pay.
const LARGE: usize = 2 << 20;

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let sizes = args.objects.iter().filter_map(|path| std::fs::metadata(path).ok());
    let size = sizes.fold(0, |all: u64, found| all.saturating_add(found.len()));
    if let Ok(size @ LARGE..) = usize::try_from(size) {
        // Beside the inputs, there are tables of them and the module.
        allocator::use_large_heap(size.saturating_mul(4));
    }
    let objects = output::read_all(&args.objects)?;
    let names: Vec<_> = args.objects.iter().map(|path| path.to_string_lossy()).collect();
    let inputs: Vec<_> =
        names.iter().zip(&objects).map(|(name, data)| Input { name, data }).collect();
    let stub = args.stub.as_deref().map(output::read).transpose()?;
    let list = args.phases.as_deref().map(output::read).transpose()?;
    let phases = match (&args.phases, &list) {
        (Some(path), Some(list)) => Some(parse_phases(list).at(path)?),
        _ => None,
    };
    let exports: Vec<_> = args.export.iter().map(String::as_str).collect();
    let found = search(args, &inputs)?;
    let others = [&args.stub, &args.phases].into_iter().flatten();
    let files = args.objects.iter().chain(others).map(PathBuf::as_path);
    output::check_distinct(&args.output, files.chain(found.paths()))?;
    let libraries: Vec<_> = found.archives.iter().map(FoundFile::input).collect();
    let needed = args.needed.iter().map(|name| SharedLibrary::new(name));
    let needed: Vec<_> = needed.chain(found.shared.iter().map(FoundLibrary::library)).collect();
    let options = Options {
        layout: args.layout.into(),
        entry: args.entry.as_deref(),
        exports: &exports,
        export_all: args.export_all,
        libraries: &libraries,
        defer: args.defer,
        needed: &needed,
        stub: stub.as_deref().unwrap_or(&[]),
        reloadable: args.reloadable,
        compress: args.compress.map(Algorithm::from),
        phases: phases.as_ref(),
        omit_unwind_tables: args.no_unwind_tables,
        emit_relocs: args.emit_relocs,
        debug_info: args.debug_info,
        prefetch: args.prefetch,
    };
    let packed =
        progress::during("packing", 0, |_| pack(&inputs, &options)).map_err(
            |error| match error {
                PackError::Several(errors) => {
                    report("error", SHOWN_ERRORS, &errors, error_kind, |_| "");
                    Failure::Reported
                }
                error => error.into(),
            },
        )?;
    output::write(&args.output, &packed.bytes, args.stub.as_deref())?;
    report("warning", SHOWN_WARNINGS, &packed.warnings, discriminant, PackWarning::subject);
    Ok(())
}

/// How many errors of one kind are shown in full. Each of a few may need a remedy of its own.
const SHOWN_ERRORS: usize = 20;
/// The same of warnings, which have one remedy.
const SHOWN_WARNINGS: usize = 1;
/// How many of the others are named.
const NAMED: usize = 3;

/// The kind of an error: the variant, and the reason where a variant stands for several.
fn error_kind(error: &PackError) -> (Discriminant<PackError>, &'static str) {
    let reason = match error {
        PackError::NotAnObject { found: reason, .. }
        | PackError::ModuleRefused { why: reason, .. }
        | PackError::ModulesConflict { why: reason, .. }
        | PackError::Broken { reason, .. }
        | PackError::Section { reason, .. }
        | PackError::SectionContents { reason, .. }
        | PackError::BrokenSymbol { reason, .. }
        | PackError::RelocKind { why: reason, .. }
        | PackError::RelocTarget { why: reason, .. } => reason,
        _ => "",
    };
    (discriminant(error), reason)
}

/// Reports messages by their kinds, in the order of the first of each. Of one kind, `shown` are reported in full; the last of
/// these counts the others and names the first of them by their `subject`, unless that is empty.
fn report<T: ToString, K: Eq + Hash>(
    label: &str,
    shown: usize,
    messages: &[T],
    kind: impl Fn(&T) -> K,
    subject: impl Fn(&T) -> &str,
) {
    let mut numbers = HashMap::new();
    let mut kinds: Vec<Vec<&T>> = Vec::new();
    for message in messages {
        let number = *numbers.entry(kind(message)).or_insert(kinds.len());
        match kinds.get_mut(number) {
            Some(known) => known.push(message),
            None => kinds.push(vec![message]),
        }
    }
    for all in kinds {
        let (in_full, others) = all.split_at(shown.min(all.len()));
        let mut texts: Vec<_> = in_full.iter().map(|message| message.to_string()).collect();
        let last = texts.last_mut().filter(|_| !others.is_empty());
        last.into_iter().for_each(|last| last.push_str(&more(others, &subject)));
        texts.iter().for_each(|text| output::report(label, text));
    }
}

/// Counts messages that are not shown, and names the first of them.
fn more<T>(others: &[&T], subject: &impl Fn(&T) -> &str) -> String {
    let names = others.iter().map(|message| subject(message)).filter(|name| !name.is_empty());
    let mut names: Vec<_> = names.take(NAMED + 1).collect();
    if let Some(last) = names.get_mut(NAMED) {
        *last = "...";
    }
    let colon = if names.is_empty() { "" } else { ": " };
    let names = names.join("; ");
    format!(" (and {} more of this kind{colon}{names})", others.len())
}

/// Finds the libraries that the arguments name.
fn search(args: &Args, inputs: &[Input<'_>]) -> Result<Found, Failure> {
    let machine = inputs.iter().find_map(|input| Machine::of_object(input.data));
    let search = LibrarySearch::new(&args.library_path, machine.unwrap_or_default());
    let mut found = Found::default();
    args.library.iter().try_for_each(|name| search.find(name, &mut found))?;
    Ok(found)
}
