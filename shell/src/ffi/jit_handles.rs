//! The open instantiators of C, and the compiler callback of each.
#![allow(unsafe_code)]

use std::cell::RefCell;
use std::ffi::{OsStr, c_char, c_void};
use std::ops::Range;
use std::os::unix::ffi::OsStrExt;
use std::sync::{Mutex, PoisonError};

use smf_core::alloc_util::{AllocError, AttachResult, TryArc, try_copy_bytes, try_push};
use smf_core::codegen::registry::{CodeRegistry, Edge, GeneratedCode, Phase};
use smf_core::format::{Layout, RelocKind};
use smf_core::link::Resolve;
use smf_core::loader::{LoadError, ModuleBytes, ModuleLoader};
use smf_core::templates::{
    CodeReloc, CompileError, CompileRequest, Compiled, Compiler, Environment, InstantiateError,
    JitInstantiator, JitSymbolResolver, Observer, Target,
};

use super::args::to_i64;
use super::blocks::SharedAllocator;
use super::cache_handles::CacheHandle;
use super::cptr::Callback;
use super::error::{ApiError, ArgumentError};
use super::handle_table::{HandleTable, Object};
use super::loader_handles::{self, SetJit};
use super::missing::with_nul;
use super::registered_symbols::RegisteredSymbols;
use crate::fork::Users;
use crate::jit::Announce;
use crate::link_failures;
use crate::loader_templates::{InstanceError, UnreadableModules};
use crate::types_json::types_to_text;

pub(super) static JITS: HandleTable<OpenJit> = HandleTable::new();

/// An instantiator with its compiler callback.
pub(super) struct OpenJit {
    pub(super) shared: TryArc<SharedJit>,
    pub(super) compiler: TryArc<CallbackCompiler>,
    pub(super) cache: TryArc<CacheHandle>,
    pub(super) _memory: SharedAllocator,
}

impl Object for OpenJit {
    const TAG: u32 = 1 << 28;
    const NAME: &'static str = "instantiator";
}

impl OpenJit {
    pub(super) fn jit(&self) -> &JitInstantiator {
        self.shared.resolver.instantiator()
    }
}

/// [`Announce`], which also evicts files that an instantiator replaces from its cache.
pub(super) struct JitObserver {
    pub(super) cache: TryArc<CacheHandle>,
}

impl CodeRegistry for JitObserver {
    fn on_phase(&self, phase: Phase, edge: Edge, subject: &[u8]) {
        Announce.on_phase(phase, edge, subject);
    }

    fn needs_lines(&self) -> bool {
        Announce.needs_lines()
    }

    fn register(&self, code: GeneratedCode<'_>) -> AttachResult {
        Announce.register(code)
    }
}

impl Observer for JitObserver {
    fn made(&self, symbol: &[u8], code: Range<usize>) -> AttachResult {
        Announce.made(symbol, code)
    }

    fn replaced(&self, path: &[u8]) {
        // A cache that was closed has no files.
        if let Ok(Some(cache)) = self.cache.enter() {
            cache.evict(path);
        }
    }

    fn say(&self, message: &str) {
        Announce.say(message);
    }
}

/// Shared by an instantiator and the loaders that it was set for. Loaders use it without its handle, so threads are
/// counted here as well.
pub(super) struct SharedJit {
    pub(super) resolver: JitSymbolResolver,
    pub(super) users: Users,
    /// Modules of the loaders.
    pub(super) unreadable: UnreadableModules,
}

impl SharedJit {
    /// Adds the templates and the note of a module of the loader that asks; without bytes, withdraws those of one that is not
    /// loaded any more. Malformed ones are reported for names that have no template.
    fn set_module(&self, name: &[u8], bytes: Option<&ModuleBytes>) {
        if let Some(_user) = self.users.enter() {
            let jit = self.resolver.instantiator();
            let read = bytes.map_or(Ok(()), |bytes| jit.load_read_metadata(name, bytes.as_slice()));
            if bytes.is_none() {
                jit.forget_read_metadata(name);
            }
            self.unreadable.set(asking_loader(), name, read);
        }
    }

