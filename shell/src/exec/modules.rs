//! SMF modules in a manager: their functions are called by name, and by source that is compiled later.
#![allow(unsafe_code)]

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use smf_core::alloc_util::{AllocError, try_box, try_push};
use smf_core::exec::Value;
use smf_core::format::SymbolKind;
use smf_core::ir::Scalar;
use smf_core::link::{Resolve, ShortName};
use smf_core::loader::LoaderOptions;
use smf_core::memory::code_alloc::CodeMemory;

use super::error::ExecError;
use super::host_functions;
use crate::call;
use crate::loader::Loader;

/// Resolves symbols of the host by name.
pub type SharedSymbols = Arc<dyn Fn(&[u8]) -> Option<u64> + Send + Sync>;

/// The modules of a manager, which are never unloaded while it exists.
pub(super) struct Modules {
    memory: Option<CodeMemory>,
    loader: Mutex<Option<Arc<Loader>>>,
    host: HostSymbols,
}

/// The symbols of the options of a manager, then the functions of this crate.
#[derive(Clone)]
struct HostSymbols(Option<SharedSymbols>);

impl Resolve for HostSymbols {
    fn resolve(&self, name: &[u8]) -> Option<u64> {
        let found = self.0.as_ref().and_then(|symbols| symbols(name));
        found.or_else(|| host_functions::address(name))
    }
}

/// The callees of source: functions of modules, then symbols of the host.
impl Resolve for Modules {
    fn resolve(&self, name: &[u8]) -> Option<u64> {
        self.find(name).or_else(|| self.host.resolve(name))
    }
}

impl Modules {
    pub(super) fn new(memory: Option<CodeMemory>, symbols: Option<SharedSymbols>) -> Self {
        Self { memory, loader: Mutex::new(None), host: HostSymbols(symbols) }
    }

    fn loader(&self) -> Option<Arc<Loader>> {
        self.loader.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn open(&self) -> Result<Arc<Loader>, ExecError> {
        let mut loader = self.loader.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(loader) = &*loader {
            return Ok(loader.clone());
        }
        let new = Loader::new(LoaderOptions::new(self.memory.clone().unwrap_or_default()))?;
        new.modules().set_host_resolver(Some(try_box(self.host.clone())?))?;
        Ok(loader.insert(Arc::new(new)).clone())
    }

    /// Loads the module at `path`. A shared object is refused without opening it.
    pub(super) fn load(&self, path: &Path) -> Result<(), ExecError> {
        self.open()?.load_module(path, None)?;
        Ok(())
    }

    /// The address of a function.
    pub(super) fn find(&self, name: &[u8]) -> Option<u64> {
        let loader = self.loader()?;
        let found = loader.modules().resolve(name).ok()??;
        // The resolver of the host is not asked for functions by name.
        let is_function = matches!(found.kind, SymbolKind::Function | SymbolKind::None);
        (found.module.is_some() && is_function).then_some(found.address)
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
                try_push(&mut names, Box::from(symbol.name()))?;
            }
            for (name, _) in module.bytecode_exports() {
                try_push(&mut names, Box::from(name))?;
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
