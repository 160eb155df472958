//! Versions that were replaced or unloaded, until no thread can run their code.
//!
//! A retired version goes through these [stages](Stage):
//!
//! 1. *Uncounted*: threads may have entered its code without the library, through a stub whose address was returned to
//!    the host or imported by another module. The loader does not count them, so the version stays until the host
//!    declares that there are none, or unloads the module.
//! 2. *Draining*: threads pinned in the epoch of the retirement may be inside: threads that held a version whose code
//!    calls it, or an older version and a stable address, and threads in a counted call.
//! 3. *Unregistered*: calls by address do not find its code any more. A call that found it before is pinned, so the
//!    version waits for a second grace period. A module with destructors or exit handlers also waits until no thread
//!    has to run destructors of thread-local variables that are code of the version.
//! 4. *Finalizing*: a thread runs its destructors and exit handlers, if there are any.
//!
//! Then it is freed.

use alloc::vec::Vec;

use super::bytes::LinkedModule;
use super::epoch::{Domains, Epochs, RetiredAt, RetiredAtBoth};
use super::handle::ModuleHandle;
use super::stub_table::Table;
use super::version::Version;
use crate::alloc_util::sort::sort_by;
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
    /// A thread that runs its destructors.
    Finalizing,
    /// Nothing.
    Finalized,
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
    /// Held versions that may be inside, until they have left.
    holders: Vec<Holder>,
    stage: Stage,
    /// Whether the module is still loaded, in a newer version.
    is_replaced: bool,
    /// The memory of the version, in bytes.
    bytes: usize,
}

/// The holds of a version whose code may be inside that of a retired one.
pub(super) struct Holder {
    holds: TryArc<Epochs>,
    retired_at: RetiredAt,
}

impl Holder {
    pub(super) fn new(version: &Version) -> Self {
        let holds = version.holds.clone();
        Self { retired_at: holds.retire(), holds }
    }

    /// Whether all threads have unpinned that held it at the retirement.
    fn has_left(&self) -> bool {
        self.holds.advance();
        self.holds.has_passed(self.retired_at)
    }
}

impl Retired {
    pub(super) fn version(&self) -> &TryArc<Version> {
        &self.version
    }

    fn has_init(&self) -> bool {
        self.version.body.linked().is_some_and(LinkedModule::has_init)
    }

    /// Whether all threads that were pinned when the current stage began have unpinned.
    fn has_drained(&mut self, domains: &Domains) -> bool {
        self.holders.retain(|holder| !holder.has_left());
        self.holders.is_empty() && !self.version.is_held() && domains.has_passed(self.retirement)
    }
}

/// A version to unregister, and whether its stubs are unregistered too: the module was unloaded.
pub(super) type PendingUnregister = (TryArc<Version>, bool);

/// Runs the destructors of versions that no thread can reach, in reverse order of their constructors.
pub(super) fn run_destructors(mut versions: Vec<TryArc<Version>>) -> Vec<TryArc<Version>> {
    let order = |version: &Version| version.body.linked().map_or(0, |m| m.init_state().order());
    sort_by(&mut versions, |one, two| order(one) > order(two));
    for module in versions.iter().filter_map(|version| version.body.linked()) {
        module.run_destructors();
    }
    versions
}

/// The retired versions of one loader.
#[derive(Default)]
pub(super) struct RetiredVersions(Vec<Retired>);

impl RetiredVersions {
    /// Reserves capacity for `more` [additions](Self::push).
    pub(super) fn try_reserve(&mut self, more: usize) -> Result<(), AllocError> {
        self.0.try_reserve(more).map_err(|_| AllocError)
    }

    /// Adds a version that lookups and stubs do not reach any more, and the tables through which they did. `holders` are
    /// all held versions whose code may be inside.
    pub(super) fn push(
        &mut self,
        version: TryArc<Version>,
        tables: Vec<Table>,
        cause: RetireCause,
        mut holders: Vec<Holder>,
        domains: &Domains,
    ) {
        // Only now do stubs and lookups not lead to it any more.
        for holder in &mut holders {
            holder.retired_at = holder.holds.retire();
        }
        let stage = match cause {
            RetireCause::Replaced { uncounted: true } => Stage::Uncounted,
            RetireCause::Replaced { uncounted: false } | RetireCause::Unloaded => Stage::Draining,
        };
        let (bytes, retirement) = (version.memory_bytes(), domains.retire());
        let is_replaced = cause != RetireCause::Unloaded;
        let _tables = tables;
        self.0.push(Retired { version, _tables, retirement, holders, stage, is_replaced, bytes });
    }

    /// The host declares that no thread is inside code that it entered without the library.
    pub(super) fn declare_quiescent(&mut self) {
        self.leave_uncounted(|_| true);
    }

    /// As [`declare_quiescent`](Self::declare_quiescent), for the versions of one module, which is unloaded.
    pub(super) fn unload(&mut self, handle: ModuleHandle) {
        self.leave_uncounted(|retired| {
            let is_unloaded = retired.version.handle == handle;
            retired.is_replaced &= !is_unloaded;
            is_unloaded
        });
    }

    fn leave_uncounted(&mut self, which: impl Fn(&mut Retired) -> bool) {
        for retired in &mut self.0 {
            if which(retired) && retired.stage == Stage::Uncounted {
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
        let Ok(mut due) = try_with_capacity(self.0.len()) else { return Vec::new() };
        for retired in &mut self.0 {
            if retired.stage == Stage::Draining && retired.has_drained(domains) {
                retired.stage = Stage::Unregistering;
                due.push((retired.version.clone(), !retired.is_replaced));
            }
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
            if done.next_if(|(version, _)| version.ptr_eq(&retired.version)).is_some() {
                (retired.stage, retired.retirement) = (Stage::Unregistered, retirement);
            }
        }
    }

    /// The versions that no thread can reach and whose destructors are due. The caller runs them without the lock, then
    /// calls [`finalized`](Self::finalized). Empty if there is no memory for the list.
    pub(super) fn begin_finalize(&mut self, domains: &Domains) -> Vec<TryArc<Version>> {
        if !self.0.iter().any(Retired::has_init) {
            return Vec::new();
        }
        domains.advance();
        let Ok(mut due) = try_with_capacity(self.0.len()) else { return Vec::new() };
        for retired in &mut self.0 {
            let is_unregistered = retired.stage == Stage::Unregistered;
            let has_drained = is_unregistered && retired.has_drained(domains);
            let module = retired.version.body.linked().filter(|module| module.has_init());
            if has_drained && module.is_some_and(|module| !module.has_thread_destructors()) {
                retired.stage = Stage::Finalizing;
                due.push(retired.version.clone());
            }
        }
        due
    }

    /// The destructors of these versions have run.
    pub(super) fn finalized(&mut self, versions: &[TryArc<Version>]) {
        for retired in &mut self.0 {
            if versions.iter().any(|version| version.ptr_eq(&retired.version)) {
                retired.stage = Stage::Finalized;
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
        let is_unreachable = |retired: &mut Retired| match retired.stage {
            Stage::Unregistered => !retired.has_init() && retired.has_drained(domains),
            stage => stage == Stage::Finalized,
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
