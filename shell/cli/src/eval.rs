//! `smf eval`: the value of an expression or of statements of Simple.

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use smf_core::AllocError;
use smf_core::exec::Level;
use smf_core::source::{Code, Diagnostic, Mode, begins_declaration, compile};
use smf_loader::exec::host_functions;
use smf_loader::source::Program;

use crate::integer::up_to;
use crate::output::Failure;
use crate::run::print;
use crate::source::arguments::Arguments;
use crate::source::execute::{Execution, execute};
use crate::source::{BackendName, Executable, checked};

/// Compiles and runs Simple source that is given as an argument; prints the value of its last expression
///
/// Lines that begin with a declaration (fn, struct, enum, impl, type, const, extern, use, ...) are declarations; all
/// others are statements. Modules of `use` lie in the working directory.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// An expression, or statements and declarations
    #[arg(value_name = "EXPR", allow_hyphen_values = true)]
    text: String,
    /// What executes it
    #[arg(long, value_name = "NAME", value_enum, default_value_t = BackendName::Native)]
    backend: BackendName,
    /// The optimisation level
    #[arg(long, value_name = "LEVEL", default_value_t = 0, value_parser = up_to::<u8>(3))]
    opt: u8,
}

/// The name of diagnostics and traps for the argument.
const FILE: &str = "<eval>";

/// The function of the statements; underscores follow where the argument has the name.
const FUNCTION: &str = "__eval_main";

/// How much deeper than in the argument statements are. Both a tab and a blank may follow a tab.
const INDENT: &str = "\t";

/// The columns of [`INDENT`].
const INDENT_WIDTH: u32 = 4;

/// A text whose statements are the body of a function, and the line of the argument for each of its lines.
#[derive(Debug, Default, PartialEq, Eq)]
struct Wrapped {
    text: String,
    /// The line in the argument, from 1, and whether it is indented.
    lines: Vec<(u32, bool)>,
    /// The name of the function of the statements.
    function: String,
    /// The line of its head; `None` without statements.
    head: Option<u32>,
    /// The first line of the argument.
    first_line: String,
}

impl Wrapped {
    fn new(text: &str) -> Result<Self, AllocError> {
        let (mut declared, mut statements) = (Self::default(), Self::default());
        let mut is_declaration = false;
        for (number, line) in (1..).zip(text.lines()) {
            let starts = !line.starts_with([' ', '\t', '#', ')', ']', '}']) && !line.is_empty();
            if starts {
                is_declaration = begins_declaration(line)?;
            }
            match is_declaration {
                true => declared.push("", line, number),
                false => statements.push(INDENT, line, number),
            }
        }
        declared.function = FUNCTION.to_owned();
        while text.contains(&declared.function) {
            declared.function.push('_');
        }
        let is_comment = |line: &str| line.trim_start().starts_with('#') || line.trim().is_empty();
        if !statements.text.lines().all(is_comment) {
            declared.push("", &format!("fn {}():", declared.function), 1);
            declared.head = u32::try_from(declared.lines.len()).ok();
            declared.text += &statements.text;
            declared.lines.extend(statements.lines);
        }
        declared.first_line = text.lines().next().unwrap_or_default().to_owned();
        Ok(declared)
    }

    fn push(&mut self, indent: &str, line: &str, number: u32) {
        self.text += indent;
        self.text += line;
        self.text.push('\n');
        self.lines.push((number, !indent.is_empty()));
    }

    /// The place in the argument of a place in the text.
    fn place(&self, line: u32, column: u32) -> (u32, u32, bool) {
        let index = usize::try_from(line).unwrap_or(0).saturating_sub(1);
        let last = self.lines.last().copied().unwrap_or((1, false));
        let (line, is_indented) = self.lines.get(index).copied().unwrap_or(last);
        let indent = if is_indented { INDENT.len() } else { 0 };
        let shift = u32::try_from(indent).unwrap_or(0);
        (line, column.saturating_sub(shift).max(1), is_indented)
    }

    /// A diagnostic with the place in the argument, and without the function around the statements.
    fn corrected(&self, mut diagnostic: Diagnostic) -> Diagnostic {
        diagnostic.message = self.without_function(&diagnostic.message);
        if diagnostic.file != FILE {
            return diagnostic;
        }
        if Some(diagnostic.line) == self.head {
            (diagnostic.line, diagnostic.column, diagnostic.length) = (1, 1, 1);
            diagnostic.source_line.clone_from(&self.first_line);
            if diagnostic.code == Code::Unexpected {
                diagnostic.message = "expected an expression or a statement".to_owned();
            }
            return diagnostic;
        }
        let (line, column, is_indented) = self.place(diagnostic.line, diagnostic.column);
        (diagnostic.line, diagnostic.column) = (line, column);
        if is_indented && let Some(text) = diagnostic.source_line.strip_prefix(INDENT) {
            diagnostic.source_line = text.to_owned();
        } else if is_indented {
            let cut = u32::try_from(INDENT.len()).unwrap_or(0);
            diagnostic.source_column = diagnostic.source_column.saturating_sub(cut).max(1);
        }
        if is_indented && diagnostic.code == Code::BadIndentation {
            let words = diagnostic.message.split(' ').map(|word| match word.parse::<u32>() {
                Ok(columns) => columns.saturating_sub(INDENT_WIDTH).to_string(),
                Err(_) => word.to_owned(),
            });
            diagnostic.message = words.collect::<Vec<_>>().join(" ");
        }
        diagnostic
    }

