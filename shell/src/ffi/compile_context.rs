//! Compilation for `compiler_instantiate_template`: a body becomes code with symbolic relocations.
#![allow(unsafe_code)]

use std::collections::HashMap;
use std::error::Error;
use std::ffi::c_void;
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

/// The most cached inferences.
const MAX_INFERENCES: usize = 4096;

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
    compiled: Mutex<HashMap<Key, Value>>,
    inferred: Mutex<HashMap<Inference, String>>,
}

impl Context {
    /// # Safety
    /// As for [`CallbackCompiler::set`].
    pub(super) unsafe fn set_callback(&self, compiler: SmfCompiler, user: *mut c_void) {
        // SAFETY: the caller's promise.
        unsafe { self.callback.set(compiler, user) };
        // Another compiler may emit other code.
        self.compiled().clear();
    }

    fn compiled(&self) -> MutexGuard<'_, HashMap<Key, Value>> {
        // No code panics while it holds the lock.
        self.compiled.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the code is that of a cached result.
    pub(super) fn has_compiled(&self, code: &[u8]) -> bool {
        let is_equal = |known: &Vec<Value>| {
            known.len() == code.len()
                && known
                    .iter()
                    .zip(code)
                    .all(|(known, byte)| known.as_u64() == Some(u64::from(*byte)))
        };
        let codes = |answer: &Value| answer.get("code")?.as_array().map(is_equal);
        self.compiled().values().filter_map(codes).any(|is_equal| is_equal)
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
        let mut inferred = inferred();
        if inferred.len() == MAX_INFERENCES {
            inferred.clear();
        }
        inferred.insert(key, types.clone());
        Ok(types)
    }

    /// Compiles a template with type arguments, or returns the cached result.
    pub(super) fn instantiate(
        &self,
        name: &str,
        arguments: &[Type],
        body: Vec<u8>,
    ) -> Result<Value, Box<dyn Error>> {
        let key = (name.to_owned(), body, arguments.to_vec());
        if let Some(known) = self.compiled().get(&key) {
            self.counts.hits.fetch_add(1, Ordering::Relaxed);
            return Ok(known.clone());
        }
        self.counts.misses.fetch_add(1, Ordering::Relaxed);
        let compiled = self.compile(name, arguments, &key.1)?;
        self.compiled().insert(key, compiled.clone());
        Ok(compiled)
    }

    fn compile(
        &self,
        name: &str,
        arguments: &[Type],
        body: &[u8],
    ) -> Result<Value, Box<dyn Error>> {
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
        Ok(json!({"success": true, "code": code, "symbol": symbol, "relocations": relocations}))
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
