//! `smf run` for source: compiles a program in memory and calls one of its functions.
#![allow(unsafe_code)]

use std::collections::BTreeSet;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use smf_core::exec::{CalledTypes, ExternalFunctions, Level, Unit};
use smf_core::format::write::{Module, NewSection, NewSymbol, Payload, Place};
use smf_core::format::{Header, Layout, SectionKind};
use smf_core::link::{Resolve, host_arch};
use smf_core::loader::ModuleBytes;
use smf_core::memory::code_alloc::CodeMemory;
use smf_loader::counters;
use smf_loader::exec::{accepts_types, host_functions};
use smf_loader::files::Input;
use smf_loader::loader::{LoadFileError, Loader, MappedFile};
use smf_loader::source::Program;

use crate::output::{self, At, Failure};
use crate::run::{
    Args, attach, host, loader, print, providers, report_counters, report_times, with_hint,
};
use crate::source::arguments;
use crate::source::execute::{Execution, execute, result_of};
use crate::source::generic_call::{Target, instance, with_defaults};
use crate::source::interpret::for_each_host_callee;
use crate::source::{BackendName, Executable};
use crate::trace;
use crate::values::Returns;

/// A program that is compiled in memory.
pub(crate) enum Source {
    Simple(Program),
    /// IR in text form.
    Ir(Input),
}

/// Reads a program whose name states that it is source.
pub(crate) fn by_name(path: &Path) -> Result<Option<Source>, Failure> {
    let is_ir = match path.extension().and_then(|extension| extension.to_str()) {
        Some("spl") => false,
        Some("sir") => true,
        _ => return Ok(None),
    };
    let _span = trace::span("read", path);
    Ok(Some(match is_ir {
        true => Source::Ir(output::read(path)?),
        false => Source::Simple(Program::read(path)?),
    }))
}

/// Runs a program, which was read from `start` on.
pub(crate) fn run(args: &Args, program: Source, start: Instant) -> Result<ExitCode, Failure> {
    check(args)?;
    let span = trace::span("compile", &args.file);
    let (executable, index) = match program {
        Source::Simple(program) => {
            trace::check_inputs(program.module_paths())?;
            let executable = Executable::compile(&program)?;
            target(args, &program, executable)?
        }
        Source::Ir(text) => {
            let text = str::from_utf8(&text).at(&args.file)?;
            let executable = Executable::from_ir(&args.file, text)?;
            let index = function(args, &executable)?;
            (executable, index)
        }
    };
    drop(span);
    check_returns(args, result_of(&executable, index)?)?;
    let compiled = Instant::now();
    let mut arguments = arguments::parse(&executable, index, &args.args)?;
    let resolver = resolver(args, &executable.unit)?;
    let (asked, providers) = (resolver.clone(), providers(args));
    let execution = Execution {
        backend: args.backend.unwrap_or(match args.interpret {
            true => BackendName::Interpret,
            false => BackendName::Native,
        }),
        level: args.opt.map(Into::into).and_then(Level::from_number).unwrap_or_default(),
        resolver,
        explain: Box::new(move |name| asked.refusal(name).unwrap_or_else(|| providers.clone())),
    };
    let executed = execute(&executable, index, &mut arguments, &execution)?;
    let line = executed.outcome.line().filter(|_| args.returns != Some(Returns::Nothing));
    let mut text = line.map(|line| line + "\n").unwrap_or_default();
    for array in arguments.memory.arrays.iter().filter(|array| array.is_changed()) {
        text += &format!("{array}\n");
    }
    print(&text)?;
    if args.time {
        let mut times = vec![("compile", compiled - start)];
        times.extend(executed.generate.map(|generate| ("generate", generate)));
        times.push(("call", executed.call));
        report_times(times);
    }
    if args.stats {
        report_counters(|document| {
            document.list("managers", |list| {
                executed.manager.map_or(Ok(()), |found| list.add(None, &counters::manager(&found)))
            })
        });
    }
    let is_program = args.name.is_none() || args.exit;
    Ok(ExitCode::from(if is_program { executed.outcome.status() } else { 0 }))
}

/// Refuses options that concern modules.
fn check(args: &Args) -> Result<(), Failure> {
    let options = [
        (args.main, "--main"),
        (args.watch, "--watch"),
        (args.compile, "--compile"),
        (args.no_constructors, "--no-constructors"),
    ];
    if let Some((_, option)) = options.into_iter().find(|(is_given, _)| *is_given) {
        return Err(Failure::usage_of(
            &args.file,
            format_args!("{option} does not apply to source"),
        ));
    }
    let is_interpreted = args.backend.is_none_or(|backend| backend == BackendName::Interpret);
    if args.interpret && !is_interpreted {
        return Err(Failure::usage_of(&args.file, "--interpret contradicts --backend"));
    }
    Ok(())
}

/// The function of source to call: one of the program, an instance of a generic one, or one that adds default arguments.
fn target(args: &Args, program: &Program, executable: Executable) -> Result<Target, Failure> {
    let name = args.name.as_ref().map(|name| name.to_string_lossy());
    if let Some(name) = name.filter(|name| executable.find(name.as_bytes()).is_none())
        && let Some(found) = instance(&args.file, program, &executable, &name, &args.args)?
    {
        return Ok(found);
    }
    let index = function(args, &executable)?;
    let found = with_defaults(program, &executable, index, args.args.len())?;
    Ok(found.unwrap_or((executable, index)))
}

