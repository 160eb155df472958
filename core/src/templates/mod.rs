//! Templates: missing symbols become compiled instances.
//!
//! A module lists in its note.sdn the instances that its templates can provide (table `possible`): a symbol
//! such as `fn$Vec$i64`, the template, and the type arguments. The template's body is in the module. When
//! an undefined symbol is requested, [`JitInstantiator`] finds the row, gives the body to a [`Compiler`],
//! publishes the code through [`code_alloc`](crate::memory::code_alloc), and moves the row to
//! `instantiations`, in memory and in the file. [`JitSymbolResolver`] is the fallback resolver of a loader.
//!
//! ```text
//! symbol -> row of note.sdn -> template body + types -> Compiler -> code + relocations -> Instance
//!                                    code cache of the file -----------^
//! ```
//!
//! ```
//! # #[cfg(target_arch = "x86_64")]
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use smf_core::memory::code_alloc::CodeMemory;
//! use smf_core::templates::{Callback, Compiled, JitConfig, JitInstantiator};
//! use smf_core::trap::call;
//!
//! # let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/samples/note-zero-size.smf");
//! # let bytes = std::fs::read(path)?;
//! // A compiler that compiles every template to `|| 42`: mov eax, 42; ret.
//! let code = vec![0xb8, 42, 0, 0, 0, 0xc3];
//! let compiler = Callback::new(move |_: &_, _: &mut _| {
//!     Ok(Compiled { code: code.clone(), relocations: Vec::new() })
//! });
//! let jit = JitInstantiator::new(JitConfig::default(), CodeMemory::default())?;
//! let jit = jit.with_compiler(compiler)?;
//! jit.load_smf_bytes(b"app.smf", &bytes)?;
//! let instance = jit.try_jit_instantiate(b"Pair$i64_f64")?;
//! // SAFETY: the address is that of a function without arguments; `instance` owns its code.
//! assert_eq!(unsafe { call(instance.address(), &[]) }?, 42);
//! # Ok(())
//! # }
//! # #[cfg(not(target_arch = "x86_64"))]
//! # fn main() {}
//! ```
//!
//! # Guarantees
//!
//! * An instance is compiled once, even if threads request it concurrently. Its address never changes.
//!   Lookup of an existing instance is lock-free.
//! * Required instances are compiled first. A cycle of them is an error that lists its members, and so is a
//!   chain longer than [`JitConfig::max_depth`]. Direct recursion is not a cycle.
//! * With [`JitConfig::keep_code`], code is cached in the module's file, and another process loads it from
//!   there if the template's body, the compiler, the processor features and the signatures of all callees
//!   match. Stale and malformed records are skipped and counted.
//! * A failed compilation has no side effects. It is not repeated until a module is loaded.
//! * A file is replaced atomically. Two processes that update one module lose none of their rows. If the
//!   update fails, the code can be used regardless ([`InstantiateError::UpdateFailed`]).
//! * No lock is held during a compilation. The compiler may request other instances.
//!
//! A row of `instantiations` with the status `jit_compiled` describes code in the memory of the process that
//! wrote it. Another process compiles the instance again on request.
//!
//! # Security
//!
//! The code that a compiler returns is trusted, and so is the code cache of a file: a writer of the cache
//! could also change the code of the module itself.

mod code_cache;
mod compiler;
mod cpu_features;
mod deferred;
mod derived;
mod error;
mod instance;
mod instance_table;
mod instantiator;
mod ir_bodies;
mod jobs;
mod module;
mod module_index;
mod module_note;
mod precompiled;
mod publish;
#[cfg(feature = "source")]
mod record_source;
mod resolver;
mod signature;
#[cfg(feature = "source")]
mod source_bodies;
mod symbols;
mod taker;
mod template_uses;

pub use compiler::{
    CachePolicy, Callback, CodeReloc, CompileError, CompileRequest, Compiled, Compiler,
    Environment, Target,
};
pub use cpu_features::CpuFeatures;
pub use deferred::{ConstraintKind, DeferredHints, TakeError, TypeConstraint, TypeVariable};
pub use error::{
    InstantiateError, InstantiateErrorKind, InstantiateFailure, MetadataError, Reason, UpdateError,
};
pub use instance::Instance;
pub use instantiator::{JitConfig, JitInstantiator, JitStats, Observer, PossibleEntry};
pub use ir_bodies::{Aarch64Bodies, IrBodies, MachineBodies, X64Bodies};
pub use precompiled::{
    PrecompiledBodies, PrecompiledError, PrecompiledReloc, Variant, encode_precompiled,
};
pub use resolver::JitSymbolResolver;
#[cfg(feature = "source")]
pub use source_bodies::{RecordBodies, SourceBodies, encode_source, is_same_source};
pub use symbols::instance_symbols;
pub use taker::{ObjTaker, Taken, TakerConfig};
pub use template_uses::UsageSite;
