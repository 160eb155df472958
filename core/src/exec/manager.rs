//! The manager: functions by name and by handle.
#![allow(unsafe_code)]

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;
use core::mem::MaybeUninit;
use core::sync::atomic::{AtomicU64, Ordering};

use arrayvec::ArrayVec;
use hashbrown::{HashMap, HashSet};

use super::backend::{Backend, CompiledUnit, Level};
use super::error::{ManagerError, TrapReport};
use super::external::{CalledTypes, ExternalFunctions};
use super::native::NativeBackend;
use super::record::FunctionRecord;
use super::stub::{NewStubs, Stub};
use super::unit::{Unit, UnitError, UnitFunction};
use super::value::Value;
use crate::alloc_util::{
    AllocError, TryArc, try_collect, try_push, try_reserve, try_with_capacity,
};
use crate::ir::{Callee, CalleeKind, IrError, Scalar};
use crate::link::Name;
use crate::memory::lock::{Lock, LockGuard, wait_long};
use crate::memory::{BiasedCount, Use};
use crate::trap::{
    MAX_ARGS, ReturnRegisters, Trap, TrapChain, TrapError, call_values, call_words, chain_by_lookup,
};

type Result<T, E = ManagerError> = core::result::Result<T, E>;

/// How a manager works.
#[derive(Clone, Copy, Debug)]
pub struct ManagerOptions {
    /// The level of compilations, until it is [changed](Manager::set_level).
    pub level: Level,
    /// The maximum size of all code, with that of replaced functions that is not freed yet, in bytes.
    pub max_code_bytes: usize,
}

impl Default for ManagerOptions {
    fn default() -> Self {
        Self { level: Level::default(), max_code_bytes: 1 << 30 }
    }
}

/// What a manager has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ManagerStatistics {
    /// Functions by name.
    pub functions: usize,
    /// Units whose code is in memory.
    pub units: usize,
    /// Bytes of code, with the stubs by which units call each other, and with code of replaced functions that is not
    /// freed yet.
    pub code_bytes: usize,
    /// Of these, bytes of units without a current function, and of stubs of functions that were replaced by ones of other
    /// signatures.
    pub retired_bytes: usize,
}

/// A function, in all its versions of one signature.
struct Entry {
    name: Name,
    params: TryArc<[Scalar]>,
    result: Option<Scalar>,
    /// The hash of the types in Simple, where a version has it.
    type_hash: Option<u64>,
    /// Whether the parameters and the result are passed in at most [`MAX_ARGS`] integer words.
    is_in_words: bool,
    /// The address of the current version; 0 after a replacement by a function of another signature.
    address: AtomicU64,
}

impl Entry {
    /// A function without a version.
    fn new(function: &UnitFunction) -> Self {
        let params = function.shared_params();
        let (name, result) = (function.name().clone(), function.result());
        let has_float = params.iter().copied().chain(result).any(Scalar::is_float);
        let is_in_words = !has_float && params.len() <= MAX_ARGS;
        let (type_hash, address) = (function.type_hash(), AtomicU64::new(0));
        Self { name, params, result, type_hash, is_in_words, address }
    }

    /// The version at `address`, which is 0 without one, if it can be called with these arguments.
    #[inline]
    fn target(&self, address: u64, arguments: &[Value]) -> Result<CallTarget> {
        let mut pairs = arguments.iter().zip(&*self.params);
        let has_types = arguments.len() == self.params.len()
            && pairs.all(|(argument, param)| argument.scalar() == *param);
        if !has_types || address == 0 {
            return Err(self.refusal(arguments));
        }
        Ok(CallTarget { address, result: self.result, is_in_words: self.is_in_words })
    }

    /// The address of the current version; 0 without one.
    #[inline]
    fn current(&self) -> u64 {
        self.address.load(Ordering::SeqCst)
    }

    /// Why the function cannot be called with these arguments.
    #[cold]
    fn refusal(&self, arguments: &[Value]) -> ManagerError {
        let (given, expected) = (arguments.len(), self.params.len());
        if given != expected {
            return ManagerError::ArgumentCount { function: self.name.clone(), given, expected };
        }
        let mut pairs = (1..).zip(arguments.iter().zip(&*self.params));
        match pairs.find(|(_, (argument, expected))| argument.scalar() != **expected) {
            Some((number, (_, &expected))) => {
                ManagerError::Argument { function: self.name.clone(), number, expected }
            }
            None => ManagerError::Stale(self.name.clone()),
        }
    }
}

