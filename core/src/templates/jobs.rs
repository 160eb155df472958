//! The compilations in progress: one job per symbol, with detection of circular dependencies.

use alloc::vec::Vec;
use core::sync::atomic::AtomicBool;

use arrayvec::ArrayVec;
use hashbrown::HashMap;

use super::error::{InstantiateError, InstantiateErrorKind};
use super::instance::Instance;
use super::module::Module;
use crate::alloc_util::{AllocError, TryArc, try_push};
use crate::link::Name;

/// The compilation of an instance.
pub(super) struct Job {
    thread: i32,
    /// Set when the compilation has ended.
    pub(super) done: AtomicBool,
}

/// The update of a module's note by one instance.
pub(super) struct NoteUpdate {
    pub(super) module: TryArc<Module>,
    /// The instance whose row moves to `instantiations`; `None` if only code is cached.
    pub(super) made: Option<Instance>,
}

/// The updates by one instance: that of the module that lists it, and that of the module that caches its
/// code.
pub(super) type NoteUpdates = ArrayVec<NoteUpdate, MAX_UPDATES>;

const MAX_UPDATES: usize = 2;

/// The answer to a request for an instance.
pub(super) enum Claim {
    /// The caller compiles the instance.
    Build(Name, TryArc<Job>),
    /// Another thread compiles it: the caller waits.
    Wait(TryArc<Job>),
    /// The request has failed.
    Done(InstantiateError),
}

/// The jobs of one thread.
struct ThreadJobs {
    thread: i32,
    /// The instances that the thread compiles, each required by the one before.
    stack: Vec<Name>,
    /// The instance that the thread waits for.
    waits_for: Option<Name>,
    /// The updates of its finished jobs, applied when the stack is empty.
    updates: Vec<NoteUpdate>,
}

impl ThreadJobs {
    /// Pushes a job; false if the stack has `limit` jobs already.
    fn push(&mut self, symbol: &Name, limit: usize) -> Result<bool, AllocError> {
        if self.stack.len() >= limit {
            return Ok(false);
        }
        self.stack.try_reserve(1).map_err(|_| AllocError)?;
        // For `finish`, which must not fail.
        let updates = (self.stack.len() + 1).saturating_mul(MAX_UPDATES);
        self.updates.try_reserve(updates).map_err(|_| AllocError)?;
        self.stack.push(symbol.clone());
        Ok(true)
    }
}

/// The jobs of all threads, and the permanent failures.
#[derive(Default)]
pub(super) struct JobTable {
    /// The permanent failures, each with the owner whose request has failed.
    pub(super) failed: HashMap<Name, (u64, InstantiateError)>,
    jobs: HashMap<Name, TryArc<Job>>,
    threads: Vec<ThreadJobs>,
    /// The jobs, and the instances that jobs have created, of which some may have been replaced since.
    instances: usize,
}

/// The limits of a [claim](JobTable::claim).
#[derive(Clone, Copy)]
pub(super) struct Limits<'i> {
    pub(super) max_depth: u32,
    pub(super) max_instances: usize,
    /// Counts the instances that were not replaced.
    pub(super) instances: &'i dyn Fn() -> usize,
}

impl JobTable {
    /// Claims the compilation of `symbol` for `thread`, on behalf of `owner`. The instance must not exist.
    ///
    /// # Errors
    /// No memory. The table is then unchanged.
    pub(super) fn claim(
        &mut self,
        (thread, owner): (i32, u64),
        symbol: &[u8],
        Limits { max_depth, max_instances, instances }: Limits<'_>,
    ) -> Result<Claim, AllocError> {
        if let Some((_, failure)) = self.failed.get(symbol).filter(|failed| failed.0 == owner) {
            return Ok(Claim::Done(failure.try_clone()?));
        }
        if let Some((symbol, job)) = self.jobs.get_key_value(symbol) {
            let (symbol, job) = (symbol.clone(), job.clone());
            if let Some(cycle) = self.find_cycle(thread, &symbol)? {
                return Ok(Claim::Done(InstantiateError::CircularDependency { cycle }));
            }
            self.thread(thread)?.waits_for = Some(symbol);
            return Ok(Claim::Wait(job));
        }
        let symbol = Name::new(symbol)?;
        if self.instances >= max_instances {
            self.instances = instances().saturating_add(self.jobs.len());
        }
        if self.instances >= max_instances {
            let kind = InstantiateErrorKind::Instances { limit: max_instances };
            return Ok(Claim::Done(InstantiateError::failed(symbol, None, kind)));
        }
        let job = TryArc::new(Job { thread, done: AtomicBool::new(false) })?;
        self.jobs.try_reserve(1).map_err(|_| AllocError)?;
        let limit = usize::try_from(max_depth).unwrap_or(usize::MAX);
        let pushed = self.thread(thread)?.push(&symbol, limit);
        if !matches!(pushed, Ok(true)) {
            self.end_wait(thread);
            pushed?;
            let kind = InstantiateErrorKind::Depth { limit: max_depth };
            return Ok(Claim::Done(InstantiateError::failed(symbol, None, kind)));
        }
        self.jobs.insert(symbol.clone(), job.clone());
        self.instances += 1;
        Ok(Claim::Build(symbol, job))
    }

