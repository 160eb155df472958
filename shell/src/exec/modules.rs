//! SMF modules in a manager: their functions are called by name, and by source that is compiled later.
#![allow(unsafe_code)]

use std::cell::RefCell;
use std::collections::HashMap;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use smf_core::alloc_util::{AllocError, TryArc, try_box, try_collect, try_copy_bytes, try_push};
use smf_core::exec::{BackendError, CalledTypes, ExternalFunctions, ManagerError, Value};
use smf_core::format::note::Note;
use smf_core::format::{Symbol, SymbolKind};
use smf_core::ir::Scalar;
use smf_core::link::{LinkError, Name, Resolve};
use smf_core::loader::{LoadError, LoaderOptions, ModuleRef, Resolved};
use smf_core::memory::code_alloc::CodeMemory;
use smf_core::templates::{Instance, IrBodies, JitConfig};
use smf_core::trap::Trap;

use super::error::ExecError;
use super::host_functions;
use crate::call;
use crate::fallible_buf::try_format;
use crate::loader::{LoadFileError, Loader};
use crate::loader_templates::LoaderTemplates;
use crate::source_trap::SourceTrap;

/// Resolves symbols of the host by name.
pub type SharedSymbols = TryArc<Box<dyn Resolve + Send + Sync>>;

/// The types of a function of a module, as its note states them.
#[derive(Debug)]
pub(super) struct Signature {
    /// `None` if one is no number or bool.
    params: Option<Vec<Scalar>>,
    /// `None` for a result in memory; `Some(None)` without a result.
    result: Option<Option<Scalar>>,
    /// The hash of the types in Simple.
    type_hash: Option<u64>,
}

impl Signature {
    /// Of a function of bytecode, or of a module that `smf compile` made.
    fn of(module: &ModuleRef<'_>, name: &[u8]) -> Result<Option<Self>, AllocError> {
        if let Some((engine, index)) = module.engine().zip(module.bytecode_function(name)) {
            let count = engine.program().function(index).map_or(0, |found| found.params.into());
            let params = try_collect(std::iter::repeat_n(Scalar::I64, count)).map(Some)?;
            return Ok(Some(Self { params, result: Some(Some(Scalar::I64)), type_hash: None }));
        }
        let linked = module.linked();
        let note = linked.and_then(|linked| linked.note_contents().ok()?);
        let note = note.as_ref().and_then(|(note, at)| Note::parse(note, *at).ok());
        let symbol = linked.and_then(|linked| linked.symbols().find_export(name));
        let found = note.zip(symbol).and_then(|(note, symbol)| note.signature(&symbol));
        let Some(found) = found else { return Ok(None) };
        let text = try_format(format_args!("{}", found.parameters()))?;
        let mut params = Some(Vec::new());
        for ty in text.split(',').filter(|ty| !ty.is_empty()) {
            match (Scalar::from_name(ty), &mut params) {
                (Some(scalar), Some(params)) => try_push(params, scalar)?,
                _ => params = None,
            }
        }
        let result = match &*try_format(format_args!("{}", found.result()))? {
            "()" => Some(None),
            result => Scalar::from_name(result).map(Some),
        };
        let type_hash = str::from_utf8(found.type_hash().raw().as_bytes());
        let type_hash = type_hash.ok().and_then(|hash| u64::from_str_radix(hash, 16).ok());
        Ok(Some(Self { params, result, type_hash }))
    }

    /// Of an instance of a template in IR.
    fn of_instance(instance: &Instance) -> Option<Self> {
        let (params, result) = IrBodies::signature(instance)?;
        Some(Self { params: Some(params), result: Some(result), type_hash: None })
    }

    /// Whether the function may be called with these types. Those in memory are compared where both sides state a hash.
    fn accepts(&self, called: CalledTypes<'_>) -> bool {
        let types = self.params.as_ref().zip(self.result);
        types.is_none_or(|(params, result)| called.signature.is_of(params, result))
            && called.is_of_hash(self.type_hash)
    }
}