/// A version of a function that is about to be called.
#[derive(Clone, Copy)]
struct CallTarget {
    address: u64,
    result: Option<Scalar>,
    is_in_words: bool,
}

/// The number of a thread for a [`BiasedCount`]: the address of its chain.
#[inline]
fn thread_of(chain: Option<&TrapChain>) -> usize {
    chain.map_or(0, |chain| core::ptr::from_ref(chain).addr())
}

/// A function of a manager. It stays valid when the function is replaced by one of the same signature.
#[derive(Clone)]
pub struct FunctionHandle(TryArc<Entry>);

impl FunctionHandle {
    /// The name.
    pub fn name(&self) -> &Name {
        &self.0.name
    }

    /// The types of the parameters.
    pub fn params(&self) -> &[Scalar] {
        &self.0.params
    }

    /// The type of the result.
    pub fn result(&self) -> Option<Scalar> {
        self.0.result
    }

    /// The address of the current version; `None` after a replacement by a function of another signature.
    pub fn address(&self) -> Option<u64> {
        Some(self.0.current()).filter(|&address| address != 0)
    }
}

impl fmt::Debug for FunctionHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("FunctionHandle").field(&self.0.name).finish()
    }
}

/// The version of a function that is current when a manager [looks it up](Manager::current). While this lives, it can be
/// called and its data is not freed, also when the function is replaced meanwhile.
pub struct FunctionVersion<'m> {
    manager: &'m Manager,
    /// Of the thread, which this does not leave.
    chain: Option<&'m TrapChain>,
    _active: Use<'m>,
    function: FunctionHandle,
    address: u64,
    record: Option<FunctionRecord>,
}

impl FunctionVersion<'_> {
    /// The function.
    pub fn function(&self) -> &FunctionHandle {
        &self.function
    }

    /// What the compiler [recorded](Unit::set_record) of this version, if anything.
    pub fn record(&self) -> Option<&FunctionRecord> {
        self.record.as_ref()
    }

    /// Calls this version of the function. Its traps are errors.
    ///
    /// # Errors
    /// Those of [`Manager::call`] but [`ManagerError::Stale`].
    ///
    /// # Safety
    /// The function may do what it does with these arguments: its accesses to memory are not checked.
    #[inline]
    pub unsafe fn call(&self, arguments: &[Value]) -> Result<Option<Value>> {
        let target = self.function.0.target(self.address, arguments)?;
        // SAFETY: the caller's contract; the use of the code is counted while this lives.
        unsafe { self.manager.run(self.chain, target, arguments) }
    }
}

impl fmt::Debug for FunctionVersion<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FunctionVersion").field("function", &self.function).finish_non_exhaustive()
    }
}

/// A function in the table of names.
struct Named {
    entry: TryArc<Entry>,
    /// The unit of the current version.
    unit: u64,
    /// Of the current version.
    record: Option<FunctionRecord>,
    /// The stub, once another unit calls the function.
    stub: Option<Stub>,
}

/// The addresses of callees of the host, by name.
type HostCallees = HashMap<Name, Option<u64>>;

/// A unit whose code is in memory.
struct LoadedUnit {
    number: u64,
    /// The functions of which this unit has the current version.
    current: usize,
    /// By ascending start address.
    functions: Box<[LoadedFunction]>,
    calls: Calls,
    unit: CompiledUnit,
}

/// A function of a unit whose code is in memory.
struct LoadedFunction {
    start: u64,
    name: Name,
    record: Option<FunctionRecord>,
}

struct State {
    names: HashMap<Name, Named>,
    /// Names in the order of their first compilation.
    order: Vec<Name>,
    /// By ascending number.
    units: Vec<LoadedUnit>,
    next_unit: u64,
    code_bytes: usize,
    /// Units without a current function.
    retired: usize,
    /// Stubs of functions that were replaced by ones of other signatures. Calls in progress may use them.
    retired_stubs: Vec<Stub>,
    level: Level,
}

/// Functions that are compiled, called and replaced.
pub struct Manager {
    backend: Box<dyn Backend>,
    max_code_bytes: usize,
    /// Calls in progress.
    active: BiasedCount,
    /// Held during a compilation: units are compiled one at a time, while functions are called. Compiles stubs, once there
    /// is one.
    compiling: Lock<Option<NativeBackend>>,
    state: Lock<State>,
    /// The memory of the last run of the front end.
    #[cfg(feature = "source")]
    pub(super) front_end: Lock<crate::source::Memory>,
}