    /// A message without the name of the function around the statements.
    fn without_function(&self, message: &str) -> String {
        let name = &self.function;
        let message = message.replace(&format!(" in function `{name}`"), "");
        let message = message.replace(&format!("function `{name}`"), "the expression");
        message.replace(&format!("function '{name}'"), "the expression")
    }
}

pub(crate) fn run(args: &Args) -> Result<ExitCode, Failure> {
    let wrapped = Wrapped::new(&args.text)?;
    let program = Program::from_text(FILE, Path::new(""), wrapped.text.clone())?;
    let mut compiled = compile(&program.files(), Mode::Manager)?;
    let diagnostics = std::mem::take(&mut compiled.diagnostics);
    compiled.diagnostics = diagnostics.into_iter().map(|d| wrapped.corrected(d)).collect();
    let executable = Executable::new(checked(compiled, false)?)?;
    let index = executable.find(wrapped.function.as_bytes());
    let Some(index) = index else { return Ok(ExitCode::SUCCESS) };
    let execution = Execution {
        backend: args.backend,
        level: Level::from_number(args.opt.into()).unwrap_or_default(),
        resolver: Arc::new(host_functions::address),
        explain: Box::new(|_| String::new()),
    };
    let executed = execute(&executable, index, &mut Arguments::default(), &execution);
    let executed = executed.map_err(|failure| match failure {
        Failure::Because(why) => Failure::Because(in_argument(&wrapped, &why)),
        other => other,
    })?;
    let line = executed.outcome.line().map(|line| line + "\n").unwrap_or_default();
    print(&line)?;
    Ok(ExitCode::SUCCESS)
}

/// A message with the place in the argument, and without the name of the function around its statements.
fn in_argument(wrapped: &Wrapped, message: &str) -> String {
    let message = wrapped.without_function(message);
    let Some((before, place)) = message.rsplit_once(&format!("{FILE}:")) else { return message };
    let mut numbers = place.split(':').map(|number| number.parse::<u32>().ok());
    match (numbers.next().flatten(), numbers.next()) {
        (Some(line), Some(Some(column))) => {
            let (line, column, _) = wrapped.place(line, column);
            format!("{before}{FILE}:{line}:{column}")
        }
        (Some(line), _) => format!("{before}{FILE}:{}", wrapped.place(line, 1).0),
        _ => message,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_become_a_function_behind_the_declarations() {
        let wrapped = Wrapped::new("val x = 1\nfn f(a):\n    a\n\nif x > 0:\n    f(x)\n").unwrap();
        let text = "fn f(a):\n    a\n\nfn __eval_main():\n\tval x = 1\n\tif x > 0:\n\t    f(x)\n";
        assert_eq!(wrapped.text, text);
        assert_eq!(wrapped.place(5, 2), (1, 1, true));
        assert_eq!(wrapped.place(7, 6), (6, 5, true));
        assert_eq!(wrapped.place(2, 5), (3, 5, false));
        let text = |argument| Wrapped::new(argument).unwrap().text;
        assert_eq!(text("fn f(a): a"), "fn f(a): a\n");
        assert_eq!(text(""), "");
        assert_eq!(text("# nothing\n"), "");
        // Words of declarations are names.
        let names = "alias = 3\ntrait + 1\ntype(4)\n";
        assert_eq!(text(names), "fn __eval_main():\n\talias = 3\n\ttrait + 1\n\ttype(4)\n");
        let wrapped = Wrapped::new("fn __eval_main(): 4\n__eval_main()").unwrap();
        assert_eq!(wrapped.text, "fn __eval_main(): 4\nfn __eval_main_():\n\t__eval_main()\n");
    }

    #[test]
    fn message_names_the_place_in_the_argument() {
        let wrapped = Wrapped::new("1 / 0").unwrap();
        let message = "division by zero in function `__eval_main` at <eval>:2:4";
        assert_eq!(in_argument(&wrapped, message), "division by zero at <eval>:1:3");
        assert_eq!(in_argument(&wrapped, "trap 3 at <eval>:2"), "trap 3 at <eval>:1");
        assert_eq!(in_argument(&wrapped, "other"), "other");
    }
}
