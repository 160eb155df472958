//! What `compiler_instantiate_template` does: a body becomes code, and what the code leads to is told by name.
#![allow(unsafe_code)]

use std::collections::HashMap;
use std::ffi::c_void;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use serde_json::{Map, Value, json};
use smf_core::format::Layout;
use smf_core::link::host_arch;
use smf_core::templates::{
    CodeReloc, CompileError, CompileRequest, Compiler, Environment, IrBodies, PrecompiledBodies,
    Target,
};
use smf_core::types::{Type, mangle};

use super::jit_handles::{FromC, SmfCompiler};
use crate::fork::Users;
use crate::types_json::type_to_json;

/// How often a context has done what.
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

/// A template, its body, and the types that it was made with.
type Key = (String, Vec<u8>, Vec<Type>);

/// The compilers of a context, and what they have made.
#[derive(Default)]
pub(super) struct Context {
    pub(super) counts: Counts,
    /// The threads that may hold the locks below.
    pub(super) users: Users,
    typed: IrBodies,
    callback: FromC,
    compiled: Mutex<HashMap<Key, Value>>,
}

impl Context {
    /// # Safety
    /// As [`FromC::set`].
    pub(super) unsafe fn set_callback(&self, compiler: SmfCompiler, user: *mut c_void) {
        // SAFETY: passed on to the caller.
        unsafe { self.callback.set(compiler, user) };
        // Another compiler may make other code.
        self.compiled().clear();
    }

    fn compiled(&self) -> std::sync::MutexGuard<'_, HashMap<Key, Value>> {
        // Nothing panics while it holds the lock.
        self.compiled.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The code of a template made with types.
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
        let made = self.compile(name, arguments, &key.1)?;
        self.compiled().insert(key, made.clone());
        Ok(made)
    }

    /// The first compiler that takes the body.
    fn compiler(&self, body: &[u8]) -> Option<&dyn Compiler> {
        let all: [&dyn Compiler; 3] = [&PrecompiledBodies, &self.typed, &self.callback];
        all.into_iter().find(|compiler| compiler.recognizes(body))
    }

    fn compile(&self, name: &str, arguments: &[Type], body: &[u8]) -> Result<Value, String> {
        let symbol = mangle(name, arguments).map_err(|error| error.to_string())?;
        let symbol = symbol.ok_or_else(|| "the template has no symbol".to_owned())?;
        let nobody = || format!("no compiler recognizes the body of the template `{name}`");
        let compiler = self.compiler(body).ok_or_else(nobody)?;
        let request = CompileRequest {
            symbol: symbol.as_bytes(),
            template: name.as_bytes(),
            kind: None,
            parameters: u8::try_from(arguments.len()).ok(),
            body,
            arguments,
            arch: host_arch(),
        };
        let mut asked = Asked { request: &request, targets: Vec::new() };
        let compiled = compiler.compile(&request, &mut asked).map_err(|error| error.to_string())?;
        let relocations = compiled.relocations.iter().map(|reloc| asked.to_json(reloc));
        let relocations: Vec<_> = relocations.collect();
        let code = compiled.code;
        Ok(json!({"success": true, "symbol": symbol, "code": code, "relocations": relocations}))
    }
}

/// Something that code leads to, for the caller to find.
#[derive(Clone, PartialEq)]
enum Wanted {
    Symbol(String),
    Instance(String, Vec<Type>),
    /// A function of this process.
    Address(u64),
}

/// What a compiler has asked for.
struct Asked<'r> {
    request: &'r CompileRequest<'r>,
    targets: Vec<Wanted>,
}

impl Asked<'_> {
    fn add(&mut self, wanted: Wanted) -> Result<Target, CompileError> {
        let known = self.targets.iter().position(|known| *known == wanted);
        let number = known.unwrap_or_else(|| {
            self.targets.push(wanted);
            self.targets.len() - 1
        });
        let target = u32::try_from(number).ok().and_then(Target::of);
        target.ok_or(CompileError::because("it refers to more than can be counted"))
    }

    fn wanted(&self, target: Target) -> Option<&Wanted> {
        self.targets.get(usize::try_from(target.number()?).ok()?)
    }

    fn to_json(&self, reloc: &CodeReloc) -> Value {
        let kind = Layout::Native.reloc_number(reloc.kind);
        let mut told = Map::new();
        told.insert("offset".to_owned(), reloc.offset.into());
        told.insert("kind".to_owned(), kind.into());
        told.insert("addend".to_owned(), reloc.addend.into());
        match self.wanted(reloc.target) {
            None => {}
            Some(Wanted::Symbol(symbol)) => {
                told.insert("symbol".to_owned(), symbol.as_str().into());
            }
            Some(Wanted::Address(address)) => {
                told.insert("address".to_owned(), (*address).into());
            }
            Some(Wanted::Instance(template, types)) => {
                let all: Vec<_> = types.iter().map(type_to_json).collect();
                told.insert("template".to_owned(), template.as_str().into());
                told.insert("types".to_owned(), all.into());
                told.insert("symbol".to_owned(), mangle(template, types).ok().flatten().into());
            }
        }
        told.into()
    }
}

fn text(name: &[u8]) -> Result<String, CompileError> {
    let text = std::str::from_utf8(name).map(str::to_owned);
    text.map_err(|_| CompileError::because("it refers to a name that is not UTF-8"))
}

impl Environment for Asked<'_> {
    fn instance(&mut self, template: &[u8], arguments: &[Type]) -> Result<Target, CompileError> {
        if template == self.request.template && arguments == self.request.arguments {
            return Ok(Target::OWN);
        }
        self.add(Wanted::Instance(text(template)?, arguments.to_vec()))
    }

    fn symbol(&mut self, symbol: &[u8]) -> Result<Target, CompileError> {
        if symbol == self.request.symbol {
            return Ok(Target::OWN);
        }
        self.add(Wanted::Symbol(text(symbol)?))
    }

    fn absolute(&mut self, address: u64) -> Result<Target, CompileError> {
        self.add(Wanted::Address(address))
    }

    fn address(&self, target: Target) -> Option<u64> {
        match self.wanted(target)? {
            Wanted::Address(address) => Some(*address),
            _ => None,
        }
    }

    fn declare_signature(&mut self, _: Box<[u8]>) {}

    fn signature(&self, _: Target) -> Option<&[u8]> {
        None
    }
}
