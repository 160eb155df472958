//! The state of a loader, as the steps of loading and replacing modules use it.

use super::context::Context;
use super::epoch::Domains;
use super::error::Result;
use super::provider_index::ProviderIndex;
use super::state::{HostResolver, State};
use super::version::Version;
use crate::link::Export;
use crate::memory::lock::{Lock, LockGuard};

pub(super) struct Inner {
    pub(super) context: Context,
    providers: Lock<ProviderIndex>,
    state: Lock<State>,
    pub(super) domains: Domains,
}

impl Inner {
    pub(super) fn new(context: Context) -> Self {
        let domains = Domains::new(context.options.call_epochs);
        Self { context, providers: Lock::default(), state: Lock::default(), domains }
    }

    pub(super) fn state(&self) -> LockGuard<'_, State> {
        self.state.lock()
    }

    pub(super) fn providers(&self) -> LockGuard<'_, ProviderIndex> {
        self.providers.lock()
    }

    /// The address of `name` outside of all modules: a host symbol, else that of the host resolver, else that of the
    /// fallback resolver.
    pub(super) fn resolve_outside(&self, name: &[u8]) -> Option<u64> {
        let state = self.state();
        if let Some(&address) = state.host.get(name) {
            return Some(address);
        }
        let resolvers = [state.host_resolver.clone(), state.fallback_resolver.clone()];
        drop(state);
        let resolve = |resolver: HostResolver| resolver.resolve(name);
        resolvers.into_iter().flatten().find_map(resolve)
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

    /// Frees replaced and unloaded versions that no thread can reach.
    pub(super) fn collect(&self) {
        let left = self.state().retired.begin_unregister(&self.domains);
        if !left.is_empty() {
            left.iter().for_each(|left| left.version.unregister(left.with_stubs));
            self.state().retired.unregistered(&left, &self.domains);
        }
        let unreachable = self.state().take_unreachable(&self.domains);
        for retired in &unreachable {
            // Newer versions may use data of this one; this one does not use data of older ones any more.
            let owners = core::mem::take(&mut *retired.version().data_owners.lock());
            drop(owners);
        }
        drop(unreachable);
    }
}
