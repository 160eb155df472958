//! The instantiators that C has opened, and the compiler that C gives one of them.
#![allow(unsafe_code)]

use std::cell::RefCell;
use std::ffi::{OsStr, c_char, c_void};
use std::ops::Deref;
use std::os::unix::ffi::OsStrExt;
use std::sync::{Mutex, PoisonError};

use smf_core::alloc_util::{AllocError, TryArc, try_copy_bytes, try_push};
use smf_core::format::{Layout, RelocKind};
use smf_core::link::Resolve;
use smf_core::templates::{
    CodeReloc, CompileError, CompileRequest, Compiled, Compiler, Environment, JitInstantiator,
    JitSymbolResolver, Target,
};

use super::blocks::Lent;
use super::error::ApiError;
use super::handle_table::{self, HandleTable, Table};
use super::loader::UserData;
use super::missing::with_nul;
use crate::fork::Users;
use crate::types_json::types_to_text;

/// Tells the numbers of instantiators from those of caches and loaders.
const MARK: u32 = 1 << 28;

static TABLE: Table<OpenJit> = Table::new();
pub(super) static JITS: HandleTable<OpenJit> =
    HandleTable::new(&TABLE, MARK, |jit| ApiError::NoJit { jit });

/// An instantiator as C has it.
pub(super) struct OpenJit {
    pub(super) shared: TryArc<SharedJit>,
    pub(super) compiler: TryArc<FromC>,
    pub(super) _memory: Lent,
}

impl OpenJit {
    pub(super) fn jit(&self) -> &JitInstantiator {
        self.shared.resolver.instantiator()
    }
}

/// What an instantiator and the loaders that it was set for have together. Loaders need no seat to use it, so that
/// their threads are counted here.
pub(super) struct SharedJit {
    pub(super) resolver: JitSymbolResolver,
    users: Users,
}

impl SharedJit {
    pub(super) fn new(resolver: JitSymbolResolver) -> Self {
        Self { resolver, users: Users::default() }
    }
}

impl Resolve for SharedJit {
    /// In a child process, nothing when a thread was using it at the fork.
    fn resolve(&self, name: &[u8]) -> Option<u64> {
        let _user = self.users.enter()?;
        self.resolver.resolve(name)
    }
}

/// An instantiator that is not closed as long as this lives.
pub(super) struct Use(handle_table::Lease<OpenJit>);

/// Begins to use an instantiator.
///
/// # Errors
/// [`ApiError::NoJit`], [`ApiError::InUseAtFork`].
pub(super) fn enter(jit: u64) -> Result<Use, ApiError> {
    let lease = JITS.enter(jit)?.lease();
    if lease.shared.users.begin() {
        Ok(Use(lease))
    } else {
        Err(ApiError::InUseAtFork { number: jit })
    }
}

impl Deref for Use {
    type Target = OpenJit;

    fn deref(&self) -> &OpenJit {
        &self.0
    }
}

impl Drop for Use {
    fn drop(&mut self) {
        self.0.shared.users.end();
    }
}

/// A template that is to be compiled, as C sees it. Everything is good until the compiler returns.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct SmfTemplate {
    /// `sizeof(SmfTemplate)`.
    pub size: i64,
    /// The symbol that the instance will have, with a NUL behind it.
    pub symbol: *const c_char,
    /// The name of the template, with a NUL behind it.
    pub name: *const c_char,
    /// Its body.
    pub body: *const u8,
    /// Bytes of the body.
    pub body_length: i64,
    /// Its type arguments: a JSON list, with a NUL behind it.
    pub types: *const c_char,
}

/// Who compiles: is told the unit, the template and what was given with it, and calls `smf_jit_emit` and
/// `smf_jit_relocate` or `smf_jit_fail` for the unit. Returns whether there is code.
pub type SmfCompiler = Option<unsafe extern "C" fn(u64, *const SmfTemplate, *mut c_void) -> bool>;

#[derive(Clone, Copy)]
struct Callback {
    function: unsafe extern "C" fn(u64, *const SmfTemplate, *mut c_void) -> bool,
    user: UserData,
}

/// The compiler of C, if there is one.
#[derive(Default)]
pub(super) struct FromC(Mutex<Option<Callback>>);

/// What a compiler of C says of the unit that it is at.
#[derive(Default)]
struct Unit {
    number: u64,
    code: Vec<u8>,
    relocations: Vec<Wanted>,
    failure: Option<CompileError>,
    /// Whether there was no memory for something that the compiler has said.
    is_short: bool,
}

struct Wanted {
    offset: u32,
    kind: RelocKind,
    symbol: Box<[u8]>,
    addend: i64,
}

thread_local! {
    /// The units of this thread, each begun for the one before it.
    static UNITS: RefCell<Vec<Unit>> = const { RefCell::new(Vec::new()) };
}

/// The most bytes of code of one unit.
pub(super) const MOST: usize = 1 << 28;

