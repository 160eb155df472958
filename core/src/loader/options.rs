//! Options and statistics of a loader.

use super::epoch::Epochs;
use super::observer::SharedObserver;
use crate::alloc_util::TryArc;
use crate::bytecode::host::HostTable;
use crate::link::Host;
use crate::memory::code_alloc::CodeMemory;
use crate::memory::{FilePolicy, PagePool};
use crate::vm::Tiers;

/// The rule for two modules that export the same name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DuplicateExports {
    /// The export of the module that was loaded first is used, unless it is weak and the other is not.
    #[default]
    FirstWins,
    /// The second module is refused, unless one of the exports is weak. The time of a load is then proportional to the
    /// exports of the new module times the loaded modules.
    Refuse,
}

/// The options of a loader.
#[derive(Clone)]
pub struct LoaderOptions {
    /// The rule for two modules that export the same name.
    pub duplicate_exports: DuplicateExports,
    /// Modules may be replaced although their files are not marked as reloadable. Other modules call functions of a
    /// reloadable module through stubs.
    pub reload_unmarked: bool,
    /// The maximum memory of unloaded modules that is retained for new ones, in bytes.
    pub kept_bytes: usize,
    /// The maximum memory of replaced versions that threads may still run, in bytes. Beyond it, modules are not
    /// [replaced](super::ModuleLoader::reload). One replaced version is always allowed.
    pub max_replaced_bytes: usize,
    /// Epochs that the host pins around each call by address that does not hold the module: a replaced version is not
    /// freed during a call that started before. Several loaders may share them.
    pub call_epochs: Option<&'static Epochs>,
    /// How the bytes of a module's file get into memory, for callers that load modules by path.
    pub file_policy: FilePolicy,
    /// The allocator of stubs and of compiled bytecode.
    pub code_memory: CodeMemory,
    /// How bytecode runs. Functions that are [only interpreted](Tiers::Interpret) have no addresses, so machine code
    /// cannot import them.
    pub tiers: Tiers,
    /// The host functions that bytecode calls by number.
    pub host_functions: HostTable,
    /// What modules may need from the process beside symbols. Services that run constructors trust the machine code of
    /// every module that is loaded.
    pub host_services: Host,
    /// Modules with constructors, destructors, exit handlers or indirect functions are refused, and so are dynlibs, and modules that
    /// need a shared library which the process has not opened: loading, replacing and unloading a module runs no machine code of it. By default
    /// this code is trusted, and runs.
    pub refuse_constructors: bool,
}

impl LoaderOptions {
    /// The defaults: the first export wins, only marked modules are reloadable, 4 MiB are retained, replaced code is
    /// limited to 64 MiB, there are no call epochs, no host functions and no
    /// host services.
    pub fn new(code_memory: CodeMemory) -> Self {
        Self {
            duplicate_exports: DuplicateExports::default(),
            reload_unmarked: false,
            kept_bytes: 4 << 20,
            max_replaced_bytes: 64 << 20,
            call_epochs: None,
            file_policy: FilePolicy::default(),
            code_memory,
            tiers: Tiers::default(),
            host_functions: HostTable::new(),
            host_services: Host::NONE,
            refuse_constructors: false,
        }
    }
}

impl Default for LoaderOptions {
    /// [`LoaderOptions::new`] with a new allocator.
    fn default() -> Self {
        Self::new(CodeMemory::default())
    }
}

/// What every step of loading a module uses: the options of a loader, and the values derived from them.
pub(super) struct Context {
    pub(super) options: LoaderOptions,
    pub(super) observer: Option<SharedObserver>,
    pub(super) pool: TryArc<PagePool>,
}

/// An import that no module and no resolver of the host defines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnresolvedImport<'m> {
    /// The name of the symbol.
    pub symbol: &'m [u8],
    /// The name of the importing module.
    pub module: &'m [u8],
}

/// Counters of a loader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoaderStatistics {
    /// Loaded modules.
    pub modules: usize,
    /// Replaced and unloaded versions that are still in memory.
    pub retired: usize,
    /// Those of them that wait for [`collect_quiescent`](super::ModuleLoader::collect_quiescent).
    pub uncounted: usize,
    /// The memory of replaced versions, in bytes.
    pub replaced_bytes: usize,
    /// The memory that is retained for new modules, in bytes.
    pub kept_bytes: usize,
}
