//! Template bodies in source text.
//!
//! Two forms are compiled: [`SourceTemplate`], which `smf compile` writes, and the [records](TemplateRecord) of the
//! Simple compiler, whose texts become a function. The [front end](crate::source) makes the instance and the functions that it
//! calls besides; all of them become one piece of code that begins with the instance.
//!
//! A source template that has IR is compiled from its IR for scalar type arguments, if they have the numbers and the
//! operations that it needs; otherwise from its text.
//!
//! Parameters and results follow the [calling convention](crate::source#calling-convention) of the front end, so that
//! structs, tuples and fixed arrays can be passed. Functions that the text declares as `extern fn` are requested from
//! the environment. The signature is that of [`IrBodies`].

use alloc::string::String;
use alloc::vec::Vec;

use super::compiler::{
    CachePolicy, CodeReloc, CompileError, CompileRequest, Compiled, Compiler, Environment, Result,
    Target,
};
use super::cpu_features::CpuFeatures;
use super::ir_bodies::{self, IrBodies, encode_signature};
use super::record_source;
use crate::alloc_util::{
    AllocError, try_copy_str, try_push, try_push_str, try_reserve, try_resize, try_with_capacity,
};
use crate::codegen::code::Relocation;
use crate::codegen::lowering::Machine;
use crate::codegen::{Aarch64Compiler, Compiler as CodeGenerator, Options, TRAP_HOOK, X64Compiler};
use crate::format::Arch;
use crate::format::ext::source_template::{NewSourceTemplate, SourceTemplate, is_source_template};
use crate::format::template::TemplateKind;
use crate::format::template_record::TemplateRecord;
use crate::format::write::WriteError;
use crate::ir::{
    Arguments, CalleeKind, Function, FunctionInstance, Instruction, Scalar, ValueType, Verified,
};
use crate::memory::lock::Lock;
use crate::source::{self, SourceFile, Template, TranslationUnit, TypeParam};
use crate::trap::trap_hook;
use crate::types::Type;

/// The version of the front end and the code generator, for cached code.
const VERSION: u32 = ir_bodies::CODEGEN_VERSION ^ 0x5350_4c05;

/// The alignment of the functions of an instance, in bytes.
const ALIGN: usize = 16;

/// The maximum number of idle code generators, about the number of threads that compile concurrently.
const MAX_IDLE: usize = 4;

/// The compiler of [source templates](SourceTemplate), for x86-64 and aarch64.
#[derive(Debug, Default)]
pub struct SourceBodies {
    ir: IrBodies,
    units: Units,
}

impl SourceBodies {
    /// A compiler.
    pub fn new() -> Self {
        Self::default()
    }
}

impl Compiler for SourceBodies {
    fn recognizes(&self, body: &[u8]) -> bool {
        is_source_template(body)
    }

    fn is_generic(&self) -> bool {
        true
    }

    fn is_source(&self) -> bool {
        true
    }

    fn cache_policy(&self) -> Option<CachePolicy> {
        Some(CachePolicy { compiler: VERSION, features: CpuFeatures::NONE })
    }

    fn compile(
        &self,
        request: &CompileRequest<'_>,
        environment: &mut dyn Environment,
    ) -> Result<Compiled> {
        let body = SourceTemplate::parse(request.body);
        let body = body.ok_or_else(|| CompileError::because("its body is damaged"))?;
        if !body.ir.is_empty() && has_literals(body.ir, request.arguments) {
            let from_ir = CompileRequest { body: body.ir, ..*request };
            match self.ir.compile(&from_ir, environment) {
                // The IR needs an operation that the types do not have: the front end explains it.
                Err(CompileError::Because(_)) => {}
                // Templates that call each other: the front end makes the instances of all of them.
                Err(CompileError::Needs) if environment.is_circular() => {}
                done => return done,
            }
        }
        let name = name_of(request)?;
        let mut text = try_copy_str(body.text)?;
        let sections = [&[][..], request.requester];
        let indentation = record_source::Indentation::Common;
        record_source::add_declarations(&mut text, name, sections, request.arguments, indentation)?;
        let unit = instantiate(&text, name, name, request.arguments)?;
        self.units.compile(&unit, request, environment)
    }
}

/// The compiler of function [records](TemplateRecord) of the Simple compiler. Declarations that the texts refer to are
/// found in the records of the [section](CompileRequest::section). Its code is not cached, because it depends on them.
#[derive(Debug, Default)]
pub struct RecordBodies {
    units: Units,
}

