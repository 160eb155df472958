//! `compiler_*` and `type_unifier_*`: the JSON interface between a runtime and a compiler.
//!
//! Every result is a string that the caller frees with `smf_string_free`; in the tagged convention arguments and
//! results are text of the runtime. A failure is an object with `"success": false` and an `"error"` message, which is
//! recorded for the thread as well.
//!
//! The runtime's reader takes the first occurrence of a key in the whole text. Keys are therefore written in the order
//! of its own compiler, outer ones before nested objects.
#![allow(unsafe_code)]

use std::collections::BTreeMap;
use std::error::Error;
use std::ffi::c_void;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use serde_core::ser::{Serialize, SerializeMap, Serializer};
use serde_json::{Value, json};
use smf_core::types::{
    Conflict, Hint, HintSource, MAX_ARGUMENTS, TemplateSignature, Type, Unifier, UnifyError,
    Variables, infer, mangle, wrong_count,
};

use super::compile_context::Context;
use super::error::{ApiError, Code, attempt, record, succeeded};
use super::jit_handles::SmfCompiler;
use super::strings::{self, Answer, Json};
use super::typed_code;
use super::values::{self, Bool, Bytes, to_bool};
use crate::fork::ProcessLock;
use crate::types_json::{TypeJson, type_from_json, type_to_json};

/// Objects by handle.
type Table<T> = ProcessLock<BTreeMap<i64, T>>;

pub(super) static CONTEXTS: Table<Arc<Context>> = ProcessLock::new(BTreeMap::new());
pub(super) static UNIFIERS: Table<OpenUnifier> = ProcessLock::new(BTreeMap::new());

/// The last handle of either table. Handles are never reused.
static LAST_HANDLE: AtomicI64 = AtomicI64::new(0);

fn create<T: Default>(table: &'static Table<T>) -> i64 {
    let handle = LAST_HANDLE.fetch_add(1, Ordering::Relaxed) + 1;
    table.lock().insert(handle, T::default());
    handle
}

#[derive(Default)]
pub(super) struct OpenUnifier {
    unifier: Unifier,
    variables: Variables,
}

/// An error of a call, which becomes the message of the answer.
pub(super) type Result<T, E = Box<dyn Error>> = std::result::Result<T, E>;

/// An error as an answer. The error becomes the last one of the thread.
fn failed(error: Box<dyn Error>) -> String {
    let answer = json!({"success": false, "error": error.to_string()}).to_string();
    let other = |error: Box<dyn Error>| ApiError::other(Code::Instantiate, &error);
    record(error.downcast().map_or_else(other, |error| *error));
    answer
}

/// The answer for an invalid handle, whose message is that of the runtime's compiler.
fn invalid(object: &'static str, handle: i64) -> String {
    record(not_open(object, handle));
    json!({"success": false, "error": format!("Invalid {object} handle")}).to_string()
}

fn not_open(object: &'static str, handle: i64) -> ApiError {
    ApiError::NotOpen { object, handle: handle.cast_unsigned() }
}

/// Removes an object; false, with an error, for an invalid handle.
fn destroy<T>(table: &'static Table<T>, object: &'static str, handle: i64) -> Bool {
    let removed = table.lock().remove(&handle);
    to_bool(succeeded(removed.map(drop).ok_or_else(|| not_open(object, handle))))
}

/// The context of a handle, which lives while it is in use.
fn context_of(handle: i64) -> Option<Arc<Context>> {
    CONTEXTS.lock().get(&handle).cloned()
}

/// Calls `act` with a context. No lock is held during the call, so that a compiler callback may call any export.
fn with_context<T>(
    handle: i64,
    act: impl FnOnce(&Context) -> Result<T, ApiError>,
) -> Result<T, ApiError> {
    let context = context_of(handle).ok_or_else(|| not_open("context", handle))?;
    let forked = ApiError::InUseAtFork { handle: handle.cast_unsigned() };
    let _user = context.users.enter().ok_or(forked)?;
    act(&context)
}

/// As [`with_context`], with the two texts of a call, and an answer in JSON.
///
/// # Safety
/// The texts are null or NUL-terminated; in the tagged convention they are words of the runtime. They are valid during
/// the call.
unsafe fn answer(
    handle: i64,
    texts: [Json; 2],
    act: impl FnOnce(&Context, [&[u8]; 2]) -> Result<String>,
) -> Answer {
    // SAFETY: the caller's promise.
    let texts = texts.map(|text| unsafe { strings::bytes(text) });
    let act = |context: &Context| {
        let [one, other] = texts;
        Ok(one.and_then(|one| Ok([one, other?])).map_err(Into::into).and_then(|t| act(context, t)))
    };
    strings::give(match with_context(handle, act) {
        Ok(answer) => answer.unwrap_or_else(failed),
        Err(ApiError::NotOpen { object, .. }) => invalid(object, handle),
        Err(error) => failed(error.into()),
    })
}

fn parse(json: &[u8]) -> Result<Value, ApiError> {
    let invalid = |error| ApiError::other(Code::Argument, &format_args!("Invalid JSON: {error}"));
    serde_json::from_slice(json).map_err(invalid)
}

