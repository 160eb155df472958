//! `smf_jit_take_*`: objects for a linker, from the templates of an instantiator and the functions of a module.
#![allow(unsafe_code)]

use std::ffi::{c_char, c_void};
use std::ptr;

use smf_core::alloc_util::{AllocError, try_push};
use smf_core::extract::FunctionExtractor;
use smf_core::templates::{
    ConstraintKind, DeferredHints, Instance, JitInstantiator, ObjTaker, TakeError, Taken,
    TakerConfig, TypeConstraint, TypeVariable, UsageSite,
};
use smf_core::types::Type;

use super::args::to_i64;
use super::constants::*;
use super::cptr::text;
use super::error::{ApiError, ArgumentError, Code, attempt, or, record};
use super::jit::{SmfJitInstance, outcome_of};
use super::jit_handles::with;
use super::missing::with_nul;
use super::module_info::with_module;
use super::take::visit_all;
use super::versioned_struct::{self, versioned};

/// An object.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct SmfTakenObject {
    /// In: `sizeof(SmfTakenObject)`. Out: the number of bytes filled in.
    pub size: i64,
    /// The entry point of an instance; 0 for other objects.
    pub address: i64,
    /// The code of a function of the module, or of an instance; null for a template.
    pub bytes: *const u8,
    /// The length of the code in bytes.
    pub length: i64,
    /// `SMF_OBJECT_*`.
    pub kind: i32,
    /// The number of relocations of a function of the module.
    pub relocations: i32,
}

versioned!(SmfTakenObject, 40);

/// A fact about the types of a template. The texts are NUL-terminated and valid during the call.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct SmfTypeHint {
    /// `sizeof(SmfTypeHint)`.
    pub size: i64,
    /// The type parameter, or the source file of a use.
    pub subject: *const c_char,
    /// The default, type, trait, or type of the use; may be empty.
    pub object: *const c_char,
    /// The place in the source; may be empty.
    pub place: *const c_char,
    /// `SMF_HINT_*`.
    pub kind: i32,
    /// The number of the type parameter, from 0; -1 for a use.
    pub number: i32,
}

/// A callback for each fact: receives it and the user pointer. Returns whether to continue.
pub type SmfTypeHintVisitor = Option<unsafe extern "C" fn(*const SmfTypeHint, *mut c_void) -> bool>;

/// Takes the instance of a template for types, which are spelled as in note.sdn: `i64, f64`.
///
/// # Safety
/// `name` and `types` are null or NUL-terminated; `instance` is null or points to the `size` bytes that its first field
/// says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smf_jit_take_with_types(
    jit: u64,
    name: *const c_char,
    types: *const c_char,
    instance: *mut SmfJitInstance,
) -> i32 {
    // SAFETY: the caller's promise.
    let types = unsafe { utf8("the list of types", types) };
    let take = |jit: &JitInstantiator, name: &str| {
        let types = Type::parse_arguments(types?).map_err(invalid_types)?;
        Ok(taker(jit).take_with_types(name, &types).map(Some))
    };
    // SAFETY: as above.
    unsafe { take_instance(jit, name, instance, take) }
}

/// Takes the instance of a template for the types that follow from the notes of the loaded modules.
///
/// # Safety
/// As [`smf_jit_take_with_types`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smf_jit_take_generic(
    jit: u64,
    name: *const c_char,
    instance: *mut SmfJitInstance,
) -> i32 {
    let take = |jit: &JitInstantiator, name: &str| {
        Ok(taker(jit).take_generic(name).map(|taken| match taken {
            Taken::Instance(instance) => Some(instance),
            Taken::Template { reason, .. } => {
                record_unknown_types(&reason);
                None
            }
            // Templates have no functions of modules, and an unknown one is an error.
            Taken::Code(_) | Taken::NotFound { .. } => None,
        }))
    };
    // SAFETY: the caller's promise.
    unsafe { take_instance(jit, name, instance, take) }
}

