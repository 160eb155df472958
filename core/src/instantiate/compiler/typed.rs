//! Templates whose body is [typed](crate::jit::typed): compiled here, for x86-64.
//!
//! A body is verified when it is met for the first time, and what was learnt of it is kept beside a copy
//! of its bytes, so that the next instance of the same template costs but the compiling.
//!
//! A trap in the code jumps to the symbol [`TRAP_SYMBOL`]; [`lower`](crate::jit::typed::lower) says what
//! is expected of it. Whoever asks for an instance of a body that can trap has to provide it.

use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;

use spin::Mutex;

use super::{CodeReloc, CompileError, Compiled, Compiler, Environment, Request, Target};
use crate::format::Arch;
use crate::instantiate::types::{MAX_DEPTH, MAX_NODES, Type};
use crate::jit::typed::lower::{self, TRAP_HOOK};
use crate::jit::typed::{
    Argument, Arguments, Callee, CalleeKind, Instance, Scalar, Type as CodeType, TypeEntry,
    VerifiedTemplate, is_body,
};

/// The symbol of the function that traps jump to.
pub const TRAP_SYMBOL: &str = "smf_jit_trap";

/// How many templates are kept verified; the one that was met first goes first.
const KEPT: usize = 64;

/// Takes typed bodies.
#[derive(Debug, Default)]
pub struct TypedBodies {
    templates: Mutex<Vec<Arc<VerifiedTemplate>>>,
    /// Compilers that nobody uses at the moment, with the room that they have grown to.
    idle: Mutex<Vec<lower::Compiler>>,
}

impl TypedBodies {
    /// A compiler that has seen no template.
    pub fn new() -> Self {
        Self::default()
    }

    fn verified(&self, body: &[u8]) -> Result<Arc<VerifiedTemplate>, CompileError> {
        let kept = |templates: &[Arc<VerifiedTemplate>]| {
            templates.iter().rev().find(|template| template.bytes() == body).cloned()
        };
        if let Some(template) = kept(&self.templates.lock()) {
            return Ok(template);
        }
        let template = Arc::new(VerifiedTemplate::new(body).map_err(CompileError::because)?);
        let mut templates = self.templates.lock();
        if templates.len() >= KEPT {
            templates.remove(0);
        }
        templates.push(template.clone());
        Ok(template)
    }
}

impl Compiler for TypedBodies {
    fn recognizes(&self, body: &[u8]) -> bool {
        is_body(body)
    }

    fn compile(
        &self,
        request: &Request<'_>,
        environment: &mut dyn Environment,
    ) -> Result<Compiled, CompileError> {
        if request.arch != Arch::X86_64 {
            return Err(CompileError::because("typed bodies are compiled for x86_64 alone"));
        }
        let template = self.verified(request.body)?;
        let given: Vec<Argument> = request.arguments.iter().map(argument).collect();
        let arguments = Arguments::new(&given).map_err(CompileError::because)?;
        let instance = template.instance(arguments).map_err(CompileError::because)?;
        let idle = self.idle.lock().pop();
        let mut compiler = idle.unwrap_or_default();
        let compiled = link(&mut compiler, &instance, request, environment);
        self.idle.lock().push(compiler);
        compiled
    }
}

/// Compiles, and asks for what the code refers to.
fn link(
    compiler: &mut lower::Compiler,
    instance: &Instance<'_, '_>,
    request: &Request<'_>,
    environment: &mut dyn Environment,
) -> Result<Compiled, CompileError> {
    let made = compiler.compile(instance).map_err(CompileError::because)?;
    let mut compiled = Compiled { code: made.bytes.to_vec(), relocations: Vec::new() };
    compiled.relocations.reserve_exact(made.relocations.len());
    let mut trap = None;
    let mut callees = vec![None; usize::from(instance.body().callee_count())];
    for relocation in made.relocations {
        let index = usize::try_from(relocation.target).unwrap_or(usize::MAX);
        let slot =
            if relocation.target == TRAP_HOOK { Some(&mut trap) } else { callees.get_mut(index) };
        let slot = slot.ok_or(CompileError::because("a relocation without a target"))?;
        let target = match *slot {
            Some(target) => target,
            None if relocation.target == TRAP_HOOK => environment.symbol(TRAP_SYMBOL.as_bytes())?,
            None => ask(relocation.target, instance, request, environment)?,
        };
        *slot = Some(target);
        let (offset, kind, addend) = (relocation.offset, relocation.kind, relocation.addend);
        compiled.relocations.push(CodeReloc { offset, kind, target, addend });
    }
    Ok(compiled)
}

/// Where callee `index` is.
fn ask(
    index: u32,
    instance: &Instance<'_, '_>,
    request: &Request<'_>,
    environment: &mut dyn Environment,
) -> Result<Target, CompileError> {
    let index = u16::try_from(index).unwrap_or(u16::MAX);
    let callee = instance.body().callee(index).map_err(CompileError::because)?;
    let name = callee.name.as_bytes();
    if callee.kind == CalleeKind::Host || callee.arity == 0 {
        return environment.symbol(name);
    }
    let types = types(&callee, request.arguments)?;
    environment.instance(name, &types)
}

/// What a type is to the code.
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

