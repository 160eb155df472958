//! Compilation for `compiler_instantiate_template`: a body becomes code with symbolic relocations.
#![allow(unsafe_code)]

use std::collections::HashMap;
use std::error::Error;
use std::ffi::c_void;
use std::hash::Hash;
use std::mem;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde_json::{Value, json};
use smf_core::format::Layout;
use smf_core::link::host_arch;
use smf_core::templates::{
    CodeReloc, CompileError, CompileRequest, Compiled, Compiler, Environment, IrBodies,
    PrecompiledBodies, Target,
};
#[cfg(feature = "source")]
use smf_core::templates::{RecordBodies, SourceBodies};
use smf_core::types::{Type, mangle};

use super::jit_handles::{CallbackCompiler, SmfCompiler};
use crate::fork::Users;
use crate::types_json::type_to_json;

/// The statistics of a context.
#[derive(Default)]
pub(super) struct Counts {
    inferences: AtomicU64,
    pub(super) instantiations: AtomicU64,
    hits: AtomicU64,
    misses: AtomicU64,
}

impl Counts {
    pub(super) fn to_json(&self) -> Value {
        let count = |count: &AtomicU64| count.load(Ordering::Relaxed);
        json!({
            "type_inferences": count(&self.inferences),
            "template_instantiations": count(&self.instantiations),
            "cache_hits": count(&self.hits),
            "cache_misses": count(&self.misses),
        })
    }
}

/// A template, its body and its type arguments.
type Key = (String, Vec<u8>, Vec<Type>);

/// The template and the hints of an inference, as they were passed.
type Inference = [Vec<u8>; 2];

/// At least so many of the last results stay in a cache, and at most twice as many.
const MIN_CACHED: usize = 2048;

/// A cache of results that drops the older ones.
struct Recent<K, V> {
    new: HashMap<K, V>,
    /// Those of before `new` was started, until it is full.
    old: HashMap<K, V>,
}

impl<K, V> Default for Recent<K, V> {
    fn default() -> Self {
        Self { new: HashMap::new(), old: HashMap::new() }
    }
}

impl<K: Eq + Hash, V> Recent<K, V> {
    fn get(&self, key: &K) -> Option<&V> {
        self.new.get(key).or_else(|| self.old.get(key))
    }

    fn values(&self) -> impl Iterator<Item = &V> {
        self.new.values().chain(self.old.values())
    }

    fn insert(&mut self, key: K, value: V) {
        if self.new.len() == MIN_CACHED {
            self.old = mem::take(&mut self.new);
        }
        self.new.insert(key, value);
    }
}

/// The results of compilations.
#[derive(Default)]
struct CompiledCache {
    results: Recent<Key, CompiledTemplate>,
    /// How often the callback was set.
    callbacks: u64,
}

/// The result of a compilation.
struct CompiledTemplate {
    code: Vec<u8>,
    answer: String,
}

/// The compilers of a context, and caches of their results and of inferences.
#[derive(Default)]
pub(super) struct Context {
    pub(super) counts: Counts,
    /// Threads that may hold the locks below.
    pub(super) users: Users,
    ir: IrBodies,
    #[cfg(feature = "source")]
    text: (SourceBodies, RecordBodies),
    callback: CallbackCompiler,
    compiled: Mutex<CompiledCache>,
    inferred: Mutex<Recent<Inference, String>>,
}

impl Context {
    /// # Safety
    /// As for [`CallbackCompiler::set`].
    pub(super) unsafe fn set_callback(&self, compiler: SmfCompiler, user: *mut c_void) {
        let mut compiled = self.compiled();
        // SAFETY: the caller's promise.
        unsafe { self.callback.set(compiler, user) };
        // Another compiler may emit other code.
        compiled.results = Recent::default();
        compiled.callbacks += 1;
    }

    fn compiled(&self) -> MutexGuard<'_, CompiledCache> {
        // No code panics while it holds the lock.
        self.compiled.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the code is that of a cached result.
    pub(super) fn has_compiled(&self, code: &[u8]) -> bool {
        self.compiled().results.values().any(|known| known.code == code)
    }

