//! Template bodies in [IR](crate::ir).
//!
//! A body is verified once. The verified form is cached under the template's name and compared with the
//! body at the next use. Scalar type arguments become those of the function. Other types can only be
//! passed on to callees; a function that operates on them is refused with the offset.
//!
//! **Callees** are requested from the environment once each, after code generation, so that no compiler
//! state is borrowed while they are compiled. The call's parameter and result types must match the
//! callee's declared signature: a magic number, the type codes of the parameters, and that of the result.
//! A callee without a declared signature (machine code of a module or of the host) is trusted.
//!
//! **Traps** call [`trap_hook`], so that a call through [`trap`](crate::trap) returns an error.

use alloc::boxed::Box;
use alloc::vec::Vec;

use hashbrown::{DefaultHashBuilder, HashMap};

use super::compiler::{
    CachePolicy, CodeReloc, CompileError, CompileRequest, Compiled, Compiler, Environment, Result,
    Target,
};
use super::cpu_features::CpuFeatures;
use super::instance::Instance;
use crate::alloc_util::{
    AllocError, TryArc, try_collect, try_copy_bytes, try_copy_str, try_push, try_with_capacity,
};
use crate::codegen::aarch64::Aarch64;
use crate::codegen::code::Relocation;
use crate::codegen::lowering::Machine;
use crate::codegen::x64::X64;
use crate::codegen::{
    CodegenError, CompiledFunction, Compiler as CodeGenerator, Options, TRAP_HOOK,
};
use crate::ir::{
    Argument, Arguments, Callee, CalleeKind, FunctionInstance, IrError, MAX_TEMPLATE_DATA_ALIGN,
    Scalar, Signature, TypeEntry, ValueType, VerifiedTemplate, is_function,
};
use crate::memory::lock::Lock;
use crate::trap::trap_hook;
use crate::types::{MAX_DEPTH, MAX_NODES, Type};

/// The magic number of a signature.
const MAGIC: &[u8; 4] = b"SMTB";

/// The maximum number of cached verified templates. A full cache is cleared.
const MAX_VERIFIED: usize = 1 << 12;

/// The version of the generated code: a hash of the code of sample functions, which a test checks.
pub(super) const CODEGEN_VERSION: u32 = 0x643d_be31;

/// The maximum number of idle code generators, about the number of threads that compile concurrently.
const MAX_IDLE: usize = 4;

/// The compiler of bodies in [IR](crate::ir) for one machine.
#[derive(Debug)]
#[expect(private_bounds, reason = "the machines are those of this crate")]
pub struct MachineBodies<M: Machine> {
    verified: Lock<HashMap<Box<[u8]>, TryArc<VerifiedTemplate>, DefaultHashBuilder>>,
    idle: Lock<Vec<CodeGenerator<M>>>,
}

/// The compiler of bodies in [IR](crate::ir) for x86-64.
pub type X64Bodies = MachineBodies<X64>;

/// The compiler of bodies in [IR](crate::ir) for aarch64.
pub type Aarch64Bodies = MachineBodies<Aarch64>;

/// The compiler of bodies in [IR](crate::ir) for the machine that this crate is compiled for. A machine without a code
/// generator has that of another one, which refuses every body.
#[cfg(not(target_arch = "aarch64"))]
pub type IrBodies = X64Bodies;

/// The compiler of bodies in [IR](crate::ir) for the machine that this crate is compiled for.
#[cfg(target_arch = "aarch64")]
pub type IrBodies = Aarch64Bodies;

impl<M: Machine> Default for MachineBodies<M> {
    fn default() -> Self {
        Self { verified: Lock::default(), idle: Lock::default() }
    }
}

#[expect(private_bounds, reason = "the machines are those of this crate")]
impl<M: Machine> MachineBodies<M> {
    /// A compiler without cached templates.
    pub fn new() -> Self {
        Self::default()
    }

