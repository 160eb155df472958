//! `smf run`: loads a module and calls one of its functions.
#![allow(unsafe_code)]

use std::ffi::{OsStr, OsString};
use std::io::{self, Write};
use std::ops::Range;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};
use std::{fmt, fs};

use smf_core::alloc_util::TryArc;
use smf_core::format::{Smf, Symbol, SymbolKind};
use smf_core::ir::Scalar;
use smf_core::link::Resolve;
use smf_core::loader::{LoaderOptions, ModuleHandle, ModuleRef};
use smf_core::memory::code_alloc::CodeMemory;
use smf_core::memory::{FilePolicy, Unchanged};
use smf_core::plural;
use smf_core::templates::JitConfig;
use smf_core::trap::{CallArg, TrapError};
use smf_core::vm::Tiers;
use smf_loader::call;
use smf_loader::counters::{self, Document};
use smf_loader::exec::host_functions;
use smf_loader::files;
use smf_loader::host_symbols::{self, HostSymbols};
use smf_loader::loader::{LoadFileError, Loader};
use smf_loader::loader_templates::LoaderTemplates;
use smf_loader::source::{Program, is_source};

use crate::bytecode;
use crate::crash;
use crate::initial_stack::InitialStack;
use crate::integer::{argument, integer, up_to};
use crate::loaded_code;
use crate::output::{self, At, Failure};
use crate::run_source::{self, Source};
use crate::signature::{self, Signature};
use crate::source::BackendName;
use crate::source::arguments::Arguments;
use crate::source::host::text_result;
use crate::source::stack::{find_functions, on_large_stack};
use crate::trace;
use crate::values::Returns;
use crate::watch::Watch;