impl RecordBodies {
    /// A compiler.
    pub fn new() -> Self {
        Self::default()
    }
}

impl Compiler for RecordBodies {
    fn recognizes(&self, body: &[u8]) -> bool {
        TemplateKind::ALL.iter().any(|&kind| TemplateRecord::parse(kind, body).is_some())
    }

    fn is_generic(&self) -> bool {
        true
    }

    fn is_source(&self) -> bool {
        true
    }

    fn compile(
        &self,
        request: &CompileRequest<'_>,
        environment: &mut dyn Environment,
    ) -> Result<Compiled> {
        let kind = request.kind.unwrap_or(TemplateKind::Function);
        let record = TemplateRecord::parse(kind, request.body);
        let record = record.ok_or_else(|| CompileError::because("its record is damaged"))?;
        if kind != TemplateKind::Function {
            let kind = kind.name();
            return Err(CompileError::because(format_args!("it is a {kind}, which has no code")));
        }
        if record.body.is_empty() {
            return Err(CompileError::because("its record has no body"));
        }
        let file = name_of(request)?;
        let name = record_source::function_name(&record);
        let mut first = None;
        for nesting in record_source::Indentation::ALL {
            let sections = [request.section, request.requester];
            let text = record_source::text(&record, name, nesting, sections, request.arguments)?;
            match instantiate(&text, file, name, request.arguments) {
                Ok(unit) => return self.units.compile(&unit, request, environment),
                Err(CompileError::Because(why)) => {
                    first.get_or_insert(why);
                }
                Err(error) => return Err(error),
            }
        }
        Err(first.map_or(CompileError::Needs, CompileError::Because))
    }
}

/// The body of a source template, as [`SourceBodies`] compiles it: for the template section of a module.
///
/// # Errors
/// [`WriteError`].
pub fn encode_source(template: &Template) -> Result<Vec<u8>, WriteError> {
    let name_of = |ty: &Type| spelled(ty, &template.type_params);
    let mut type_params = try_with_capacity(template.type_params.len())?;
    for param in &template.type_params {
        type_params.push(declared(param)?);
    }
    let mut params = try_with_capacity(template.params.len())?;
    for ty in &template.params {
        params.push(name_of(ty)?);
    }
    let result = template.result.as_ref().map_or(Ok(String::new()), name_of)?;
    let new = NewSourceTemplate {
        type_params: &type_params,
        params: &params,
        result: &result,
        text: &template.text,
        ir: template.ir.as_deref().unwrap_or(&[]),
    };
    new.to_vec()
}

/// Whether two bodies are source templates that differ in the names of their source files at most, such as those of a file
/// and of its copy. Their IR, which follows from the source and names the file too, is not compared.
///
/// # Errors
/// [`AllocError`].
pub fn is_same_source(one: &[u8], other: &[u8]) -> core::result::Result<bool, AllocError> {
    let Some((one, other)) = SourceTemplate::parse(one).zip(SourceTemplate::parse(other)) else {
        return Ok(false);
    };
    let is_same = one.type_params.iter().eq(other.type_params.iter())
        && one.params.iter().eq(other.params.iter())
        && one.result == other.result;
    Ok(is_same && source::is_same_text(one.text, other.text)?)
}

/// A type parameter with its bounds.
fn declared(param: &TypeParam) -> Result<String, AllocError> {
    let mut text = try_copy_str(&param.name)?;
    for (number, bound) in param.bounds.iter().enumerate() {
        try_push_str(&mut text, if number == 0 { ": " } else { " + " })?;
        try_push_str(&mut text, bound)?;
    }
    Ok(text)
}

/// A type with the names of its type parameters instead of `T0`, `T1` and so on.
fn spelled(ty: &Type, params: &[TypeParam]) -> Result<String, AllocError> {
    let ty = renamed(ty.try_clone()?, params)?;
    crate::alloc_util::try_to_string(&ty)
}

fn renamed(mut ty: Type, params: &[TypeParam]) -> Result<Type, AllocError> {
    let rename_all = |types: &mut Vec<Type>| {
        types.iter_mut().try_for_each(|part| {
            *part = renamed(core::mem::replace(part, Type::Bool), params)?;
            Ok::<_, AllocError>(())
        })
    };
    match &mut ty {
        Type::Variable(variable) => {
            let number = variable.strip_prefix('T').and_then(|digits| digits.parse().ok());
            if let Some(param) = number.and_then(|number: usize| params.get(number)) {
                *variable = try_copy_str(&param.name)?.into_boxed_str();
            }
        }
        Type::Named { args, .. } | Type::Tuple(args) => rename_all(args)?,
        Type::Function { args, result } => {
            rename_all(args)?;
            **result = renamed(core::mem::replace(result, Type::Bool), params)?;
        }
        Type::Array(elem) | Type::Simd { elem, .. } => {
            **elem = renamed(core::mem::replace(elem, Type::Bool), params)?;
        }
        _ => {}
    }
    Ok(ty)
}