/// The type arguments of a callee, where `own` are those of the caller.
fn types(callee: &Callee<'_>, own: &[Type]) -> Result<Vec<Type>, CompileError> {
    let large = CompileError::because("a type argument of a callee is larger than types may be");
    // A type with a name waits here until its own arguments are there.
    let mut open: Vec<(&str, usize, Vec<Type>)> = Vec::new();
    let mut done = Vec::new();
    let mut nodes = 0;
    for entry in callee.types() {
        let ty = match entry {
            TypeEntry::Named { name, arity: 0 } => Type::of_word(name),
            TypeEntry::Named { name, arity } => {
                open.push((name, arity.into(), Vec::new()));
                nodes += 1;
                if open.len() >= MAX_DEPTH || nodes > MAX_NODES {
                    return Err(large);
                }
                continue;
            }
            TypeEntry::Type(CodeType::Scalar(Scalar::Pointer)) => Type::Pointer,
            TypeEntry::Type(CodeType::Scalar(scalar)) => Type::of_word(scalar.name()),
            TypeEntry::Type(CodeType::Parameter(index)) => {
                own.get(usize::from(index)).cloned().ok_or(large)?
            }
        };
        let (more, depth) = ty.size();
        nodes += more;
        if open.len() + depth > MAX_DEPTH || nodes > MAX_NODES {
            return Err(large);
        }
        // What is complete goes to what waits for it, and may complete that.
        let mut complete = Some(ty);
        while let Some((name, arity, mut args)) = open.pop() {
            args.extend(complete.take());
            if args.len() < arity {
                open.push((name, arity, args));
                break;
            }
            complete = Some(Type::Named { name: name.into(), args });
        }
        done.extend(complete);
    }
    Ok(done)
}

#[cfg(test)]
mod tests {
    use std::string::{String, ToString};

    use super::*;
    use crate::jit::typed::text::parse;

    /// Says what was asked for.
    #[derive(Default)]
    struct Asked(Vec<String>);

    impl Asked {
        fn add(&mut self, what: String) -> Target {
            self.0.push(what);
            Target(u32::try_from(self.0.len()).unwrap())
        }
    }

    impl Environment for Asked {
        fn instance(&mut self, name: &[u8], types: &[Type]) -> Result<Target, CompileError> {
            let types: Vec<String> = types.iter().map(ToString::to_string).collect();
            let name = core::str::from_utf8(name).unwrap();
            Ok(self.add(std::format!("{name}<{}>", types.join("; "))))
        }

        fn symbol(&mut self, symbol: &[u8]) -> Result<Target, CompileError> {
            Ok(self.add(core::str::from_utf8(symbol).unwrap().to_string()))
        }

        fn address(&self, _: Target) -> Option<u64> {
            None
        }
    }

    fn compile(text: &str, arguments: &[Type]) -> Result<(Compiled, Vec<String>), CompileError> {
        let body = parse(text).unwrap().remove(0).body;
        let request = Request {
            symbol: b"fn$t",
            template: b"t",
            kind: None,
            parameters: None,
            body: &body,
            arguments,
            arch: Arch::X86_64,
        };
        let (compiler, mut asked) = (TypedBodies::new(), Asked::default());
        assert!(compiler.recognizes(&body) && !compiler.recognizes(b"MACH"));
        let compiled = compiler.compile(&request, &mut asked)?;
        let again = compiler.compile(&request, &mut Asked::default())?;
        assert_eq!(again, compiled);
        assert_eq!((compiler.templates.lock().len(), compiler.idle.lock().len()), (1, 1));
        Ok((compiled, asked.0))
    }

    #[test]
    fn asks_once_for_each_thing_that_the_code_refers_to() {
        let text = "template t<T, U>(a: T, p: ptr) -> T
            call a = f<Pair<T, Vec<U>>, i64>(a)
            call a = f<Pair<T, Vec<U>>, i64>(a)
            call a = g<ptr, A<B<T>, T>, text>(a)
            call_host free(p)
            div T a, a, a
            rem T a, a, a
            return T a
            end";
        let list = Type::Named { name: "List".into(), args: vec![Type::F64] };
        let (compiled, asked) = compile(text, &[Type::I64, list]).unwrap();
        let expected = [
            "f<Pair<i64, Vec<List<f64>>>; i64>",
            "g<ptr; A<B<i64>, i64>; text>",
            "free",
            TRAP_SYMBOL,
        ];
        assert_eq!(asked, expected);
        let targets: Vec<u32> = compiled.relocations.iter().map(|r| r.target.0).collect();
        assert_eq!(targets, [1, 1, 2, 3, 4, 4]);
    }

    #[test]
    fn says_why_there_is_no_code() {
        let text = "template t<T>(a: T) -> T\nand T a, a, 1\nreturn T a\nend";
        assert!(compile(text, &[Type::Bool]).is_ok());
        for arguments in [&[Type::F64][..], &[], &[Type::Text], &[Type::I64, Type::I64]] {
            assert!(matches!(compile(text, arguments), Err(CompileError::Because(_))));
        }
        let deep = std::format!("{}i8{}", "A<".repeat(40), ">".repeat(40));
        let text = std::format!("template t<T>()\ncall f<{deep}>()\nreturn_none\nend");
        assert!(matches!(compile(&text, &[Type::I64]), Err(CompileError::Because(_))));
    }
}