/// A function of a module, or an instance.
#[derive(Debug)]
pub(super) struct ModuleFunction {
    address: u64,
    /// `None` where the module does not state the types.
    signature: Option<Signature>,
}

impl ModuleFunction {
    /// The types of the parameters; empty where they are unknown.
    pub(super) fn params(&self) -> &[Scalar] {
        let signature = self.signature.as_ref();
        signature.and_then(|signature| signature.params.as_deref()).unwrap_or(&[])
    }
}

/// The modules of a manager, which are never unloaded while it exists.
pub(super) struct Modules {
    memory: Option<CodeMemory>,
    open: Mutex<Option<Open>>,
    used: Mutex<Used>,
    host: HostSymbols,
}

/// The functions that were called, or that units call.
#[derive(Default)]
struct Used {
    by_name: HashMap<Box<[u8]>, TryArc<ModuleFunction>>,
    /// How many modules were loaded.
    loads: u64,
}

/// The loader of the modules, with an instantiator of their templates.
#[derive(Clone)]
struct Open {
    /// Dropped before the instances, which modules call.
    loader: TryArc<Loader>,
    templates: TryArc<LoaderTemplates>,
}

impl Drop for Modules {
    fn drop(&mut self) {
        if let Some(open) = self.opened() {
            // Setting no resolver does not allocate.
            let _ = open.templates.detach();
        }
    }
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

/// The callees of a unit that is compiled: functions of modules and instances, then symbols of the host.
pub(super) struct Callees<'m> {
    modules: &'m Modules,
    /// Why the first callee that is undefined has no address.
    cause: RefCell<Option<ExecError>>,
}

impl Resolve for Callees<'_> {
    fn resolve(&self, name: &[u8]) -> Option<u64> {
        let found = self.modules.function(name);
        if let Ok(Some(function)) = found {
            return Some(function.address);
        }
        let of_host = self.modules.host.resolve(name);
        if let (None, Err(cause)) = (of_host, found) {
            self.cause.borrow_mut().get_or_insert(cause);
        }
        of_host
    }
}

impl ExternalFunctions for Callees<'_> {
    fn has_signatures(&self) -> bool {
        self.modules.opened().is_some()
    }

    fn accepts(&self, name: &[u8], called: CalledTypes<'_>) -> bool {
        // Errors are those of resolving the name.
        let Ok(Some(function)) = self.modules.function(name) else { return true };
        function.signature.as_ref().is_none_or(|signature| signature.accepts(called))
    }
}

impl Callees<'_> {
    /// The error of a compilation with these callees.
    pub(super) fn explain(self, error: ManagerError) -> ExecError {
        match (error, self.cause.into_inner()) {
            (error @ ManagerError::Backend(BackendError::Undefined { .. }), Some(cause)) => {
                ExecError::Callee { error, cause: Box::new(cause) }
            }
            (error, _) => error.into(),
        }
    }
}

/// Whether a function of the modules of a loader may be called with these types: where its module states the types of
/// its parameters and of its result, they have to be the same ones.
pub fn accepts_types(loader: &Loader, name: &[u8], called: CalledTypes<'_>) -> bool {
    // Errors are those of resolving the name.
    let Ok(Some((_, module))) = resolved(loader, name) else { return true };
    let signature = Signature::of(&module, name).ok().flatten();
    signature.is_none_or(|signature| signature.accepts(called))
}

impl Modules {
    pub(super) fn new(memory: Option<CodeMemory>, symbols: Option<SharedSymbols>) -> Self {
        let (open, used) = (Mutex::new(None), Mutex::default());
        Self { memory, open, used, host: HostSymbols(symbols) }
    }

