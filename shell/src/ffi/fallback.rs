//! The fallback resolver of a loader of C: its instantiator, then its resolver.

use std::sync::{Mutex, MutexGuard, PoisonError};

use smf_core::alloc_util::{AllocError, TryArc, try_box};
use smf_core::link::Resolve;
use smf_core::loader::ModuleLoader;

type SharedResolve = TryArc<Box<dyn Resolve + Send + Sync>>;

/// Who is asked for a name that is not defined otherwise.
#[derive(Clone, Copy)]
pub(super) enum Rank {
    /// The instantiator.
    #[cfg(feature = "jit")]
    Instantiator,
    /// The callback of the host, which is asked last.
    Resolver,
}

/// The instantiator and the resolver of a loader, in the order in which they are asked.
#[derive(Default)]
struct Resolvers(Mutex<[Option<SharedResolve>; 2]>);

impl Resolvers {
    fn lock(&self) -> MutexGuard<'_, [Option<SharedResolve>; 2]> {
        // No code panics while it holds the lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Sets the fallback resolver of a loader.
pub(super) struct Fallback(TryArc<Resolvers>);

impl Fallback {
    /// # Errors
    /// [`AllocError`].
    pub(super) fn new() -> Result<Self, AllocError> {
        TryArc::new(Resolvers::default()).map(Self)
    }

    /// Sets or removes the resolver of a rank; the other one stays.
    ///
    /// # Errors
    /// [`AllocError`]; nothing is changed.
    pub(super) fn set(
        &self,
        loader: &ModuleLoader,
        rank: Rank,
        resolver: Option<Box<dyn Resolve + Send + Sync>>,
    ) -> Result<(), AllocError> {
        let resolver = resolver.map(TryArc::new).transpose()?;
        let mut all = self.0.lock();
        let [instantiator, last] = &mut *all;
        let (slot, other) = match rank {
            #[cfg(feature = "jit")]
            Rank::Instantiator => (instantiator, last),
            Rank::Resolver => (last, instantiator),
        };
        let is_empty = resolver.is_none() && other.is_none();
        let resolvers = self.0.clone();
        let resolve = move |name: &[u8]| {
            // Without the lock: what is asked may set resolvers.
            let all = resolvers.lock().clone();
            all.into_iter().flatten().find_map(|resolver| resolver.resolve(name))
        };
        let whole = (!is_empty).then(|| try_box(resolve)).transpose()?;
        loader.set_fallback_resolver(whole.map(|whole| whole as Box<_>))?;
        let before = std::mem::replace(slot, resolver);
        drop(all);
        drop(before);
        Ok(())
    }
}
