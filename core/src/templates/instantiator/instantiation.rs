//! The compilation of one instance: claim, compile, publish, and record.

use core::sync::atomic::Ordering;

use super::environment::{CompileEnvironment, InstanceRequest};
use super::{JitConfig, JitInstantiator};
use crate::alloc_util::TryArc;
use crate::codegen::registry::{Phase, PhaseSpan, register_named};
use crate::link::{Name, host_arch};
use crate::memory::lock::wait_long;
use crate::memory::thread_id;
use crate::templates::code_cache;
use crate::templates::compiler::{
    CachePolicy, CompileError, CompileRequest, Compiled, Compiler, Environment,
};
use crate::templates::error::{InstantiateError, InstantiateErrorKind, Result, UpdateError};
use crate::templates::instance::{Instance, InstanceData};
use crate::templates::jobs::{Claim, Job, Limits, NoteUpdate, NoteUpdates};
use crate::templates::module::{Module, TemplateRef};
use crate::templates::module_index::ModuleRow;
use crate::templates::publish::publish;
use crate::types::{MAX_ARGUMENTS, Type, TypeError};

impl JitInstantiator {
    /// Compiles the instance that a row or `request` describes, or waits until another thread has.
    pub(super) fn instantiate(
        &self,
        symbol: &[u8],
        request: Option<InstanceRequest<'_>>,
    ) -> Result<Instance> {
        let (thread, owner) = (thread_id(), self.owner());
        loop {
            let known = self.instances.len();
            if let Some(instance) = self.find(symbol) {
                return Ok(instance);
            }
            let (claim, row) = {
                let mut state = self.state();
                // Another thread may have compiled it since the lookup, for which the lock must not be held.
                if self.instances.len() != known {
                    continue;
                }
                let row = state.modules.find(symbol, owner);
                if row.is_none() && request.is_none() {
                    return Err(InstantiateError::not_found(symbol));
                }
                let JitConfig { max_depth, max_instances, .. } = self.config;
                let instances = &|| self.instances.count_current();
                let limits = Limits { max_depth, max_instances, instances };
                (state.jobs.claim((thread, owner), symbol, limits)?, row)
            };
            match claim {
                Claim::Done(error) => return Err(error),
                Claim::Wait(job) => {
                    wait_long(|| job.done.load(Ordering::Acquire).then_some(()));
                    self.state().jobs.end_wait(thread);
                }
                Claim::Build(symbol, job) => {
                    let job = Instantiation {
                        jit: self,
                        thread,
                        owner,
                        symbol,
                        job,
                        row,
                        cached_in: None,
                        has_ended: false,
                    };
                    return job.run(request);
                }
            }
        }
    }
}

/// A job of this thread.
struct Instantiation<'j> {
    jit: &'j JitInstantiator,
    thread: i32,
    owner: u64,
    symbol: Name,
    job: TryArc<Job>,
    /// The row that lists the instance.
    row: Option<ModuleRow>,
    /// The module whose file caches the code.
    cached_in: Option<TryArc<Module>>,
    has_ended: bool,
}

