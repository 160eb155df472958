//! An instance in the making: from a wish to code that runs, and to a module that is told.

mod needs;

use core::cell::OnceCell;
use core::sync::atomic::Ordering;

use super::{JitInstantiator, JitResult};
use crate::alloc_util::TryArc;
use crate::link::{ShortName, host_arch};
use crate::templates::code_cache::{self, CachePolicy};
use crate::templates::compiler::{CompileError, Compiled, Environment, Request};
use crate::templates::error::{InstantiateError, UpdateError};
use crate::templates::instance_table::Instance;
use crate::templates::module::Module;
use crate::templates::publish::publish;
use crate::templates::state::{Entry, Job, NoteUpdate, NoteUpdates, Symbol};
use crate::types::{MAX_ARGUMENTS, Type, TypeError};
use needs::Needs;

/// An instance that no row speaks of.
pub(super) struct InstanceRequest<'g> {
    template: &'g [u8],
    arguments: &'g [Type],
}

/// An instance in the making, which this thread makes.
pub(super) struct Instantiation<'j> {
    jit: &'j JitInstantiator,
    thread: i32,
    symbol: Symbol,
    job: TryArc<Job>,
    entry: Option<Entry>,
    /// The module that keeps its code from now on.
    keeper: OnceCell<TryArc<Module>>,
    ended: bool,
}

impl<'j> Instantiation<'j> {
    pub(super) fn new(
        jit: &'j JitInstantiator,
        thread: i32,
        (symbol, job): (Symbol, TryArc<Job>),
        entry: Option<Entry>,
    ) -> Self {
        Self { jit, thread, symbol, job, entry, keeper: OnceCell::new(), ended: false }
    }

    /// Makes it, has it found, lets those go on who wait for it, and tells its module.
    pub(super) fn run(mut self, given: Option<&InstanceRequest<'_>>) -> JitResult {
        self.jit.say(format_args!("making {}", self.symbol.escape_ascii()));
        let made = match self.compile(given) {
            Ok(instance) if self.jit.made.add(instance.clone()) => Ok(instance),
            Ok(_) => Err(self.failure(InstantiateError::OutOfMemory)),
            Err(failure) => Err(failure),
        };
        match &made {
            Ok(instance) => self.jit.say(format_args!("made {instance:?}")),
            Err(failure) => self.jit.say(format_args!("{failure}")),
        }
        let told = self.end(made.as_ref().err());
        match (made, told) {
            (Ok(instance), Ok(())) => JitResult::Success(instance),
            (Ok(instance), Err(error)) => JitResult::UpdateFailed { instance, error },
            (Err(failure), _) => failure,
        }
    }

    fn failure(&self, error: InstantiateError) -> JitResult {
        let symbol = self.symbol.clone();
        JitResult::failed(symbol, None, error)
    }

    /// Lets those who wait go on. When this thread makes nothing any more, modules are told.
    fn end(&mut self, failure: Option<&JitResult>) -> Result<(), UpdateError> {
        self.ended = true;
        let told = if failure.is_none() { self.told() } else { NoteUpdates::new() };
        let made = self.jit.state().finish(self.thread, &self.symbol, failure, told);
        self.job.done.store(true, Ordering::Release);
        self.jit.tell(&made)
    }

    /// Who is to be told that it was made.
    fn told(&mut self) -> NoteUpdates {
        let row = self.entry.as_ref().filter(|entry| !entry.row.is_told);
        let row = row.map(|entry| NoteUpdate {
            module: entry.module.clone(),
            symbol: Some(self.symbol.clone()),
        });
        let keeper = self.keeper.take().map(|module| NoteUpdate { module, symbol: None });
        row.into_iter().chain(keeper).collect()
    }

    fn compile(&self, given: Option<&InstanceRequest<'_>>) -> Result<Instance, JitResult> {
        let fail = |error| self.failure(error);
        match (&self.entry, given) {
            (Some(Entry { module, row }), _) => {
                if row.clash != 0 {
                    let (line, other) = (row.line, row.clash);
                    return Err(fail(InstantiateError::Ambiguous { line, other }));
                }
                let arguments = Type::parse_arguments(module.row_arguments(row));
                let arguments = arguments.map_err(|error| match error {
                    TypeError::OutOfMemory => fail(InstantiateError::OutOfMemory),
                    error => fail(InstantiateError::Arguments(error)),
                })?;
                self.compile_with(module.row_template(row).as_bytes(), &arguments)
            }
            (None, Some(given)) => self.compile_with(given.template, given.arguments),
            (None, None) => Err(JitResult::NotFound { symbol: self.symbol.clone() }),
        }
    }

