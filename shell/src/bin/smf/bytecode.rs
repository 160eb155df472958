//! `smf asm` and `smf disasm`, and how `smf run` calls functions of bytecode.

use std::fmt;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use iced_x86::{Decoder, DecoderOptions, Formatter, NasmFormatter};
use smf_core::format::functions::{Function, Functions};
use smf_core::format::{Flags, Smf};
use smf_core::jit::compile::Compiler;
use smf_core::jit::lower::Lowered;
use smf_core::jit::text::{annotate, assemble, write_module};
use smf_core::jit::verify::{FunctionCode, Kind, Program, Verifier, functions_of};
use smf_core::loader::ModuleRef;
use smf_core::vm::Engine;

use crate::generic;
use crate::output::{self, Failure};

/// How many functions an error suggests.
const SUGGESTED: usize = 8;

/// Behind so many bytes of an instruction its text begins; few have more.
const BYTES_IN_A_LINE: usize = 10;

/// Assembles bytecode, or templates of typed bytecode, into a module
///
/// The source is what `smf disasm` writes: functions, labels and instructions, which `smf verify` and
/// `smf run` check. Or it is templates, from a line such as `template max<T>(a: T, b: T) -> T` to
/// `end`, which are checked here; between them a line such as `possible max<i64>, max<f64>` says what they
/// may become, as `fn$max$i64` unless `as SYMBOL` follows. `smf jit` makes that and calls it.
#[derive(clap::Args)]
pub(crate) struct AsmArgs {
    /// The source
    #[arg(value_name = "IN")]
    file: PathBuf,
    /// The module to write
    #[arg(short, long, value_name = "OUT")]
    output: PathBuf,
    /// Mark the module of bytecode as one that may be replaced while it runs
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
    let functions = assemble(source).map_err(|error| Failure::of(&args.file, error))?;
    let flags = Flags(if args.reloadable { Flags::RELOADABLE } else { 0 });
    let module = write_module(&functions, flags);
    let module = module.map_err(|error| Failure::of(&args.file, error))?;
    output::write(&args.output, &module, None)
}

/// Shows the bytecode of a module, or of one of its functions or templates
///
/// `smf asm` makes the same code of it.
#[derive(clap::Args)]
pub(crate) struct DisasmArgs {
    /// The module
    file: PathBuf,
    /// The function or the template [default: all of them]
    name: Option<String>,
    /// Show the machine code for x86-64 that each instruction is compiled to
    ///
    /// In comments behind it: offsets in the function, bytes, instructions. What stands behind the last one is
    /// for what stops a program.
    #[arg(long)]
    native: bool,
}

pub(crate) fn disasm(args: &DisasmArgs) -> Result<(), Failure> {
    let data = output::read(&args.file)?;
    let smf = output::module(&args.file, &data)?;
    let table = table(&args.file, &smf)?;
    if table.is_none()
        && let Some(text) = generic::disassemble(&args.file, &smf, args.name.as_deref())?
    {
        return generic::show(&text);
    }
    let table = table.ok_or_else(|| Failure::of(&args.file, "the module has no bytecode"))?;
    let functions = all(&args.file, &table)?;
    let wanted: Vec<_> = match &args.name {
        None => functions.iter().collect(),
        Some(name) => vec![find(&args.file, &functions, name.as_bytes())?],
    };
    // A function by itself has no other functions to name.
    let named = |index: u32| functions.get(usize::try_from(index).ok()?).map(Function::name);
    let callee = |index| named(index).filter(|_| args.name.is_none());
    let mut native = args.native.then(|| Native::of(&args.file, &table)).transpose()?;
    output::to_stdout(|out| {
        let mut text = Text { out, error: None };
        for function in wanted {
            let code = FunctionCode {
                code: function.code,
                params: function.params,
                locals: function.locals,
            };
            let lowered = native.as_mut().and_then(|native| native.function(function.index));
            let mut note = |out: &mut dyn fmt::Write, at| match &lowered {
                Some(lowered) => write_code(out, lowered, at),
                None => Ok(()),
            };
            if annotate(&mut text, function.name(), code, &callee, &mut note).is_err() {
                return Err(text.error.take().unwrap_or(io::ErrorKind::Other.into()));
            }
        }
        Ok(())
    })
}

/// What compiles the functions of a module.
struct Native<'d> {
    program: Program<'d>,
    compiler: Compiler,
}

