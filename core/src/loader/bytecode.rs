//! A module whose code is bytecode: its functions by name, behind addresses of the C convention.
//!
//! The whole program is verified when its module is loaded, and [`Engine`] runs it. A function gets the
//! address by which others call it when the first of them asks: most are called by nobody but the program
//! itself. Only functions have addresses: bytecode refers to no data, so that none is loaded, and to no
//! symbols, so that none is imported. What it calls of the host it calls by number.
//!
//! Bytecode is the same on every machine and knows of no operating system, so that the architecture and the
//! platform in a module's header, which are those of whoever wrote it, mean nothing and are not looked at.
//! Where it is only interpreted, its functions are found and run by the engine, and have no addresses.
//!
//! A program that is stopped ends the [call](trap::call_catching) by which its thread entered machine
//! code, as a trap of a template does. Entered in another way, the function returns 0.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;
use core::hash::BuildHasher;
use core::ops::Range;

use hashbrown::hash_table::Entry;
use hashbrown::{DefaultHashBuilder, HashTable};

use super::module_loader::LoadObserver;
use super::module_loader::ModuleLoader;
use crate::alloc_util::sort::sort;
use crate::alloc_util::{AllocError, AttachResult, Shared, try_box, try_copy_bytes};
use crate::format::functions::{Function, Functions};
use crate::format::{Binding, FormatError, SymbolKind};
use crate::jit::verify::{Verifier, VerifyError, functions_of};
use crate::link::Export;
use crate::trap;
use crate::vm::{CodeError, CodeObserver, Engine, EngineError, Registration};

/// The most parameters of a function that has an address.
const MAX_PARAMS: u16 = 8;

/// Why a program of bytecode cannot be called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BytecodeError {
    /// It is not sound.
    Verify(VerifyError),
    /// It cannot be run.
    Engine(EngineError),
    /// This loader is built without the feature `bytecode` of smf-core.
    LeftOut,
}

impl fmt::Display for BytecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BytecodeError::Verify(error) => error.fmt(f),
            BytecodeError::Engine(error) => error.fmt(f),
            BytecodeError::LeftOut => f.write_str(
                "bytecode cannot be loaded, because this loader is built without the feature `bytecode` of smf-core",
            ),
        }
    }
}

impl core::error::Error for BytecodeError {}

impl From<VerifyError> for BytecodeError {
    fn from(error: VerifyError) -> Self {
        BytecodeError::Verify(error)
    }
}

impl From<EngineError> for BytecodeError {
    fn from(error: EngineError) -> Self {
        BytecodeError::Engine(error)
    }
}

impl From<AllocError> for BytecodeError {
    fn from(none: AllocError) -> Self {
        CodeError::from(none).into()
    }
}

impl From<CodeError> for BytecodeError {
    fn from(error: CodeError) -> Self {
        BytecodeError::Engine(EngineError::Code(error))
    }
}

/// Why there is no such module.
#[derive(Clone, Copy, Debug)]
pub(super) enum Refused {
    Format(FormatError),
    Bytecode(BytecodeError),
}

impl From<FormatError> for Refused {
    fn from(error: FormatError) -> Self {
        Refused::Format(error)
    }
}

impl<E: Into<BytecodeError>> From<E> for Refused {
    fn from(error: E) -> Self {
        Refused::Bytecode(error.into())
    }
}

/// A program, and how others call it.
pub(super) struct Bytecode<'d> {
    engine: Engine<'d>,
    functions: Functions<'d>,
    names: Names,
    /// The index of the function where running begins.
    begin: Option<u32>,
}

impl<'d> Bytecode<'d> {
    /// The program of `functions` in the module `name`, whose file says that it begins at `entry_point`, in
    /// bytes from the begin of its code section; 0 for nowhere.
    pub(super) fn new(
        name: &[u8],
        functions: &Functions<'d>,
        entry_point: u64,
        loader: &ModuleLoader,
    ) -> Result<Self, Refused> {
        let program = Verifier::new().verify(functions_of(functions)?)?;
        let options = loader.options();
        let (hosts, memory) = (options.host_functions.try_clone()?, &options.code_memory);
        let mut engine = Engine::with_tiers(program, hosts, options.tiers, memory)?;
        engine.on_trap(Some(trap::stop_call));
        if let Some(attach) = loader.attach() {
            let (attach, module) = (attach.clone(), try_copy_bytes(name)?);
            engine.observe(try_box(Announcer { attach, module, functions: *functions })?);
        }
        let names = Names::of(functions)?;
        let mut all = functions.iter().flatten();
        let begins = all.find(|function| u64::from(function.code_offset) == entry_point);
        let begin = begins.map(|function| function.index);
        let begin = begin.or_else(|| names.find(functions, b"main"));
        Ok(Self { engine, functions: *functions, names, begin })
    }