/// Creates a context. Returns its handle, which is greater than 0.
#[unsafe(no_mangle)]
pub extern "C" fn compiler_create_context() -> i64 {
    create(&CONTEXTS)
}

/// Destroys a context. False for an invalid handle.
#[unsafe(no_mangle)]
pub extern "C" fn compiler_destroy_context(context: i64) -> Bool {
    destroy(&CONTEXTS, "context", context)
}

/// Infers the type arguments of a template from hints: a list of types. A repetition is answered from a cache.
///
/// # Safety
/// Both are null or NUL-terminated; in the tagged convention they are text.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn compiler_infer_types(context: i64, template: Json, hints: Json) -> Answer {
    let act = |context: &Context, texts: [&[u8]; 2]| {
        context.infer(texts, || {
            let [template, hints] = texts.map(parse);
            let (template, hints) = (template?, hints?);
            let signature = signature(&template)?;
            let hints = list(&hints, "hints")?.iter().map(hint).collect::<Result<Vec<_>, _>>()?;
            let types = infer(&signature, &hints)?;
            Ok(types.iter().map(type_to_json).collect::<Value>().to_string())
        })
    };
    // SAFETY: the caller's promise.
    unsafe { answer(context, [template, hints], act) }
}

/// Compiles a template with type arguments.
///
/// # Safety
/// Both are null or NUL-terminated; in the tagged convention they are text.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn compiler_instantiate_template(
    context: i64,
    template: Json,
    types: Json,
) -> Answer {
    let act = |context: &Context, texts: [&[u8]; 2]| {
        context.counts.instantiations.fetch_add(1, Ordering::Relaxed);
        let [template, types] = texts.map(parse);
        let (template, types) = (template?, types?);
        let (name, arguments, body) = checked(&template, &types)?;
        context.instantiate(name, &arguments, body)
    };
    // SAFETY: the caller's promise.
    unsafe { answer(context, [template, types], act) }
}

/// Checks whether a template accepts type arguments.
///
/// # Safety
/// Both are null or NUL-terminated; in the tagged convention they are text.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smf_check_types(context: i64, template: Json, types: Json) -> Answer {
    let act = |_: &Context, texts: [&[u8]; 2]| {
        let [template, types] = texts.map(parse);
        let (template, types) = (template?, types?);
        let (name, arguments, _) = checked(&template, &types)?;
        let symbol = mangle(name, &arguments)?;
        Ok(json!({"success": true, "symbol": symbol}).to_string())
    };
    // SAFETY: the caller's promise.
    unsafe { answer(context, [template, types], act) }
}

/// Whether code is correctly typed: code that the context has compiled, or typed code of the runtime's compiler.
///
/// # Safety
/// As for [`rt_write_exec_memory`](super::rt_write_exec_memory).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn compiler_check_types(context: i64, code: Bytes) -> Bool {
    let check = |context: &Context, code: &[u8]| match typed_code::check(code) {
        Err(error) if !context.has_compiled(code) => Err(ApiError::other(Code::Format, &error)),
        _ => Ok(true),
    };
    to_bool(attempt(false, || {
        // SAFETY: the caller's promise.
        with_context(context, |context| unsafe {
            values::with_bytes(code, |code| check(context, code))
        })
    }))
}

/// Sets the compiler callback of a context for bodies that the library cannot compile; null for none. False for an
/// invalid handle.
///
/// # Safety
/// `compiler` is null, or may be called as `smf.h` says, from any thread, as long as the context is there,
/// and does not unwind.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn compiler_set_callback(
    context: i64,
    compiler: SmfCompiler,
    user: *mut c_void,
) -> bool {
    succeeded(with_context(context, |context| {
        // SAFETY: the caller's promise.
        unsafe { context.set_callback(compiler, user) };
        Ok(())
    }))
}

/// The statistics of a context.
#[unsafe(no_mangle)]
pub extern "C" fn compiler_get_stats(context: i64) -> Answer {
    let stats = context_of(context).map(|context| context.counts.to_json().to_string());
    strings::give(stats.unwrap_or_else(|| invalid("context", context)))
}

fn list<'v>(value: &'v Value, what: &str) -> Result<&'v [Value]> {
    let list = value.as_array().map(Vec::as_slice);
    Ok(list.ok_or_else(|| format!("the {what} are not a list"))?)
}

fn name_of(template: &Value) -> Result<&str> {
    let name = template.get("name").and_then(Value::as_str).filter(|name| !name.is_empty());
    Ok(name.ok_or("the template has no `name`")?)
}

/// `"type_params": ["T"]`, or `"params": [{"name": "T"}]`.
fn parameters(template: &Value) -> Result<Vec<Box<str>>> {
    let named = |value: &Value| {
        let name = value.as_str().or_else(|| value.get("name")?.as_str());
        Ok(name.map(Box::from).ok_or("a type parameter has no name")?)
    };
    let found = template.get("type_params").or_else(|| template.get("params"));
    let found = found.ok_or("the template has no `type_params`")?;
    list(found, "type parameters")?.iter().map(named).collect()
}

