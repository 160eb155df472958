//! `smf check`: reports the errors of Simple source.

use std::path::{Path, PathBuf};

use smf_core::plural;
use smf_core::source::{Code, Diagnostic, Mode, Severity, compile};
use smf_loader::source::Program;

use crate::output::{self, Failure};
use crate::source::report;

/// Checks Simple source without running it: reports errors and warnings of each file and of the modules that it uses
///
/// Types of parameters are required, as by `smf compile`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The files; `-` is standard input
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// Print one JSON object for each error or warning, on standard output
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let mut failed = false;
    for path in &args.files {
        let program = match Program::read(path) {
            Ok(program) => program,
            Err(error) => {
                let message = error.to_string();
                output::report("error", &message);
                if args.json {
                    write_json(&[unread(path, message)])?;
                }
                failed = true;
                continue;
            }
        };
        let diagnostics = compile(&program.files(), Mode::Compile)?.diagnostics;
        let is_wrong = diagnostics.iter().any(|d| d.severity == Severity::Error);
        failed |= is_wrong;
        if args.json {
            write_json(&diagnostics)?;
            continue;
        }
        report(diagnostics.iter());
        let name = output::one_line(&path.to_string_lossy());
        let line = match is_wrong {
            true => summary(&name, &diagnostics),
            false => format!("{name}: ok\n"),
        };
        output::put(line.as_bytes())?;
    }
    if failed { Err(Failure::Reported) } else { Ok(()) }
}

/// Writes a line for each diagnostic.
fn write_json(diagnostics: &[Diagnostic]) -> Result<(), Failure> {
    let mut text = String::new();
    for diagnostic in diagnostics {
        diagnostic.write_json(&mut text)?;
        text.push('\n');
    }
    output::put(text.as_bytes())
}

/// The diagnostic of a program whose files were not read.
fn unread(path: &Path, message: String) -> Diagnostic {
    Diagnostic {
        severity: Severity::Error,
        code: Code::UnknownModule,
        message,
        file: path.display().to_string(),
        line: 1,
        column: 1,
        length: 1,
        source_line: String::new(),
        source_column: 1,
        note: None,
    }
}

/// The numbers of errors and warnings.
fn summary(file: &str, diagnostics: &[Diagnostic]) -> String {
    let errors = diagnostics.iter().filter(|d| d.severity == Severity::Error).count();
    let warnings = diagnostics.len() - errors;
    let mut line = format!("{file}: {errors} error{}", plural::s(errors));
    if warnings > 0 {
        line += &format!(", {warnings} warning{}", plural::s(warnings));
    }
    line + "\n"
}
