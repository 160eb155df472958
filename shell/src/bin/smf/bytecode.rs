//! `smf asm` and `smf disasm`, and calls of bytecode functions for `smf run`.

use std::fmt;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use iced_x86::{Decoder, DecoderOptions, Formatter, NasmFormatter};
use smf_core::format::Flags;
use smf_core::format::functions::{Function, Functions};
use smf_core::jit::compile::Compiler;
use smf_core::jit::lower::Lowered;
use smf_core::jit::text::{annotate, assemble, write_module};
use smf_core::jit::verify::{FunctionCode, Kind, Program, Verifier, functions_of};
use smf_core::loader::ModuleRef;
use smf_core::vm::Engine;

use crate::generic;
use crate::output::{self, Failure};

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
    let data = output::read(&args.file)?;
    let source = std::str::from_utf8(&data)
        .map_err(|error| Failure::of(&args.file, format_args!("not UTF-8: {error}")))?;
    if generic::is_source(source) {
        let module = generic::assemble(source).map_err(|why| Failure::of(&args.file, why))?;
        return output::write(&args.output, &module, None);
    }
    let functions = assemble(source).map_err(Failure::at(&args.file))?;
    let flags = Flags(if args.reloadable { Flags::RELOADABLE } else { 0 });
    let module = write_module(&functions, flags);
    let module = module.map_err(Failure::at(&args.file))?;
    output::write(&args.output, &module, None)
}

/// Shows the bytecode of a module, or of one of its functions or templates
///
/// `smf asm` assembles the output to the same code.
#[derive(clap::Args)]
pub(crate) struct DisasmArgs {
    /// The module
    file: PathBuf,
    /// The function or the template [default: all of them]
    name: Option<String>,
    /// Show the x86-64 machine code of each instruction
    ///
    /// The machine code follows as comments: offset in the function, bytes, instruction. Code behind the last
    /// bytecode instruction handles traps.
    #[arg(long)]
    native: bool,
}

pub(crate) fn disasm(args: &DisasmArgs) -> Result<(), Failure> {
    let data = output::read(&args.file)?;
    let smf = output::module(&args.file, &data)?;
    let table = smf.functions().map_err(Failure::at(&args.file))?;
    if table.is_none()
        && let Some(text) = generic::disassemble(&args.file, &smf, args.name.as_deref())?
    {
        return output::to_stdout(|out| out.write_all(text.as_bytes()));
    }
    let table = table.ok_or_else(|| Failure::of(&args.file, "the module has no bytecode"))?;
    let functions: Result<Vec<_>, _> = table.iter().collect();
    let functions = functions.map_err(Failure::at(&args.file))?;
    let wanted: Vec<_> = match &args.name {
        None => functions.iter().collect(),
        Some(name) => vec![find(&args.file, &functions, name.as_bytes())?],
    };
    // A single function is shown without the names of its callees, which the output does not define.
    let named = |index: u32| functions.get(usize::try_from(index).ok()?).map(Function::name);
    let callee = |index| named(index).filter(|_| args.name.is_none());
    let mut native = args.native.then(|| native(&args.file, &table)).transpose()?;
    output::to_stdout(|out| {
        let mut text = String::new();
        for function in wanted {
            let &Function { code, params, locals, .. } = function;
            let code = FunctionCode { code, params, locals };
            let lowered = native
                .as_mut()
                .and_then(|(compiler, program)| compiler.function(program, function.index).ok());
            let mut note = |out: &mut dyn fmt::Write, at| match &lowered {
                Some(lowered) => write_code(out, lowered, at),
                None => Ok(()),
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
fn native<'d>(path: &Path, table: &Functions<'d>) -> Result<(Compiler, Program<'d>), Failure> {
    let codes = functions_of(table).map_err(Failure::at(path))?;
    let program = Verifier::new().verify(codes).map_err(Failure::at(path))?;
    let mut compiler = Compiler::new();
    compiler.record_source_map(true);
    Ok((compiler, program))
}

/// Writes the machine code of the instruction at `at`.
fn write_code(out: &mut dyn fmt::Write, lowered: &Lowered<'_>, at: u32) -> fmt::Result {
    let source_map = lowered.source_map;
    let first = source_map.partition_point(|origin| origin.instruction < at);
    let own = source_map.iter().skip(first).zip(first + 1..);
    for (origin, next) in own.take_while(|(origin, _)| origin.instruction == at) {
        let end = source_map.get(next).map(|next| next.offset as usize);
        let bytes = lowered.bytes.get(origin.offset as usize..end.unwrap_or(lowered.bytes.len()));
        write_instructions(out, bytes.unwrap_or(&[]), origin.offset.into())?;
    }
    Ok(())
}

/// Writes a line for each machine instruction: offset, bytes and text.
fn write_instructions(out: &mut dyn fmt::Write, code: &[u8], offset: u64) -> fmt::Result {
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

fn find<'f, 'd>(
    path: &Path,
    functions: &'f [Function<'d>],
    name: &[u8],
) -> Result<&'f Function<'d>, Failure> {
    functions.iter().find(|function| function.name() == name).ok_or_else(|| {
        let names = functions.iter().map(Function::name);
        Failure::of(path, no_function(name) + &output::suggestions("has", names))
    })
}

fn no_function(name: &[u8]) -> String {
    format!("no function `{}`", String::from_utf8_lossy(name))
}

/// Compiles every function of a bytecode module.
pub(crate) fn compile(path: &Path, engine: &Engine<'_>) -> Result<(), Failure> {
    let mut indices = (0..).zip(engine.program().functions());
    let compiled = indices.try_for_each(|(index, _)| engine.compile(index).map(drop));
    compiled.map_err(Failure::at(path))
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
        Failure::of(path, why + &output::suggestions("has", names))
    })?;
    let result = engine.call(index, args).map_err(Failure::at(path))?;
    let kind = engine.program().summary(index).map_or(Kind::Nil, |summary| summary.result);
    let shown = match kind {
        Kind::F64 => format!("{:?}", f64::from_bits(result.cast_unsigned())),
        Kind::I64 | Kind::Bool | Kind::Nil => result.to_string(),
    };
    Ok((result, shown))
}
