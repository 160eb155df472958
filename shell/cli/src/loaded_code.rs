//! The code that a command has loaded: modules and instances of templates, by address.

use std::sync::OnceLock;

use smf_core::alloc_util::TryArc;
use smf_core::format::SymbolKind;
use smf_core::loader::ModuleRef;
use smf_core::templates::{Instance, JitInstantiator};
use smf_core::trap::Trap;
use smf_loader::loader::Loader;
use smf_loader::loader_templates::LoaderTemplates;
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

/// Describes a trap in an instance.
pub(crate) fn trap_in_instance(instance: &Instance, trap: Trap) -> String {
    let jit = INSTANCES.get().map(|instances| instances.instantiator());
    let found = jit.and_then(|jit| SourceTrap::of_instance(jit, instance, trap).ok()?);
    source::trap::in_instance(instance, trap, found)
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