    /// The parameter types and the result type of `instance`, if its body is IR.
    pub fn signature(instance: &Instance) -> Option<(Vec<Scalar>, Option<Scalar>)> {
        let (result, params) = instance.signature().strip_prefix(MAGIC)?.split_last()?;
        let params = params.iter().map(|&code| Scalar::from_code(code)).collect::<Option<_>>()?;
        Some((params, Scalar::from_code(*result)))
    }

    /// The verified template of the body, cached or new.
    fn verified(&self, request: &CompileRequest<'_>) -> Result<TryArc<VerifiedTemplate>, IrError> {
        let known = self.verified.lock().get(request.template).cloned();
        if let Some(known) = known.filter(|known| known.bytes() == request.body) {
            return Ok(known);
        }
        let verified = TryArc::new(VerifiedTemplate::new(request.body)?)?;
        let mut cached = self.verified.lock();
        if cached.len() >= MAX_VERIFIED {
            cached.clear();
        }
        // Without memory it is not cached.
        if cached.try_reserve(1).is_ok()
            && let Ok(name) = try_copy_bytes(request.template)
        {
            cached.insert(name, verified.clone());
        }
        Ok(verified)
    }

    /// Compiles an instance by an idle code generator, or a new one.
    fn compile_with(&self, link: Link<'_>) -> Result<Compiled> {
        let mut codegen = self.idle.lock().pop().unwrap_or_default();
        // Otherwise a line is the offset of an instruction in a body that has no text.
        let has_lines = link.instance.body().locations().len() != 0;
        let source_map = has_lines && link.environment.needs_lines();
        let options = Options { source_map, ..OPTIONS };
        let compiled = match codegen.compile(link.instance, &options) {
            Ok(code) => link.compiled(&code),
            Err(error) => Err(error.into()),
        };
        let mut idle = self.idle.lock();
        if idle.len() < MAX_IDLE {
            // Without memory it is dropped.
            let _ = try_push(&mut idle, codegen);
        }
        compiled
    }
}

/// Instances are called through stubs, and by address.
const OPTIONS: Options = Options { landing_pad: true, ..Options::DEFAULT };

impl<M: Machine> Compiler for MachineBodies<M> {
    fn recognizes(&self, body: &[u8]) -> bool {
        is_function(body)
    }

    fn is_generic(&self) -> bool {
        true
    }

    fn cache_policy(&self) -> Option<CachePolicy> {
        Some(CachePolicy { compiler: CODEGEN_VERSION, features: CpuFeatures::NONE })
    }

    fn compile(
        &self,
        request: &CompileRequest<'_>,
        environment: &mut dyn Environment,
    ) -> Result<Compiled> {
        let (machine, arch) = (CodeGenerator::<M>::arch(), request.arch);
        if arch != machine {
            return Err(CompileError::because(format_args!(
                "this compiler of IR generates code for {machine}, not for {arch}"
            )));
        }
        let template = self.verified(request)?;
        let instance = template.instance(arguments_of(request.arguments)?);
        let instance = instance.map_err(|error| refused(error, request.arguments))?;
        environment.declare_signature(encode_signature(&instance, &instance.body().signature())?);
        self.compile_with(Link { request, instance: &instance, environment, targets: Vec::new() })
    }
}

/// The error of an instance, with the type that is no scalar.
fn refused(error: IrError, arguments: &[Type]) -> CompileError {
    match error {
        IrError::Argument { parameter, argument: Argument::Named, .. }
            if let Some(ty) = arguments.get(usize::from(parameter)) =>
        {
            CompileError::because(format_args!("{error}: `{ty}`"))
        }
        error => error.into(),
    }
}

impl From<IrError> for CompileError {
    fn from(error: IrError) -> Self {
        match error {
            IrError::OutOfMemory => AllocError.into(),
            error => Self::because(error),
        }
    }
}

impl From<CodegenError> for CompileError {
    fn from(error: CodegenError) -> Self {
        match error {
            CodegenError::Ir(error) => error.into(),
            CodegenError::OutOfMemory => AllocError.into(),
            error => Self::because(error),
        }
    }
}

