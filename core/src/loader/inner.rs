//! The loader and its state, as the steps of loading and replacing modules use it.

use alloc::boxed::Box;

use super::bytes::{LinkedModule, ModuleBytes, ParsedModule};
use super::epoch::Domains;
use super::error::Result;
use super::fallback::FallbackCalls;
use super::forward::ForwardFunctions;
use super::observer::{LoadEvent, SharedObserver};
use super::options::{Context, LoaderOptions};
use super::provider_index::ProviderIndex;
use super::resolvers::Resolvers;
use super::retired::run_destructors;
use super::state::State;
use super::version::Version;
use crate::alloc_util::{AllocError, TryArc, try_collect};
use crate::codegen::registry::{Phase, PhaseSpan};
use crate::link::{Export, Name, Resolve};
use crate::memory::PagePool;
use crate::memory::lock::{Lock, LockGuard};

/// A function that receives the name and the bytes of each module of a loader: when it is [set](ModuleLoader::set_module_sink),
/// of those that may be loaded on demand and of those that are loaded, then of each that has been parsed and will be loaded,
/// before its imports are resolved; also new versions of a module. If loading fails, it receives the bytes that the name had
/// before, `None` if it had none; except for a module without code, which may be no more than its templates. If a module is
/// unloaded, it receives those of the provider of this name, `None` without one. It must not use the loader.
pub type ModuleSink = dyn Fn(&[u8], Option<&ModuleBytes>) + Send + Sync;

/// A sink that several threads may call.
type SharedSink = TryArc<Box<ModuleSink>>;

/// A module that the [sink](ModuleSink) has received and that is being loaded. On drop the sink receives what the name has
/// then, unless the module was [kept](Self::keep).
pub(super) struct Announced<'l> {
    loader: &'l ModuleLoader,
    name: Name,
    sink: Option<SharedSink>,
    is_kept: bool,
}

impl<'l> Announced<'l> {
    pub(super) fn new(loader: &'l ModuleLoader, name: &Name, bytes: &ModuleBytes) -> Self {
        let sink = loader.sink().clone();
        if let Some(sink) = &sink {
            sink(name, Some(bytes));
        }
        Self { loader, name: name.clone(), sink, is_kept: false }
    }

    /// The module is loaded. A sink that was set meanwhile has not received it.
    pub(super) fn keep(mut self) {
        let now = self.loader.sink().clone();
        let both = self.sink.as_ref().zip(now.as_ref());
        self.is_kept = now.is_none() || both.is_some_and(|(then, now)| then.ptr_eq(now));
    }
}

impl Drop for Announced<'_> {
    fn drop(&mut self) {
        if !self.is_kept {
            self.loader.announce(&self.name);
        }
    }
}

/// A set of loaded modules. All methods may be called from any thread. See the [module documentation](super).
pub struct ModuleLoader {
    pub(super) context: Context,
    providers: Lock<ProviderIndex>,
    state: Lock<State>,
    /// Held while a sink receives what is loaded already. Threads that load a module wait for that.
    sink: Lock<Option<SharedSink>>,
    pub(super) domains: Domains,
    /// Locked after the state.
    pub(super) forward: ForwardFunctions,
    pub(super) fallback_calls: FallbackCalls,
}

impl ModuleLoader {
    pub(super) fn from_parts(
        options: LoaderOptions,
        observer: Option<SharedObserver>,
    ) -> Result<Self, AllocError> {
        let pool = TryArc::new(PagePool::new(options.kept_bytes))?;
        let domains = Domains::new(options.call_epochs);
        let context = Context { options, observer, pool };
        let (providers, state, sink) = (Lock::default(), Lock::default(), Lock::new(None));
        let (forward, fallback_calls) = (ForwardFunctions::default(), FallbackCalls::default());
        Ok(Self { context, providers, state, sink, domains, forward, fallback_calls })
    }

