//! Templates whose body is typed bytecode.
//!
//! A body is verified once and kept, with its bytes, under the template's name: whoever brings other bytes
//! under that name has them verified anew. Arguments that are scalars become those of the body; any other
//! type can only be handed on to callees, and a body that does more with it is refused with the place.
//!
//! **Callees** are asked of the environment once each, after the code is there, so that a compiler that is
//! busy is no hindrance to making them. What a body says of a callee's parameters and result is compared
//! with what the callee was compiled for: [`Environment::promise`] is given a mark, the type codes of the
//! parameters and that of the result. A callee of which nothing is known (machine code of a module or of
//! the host) is trusted, as all machine code is.
//!
//! **Traps** go to [`trap_hook`], so that a call through [`trap`](crate::trap) returns
//! them as errors.

use alloc::boxed::Box;
use alloc::vec::Vec;

use hashbrown::{DefaultHashBuilder, HashMap};

use super::{CodeReloc, CompileError, Compiled, Compiler, Environment, Request, Target};
use crate::alloc_util::{
    AllocError, TryArc, try_collect, try_copy_bytes as copy_of, try_copy_str, try_push,
    try_with_capacity,
};
use crate::format::Arch;
use crate::jit::code::Relocation;
use crate::jit::typed::lower::{self, TRAP_HOOK};
use crate::jit::typed::{
    Argument, Arguments, Callee, CalleeKind, Instance, Scalar, Signature, Type as BodyType,
    TypeEntry, TypedError, VerifiedTemplate, is_body,
};
use crate::jit::x64::AssembleError;
use crate::memory::lock::Lock;
use crate::templates::code_cache::{CachePolicy, CpuFeatures};
use crate::templates::instance_table::Instance as InstanceTable;
use crate::trap::trap_hook;
use crate::types::{MAX_DEPTH, MAX_NODES, Type};

/// What the interface of an instance of a typed body begins with.
const MARK: &[u8; 4] = b"SMTB";

/// The most bodies that are kept; beyond that all are forgotten.
const MAX_KEPT: usize = 1 << 12;

/// Which code comes out, for code that is kept: another number with every change that makes other code of
/// the same body. A hash of the code of known bodies, which a test compares with this and tells the new one.
const RULES: u32 = 0x063814fe;

/// The most compilers that wait for work: as many as threads compile at once, usually.
const MAX_IDLE: usize = 4;

/// Takes bodies of [typed bytecode](crate::jit::typed), and makes code of them for x86-64.
#[derive(Debug, Default)]
pub struct TypedBodies {
    verified: Lock<HashMap<Box<[u8]>, TryArc<VerifiedTemplate>, DefaultHashBuilder>>,
    idle: Lock<Vec<lower::Compiler>>,
}

impl TypedBodies {
    /// A compiler that knows no template yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// The types that `instance` takes, and the one that it gives, if it was made of a typed body.
    pub fn signature(instance: &InstanceTable) -> Option<(Vec<Scalar>, Option<Scalar>)> {
        let (result, params) = instance.interface().strip_prefix(MARK)?.split_last()?;
        let params = params.iter().map(|&code| Scalar::from_code(code)).collect::<Option<_>>()?;
        Some((params, Scalar::from_code(*result)))
    }

    /// The body, verified now or before.
    fn verified(&self, request: &Request<'_>) -> Result<TryArc<VerifiedTemplate>, TypedError> {
        let known = self.verified.lock().get(request.template).cloned();
        if let Some(known) = known.filter(|known| known.bytes() == request.body) {
            return Ok(known);
        }
        let verified = TryArc::new(VerifiedTemplate::new(request.body)?)?;
        let mut kept = self.verified.lock();
        if kept.len() >= MAX_KEPT {
            kept.clear();
        }
        // Without memory to keep it, it is verified again another time.
        if kept.try_reserve(1).is_ok()
            && let Ok(name) = copy_of(request.template)
        {
            kept.insert(name, verified.clone());
        }
        Ok(verified)
    }

