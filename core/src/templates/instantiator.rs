//! The instantiator: who is asked for a symbol that nobody has.

use alloc::alloc::handle_alloc_error;
use alloc::boxed::Box;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::alloc::Layout;
use core::fmt;
use core::hint;
use core::sync::atomic::{AtomicUsize, Ordering};
use core::time::Duration;

use super::compiler::{Compiler, PrecompiledBodies, TypedBodies};
use super::error::{MetadataError, UpdateError};
use super::instance_table::{Instance, InstanceTable};
use super::module::{Home, Module};
use super::state::{Claim, Entry, Job, NoteUpdate, State};
use crate::alloc_util::{
    AllocError, AttachResult, Shared, try_box, try_collect, try_copy_bytes, try_copy_str, try_push,
    try_to_string,
};
use crate::link::Resolve;
use crate::memory::code_alloc::CodeMemory;
use crate::memory::lock::{Lock, LockGuard};
use crate::memory::{sleep, thread_id, yield_now};

mod making;
mod result;

use making::{InstanceRequest, Instantiation};
pub use result::{Failure, JitResult};

/// How an instantiator works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JitConfig {
    /// Whether modules are told at once of what was made of them: in memory, and in their files.
    pub update_smf: bool,
    /// How many instances may be in the making at once, each for the one before it.
    pub max_depth: u32,
    /// Whether anything is made at all.
    pub enabled: bool,
    /// Whether the [`Observer`] is told what happens, in words.
    pub verbose: bool,
    /// Whether code that a module's file keeps is used, and what is compiled is kept there when the module
    /// is told.
    pub keep_code: bool,
}

impl Default for JitConfig {
    /// Modules are told, 50 instances deep, switched on, silent, and no code is kept.
    fn default() -> Self {
        Self { update_smf: true, max_depth: 50, enabled: true, verbose: false, keep_code: false }
    }
}

/// How much there is in an instantiator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JitStats {
    /// Instances that were made.
    pub cached_count: usize,
    /// Modules whose note was loaded.
    pub loaded_smf_count: usize,
    /// Symbols that are remembered as not to be made.
    pub failed_count: usize,
    /// Instances whose code was kept in a file, and was taken from there.
    pub kept_count: usize,
    /// Instances that were compiled although a file kept code for them: it was made of another template, by
    /// another compiler, for another processor, or what it calls is no longer what it was.
    pub stale_count: usize,
}

/// What a module says of a symbol that it may become.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PossibleEntry {
    /// The path of the module, or its name.
    pub path: Box<[u8]>,
    /// The template.
    pub template: String,
    /// Its type arguments as the note spells them.
    pub type_args: String,
    /// The symbol.
    pub mangled_name: String,
}

/// Who is told of what an instantiator does.
pub trait Observer: Send + Sync {
    /// Code was made, and nobody can find it yet. What is returned is dropped before the code is.
    ///
    /// # Errors
    /// No memory; there is no instance then.
    fn made(&self, symbol: &[u8], code: core::ops::Range<usize>) -> AttachResult {
        let _ = (symbol, code);
        Ok(None)
    }

    /// Something happened, in words; only when [`JitConfig::verbose`].
    fn say(&self, what: &str) {
        let _ = what;
    }
}

/// Makes instances of templates when somebody asks for their symbols. Used by reference from any thread;
/// [the room](super) says what it promises.
pub struct JitInstantiator {
    config: JitConfig,
    compilers: Vec<Shared<dyn Compiler>>,
    symbols: Option<Shared<dyn Resolve + Send + Sync>>,
    observer: Option<Shared<dyn Observer>>,
    state: Lock<State>,
    made: InstanceTable,
    /// Instances taken from files, and those that were passed over there.
    kept: AtomicUsize,
    stale: AtomicUsize,
    /// Dropped after the code in it.
    memory: CodeMemory,
}

impl JitInstantiator {
    /// An instantiator without modules, whose compilers are [`PrecompiledBodies`] and, with the feature `full`,
    /// [`TypedBodies`], with memory for code of its own. Ends the process when there is no memory, which
    /// [`try_new`](Self::try_new) does not.
    pub fn new(config: JitConfig) -> Self {
        let made = Self::try_new(config, CodeMemory::default());
        made.unwrap_or_else(|AllocError| handle_alloc_error(Layout::new::<Self>()))
    }

    /// As [`new`](Self::new), with this memory for code.
    ///
    /// # Errors
    /// No memory.
    pub fn try_new(config: JitConfig, memory: CodeMemory) -> Result<Self, AllocError> {
        let jit = Self {
            config,
            compilers: Vec::new(),
            symbols: None,
            observer: None,
            state: Lock::new(State::default()),
            made: InstanceTable::new(),
            kept: AtomicUsize::new(0),
            stale: AtomicUsize::new(0),
            memory,
        };
        let jit = jit.try_with_compiler(try_box(PrecompiledBodies)?)?;
        if cfg!(feature = "full") {
            return jit.try_with_compiler(try_box(TypedBodies::new())?);
        }
        Ok(jit)
    }