fn name_of<'r>(request: &CompileRequest<'r>) -> Result<&'r str> {
    let name = core::str::from_utf8(request.template);
    name.map_err(|_| CompileError::because("its name is not UTF-8"))
}

/// Whether the type arguments are scalars, and each number of a type parameter is a value of its argument. The IR would
/// convert the others; as literals of the source they are errors.
fn has_literals(ir: &[u8], arguments: &[Type]) -> bool {
    let is_value = |number: i32, parameter: u8| {
        let ty = arguments.get(usize::from(parameter)).and_then(ir_bodies::scalar_of);
        ty.is_some_and(|ty| match ty {
            Scalar::Bool | Scalar::Pointer => false,
            _ => ty.is_float() || source::fits(number.into(), ty),
        })
    };
    let is_right = |instruction: Instruction| match (instruction.ty(), instruction.typed_number()) {
        (Some(ValueType::Parameter(parameter)), Some(number)) => is_value(number, parameter),
        _ => true,
    };
    arguments.iter().all(|ty| ir_bodies::scalar_of(ty).is_some())
        && Function::parse(ir).is_ok_and(|body| body.instructions().flatten().all(is_right))
}

/// Runs the front end. `file` is the name of the source in line tables.
fn instantiate(text: &str, file: &str, name: &str, types: &[Type]) -> Result<TranslationUnit> {
    let source = SourceFile { name: file, module: "", text };
    let compiled = source::instantiate(source, name, types)?;
    if let Some(unit) = compiled.unit {
        return Ok(unit);
    }
    let mut errors = compiled.diagnostics.iter();
    let Some(error) = errors.find(|found| found.severity == source::Severity::Error) else {
        return Err(CompileError::because("its source does not compile"));
    };
    let at = usize::try_from(error.line).unwrap_or(usize::MAX);
    // An error at the end of a block is reported behind it.
    let lines = text.lines().take(at).map(str::trim).filter(|line| !line.is_empty());
    let line = match error.source_line.trim() {
        "" => lines.last().unwrap_or(""),
        line => line,
    };
    let cut = line.char_indices().nth(40).map_or(line.len(), |(at, _)| at);
    let quoted = line.get(..cut).unwrap_or(line);
    let dots = if cut < line.len() { "..." } else { "" };
    Err(match quoted {
        "" => CompileError::because(&error.message),
        _ => CompileError::because(format_args!("`{quoted}{dots}`: {}", error.message)),
    })
}

/// Compiles units of the front end.
#[derive(Debug, Default)]
struct Units {
    idle_x64: Lock<Vec<X64Compiler>>,
    idle_aarch64: Lock<Vec<Aarch64Compiler>>,
}

impl Units {
    fn compile(
        &self,
        unit: &TranslationUnit,
        request: &CompileRequest<'_>,
        environment: &mut dyn Environment,
    ) -> Result<Compiled> {
        let mut verified = try_with_capacity(unit.functions.len())?;
        for function in &unit.functions {
            // The output of the front end, which tests and fuzzing verify.
            verified.push(Verified::trusted(Function::parse(&function.ir)?)?);
        }
        let mut instances = try_with_capacity(verified.len())?;
        for function in &verified {
            instances.push(function.instance(Arguments::new(&[])?)?);
        }
        let Some(first) = instances.first() else {
            return Err(CompileError::because("its source has no function"));
        };
        environment.declare_signature(encode_signature(first, &first.body().signature())?);
        match request.arch {
            Arch::X86_64 => compile_with(&self.idle_x64, unit, &instances, environment),
            Arch::AARCH64 => compile_with(&self.idle_aarch64, unit, &instances, environment),
            arch => Err(CompileError::because(format_args!(
                "source is compiled for x86_64 and aarch64 only, not for {arch}"
            ))),
        }
    }
}

