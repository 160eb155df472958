//! The [`Environment`] of a compilation: resolves relocation targets, and compiles required instances.

use alloc::boxed::Box;
use alloc::vec::Vec;

use super::JitInstantiator;
use crate::alloc_util::{AllocError, try_collect, try_copy_bytes, try_push};
use crate::codegen::registry::FunctionTables;
use crate::format::write::note_edit::LISTS_CALLS;
use crate::link::Name;
use crate::templates::code_cache::{self, TargetName};
use crate::templates::compiler::{
    CachePolicy, CompileError, CompileRequest, Compiled, Environment, Result, Target,
};
use crate::templates::error::{InstantiateError, InstantiateErrorKind};
use crate::templates::instance::{Dependencies, Import, Instance};
use crate::templates::module::Module;
use crate::templates::symbols::{FUNCTION, instance_symbols};
use crate::trap::trap_hook;
use crate::types::Type;

/// The template and the arguments of an instance that no row lists.
pub(super) type InstanceRequest<'g> = (&'g [u8], &'g [Type]);

/// The state of one compilation.
pub(super) struct CompileEnvironment<'j> {
    jit: &'j JitInstantiator,
    /// The symbol of the instance.
    symbol: &'j Name,
    /// The path of the template's module.
    module: &'j Name,
    targets: Vec<ResolvedTarget>,
    pub(super) dependencies: Dependencies,
    /// The declared signature of the code.
    pub(super) signature: Box<[u8]>,
    /// The declared unwind rows and lines of the code.
    pub(super) tables: Vec<FunctionTables>,
    /// The reason of the last [`CompileError::Needs`].
    failure: Option<InstantiateError>,
}

struct ResolvedTarget {
    address: u64,
    instance: Option<Instance>,
    /// The name for the code cache, if enabled.
    name: Option<TargetName>,
}

impl<'j> CompileEnvironment<'j> {
    pub(super) fn new(
        jit: &'j JitInstantiator,
        symbol: &'j Name,
        module: &'j Module,
    ) -> Result<Self, AllocError> {
        let sources = try_collect([module.source.clone()].into_iter())?;
        let dependencies = Dependencies { sources, ..Dependencies::default() };
        let (signature, tables) = (Box::default(), Vec::new());
        let (module, targets, failure) = (&module.note.path, Vec::new(), None);
        Ok(Self { jit, symbol, module, targets, dependencies, signature, tables, failure })
    }

    /// The code cache record of the compiled code.
    pub(super) fn encode_record(
        &self,
        request: &CompileRequest<'_>,
        compiled: &Compiled,
        policy: CachePolicy,
    ) -> Option<Vec<u8>> {
        let declared = (&*self.signature, &*self.tables);
        code_cache::encode_record(request, compiled, policy, declared, |target| {
            let resolved = self.resolved(target)?;
            let signature = resolved.instance.as_ref().map_or(&[][..], Instance::signature);
            Some((resolved.name.as_ref()?, signature))
        })
    }

    /// The error of the instance after the compiler has failed with `error`.
    pub(super) fn into_error(self, error: CompileError) -> InstantiateError {
        let (mut dependency, symbol) = (None, self.symbol.clone());
        let kind = match (error, self.failure) {
            (CompileError::Needs, Some(InstantiateError::Failed(inner))) => {
                let failed = inner.dependency.unwrap_or(inner.symbol);
                dependency = Some(failed);
                inner.kind
            }
            (CompileError::Needs, Some(failure)) => return failure,
            (CompileError::Needs, None) => InstantiateErrorKind::Abandoned,
            (CompileError::OutOfMemory(error), _) => error.into(),
            (CompileError::Missing(symbol), _) => InstantiateErrorKind::Missing { symbol },
            (CompileError::Because(reason), _) => InstantiateErrorKind::Compile(reason),
        };
        InstantiateError::failed(symbol, dependency, kind)
    }

    fn resolved(&self, target: Target) -> Option<&ResolvedTarget> {
        self.targets.get(target.number()? as usize)
    }

    fn add(&mut self, address: u64, instance: Option<Instance>) -> Result<Target> {
        let known = self.targets.iter().rposition(|target| target.address == address);
        let number = known.unwrap_or(self.targets.len());
        if known.is_none() {
            for import in instance.iter().flat_map(|instance| &instance.0.dependencies.imports) {
                self.add_import(import.clone())?;
            }
            if let Some(instance) = instance.as_ref().filter(|_| LISTS_CALLS) {
                try_push(&mut self.dependencies.calls, instance.0.symbol.clone())?;
            }
            for source in instance.iter().flat_map(|instance| &instance.0.dependencies.sources) {
                if !self.dependencies.sources.iter().any(|known| known.ptr_eq(source)) {
                    try_push(&mut self.dependencies.sources, source.clone())?;
                }
            }
            try_push(&mut self.targets, ResolvedTarget { address, instance, name: None })?;
        }
        let target = u32::try_from(number).ok().and_then(Target::of);
        target.ok_or_else(|| CompileError::because("too many relocation targets"))
    }