fn types_of(value: &Value) -> Result<Vec<Type>> {
    list(value, "types")?.iter().map(|value| Ok(type_from_json(value)?)).collect()
}

fn signature(template: &Value) -> Result<TemplateSignature> {
    let arguments = template.get("param_types").map(types_of).transpose()?.unwrap_or_default();
    let result = template.get("return_type").filter(|value| !value.is_null());
    let result = result.map(type_from_json).transpose()?;
    Ok(TemplateSignature { parameters: parameters(template)?, arguments, result })
}

/// `{"source", "param_index", "ty"}`, or `{"kind": "hint", "source", "type"}`.
fn hint(value: &Value) -> Result<Hint> {
    let ty = value.get("ty").or_else(|| value.get("type")).ok_or("a hint has no `ty`")?;
    let ty = match ty.as_str() {
        Some(text) => Type::parse(text)?,
        None => type_from_json(ty)?,
    };
    let index = || match value.get("param_index").filter(|index| !index.is_null()) {
        // The runtime reads a negative number as an absent one.
        None => Ok(0),
        Some(index) if index.as_i64().is_some_and(|index| index < 0) => Ok(0),
        Some(index) => {
            let index = index.as_u64().and_then(|index| u32::try_from(index).ok());
            index.ok_or("the `param_index` of a hint is invalid")
        }
    };
    let source = match value.get("source").and_then(Value::as_str) {
        Some("call_site") => HintSource::CallSite(index()?),
        Some("return") => HintSource::Return,
        Some("assignment") => HintSource::Assignment,
        Some("constraint") => HintSource::Constraint(index()?),
        _ => return Err("a hint has an unknown `source`".into()),
    };
    Ok(Hint { source, ty })
}

/// The name of a template, valid type arguments for it, and its body.
fn checked<'v>(template: &'v Value, types: &Value) -> Result<(&'v str, Vec<Type>, Vec<u8>)> {
    let (name, arguments) = (name_of(template)?, types_of(types)?);
    let (parameters, count) = (parameters(template)?.len(), arguments.len());
    if !(1..=MAX_ARGUMENTS).contains(&count) {
        return Err(format!("{count} type arguments; there must be 1 to {MAX_ARGUMENTS}").into());
    }
    if parameters != count {
        return Err(wrong_count(name, parameters, count).to_string().into());
    }
    if let Some(unknown) = arguments.iter().find(|ty| !ty.is_concrete()) {
        return Err(format!("the type `{unknown}` is not known").into());
    }
    let byte = |value: &Value| value.as_u64().and_then(|byte| u8::try_from(byte).ok());
    let body = match template.get("body") {
        None | Some(Value::Null) => Some(Vec::new()),
        Some(Value::Array(bytes)) => bytes.iter().map(byte).collect(),
        Some(_) => None,
    };
    Ok((name, arguments, body.ok_or("the `body` of the template is not a list of bytes")?))
}

/// Creates a unifier. Returns its handle, which is greater than 0.
#[unsafe(no_mangle)]
pub extern "C" fn type_unifier_create() -> i64 {
    create(&UNIFIERS)
}

/// Destroys a unifier. False for an invalid handle.
#[unsafe(no_mangle)]
pub extern "C" fn type_unifier_destroy(unifier: i64) -> Bool {
    destroy(&UNIFIERS, "unifier", unifier)
}

/// Unifies two types. Variables with the same name are the same in all calls.
///
/// # Safety
/// Both are null or NUL-terminated; in the tagged convention they are text.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn type_unifier_unify(unifier: i64, one: Json, other: Json) -> Answer {
    // SAFETY: the caller's promise.
    let texts = [one, other].map(|text| unsafe { strings::bytes(text) });
    let unify = || {
        let mut unifiers = UNIFIERS.lock();
        let open = unifiers.get_mut(&unifier).ok_or_else(|| invalid("unifier", unifier))?;
        let read =
            |text: Result<&[u8], ApiError>| -> Result<Type> { Ok(type_from_json(&parse(text?)?)?) };
        let [one, other] = texts.map(read);
        let (one, other) = (one.map_err(failed)?, other.map_err(failed)?);
        open.unifier.unify_types(&one, &other, &mut open.variables).map_err(conflict)
    };
    // Serialised without an intermediate `Value`: this is called for each of many types.
    let written = |ty| serde_json::to_string(&Unified(&ty)).unwrap_or_default();
    strings::give(unify().map_or_else(|error| error, written))
}

/// The result of a unification.
struct Unified<'t>(&'t Type);

impl Serialize for Unified<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut object = to.serialize_map(None)?;
        object.serialize_entry("success", &true)?;
        object.serialize_entry("type", &TypeJson(self.0))?;
        object.end()
    }
}

/// The error, with the types of a conflict.
fn conflict(error: UnifyError) -> String {
    let UnifyError::Conflict(Conflict { left, right, .. }) = &error else {
        return failed(error.into());
    };
    let (left, right) = (type_to_json(left), type_to_json(right));
    record(ApiError::other(Code::Instantiate, &error));
    let answer =
        json!({"success": false, "error": error.to_string(), "left": left, "right": right});
    answer.to_string()
}
