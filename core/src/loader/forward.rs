//! Functions of modules that are being loaded, for code that the fallback resolver makes meanwhile.
//!
//! An instance of a template that a module imports may call that module, whose load can still fail, and whose image has
//! another address in the next attempt. Such code therefore calls a stub. It leads to the function from the commit of the
//! module on; before that, and after the memory of the unloaded module is freed, a call ends the process with a message.

use alloc::vec::Vec;

use super::bytes::OwnedExports;
use super::error::{LoadError, Result};
use super::handle::ModuleHandle;
use super::options::Context;
use super::stub_table::StubTable;
use super::version::Version;
use crate::alloc_util::{AllocError, TryArc, try_collect, try_concat, try_push};
use crate::format::SymbolKind;
use crate::link::{Export, Name};
use crate::memory::lock::{Lock, LockGuard};
use crate::memory::thread_id;

/// The load sets in progress, and the stubs for functions of their members.
#[derive(Default)]
pub(super) struct ForwardFunctions(Lock<State>);

#[derive(Default)]
struct State {
    loading: Vec<Loading>,
    /// The number of the next load set.
    next_set: u64,
    stubs: Option<TryArc<StubTable>>,
    references: Vec<Reference>,
}

/// A mapped member of a load set.
struct Loading {
    set: u64,
    /// Its number in the load set.
    member: u32,
    /// The thread that loads it.
    thread: i32,
    module: Name,
    exports: OwnedExports,
}

/// A stub for a function of a member of a load set.
pub(super) struct ForwardStub {
    pub(super) set: u64,
    pub(super) member: u32,
    pub(super) address: u64,
    /// Its name among the stubs.
    pub(super) key: Name,
}

/// A function of a module, which may not be loaded yet.
#[derive(Clone)]
struct Target {
    /// The name of the stub, which is different for each module and function.
    key: Name,
    module: Name,
    function: Name,
}

impl Target {
    fn new(module: &Name, function: &[u8]) -> Result<Self, AllocError> {
        // A name of a symbol contains no NUL.
        let key = Name::new(&try_concat(&[function, b"\0", module])?)?;
        Ok(Self { key, module: module.clone(), function: Name::new(function)? })
    }
}

/// A function that has a stub.
struct Reference {
    target: Target,
    /// The module to which the stub leads.
    module: Option<ModuleHandle>,
    /// Whether that module was unloaded. Calls may be inside of it until its memory is freed.
    is_unloaded: bool,
}

impl Reference {
    /// Whether a new module may define the function.
    fn is_open(&self) -> bool {
        self.module.is_none() || self.is_unloaded
    }
}

/// A stub that is going to lead to a function of a new module.
pub(super) struct Binding {
    /// The name of the stub.
    key: Name,
    /// The number of the member that defines it.
    member: usize,
    address: u64,
}

/// Stubs that are about to lead to functions of new modules, while no other is made.
pub(super) struct ForwardBinding<'f> {
    forward: LockGuard<'f, State>,
    bindings: Vec<Binding>,
}

impl ForwardBinding<'_> {
    /// Lets the stubs lead to functions of the modules with these handles.
    pub(super) fn bind(mut self, handles: &[ModuleHandle]) {
        let State { stubs: Some(stubs), references, .. } = &mut *self.forward else { return };
        for Binding { key, member, address } in &self.bindings {
            let mut unbound = references.iter_mut().filter(|known| known.is_open());
            if let Some(reference) = unbound.find(|known| known.target.key == *key) {
                stubs.set_target(key, *address);
                (reference.module, reference.is_unloaded) = (handles.get(*member).copied(), false);
            }
        }
    }
}

/// Where a stub leads while no module defines its function.
extern "C" fn not_loaded() -> u64 {
    unreachable!(
        "a function of a module that is not loaded was called by code that was made for the module"
    )
}

/// The address of [`not_loaded`].
fn missing() -> u64 {
    not_loaded as *const () as usize as u64
}

impl State {
    /// The member that this thread loads and that exports the function; only the one called `module` if that is given.
    fn find_loading(&self, module: Option<&[u8]>, function: &[u8]) -> Option<&Loading> {
        let thread = thread_id();
        self.loading.iter().find(|loading| {
            loading.thread == thread
                && module.is_none_or(|module| *loading.module == *module)
                && loading.exports.find(function).as_ref().is_some_and(is_function)
        })
    }
}

fn is_function(export: &Export) -> bool {
    matches!(export.kind, SymbolKind::Function | SymbolKind::None) && export.address != 0
}

impl ForwardFunctions {
    /// A stub for the function `name` of a module that this thread is loading, of that called `module` if it is given; `None`
    /// if no such module exports it.
    ///
    /// # Errors
    /// [`LoadError::Stub`]; [`LoadError::OutOfMemory`].
    pub(super) fn stub(
        &self,
        module: Option<&[u8]>,
        name: &[u8],
        context: &Context,
    ) -> Result<Option<ForwardStub>> {
        let mut forward = self.0.lock();
        let Some(loading) = forward.find_loading(module, name) else { return Ok(None) };
        let (set, member) = (loading.set, loading.member);
        let target = Target::new(&loading.module, name)?;
        let key = target.key.clone();
        let stubs = match &forward.stubs {
            Some(stubs) => stubs.clone(),
            None => {
                let memory = context.options.code_memory.clone();
                let stubs = TryArc::new(StubTable::new(memory, context.observer.clone())?)?;
                forward.stubs.insert(stubs).clone()
            }
        };
        // The stub of a function must exist before a new module binds the reference.
        let address = stubs
            .forward_stub(&key, missing())
            .map_err(|error| LoadError::Stub { module: target.module.clone(), error })?;
        if forward.references.iter().all(|known| known.target.key != key) {
            let reference = Reference { target, module: None, is_unloaded: false };
            try_push(&mut forward.references, reference)?;
        }
        Ok(Some(ForwardStub { set, member, address, key }))
    }

