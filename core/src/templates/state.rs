//! What is behind the lock of an instantiator: the modules, the index of what may be made, and which
//! thread is making what.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::borrow::Borrow;
use core::fmt;
use core::hash::{BuildHasher, Hash, Hasher};
use core::ops::Deref;
use core::sync::atomic::AtomicBool;

use arrayvec::ArrayVec;
use hashbrown::{DefaultHashBuilder, HashMap, HashTable};

use super::error::InstantiateError;
use super::error::MetadataError;
use super::instantiator::JitResult;
use super::module::{Module, Row};
use crate::alloc_util::{
    AllocError, SharedBytes, TryArc, UninitArc, try_copy_bytes, try_push, try_with_capacity,
};

/// A symbol; its copies are one.
#[derive(Clone, PartialEq, Eq)]
pub struct Symbol(SharedBytes);

impl Symbol {
    pub(super) fn of(symbol: &[u8]) -> Result<Self, AllocError> {
        SharedBytes::copy_of(symbol).map(Self)
    }
}

impl Deref for Symbol {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl Borrow<[u8]> for Symbol {
    fn borrow(&self) -> &[u8] {
        self
    }
}

impl Hash for Symbol {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (**self).hash(state);
    }
}

impl fmt::Debug for Symbol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`", self.escape_ascii())
    }
}

/// What modules are told of one instance: its row, and its code.
pub(super) type NoteUpdates = ArrayVec<NoteUpdate, NEWS>;

const NEWS: usize = 2;

/// Something that may be made: a row of a module's note.
#[derive(Clone, Copy)]
struct Possible {
    /// The upper half of the hash: what the table itself does not look at.
    hash: u32,
    module: u32,
    row: u32,
    start: u32,
    len: u32,
    /// The symbol, when it fits: what finding it would have to look for elsewhere.
    short: [u8; SHORT],
}

/// Symbols of so many bytes fit into the index.
const SHORT: usize = 28;

/// A symbol with zeroes behind it; all zeroes when it is too long.
#[inline]
fn short(symbol: &[u8]) -> [u8; SHORT] {
    let mut short = [0; SHORT];
    if let Some(place) = short.get_mut(..symbol.len()) {
        place.copy_from_slice(symbol);
    }
    short
}

/// An instance in the making.
pub(super) struct Job {
    thread: i32,
    pub(super) done: AtomicBool,
}

/// What one thread is at.
struct Activity {
    thread: i32,
    /// What it makes: each for the one before it.
    stack: Vec<Symbol>,
    /// What another thread is making that it waits for.
    waits_for: Option<Symbol>,
    /// What it has made that modules are to be told of.
    made: Vec<NoteUpdate>,
}

impl Activity {
    /// Begins to make a symbol; false when too many wait for it already.
    fn begin(&mut self, symbol: &Symbol, limit: usize) -> Result<bool, AllocError> {
        if self.stack.len() >= limit {
            return Ok(false);
        }
        self.stack.try_reserve(1).map_err(|_| AllocError)?;
        // For what is told when all of it has been made, which must not fail.
        let news = (self.stack.len() + 1).saturating_mul(NEWS);
        self.made.try_reserve(news).map_err(|_| AllocError)?;
        self.stack.push(symbol.clone());
        Ok(true)
    }
}

/// What a module is to be told of.
pub(super) struct NoteUpdate {
    pub(super) module: TryArc<Module>,
    /// The symbol that its note lists no longer as possible; `None` where code is kept alone.
    pub(super) symbol: Option<Symbol>,
}

/// What a row means.
#[derive(Clone)]
pub(super) struct Entry {
    pub(super) module: TryArc<Module>,
    pub(super) row: Row,
}

/// What a thread that wants an instance is to do.
pub(super) enum Claim {
    /// To make it.
    Make(Symbol, TryArc<Job>),
    /// To wait for another one that makes it.
    Wait(TryArc<Job>),
    /// To be content with that.
    Is(JitResult),
}

/// Memory for what a module that is entered takes.
struct Entering {
    module: UninitArc<Module>,
    /// The symbols of its rows that are gone.
    gone: Vec<Box<[u8]>>,
}

#[derive(Default)]
pub(super) struct State {
    modules: Vec<TryArc<Module>>,
    hasher: DefaultHashBuilder,
    paths: HashTable<u32>,
    index: HashTable<Possible>,
    /// Rows that say that another process has made an instance, which is gone with it.
    gone: HashMap<Box<[u8]>, (u32, Row)>,
    failed: HashMap<Symbol, JitResult>,
    jobs: HashMap<Symbol, TryArc<Job>>,
    threads: Vec<Activity>,
}

impl State {
    /// Adds a module, or puts it in the place of the one of the same path. What failed may be tried
    /// again.
    pub(super) fn enter(&mut self, mut module: Module) -> Result<TryArc<Module>, MetadataError> {
        self.failed.clear();
        let hash = self.hasher.hash_one(&module.path);
        let modules = &self.modules;
        let at = |number: &u32| usize::try_from(*number).ok().and_then(|at| modules.get(at));
        let same = |number: &u32| at(number).is_some_and(|other| other.path == module.path);
        let known = self.paths.find(hash, same).copied();
        let number = match known {
            Some(number) => number,
            None => u32::try_from(modules.len()).map_err(|_| MetadataError::TooLarge)?,
        };
        let room = self.make_room(&module)?;
        if known.is_some() {
            self.forget(number);
        }
        for row in 0..module.rows.len() {
            self.enter_row(number, &mut module, row);
        }
        for (symbol, row) in room.gone.into_iter().zip(&module.gone) {
            self.gone.entry(symbol).or_insert((number, *row));
        }
        let module = room.module.fill(module);
        match self.modules.get_mut(usize::try_from(number).unwrap_or(usize::MAX)) {
            Some(place) => *place = module.clone(),
            None => {
                self.modules.push(module.clone());
                // The table has spare capacity, so it does not rehash.
                self.paths.insert_unique(hash, number, |_| 0);
            }
        }
        Ok(module)
    }

    /// Makes room for all that entering a module takes, so that it cannot fail half-way.
    fn make_room(&mut self, module: &Module) -> Result<Entering, AllocError> {
        let Self { modules, hasher, paths, index, gone, .. } = self;
        let at = |number: u32| usize::try_from(number).ok().and_then(|at| modules.get(at));
        let rehash = |possible: &Possible| {
            let module = at(possible.module);
            let symbol =
                module.zip(row_of(modules, possible)).map_or("", |(m, row)| m.text(row.symbol));
            hasher.hash_one(symbol.as_bytes())
        };
        index.try_reserve(module.rows.len(), rehash).map_err(|_| AllocError)?;
        let rehash = |number: &u32| at(*number).map_or(0, |module| hasher.hash_one(&module.path));
        paths.try_reserve(1, rehash).map_err(|_| AllocError)?;
        gone.try_reserve(module.gone.len()).map_err(|_| AllocError)?;
        modules.try_reserve(1).map_err(|_| AllocError)?;
        let mut symbols = try_with_capacity(module.gone.len())?;
        for row in &module.gone {
            symbols.push(try_copy_bytes(module.text(row.symbol).as_bytes())?);
        }
        Ok(Entering { module: UninitArc::new()?, gone: symbols })
    }

    /// Enters a row of a module that is not among the others yet. There is room for it.
    fn enter_row(&mut self, number: u32, module: &mut Module, row: usize) {
        let Some(new) = module.rows.get(row).copied() else { return };
        let symbol = module.text(new.symbol);
        let hash = self.hasher.hash_one(symbol.as_bytes());
        let twin = self.index.find(hash, |other| {
            other.module == number
                && module.row(other.row).is_some_and(|other| module.text(other.symbol) == symbol)
        });
        if let Some(twin) = twin.copied() {
            let old = module.row(twin.row);
            let same = old.is_some_and(|old| {
                module.row_template(&old) == module.row_template(&new)
                    && module.row_arguments(&old) == module.row_arguments(&new)
            });
            let place = usize::try_from(twin.row).ok().and_then(|row| module.rows.get_mut(row));
            if let Some(old) = place.filter(|old| !same && old.clash == 0) {
                old.clash = new.line;
            }
            return;
        }
        let possible = Possible {
            hash: (hash >> 32) as u32,
            module: number,
            row: u32::try_from(row).unwrap_or(u32::MAX),
            start: new.symbol.start,
            len: new.symbol.len,
            short: short(symbol.as_bytes()),
        };
        // The table has spare capacity, so it does not rehash.
        self.index.insert_unique(hash, possible, |_| 0);
    }

    /// Takes the rows of a module out of the index.
    fn forget(&mut self, number: u32) {
        self.gone.retain(|_, (module, _)| *module != number);
        let Some(module) = self.modules.get(usize::try_from(number).unwrap_or(usize::MAX)) else {
            return;
        };
        for row in &module.rows {
            let hash = self.hasher.hash_one(module.text(row.symbol).as_bytes());
            let is_it = |possible: &Possible| {
                let symbol = row.symbol;
                possible.module == number
                    && possible.start == symbol.start
                    && possible.len == symbol.len
            };
            if let Ok(found) = self.index.find_entry(hash, is_it) {
                found.remove();
            }
        }
    }

    /// Takes one row out of the index, which has been made.
    pub(super) fn forget_made(&mut self, module: &TryArc<Module>, symbol: &[u8]) {
        let hash = self.hasher.hash_one(symbol);
        let Self { modules, index, .. } = self;
        let is_it = |possible: &Possible| {
            let of = usize::try_from(possible.module).ok().and_then(|at| modules.get(at));
            of.is_some_and(|of| of.ptr_eq(module)) && is_symbol(modules, possible, hash, symbol)
        };
        if let Ok(found) = index.find_entry(hash, is_it) {
            found.remove();
        }
    }

    /// Whether some module says how to make `symbol`.
    #[inline]
    pub(super) fn is_possible(&self, symbol: &[u8]) -> bool {
        let hash = self.hasher.hash_one(symbol);
        self.index.find(hash, |possible| is_symbol(&self.modules, possible, hash, symbol)).is_some()
    }

    /// What the first module that knows `symbol` says of it.
    pub(super) fn find_possible(&self, symbol: &[u8]) -> Option<Entry> {
        let hash = self.hasher.hash_one(symbol);
        let found = self.index.iter_hash(hash);
        let found = found.filter(|possible| is_symbol(&self.modules, possible, hash, symbol));
        let first = found.min_by_key(|possible| possible.module)?;
        let module = self.modules.get(usize::try_from(first.module).ok()?)?.clone();
        let row = module.row(first.row)?;
        Some(Entry { module, row })
    }

    /// What is to be made of `symbol`: what [`Self::find_possible`] finds, else what another process has
    /// made before.
    pub(super) fn find(&self, symbol: &[u8]) -> Option<Entry> {
        self.find_possible(symbol).or_else(|| {
            let (number, row) = *self.gone.get(symbol)?;
            let module = self.modules.get(usize::try_from(number).ok()?)?.clone();
            Some(Entry { module, row })
        })
    }

    /// The modules, in the order in which they were loaded.
    pub(super) fn modules(&self) -> &[TryArc<Module>] {
        &self.modules
    }

    /// The module of this path.
    pub(super) fn module(&self, path: &[u8]) -> Option<TryArc<Module>> {
        let at = |number: &u32| usize::try_from(*number).ok().and_then(|at| self.modules.get(at));
        let same = |number: &u32| at(number).is_some_and(|module| *module.path == *path);
        let number = self.paths.find(self.hasher.hash_one(path), same)?;
        at(number).cloned()
    }

    /// How many symbols are remembered as not to be made.
    pub(super) fn failed(&self) -> usize {
        self.failed.len()
    }

    /// Whose turn it is to make `symbol`. Which there is has been looked at before. Where memory is refused
    /// nothing has changed.
    pub(super) fn turn(
        &mut self,
        thread: i32,
        symbol: &[u8],
        max_depth: u32,
    ) -> Result<Claim, AllocError> {
        if let Some(failure) = self.failed.get(symbol) {
            return Ok(Claim::Is(failure.copy()?));
        }
        if let Some((name, job)) = self.jobs.get_key_value(symbol) {
            let (name, job) = (name.clone(), job.clone());
            if let Some(cycle) = self.cycle(thread, &name)? {
                return Ok(Claim::Is(JitResult::CircularDependency { cycle }));
            }
            self.activity(thread)?.waits_for = Some(name);
            return Ok(Claim::Wait(job));
        }
        let (name, room) = (Symbol::of(symbol)?, UninitArc::new()?);
        self.jobs.try_reserve(1).map_err(|_| AllocError)?;
        let limit = usize::try_from(max_depth).unwrap_or(usize::MAX);
        let begun = self.activity(thread)?.begin(&name, limit);
        if !matches!(begun, Ok(true)) {
            self.end_wait(thread);
            begun?;
            let error = InstantiateError::Depth { limit: max_depth };
            return Ok(Claim::Is(JitResult::failed(name, None, error)));
        }
        let job = room.fill(Job { thread, done: AtomicBool::new(false) });
        self.jobs.insert(name.clone(), job.clone());
        Ok(Claim::Make(name, job))
    }

    /// What a thread is at.
    fn activity(&mut self, thread: i32) -> Result<&mut Activity, AllocError> {
        let known = self.threads.iter().position(|activity| activity.thread == thread);
        let at = known.unwrap_or(self.threads.len());
        if known.is_none() {
            let (stack, made) = (Vec::new(), Vec::new());
            try_push(&mut self.threads, Activity { thread, stack, waits_for: None, made })?;
        }
        self.threads.get_mut(at).ok_or(AllocError)
    }

    /// Ends the waiting of a thread.
    pub(super) fn end_wait(&mut self, thread: i32) {
        if let Some(activity) = self.threads.iter_mut().find(|a| a.thread == thread) {
            activity.waits_for = None;
        }
        self.threads.retain(|activity| {
            !activity.stack.is_empty() || activity.waits_for.is_some() || activity.thread != thread
        });
    }

    /// The circle that would close if `thread` waited for `symbol`: from that on, and closed by it.
    fn cycle(&self, thread: i32, symbol: &Symbol) -> Result<Option<Vec<Symbol>>, AllocError> {
        let mut cycle = Vec::new();
        let mut next = symbol;
        for _ in 0..=self.threads.len() {
            let Some((owner, waits_for, made)) = self.made_for(next) else { break };
            for symbol in made {
                try_push(&mut cycle, symbol.clone())?;
            }
            if owner == thread {
                try_push(&mut cycle, symbol.clone())?;
                return Ok(Some(cycle));
            }
            let Some(waited) = waits_for else { break };
            next = waited;
        }
        Ok(None)
    }

    /// Who is making a symbol, what that thread waits for, and what it makes from that symbol on.
    fn made_for(&self, symbol: &Symbol) -> Option<(i32, Option<&Symbol>, &[Symbol])> {
        let owner = self.jobs.get(symbol)?.thread;
        let activity = self.threads.iter().find(|activity| activity.thread == owner)?;
        let from = activity.stack.iter().position(|made| made == symbol)?;
        Some((owner, activity.waits_for.as_ref(), activity.stack.get(from..)?))
    }

    /// Ends the making of what a thread has begun last. Returns what modules are to be told of, when the
    /// thread is done with all that it makes.
    pub(super) fn finish(
        &mut self,
        thread: i32,
        symbol: &Symbol,
        failure: Option<&JitResult>,
        told: NoteUpdates,
    ) -> Vec<NoteUpdate> {
        self.jobs.remove(symbol);
        // Without memory for it, it is found out again.
        if let Some(failure) = failure.filter(|failure| failure.is_lasting())
            && self.failed.try_reserve(1).is_ok()
            && let Ok(failure) = failure.copy()
        {
            self.failed.insert(symbol.clone(), failure);
        }
        let Some(at) = self.threads.iter().position(|a| a.thread == thread) else {
            return Vec::new();
        };
        let Some(activity) = self.threads.get_mut(at) else { return Vec::new() };
        activity.stack.pop();
        // There is room: it was made when this began.
        activity.made.extend(told);
        if !activity.stack.is_empty() {
            return Vec::new();
        }
        self.threads.swap_remove(at).made
    }
}

fn row_of(modules: &[TryArc<Module>], possible: &Possible) -> Option<Row> {
    modules.get(usize::try_from(possible.module).ok()?)?.row(possible.row)
}

#[inline]
fn is_symbol(modules: &[TryArc<Module>], possible: &Possible, hash: u64, symbol: &[u8]) -> bool {
    if possible.hash != (hash >> 32) as u32 || u64::from(possible.len) != symbol.len() as u64 {
        return false;
    }
    if let Some(inside) = possible.short.get(..symbol.len()) {
        return inside == symbol;
    }
    let module = usize::try_from(possible.module).ok().and_then(|at| modules.get(at));
    let span = super::module::Span { start: possible.start, len: possible.len };
    module.is_some_and(|module| module.text(span).as_bytes() == symbol)
}