    /// With one more compiler, which is asked after the others whether it takes a body.
    #[must_use]
    pub fn with_compiler(mut self, compiler: Arc<dyn Compiler>) -> Self {
        self.compilers.push(Shared::Arc(compiler));
        self
    }

    /// As [`with_compiler`](Self::with_compiler), for who has no memory for an `Arc`.
    ///
    /// # Errors
    /// No memory.
    pub fn try_with_compiler(mut self, compiler: Box<dyn Compiler>) -> Result<Self, AllocError> {
        try_push(&mut self.compilers, Shared::of(compiler)?)?;
        Ok(self)
    }

    /// With somebody who knows the symbols that code needs and that are no instances.
    #[must_use]
    pub fn with_symbols(self, symbols: Arc<dyn Resolve + Send + Sync>) -> Self {
        Self { symbols: Some(Shared::Arc(symbols)), ..self }
    }

    /// With somebody who is told.
    #[must_use]
    pub fn with_observer(self, observer: Arc<dyn Observer>) -> Self {
        Self { observer: Some(Shared::Arc(observer)), ..self }
    }

    /// As [`with_observer`](Self::with_observer), for who has no memory for an `Arc`.
    ///
    /// # Errors
    /// No memory.
    pub fn try_with_observer(self, observer: Box<dyn Observer>) -> Result<Self, AllocError> {
        Ok(Self { observer: Some(Shared::of(observer)?), ..self })
    }

    /// With this memory for code.
    #[must_use]
    pub fn with_memory(self, memory: CodeMemory) -> Self {
        Self { memory, ..self }
    }

    /// How it works.
    pub fn config(&self) -> &JitConfig {
        &self.config
    }