/// Takes an object: an instance, a template, or a function of a held module.
///
/// # Safety
/// `name` is null or NUL-terminated; `object` is null or points to the `size` bytes that its first field says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smf_jit_take_object(
    jit: u64,
    from: u64,
    module: u64,
    name: *const c_char,
    object: *mut SmfTakenObject,
) -> i32 {
    let taken = with(jit, |jit| {
        // SAFETY: the caller's promise.
        let name = unsafe { utf8("the name", name) }?;
        // SAFETY: as above.
        unsafe { versioned_struct::check_optional(object) }?;
        let objects = taker(jit.jit());
        let filled = if module == 0 {
            SmfTakenObject::new(objects.take_object(None, name))
        } else {
            with_module(from, module, |smf| {
                let functions = FunctionExtractor::new(smf)?;
                Ok(SmfTakenObject::new(objects.take_object(Some(&functions), name)))
            })?
        };
        let (object_or_null, result) = filled;
        // SAFETY: as above.
        unsafe { versioned_struct::write_optional(object, object_or_null) }?;
        Ok(result)
    });
    or(-1, taken)
}

/// Calls `visit` for each fact about the types of a template. Returns the number of calls; -1 on failure.
///
/// # Safety
/// `name` is null or NUL-terminated; `visit` is null, or may be called with these arguments and does not unwind.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smf_jit_take_deferred(
    jit: u64,
    name: *const c_char,
    visit: SmfTypeHintVisitor,
    user: *mut c_void,
) -> i64 {
    attempt(-1, || {
        let visit = visit.ok_or(ArgumentError::Null { what: "the visitor" })?;
        let facts = with(jit, |jit| {
            // SAFETY: the caller's promise.
            let name = unsafe { utf8("the name", name) }?;
            let hints = taker(jit.jit()).take_deferred(name).map_err(error_of)?;
            Ok(Fact::all(&hints)?)
        })?;
        Ok(visit_all(&facts, |fact| {
            let hint = fact.to_c();
            // SAFETY: the caller's promise; the texts are NUL-terminated and live until the call returns.
            unsafe { visit(&raw const hint, user) }
        }))
    })
}

fn taker(jit: &JitInstantiator) -> ObjTaker<'_> {
    ObjTaker::new(jit, TakerConfig { allow_deferred: true })
}

/// # Safety
/// `pointer` is null or NUL-terminated, and valid as long as the result is used.
unsafe fn utf8<'t>(what: &'static str, pointer: *const c_char) -> Result<&'t str, ApiError> {
    // SAFETY: the caller's promise.
    let bytes = unsafe { text(what, pointer) }?;
    str::from_utf8(bytes)
        .map_err(|_| ApiError::other(Code::Argument, &format_args!("{what}: not UTF-8")))
}

fn invalid_types(error: impl std::fmt::Display) -> ApiError {
    ApiError::other(Code::Argument, &error)
}

/// The error of an object that cannot be taken.
fn error_of(error: TakeError) -> ApiError {
    let code = match &error {
        TakeError::NotATemplate { .. } => Code::NotFound,
        TakeError::ArgumentCount { .. } => Code::Argument,
        TakeError::OutOfMemory(error) => return (*error).into(),
        TakeError::Extract { .. } => Code::Take,
        _ => Code::Instantiate,
    };
    ApiError::other(code, &error)
}

/// The result of a failed take; records the error.
fn failed(error: TakeError) -> i32 {
    let (outcome, error) = match error {
        TakeError::Instantiate(error) => return outcome_of(&error),
        TakeError::NotATemplate { .. } => (SMF_JIT_NOT_FOUND, error),
        error => (SMF_JIT_FAILED, error),
    };
    record(error_of(error));
    outcome
}

/// Records why the types of a template are unknown.
fn record_unknown_types(reason: &TakeError) {
    record(ApiError::other(Code::Instantiate, reason));
}

/// # Safety
/// `name` is null or NUL-terminated; `instance` is null or points to the `size` bytes that its first field says.
unsafe fn take_instance(
    jit: u64,
    name: *const c_char,
    instance: *mut SmfJitInstance,
    take: impl FnOnce(&JitInstantiator, &str) -> Result<Result<Option<Instance>, TakeError>, ApiError>,
) -> i32 {
    let outcome = with(jit, |jit| {
        // SAFETY: the caller's promise.
        let name = unsafe { utf8("the name", name) }?;
        // SAFETY: as above.
        unsafe { versioned_struct::check_optional(instance) }?;
        let (found, outcome) = match take(jit.jit(), name)? {
            Ok(Some(found)) => (Some(found), SMF_JIT_SUCCESS),
            Ok(None) => (None, SMF_JIT_DEFERRED),
            Err(error) => (None, failed(error)),
        };
        // SAFETY: as above.
        unsafe { versioned_struct::write_optional(instance, SmfJitInstance::new(found.as_ref())) }?;
        Ok(outcome)
    });
    or(-1, outcome)
}