    /// Adds a mapped member of a load set, which is `set` or a new one, with its number there. Returns the number of the set.
    pub(super) fn start_loading(
        &self,
        set: Option<u64>,
        (member, module): (u32, &Name),
        exports: &OwnedExports,
    ) -> Result<u64, AllocError> {
        let mut state = self.0.lock();
        let set = set.unwrap_or(state.next_set);
        let (thread, module, exports) = (thread_id(), module.clone(), exports.clone());
        let loading = Loading { set, member, thread, module, exports };
        try_push(&mut state.loading, loading)?;
        state.next_set = state.next_set.max(set.wrapping_add(1));
        Ok(set)
    }

    /// Reverses [`start_loading`](Self::start_loading) for all members of a set.
    pub(super) fn end_loading(&self, set: u64) {
        // The set owns the exports too, so that none is dropped here.
        self.0.lock().loading.retain(|loading| loading.set != set);
    }

    /// The stubs that are going to lead to functions of new modules. The first replaces a module with the stubs `replaced`.
    pub(super) fn bindings(
        &self,
        members: &[TryArc<Version>],
        replaced: Option<&StubTable>,
    ) -> Result<Vec<Binding>> {
        let unbound = {
            let forward = self.0.lock();
            let unbound = forward.references.iter().filter(|known| known.is_open());
            try_collect(unbound.map(|known| known.target.clone()))?
        };
        let mut bindings = Vec::new();
        for Target { key, module, function } in unbound {
            let mut named = members.iter().enumerate().filter(|(_, member)| member.name == module);
            let Some((number, member)) = named.next() else { continue };
            let Some(export) = member.body.find(&function).filter(is_function) else { continue };
            let address = match replaced.filter(|_| number == 0) {
                Some(stubs) => stubs.next_version_stub(&member.name, &function)?,
                None => member.stable_address(&function, &export, || None)?,
            };
            try_push(&mut bindings, Binding { key, member: number, address })?;
        }
        Ok(bindings)
    }

    /// Starts to let stubs lead to functions of new modules, which are about to be found by lookups. No stub is made until the
    /// result is dropped.
    ///
    /// # Errors
    /// [`LoadError::Changed`] if `bindings` lacks a stub for a function of `members`, because another thread, which loads a
    /// module of the same name, has made it meanwhile.
    pub(super) fn start_binding(
        &self,
        bindings: Vec<Binding>,
        members: &[TryArc<Version>],
    ) -> Result<ForwardBinding<'_>> {
        let forward = self.0.lock();
        let open = forward.references.iter().filter(|known| known.is_open());
        let mut unbound = open.map(|known| &known.target).filter(|target| {
            let of_module = |member: &&TryArc<Version>| member.name == target.module;
            let member = members.iter().find(of_module);
            let defined = member.and_then(|member| member.body.find(&target.function));
            defined.as_ref().is_some_and(is_function)
                && bindings.iter().all(|binding| binding.key != target.key)
        });
        let changed = unbound.next().map(|target| target.module.clone());
        drop(unbound);
        match changed {
            Some(module) => Err(LoadError::Changed { module }),
            None => Ok(ForwardBinding { forward, bindings }),
        }
    }

    /// Whether a stub leads to a function of a module, so that code may call it which does not import from it.
    pub(super) fn is_bound(&self, module: ModuleHandle) -> bool {
        self.0.lock().references.iter().any(|reference| reference.module == Some(module))
    }

    /// Whether one of `stubs` leads to a function of a module.
    pub(super) fn leads_to(&self, stubs: &[Name], module: ModuleHandle) -> bool {
        let leads = |reference: &Reference| {
            reference.module == Some(module) && stubs.contains(&reference.target.key)
        };
        !stubs.is_empty() && self.0.lock().references.iter().any(leads)
    }

    /// Lets new modules define the functions of modules that were unloaded. Until then, or until [`free`](Self::free), their
    /// stubs lead to the old ones.
    pub(super) fn unload(&self, handles: &[ModuleHandle]) {
        for reference in &mut self.0.lock().references {
            reference.is_unloaded |= reference.module.is_some_and(|of| handles.contains(&of));
        }
    }

    /// Reverses [`ForwardBinding::bind`] for functions of a module that was unloaded, and whose memory is freed next.
    pub(super) fn free(&self, handle: ModuleHandle) {
        let mut forward = self.0.lock();
        let State { stubs: Some(stubs), references, .. } = &mut *forward else { return };
        for reference in references {
            if reference.is_unloaded && reference.module == Some(handle) {
                stubs.set_target(&reference.target.key, missing());
                (reference.module, reference.is_unloaded) = (None, false);
            }
        }
    }
}