    fn state(&self) -> LockGuard<'_, State> {
        self.state.lock()
    }

    /// Says it to who is to hear it. What there is no memory for is not said.
    fn say(&self, what: fmt::Arguments<'_>) {
        let told = self.observer.as_ref().filter(|_| self.config.verbose);
        if let Some((observer, what)) =
            told.and_then(|told| Some((told, try_to_string(what).ok()?)))
        {
            observer.say(&what);
        }
    }

    /// Loads the note and the templates of the module at `path`. One that was loaded under the same path
    /// before is forgotten; what was made of it stays. What could not be made may be tried again.
    ///
    /// # Errors
    /// [`MetadataError`]; everything is then as it was.
    pub fn load_smf_metadata(&self, path: &[u8]) -> Result<(), MetadataError> {
        let module = Module::read(path, self.config.keep_code)?;
        self.enter(module)
    }

    /// As [`load_smf_metadata`](Self::load_smf_metadata), of the module called `module` in the archive at
    /// `path`, which is known as `path(module)` from then on. When it is told of its instances, the archive
    /// is replaced as a whole, and its other modules are what they were.
    ///
    /// # Errors
    /// As there; [`MetadataError::NoModule`].
    pub fn load_archived_metadata(&self, path: &[u8], module: &str) -> Result<(), MetadataError> {
        self.enter(Module::read_archived(path, module, self.config.keep_code)?)
    }

    /// As [`load_smf_metadata`](Self::load_smf_metadata), of a module whose bytes are given; it is told
    /// of its instances in memory alone. `name` stands for its path.
    ///
    /// # Errors
    /// As there.
    pub fn load_smf_bytes(&self, name: &[u8], bytes: &[u8]) -> Result<(), MetadataError> {
        self.enter(Module::parse(name, Home::Memory, self.config.keep_code, bytes)?)
    }

    fn enter(&self, module: Module) -> Result<(), MetadataError> {
        let module = self.state().enter(module)?;
        let (path, rows) = (module.path.escape_ascii(), module.rows.len());
        self.say(format_args!("{path}: {rows} possible instances"));
        Ok(())
    }

    /// Whether a loaded module says how to make `symbol`, and anything is made at all.
    #[inline]
    pub fn can_jit_instantiate(&self, symbol: &[u8]) -> bool {
        self.config.enabled && self.state().is_possible(symbol)
    }

    /// What the first module that says how to make `symbol` says. Ends the process when there is no memory,
    /// which [`try_find_possible`](Self::try_find_possible) does not.
    pub fn find_possible(&self, symbol: &[u8]) -> Option<PossibleEntry> {
        let found = self.try_find_possible(symbol);
        found.unwrap_or_else(|AllocError| handle_alloc_error(Layout::for_value(symbol)))
    }

    /// As [`find_possible`](Self::find_possible).
    ///
    /// # Errors
    /// No memory.
    pub fn try_find_possible(&self, symbol: &[u8]) -> Result<Option<PossibleEntry>, AllocError> {
        let Some(Entry { module, row }) = self.state().find_possible(symbol) else {
            return Ok(None);
        };
        Ok(Some(PossibleEntry {
            path: try_copy_bytes(&module.path)?,
            template: try_copy_str(module.row_template(&row))?,
            type_args: try_copy_str(module.row_arguments(&row))?,
            mangled_name: try_copy_str(module.text(row.symbol))?,
        }))
    }

    /// The note of a loaded module as it is in memory. Ends the process when there is no memory, which
    /// [`try_note`](Self::try_note) does not.
    pub fn note(&self, path: &[u8]) -> Option<Vec<u8>> {
        let note = self.try_note(path);
        note.unwrap_or_else(|AllocError| handle_alloc_error(Layout::for_value(path)))
    }

    /// As [`note`](Self::note).
    ///
    /// # Errors
    /// No memory.
    pub fn try_note(&self, path: &[u8]) -> Result<Option<Vec<u8>>, AllocError> {
        let module = self.state().module(path);
        module.map(|module| module.note()).transpose()
    }

    /// How much there is.
    pub fn stats(&self) -> JitStats {
        let state = self.state();
        JitStats {
            cached_count: self.made.count(),
            loaded_smf_count: state.modules().len(),
            failed_count: state.failed(),
            kept_count: self.kept.load(Ordering::Relaxed),
            stale_count: self.stale.load(Ordering::Relaxed),
        }
    }

    /// Where the instance of this symbol is, if it has been made.
    #[inline]
    pub fn address(&self, symbol: &[u8]) -> Option<u64> {
        self.made.address(symbol)
    }

    /// The instance of this symbol, if it has been made.
    pub fn instance(&self, symbol: &[u8]) -> Option<Instance> {
        self.made.find(symbol)
    }

    /// The instance in whose code an address is: that of a [`Trap`](crate::trap::Trap), say. Looks
    /// through all of them.
    pub fn instance_at(&self, address: u64) -> Option<Instance> {
        self.made.at(address)
    }

    /// The instance of this symbol, made now if it is not there yet, together with the instances that it
    /// calls. Waits for another thread that is making it.
    pub fn try_jit_instantiate(&self, symbol: &[u8]) -> JitResult {
        if !self.config.enabled {
            return JitResult::not_found(symbol);
        }
        if let Some(instance) = self.made.find(symbol) {
            return JitResult::Success(instance);
        }
        self.make(symbol, None)
    }

    /// Tells modules of everything that was made of them and that they were not told yet: of all when
    /// [`JitConfig::update_smf`] is off.
    ///
    /// # Errors
    /// The first one; the other modules are told all the same.
    pub fn update(&self) -> Result<(), UpdateError> {
        let modules = try_collect(self.state().modules().iter().cloned())?;
        let mut told = Ok(());
        for module in &modules {
            told = told.and(module.write_pending());
        }
        told
    }

    /// Makes an instance, of a row or of what is given, or waits until another thread has.
    fn make(&self, symbol: &[u8], given: Option<&InstanceRequest<'_>>) -> JitResult {
        let thread = thread_id();
        loop {
            let (turn, entry) = {
                let mut state = self.state();
                // Another thread may have been faster.
                if let Some(instance) = self.made.find(symbol) {
                    return JitResult::Success(instance);
                }
                let entry = state.find(symbol);
                if entry.is_none() && given.is_none() {
                    return JitResult::not_found(symbol);
                }
                (state.turn(thread, symbol, self.config.max_depth), entry)
            };
            let Ok(turn) = turn else { return JitResult::AllocError };
            match turn {
                Claim::Is(result) => return result,
                Claim::Wait(job) => {
                    wait(&job);
                    self.state().end_wait(thread);
                }
                Claim::Make(symbol, job) => {
                    return Instantiation::new(self, thread, (symbol, job), entry).run(given);
                }
            }
        }
    }

    fn compiler(&self, body: &[u8]) -> Option<&Shared<dyn Compiler>> {
        self.compilers.iter().find(|compiler| compiler.recognizes(body))
    }

    /// Tells modules of what was made of them; the first error.
    fn tell(&self, made: &[NoteUpdate]) -> Result<(), UpdateError> {
        let symbols = || made.iter().filter_map(|told| Some((&told.module, told.symbol.as_ref()?)));
        let mut told = Ok(());
        for (module, symbol) in symbols() {
            told = told.and(module.add_pending(symbol));
        }
        if !self.config.update_smf {
            return Ok(told?);
        }
        let mut state = self.state();
        for (module, symbol) in symbols() {
            state.forget_made(module, symbol);
        }
        drop(state);
        let mut told = told.map_err(UpdateError::from);
        for NoteUpdate { module, .. } in made {
            // Each module is written once: it has nothing pending afterwards.
            let update = module.write_pending();
            if let Err(error) = update {
                self.say(format_args!("{}: {error}", module.path.escape_ascii()));
            }
            told = told.and(update);
        }
        told
    }
}

impl fmt::Debug for JitInstantiator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { config, .. } = self;
        f.debug_struct("JitInstantiator")
            .field("config", config)
            .field("stats", &self.stats())
            .finish_non_exhaustive()
    }
}

/// Waits until a job is done: first awake, because most are within microseconds.
fn wait(job: &Job) {
    let mut looks = 0u32;
    while !job.done.load(Ordering::Acquire) {
        looks = looks.saturating_add(1);
        match looks {
            ..100 => hint::spin_loop(),
            100..1000 => yield_now(),
            _ => sleep(Duration::from_micros(100)),
        }
    }
}