/// The type arguments as the IR represents them.
fn arguments_of(types: &[Type]) -> Result<Arguments, IrError> {
    let mut arguments = [Argument::Named; crate::types::MAX_ARGUMENTS];
    for (argument, ty) in arguments.iter_mut().zip(types) {
        *argument = scalar_of(ty).map_or(Argument::Named, Argument::Scalar);
    }
    let count = u8::try_from(types.len()).unwrap_or(u8::MAX);
    let given = arguments.get(..types.len()).ok_or(IrError::Parameters { count })?;
    Arguments::new(given)
}

/// The types that IR has operations for.
static SCALARS: [(Scalar, Type); 12] = [
    (Scalar::I8, Type::int(8, true)),
    (Scalar::I16, Type::int(16, true)),
    (Scalar::I32, Type::int(32, true)),
    (Scalar::I64, Type::int(64, true)),
    (Scalar::U8, Type::int(8, false)),
    (Scalar::U16, Type::int(16, false)),
    (Scalar::U32, Type::int(32, false)),
    (Scalar::U64, Type::int(64, false)),
    (Scalar::F32, Type::Float { bits: 32 }),
    (Scalar::F64, Type::Float { bits: 64 }),
    (Scalar::Bool, Type::Bool),
    (Scalar::Pointer, Type::Pointer),
];

/// The scalar that IR has for values of this type.
pub(super) fn scalar_of(ty: &Type) -> Option<Scalar> {
    if let Type::Named { .. } = ty {
        return ty.as_pointer().map(|_| Scalar::Pointer);
    }
    SCALARS.iter().find(|(_, known)| known == ty).map(|(scalar, _)| *scalar)
}

pub(super) fn type_of(scalar: Scalar) -> Option<&'static Type> {
    SCALARS.iter().find(|(known, _)| *known == scalar).map(|(_, ty)| ty)
}

/// The encoded signature of a function of an instance: the magic number, the type codes of the parameters, and
/// that of the result, 0 for none.
pub(super) fn encode_signature(
    instance: &FunctionInstance<'_, '_>,
    signature: &Signature<'_>,
) -> Result<Box<[u8]>, AllocError> {
    let code = |code: u8| instance.scalar(code).map_or(0, Scalar::code);
    let codes = signature.params.iter().chain([&signature.result]).map(|&of| code(of));
    Ok(try_collect(MAGIC.iter().copied().chain(codes))?.into_boxed_slice())
}

/// Resolves the callees of compiled code.
struct Link<'l> {
    request: &'l CompileRequest<'l>,
    instance: &'l FunctionInstance<'l, 'l>,
    environment: &'l mut dyn Environment,
    /// By callee number, or the number of the trap hook.
    targets: Vec<(u32, Target)>,
}