/// Compiles the functions of a unit by an idle code generator, or a new one.
fn compile_with<M: Machine>(
    idle: &Lock<Vec<CodeGenerator<M>>>,
    unit: &TranslationUnit,
    instances: &[FunctionInstance<'_, '_>],
    environment: &mut dyn Environment,
) -> Result<Compiled> {
    let mut codegen = idle.lock().pop().unwrap_or_default();
    let mut code = UnitCode::default();
    let added = code.add_all(&mut codegen, unit, instances, environment);
    let mut idle = idle.lock();
    if idle.len() < MAX_IDLE {
        // Without memory it is dropped.
        let _ = try_push(&mut idle, codegen);
    }
    drop(idle);
    added?;
    code.link(instances, environment)
}

/// The code of a unit, whose functions follow each other.
#[derive(Default)]
struct UnitCode {
    bytes: Vec<u8>,
    /// The offset of each function.
    starts: Vec<usize>,
    /// Relocations with offsets in all of the code, and the number of the caller.
    relocations: Vec<(Relocation, usize)>,
}

impl UnitCode {
    fn add_all<M: Machine>(
        &mut self,
        codegen: &mut CodeGenerator<M>,
        unit: &TranslationUnit,
        instances: &[FunctionInstance<'_, '_>],
        environment: &mut dyn Environment,
    ) -> Result<()> {
        let needs_lines = environment.needs_lines();
        for (index, instance) in instances.iter().enumerate() {
            let own_function = u32::try_from(index).ok();
            let source_map = needs_lines && instance.body().locations().len() != 0;
            let options =
                Options { own_function, source_map, landing_pad: true, ..Options::DEFAULT };
            let compiled = codegen.compile(instance, &options)?;
            if usize::try_from(compiled.align).is_ok_and(|align| align > ALIGN) {
                return Err(CompileError::because("its read-only data is aligned too strictly"));
            }
            let start = self.bytes.len().next_multiple_of(ALIGN);
            try_resize(&mut self.bytes, start, 0xcc)?;
            try_reserve(&mut self.bytes, compiled.bytes.len())?;
            self.bytes.extend_from_slice(compiled.bytes);
            try_push(&mut self.starts, start)?;
            if environment.needs_tables() {
                // The first function is the instance.
                let name = unit.functions.get(index).filter(|_| index != 0);
                let name = name.map_or(&[][..], |function| function.symbol.as_bytes());
                let tables = compiled.tables(instance.body())?.at(start).named(name)?;
                environment.declare_tables(tables)?;
            }
            for relocation in compiled.relocations {
                let offset =
                    u32::try_from(start).ok().and_then(|at| at.checked_add(relocation.offset));
                let offset = offset.ok_or(AllocError)?;
                try_push(&mut self.relocations, (Relocation { offset, ..*relocation }, index))?;
            }
        }
        Ok(())
    }

    /// Resolves the targets of all relocations.
    fn link(
        self,
        instances: &[FunctionInstance<'_, '_>],
        environment: &mut dyn Environment,
    ) -> Result<Compiled> {
        let mut relocations = try_with_capacity(self.relocations.len())?;
        for &(Relocation { offset, kind, target, addend }, caller) in &self.relocations {
            let (target, start) = match instances.get(caller) {
                Some(caller) => self.target(caller, target, environment)?,
                None => return Err(AllocError.into()),
            };
            let addend = addend.saturating_add_unsigned(start as u64);
            relocations.push(CodeReloc { offset, kind, target, addend });
        }
        Ok(Compiled { code: self.bytes, relocations })
    }

    /// The target of a relocation in `caller`, and the offset of the callee in it.
    fn target(
        &self,
        caller: &FunctionInstance<'_, '_>,
        number: u32,
        environment: &mut dyn Environment,
    ) -> Result<(Target, usize)> {
        if number == TRAP_HOOK {
            let hook = environment.absolute(trap_hook as *const () as usize as u64)?;
            return Ok((hook, 0));
        }
        let callee = caller.body().callee(u16::try_from(number).unwrap_or(u16::MAX))?;
        if let CalleeKind::Function(index) = callee.kind {
            let start = usize::try_from(index).ok().and_then(|index| self.starts.get(index));
            return Ok((Target::OWN, start.copied().ok_or(AllocError)?));
        }
        if callee.kind != CalleeKind::Host {
            return Err(CompileError::because(format_args!(
                "the front end has not made the instance `{}`",
                callee.name
            )));
        }
        let target = environment.symbol(callee.name.as_bytes())?;
        let expected = encode_signature(caller, &callee.signature)?;
        let declared = environment.signature(target);
        if declared.is_some_and(|declared| *declared != *expected) {
            return Err(CompileError::because(format_args!(
                "it calls `{}` with types that differ from its signature",
                callee.name
            )));
        }
        Ok((target, 0))
    }
}