    /// The error of a name without a template, which may be in a module that cannot be read.
    pub(super) fn unreadable_error(&self, name: &[u8]) -> Option<InstanceError> {
        self.unreadable.error_for(asking_loader(), name)
    }

    /// In a child process `None` if a thread was using the instantiator at the fork.
    fn resolve(&self, name: &[u8]) -> Option<u64> {
        let _user = self.users.enter()?;
        match self.resolver.try_resolve(name) {
            Ok(address) => Some(address),
            Err(InstantiateError::NotFound { .. }) => {
                if let Some(error) = self.unreadable_error(name) {
                    link_failures::record(&error);
                }
                None
            }
            Err(error) => {
                link_failures::record(&error);
                None
            }
        }
    }
}

/// An instantiator as the fallback resolver and the module sink of a loader.
pub(super) struct LoaderJit {
    shared: TryArc<SharedJit>,
    /// The handle of the loader.
    loader: u64,
}

thread_local! {
    /// The loader for which this thread uses an instantiator; not while the thread is exiting.
    static ASKING: RefCell<Option<TryArc<LoaderJit>>> = const { RefCell::new(None) };
}

/// The handle of the loader for which this thread uses an instantiator; 0 without one.
pub(super) fn asking_loader() -> u64 {
    let handle = |asking: &RefCell<Option<TryArc<LoaderJit>>>| {
        asking.borrow().as_ref().map_or(0, |asking| asking.loader)
    };
    ASKING.try_with(handle).unwrap_or(0)
}

/// The modules of a loader in an instantiator, which forgets them when the loader is closed.
pub(super) struct LoaderModules {
    pub(super) shared: TryArc<SharedJit>,
    /// The handle of the loader.
    pub(super) loader: u64,
}

impl LoaderModules {
    fn remove(&self, remove: impl FnOnce(&JitInstantiator)) {
        if let Some(_user) = self.shared.users.enter() {
            remove(self.shared.resolver.instantiator());
            self.shared.unreadable.forget_owner(self.loader);
        }
    }
}

impl SetJit for LoaderModules {
    fn withdraw_modules(&self) {
        self.remove(|jit| jit.withdraw_owner(self.loader));
    }
}

impl Drop for LoaderModules {
    fn drop(&mut self) {
        self.remove(|jit| jit.forget_owner(self.loader));
    }
}

impl LoaderJit {
    pub(super) fn new(shared: TryArc<SharedJit>, loader: u64) -> Result<TryArc<Self>, AllocError> {
        TryArc::new(Self { shared, loader })
    }

    /// The address of `name`, or else of its instance.
    pub(super) fn resolve(this: &TryArc<Self>, name: &[u8]) -> Option<u64> {
        Self::ask(this, |shared| shared.resolve(name))
    }

    /// Passes what a name of a module has now to the instantiator.
    pub(super) fn set_module(this: &TryArc<Self>, name: &[u8], bytes: Option<&ModuleBytes>) {
        Self::ask(this, |shared| shared.set_module(name, bytes));
    }

    /// Uses the instantiator for the loader.
    fn ask<T>(this: &TryArc<Self>, act: impl FnOnce(&SharedJit) -> T) -> T {
        let replace = |asking| ASKING.try_with(|current| current.replace(asking));
        let outer = replace(Some(this.clone()));
        let done = act(&this.shared);
        if let Ok(outer) = outer {
            let _ = replace(outer);
        }
        done
    }

    /// What `find` finds in the modules of the loader for whose import this thread makes an instance; `None` without one.
    ///
    /// # Errors
    /// That of `find`, [`ApiError::NotOpen`] and [`ApiError::InUseAtFork`].
    fn find(
        find: impl FnOnce(&ModuleLoader) -> Result<Option<u64>, LoadError>,
    ) -> Result<Option<u64>, ApiError> {
        let asking = ASKING.try_with(|asking| asking.borrow().clone());
        let Some(asking) = asking.ok().flatten() else { return Ok(None) };
        let loader = loader_handles::enter(asking.loader)?;
        let found = find(loader.modules()).inspect_err(|error| link_failures::record(error));
        Ok(found?)
    }
}