impl Link<'_> {
    fn compiled(mut self, code: &CompiledFunction<'_>) -> Result<Compiled> {
        let CompiledFunction { bytes, relocations, align, .. } = *code;
        if align > MAX_TEMPLATE_DATA_ALIGN {
            return Err(CompileError::because(format_args!(
                "its read-only data must be aligned to {align} bytes, but instances are aligned to {MAX_TEMPLATE_DATA_ALIGN}"
            )));
        }
        let mut found = try_with_capacity(relocations.len())?;
        for &Relocation { offset, kind, target, addend } in relocations {
            found.push(CodeReloc { offset, kind, target: self.target(target)?, addend });
        }
        // Last, because other code may take the place of this if a callee is refused.
        if self.environment.needs_tables() {
            self.environment.declare_tables(code.tables(self.instance.body())?)?;
        }
        Ok(Compiled { code: try_copy_bytes(bytes)?.into_vec(), relocations: found })
    }

    fn target(&mut self, number: u32) -> Result<Target> {
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

    fn callee(&mut self, number: u32) -> Result<Target> {
        let number = u16::try_from(number).unwrap_or(u16::MAX);
        let callee = self.instance.body().callee(number)?;
        let target = match callee.kind {
            CalleeKind::Host => self.environment.symbol(callee.name.as_bytes())?,
            CalleeKind::Instance => {
                let arguments = self.types(&callee)?;
                self.environment.instance(callee.name.as_bytes(), &arguments)?
            }
            CalleeKind::Function(index) => {
                return Err(CompileError::because(format_args!(
                    "it calls function {index} of a program, which a template has not"
                )));
            }
            CalleeKind::Indirect => {
                return Err(CompileError::because(format_args!(
                    "an indirect callee has no address of its own"
                )));
            }
        };
        let expected = encode_signature(self.instance, &callee.signature)?;
        let own;
        let declared = match target {
            Target::OWN => {
                own = encode_signature(self.instance, &self.instance.body().signature())?;
                Some(&*own)
            }
            target => self.environment.signature(target),
        };
        if declared.is_some_and(|declared| *declared != *expected) {
            return Err(CompileError::because(format_args!(
                "it calls `{}` with types that differ from its signature",
                callee.name
            )));
        }
        Ok(target)
    }

    /// The type arguments of a callee.
    fn types(&self, callee: &Callee<'_>) -> Result<Vec<Type>> {
        let mut entries = callee.types();
        let mut types = Vec::new();
        for _ in 0..callee.arity {
            let mut nodes_left = MAX_NODES;
            let ty = self.next_type(&mut entries, &mut nodes_left, MAX_DEPTH)?;
            let ty = ty.ok_or_else(|| {
                CompileError::because(format_args!(
                    "the type arguments of the callee `{}` exceed the limits of a type",
                    callee.name
                ))
            })?;
            try_push(&mut types, ty)?;
        }
        Ok(types)
    }

    /// The next type, if it has at most `nodes_left` nodes and `depth` levels.
    fn next_type<'d>(
        &self,
        entries: &mut impl Iterator<Item = TypeEntry<'d>>,
        nodes_left: &mut usize,
        depth: usize,
    ) -> Result<Option<Type>, AllocError> {
        let Some(entry) = entries.next() else { return Ok(None) };
        let given = match entry {
            TypeEntry::Type(ValueType::Parameter(index)) => {
                self.request.arguments.get(usize::from(index))
            }
            _ => None,
        };
        let (nodes, levels) = given.map_or((1, 1), Type::size);
        let Some(left) = nodes_left.checked_sub(nodes).filter(|_| levels <= depth) else {
            return Ok(None);
        };
        *nodes_left = left;
        match entry {
            TypeEntry::Type(ValueType::Scalar(scalar)) => {
                type_of(scalar).map(Type::try_clone).transpose()
            }
            TypeEntry::Type(ValueType::Parameter(_)) => given.map(Type::try_clone).transpose(),
            TypeEntry::Named { name, arity: 0 } => Type::from_word(name).map(Some),
            TypeEntry::Named { name, arity } => {
                let mut args = try_with_capacity(usize::from(arity))?;
                for _ in 0..arity {
                    let Some(ty) = self.next_type(entries, nodes_left, depth - 1)? else {
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
    use crate::codegen::registry::FunctionTables;
    use crate::format::Arch;
    use crate::ir::text::parse;
    use crate::link::Name;

    /// Records requests.
    #[derive(Default)]
    struct Asked {
        own: (Vec<u8>, Vec<Type>),
        targets: Vec<String>,
        declared: BTreeMap<String, Box<[u8]>>,
        signature: Box<[u8]>,
        /// The number of declared tables.
        tables: usize,
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
            self.add(std::format!("{name}<{}>", crate::types::TypeList(types)))
        }

        fn symbol(&mut self, symbol: &[u8]) -> Result<Target, CompileError> {
            match symbol {
                b"missing" => Err(CompileError::Missing(Name::new(symbol)?)),
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

        fn declare_signature(&mut self, signature: Box<[u8]>) {
            self.signature = signature;
        }

        fn needs_tables(&self) -> bool {
            true
        }

        fn declare_tables(&mut self, _: FunctionTables) -> Result<(), CompileError> {
            self.tables += 1;
            Ok(())
        }

        fn signature(&self, target: Target) -> Option<&[u8]> {
            self.declared.get(&self.targets[target.0 as usize]).map(|signature| &**signature)
        }
    }

    fn compile(
        text: &str,
        arguments: &[Type],
        asked: &mut Asked,
    ) -> Result<Compiled, CompileError> {
        let body = parse(text).unwrap().remove(0).body;
        asked.own = (b"t".to_vec(), arguments.to_vec());
        let request = CompileRequest {
            symbol: b"t$x",
            template: b"t",
            kind: None,
            parameters: None,
            body: &body,
            section: &[],
            requester: &[],
            arguments,
            arch: Arch::X86_64,
        };
        X64Bodies::new().compile(&request, asked)
    }

    fn named(name: &str, args: &[Type]) -> Type {
        Type::Named { name: name.into(), args: args.to_vec() }
    }

    const CALLS: &str = "template t<A, B>(a: A, n: i64) -> A\n\
         call f<A, Pair<B, A>, Box<text>, i128>(n, a)\ncall a = g(a)\ncall a = t<A, B>(a, n)\n\
         call_host n = host(n)\ndiv i64 n, n, n\ncall a = g(a)\nreturn A a\nend";

    #[test]
    fn callees_are_requested_once_with_substituted_arguments() {
        let mut asked = Asked::default();
        let arguments = [Type::F64, named("Node", &[Type::I64])];
        let code = compile(CALLS, &arguments, &mut asked).unwrap();
        let pair = "f<f64, Pair<Node<i64>, f64>, Box<text>, i128>";
        assert_eq!(asked.targets, [pair, "g<>", "host", "trap"]);
        let targets: Vec<Target> = code.relocations.iter().map(|reloc| reloc.target).collect();
        let expected = [Target(0), Target(1), Target::OWN, Target(2), Target(1), Target(3)];
        assert_eq!(targets, expected);
        let [float, int] = [Scalar::F64, Scalar::I64].map(Scalar::code);
        assert_eq!(*asked.signature, [&MAGIC[..], &[float, int, float]].concat());
    }

    #[test]
    fn callee_with_other_signature_is_refused() {
        let float = Scalar::F64.code();
        for (declared, fits) in [([float, float], true), ([float, 0], false)] {
            let declared = [&MAGIC[..], &declared].concat().into();
            let declared = BTreeMap::from([("g<>".into(), declared)]);
            let mut asked = Asked { declared, ..Asked::default() };
            let code = compile(CALLS, &[Type::F64, Type::Text], &mut asked);
            assert_eq!(code.is_ok(), fits, "{code:?}");
            // The front end may compile the text of the template instead.
            assert_eq!(asked.tables, usize::from(fits));
        }
        // A recursive call with another signature.
        let text = "template t<A>(a: i64)\ncall t<A>()\nreturn_none\nend";
        let error = compile(text, &[Type::I64], &mut Asked::default()).unwrap_err();
        assert!(std::format!("{error}").contains("`t` with types that differ"), "{error}");
    }

    /// A change of the generated code must change [`CODEGEN_VERSION`], which invalidates cached code.
    #[test]
    fn codegen_version_matches_the_generated_code() {
        use crate::format::ext::hash_index::hash;
        let programs = parse(include_str!("../ir/tests/programs.smt")).unwrap();
        let (x64, aarch64) = (X64Bodies::new(), Aarch64Bodies::new());
        let compilers: [(Arch, &dyn Compiler); 2] =
            [(Arch::X86_64, &x64), (Arch::AARCH64, &aarch64)];
        let mut all = Vec::new();
        for template in &programs {
            let types = [Type::I64, Type::F64, Type::int(8, false)];
            for (argument, (arch, compiler)) in
                types.iter().flat_map(|ty| compilers.map(|compiler| (ty.clone(), compiler)))
            {
                let arguments = &std::vec![argument; usize::from(template.type_params)][..];
                let request = CompileRequest {
                    symbol: b"s",
                    template: template.name.as_bytes(),
                    kind: None,
                    parameters: None,
                    body: &template.body,
                    section: &[],
                    requester: &[],
                    arguments,
                    arch,
                };
                // Some templates do not accept all types.
                if let Ok(code) = compiler.compile(&request, &mut Asked::default()) {
                    all.extend(code.code);
                    all.extend(
                        code.relocations.iter().flat_map(|reloc| reloc.offset.to_le_bytes()),
                    );
                }
            }
        }
        let now = (hash(&all) & u64::from(u32::MAX)) as u32;
        assert_eq!(
            CODEGEN_VERSION, now,
            "the generated code has changed: CODEGEN_VERSION must be 0x{now:08x}"
        );
    }

    #[test]
    fn invalid_operations_and_callees_are_refused() {
        let message = |text, arguments: &[Type]| {
            let error = compile(text, arguments, &mut Asked::default()).unwrap_err();
            std::format!("{error}")
        };
        let add = "template t<A>(a: A) -> A\nadd A a, a, 1\nreturn A a\nend";
        assert!(message(add, &[Type::Bool]).contains("add has no meaning for bool"));
        assert!(
            message(add, &[named("Node", &[])])
                .contains("a type that is no scalar, the argument for T0: `Node`")
        );
        assert!(message(add, &[Type::I64, Type::I64]).contains("2"));
        assert!(message(add, &[]).contains("0"));
        let missing = "template t<A>()\ncall_host missing()\nreturn_none\nend";
        assert!(message(missing, &[Type::I64]).contains("undefined symbol `missing`"));
        let twice = "template t<A>()\ncall t<Pair<A, A>>()\nreturn_none\nend";
        let mut large = Type::I64;
        for _ in 0..9 {
            large = named("Pair", &[large.clone(), large]);
        }
        assert!(message(twice, &[large]).contains("exceed the limits of a type"));
        let mut deep = Type::I64;
        for _ in 1..MAX_DEPTH {
            deep = Type::Array(Box::new(deep));
        }
        assert!(message(twice, &[deep]).contains("exceed the limits of a type"));
    }

    #[test]
    fn scalars_convert_to_types_and_back() {
        for scalar in Scalar::ALL {
            assert_eq!(scalar_of(type_of(scalar).unwrap()), Some(scalar));
        }
        for ty in [Type::int(128, true), Type::Float { bits: 16 }, Type::Text, named("i8", &[])] {
            assert_eq!(scalar_of(&ty), None, "{ty}");
        }
        assert_eq!(scalar_of(&named("ptr_const", &[Type::I64])), Some(Scalar::Pointer));
        assert_eq!(scalar_of(&named("ptr_const", &[])), None);
    }

    #[test]
    fn changed_body_of_a_template_is_verified_again() {
        let compiler = X64Bodies::new();
        let body = |result| {
            let text = std::format!(
                "template t<A>() -> i64\nlocal n: i64\nconst i64 n, {result}\n\
                                     return i64 n\nend"
            );
            parse(&text).unwrap().remove(0).body
        };
        let compile = |body: &[u8], arch| {
            let arguments = &[Type::I64];
            let request = CompileRequest {
                symbol: b"t$i64",
                template: b"t",
                kind: None,
                parameters: None,
                body,
                section: &[],
                requester: &[],
                arguments,
                arch,
            };
            compiler.compile(&request, &mut Asked::default())
        };
        let (one, two) = (body(1), body(2));
        let first = compile(&one, Arch::X86_64).unwrap();
        assert_eq!(compile(&one, Arch::X86_64).unwrap(), first);
        assert_ne!(compile(&two, Arch::X86_64).unwrap(), first);
        assert!(compile(&two[..50], Arch::X86_64).is_err());
        let other = compile(&one, Arch::RISCV64).unwrap_err();
        assert!(std::format!("{other}").contains("for x86_64, not for riscv64"), "{other}");
    }
}