impl<'d> Native<'d> {
    fn of(path: &Path, table: &Functions<'d>) -> Result<Self, Failure> {
        let codes = functions_of(table).map_err(|error| Failure::of(path, error))?;
        let program = Verifier::new().verify(codes).map_err(|error| Failure::of(path, error))?;
        let mut compiler = Compiler::new();
        compiler.keep_origins(true);
        Ok(Self { program, compiler })
    }

    fn function(&mut self, index: u32) -> Option<Lowered<'_>> {
        self.compiler.function(&self.program, index).ok()
    }
}

/// The machine code that the instruction at `at` became.
fn write_code(out: &mut dyn fmt::Write, lowered: &Lowered<'_>, at: u32) -> fmt::Result {
    let origins = lowered.origins;
    let first = origins.partition_point(|origin| origin.instruction < at);
    let own = origins.iter().skip(first).zip(first + 1..);
    for (origin, next) in own.take_while(|(origin, _)| origin.instruction == at) {
        let end = origins.get(next).map(|next| next.offset as usize);
        let bytes = lowered.bytes.get(origin.offset as usize..end.unwrap_or(lowered.bytes.len()));
        write_instructions(out, bytes.unwrap_or(&[]), origin.offset.into())?;
    }
    Ok(())
}

/// A line for each instruction of machine code: where it is, its bytes, and what it does.
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

/// Text that goes to standard output.
struct Text<'o, W> {
    out: &'o mut W,
    error: Option<io::Error>,
}

impl<W: Write> fmt::Write for Text<'_, W> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.out.write_all(text.as_bytes()).map_err(|error| {
            self.error = Some(error);
            fmt::Error
        })
    }
}

fn table<'d>(path: &Path, smf: &Smf<'d>) -> Result<Option<Functions<'d>>, Failure> {
    smf.functions().map_err(|error| Failure::of(path, error))
}

fn all<'d>(path: &Path, table: &Functions<'d>) -> Result<Vec<Function<'d>>, Failure> {
    table.iter().collect::<Result<_, _>>().map_err(|error| Failure::of(path, error))
}

fn find<'f, 'd>(
    path: &Path,
    functions: &'f [Function<'d>],
    name: &[u8],
) -> Result<&'f Function<'d>, Failure> {
    functions.iter().find(|function| function.name() == name).ok_or_else(|| {
        let names = functions.iter().map(Function::name);
        Failure::of(path, no_function(name) + &suggestions(names))
    })
}

fn no_function(name: &[u8]) -> String {
    format!("no function `{}`", String::from_utf8_lossy(name))
}

fn suggestions<'n>(mut names: impl Iterator<Item = &'n [u8]>) -> String {
    let some: Vec<_> = names.by_ref().take(SUGGESTED).map(String::from_utf8_lossy).collect();
    let more = if names.next().is_some() { ", ..." } else { "" };
    match some.is_empty() {
        true => "; it has no functions".to_owned(),
        false => format!("; it has {}{more}", some.join(", ")),
    }
}

/// Compiles every function of a module of bytecode.
pub(crate) fn compile(path: &Path, engine: &Engine<'_>) -> Result<(), Failure> {
    let mut indices = (0..).zip(engine.program().functions());
    let compiled = indices.try_for_each(|(index, _)| engine.compile(index).map(drop));
    compiled.map_err(|error| Failure::of(path, error))
}

/// Calls a function of a module of bytecode, or the one where it begins: its result, and how that is shown.
pub(crate) fn call(
    path: &Path,
    module: &ModuleRef<'_>,
    engine: &Engine<'_>,
    name: Option<&[u8]>,
    args: &[i64],
) -> Result<(i64, String), Failure> {
    let found = match name {
        Some(name) => module.bytecode_function(name),
        None => module.bytecode_begin(),
    };
    let index = found.ok_or_else(|| {
        let why = name.map_or("no entry point and no function `main`".to_owned(), no_function);
        let names = module.bytecode_functions().map(|(name, _)| name);
        Failure::of(path, why + &suggestions(names))
    })?;
    let result = engine.call(index, args).map_err(|error| Failure::of(path, error))?;
    let kind = engine.program().summary(index).map_or(Kind::Nil, |summary| summary.result);
    let shown = match kind {
        Kind::F64 => format!("{:?}", f64::from_bits(result.cast_unsigned())),
        Kind::I64 | Kind::Bool | Kind::Nil => result.to_string(),
    };
    Ok((result, shown))
}
