//! `smf run`: loads a module and calls one of its functions.
#![allow(unsafe_code)]

use std::ffi::OsString;
use std::fs;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use smf_core::format::{Smf, Symbol, SymbolKind};
use smf_core::loader::{LoaderOptions, ModuleHandle, ModuleRef};
use smf_core::trap::MAX_ARGS;
use smf_core::vm::Tiers;
use smf_loader::call;
use smf_loader::host_symbols::{self, HostSymbols};
use smf_loader::loader::Loader;

use crate::bytecode;
use crate::integer::integer;
use crate::output::{self, Failure};
use crate::watch::{Snapshot, Watch};

/// Loads and links a module, calls one of its functions and prints the result
///
/// Machine code is trusted: running a module is running a program. A dynlib is trusted as soon as it is
/// opened, because the system's loader runs its initialisers.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The module
    file: PathBuf,
    /// The function to call [default: the entry point, else `main`]
    name: Option<OsString>,
    /// Its arguments: up to 8 integers, decimal or 0x hexadecimal
    ///
    /// They have 64 bits; missing arguments are 0.
    #[arg(value_name = "ARG", value_parser = integer, allow_negative_numbers = true)]
    #[arg(num_args = 0..=MAX_ARGS)]
    args: Vec<i64>,
    /// A module or an archive that may provide imports
    ///
    /// May be repeated: the first file that defines a name provides it. Modules that are not needed are not loaded.
    #[arg(long, value_name = "LIB")]
    with: Vec<PathBuf>,
    /// Resolve remaining imports in the process and libc
    #[arg(long)]
    host_symbols: bool,
    /// Resolve remaining imports in this shared library, a path or a name such as `m`
    ///
    /// May be repeated. The process comes first, then the libraries in order.
    #[arg(long, value_name = "NAME")]
    host_library: Vec<String>,
    /// Interpret bytecode, without compiling it
    ///
    /// Has no effect on machine code.
    #[arg(long, conflicts_with = "compile")]
    interpret: bool,
    /// Compile bytecode before it runs, instead of when it becomes hot
    ///
    /// Has no effect on machine code.
    #[arg(long)]
    compile: bool,
    /// Print the duration of load, link and call on standard error
    #[arg(long)]
    time: bool,
    /// Use the low 8 bits of the result as exit status
    ///
    /// The result is printed as well.
    #[arg(long, conflicts_with = "watch")]
    exit: bool,
    /// Reload changed files and call the function again after each reload
    ///
    /// For reloadable modules. Data keeps its value if its name and size are unchanged. Runs until it is
    /// interrupted; if a reload fails, the error is reported and the old version remains. Modules from archives
    /// are not watched.
    #[arg(long)]
    watch: bool,
}

pub(crate) fn run(args: &Args) -> Result<ExitCode, Failure> {
    let host = host(args)?;
    let uses_host = !host.is_empty();
    let start = Instant::now();
    let options = LoaderOptions { tiers: tiers(args), ..LoaderOptions::default() };
    // Leaked: exit handlers and threads of the module may use its code until the process ends.
    let loader: &'static Loader =
        Box::leak(Box::new(Loader::new(options).map_err(Failure::because)?));
    loader.modules().set_host_resolver(Some(Box::new(host))).map_err(Failure::because)?;
    let files = std::iter::once(&args.file).chain(&args.with).map(PathBuf::as_path);
    let snapshot = args.watch.then(|| Snapshot::new(files));
    // SAFETY: the user runs the dynlib as a program, so that its initialisers are trusted.
    let mapped = unsafe { loader.map_program(&args.file, &args.with) }.map_err(Failure::because)?;
    let loaded = Instant::now();
    let module = mapped.link().map_err(Failure::because)?;
    let linked = Instant::now();
    let watch = snapshot.map(|snapshot| snapshot.watch(loader)).transpose()?;
    let is_compiled = args.compile && compile(args, loader, module)?;
    let compiled = Instant::now();
    let (result, text) = call(args, loader, module)?;
    let called = Instant::now();
    print(&text, uses_host)?;
    if args.time {
        let mut times = vec![("load", loaded - start), ("link", linked - loaded)];
        times.extend(is_compiled.then(|| ("compile", compiled - linked)));
        times.push(("call", called - compiled));
        let times: Vec<_> = times.into_iter().map(format_time).collect();
        output::report("time", &times.join(", "));
    }
    match watch {
        Some(watch) => call_on_reload(args, loader, module, watch, uses_host),
        None => Ok(status(args, result)),
    }
}

