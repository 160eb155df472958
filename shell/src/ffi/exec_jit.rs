//! `rt_jit_*`: functions of integers, as the Simple compiler's own just-in-time compiler exports them. A handle is that
//! of an execution manager.
#![allow(unsafe_code)]

use smf_core::exec::ManagerError;
use smf_core::source::{Diagnostic, Severity};

use super::error::{ApiError, Code, or, record};
use super::exec_handles::{self as handles, Failure, enter};
use super::exec_manager::{
    Text, backend, bytes, compile_text, execute, give_error, give_static, has_function,
};
use super::values::{Bool, Path};
use super::weak::{export_weak, jump};
use crate::exec::{ExecError, ExecOptions};

/// The result of a failure.
const FAILURE: i64 = -1;

/// The result for a machine that there is no compiler for.
const UNKNOWN_TARGET: i64 = -2;

/// The names of machines that the runtime knows; code runs only on that of this process.
const TARGETS: [(&[&str], &str); 6] = [
    (&["x86_64"], "x86_64"),
    (&["x86_32", "x86", "i686"], "x86"),
    (&["aarch64", "arm64"], "aarch64"),
    (&["arm32", "arm", "armv7"], "arm"),
    (&["riscv64", "rv64"], "riscv64"),
    (&["riscv32", "rv32"], "riscv32"),
];

fn create() -> Result<i64, ApiError> {
    let options = ExecOptions { backend: backend(b"auto")?, ..ExecOptions::default() };
    handles::open_for_runtime(options).map(u64::cast_signed)
}

/// Opens a manager with the back end of `rt_set_jit_backend`. Returns its handle; -1 on failure.
extern "C" fn rt_jit_create() -> i64 {
    or(FAILURE, create())
}

/// Opens a manager for the machine called `target`, or `host`. Returns its handle; -1 on failure, and for a machine other
/// than this one; -2 for an unknown name.
///
/// # Safety
/// As for [`bytes`].
unsafe extern "C" fn rt_jit_create_for_target(target: Path) -> i64 {
    // SAFETY: the caller's promise.
    let name = unsafe { bytes("the name of the machine", target) };
    or(FAILURE, name.and_then(create_for))
}

fn create_for(name: &[u8]) -> Result<i64, ApiError> {
    let is = |known: &&str| known.as_bytes() == name;
    let found = TARGETS.iter().find(|(names, _)| names.iter().any(is));
    match found {
        _ if name == b"host" => create(),
        Some((_, machine)) if *machine == std::env::consts::ARCH => create(),
        Some((_, machine)) => {
            let why = format_args!("code for {machine} does not run in this process");
            Err(ApiError::other(Code::Unsupported, &why))
        }
        None => {
            let name = smf_core::Printable(name);
            record(ApiError::other(Code::Argument, &format_args!("no machine is called `{name}`")));
            Ok(UNKNOWN_TARGET)
        }
    }
}

/// The phase in which a compilation failed, as the runtime names it.
fn phase(error: &ExecError) -> &'static str {
    match error {
        ExecError::Source(diagnostics) if is_syntax(diagnostics) => "parse: ",
        ExecError::NotText { .. } => "parse: ",
        ExecError::Source(_) | ExecError::FrontEnd(_) => "hir: ",
        ExecError::Ir { .. } | ExecError::Manager(ManagerError::Unit(_)) => "mir: ",
        _ => "codegen: ",
    }
}

/// Whether the first error is one of the lexer or the parser: `E10` or `E11` and two digits.
fn is_syntax(diagnostics: &[Diagnostic]) -> bool {
    let first = diagnostics.iter().find(|diagnostic| diagnostic.severity == Severity::Error);
    let code = first.map_or("", |diagnostic| diagnostic.code.as_str());
    code.starts_with("E10") || code.starts_with("E11")
}

/// Compiles Simple source. Returns an empty text, or the phase and the error.
///
/// # Safety
/// As for [`bytes`].
unsafe extern "C" fn rt_jit_compile_source(jit: i64, source: Path) -> Text {
    let mut prefix = "codegen: ";
    let compiled = handles::compile(jit.cast_unsigned(), |open| {
        // SAFETY: the caller's promise.
        let source = unsafe { bytes("the source", source) }?;
        let compiled = compile_text(&open.manager, source);
        compiled.inspect_err(|error| prefix = phase(error)).map_err(Failure::from)
    });
    match compiled {
        None => give_static("invalid handle"),
        Some(true) => give_static(""),
        Some(false) => give_error(jit, prefix),
    }
}

/// Calls a function with one integer. Returns its integer; -1 on failure.
///
/// # Safety
/// As for [`execute`].
unsafe extern "C" fn rt_jit_call_i64(jit: i64, name: Path, a: i64) -> i64 {
    // SAFETY: the caller's promise.
    unsafe { execute(jit, FAILURE, name, Ok(&[a])) }
}

/// Calls a function without arguments. Returns its integer, or 0 without one; -1 on failure.
///
/// # Safety
/// As for [`execute`].
unsafe extern "C" fn rt_jit_call_void(jit: i64, name: Path) -> i64 {
    // SAFETY: the caller's promise.
    unsafe { execute(jit, FAILURE, name, Ok(&[])) }
}

/// Calls a function with two integers. Returns its integer; -1 on failure.
///
/// # Safety
/// As for [`execute`].
unsafe extern "C" fn rt_jit_call_i64_i64(jit: i64, name: Path, a: i64, b: i64) -> i64 {
    // SAFETY: the caller's promise.
    unsafe { execute(jit, FAILURE, name, Ok(&[a, b])) }
}

/// Whether a manager has a function.
///
/// # Safety
/// As for [`bytes`].
unsafe extern "C" fn rt_jit_has_function(jit: i64, name: Path) -> Bool {
    // SAFETY: the caller's promise.
    unsafe { has_function(jit, name) }
}

/// Closes a manager: 0; -1 for one that is not open or in use.
extern "C" fn rt_jit_cleanup(jit: i64) -> i64 {
    or(FAILURE, handles::close(jit.cast_unsigned()).map(|()| 0))
}

/// The name of the back end that compiles; `unknown` for an invalid handle.
extern "C" fn rt_jit_backend_name(jit: i64) -> Text {
    let open = enter(jit.cast_unsigned()).map(|open| open.manager.backend_name());
    give_static(or("unknown", open))
}

export_weak! {
    rt_jit_create;
    rt_jit_create_for_target;
    rt_jit_compile_source;
    rt_jit_call_i64;
    rt_jit_call_void;
    rt_jit_call_i64_i64;
    rt_jit_has_function;
    rt_jit_cleanup;
    rt_jit_backend_name;
}
