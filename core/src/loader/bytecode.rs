//! Modules of bytecode: functions by name, with addresses in the C calling convention.
//!
//! The whole program is verified when its module is loaded, and an [`Engine`] runs it. A function gets an address when
//! it is first looked up by address; most functions are called by the program only. Bytecode has no data symbols and
//! imports no symbols; it calls host functions by number. The architecture and the platform in the header of its module
//! are ignored, because bytecode does not depend on them. Functions that are only interpreted have no addresses.
//!
//! A program that stops ends the innermost [catching call](trap::call_catching) of its thread, as a trap of a template
//! does. Without such a call the function returns 0.

use alloc::{boxed::Box, vec::Vec};
use core::ops::Range;

use hashbrown::HashMap;

use super::error::BytecodeError;
use super::observer::SharedObserver;
use super::options::Context;
use crate::alloc_util::sort::sort;
use crate::alloc_util::{AllocError, AttachResult, try_box, try_concat, try_copy_bytes};
use crate::bytecode::verify::{FunctionCode, Verifier};
use crate::codegen::registry::{Edge, GeneratedCode, GeneratedFunction, Phase};
use crate::format::constants::Constants;
use crate::format::functions::Functions;
use crate::format::{Binding, SymbolKind};
use crate::link::Export;
use crate::trap;
use crate::vm::{CodeObserver, Engine, EngineCode, PlacedCode};

/// A program and its functions by name.
pub(super) struct Bytecode<'d> {
    engine: Engine<'d>,
    functions: Functions<'d>,
    names: HashMap<&'d [u8], u32>,
    /// The index of the entry function.
    entry: Option<u32>,
}

impl<'d> Bytecode<'d> {
    /// The program of the module `name`, whose functions have this code and these constants. `entry_point` is the offset of the entry
    /// function in the code section, or 0; without a function there, `main` is the entry function.
    // Its frame is 8 KiB, of which modules of machine code do not touch the pages.
    #[inline(never)]
    pub(super) fn new(
        name: &[u8],
        functions: &Functions<'d>,
        (code, constants): (Vec<FunctionCode<'d>>, Constants<'d>),
        entry_point: u64,
        context: &Context,
    ) -> Result<Self, BytecodeError> {
        let program = Verifier::new().verify_program(code, constants)?;
        let options = &context.options;
        let hosts = options.host_functions.try_clone()?;
        let mut engine = Engine::with_tiers(program, hosts, options.tiers, &options.code_memory)?;
        engine.on_trap(Some(trap::stop_call));
        if let Some(observer) = &context.observer {
            let (observer, module) = (observer.clone(), try_copy_bytes(name)?);
            engine.observe(try_box(CompiledCode { observer, module, functions: *functions })?);
        }
        let names = names_of(functions)?;
        let mut all = functions.iter().flatten();
        let entry = all.find(|function| u64::from(function.code_offset) == entry_point);
        let entry = entry.map(|function| function.index);
        let entry = entry.or_else(|| names.get(&b"main"[..]).copied());
        Ok(Self { engine, functions: *functions, names, entry })
    }

    pub(super) fn engine(&self) -> &Engine<'d> {
        &self.engine
    }

    /// The index of the entry function.
    pub(super) fn entry(&self) -> Option<u32> {
        self.entry
    }

    pub(super) fn entry_point(&self) -> Option<u64> {
        Some(self.engine.address(self.entry?).ok()? as u64)
    }

    /// The index of the function called `name`.
    pub(super) fn index_of(&self, name: &[u8]) -> Option<u32> {
        self.names.get(name).copied()
    }

    /// The function called `name`. Its address is 0 if it [cannot have one](Bytecode::refusal).
    pub(super) fn find(&self, name: &[u8]) -> Option<Export> {
        let function = self.functions.get(self.index_of(name)?)?.ok()?;
        let address = self.engine.address(function.index).unwrap_or(0) as u64;
        let (kind, binding) = (SymbolKind::Function, Binding::Global);
        Some(Export { address, kind, binding, size: function.length.into() })
    }

    /// Why the function called `name` has no address; `None` if it has one, or does not exist.
    pub(super) fn refusal(&self, name: &[u8]) -> Option<BytecodeError> {
        let error = self.engine.address(self.index_of(name)?).err()?;
        Some(BytecodeError::Engine(error.into()))
    }

    /// Every function name with its index, sorted.
    pub(super) fn functions(&self) -> impl Iterator<Item = (&'d [u8], u32)> + use<'d> {
        let mut functions: Vec<_> =
            self.names.iter().map(|(&name, &index)| (name, index)).collect();
        sort(&mut functions);
        functions.into_iter()
    }

    /// Every function with an address, sorted by name. Gives each of them its address.
    pub(super) fn exports(&self) -> impl Iterator<Item = (&'d [u8], Export)> {
        let exported = self.functions().filter_map(|(name, _)| Some((name, self.find(name)?)));
        exported.filter(|(_, export)| export.address != 0)
    }

    /// Whether `address` is that of a function.
    pub(super) fn contains(&self, address: u64) -> bool {
        usize::try_from(address).is_ok_and(|address| self.engine.has_address(address))
    }
}

/// Function indices by name. Of several functions with one name it contains the first.
fn names_of<'d>(functions: &Functions<'d>) -> Result<HashMap<&'d [u8], u32>, AllocError> {
    let mut names = HashMap::new();
    names.try_reserve(functions.len()).map_err(|_| AllocError)?;
    for function in functions.iter().flatten() {
        names.entry(function.name()).or_insert(function.index);
    }
    Ok(names)
}

/// Notifies the observer of a loader of the compiled code of one program.
struct CompiledCode<'d> {
    observer: SharedObserver,
    module: Box<[u8]>,
    functions: Functions<'d>,
}

impl CompiledCode<'_> {
    fn name(&self, function: u32) -> &[u8] {
        let found = self.functions.get(function).and_then(Result::ok);
        found.map_or(&[], |function| function.name())
    }
}

impl CodeObserver for CompiledCode<'_> {
    fn needs_lines(&self) -> bool {
        self.observer.needs_lines()
    }

    fn on_compile(&self, function: u32, edge: Edge) {
        self.observer.on_phase(Phase::Compile, edge, self.name(function));
    }

    fn placed(&self, placed: PlacedCode<'_>) -> AttachResult {
        let PlacedCode { what, block, code, lines, eh_frame } = placed;
        let (function, suffix) = match what {
            EngineCode::Function(index) => (self.name(index), &b""[..]),
            EngineCode::EntryTrampoline(index) => (self.name(index), &b":entry"[..]),
            EngineCode::Stubs => (&b"stubs"[..], &b""[..]),
        };
        let file = try_concat(&[&self.module, b":", function])?;
        let name = try_concat(&[&file, suffix])?;
        let functions = &[GeneratedFunction { name: &name, code, file: &file, lines }];
        self.observer.register(GeneratedCode { block, functions, eh_frame })
    }

    fn entered(&self, function: u32, code: Range<usize>) -> AttachResult {
        self.observer.on_trampoline(&self.module, self.name(function), code)
    }
}

#[cfg(test)]
#[path = "tests/bytecode.rs"]
mod tests;