/// Loads and links a module, or compiles source, calls one of its functions and prints the result
///
/// Simple source is recognised by its name, `.spl`, or by a first line `#!` that names smf; `.sir` is IR in text form. A
/// function of source without a name is `main`, whose result is the exit status as well.
///
/// Machine code is trusted: running a module is running a program. Constructors run when it is loaded,
/// destructors and exit handlers when the process ends. A dynlib is trusted as soon as it is
/// opened, because the system's loader runs its initialisers.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The module, `ARCHIVE:NAME` for a module of an archive, or a source file
    pub(crate) file: PathBuf,
    /// The function to call [default: the entry point, else `main`]
    #[arg(value_parser = argument())]
    pub(crate) name: Option<OsString>,
    /// Its arguments, up to 8 of machine code, such as 7, 0x10, 1.5, true, u8:255, f32:1.5, str:abc, i64:1,2,3 or buf:64
    ///
    /// Numbers without a type are i64, or f64 if they have a point or an exponent. Strings, arrays and buffers (so many
    /// zeroed bytes) are passed by address; arrays and buffers are printed if the function has changed them. Missing
    /// arguments of machine code are 0, unless the module states the types of the function. Functions of bytecode take
    /// integers.
    #[arg(value_name = "ARG", allow_negative_numbers = true, value_parser = argument())]
    pub(crate) args: Vec<OsString>,
    /// Call `main` as a program: with argc, argv and environ, and with its result as exit status
    ///
    /// All arguments after the module are those of the program; put `--` before those that begin with `-`.
    #[arg(long, conflicts_with_all = ["watch", "exit", "returns", "compile", "interpret", "time"])]
    pub(crate) main: bool,
    /// The type of the result of machine code: i8 to i64, u8 to u64, f32, f64, bool, ptr, str or void
    ///
    /// A C `int` is i32. A function of bytecode or of source has a result of its own type. [default: i64]
    #[arg(long, value_name = "TYPE", value_parser = Returns::from_name)]
    pub(crate) returns: Option<Returns>,
    /// A module or an archive that may provide imports, also as instances of its templates
    ///
    /// May be repeated: the first file that defines a name provides it. Modules that are not needed are not loaded.
    #[arg(long, value_name = "LIB")]
    pub(crate) with: Vec<PathBuf>,
    /// Resolve remaining imports in the process and libc
    #[arg(long)]
    pub(crate) host_symbols: bool,
    /// Resolve remaining imports in this shared library, a path or a name such as `m`
    ///
    /// May be repeated. The process comes first, then the libraries in order.
    #[arg(long, value_name = "NAME")]
    pub(crate) host_library: Vec<String>,
    /// Refuse modules with constructors, destructors, exit handlers or indirect functions, dynlibs, and modules that need a
    /// shared library which is not open: their code or its initialisers run at load
    #[arg(long)]
    pub(crate) no_constructors: bool,
    /// How the bytes of files get into memory
    #[arg(long, value_name = "POLICY", value_enum, default_value_t = Files::Auto)]
    files: Files,
    /// Interpret bytecode, without compiling it
    ///
    /// Has no effect on machine code.
    #[arg(long, conflicts_with = "compile")]
    pub(crate) interpret: bool,
    /// Compile bytecode before it runs, instead of when it becomes hot
    ///
    /// Functions that exceed a limit of the compiler are interpreted, with a warning. Has no effect on machine code.
    #[arg(long)]
    pub(crate) compile: bool,
    /// What executes source [default: native]
    #[arg(long, value_name = "NAME", value_enum)]
    pub(crate) backend: Option<BackendName>,
    /// The optimisation level of source, 0 to 3 [default: 2]
    #[arg(long, value_name = "LEVEL", value_parser = up_to::<u8>(3))]
    pub(crate) opt: Option<u8>,
    /// Print the duration of load, link and call on standard error
    #[arg(long)]
    pub(crate) time: bool,
    /// Print counters of modules, instances and executable memory on standard error, as a line of JSON
    #[arg(long, conflicts_with_all = ["main", "watch"])]
    pub(crate) stats: bool,
    /// Use the low 8 bits of the result as exit status
    ///
    /// That of a bool is 1 for true, and that of a float or a text 0. The result is printed as well.
    #[arg(long, conflicts_with = "watch")]
    pub(crate) exit: bool,
    /// Reload changed files and call the function again after each reload
    ///
    /// For reloadable modules. Data keeps its value if its name and size are unchanged and the module has no
    /// constructors or destructors. Runs until it is interrupted; if a reload fails, the error is reported and the old version remains. Modules from archives
    /// are not watched.
    #[arg(long)]
    pub(crate) watch: bool,
    /// With --watch, also keep the data of modules with constructors or destructors
    ///
    /// Objects of the old and the new version then share what they own.
    #[arg(long, requires = "watch")]
    keep_constructed: bool,
}

/// How the bytes of files get into memory.
#[derive(Clone, Copy, clap::ValueEnum)]
enum Files {
    /// Large files are mapped while they cannot change, other files are copied
    Auto,
    /// Every file is copied
    Copy,
    /// Large files are mapped, trusting that no process changes them
    Map,
}

impl From<Files> for FilePolicy {
    fn from(files: Files) -> Self {
        match files {
            Files::Auto => FilePolicy::Auto,
            Files::Copy => FilePolicy::Copy,
            // SAFETY: the user of the command promises it by `--files map`.
            Files::Map => FilePolicy::Map(unsafe { Unchanged::promised() }),
        }
    }
}

