//! Links the shared library for C, and arranges an installation of both libraries.
//!
//! Cargo links a `cdylib` with a version script of its own, which hides every symbol that Rust does not define: the weak
//! ones. The shared library is therefore linked from an archive, with a script of the names in `smf.h`.
//!
//! The tests of the C API include this file.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The header, from the top of the repository.
pub(crate) const HEADER: &str = "shell/include/smf.h";

/// The starts of the names of exports.
pub(crate) const PREFIXES: [&str; 4] = ["smf_", "rt_", "compiler_", "type_"];

/// The version of the binary interface: part of the soname, and of the version of every symbol.
const ABI: &str = "0";

/// The symbols by which GDB finds generated code.
const GDB: [&str; 2] = ["__jit_debug_descriptor", "__jit_debug_register_code"];

/// The system's libraries that the Rust standard library needs, as `rustc --print native-static-libs` lists them.
const SYSTEM: [&str; 7] = ["-lgcc_s", "-lutil", "-lrt", "-lpthread", "-lm", "-ldl", "-lc"];

/// The name of the library in a convention, without `lib` and extension.
pub(crate) fn name(is_tagged: bool) -> &'static str {
    if is_tagged { "smf_loader_tagged" } else { "smf_loader" }
}

/// The file name of the shared library, which is its soname.
pub(crate) fn soname(is_tagged: bool) -> String {
    format!("lib{}.so.{ABI}", name(is_tagged))
}

/// The text of a header without comments and conditions, for a compiler with these options.
pub(crate) fn preprocessed(header: &Path, options: &[&str]) -> io::Result<String> {
    let mut command = Command::new(compiler());
    let output = command.args(["-E", "-P"]).args(options).arg(header).output()?;
    match output.status.success() {
        true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
        false => Err(io::Error::other(String::from_utf8_lossy(&output.stderr))),
    }
}

/// The functions that a preprocessed header declares: their names, and the text of their parameters.
pub(crate) fn functions(header: &str) -> impl Iterator<Item = (&str, &str)> {
    header.match_indices('(').filter_map(|(at, _)| {
        let (before, after) = header.split_at(at);
        let name = before.rsplit(|c: char| !c.is_alphanumeric() && c != '_').next()?;
        let (parameters, _) = after.strip_prefix('(')?.split_once(')')?;
        PREFIXES.iter().any(|prefix| name.starts_with(prefix)).then_some((name, parameters))
    })
}

/// A version script that exports the functions of the header in a convention, and nothing else.
pub(crate) fn version_script(header: &Path, is_tagged: bool) -> io::Result<String> {
    let mut script = format!("SMF_{ABI} {{\n  global:\n");
    let header = preprocessed(header, if is_tagged { &["-DSMF_TAGGED"] } else { &[] })?;
    for symbol in functions(&header).map(|(name, _)| name).chain(GDB) {
        // Writing to a string does not fail.
        let _ = writeln!(script, "    {symbol};");
    }
    script.push_str("  local: *;\n};\n");
    Ok(script)
}

/// The object that reserves static thread-local storage in a host.
pub(crate) const TLS_RESERVE: &str = "smf_tls_reserve.o";

/// The compiler for C.
pub(crate) fn compiler() -> OsString {
    std::env::var_os("CC").unwrap_or_else(|| "cc".into())
}

/// How the shared library is linked.
pub(crate) struct Link<'p> {
    /// `libsmf_loader_shared.a`.
    pub(crate) archive: &'p Path,
    /// The version script.
    pub(crate) script: &'p Path,
    /// The shared library.
    pub(crate) to: &'p Path,
    pub(crate) is_tagged: bool,
    /// Whether the archive calls libffi.
    pub(crate) needs_libffi: bool,
    /// The linker scripts of builds that abort on panic: `unwind.ld`, `load_order.ld`.
    pub(crate) layout: &'p [PathBuf],
}

impl Link<'_> {
    /// The command that links the library.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(compiler());
        command.args(["-shared", "-Wl,--gc-sections,--as-needed,-z,relro,-z,now"]);
        command.arg(format!("-Wl,-soname,{}", soname(self.is_tagged)));
        command.arg(format!("-Wl,--version-script,{}", self.script.display()));
        command.args(self.layout.iter().map(|script| format!("-Wl,-T,{}", script.display())));
        command.arg("-Wl,--whole-archive").arg(self.archive).arg("-Wl,--no-whole-archive");
        command.args(self.needs_libffi.then_some("-lffi")).args(SYSTEM).arg("-o").arg(self.to);
        command
    }
}