    /// Infers types by `infer`, or returns the cached answer for the same texts.
    pub(super) fn infer(
        &self,
        texts: [&[u8]; 2],
        infer: impl FnOnce() -> Result<String, Box<dyn Error>>,
    ) -> Result<String, Box<dyn Error>> {
        // No code panics while it holds the lock.
        let inferred = || self.inferred.lock().unwrap_or_else(PoisonError::into_inner);
        self.counts.inferences.fetch_add(1, Ordering::Relaxed);
        let key = texts.map(<[u8]>::to_vec);
        if let Some(known) = inferred().get(&key) {
            self.counts.hits.fetch_add(1, Ordering::Relaxed);
            return Ok(known.clone());
        }
        self.counts.misses.fetch_add(1, Ordering::Relaxed);
        let types = infer()?;
        inferred().insert(key, types.clone());
        Ok(types)
    }

    /// Compiles a template with type arguments, or returns the cached result.
    pub(super) fn instantiate(
        &self,
        name: &str,
        arguments: &[Type],
        body: Vec<u8>,
    ) -> Result<String, Box<dyn Error>> {
        let key = (name.to_owned(), body, arguments.to_vec());
        let compiled = self.compiled();
        if let Some(known) = compiled.results.get(&key) {
            self.counts.hits.fetch_add(1, Ordering::Relaxed);
            return Ok(known.answer.clone());
        }
        let callbacks = compiled.callbacks;
        drop(compiled);
        self.counts.misses.fetch_add(1, Ordering::Relaxed);
        let result = self.compile(name, arguments, &key.1)?;
        let answer = result.answer.clone();
        let mut compiled = self.compiled();
        // Otherwise it may be the code of a callback that is not set any more.
        if compiled.callbacks == callbacks {
            compiled.results.insert(key, result);
        }
        Ok(answer)
    }

    fn compile(
        &self,
        name: &str,
        arguments: &[Type],
        body: &[u8],
    ) -> Result<CompiledTemplate, Box<dyn Error>> {
        let symbol = mangle(name, arguments)?.ok_or("the template has no mangled name")?;
        let mut all: Vec<&dyn Compiler> = vec![&PrecompiledBodies, &self.ir];
        #[cfg(feature = "source")]
        all.extend([&self.text.0 as &dyn Compiler, &self.text.1]);
        all.push(&self.callback);
        let compiler = all.into_iter().find(|compiler| compiler.recognizes(body));
        let unsupported = || format!("no compiler recognizes the body of the template `{name}`");
        let compiler = compiler.ok_or_else(unsupported)?;
        let request = CompileRequest {
            symbol: symbol.as_bytes(),
            template: name.as_bytes(),
            kind: None,
            parameters: u8::try_from(arguments.len()).ok(),
            body,
            section: &[],
            requester: &[],
            arguments,
            arch: host_arch(),
        };
        let mut references = References { request: &request, targets: Vec::new() };
        let Compiled { code, relocations } = compiler.compile(&request, &mut references)?;
        let relocations: Value =
            relocations.iter().map(|reloc| references.to_json(reloc)).collect();
        let answer =
            json!({"success": true, "code": code, "symbol": symbol, "relocations": relocations});
        Ok(CompiledTemplate { code, answer: answer.to_string() })
    }
}

/// A target that the caller resolves.
#[derive(Clone, PartialEq)]
enum Reference {
    Symbol(String),
    Instance(String, Vec<Type>),
    /// A function of this process.
    Address(u64),
}

/// The targets that a compiler refers to.
struct References<'r> {
    request: &'r CompileRequest<'r>,
    targets: Vec<Reference>,
}

impl References<'_> {
    fn add(&mut self, reference: Reference) -> Result<Target, CompileError> {
        let known = self.targets.iter().position(|known| *known == reference);
        let number = known.unwrap_or_else(|| {
            self.targets.push(reference);
            self.targets.len() - 1
        });
        let target = u32::try_from(number).ok().and_then(Target::of);
        target.ok_or(CompileError::because("the code has too many relocation targets"))
    }

    fn reference(&self, target: Target) -> Option<&Reference> {
        self.targets.get(usize::try_from(target.number()?).ok()?)
    }

    fn to_json(&self, reloc: &CodeReloc) -> Value {
        let kind = Layout::Native.reloc_number(reloc.kind);
        let own: Vec<(&str, Value)> = match self.reference(reloc.target) {
            // The function itself.
            None => Vec::new(),
            Some(Reference::Symbol(symbol)) => vec![("symbol", symbol.as_str().into())],
            Some(Reference::Address(address)) => vec![("address", (*address).into())],
            Some(Reference::Instance(template, types)) => vec![
                ("template", template.as_str().into()),
                ("types", types.iter().map(type_to_json).collect()),
                ("symbol", mangle(template, types).ok().flatten().into()),
            ],
        };
        let (offset, kind, addend) = (reloc.offset.into(), kind.into(), reloc.addend.into());
        let place = [("offset", offset), ("kind", kind), ("addend", addend)];
        place.into_iter().chain(own).collect()
    }
}