    pub(super) fn sink(&self) -> LockGuard<'_, Option<SharedSink>> {
        self.sink.lock()
    }

    /// The bytes of the loaded module called `name`, or else of the provider.
    pub(super) fn bytes_of(&self, name: &[u8]) -> Option<ModuleBytes> {
        let loaded = {
            let state = self.state();
            state.by_name(name).and_then(|handle| state.version(handle).ok().cloned())
        };
        if let Some(module) = loaded.as_ref().and_then(|version| version.body.linked()) {
            return Some(module.bytes().clone());
        }
        self.providers().by_name(name).map(|provider| provider.parsed.bytes().clone())
    }

    /// Passes the bytes that a name has now to the sink.
    pub(super) fn announce(&self, name: &[u8]) {
        // Locked, so that the sink receives later what the name has later.
        if let Some(sink) = &*self.sink() {
            sink(name, self.bytes_of(name).as_ref());
        }
    }

    /// Notifies the observer.
    pub(super) fn notify(&self, event: &LoadEvent<'_>) {
        if let Some(observer) = &self.context.observer {
            observer.on_event(event);
        }
    }

    /// Begins a phase that concerns `module`.
    pub(super) fn phase<'l>(&'l self, phase: Phase, module: &'l [u8]) -> PhaseSpan<'l> {
        let registry = self.context.observer.as_ref();
        PhaseSpan::enter(registry.map(|registry| &***registry as _), phase, module)
    }

    /// Notifies the observer if a module is refused.
    pub(super) fn notify_refusal<T>(&self, module: &[u8], result: Result<T>) -> Result<T> {
        result.inspect_err(|error| self.notify(&LoadEvent::Refused { module, error }))
    }

    /// Parses a module.
    pub(super) fn parse(&self, name: &Name, bytes: ModuleBytes) -> Result<ParsedModule> {
        let _span = self.phase(Phase::Parse, name);
        self.notify_refusal(name, ParsedModule::parse(name, bytes))
    }

    pub(super) fn state(&self) -> LockGuard<'_, State> {
        self.state.lock()
    }

    pub(super) fn providers(&self) -> LockGuard<'_, ProviderIndex> {
        self.providers.lock()
    }

    /// The address of `name` outside of all modules: a host symbol, else that of the host resolver, else that in a
    /// library that the host has [added](Self::add_library) or in `libraries`, else that of the fallback resolver.
    pub(super) fn resolve_outside(
        &self,
        name: &[u8],
        libraries: &dyn Resolve,
        resolvers: &Resolvers,
    ) -> Option<u64> {
        self.resolve_in_host(name, resolvers)
            .or_else(|| libraries.resolve(name))
            .or_else(|| resolvers.fallback.as_ref()?.resolve(name))
    }

    /// The address of `name` in the host and the added libraries, without the fallback resolver.
    pub(super) fn resolve_in_host(&self, name: &[u8], resolvers: &Resolvers) -> Option<u64> {
        let state = self.state();
        let (known, added) = (state.host.get(name).copied(), state.libraries.clone());
        drop(state);
        let replaced = || self.context.options.host_services.services().replacement(name);
        let in_libraries = || added?.iter().find_map(|library| library.resolve(name));
        let known = known.or_else(replaced);
        let known = known.or_else(|| resolvers.host.as_ref()?.resolve(name));
        known.or_else(in_libraries)
    }

    /// [`Version::stable_address`] with the versions of this loader.
    pub(super) fn stable_address(
        &self,
        version: &Version,
        name: &[u8],
        export: &Export,
    ) -> Result<u64> {
        let current = || self.state().version(version.handle).ok().cloned();
        version.stable_address(name, export, current)
    }

    /// Runs the destructors of all modules, because the loader is dropped. If threads still have to run destructors that
    /// are code of a module, all modules stay in memory. Without memory for a list of the modules, no destructor runs; without
    /// memory for a list of the replaced and unloaded versions, their destructors do not run.
    pub(super) fn shut_down(&self) {
        let (scope, retired) = {
            let state = self.state();
            let retired = state.retired.versions().cloned();
            (state.scope(), try_collect(retired).unwrap_or_default())
        };
        let live = scope.versions().iter().cloned();
        let Ok(versions) = try_collect(live.chain(retired)) else { return };
        let versions = run_destructors(versions);
        let is_pending = |version: &TryArc<Version>| {
            version.body.linked().is_some_and(LinkedModule::has_thread_destructors)
        };
        if versions.iter().any(is_pending) {
            core::mem::forget(versions);
            // Their code contains addresses in these.
            core::mem::forget(self.state().libraries.clone());
        }
    }
}