    pub(super) fn engine(&self) -> &Engine<'d> {
        &self.engine
    }

    /// The index of the function where running begins.
    pub(super) fn begin(&self) -> Option<u32> {
        self.begin
    }

    pub(super) fn entry_point(&self) -> Option<u64> {
        Some(self.engine.address(self.begin?).ok()? as u64)
    }

    /// The index of the function of this name.
    pub(super) fn index_of(&self, name: &[u8]) -> Option<u32> {
        self.names.find(&self.functions, name)
    }

    /// A function that can be called by address. Where it [has none](Bytecode::refusal) that is 0.
    #[inline(never)]
    pub(super) fn find(&self, name: &[u8]) -> Option<Export> {
        let function = self.functions.get(self.index_of(name)?)?.ok()?;
        has_address(&function).then(|| self.export(function.index, function.length))
    }

    fn export(&self, index: u32, length: u32) -> Export {
        let address = self.engine.address(index).unwrap_or(0) as u64;
        let (kind, binding) = (SymbolKind::Function, Binding::Global);
        Export { address, kind, binding, size: length.into() }
    }

    /// Why the function of this name has no address; `None` when it has one, or is not there.
    pub(super) fn refusal(&self, name: &[u8]) -> Option<BytecodeError> {
        Some(self.engine.address(self.index_of(name)?).err()?.into())
    }

    /// Every function, with its index, in the order of their names, each of which is there once.
    pub(super) fn functions(&self) -> impl Iterator<Item = (&'d [u8], u32)> + use<'d> {
        let functions = self.names.numbers.iter().filter_map(|&index| self.named(index));
        let mut functions: Vec<_> = functions.map(|f| (f.name(), f.index)).collect();
        sort(&mut functions);
        functions.into_iter()
    }

    /// Every function that can be called by address, in the order of their names.
    pub(super) fn exports(&self) -> impl Iterator<Item = (&'d [u8], Export)> {
        let exported =
            self.functions().filter_map(|(name, index)| Some((name, self.named(index)?)));
        let exported = exported.filter(|(_, function)| has_address(function));
        let exported =
            exported.map(|(name, function)| (name, self.export(function.index, function.length)));
        exported.filter(|(_, export)| export.address != 0)
    }

    fn named(&self, index: u32) -> Option<Function<'d>> {
        self.functions.get(index)?.ok()
    }

    /// Whether a function was given this address.
    pub(super) fn contains(&self, address: u64) -> bool {
        usize::try_from(address).is_ok_and(|address| self.engine.has_address(address))
    }
}

/// Whether a function can have an address at all.
fn has_address(function: &Function<'_>) -> bool {
    function.params <= MAX_PARAMS
}

/// Which function a name means: of several, the first in the table.
struct Names {
    hasher: DefaultHashBuilder,
    /// The functions' indices.
    numbers: HashTable<u32>,
}

impl Names {
    fn of(functions: &Functions<'_>) -> Result<Self, AllocError> {
        let hasher = DefaultHashBuilder::default();
        let mut numbers = HashTable::new();
        numbers.try_reserve(functions.len(), |_| 0).map_err(|_| AllocError)?;
        for function in functions.iter().flatten() {
            let is_it = |other: &u32| has_name(functions, *other, function.name());
            let rehash = |other: &u32| {
                let other = functions.get(*other).and_then(Result::ok);
                other.map_or(0, |other| hasher.hash_one(other.name()))
            };
            if let Entry::Vacant(place) =
                numbers.entry(hasher.hash_one(function.name()), is_it, rehash)
            {
                place.insert(function.index);
            }
        }
        Ok(Self { hasher, numbers })
    }

    fn find(&self, functions: &Functions<'_>, name: &[u8]) -> Option<u32> {
        let is_it = |index: &u32| has_name(functions, *index, name);
        self.numbers.find(self.hasher.hash_one(name), is_it).copied()
    }
}

fn has_name(functions: &Functions<'_>, index: u32, name: &[u8]) -> bool {
    functions.get(index).is_some_and(|found| found.is_ok_and(|found| found.name() == name))
}

/// Tells who is attached to a loader of the code that a program becomes.
struct Announcer<'d> {
    attach: Shared<dyn LoadObserver>,
    module: Box<[u8]>,
    functions: Functions<'d>,
}

impl Announcer<'_> {
    fn name(&self, function: u32) -> &[u8] {
        let found = self.functions.get(function).and_then(Result::ok);
        found.map_or(&[], |function| function.name())
    }
}

impl CodeObserver for Announcer<'_> {
    fn compiled(&self, function: u32, code: Range<usize>) -> Registration {
        self.attach.attach_compiled(&self.module, self.name(function), code)
    }

    fn entered(&self, function: u32, code: Range<usize>) -> AttachResult {
        self.attach.attach_entry(&self.module, self.name(function), code)
    }
}

#[cfg(test)]
#[path = "tests/bytecode.rs"]
mod tests;
