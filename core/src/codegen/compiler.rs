//! The driver: from a function instance to code, one phase after another.

use alloc::vec::Vec;

use super::aarch64::Aarch64;
use super::code::{Code, Relocation, SourceLoc};
use super::error::CodegenError;
use super::frame::Frame;
use super::liveness::Liveness;
use super::lowering::{Buffers, Lowering, Machine};
use super::machine::MachineAssembler;
use super::options::{Options, TrapConvention};
use super::passes::{Lookup, PassMemory, optimize};
use super::regalloc::Allocation;
use super::registry::FunctionTables;
use super::unwind::{UnwindMachine, UnwindRow};
use super::x64::X64;
use crate::alloc_util::AllocError;
use crate::format::Arch;
use crate::ir::{Function, FunctionInstance};

/// The code of one function, until the compiler compiles the next one.
#[derive(Clone, Copy, Debug)]
pub struct CompiledFunction<'c> {
    /// Instructions, then literals and read-only data. The function begins with the first byte.
    pub bytes: &'c [u8],
    /// Bytes of instructions.
    pub code_size: u32,
    /// The alignment that the first byte needs.
    pub align: u32,
    /// What depends on addresses outside, by ascending offset.
    pub relocations: &'c [Relocation],
    /// How to find the caller's frame, by ascending offset.
    pub unwind: &'c [UnwindRow],
    /// The properties of the machine that the unwind rows depend on.
    pub unwind_machine: UnwindMachine,
    /// The instructions by ascending offset, as trap handlers see them; empty unless
    /// [asked for](Options::source_map).
    pub source_map: &'c [SourceLoc],
    /// Bytes of stack that an activation takes below its return address, with the arguments that it passes but
    /// without the return address of what it calls.
    pub frame_size: u32,
}

impl CompiledFunction<'_> {
    /// Copies what a [registry](super::registry::CodeRegistry) needs once the code is in place. The lines count in the
    /// first file that a location of `body` names.
    ///
    /// # Errors
    /// [`AllocError`].
    pub fn tables(&self, body: &Function<'_>) -> Result<FunctionTables, AllocError> {
        let file = if self.source_map.is_empty() {
            None
        } else {
            body.locations().find_map(|location| location.file)
        };
        let (machine, file) = (self.unwind_machine, file.unwrap_or_default().as_bytes());
        FunctionTables::new(machine, self.unwind, self.source_map, file, self.code_size)
    }
}

/// Generates code for one function instance after another. Its memory is reused.
#[derive(Debug)]
#[expect(private_bounds, reason = "the machines are those of this crate")]
pub struct Compiler<M: Machine> {
    asm: M::Assembler,
    liveness: Liveness,
    allocation: Allocation,
    slots: Vec<u32>,
    buffers: Buffers,
}

/// Generates code for x86-64.
pub type X64Compiler = Compiler<X64>;

/// Generates code for aarch64.
pub type Aarch64Compiler = Compiler<Aarch64>;

/// The properties of an architecture that unwind tables depend on; `None` if no code is generated for it.
pub fn unwind_machine(arch: Arch) -> Option<UnwindMachine> {
    match arch {
        Arch::X86_64 => Some(X64::UNWIND),
        Arch::AARCH64 => Some(Aarch64::UNWIND),
        _ => None,
    }
}

/// Generates code for the machine that this crate is compiled for.
#[cfg(target_arch = "x86_64")]
pub type NativeCompiler = X64Compiler;

/// Generates code for the machine that this crate is compiled for.
#[cfg(target_arch = "aarch64")]
pub type NativeCompiler = Aarch64Compiler;

/// Optimises and generates code for the machine that this crate is compiled for.
#[cfg(target_arch = "x86_64")]
pub type NativeOptimizingCompiler = OptimizingCompiler<X64>;

/// Optimises and generates code for the machine that this crate is compiled for.
#[cfg(target_arch = "aarch64")]
pub type NativeOptimizingCompiler = OptimizingCompiler<Aarch64>;