impl fmt::Debug for Manager {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Manager").field("backend", &self.backend.name()).finish_non_exhaustive()
    }
}

impl Manager {
    /// A manager without functions.
    pub fn new(backend: Box<dyn Backend>, options: ManagerOptions) -> Self {
        let ManagerOptions { level, max_code_bytes } = options;
        let state = State {
            names: HashMap::new(),
            order: Vec::new(),
            units: Vec::new(),
            next_unit: 0,
            code_bytes: 0,
            retired: 0,
            retired_stubs: Vec::new(),
            level,
        };
        let active = BiasedCount::new();
        let (compiling, state) = (Lock::new(None), Lock::new(state));
        Self {
            backend,
            max_code_bytes,
            active,
            compiling,
            state,
            #[cfg(feature = "source")]
            front_end: Lock::default(),
        }
    }

    /// The name of the back end.
    pub fn backend_name(&self) -> &'static str {
        self.backend.name()
    }

    /// The level of later compilations.
    pub fn level(&self) -> Level {
        self.state.lock().level
    }

    /// Changes the level of later compilations.
    pub fn set_level(&self, level: Level) {
        self.state.lock().level = level;
    }

    /// Compiles a unit. Its functions can be called when this returns; on failure nothing changes. `host` resolves callees
    /// that are no functions of the manager; it may compile other units in this manager.
    ///
    /// # Errors
    /// [`ManagerError::Backend`], [`ManagerError::Signature`], [`ManagerError::CalleeSignature`],
    /// [`ManagerError::CodeLimit`], [`ManagerError::OutOfMemory`].
    pub fn compile(&self, unit: &Unit, host: &dyn ExternalFunctions) -> Result<()> {
        let callees = self.resolve(unit, host)?;
        self.compile_resolved(unit, &callees)
    }

    /// Asks `host` for the callees of a unit that are no functions of the manager. No lock is held meanwhile.
    fn resolve(&self, unit: &Unit, host: &dyn ExternalFunctions) -> Result<HostCallees> {
        let mut answers = HashMap::new();
        let has_signatures = host.has_signatures();
        visit_callees(unit, &mut |caller, callee| {
            let name = callee.name.as_bytes();
            if callee.kind != CalleeKind::Host || self.state.lock().names.contains_key(name) {
                return Ok(());
            }
            if has_signatures && !host.accepts(name, unit.called_types(&callee)) {
                return Err(other_signature(caller, name)?);
            }
            if !answers.contains_key(name) {
                answers.try_reserve(1).map_err(|_| AllocError)?;
                answers.insert(Name::new(name)?, host.resolve(name));
            }
            Ok(())
        })?;
        Ok(answers)
    }

    /// Compiles a unit of which this manager has resolved the callees. The host is not asked. On failure nothing changes.
    fn compile_resolved(&self, unit: &Unit, host: &HostCallees) -> Result<()> {
        let mut compiling = wait_long(|| self.compiling.try_lock());
        let (level, calls) = {
            let mut state = self.state.lock();
            self.free_retired(&mut state);
            let mut calls = Calls::default();
            if !state.names.is_empty() {
                check_callees(unit, &state)?;
                calls = Calls::of(unit, &|name| state.names.contains_key(name))?;
                check_signatures(&state, unit, &calls)?;
            }
            (state.level, calls)
        };
        let (mut stubs, mut error) = (NewStubs::default(), None);
        let mut symbol = |name: &[u8]| match self.stub(name, &mut compiling, &mut stubs) {
            Ok(Some(address)) => Some(address),
            Ok(None) => host.get(name).copied().flatten(),
            Err(failed) => {
                error.get_or_insert(failed);
                None
            }
        };
        let compiled = self.backend.compile(unit, level, &mut symbol);
        if let Some(error) = error {
            return Err(error);
        }
        let compiled = compiled?;
        let mut state = self.state.lock();
        self.check_limit(&state, stubs.bytes.saturating_add(compiled.bytes))?;
        state.insert(unit, calls, compiled, stubs)
    }

    /// The address by which a unit calls a function of another one; `None` if the manager has no such function.
    fn stub(
        &self,
        name: &[u8],
        backend: &mut Option<NativeBackend>,
        new: &mut NewStubs,
    ) -> Result<Option<u64>> {
        if let Some(stub) = new.by_name.get(name) {
            return Ok(Some(stub.address()));
        }
        let entry = match self.state.lock().names.get(name) {
            None => return Ok(None),
            Some(Named { stub: Some(stub), .. }) => return Ok(Some(stub.address())),
            Some(named) => named.entry.clone(),
        };
        let backend = backend.get_or_insert_with(|| NativeBackend::for_stubs(&*self.backend));
        let target = entry.current();
        let stub = Stub::new(&entry.name, (&entry.params, entry.result), target, backend)?;
        self.check_limit(&self.state.lock(), new.bytes.saturating_add(stub.bytes()))?;
        Ok(Some(new.add(entry.name.clone(), stub)?))
    }

    /// Refuses to add so many bytes of code.
    fn check_limit(&self, state: &State, added: usize) -> Result<()> {
        let needed = state.code_bytes.saturating_add(added);
        match needed > self.max_code_bytes {
            true => Err(ManagerError::CodeLimit { limit: self.max_code_bytes, needed }),
            false => Ok(()),
        }
    }

    /// Frees units without current functions if no call is active. A call that starts meanwhile finds the addresses of
    /// other units.
    fn free_retired(&self, state: &mut LockGuard<'_, State>) {
        let has_retired = state.retired != 0 || !state.retired_stubs.is_empty();
        if has_retired && self.active.uses(thread_of(chain_by_lookup())) == 0 {
            state.code_bytes = state.code_bytes.saturating_sub(state.retired_bytes());
            state.retired_stubs.clear();
            state.units.retain(|unit| unit.current != 0);
            state.retired = 0;
        }
    }

    /// The function called `name`.
    pub fn find(&self, name: &[u8]) -> Option<FunctionHandle> {
        let state = self.state.lock();
        state.names.get(name).map(|named| FunctionHandle(named.entry.clone()))
    }

    /// The current version of the function called `name`, with what is recorded of it: both are of one compilation.
    pub fn current(&self, name: &[u8]) -> Option<FunctionVersion<'_>> {
        let chain = chain_by_lookup();
        // Before the version is looked up: what is freed afterwards is not this one.
        let active = self.active.enter(thread_of(chain));
        let state = self.state.lock();
        let Named { entry, record, .. } = state.names.get(name)?;
        let (function, address) = (FunctionHandle(entry.clone()), entry.current());
        Some(FunctionVersion {
            manager: self,
            chain,
            _active: active,
            function,
            address,
            record: record.clone(),
        })
    }

    /// The functions, in the order of their first compilation.
    ///
    /// # Errors
    /// [`AllocError`].
    pub fn functions(&self) -> Result<Vec<FunctionHandle>, AllocError> {
        let state = self.state.lock();
        let named = state.order.iter().filter_map(|name| state.names.get(name.as_bytes()));
        try_collect(named.map(|named| FunctionHandle(named.entry.clone())))
    }

    /// Calls a function by name.
    ///
    /// # Errors
    /// [`ManagerError::NoFunction`]; those of [`call`](Self::call).
    ///
    /// # Safety
    /// As [`call`](Self::call).
    pub unsafe fn call_by_name(&self, name: &[u8], arguments: &[Value]) -> Result<Option<Value>> {
        let chain = chain_by_lookup();
        // Before the address is read: what is freed afterwards is not what it leads to.
        let _active = self.active.enter(thread_of(chain));
        let target = {
            let state = self.state.lock();
            let Some(named) = state.names.get(name) else {
                return Err(ManagerError::NoFunction(Name::new(name)?));
            };
            named.entry.target(named.entry.current(), arguments)?
        };
        // SAFETY: the caller's contract.
        unsafe { self.run(chain, target, arguments) }
    }

    /// Calls a function of this manager. Its traps are errors.
    ///
    /// # Errors
    /// [`ManagerError::ArgumentCount`], [`ManagerError::Argument`], [`ManagerError::Stale`], [`ManagerError::Trap`],
    /// [`ManagerError::Call`].
    ///
    /// # Safety
    /// The function may do what it does with these arguments: its accesses to memory are not checked. The handle is one of
    /// this manager.
    #[inline]
    pub unsafe fn call(
        &self,
        function: &FunctionHandle,
        arguments: &[Value],
    ) -> Result<Option<Value>> {
        let chain = chain_by_lookup();
        // Before the address is read: what is freed afterwards is not what it leads to.
        let _active = self.active.enter(thread_of(chain));
        let target = function.0.target(function.0.current(), arguments)?;
        // SAFETY: the caller's contract.
        unsafe { self.run(chain, target, arguments) }
    }

    /// Calls a version of a function with arguments of its types.
    ///
    /// # Safety
    /// As [`call`](Self::call); the use of the code is counted.
    // Benchmark row: "call add by name, from C".
    #[inline(always)]
    unsafe fn run(
        &self,
        chain: Option<&TrapChain>,
        target: CallTarget,
        arguments: &[Value],
    ) -> Result<Option<Value>> {
        let CallTarget { address, result, is_in_words } = target;
        let returned = match chain {
            Some(chain) if is_in_words => {
                let mut words = [MaybeUninit::uninit(); MAX_ARGS];
                for (word, argument) in words.iter_mut().zip(arguments) {
                    word.write(argument.bits());
                }
                // SAFETY: the code is in memory while its use is counted, takes these arguments, and lies between this
                // frame and its traps with code of this kind only. There is a word for each argument.
                let called = unsafe { call_words(chain, address, words, arguments.len()) };
                called.map(|integer| ReturnRegisters { integer, float: 0 })
            }
            // SAFETY: as above.
            _ => unsafe { call_any(address, arguments) },
        };
        match returned {
            Ok(returned) => Ok(result.map(|scalar| Value::returned(scalar, returned))),
            Err(error) => Err(self.call_error(error)),
        }
    }

    #[cold]
    fn call_error(&self, error: TrapError) -> ManagerError {
        match error {
            TrapError::Trap(trap) => {
                let Trap { code, at, function: address, operands } = trap;
                let (function, record) = self.function_at(address).unzip();
                let record = record.flatten();
                ManagerError::Trap(TrapReport { code, at, function, address, operands, record })
            }
            TrapError::OutOfMemory => AllocError.into(),
            error => ManagerError::Call(error),
        }
    }

    /// The name of the function, of any version, whose code begins at an address, and the record of the version.
    fn function_at(&self, address: u64) -> Option<(Name, Option<FunctionRecord>)> {
        let state = self.state.lock();
        state.units.iter().find_map(|unit| {
            let found = unit.functions.binary_search_by_key(&address, |found| found.start).ok()?;
            unit.functions.get(found).map(|found| (found.name.clone(), found.record.clone()))
        })
    }

    /// What the manager has.
    pub fn statistics(&self) -> ManagerStatistics {
        let state = self.state.lock();
        ManagerStatistics {
            functions: state.names.len(),
            units: state.units.len(),
            code_bytes: state.code_bytes,
            retired_bytes: state.retired_bytes(),
        }
    }
}