pub(crate) fn run(args: &Args) -> Result<ExitCode, Failure> {
    let start = Instant::now();
    if let Some(program) = run_source::by_name(&args.file)? {
        return run_source::run(args, program, start);
    }
    let span = trace::span("load", &args.file);
    let memory = CodeMemory::default();
    let shared = loader(args, &memory)?;
    let files = std::iter::once(&args.file).chain(&args.with).map(PathBuf::as_path);
    let watch = args.watch.then(|| Watch::new(files, args.keep_constructed));
    let (name, program) = shared.read_program(&args.file)?;
    if is_source(&args.file, program.as_slice()) {
        let program = Program::of_file(&args.file, program.as_slice())?;
        drop(span);
        return run_source::run(args, Source::Simple(program), start);
    }
    if args.backend.is_some() || args.opt.is_some() {
        return Err(Failure::usage_of(&args.file, "--backend and --opt apply to source"));
    }
    if args.watch && files::is_stream(&args.file) {
        return Err(Failure::usage_of(&args.file, "--watch applies to files"));
    }
    let (loader, templates) = attach(args, &shared, &memory)?;
    // SAFETY: the user runs the dynlib as a program, so that its initialisers are trusted.
    let mapped = unsafe { loader.map_program(&name, program, &args.with) }?;
    // Before code of the modules runs.
    mapped.smf().map_or(Ok(()), |smf| check_arguments(args, smf))?;
    drop(span);
    let loaded = Instant::now();
    let span = trace::span("link", &args.file);
    let module = mapped.link().map_err(|error| with_hint(args, error))?;
    drop(span);
    let linked = Instant::now();
    if args.watch && !loader.modules().is_reloadable(module) {
        let why = "not marked as reloadable; mark it with `smf pack --reloadable` or `smf asm --reloadable`";
        return Err(Failure::of(&args.file, why));
    }
    if args.main {
        return call_main(args, loader, module);
    }
    let is_compiled = args.compile && compile(args, loader, module)?;
    let compiled = Instant::now();
    let called = call(args, loader, module);
    host_functions::flush();
    let (result, text) = called?;
    let called = Instant::now();
    print(&text)?;
    if args.time {
        let mut times = vec![("load", loaded - start), ("link", linked - loaded)];
        times.extend(is_compiled.then(|| ("compile", compiled - linked)));
        times.push(("call", called - compiled));
        report_times(times);
    }
    if args.stats {
        report_stats(loader, &templates, &memory);
    }
    let Some(watch) = watch else {
        return Ok(ExitCode::from(if args.exit { (result & 0xff) as u8 } else { 0 }));
    };
    call_again(args, loader, module, watch)
}

/// The loader of a command. Its code is allocated in `memory`.
pub(crate) fn loader(args: &Args, memory: &CodeMemory) -> Result<TryArc<Loader>, Failure> {
    let options = LoaderOptions {
        tiers: tiers(args),
        refuse_constructors: args.no_constructors,
        file_policy: args.files.into(),
        ..LoaderOptions::new(memory.clone())
    };
    Ok(TryArc::new(Loader::new(options)?)?)
}

/// Resolves imports in the host as the options say, and in instances of templates, and reports crashes of the modules.
pub(crate) fn attach(
    args: &Args,
    shared: &TryArc<Loader>,
    memory: &CodeMemory,
) -> Result<(&'static Loader, TryArc<LoaderTemplates>), Failure> {
    let host = host(args)?;
    let of_host = move |name: &[u8]| host.resolve(name).or_else(|| host_functions::address(name));
    shared.modules().set_host_resolver(Some(Box::new(of_host)))?;
    // Leaked: exit handlers and threads of a module may use its code until the process ends.
    let loader: &'static Loader = Box::leak(Box::new(shared.clone()));
    // Notes of files are not updated.
    let config = JitConfig { update_smf: false, ..JitConfig::default() };
    let templates = LoaderTemplates::attach(shared, config, memory.clone())?;
    crash::install(loader, templates.clone());
    Ok((loader, templates))
}

/// Writes the counters of `--stats`.
fn report_stats(loader: &Loader, templates: &LoaderTemplates, memory: &CodeMemory) {
    report_counters(|document| {
        document.object("executable_memory", &counters::code_memory(&memory.statistics()))?;
        let loaded = counters::loader(&loader.modules().statistics());
        document.list("loaders", |list| list.add(None, &loaded))?;
        let made = counters::instantiator(&templates.instantiator().stats());
        document.list("instantiators", |list| list.add(None, &made))
    });
}

/// Reports durations on standard error.
pub(crate) fn report_times(times: Vec<(&str, Duration)>) {
    let times: Vec<_> = times.into_iter().map(format_time).collect();
    output::report("time", &times.join(", "));
}

