//! `smf asm` and `smf disasm`, and calls of bytecode functions for `smf run`.

use std::ffi::OsStr;
use std::fmt;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use iced_x86::{Decoder, DecoderOptions, Formatter, NasmFormatter};
use smf_core::bytecode::text::{annotate, assemble_program, write_constants};
use smf_core::bytecode::verify::{FunctionCode, Program, Verifier, functions_of};
use smf_core::codegen::CompiledFunction;
use smf_core::format::functions::{Function, Functions};
use smf_core::format::{Flags, Smf};
use smf_core::loader::ModuleRef;
use smf_core::vm::{CallError, Engine, X64Compiler};

use crate::output::{self, At, Failure, with_line};
use crate::{generic, machine_code, objects, trace};

/// The column for instruction bytes; few instructions have more.
const BYTES_IN_A_LINE: usize = 10;

/// Assembles bytecode or IR templates into a module
///
/// The source has the form that `smf disasm` writes. Bytecode consists of functions, labels and
/// instructions, which `smf verify` and `smf run` check. A template starts with a line such as
/// `template max<T>(a: T, b: T) -> T`, ends with `end`, and is checked here. A line such as
/// `possible max<i64>, max<f64>` between templates lists instances, with the symbol `fn$max$i64` unless
/// `as SYMBOL` follows. `smf jit` compiles and calls an instance.
#[derive(clap::Args)]
pub(crate) struct AsmArgs {
    /// The source
    #[arg(value_name = "IN")]
    file: PathBuf,
    /// The module to write
    #[arg(short, long, value_name = "OUT")]
    output: PathBuf,
    /// Mark the bytecode module as reloadable: it may be replaced while it runs
    #[arg(long)]
    reloadable: bool,
}

pub(crate) fn asm(args: &AsmArgs) -> Result<(), Failure> {
    output::check_distinct(&args.output, std::iter::once(&*args.file))?;
    let data = output::read(&args.file)?;
    let source = std::str::from_utf8(&data).map_err(|error| format!("not UTF-8: {error}"));
    let source = source.at(&args.file)?;
    let module = if generic::is_source(source) {
        if args.reloadable {
            return Err(Failure::usage_of(&args.file, "--reloadable applies to bytecode"));
        }
        generic::assemble(source).at(&args.file)?
    } else {
        let flags = Flags(if args.reloadable { Flags::RELOADABLE } else { 0 });
        let program = assemble_program(source);
        let program = program.map_err(|error| with_line(&error, error.line, source));
        let program = program.at(&args.file)?;
        if let Some(empty) = program.functions.iter().find(|function| function.code.is_empty()) {
            let name = String::from_utf8_lossy(&empty.name);
            let why = format!("the function `{name}` has no instructions");
            return Err(Failure::of(&args.file, why));
        }
        program.to_module(flags).at(&args.file)?
    };
    output::write(&args.output, &module, None)
}

/// Shows the code of a module, or of one of its functions or templates
///
/// Of bytecode the instructions, of machine code those of x86-64 and the lines of their source, where the module has them.
/// `smf asm` assembles the text of bytecode and of IR templates to the same code; that of machine code is for readers alone.
#[derive(clap::Args)]
pub(crate) struct DisasmArgs {
    /// The module
    file: PathBuf,
    /// The function or the template [default: all of them]
    name: Option<String>,
    /// Show the x86-64 machine code of each instruction
    ///
    /// The machine code follows as comments: offset in the function, bytes, instruction. The code
    /// of the last bytecode instruction ends with that of the traps.
    #[arg(long)]
    native: bool,
}

pub(crate) fn disasm(args: &DisasmArgs) -> Result<(), Failure> {
    let data = output::read(&args.file)?;
    let smf = output::module_with_sections(&args.file, &data)?;
    let Some(table) = smf.functions().at(&args.file)? else {
        let text = machine_code::disassemble(&smf, args.name.as_deref()).at(&args.file)?;
        return output::put(text.as_bytes());
    };
    let functions = table.iter().collect::<Result<Vec<_>, _>>().at(&args.file)?;
    let is_wanted =
        |f: &&Function<'_>| args.name.as_ref().is_none_or(|name| f.name() == name.as_bytes());
    let mut wanted = functions.iter().filter(is_wanted).peekable();
    if let (Some(name), None) = (&args.name, wanted.peek()) {
        let names = functions.iter().map(Function::name);
        return Err(no_function(name.as_bytes()) + &output::suggestions("has", names))
            .at(&args.file);
    }
    // A single function is shown without the names of its callees, which the output does not define.
    let named = |index: u32| functions.get(usize::try_from(index).ok()?).map(Function::name);
    let callee = |index| named(index).filter(|_| args.name.is_none());
    let mut native = args.native.then(|| native(&args.file, &smf, &table)).transpose()?;
    output::to_stdout(|out| {
        let mut text = String::new();
        write_constants(&mut text, smf.constants()).map_err(io::Error::other)?;
        for function in wanted {
            let &Function { code, params, locals, .. } = function;
            let code = FunctionCode { code, params, locals };
            let compiled = native
                .as_mut()
                .and_then(|(compiler, program)| compiler.function(program, function.index).ok());
            let mut note = |out: &mut dyn fmt::Write, at| {
                compiled.as_ref().map_or(Ok(()), |compiled| write_code(out, compiled, at))
            };
            annotate(&mut text, function.name(), code, &callee, &mut note)
                .map_err(io::Error::other)?;
            out.write_all(text.as_bytes())?;
            text.clear();
        }
        Ok(())
    })
}