/// Calls a function with arguments of any number and type.
///
/// # Safety
/// As [`call_values`].
#[inline(never)]
unsafe fn call_any(address: u64, arguments: &[Value]) -> Result<ReturnRegisters, TrapError> {
    let mut few = ArrayVec::<_, 16>::new();
    let mut many = Vec::new();
    let all = arguments.iter().map(|value| value.argument());
    let arguments: &[_] = match arguments.len() {
        0..=16 => {
            few.extend(all);
            &few
        }
        count => {
            try_reserve(&mut many, count).map_err(|_| TrapError::OutOfMemory)?;
            many.extend(all);
            &many
        }
    };
    // SAFETY: the caller's contract.
    unsafe { call_values(address, arguments) }
}

fn has_signature(entry: &Entry, function: &UnitFunction) -> bool {
    let hashes = entry.type_hash.zip(function.type_hash());
    *entry.params == *function.params()
        && entry.result == function.result()
        && hashes.is_none_or(|(known, new)| known == new)
}

/// Refuses a replacement by another signature where code of other units that is in use afterwards calls the function, or
/// the unit itself calls the version that it replaces.
fn check_signatures(state: &State, unit: &Unit, calls: &Calls) -> Result<()> {
    for function in unit.functions() {
        let name = function.name();
        let Some(named) = state.names.get(name.as_bytes()) else { continue };
        if has_signature(&named.entry, function) {
            continue;
        }
        let is_called_here = calls.outside.iter().any(|(_, callee)| callee == name);
        if is_called_here || named.stub.is_some() && state.is_called(name, unit)? {
            return Err(ManagerError::Signature(name.clone()));
        }
    }
    Ok(())
}