    fn compile_with(&self, template: &[u8], arguments: &[Type]) -> Result<Instance, JitResult> {
        let fail = |error| self.failure(error);
        let name = || ShortName::new(template);
        let none = || fail(InstantiateError::NoTemplate { template: name() });
        let module = self.module_of(template).ok_or_else(none)?;
        let found = module.template(template).ok_or_else(none)?;
        if let Some(parameters) = found.parameters {
            check_count(template, parameters, arguments.len()).map_err(fail)?;
        }
        let no_compiler = || fail(InstantiateError::NoCompiler { template: name() });
        let compiler = self.jit.compiler(found.body).ok_or_else(no_compiler)?;
        let request = Request {
            symbol: &self.symbol,
            template,
            kind: found.kind,
            parameters: found.parameters,
            body: found.body,
            arguments,
            arch: host_arch(),
        };
        let keep = compiler.keeps().filter(|_| self.jit.config.keep_code);
        if let Some(kept) = keep.and_then(|keep| self.take(&module, &request, keep)) {
            return kept;
        }
        let mut needs = Needs::of(self);
        let compiled = match compiler.compile(&request, &mut needs) {
            Ok(compiled) => compiled,
            Err(error) => return Err(needs.failure_of(error)),
        };
        let record = keep.and_then(|keep| needs.record(&request, &compiled, keep));
        let instance = self.publish(&compiled, needs).map_err(fail)?;
        if record.is_some_and(|record| module.add_record(record)) {
            // It is compiled once.
            let _ = self.keeper.set(module);
        }
        Ok(instance)
    }

    /// The instance with the code that the file of the template's module keeps, if it keeps any that is
    /// what would be compiled now. An error is of something that it needs, which compiling would need as
    /// well.
    fn take(
        &self,
        module: &Module,
        request: &Request<'_>,
        keep: CachePolicy,
    ) -> Option<Result<Instance, JitResult>> {
        let JitInstantiator { kept, stale, .. } = self.jit;
        let mut any = false;
        for code in module.kept(request.symbol) {
            any = true;
            if !code_cache::fits(&code, request, keep) {
                continue;
            }
            let mut needs = Needs::of(self);
            match code_cache::link(&code, &mut needs) {
                Ok(compiled) => {
                    if let Ok(instance) = self.publish(&compiled, needs) {
                        kept.fetch_add(1, Ordering::Relaxed);
                        self.jit.say(format_args!("{} was kept", request.symbol.escape_ascii()));
                        return Some(Ok(instance));
                    }
                }
                Err(CompileError::Needs) => {
                    return Some(Err(needs.failure_of(CompileError::Needs)));
                }
                Err(_) => {}
            }
        }
        if any {
            stale.fetch_add(1, Ordering::Relaxed);
        }
        None
    }

    /// Has code run.
    fn publish(
        &self,
        compiled: &Compiled,
        needs: Needs<'_, '_>,
    ) -> Result<Instance, InstantiateError> {
        let memory = &self.jit.memory;
        let block = publish(memory, host_arch(), compiled, |target| needs.address(target))?;
        let code = block.address()..block.address() + block.len();
        let observer = self.jit.observer.as_ref();
        let attached = observer.map_or(Ok(None), |observer| observer.made(&self.symbol, code))?;
        let (symbol, interface) = (self.symbol.clone(), needs.interface);
        Ok(Instance::new(symbol, block, compiled.code.len(), interface, attached)?)
    }

    /// The module that has the template: that of the row if it does, else the first.
    fn module_of(&self, template: &[u8]) -> Option<TryArc<Module>> {
        let own = self.entry.as_ref().map(|entry| entry.module.clone());
        let has = |module: &&TryArc<Module>| module.template(template).is_some();
        own.filter(|module| has(&module))
            .or_else(|| self.jit.state().modules().iter().find(has).cloned())
    }
}

impl Drop for Instantiation<'_> {
    /// A compiler that panics leaves nobody waiting.
    fn drop(&mut self) {
        if !self.ended {
            let abandoned = self.failure(InstantiateError::Abandoned);
            // Nobody is left to hear of it.
            let _ = self.end(Some(&abandoned));
        }
    }
}

fn check_count(template: &[u8], parameters: u8, arguments: usize) -> Result<(), InstantiateError> {
    let name = || ShortName::new(template);
    if usize::from(parameters) > MAX_ARGUMENTS {
        return Err(InstantiateError::TooManyParameters { template: name(), parameters });
    }
    if usize::from(parameters) != arguments {
        return Err(InstantiateError::Parameters { template: name(), parameters, arguments });
    }
    Ok(())
}