/// The functions that instances call: those of the template's module, else registered ones, else those of the loader whose
/// import an instance is.
pub(super) struct InstanceSymbols;

impl Resolve for InstanceSymbols {
    fn resolve(&self, name: &[u8]) -> Option<u64> {
        let registered = RegisteredSymbols::default().resolve(name);
        registered.or_else(|| LoaderJit::find(|modules| modules.resolve_import(name)).ok()?)
    }

    fn resolve_for(&self, module: &[u8], name: &[u8]) -> Option<u64> {
        let own = LoaderJit::find(|modules| modules.resolve_import_from(module, name));
        own.ok()?.or_else(|| self.resolve(name))
    }
}

/// Calls `act` with an instantiator, which cannot be closed meanwhile.
///
/// # Errors
/// [`ApiError::NotOpen`], [`ApiError::InUseAtFork`], and those of `act`.
pub(super) fn with<T>(
    jit: u64,
    act: impl FnOnce(&OpenJit) -> Result<T, ApiError>,
) -> Result<T, ApiError> {
    let lease = JITS.enter(jit)?.lease();
    let _user = lease.shared.users.enter().ok_or_else(|| ApiError::InUseAtFork { handle: jit })?;
    act(&lease)
}

/// A template to be compiled. All pointers are valid until the compiler returns.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct SmfTemplate {
    /// `sizeof(SmfTemplate)`.
    pub size: i64,
    /// The symbol of the instance, NUL-terminated.
    pub symbol: *const c_char,
    /// The name of the template, NUL-terminated.
    pub name: *const c_char,
    /// The body of the template.
    pub body: *const u8,
    /// The length of the body in bytes.
    pub body_length: i64,
    /// The type arguments: a JSON array, NUL-terminated.
    pub types: *const c_char,
}

/// A compiler callback: receives a unit, a template and the user pointer, and calls `smf_jit_emit` and
/// `smf_jit_relocate`, or `smf_jit_fail`, for the unit. Returns whether it emitted code.
pub type SmfCompiler = Option<unsafe extern "C" fn(u64, *const SmfTemplate, *mut c_void) -> bool>;

type CompilerFn = unsafe extern "C" fn(u64, *const SmfTemplate, *mut c_void) -> bool;

/// The compiler that C has set, if any.
#[derive(Default)]
pub(super) struct CallbackCompiler(Mutex<Option<Callback<CompilerFn>>>);

/// The output of a callback for one unit.
#[derive(Default)]
struct Unit {
    number: u64,
    code: Vec<u8>,
    /// Each with the name of its target, which is empty for the code itself.
    relocations: Vec<(CodeReloc, Box<[u8]>)>,
    failure: Option<CompileError>,
    /// Whether an allocation for the output failed.
    alloc_failed: bool,
}

thread_local! {
    /// The units being compiled on this thread; each was started while the one before it was being compiled.
    static UNITS: RefCell<Vec<Unit>> = const { RefCell::new(Vec::new()) };
}

/// The most code of one unit, in bytes.
pub(super) const MAX_CODE: usize = 1 << 28;

impl CallbackCompiler {
    /// # Safety
    /// The function may be called with any unit, from any thread, while the instantiator is open, and does not unwind.
    pub(super) unsafe fn set(&self, function: SmfCompiler, user: *mut c_void) {
        let callback = function.map(|function| Callback { function, user });
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = callback;
    }

