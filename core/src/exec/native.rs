//! The code generator of this crate as a back end.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;

use spin::Once;

use super::backend::{Backend, BackendError, CompiledUnit, Level, SharedRegistry};
use super::unit::{Unit, UnitFunction};
use crate::alloc_util::{
    AllocError, try_box, try_collect, try_push, try_reserve, try_resize, try_with_capacity,
};
use crate::codegen::code::Relocation;
use crate::codegen::registry::{FunctionTables, Phase, PhaseSpan, register_functions};
use crate::codegen::{CodegenError, NativeOptimizingCompiler, Options, TRAP_HOOK};
use crate::ir::{Arguments, CalleeKind, Function, FunctionInstance, IrError, Verified};
use crate::link::fixup::{Fixup, FixupError, FixupPlan, FixupTarget};
use crate::link::{Name, host_arch};
use crate::memory::code_alloc::{
    CodeMemory, CodeMemoryOptions, ExecError, ExecutableBlock, Request,
};
use crate::memory::lock::Lock;
use crate::trap::trap_hook;

/// The alignment of functions, in bytes.
const ALIGN: usize = 16;

/// The maximum number of idle compilers, about the number of threads that compile concurrently.
const MAX_IDLE: usize = 4;

/// The code generator of this crate.
#[derive(Default)]
pub struct NativeBackend {
    /// Created by the first compilation unless it is given.
    memory: Once<CodeMemory>,
    #[expect(
        clippy::vec_box,
        reason = "a compiler is large, and is taken out by each compilation"
    )]
    idle: Lock<Vec<Box<NativeOptimizingCompiler>>>,
    registry: Option<SharedRegistry>,
}

impl fmt::Debug for NativeBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NativeBackend").field("memory", &self.memory.get()).finish_non_exhaustive()
    }
}

/// Code in its place, and its registration, which is dropped first.
pub(super) struct RegisteredCode {
    _registration: Option<Box<dyn Send + Sync>>,
    block: ExecutableBlock,
}

impl RegisteredCode {
    /// Registers the functions of a block.
    fn new<'n>(
        block: ExecutableBlock,
        registry: Option<&SharedRegistry>,
        tables: &'n [FunctionTables],
        name: &dyn Fn(usize) -> &'n [u8],
    ) -> Result<Self, AllocError> {
        let range = block.address()..block.address() + block.len();
        let register =
            |registry: &SharedRegistry| register_functions(&***registry, range, tables, name);
        Ok(Self { _registration: registry.map_or(Ok(None), register)?, block })
    }

    pub(super) fn address(&self) -> u64 {
        self.block.address() as u64
    }

    pub(super) fn bytes(&self) -> usize {
        self.block.len()
    }
}

impl NativeBackend {
    /// A back end that places code in `memory`.
    pub fn new(memory: CodeMemory) -> Self {
        Self { memory: Once::initialized(memory), ..Self::default() }
    }

    /// Sets the registry of the host for code.
    #[must_use]
    pub fn with_registry(self, registry: SharedRegistry) -> Self {
        Self { registry: Some(registry), ..self }
    }

    /// The back end of the stubs of another one.
    pub(super) fn for_stubs(of: &dyn Backend) -> Self {
        let memory = of.code_memory().map_or_else(Once::new, Once::initialized);
        Self { memory, registry: of.registry(), ..Self::default() }
    }

    /// Compiles one function that belongs to no unit and whose only callees are addresses.
    pub(super) fn compile_one(
        &self,
        name: &Name,
        function: &[u8],
    ) -> Result<RegisteredCode, BackendError> {
        let invalid = |error: IrError| in_function(name, error.into());
        let verified =
            Verified::new(Function::parse(function).map_err(invalid)?).map_err(invalid)?;
        let arguments = Arguments::new(&[]).map_err(invalid)?;
        let instance = verified.instance(arguments).map_err(invalid)?;
        let (memory, mut compiler) = (self.memory()?, self.compiler()?);
        let placed = match compiler.compile(&instance, &STUB, 0, &|_| None) {
            Ok(compiled) => place(memory, compiled.bytes)
                .and_then(|block| Ok((block, compiled.tables(instance.body())?))),
            Err(error) => Err(in_function(name, error)),
        };
        self.recycle(compiler);
        let (block, tables) = placed?;
        Ok(RegisteredCode::new(block, self.registry.as_ref(), &[tables], &|_| name.as_bytes())?)
    }

    fn needs_lines(&self) -> bool {
        self.registry.as_ref().is_some_and(|registry| registry.needs_lines())
    }

    fn memory(&self) -> Result<&CodeMemory, ExecError> {
        self.memory.try_call_once(|| CodeMemory::new(CodeMemoryOptions::default()))
    }

    fn compiler(&self) -> Result<Box<NativeOptimizingCompiler>, AllocError> {
        let idle = self.idle.lock().pop();
        idle.map_or_else(|| try_box(NativeOptimizingCompiler::new()), Ok)
    }

