//! Type terms: the arguments of templates.
//!
//! A [`Type`] is a constructor applied to argument types. It has three spellings: text in the column
//! `type_args` of note.sdn (`Vec<i64>`; [`Type::parse`] and `Display`), a part of a mangled symbol
//! ([`mangle`]), and JSON in the interface of the runtime.
//!
//! | spelling | type |
//! |---|---|
//! | `i8` `i16` `i32` `i64` `i128`, `u8` ... `u128` | integer |
//! | `f16` `f32` `f64` `f128` | float |
//! | `bool`, `text`, `ptr` | boolean, text, address |
//! | `Name`, `Name<A, B>` (or `Name[A, B]`) | named type with its arguments |
//! | `[A]` | array |
//! | `[A; 3]`, `*const A`, `*mut A` | the named types `array_3<A>`, `ptr_const<A>`, `ptr_mut<A>` |
//! | `f32x4`, `simd<A, 4>` | vector of four lanes |
//! | `(A, B)` | tuple |
//! | `fn(A, B) -> C` | function |
//! | `?T` | variable |
//!
//! The parsers limit every type to [`MAX_DEPTH`] levels, [`MAX_NODES`] nodes and [`MAX_ARGUMENTS`]
//! arguments, so that recursion over a parsed type is bounded.
//!
//! ```
//! use smf_core::types::{Type, mangle};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let arguments = Type::parse_arguments("i64, Vec<f64>")?;
//! assert_eq!(mangle("Pair", &arguments)?.as_deref(), Some("Pair$i64_Vec.lf64.g"));
//! # Ok(())
//! # }
//! ```

mod demangle;
mod infer;
mod mangle;
mod parse;
mod term;
#[cfg(test)]
mod testing;
mod unify;

pub use demangle::{demangle, demangle_foreign, is_alias, is_alias_of};
pub use infer::{Hint, HintSource, InferError, TemplateSignature, infer};
pub use mangle::{mangle, mangle_plain};
pub use parse::TypeError;
pub use term::{MAX_ARGUMENTS, MAX_DEPTH, MAX_LANES, MAX_NODES, Type, TypeList, wrong_count};
pub use unify::{Conflict, TypeId, Unifier, UnifyError, Variables};
