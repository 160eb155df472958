//! `compiler_*` and `type_unifier_*`: the JSON interface between a runtime and a compiler.
//!
//! Every result is a string that the caller frees with `smf_string_free`; in the tagged convention arguments and
//! results are text of the runtime. A failure is an object with `"success": false` and an `"error"` message.
#![allow(unsafe_code)]

use std::collections::BTreeMap;
use std::ffi::c_void;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use serde_core::ser::{Serialize, SerializeMap, Serializer};
use serde_json::{Value, json};
use smf_core::types::{
    Conflict, Hint, HintSource, MAX_ARGUMENTS, TemplateSignature, Type, Unifier, UnifyError,
    Variables, infer, mangle,
};

use super::compile_context::Context;
use super::error::{ApiError, record};
use super::jit_handles::SmfCompiler;
use super::strings::{self, Answer, Json};
use crate::fork::ProcessLock;
use crate::types_json::{TypeJson, type_from_json, type_to_json};

/// Objects by handles that count from 1 and are never reused.
pub(super) struct Registry<T> {
    last: i64,
    values: BTreeMap<i64, T>,
}

impl<T> Registry<T> {
    const fn new() -> Self {
        Self { last: 0, values: BTreeMap::new() }
    }
}

impl<T: Default> Registry<T> {
    fn create(&mut self) -> i64 {
        self.last += 1;
        self.values.insert(self.last, T::default());
        self.last
    }
}

type Table<T> = ProcessLock<Registry<T>>;

pub(super) static CONTEXTS: Table<Arc<Context>> = ProcessLock::new(Registry::new());
pub(super) static UNIFIERS: Table<OpenUnifier> = ProcessLock::new(Registry::new());

/// Calls `act` with an object while the table is locked.
fn with<T, R>(table: &'static Table<T>, handle: i64, act: impl FnOnce(&mut T) -> R) -> Option<R> {
    table.lock().values.get_mut(&handle).map(act)
}

#[derive(Default)]
pub(super) struct OpenUnifier {
    unifier: Unifier,
    variables: Variables,
}

fn give(answer: &Value) -> Answer {
    strings::give(answer.to_string())
}

fn failed(why: impl std::fmt::Display) -> Value {
    json!({"success": false, "error": why.to_string()})
}

/// The context of a handle, which lives while it is in use.
fn context_of(handle: i64) -> Result<Arc<Context>, String> {
    let invalid = || "Invalid context handle".to_owned();
    with(&CONTEXTS, handle, |context| context.clone()).ok_or_else(invalid)
}

/// Calls `act` with a context and two parsed arguments. No lock is held during the call, so that a compiler callback
/// may call any export.
///
/// # Safety
/// The texts are null or NUL-terminated; in the tagged convention they are words of the runtime. They are valid during
/// the call.
unsafe fn answer(
    context: i64,
    texts: [Json; 2],
    act: impl FnOnce(&Context, [Value; 2]) -> Result<Value, String>,
) -> Answer {
    // SAFETY: the caller's promise.
    let texts = texts.map(|text| unsafe { parse(text) });
    let answer = context_of(context).and_then(|context| {
        let _user = context.users.enter().ok_or_else(|| {
            "the context was in use by a thread when this process was forked".to_owned()
        })?;
        let [one, other] = texts;
        act(&context, [one?, other?])
    });
    give(&answer.unwrap_or_else(failed))
}

/// # Safety
/// As for [`answer`].
unsafe fn parse(json: Json) -> Result<Value, String> {
    // SAFETY: the caller's promise.
    let text = unsafe { strings::bytes(json) }.map_err(|error| error.to_string())?;
    serde_json::from_slice(text).map_err(|error| format!("Invalid JSON: {error}"))
}

/// Creates a context. Returns its handle, which is greater than 0.
#[unsafe(no_mangle)]
pub extern "C" fn compiler_create_context() -> i64 {
    CONTEXTS.lock().create()
}

