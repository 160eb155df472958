//! A held module.

use core::panic::{RefUnwindSafe, UnwindSafe};
use core::{fmt, marker::PhantomData, ops::Range};

use super::bytecode::Bytecode;
use super::bytes::LinkedModule;
use super::epoch::PinnedEpoch;
use super::error::LoadError;
use super::handle::ModuleHandle;
use super::inner::ModuleLoader;
use super::version::Version;
use crate::alloc_util::TryArc;
use crate::format::{Smf, Symbol, SymbolKind};
use crate::link::Export;
use crate::printable::Printable;
use crate::vm::Engine;

/// Holds one version of a module. Until the value is dropped, that version and every module from which it imports, directly
/// or through other modules, stay in memory, even if they are replaced.
pub struct ModuleRef<'l> {
    version: TryArc<Version>,
    epoch: PinnedEpoch,
    loader: PhantomData<&'l ModuleLoader>,
}

// A hold lends what does not change. The locks behind it are released by unwinding, and no method of a hold leaves them
// with a part of a change.
impl UnwindSafe for ModuleRef<'_> {}
impl RefUnwindSafe for ModuleRef<'_> {}

/// The definition of a name.
#[derive(Debug)]
pub struct Resolved<'l> {
    /// The address. For a function of a reloadable module that of its stub, which is the same for every version.
    pub address: u64,
    /// The kind; `SymbolKind::None` for host symbols.
    pub kind: SymbolKind,
    /// The defining module, held; `None` for host symbols.
    pub module: Option<ModuleRef<'l>>,
}

impl<'l> ModuleRef<'l> {
    /// The caller holds the lock of the loader, so that the version is current.
    pub(super) fn new(_: &'l ModuleLoader, version: TryArc<Version>) -> Self {
        let epoch = version.holds.pin_until_unpinned();
        Self { version, epoch, loader: PhantomData }
    }

    /// The name under which the module was loaded.
    pub fn name(&self) -> &[u8] {
        &self.version.name
    }

    /// The handle, which is the same for every version.
    pub fn handle(&self) -> ModuleHandle {
        self.version.handle
    }

    fn module(&self) -> Option<&LinkedModule> {
        self.version.body.linked()
    }

    /// The file of the module; `None` if it is not an SMF module.
    pub fn smf(&self) -> Option<&Smf<'_>> {
        self.module().map(LinkedModule::smf)
    }

    /// The linked file, as [`Module::linked`](crate::link::Module::linked).
    pub fn linked(&self) -> Option<&Smf<'_>> {
        self.version.linked()
    }

    /// The export called `name`, at its address in this version.
    pub fn export(&self, name: &[u8]) -> Option<Export> {
        // Bytecode functions may have no address.
        self.version.body.find(name).filter(|export| export.address != 0)
    }

    /// Why a bytecode function has no address; `None` if it has one, and for other symbols.
    pub fn refusal(&self, name: &[u8]) -> Option<LoadError> {
        let error = self.bytecode()?.refusal(name)?;
        Some(LoadError::Bytecode { module: self.version.name.clone(), error })
    }

    /// The address of an exported function in this version.
    pub fn function(&self, name: &[u8]) -> Option<u64> {
        // The kind of a foreign symbol is unknown.
        let is_function =
            |export: &Export| matches!(export.kind, SymbolKind::Function | SymbolKind::None);
        self.export(name).filter(is_function).map(|export| export.address)
    }

    /// The engine of a bytecode module. It calls functions with any number of arguments, reports why they stop, and can
    /// be interrupted.
    pub fn engine(&self) -> Option<&Engine<'_>> {
        self.bytecode().map(Bytecode::engine)
    }

    /// The index of a bytecode function, for the [engine](Self::engine).
    pub fn bytecode_function(&self, name: &[u8]) -> Option<u32> {
        self.bytecode()?.index_of(name)
    }

    /// The index of the bytecode entry function.
    pub fn bytecode_entry(&self) -> Option<u32> {
        self.bytecode()?.entry()
    }

    /// The names and indices of all bytecode functions, sorted by name.
    pub fn bytecode_functions(&self) -> impl Iterator<Item = (&[u8], u32)> {
        self.bytecode().into_iter().flat_map(Bytecode::functions)
    }

    /// The bytecode functions that can be called by address, sorted by name. They are not in the symbol table. Gives
    /// each of them its address; functions that [cannot have one](Self::refusal) are left out.
    pub fn bytecode_exports(&self) -> impl Iterator<Item = (&[u8], Export)> {
        self.bytecode().into_iter().flat_map(Bytecode::exports)
    }

    fn bytecode(&self) -> Option<&Bytecode<'_>> {
        self.module()?.bytecode()
    }

    /// The entry point, as [`Module::entry_point`](crate::link::Module::entry_point).
    pub fn entry_point(&self) -> Option<u64> {
        self.module()?.entry_point()
    }

    /// The address of a symbol of the [linked](Self::linked) file.
    pub fn address(&self, symbol: &Symbol<'_>) -> Option<u64> {
        self.module()?.address(symbol)
    }

    /// The address of a section of the [linked](Self::linked) file; `None` if it is not loaded.
    pub fn section_address(&self, index: u32) -> Option<u64> {
        self.module()?.section_address(index)
    }

    /// The offset of an address from the start of the [code](Smf::code) of the [linked](Self::linked) file; `None` for an address
    /// in front of it.
    pub fn code_offset(&self, address: u64) -> Option<u64> {
        address.checked_sub(self.section_address(self.linked()?.code()?.index)?)
    }

    /// Whether an address lies in the module's memory; for bytecode, whether it is that of a function.
    pub fn contains(&self, address: u64) -> bool {
        self.module().is_some_and(|module| module.contains(address))
    }

    /// The address ranges of the executable pages, ascending. Empty for bytecode, whose pages are shared.
    pub fn code(&self) -> impl Iterator<Item = Range<usize>> {
        self.module().into_iter().flat_map(LinkedModule::code)
    }

    pub(super) fn version(&self) -> &TryArc<Version> {
        &self.version
    }
}

impl Drop for ModuleRef<'_> {
    fn drop(&mut self) {
        self.version.holds.unpin(&self.epoch);
    }
}

impl fmt::Debug for ModuleRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = Printable(self.name());
        f.debug_struct("ModuleRef").field("name", &format_args!("{name}")).finish_non_exhaustive()
    }
}