    fn give_back(&self, lowering: lower::Compiler) {
        let mut idle = self.idle.lock();
        if idle.len() < MAX_IDLE {
            // Without room for it, another one is made next time.
            let _ = try_push(&mut idle, lowering);
        }
    }
}

impl Compiler for TypedBodies {
    fn recognizes(&self, body: &[u8]) -> bool {
        is_body(body)
    }

    fn keeps(&self) -> Option<CachePolicy> {
        Some(CachePolicy { compiler: RULES, features: CpuFeatures::NONE })
    }

    fn compile(
        &self,
        request: &Request<'_>,
        environment: &mut dyn Environment,
    ) -> Result<Compiled, CompileError> {
        if request.arch != Arch::X86_64 {
            let arch = request.arch;
            return Err(CompileError::because(format_args!(
                "typed bytecode is compiled for x86_64 alone, and this machine is {arch}"
            )));
        }
        let template = self.verified(request)?;
        let instance = template.instance(arguments_of(request.arguments)?)?;
        environment.declare_signature(interface(&instance, &instance.body().signature())?);
        let mut lowering = self.idle.lock().pop().unwrap_or_default();
        let compiled = match lowering.compile(&instance) {
            Ok(code) => Link { request, instance: &instance, environment, targets: Vec::new() }
                .compiled(code.bytes, code.relocations),
            Err(error) => Err(error.into()),
        };
        self.give_back(lowering);
        compiled
    }
}

impl From<TypedError> for CompileError {
    fn from(error: TypedError) -> Self {
        match error {
            TypedError::OutOfMemory => Self::OutOfMemory,
            error => Self::because(error),
        }
    }
}

impl From<lower::LowerError> for CompileError {
    fn from(error: lower::LowerError) -> Self {
        match error {
            lower::LowerError::Typed(error) => error.into(),
            lower::LowerError::Assemble(AssembleError::AllocError { .. }) => Self::OutOfMemory,
            error => Self::because(error),
        }
    }
}

/// The arguments as a body knows them.
fn arguments_of(types: &[Type]) -> Result<Arguments, TypedError> {
    let mut arguments = [Argument::Named; crate::types::MAX_ARGUMENTS];
    for (argument, ty) in arguments.iter_mut().zip(types) {
        *argument = scalar_of(ty).map_or(Argument::Named, Argument::Scalar);
    }
    let count = u8::try_from(types.len()).unwrap_or(u8::MAX);
    let given = arguments.get(..types.len()).ok_or(TypedError::Parameters { count })?;
    Arguments::new(given)
}

/// The scalar that a type is; `None` for those that a body cannot work with.
fn scalar_of(ty: &Type) -> Option<Scalar> {
    Some(match ty {
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
        _ => return None,
    })
}

fn type_of(scalar: Scalar) -> Type {
    match scalar {
        Scalar::F32 | Scalar::F64 => {
            Type::Float { bits: if scalar == Scalar::F32 { 32 } else { 64 } }
        }
        Scalar::Bool => Type::Bool,
        Scalar::Pointer => Type::Pointer,
        _ => Type::int(scalar.size().saturating_mul(8), scalar.is_signed()),
    }
}

/// How a function with this signature is called, in terms of an instance: the mark, the codes of its
/// parameters' types, and of its result's; 0 where that is none.
fn interface(
    instance: &Instance<'_, '_>,
    signature: &Signature<'_>,
) -> Result<Box<[u8]>, AllocError> {
    let code = |code: u8| instance.scalar(code).map_or(0, Scalar::code);
    let codes = signature.params.iter().chain([&signature.result]).map(|&of| code(of));
    Ok(try_collect(MARK.iter().copied().chain(codes))?.into_boxed_slice())
}

/// Code whose callees are to be found.
struct Link<'l> {
    request: &'l Request<'l>,
    instance: &'l Instance<'l, 'l>,
    environment: &'l mut dyn Environment,
    /// By number of a callee in the body, and that of the trap hook.
    targets: Vec<(u32, Target)>,
}