/// Destroys a context. False for an invalid handle.
#[unsafe(no_mangle)]
pub extern "C" fn compiler_destroy_context(context: i64) -> bool {
    let mut contexts = CONTEXTS.lock();
    contexts.values.remove(&context).is_some()
}

/// Infers the type arguments of a template from hints: a list of types.
///
/// # Safety
/// Both are null or NUL-terminated; in the tagged convention they are text.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn compiler_infer_types(context: i64, template: Json, hints: Json) -> Answer {
    let act = |context: &Context, [template, hints]: [Value; 2]| {
        context.counts.inferences.fetch_add(1, Ordering::Relaxed);
        let signature = signature(&template)?;
        let hints = list(&hints, "hints")?.iter().map(hint).collect::<Result<Vec<_>, _>>()?;
        let types = infer(&signature, &hints).map_err(|error| error.to_string())?;
        Ok(types.iter().map(type_to_json).collect())
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
    let act = |context: &Context, [template, types]: [Value; 2]| {
        context.counts.instantiations.fetch_add(1, Ordering::Relaxed);
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
pub unsafe extern "C" fn compiler_check_types(context: i64, template: Json, types: Json) -> Answer {
    let act = |_: &Context, [template, types]: [Value; 2]| {
        let (name, arguments, _) = checked(&template, &types)?;
        let symbol = mangle(name, &arguments).map_err(|error| error.to_string())?;
        Ok(json!({"success": true, "symbol": symbol}))
    };
    // SAFETY: the caller's promise.
    unsafe { answer(context, [template, types], act) }
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
    let handle = context.cast_unsigned();
    let Ok(context) = context_of(context) else { return false };
    let Some(_user) = context.users.enter() else {
        record(ApiError::InUseAtFork { handle });
        return false;
    };
    // SAFETY: the caller's promise.
    unsafe { context.set_callback(compiler, user) };
    true
}

/// The statistics of a context.
#[unsafe(no_mangle)]
pub extern "C" fn compiler_get_stats(context: i64) -> Answer {
    let stats = context_of(context).map(|context| context.counts.to_json());
    give(&stats.unwrap_or_else(failed))
}

fn list<'v>(value: &'v Value, what: &str) -> Result<&'v [Value], String> {
    value.as_array().map(Vec::as_slice).ok_or_else(|| format!("the {what} are not a list"))
}

fn name_of(template: &Value) -> Result<&str, String> {
    let name = template.get("name").and_then(Value::as_str).filter(|name| !name.is_empty());
    name.ok_or_else(|| "the template has no `name`".to_owned())
}

/// `"type_params": ["T"]`, or `"params": [{"name": "T"}]`.
fn parameters(template: &Value) -> Result<Vec<Box<str>>, String> {
    let named = |value: &Value| {
        let name = value.as_str().or_else(|| value.get("name")?.as_str());
        name.map(Box::from).ok_or_else(|| "a type parameter has no name".to_owned())
    };
    let found = template.get("type_params").or_else(|| template.get("params"));
    let found = found.ok_or_else(|| "the template has no `type_params`".to_owned())?;
    list(found, "type parameters")?.iter().map(named).collect()
}

fn types_of(value: &Value) -> Result<Vec<Type>, String> {
    let read = |value: &Value| type_from_json(value).map_err(|error| error.to_string());
    list(value, "types")?.iter().map(read).collect()
}

fn signature(template: &Value) -> Result<TemplateSignature, String> {
    let arguments = template.get("param_types").map(types_of).transpose()?.unwrap_or_default();
    let result = template.get("return_type").filter(|value| !value.is_null());
    let result = result.map(type_from_json).transpose().map_err(|error| error.to_string())?;
    Ok(TemplateSignature { parameters: parameters(template)?, arguments, result })
}

