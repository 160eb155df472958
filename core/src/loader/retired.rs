//! Versions that were replaced or unloaded, until no thread can run their code.
//!
//! A retired version goes through these [stages](Stage):
//!
//! 1. *Uncounted*: threads may have entered its code without the library, through a stub whose address was
//!    handed out or that another module imports. No counter knows of them, so the version stays until the
//!    host states that there are none, or unloads the module.
//! 2. *Draining*: threads may be inside that are pinned in the epoch of the retirement.
//! 3. *Unregistered*: calls by address do not find its code any more. A call that found it before that is
//!    pinned, so the version waits for a second grace period.
//!
//! Then it is freed.

use alloc::vec::Vec;
use core::sync::atomic::Ordering::Relaxed;

use super::ModuleHandle;
use super::epoch::{Domains, Retirement};
use super::stub_table::Table;
use super::version::Version;
use crate::alloc_util::{AllocError, TryArc, try_with_capacity};

/// What a retired version waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// The host's statement that no thread is inside.
    Uncounted,
    /// Threads that were pinned when it was retired.
    Draining,
    /// The thread that drops what was registered of it.
    Unregistering,
    /// Threads that were pinned when its addresses became unknown.
    Unregistered,
}

/// How a version left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    /// A new version took its place. `uncounted`: threads may enter its code without the library.
    Replaced { uncounted: bool },
    /// Its module was unloaded, which the host does only when no uncounted thread is inside.
    Unloaded,
}

/// A version that no lookup finds any more.
pub(super) struct Retired {
    version: TryArc<Version>,
    /// Tables through which stubs led to it, or to the version before; a stub may be reading one.
    _tables: Vec<Table>,
    retirement: Retirement,
    stage: Stage,
    /// The module is loaded, in a newer version.
    is_replaced: bool,
    /// Bytes of memory of the version.
    bytes: usize,
}

impl Retired {
    pub(super) fn version(&self) -> &TryArc<Version> {
        &self.version
    }

    /// Whether all threads have left that were pinned when the present stage began.
    fn is_left(&self, domains: &Domains) -> bool {
        self.version.pins.load(Relaxed) == 0 && domains.has_passed(self.retirement)
    }
}

/// A version whose code calls by address must not find any more.
pub(super) struct Unregister {
    pub(super) version: TryArc<Version>,
    /// Its module was unloaded: nor may they find the stubs.
    pub(super) with_stubs: bool,
}

/// The retired versions of one loader.
#[derive(Default)]
pub(super) struct RetiredVersions(Vec<Retired>);

impl RetiredVersions {
    /// Makes sure that `more` versions can be [added](Self::push).
    pub(super) fn try_reserve(&mut self, more: usize) -> Result<(), AllocError> {
        self.0.try_reserve(more).map_err(|_| AllocError)
    }

    /// Adds a version that lookups and stubs do not lead to any more, and the tables that did.
    pub(super) fn push(
        &mut self,
        version: TryArc<Version>,
        tables: Vec<Table>,
        cause: Cause,
        domains: &Domains,
    ) {
        let stage = match cause {
            Cause::Replaced { uncounted: true } => Stage::Uncounted,
            Cause::Replaced { uncounted: false } | Cause::Unloaded => Stage::Draining,
        };
        let (bytes, retirement) = (version.memory_bytes(), domains.retire());
        let is_replaced = cause != Cause::Unloaded;
        self.0.push(Retired { version, _tables: tables, retirement, stage, is_replaced, bytes });
    }

    /// No thread is inside code that it entered without the library.
    pub(super) fn declare_quiescent(&mut self) {
        self.leave_uncounted(|_| true);
    }

    /// The same of the versions of one module, which is unloaded.
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

    /// The versions that are left by all threads and are to be unregistered, by this thread: without the
    /// lock, and then [`unregistered`](Self::unregistered). None where there is no memory for the list: the
    /// next call returns them.
    pub(super) fn begin_unregister(&mut self, domains: &Domains) -> Vec<Unregister> {
        if self.0.is_empty() {
            return Vec::new();
        }
        domains.advance();
        let is_due =
            |retired: &Retired| retired.stage == Stage::Draining && retired.is_left(domains);
        let Ok(mut due) = try_with_capacity(self.0.iter().filter(|r| is_due(r)).count()) else {
            return Vec::new();
        };
        for retired in self.0.iter_mut().filter(|retired| is_due(retired)) {
            // Another version may have become due since they were counted.
            if due.len() == due.capacity() {
                break;
            }
            retired.stage = Stage::Unregistering;
            let (version, with_stubs) = (retired.version.clone(), !retired.is_replaced);
            due.push(Unregister { version, with_stubs });
        }
        due
    }

    /// Begins the second grace period of versions that were unregistered, in the order in which
    /// [`begin_unregister`](Self::begin_unregister) returned them.
    pub(super) fn unregistered(&mut self, versions: &[Unregister], domains: &Domains) {
        let retirement = domains.retire();
        // The list keeps its order.
        let mut done = versions.iter().peekable();
        for retired in &mut self.0 {
            if done.next_if(|next| next.version.ptr_eq(&retired.version)).is_some() {
                (retired.stage, retired.retirement) = (Stage::Unregistered, retirement);
            }
        }
    }

    /// Takes out the versions that no thread can reach. None where there is no memory for the list.
    pub(super) fn take_unreachable(&mut self, domains: &Domains) -> Vec<Retired> {
        if self.0.is_empty() {
            return Vec::new();
        }
        domains.advance();
        let Ok(mut unreachable) = try_with_capacity(self.0.len()) else { return Vec::new() };
        let is_unreachable = |retired: &mut Retired| {
            retired.stage == Stage::Unregistered && retired.is_left(domains)
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

    /// How many wait for the host's statement.
    pub(super) fn uncounted(&self) -> usize {
        self.0.iter().filter(|retired| retired.stage == Stage::Uncounted).count()
    }

    /// Bytes of memory of replaced versions of modules that are loaded.
    pub(super) fn replaced_bytes(&self) -> usize {
        let replaced = self.0.iter().filter(|retired| retired.is_replaced);
        replaced.fold(0, |sum, retired| sum.saturating_add(retired.bytes))
    }
}