/// The calls of a unit that has callees in other units, by name.
#[derive(Default)]
struct Calls {
    /// Callers, in ascending order, and callees that are functions of the unit.
    within: Vec<(Name, Name)>,
    /// Callers, and callees that are functions of other units.
    outside: Vec<(Name, Name)>,
}

impl Calls {
    /// `is_function` says whether the manager has a function.
    fn of(unit: &Unit, is_function: &dyn Fn(&[u8]) -> bool) -> Result<Self> {
        let mut calls = Self::default();
        visit_callees(unit, &mut |caller, callee| {
            match callee.kind {
                CalleeKind::Function(index) => {
                    let callee =
                        unit.function_name(usize::try_from(index).unwrap_or(usize::MAX))?;
                    try_push(&mut calls.within, (caller.clone(), callee))?;
                }
                CalleeKind::Host if is_function(callee.name.as_bytes()) => {
                    let callee = Name::new(callee.name.as_bytes())?;
                    try_push(&mut calls.outside, (caller.clone(), callee))?;
                }
                _ => {}
            }
            Ok(())
        })?;
        if calls.outside.is_empty() {
            return Ok(Self::default());
        }
        calls.within.sort_unstable_by(|(a, _), (b, _)| a.as_bytes().cmp(b.as_bytes()));
        Ok(calls)
    }