fn text(name: &[u8]) -> Result<String, CompileError> {
    let text = std::str::from_utf8(name).map(str::to_owned);
    text.map_err(|_| CompileError::because("the code refers to a name that is not UTF-8"))
}

impl Environment for References<'_> {
    fn instance(&mut self, template: &[u8], arguments: &[Type]) -> Result<Target, CompileError> {
        if template == self.request.template && arguments == self.request.arguments {
            return Ok(Target::OWN);
        }
        self.add(Reference::Instance(text(template)?, arguments.to_vec()))
    }

    fn symbol(&mut self, symbol: &[u8]) -> Result<Target, CompileError> {
        if symbol == self.request.symbol {
            return Ok(Target::OWN);
        }
        self.add(Reference::Symbol(text(symbol)?))
    }

    fn absolute(&mut self, address: u64) -> Result<Target, CompileError> {
        self.add(Reference::Address(address))
    }

    fn address(&self, target: Target) -> Option<u64> {
        match self.reference(target)? {
            Reference::Address(address) => Some(*address),
            _ => None,
        }
    }

    fn declare_signature(&mut self, _: Box<[u8]>) {}

    fn signature(&self, _: Target) -> Option<&[u8]> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::super::jit::smf_jit_emit;
    use super::super::jit_handles::SmfTemplate;
    use super::*;

    unsafe extern "C" fn later(unit: u64, _: *const SmfTemplate, _: *mut c_void) -> bool {
        // SAFETY: one byte of code.
        unsafe { smf_jit_emit(unit, [2].as_ptr(), 1) }
    }

    /// Another thread may set a callback while this one compiles.
    unsafe extern "C" fn replaced(unit: u64, _: *const SmfTemplate, user: *mut c_void) -> bool {
        // SAFETY: the context of the test, which outlives the call.
        let context = unsafe { &*user.cast::<Context>() };
        // SAFETY: `later` may be called by any thread.
        unsafe { context.set_callback(Some(later), std::ptr::null_mut()) };
        // SAFETY: one byte of code.
        unsafe { smf_jit_emit(unit, [1].as_ptr(), 1) }
    }

    #[test]
    fn code_of_a_callback_that_is_replaced_meanwhile_is_not_cached() {
        let context = Context::default();
        let instantiate = |name: &str| {
            let answer = context.instantiate(name, &[Type::I64], vec![9]);
            answer.unwrap()
        };
        let user = (&raw const context).cast_mut().cast();
        // SAFETY: the callback may be called while the context lives.
        unsafe { context.set_callback(Some(replaced), user) };
        assert!(instantiate("f").contains("\"code\":[1]"));
        assert!(instantiate("f").contains("\"code\":[2]"));
    }

    #[test]
    fn last_results_stay_in_the_cache_and_older_ones_do_not() {
        let context = Context::default();
        // SAFETY: the callback may be called at any time.
        unsafe { context.set_callback(Some(later), std::ptr::null_mut()) };
        let instantiate = |number: usize| {
            let name = format!("f{number}");
            context.instantiate(&name, &[Type::I64], vec![9]).unwrap();
            context.counts.hits.load(Ordering::Relaxed)
        };
        let count = 3 * MIN_CACHED;
        assert!((0..count).all(|number| instantiate(number) == 0));
        assert_eq!(context.compiled().results.values().count(), 2 * MIN_CACHED);
        assert_eq!(instantiate(count - MIN_CACHED), 1);
        assert_eq!(instantiate(0), 1);
        assert!(context.has_compiled(&[2]) && !context.has_compiled(&[1]));
    }
}
