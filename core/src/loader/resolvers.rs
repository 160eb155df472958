//! What resolves the names that no module defines.

use alloc::boxed::Box;

use crate::alloc_util::TryArc;
use crate::link::Resolve;

type Resolver = TryArc<Box<dyn Resolve + Send + Sync>>;

/// The resolvers of a loader. A module owns those that it was linked with, because it has their addresses.
#[derive(Clone, Default)]
pub(super) struct Resolvers {
    pub(super) host: Option<Resolver>,
    /// Asked last.
    pub(super) fallback: Option<Resolver>,
}