/// Writes counters to standard error, as a line of JSON.
pub(crate) fn report_counters(fill: impl FnOnce(&mut Document<'_>) -> fmt::Result) {
    let mut text = String::new();
    // Writing to a text does not fail.
    let _ = Document::new(&mut text).and_then(|mut document| {
        fill(&mut document)?;
        document.finish()
    });
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// Calls the function again after each reload, until an output error.
fn call_again(
    args: &Args,
    loader: &Loader,
    module: ModuleHandle,
    mut watch: Watch<'_>,
) -> Result<ExitCode, Failure> {
    loop {
        collect(loader);
        watch.wait(loader);
        let called = call(args, loader, module);
        host_functions::flush();
        match called {
            Ok((_, text)) => print_while_open(&text)?,
            Err(Failure::Because(why) | Failure::Usage(why)) => output::report("error", &why),
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

/// Compiles the module if it is bytecode; returns whether it is. Functions that the compiler refuses are interpreted.
fn compile(args: &Args, loader: &Loader, module: ModuleHandle) -> Result<bool, Failure> {
    let module = loader.modules().get(module).at(&args.file)?;
    let Some(engine) = module.engine() else { return Ok(false) };
    let _span = trace::span("compile all", &args.file);
    let program = engine.program();
    let indices = (0..).zip(program.functions()).map(|(index, _)| index);
    let mut refused = Vec::new();
    for index in indices.filter(|&index| program.compiles(index)) {
        match engine.compile(index) {
            Err(error) if error.is_permanent() => refused.push(error),
            compiled => drop(compiled.at(&args.file)?),
        }
    }
    if let [first, others @ ..] = &refused[..] {
        let (file, n) = (args.file.display(), others.len());
        let (is, s) = (plural::is(n), plural::s(n));
        let others = if n > 0 { format!(", as {is} {n} other function{s}") } else { String::new() };
        output::report("warning", &format!("{file}: {first}; it is interpreted{others}"));
    }
    Ok(true)
}

/// Calls `main` with the arguments of the program and its environment. The result becomes the exit status.
fn call_main(args: &Args, loader: &Loader, module: ModuleHandle) -> Result<ExitCode, Failure> {
    let module = &loader.modules().get(module).at(&args.file)?;
    let found = module.function(b"main").or_else(|| module.entry_point());
    let address = checked_address(None, module, found).at(&args.file)?;
    let texts = std::iter::once(args.file.as_os_str()).chain(args.name.as_deref());
    let texts = texts.chain(args.args.iter().map(OsString::as_os_str));
    let texts: Vec<OsString> = texts.map(OsStr::to_owned).collect();
    // Handlers of the exit of the process may read it too.
    let stack: &'static InitialStack = Box::leak(Box::new(InitialStack::new(&texts)));
    unsafe extern "C" {
        static mut environ: *const u64;
    }
    // SAFETY: the C library defines it; no other thread of this program reads or changes the environment.
    unsafe { environ = stack.envp() };
    let [argv, envp] = [stack.argv(), stack.envp()].map(|at| at.expose_provenance() as u64);
    let words = [stack.argc(), argv, envp].map(CallArg::Integer);
    let _span = trace::span("call", &args.file);
    // SAFETY: the user states that the function is `main` of a program: machine code is trusted.
    let returned = unsafe { call::call_values(address, &words) }.at(&args.file)?;
    Ok(ExitCode::from((returned.integer & 0xff) as u8))
}

/// The options that may provide what is undefined, behind a semicolon.
pub(crate) fn providers(args: &Args) -> String {
    let host = if args.host_symbols { "" } else { "--host-symbols (the process and libc), " };
    let libraries = "--with FILE (a module or an archive) or --host-library NAME";
    format!("; may be provided by {host}{libraries}")
}

/// Adds to missing imports the options that may provide them, unless the error states why there are no instances.
pub(crate) fn with_hint(args: &Args, error: LoadFileError) -> Failure {
    let is_unexplained =
        matches!(&error, LoadFileError::MissingImports { reasons, .. } if reasons.is_empty());
    match error.into() {
        Failure::Because(why) if is_unexplained => {
            let packed = ", or by `smf pack` with -l NAME (a library)";
            Failure::Because(why + &providers(args) + packed)
        }
        other => other,
    }
}

/// Prints a result, after what the module has printed through the C library: a module may have opened it itself.
pub(crate) fn print(result: &str) -> Result<(), Failure> {
    output::unless_closed(print_while_open(result))
}

/// As [`print()`], but a closed pipe is an error.
fn print_while_open(result: &str) -> Result<(), Failure> {
    host_symbols::flush_stdio().map_err(Failure::Output)?;
    output::to_open_stdout(|out| out.write_all(result.as_bytes()))
}

fn format_time((phase, duration): (&str, Duration)) -> String {
    let ns = duration.as_nanos();
    format!("{phase} {}.{:03} us", ns / 1000, ns % 1000)
}

pub(crate) fn host(args: &Args) -> Result<HostSymbols, Failure> {
    let mut host =
        if args.host_symbols { HostSymbols::of_process()? } else { HostSymbols::default() };
    for name in &args.host_library {
        // SAFETY: the user names the library and trusts its initialisers as those of a program.
        unsafe { host.add_library(name) }?;
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

/// Refuses arguments that are not of the types of the function.
fn check_arguments(args: &Args, smf: &Smf<'_>) -> Result<(), Failure> {
    // The name stands in front of the arguments.
    let Some(name) = args.name.as_ref().filter(|_| !args.main) else { return Ok(()) };
    if smf.functions().at(&args.file)?.is_some() {
        return integers(args).map(drop);
    }
    let linked = smf.linked().at(&args.file)?;
    match linked.symbols().find_export(name.as_bytes()) {
        Some(_) => {
            let signature = name.to_str().and_then(|name| Signature::of(&linked, name));
            arguments(args, signature.as_ref()).map(drop)
        }
        None => Ok(()),
    }
}

/// The arguments of a function of bytecode.
fn integers(args: &Args) -> Result<Vec<i64>, Failure> {
    let integer = |text: &OsString| {
        let text = text.to_string_lossy();
        integer(&text).map_err(|why| Failure::Usage(format!("the argument `{text}`: {why}")))
    };
    args.args.iter().map(integer).collect()
}

/// The arguments of a function of machine code, how its result is shown, and whether that is a text in memory.
fn arguments(
    args: &Args,
    signature: Option<&Signature>,
) -> Result<(Arguments, Returns, bool), Failure> {
    let Some(signature) = signature else {
        let returns = args.returns.unwrap_or(Returns::Scalar(Scalar::I64));
        return Ok((signature::untyped(&args.args)?, returns, false));
    };
    let (returns, is_text) = signature.returns(&args.file, args.returns)?;
    Ok((signature.arguments(&args.args)?, returns, is_text))
}

/// Calls the requested function. Returns the result and the lines that show it.
fn call(args: &Args, loader: &Loader, module: ModuleHandle) -> Result<(i64, String), Failure> {
    let module = &loader.modules().get(module).at(&args.file)?;
    if let Some(engine) = module.engine() {
        if args.returns.is_some() {
            return Err(Failure::usage_of(&args.file, "--returns does not apply to bytecode"));
        }
        let name = args.name.as_ref().map(|name| name.as_bytes());
        let (result, text) = bytecode::call(&args.file, module, engine, name, &integers(args)?)?;
        return Ok((result, text + "\n"));
    }
    let found = match &args.name {
        Some(name) => module.function(name.as_bytes()),
        None => module.entry_point(),
    };
    let address = checked_address(args.name.as_deref(), module, found).at(&args.file)?;
    let name = match &args.name {
        Some(name) => name.to_str(),
        None => Some("main").filter(|main| module.function(main.as_bytes()) == Some(address)),
    };
    let signature = name.and_then(|name| Signature::of(module.linked()?, name));
    call_code(args, address, signature.as_ref())
}

/// Calls a function of machine code, as [`call()`].
fn call_code(
    args: &Args,
    address: u64,
    signature: Option<&Signature>,
) -> Result<(i64, String), Failure> {
    let (mut arguments, returns, is_text) = arguments(args, signature)?;
    let text_at = is_text.then(|| arguments.add_text_result());
    let words = arguments.words();
    // SAFETY: the module stays loaded until the process ends, and its file declares a function at the
    // address: machine code is trusted. The memory of the arguments outlives the call.
    let run = || unsafe { call::call_values(address, &words) };
    let span = trace::span("call", args.name.as_deref().map_or(&args.file, Path::new));
    // The functions of `smf compile` take their stack as those of source in memory do.
    let returned = match signature {
        Some(_) => {
            find_functions(loaded_code::function_name_at);
            on_large_stack(run).at(&args.file)?
        }
        None => run(),
    };
    drop(span);
    let returned = returned.map_err(|error| match error {
        TrapError::Bytecode(_) => Failure::Because(loaded_code::describe(error)),
        error => Failure::of(&args.file, loaded_code::describe(error)),
    })?;
    let shown = match text_at {
        // SAFETY: the module states that the function returned the address and the length of a text.
        Some(at) => Some(unsafe { text_result(&mut arguments.memory, at) })
            .filter(|_| returns == Returns::Text),
        // SAFETY: the user or the module states the type of the result.
        None => unsafe { returns.show(returned) },
    };
    let changed = arguments.memory.arrays.iter().filter(|array| array.is_changed());
    let lines = shown.into_iter().chain(changed.map(ToString::to_string));
    let is_status = match returns {
        Returns::Nothing => args.returns.is_some() && !is_text,
        Returns::Scalar(scalar) => !scalar.is_float(),
        Returns::Text => !is_text,
    };
    let status = if is_status { returned.integer.cast_signed() } else { 0 };
    Ok((status, lines.map(|line| line + "\n").collect()))
}

/// The address of a function, which must lie in the code of the module.
fn checked_address(
    name: Option<&OsStr>,
    module: &ModuleRef<'_>,
    found: Option<u64>,
) -> Result<u64, String> {
    let address = found.ok_or_else(|| no_function(name, module))?;
    // The address of a dynlib's function comes from the system's loader, that of a function of bytecode is an entry for it.
    let is_in = |code: Range<usize>| usize::try_from(address).is_ok_and(|at| code.contains(&at));
    let is_own = module.smf().is_none() || module.engine().is_some() || module.code().any(is_in);
    is_own.then_some(address).ok_or_else(|| "the function is outside the module's code".to_owned())
}

/// Explains why there is no function to call, and names those that could be called.
fn no_function(name: Option<&OsStr>, module: &ModuleRef<'_>) -> String {
    let Some(smf) = module.linked() else {
        return match name {
            None => "a dynlib has no entry point; name a function".to_owned(),
            Some(name) => format!("no function `{}`", name.to_string_lossy()),
        };
    };
    let named = |name: &OsStr| {
        smf.symbols().iter().flatten().find(|symbol| symbol.name() == name.as_bytes())
    };
    let why = match name.map(|name| (name.to_string_lossy(), named(name))) {
        None => "no entry point and no function `main`; `smf pack --entry main` takes one that is \
                 hidden or in an archive"
            .to_owned(),
        Some((name, None)) => format!("no function `{name}`"),
        Some((name, Some(symbol))) if symbol.is_import() => format!("`{name}` is an import"),
        Some((name, Some(symbol))) if symbol.kind != SymbolKind::Function => {
            format!("`{name}` is not a function but of kind {}", symbol.kind)
        }
        Some((name, Some(symbol))) if symbol.is_export() => {
            format!("`{name}` lies in a section that is not loaded")
        }
        Some((name, Some(_))) => format!("`{name}` is local to the module"),
    };
    let callable = |symbol: &Symbol<'_>| {
        let is_function = symbol.is_export() && symbol.kind == SymbolKind::Function;
        is_function && module.function(symbol.name()).is_some()
    };
    let functions = smf.symbols().iter().flatten().filter(callable);
    why + &output::suggestions("exports", functions.map(|symbol| symbol.name()))
}
