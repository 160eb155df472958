//! Extraction of functions and templates from a module, for a linker that builds another module of them.
//!
//! [`FunctionExtractor`] (feature `alloc`) is built once for a module, in time N log N + M for N symbols and M
//! sorted relocations; each function with its relocations is then found by two binary searches.
//!
//! A function can be extracted only if every address in it is relocatable. That holds where the compiler gave each
//! function its own section, or emitted a relocation for every reference. Some linkers resolve distances within a
//! section and drop the relocations. Code of x86-64 and aarch64 is therefore decoded: a PC-relative reference to
//! another symbol becomes a relocation again, and a function with a reference to an unnamed place is refused. In a
//! prelinked module (`.smf.image`) a function with an unknown instruction is refused too, and so is every function
//! for another machine. On aarch64 an instruction counts as unknown if it leaves a page address in a register for
//! more than the next instruction. If the code of a module is an ELF object, the functions are those of the object.

#[cfg(feature = "alloc")]
mod code_index;
pub mod decode;
mod error;
#[cfg(feature = "alloc")]
mod extractor;
#[cfg(feature = "alloc")]
mod recover;
mod template;

pub use error::ExtractError;
#[cfg(feature = "alloc")]
pub use extractor::{ExtractedReloc, FunctionBody, FunctionExtractor};
pub use template::{TemplateBody, template, templates};
