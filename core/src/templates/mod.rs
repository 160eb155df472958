//! A missing symbol becomes code: templates made with types when somebody asks for the result.
//!
//! A module says in its note.sdn what its templates may become (`possible`): a symbol such as
//! `fn$Vec$i64`, the template, the type arguments. The template's body lies in the module. When a symbol
//! is asked for that nobody has, [`JitInstantiator`] looks for such a row, gives the body to a
//! [`Compiler`], publishes what comes back through [`memory::code_alloc`](crate::memory::code_alloc), and tells the
//! module: the row moves to `instantiations`, in memory and, unless that is switched off, in the file.
//! [`JitSymbolResolver`] is what a loader asks at last.
//!
//! ```
//! # #[cfg(target_arch = "x86_64")]
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use std::sync::Arc;
//! use smf_core::instantiate::{Callback, Compiled, JitConfig, JitInstantiator, JitSymbolResolver};
//! use smf_core::link::call;
//!
//! # let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/samples/note-zero-size.smf");
//! # let bytes = std::fs::read(path)?;
//! // A compiler for which every template is `|| 42`: mov eax, 42; ret.
//! let code = vec![0xb8, 42, 0, 0, 0, 0xc3];
//! let compiler = Callback::new(move |_: &_, _: &mut _| {
//!     Ok(Compiled { code: code.clone(), relocations: Vec::new() })
//! });
//! let jit = JitInstantiator::new(JitConfig::default()).with_compiler(Arc::new(compiler));
//! jit.load_smf_bytes(b"app.smf", &bytes)?;
//! let resolver = JitSymbolResolver::of(Arc::new(jit));
//! let address = resolver.resolve(b"Pair$i64_f64").ok_or("no `Pair$i64_f64`")?;
//! // SAFETY: a function of no arguments is there, and stays as long as the resolver.
//! assert_eq!(unsafe { call(address, &[]) }?, 42);
//! # Ok(())
//! # }
//! # #[cfg(not(target_arch = "x86_64"))]
//! # fn main() {}
//! ```
//!
//! Promises:
//!
//! * An instance is compiled once, however many threads ask for it at once, and its address never changes.
//!   Finding it again takes no lock.
//! * Instances that it calls are made first; a circle of them is an error that names every one of it, and
//!   so is a chain longer than [`JitConfig::max_depth`]. To call itself is no circle.
//! * With [`JitConfig::keep_code`] the code is kept in the module's file as well ([`format::ext::cached_code`]), and
//!   another process takes it from there instead of compiling: if the body of the template, the compiler
//!   and the processor are those that it was made for, and whatever it calls is called as it was then.
//!   Anything else that stands there, damage included, is passed over and counted.
//! * What cannot be made leaves nothing behind, and is not tried again before a module is loaded.
//! * A file is replaced as a whole, and two processes that make instances of one module lose neither's
//!   rows. When it cannot be, the code can be used all the same ([`JitResult::UpdateFailed`]).
//! * No lock is held while a compiler runs, which may ask for more.
//!
//! A row that has moved to `instantiations` with the status `jit_compiled` speaks of code that was in the
//! memory of the process that made it. Another process makes the instance again when it is asked for.
//!
//! Machine code that a compiler gives is trusted, as that of modules is, and so is what a module's file
//! keeps: who can write it there can write the module's own code.
//!
//! [`format::ext::cached_code`]: crate::format::kept

mod code_cache;
mod compiler;
mod error;
mod instance_table;
mod instantiator;
mod module;
mod publish;
mod resolver;
mod state;

pub use crate::types::{
    Conflict, Hint, HintSource, InferError, MAX_ARGUMENTS, MAX_DEPTH, MAX_LANES, MAX_NODES,
    Mangled, Signature, Spelled, Type, TypeError, TypeId, Unifier, UnifyError, Variables, infer,
    mangle, mangle_plain, unmangle,
};
pub use code_cache::{CachePolicy, CpuFeatures};
pub use compiler::{
    Callback, CodeReloc, CompileError, Compiled, Compiler, Environment, PrecompiledBodies,
    PrecompiledError, PrecompiledReloc, Request, Target, TypedBodies, Variant, encode_precompiled,
};
pub use error::{InstantiateError, MetadataError, Reason, UpdateError};
pub use instance_table::Instance;
pub use instantiator::{
    Failure, JitConfig, JitInstantiator, JitResult, JitStats, Observer, PossibleEntry,
};
pub use resolver::JitSymbolResolver;
pub use state::Symbol;