impl<M: Machine> Default for Compiler<M> {
    fn default() -> Self {
        Self {
            asm: M::Assembler::default(),
            liveness: Liveness::default(),
            allocation: Allocation::default(),
            slots: Vec::new(),
            buffers: Buffers::default(),
        }
    }
}

#[expect(private_bounds, reason = "the machines are those of this crate")]
impl<M: Machine> Compiler<M> {
    /// A compiler that has no memory yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// The architecture of the code.
    pub fn arch() -> Arch {
        M::ARCH
    }

    /// The properties of the machine for [`UnwindTable`](super::unwind::UnwindTable).
    pub fn unwind_machine() -> UnwindMachine {
        M::UNWIND
    }

    /// Generates the code of `instance` as it stands, which is level 0 of the [optimising
    /// compiler](OptimizingCompiler). No pass is linked into a program that calls only this.
    ///
    /// # Errors
    /// [`CodegenError::OutOfMemory`]; [`CodegenError::Limit`] for a function that exceeds a limit of the code generator.
    pub fn compile(
        &mut self,
        instance: &FunctionInstance<'_, '_>,
        options: &Options,
    ) -> Result<CompiledFunction<'_>, CodegenError> {
        let Self { asm, liveness, allocation, slots, buffers } = self;
        asm.clear();
        buffers.clear();
        let has_context = matches!(options.traps, TrapConvention::Context { .. });
        liveness.compute(instance, has_context)?;
        allocation.assign(instance, liveness, M::REGISTERS)?;
        let frame = Frame::plan(instance, liveness, allocation, M::REGISTERS, slots)?;
        let lower = |asm: &mut M::Assembler, buffers: &mut Buffers| {
            let mut lowering = Lowering::<M>::new(
                asm, instance, options, liveness, allocation, frame, slots, buffers,
            );
            lowering.function()
        };
        let mut code_size = lower(asm, buffers)?;
        if asm.extend_reach() {
            buffers.clear();
            code_size = lower(asm, buffers)?;
        }
        let align = (0..instance.body().data_count())
            .filter_map(|index| instance.body().data(index))
            .fold(16, |align, entry| entry.align.max(align));
        let Code { bytes, relocations } = self.asm.code()?;
        // The frame pointer, and the return address where the function saves it.
        let record = if M::UNWIND.pushes_return_address { 8 } else { 16 };
        Ok(CompiledFunction {
            bytes,
            code_size,
            align,
            relocations,
            unwind: &self.buffers.unwind,
            unwind_machine: M::UNWIND,
            source_map: &self.buffers.source_map,
            frame_size: if frame.is_needed { frame.size.saturating_add(record) } else { 0 },
        })
    }
}

/// A [`Compiler`] behind the [passes](super::passes) of an optimisation level.
#[derive(Debug)]
#[expect(private_bounds, reason = "the machines are those of this crate")]
pub struct OptimizingCompiler<M: Machine> {
    compiler: Compiler<M>,
    passes: PassMemory,
}

impl<M: Machine> Default for OptimizingCompiler<M> {
    fn default() -> Self {
        Self { compiler: Compiler::default(), passes: PassMemory::default() }
    }
}

#[expect(private_bounds, reason = "the machines are those of this crate")]
impl<M: Machine> OptimizingCompiler<M> {
    /// A compiler that has no memory yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Generates the code of `instance`, a function of a program, at an optimisation level. `lookup` returns the
    /// functions of the program, which are verified, by number: small ones are inlined at level 2 and above.
    ///
    /// # Errors
    /// Those of [`Compiler::compile`].
    pub fn compile(
        &mut self,
        instance: &FunctionInstance<'_, '_>,
        options: &Options,
        level: u8,
        lookup: Lookup<'_>,
    ) -> Result<CompiledFunction<'_>, CodegenError> {
        match optimize(level, instance, lookup, &mut self.passes)? {
            Some(body) => self.compiler.compile(&instance.with_body(body), options),
            None => self.compiler.compile(instance, options),
        }
    }
}
