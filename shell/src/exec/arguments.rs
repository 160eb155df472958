//! Arguments of calls: integers and texts as values of the types of parameters.

use smf_core::alloc_util::try_push;
use smf_core::exec::{FunctionHandle, ManagerError, Value};
use smf_core::ir::Scalar;
use smf_core::link::Name;

use super::error::ExecError;

type Result<T, E = ExecError> = std::result::Result<T, E>;

/// Integers as values of the parameters.
pub(super) fn integers(function: &FunctionHandle, arguments: &[i64]) -> Result<Vec<Value>> {
    let params = function.params();
    check_count(function, arguments.len(), params.len())?;
    let mut values = Vec::new();
    for (number, (&value, &expected)) in (1..).zip(arguments.iter().zip(params)) {
        let found = Value::from_integer(expected, value);
        let wrong =
            || ExecError::Integer { function: function.name().clone(), number, value, expected };
        try_push(&mut values, found.ok_or_else(wrong)?)?;
    }
    Ok(values)
}

fn check_count(function: &FunctionHandle, given: usize, expected: usize) -> Result<()> {
    if given == expected {
        return Ok(());
    }
    let function = function.name().clone();
    Err(ManagerError::ArgumentCount { function, given, expected }.into())
}

/// Texts as values of the parameters, behind the address of a result in memory.
pub(super) fn text_arguments(
    function: &FunctionHandle,
    result: Option<u64>,
    text_params: &[bool],
    arguments: &[&[u8]],
) -> Result<Vec<Value>> {
    let texts = text_params.iter().filter(|is_text| **is_text).count();
    let hidden = usize::from(result.is_some()) + texts;
    let params = function.params();
    check_count(function, arguments.len(), params.len().saturating_sub(hidden))?;
    let mut params = params.iter();
    let mut values = Vec::new();
    if let Some(address) = result {
        params.next();
        try_push(&mut values, Value::new(Scalar::Pointer, address))?;
    }
    for (index, text) in arguments.iter().enumerate() {
        let Some(&scalar) = params.next() else { break };
        if text_params.get(index) == Some(&true) {
            params.next();
            try_push(
                &mut values,
                Value::new(Scalar::Pointer, text.as_ptr().expose_provenance() as u64),
            )?;
            try_push(&mut values, Value::new(Scalar::I64, text.len() as u64))?;
            continue;
        }
        let wrong = || ExecError::Text {
            function: function.name().clone(),
            number: index + 1,
            expected: scalar,
        };
        try_push(&mut values, parse_value(scalar, text).ok_or_else(wrong)?)?;
    }
    Ok(values)
}

/// The arguments of a function of a module: of the types of its parameters, or integers if these are unknown.
pub(super) fn values_of(arguments: &[&[u8]], name: &[u8], params: &[Scalar]) -> Result<Vec<Value>> {
    let mut values = Vec::new();
    for (number, text) in (1..).zip(arguments) {
        let expected = params.get(number - 1).copied().unwrap_or(Scalar::I64);
        let wrong =
            || Name::in_error(name, |function| ExecError::Text { function, number, expected });
        try_push(&mut values, parse_value(expected, text).ok_or_else(wrong)?)?;
    }
    Ok(values)
}

/// A number or bool of a type from its text.
fn parse_value(scalar: Scalar, text: &[u8]) -> Option<Value> {
    let text = str::from_utf8(text).ok()?.trim();
    match scalar {
        Scalar::F64 => text.parse::<f64>().ok().map(Value::from),
        Scalar::F32 => text.parse::<f32>().ok().map(Value::from),
        Scalar::Bool => text.parse::<bool>().ok().map(Value::from),
        Scalar::U64 => text.parse::<u64>().ok().map(Value::from),
        Scalar::Pointer => None,
        _ => Value::from_integer(scalar, text.parse().ok()?),
    }
}