    fn add_import(&mut self, import: Import) -> Result<(), AllocError> {
        let is_it = |known: &Import| known.symbol == import.symbol && known.module == import.module;
        match self.dependencies.imports.iter().any(is_it) {
            true => Ok(()),
            false => try_push(&mut self.dependencies.imports, import),
        }
    }

    /// Records the name of a target if the code may be cached. Without memory the code is not cached.
    fn set_name(&mut self, target: Target, name: impl FnOnce() -> Option<TargetName>) {
        let number = target.number().filter(|_| self.jit.config.keep_code);
        if let Some(target) = number.and_then(|number| self.targets.get_mut(number as usize))
            && target.name.is_none()
        {
            target.name = name();
        }
    }

    /// The instance of a symbol, compiled if necessary; `None` if no row lists it and there is no request.
    fn find_instance(
        &mut self,
        symbol: &[u8],
        request: Option<InstanceRequest<'_>>,
    ) -> Option<Result<Target>> {
        if *symbol == **self.symbol {
            return Some(Ok(Target::OWN));
        }
        if let Some(instance) = self.jit.find(symbol) {
            return Some(self.add(instance.address(), Some(instance)));
        }
        Some(match self.jit.instantiate(symbol, request) {
            Err(InstantiateError::NotFound { .. }) => return None,
            Ok(instance) | Err(InstantiateError::UpdateFailed { instance, .. }) => {
                self.add(instance.address(), Some(instance))
            }
            Err(failure) => {
                self.failure = Some(failure);
                Err(CompileError::Needs)
            }
        })
    }

    fn resolve_instance(&mut self, template: &[u8], arguments: &[Type]) -> Result<Target> {
        let missing = || Name::in_error(template, CompileError::Missing);
        let name = core::str::from_utf8(template).map_err(|_| missing())?;
        // One that no row lists has the spelling of this instance.
        let is_prefixed = self.symbol.starts_with(FUNCTION.as_bytes());
        let symbols = instance_symbols(name, arguments, is_prefixed)?;
        for symbol in &symbols {
            if let Some(target) = self.find_instance(symbol.as_bytes(), None) {
                return target;
            }
        }
        // No row lists it, but a template is sufficient.
        let symbol = symbols.first().ok_or_else(missing)?;
        let request = Some((template, arguments));
        self.find_instance(symbol.as_bytes(), request).unwrap_or_else(|| Err(missing()))
    }

    fn resolve_symbol(&mut self, symbol: &[u8]) -> Result<Target> {
        if let Some(target) = self.find_instance(symbol, None) {
            return target;
        }
        let derived = if cfg!(feature = "source") { self.jit.derive(symbol) } else { Ok(None) };
        match derived {
            Ok(None) | Err(InstantiateError::NotFound { .. }) => {}
            Ok(Some(instance)) | Err(InstantiateError::UpdateFailed { instance, .. }) => {
                return self.add(instance.address(), Some(instance));
            }
            Err(failure) => {
                self.failure = Some(failure);
                return Err(CompileError::Needs);
            }
        }
        let resolver = self.jit.symbols.as_ref();
        let module = self.module;
        match resolver.and_then(|resolver| resolver.resolve_for(module, symbol)) {
            Some(address) => {
                let (module, symbol) = (module.clone(), Name::new(symbol)?);
                self.add_import(Import { module, symbol, address })?;
                self.add(address, None)
            }
            None => Err(CompileError::Missing(Name::new(symbol)?)),
        }
    }
}

impl Environment for CompileEnvironment<'_> {
    fn instance(&mut self, template: &[u8], arguments: &[Type]) -> Result<Target> {
        let target = self.resolve_instance(template, arguments)?;
        self.set_name(target, || TargetName::of_instance(template, arguments).ok());
        Ok(target)
    }

    fn symbol(&mut self, symbol: &[u8]) -> Result<Target> {
        let target = self.resolve_symbol(symbol)?;
        self.set_name(target, || try_copy_bytes(symbol).ok().map(TargetName::Symbol));
        Ok(target)
    }

    fn absolute(&mut self, address: u64) -> Result<Target> {
        let target = self.add(address, None)?;
        let is_hook = address == trap_hook as *const () as usize as u64;
        self.set_name(target, || is_hook.then_some(TargetName::TrapHook));
        Ok(target)
    }

    fn address(&self, target: Target) -> Option<u64> {
        self.resolved(target).map(|resolved| resolved.address)
    }

    fn is_circular(&self) -> bool {
        matches!(self.failure, Some(InstantiateError::CircularDependency { .. }))
    }

    fn declare_signature(&mut self, signature: Box<[u8]>) {
        self.signature = signature;
    }

    fn needs_lines(&self) -> bool {
        self.jit.observer.as_ref().is_some_and(|observer| observer.needs_lines())
    }

    fn declare_tables(&mut self, tables: FunctionTables) -> Result<()> {
        Ok(try_push(&mut self.tables, tables)?)
    }

    fn needs_tables(&self) -> bool {
        self.jit.observer.is_some() || self.jit.config.keep_code
    }

    fn signature(&self, target: Target) -> Option<&[u8]> {
        let instance = self.resolved(target)?.instance.as_ref()?;
        Some(instance.signature()).filter(|signature| !signature.is_empty())
    }
}
