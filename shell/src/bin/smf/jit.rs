//! `smf jit`: an instance of a template is made and called.
#![allow(unsafe_code)]

use std::ffi::OsString;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::Arc;

use smf_core::instantiate::{JitConfig, JitInstantiator, JitResult, JitSymbolResolver};
use smf_core::link::{self, MAX_ARGS, Resolve};
use smf_core::loader::LoaderOptions;
use smf_loader::jit::{Announce, Traps, take_trap};
use smf_loader::loader::Loader;

use crate::args::integer;
use crate::output::{self, Failure};

/// Makes an instance of a template of a module, calls it and prints the result
///
/// What may be made, `smf templates` shows. Instances that the instance calls are made as well; other
/// functions that it calls are those of the module. Machine code is trusted: to call an instance is to
/// run a program.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The module
    file: PathBuf,
    /// The symbol of the instance, such as `fn$Vec$i64`
    symbol: OsString,
    /// Its arguments: up to 8 integers, decimal or 0x hexadecimal
    #[arg(value_name = "ARG", value_parser = integer, allow_negative_numbers = true)]
    #[arg(num_args = 0..=MAX_ARGS)]
    args: Vec<i64>,
    /// Tell the file what was made of it
    ///
    /// The rows move from `possible` to `instantiations`. The file is replaced as a whole.
    #[arg(long)]
    update: bool,
    /// Say on standard error what happens
    #[arg(long)]
    verbose: bool,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let config =
        JitConfig { update_smf: args.update, verbose: args.verbose, ..JitConfig::default() };
    // Its exit handlers and threads may still need the code when this process ends.
    let loader: &'static Loader = Box::leak(Box::new(Loader::new(LoaderOptions::default())));
    let symbols = |name: &[u8]| {
        let own = Traps.resolve(name);
        own.or_else(|| Some(loader.modules().resolve(name).ok()??.address))
    };
    let jit = JitInstantiator::new(config)
        .with_observer(Arc::new(Announce))
        .with_symbols(Arc::new(symbols));
    let loaded = jit.load_smf_metadata(args.file.as_os_str().as_bytes());
    loaded.map_err(|error| Failure::of(&args.file, error))?;
    let resolver: &'static _ = Box::leak(Box::new(Arc::new(JitSymbolResolver::of(Arc::new(jit)))));
    loader.modules().set_fallback(Some(resolver.clone()));
    // A module without code of its own has templates all the same; what is missing is told when it is needed.
    let module = loader.load_file(&args.file);
    let result = resolver.instantiator().try_jit_instantiate(args.symbol.as_bytes());
    let because = |why: String| match &module {
        Err(error) if matches!(result, JitResult::CompilationError(_)) => Failure::of(
            &args.file,
            format_args!("{why} (the module itself was not loaded: {error})"),
        ),
        _ => Failure::of(&args.file, why),
    };
    let instance = match &result {
        JitResult::Success(instance) => instance,
        other => return Err(because(other.to_string())),
    };
    let mut passed = [0; MAX_ARGS];
    for (passed, given) in passed.iter_mut().zip(&args.args) {
        *passed = *given;
    }
    // SAFETY: the code of the instance stays until this process ends, and whoever wrote the template says
    // that a function is there: machine code is trusted. One of the C convention that takes fewer
    // integers than it is passed ignores the others.
    let value = unsafe { link::call(instance.address(), &passed) };
    let value = value.map_err(|error| Failure::of(&args.file, error))?;
    match take_trap() {
        Some(trap) => Err(Failure::of(&args.file, trap)),
        None => output::to_stdout(|out| writeln!(out, "{value}")),
    }
}
