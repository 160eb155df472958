//! Versions that were replaced or unloaded, until no thread can run their code.
//!
//! A retired version goes through these [stages](Stage):
//!
//! 1. *Uncounted*: threads may have entered its code without the library, through a stub whose address was returned to
//!    the host or imported by another module. The loader does not count them, so the version stays until the host
//!    declares that there are none, or unloads the module.
//! 2. *Draining*: threads pinned in the epoch of the retirement may be inside.
//! 3. *Unregistered*: calls by address do not find its code any more. A call that found it before is pinned, so the
//!    version waits for a second grace period.
//!
//! Then it is freed.

use alloc::vec::Vec;
use core::sync::atomic::Ordering::Relaxed;

use super::epoch::{Domains, RetiredAtBoth};
use super::handle::ModuleHandle;
use super::stub_table::Table;
use super::version::Version;
use crate::alloc_util::{AllocError, TryArc, try_with_capacity};

/// The state of a retired version, by what it waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// The host to declare that no uncounted thread is inside.
    Uncounted,
    /// Threads that were pinned when it was retired, to unpin.
    Draining,
    /// A thread that drops its registrations.
    Unregistering,
    /// Threads that were pinned when it was unregistered, to unpin.
    Unregistered,
}

/// Why a version was retired.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RetireCause {
    /// A new version replaced it. `uncounted`: threads may have entered its code without the library.
    Replaced { uncounted: bool },
    /// Its module was unloaded, which the host does only when no uncounted thread is inside.
    Unloaded,
}

/// A version that lookups do not find any more.
pub(super) struct Retired {
    version: TryArc<Version>,
    /// Stub tables that led to it or to an older version. A stub may still be reading one.
    _tables: Vec<Table>,
    retirement: RetiredAtBoth,
    stage: Stage,
    /// Whether the module is still loaded, in a newer version.
    is_replaced: bool,
    /// The memory of the version, in bytes.
    bytes: usize,
}

impl Retired {
    pub(super) fn version(&self) -> &TryArc<Version> {
        &self.version
    }

    /// Whether all threads that were pinned when the current stage began have unpinned.
    fn has_drained(&self, domains: &Domains) -> bool {
        self.version.pins.load(Relaxed) == 0 && domains.has_passed(self.retirement)
    }
}

/// A version to unregister.
pub(super) struct PendingUnregister {
    pub(super) version: TryArc<Version>,
    /// The module was unloaded: its stubs are unregistered too.
    pub(super) with_stubs: bool,
}

/// The retired versions of one loader.
#[derive(Default)]
pub(super) struct RetiredVersions(Vec<Retired>);

impl RetiredVersions {
    /// Reserves capacity for `more` [additions](Self::push).
    pub(super) fn try_reserve(&mut self, more: usize) -> Result<(), AllocError> {
        self.0.try_reserve(more).map_err(|_| AllocError)
    }

    /// Adds a version that lookups and stubs do not reach any more, and the tables through which they did.
    pub(super) fn push(
        &mut self,
        version: TryArc<Version>,
        tables: Vec<Table>,
        cause: RetireCause,
        domains: &Domains,
    ) {
        let stage = match cause {
            RetireCause::Replaced { uncounted: true } => Stage::Uncounted,
            RetireCause::Replaced { uncounted: false } | RetireCause::Unloaded => Stage::Draining,
        };
        let (bytes, retirement) = (version.memory_bytes(), domains.retire());
        let is_replaced = cause != RetireCause::Unloaded;
        self.0.push(Retired { version, _tables: tables, retirement, stage, is_replaced, bytes });
    }

    /// The host declares that no thread is inside code that it entered without the library.
    pub(super) fn declare_quiescent(&mut self) {
        self.leave_uncounted(|_| true);
    }

    /// As [`declare_quiescent`](Self::declare_quiescent), for the versions of one module, which is unloaded.
    pub(super) fn unload(&mut self, handle: ModuleHandle) {
        self.leave_uncounted(|retired| retired.version.handle == handle);
        for retired in self.0.iter_mut().filter(|retired| retired.version.handle == handle) {
            retired.is_replaced = false;
        }
    }

    fn leave_uncounted(&mut self, which: impl Fn(&Retired) -> bool) {
        for retired in self.0.iter_mut().filter(|retired| which(retired)) {
            if retired.stage == Stage::Uncounted {
                retired.stage = Stage::Draining;
            }
        }
    }

    /// The drained versions. The caller unregisters them without the lock, then calls
    /// [`unregistered`](Self::unregistered). Empty if there is no memory for the list: the next call returns them.
    pub(super) fn begin_unregister(&mut self, domains: &Domains) -> Vec<PendingUnregister> {
        if self.0.is_empty() {
            return Vec::new();
        }
        domains.advance();
        let is_due =
            |retired: &Retired| retired.stage == Stage::Draining && retired.has_drained(domains);
        let Ok(mut due) = try_with_capacity(self.0.iter().filter(|r| is_due(r)).count()) else {
            return Vec::new();
        };
        for retired in self.0.iter_mut().filter(|retired| is_due(retired)) {
            // A version may have drained since the count.
            if due.len() == due.capacity() {
                break;
            }
            retired.stage = Stage::Unregistering;
            let (version, with_stubs) = (retired.version.clone(), !retired.is_replaced);
            due.push(PendingUnregister { version, with_stubs });
        }
        due
    }

    /// Starts the second grace period of versions, in the order in which [`begin_unregister`](Self::begin_unregister)
    /// returned them.
    pub(super) fn unregistered(&mut self, versions: &[PendingUnregister], domains: &Domains) {
        let retirement = domains.retire();
        // Both lists are in the same order.
        let mut done = versions.iter().peekable();
        for retired in &mut self.0 {
            if done.next_if(|next| next.version.ptr_eq(&retired.version)).is_some() {
                (retired.stage, retired.retirement) = (Stage::Unregistered, retirement);
            }
        }
    }

    /// Removes the versions that no thread can reach. Empty if there is no memory for the list.
    pub(super) fn take_unreachable(&mut self, domains: &Domains) -> Vec<Retired> {
        if self.0.is_empty() {
            return Vec::new();
        }
        domains.advance();
        let Ok(mut unreachable) = try_with_capacity(self.0.len()) else { return Vec::new() };
        let is_unreachable = |retired: &mut Retired| {
            retired.stage == Stage::Unregistered && retired.has_drained(domains)
        };
        unreachable.extend(self.0.extract_if(.., is_unreachable));
        unreachable
    }

    pub(super) fn versions(&self) -> impl Iterator<Item = &TryArc<Version>> {
        self.0.iter().map(|retired| &retired.version)
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// The number of versions that wait for [`declare_quiescent`](Self::declare_quiescent).
    pub(super) fn uncounted(&self) -> usize {
        self.0.iter().filter(|retired| retired.stage == Stage::Uncounted).count()
    }

    /// The memory of replaced versions of loaded modules, in bytes.
    pub(super) fn replaced_bytes(&self) -> usize {
        let replaced = self.0.iter().filter(|retired| retired.is_replaced);
        replaced.fold(0, |sum, retired| sum.saturating_add(retired.bytes))
    }
}