fn hint(value: &Value) -> Result<Hint, String> {
    let ty = value.get("ty").ok_or_else(|| "a hint has no `ty`".to_owned())?;
    let ty = type_from_json(ty).map_err(|error| error.to_string())?;
    let index = || {
        let index = value.get("param_index").and_then(Value::as_u64);
        let index = index.and_then(|index| u32::try_from(index).ok());
        index.ok_or_else(|| "a hint has no `param_index`".to_owned())
    };
    let source = match value.get("source").and_then(Value::as_str) {
        Some("call_site") => HintSource::CallSite(index()?),
        Some("return") => HintSource::Return,
        Some("assignment") => HintSource::Assignment,
        Some("constraint") => HintSource::Constraint(index()?),
        _ => return Err("a hint has an unknown `source`".to_owned()),
    };
    Ok(Hint { source, ty })
}

/// The name of a template, valid type arguments for it, and its body.
fn checked<'v>(
    template: &'v Value,
    types: &Value,
) -> Result<(&'v str, Vec<Type>, Vec<u8>), String> {
    let (name, arguments) = (name_of(template)?, types_of(types)?);
    let parameters = parameters(template)?.len();
    if arguments.len() > MAX_ARGUMENTS || arguments.is_empty() {
        let count = arguments.len();
        return Err(format!("{count} type arguments; there must be 1 to {MAX_ARGUMENTS}"));
    }
    if parameters != arguments.len() {
        let count = arguments.len();
        return Err(format!(
            "`{name}` has {parameters} type parameters, and {count} types are given"
        ));
    }
    if let Some(unknown) = arguments.iter().find(|ty| !ty.is_concrete()) {
        return Err(format!("the type `{unknown}` is not known"));
    }
    let byte = |value: &Value| value.as_u64().and_then(|byte| u8::try_from(byte).ok());
    let body = match template.get("body") {
        None | Some(Value::Null) => Some(Vec::new()),
        Some(Value::Array(bytes)) => bytes.iter().map(byte).collect(),
        Some(_) => None,
    };
    let body =
        body.ok_or_else(|| "the `body` of the template is not a list of bytes".to_owned())?;
    Ok((name, arguments, body))
}

/// Creates a unifier. Returns its handle, which is greater than 0.
#[unsafe(no_mangle)]
pub extern "C" fn type_unifier_create() -> i64 {
    UNIFIERS.lock().create()
}

/// Destroys a unifier. False for an invalid handle.
#[unsafe(no_mangle)]
pub extern "C" fn type_unifier_destroy(unifier: i64) -> bool {
    let mut unifiers = UNIFIERS.lock();
    unifiers.values.remove(&unifier).is_some()
}

/// Unifies two types. Variables with the same name are the same in all calls.
///
/// # Safety
/// Both are null or NUL-terminated; in the tagged convention they are text.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn type_unifier_unify(unifier: i64, one: Json, other: Json) -> Answer {
    // SAFETY: the caller's promise.
    let types = [one, other].map(|text| unsafe { parse(text) });
    let unified = with(&UNIFIERS, unifier, |open| {
        let [one, other] = types;
        let read = |value: Value| type_from_json(&value).map_err(failed);
        let (one, other) = (read(one.map_err(failed)?)?, read(other.map_err(failed)?)?);
        open.unify(&one, &other).map_err(|error| conflict(&error))
    });
    let unified = unified.unwrap_or_else(|| Err(failed("Invalid unifier handle")));
    match unified {
        // Serialised without an intermediate `Value`: this is called for each of many types.
        Ok(ty) => strings::give(serde_json::to_string(&Unified(&ty)).unwrap_or_default()),
        Err(answer) => give(&answer),
    }
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

impl OpenUnifier {
    fn unify(&mut self, one: &Type, other: &Type) -> Result<Type, UnifyError> {
        let one = self.unifier.add(one, &mut self.variables)?;
        let other = self.unifier.add(other, &mut self.variables)?;
        self.unifier.unify(one, other)?;
        self.unifier.resolve(one)
    }
}

/// The error, with the types of a conflict.
fn conflict(error: &UnifyError) -> Value {
    let UnifyError::Conflict(Conflict { left, right, .. }) = error else { return failed(error) };
    let (left, right) = (type_to_json(left), type_to_json(right));
    json!({"success": false, "error": error.to_string(), "left": left, "right": right})
}