    fn recycle(&self, compiler: Box<NativeOptimizingCompiler>) {
        let mut idle = self.idle.lock();
        if idle.len() < MAX_IDLE {
            // Without memory it is dropped.
            let _ = try_push(&mut idle, compiler);
        }
    }
}

/// Copies code without relocations into executable memory.
fn place(memory: &CodeMemory, code: &[u8]) -> Result<ExecutableBlock, BackendError> {
    let mut block = memory.allocate_with(Request::new(code.len()).aligned_to(ALIGN))?;
    for (place, byte) in block.as_mut_slice().iter_mut().zip(code) {
        *place = *byte;
    }
    Ok(block.publish()?)
}

impl Backend for NativeBackend {
    fn name(&self) -> &'static str {
        "native"
    }

    fn registry(&self) -> Option<SharedRegistry> {
        self.registry.clone()
    }

    fn code_memory(&self) -> Option<CodeMemory> {
        self.memory.get().cloned()
    }

    fn compile(
        &self,
        unit: &Unit,
        level: Level,
        symbol: &mut dyn FnMut(&[u8]) -> Option<u64>,
    ) -> Result<CompiledUnit, BackendError> {
        let all = unit.functions();
        let inlines = level > Level::Local && all.iter().any(UnitFunction::has_callees);
        let callees = if inlines { unit.instances()? } else { Vec::new() };
        let mut compiler = self.compiler()?;
        let (has_tables, source_map) = (self.registry.is_some(), self.needs_lines());
        let mut code = UnitCode { has_tables, source_map, ..UnitCode::default() };
        try_reserve(&mut code.starts, all.len())?;
        try_reserve(&mut code.tables, if has_tables { all.len() } else { 0 })?;
        let registry = self.registry.as_ref().map(|registry| &***registry);
        let done = all.iter().enumerate().try_for_each(|(index, function)| {
            let _span = PhaseSpan::enter(registry, Phase::Compile, function.name().as_bytes());
            code.add(&mut compiler, (function, index), &callees, level, &mut *symbol)
        });
        self.recycle(compiler);
        done?;
        code.place(self, unit)
    }
}

fn in_function(function: &Name, error: CodegenError) -> BackendError {
    match error {
        CodegenError::OutOfMemory | CodegenError::Ir(IrError::OutOfMemory) => AllocError.into(),
        error => BackendError::Codegen { function: function.clone(), error },
    }
}

/// The offset of a relocation in all of the code of a unit.
fn offset_in_unit(start: usize, offset: u32) -> Result<u32, BackendError> {
    let start = u32::try_from(start).ok();
    start.and_then(|start| start.checked_add(offset)).ok_or(BackendError::UnitSize)
}

/// The target of a relocation of a unit.
#[derive(Clone, Copy, Debug)]
enum Target {
    /// A function of the unit.
    Function(usize),
    Address(u64),
}

/// Stubs are called by address.
const STUB: Options = Options { landing_pad: true, ..Options::DEFAULT };

/// The code of a unit before it is placed.
#[derive(Debug, Default)]
struct UnitCode {
    bytes: Vec<u8>,
    align: usize,
    /// The offset of each function.
    starts: Vec<usize>,
    /// The tables of each function, if there is a registry.
    tables: Vec<FunctionTables>,
    has_tables: bool,
    /// Whether lines are recorded.
    source_map: bool,
    /// Relocations with offsets in all of the code, the caller, and the target.
    relocations: Vec<(Relocation, usize, Target)>,
}

impl UnitCode {
    /// Compiles a function, appends its code and finds the targets of its relocations.
    fn add(
        &mut self,
        compiler: &mut NativeOptimizingCompiler,
        (function, index): (&UnitFunction, usize),
        callees: &[FunctionInstance<'_, '_>],
        level: Level,
        symbol: &mut dyn FnMut(&[u8]) -> Option<u64>,
    ) -> Result<(), BackendError> {
        let failed = |error: CodegenError| in_function(function.name(), error);
        let lookup =
            |number: u32| callees.get(usize::try_from(number).ok()?).map(FunctionInstance::body);
        let instance = function.instance();
        let instance = instance.as_ref().map_err(|&error| failed(error.into()))?;
        let own_function = u32::try_from(index).ok();
        // Without locations, lines would be the offsets of instructions in a function without a text.
        let source_map = self.source_map && instance.body().locations().len() != 0;
        // The stub by which other units call it jumps to its address.
        let options = Options { own_function, source_map, landing_pad: true, ..Options::DEFAULT };
        let compiled =
            compiler.compile(instance, &options, level as u8, &lookup).map_err(failed)?;
        let align = usize::try_from(compiled.align).unwrap_or(ALIGN).max(ALIGN);
        self.align = self.align.max(align);
        let start = self.bytes.len().next_multiple_of(align);
        try_resize(&mut self.bytes, start, 0xcc)?;
        try_reserve(&mut self.bytes, compiled.bytes.len())?;
        self.bytes.extend_from_slice(compiled.bytes);
        try_push(&mut self.starts, start)?;
        if self.has_tables {
            try_push(&mut self.tables, compiled.tables(instance.body())?.at(start))?;
        }
        for relocation in compiled.relocations {
            let target = target(function, instance, relocation.target, symbol)?;
            let offset = offset_in_unit(start, relocation.offset)?;
            let relocation = Relocation { offset, ..*relocation };
            try_push(&mut self.relocations, (relocation, index, target))?;
        }
        Ok(())
    }

