//! SMF modules in a manager: their functions are called by name, and by source that is compiled later.
#![allow(unsafe_code)]

use std::path::Path;
use std::sync::{Mutex, PoisonError};

use smf_core::alloc_util::{AllocError, TryArc, try_box, try_copy_bytes, try_push};
use smf_core::exec::Value;
use smf_core::format::SymbolKind;
use smf_core::ir::Scalar;
use smf_core::link::{Resolve, ShortName};
use smf_core::loader::LoaderOptions;
use smf_core::memory::code_alloc::CodeMemory;

use super::error::ExecError;
use super::host_functions;
use crate::call;
use crate::loader::{LoadFileError, Loader};

/// Resolves symbols of the host by name.
pub type SharedSymbols = TryArc<Box<dyn Resolve + Send + Sync>>;

/// The modules of a manager, which are never unloaded while it exists.
pub(super) struct Modules {
    memory: Option<CodeMemory>,
    loader: Mutex<Option<TryArc<Loader>>>,
    host: HostSymbols,
}

/// The symbols of the options of a manager, then the functions of this crate.
#[derive(Clone)]
struct HostSymbols(Option<SharedSymbols>);

impl Resolve for HostSymbols {
    fn resolve(&self, name: &[u8]) -> Option<u64> {
        let found = self.0.as_ref().and_then(|symbols| symbols.resolve(name));
        found.or_else(|| host_functions::address(name))
    }
}

/// The callees of source: functions of modules, then symbols of the host.
impl Resolve for Modules {
    fn resolve(&self, name: &[u8]) -> Option<u64> {
        self.find(name).ok().flatten().or_else(|| self.host.resolve(name))
    }
}

impl Modules {
    pub(super) fn new(memory: Option<CodeMemory>, symbols: Option<SharedSymbols>) -> Self {
        Self { memory, loader: Mutex::new(None), host: HostSymbols(symbols) }
    }

    fn loader(&self) -> Option<TryArc<Loader>> {
        self.loader.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn open(&self) -> Result<TryArc<Loader>, ExecError> {
        let mut loader = self.loader.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(loader) = &*loader {
            return Ok(loader.clone());
        }
        let new = Loader::new(LoaderOptions::new(self.memory.clone().unwrap_or_default()))?;
        new.modules().set_host_resolver(Some(try_box(self.host.clone())?))?;
        Ok(loader.insert(TryArc::new(new)?).clone())
    }

    /// Loads the module at `path`. A shared object is refused without opening it.
    pub(super) fn load(&self, path: &Path) -> Result<(), ExecError> {
        self.open()?.load_module(path, None)?;
        Ok(())
    }

    /// The address of a function; `None` if no module has it.
    ///
    /// # Errors
    /// Why the function has no address.
    pub(super) fn find(&self, name: &[u8]) -> Result<Option<u64>, ExecError> {
        let Some(loader) = self.loader() else { return Ok(None) };
        let found = loader.modules().resolve(name).map_err(LoadFileError::from)?;
        // The resolver of the host is not asked for functions by name.
        let is_function = |kind| matches!(kind, SymbolKind::Function | SymbolKind::None);
        let Some(found) = found.filter(|found| is_function(found.kind)) else { return Ok(None) };
        match found.module {
            None => Ok(None),
            Some(module) if found.address == 0 => Err(match module.refusal(name) {
                Some(error) => LoadFileError::from(error).into(),
                // There is memory for it now.
                None => AllocError.into(),
            }),
            Some(_) => Ok(Some(found.address)),
        }
    }

    /// The names of the functions, in the order in which their modules were loaded.
    pub(super) fn names(&self) -> Result<Vec<Box<[u8]>>, AllocError> {
        let (mut names, mut result) = (Vec::new(), Ok(()));
        let Some(loader) = self.loader() else { return Ok(names) };
        let mut handles = Vec::new();
        loader.modules().for_each(|_, handle| {
            result = result.and_then(|()| try_push(&mut handles, handle));
        });
        for handle in handles {
            let Ok(module) = loader.modules().get(handle) else { continue };
            let symbols = module.linked().into_iter().flat_map(|linked| linked.symbols().iter());
            let symbols = symbols.filter_map(Result::ok).filter(|symbol| {
                symbol.kind == SymbolKind::Function && module.export(symbol.name()).is_some()
            });
            for symbol in symbols {
                try_push(&mut names, try_copy_bytes(symbol.name())?)?;
            }
            for (name, _) in module.bytecode_exports() {
                try_push(&mut names, try_copy_bytes(name)?)?;
            }
        }
        result.map(|()| names)
    }
}

/// Calls a function of a module, whose types are unknown: it takes integers and returns one.
///
/// # Safety
/// The function at `address` takes as many integers, and may do what it does with them.
pub(super) unsafe fn call_words(
    name: &[u8],
    address: u64,
    arguments: &[Value],
) -> Result<Option<Value>, ExecError> {
    let mut words = Vec::new();
    for (number, argument) in (1..).zip(arguments) {
        let function = ShortName::new(name);
        let word = argument.as_integer().ok_or(ExecError::ModuleArgument { function, number })?;
        try_push(&mut words, word)?;
    }
    // SAFETY: the caller's contract.
    let result = unsafe { call::call(address, &words) }.map_err(ExecError::Call)?;
    Ok(Some(Value::new(Scalar::I64, result.cast_unsigned())))
}