impl Instantiation<'_> {
    /// Compiles and publishes the instance, wakes waiting threads, and records it in the module's note.
    fn run(mut self, request: Option<InstanceRequest<'_>>) -> Result<Instance> {
        let jit = self.jit;
        jit.log(format_args!("compiling {}", self.symbol));
        let symbol = self.symbol.clone();
        let span = PhaseSpan::enter(jit.registry(), Phase::Instantiate, &symbol);
        let compiled = self.compile(request).and_then(|instance| {
            jit.instances.insert(instance.clone())?;
            Ok(instance)
        });
        drop(span);
        match &compiled {
            Ok(instance) => jit.log(format_args!("compiled {instance:?}")),
            Err(error) => jit.log(format_args!("{error}")),
        }
        let updated = self.end(compiled.as_ref());
        let instance = compiled?;
        match updated {
            Ok(()) => Ok(instance),
            Err(error) => Err(InstantiateError::UpdateFailed { instance, error }),
        }
    }

    fn failed(&self, kind: InstantiateErrorKind) -> InstantiateError {
        InstantiateError::failed(self.symbol.clone(), None, kind)
    }

    /// Ends the job. Applies the updates of all jobs of this thread if it is the last one.
    fn end(
        &mut self,
        compiled: core::result::Result<&Instance, &InstantiateError>,
    ) -> Result<(), UpdateError> {
        self.has_ended = true;
        let updates = compiled.map_or_else(|_| NoteUpdates::new(), |made| self.updates(made));
        let (failure, by) = (compiled.err(), (self.thread, self.owner));
        let updates = self.jit.state().jobs.finish(by, &self.symbol, failure, updates);
        self.job.done.store(true, Ordering::Release);
        let is_listed = self.row.is_some() || !self.jit.config.update_smf;
        if let Some(observer) =
            self.jit.observer.as_ref().filter(|_| failure.is_none() && !is_listed)
        {
            observer.unrecorded(&self.symbol);
        }
        self.jit.apply(&updates)
    }

    fn updates(&mut self, made: &Instance) -> NoteUpdates {
        let row = self.row.as_ref().filter(|of| !of.row.is_instantiated);
        let row = row.map(|of| NoteUpdate { module: of.module.clone(), made: Some(made.clone()) });
        let cached_in = self.cached_in.take().map(|module| NoteUpdate { module, made: None });
        row.into_iter().chain(cached_in).collect()
    }

    fn compile(&mut self, request: Option<InstanceRequest<'_>>) -> Result<Instance> {
        let Some(ModuleRow { module, row }) = self.row.clone() else {
            let not_found = || InstantiateError::NotFound { symbol: self.symbol.clone() };
            let (template, arguments) = request.ok_or_else(not_found)?;
            return self.compile_with(template, arguments);
        };
        if row.conflicting_line != 0 {
            let (line, other) = (row.line, row.conflicting_line);
            return Err(self.failed(InstantiateErrorKind::Ambiguous { line, other }));
        }
        let arguments = Type::parse_arguments(module.text(row.arguments));
        let arguments = arguments.map_err(|error| match error {
            TypeError::OutOfMemory(error) => self.failed(error.into()),
            error => self.failed(InstantiateErrorKind::Arguments(error)),
        })?;
        self.compile_with(module.text(row.template).as_bytes(), &arguments)
    }

    fn compile_with(&mut self, template: &[u8], arguments: &[Type]) -> Result<Instance> {
        let module = self.module_of(template);
        let found = module.as_ref().and_then(|module| Some((module, module.template(template)?)));
        let Some((module, found)) = found else {
            let template = Name::new(template)?;
            return Err(self.failed(InstantiateErrorKind::NoTemplate { template }));
        };
        let compiler = self
            .check_limits(module, arguments)
            .and_then(|()| self.compiler(template, &found, arguments))
            .map_err(|kind| self.failed(kind))?;
        let requester = self.jit.requester(&self.symbol, module, found.body, arguments);
        let requester = requester.map_err(|kind| self.failed(kind))?;
        let request = CompileRequest {
            symbol: &self.symbol,
            template,
            kind: found.kind,
            parameters: found.parameters,
            body: found.body,
            section: module.section(),
            requester: requester.as_ref().map_or(&[], |module| module.section()),
            arguments,
            arch: host_arch(),
        };
        let policy = compiler.cache_policy();
        // The code depends on declarations that the file lacks.
        let policy = policy.filter(|_| self.jit.config.keep_code && requester.is_none());
        if let Some(policy) = policy
            && let Some(cached) = self.load_cached(module, &request, (compiler, policy))
        {
            return cached;
        }
        let environment = CompileEnvironment::new(self.jit, &self.symbol, module);
        let mut environment = environment.map_err(|error| self.failed(error.into()))?;
        let compiled = {
            let _span = PhaseSpan::enter(self.jit.registry(), Phase::Compile, template);
            compiler.compile(&request, &mut environment)
        };
        let compiled = match compiled {
            Ok(compiled) => compiled,
            Err(error) => return Err(environment.into_error(error)),
        };
        let record =
            policy.and_then(|policy| environment.encode_record(&request, &compiled, policy));
        let instance = self
            .publish(&compiled, environment, compiler.is_source())
            .map_err(|kind| self.failed(kind))?;
        module.source.instances.fetch_add(1, Ordering::Relaxed);
        if record.is_some_and(|record| module.note.add_record(record)) {
            self.cached_in = Some(module.clone());
        }
        Ok(instance)
    }

    fn check_limits(
        &self,
        module: &Module,
        arguments: &[Type],
    ) -> Result<(), InstantiateErrorKind> {
        let JitConfig { max_module_instances, max_nesting, .. } = self.jit.config;
        let depth = arguments.iter().map(|ty| ty.size().1).max().unwrap_or(0);
        if depth > max_nesting {
            return Err(InstantiateErrorKind::Nesting { depth, limit: max_nesting });
        }
        if module.source.instances.load(Ordering::Relaxed) >= max_module_instances {
            let (module, limit) = (Name::new(&module.note.path)?, max_module_instances);
            return Err(InstantiateErrorKind::ModuleInstances { module, limit });
        }
        Ok(())
    }

    /// The compiler of a template, whose parameters must match the arguments.
    fn compiler(
        &self,
        template: &[u8],
        found: &TemplateRef<'_>,
        arguments: &[Type],
    ) -> Result<&dyn Compiler, InstantiateErrorKind> {
        let name = || Name::new(template);
        if let Some(parameters) = found.parameters {
            if usize::from(parameters) > MAX_ARGUMENTS {
                let template = name()?;
                return Err(InstantiateErrorKind::TooManyParameters { template, parameters });
            }
            let arguments = arguments.len();
            if usize::from(parameters) != arguments {
                let template = name()?;
                return Err(InstantiateErrorKind::Parameters { template, parameters, arguments });
            }
        }
        match self.jit.compiler(found.body) {
            Some(compiler) => Ok(compiler),
            None => Err(InstantiateErrorKind::NoCompiler { template: name()? }),
        }
    }

    /// The instance with valid code from the code cache of the template's module; `None` if there is none.
    ///
    /// # Errors
    /// A required instance cannot be compiled.
    fn load_cached(
        &self,
        module: &Module,
        request: &CompileRequest<'_>,
        (compiler, policy): (&dyn Compiler, CachePolicy),
    ) -> Option<Result<Instance>> {
        let mut is_stale = false;
        for code in module.cached(request.symbol) {
            is_stale = true;
            if !code_cache::is_valid(&code, request, policy) {
                continue;
            }
            let Ok(mut environment) = CompileEnvironment::new(self.jit, &self.symbol, module)
            else {
                continue;
            };
            match code_cache::link(&code, &mut environment) {
                Ok(compiled) => {
                    if let Ok(instance) = self.publish(&compiled, environment, compiler.is_source())
                    {
                        module.source.instances.fetch_add(1, Ordering::Relaxed);
                        self.jit.cache_hits.fetch_add(1, Ordering::Relaxed);
                        self.jit.log(format_args!("{}: cached code", self.symbol));
                        return Some(Ok(instance));
                    }
                }
                Err(CompileError::Needs) => {
                    return Some(Err(environment.into_error(CompileError::Needs)));
                }
                Err(_) => {}
            }
        }
        if is_stale {
            self.jit.cache_stale.fetch_add(1, Ordering::Relaxed);
        }
        None
    }

    /// Publishes code and registers it with the observer.
    fn publish(
        &self,
        compiled: &Compiled,
        environment: CompileEnvironment<'_>,
        is_source: bool,
    ) -> Result<Instance, InstantiateErrorKind> {
        let (size, limit) = (compiled.code.len(), self.jit.config.max_code);
        if size > limit {
            return Err(InstantiateErrorKind::CodeLimit { size, limit });
        }
        let address = |target| environment.address(target);
        let block = publish(&self.jit.memory, host_arch(), compiled, address)?;
        let range = block.address()..block.address() + block.len();
        let CompileEnvironment { signature, tables, dependencies, .. } = environment;
        let (mut registration, mut made) = (None, None);
        if let Some(observer) = &self.jit.observer {
            registration = register_named(&**observer, range.clone(), &self.symbol, &tables)?;
            made = observer.made(&self.symbol, range)?;
        }
        let (symbol, code_len) = (self.symbol.clone(), compiled.code.len());
        let _registrations = [made, registration];
        let data = InstanceData {
            symbol,
            _registrations,
            block,
            code_len,
            signature,
            is_source,
            dependencies,
        };
        Ok(Instance(TryArc::new(data)?))
    }

    /// The module that has the template: that of the row, or else the first one.
    fn module_of(&self, template: &[u8]) -> Option<TryArc<Module>> {
        let has = |module: &&TryArc<Module>| module.template(template).is_some();
        let own = self.row.as_ref().map(|of| &of.module).filter(has).cloned();
        own.or_else(|| self.jit.state().modules.of(self.owner).find(has).cloned())
    }
}

impl Drop for Instantiation<'_> {
    /// Ends the job of a compiler that has panicked, so that no thread waits for it.
    fn drop(&mut self) {
        if !self.has_ended {
            let abandoned = self.failed(InstantiateErrorKind::Abandoned);
            // A panic is propagating: there is no caller for an update error.
            let _ = self.end(Err(&abandoned));
        }
    }
}
