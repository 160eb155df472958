//! The code that a command has loaded: modules and instances of templates, by address.

use std::sync::OnceLock;

use smf_core::alloc_util::TryArc;
use smf_core::format::SymbolKind;
use smf_core::loader::ModuleRef;
use smf_core::templates::{Instance, JitInstantiator};
use smf_core::trap::{Trap, TrapError, bytecode};
use smf_core::types::demangle;
use smf_loader::loader::Loader;
use smf_loader::loader_templates::LoaderTemplates;
use smf_loader::source_line;
use smf_loader::source_trap::SourceTrap;

use crate::nm::symbols;
use crate::source;

/// The instances of templates of the process.
pub(crate) trait Instances: Send + Sync {
    /// The instance whose code contains an address.
    fn at(&self, address: u64) -> Option<Instance>;
    /// What has made them.
    fn instantiator(&self) -> &JitInstantiator;
}

impl Instances for TryArc<LoaderTemplates> {
    fn at(&self, address: u64) -> Option<Instance> {
        self.instance_at(address)
    }

    fn instantiator(&self) -> &JitInstantiator {
        LoaderTemplates::instantiator(self)
    }
}

impl Instances for &'static JitInstantiator {
    fn at(&self, address: u64) -> Option<Instance> {
        self.instance_at(address)
    }

    fn instantiator(&self) -> &JitInstantiator {
        self
    }
}

static LOADER: OnceLock<&'static Loader> = OnceLock::new();
static INSTANCES: OnceLock<Box<dyn Instances>> = OnceLock::new();

/// Sets where code is found; `false` if that was done before.
pub(crate) fn set(loader: &'static Loader, instances: impl Instances + 'static) -> bool {
    LOADER.set(loader).is_ok() && INSTANCES.set(Box::new(instances)).is_ok()
}

/// The modules of a loader.
pub(crate) fn modules(loader: &Loader) -> impl Iterator<Item = ModuleRef<'_>> {
    let mut handles = Vec::new();
    loader.modules().for_each(|_, handle| handles.push(handle));
    handles.into_iter().flat_map(|handle| loader.modules().get(handle))
}

/// The loaded module that contains an address.
pub(crate) fn module_at(address: u64) -> Option<ModuleRef<'static>> {
    modules(LOADER.get()?).find(|module| module.contains(address))
}

/// The instance of a template that contains an address.
pub(crate) fn instance_at(address: u64) -> Option<Instance> {
    INSTANCES.get()?.at(address)
}

/// Describes an error of a call. Code that `smf compile` made and instances of source templates report their line.
pub(crate) fn describe(error: TrapError) -> String {
    match error {
        TrapError::Trap(trap) => trap_at(trap).unwrap_or_else(|| error.to_string()),
        TrapError::Bytecode(trap) => trap_in_bytecode(trap),
        error => error.to_string(),
    }
}

/// Describes a trap in a module or an instance; `None` in other code.
pub(crate) fn trap_at(trap: Trap) -> Option<String> {
    if let Some(instance) = instance_at(trap.function) {
        return Some(trap_in_instance(&instance, trap));
    }
    let module = module_at(trap.function)?;
    let offset = module.code_offset(trap.function);
    let noted = offset.and_then(|at| SourceTrap::of_module(module.linked()?, at, trap).ok()?);
    let of_symbol = || {
        let (name, _) = function_at(&module, trap.function)?;
        Some(SourceTrap { function: Some(name), ..SourceTrap::default() })
    };
    let mut found = noted.or_else(of_symbol)?;
    if found.file.is_empty()
        && let Some(line) = source_line(&module, trap.function)
    {
        found.file = line.file;
    }
    Some(source::trap::in_source(trap, &found))
}

/// Describes a trap in bytecode that other code has called: the trap does not name its module, which is known if there is
/// one module of bytecode.
fn trap_in_bytecode(trap: bytecode::Trap) -> String {
    let all = LOADER.get().into_iter().flat_map(|loader| modules(loader));
    let mut all = all.filter(|module| module.engine().is_some());
    match (all.next(), all.next()) {
        (Some(module), None) => format!("{}: {trap}", String::from_utf8_lossy(module.name())),
        _ => format!("a module of bytecode: {trap}"),
    }
}

/// Describes a trap in an instance.
fn trap_in_instance(instance: &Instance, trap: Trap) -> String {
    let jit = INSTANCES.get().map(|instances| instances.instantiator());
    if !instance.is_source() {
        let body = jit.and_then(|jit| template_body(jit, instance.symbol()));
        return source::trap::in_ir_instance(instance, trap, body.as_deref());
    }
    let found = jit.and_then(|jit| SourceTrap::of_instance(jit, instance, trap).ok()?);
    source::trap::in_instance(instance, trap, found)
}

/// The body of the template of an instance.
fn template_body(jit: &JitInstantiator, symbol: &[u8]) -> Option<Box<[u8]>> {
    let listed = jit.find_possible(symbol).ok()?.map(|entry| entry.template);
    let symbol = str::from_utf8(symbol).ok()?;
    let mangled = || Some(demangle(symbol.strip_prefix("fn$").unwrap_or(symbol)).ok()??.0);
    // The symbol of a template without type parameters is its name.
    let name = listed.or_else(mangled);
    jit.template_body(name.as_deref().unwrap_or(symbol).as_bytes()).ok()?
}

/// The name of the function of a module, or of the instance, around an address.
pub(crate) fn function_name_at(address: u64) -> Option<String> {
    match module_at(address) {
        Some(module) => function_at(&module, address).map(|(name, _)| name),
        None => instance_at(address).map(|i| String::from_utf8_lossy(i.symbol()).into_owned()),
    }
}

/// The function around an address, and the distance from its first byte.
pub(crate) fn function_at(module: &ModuleRef<'_>, address: u64) -> Option<(String, u64)> {
    let (_, symbols) = symbols(module.linked()?).ok()?;
    let functions =
        symbols.into_iter().filter(|symbol| symbol.kind == SymbolKind::Function && symbol.defined);
    let starts = functions.filter_map(|symbol| Some((module.address(&symbol)?, symbol)));
    let around = starts.filter(|(start, symbol)| {
        let offset = address.checked_sub(*start);
        offset.is_some_and(|offset| offset < symbol.size)
    });
    let (start, symbol) = around.max_by_key(|(start, _)| *start)?;
    Some((String::from_utf8_lossy(symbol.name()).into_owned(), address - start))
}