/// Calls the function again after each reload. Returns on an output error only.
fn call_on_reload(
    args: &Args,
    loader: &Loader,
    module: ModuleHandle,
    mut watch: Watch<'_>,
    uses_host: bool,
) -> Result<ExitCode, Failure> {
    loop {
        collect(loader);
        watch.wait();
        match call(args, loader, module) {
            Ok((_, text)) => print(&text, uses_host)?,
            Err(Failure::Because(why)) => output::report("error", &why),
            Err(other) => return Err(other),
        }
    }
}

/// The execution mode of bytecode.
fn tiers(args: &Args) -> Tiers {
    match (args.interpret, args.compile) {
        // Provides entry points for machine code that imports the functions.
        (true, _) => Tiers::UNCOMPILED,
        (false, true) => Tiers::Compile { threshold: 0 },
        (false, false) => Tiers::default(),
    }
}

/// Compiles the module if it is bytecode; returns whether it is.
fn compile(args: &Args, loader: &Loader, module: ModuleHandle) -> Result<bool, Failure> {
    let module = loader.modules().get(module).map_err(Failure::at(&args.file))?;
    let Some(engine) = module.engine() else { return Ok(false) };
    bytecode::compile(&args.file, engine)?;
    Ok(true)
}

fn status(args: &Args, result: i64) -> ExitCode {
    let status = u8::try_from(result & 0xff).unwrap_or(0);
    if args.exit { ExitCode::from(status) } else { ExitCode::SUCCESS }
}

fn print(result: &str, uses_host: bool) -> Result<(), Failure> {
    if uses_host {
        host_symbols::flush_stdio();
    }
    output::to_stdout(|out| writeln!(out, "{result}"))
}

fn format_time((phase, duration): (&str, Duration)) -> String {
    let ns = duration.as_nanos();
    format!("{phase} {}.{:03} us", ns / 1000, ns % 1000)
}

fn host(args: &Args) -> Result<HostSymbols, Failure> {
    let mut host = HostSymbols::default();
    if args.host_symbols {
        host.add_process().map_err(Failure::because)?;
    }
    for name in &args.host_library {
        // SAFETY: the user names the library and trusts its initialisers as those of a program.
        let added = unsafe { host.add_library(name) };
        added.map_err(Failure::because)?;
    }
    Ok(host)
}

/// Frees replaced versions, unless the module has started threads, which may execute them.
fn collect(loader: &Loader) {
    let threads = fs::read_dir("/proc/self/task").map(Iterator::count);
    if matches!(threads, Ok(1)) {
        // SAFETY: this is the only thread of the process, and it executes no module code.
        unsafe { loader.modules().collect_quiescent() };
    }
}

/// Calls the requested function. Returns the result and its text.
fn call(args: &Args, loader: &Loader, module: ModuleHandle) -> Result<(i64, String), Failure> {
    let module = &loader.modules().get(module).map_err(Failure::at(&args.file))?;
    if let Some(engine) = module.engine() {
        let name = args.name.as_ref().map(|name| name.as_bytes());
        return bytecode::call(&args.file, module, engine, name, &args.args);
    }
    let address = match &args.name {
        Some(name) => module.function(name.as_bytes()),
        None => module.entry_point(),
    };
    let address = address.ok_or_else(|| Failure::of(&args.file, no_function(args, module)))?;
    // The address of a dynlib's function comes from the system's loader.
    if module.smf().is_some() && !module.contains(address) {
        return Err(Failure::of(&args.file, "the function is outside the module's memory"));
    }
    let mut arguments = [0; MAX_ARGS];
    for (argument, given) in arguments.iter_mut().zip(&args.args) {
        *argument = *given;
    }
    // SAFETY: the module stays loaded until the process ends, and its file declares a function at the
    // address: machine code is trusted. A function of the C convention ignores surplus integer arguments.
    let result = unsafe { call::call(address, &arguments) };
    let result = result.map_err(Failure::at(&args.file))?;
    Ok((result, result.to_string()))
}

/// Explains why there is no function to call, and names those that could be called.
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
                    format!("`{text}` is not a function but of kind {}", symbol.kind)
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
    let functions = smf.symbols().iter().flatten().filter(callable);
    output::suggestions("exports", functions.map(|symbol| symbol.name()))
}