impl Link<'_> {
    fn compiled(
        mut self,
        bytes: &[u8],
        relocations: &[Relocation],
    ) -> Result<Compiled, CompileError> {
        let mut found = try_with_capacity(relocations.len())?;
        for &Relocation { offset, kind, target, addend } in relocations {
            found.push(CodeReloc { offset, kind, target: self.target(target)?, addend });
        }
        Ok(Compiled { code: copy_of(bytes)?.into_vec(), relocations: found })
    }

    fn target(&mut self, number: u32) -> Result<Target, CompileError> {
        let known = self.targets.iter().find(|(known, _)| *known == number);
        if let Some((_, target)) = known {
            return Ok(*target);
        }
        let target = match number {
            TRAP_HOOK => self.environment.absolute(trap_hook as *const () as usize as u64)?,
            _ => self.callee(number)?,
        };
        try_push(&mut self.targets, (number, target))?;
        Ok(target)
    }

    fn callee(&mut self, number: u32) -> Result<Target, CompileError> {
        let number = u16::try_from(number).unwrap_or(u16::MAX);
        let callee = self.instance.body().callee(number)?;
        let target = match callee.kind {
            CalleeKind::Host => self.environment.symbol(callee.name.as_bytes())?,
            CalleeKind::Instance => {
                let arguments = self.types(&callee)?;
                self.environment.instance(callee.name.as_bytes(), &arguments)?
            }
        };
        let expected = interface(self.instance, &callee.signature)?;
        let own;
        let promised = match target {
            Target::OWN => {
                own = interface(self.instance, &self.instance.body().signature())?;
                Some(&*own)
            }
            target => self.environment.signature(target),
        };
        if promised.is_some_and(|promised| *promised != *expected) {
            return Err(CompileError::because(format_args!(
                "it calls `{}` with other types than that takes and gives",
                callee.name
            )));
        }
        Ok(target)
    }

    /// The type arguments of a callee.
    fn types(&self, callee: &Callee<'_>) -> Result<Vec<Type>, CompileError> {
        let mut entries = callee.types();
        let mut types = Vec::new();
        for _ in 0..callee.arity {
            let mut room = MAX_NODES;
            let ty = self.next_type(&mut entries, &mut room, MAX_DEPTH)?;
            let ty = ty.ok_or_else(|| {
                CompileError::because(format_args!(
                    "the type arguments of `{}`, which it calls, are larger than types may be",
                    callee.name
                ))
            })?;
            try_push(&mut types, ty)?;
        }
        Ok(types)
    }

    /// The next type, if it is made of at most `room` and has at most `depth` levels.
    fn next_type<'d>(
        &self,
        entries: &mut impl Iterator<Item = TypeEntry<'d>>,
        room: &mut usize,
        depth: usize,
    ) -> Result<Option<Type>, AllocError> {
        let Some(entry) = entries.next() else { return Ok(None) };
        let given = match entry {
            TypeEntry::Type(BodyType::Parameter(index)) => {
                self.request.arguments.get(usize::from(index))
            }
            _ => None,
        };
        let (nodes, levels) = given.map_or((1, 1), Type::size);
        let Some(left) = room.checked_sub(nodes).filter(|_| levels <= depth) else {
            return Ok(None);
        };
        *room = left;
        match entry {
            TypeEntry::Type(BodyType::Scalar(scalar)) => Ok(Some(type_of(scalar))),
            TypeEntry::Type(BodyType::Parameter(_)) => given.map(Type::try_clone).transpose(),
            TypeEntry::Named { name, arity: 0 } => Type::try_of_word(name).map(Some),
            TypeEntry::Named { name, arity } => {
                let mut args = try_with_capacity(usize::from(arity))?;
                for _ in 0..arity {
                    let Some(ty) = self.next_type(entries, room, depth - 1)? else {
                        return Ok(None);
                    };
                    args.push(ty);
                }
                Ok(Some(Type::Named { name: try_copy_str(name)?.into_boxed_str(), args }))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::string::String;

    use super::*;
    use crate::jit::typed::text::parse;
    use crate::link::ShortName;

    /// Notes what is asked for.
    #[derive(Default)]
    struct Asked {
        own: (Vec<u8>, Vec<Type>),
        targets: Vec<String>,
        promised: BTreeMap<String, Box<[u8]>>,
        interface: Box<[u8]>,
    }

    impl Asked {
        fn add(&mut self, what: String) -> Result<Target, CompileError> {
            self.targets.push(what);
            Ok(Target(self.targets.len() as u32 - 1))
        }
    }

    impl Environment for Asked {
        fn instance(&mut self, name: &[u8], types: &[Type]) -> Result<Target, CompileError> {
            if (name, types) == (&self.own.0, &self.own.1) {
                return Ok(Target::OWN);
            }
            let name = String::from_utf8(name.to_vec()).unwrap();
            self.add(std::format!("{name}<{}>", crate::templates::Spelled(types)))
        }

        fn symbol(&mut self, symbol: &[u8]) -> Result<Target, CompileError> {
            match symbol {
                b"missing" => Err(CompileError::Missing(ShortName::new(symbol))),
                _ => self.add(String::from_utf8(symbol.to_vec()).unwrap()),
            }
        }

        fn absolute(&mut self, address: u64) -> Result<Target, CompileError> {
            assert_eq!(address, trap_hook as *const () as usize as u64);
            self.add("trap".into())
        }

        fn address(&self, _: Target) -> Option<u64> {
            None
        }

        fn declare_signature(&mut self, interface: Box<[u8]>) {
            self.interface = interface;
        }

        fn signature(&self, target: Target) -> Option<&[u8]> {
            self.promised.get(&self.targets[target.0 as usize]).map(|interface| &**interface)
        }
    }

    fn compile(
        text: &str,
        arguments: &[Type],
        asked: &mut Asked,
    ) -> Result<Compiled, CompileError> {
        let body = parse(text).unwrap().remove(0).body;
        asked.own = (b"t".to_vec(), arguments.to_vec());
        let request = Request {
            symbol: b"t$x",
            template: b"t",
            kind: None,
            parameters: None,
            body: &body,
            arguments,
            arch: Arch::X86_64,
        };
        TypedBodies::new().compile(&request, asked)
    }

    fn named(name: &str, args: &[Type]) -> Type {
        Type::Named { name: name.into(), args: args.to_vec() }
    }

    const CALLS: &str = "template t<A, B>(a: A, n: i64) -> A\n\
         call f<A, Pair<B, A>, Box<text>, i128>(n, a)\ncall a = g(a)\ncall a = t<A, B>(a, n)\n\
         call_host n = host(n)\ndiv i64 n, n, n\ncall a = g(a)\nreturn A a\nend";

    #[test]
    fn callees_are_asked_for_once_in_terms_of_the_arguments() {
        let mut asked = Asked::default();
        let arguments = [Type::F64, named("Node", &[Type::I64])];
        let code = compile(CALLS, &arguments, &mut asked).unwrap();
        let pair = "f<f64, Pair<Node<i64>, f64>, Box<text>, i128>";
        assert_eq!(asked.targets, [pair, "g<>", "host", "trap"]);
        let targets: Vec<Target> = code.relocations.iter().map(|reloc| reloc.target).collect();
        let expected = [Target(0), Target(1), Target::OWN, Target(2), Target(1), Target(3)];
        assert_eq!(targets, expected);
        let [float, int] = [Scalar::F64, Scalar::I64].map(Scalar::code);
        assert_eq!(*asked.interface, [&MARK[..], &[float, int, float]].concat());
    }

    #[test]
    fn callees_that_promise_something_else_are_refused() {
        let float = Scalar::F64.code();
        for (promised, fits) in [([float, float], true), ([float, 0], false)] {
            let promised = [&MARK[..], &promised].concat().into();
            let promised = BTreeMap::from([("g<>".into(), promised)]);
            let mut asked = Asked { promised, ..Asked::default() };
            let code = compile(CALLS, &[Type::F64, Type::Text], &mut asked);
            assert_eq!(code.is_ok(), fits, "{code:?}");
        }
        // It calls itself as something that it is not.
        let text = "template t<A>(a: i64)\ncall t<A>()\nreturn_none\nend";
        let error = compile(text, &[Type::I64], &mut Asked::default()).unwrap_err();
        assert!(std::format!("{error}").contains("`t` with other types"), "{error}");
    }

    /// Whoever changes what comes out changes [`RULES`] with it: code that files keep is then compiled anew.
    #[test]
    fn code_that_is_kept_is_what_would_be_compiled() {
        use crate::format::ext::hash_index::hash;
        let programs = parse(include_str!("../../jit/typed/tests/programs.smt")).unwrap();
        let typed = TypedBodies::new();
        let mut all = Vec::new();
        for template in &programs {
            for argument in [Type::I64, Type::F64, type_of(Scalar::U8)] {
                let arguments = &std::vec![argument; usize::from(template.type_params)][..];
                let request = Request {
                    symbol: b"s",
                    template: template.name.as_bytes(),
                    kind: None,
                    parameters: None,
                    body: &template.body,
                    arguments,
                    arch: Arch::X86_64,
                };
                // Not all are for all types.
                if let Ok(code) = typed.compile(&request, &mut Asked::default()) {
                    all.extend(code.code);
                    all.extend(
                        code.relocations.iter().flat_map(|reloc| reloc.offset.to_le_bytes()),
                    );
                }
            }
        }
        let now = (hash(&all) & u64::from(u32::MAX)) as u32;
        assert_eq!(RULES, now, "other code comes out: RULES must be 0x{now:08x}");
    }

    #[test]
    fn what_has_no_meaning_is_refused() {
        let told = |text, arguments: &[Type]| {
            let error = compile(text, arguments, &mut Asked::default()).unwrap_err();
            std::format!("{error}")
        };
        let add = "template t<A>(a: A) -> A\nadd A a, a, 1\nreturn A a\nend";
        assert!(told(add, &[Type::Bool]).contains("add has no meaning for bool"));
        assert!(told(add, &[named("Node", &[])]).contains("which is no number, bool or pointer"));
        assert!(told(add, &[Type::I64, Type::I64]).contains("2"));
        assert!(told(add, &[]).contains("0"));
        let missing = "template t<A>()\ncall_host missing()\nreturn_none\nend";
        assert!(told(missing, &[Type::I64]).contains("nobody provides `missing`"));
        let twice = "template t<A>()\ncall t<Pair<A, A>>()\nreturn_none\nend";
        let mut large = Type::I64;
        for _ in 0..9 {
            large = named("Pair", &[large.clone(), large]);
        }
        assert!(told(twice, &[large]).contains("larger than types may be"));
        let mut deep = Type::I64;
        for _ in 1..MAX_DEPTH {
            deep = Type::Array(Box::new(deep));
        }
        assert!(told(twice, &[deep]).contains("larger than types may be"));
    }

    #[test]
    fn scalars_are_the_same_both_ways() {
        for scalar in Scalar::ALL {
            assert_eq!(scalar_of(&type_of(scalar)), Some(scalar));
        }
        for ty in [Type::int(128, true), Type::Float { bits: 16 }, Type::Text, named("i8", &[])] {
            assert_eq!(scalar_of(&ty), None, "{ty}");
        }
    }

    #[test]
    fn another_body_under_one_name_is_verified_anew() {
        let typed = TypedBodies::new();
        let body = |result| {
            let text = std::format!(
                "template t<A>() -> i64\nlocal n: i64\nconst i64 n, {result}\n\
                                     return i64 n\nend"
            );
            parse(&text).unwrap().remove(0).body
        };
        let compile = |body: &[u8], arch| {
            let arguments = &[Type::I64];
            let request = Request {
                symbol: b"t$i64",
                template: b"t",
                kind: None,
                parameters: None,
                body,
                arguments,
                arch,
            };
            typed.compile(&request, &mut Asked::default())
        };
        let (one, two) = (body(1), body(2));
        let first = compile(&one, Arch::X86_64).unwrap();
        assert_eq!(compile(&one, Arch::X86_64).unwrap(), first);
        assert_ne!(compile(&two, Arch::X86_64).unwrap(), first);
        assert!(compile(&two[..50], Arch::X86_64).is_err());
        let other = compile(&one, Arch::RISCV64).unwrap_err();
        assert!(std::format!("{other}").contains("x86_64 alone"), "{other}");
    }
}