    fn get(&self) -> Option<Callback<CompilerFn>> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Compiler for CallbackCompiler {
    fn recognizes(&self, _: &[u8]) -> bool {
        self.get().is_some()
    }

    fn compile(
        &self,
        request: &CompileRequest<'_>,
        environment: &mut dyn Environment,
    ) -> Result<Compiled, CompileError> {
        let none = CompileError::because("the compiler was removed");
        let Callback { function, user } = self.get().ok_or(none)?;
        let text = |bytes: &[u8]| match bytes.contains(&0) {
            true => Err(CompileError::because("a name contains a NUL")),
            false => Ok(with_nul(bytes)?),
        };
        let types = text(&types_to_text(request.arguments)?)?;
        let (symbol, name) = (text(request.symbol)?, text(request.template)?);
        let template = SmfTemplate {
            size: size_of::<SmfTemplate>() as i64,
            symbol: symbol.as_ptr().cast(),
            name: name.as_ptr().cast(),
            body: request.body.as_ptr(),
            body_length: to_i64(request.body.len()),
            types: types.as_ptr().cast(),
        };
        let add = |units: &RefCell<Vec<Unit>>| {
            let mut units = units.borrow_mut();
            let number = units.len() as u64 + 1;
            try_push(&mut units, Unit { number, ..Unit::default() }).map(|()| number)
        };
        let exiting = |_| CompileError::because("the thread is exiting");
        let number = UNITS.try_with(add).map_err(exiting)??;
        // SAFETY: by the contract of `set`; the template and its pointers are valid until the callback returns.
        let done = unsafe { function(number, &raw const template, user) };
        let unit = UNITS.try_with(|units| units.borrow_mut().pop()).ok().flatten();
        let unit = unit.unwrap_or_default();
        unit.finish(done, environment)
    }
}

impl Unit {
    fn finish(
        self,
        done: bool,
        environment: &mut dyn Environment,
    ) -> Result<Compiled, CompileError> {
        // Reported first: other failures may follow from it, and a retry may succeed.
        if self.alloc_failed {
            return Err(AllocError.into());
        }
        if let Some(failure) = self.failure {
            return Err(failure);
        }
        if !done {
            return Err(CompileError::because("the compiler failed without a reason"));
        }
        let mut relocations = Vec::new();
        for (mut reloc, symbol) in self.relocations {
            if !symbol.is_empty() {
                reloc.target = environment.symbol(&symbol)?;
            }
            try_push(&mut relocations, reloc)?;
        }
        Ok(Compiled { code: self.code, relocations })
    }
}

/// Calls `act` with the unit being compiled on this thread.
fn with_unit(
    unit: u64,
    act: impl FnOnce(&mut Unit) -> Result<(), ApiError>,
) -> Result<(), ApiError> {
    let of_thread = |units: &RefCell<Vec<Unit>>| match units.borrow_mut().last_mut() {
        Some(current) if current.number == unit => act(current),
        _ => Err(ApiError::NotCompiling { unit }),
    };
    UNITS.try_with(of_thread).unwrap_or(Err(ApiError::NotCompiling { unit }))
}

/// Appends code to a unit.
pub(super) fn emit(unit: u64, code: &[u8]) -> Result<(), ApiError> {
    with_unit(unit, |unit| {
        let fits = code.len() <= MAX_CODE.saturating_sub(unit.code.len());
        unit.alloc_failed |= fits && unit.code.try_reserve(code.len()).is_err();
        if !fits || unit.alloc_failed {
            return Err(ApiError::NoMemory { bytes: code.len() });
        }
        unit.code.extend_from_slice(code);
        Ok(())
    })
}

/// Adds a relocation to a unit.
pub(super) fn relocate(
    unit: u64,
    offset: i64,
    kind: i32,
    symbol: &[u8],
    addend: i64,
) -> Result<(), ApiError> {
    let offset =
        u32::try_from(offset).map_err(|_| ArgumentError::unknown("offset in code", offset))?;
    let known = u8::try_from(kind).ok().map(|kind| Layout::Native.reloc_kind(kind));
    let known = known.filter(|kind| !matches!(kind, RelocKind::Unknown(_) | RelocKind::None));
    let kind = known.ok_or(ArgumentError::unknown("relocation kind", kind))?;
    with_unit(unit, |unit| {
        let reloc = CodeReloc { offset, kind, target: Target::OWN, addend };
        let symbol = try_copy_bytes(symbol);
        let added = symbol.and_then(|symbol| try_push(&mut unit.relocations, (reloc, symbol)));
        Ok(added.inspect_err(|AllocError| unit.alloc_failed = true)?)
    })
}

/// Records why a unit cannot be compiled.
pub(super) fn fail(unit: u64, reason: &[u8]) -> Result<(), ApiError> {
    with_unit(unit, |unit| {
        unit.failure = Some(CompileError::because(OsStr::from_bytes(reason).display()));
        Ok(())
    })
}
