//! A module whose code is bytecode: its functions by name, behind addresses of the C convention.
//!
//! The whole program is verified when its module is loaded, and each function gets the address by which
//! others call it; [`Engine`] runs it behind that. Only functions have addresses: bytecode refers to no
//! data, so that none is loaded, and to no symbols, so that none is imported. What it calls of the host
//! it calls by number.
//!
//! A program that is stopped ends the [call](landing::call_landing) by which its thread entered machine
//! code, as a trap of a template does. Entered in another way, the function returns 0.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;

use super::options::LoaderOptions;
use crate::format::functions::Functions;
use crate::format::{Binding, FormatError, SymbolKind};
use crate::jit::verify::{FunctionCode, Verifier, VerifyError};
use crate::link::{Export, landing};
use crate::tier::{CodeError, Engine, EngineError};

/// The most parameters of a function that has an address.
const MAX_PARAMS: u16 = 8;

/// Why a program of bytecode cannot be called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BytecodeError {
    /// It is not sound.
    Verify(VerifyError),
    /// It cannot be run.
    Engine(EngineError),
}

impl fmt::Display for BytecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BytecodeError::Verify(error) => error.fmt(f),
            BytecodeError::Engine(error) => error.fmt(f),
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

/// A function that others may call.
struct Callable<'d> {
    name: &'d [u8],
    address: u64,
    /// Bytes of bytecode.
    size: u64,
}

/// A program, and how others call it.
pub(super) struct Bytecode<'d> {
    engine: Engine<'d>,
    /// By name, each once.
    callable: Box<[Callable<'d>]>,
    entry_point: Option<u64>,
}

impl<'d> Bytecode<'d> {
    /// The program of `table`, whose file says that it begins at `entry_point`, in bytes from the begin
    /// of its code section; 0 for nowhere.
    pub(super) fn new(
        table: &Functions<'d>,
        entry_point: u64,
        options: &LoaderOptions,
    ) -> Result<Self, Refused> {
        let mut codes = Vec::with_capacity(table.len());
        let mut named = Vec::with_capacity(table.len());
        for function in table.iter() {
            let function = function?;
            let (params, locals) = (function.params, function.locals);
            codes.push(FunctionCode { code: function.code, params, locals });
            named.push(function);
        }
        let program = Verifier::new().verify(codes)?;
        let (hosts, memory) = (options.host_functions.clone(), &options.code_memory);
        let engine = Engine::with_tiers(program, hosts, options.tiers, memory)?;
        engine.on_trap(Some(landing::stop_call));
        let mut callable = Vec::with_capacity(named.len());
        let mut begin = None;
        for function in named.iter().filter(|function| function.params <= MAX_PARAMS) {
            let address = engine.address(function.index)? as u64;
            if u64::from(function.code_offset) == entry_point {
                begin = begin.or(Some(address));
            }
            let (name, size) = (function.name(), function.length.into());
            callable.push(Callable { name, address, size });
        }
        // Stable: of two with one name, the first in the table is meant.
        callable.sort_by_key(|callable| callable.name);
        callable.dedup_by_key(|callable| callable.name);
        let mut module = Self { engine, callable: callable.into(), entry_point: begin };
        module.entry_point = begin.or_else(|| Some(module.find(b"main")?.address));
        Ok(module)
    }

    pub(super) fn engine(&self) -> &Engine<'d> {
        &self.engine
    }

    pub(super) fn entry_point(&self) -> Option<u64> {
        self.entry_point
    }

    pub(super) fn find(&self, name: &[u8]) -> Option<Export> {
        let at = self.callable.binary_search_by_key(&name, |callable| callable.name).ok()?;
        self.callable.get(at).map(Callable::export)
    }

    /// Every function that can be called, in the order of their names.
    pub(super) fn exports(&self) -> impl Iterator<Item = (&'d [u8], Export)> {
        self.callable.iter().map(|callable| (callable.name, callable.export()))
    }

    /// Whether a function begins at `address`.
    pub(super) fn contains(&self, address: u64) -> bool {
        self.callable.iter().any(|callable| callable.address == address)
    }
}

impl Callable<'_> {
    fn export(&self) -> Export {
        let (kind, binding) = (SymbolKind::Function, Binding::Global);
        Export { address: self.address, kind, binding, size: self.size }
    }
}