    /// Whether one of the functions that `live` contains calls `callee` of another unit, directly or through functions of
    /// the unit, which are added to `live`.
    fn reach<'c>(&'c self, live: &mut HashSet<&'c [u8]>, callee: &[u8]) -> Result<bool> {
        live.try_reserve(self.within.len()).map_err(|_| AllocError)?;
        let mut pending = try_collect(live.iter().copied())?;
        while let Some(caller) = pending.pop() {
            let first = self.within.partition_point(|(name, _)| name.as_bytes() < caller);
            let calls = self.within.iter().skip(first);
            for (_, callee) in calls.take_while(|(name, _)| name.as_bytes() == caller) {
                if live.insert(callee.as_bytes()) {
                    try_push(&mut pending, callee.as_bytes())?;
                }
            }
        }
        let mut calls = self.outside.iter().filter(|(_, called)| called.as_bytes() == callee);
        Ok(calls.any(|(caller, _)| live.contains(caller.as_bytes())))
    }
}

/// Refuses calls of functions of other units with other signatures.
fn check_callees(unit: &Unit, state: &State) -> Result<()> {
    visit_callees(unit, &mut |caller, callee| {
        let name = callee.name.as_bytes();
        match callee.kind == CalleeKind::Host && !state.accepts(name, unit.called_types(&callee)) {
            true => Err(other_signature(caller, name)?),
            false => Ok(()),
        }
    })
}

fn other_signature(caller: &Name, callee: &[u8]) -> Result<ManagerError> {
    Ok(ManagerError::CalleeSignature { function: caller.clone(), callee: Name::new(callee)? })
}

