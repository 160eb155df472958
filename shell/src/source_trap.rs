//! Traps in code that was compiled from source: the function, the file and the message of a failed assertion.

use smf_core::AllocError;
use smf_core::format::Smf;
use smf_core::format::ext::source_template::SourceTemplate;
use smf_core::format::note::Note;
use smf_core::source::{FunctionDefinition, SourceFile, TRAP_ASSERT, TranslationUnit, instantiate};
use smf_core::templates::{Instance, JitInstantiator};
use smf_core::trap::Trap;
use smf_core::types::demangle;

use crate::fallible_buf::try_format;

/// The function and the file of a trap, and the message of the assertion that failed. The line is [`Trap::at`].
#[derive(Debug, Default)]
pub struct SourceTrap {
    /// The function whose source has the line: that of the code, or one whose code became part of it; `None` if unknown.
    pub function: Option<String>,
    /// The file; empty for a module of an earlier version.
    pub file: String,
    /// The message of a failed assertion, if its line has no other.
    pub message: String,
}

impl SourceTrap {
    /// What the note of a module of `smf compile` tells of a trap in the function that begins at `code_offset` in the code of the
    /// module; `None` if it does not list that.
    ///
    /// # Errors
    /// No memory.
    pub fn of_module(
        module: &Smf<'_>,
        code_offset: u64,
        trap: Trap,
    ) -> Result<Option<Self>, AllocError> {
        let Some((note, at)) = module.note_contents().ok().flatten() else { return Ok(None) };
        let Ok(note) = Note::parse(&note, at) else { return Ok(None) };
        let code = module.code().map(|code| code.index);
        let symbols = module.symbols().iter().filter_map(Result::ok);
        let mut here = symbols.filter(|symbol| {
            symbol.defined && symbol.section == code && symbol.value == code_offset
        });
        let listed = note.signature_of_code(code_offset);
        let listed = listed.or_else(|| here.find_map(|symbol| note.signature(&symbol)));
        let Some(own) = listed else { return Ok(None) };
        let is_assertion = trap.code == TRAP_ASSERT;
        let assertion = is_assertion.then(|| note.assertion(own, trap.at)).flatten();
        let function = match &assertion {
            Some(found) => Some(found.function()),
            None => note.function_at(own, trap.at).map(|found| found.function()),
        };
        let message = assertion.map(|found| try_format(format_args!("{}", found.message())));
        Ok(Some(Self {
            function: function.map(|name| try_format(format_args!("{name}"))).transpose()?,
            file: try_format(format_args!("{}", own.file()))?,
            message: message.transpose()?.unwrap_or_default(),
        }))
    }

    /// What the template of `instance` tells of a trap in its code; `None` if its body is not
    /// [source](SourceTemplate), or does not have the line. Runs the front end again.
    ///
    /// # Errors
    /// No memory.
    pub fn of_instance(
        jit: &JitInstantiator,
        instance: &Instance,
        trap: Trap,
    ) -> Result<Option<Self>, AllocError> {
        let symbol = instance.symbol();
        let symbol = str::from_utf8(symbol.strip_prefix(b"fn$").unwrap_or(symbol)).unwrap_or("");
        let Some((name, types)) = demangle(symbol)? else { return Ok(None) };
        let body = jit.template_body(name.as_bytes())?;
        let Some(body) = body.as_deref().and_then(SourceTemplate::parse) else { return Ok(None) };
        let file = SourceFile { name: "", module: &name, text: body.text };
        let Some(unit) = instantiate(file, &name, &types)?.unit else { return Ok(None) };
        let Some((function, message)) = found(&unit, trap) else { return Ok(None) };
        Ok(Some(Self {
            function: Some(try_format(format_args!("{}", function.symbol))?),
            file: try_format(format_args!("{}", unit.file(function)))?,
            message: try_format(format_args!("{message}"))?,
        }))
    }
}

/// The function that has the line of a trap, and the message of its failed assertion. The first function is the instance
/// itself.
fn found(unit: &TranslationUnit, trap: Trap) -> Option<(&FunctionDefinition, &str)> {
    if trap.code == TRAP_ASSERT {
        let at_line = |function: &&FunctionDefinition| {
            function.assertions.iter().any(|assertion| assertion.line == trap.at)
        };
        let function = unit.functions.iter().find(at_line)?;
        let mut here = function.assertions.iter().filter(|assertion| assertion.line == trap.at);
        let message = here.next().map_or("", |assertion| assertion.message.as_str());
        return Some((function, if here.next().is_none() { message } else { "" }));
    }
    let at_line =
        |function: &&FunctionDefinition| (function.line..=function.last_line).contains(&trap.at);
    let own = unit.functions.first().filter(at_line);
    // Of functions inside each other the innermost begins last.
    let innermost = || unit.functions.iter().filter(at_line).max_by_key(|function| function.line);
    let function = innermost().filter(|found| own.is_none_or(|own| found.file == own.file));
    Some((function.or(own)?, ""))
}
