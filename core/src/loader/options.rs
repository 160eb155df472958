//! What a loader is told, and what it tells.

use alloc::sync::Arc;

use super::epoch::Epochs;
use super::module_loader::LoadObserver;
use super::module_ref::ModuleRef;
use crate::format::SymbolKind;
use crate::jit::host::HostTable;
use crate::memory::code_alloc::CodeMemory;
use crate::vm::Tiers;

/// What happens when two modules export the same name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Clash {
    /// The one that was loaded first is meant, unless it is weak and the other is not.
    #[default]
    FirstWins,
    /// The second is refused, unless one of the two is weak. Loading then takes time in proportion to
    /// the exports of the new module times the modules that are there.
    Refuse,
}

/// How a loader works.
#[derive(Clone)]
pub struct LoaderOptions {
    /// What happens when two modules export the same name.
    pub clash: Clash,
    /// Modules may be replaced although their file does not say so. Functions of modules that may be
    /// replaced are called by others through a table, which costs each call 1 to 2 ns.
    pub reload_unmarked: bool,
    /// How many bytes of memory of unloaded modules are kept for the next ones.
    pub kept_bytes: usize,
    /// How many bytes of memory replaced versions may take as long as threads may be inside; a module is not
    /// [replaced](super::ModuleLoader::reload) beyond that. One replaced version may always stay.
    pub max_replaced_bytes: usize,
    /// Epochs that the host pins around each call that it makes by an address without holding the module:
    /// a replaced version is not freed while a thread is in such a call that it began before. They may be
    /// those of several loaders.
    pub call_epochs: Option<&'static Epochs>,
    /// Where the stubs of modules that may be replaced come from, and compiled bytecode.
    pub code_memory: CodeMemory,
    /// Who is told of every module that is linked.
    pub attach: Option<Arc<dyn LoadObserver>>,
    /// How modules of bytecode run. The functions of those that are [interpreted alone](Tiers::Interpret) have
    /// no addresses, so that machine code cannot import them.
    pub tiers: Tiers,
    /// The functions of the host that modules of bytecode call by number.
    pub host_functions: HostTable,
}

impl LoaderOptions {
    /// The first definition wins, what is not marked stays, 4 MiB are kept, 64 MiB of replaced code are the
    /// limit, no calls are counted, and there are no host functions for bytecode.
    pub fn new(code_memory: CodeMemory) -> Self {
        Self {
            clash: Clash::default(),
            reload_unmarked: false,
            kept_bytes: 4 << 20,
            max_replaced_bytes: 64 << 20,
            call_epochs: None,
            code_memory,
            attach: None,
            tiers: Tiers::default(),
            host_functions: HostTable::new(),
        }
    }
}

impl Default for LoaderOptions {
    /// The same, with code memory of its own.
    fn default() -> Self {
        Self::new(CodeMemory::default())
    }
}

/// A name that a module imports and nobody provides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Missing<'m> {
    /// The name.
    pub symbol: &'m [u8],
    /// The name of the module that wants it.
    pub module: &'m [u8],
}

/// A name's definition.
#[derive(Debug)]
pub struct Resolved<'l> {
    /// Where it is. Of a function in a module that may be replaced: where it is called, which stays
    /// the same in every version.
    pub address: u64,
    /// What it is; `SymbolKind::None` for what the host defines.
    pub kind: SymbolKind,
    /// The module that defines it, held as long as this is; `None` for the host.
    pub module: Option<ModuleRef<'l>>,
}

/// How much there is in a loader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoaderStatistics {
    /// Modules that are loaded.
    pub modules: usize,
    /// Versions that were replaced or unloaded and are still in memory.
    pub retired: usize,
    /// How many of them wait for [`collect_quiescent`](super::ModuleLoader::collect_quiescent).
    pub uncounted: usize,
    /// Bytes of memory of replaced versions.
    pub replaced_bytes: usize,
    /// Bytes of memory that are kept for the next modules.
    pub kept_bytes: usize,
}