    /// Has the next claim count the instances, because unloaded ones have returned.
    pub(super) fn recount(&mut self) {
        self.instances = usize::MAX;
    }

    fn thread(&mut self, thread: i32) -> Result<&mut ThreadJobs, AllocError> {
        if let Some(known) = self.threads.iter().position(|jobs| jobs.thread == thread) {
            return self.threads.get_mut(known).ok_or(AllocError);
        }
        let (stack, updates) = (Vec::new(), Vec::new());
        try_push(&mut self.threads, ThreadJobs { thread, stack, waits_for: None, updates })?;
        self.threads.last_mut().ok_or(AllocError)
    }

    /// Ends the wait of a thread.
    pub(super) fn end_wait(&mut self, thread: i32) {
        if let Some(jobs) = self.threads.iter_mut().find(|jobs| jobs.thread == thread) {
            jobs.waits_for = None;
        }
        self.threads.retain(|jobs| {
            !jobs.stack.is_empty() || jobs.waits_for.is_some() || jobs.thread != thread
        });
    }

    /// The cycle that a wait of `thread` for `symbol` would close, from `symbol` to `symbol`.
    fn find_cycle(&self, thread: i32, symbol: &Name) -> Result<Option<Vec<Name>>, AllocError> {
        let mut cycle = Vec::new();
        let mut next = symbol;
        for _ in 0..=self.threads.len() {
            let Some(owner) = self.owner(next) else { break };
            let from = owner.stack.iter().position(|building| building == next);
            let Some(required) = from.and_then(|from| owner.stack.get(from..)) else { break };
            for symbol in required {
                try_push(&mut cycle, symbol.clone())?;
            }
            if owner.thread == thread {
                try_push(&mut cycle, symbol.clone())?;
                return Ok(Some(cycle));
            }
            let Some(waits_for) = &owner.waits_for else { break };
            next = waits_for;
        }
        Ok(None)
    }

    /// The jobs of the thread that compiles `symbol`.
    fn owner(&self, symbol: &Name) -> Option<&ThreadJobs> {
        let owner = self.jobs.get(symbol)?.thread;
        self.threads.iter().find(|jobs| jobs.thread == owner)
    }

    /// Ends the last job of a thread. Returns the updates of all its jobs if none is left.
    pub(super) fn finish(
        &mut self,
        (thread, owner): (i32, u64),
        symbol: &Name,
        failure: Option<&InstantiateError>,
        updates: NoteUpdates,
    ) -> Vec<NoteUpdate> {
        self.jobs.remove(symbol);
        self.instances = self.instances.saturating_sub(usize::from(failure.is_some()));
        // Without memory the failure is not recorded, and the next request compiles again.
        if let Some(failure) = failure.filter(|failure| failure.is_permanent())
            && self.failed.try_reserve(1).is_ok()
            && let Ok(failure) = failure.try_clone()
        {
            self.failed.insert(symbol.clone(), (owner, failure));
        }
        let Some(jobs) = self.threads.iter_mut().find(|jobs| jobs.thread == thread) else {
            return Vec::new();
        };
        jobs.stack.pop();
        // `push` has reserved the capacity.
        jobs.updates.extend(updates);
        let ended = jobs.stack.is_empty();
        let updates = if ended { core::mem::take(&mut jobs.updates) } else { Vec::new() };
        // Removes the thread if this was its last job.
        self.end_wait(thread);
        updates
    }
}