    /// Places the code.
    fn place(&self, backend: &NativeBackend, unit: &Unit) -> Result<CompiledUnit, BackendError> {
        let all = unit.functions();
        if self.bytes.is_empty() {
            let code = try_box(())?;
            return Ok(CompiledUnit { addresses: Vec::new(), bytes: 0, code });
        }
        let mut fixups = try_with_capacity(self.relocations.len())?;
        for (relocation, _, target) in &self.relocations {
            let target = match *target {
                Target::Function(callee) => {
                    FixupTarget::Code(self.starts.get(callee).map_or(0, |start| *start as u64))
                }
                Target::Address(address) => FixupTarget::Address(address),
            };
            let Relocation { offset, kind, addend, .. } = *relocation;
            fixups.push(Fixup { offset, kind, target, addend });
        }
        let failed = |(index, error): (usize, FixupError)| {
            let caller = self.relocations.get(index).and_then(|(_, caller, _)| all.get(*caller));
            match (error, caller) {
                (FixupError::OutOfMemory(error), _) => error.into(),
                (FixupError::Overflow { target, .. }, Some(caller)) => {
                    BackendError::OutOfReach { function: caller.name().clone(), target }
                }
                _ => BackendError::Defect("a relocation that does not apply to the code"),
            }
        };
        let arch = host_arch();
        let plan = FixupPlan::new(arch, self.bytes.len(), fixups.iter()).map_err(failed)?;
        let request = Request::new(plan.size).aligned_to(self.align);
        let mut block = backend.memory()?.allocate_with(request)?;
        let base = block.address() as u64;
        let memory = block.as_mut_slice();
        for (place, byte) in memory.iter_mut().zip(&self.bytes) {
            *place = *byte;
        }
        plan.fill(arch, base, memory).map_err(|error| failed((0, error)))?;
        for (index, fixup) in fixups.iter().enumerate() {
            plan.apply(arch, base, fixup, memory).map_err(|error| failed((index, error)))?;
        }
        let addresses = try_collect(self.starts.iter().map(|start| base + *start as u64))?;
        let registry = backend.registry.as_ref();
        let name =
            |index: usize| all.get(index).map_or(&[][..], |function| function.name().as_bytes());
        let code = RegisteredCode::new(block.publish()?, registry, &self.tables, &name)?;
        Ok(CompiledUnit { addresses, bytes: plan.size, code: try_box(code)? })
    }
}

/// The target of a relocation in `instance`, the code of `function`.
fn target(
    function: &UnitFunction,
    instance: &FunctionInstance<'_, '_>,
    number: u32,
    symbol: &mut dyn FnMut(&[u8]) -> Option<u64>,
) -> Result<Target, BackendError> {
    if number == TRAP_HOOK {
        return Ok(Target::Address(trap_hook as *const () as usize as u64));
    }
    let callee = instance.body().callee(u16::try_from(number).unwrap_or(u16::MAX));
    let callee = callee.map_err(|error| in_function(function.name(), error.into()))?;
    match callee.kind {
        CalleeKind::Function(index) => {
            Ok(Target::Function(usize::try_from(index).unwrap_or(usize::MAX)))
        }
        CalleeKind::Host => {
            let name = callee.name.as_bytes();
            match symbol(name) {
                Some(address) => Ok(Target::Address(address)),
                None => Err(BackendError::Undefined {
                    function: function.name().clone(),
                    symbol: Name::new(name)?,
                }),
            }
        }
        CalleeKind::Instance | CalleeKind::Indirect => Err(BackendError::Template {
            function: function.name().clone(),
            template: Name::new(callee.name.as_bytes())?,
        }),
    }
}

#[cfg(test)]
mod tests {
    use std::string::ToString;

    use super::*;

    #[test]
    fn function_that_is_invalid_is_named() {
        let name = Name::new(b"f:stub").unwrap();
        let error = NativeBackend::default().compile_one(&name, b"no function").err().unwrap();
        assert!(error.to_string().starts_with("function `f:stub`: "), "{error}");
    }

    #[test]
    fn unit_of_more_than_4_gib_is_refused_as_such() {
        assert_eq!(offset_in_unit(0xffff_0000, 0xffff), Ok(u32::MAX));
        for (start, offset) in [(0xffff_0000, 0x1_0000), (1 << 32, 0)] {
            assert_eq!(offset_in_unit(start, offset), Err(BackendError::UnitSize));
        }
    }
}