impl FromC {
    /// # Safety
    /// The function may be called with any unit, from any thread, as long as the instantiator is open.
    pub(super) unsafe fn set(&self, function: SmfCompiler, user: *mut c_void) {
        let callback = function.map(|function| Callback { function, user: UserData(user) });
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = callback;
    }

    fn get(&self) -> Option<Callback> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Compiler for FromC {
    fn recognizes(&self, _: &[u8]) -> bool {
        self.get().is_some()
    }

    fn compile(
        &self,
        request: &CompileRequest<'_>,
        environment: &mut dyn Environment,
    ) -> Result<Compiled, CompileError> {
        let none = CompileError::because("the compiler was taken away");
        let Callback { function, user } = self.get().ok_or(none)?;
        let text = |bytes: &[u8]| match bytes.contains(&0) {
            true => Err(CompileError::because("a NUL inside of a name")),
            false => Ok(with_nul(bytes)?),
        };
        let types = text(&types_to_text(request.arguments)?)?;
        let (symbol, name) = (text(request.symbol)?, text(request.template)?);
        let template = SmfTemplate {
            size: size_of::<SmfTemplate>() as i64,
            symbol: symbol.as_ptr().cast(),
            name: name.as_ptr().cast(),
            body: request.body.as_ptr(),
            body_length: i64::try_from(request.body.len()).unwrap_or(i64::MAX),
            types: types.as_ptr().cast(),
        };
        let number = UNITS.with_borrow_mut(|units| {
            let number = units.len() as u64 + 1;
            try_push(units, Unit { number, ..Unit::default() }).map(|()| number)
        })?;
        // SAFETY: whoever has set the compiler promises that it may be called so and does not unwind; the
        // template and all that it leads to stay until it returns.
        let done = unsafe { function(number, &raw const template, user.0) };
        let unit = UNITS.with_borrow_mut(Vec::pop).unwrap_or_default();
        unit.finish(done, environment)
    }
}

impl Unit {
    fn finish(
        self,
        done: bool,
        environment: &mut dyn Environment,
    ) -> Result<Compiled, CompileError> {
        // Whatever else it says comes of that; and it may be tried again.
        if self.is_short {
            return Err(CompileError::OutOfMemory);
        }
        if let Some(failure) = self.failure {
            return Err(failure);
        }
        if !done {
            return Err(CompileError::because("the compiler gives no reason"));
        }
        let mut relocations = Vec::new();
        for Wanted { offset, kind, symbol, addend } in self.relocations {
            let target = match &*symbol {
                [] => Target::OWN,
                symbol => environment.symbol(symbol)?,
            };
            try_push(&mut relocations, CodeReloc { offset, kind, target, addend })?;
        }
        Ok(Compiled { code: self.code, relocations })
    }
}

/// Does something with the unit that this thread is at.
fn with_unit(
    number: u64,
    act: impl FnOnce(&mut Unit) -> Result<(), ApiError>,
) -> Result<(), ApiError> {
    UNITS.with_borrow_mut(|units| match units.last_mut() {
        Some(unit) if unit.number == number => act(unit),
        _ => Err(ApiError::NoUnit { unit: number }),
    })
}

pub(super) fn emit(number: u64, code: &[u8]) -> Result<(), ApiError> {
    with_unit(number, |unit| {
        let room = MOST.saturating_sub(unit.code.len());
        let no_room = ApiError::NoRoom { bytes: code.len() };
        if code.len() > room {
            return Err(no_room);
        }
        unit.is_short |= unit.code.try_reserve(code.len()).is_err();
        if unit.is_short {
            return Err(no_room);
        }
        unit.code.extend_from_slice(code);
        Ok(())
    })
}

pub(super) fn relocate(
    number: u64,
    offset: i64,
    kind: i32,
    symbol: &[u8],
    addend: i64,
) -> Result<(), ApiError> {
    let unknown = |what, value| ApiError::Unknown { what, value };
    let place = u32::try_from(offset).map_err(|_| unknown("offset in code", offset))?;
    let code = u8::try_from(kind).ok().map(|kind| Layout::Native.reloc_kind(kind));
    let known = code.filter(|kind| !matches!(kind, RelocKind::Unknown(_) | RelocKind::None));
    let kind = known.ok_or(unknown("kind of relocation", i64::from(kind)))?;
    with_unit(number, |unit| {
        let added = try_copy_bytes(symbol).and_then(|symbol| {
            try_push(&mut unit.relocations, Wanted { offset: place, kind, symbol, addend })
        });
        Ok(added.inspect_err(|AllocError| unit.is_short = true)?)
    })
}

pub(super) fn fail(number: u64, why: &[u8]) -> Result<(), ApiError> {
    with_unit(number, |unit| {
        unit.failure = Some(CompileError::because(OsStr::from_bytes(why).display()));
        Ok(())
    })
}
