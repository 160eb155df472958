//! `smf jit`: instantiates a template and calls the instance.
#![allow(unsafe_code)]

use std::error::Error;
use std::ffi::{OsStr, OsString};
use std::io::Write;
use std::ops::Range;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use smf_core::alloc_util::AttachResult;
use smf_core::codegen::registry::{CodeRegistry, Edge, GeneratedCode, Phase};
use smf_core::exec::Value;
use smf_core::format::ext::source_template::SourceTemplate;
use smf_core::ir::Scalar;
use smf_core::link::LinkError;
use smf_core::loader::{LoadError, LoaderOptions, ModuleBytes};
use smf_core::memory::code_alloc::CodeMemory;
use smf_core::plural;
use smf_core::source::{SourceFile, TranslationUnit, instantiate};
use smf_core::templates::{
    Instance, InstantiateError, IrBodies, JitConfig, JitInstantiator, JitSymbolResolver, Observer,
};
use smf_core::trap::TrapError;
use smf_core::types::{Type, demangle};
use smf_loader::call;
use smf_loader::exec::host_functions;
use smf_loader::files;
use smf_loader::jit::Announce;
use smf_loader::loader::{LoadFileError, Loader};

use crate::integer::argument;
use crate::output::{self, At, Failure};
use crate::signature::untyped;
use crate::source::arguments::{has_form, of_scalar, of_types, type_name};
use crate::source::stack::{find_functions, on_large_stack};
use crate::values::Typed;
use crate::{crash, loaded_code, progress};

/// Instantiates a template of a module, calls the instance and prints the result
///
/// `smf templates` lists the possible instances. Instances that the instance calls are made as well; other
/// functions that it calls are resolved in the module. Machine code is trusted: calling an instance is
/// running a program.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The module: a file, or one of an archive as ARCHIVE:NAME
    file: PathBuf,
    /// The symbol of the instance, such as `fn$Vec$i64`, or a template, such as `max<f64>` or `max`
    ///
    /// The types of a template without types follow from the uses that the module's note lists.
    symbol: OsString,
    /// Its arguments, as those of `smf run`
    ///
    /// Those of an IR or source template have the types of its parameters, where a struct or tuple is given by an array of what
    /// lies in memory, such as i64:3,1,2. Other functions take up to 8 arguments, and missing ones are 0.
    #[arg(value_name = "ARG", allow_negative_numbers = true, value_parser = argument())]
    args: Vec<OsString>,
    /// The module, if the file is an archive: the same as ARCHIVE:NAME
    #[arg(long, value_name = "NAME")]
    module: Option<String>,
    /// A module or an archive that may provide what instances call, also as instances of its templates
    ///
    /// May be repeated: the first file that defines a name provides it. Modules that are not needed are not loaded.
    #[arg(long, value_name = "LIB")]
    with: Vec<PathBuf>,
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

impl Args {
    /// The file, and the name of the module in it if it is an archive.
    fn module(&self) -> (&Path, Option<&str>) {
        match (&self.module, files::module_of_archive(&self.file)) {
            (None, Some((archive, name))) => (archive, Some(name)),
            (name, _) => (&self.file, name.as_deref()),
        }
    }
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
        let symbol = output::printable(symbol);
        let why =
            format!("`{symbol}` is not recorded, because the note does not list it as possible");
        output::report("warning", &why);
    }

    fn say(&self, message: &str) {
        Announce.say(message);
    }
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    if files::is_stream(&args.file) {
        let why = "the templates are read more than once: name a file";
        return Err(Failure::usage_of(&args.file, why));
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
    let symbols = |name: &[u8]| loader.modules().resolve_import(name).ok().flatten();
    let jit = JitInstantiator::new(config, CodeMemory::default())
        .and_then(|jit| jit.with_observer(Observed)?.with_symbols(symbols))
        .at(&args.file)?;
    let (file, module) = args.module();
    let path = file.as_os_str().as_bytes();
    match module {
        Some(name) => jit.load_archived_metadata(path, name),
        None => jit.load_smf_metadata(path),
    }
    .at(&args.file)?;
    let resolver: &'static JitSymbolResolver = Box::leak(Box::new(JitSymbolResolver::new(jit)));
    crash::install(loader, resolver.instantiator());
    let fallback = |name: &[u8]| resolver.resolve(name);
    loader.modules().set_fallback_resolver(Some(Box::new(fallback))).at(&args.file)?;
    register_providers(loader, resolver.instantiator(), &args.with)?;
    // A module with templates need not be loadable; an error is reported if the instance needs the module.
    let module = loader.load_module(file, module);
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
    call(&args.file, resolver.instantiator(), &instance.at(&args.file)?, &args.args)
}

/// Registers the modules of `files` as providers, and their templates.
fn register_providers(
    loader: &'static Loader,
    jit: &'static JitInstantiator,
    files: &[PathBuf],
) -> Result<(), Failure> {
    let add = |name: &[u8], bytes: Option<&ModuleBytes>| {
        let added = bytes.map_or(Ok(()), |bytes| jit.load_read_metadata(name, bytes.as_slice()));
        if let Err(error) = added {
            output::report("warning", &format!("{}: {error}", output::printable(name)));
        }
    };
    loader.modules().set_module_sink(Some(Box::new(add)))?;
    for path in files {
        // SAFETY: the user names the file and trusts its initialisers as those of a program.
        unsafe { loader.register_provider(path) }?;
    }
    Ok(())
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
            let types = jit.infer_arguments(text, &[]);
            let types = types.map_err(|why| format!("{why}; state them, as in `{text}<i64>`"))?;
            return Ok(jit.resolve_generic(text, &types)?);
        }
    }
    Ok(jit.try_jit_instantiate(symbol)?)
}

