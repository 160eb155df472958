//! What the commands for Simple source share: compilation with diagnostics, and the execution of functions.

use std::io::Write;
use std::path::Path;

use smf_core::exec::{Unit, UnitError};
use smf_core::ir::CalleeKind;
use smf_core::source::{Compiled, Diagnostic, Mode, Severity, TranslationUnit, compile};
use smf_loader::source::Program;

use crate::color;
use crate::output::{At, Failure, one_line, with_line};

pub(crate) mod arguments;
pub(crate) mod execute;
pub(crate) mod generic_call;
pub(crate) mod host;
pub(crate) mod interpret;
pub(crate) mod stack;
pub(crate) mod trap;

/// A back end by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum BackendName {
    /// The code generator of this program
    Native,
    /// The interpreter of the intermediate representation
    Interpret,
    /// Cranelift
    Cranelift,
    /// LLVM
    Llvm,
}

/// Functions that can be executed.
pub(crate) struct Executable {
    pub(crate) unit: Unit,
    /// The same functions, in the same order, with their types in Simple; `None` for functions in IR.
    pub(crate) source: Option<TranslationUnit>,
}

impl Executable {
    /// The functions of a program of Simple source.
    pub(crate) fn compile(program: &Program) -> Result<Self, Failure> {
        Self::new(checked(compile(&program.files(), Mode::Manager)?, false)?)
    }

    /// The functions of a unit of Simple source.
    pub(crate) fn new(mut source: TranslationUnit) -> Result<Self, Failure> {
        let unit = Unit::from_source(&mut source)?;
        Ok(Self { unit, source: Some(source) })
    }

    /// The number of the function with this name.
    pub(crate) fn find(&self, name: &[u8]) -> Option<usize> {
        self.unit.functions().iter().position(|function| function.name().as_bytes() == name)
    }

    /// The number of the first function of the program that function `caller` calls.
    pub(crate) fn callee(&self, caller: usize) -> Option<usize> {
        let instance = self.unit.functions().get(caller)?.instance().ok()?;
        let body = instance.body();
        let mut callees = (0..body.callee_count()).filter_map(|number| body.callee(number).ok());
        callees.find_map(|callee| match callee.kind {
            CalleeKind::Function(number) => usize::try_from(number).ok(),
            _ => None,
        })
    }

    /// The functions of a file of IR in text form.
    pub(crate) fn from_ir(path: &Path, text: &str) -> Result<Self, Failure> {
        let unit = Unit::from_text(text).map_err(|error| match error {
            UnitError::Text(error) => with_line(&error, error.line, text),
            error => error.to_string(),
        });
        let unit = unit.at(path)?;
        Ok(Self { unit, source: None })
    }
}

/// The unit of a compilation without errors; reports errors, and warnings if they are asked for.
pub(crate) fn checked(compiled: Compiled, warnings: bool) -> Result<TranslationUnit, Failure> {
    let shown = |diagnostic: &&Diagnostic| warnings || diagnostic.severity == Severity::Error;
    report(compiled.diagnostics.iter().filter(shown));
    compiled.unit.ok_or(Failure::Reported)
}

/// Writes diagnostics to standard error, with control characters of the source escaped.
pub(crate) fn report<'d>(diagnostics: impl Iterator<Item = &'d Diagnostic>) {
    let mut text = String::new();
    for diagnostic in diagnostics {
        for line in diagnostic.to_string().lines() {
            let parts: Vec<String> = line.split('\t').map(one_line).collect();
            let line = parts.join("\t");
            let is_first = ["error", "warning"].iter().any(|kind| line.starts_with(kind));
            text += &if is_first { color::with_kind(&line) } else { line };
            text.push('\n');
        }
    }
    // A failure to do so cannot be reported.
    let _ = std::io::stderr().lock().write_all(text.as_bytes());
}
