//! `smf run`: a file becomes a program, and the program is called.
#![allow(unsafe_code)]

use std::ffi::OsString;
use std::fs;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use smf_core::format::{Smf, Symbol, SymbolKind};
use smf_core::link::MAX_ARGS;
use smf_core::loader::{LoaderOptions, ModuleHandle, ModuleRef};
use smf_core::vm::Tiers;
use smf_loader::call;
use smf_loader::host_symbols::{self, HostSymbols};
use smf_loader::loader::{LoadError, Loader};

use crate::args::integer;
use crate::bytecode;
use crate::output::{self, Failure};
use crate::watch::Before;

/// How many functions an error suggests.
const SUGGESTED: usize = 8;

/// Loads and links a module, calls one of its functions and prints the result
///
/// Machine code is trusted: to run a module is to run a program. A dynlib is trusted from the moment it is
/// opened, because the system runs its initialisers then.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The module
    file: PathBuf,
    /// The function to call [default: the entry point, else `main`]
    name: Option<OsString>,
    /// Its arguments: up to 8 integers, decimal or 0x hexadecimal
    ///
    /// They have 64 bits; those that are not given are 0.
    #[arg(value_name = "ARG", value_parser = integer, allow_negative_numbers = true)]
    #[arg(num_args = 0..=MAX_ARGS)]
    args: Vec<i64>,
    /// A module or an archive that may provide imports
    ///
    /// May be given again: the first to define a name wins. What nobody needs is not loaded.
    #[arg(long, value_name = "LIB")]
    with: Vec<PathBuf>,
    /// Take imports that no module provides from libc and the process
    #[arg(long)]
    host_symbols: bool,
    /// Take them from this shared library, a path or a name such as `m`
    ///
    /// May be given again. The process comes first, then the libraries as they are given.
    #[arg(long, value_name = "NAME")]
    host_library: Vec<String>,
    /// Run bytecode without compiling it
    ///
    /// Modules of machine code are run as ever.
    #[arg(long, conflicts_with = "compile")]
    interpret: bool,
    /// Compile bytecode before it runs, rather than what is run often
    ///
    /// Modules of machine code are run as ever.
    #[arg(long)]
    compile: bool,
    /// Print on standard error how long load, link and call took
    #[arg(long)]
    time: bool,
    /// Make the low 8 bits of the result the exit status
    ///
    /// The result is printed all the same.
    #[arg(long, conflicts_with = "watch")]
    exit: bool,
    /// Call again, in the new version, whenever a file has changed
    ///
    /// For modules that are marked as reloadable. Data of one name and size keeps its value. Goes on
    /// until it is interrupted; what cannot be loaded is reported, and the old version stays. Modules
    /// out of archives are not watched.
    #[arg(long)]
    watch: bool,
}

pub(crate) fn run(args: &Args) -> Result<ExitCode, Failure> {
    let host = host(args)?;
    let uses_host = !host.is_empty();
    let start = Instant::now();
    let because = |error: LoadError| Failure::Because(error.to_string());
    let options = LoaderOptions { tiers: tiers(args), ..LoaderOptions::default() };
    // Its exit handlers and threads may still need the code when this process ends.
    let loader: &'static Loader = Box::leak(Box::new(Loader::new(options)));
    loader.modules().set_host_resolver(Some(Arc::new(host)));
    let files = std::iter::once(&args.file).chain(&args.with).map(PathBuf::as_path);
    let before = args.watch.then(|| Before::new(files));
    // SAFETY: a dynlib is opened in order to be run, and its code is trusted as a program is.
    let placed = unsafe { loader.map_program(&args.file, &args.with) }.map_err(because)?;
    let loaded = Instant::now();
    let module = placed.link().map_err(because)?;
    let linked = Instant::now();
    let watch = before.map(|before| before.watch(loader)).transpose()?;
    let is_compiled = args.compile && compile(args, loader, module)?;
    let compiled = Instant::now();
    let (result, shown) = call(args, loader, module)?;
    let called = Instant::now();
    print(&shown, uses_host)?;
    if args.time {
        let mut parts = vec![("load", loaded - start), ("link", linked - loaded)];
        parts.extend(is_compiled.then(|| ("compile", compiled - linked)));
        parts.push(("call", called - compiled));
        report_parts(&parts);
    }
    if let Some(mut watch) = watch {
        loop {
            collect(loader);
            watch.wait();
            match call(args, loader, module) {
                Ok((_, shown)) => print(&shown, uses_host)?,
                Err(Failure::Because(why)) => output::report("error", &why),
                Err(other) => return Err(other),
            }
        }
    }
    Ok(status(args, result))
}

/// How bytecode is to be run.
fn tiers(args: &Args) -> Tiers {
    match (args.interpret, args.compile) {
        // Machine code may import it all the same.
        (true, _) => Tiers::UNCOMPILED,
        (false, true) => Tiers::Compile { threshold: 0 },
        (false, false) => Tiers::default(),
    }
}

