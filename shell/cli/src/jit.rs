//! `smf jit`: instantiates a template and calls the instance.
#![allow(unsafe_code)]

use std::error::Error;
use std::ffi::OsString;
use std::io::Write;
use std::ops::Range;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use smf_core::alloc_util::AttachResult;
use smf_core::codegen::registry::{CodeRegistry, Edge, GeneratedCode, Phase};
use smf_core::exec::Value;
use smf_core::ir::Scalar;
use smf_core::link::LinkError;
use smf_core::loader::{LoadError, LoaderOptions};
use smf_core::memory::code_alloc::CodeMemory;
use smf_core::templates::{
    Instance, InstantiateError, IrBodies, JitConfig, JitInstantiator, JitSymbolResolver, Observer,
};
use smf_core::trap::{MAX_ARGS, TrapError};
use smf_core::types::Type;
use smf_loader::call;
use smf_loader::exec::host_functions;
use smf_loader::files;
use smf_loader::jit::{Announce, InCall};
use smf_loader::loader::{LoadFileError, Loader};

use crate::output::{self, At, Failure};
use crate::source::arguments::check_count;
use crate::source::stack::{find_functions, on_large_stack};
use crate::values::{ArgumentMemory, word};
use crate::{crash, progress};

/// Instantiates a template of a module, calls the instance and prints the result
///
/// `smf templates` lists the possible instances. Instances that the instance calls are made as well; other
/// functions that it calls are resolved in the module. Machine code is trusted: calling an instance is
/// running a program.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The module, or an archive
    file: PathBuf,
    /// The symbol of the instance, such as `fn$Vec$i64`, or a template, such as `max<f64>` or `max`
    ///
    /// The types of a template without types follow from the uses that the module's note lists.
    symbol: OsString,
    /// Its arguments: up to 8 integers, decimal or 0x hexadecimal
    ///
    /// For an IR template, arguments have the types of the parameters: integers, floats, true or false. For an
    /// address, give an array such as i64:3,1,2, which is printed if the code has changed it.
    #[arg(value_name = "ARG", allow_negative_numbers = true)]
    args: Vec<String>,
    /// The module of the archive
    #[arg(long, value_name = "NAME")]
    module: Option<String>,
    /// Record the instances in the file
    ///
    /// The rows move from `possible` to `instantiations`. The file is replaced as a whole. An instance that the module's note
    /// does not list is not recorded, with a warning.
    #[arg(long)]
    update: bool,
    /// Use compiled code that the file contains, and with --update store compiled code in it
    ///
    /// Stored code is used only for the same template, compiler and processor features. It is trusted, as all
    /// code in the file.
    #[arg(long)]
    keep_code: bool,
    /// Report progress on standard error
    #[arg(long)]
    verbose: bool,
}

/// Registers instances, and warns of those that `--update` leaves out.
struct Observed;

impl CodeRegistry for Observed {
    fn on_phase(&self, phase: Phase, edge: Edge, subject: &[u8]) {
        Announce.on_phase(phase, edge, subject);
    }

    fn needs_lines(&self) -> bool {
        Announce.needs_lines()
    }

    fn register(&self, code: GeneratedCode<'_>) -> AttachResult {
        Announce.register(code)
    }
}

impl Observer for Observed {
    fn made(&self, symbol: &[u8], code: Range<usize>) -> AttachResult {
        Announce.made(symbol, code)
    }

    fn unrecorded(&self, symbol: &[u8]) {
        let symbol = symbol.escape_ascii();
        let why =
            format!("`{symbol}` is not recorded, because the note does not list it as possible");
        output::report("warning", &why);
    }