    /// For the compilation of one unit.
    pub(super) fn callees(&self) -> Callees<'_> {
        Callees { modules: self, cause: RefCell::new(None) }
    }

    fn used(&self) -> MutexGuard<'_, Used> {
        self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The loader, if a module was loaded.
    fn opened(&self) -> Option<Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn open(&self) -> Result<Open, ExecError> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(open) = &*open {
            return Ok(open.clone());
        }
        let memory = self.memory.clone().unwrap_or_default();
        let loader = TryArc::new(Loader::new(LoaderOptions::new(memory.clone()))?)?;
        loader.modules().set_host_resolver(Some(try_box(self.host.clone())?))?;
        // Notes of files are not updated.
        let config = JitConfig { update_smf: false, ..JitConfig::DEFAULT };
        let templates = LoaderTemplates::attach(&loader, config, memory)?;
        Ok(open.insert(Open { loader, templates }).clone())
    }

    /// Loads the module at `path`. A shared object is refused without opening it. Instances that it imports are made from
    /// the templates of the modules that are loaded, its own among them. A module may be no more than its templates.
    pub(super) fn load(&self, path: &Path) -> Result<(), ExecError> {
        let Open { loader, templates } = self.open()?;
        match loader.load_module(path, None) {
            Ok(_) => {}
            Err(LoadFileError::Load(LoadError::Link { error: LinkError::NoCode, module }))
                if templates.is_pending(&module) => {}
            Err(error) => return Err(error.into()),
        }
        // The module may define the name of an instance, or strongly what was weak.
        let mut used = self.used();
        used.by_name.clear();
        used.loads += 1;
        Ok(())
    }

    /// A function or an instance, with its types; `None` if there is none. The host is not asked.
    ///
    /// # Errors
    /// Why the function has no address.
    pub(super) fn function(
        &self,
        name: &[u8],
    ) -> Result<Option<TryArc<ModuleFunction>>, ExecError> {
        let Some(Open { loader, templates }) = self.opened() else { return Ok(None) };
        let used = self.used();
        if let Some(function) = used.by_name.get(name) {
            return Ok(Some(function.clone()));
        }
        let loads = used.loads;
        drop(used);
        // Without the lock: to make an instance may call resolvers and constructors, which may use the manager.
        let (address, signature) = match resolved(&loader, name)? {
            Some((address, module)) => (address, Signature::of(&module, name)?),
            None => match templates.instance(name).map_err(ExecError::Instance)? {
                Some(instance) => (instance.address(), Signature::of_instance(&instance)),
                None => return Ok(None),
            },
        };
        let function = TryArc::new(ModuleFunction { address, signature })?;
        let name = try_copy_bytes(name)?;
        let mut used = self.used();
        if used.loads != loads {
            // The module that was loaded meanwhile may define the name: the next call looks again.
            return Ok(Some(function));
        }
        used.by_name.try_reserve(1).map_err(|_| AllocError)?;
        Ok(Some(used.by_name.entry(name).or_insert(function).clone()))
    }

    /// The function of a module or the instance that trapped, and the message of its failed assertion.
    pub(super) fn trapped(&self, trap: Trap) -> Result<Option<(Name, String)>, AllocError> {
        let Some(Open { loader, templates }) = self.opened() else { return Ok(None) };
        let mut modules = modules(&loader)?;
        let (own, found) = match modules.find(|module| module.contains(trap.function)) {
            Some(module) => {
                let Some(linked) = module.linked() else { return Ok(None) };
                let mut symbols = linked.symbols().iter().filter_map(Result::ok);
                let is_here = |symbol: &Symbol<'_>| module.address(symbol) == Some(trap.function);
                let own = symbols.find(is_here).map(|symbol| Name::new(symbol.name()));
                let offset = module.code_offset(trap.function);
                let found = offset.map(|offset| SourceTrap::of_module(linked, offset, trap));
                (own.transpose()?, found.transpose()?.flatten())
            }
            None => {
                let jit = templates.instantiator();
                let Some(instance) = jit.instance_at(trap.function) else { return Ok(None) };
                let own = Name::new(instance.symbol())?;
                (Some(own), SourceTrap::of_instance(jit, &instance, trap)?)
            }
        };
        let SourceTrap { function, message, .. } = found.unwrap_or_default();
        let function = function.map(|name| Name::new(name.as_bytes())).transpose()?;
        Ok(function.or(own).map(|name| (name, message)))
    }

    /// The names of the functions, in the order in which their modules were loaded.
    pub(super) fn names(&self) -> Result<Vec<Box<[u8]>>, AllocError> {
        let mut names = Vec::new();
        let Some(Open { loader, .. }) = self.opened() else { return Ok(names) };
        for module in modules(&loader)? {
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
        Ok(names)
    }
}