impl SmfTakenObject {
    const NONE: Self =
        Self { size: 0, address: 0, bytes: ptr::null(), length: 0, kind: 0, relocations: 0 };

    /// The object, and the result.
    fn new(taken: Result<Taken<'_, '_>, TakeError>) -> (Self, i32) {
        match taken {
            Ok(Taken::Code(body)) => {
                let (bytes, length) = (body.bytes.as_ptr(), to_i64(body.bytes.len()));
                let relocations = i32::try_from(body.relocations().len()).unwrap_or(i32::MAX);
                (
                    Self { bytes, length, kind: SMF_OBJECT_CODE, relocations, ..Self::NONE },
                    SMF_JIT_SUCCESS,
                )
            }
            Ok(Taken::Instance(instance)) => {
                let (address, code) = (instance.address().cast_signed(), instance.code());
                let (bytes, length) = (code.as_ptr(), to_i64(code.len()));
                (
                    Self { address, bytes, length, kind: SMF_OBJECT_INSTANCE, ..Self::NONE },
                    SMF_JIT_SUCCESS,
                )
            }
            Ok(Taken::Template { reason, .. }) => {
                record_unknown_types(&reason);
                (Self { kind: SMF_OBJECT_TEMPLATE, ..Self::NONE }, SMF_JIT_DEFERRED)
            }
            Ok(Taken::NotFound { symbol }) => {
                let message = format_args!("Symbol not found: {symbol}");
                record(ApiError::other(Code::NotFound, &message));
                (Self::NONE, SMF_JIT_NOT_FOUND)
            }
            Err(error) => (Self::NONE, failed(error)),
        }
    }
}

/// A fact with its texts.
struct Fact {
    texts: [Box<[u8]>; 3],
    kind: i32,
    number: i32,
}

impl Fact {
    fn new(texts: [&str; 3], kind: i32, number: i32) -> Result<Self, AllocError> {
        let [subject, object, place] = texts.map(|text| with_nul(text.as_bytes()));
        Ok(Self { texts: [subject?, object?, place?], kind, number })
    }

    fn all(hints: &DeferredHints) -> Result<Vec<Self>, AllocError> {
        let mut facts = Vec::new();
        for TypeVariable { id, name, fallback } in &hints.type_vars {
            let fallback = fallback.as_ref().map(ToString::to_string).unwrap_or_default();
            let number = i32::try_from(*id).unwrap_or(i32::MAX);
            try_push(&mut facts, Self::new([name, &fallback, ""], SMF_HINT_VARIABLE, number)?)?;
        }
        for TypeConstraint { kind, lhs, rhs, source_loc } in &hints.constraints {
            let kind = match kind {
                ConstraintKind::Equals => SMF_HINT_EQUALS,
                ConstraintKind::Implements => SMF_HINT_IMPLEMENTS,
            };
            let number = hints.type_vars.iter().position(|variable| variable.name == *lhs);
            let number = number.and_then(|number| i32::try_from(number).ok()).unwrap_or(-1);
            let place = source_loc.as_deref().unwrap_or("");
            try_push(&mut facts, Self::new([lhs, rhs, place], kind, number)?)?;
        }
        for UsageSite { file, location, context_type } in &hints.usage_sites {
            try_push(&mut facts, Self::new([file, context_type, location], SMF_HINT_USAGE, -1)?)?;
        }
        Ok(facts)
    }

    fn to_c(&self) -> SmfTypeHint {
        let [subject, object, place] = self.texts.each_ref().map(|text| text.as_ptr().cast());
        let (kind, number) = (self.kind, self.number);
        SmfTypeHint { size: size_of::<SmfTypeHint>() as i64, subject, object, place, kind, number }
    }
}