/// A struct, tuple or enum that an instance takes by address.
struct InMemory {
    ty: Type,
    /// Bytes.
    size: usize,
}

impl InMemory {
    /// Refuses the text of an argument that is no array of as many words as the value has.
    fn check(&self, text: &OsStr) -> Result<(), String> {
        let text = text.to_string_lossy();
        let given = match Typed::parse(&text)? {
            Typed::Array(array) => array.size(),
            Typed::Number(scalar, _) if text.contains(':') => scalar.size().into(),
            Typed::Number(..) | Typed::Text(_) => 0,
        };
        let (size, words) = (self.size, self.size.div_ceil(WORD));
        if given >= size && given.div_ceil(WORD) == words {
            return Ok(());
        }
        let name = type_name(&self.ty);
        let [s, bytes, given_bytes] = [words, size, given].map(plural::s);
        let is = plural::is(given);
        Err(format!(
            "`{name}` has {words} word{s} in memory, {size} byte{bytes}, and {given} byte{given_bytes} {is} given; i64:3,1,2 gives 24"
        ))
    }
}

/// Bytes of a word.
const WORD: usize = size_of::<u64>();

/// The types of the parameters of an instance: those that its source template declares, or those in registers.
fn parameters(
    jit: &JitInstantiator,
    symbol: &[u8],
    registers: &[Scalar],
) -> Vec<(Type, Option<InMemory>)> {
    let in_register = |&scalar: &Scalar| (of_scalar(scalar), None);
    let count = |ty: &Type| match ty {
        Type::Array(_) | Type::Text => 2,
        Type::Tuple(parts) if parts.is_empty() => 0,
        _ => 1,
    };
    let unit = unit(jit, symbol).unwrap_or_default();
    let declared = unit
        .functions
        .first()
        .map_or((&[][..], &[][..]), |function| (&*function.params, &*function.param_sizes));
    // The address of a result in memory stands in front of them.
    let before = registers.len().checked_sub(declared.0.iter().map(count).sum());
    let parts = before.and_then(|before| registers.split_at_checked(before));
    let Some((result, mut left)) = parts else {
        return registers.iter().map(in_register).collect();
    };
    let mut types: Vec<_> = result.iter().map(in_register).collect();
    for (ty, &size) in declared.0.iter().zip(declared.1) {
        let (own, behind) = left.split_at(count(ty).min(left.len()));
        match (ty, own) {
            _ if has_form(ty) => types.push((ty.clone(), None)),
            (Type::Named { .. } | Type::Tuple(_), [Scalar::Pointer]) => {
                let size = usize::try_from(size).unwrap_or(usize::MAX);
                types.push((Type::Pointer, Some(InMemory { ty: ty.clone(), size })));
            }
            _ => types.extend(own.iter().map(in_register)),
        }
        left = behind;
    }
    types
}

/// The instance as the front end makes it of its source template.
fn unit(jit: &JitInstantiator, symbol: &[u8]) -> Option<TranslationUnit> {
    let symbol = str::from_utf8(symbol).ok()?;
    let (name, types) = demangle(symbol.strip_prefix("fn$").unwrap_or(symbol)).ok()??;
    let body = jit.template_body(name.as_bytes()).ok()??;
    let text = SourceTemplate::parse(&body)?.text;
    instantiate(SourceFile { name: &name, module: &name, text }, &name, &types).ok()?.unit
}

/// Calls an instance; prints its result and the arrays that it has changed.
fn call(
    file: &Path,
    jit: &JitInstantiator,
    instance: &Instance,
    args: &[OsString],
) -> Result<(), Failure> {
    let symbol = output::printable(instance.symbol());
    let (arguments, result) = match IrBodies::signature(instance) {
        Some((registers, result)) => {
            let parameters = parameters(jit, instance.symbol(), &registers);
            for (number, (text, (_, in_memory))) in (1..).zip(args.iter().zip(&parameters)) {
                let checked = in_memory.as_ref().map_or(Ok(()), |memory| memory.check(text));
                checked.map_err(|why| Failure::Usage(format!("argument {number}: {why}")))?;
            }
            let types: Vec<_> = parameters.into_iter().map(|(ty, _)| ty).collect();
            (of_types(&symbol, &types, "", args)?, result)
        }
        None => (untyped(args)?, Some(Scalar::I64)),
    };
    let words = arguments.words();
    // SAFETY: the instance's code is never freed, and its author declares a function of these parameters:
    // machine code is trusted. The memory of the arguments outlives the call, and only generated code and
    // module code lies between this frame and a trap.
    let run = || unsafe { call::call_values(instance.address(), &words) };
    find_functions(loaded_code::function_name_at);
    let returned = on_large_stack(run).at(file)?;
    let returned = returned.map_err(|error| {
        let trap = match error {
            TrapError::Trap(trap) => loaded_code::trap_at(trap),
            _ => None,
        };
        trap.unwrap_or_else(|| format!("`{symbol}`: {error}"))
    });
    let returned = returned.at(file)?;
    output::to_stdout(|out| {
        if let Some(scalar) = result {
            writeln!(out, "{}", Value::returned(scalar, returned))?;
        }
        let mut changed = arguments.memory.arrays.iter().filter(|array| array.is_changed());
        changed.try_for_each(|array| writeln!(out, "{array}"))
    })
}