/// The function to call.
fn function(args: &Args, executable: &Executable) -> Result<usize, Failure> {
    let name = args.name.as_ref().map_or("main".into(), |name| name.to_string_lossy());
    executable.find(name.as_bytes()).ok_or_else(|| {
        let why = match &args.name {
            None => "no function `main` and no statements at the top level".to_owned(),
            Some(_) => format!("no function `{name}`"),
        };
        let names = executable.unit.functions().iter().map(|function| function.name().as_bytes());
        Failure::of(&args.file, why + &output::suggestions("has", names))
    })
}

/// Refuses a result of another type than the user states.
fn check_returns(args: &Args, found: Returns) -> Result<(), Failure> {
    if args.returns.is_none_or(|stated| stated == Returns::Nothing || stated == found) {
        return Ok(());
    }
    let found = match found {
        Returns::Nothing => "no result".to_owned(),
        Returns::Text => "a text as result".to_owned(),
        Returns::Scalar(scalar) => format!("a result of type {scalar}"),
    };
    Err(Failure::usage_of(&args.file, format_args!("the function has {found}")))
}

/// Functions of the host: those that compiled source calls, those of the modules of `--with`, and of libraries.
struct HostFunctions {
    loader: Option<&'static Loader>,
    libraries: Box<dyn Resolve + Send + Sync>,
}

impl HostFunctions {
    /// Why a function of the modules has no address, behind a semicolon; `None` if they have no such function.
    fn refusal(&self, name: &[u8]) -> Option<String> {
        let error = self.loader?.modules().resolve_in_modules(name).err()?;
        Some(format!("; {error}"))
    }
}

impl Resolve for HostFunctions {
    fn resolve(&self, name: &[u8]) -> Option<u64> {
        let of_module = || Some(self.loader?.modules().resolve(name).ok()??.address);
        host_functions::address(name).or_else(of_module).or_else(|| self.libraries.resolve(name))
    }
}

impl ExternalFunctions for HostFunctions {
    fn has_signatures(&self) -> bool {
        self.loader.is_some()
    }

    fn accepts(&self, name: &[u8], called: CalledTypes<'_>) -> bool {
        let loader = self.loader.filter(|_| host_functions::address(name).is_none());
        loader.is_none_or(|loader| accepts_types(loader, name, called))
    }
}

fn resolver(args: &Args, unit: &Unit) -> Result<Arc<HostFunctions>, Failure> {
    let libraries = host(args)?;
    let loader: Option<&'static Loader> = match args.with.is_empty() {
        true => None,
        false => {
            let memory = CodeMemory::default();
            let (loader, _) = attach(args, &loader(args, &memory)?, &memory)?;
            for path in &args.with {
                // SAFETY: the user names the file and trusts its initialisers as those of a program.
                unsafe { loader.register_provider(path) }?;
            }
            load_needed(args, loader, unit)?;
            Some(loader)
        }
    };
    Ok(Arc::new(HostFunctions { loader, libraries: Box::new(libraries) }))
}

/// Loads the providers of the functions that the program imports, and what they need, as for a module with these imports.
fn load_needed(args: &Args, loader: &Loader, unit: &Unit) -> Result<(), Failure> {
    let name = args.file.to_string_lossy();
    let header = Header { arch: host_arch(), ..Header::default() };
    // A module has code or data.
    let sections = &[NewSection::new(SectionKind::RoData, b".rodata", Payload::Bytes(&[0]))];
    let mut wanted = BTreeSet::new();
    for_each_host_callee(unit, |_, callee| {
        if host_functions::address(callee.name.as_bytes()).is_none() {
            wanted.insert(callee.name.to_owned());
        }
        Ok(())
    })?;
    while !wanted.is_empty() {
        let names = wanted.iter().map(String::as_bytes);
        let symbols: Vec<_> = names
            .map(|name| NewSymbol { name, place: Place::Import, ..NewSymbol::default() })
            .collect();
        let (layout, symbols) = (Layout::Packed, &symbols[..]);
        let module = Module { layout, header, stub: &[], sections, symbols }.to_vec()?;
        let module = ModuleBytes::new(module)?;
        let missing = match loader.map_module(&name, module).and_then(MappedFile::link) {
            Err(LoadFileError::MissingImports { imports, .. })
                if !imports.is_empty() && imports.iter().all(|import| import.module == name) =>
            {
                imports
            }
            loaded => return loaded.map(drop).map_err(|error| with_hint(args, error)),
        };
        // What nothing provides is reported with its caller.
        wanted.retain(|callee| missing.iter().all(|import| import.name != *callee));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use smf_core::link::NoImports;
    use smf_core::loader::LoaderOptions;
    use smf_core::memory::code_alloc::CodeMemoryOptions;

    use super::*;

    #[test]
    fn function_of_a_module_without_an_address_is_refused_with_the_reason() {
        // For the engine of the module, and not for an entry of its function.
        let options = CodeMemoryOptions { ceiling_blocks: 1, ..CodeMemoryOptions::default() };
        let options = LoaderOptions::new(CodeMemory::new(options).unwrap());
        let loader: &'static Loader = Box::leak(Box::new(Loader::new(options).unwrap()));
        let module = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/samples/bcod.smf");
        loader.load_module(Path::new(module), None).unwrap();
        let functions = HostFunctions { loader: Some(loader), libraries: Box::new(NoImports) };
        assert_eq!(functions.resolve(b"answer"), None);
        let why = functions.refusal(b"answer").unwrap();
        assert!(why.starts_with("; ") && why.contains("bcod.smf: "), "{why}");
        assert_eq!(functions.refusal(b"absent"), None);
    }
}
