//! Templates whose body is typed bytecode, made into x86-64 code for any arguments.
//!
//! What the body calls is made, or found, before its own code is: other instances by template and type
//! arguments, functions of the host by their symbols. That another instance takes and gives what the body
//! says of it is made sure of where that one is typed bytecode too; what comes ready made is trusted.
//!
//! A trap jumps to the symbol [`TRAP_HOOK`], which the host provides: an `extern "C" fn(code: u32, at: u32)
//! -> u64`, as [`jit::typed::lower`](crate::jit::typed::lower) describes it. A body that cannot trap does not
//! need it.

use alloc::vec::Vec;

use super::{CodeReloc, CompileError, Compiled, Compiler, Environment, Request, Target};
use crate::format::Arch;
use crate::instantiate::types::Type;
use crate::jit::typed::{
    Argument, Arguments, Body, Callee, CalleeKind, Instance, Scalar, Type as Code, TypeEntry,
    TypedError, Verified, is_body, lower,
};
use crate::link::ShortName;

/// The symbol that traps jump to.
pub const TRAP_HOOK: &str = "smf_trap_hook";

/// Takes bodies of typed bytecode.
#[derive(Clone, Copy, Debug, Default)]
pub struct TypedBytecode;

impl Compiler for TypedBytecode {
    fn recognizes(&self, body: &[u8]) -> bool {
        is_body(body)
    }

    fn compile(
        &self,
        request: &Request<'_>,
        environment: &mut dyn Environment,
    ) -> Result<Compiled, CompileError> {
        if request.arch != Arch::X86_64 {
            return Err(CompileError::because("typed bytecode is compiled for x86-64 alone"));
        }
        let verified = verify(request.body).map_err(CompileError::because)?;
        let instance = instance(&verified, request.arguments).map_err(CompileError::because)?;
        let mut compiler = lower::Compiler::new();
        let code = compiler.compile(&instance).map_err(CompileError::because)?;
        let mut callees = Vec::new();
        let mut relocations = Vec::new();
        for reloc in code.relocations {
            let target = match u16::try_from(reloc.target) {
                Err(_) => environment.symbol(TRAP_HOOK.as_bytes())?,
                Ok(number) => find(number, &mut callees, &instance, request, environment)?,
            };
            let (offset, kind, addend) = (reloc.offset, reloc.kind, reloc.addend);
            relocations.push(CodeReloc { offset, kind, target, addend });
        }
        Ok(Compiled { code: code.bytes.to_vec(), relocations })
    }
}

fn verify(body: &[u8]) -> Result<Verified<'_>, TypedError> {
    Verified::new(Body::parse(body)?)
}

fn instance<'v, 'd>(
    verified: &'v Verified<'d>,
    arguments: &[Type],
) -> Result<Instance<'v, 'd>, TypedError> {
    let arguments: Vec<_> = arguments.iter().map(argument).collect();
    verified.instance(Arguments::new(&arguments)?)
}

/// What a type is to a body.
fn argument(ty: &Type) -> Argument {
    let scalar = match ty {
        Type::Int { bits: 8, signed: true } => Scalar::I8,
        Type::Int { bits: 16, signed: true } => Scalar::I16,
        Type::Int { bits: 32, signed: true } => Scalar::I32,
        Type::Int { bits: 64, signed: true } => Scalar::I64,
        Type::Int { bits: 8, signed: false } => Scalar::U8,
        Type::Int { bits: 16, signed: false } => Scalar::U16,
        Type::Int { bits: 32, signed: false } => Scalar::U32,
        Type::Int { bits: 64, signed: false } => Scalar::U64,
        Type::Float { bits: 32 } => Scalar::F32,
        Type::Float { bits: 64 } => Scalar::F64,
        Type::Bool => Scalar::Bool,
        Type::Pointer => Scalar::Pointer,
        _ => return Argument::Named,
    };
    Argument::Scalar(scalar)
}

/// The type that a scalar is outside of bodies.
fn type_of(scalar: Scalar) -> Type {
    // Both spell scalars alike.
    Type::of_word(scalar.name())
}

/// Where a callee is; each is looked for once.
fn find(
    number: u16,
    known: &mut Vec<(u16, Target)>,
    instance: &Instance<'_, '_>,
    request: &Request<'_>,
    environment: &mut dyn Environment,
) -> Result<Target, CompileError> {
    if let Some((_, target)) = known.iter().find(|(other, _)| *other == number) {
        return Ok(*target);
    }
    let callee = instance.body().callee(number).map_err(CompileError::because)?;
    let target = match callee.kind {
        CalleeKind::Host => environment.symbol(callee.name.as_bytes())?,
        CalleeKind::Instance => {
            let arguments = types(&callee, request.arguments)?;
            check(&callee, instance, &arguments, environment)?;
            environment.instance(callee.name.as_bytes(), &arguments)?
        }
    };
    known.push((number, target));
    Ok(target)
}

/// The type arguments of a callee, in an instance made with `own`.
fn types(callee: &Callee<'_>, own: &[Type]) -> Result<Vec<Type>, CompileError> {
    let broken = CompileError::because("type arguments of a callee that the body does not have");
    let entries: Vec<_> = callee.types().collect();
    // From the last to the first, so that what belongs to a name is complete when the name comes.
    let mut stack = Vec::new();
    for entry in entries.iter().rev() {
        let ty = match *entry {
            TypeEntry::Type(Code::Scalar(scalar)) => type_of(scalar),
            TypeEntry::Type(Code::Parameter(number)) => {
                own.get(usize::from(number)).ok_or(broken)?.clone()
            }
            TypeEntry::Named { name, arity: 0 } => Type::of_word(name),
            TypeEntry::Named { name, arity } => {
                let rest = stack.len().checked_sub(usize::from(arity)).ok_or(broken)?;
                let mut args = stack.split_off(rest);
                args.reverse();
                Type::Named { name: name.into(), args }
            }
        };
        if ty.size().0 > super::super::types::MAX_NODES {
            return Err(CompileError::because("the type arguments of a callee grow too large"));
        }
        stack.push(ty);
    }
    stack.reverse();
    if stack.len() == usize::from(callee.arity) { Ok(stack) } else { Err(broken) }
}

/// Makes sure that another instance takes and gives what is said of it.
fn check(
    callee: &Callee<'_>,
    instance_of_caller: &Instance<'_, '_>,
    arguments: &[Type],
    environment: &dyn Environment,
) -> Result<(), CompileError> {
    let Some(body) = environment.template(callee.name.as_bytes()).filter(|body| is_body(body))
    else {
        return Ok(());
    };
    let verified = verify(&body).map_err(CompileError::because)?;
    let other = instance(&verified, arguments).map_err(CompileError::because)?;
    if instance_of_caller.agrees(callee, &other) {
        return Ok(());
    }
    let name = ShortName::new(callee.name.as_bytes());
    Err(CompileError::because(format_args!(
        "`{name}` takes or gives something else than it is called for"
    )))
}