/// The modules of a loader, in the order in which they were loaded.
fn modules(loader: &Loader) -> Result<impl Iterator<Item = ModuleRef<'_>>, AllocError> {
    let (mut handles, mut added) = (Vec::new(), Ok(()));
    loader.modules().for_each(|_, handle| {
        added = added.and_then(|()| try_push(&mut handles, handle));
    });
    added?;
    Ok(handles.into_iter().filter_map(|handle| loader.modules().get(handle).ok()))
}

/// A function and its module; `None` if no module has it.
fn resolved<'l>(
    loader: &'l Loader,
    name: &[u8],
) -> Result<Option<(u64, ModuleRef<'l>)>, ExecError> {
    let found = loader.modules().resolve_in_modules(name).map_err(LoadFileError::from)?;
    let is_function = |kind| matches!(kind, SymbolKind::Function | SymbolKind::None);
    let found = found.filter(|found| is_function(found.kind));
    let Some(Resolved { address, module: Some(module), .. }) = found else { return Ok(None) };
    match address {
        0 => Err(match module.refusal(name) {
            Some(error) => LoadFileError::from(error).into(),
            // There is memory for it now.
            None => AllocError.into(),
        }),
        address => Ok(Some((address, module))),
    }
}

/// Calls a function of a module with arguments of its types. One whose types are unknown takes integers and returns one.
///
/// # Safety
/// The function may do what it does with these arguments; one whose types are unknown takes as many integers.
pub(super) unsafe fn call_function(
    name: &[u8],
    function: &ModuleFunction,
    arguments: &[Value],
) -> Result<Option<Value>, ExecError> {
    let address = function.address;
    if let Some(Signature { params, result, .. }) = &function.signature {
        let in_memory = || Name::in_error(name, |function| ExecError::ModuleTypes { function });
        let params = params.as_ref().ok_or_else(in_memory)?;
        let result = result.ok_or_else(in_memory)?;
        let (given, expected) = (arguments.len(), params.len());
        if given != expected {
            let function = Name::new(name)?;
            return Err(ManagerError::ArgumentCount { function, given, expected }.into());
        }
        let mut words = Vec::new();
        for (number, (argument, &expected)) in (1..).zip(arguments.iter().zip(params)) {
            try_push(&mut words, as_type(name, number, *argument, expected)?.argument())?;
        }
        // SAFETY: the caller's contract; the module states these types.
        let returned = unsafe { call::call_values(address, &words) }.map_err(ExecError::Call)?;
        return Ok(result.map(|scalar| Value::returned(scalar, returned)));
    }
    let mut words = Vec::new();
    for (number, argument) in (1..).zip(arguments) {
        let no_integer =
            || Name::in_error(name, |function| ExecError::ModuleArgument { function, number });
        try_push(&mut words, argument.as_integer().ok_or_else(no_integer)?)?;
    }
    // SAFETY: the caller's contract.
    let result = unsafe { call::call(address, &words) }.map_err(ExecError::Call)?;
    Ok(Some(Value::new(Scalar::I64, result.cast_unsigned())))
}

/// An argument as a value of the type of its parameter: of that type, or an integer that it has.
fn as_type(
    name: &[u8],
    number: usize,
    argument: Value,
    expected: Scalar,
) -> Result<Value, ExecError> {
    if argument.scalar() == expected {
        return Ok(argument);
    }
    let integer = argument.as_integer().filter(|_| !expected.is_float());
    match integer.map(|value| (value, Value::from_integer(expected, value))) {
        Some((_, Some(value))) => Ok(value),
        Some((value, None)) => {
            Err(ExecError::Integer { function: Name::new(name)?, number, value, expected })
        }
        None => {
            let function = Name::new(name)?;
            Err(ManagerError::Argument { function, number, expected }.into())
        }
    }
}
