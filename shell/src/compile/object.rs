//! The code of a module: functions one behind another, with the relocations that the loader has to apply.

use smf_core::codegen::aarch64::Aarch64;
use smf_core::codegen::unwind::encode_rows;
use smf_core::codegen::x64::X64;
use smf_core::codegen::{CodegenError, CompiledFunction, OptimizingCompiler, Options, TRAP_HOOK};
use smf_core::format::{Arch, RelocKind};
use smf_core::ir::{Arguments, CalleeKind, Function, FunctionInstance, IrError, VerifiedTemplate};
use smf_core::link;
use smf_core::source::{FunctionDefinition, TranslationUnit};

use super::error::{CompileError, CompileOptions, Result};
use crate::tools::Line;

/// The alignment of functions, in bytes.
const ALIGN: u32 = 16;

/// A compiled function.
#[derive(Debug)]
pub(super) struct CompiledCode {
    /// The offset of its first byte.
    pub(super) start: u32,
    /// Bytes of instructions and data.
    pub(super) size: u32,
    /// Bytes of instructions.
    pub(super) code_size: u32,
    /// Call frame instructions.
    pub(super) frames: Vec<u8>,
    /// By offset in all of the code.
    pub(super) lines: Vec<Line>,
}

/// What a relocation refers to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// A function of the unit.
    Function(usize),
    Import(Box<[u8]>),
}

/// A relocation of the code.
#[derive(Debug)]
pub(super) struct CodeReloc {
    pub(super) offset: u32,
    pub(super) kind: RelocKind,
    pub(super) target: Target,
    pub(super) addend: i64,
}

/// The code of a module.
#[derive(Debug)]
pub(super) struct Code {
    pub(super) bytes: Vec<u8>,
    pub(super) align: u64,
    pub(super) functions: Vec<CompiledCode>,
    pub(super) relocs: Vec<CodeReloc>,
}

/// The code generators.
enum Generator {
    X64(Box<OptimizingCompiler<X64>>),
    Aarch64(Box<OptimizingCompiler<Aarch64>>),
}

impl Generator {
    fn new(arch: Arch) -> Result<Self> {
        match arch {
            Arch::X86_64 => Ok(Self::X64(Box::default())),
            Arch::AARCH64 => Ok(Self::Aarch64(Box::default())),
            other => Err(CompileError::Arch(other)),
        }
    }

    fn generate(
        &mut self,
        instance: &FunctionInstance<'_, '_>,
        options: &Options,
        level: u8,
        bodies: &[Function<'_>],
    ) -> Result<CompiledFunction<'_>, CodegenError> {
        let lookup = |number: u32| bodies.get(usize::try_from(number).ok()?);
        match self {
            Self::X64(compiler) => compiler.compile(instance, options, level, &lookup),
            Self::Aarch64(compiler) => compiler.compile(instance, options, level, &lookup),
        }
    }
}

impl Code {
    /// Compiles the functions of a unit.
    pub(super) fn generate(unit: &TranslationUnit, options: &CompileOptions<'_>) -> Result<Self> {
        let mut generator = Generator::new(options.arch)?;
        let verified = unit.functions.iter().map(|function| {
            VerifiedTemplate::new(function.ir()).map_err(|error| invalid(function, error))
        });
        let verified: Vec<VerifiedTemplate> = verified.collect::<Result<_>>()?;
        let mut instances = Vec::with_capacity(verified.len());
        for (function, template) in unit.functions.iter().zip(&verified) {
            let none = Arguments::new(&[]).map_err(|error| invalid(function, error))?;
            instances.push(template.instance(none).map_err(|error| invalid(function, error))?);
        }
        let bodies: Vec<Function<'_>> = instances.iter().map(|i| *i.body()).collect();
        let (bytes, align) = (Vec::new(), ALIGN.into());
        let mut code = Self { bytes, align, functions: Vec::new(), relocs: Vec::new() };
        for (index, (function, instance)) in unit.functions.iter().zip(&instances).enumerate() {
            let level = options.level;
            let options = Options {
                own_function: u32::try_from(index).ok(),
                landing_pad: true,
                source_map: options.debug_directory.is_some(),
                ..Options::default()
            };
            let compiled = generator.generate(instance, &options, level, &bodies);
            let compiled = compiled.map_err(|error| failed(function, error))?;
            code.add(function, instance, &compiled)?;
        }
        code.resolve(options.arch, unit)?;
        Ok(code)
    }