/// Calls `visit` with the name of each function of a unit and each of its callees.
fn visit_callees(
    unit: &Unit,
    visit: &mut dyn FnMut(&Name, Callee<'_>) -> Result<()>,
) -> Result<()> {
    for function in unit.functions().iter().filter(|function| function.has_callees()) {
        let invalid = |error| match error {
            IrError::OutOfMemory => ManagerError::OutOfMemory(AllocError),
            error => UnitError::Function { function: function.name().clone(), error }.into(),
        };
        let instance = function.instance().map_err(invalid)?;
        let body = instance.body();
        for number in 0..body.callee_count() {
            visit(function.name(), body.callee(number).map_err(invalid)?)?;
        }
    }
    Ok(())
}

impl Drop for State {
    fn drop(&mut self) {
        // The newest first: unwinders look for a table from the end of their list.
        while self.units.pop().is_some() {}
    }
}

impl State {
    /// Whether no function has the name, or one with this signature.
    fn accepts(&self, name: &[u8], called: CalledTypes<'_>) -> bool {
        let known = self.names.get(name).map(|named| &named.entry);
        known.is_none_or(|known| {
            called.signature.is_of(&known.params, known.result)
                && called.is_of_hash(known.type_hash)
        })
    }

    /// Whether code of another unit than `new` calls a function after `new` has replaced functions. A function whose current
    /// version is elsewhere counts only if a current function of its unit calls it.
    fn is_called(&self, callee: &[u8], new: &Unit) -> Result<bool> {
        let mut replaced = HashSet::new();
        replaced.try_reserve(new.functions().len()).map_err(|_| AllocError)?;
        replaced.extend(new.functions().iter().map(|function| function.name().as_bytes()));
        for unit in &self.units {
            let calls_it = |(_, called): &(Name, Name)| called.as_bytes() == callee;
            if unit.current == 0 || !unit.calls.outside.iter().any(calls_it) {
                continue;
            }
            let is_current = |name: &&[u8]| {
                let named = self.names.get(*name);
                named.is_some_and(|named| named.unit == unit.number) && !replaced.contains(*name)
            };
            let mut live = HashSet::new();
            live.try_reserve(unit.functions.len()).map_err(|_| AllocError)?;
            let names = unit.functions.iter().map(|function| function.name.as_bytes());
            live.extend(names.filter(is_current));
            if unit.calls.reach(&mut live, callee)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Bytes of units without a current function, and of stubs without a function.
    fn retired_bytes(&self) -> usize {
        let units = self.units.iter().filter(|unit| unit.current == 0);
        let stubs = self.retired_stubs.iter().map(Stub::bytes);
        units.map(|unit| unit.unit.bytes).chain(stubs).sum()
    }

    /// Makes the functions of a compiled unit current. Changes nothing if there is no memory for it.
    fn insert(
        &mut self,
        unit: &Unit,
        calls: Calls,
        compiled: CompiledUnit,
        stubs: NewStubs,
    ) -> Result<()> {
        let functions = unit.functions();
        let starts = compiled.addresses.iter().zip(functions);
        let mut loaded = try_collect(starts.map(|(&start, function)| {
            let (name, record) = (function.name().clone(), function.record().cloned());
            LoadedFunction { start, name, record }
        }))?;
        loaded.sort_unstable_by_key(|function| function.start);
        let mut new = try_with_capacity(functions.len())?;
        for (function, &address) in functions.iter().zip(&compiled.addresses) {
            let known = self.names.get(function.name().as_bytes());
            let entry = match known.filter(|known| has_signature(&known.entry, function)) {
                Some(known) => known.entry.clone(),
                None => TryArc::new(Entry::new(function))?,
            };
            new.push((entry, address, function.record().cloned()));
        }
        self.names.try_reserve(new.len()).map_err(|_| AllocError)?;
        try_reserve(&mut self.order, new.len())?;
        try_reserve(&mut self.units, 1)?;
        try_reserve(&mut self.retired_stubs, new.len())?;
        let number = self.next_unit;
        self.next_unit += 1;
        let current = new.len();
        let added = compiled.bytes.saturating_add(stubs.bytes);
        self.code_bytes = self.code_bytes.saturating_add(added);
        // Before functions are made current, of which the stubs hold the addresses.
        for (name, stub) in stubs.by_name {
            if let Some(named) = self.names.get_mut(name.as_bytes()) {
                named.stub = Some(stub);
            }
        }
        self.retired += usize::from(current == 0);
        let functions = loaded.into_boxed_slice();
        self.units.push(LoadedUnit { number, current, functions, calls, unit: compiled });
        for (entry, address, record) in new {
            self.make_current(entry, address, record, number);
        }
        Ok(())
    }

    /// Directs a name to a version in unit `number`. There is memory for a new name.
    fn make_current(
        &mut self,
        entry: TryArc<Entry>,
        address: u64,
        record: Option<FunctionRecord>,
        number: u64,
    ) {
        entry.address.store(address, Ordering::SeqCst);
        let name = entry.name.clone();
        let Some(named) = self.names.get_mut(name.as_bytes()) else {
            self.order.push(name.clone());
            self.names.insert(name, Named { entry, unit: number, record, stub: None });
            return;
        };
        let old = core::mem::replace(&mut named.unit, number);
        named.record = record;
        if !named.entry.ptr_eq(&entry) {
            // A function of another signature. Only calls in progress may use its stub, which leads to the old version.
            named.entry.address.store(0, Ordering::SeqCst);
            named.entry = entry;
            self.retired_stubs.extend(named.stub.take());
        } else if let Some(stub) = &named.stub {
            stub.set_target(address);
        }
        let unit = self.units.binary_search_by_key(&old, |unit| unit.number);
        if let Some(unit) = unit.ok().and_then(|index| self.units.get_mut(index)) {
            unit.current = unit.current.saturating_sub(1);
            self.retired += usize::from(unit.current == 0);
        }
    }
}