/// Compiles the module, if it is bytecode; whether it is.
fn compile(args: &Args, loader: &Loader, module: ModuleHandle) -> Result<bool, Failure> {
    let module = loader.modules().get(module).map_err(|error| Failure::of(&args.file, error))?;
    let Some(engine) = module.engine() else { return Ok(false) };
    bytecode::compile(&args.file, engine)?;
    Ok(true)
}

fn status(args: &Args, result: i64) -> ExitCode {
    let status = u8::try_from(result & 0xff).unwrap_or(0);
    if args.exit { ExitCode::from(status) } else { ExitCode::SUCCESS }
}

fn report_parts(parts: &[(&str, Duration)]) {
    let text: Vec<_> = parts.iter().copied().map(in_words).collect();
    output::report("time", &text.join(", "));
}

fn print(result: &str, uses_host: bool) -> Result<(), Failure> {
    if uses_host {
        host_symbols::flush_stdio();
    }
    output::to_stdout(|out| writeln!(out, "{result}"))
}

fn in_words((what, took): (&str, Duration)) -> String {
    let ns = took.as_nanos();
    format!("{what} {}.{:03} us", ns / 1000, ns % 1000)
}

fn host(args: &Args) -> Result<HostSymbols, Failure> {
    let mut host = HostSymbols::new();
    if args.host_symbols {
        host.add_process();
    }
    for name in &args.host_library {
        // SAFETY: the user has named the library, and trusts it as a program that is started.
        let added = unsafe { host.add_library(name) };
        added.map_err(|error| Failure::Because(error.to_string()))?;
    }
    Ok(host)
}

/// Frees replaced versions, unless a module has started threads, which may be running them.
fn collect(loader: &Loader) {
    let threads = fs::read_dir("/proc/self/task").map(Iterator::count);
    if matches!(threads, Ok(1)) {
        // SAFETY: the only thread of the process is here, between two calls of the module.
        unsafe { loader.modules().collect_quiescent() };
    }
}

/// Calls the function that is wanted: its result, and how that is shown.
fn call(args: &Args, loader: &Loader, module: ModuleHandle) -> Result<(i64, String), Failure> {
    let module = &loader.modules().get(module).map_err(|error| Failure::of(&args.file, error))?;
    if let Some(engine) = module.engine() {
        let name = args.name.as_ref().map(|name| name.as_bytes());
        return bytecode::call(&args.file, module, engine, name, &args.args);
    }
    let address = match &args.name {
        Some(name) => module.function(name.as_bytes()),
        None => module.entry_point(),
    };
    let address = address.ok_or_else(|| Failure::of(&args.file, no_function(args, module)))?;
    // What the system's loader has loaded is where it says.
    if module.smf().is_some() && !module.contains(address) {
        return Err(Failure::of(&args.file, "the function lies outside the module's memory"));
    }
    let mut passed = [0; MAX_ARGS];
    for (passed, given) in passed.iter_mut().zip(&args.args) {
        *passed = *given;
    }
    // SAFETY: the address lies in a module that stays loaded until this process ends, and its file
    // says that a function is there: machine code is trusted. A function of the C convention that
    // takes fewer integers than it is passed ignores the others, so that any number may be passed.
    let result = unsafe { call::call(address, &passed) };
    let result = result.map_err(|error| Failure::of(&args.file, error))?;
    Ok((result, result.to_string()))
}

/// Why there is nothing to call, and what could be called.
fn no_function(args: &Args, module: &ModuleRef<'_>) -> String {
    let Some(smf) = module.linked() else {
        return match &args.name {
            None => "a dynlib has no entry point; name a function".to_owned(),
            Some(name) => format!("no function `{}`", name.to_string_lossy()),
        };
    };
    let named =
        |wanted: &[u8]| smf.symbols().iter().flatten().find(|symbol| symbol.name() == wanted);
    let why = match &args.name {
        None => "no entry point and no function `main`".to_owned(),
        Some(name) => {
            let text = name.to_string_lossy();
            match named(name.as_bytes()) {
                Some(symbol) if symbol.is_import() => format!("`{text}` is an import"),
                Some(symbol) if symbol.kind != SymbolKind::Function => {
                    format!("`{text}` is no function but of the kind {}", symbol.kind)
                }
                Some(_) => format!("`{text}` is local to the module"),
                None => format!("no function `{text}`"),
            }
        }
    };
    why + &suggestions(smf)
}

fn suggestions(smf: &Smf<'_>) -> String {
    let callable = |symbol: &Symbol<'_>| symbol.is_export() && symbol.kind == SymbolKind::Function;
    let mut found = smf.symbols().iter().flatten().filter(callable);
    let names: Vec<_> = found.by_ref().take(SUGGESTED).map(|s| lossy(s.name())).collect();
    let more = if found.next().is_some() { ", ..." } else { "" };
    if names.is_empty() {
        return "; it exports no functions".to_owned();
    }
    format!("; it exports {}{more}", names.join(", "))
}

fn lossy(name: &[u8]) -> String {
    String::from_utf8_lossy(name).into_owned()
}
