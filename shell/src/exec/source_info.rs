//! What a manager records of functions of source beside their code.

use smf_core::alloc_util::{AllocError, TryArc, try_collect, try_copy_bytes, try_push};
use smf_core::exec::{FunctionRecord, FunctionVersion, ManagerError, TrapReport, Unit};
use smf_core::link::Name;
use smf_core::source::{Assertion, TranslationUnit};
use smf_core::types::Type;

use super::error::ExecError;
use crate::fallible_buf::try_format;

/// What a manager records of a function beside its code.
pub(super) struct SourceInfo {
    /// Whether the function returns a text: its first parameter is the address of the result.
    pub(super) returns_text: bool,
    /// Whether the function returns a struct, enum, tuple or array. Without a result in a register, its first parameter is
    /// the address of the result.
    returns_memory: bool,
    /// Whether each parameter is a text: an address and a length. Empty if none is.
    pub(super) text_params: Vec<bool>,
    /// The position of the first parameter that is an array of any length: an address and a length.
    array_param: Option<usize>,
    /// The names of the parameters, with a comma behind each; empty without one of these.
    param_names: String,
    /// The number of its file in the compilation.
    file: u32,
    /// Of all functions of the compilation, because those of others may become part of this one.
    assertions: TryArc<Vec<FunctionAssertions>>,
}

/// A function with assertions.
struct FunctionAssertions {
    symbol: Box<[u8]>,
    /// The number of its file in the compilation.
    file: u32,
    assertions: Vec<Assertion>,
}

impl SourceInfo {
    /// What is recorded of a function.
    pub(super) fn of(record: Option<&FunctionRecord>) -> Option<&Self> {
        record?.get()
    }

    fn param_name(&self, position: usize) -> Option<Name> {
        let name = self.param_names.split(',').nth(position)?;
        // Without memory for it, the error does not name the parameter.
        Name::new(name.as_bytes()).ok()
    }

    /// The error of a call of a function with numbers, if texts are parameters or the result.
    fn refusal_of_texts(&self, function: &Name) -> Option<ExecError> {
        let parameter = self.text_params.iter().position(|is_text| *is_text);
        let has_texts = self.returns_text || parameter.is_some();
        let parameter = parameter.and_then(|position| self.param_name(position));
        has_texts.then(|| ExecError::Texts { function: function.clone(), parameter })
    }

    /// The failed assertion at the line of a trap, and its function: that of the trap, or one of the same file that became
    /// part of it. `None` if the line has several.
    pub(super) fn assertion_of(&self, trap: &TrapReport) -> Option<(&[u8], &Assertion)> {
        let at_line = |function: &&FunctionAssertions| {
            function.file == self.file && function.assertions.iter().any(|one| one.line == trap.at)
        };
        let is_own = |function: &&FunctionAssertions| {
            let own = trap.function.as_ref();
            own.is_some_and(|own| own.as_bytes() == &*function.symbol)
        };
        let mut found = self.assertions.iter().filter(at_line);
        let own = found.clone().find(is_own);
        let function = own.or_else(|| found.next())?;
        let mut here = function.assertions.iter().filter(|one| one.line == trap.at);
        let assertion = here.next().filter(|_| here.next().is_none())?;
        Some((&function.symbol, assertion))
    }
}

/// Records in a unit what its source says of its functions.
pub(super) fn record(unit: &mut Unit, mut source: TranslationUnit) -> Result<(), AllocError> {
    let mut functions = std::mem::take(&mut source.functions);
    let mut assertions = Vec::new();
    for function in functions.iter_mut().filter(|function| !function.assertions.is_empty()) {
        let all = std::mem::take(&mut function.assertions);
        let (symbol, file) = (try_copy_bytes(function.symbol.as_bytes())?, function.file);
        try_push(&mut assertions, FunctionAssertions { symbol, file, assertions: all })?;
    }
    let assertions = TryArc::new(assertions)?;
    for (index, function) in functions.iter().enumerate() {
        let returns_text = function.result == Some(Type::Text);
        let is_text = function.params.iter().map(|ty| *ty == Type::Text);
        let returns_memory =
            matches!(function.result, Some(Type::Tuple(_) | Type::Array(_) | Type::Named { .. }));
        let has_text = returns_text || is_text.clone().any(|is_text| is_text);
        let is_array = |ty: &Type| matches!(ty, Type::Array(_));
        let array_param = function.params.iter().position(is_array);
        let has_names = has_text || array_param.is_some();
        // Of functions without assertions, too: those of others may become part of them.
        if !has_names && !returns_memory && assertions.is_empty() {
            continue;
        }
        let text_params = if has_text { try_collect(is_text)? } else { Vec::new() };
        let names = if has_names { source.param_names(function) } else { "" };
        let info = SourceInfo {
            returns_text,
            returns_memory,
            text_params,
            array_param,
            param_names: try_format(format_args!("{names}"))?,
            file: function.file,
            assertions: assertions.clone(),
        };
        unit.set_record(index, FunctionRecord::new(info)?);
    }
    Ok(())
}

/// The error of a call with numbers, if texts are parameters or the result.
pub(super) fn refusal_of_texts(function: &FunctionVersion<'_>) -> Option<ExecError> {
    SourceInfo::of(function.record())?.refusal_of_texts(function.function().name())
}

/// The error of a call, which is another one if the source has other parameters than the code.
#[cold]
pub(super) fn explain(error: ExecError, called: &FunctionVersion<'_>) -> ExecError {
    let ExecError::Manager(ManagerError::ArgumentCount { given, expected, .. }) = &error else {
        return error;
    };
    let (given, expected) = (*given, *expected);
    let Some(info) = SourceInfo::of(called.record()) else { return error };
    let function = called.function().name().clone();
    if info.returns_memory && called.function().result().is_none() {
        return ExecError::ResultInMemory { function };
    }
    match info.array_param.and_then(|position| info.param_name(position)) {
        Some(parameter) => ExecError::ArrayParameter { function, parameter, given, expected },
        None => error,
    }
}
