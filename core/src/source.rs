//! The Simple front end: from source text to IR.
//!
//! ```text
//!   text --lexer--> tokens --layout--> lines and blocks --parser--> Tree
//!     --program--> names, types, signatures --lower--> IR functions --> TranslationUnit
//! ```
//!
//! [`compile`] takes the files of a program and returns a [`TranslationUnit`], or the errors. The accepted language is a
//! subset of Simple without allocation at run time: numbers, structs, enums and fixed arrays by value, generic functions by
//! instantiation, control flow, and printing through the host. Everything else that Simple has is refused by an error
//! that names the construct.
//!
//! ```
//! use smf_core::source::{Mode, SourceFile, compile};
//!
//! # fn main() -> Result<(), smf_core::AllocError> {
//! let text = "fn square(x: i64) -> i64: x * x\n";
//! let file = SourceFile { name: "square.spl", module: "square", text };
//! let compiled = compile(&[file], Mode::Compile)?;
//! assert_eq!(compiled.unit.unwrap_or_default().functions[0].symbol, "square");
//!
//! let file = SourceFile { text: "fn f(x: i64): y + 1\n", ..file };
//! let compiled = compile(&[file], Mode::Compile)?;
//! assert_eq!(compiled.diagnostics[0].message, "name `y` not found");
//! # Ok(())
//! # }
//! ```
//!
//! # Guarantees
//!
//! No text causes a panic or recursion without bound: nesting of expressions, blocks, types, constants and instances is
//! limited, and the limit is an error with a name. The number of errors is limited. Memory is proportional to the
//! text, and to the instances of generic functions.
//!
//! # Semantics
//!
//! * Integers wrap at their declared width. Division by zero, an index outside of an array, a failed assertion and a
//!   negative exponent trap. The lowest number divided by -1 is itself. Shift counts are modulo the width.
//! * The remainder of floats is that of `fmod`, a power of floats that of `pow`: functions of the host.
//! * An integer becomes wider, and a literal any number type that has its value, without `as`. An operation on an
//!   integer and a float converts the integer. Signed and unsigned operands mix in comparisons only, by value.
//! * Values are copied. A negative index counts from the end of the array.
//! * Operands are computed from left to right, `and` and `or` only as far as needed, the operands of a chain
//!   `a < b < c` once.
//!
//! # Traps
//!
//! | code | cause |
//! |---|---|
//! | 1 | division by zero |
//! | [`TRAP_BOUNDS`], 16 | an index outside of an array |
//! | [`TRAP_ASSERT`], 17 | a failed `assert`; its message is in [`FunctionDefinition::assertions`] |
//! | [`TRAP_EXPONENT`], 18 | a negative exponent of an integer power |
//!
//! [`TrapCause`] reads the index and the length from a trap.
//!
//! # Calling convention
//!
//! | type | parameter in the IR | result in the IR |
//! |---|---|---|
//! | number, bool | a scalar | a scalar |
//! | enum without payloads | i64: the discriminant | i64 |
//! | raw pointer, function | ptr | ptr |
//! | text, `[T]` | two: ptr and i64, the length | written to memory |
//! | struct, tuple, `[T; N]`, other enum | ptr; the callee does not write there, but to `self` of a `me` method | written to memory |
//! | unit | nothing | nothing |
//!
//! The address for a result in memory is the first parameter. Structs lie in memory as in C; an enum with payloads starts with
//! the number of its variant, an i64.
//!
//! # Functions of the host
//!
//! `rt_print_i64`, `_u64`, `_f64`, `_f32`, `_bool` take a value, `rt_print_text` an address and a length; `rt_eprint_*`
//! likewise. `fmod`, `fmodf`, `pow`, `powf`, `floor` and `floorf` are those of C.

mod advice;
mod code;
mod diagnostic;
mod imports;
mod layout;
mod lexer;
mod literal;
mod lower;
mod names;
mod output;
mod parser;
mod parts;
mod program;
mod scope;
mod syntax;
mod token;
mod trap;
mod ty;
mod unit;

use alloc::vec::Vec;

use crate::alloc_util::{AllocError, try_push, try_with_capacity};
use crate::types::Type;

pub use code::Code;
pub use diagnostic::{Diagnostic, Severity};
pub use imports::imports;
pub(crate) use parts::{Part, first_part};
pub use program::Mode;
pub(crate) use program::operation::fits;
pub use trap::{TRAP_ASSERT, TRAP_BOUNDS, TRAP_EXPONENT, TrapCause};
pub use unit::{
    Assertion, Compiled, Constant, ConstantValue, ExternalFunction, ExternalSignature,
    FunctionDefinition, SourceFile, SourcePlace, Template, TranslationUnit, TypeParam,
};

use diagnostic::{Diagnostics, File};
use lower::generator::{self, Generator};
use names::Names;
use program::{Context, Externals, Program, Source};

/// The longest text of a file, in bytes.
pub const MAX_TEXT: usize = 64 << 20;

