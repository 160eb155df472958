//! Compilation for `compiler_instantiate_template`: a body becomes code with symbolic relocations.
#![allow(unsafe_code)]

use std::collections::HashMap;
use std::ffi::c_void;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use serde_json::{Value, json};
use smf_core::format::Layout;
use smf_core::link::host_arch;
use smf_core::templates::{
    CodeReloc, CompileError, CompileRequest, Compiler, Environment, IrBodies, PrecompiledBodies,
    Target,
};
use smf_core::types::{Type, mangle};

use super::jit_handles::{CallbackCompiler, SmfCompiler};
use crate::fork::Users;
use crate::types_json::type_to_json;

/// The statistics of a context.
#[derive(Default)]
pub(super) struct Counts {
    pub(super) inferences: AtomicU64,
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

/// The compilers of a context, and a cache of their results.
#[derive(Default)]
pub(super) struct Context {
    pub(super) counts: Counts,
    /// Threads that may hold the locks below.
    pub(super) users: Users,
    ir: IrBodies,
    callback: CallbackCompiler,
    compiled: Mutex<HashMap<Key, Value>>,
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

    fn compiled(&self) -> std::sync::MutexGuard<'_, HashMap<Key, Value>> {
        // No code panics while it holds the lock.
        self.compiled.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Compiles a template with type arguments, or returns the cached result.
    pub(super) fn instantiate(
        &self,
        name: &str,
        arguments: &[Type],
        body: Vec<u8>,
    ) -> Result<Value, String> {
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

    /// The first compiler that recognizes the body.
    fn compiler(&self, body: &[u8]) -> Option<&dyn Compiler> {
        let all: [&dyn Compiler; 3] = [&PrecompiledBodies, &self.ir, &self.callback];
        all.into_iter().find(|compiler| compiler.recognizes(body))
    }

    fn compile(&self, name: &str, arguments: &[Type], body: &[u8]) -> Result<Value, String> {
        let symbol = mangle(name, arguments).map_err(|error| error.to_string())?;
        let symbol = symbol.ok_or_else(|| "the template has no mangled name".to_owned())?;
        let unsupported = || format!("no compiler recognizes the body of the template `{name}`");
        let compiler = self.compiler(body).ok_or_else(unsupported)?;
        let request = CompileRequest {
            symbol: symbol.as_bytes(),
            template: name.as_bytes(),
            kind: None,
            parameters: u8::try_from(arguments.len()).ok(),
            body,
            arguments,
            arch: host_arch(),
        };
        let mut references = References { request: &request, targets: Vec::new() };
        let compiled =
            compiler.compile(&request, &mut references).map_err(|error| error.to_string())?;
        let relocations = compiled.relocations.iter().map(|reloc| references.to_json(reloc));
        let relocations: Vec<_> = relocations.collect();
        let code = compiled.code;
        Ok(json!({"success": true, "symbol": symbol, "code": code, "relocations": relocations}))
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
        let (offset, addend) = (reloc.offset, reloc.addend);
        match self.reference(reloc.target) {
            // The function itself.
            None => json!({"offset": offset, "kind": kind, "addend": addend}),
            Some(Reference::Symbol(symbol)) => {
                json!({"offset": offset, "kind": kind, "addend": addend, "symbol": symbol})
            }
            Some(Reference::Address(address)) => {
                json!({"offset": offset, "kind": kind, "addend": addend, "address": address})
            }
            Some(Reference::Instance(template, types)) => json!({
                "offset": offset,
                "kind": kind,
                "addend": addend,
                "template": template,
                "types": types.iter().map(type_to_json).collect::<Value>(),
                "symbol": mangle(template, types).ok().flatten(),
            }),
        }
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