/// A compiler that records the source map, and the verified program.
fn native<'d>(
    path: &Path,
    smf: &Smf<'d>,
    table: &Functions<'d>,
) -> Result<(X64Compiler, Program<'d>), Failure> {
    let functions = functions_of(table).at(path)?;
    let program = Verifier::new().verify_program(functions, smf.constants()).at(path)?;
    let mut compiler = X64Compiler::new();
    compiler.record_source_map(true);
    Ok((compiler, program))
}

/// Writes the machine code of the instruction at `at`.
fn write_code(out: &mut dyn fmt::Write, compiled: &CompiledFunction<'_>, at: u32) -> fmt::Result {
    let source_map = compiled.source_map;
    let first = source_map.partition_point(|origin| origin.line < at);
    let own = source_map.iter().skip(first).zip(first + 1..);
    for (origin, next) in own.take_while(|(origin, _)| origin.line == at) {
        // The first instruction has what sets up the frame, the last one what traps go to.
        let start = if next == 1 { 0 } else { origin.offset };
        let end = source_map.get(next).map_or(compiled.code_size, |next| next.offset);
        let bytes = compiled.bytes.get(start as usize..end as usize);
        write_instructions(out, bytes.unwrap_or(&[]), start.into())?;
    }
    Ok(())
}

/// Writes a line for each machine instruction: offset, bytes and text.
pub(crate) fn write_instructions(
    out: &mut dyn fmt::Write,
    code: &[u8],
    offset: u64,
) -> fmt::Result {
    let mut formatter = NasmFormatter::new();
    let options = formatter.options_mut();
    options.set_hex_prefix("0x");
    options.set_hex_suffix("");
    options.set_uppercase_hex(false);
    options.set_branch_leading_zeros(false);
    options.set_show_branch_size(false);
    options.set_space_after_operand_separator(true);
    let mut decoder = Decoder::with_ip(64, code, offset, DecoderOptions::NONE);
    let mut text = String::new();
    while decoder.can_decode() {
        let start = decoder.position();
        let instruction = decoder.decode();
        let bytes = code.get(start..decoder.position()).unwrap_or(&[]);
        write!(out, "        ; {:04x}:", instruction.ip())?;
        bytes.iter().try_for_each(|byte| write!(out, " {byte:02x}"))?;
        text.clear();
        formatter.format(&instruction, &mut text);
        let width = 3 * BYTES_IN_A_LINE.saturating_sub(bytes.len());
        writeln!(out, "{:width$}  {text}", "")?;
    }
    Ok(())
}

fn no_function(name: &[u8]) -> String {
    format!("no function `{}`", String::from_utf8_lossy(name))
}

/// Calls a bytecode function, by default the entry point. Returns the result and its text.
pub(crate) fn call(
    path: &Path,
    module: &ModuleRef<'_>,
    engine: &Engine<'_>,
    name: Option<&[u8]>,
    args: &[i64],
) -> Result<(i64, String), Failure> {
    let found = match name {
        Some(name) => module.bytecode_function(name),
        None => module.bytecode_entry(),
    };
    let index = found.ok_or_else(|| {
        let why = name.map_or("no entry point and no function `main`".to_owned(), no_function);
        let names = module.bytecode_functions().map(|(name, _)| name);
        why + &output::suggestions("has", names)
    });
    let index = index.at(path)?;
    // A call with another number of arguments does not happen.
    let is_called = |params: u16| usize::from(params) == args.len();
    let function = engine.program().function(index).filter(|of| is_called(of.params));
    let name = name.map_or(path, |name| Path::new(OsStr::from_bytes(name)));
    let _span = function.map(|_| trace::span("call", name));
    objects::call(engine, index, args).map_err(|error| match error {
        CallError::Arguments { .. } => Failure::usage_of(path, error),
        error => Failure::of(path, error),
    })
}