/// Compiles files. The functions of all files become functions of the unit; statements at the top level of the first
/// file become its function `main`.
///
/// # Errors
/// No memory. Errors in the source are diagnostics.
pub fn compile(files: &[SourceFile<'_>], mode: Mode) -> Result<Compiled, AllocError> {
    compile_with(files, mode, &|_| None)
}

/// Compiles files as [`compile`] does. Names of functions that no file declares are looked up by `externals`; calls of
/// them go to the host by that name.
///
/// # Errors
/// No memory. Errors in the source are diagnostics.
pub fn compile_with(
    files: &[SourceFile<'_>],
    mode: Mode,
    externals: &Externals<'_>,
) -> Result<Compiled, AllocError> {
    compile_in(&mut Memory::default(), files, mode, externals)
}

/// The memory of a run of the front end, for the next one.
#[derive(Default)]
pub(crate) struct Memory(generator::Memory);

/// Compiles files as [`compile_with`] does, in the memory of an earlier run.
pub(crate) fn compile_in(
    memory: &mut Memory,
    files: &[SourceFile<'_>],
    mode: Mode,
    externals: &Externals<'_>,
) -> Result<Compiled, AllocError> {
    with_program(memory, files, Context::new(mode, externals), |generator| {
        let lowered = generator.run();
        let templates = output::templates(generator)?;
        if generator.program.diagnostics.has_errors() {
            return Ok(None);
        }
        let mut unit = output::unit(generator, lowered)?;
        unit.templates = templates;
        output::separate_symbols(generator, &mut unit)?;
        if mode == Mode::Compile {
            output::possible_instances(generator, &mut unit)?;
        }
        Ok(Some(unit))
    })
}

/// Compiles the instance of the generic function `name` for `types`, and what it calls, from the
/// [text of a template](Template::text). The instance is the first function of the unit.
///
/// # Errors
/// No memory. Errors in the source are diagnostics.
pub fn instantiate(
    file: SourceFile<'_>,
    name: &str,
    types: &[Type],
) -> Result<Compiled, AllocError> {
    let (files, own) = scope::files(file)?;
    // A text of one file has all that it needs, and may name modules: that of another writer, or of an earlier version.
    let is_template_text = files.len() == 1;
    let mut texts = try_with_capacity(files.len())?;
    for file in &files {
        texts.push(scope::with_lines(file.text)?);
    }
    let mut whole = try_with_capacity(files.len())?;
    whole.extend(files.iter().zip(&texts).map(|(file, text)| SourceFile { text, ..*file }));
    let context =
        Context { is_template_text, ignores_marks: true, ..Context::new(Mode::Compile, &|_| None) };
    with_program(&mut Memory::default(), &whole, context, |generator| {
        output::instance(generator, own, name, types)?;
        let lowered = generator.lower_pending();
        if generator.program.diagnostics.has_errors() {
            return Ok(None);
        }
        output::unit(generator, lowered).map(Some)
    })
}

/// Whether two [texts of templates](Template::text) differ in the names of their files at most.
pub(crate) fn is_same_text(one: &str, other: &str) -> Result<bool, AllocError> {
    fn unnamed(text: &str) -> Result<(Vec<SourceFile<'_>>, u32), AllocError> {
        let (mut files, own) = scope::files(SourceFile { name: "", module: "", text })?;
        files.iter_mut().for_each(|file| file.name = "");
        Ok((files, own))
    }
    Ok(unnamed(one)? == unnamed(other)?)
}

/// Whether a line begins a declaration, and no statement of a script.
///
/// # Errors
/// No memory.
pub fn begins_declaration(line: &str) -> Result<bool, AllocError> {
    let file = File::new("", line)?;
    parser::begins_declaration(&file, &mut Names::default(), &mut Diagnostics::new())
}

/// The lengths in bytes of the tokens of a text, blanks and comments included.
///
/// # Errors
/// No memory.
#[doc(hidden)]
pub fn token_lengths(text: &str) -> Result<Vec<usize>, AllocError> {
    let (mut lexer, mut lengths) = (lexer::Lexer::new(text), Vec::new());
    let mut start = 0;
    while lexer.next_token().is_some() {
        try_push(&mut lengths, lexer.position() - start)?;
        start = lexer.position();
    }
    Ok(lengths)
}

fn with_program(
    memory: &mut Memory,
    files: &[SourceFile<'_>],
    context: Context<'_>,
    run: impl FnOnce(&mut Generator<'_, '_>) -> Result<Option<TranslationUnit>, AllocError>,
) -> Result<Compiled, AllocError> {
    let mut names = Names::default();
    let mut diagnostics = Diagnostics::new();
    let mut sources = try_with_capacity(files.len())?;
    for file in files {
        let text = if file.text.len() > MAX_TEXT { "" } else { file.text };
        let parsed = File::new(file.name, text)?;
        if file.text.len() > MAX_TEXT {
            let message = format_args!("the file has more than {MAX_TEXT} bytes");
            diagnostics.error(&parsed, token::Span::default(), Code::TooLarge, message);
        }
        let tree = parser::parse(&parsed, &mut names, &mut diagnostics)?;
        sources.push(Source { file: parsed, module: file.module, tree });
    }
    // The walk over a tree that lacks a part may not end.
    if diagnostics.out_of_memory {
        return Err(AllocError);
    }
    let program = Program::new(&sources, &names, diagnostics, context).map_err(|_| AllocError)?;
    let mut generator = Generator::new(program, core::mem::take(&mut memory.0));
    generator.program.collect();
    let unit = run(&mut generator)?;
    let (unresolved, first) = generator.unresolved;
    let (kept, mut diagnostics) = generator.finish();
    memory.0 = kept;
    // The error of a single one says all.
    if let Some((number, span)) = first.filter(|_| unresolved > 1)
        && let Some(source) = program::at(&sources, number)
    {
        let message = format_args!("{unresolved} generic calls are unresolved");
        let code = Code::TooManyUnresolved;
        diagnostics.error(&source.file, span, code, message);
    }
    if diagnostics.out_of_memory {
        return Err(AllocError);
    }
    let unit = unit.filter(|_| !diagnostics.has_errors());
    Ok(Compiled { unit, diagnostics: diagnostics.into_list() })
}

#[cfg(test)]
pub(crate) mod tests;