    fn say(&self, message: &str) {
        Announce.say(message);
    }
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    if files::is_standard_stream(&args.file) {
        return Err(Failure::usage_of(
            &args.file,
            "the templates are read more than once: name a file",
        ));
    }
    let config = JitConfig {
        update_smf: args.update,
        verbose: args.verbose,
        keep_code: args.keep_code,
        ..JitConfig::default()
    };
    // Leaked: exit handlers and threads of the module may use its code until the process ends.
    let loader: &'static Loader =
        Box::leak(Box::new(Loader::new(LoaderOptions::default()).at(&args.file)?));
    loader.modules().set_host_resolver(Some(Box::new(host_functions::address))).at(&args.file)?;
    let symbols = |name: &[u8]| {
        let found = loader.modules().resolve(name).ok().flatten();
        found.map(|found| found.address)
    };
    let jit = JitInstantiator::new(config, CodeMemory::default())
        .and_then(|jit| jit.with_observer(Observed)?.with_symbols(symbols))
        .at(&args.file)?;
    let path = args.file.as_os_str().as_bytes();
    match &args.module {
        Some(name) => jit.load_archived_metadata(path, name),
        None => jit.load_smf_metadata(path),
    }
    .at(&args.file)?;
    let resolver: &'static JitSymbolResolver = Box::leak(Box::new(JitSymbolResolver::new(jit)));
    crash::install(loader, resolver.instantiator());
    let fallback = |name: &[u8]| resolver.resolve(name);
    loader.modules().set_fallback_resolver(Some(Box::new(fallback))).at(&args.file)?;
    // A module with templates need not be loadable; an error is reported if the instance needs the module.
    let module = loader.load_module(&args.file, args.module.as_deref());
    if let Err(LoadFileError::Load(LoadError::Link { error: LinkError::Dynlib, .. })) = module {
        let why = "a dynlib has no templates; call its functions with `smf run`";
        return Err(Failure::of(&args.file, why));
    }
    let symbol = args.symbol.as_bytes();
    let instance =
        progress::during("instantiating", 0, |_| instance(resolver.instantiator(), symbol));
    let instance = instance.map_err(|error| match (error.downcast_ref(), &module) {
        // The module is its templates.
        (_, Err(LoadFileError::Load(LoadError::Link { error: LinkError::NoCode, .. }))) => {
            error.to_string()
        }
        (Some(InstantiateError::Failed(_)), Err(module_error)) => {
            format!("{error} (the module itself was not loaded: {module_error})")
        }
        _ => error.to_string(),
    });
    call(&args.file, &instance.at(&args.file)?, &args.args)
}

/// The instance of a symbol, of a template with types, or of a template for inferred types.
fn instance(jit: &JitInstantiator, symbol: &[u8]) -> Result<Instance, Box<dyn Error>> {
    if let Ok(text) = str::from_utf8(symbol) {
        let typed = text.strip_suffix('>').and_then(|text| text.split_once('<'));
        if let Some((name, types)) = typed
            && jit.has_template(name)
        {
            return Ok(jit.resolve_generic(name, &Type::parse_arguments(types)?)?);
        }
        if jit.has_template(text)
            && let Err(error) = jit.try_jit_instantiate(symbol)
            && matches!(error, InstantiateError::NotFound { .. })
        {
            return Ok(jit.resolve_generic(text, &jit.infer_arguments(text, &[])?)?);
        }
    }
    Ok(jit.try_jit_instantiate(symbol)?)
}

/// Calls an instance; prints its result and the arrays that it has changed.
fn call(file: &Path, instance: &Instance, args: &[String]) -> Result<(), Failure> {
    // Without a signature: a function of the C convention ignores surplus integer arguments.
    let symbol = instance.symbol().escape_ascii();
    let unknown = || (vec![Scalar::I64; MAX_ARGS], Some(Scalar::I64));
    let signature = IrBodies::signature(instance);
    let (params, result) = signature.clone().unwrap_or_else(unknown);
    if signature.is_some() || args.len() > params.len() {
        let checked = check_count(&symbol.to_string(), params.len(), args.len());
        checked.map_err(|failure| match failure {
            Failure::Usage(why) if params.contains(&Scalar::Pointer) => {
                Failure::Usage(why + "; an array of Simple is two, such as i64:1,2,3 and 3")
            }
            failure => failure,
        })?;
    }
    let mut memory = ArgumentMemory::default();
    let mut words = Vec::new();
    for (number, &scalar) in params.iter().enumerate() {
        let text = args.get(number).map_or("0", String::as_str);
        let word = word(text, scalar, &mut memory);
        let wrong = |why| Failure::Usage(format!("argument {}: {why}", number + 1));
        words.push(word.map_err(wrong)?);
    }
    // SAFETY: the instance's code is never freed, and its author declares a function of these parameters:
    // machine code is trusted. The memory of the arguments outlives the call, and only generated code and
    // module code lies between this frame and a trap.
    let run = || unsafe { call::call_values(instance.address(), &words) };
    find_functions(crash::function_name_at);
    let returned = on_large_stack(run).at(file)?;
    let returned = returned.map_err(|error| {
        if let TrapError::Trap(trap) = error
            && let Some(instance) = crash::instance_at(trap.function)
            && instance.is_source()
        {
            return crash::trap_in_instance(&instance, trap);
        }
        let error = InCall { called: instance.symbol(), error };
        format!("`{symbol}`: {error}")
    });
    let returned = returned.at(file)?;
    output::to_stdout(|out| {
        if let Some(scalar) = result {
            writeln!(out, "{}", Value::returned(scalar, returned))?;
        }
        memory
            .arrays
            .iter()
            .filter(|array| array.is_changed())
            .try_for_each(|a| writeln!(out, "{a}"))
    })
}