    /// Appends the code of a function.
    fn add(
        &mut self,
        function: &FunctionDefinition,
        instance: &FunctionInstance<'_, '_>,
        compiled: &CompiledFunction<'_>,
    ) -> Result<()> {
        let align = compiled.align.max(ALIGN);
        self.align = self.align.max(align.into());
        let too_large = || failed(function, IrError::OutOfMemory.into());
        let align = usize::try_from(align).map_err(|_| too_large())?;
        self.bytes.resize(self.bytes.len().next_multiple_of(align), 0xcc);
        let start = u32::try_from(self.bytes.len()).map_err(|_| too_large())?;
        let size = u32::try_from(compiled.bytes.len()).map_err(|_| too_large())?;
        start.checked_add(size).ok_or_else(too_large)?;
        self.bytes.extend_from_slice(compiled.bytes);
        for reloc in compiled.relocations {
            let target = target(function, instance, reloc.target)?;
            let offset = start + reloc.offset;
            self.relocs.push(CodeReloc { offset, kind: reloc.kind, target, addend: reloc.addend });
        }
        // With source locations, the place of an instruction is its line.
        let lines = compiled
            .source_map
            .iter()
            .map(|entry| Line { address: (start + entry.offset).into(), line: entry.line });
        let frames = encode_rows(&compiled.unwind_machine, compiled.unwind)?;
        let (code_size, lines) = (compiled.code_size, lines.collect());
        self.functions.push(CompiledCode { start, size, code_size, frames, lines });
        Ok(())
    }

    /// Applies the relocations whose value does not depend on where the code lies.
    fn resolve(&mut self, arch: Arch, unit: &TranslationUnit) -> Result<()> {
        let relocs = std::mem::take(&mut self.relocs);
        for reloc in relocs {
            let distance = match &reloc.target {
                Target::Function(index) => self
                    .functions
                    .get(*index)
                    .map(|callee| i64::from(callee.start) + reloc.addend - i64::from(reloc.offset)),
                Target::Import(_) => None,
            };
            let is_resolved = match (arch, reloc.kind, distance) {
                (_, RelocKind::Pc32 | RelocKind::Plt32, Some(distance)) => {
                    let value = i32::try_from(distance).ok();
                    self.put(reloc.offset, value.map(i32::to_le_bytes))
                }
                (Arch::AARCH64, RelocKind::Arm64Branch26, Some(distance)) => {
                    let branch = self.branch26(reloc.offset, distance);
                    self.put(reloc.offset, branch.map(u32::to_le_bytes))
                }
                _ => {
                    self.relocs.push(reloc);
                    continue;
                }
            };
            if !is_resolved {
                let inside = |f: &&CompiledCode| f.start <= reloc.offset;
                let caller = self.functions.iter().filter(inside).count().checked_sub(1);
                let caller = caller.and_then(|caller| unit.functions.get(caller));
                let function = caller.map(|f| f.symbol.clone()).unwrap_or_default();
                return Err(CompileError::OutOfReach { function });
            }
        }
        Ok(())
    }

    fn put(&mut self, offset: u32, bytes: Option<[u8; 4]>) -> bool {
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        let place = self.bytes.get_mut(start..).and_then(<[u8]>::first_chunk_mut::<4>);
        match (place, bytes) {
            (Some(place), Some(bytes)) => {
                *place = bytes;
                true
            }
            _ => false,
        }
    }

    /// The branch at an offset, with its distance; `None` if that does not fit.
    fn branch26(&self, offset: u32, distance: i64) -> Option<u32> {
        let start = usize::try_from(offset).ok()?;
        let old = u32::from_le_bytes(*self.bytes.get(start..)?.first_chunk()?);
        let words = i32::try_from(distance >> 2)
            .ok()
            .filter(|words| distance & 3 == 0 && (-(1 << 25)..1 << 25).contains(words))?;
        Some(old & 0xfc00_0000 | words.cast_unsigned() & 0x03ff_ffff)
    }
}

fn invalid(function: &FunctionDefinition, error: IrError) -> CompileError {
    CompileError::Ir { function: function.symbol.clone(), error }
}

fn failed(function: &FunctionDefinition, error: CodegenError) -> CompileError {
    CompileError::Codegen { function: function.symbol.clone(), error }
}

/// What a relocation of a function refers to.
fn target(
    function: &FunctionDefinition,
    instance: &FunctionInstance<'_, '_>,
    number: u32,
) -> Result<Target> {
    if number == TRAP_HOOK {
        return Ok(Target::Import(link::TRAP_HOOK.into()));
    }
    let callee = instance.body().callee(u16::try_from(number).unwrap_or(u16::MAX));
    let callee = callee.map_err(|error| invalid(function, error))?;
    match callee.kind {
        CalleeKind::Function(index) => {
            Ok(Target::Function(usize::try_from(index).unwrap_or(usize::MAX)))
        }
        CalleeKind::Host => Ok(Target::Import(callee.name.as_bytes().into())),
        CalleeKind::Instance | CalleeKind::Indirect => Err(CompileError::Template {
            function: function.symbol.clone(),
            template: callee.name.to_owned(),
        }),
    }
}
