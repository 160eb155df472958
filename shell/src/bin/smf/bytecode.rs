//! `smf asm` and `smf disasm`, and what `smf run` does with modules of bytecode.

use std::fmt;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

use smf_core::format::Smf;
use smf_core::format::bytecode::{NewFunction, write_functions};
use smf_core::format::functions::{Function, Functions};
use smf_core::jit::host::HostTable;
use smf_core::jit::text::{assemble, disassemble};
use smf_core::jit::verify::{FunctionCode, Kind, Verifier, functions_of};
use smf_core::tier::Engine;

use crate::generic;
use crate::output::{self, Failure};

/// How many functions an error suggests.
const SUGGESTED: usize = 8;

/// Assembles bytecode, or templates of typed bytecode, into a module
///
/// The source is what `smf disasm` writes: functions, labels and instructions, which are not checked
/// before `smf run` does. Or it is templates, from a line such as `template max<T>(a: T, b: T) -> T` to
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
    let functions: Vec<_> = functions
        .iter()
        .map(|function| NewFunction {
            name: &function.name,
            params: function.params,
            locals: function.locals,
            code: &function.code,
        })
        .collect();
    let module = write_functions(&functions).map_err(|error| Failure::of(&args.file, error))?;
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
    output::to_stdout(|out| {
        let mut text = Text { out, error: None };
        for function in wanted {
            let code = FunctionCode {
                code: function.code,
                params: function.params,
                locals: function.locals,
            };
            if disassemble(&mut text, function.name(), code, &callee).is_err() {
                return Err(text.error.take().unwrap_or(io::ErrorKind::Other.into()));
            }
        }
        Ok(())
    })
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
        let what = format!("no function `{}`", String::from_utf8_lossy(name));
        Failure::of(path, what + &suggestions(functions))
    })
}

fn suggestions(functions: &[Function<'_>]) -> String {
    let names = functions.iter().take(SUGGESTED).map(|f| String::from_utf8_lossy(f.name()));
    let names: Vec<_> = names.collect();
    let more = if functions.len() > SUGGESTED { ", ..." } else { "" };
    match names.is_empty() {
        true => "; it has no functions".to_owned(),
        false => format!("; it has {}{more}", names.join(", ")),
    }
}

/// What a call gave, and how long its parts took.
pub(crate) struct Called {
    pub(crate) result: i64,
    pub(crate) shown: String,
    pub(crate) start: Instant,
    pub(crate) loaded: Instant,
    pub(crate) linked: Instant,
    pub(crate) called: Instant,
}

/// Runs a function of a module of bytecode; `None` when `path` is none.
pub(crate) fn run(
    path: &Path,
    name: Option<&[u8]>,
    args: &[i64],
) -> Result<Option<Called>, Failure> {
    let start = Instant::now();
    let data = output::read(path)?;
    // What is wrong with a file that is no module is for others to say.
    let Ok(smf) = Smf::parse(&data) else { return Ok(None) };
    let Ok(Some(table)) = smf.functions() else { return Ok(None) };
    let functions = all(path, &table)?;
    let function = match name {
        Some(name) => find(path, &functions, name)?,
        None => entry_point(path, &smf, &functions)?,
    };
    let codes = functions_of(&table).map_err(|error| Failure::of(path, error))?;
    let loaded = Instant::now();
    let program = Verifier::new().verify(codes).map_err(|error| Failure::of(path, error))?;
    let kind = program.summary(function.index).map_or(Kind::Nil, |summary| summary.result);
    let engine = Engine::new(program, HostTable::new());
    let engine = engine.map_err(|error| Failure::of(path, error))?;
    let linked = Instant::now();
    let result = engine.call(function.index, args).map_err(|error| Failure::of(path, error))?;
    let called = Instant::now();
    let shown = match kind {
        Kind::F64 => format!("{:?}", f64::from_bits(result.cast_unsigned())),
        Kind::I64 | Kind::Bool | Kind::Nil => result.to_string(),
    };
    Ok(Some(Called { result, shown, start, loaded, linked, called }))
}

fn entry_point<'f, 'd>(
    path: &Path,
    smf: &Smf<'_>,
    functions: &'f [Function<'d>],
) -> Result<&'f Function<'d>, Failure> {
    let entry = smf.header().entry_point;
    let begins = |function: &&Function<'_>| u64::from(function.code_offset) == entry;
    let main = || functions.iter().find(|function| function.name() == b"main");
    functions.iter().find(begins).or_else(main).ok_or_else(|| {
        let what = "no entry point and no function `main`".to_owned();
        Failure::of(path, what + &suggestions(functions))
    })
}
